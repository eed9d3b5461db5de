"""The study: everything one run needs, as a frozen, hashable, serialisable object.

The same object is what the API takes, what an executor ships and what is written beside the
result; there is no second source of configuration.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import tomllib
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtmdx.errors import FileError, InputError, StudyError
from rtmdx.space.density import KernelName
from rtmdx.space.layers import Operationalization
from rtmdx.space.selection import Selection

__all__ = [
    "SCHEMA_VERSION",
    "AreaSource",
    "BarrierSpec",
    "DistrictSpec",
    "ExposureSpec",
    "FactorSpec",
    "GridSpec",
    "HoldoutSpec",
    "ImpedanceSpec",
    "ModelSpec",
    "OutcomeSpec",
    "PosteriorSpec",
    "ReportSpec",
    "Source",
    "Study",
    "describe",
    "override",
    "read_study",
]

SCHEMA_VERSION = 1

Scalar = bool | int | float | str
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Length = Annotated[float, Field(ge=1e-3, le=1e7, allow_inf_nan=False)]


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Source(_Spec):
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


class GridSpec(_Spec):
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
    enforcement: bool = False
    """True when police activity makes the outcome (stops, drug arrests): the result then carries a warning."""


class HoldoutSpec(_Spec):
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


class ImpedanceSpec(_Spec):
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


class ModelSpec(_Spec):
    """How variables are generated, culled and selected (METHOD: culling by elastic net, stepwise by BIC)."""

    kernel: KernelName = "epanechnikov"
    """Kernel of the density operationalization."""
    families: Annotated[tuple[Literal["poisson", "nbii", "nb2"], ...], Field(min_length=1)] = ("poisson", "nbii")
    """Count models tried; the lower final BIC wins."""
    folds: Literal["stratified", "spatial", "district", "time"] = "stratified"
    """Folds of the culling: stratified by count (RTMDx), contiguous blocks (honest under autocorrelation), whole
    districts (needs `districts`), or parts of the outcome's period (needs its `date_field`)."""
    n_folds: Annotated[int, Field(ge=2, le=50)] = 5
    """Number of folds; not used by district folds (see `districts.max_folds`) nor by calendar years."""
    fold_blocks: PositiveFloat | None = None
    """Spatial folds: side of a block in street blocks; twice the largest influence by default."""
    fold_offset: bool = False
    """Spatial folds: shift the lattice of blocks at random, by the seed."""
    fold_repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """Stratified and spatial folds: number of independent assignments the cross-validation is repeated with."""
    fold_time: Literal["equal", "years"] = "equal"
    """Folds in time: `n_folds` parts of equal length, or one per calendar year."""
    districts: DistrictSpec | None = None
    """District folds and robust standard errors: the layer of districts."""
    exchange: bool = False
    """Stepwise: also try to exchange a variable for another of its factor in one move (RTMDx only adds and drops).
    Without it the report still says what an exchange would gain."""
    robust: bool = False
    """Also give standard errors that allow for resemblance within districts (needs `districts`)."""
    ridge: Annotated[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Field(min_length=1)] = (1e-6, 1e-4)
    """Fixed ridge penalties tried in the culling, per cell (RTMDx's values are unpublished)."""
    mixing: tuple[Annotated[float, Field(ge=1e-3, le=1)], ...] | None = None
    """In place of ridge: shares a of the L1 penalty (glmnet's alpha); the L2 penalty is 1 - a of it."""
    n_penalties: Annotated[int, Field(ge=2, le=1000)] = 100
    rule: Literal["min", "1se", "1se-paired"] = "min"
    """The penalty of the smallest cross-validated deviance (RTMDx), or the largest within one standard error of it:
    the error of the deviance's level (1se), or of its difference from the smallest between folds (1se-paired)."""
    min_support: Annotated[int, Field(ge=1)] = 20
    """A variable must be 1 in at least this many cells ..."""
    min_support_share: Annotated[float, Field(ge=0, lt=1)] = 0.0005
    """... and in at least this share of cells, whichever is more."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Variables of the final model with a larger p value are flagged."""

    @field_validator("families")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"found {', '.join(value)}; name each family once")
        return value

    @model_validator(mode="after")
    def _fold_options(self) -> ModelSpec:
        if self.folds == "district" and self.districts is None:
            raise ValueError('folds = "district" needs [model.districts] with the path and layer of the districts')
        if self.robust and self.districts is None:
            raise ValueError("robust = true needs [model.districts] with the path and layer of the districts")
        if self.fold_repeats > 1 and self.folds in ("district", "time"):
            raise ValueError(
                f"fold_repeats is {self.fold_repeats}, but {self.folds} folds are the same each time; remove it"
            )
        return self


