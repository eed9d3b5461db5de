"""Every error rtmdx raises on purpose.

Each class is also a built-in exception, has a stable ``code`` for programs, an optional
``hint`` that says how to mend the input, and survives pickling (workers send them home).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

__all__ = [
    "CRSError",
    "Cancelled",
    "EngineError",
    "FileError",
    "FitError",
    "InputError",
    "MemoryLimitError",
    "MissingDependencyError",
    "OutputError",
    "RtmdxError",
    "StoreError",
    "StudyError",
    "SweepError",
]


class RtmdxError(Exception):
    """Base of all rtmdx errors.

    Parameters
    ----------
    message : str
        What is wrong: where (file, layer, row, field), the value found, the value expected.
    hint : str, optional
        How to mend it.
    """

    code = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self), hint=self.hint), (self.message,), self.__dict__.copy())

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain data: ``code``, ``type``, ``message``, ``hint``."""
        return {"code": self.code, "type": type(self).__name__, "message": self.message, "hint": self.hint}


class InputError(RtmdxError, ValueError):
    """A value, field, layer or geometry is not usable as given."""

    code = "input"


class CRSError(InputError):
    """A coordinate reference system is missing, geographic, or does not fit the data."""

    code = "crs"


class StudyError(InputError):
    """A study has one or more problems; ``problems`` lists them all."""

    code = "study"

    def __init__(self, problems: Sequence[RtmdxError], *, source: str = "study") -> None:
        self.problems = list(problems)
        lines = [f"{source}: {len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"]
        lines += [f"  {i}. {p}" for i, p in enumerate(self.problems, 1)]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.problems,), self.__dict__.copy())

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain data, with one entry per problem."""
        return {**super().to_dict(), "problems": [p.to_dict() for p in self.problems]}


class FileError(RtmdxError, OSError):
    """A file is missing or cannot be read as what it should be."""

    code = "file"


class OutputError(RtmdxError, OSError):
    """A result cannot be written where it was asked for."""

    code = "output"


class MemoryLimitError(RtmdxError, MemoryError):
    """A request needs more memory than allowed; refused before anything was allocated."""

    code = "memory"


class SweepError(RtmdxError, ValueError):
    """A sweep cannot be expanded, started or resumed as asked."""

    code = "sweep"


class StoreError(RtmdxError, OSError):
    """A sweep's store is missing, damaged, of another sweep or version, or in use."""

    code = "store"


class FitError(RtmdxError, ArithmeticError):
    """A model has no finite optimum or the optimiser did not reach it."""

    code = "fit"


class MissingDependencyError(RtmdxError, ImportError):
    """An optional package is needed; the hint names the extra that brings it."""

    code = "dependency"


class EngineError(RtmdxError, RuntimeError):
    """The compiled engine met a state it cannot continue from."""

    code = "engine"


class Cancelled(RtmdxError, RuntimeError):
    """The caller's cancel check asked to stop."""

    code = "cancelled"
