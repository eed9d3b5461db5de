"""Maximum likelihood on a collapsed table: the solver beneath `families` and `stepwise`.

A fit with k binary variables needs only, for each (pattern of the k variables, count y), the number
of cells: a few hundred rows whatever the number of cells. The parameters are the intercept, k
coefficients and, for the negative binomials, the log dispersion, all maximised together by Newton's
method with the exact Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx import _stats
from rtmdx.errors import FitError
from rtmdx.model.tables import CountTable

__all__ = ["FAMILIES", "Family", "TableFit", "fit_table"]

Family = Literal["poisson", "nbii", "nb2"]
FAMILIES: tuple[Family, ...] = ("poisson", "nbii", "nb2")

Float = NDArray[np.float64]

MAX_STEPS = 100
MAX_COEFFICIENT = 30.0  # beyond it a coefficient is taken to be running to infinity
MIN_LOG_DISPERSION = -18.0  # below it the negative binomial is the Poisson to rounding
DECREMENT = 1e-16  # twice the gain in log L still promised when a fit is accepted


@dataclass(frozen=True)
class TableFit:
    """A maximum of the likelihood of a table.

    Attributes
    ----------
    parameters : float64 array, shape (1 + k,) or (2 + k,)
        Intercept, coefficients and, except for Poisson, log dispersion (-inf at the boundary).
    covariance : float64 array
        Inverse of the observed information; NaN in the dispersion's row and column at the boundary.
    log_likelihood : float
        With all constants.
    at_boundary : bool
        The dispersion's estimate is 0: the fit is the Poisson's.
    n_iterations : int
    """

    parameters: Float
    covariance: Float
    log_likelihood: float
    at_boundary: bool
    n_iterations: int


class _Likelihood:
    """log L of one family on one table, with gradient and Hessian in all parameters."""

    def __init__(self, table: CountTable, family: Family) -> None:
        self.table = table
        self.number = FAMILIES.index(family)
        self.k = table.x.shape[1]
        self.sums = np.empty((table.x.shape[0], 5))
        self.eta = np.empty(table.x.shape[0])

    def value(self, parameters: Float) -> float:
        """Log L; leaves its derivatives by pattern in `sums`. -inf where it overflows."""
        table = self.table
        eta = self.eta
        _stats.linear_predictor(table.x, np.ascontiguousarray(parameters[: self.k]), eta)
        if float(np.max(np.abs(eta))) > 600.0:
            return -np.inf
        theta = float(parameters[self.k]) if self.number else 0.0
        total = _stats.count_likelihood(
            self.number, table.pattern, table.y, table.cells, eta, theta, self.sums
        )
        return total - table.constant if np.isfinite(total) else -np.inf

    def derivatives(self) -> tuple[Float, Float]:
        """Gradient and information (minus the Hessian) at the point of the last `value`."""
        k = self.k
        moments, gram = np.empty((5, k)), np.empty((k, k))
        _stats.pattern_sums(self.table.x, self.sums, moments, gram)
        if not self.number:
            return moments[0], -gram
        gradient = np.append(moments[0], moments[3, 0])  # column 0 of x is 1
        information = np.empty((k + 1, k + 1))
        information[:k, :k] = -gram
        information[:k, k] = information[k, :k] = -moments[2]
        information[k, k] = -moments[4, 0]
        return gradient, information


def _newton_step(gradient: Float, information: Float) -> tuple[Float, bool]:
    """Solve for the step; where the information is not positive definite, bend it until it is."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    scaled = information / np.outer(scale, scale)
    bend = 0.0
    while True:
        try:
            lower = np.linalg.cholesky(scaled + bend * np.eye(len(scale)))
        except np.linalg.LinAlgError:
            bend = max(1e-3, 4.0 * bend)
            continue
        half = np.linalg.solve(lower, gradient / scale)
        step: Float = np.linalg.solve(lower.T, half) / scale
        return step, bend == 0.0


def _covariance(information: Float) -> Float:
    scale = np.sqrt(np.diag(information))
    scaled = information / np.outer(scale, scale)
    if float(np.linalg.eigvalsh(scaled)[0]) < 1e-11:
        raise FitError(
            "The variables are collinear: their coefficients are not identified.",
            hint="Leave out one of the variables that say the same.",
        )
    inverse = np.linalg.inv(scaled) / np.outer(scale, scale)
    covariance: Float = 0.5 * (inverse + inverse.T)
    return covariance


