"""The layers a study names and the grid they are put on."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rtmdx.space.layers import Operationalization
from rtmdx.space.selection import Selection

__all__ = [
    "AreaSource",
    "BarrierSpec",
    "DistrictSpec",
    "ExposureSpec",
    "FactorSpec",
    "GridSpec",
    "HoldoutSpec",
    "ImpedanceSpec",
    "OutcomeSpec",
    "PositiveFloat",
    "Source",
    "Spec",
]

Scalar = bool | int | float | str
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Length = Annotated[float, Field(ge=1e-3, le=1e7, allow_inf_nan=False)]


class Spec(BaseModel):
    """A part of a study: frozen, and no key is unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(Spec):
    """Where a layer comes from. Relative paths are taken from the data folder."""

    path: str | None = None
    """File: GeoPackage, Shapefile, GeoJSON, anything GDAL reads, GeoParquet, or CSV (.csv, .csv.gz) with x and y."""
    layer: str | None = None
    """Layer name, needed when the file holds several."""
    crs: str | None = None
    """CRS of the coordinates, for a CSV or a file that names none; it never overrides a file's own CRS."""
    x: str | None = None
    """CSV: name of the column with the x coordinate (easting or longitude)."""
    y: str | None = None
    """CSV: name of the column with the y coordinate (northing or latitude)."""
    filter: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    """Keep rows whose field equals the value, or one of the values; several fields must all match."""
    where: str | None = None
    """An OGR SQL attribute filter, for files read through GDAL (not CSV, not GeoParquet)."""
    date_field: str | None = None
    """Field with the date or time of each row."""
    start: dt.date | None = None
    """First day kept (inclusive). Needs `date_field`."""
    end: dt.date | None = None
    """Last day kept (inclusive, the whole day). Needs `date_field`."""
    bad_dates: Literal["error", "drop"] = "error"
    """A value that is not a date: stop, or drop the row and count it. Empty dates are always dropped."""

    time_zone: str | None = None
    """IANA zone, such as "America/Chicago", to which time stamps with an offset or in UTC are converted."""

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone; use an IANA name such as America/Chicago") from None
        return value

    @property
    def selection(self) -> Selection:
        """The rows that take part."""
        return Selection(self.filter, self.date_field, self.start, self.end, self.bad_dates, self.time_zone)

    @model_validator(mode="after")
    def _window(self) -> Source:
        if (self.start or self.end) and not self.date_field:
            raise ValueError("start/end need date_field, the name of the field that holds the date")
        if self.start and self.end and self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}; give start <= end")
        if (self.x is None) != (self.y is None):
            raise ValueError("x and y go together: name both coordinate columns, or neither")
        return self


class AreaSource(Source):
    """The study area: one or more polygons in a projected CRS. All lengths of the study are in its units."""


class GridSpec(Spec):
    """The raster: cell size, block length and which cells are kept."""

    block_length: Length
    """Mean block length in CRS units: the unit of spatial influence."""
    cell_size: Length | None = None
    """Cell size in CRS units; half the block length by default."""
    cells: Literal["overlap", "center"] = "overlap"
    """Keep cells that overlap the study area at all (RTMDx), or whose centre lies inside it."""
    origin: Literal["aligned", "bounds"] = "aligned"
    """Cell edges at multiples of the cell size, so that runs overlay; or at the lower-left of the bounds."""

    @property
    def size(self) -> float:
        """Cell size in CRS units, with the default applied."""
        return self.block_length / 2 if self.cell_size is None else self.cell_size


class OutcomeSpec(Source):
    """The events to explain."""

    name: str = "events"
    """What the events are, for the report."""
    enforcement: bool | None = None
    """Whether police activity makes the outcome (stops, drug arrests): the result then carries a warning. By its name
    if not said."""


class HoldoutSpec(Spec):
    """Events of a later period, scored against the fitted terrain. Fields left out are the outcome's."""

    path: str | None = None
    layer: str | None = None
    filter: dict[str, Scalar | list[Scalar]] | None = None
    where: str | None = None
    start: dt.date | None = None
    end: dt.date | None = None

    @property
    def names_a_layer(self) -> bool:
        """Whether the hold-out's events come from elsewhere than the outcome's."""
        return self.path is not None or self.layer is not None or self.where is not None


_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")


