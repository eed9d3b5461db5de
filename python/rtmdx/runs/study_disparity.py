"""The [disparity] section of a study: which groups are compared, over what, against what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rtmdx.runs.study_layers import Spec

__all__ = ["DisparitySpec"]

Pooling = Literal["pooled", "mean_of_ratios", "ratio_of_mean_rates", "mantel_haenszel"]


class DisparitySpec(Spec):
    """A long table of groups, areas and periods with counts and exposures. Nothing here changes the model."""

    path: str
    """CSV (.csv, .csv.gz) or a file GDAL reads, one row per group, area and period. Relative paths are taken from the
    data folder."""
    layer: str | None = None
    """Layer name, needed when the file holds several."""
    reference: str
    """The group the others are compared with."""
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
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
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

    @model_validator(mode="after")
    def _fitting(self) -> DisparitySpec:
        if self.pooling != "pooled" and not self.strata:
            raise ValueError(f'pooling = "{self.pooling}" needs strata, the columns to average over')
        if (self.covariates or self.factors) and self.cluster is None:
            raise ValueError("covariates and factors need cluster, the column of the place")
        if self.cluster is not None and not (self.covariates or self.factors):
            raise ValueError("cluster is for covariates and factors; name some, or remove it")
        return self
