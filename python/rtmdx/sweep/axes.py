"""What varies in a sweep: axes of points, each a set of changes to the base study."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtmdx.errors import RtmdxError, SweepError
from rtmdx.runs.edits import Edit
from rtmdx.runs.study import Study, describe, override, read_study

__all__ = ["Axis", "Point", "SweepSpec", "read_sweep"]

Scalar = bool | int | float | str
_SHOWN = 24  # characters of a value in a label


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Point(_Spec):
    """One place on an axis: what it changes in the base study."""

    label: str | None = None
    """Name for people; what is changed by default."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields to replace, by dotted name, as `--set` takes them: `{"grid.cell_size" = 50}`."""
    factors: tuple[str, ...] | None = None
    """Names of the factors that take part; all by default. Their order is the study's."""
    edits: tuple[Edit, ...] = ()
    """What-if edits of layers, in this order."""

    @property
    def title(self) -> str:
        """Name for people."""
        if self.label is not None:
            return self.label
        parts = [f"{field.rpartition('.')[2]}={_short(value)}" for field, value in self.set.items()]
        if self.factors is not None:
            parts.append("factors=" + _short("+".join(self.factors)))
        parts += [edit.title for edit in self.edits]
        return ", ".join(parts) or "as is"

    @property
    def value(self) -> Any:
        """What stands in the table of scenarios: the value of a single field, else the label."""
        if self.label is None and len(self.set) == 1 and self.factors is None and not self.edits:
            (only,) = self.set.values()
            if isinstance(only, Scalar):
                return only
            if isinstance(only, dt.date):
                return only.isoformat()
        return self.title


class Axis(_Spec):
    """One thing that varies: `field` or `fields` with `values`, or one of `seeds`, `windows`, `subsets`, `points`."""

    name: str = ""
    """Name of the axis: a column of the table of scenarios. The field's last part by default."""
    field: str | None = None
    """A field of the study by dotted name, as `--set` takes it; its values stand in `values`."""
    fields: tuple[str, ...] | None = None
    """Several fields that vary together; each of `values` is a list with one value per field."""
    values: tuple[Any, ...] | None = None
    labels: tuple[str, ...] | None = None
    """Names of the values, for people."""
    seeds: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """So many seeds, spawned from the study's; more seeds leave the first ones as they are."""
    windows: tuple[tuple[dt.date, dt.date], ...] | None = None
    """First and last day of the outcome's period."""
    subsets: dict[str, tuple[str, ...]] | None = None
    """Sets of factors by name: label to names of factors."""
    points: tuple[Point, ...] | None = None
    """Anything else, what-if edits too."""

    @model_validator(mode="after")
    def _one_kind(self) -> Axis:
        kinds = [
            k for k in ("field", "fields", "seeds", "windows", "subsets", "points") if getattr(self, k) is not None
        ]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            raise ValueError(f"found {found}; give one of field, fields, seeds, windows, subsets, points")
        if (self.values is not None) != (kinds[0] in ("field", "fields")):
            raise ValueError("values go with field or fields, and they need them")
        if self.labels is not None and len(self.labels) != self.n_points:
            raise ValueError(f"{len(self.labels)} labels for {self.n_points} values")
        for value in self.values or ():
            if self.fields is not None and not (isinstance(value, list | tuple) and len(value) == len(self.fields)):
                raise ValueError(f"found {value!r}, expected a list of {len(self.fields)} values, one per field")
        return self

    @property
    def n_points(self) -> int:
        """Number of points."""
        if self.seeds is not None:
            return self.seeds
        return len(self.values or self.windows or self.subsets or self.points or ())

    @property
    def title(self) -> str:
        """Name of the axis."""
        if self.name:
            return self.name
        if self.field is not None:
            return self.field.rpartition(".")[2]
        if self.fields is not None:
            return "+".join(f.rpartition(".")[2] for f in self.fields)
        return next(
            name
            for name, kind in (
                ("seed", self.seeds),
                ("window", self.windows),
                ("factors", self.subsets),
                ("what-if", 1),
            )
            if kind is not None
        )

    def resolve(self, seed: int) -> tuple[Point, ...]:
        """Return the axis' points; `seed` is the base study's."""
        made: list[Point]
        if self.points is not None:
            made = list(self.points)
        elif self.seeds is not None:
            made = [Point(set={"seed": _spawned(seed, i)}) for i in range(self.seeds)]
        elif self.windows is not None:
            made = [
                Point(label=f"{start} to {end}", set={"outcome.start": start, "outcome.end": end})
                for start, end in self.windows
            ]
        elif self.subsets is not None:
            made = [Point(label=label, factors=names) for label, names in self.subsets.items()]
        else:
            names = self.fields if self.fields is not None else (self.field or "",)
            rows = self.values or ()
            if self.fields is None:
                rows = tuple((v,) for v in rows)
            made = [Point(set=dict(zip(names, row, strict=True))) for row in rows]
        if self.labels is not None:
            made = [p.model_copy(update={"label": text}) for p, text in zip(made, self.labels, strict=True)]
        return tuple(made)


