r"""How much of a cell's history lasts: the weight of its own counts, their half-life, and bursts.

The dispersion of one period's counts mixes two things: places that differ for good, and events that
come in bursts (several victims of one incident, a spree). Only the first is worth carrying to the
next period. Both are told apart on the history alone, one step ahead: each part of its later half
is predicted from all parts before it, and the *lasting* dispersion and the half-life are those with
the smallest Poisson deviance. That score asks only that the means be right, whatever the variance.

What is left over is the quasi-Poisson scale: squared errors of these predictions over the variance
the gamma-Poisson gives them. With a scale f the count's variance at a known rate is f times the
Poisson's; the linear Bayes estimate (credibility: Buhlmann & Straub 1970) is then the gamma-Poisson's
with the lasting dispersion, and its variance f times as large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.gamma import discounted, update
from rtmdx.model.history import History
from rtmdx.model.level import Leveler
from rtmdx.model.likelihood import Family

__all__ = ["HALF_LIVES", "Persistence", "choose_persistence", "period_weights"]

Float = NDArray[np.float64]

HALF_LIVES = (0.25, 0.5, 1.0, 2.0, math.inf)
"""Half-lives tried, in lengths of the history; inf is no decay."""
_LOG_DISPERSION = (-9.0, 7.0)


@dataclass(frozen=True)
class Persistence:
    """What lasts.

    Attributes
    ----------
    dispersion : float
        Lasting dispersion; 0 where the cells' own counts do not help.
    half_life : float
        In fitted periods; inf is no decay.
    scale : float
        Quasi-Poisson scale, at least 1.
    deviance : float
        Poisson deviance of the one-step-ahead predictions.
    tried : tuple of (half-life, dispersion, deviance)
    """

    dispersion: float
    half_life: float
    scale: float
    deviance: float
    tried: tuple[tuple[float, float, float], ...]


def period_weights(lengths: Float, half_life: float) -> Float:
    """Weights of periods, oldest first: halved for every `half_life` between a period's middle and the last one's."""
    ends = np.cumsum(lengths)
    middle = ends - lengths / 2.0
    weights: Float = np.exp2(-(middle[-1] - middle) / half_life)
    return weights


class _Step:
    """One prediction: what the parts before `at` say of part `at`."""

    def __init__(self, leveler: Leveler, history: History, at: int, half_life: float) -> None:
        weights = period_weights(history.lengths[:at], half_life)
        self.y = discounted(history.counts[:at], weights)
        self.t = float(weights @ history.lengths[:at])
        self.mu = leveler(self.y, self.t)
        self.target = history.counts[at]
        self.length = float(history.lengths[at])
        self.some = np.flatnonzero(self.target)
        self.seen = self.target[self.some]
        self.n = float(self.seen.sum())
        self.entropy = float((self.seen * np.log(self.seen)).sum())
        self.totals = (float(self.mu.sum()), float(self.y.sum()))

    def deviance(self, family: Family, d: float) -> float:
        """Poisson deviance, predictions scaled to the part's total: where events are, not how many."""
        mu, y = self.mu[self.some], self.y[self.some]
        if d == 0.0:
            mean, total = mu, self.totals[0]
        elif family == "nbii":  # linear, so its sum needs no pass over the cells
            mean, total = mu + d * y, self.totals[0] + d * self.totals[1]
        else:
            mean = mu * (1.0 + d * y) / (1.0 + d * self.t * mu)
            total = float((self.mu * (1.0 + d * self.y) / (1.0 + d * self.t * self.mu)).sum())
        return 2.0 * (self.entropy - float((self.seen * np.log(mean * (self.n / total))).sum()))

    def squares(self, family: Family, d: float) -> tuple[float, float]:
        """Squared errors, and the variance the gamma-Poisson gives them."""
        rate = update(self.mu, self.y, self.t, family, d)
        factor = self.n / float(rate.mean.sum())
        mean = rate.mean * factor
        errors = float(((self.target - mean) ** 2).sum())
        # the total is scaled to the part's, so the rate's variance is too
        return errors, float((mean + rate.variance * factor**2).sum())


def choose_persistence(
    leveler: Leveler,
    history: History,
    family: Family,
    *,
    half_lives: Sequence[float],
    dispersion: float | None = None,
    check: Callable[[], None] | None = None,
) -> Persistence | None:
    """Choose lasting dispersion, half-life and scale one step ahead, on the history's later half.

    Parameters
    ----------
    leveler : Leveler
        The terrain, per fitted period, and the way to the level around.
    history : History
    family : {"nbii", "nb2"}
    half_lives : sequence of float
        Tried, in fitted periods.
    dispersion : float, optional
        Kept where given; only half-life and scale are chosen then.
    check : callable, optional
        Called between half-lives; raises to stop.

    Returns
    -------
    Persistence or None
        None where no part of the later half has events to predict, or none before it to predict from.
    """
    from scipy.optimize import minimize_scalar

    n = history.lengths.size
    places = [
        i for i in range(max(1, n // 2), n) if history.counts[i].any() and history.counts[:i].any()
    ]  # fmt: skip
    if not places:
        return None
    best: tuple[float, float, float] | None = None
    tried = []
    for half_life in half_lives:
        if check is not None:
            check()
        steps = [_Step(leveler, history, i, half_life) for i in places]

        def score(d: float, steps: list[_Step] = steps) -> float:
            return sum(step.deviance(family, d) for step in steps)

        if dispersion is None:
            found = minimize_scalar(
                lambda u, score=score: score(math.exp(u)),
                bounds=_LOG_DISPERSION,
                method="bounded",
                options={"xatol": 1e-6},
            )
            d, value = math.exp(float(found.x)), float(found.fun)
            if score(0.0) <= value:
                d, value = 0.0, score(0.0)
        else:
            d, value = dispersion, score(dispersion)
        tried.append((half_life, d, value))
        if best is None or value < best[2]:
            best = (half_life, d, value)
    assert best is not None
    half_life, d, value = best
    squares = [_Step(leveler, history, i, half_life).squares(family, d) for i in places]
    errors, variance = map(sum, zip(*squares, strict=True))
    return Persistence(d, half_life, max(1.0, errors / variance), value, tuple(tried))
