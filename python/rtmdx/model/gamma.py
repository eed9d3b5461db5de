r"""Gamma distributions of rates, and how counts update them.

A negative binomial is a Poisson whose rate varies by a gamma distribution. With :math:`\mu` expected
events per period, a history of :math:`y` events over :math:`t` periods turns the gamma the model
implies (the prior) into another gamma (the posterior), exactly:

- NBII, :math:`\mathrm{Var} = \mu(1+s)`: prior shape :math:`\mu/s`, rate :math:`1/s`; posterior shape
  :math:`\mu/s + y`, rate :math:`1/s + t`, mean :math:`(\mu + s y)/(1 + s t)`.
- NB2, :math:`\mathrm{Var} = \mu + \alpha\mu^2`: prior shape :math:`1/\alpha`, rate :math:`1/(\alpha\mu)`;
  posterior shape :math:`1/\alpha + y`, rate :math:`1/(\alpha\mu) + t`, mean
  :math:`\mu(1 + \alpha y)/(1 + \alpha\mu t)`.
- Poisson: the rate is taken as known, so a history updates nothing.

Older periods are discounted by weights on both y and t (a power prior: Ibrahim & Chen 2000,
Statistical Science 15, 46-60).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.likelihood import FAMILIES, Family
from rtmdx.space.values import choice, named, number, reals

__all__ = ["RateDistribution", "check_history", "check_level", "check_mean", "posterior_rate"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RateDistribution:
    """What is known of each cell's rate: a gamma distribution with this mean and variance.

    Attributes
    ----------
    mean, variance : float64 arrays, shape (n_cells,)
        Events per period, and its square. A variance of 0 is a rate taken as known.
    scale : float
        Variance of a count over that of a Poisson at the same rate; 1 unless events come in bursts
        (quasi-Poisson). ``variance`` includes it.
    """

    mean: Float
    variance: Float
    scale: float = 1.0

    def interval(self, level: float = 0.9) -> tuple[Float, Float]:
        """Return the equal-tailed credible limits of the rate, two arrays of shape (n_cells,).

        Raises
        ------
        InputError
            `level` is not between 0 and 1.
        """
        from scipy.special import gammaincinv

        tail = (1.0 - check_level(level)) / 2.0
        spread = (self.variance > 0.0) & (self.mean > 0.0)
        mean, variance = self.mean[spread], self.variance[spread]
        low, high = self.mean.copy(), self.mean.copy()
        with np.errstate(under="ignore"):
            low[spread] = gammaincinv(mean * (mean / variance), tail) * (variance / mean)
            high[spread] = gammaincinv(mean * (mean / variance), 1.0 - tail) * (variance / mean)
        return low, high

    def count_interval(self, level: float = 0.9, *, horizon: float = 1.0) -> tuple[Float, Float]:
        """Return equal-tailed prediction limits of the count in `horizon` periods, shape (n_cells,) each.

        The count is negative binomial (Poisson where the rate is known and ``scale`` is 1). Counts
        are whole, so the limits hold at least `level` of the probability.

        Raises
        ------
        InputError
            `level` is not between 0 and 1, or `horizon` is not a positive number.
        """
        from scipy.special import pdtrik
        from scipy.stats import nbinom

        tail = (1.0 - check_level(level)) / 2.0
        horizon = number(horizon, "horizon")
        if not 0.0 < horizon < math.inf:
            raise InputError(f"horizon is {horizon}, expected a positive number of periods.")
        mean = self.mean * horizon
        extra = (self.scale - 1.0) * mean + self.variance * horizon**2  # variance beyond the Poisson's
        known = extra <= 1e-9 * mean
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            size = np.where(known, np.inf, mean * (mean / extra))
            none = np.exp(np.where(known, -mean, -size * np.log1p(np.where(known, 0.0, extra / mean))))
        out = []
        for q in (tail, 1.0 - tail):
            limit = np.zeros(mean.size)  # where no event is likely enough
            some = none < q
            a, b = some & known, some & ~known
            limit[a] = np.ceil(np.maximum(pdtrik(q, mean[a]), 0.0))
            limit[b] = nbinom.ppf(q, size[b], mean[b] / (mean[b] + extra[b]))
            out.append(limit)
        return out[0], out[1]


def check_level(level: float) -> float:
    """Return a probability strictly between 0 and 1."""
    value = number(level, "level")
    if not 0.0 < value < 1.0:
        raise InputError(f"level is {value}, expected between 0 and 1, such as 0.9.")
    return value


def check_mean(mu: ArrayLike) -> Float:
    """Return expected counts as float64: one finite number >= 0 per cell."""
    mean = _numbers(mu, "mu")
    if mean.ndim != 1 or not mean.size:
        raise InputError(f"mu has shape {mean.shape}, expected (n_cells,): one expected count per kept cell.")
    _require(np.isfinite(mean) & (mean >= 0), mean, "mu", "a finite number >= 0")
    return mean


def check_history(counts: ArrayLike, periods: ArrayLike | None, n_cells: int) -> tuple[Float, Float]:
    """Return counts as (n_periods, n_cells) and the lengths of the periods as (n_periods,), oldest first."""
    y = _numbers(counts, "counts")
    if y.ndim not in (1, 2) or y.shape[-1] != n_cells or not y.size:
        raise InputError(
            f"counts have shape {y.shape}, expected ({n_cells},) or (n_periods, {n_cells}): one per kept cell."
        )
    if y.ndim == 2 and periods is None:
        raise InputError(
            f"counts of {y.shape[0]} periods need the lengths of the periods.",
            hint="Give one length per period, in units of the period the model was fitted to.",
        )
    y = np.atleast_2d(y)
    _require((y >= 0) & np.isfinite(y) & (y == np.floor(y)), y, "counts", "a whole number >= 0")
    t = np.atleast_1d(_numbers(1.0 if periods is None else periods, "periods"))
    if t.shape != (y.shape[0],):
        raise InputError(f"periods have shape {t.shape}, expected ({y.shape[0]},): one length per period of counts.")
    _require(np.isfinite(t) & (t > 0), t, "periods", "a positive length", what="period")
    return y, t


def _numbers(values: ArrayLike, name: str) -> Float:
    return reals(values, name, "an array of numbers")


def _require(good: NDArray[np.bool_], values: Float, name: str, expected: str, what: str = "cell") -> None:
    if not good.all():
        place = np.unravel_index(int(np.argmin(good)), good.shape)
        where = f"{what} {place[-1]}" + (f" in period {place[0]}" if len(place) > 1 and good.shape[0] > 1 else "")
        raise InputError(f"{name}: found {values[place]} at {where}, expected {expected}.")


def check_dispersion(family: Any, dispersion: Any) -> float:
    """Return the dispersion of a family; 0 for Poisson."""
    if choice(family, "family", FAMILIES) == "poisson":
        return 0.0
    value = math.nan if dispersion is None else number(dispersion, "dispersion")
    if not 0.0 <= value < math.inf:
        raise InputError(
            f"dispersion: found {named(dispersion)}, expected a finite number >= 0 for family {family!r}.",
            hint="A fitted model has it as model.dispersion.",
        )
    return value


def posterior_rate(
    mu: ArrayLike,
    counts: ArrayLike,
    family: Family = "nbii",
    dispersion: float | None = None,
    *,
    periods: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    scale: float = 1.0,
) -> RateDistribution:
    """Combine what a model expects of each cell with the cell's own counts.

    Parameters
    ----------
    mu : float array, shape (n_cells,)
        Expected events per period (the unit of time). 0 is a cell without exposure: its rate stays 0.
    counts : array of whole numbers, shape (n_cells,) or (n_periods, n_cells)
        Events observed, oldest period first.
    family : {"poisson", "nbii", "nb2"}
    dispersion : float
        s of NBII or alpha of NB2, for one period; not needed for Poisson. 0 updates nothing.
    periods : float or float array, shape (n_periods,), optional
        Lengths of the observed periods, in units of the period `mu` refers to. 1 for counts of shape (n_cells,).
    weights : float array, shape (n_periods,), optional
        Discount of each period, 0 to 1. Default 1.
    scale : float
        Quasi-Poisson scale, at least 1: widens the distribution, leaves the mean.

    Returns
    -------
    RateDistribution
        Per period. The mean lies between `mu` and the (weighted) observed counts over the time observed.

    Raises
    ------
    InputError
        Shapes, signs or values do not fit, the family is unknown, or a cell without exposure has events.
    """
    mean = check_mean(mu)
    y_by_period, t_by_period = check_history(counts, periods, mean.size)
    d = check_dispersion(family, dispersion)
    w = np.ones(t_by_period.size) if weights is None else np.atleast_1d(_numbers(weights, "weights"))
    if w.shape != t_by_period.shape:
        raise InputError(f"weights have shape {w.shape}, expected {t_by_period.shape}: one per period of counts.")
    _require((w >= 0) & (w <= 1), w, "weights", "a number from 0 to 1", what="period")
    f = number(scale, "scale")
    if not 1.0 <= f < math.inf:
        raise InputError(f"scale is {f}, expected a number >= 1.")
    impossible = (mean == 0) & (y_by_period.sum(axis=0) > 0)
    if impossible.any():
        i = int(np.argmax(impossible))
        raise InputError(
            f"cell {i} has {y_by_period[:, i].sum():g} events, but an expected count of 0 (no exposure).",
            hint="Give the cell exposure, or leave its events out.",
        )
    y = discounted(y_by_period, w)
    return update(mean, y, float(w @ t_by_period), family, d, f)


def discounted(counts: Float, weights: Float) -> Float:
    """Sum counts over periods with weights, in the order of the periods."""
    total = np.zeros(counts.shape[1])
    for row, w in zip(counts, weights.tolist(), strict=True):
        total += w * row
    return total


def update(mu: Float, y: Float, t: float, family: Family, dispersion: float, scale: float = 1.0) -> RateDistribution:
    """`posterior_rate` without its checks, for one weighted count `y` over a time `t`."""
    d = dispersion
    if family == "poisson" or d == 0.0:
        return RateDistribution(mu.copy(), np.zeros(mu.size), scale)
    # both forms are the same; each is accurate, and cannot overflow, on its side of 1
    unit, more = (1.0, d) if d <= 1.0 else (1.0 / d, 1.0)
    if family == "nbii":
        mean: Float = (unit * mu + more * y) / (unit + more * t)
        variance: Float = mean * (more / (unit + more * t))
    else:
        factor = 1.0 / (unit + more * t * mu)
        mean = mu * (unit + more * y) * factor
        variance = mean * (more * mu * factor)
    return RateDistribution(mean, scale * variance, scale)
