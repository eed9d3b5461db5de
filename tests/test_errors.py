"""Errors are built-ins too, carry a code and a hint, and survive the way home from a worker."""

from __future__ import annotations

import builtins
import pickle

import pytest

from rtmdx import errors
from rtmdx.errors import InputError, RtmdxError, StudyError

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("cls", CLASSES)
def test_pickle_and_dict(cls: type[RtmdxError]) -> None:
    error = cls([InputError("a", hint="b")]) if cls is StudyError else cls("what", hint="how")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is cls
    assert str(back) == str(error)
    assert back.to_dict() == error.to_dict()
    assert back.code == cls.code


@pytest.mark.parametrize("cls", [c for c in CLASSES if c is not RtmdxError])
def test_each_is_also_a_built_in(cls: type[RtmdxError]) -> None:
    own = [b for b in cls.__mro__ if b.__module__ == builtins.__name__ and b not in (object, Exception, BaseException)]
    assert own


def test_codes_are_unique() -> None:
    assert len({c.code for c in CLASSES}) == len(CLASSES)
