"""From a sweep to its scenarios: which there are, what each is called, and what tells it from the others."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from rtmdx.errors import InputError, StudyError, SweepError
from rtmdx.runs.edits import Edit
from rtmdx.runs.study import Study, describe, override
from rtmdx.sweep.axes import Axis, Point, SweepSpec

__all__ = ["Expansion", "Scenario", "expand"]

MOST = 1_000_000  # scenarios of one sweep


@dataclass(frozen=True)
class Scenario:
    """One run of a sweep.

    Attributes
    ----------
    index : int
        Its place in the sweep, from 0.
    id : str
        16 hex digits of what matters to the result: equal to the study's id where no layer is edited.
    label : str
        Name for people.
    overrides : mapping
        Fields replaced in the base study, by dotted name.
    factors : tuple of str or None
        Names of the factors that take part; None is all.
    edits : tuple of Edit
        What-if edits of layers.
    parameters : mapping
        Place on each axis, by the axis' name: a plain value, or a label.
    base : mapping
        The base study as plain data, shared by all scenarios.
    """

    index: int
    id: str
    label: str
    overrides: Mapping[str, Any]
    factors: tuple[str, ...] | None
    edits: tuple[Edit, ...]
    parameters: Mapping[str, Any]
    base: Mapping[str, Any] = field(repr=False, compare=False)

    @cached_property
    def study(self) -> Study:
        """The scenario's study, made anew."""
        return _study(self.base, self.overrides, self.factors)


