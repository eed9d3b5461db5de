"""The risk terrain: relative risk scores, expected counts, and everything that led to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.model.design import Design
from rtmdx.model.scores import Band, relative_risk_score, risk_bands
from rtmdx.model.validity import Validity
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Cleaning, Events, Finding, RiskFactor

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import geopandas as gpd
    import pandas as pd
    import xarray as xr

    from rtmdx.model.culling import CullingResult
    from rtmdx.model.diagnostics import Diagnostics
    from rtmdx.model.families import CountModel
    from rtmdx.model.fold_plan import FoldPlan
    from rtmdx.model.fold_stability import FoldStability
    from rtmdx.model.posterior import PosteriorRisk
    from rtmdx.model.stability import Stability
    from rtmdx.model.stepwise import StepwiseResult
    from rtmdx.space.exposure import Exposure

__all__ = ["Band", "RiskTerrain", "relative_risk_score", "risk_bands"]


@dataclass(frozen=True, eq=False)
class RiskTerrain:
    """The result of a run.

    Attributes
    ----------
    title : str
    grid : Grid
    events : Events
        Cleaned events the model was fitted to; ``events.cleaning`` says what was dropped.
    counts : int64 array, shape (n_cells,)
        Events per kept cell.
    factors : tuple of RiskFactor
    design : Design
    culling : CullingResult
    selection : StepwiseResult
        ``selection.model`` is the final `CountModel`, also as ``model``.
    score_cells, expected_cells : float64 arrays, shape (n_cells,)
        Relative risk score (lowest cell 1) and expected count per cell over the outcome's period. With an exposure the
        score is per unit of it, and the expected count is exposure times risk.
    bands, bands_note
        Risk classes with their shares of area and events.
    fitted : tuple of Validity
        In-sample: the terrain, and kernel density of the same events. Fitted figures flatter.
    holdout : tuple of Validity
        Out of time: terrain, past counts, kernel density and posterior scored on the hold-out's events;
        empty without a hold-out.
    holdout_cleaning : Cleaning or None
    findings : tuple of Finding
        What deserves a second look in the input or the result.
    diagnosed : Diagnostics or None
        What the run found out about the model's fit; `diagnostics` computes it anew, with other options.
    config : mapping
        The study as plain data.
    provenance : mapping
        Study id, input digests, versions, build, seed, time.
    fold_plan : FoldPlan or None
        How the penalty was cross-validated.
    posterior_risk : PosteriorRisk or None
        What to expect of the next period, as the study asks for it; `posterior` makes others.
    exposure : Exposure or None
        What events can happen to, per cell, where the study names it.
    resampled : Stability or None
        How the selection and the ranks vary over replicates, where the study asks for it; `stability` computes it.
    """

    title: str
    grid: Grid
    events: Events
    counts: NDArray[np.int64]
    factors: tuple[RiskFactor, ...]
    design: Design
    culling: CullingResult
    selection: StepwiseResult
    score_cells: NDArray[np.float64]
    expected_cells: NDArray[np.float64]
    bands: tuple[Band, ...]
    bands_note: str
    fitted: tuple[Validity, ...]
    holdout: tuple[Validity, ...] = ()
    holdout_cleaning: Cleaning | None = None
    findings: tuple[Finding, ...] = ()
    block_length: float = np.nan
    diagnosed: Diagnostics | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    fold_plan: FoldPlan | None = None
    posterior_risk: PosteriorRisk | None = None
    exposure: Exposure | None = None
    resampled: Stability | None = None

    @property
    def model(self) -> CountModel:
        """The selected count model."""
        return self.selection.model

    @property
    def score(self) -> xr.DataArray:
        """Relative risk score, dims (y, x), NaN outside the study area; 1 is the lowest risk."""
        attrs = {"long_name": "relative risk score", "units": "1"}
        return self.grid.dataarray(self.grid.to_raster(self.score_cells), "score", attrs)

    @property
    def expected(self) -> xr.DataArray:
        """Expected number of events per cell over the outcome's period, dims (y, x)."""
        attrs = {"long_name": "expected events per cell", "units": "1"}
        return self.grid.dataarray(self.grid.to_raster(self.expected_cells), "expected", attrs)

    def posterior(
        self,
        history: Events | ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        smooth: Literal["auto"] | float | None = "auto",
        decay: Literal["auto"] | float | None = "auto",
        dispersion: Literal["auto", "model"] | float = "auto",
        horizon: float = 1.0,
        level: float = 0.9,
        parts: int = 8,
        check: Callable[[], None] | None = None,
    ) -> PosteriorRisk:
        """Combine the terrain with what happened: expected counts of a next period, with intervals.

        The terrain says where the landscape is risky and why, the history where events were, the
        posterior what to expect. Nothing is chosen on anything but the history. The unit of time is
        the period the model was fitted to.

        Parameters
        ----------
        history : Events or array of whole numbers, shape (n_cells,) or (n_periods, n_cells), optional
            By default the events the model was fitted to. Periods go from old to new.
        lengths : float or float array, shape (n_periods,), optional
            Lengths of the periods, in fitted periods. Needed for several periods of counts, and for
            events whose dates do not tell; 1 for counts of one period.
        smooth : "auto", float or None
            Move the terrain to the level of the cells around first, by a Gaussian of this bandwidth (CRS
            units); "auto" chooses it, and whether to smooth at all, by leave-one-cell-out likelihood.
        decay : "auto", float or None
            Half-life of the history in fitted periods; "auto" chooses it one step ahead; None is no decay.
        dispersion : "auto", "model" or float
            Weight of a cell's own counts. "auto" takes what lasts, chosen one step ahead where the
            history has two or more periods; "model" takes the fitted dispersion: with `smooth` and
            `decay` None that is the exact posterior of the negative binomial.
        horizon : float
            Length of the next period, in fitted periods.
        level : float
            Probability of the intervals.
        parts : int
            Equal parts into which dated events are cut.
        check : callable, optional
            Called now and then; raises to stop.

        Returns
        -------
        PosteriorRisk
            Under a Poisson, or a dispersion of 0, the terrain itself; its ``notes`` say so.

        Raises
        ------
        InputError
            A shape, sign or value does not fit, a length cannot be told, or a cell without exposure has events.
        """
        from rtmdx.model.posterior import posterior_risk

        return posterior_risk(
            self, history, lengths=lengths, smooth=smooth, decay=decay, dispersion=dispersion, horizon=horizon,
            level=level, parts=parts, check=check,
        )  # fmt: skip

    @property
    def table(self) -> pd.DataFrame:
        """The final model, one row per variable.

        Columns: factor, label, effect, operationalization, influence (CRS units), influence_blocks,
        coefficient, rrv, rrv_low, rrv_high (95 %), presence_ratio, std_error, t, p, cells, variable. For a protective
        factor the coefficient is positive on the 0/-1 column, and ``rrv`` is the factor by which
        *absence* raises risk; ``presence_ratio`` = exp(sign x coefficient) is the change where present. With
        district-robust standard errors also robust_std_error, robust_p, robust_rrv_low and robust_rrv_high (95 %).
        """
        from rtmdx.model.terrain_tables import model_table

        return model_table(self)

    @property
    def band_index(self) -> NDArray[np.uint8]:
        """Position in ``bands`` (highest first) of each kept cell, shape (n_cells,)."""
        index = np.full(self.grid.n_cells, len(self.bands) - 1, dtype=np.uint8)
        for i in range(len(self.bands) - 2, -1, -1):
            index[self.score_cells >= self.bands[i].lower] = i
        return index

    @property
    def cells(self) -> gpd.GeoDataFrame:
        """One square polygon per kept cell: count, score, expected, band, posterior with limits, ranks, 0/1 columns."""
        from rtmdx.model.terrain_tables import cell_polygons

        return cell_polygons(self)

    @property
    def exposure_columns(self) -> dict[str, NDArray[np.float64]]:
        """The exposure by cell as it stands in every table; empty where the study names none."""
        return {} if self.exposure is None else {"exposure": self.exposure.cells}

    @property
    def posterior_columns(self) -> dict[str, NDArray[np.float64]]:
        """The posterior by cell as it stands in every table; empty where the study asks for none."""
        risk = self.posterior_risk
        if risk is None:
            return {}
        return {
            "posterior": risk.expected_cells,
            "posterior_lower": risk.lower_cells,
            "posterior_upper": risk.upper_cells,
        }

    @property
    def rank_columns(self) -> dict[str, NDArray[np.float64]]:
        """Rank intervals and top probabilities by cell as they stand in every table; empty without replicates."""
        return {} if self.resampled is None else self.resampled.columns

    @property
    def formula(self) -> str:
        """Raster-calculator formula of the relative risk score, before scaling the lowest cell to 1."""
        terms = [
            f'{"-" if v.sign < 0 else ""}{c:.4f} * "{v.name}"'
            for c, v in zip(self.model.coefficients, self.model.variables, strict=True)
        ]
        return f"Exp({' + '.join(terms)})" if terms else "1"

    def diagnostics(self, **options: Any) -> Diagnostics:
        """Diagnose the model: likeness of neighbouring residuals, collinearity, dispersion, calibration, hold-outs.

        Takes the options of `rtmdx.model.diagnostics.diagnose`: ``residual``, ``contiguity``, ``distance``,
        ``permutations``, ``regions`` (a number per cell: hold-out in space), ``holdout`` (a later period's events per
        cell), ``boosted``, ``scores``, ``threshold``, ``seed``, ``cancel``.
        """
        from rtmdx.model.diagnostics import diagnose

        return diagnose(self, **options)

    def stability(
        self,
        replicates: int = 100,
        *,
        block: float | None = None,
        scheme: Literal["bootstrap", "half"] = "bootstrap",
        seed: int = 0,
        recull: bool = False,
        folds: ArrayLike | None = None,
        level: float = 0.9,
        shares: Sequence[float] = (0.01, 0.05, 0.1),
        threads: int = 1,
        progress: Callable[[str, int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Stability:
        """Repeat the selection on resampled blocks of cells: how sure are its factors, and the cells' ranks?

        Parameters
        ----------
        replicates : int
            At least 2.
        block : float, optional
            Side of a block, CRS units; by default twice the largest influence (`suggest_block`).
        scheme : {"bootstrap", "half"}
            Draw as many blocks as there are, with replacement, or half of them without.
        seed : int
            Every replicate has a seed of its own, spawned from it.
        recull : bool
            Choose the penalty by cross-validation in every replicate, as slow as that many runs. By default the
            penalty is the run's, and culling and stepwise are repeated.
        folds : int array, shape (n_cells,) or (n_repeats, n_cells), optional
            Folds for `recull`; by default the run's, if stratified or spatial.
        level : float
            Probability of the intervals.
        shares : sequence of float
            Shares of the cells that count as the top.
        threads : int
            The result is the same for any number.
        progress : callable, optional
            Called as ``progress("stability", done, replicates)`` in the caller's thread.
        cancel : callable, optional
            Asked often; true stops.

        Returns
        -------
        Stability

        Raises
        ------
        InputError
            An argument is out of range, the area is one block, or the run's folds cannot be made again.
        FitError
            No replicate could be fitted.
        Cancelled
            `cancel` returned true.
        """
        from rtmdx.model.stability import assess_stability

        return assess_stability(
            self, replicates=replicates, block=block, scheme=scheme, seed=seed, recull=recull, folds=folds, level=level,
            shares=shares, threads=threads, progress=progress, cancel=cancel,
        )  # fmt: skip

    def fold_stability(self, **options: Any) -> FoldStability:
        """Repeat the selection with folds from other seeds and of other kinds: what does the deal of the folds decide?

        Takes the options of `rtmdx.model.fold_stability.assess_fold_stability`: ``seeds`` (0 to 9), ``kinds``
        ("stratified", "spatial": shifted blocks twice the largest influence wide), ``k``, ``threads``, ``progress``,
        ``cancel``. Each seed of each kind costs a whole culling. Raises InputError for options out of range, FitError
        where no selection could be fitted.
        """
        from rtmdx.model.fold_stability import assess_fold_stability

        return assess_fold_stability(self, **options)

    def to_zarr(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write score, expected count, posterior and events per cell as one Zarr store plain xarray opens."""
        from rtmdx.model.export import write_zarr

        write_zarr(self, path, overwrite=overwrite)

    def to_geotiff(self, path: str | os.PathLike[str], which: str = "score", *, overwrite: bool = False) -> None:
        """Write "score", "expected" or "posterior" as a cloud-optimised GeoTIFF (needs rasterio)."""
        from rtmdx.model.export import write_geotiff

        write_geotiff(self, path, which, overwrite=overwrite)

    def to_geopackage(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write layers ``cells`` and ``model`` with provenance as a GeoPackage."""
        from rtmdx.model.export import write_geopackage

        write_geopackage(self, path, overwrite=overwrite)

    def report(self, path: str | os.PathLike[str], *, overwrite: bool = False, sections: Sequence[Any] = ()) -> None:
        """Write the report as one self-contained HTML file (needs jinja2).

        `sections` are of other wings, such as ``rtmdx.disparity.assess(...).section()``.
        """
        from rtmdx.report import write_report  # the one call upward, at run time only

        write_report(self, path, overwrite=overwrite, sections=sections)

    def __repr__(self) -> str:
        m = self.model
        return (
            f"RiskTerrain({self.title!r}: {int(self.counts.sum()):,} events, {self.grid.n_cells:,} cells, "
            f"{m.family} with {len(m.variables)} factors, RRS 1 to {self.score_cells.max():.4g})"
        )
