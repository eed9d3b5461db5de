"""Maximum likelihood on a collapsed table: the solver beneath `families` and `stepwise`.

A fit with k binary variables needs only, for each (pattern of the k variables, count y, exposure), the
number of cells: without exposure a few hundred rows whatever the number of cells. The parameters are
the intercept, k coefficients and, for the negative binomials, the log dispersion, all maximised
together by Newton's method with the exact Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx import _counts
from rtmdx.errors import FitError
from rtmdx.model.entries import Distinct
from rtmdx.model.tables import CountTable

__all__ = ["DISTINCT", "FAMILIES", "Family", "TableFit", "constrained", "covariance_of", "fit_table"]

Family = Literal["poisson", "nbii", "nb2"]
FAMILIES: tuple[Family, ...] = ("poisson", "nbii", "nb2")

DISTINCT: dict[Family, Distinct] = {"poisson": "none", "nbii": "events", "nb2": "all"}
"""Exposures the table of a family tells apart (see `CellTable.from_entries`)."""

Float = NDArray[np.float64]

MAX_STEPS = 100
MAX_COEFFICIENT = 30.0  # beyond it a coefficient is taken to be running to infinity
MIN_EXCESS = (
    1.5e-8  # of the variance over Poisson's, relative; below it the negative binomial is the Poisson to rounding
)
DECREMENT = 1e-16  # twice the gain in log L still promised when a fit is accepted


@dataclass(frozen=True)
class TableFit:
    """A maximum of the likelihood of a table.

    Attributes
    ----------
    parameters : float64 array, shape (1 + k,) or (2 + k,)
        Intercept, coefficients and, except for Poisson, log dispersion (-inf at the boundary).
    information : float64 array
        Minus the Hessian; of intercept and coefficients only at the boundary.
    log_likelihood : float
        With all constants.
    at_boundary : bool
        The dispersion's estimate is 0: the fit is the Poisson's.
    n_iterations : int
    """

    parameters: Float
    information: Float
    log_likelihood: float
    at_boundary: bool
    n_iterations: int


def _maximise(
    table: CountTable, family: Family, start: Float, fixed: int = -1
) -> tuple[Float, float, Float, Float, int, bool]:
    """Newton from `start`; returns (parameters, log L, gradient, information, steps, dispersion ran to 0)."""
    at = np.ascontiguousarray(start, dtype=np.float64).copy()
    gradient, information = np.empty(len(at)), np.empty((len(at), len(at)))
    # The GIL is released inside: the arrays are this call's own, the table's are never written.
    status, value, steps = _counts.maximise(
        FAMILIES.index(family),
        table.x,
        table.rows,
        at,
        gradient,
        information,
        fixed,
        DECREMENT,
        MAX_COEFFICIENT,
        MIN_EXCESS,
        MAX_STEPS,
    )
    if status == 1:
        raise FitError("The likelihood is not finite at the values tried.")
    if status == 2:
        raise FitError(f"The fit stalled after {steps} Newton steps.")
    if status == 3:
        raise FitError(
            "A coefficient runs to infinity: events are separated by a combination of the variables.",
            hint="Drop the variable, or raise the minimum support.",
        )
    if status == 4:
        raise FitError(f"The fit did not converge in {MAX_STEPS} Newton steps.")
    return at, value - table.constant, gradient, information, steps, status == 5


def _identified(information: Float) -> Float:
    """Scale the information to a unit diagonal; FitError if it is singular."""
    scale = np.sqrt(np.diag(information))
    scaled: Float = information / np.outer(scale, scale)
    if not np.isfinite(scaled).all() or float(np.linalg.eigvalsh(scaled)[0]) < 1e-11:
        raise FitError(
            "The variables are collinear: their coefficients are not identified.",
            hint="Leave out one of the variables that say the same.",
        )
    return scaled


def covariance_of(fit: TableFit) -> Float:
    """Inverse of the observed information; at the boundary NaN in the dispersion's row and column."""
    scale = np.sqrt(np.diag(fit.information))
    inverse = np.linalg.inv(_identified(fit.information)) / np.outer(scale, scale)
    n, k = len(fit.parameters), len(fit.information)
    covariance = np.full((n, n), np.nan)
    covariance[:k, :k] = 0.5 * (inverse + inverse.T)
    return covariance


def _poisson(table: CountTable, start: Float | None) -> TableFit:
    # Events enter a Poisson likelihood by their sum alone: one row per pattern, with its mean count.
    k = table.x.shape[1]
    if start is None:
        start = np.zeros(k)
        start[0] = np.log(table.n_events / table.total_exposure)
    at, value, _, information, n, _ = _maximise(table.collapsed(), "poisson", start[:k])
    _identified(information)
    return TableFit(at, information, value, False, n)


def _pearson_dispersion(table: CountTable, family: Family, beta: Float) -> float:
    """A moment estimate of the dispersion given Poisson coefficients; its excess of variance is not tiny."""
    eta = np.empty(len(table.x))
    _counts.linear_predictor(table.x, beta, eta)
    mu = table.exposure * np.exp(eta)[table.pattern]
    squared = (table.y - mu) ** 2
    expected = float(np.sum(table.cells * mu))
    level = float(np.sum(table.cells * mu**2)) / expected  # the mean of a cell at an average event
    if family == "nbii":
        excess, unit = float(np.sum(table.cells * squared / mu)) / table.n_cells - 1.0, 1.0
    else:
        excess, unit = float(np.sum(table.cells * (squared - mu))) / expected, level
    return min(max(excess, 1e-3), 1e3 * max(1.0, level)) / unit


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
    poisson: TableFit | None = None
    if start is None or not np.isfinite(start).all():
        poisson = _poisson(table, None)
        beta = poisson.parameters
        start = np.append(beta, np.log(_pearson_dispersion(table, family, beta)))
    at, value, _, information, n, at_boundary = _maximise(table, family, start)
    if at_boundary or (poisson is not None and value < poisson.log_likelihood):
        poisson = poisson or _poisson(table, None)
        return TableFit(np.append(poisson.parameters, -np.inf), poisson.information, poisson.log_likelihood, True, n)
    _identified(information)
    return TableFit(at, information, value, False, n)


def constrained(table: CountTable, family: Family, start: Float, fixed: int) -> tuple[Float, float, float]:
    """Maximise with one coefficient held at its starting value.

    Returns
    -------
    parameters : float64 array
        With log dispersion -inf where the maximum is the Poisson's.
    log_likelihood : float
    slope : float
        Derivative of the constrained maximum by the coefficient held.
    """
    k = table.x.shape[1]
    if family != "poisson" and np.isfinite(start).all():
        at, value, gradient, _, _, at_boundary = _maximise(table, family, start, fixed)
        if not at_boundary:
            return at, value, float(gradient[fixed])
    at, value, gradient, _, _, _ = _maximise(table.collapsed(), "poisson", start[:k], fixed)
    slope = float(gradient[fixed])
    if family == "poisson":
        return at, value, slope
    if not np.isfinite(start[k]):  # away from the maximum the counts may vary more than Poisson after all
        start = np.append(at, np.log(_pearson_dispersion(table, family, at)))
        other, reached, gradient, _, _, at_boundary = _maximise(table, family, start, fixed)
        if not at_boundary and reached > value:
            return other, reached, float(gradient[fixed])
    return np.append(at, -np.inf), value, slope