class PosteriorSpec(_Spec):
    """What to expect next: terrain and history combined. Nothing here changes the model or its scores."""

    enabled: bool = True
    """Compute the posterior, map it, and judge it beside terrain and history."""
    smooth: Literal["auto", "none"] | PositiveFloat = "auto"
    """Move the terrain to the level of the cells around: chosen on the fitted period, not at all, or a bandwidth
    (standard deviation of a Gaussian) in blocks."""
    decay: Literal["auto", "none"] | PositiveFloat = "auto"
    """Half-life of the history: chosen on the fitted period, none, or so many fitted periods."""
    dispersion: Literal["auto", "model"] | Annotated[float, Field(ge=0, allow_inf_nan=False)] = "auto"
    """Weight of a cell's own counts: what lasts, chosen on the fitted period; the model's dispersion; or a number."""
    parts: Annotated[int, Field(ge=1, le=366)] = 8
    """Equal parts into which the fitted period is cut, by date, to see what lasts."""
    horizon: PositiveFloat = 1
    """Length of the next period, in fitted periods."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Probability of the intervals."""


class StabilitySpec(_Spec):
    """Repeat the selection on resampled blocks of cells: how sure are factors, reaches and ranks? Nothing here changes
    the model."""

    replicates: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Number of repetitions; 0 is none. 100 cost about as much as five to ten runs."""
    block: PositiveFloat | None = None
    """Side of a block in street blocks; twice the largest influence by default."""
    scheme: Literal["bootstrap", "half"] = "bootstrap"
    """As many blocks as there are, drawn with replacement, or half of them without."""
    recull: bool = False
    """Choose the penalty by cross-validation in every repetition: each then costs a whole run."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Probability of the intervals."""

    @field_validator("replicates")
    @classmethod
    def _two(cls, value: int) -> int:
        if value == 1:
            raise ValueError("found 1; use 0 for none, or at least 2")
        return value


class ReportSpec(_Spec):
    """What the outputs show; nothing here changes the model."""

    title: str | None = None
    top_shares: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.01, 0.05, 0.1, 0.2)
    """Shares of the area at which capture is reported."""
    boosted: bool = False
    """Compare with a gradient-boosted count model fitted to the same variables, out of region and out of time; needs
    scikit-learn (``pip install 'rtmdx[ml]'``) and many times the run's time."""


