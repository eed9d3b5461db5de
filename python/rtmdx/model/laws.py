"""The law of a cell's count given its expected count: variance, probabilities, residuals.

For the three families of `rtmdx.model.families`: Poisson, Var = mu; NBII, Var = mu (1 + s); NB2,
Var = mu + alpha mu^2. A dispersion of 0 (or None) is the Poisson.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rtmdx.errors import InputError

if TYPE_CHECKING:
    from rtmdx.model.families import CountModel, Family

__all__ = ["CountLaw", "Residual", "check_cells", "residuals"]

Float = NDArray[np.float64]
Residual = Literal["pearson", "quantile"]


@dataclass(frozen=True, slots=True)
class CountLaw:
    """Family and dispersion: how counts scatter about their expectation.

    Attributes
    ----------
    family : {"poisson", "nbii", "nb2"}
    dispersion : float
        s (NBII) or alpha (NB2); 0 for the Poisson and at the boundary.
    """

    family: Family
    dispersion: float = 0.0

    @classmethod
    def of(cls, model: CountModel) -> CountLaw:
        """Return the law of a fitted model."""
        return cls(model.family, model.dispersion or 0.0)

    @property
    def poisson(self) -> bool:
        """Whether counts vary no more than Poisson."""
        return self.family == "poisson" or self.dispersion <= 0.0

    def variance(self, mu: Float) -> Float:
        """Return the variance of counts with expectation `mu`."""
        if self.poisson:
            return np.asarray(mu, dtype=np.float64)
        if self.family == "nbii":
            return mu * (1.0 + self.dispersion)
        return mu * (1.0 + self.dispersion * mu)

    def working_weight(self, mu: Float) -> Float:
        """Return mu^2 / variance: the weight of a cell in the fit of a log-linear model; 0 where mu is 0."""
        share = np.divide(mu, self.variance(mu), out=np.zeros(np.shape(mu)), where=np.asarray(mu) > 0)
        return mu * share

    def _frozen(self, mu: Float) -> tuple[Float, Float | float]:
        """Size and success probability of scipy's negative binomial."""
        if self.family == "nbii":
            return mu / self.dispersion, 1.0 / (1.0 + self.dispersion)
        return np.full(np.shape(mu), 1.0 / self.dispersion), 1.0 / (1.0 + self.dispersion * mu)

    def pmf(self, y: ArrayLike, mu: Float) -> Float:
        """Return the probability of count `y`."""
        out: Float = stats.poisson.pmf(y, mu) if self.poisson else stats.nbinom.pmf(y, *self._frozen(mu))
        return out

    def cdf(self, y: ArrayLike, mu: Float) -> Float:
        """Return the probability of a count of at most `y`."""
        out: Float = stats.poisson.cdf(y, mu) if self.poisson else stats.nbinom.cdf(y, *self._frozen(mu))
        return out

    def sum_interval(self, total: float, variance: float, level: float) -> tuple[float, float]:
        """Return the central interval of the sum of independent counts.

        Exact for Poisson and for NBII (whose sums are NBII with the same s); for NB2 the negative binomial
        of the sum's mean and variance.
        """
        tails = np.array([0.5 - level / 2.0, 0.5 + level / 2.0])
        if total <= 0.0:
            return 0.0, 0.0
        if self.poisson or variance <= total:
            low, high = stats.poisson.ppf(tails, total)
        else:
            p = total / variance
            low, high = stats.nbinom.ppf(tails, total * p / (1.0 - p), p)
        return float(low), float(high)


def check_cells(counts: ArrayLike, expected: ArrayLike) -> tuple[Float, Float]:
    """Return counts and expected counts as float64, cell by cell.

    Raises
    ------
    InputError
        The shapes differ; a count is not a whole number >= 0; an expected count is NaN, infinite or negative, or is 0
        where there are events. The message names the cell.
    """
    y = np.asarray(counts, dtype=np.float64)
    mu = np.asarray(expected, dtype=np.float64)
    if y.ndim != 1 or y.shape != mu.shape or not y.size:
        raise InputError(f"counts have shape {y.shape}, expected counts {mu.shape}; expected one shape (n_cells,).")
    for bad, what in (
        (~(np.isfinite(y) & (y >= 0) & (y == np.floor(y))), "count {0:g}: expected a whole number >= 0"),
        (~(np.isfinite(mu) & (mu >= 0)), "expected count {1:g}: expected a finite number >= 0"),
        ((mu == 0) & (y > 0), "{0:g} events where none are possible: its expected count is 0"),
    ):
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(f"cell {i} has {what.format(y[i], mu[i])}.")
    return y, mu


def residuals(
    counts: ArrayLike, expected: ArrayLike, law: CountLaw, *, kind: Residual = "pearson", seed: int = 0
) -> Float:
    """Return one residual per cell; 0 where the expected count is 0 (no exposure).

    Parameters
    ----------
    counts, expected : arrays, shape (n_cells,)
    law : CountLaw
    kind : {"pearson", "quantile"}
        Pearson: (y - mu) / sqrt(Var), which needs no seed and adds up by neighbours. Randomised quantile (Dunn & Smyth
        1996): standard normal where the model holds, whatever the counts; random within the step of the
        distribution that a count stands for, so `seed` matters. Deviance residuals are not offered: NBII has no
        closed saturated model, and for counts mostly 0 they are far from normal.
    seed : int

    Returns
    -------
    float64 array, shape (n_cells,)
    """
    y, mu = check_cells(counts, expected)
    inside = mu > 0
    out = np.zeros(len(y))
    if kind == "pearson":
        out[inside] = (y[inside] - mu[inside]) / np.sqrt(law.variance(mu[inside]))
        return out
    if kind != "quantile":
        raise InputError(f"residuals: found {kind!r}, expected 'pearson' or 'quantile'.")
    # one evaluation per distinct (mu, y): cells share them
    pairs, back = np.unique(np.column_stack([mu[inside], y[inside]]), axis=0, return_inverse=True)
    low = np.where(pairs[:, 1] > 0, law.cdf(pairs[:, 1] - 1.0, pairs[:, 0]), 0.0)
    step = law.pmf(pairs[:, 1], pairs[:, 0])
    u = np.random.default_rng(seed).random(len(back))
    back = back.ravel()
    at = np.clip(low[back] + u * step[back], 1e-300, 1.0 - 2.0**-53)
    out[inside] = stats.norm.ppf(at)
    return out
