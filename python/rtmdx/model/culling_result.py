"""What culling takes and gives: parts of the period as folds, penalty paths, and the variables selected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["CullingPath", "CullingResult", "FoldSummary", "PeriodFolds", "Rule"]

Float = NDArray[np.float64]
Rule = Literal["min", "1se", "1se-paired"]


@runtime_checkable
class PeriodFolds(Protocol):
    """Folds that are parts of the period: `rtmdx.model.folds.TimeFolds` is one.

    Attributes
    ----------
    counts : array of whole numbers, shape (k, n_cells)
        Events per part; they sum to the counts.
    share : float array, shape (k,)
        Share of the exposure of each part; they sum to 1.
    """

    @property
    def counts(self) -> NDArray[Any]:
        """Counts by part and cell."""

    @property
    def share(self) -> NDArray[Any]:
        """Share of the exposure by part."""


@dataclass(frozen=True, slots=True)
class FoldSummary:
    """One fold: its number, repeat, cells and events.

    For parts of the period `cells` is the number of cells times the part's share of it, rounded.
    """

    fold: int
    cells: int
    events: int
    repeat: int = 0


@dataclass(frozen=True)
class CullingPath:
    """The penalty path of one ridge, or mixing, value.

    Attributes
    ----------
    ridge : float or None
        The fixed L2 penalty; None where mixing sets it.
    mixing : float or None
        The share a of the L1 penalty: ``l1 = a * penalty``, ``l2 = (1 - a) * penalty``; None where the ridge is fixed.
    penalties : float64 array, shape (m,)
        Penalties tried, decreasing; shorter than asked for if the path stopped early. The L1 penalty itself where
        the ridge is fixed.
    cv_deviance : float64 array, shape (m,)
        Held-out Poisson deviance per cell, over all folds.
    cv_standard_error : float64 array, shape (m,)
        Standard error of it between folds.
    n_nonzero : int array, shape (m,)
        Nonzero coefficients of the fit to all cells.
    coefficients : float64 array, shape (m, p)
    intercepts : float64 array, shape (m,)
        Of the fits to all cells.
    kkt_residuals : float64 array, shape (m,)
        Largest violation of the optimality conditions, as a share of `lambda_max`, over all variables of
        the fit to all cells and of those solved with it.
    fold_deviance : float64 array, shape (n_groups, m)
        Held-out deviance of each fold (fold by fold, repeat by repeat), summed over its cells.
    stopped_early : bool
    """

    ridge: float | None
    mixing: float | None
    penalties: Float
    cv_deviance: Float
    cv_standard_error: Float
    n_nonzero: NDArray[np.int64]
    coefficients: Float = field(repr=False)
    intercepts: Float = field(repr=False)
    kkt_residuals: Float = field(repr=False)
    fold_deviance: Float = field(repr=False)
    stopped_early: bool

    @property
    def name(self) -> str:
        """The fixed value, for people."""
        return f"ridge {self.ridge:g}" if self.mixing is None else f"mixing {self.mixing:g}"


@dataclass(frozen=True)
class CullingResult:
    """What culling chose, and how.

    Attributes
    ----------
    selected : tuple of int
        Columns with a nonzero coefficient, ascending.
    coefficients : float64 array, shape (p,)
    intercept : float
    penalty : float
        The winning L1 penalty.
    ridge : float
        The winning L2 penalty.
    mixing : float or None
        The winning mixing value, where penalties were mixed.
    rule : {"min", "1se", "1se-paired"}
        How the penalty was chosen along its path.
    best_penalty : float
        The L1 penalty of the smallest cross-validated deviance; equals `penalty` under "min".
    kkt_residual : float
        Largest violation of the optimality conditions over all variables at the chosen penalty, as a
        share of `lambda_max`.
    lambda_max : float
        The smallest L1 penalty at which every coefficient is zero.
    paths : tuple of CullingPath
        One per ridge or mixing value, in the order given.
    folds : tuple of FoldSummary
    n_rows : int
        Distinct rows of the design: what the cells collapsed to.
    notes : tuple of str
    """

    selected: tuple[int, ...]
    coefficients: Float
    intercept: float
    penalty: float
    ridge: float
    mixing: float | None
    rule: Rule
    best_penalty: float
    kkt_residual: float
    lambda_max: float
    paths: tuple[CullingPath, ...]
    folds: tuple[FoldSummary, ...]
    n_rows: int
    notes: tuple[str, ...] = ()