class Study(_Spec):
    """One Risk Terrain Modeling study.

    Load it with `Study.from_toml`, or build it in Python. Frozen; `id` is a hash of what
    matters to the result (names of the study and the report's settings do not).
    """

    schema_version: Literal[1] = 1
    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the cross-validation folds."""
    path: str | None = None
    """File of the layers that name none; a factor's layer is then its name unless it says otherwise."""
    area: AreaSource
    grid: GridSpec
    outcome: OutcomeSpec
    factors: tuple[FactorSpec, ...]
    holdout: HoldoutSpec | None = None
    impedance: ImpedanceSpec | None = None
    exposure: ExposureSpec | None = None
    model: ModelSpec = ModelSpec()
    posterior: PosteriorSpec = PosteriorSpec()
    stability: StabilitySpec = StabilitySpec()
    report: ReportSpec = ReportSpec()

    @model_validator(mode="before")
    @classmethod
    def _default_file(cls, data: Any) -> Any:
        """Write the study's file into the layers that name none, so that the rest of the code sees one form."""
        if not isinstance(data, dict) or not isinstance(data.get("path"), str):
            return data

        def fill(spec: Any, layer: str | None = None) -> Any:
            if not isinstance(spec, dict) or spec.get("path") is not None:
                return spec
            own = {} if layer is None or spec.get("layer") is not None else {"layer": layer}
            return {**spec, **own, "path": data["path"]}

        out = {**data, **{key: fill(data[key]) for key in ("area", "outcome") if key in data}}
        if isinstance(data.get("factors"), list | tuple):
            out["factors"] = [fill(f, f.get("name") if isinstance(f, dict) else None) for f in data["factors"]]
        way = data.get("impedance")
        if isinstance(way, dict) and isinstance(way.get("barriers"), list | tuple):
            barriers = [fill(b, b.get("name") if isinstance(b, dict) else None) for b in way["barriers"]]
            out["impedance"] = {**way, "barriers": barriers}
        exposure = data.get("exposure")
        if isinstance(exposure, dict) and exposure.get("measure") != "raster":
            out["exposure"] = fill(exposure, "exposure")
        model = data.get("model")
        if isinstance(model, dict) and "districts" in model:
            out["model"] = {**model, "districts": fill(model["districts"], "districts")}
        return out

    @field_validator("factors")
    @classmethod
    def _unique(cls, value: tuple[FactorSpec, ...]) -> tuple[FactorSpec, ...]:
        if not value:
            raise ValueError("found none, expected at least 1 item: a terrain needs a risk factor")
        seen: set[str] = set()
        for factor in value:
            if factor.name in ("area", "outcome", "holdout"):
                raise ValueError(f"a factor is named {factor.name!r}, which names another layer of the study")
            if factor.name in seen:
                raise ValueError(f"two factors are named {factor.name!r}; names must be unique")
            seen.add(factor.name)
        return value

    @model_validator(mode="after")
    def _way(self) -> Study:
        costed = [f.name for f in self.factors if "cost" in f.operationalizations]
        if costed and self.impedance is None:
            raise ValueError(
                f"factor {costed[0]!r} is operationalized by cost distance, but the study has no [impedance] that says "
                "what is in the way; add barriers or friction, or use proximity"
            )
        if self.impedance is not None:
            taken = {"area", "outcome", "holdout", *(f.name for f in self.factors)}
            for barrier in self.impedance.barriers:
                if barrier.name in taken:
                    raise ValueError(f"a barrier is named {barrier.name!r}, which names another layer of the study")
        return self

    @model_validator(mode="after")
    def _fold_layers(self) -> Study:
        if self.model.folds == "time" and not self.outcome.date_field:
            raise ValueError('model.folds = "time" needs outcome.date_field, the field that holds the date')
        if self.model.folds == "time" and self.stability.recull:
            raise ValueError('stability.recull does not work with model.folds = "time"; use other folds')
        if self.model.districts is not None:
            barriers = self.impedance.barriers if self.impedance is not None else ()
            if "districts" in {*(f.name for f in self.factors), *(b.name for b in barriers)}:
                raise ValueError('a layer is named "districts", which names the districts of model.folds')
        return self

    @model_validator(mode="after")
    def _exposure_layer(self) -> Study:
        if self.exposure is not None:
            barriers = self.impedance.barriers if self.impedance is not None else ()
            if "exposure" in {*(f.name for f in self.factors), *(b.name for b in barriers)}:
                raise ValueError('a layer is named "exposure", which names the layer of [exposure]')
        return self

    @model_validator(mode="after")
    def _holdout_dates(self) -> Study:
        h = self.holdout
        if h is not None and (h.start or h.end) and not self.outcome.date_field:
            raise ValueError("holdout: start/end need outcome.date_field, the field that holds the date")
        if h is not None and h.start and h.end and h.end < h.start:
            raise ValueError(f"holdout: end {h.end} is before start {h.start}; give start <= end")
        return self

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, source: str = "study") -> Study:
        """Build a study from plain data.

        Raises
        ------
        StudyError
            With every problem found, each naming the field, the value found and the one expected.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise StudyError(describe(error), source=source) from None

    @classmethod
    def from_toml(cls, path: str | Path, *, overrides: Mapping[str, Any] | None = None) -> Study:
        """Load a study from a TOML file.

        Parameters
        ----------
        path : path
        overrides : mapping of str to value, optional
            Fields to replace, by dotted name: ``{"outcome.layer": "robbery", "factors.bars.effect": "protective"}``
            (a factor by its name or its 1-based number). A value of None removes the field.

        Raises
        ------
        FileError
            The file is missing, unreadable or no TOML.
        StudyError
            The content does not fit; lists every problem.
        """
        return cls.from_dict(read_study(path, overrides), source=str(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the study as JSON-compatible data, defaults included."""
        return self.model_dump(mode="json")

    @property
    def holdout_source(self) -> OutcomeSpec | None:
        """The outcome with the hold-out's fields in place of its own."""
        if self.holdout is None:
            return None
        update = {k: v for k, v in self.holdout.model_dump().items() if v is not None}
        if self.holdout.start or self.holdout.end:  # one open side stays open
            update |= {"start": self.holdout.start, "end": self.holdout.end}
        return self.outcome.model_copy(update=update)

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of what matters to the result."""
        data = self.model_dump(mode="json", exclude={"name", "path", "report"})
        data["outcome"].pop("name")
        for factor in data["factors"]:
            factor.pop("label")
            if not factor["force"]:  # so that studies without it keep their id
                factor.pop("force")
        if data["impedance"] is None:  # so that studies without it keep their id
            data.pop("impedance")
        if data["exposure"] is None:  # likewise
            data.pop("exposure")
        else:
            data["exposure"] = {k: v for k, v in data["exposure"].items() if k not in ("name", "unit")}
        added = ("fold_offset", "fold_repeats", "fold_time", "districts", "exchange", "robust", "mixing", "rule")
        for option in added:  # likewise
            if data["model"][option] == ModelSpec.model_fields[option].default:
                data["model"].pop(option)
        if self.posterior == PosteriorSpec():
            data.pop("posterior")
        if self.stability == StabilitySpec():
            data.pop("stability")
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def n_variables(self) -> int:
        """Number of variables generated, before the support rule."""
        return sum(f.n_bands * len(f.operationalizations) for f in self.factors)


def read_study(path: str | Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a study file as plain data, not yet checked; parameters and errors as for `Study.from_toml`."""
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FileError(f"{path}: no such study file.", hint="Check the path.") from None
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not valid TOML: {error}.", hint="Mend the line named.") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text ({error.reason}).", hint="Save it as UTF-8.") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}.") from None
    for field, value in (overrides or {}).items():
        override(data, field, value)
    return data