class SweepSpec(_Spec):
    """A sweep: a base study and what varies."""

    schema_version: Literal[1] = 1
    title: str | None = None
    """Name for people; the study's name by default."""
    study: Study
    axes: tuple[Axis, ...] = ()
    combine: Literal["product", "zip"] = "product"
    """Every combination of the axes' points (the last axis runs fastest), or their first points, second points, ..."""
    scenarios: tuple[Point, ...] = ()
    """An explicit list, in place of axes."""

    @field_validator("axes")
    @classmethod
    def _names(cls, value: tuple[Axis, ...]) -> tuple[Axis, ...]:
        names = [axis.title for axis in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two axes are named {name!r}; give one another name")
        return value

    @model_validator(mode="after")
    def _either(self) -> SweepSpec:
        if self.axes and self.scenarios:
            raise ValueError("found axes and scenarios; an explicit list takes the place of axes")
        return self

    @property
    def name(self) -> str:
        """Name for people."""
        return self.title or self.study.name

    @classmethod
    def build(
        cls,
        study: Study,
        *,
        axes: Mapping[str, Any] | Sequence[Axis | Mapping[str, Any]] | None = None,
        scenarios: Sequence[Point | Mapping[str, Any]] | None = None,
        combine: Literal["product", "zip"] = "product",
        title: str | None = None,
    ) -> SweepSpec:
        """Build a sweep in Python.

        Parameters
        ----------
        study : Study
            The base.
        axes : mapping or sequence of Axis, optional
            A mapping goes from a field's dotted name to its values (``{"grid.cell_size": [50, 100]}``), or to a mapping
            of labels to values. Four names are special: ``"factors"`` (sets of factors' names), ``"seeds"`` (a number
            of seeds), ``"windows"`` (first and last day of the outcome's period), ``"edits"`` (label to one edit, or
            to a list of edits; None is none).
        scenarios : sequence of Point, optional
            An explicit list, in place of axes.
        combine : {"product", "zip"}
        title : str, optional

        Raises
        ------
        SweepError
            Says everything that does not fit.
        """
        if isinstance(axes, Mapping):
            axes = [_axis(name, values) for name, values in axes.items()]
        data = {"title": title, "study": study, "axes": axes or (), "combine": combine, "scenarios": scenarios or ()}
        return cls.from_dict(data, source="sweep")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "sweep") -> SweepSpec:
        """Build a sweep from plain data, its study included; raises SweepError with every problem found."""
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise _problems(source, describe(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the sweep as JSON-compatible data."""
        return self.model_dump(mode="json")


def read_sweep(path: str | Path, *, overrides: Mapping[str, Any] | None = None) -> tuple[SweepSpec, Path]:
    """Read a sweep file (TOML).

    Its ``study`` is the path of a study file, from the sweep file's folder, or a table that holds the study.

    Parameters
    ----------
    path : path
    overrides : mapping, optional
        Fields of the base study to replace, as for `Study.from_toml`.

    Returns
    -------
    spec : SweepSpec
    folder : Path
        The study's own folder, where its relative paths start.

    Raises
    ------
    FileError
        A file is missing or no TOML.
    SweepError, StudyError
        The content does not fit; each lists every problem.
    """
    path = Path(path)
    data = read_study(path)  # plain TOML
    base = data.get("study")
    folder = path.absolute().parent
    if isinstance(base, str):
        folder = (folder / base).parent
        study = Study.from_toml(path.absolute().parent / base, overrides=overrides)
    elif isinstance(base, dict):
        for field, value in (overrides or {}).items():
            override(base, field, value)
        study = Study.from_dict(base, source=f"{path}: study")
    else:
        raise SweepError(
            f"{path}: names no base study.", hint='Add study = "study.toml", a path from the sweep\'s folder.'
        )
    return SweepSpec.from_dict({**data, "study": study}, source=str(path)), folder


def _axis(name: str, values: Any) -> Axis | dict[str, Any]:
    labels = None
    if isinstance(values, Axis):
        return values
    if name == "seeds":
        return {"seeds": values}
    if name == "factors":
        if not isinstance(values, Mapping):
            values = {"+".join(v): v for v in values}
        return {"subsets": {k: tuple(v) for k, v in values.items()}}
    if name == "windows":
        if isinstance(values, Mapping):
            return {"windows": tuple(tuple(v) for v in values.values()), "labels": tuple(values)}
        return {"windows": tuple(tuple(v) for v in values)}
    if name == "edits":
        if not isinstance(values, Mapping):
            raise SweepError(
                "axis 'edits': expected a mapping of labels to edits.", hint='{"as is": None, "mended": ...}'
            )
        return {
            "name": "what-if",
            "points": tuple({"label": k, "edits": _several(v)} for k, v in values.items()),
        }
    if isinstance(values, Mapping):
        labels, values = tuple(map(str, values)), tuple(values.values())
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise SweepError(f"axis {name!r}: found {values!r}, expected a list of values.")
    return {"field": name, "values": tuple(_plain(v) for v in values), "labels": labels}


def _several(edits: Any) -> tuple[Any, ...]:
    if edits is None:
        return ()
    return tuple(edits) if isinstance(edits, list | tuple) else (edits,)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _spawned(seed: int, i: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1)[0])


def _problems(source: str, problems: Sequence[RtmdxError]) -> SweepError:
    if len(problems) == 1:
        return SweepError(f"{source}: {problems[0]}")
    return SweepError(
        "\n".join([f"{source}: {len(problems)} problems", *(f"  {i}. {p}" for i, p in enumerate(problems, 1))])
    )
