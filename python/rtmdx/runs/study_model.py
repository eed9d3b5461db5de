"""What a study says of the model, the posterior, the stability and the report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rtmdx.runs.study_layers import DistrictSpec, PositiveFloat, Spec
from rtmdx.space.density import KernelName

__all__ = ["ModelSpec", "PosteriorSpec", "ReportSpec", "StabilitySpec"]


class ModelSpec(Spec):
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


class PosteriorSpec(Spec):
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


class StabilitySpec(Spec):
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


class ReportSpec(Spec):
    """What the outputs show; nothing here changes the model."""

    title: str | None = None
    top_shares: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.01, 0.05, 0.1, 0.2)
    """Shares of the area at which capture is reported."""
    boosted: bool = False
    """Compare with a gradient-boosted count model fitted to the same variables, out of region and out of time; needs
    scikit-learn (``pip install 'rtmdx[ml]'``) and many times the run's time."""
