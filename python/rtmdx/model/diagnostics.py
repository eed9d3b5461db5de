"""What a fitted terrain leaves unexplained, and how far to trust it.

One call gathers the parts: likeness of neighbouring residuals (`moran`), collinearity, dispersion, calibration,
hold-out in space (`regions`) and comparison with other scores, with sentences that say what they mean
(`statements`). Nothing here changes the fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.boosted import BoostedModel, boosted_out_of_region, fit_boosted
from rtmdx.model.calibration import Calibration, calibration
from rtmdx.model.collinearity import Collinearity, collinearity
from rtmdx.model.correlogram import Correlogram, correlogram
from rtmdx.model.dispersion import Dispersion, dispersion
from rtmdx.model.laws import CountLaw, Residual, residuals
from rtmdx.model.moran import Contiguity, Moran, moran
from rtmdx.model.outcome import check_counts
from rtmdx.model.regions import SpatialHoldout, hold_out_regions, poisson_deviance
from rtmdx.model.validity import Validity, validity

if TYPE_CHECKING:
    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.space.layers import Finding

__all__ = ["THOROUGH_CELLS", "Comparison", "Diagnostics", "Scored", "diagnose"]

Float = NDArray[np.float64]

THOROUGH_CELLS = 500_000
"""Kept cells up to which a run computes every part without being asked (a second at 80,000)."""


@dataclass(frozen=True)
class Scored:
    """One score among those compared.

    Attributes
    ----------
    name : str
    deviance : float
        Poisson deviance of the counts given the score, scaled to their total; inf where a place of score 0 has events.
    validity : Validity
    """

    name: str
    deviance: float
    validity: Validity


@dataclass(frozen=True)
class Comparison:
    """Scores judged on the same events, which none of them has seen.

    Attributes
    ----------
    kind : {"space", "time"}
        Every cell scored by fits without its region, or a later period scored by fits to an earlier one.
    scores : tuple of Scored
        The terrain first.
    boosted : BoostedModel or None
        The gradient-boosted model compared out of time.
    """

    kind: str
    scores: tuple[Scored, ...]
    boosted: BoostedModel | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; what is undefined is None."""
        return {
            "kind": self.kind,
            "boosted": None if self.boosted is None else self.boosted.to_dict(),
            "scores": [
                {
                    "name": s.name,
                    "deviance": s.deviance if math.isfinite(s.deviance) else None,
                    "validity": s.validity.to_dict(),
                }
                for s in self.scores
            ],
        }


@dataclass(frozen=True)
class Diagnostics:
    """The diagnostics of a terrain.

    Attributes
    ----------
    residual : {"pearson", "quantile"}
    moran : Moran
        Of the residuals of neighbouring cells.
    correlogram : Correlogram or None
    collinearity : Collinearity
    dispersion : Dispersion
    calibration : Calibration
        On the events fitted.
    holdout_calibration : Calibration or None
        On a later period's, expected counts scaled to its total.
    regions : SpatialHoldout or None
    comparisons : tuple of Comparison
    skipped : dict of str to str
        Parts left out, and why.
    """

    residual: Residual
    moran: Moran
    correlogram: Correlogram | None
    collinearity: Collinearity
    dispersion: Dispersion
    calibration: Calibration
    holdout_calibration: Calibration | None = None
    regions: SpatialHoldout | None = None
    comparisons: tuple[Comparison, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict, repr=False)
    unit: str = ""

    @property
    def statements(self) -> tuple[Any, ...]:
        """What the figures mean and what to do, as `rtmdx.model.statements.Statement`."""
        from rtmdx.model.statements import statements

        return statements(self)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The statements that deserve a second look before the result is used."""
        from rtmdx.space.layers import Finding

        return tuple(Finding(s.code, s.where, s.text) for s in self.statements if s.warns)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; what is undefined is None."""

        def part(value: Any) -> Any:
            return None if value is None else value.to_dict()

        return {
            "residual": self.residual,
            "moran": self.moran.to_dict(),
            "correlogram": part(self.correlogram),
            "collinearity": self.collinearity.to_dict(),
            "dispersion": self.dispersion.to_dict(),
            "calibration": self.calibration.to_dict(),
            "holdout_calibration": part(self.holdout_calibration),
            "regions": part(self.regions),
            "comparisons": [c.to_dict() for c in self.comparisons],
            "skipped": dict(self.skipped),
            "statements": [
                {"code": s.code, "where": s.where, "message": s.text, "warns": s.warns} for s in self.statements
            ],
        }


