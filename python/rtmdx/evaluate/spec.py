"""The file of an evaluation: layers, plan log, windows, controls, displacement; TOML, checked as a whole."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from rtmdx.errors import StudyError
from rtmdx.runs.study import describe, read_study
from rtmdx.runs.study_layers import AreaSource, OutcomeSpec, PositiveFloat, Source, Spec

__all__ = ["ControlsSpec", "DisplacementSpec", "EvaluationSpec", "LogSpec", "PlacesSpec", "SeriesSpec", "WindowsSpec"]

Days = Annotated[int, Field(ge=1, le=20_000)]


class PlacesSpec(Source):
    """The places: polygons in a projected CRS. All lengths are in its units."""

    key: str = "name"
    """Field of the places' names, as the plan log has them."""


class LogSpec(Spec):
    """The plan log: a CSV, or a table of a file GDAL reads, with place, action, start (factor, end, note)."""

    path: str
    """Relative paths are taken from the folder of this file, else from the data folder."""
    layer: str | None = None
    """Layer name, needed when the file holds several."""


class WindowsSpec(Spec):
    """Which days are before and after."""

    before: Days | Literal["equal", "year"] = "equal"
    """Days before the start: as many as after, a number, or the same days of the year before."""
    after: Days | None = None
    """Days after the start; to the record's end by default, or to the events' last day."""
    lag: Annotated[int, Field(ge=0, le=20_000)] = 0
    """Days from the start on that are left out."""


class ControlsSpec(Spec):
    """What treated places are compared with."""

    places: Literal["rest"] | tuple[str, ...] = "rest"
    """Places without a record in the log, or places by name."""
    weighting: Literal["events", "area", "none", "calibrated"] = "events"
    """Scaled to as many events before, by area, as they are, or weighted to the events of each part of it."""
    match: tuple[str, ...] = ()
    """Calibrated: fields of the places whose totals are matched besides."""
    match_periods: Annotated[int, Field(ge=1, le=500)] = 4
    """Calibrated: parts of the time before."""
    relax: bool = False
    """Calibrated: bring totals that cannot be matched as close as they come, instead of stopping."""


class DisplacementSpec(Spec):
    """Rings around treated places that events may have moved to."""

    distance: PositiveFloat
    """In CRS units."""
    controls: Literal["ring", "scaled"] | None = None
    """A ring around the controls, or the controls scaled by area; the latter where they are the rest of the city."""


class SeriesSpec(Spec):
    """A segmented regression of the treated places' monthly counts; for plans with one start."""

    family: Literal["poisson", "negative-binomial", "ols"] = "poisson"
    season: bool = True
    """A yearly season, where there are 12 months before."""
    harmonics: Annotated[int, Field(ge=1, le=6)] = 1
    slope_change: bool = True
    """Whether the slope may change too."""
    control: bool = True
    """Whether the controls' months stand beside: what they changed by is not taken for the actions' doing."""


class EvaluationSpec(Spec):
    """Everything one evaluation needs. Load it with `EvaluationSpec.from_toml`."""

    schema_version: Literal[1] = 1
    name: str
    path: str | None = None
    """File of the layers that name none."""
    events: OutcomeSpec
    places: PlacesSpec
    area: AreaSource | None = None
    """Study area that rings are clipped to; the places' union by default."""
    log: LogSpec
    windows: WindowsSpec = WindowsSpec()
    controls: ControlsSpec = ControlsSpec()
    displacement: DisplacementSpec | None = None
    series: SeriesSpec | None = None
    factors: tuple[str, ...] = ()
    """Names of the risk factors a record may be about; any by default."""
    chosen_by_counts: bool = False
    """Whether places were chosen by their past counts, which then tend to fall by themselves."""
    permutations: Annotated[int, Field(ge=0, le=100_000)] = 199
    """Random sets of controls in the treated places' part; 0 for none."""
    dispersion: PositiveFloat = 1.0
    """Factor of the Poisson variance."""
    seed: Annotated[int, Field(ge=0)] = 0
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95

    @model_validator(mode="before")
    @classmethod
    def _default_file(cls, data: Any) -> Any:
        """Write the evaluation's file into the layers that name none."""
        if not isinstance(data, dict) or not isinstance(data.get("path"), str):
            return data
        out = dict(data)
        for key in ("events", "places", "area"):
            if isinstance(data.get(key), dict) and data[key].get("path") is None:
                out[key] = {**data[key], "path": data["path"]}
        return out

    @model_validator(mode="after")
    def _fitting(self) -> EvaluationSpec:
        for key in ("events", "places", "area"):
            source = getattr(self, key)
            if source is not None and source.path is None:
                raise ValueError(f"{key} names no file; give {key}.path, or path for all layers")
        if self.events.date_field is None:
            raise ValueError("events need date_field, the field that holds the date")
        if 0 < self.permutations < 19:
            raise ValueError(f"permutations: found {self.permutations}, expected 0, or at least 19")
        if self.controls.match and self.controls.weighting != "calibrated":
            raise ValueError('controls.match needs controls.weighting = "calibrated"')
        return self

    @property
    def coverage(self) -> tuple[dt.date | None, dt.date | None]:
        """First and last day of the events, as far as the file says."""
        return self.events.start, self.events.end

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "evaluation") -> EvaluationSpec:
        """Build it from plain data.

        Raises
        ------
        StudyError
            With every problem found.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise StudyError(describe(error), source=source) from None

    @classmethod
    def from_toml(cls, path: str | Path, *, overrides: Mapping[str, Any] | None = None) -> EvaluationSpec:
        """Load it from a TOML file.

        Parameters
        ----------
        path : path
        overrides : mapping of str to value, optional
            Fields to replace, by dotted name: ``{"displacement.distance": 300}``.

        Raises
        ------
        FileError
            The file is missing, unreadable or no TOML.
        StudyError
            The content does not fit; lists every problem.
        """
        return cls.from_dict(read_study(path, overrides), source=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-compatible data, defaults included."""
        return self.model_dump(mode="json")