def override(data: dict[str, Any], field: str, value: Any) -> None:
    """Replace one field of plain study data, by dotted name."""
    *parents, last = field.split(".")
    node: Any = data
    for i, part in enumerate(parents):
        if isinstance(node, list):
            names = [f.get("name") if isinstance(f, dict) else None for f in node]
            if part in names:
                node = node[names.index(part)]
            elif part.isdigit() and 1 <= int(part) <= len(node):
                node = node[int(part) - 1]
            else:
                raise InputError(f"override {field}: no factor {part!r}.", hint="Give a factor's name or number.")
        else:
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise InputError(f"override {field}: {'.'.join(parents[: i + 1])} holds a value, not a table.")
    if isinstance(node, list):
        raise InputError(f"override {field}: names a whole factor.", hint="Name one of its fields.")
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value


def describe(error: ValidationError) -> list[InputError]:
    """Say what pydantic found, one error per field: the value found and the one expected."""
    out = []
    for item in error.errors(include_url=False):
        field = ".".join(str(p + 1) if isinstance(p, int) else p for p in item["loc"]) or "study"
        found = item.get("input")
        kind, message = item["type"], item["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden":
            out.append(
                InputError(
                    f"{field}: unknown key.", hint="Remove it or mend its spelling; `rtmdx schema` lists the keys."
                )
            )
        elif kind == "missing":
            out.append(InputError(f"{field}: required, but missing.", hint="Add it."))
        elif kind == "value_error":
            out.append(InputError(f"{field}: {message}."))
        else:
            out.append(InputError(f"{field}: found {found!r}; {message[0].lower()}{message[1:]}."))
    return out