class Expansion:
    """The scenarios of a sweep, made when asked for: what is held is an id for each, not a study.

    Parameters
    ----------
    spec : SweepSpec

    Raises
    ------
    SweepError
        No scenario, too many, an axis that names no field or factor, a scenario that is no valid study, or two
        scenarios that are the same.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.spec = spec
        self.axes: tuple[tuple[str, tuple[Point, ...]], ...]
        if spec.scenarios:
            self.axes = (("scenario", spec.scenarios),)
        else:
            self.axes = tuple((a.title, a.resolve(spec.study.seed)) for a in spec.axes)
        self._base = spec.study.to_dict()
        self._n = self._count(spec)
        self._check_points(spec.axes)
        self.ids: tuple[str, ...] = self._identify()

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Scenario]:
        return (self[i] for i in range(self._n))

    def __getitem__(self, index: int) -> Scenario:
        if not 0 <= index < self._n:
            raise IndexError(index)
        return self._scenario(index, self.ids[index])

    def _count(self, spec: SweepSpec) -> int:
        if not self.axes:
            raise SweepError(
                "the sweep has no axes and no scenarios, so there is nothing to run.",
                hint='Say what varies, for example axes={"seed": [0, 1, 2]}.',
            )
        for name, points in self.axes:
            if not points:
                raise SweepError(f"axis {name!r} has no values, so the sweep has no scenario.", hint="Give it values.")
        sizes = [len(points) for _, points in self.axes]
        if spec.combine == "zip" and len(set(sizes)) > 1:
            found = ", ".join(f"{name} {n}" for (name, _), n in zip(self.axes, sizes, strict=True))
            raise SweepError(f"axes that go together (zip) have different numbers of values: {found}.")
        n = sizes[0] if spec.combine == "zip" else math.prod(sizes)
        if n > MOST:
            raise SweepError(f"the axes make {n:,} scenarios; at most {MOST:,} are allowed.", hint="Split the sweep.")
        return n

    def _places(self, index: int) -> list[int]:
        if self.spec.combine == "zip":
            return [index] * len(self.axes)
        places = []
        for _, points in reversed(self.axes):
            index, at = divmod(index, len(points))
            places.append(at)
        return places[::-1]

    def _scenario(self, index: int, identity: str) -> Scenario:
        overrides: dict[str, Any] = {}
        factors: tuple[str, ...] | None = None
        edits: tuple[Edit, ...] = ()
        parameters: dict[str, Any] = {}
        titles = []
        for (name, points), at in zip(self.axes, self._places(index), strict=True):
            point = points[at]
            overrides |= point.set
            factors = point.factors if point.factors is not None else factors
            edits += point.edits
            parameters[name] = point.value
            titles.append(point.title)
        return Scenario(index, identity, ", ".join(titles), overrides, factors, edits, parameters, self._base)

    def _check_points(self, axes: tuple[Axis, ...]) -> None:
        """Say which axis names what is not there, before scenarios fail one by one for it."""
        known = {f["name"] for f in self._base["factors"]}
        for name, points in self.axes:
            where = f"axis {name!r}" if axes else "scenarios"
            for point in points:
                for key in point.set:
                    _require_field(self._base, key, point.set[key], where)
                for missing in [f for f in point.factors or () if f not in known]:
                    raise SweepError(
                        f"{where}: no factor {missing!r} in the study; it has {', '.join(sorted(known))}.",
                        hint="Mend the name.",
                    )
                if point.factors is not None and not point.factors:
                    raise SweepError(f"{where}: the set of factors {point.title!r} is empty.")
        taken: dict[str, str] = {}
        for name, points in self.axes:
            for key in {k for p in points for k in p.set}:
                if taken.setdefault(key, name) != name:
                    raise SweepError(f"axes {taken[key]!r} and {name!r} both set {key}.", hint="Drop one of them.")

    def _identify(self) -> tuple[str, ...]:
        seen: dict[str, int] = {}
        ids = []
        for index in range(self._n):
            scenario = self._scenario(index, "")
            try:
                made = _identity(scenario.study, scenario.edits)
            except (StudyError, InputError) as error:
                text = "; ".join(map(str, error.problems)) if isinstance(error, StudyError) else str(error)
                raise SweepError(f"scenario {index} ({scenario.label}): {text}") from None
            if made in seen:
                first = self._scenario(seen[made], "")
                raise SweepError(
                    f"scenarios {first.index} ({first.label}) and {index} ({scenario.label}) are the same: they differ "
                    "in nothing that matters to the result.",
                    hint="Drop one of them.",
                )
            seen[made] = index
            ids.append(made)
        return tuple(ids)


def expand(spec: SweepSpec) -> Expansion:
    """Return the scenarios of a sweep; errors as for `Expansion`."""
    return Expansion(spec)


def _study(base: Mapping[str, Any], overrides: Mapping[str, Any], factors: tuple[str, ...] | None) -> Study:
    data = copy.deepcopy(dict(base))
    if "path" in overrides:  # layers that took their file from the study follow it
        _forget(data, data["path"])
    for name, value in overrides.items():
        override(data, name, value)
    if factors is not None:
        data["factors"] = [f for f in data["factors"] if f["name"] in factors]
    return Study.from_dict(data)


def _forget(node: Any, path: Any) -> None:
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict):
            if child.get("path") == path:
                child["path"] = None
            _forget(child, path)
        elif isinstance(child, list):
            _forget(child, path)


def _identity(study: Study, edits: tuple[Edit, ...]) -> str:
    if not edits:
        return study.id
    told = [e.model_dump(mode="json", exclude={"label"}) for e in edits]
    text = json.dumps([study.id, told], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _require_field(base: Mapping[str, Any], name: str, value: Any, where: str) -> None:
    """Raise where the base study knows no such field; a value that does not fit is said later, with its scenario."""
    data = copy.deepcopy(dict(base))
    try:
        override(data, name, value)
        Study.model_validate(data)
    except InputError as error:
        raise SweepError(f"{where}: {error}") from None
    except ValidationError as error:
        unknown = [e for e in error.errors(include_url=False) if e["type"] == "extra_forbidden"]
        if unknown:
            raise SweepError(
                f"{where} names no field of a study: {name}.",
                hint="Mend its spelling; `rtmdx schema` lists the fields.",
            ) from None
        if not name.startswith("factors."):
            text = "; ".join(str(p) for p in describe(error))
            if len(error.errors()) == 1 and error.errors()[0]["type"] != "value_error":
                raise SweepError(f"{where}: {text}") from None