def _maximise(like: _Likelihood, start: Float) -> tuple[Float, float, int]:
    """Safeguarded Newton from `start`; stops early when the dispersion runs to 0."""
    k = like.k
    at = start.copy()
    value = like.value(at)
    if not np.isfinite(value):
        raise FitError("The likelihood is not finite at the starting values.")
    for iteration in range(1, MAX_STEPS + 1):
        gradient, information = like.derivatives()
        step, concave = _newton_step(gradient, information)
        decrement = float(gradient @ step)
        if concave and decrement < DECREMENT:
            return at, value, iteration
        size = min(1.0, 4.0 / float(np.max(np.abs(step))))
        slack = 1e-13 * (1.0 + abs(value))
        for _ in range(60):
            trial = at + size * step
            reached = like.value(trial)
            if reached >= value + 1e-4 * size * decrement - slack:
                break
            size *= 0.5
        else:
            raise FitError(f"The fit stalled after {iteration} Newton steps (gain promised {decrement:.2g}).")
        at, value = trial, reached
        if float(np.max(np.abs(at[1:k]), initial=0.0)) > MAX_COEFFICIENT:
            raise FitError(
                "A coefficient runs to infinity: events are separated by a combination of the variables.",
                hint="Drop the variable, or raise the minimum support.",
            )
        if like.number and at[k] < MIN_LOG_DISPERSION:
            return at, value, iteration
    raise FitError(f"The fit did not converge in {MAX_STEPS} Newton steps.")


def _poisson(table: CountTable, start: Float | None) -> TableFit:
    n_patterns, k = table.x.shape
    cells = np.bincount(table.pattern, weights=table.cells, minlength=n_patterns).astype(np.float64)
    events = np.bincount(table.pattern, weights=table.cells * table.y, minlength=n_patterns)
    # Events enter a Poisson likelihood by their sum alone: one row per pattern, with its mean count.
    seen = np.flatnonzero(cells)
    short = CountTable(
        table.x, seen.astype(np.int32), events[seen] / cells[seen], cells[seen], table.constant
    )
    like = _Likelihood(short, "poisson")
    if start is None:
        start = np.zeros(k)
        start[0] = np.log(events.sum() / cells.sum())
    at, value, n = _maximise(like, start[:k])
    return TableFit(at, _covariance(like.derivatives()[1]), value, False, n)


def _pearson_dispersion(table: CountTable, family: Family, beta: Float) -> float:
    """A moment estimate of the dispersion given Poisson coefficients, within 1e-3 .. 1e3."""
    eta = np.empty(len(table.x))
    _stats.linear_predictor(table.x, beta, eta)
    mu = np.exp(eta)[table.pattern]
    squared = (table.y - mu) ** 2
    if family == "nbii":
        value = float(np.sum(table.cells * squared / mu)) / table.n_cells - 1.0
    else:
        value = float(np.sum(table.cells * (squared - mu))) / float(np.sum(table.cells * mu**2))
    return min(max(value, 1e-3), 1e3)


def fit_table(table: CountTable, family: Family, start: Float | None = None) -> TableFit:
    """Maximise the likelihood of a table.

    Parameters
    ----------
    table : CountTable
    family : {"poisson", "nbii", "nb2"}
    start : float64 array, optional
        Starting parameters, e.g. those of a neighbouring model; the default starts from the Poisson
        fit and a moment estimate of the dispersion.

    Returns
    -------
    TableFit

    Raises
    ------
    FitError
        If there are no events, the variables are collinear or separate the events, or Newton's
        method does not converge.
    """
    if table.n_events == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    if family == "poisson":
        return _poisson(table, start)
    k = table.x.shape[1]
    like = _Likelihood(table, family)
    poisson: TableFit | None = None
    if start is None or not np.isfinite(start).all():
        poisson = _poisson(table, None)
        beta = poisson.parameters
        start = np.append(beta, np.log(_pearson_dispersion(table, family, beta)))
    at, value, n = _maximise(like, start)
    if at[k] < MIN_LOG_DISPERSION or (poisson is not None and value < poisson.log_likelihood):
        poisson = poisson or _poisson(table, None)
        covariance = np.full((k + 1, k + 1), np.nan)
        covariance[:k, :k] = poisson.covariance
        return TableFit(np.append(poisson.parameters, -np.inf), covariance, poisson.log_likelihood, True, n)
    return TableFit(at, _covariance(like.derivatives()[1]), value, False, n)
