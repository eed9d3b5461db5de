r"""The local level: how much more happens around a cell than the terrain expects.

For a cell i with expected counts :math:`\mu_j` and observed :math:`y_j` of the cells j around it,

.. math:: R_i = \frac{k + \sum_{j \ne i} w_{ij} y_j}{k + \sum_{j \ne i} w_{ij} \mu_j},

with Gaussian weights of bandwidth h. It is an empirical Bayes ratio shrunk towards 1 by k prior
events (Clayton & Kaldor 1987, Biometrics 43, 671-681; Marshall 1991, Applied Statistics 40, 283-294,
for the local form). The cell's own count is left out, because the posterior uses it once already.
Weights sum to the kernel's effective number of cells, :math:`4\pi h^2`, so k counts events.

Bandwidth and k are those under which each cell's count is likeliest given the counts around it
(leave-one-cell-out predictive likelihood), on the history alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.likelihood import Family
from rtmdx.space.grid import Grid

__all__ = [
    "BANDWIDTHS",
    "STRENGTHS",
    "Level",
    "Leveler",
    "choose_level",
    "count_log_likelihood",
    "fit_dispersion",
    "local_ratio",
]

Float = NDArray[np.float64]

BANDWIDTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
"""Bandwidths tried, in cells."""
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Prior events tried."""
_REACH = 4.0  # bandwidths at which the kernel is cut
_LOG_DISPERSION = (-9.0, 7.0)  # below the first the negative binomial is taken for the Poisson


@dataclass(frozen=True)
class Level:
    """A smoothing: bandwidth (standard deviation of the Gaussian) in cells, and k in events."""

    bandwidth: float
    strength: float


class _Smoother:
    """Gaussian sums over the cells around each cell, its own left out."""

    def __init__(self, grid: Grid, bandwidth: float) -> None:
        radius = max(1, min(math.ceil(_REACH * bandwidth), max(grid.shape) - 1))
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / bandwidth) ** 2)
        self.grid = grid
        self.weights = weights / weights.sum()
        self.own = float(self.weights[radius]) ** 2
        self.effective = 4.0 * math.pi * bandwidth**2

    def around(self, values: Float) -> Float:
        from scipy.ndimage import correlate1d

        raster = self.grid.to_raster(values, 0.0)
        for axis in (0, 1):
            raster = correlate1d(raster, self.weights, axis=axis, mode="constant")
        total = self.grid.to_cells(raster) - self.own * values
        out: Float = self.effective * np.maximum(total, 0.0)  # rounding must not leave less than nothing
        return out


def local_ratio(grid: Grid, counts: Float, expected: Float, level: Level) -> Float:
    """Return R of each cell, shape (n_cells,): shrunk observed over expected around it, itself left out."""
    smoother = _Smoother(grid, level.bandwidth)
    ratio: Float = (level.strength + smoother.around(counts)) / (level.strength + smoother.around(expected))
    return ratio


class Leveler:
    """Moves expected counts to the level around; what depends on the terrain alone is smoothed once.

    Parameters
    ----------
    grid : Grid
    mu : float64 array, shape (n_cells,)
        Expected per period.
    level : Level or None
        None moves nothing.
    """

    def __init__(self, grid: Grid, mu: Float, level: Level | None) -> None:
        self.mu, self.level = mu, level
        if level is not None:
            self._smoother = _Smoother(grid, level.bandwidth)
            self._due = self._smoother.around(mu)

    def __call__(self, y: Float, t: float) -> Float:
        """Expected counts per period at the level of `y` events over a time `t`, scaled to have their total."""
        if self.level is None or not y.any():
            return self.mu
        k = self.level.strength
        mean = self.mu * ((k + self._smoother.around(y)) / (k + t * self._due))
        scaled: Float = mean * (float(y.sum()) / (float(mean.sum()) * t))
        return scaled


def count_log_likelihood(y: Float, mu: Float, family: Family, dispersion: float) -> float:
    """Log likelihood of counts with a cell's own mean; terms that only depend on y are left out of none."""
    from scipy.special import gammaln

    some = y > 0
    yp, mp = y[some], mu[some]
    total = -float(gammaln(yp + 1.0).sum())
    if family == "poisson" or dispersion == 0.0:
        return total + float((yp * np.log(mp)).sum()) - float(mu.sum())
    d = dispersion
    if family == "nbii":
        r = mp / d
        total += float((gammaln(yp + r) - gammaln(r)).sum()) + float(yp.sum()) * (math.log(d) - math.log1p(d))
        return total - float(mu.sum()) / d * math.log1p(d)
    r2 = 1.0 / d
    total += float((gammaln(yp + r2) - gammaln(r2) + yp * np.log(d * mp) - yp * np.log1p(d * mp)).sum())
    return total - r2 * float(np.log1p(d * mu).sum())


def fit_dispersion(y: Float, mu: Float, family: Family) -> float:
    """Return the likeliest dispersion of counts with these means; 0 where the Poisson is as likely."""
    from scipy.optimize import minimize_scalar

    if family == "poisson":
        return 0.0
    found = minimize_scalar(
        lambda u: -count_log_likelihood(y, mu, family, math.exp(u)),
        bounds=_LOG_DISPERSION,
        method="bounded",
        options={"xatol": 1e-6},
    )
    boundary = found.x < _LOG_DISPERSION[0] + 0.01 or -found.fun <= count_log_likelihood(y, mu, "poisson", 0.0)
    return 0.0 if boundary else math.exp(float(found.x))


def choose_level(
    grid: Grid,
    counts: Float,
    expected: Float,
    family: Family,
    dispersion: float,
    *,
    bandwidths: Sequence[float] = BANDWIDTHS,
    strengths: Sequence[float] = STRENGTHS,
    check: Callable[[], None] | None = None,
) -> tuple[Level | None, tuple[tuple[float, float, float], ...]]:
    """Choose bandwidth and strength by leave-one-cell-out predictive likelihood.

    Parameters
    ----------
    grid : Grid
    counts, expected : float64 arrays, shape (n_cells,)
        Observed and expected by the terrain over the same time.
    family, dispersion
        Of the counts over that time.
    bandwidths, strengths : sequence of float
        Tried in this order; larger bandwidths are not tried once two in a row did worse than the best.
    check : callable, optional
        Called between bandwidths; raises to stop.

    Returns
    -------
    level : Level or None
        None where no smoothing is likelier than any.
    tried : tuple of (bandwidth, strength, log likelihood)
        The first row, of bandwidth 0, is no smoothing.
    """
    n_events = float(counts.sum())
    plain = count_log_likelihood(counts, expected * (n_events / float(expected.sum())), family, dispersion)
    tried = [(0.0, 0.0, plain)]
    best, level, worse = plain, None, 0
    for h in bandwidths:
        if check is not None:
            check()
        smoother = _Smoother(grid, h)
        seen, due = smoother.around(counts), smoother.around(expected)
        better = False
        for k in strengths:
            mean = expected * ((k + seen) / (k + due))
            mean *= n_events / float(mean.sum())
            value = count_log_likelihood(counts, mean, family, dispersion)
            tried.append((h, k, value))
            if value > best:
                best, level, better = value, Level(h, k), True
        worse = 0 if better else worse + 1
        if worse == 2 and level is not None:
            break
    return level, tuple(tried)
