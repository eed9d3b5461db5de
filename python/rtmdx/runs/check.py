"""Checking a study: everything wrong with it at once, in the file and in the layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rtmdx.errors import RtmdxError, StudyError
from rtmdx.runs.estimate import Estimate
from rtmdx.runs.inputs import Inputs
from rtmdx.runs.run import Progress, load
from rtmdx.runs.study import Study, describe, read_study

__all__ = ["check"]


def check(
    path: str | Path,
    *,
    data: Callable[[Study], Path],
    overrides: Mapping[str, Any] | None = None,
    memory_limit: float | None = None,
    progress: Progress | None = None,
) -> tuple[Study, Inputs, Estimate]:
    """Read a study file and all its layers, and say everything that is wrong.

    Keys that do not fit are reported and set aside, so that the layers of what is left are looked at too.

    Parameters
    ----------
    path : path
        The study file.
    data : callable
        Gives the data folder of a study.
    overrides, memory_limit, progress
        As for `Study.from_toml` and `rtmdx.run`.

    Raises
    ------
    StudyError
        Lists every problem.
    FileError
        The file is missing or no TOML.
    """
    raw: Any = read_study(path, overrides)
    problems: list[RtmdxError] = []
    aside: set[tuple[int | str, ...]] = set()
    study = None
    while study is None and raw is not None:
        try:
            study = Study.model_validate(raw)
        except ValidationError as error:
            known = {str(p) for p in problems}
            new = [
                p
                for p, item in zip(describe(error), error.errors(), strict=True)
                if item["loc"] not in aside and str(p) not in known  # what was set aside is not missing
            ]
            problems += new
            places = [_whole_factor(item["loc"]) for item in error.errors()]
            raw = _set_aside(raw, places) if new else None
            aside |= {*places, *(item["loc"] for item in error.errors())}
    if study is None:
        raise StudyError(problems, source=str(path))
    try:
        inputs, estimate = load(study, data=data(study), memory_limit=memory_limit, progress=progress)
    except RtmdxError as error:
        problems += error.problems if isinstance(error, StudyError) else [error]
    if problems:
        raise StudyError(problems, source=str(path))
    return study, inputs, estimate


def _whole_factor(place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A factor without a name cannot be looked at: set all of it aside."""
    return place[:2] if len(place) == 3 and place[0] == "factors" and place[2] == "name" else place


def _set_aside(raw: dict[str, Any], places: Sequence[tuple[int | str, ...]]) -> dict[str, Any] | None:
    """Return a copy without the keys named; None when one is not there to remove, so nothing would change."""
    out = copy.deepcopy(raw)
    for place in sorted(set(places), key=lambda loc: [str(p).rjust(6) for p in loc], reverse=True):
        node: Any = out
        try:
            for part in place[:-1]:
                node = node[part]
            del node[place[-1]]
        except (LookupError, TypeError):
            return None
    return out
