"""A gradient-boosted count model on the same design, for comparison: what a flexible predictor makes of the same data.

It sees the blocks' codes (band of each distance, bits of each density), so interactions and any shape of decay, but
no more than the terrain's candidates do. It needs scikit-learn: ``pip install 'rtmdx[ml]'``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import Cancelled, InputError, MissingDependencyError
from rtmdx.model.design import Design
from rtmdx.model.outcome import check_counts, check_exposure
from rtmdx.model.regions import check_regions

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

__all__ = ["BoostedModel", "boosted_out_of_region", "features", "fit_boosted", "require_scikit_learn"]

Float = NDArray[np.float64]

# modest trees, as many as a tenth of the training cells, set aside, asks for
_SETTINGS: dict[str, Any] = {
    "loss": "poisson",
    "learning_rate": 0.1,
    "max_iter": 300,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 50,
    "l2_regularization": 1.0,
    "early_stopping": True,
    "validation_fraction": 0.1,
    "n_iter_no_change": 10,
}
_MIN_CELLS = 200


@dataclass(frozen=True)
class BoostedModel:
    """A fitted gradient-boosted count model.

    Attributes
    ----------
    n_cells, n_features, n_trees : int
    seed : int
    settings : dict
        Of scikit-learn's HistGradientBoostingRegressor.
    unit : float or None
        Mean exposure of the cells fitted to; None without an exposure.
    """

    n_cells: int
    n_features: int
    n_trees: int
    seed: int
    settings: dict[str, Any]
    _estimator: HistGradientBoostingRegressor = field(repr=False)
    unit: float | None = None

    def expected(self, design: Design, exposure: ArrayLike | None = None) -> Float:
        """Return the expected count per cell of a design with the same blocks, shape (n_cells,).

        A model fitted with an exposure needs one, in the same unit.
        """
        x = features(design)
        if x.shape[1] != self.n_features:
            raise InputError(f"The design gives {x.shape[1]} features, the model was fitted to {self.n_features}.")
        if (exposure is None) != (self.unit is None):
            raise InputError(f"exposure: the model was fitted {'without' if self.unit is None else 'with'} one.")
        weight = check_exposure(design.n_cells, exposure)
        return _predict(self._estimator, x, None if weight is None or self.unit is None else weight / self.unit)

    def to_dict(self) -> dict[str, Any]:
        """Return what it is as plain data."""
        return {
            "n_cells": self.n_cells,
            "n_features": self.n_features,
            "n_trees": self.n_trees,
            "seed": self.seed,
            "settings": dict(self.settings),
        }


def features(design: Design) -> NDArray[np.uint8]:
    """Return the codes as features, shape (n_cells, n_features).

    A block of nested bands (proximity, cost) is one ordered feature, its band; one of densities is its 0/1 columns.
    """
    columns: list[NDArray[np.uint8]] = []
    for block in design.blocks:
        if not block.variables:
            continue
        if block.variables[0].operationalization == "density":
            columns += [block.decode[:, k][block.codes] for k in range(len(block.variables))]
        else:
            columns.append(block.codes)
    return np.column_stack(columns) if columns else np.zeros((design.n_cells, 0), dtype=np.uint8)


def fit_boosted(design: Design, counts: ArrayLike, *, exposure: ArrayLike | None = None, seed: int = 0) -> BoostedModel:
    """Fit the gradient-boosted model to all cells of a design.

    Judge it on other events only (a later period): on its own it flatters more than any terrain.

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
    exposure : array, shape (n_cells,), optional
        The rate per unit of it is fitted, weighted by it: the Poisson likelihood of an offset. Cells of 0 are left out.
    seed : int
        Of the cells set aside for early stopping.

    Returns
    -------
    BoostedModel
        The same for the same input and seed: it runs on one thread, since its sums depend on their number. It holds 9
        bytes a cell and feature while it is fitted.

    Raises
    ------
    MissingDependencyError
        scikit-learn is not installed.
    InputError
        No variable, no events, or fewer than 200 cells.
    """
    y = check_counts(design.n_cells, counts)
    x = features(design)
    estimator, unit = _fit(x, y, check_exposure(design.n_cells, exposure, y), seed)
    return BoostedModel(len(y), x.shape[1], int(estimator.n_iter_), seed, dict(_SETTINGS), estimator, unit)


def boosted_out_of_region(
    design: Design,
    counts: ArrayLike,
    regions: ArrayLike,
    *,
    exposure: ArrayLike | None = None,
    seed: int = 0,
    cancel: Callable[[], bool] | None = None,
) -> Float:
    """Return each cell's expected count by a gradient-boosted model fitted without its region.

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
    regions : int array, shape (n_cells,)
    exposure : array, shape (n_cells,), optional
        As for `fit_boosted`.
    seed : int
    cancel : callable, optional
        Asked between fits.

    Returns
    -------
    float64 array, shape (n_cells,)

    Raises
    ------
    MissingDependencyError, InputError
        As `fit_boosted`; regions that are not whole numbers, or all one.
    Cancelled
        `cancel` returned True.
    """
    y = check_counts(design.n_cells, counts)
    where = check_regions(regions, design.n_cells)
    weight = check_exposure(design.n_cells, exposure, y)
    x = features(design)
    out = np.empty(len(y))
    for number in np.unique(where):
        if cancel is not None and cancel():
            raise Cancelled("The gradient-boosted comparison was cancelled.")
        inside = where == number
        estimator, unit = _fit(x[~inside], y[~inside], None if weight is None else weight[~inside], seed)
        out[inside] = _predict(estimator, x[inside], None if weight is None or unit is None else weight[inside] / unit)
    return out


def require_scikit_learn() -> None:
    """Raise MissingDependencyError, which names the extra, where scikit-learn is not installed."""
    try:
        import sklearn.ensemble  # noqa: F401
        import threadpoolctl  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "The gradient-boosted comparison needs scikit-learn.", hint="Install it with: pip install 'rtmdx[ml]'"
        ) from None


def _fit(
    x: NDArray[np.uint8], y: Float, exposure: Float | None, seed: int
) -> tuple[HistGradientBoostingRegressor, float | None]:
    """Fit to counts, or to rates weighted by exposure in units of its mean, which is returned."""
    require_scikit_learn()
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    if not x.shape[1]:
        raise InputError("The design has no variable: there is nothing to boost on.")
    if exposure is not None:
        on = exposure > 0
        x, y, exposure = x[on], y[on], exposure[on]
    if len(y) < _MIN_CELLS:
        raise InputError(f"{len(y)} cells; the gradient-boosted comparison needs at least {_MIN_CELLS}.")
    if not math.fsum(y):
        raise InputError("No events among the cells it would be fitted to.")
    estimator = HistGradientBoostingRegressor(**_SETTINGS, random_state=seed)
    with threadpool_limits(1):
        if exposure is None:
            return estimator.fit(x, y), None
        unit = float(exposure.mean())  # so that weights, and the settings' meaning, are as without exposure
        return estimator.fit(x, y / (exposure / unit), sample_weight=exposure / unit), unit


def _predict(estimator: HistGradientBoostingRegressor, x: NDArray[np.uint8], exposure: Float | None = None) -> Float:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        rate = np.asarray(estimator.predict(x), dtype=np.float64)
    return rate if exposure is None else rate * exposure