def diagnose(
    terrain: RiskTerrain,
    *,
    residual: Residual = "pearson",
    contiguity: Contiguity = "queen",
    distance: float | None = None,
    permutations: int = 99,
    regions: ArrayLike | None = None,
    holdout: ArrayLike | None = None,
    boosted: bool = False,
    scores: Mapping[str, ArrayLike] | None = None,
    threshold: float = 0.7,
    seed: int = 0,
    thorough: bool = True,
    cancel: Callable[[], bool] | None = None,
) -> Diagnostics:
    """Diagnose a terrain's model.

    Parameters
    ----------
    terrain : RiskTerrain
    residual : {"pearson", "quantile"}
        Residuals of Moran's I; see `rtmdx.model.laws.residuals`.
    contiguity : {"queen", "rook"}
    distance : float, optional
        Neighbours within a distance (CRS units) instead of those that touch.
    permutations : int
        For Moran's permutation p.
    regions : int array, shape (n_cells,), optional
        Region of each cell, for the hold-out in space: `rtmdx.model.folds.spatial_folds`, or districts.
    holdout : int array, shape (n_cells,), optional
        Events per cell of a later period.
    boosted : bool
        Compare with a gradient-boosted count model (needs scikit-learn) out of region, out of time, or both: `regions`
        or `holdout` is needed. On the fitted events it would only flatter.
    scores : mapping of str to float array, optional
        Further scores of the fitted period, compared on `holdout`.
    threshold : float
        |phi| from which factors count as alike.
    seed : int
        Of permutations, randomised residuals and boosting.
    thorough : bool
        False leaves out what takes long on millions of cells: the correlogram, the permutations, correlations
        among all candidates (the model's variables are compared) and the hold-out in space.
    cancel : callable, optional

    Returns
    -------
    Diagnostics

    Raises
    ------
    InputError
        An argument that does not fit the terrain.
    MissingDependencyError
        `boosted` without scikit-learn.
    Cancelled
        `cancel` returned True.
    """
    if boosted and regions is None and holdout is None:
        raise InputError(
            "boosted: nothing to judge it on.",
            hint="Give regions (one number per cell) or holdout (a later period's events per cell).",
        )
    model, design, grid = terrain.model, terrain.design, terrain.grid
    law = CountLaw.of(model)
    y, mu = terrain.counts, terrain.expected_cells
    exposure = None if terrain.exposure is None else terrain.exposure.cells
    skipped: dict[str, str] = {}
    if not thorough:
        skipped["thorough"] = (
            f"{grid.n_cells:,} cells: correlogram, permutations, correlations among all "
            "candidates and hold-out in space "
            "are computed by terrain.diagnostics()"
        )
    values = residuals(y, mu, law, kind=residual, seed=seed)
    include = mu > 0
    near = moran(
        values,
        grid,
        contiguity=contiguity,
        distance=distance,
        permutations=permutations if thorough else 0,
        seed=seed,
        include=include,
        cancel=cancel,
    )
    far = correlogram(values, grid, include=include, cancel=cancel) if thorough else None
    alike = collinearity(
        design,
        model.columns,
        law.working_weight(mu) if mu.any() else None,
        threshold=threshold,
        candidates=None if thorough else model.columns,
        cancel=cancel,
    )
    held = None
    if regions is not None and thorough:
        held = hold_out_regions(model, design, y, regions, exposure=exposure, cancel=cancel)
    later = None if holdout is None else check_counts(design.n_cells, holdout)
    comparisons = []
    if boosted and regions is not None and held is not None and held.pooled is not None:
        other = boosted_out_of_region(design, y, regions, exposure=exposure, seed=seed, cancel=cancel)
        comparisons.append(
            _compare("space", {"Risk terrain": held.expected_cells, "Gradient boosting": other}, np.asarray(y, float))
        )
    if later is not None and (boosted or scores):
        made = fit_boosted(design, y, exposure=exposure, seed=seed) if boosted else None
        judged: dict[str, ArrayLike] = {"Risk terrain": mu, "Past counts": y, **(scores or {})}
        if made is not None:
            judged["Gradient boosting"] = made.expected(design, exposure)
        comparisons.append(_compare("time", judged, later, made))
    return Diagnostics(
        residual=residual,
        moran=near,
        correlogram=far,
        collinearity=alike,
        dispersion=dispersion(y, mu, law, n_parameters=1 + len(model.coefficients)),
        calibration=calibration(y, mu, law),
        holdout_calibration=None if later is None or not later.any() else calibration(later, mu, law, rescale=True),
        regions=held,
        comparisons=tuple(comparisons),
        skipped=skipped,
        labels={f.name: f.label for f in terrain.factors} | {v.name: _label(terrain, v) for v in design.variables},
        unit=grid.symbol,
    )


def _label(terrain: RiskTerrain, v: Any) -> str:
    return f"{terrain.factors[v.factor].label} ({v.operationalization}, {v.distance:.6g} {terrain.grid.symbol})"


def _compare(
    kind: str, scores: Mapping[str, ArrayLike], counts: Float, boosted: BoostedModel | None = None
) -> Comparison:
    total = float(counts.sum())
    out = []
    for name, values in scores.items():
        s = np.asarray(values, dtype=np.float64)
        if s.shape != counts.shape or not np.isfinite(s).all() or (s < 0).any():
            raise InputError(f"score {name!r}: expected {counts.shape} finite numbers >= 0, one per kept cell.")
        scaled = s * (total / s.sum()) if s.any() else s
        period = "held out in space" if kind == "space" else "held out in time"
        judged = validity(s, counts.astype(np.int64), name=name, period=period, predicted=scaled)
        out.append(Scored(name, poisson_deviance(counts, scaled), judged))
    return Comparison(kind, tuple(out), boosted)