class FactorSpec(Source):
    """A risk factor: a layer of points, lines or polygons, and how its influence is operationalized."""

    name: str
    """Short name: letters, digits and underscores, starting with a letter."""
    label: str | None = None
    """Name for people; the name with spaces by default."""
    effect: Literal["aggravating", "protective"] = "aggravating"
    """Aggravating raises risk where present; protective lowers it (coded 0/-1)."""
    operationalization: Literal["proximity", "density", "both", "cost", "all"] = "both"
    """Distance to the nearest feature, concentration of features, or both (the data choose); "cost" is the distance
    around what is in the way (needs `impedance`), "all" tries the three."""
    max_influence: PositiveFloat = 3
    """Farthest reach tried, in blocks."""
    increment: Literal["half", "whole"] = "half"
    """Bands every half or every whole block up to `max_influence`."""
    force: bool = False
    """Keep the factor in the model whatever BIC says. All its variables pass the culling, and the best of them by BIC
    is in the model; its effect may then turn out opposite to the one declared, which the result says."""

    @field_validator("name")
    @classmethod
    def _identifier(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(f"factor name {value!r} may hold letters, digits and _ and must start with a letter")
        return value

    @model_validator(mode="after")
    def _bands(self) -> FactorSpec:
        steps = self.max_influence * (2 if self.increment == "half" else 1)
        if steps > 200:
            raise ValueError(f"max_influence {self.max_influence:g} blocks makes more than 200 bands; use at most 200")
        if abs(steps - round(steps)) > 1e-9 or round(steps) < 1:
            raise ValueError(
                f"max_influence {self.max_influence:g} blocks is no whole number of {self.increment}-block steps; "
                f"use a multiple of {0.5 if self.increment == 'half' else 1:g}"
            )
        return self

    @property
    def title(self) -> str:
        """Name for people."""
        return self.label or self.name.replace("_", " ").capitalize()

    @property
    def n_bands(self) -> int:
        """Number of distances tried."""
        return round(self.max_influence * (2 if self.increment == "half" else 1))

    @property
    def operationalizations(self) -> tuple[Operationalization, ...]:
        """The operationalizations generated, proximity first."""
        several: dict[str, tuple[Operationalization, ...]] = {
            "both": ("proximity", "density"),
            "all": ("proximity", "density", "cost"),
        }
        one: tuple[Any, ...] = (self.operationalization,)
        return several.get(self.operationalization, one)

    def distances(self, block_length: float) -> tuple[float, ...]:
        """Return the band distances in CRS units, smallest first."""
        step = block_length / 2 if self.increment == "half" else block_length
        return tuple(step * (i + 1) for i in range(self.n_bands))


class BarrierSpec(Source):
    """A layer of lines or polygons that nobody crosses; a gap in a line is a crossing."""

    name: str
    """What it is: river, motorway."""


class ImpedanceSpec(Spec):
    """What is in the way, for factors operationalized by cost distance."""

    barriers: tuple[BarrierSpec, ...] = ()
    friction: str | None = None
    """Raster file with the cost of one unit of length, positive; no data is impassable. 1 everywhere by default."""
    connectivity: Literal[8, 16] = 16
    """Neighbours a step may lead to; with 16, a free straight way is overestimated by at most 2.8 %."""

    @model_validator(mode="after")
    def _something(self) -> ImpedanceSpec:
        if not self.barriers and self.friction is None:
            raise ValueError("has neither barriers nor friction; name what is in the way, or use proximity")
        names = [b.name for b in self.barriers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two barriers are named {name!r}; names must be unique")
        return self


class ExposureSpec(Source):
    """What events can happen to, per cell: expected events are exposure times risk, and risk is per unit of exposure.

    Everything is clipped to the study area. Cells of exposure 0 take no part in the fit.
    """

    measure: Literal["length", "area", "count", "polygons", "raster"]
    """Length of lines; area covered by polygons, overlaps once; number of points, or the sum of their `field`; `field`
    of polygons spread evenly over their area (areal interpolation); or the values of a raster file (first band)."""
    field: str | None = None
    """Field with the amount of each row: needed for polygons, a weight for points."""
    statistic: Literal["sum", "mean"] = "sum"
    """Raster: values are amounts per pixel, spread evenly over it (sum), or densities, averaged by area (mean)."""
    zero: Literal["error", "floor", "drop"] = "error"
    """Events in cells without exposure: stop, raise every cell to a small exposure (`floor`), or leave them out."""
    floor: PositiveFloat | None = None
    """Smallest exposure of a cell, with `zero = "floor"`; a tenth of the median of the cells that have some by
    default."""
    name: str | None = None
    """What it is, for people: "Street length"."""
    unit: str | None = None
    """What one unit of it is, for people: "residents"; units of length and area by default."""

    @model_validator(mode="after")
    def _fitting(self) -> ExposureSpec:
        if self.measure == "polygons" and self.field is None:
            raise ValueError("polygons need field, the name of the field that says how much each holds")
        if self.field is not None and self.measure not in ("polygons", "count"):
            raise ValueError(f"field is for polygons and count, not for {self.measure}; remove it")
        if self.statistic != "sum" and self.measure != "raster":
            raise ValueError(f"statistic is for a raster, not for {self.measure}; remove it")
        if self.floor is not None and self.zero != "floor":
            raise ValueError(f'floor is given, but zero is "{self.zero}"; set zero = "floor" or remove it')
        if self.measure == "raster":
            if self.path is None:
                raise ValueError("a raster needs path, its file")
            given = [k for k in ("layer", "crs", "x", "y", "filter", "where", "date_field") if getattr(self, k)]
            if given:
                raise ValueError(f"{given[0]} is for layers of features, not for a raster; remove it")
        return self


class DistrictSpec(Source):
    """A layer of polygons, for district folds and robust standard errors; a cell belongs where its centre lies."""

    field: str | None = None
    """Field with the district's name; rows of one name are one district. Each row is one by default."""
    max_folds: Annotated[int, Field(ge=2, le=50)] = 20
    """More districts than this are merged into as many folds of similar size."""
