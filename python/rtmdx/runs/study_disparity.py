"""The [disparity] section of a study: which groups are compared, over what, against what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rtmdx.runs.study_layers import Source, Spec

__all__ = ["DisparitySpec", "GroupExposureSpec", "PopulationMask"]

Pooling = Literal["pooled", "mean_of_ratios", "ratio_of_mean_rates", "mantel_haenszel"]


Share = Annotated[float, Field(gt=0, le=1)]
Level = Annotated[float, Field(gt=0, lt=1)]


class PopulationMask(Source):
    """Polygons that say where nobody lives (parks, water, industry), or where people do."""

    says: Literal["nobody", "people"] = "nobody"
    """What the polygons are: where nobody lives, or where people do."""


class GroupExposureSpec(Source):
    """Residents of zones, put into the terrain's cells: how much of its risk each group lives with.

    `path` and `layer` are the zones, polygons with columns of counts; the file is the study's by default.
    """

    key: str | None = None
    """Column that names the zones."""
    groups: dict[str, str]
    """Groups and the columns of their residents; groups have no members in common."""
    total: str | None = None
    """Column of all residents: what the groups leave of it becomes one more group."""
    rest: str = "other"
    """Name of that group."""
    table: str | None = None
    """CSV with the columns of counts, joined to the zones by `key`; the zones hold them by default."""
    margins: dict[str, str] = Field(default_factory=dict)
    """Groups and the columns of their margins of error."""
    total_margin: str | None = None
    """Column of the margin of error of `total`, in place of `margins`: each group is given it times the root of its
    share, which is an assumption and is said with the result."""
    margin_level: Level = 0.9
    """Probability of the margins; the census prints 90 %."""
    allocation: Literal["areal", "dasymetric", "weighted"] = "areal"
    """By area; by the area of cells that are mostly habitable by `mask`; or by the habitable area of every cell."""
    mask: tuple[PopulationMask, ...] = ()
    """Where nobody lives, or where people do, one layer or several; needed unless the allocation is areal."""
    reference: str | None = None
    """The group the others are compared with, besides everyone else; that of [disparity] by default."""
    measure: Literal["score", "expected"] = "score"
    """The terrain's relative risk score, or its expected count."""
    top: tuple[Share, ...] = (0.01, 0.05, 0.1)
    """Shares of the cells of highest risk in which each group's share is told."""
    margins_by: Literal["auto", "delta", "simulation", "none"] = "auto"
    """Intervals from the margins of error: by the delta method, or by drawing populations."""
    model_draws: bool = False
    """Intervals from the uncertainty of the terrain's coefficients too."""
    draws: Annotated[int, Field(ge=10, le=100_000)] = 500
    """Simulations, where any are asked for."""

    @field_validator("mask", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict | PopulationMask) else value

    @model_validator(mode="after")
    def _fitting_parts(self) -> GroupExposureSpec:
        if not self.groups:
            raise ValueError('groups: found none, expected group = column pairs, such as {Black = "black", ...}')
        if len({m.says for m in self.mask}) > 1:
            raise ValueError('mask: found layers that say "nobody" and layers that say "people"; use one of the two')
        if (self.allocation != "areal") != bool(self.mask):
            wanted = (
                "takes no mask" if self.allocation == "areal" else "needs a mask, where nobody or where people live"
            )
            raise ValueError(f'allocation = "{self.allocation}" {wanted}')
        if self.table is not None and self.key is None:
            raise ValueError("table needs key, the column that names the zones in both")
        names = {*self.groups, *([self.rest] if self.total is not None else [])}
        unknown = [g for g in self.margins if g not in names]
        if unknown:
            raise ValueError(f"margins: {unknown[0]!r} is no group; there are {', '.join(sorted(names))}")
        if self.total_margin is not None and (self.total is None or self.margins):
            raise ValueError("total_margin is of total, and stands in place of margins; name total, and no margins")
        if self.margins_by in ("delta", "simulation") and not (self.margins or self.total_margin):
            raise ValueError(f'margins_by = "{self.margins_by}" needs margins, the columns of the margins of error')
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference: found {self.reference!r}, expected one of {', '.join(sorted(names))}")
        return self


class DisparitySpec(Spec):
    """Groups compared: by a long table of events and exposures, by the terrain they live with, or both.

    Nothing here changes the model.
    """

    path: str | None = None
    """CSV (.csv, .csv.gz) or a file GDAL reads, one row per group, area and period. Relative paths are taken from the
    data folder. Without it only the exposure is told."""
    layer: str | None = None
    """Layer name, needed when the file holds several."""
    reference: str | None = None
    """The group the others are compared with; a table needs one."""
    group: str = "group"
    """Column of the group."""
    events: str = "events"
    """Column of the events."""
    benchmark: str = "residents"
    """Column the events are held against."""
    benchmarks: tuple[str, ...] = ()
    """Other columns they could be held against: the ratio is shown under each."""
    strata: tuple[str, ...] = ()
    """Columns of areas and periods that rules other than sums average over."""
    pooling: Pooling = "pooled"
    """How areas and periods are put together."""
    kind: Literal["person", "place"] = "person"
    """Whether events are of persons of a group, or in the places of a group."""
    interval: Literal["midp", "exact", "minlike", "score", "wald-log"] = "midp"
    """Interval of a pooled ratio."""
    level: Level = 0.95
    """Probability of the intervals."""
    per: Annotated[float, Field(gt=0)] = 1000.0
    """Rates are per so many units of the benchmark."""
    outcome: str | None = None
    """What the events are, for people; the column's name by default."""
    enforcement: bool | None = None
    """Whether enforcement itself makes the outcome (stops, searches, force); by its name if not said."""
    covariates: tuple[str, ...] = ()
    """Columns the ratio is adjusted for by regression, such as poverty; needs `cluster`."""
    factors: tuple[str, ...] = ()
    """Columns whose every value has its own level in the regression, such as the year."""
    cluster: str | None = None
    """Column of the place; rows of one place are not taken for independent."""
    family: Literal["poisson", "negative-binomial"] = "poisson"
    """Law of the regression."""
    without_exposure: Literal["refuse", "drop"] = "refuse"
    """Events in places without exposure of their group: stop, or leave them out of the regression and say how many."""

    exposure: GroupExposureSpec | None = None
    """How much of the terrain's risk each group of residents lives with."""

    @model_validator(mode="after")
    def _fitting(self) -> DisparitySpec:
        if self.path is None and self.exposure is None:
            raise ValueError(
                "found neither path, a table of groups, nor exposure, zones of residents; give one or both"
            )
        if self.path is not None and self.reference is None:
            raise ValueError("reference: required with path: the group the others are compared with")
        if self.path is None and self.reference is not None and self.reference != self.exposure_reference:
            raise ValueError(f"reference: found {self.reference!r}, expected a group of exposure.groups")
        if self.pooling != "pooled" and not self.strata:
            raise ValueError(f'pooling = "{self.pooling}" needs strata, the columns to average over')
        if (self.covariates or self.factors) and self.cluster is None:
            raise ValueError("covariates and factors need cluster, the column of the place")
        if self.cluster is not None and not (self.covariates or self.factors):
            raise ValueError("cluster is for covariates and factors; name some, or remove it")
        return self

    @property
    def exposure_reference(self) -> str | None:
        """The group that exposures are compared with: the exposure's own, else the table's where it has residents."""
        spec = self.exposure
        if spec is None:
            return None
        names = {*spec.groups, *([spec.rest] if spec.total is not None else [])}
        return spec.reference or (self.reference if self.reference in names else None)
