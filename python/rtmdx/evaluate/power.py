"""Before the program: could a weighted displacement difference find the effect that is hoped for?

Under the normal approximation the power is that of a z test whose variance is the sum of expected counts over squared
weights (Wheeler & Ratcliffe 2018). With equal weights the statistic depends on two Poisson sums only, A = T1 + C0 and
B = T0 + C1: z = (A - B) / sqrt(A + B), so that power and size are sums over a grid of them, without approximation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from rtmdx.errors import InputError
from rtmdx.evaluate.counts import areas_in, times_in
from rtmdx.evaluate.results import Result
from rtmdx.report.numbers import number, percent
from rtmdx.space.values import choice
from rtmdx.space.values import number as plain_number

__all__ = ["WDDPower", "wdd_power"]

Float = NDArray[np.float64]
Alternative = Literal["two-sided", "less", "greater"]
_LARGEST = 20_000.0  # counts beyond which the normal law is as good and the grid is large


@dataclass(frozen=True, kw_only=True)
class WDDPower(Result):
    """What a comparison can show.

    Attributes
    ----------
    power : float
        Probability to find the effect.
    size : float
        Probability to find one where there is none: alpha, or the exact one.
    effect, se : float
        Expected difference and its standard error.
    reduction : float
        Of the treated areas' count, beside what the controls' trend brings.
    detectable : float
        Smallest reduction found with probability `target`; NaN where even a full stop of events is not.
    scale : float
        How many times as many events (longer periods, more places) it would take to find `reduction` with probability
        `target`; infinite for a reduction of 0.
    target, alpha : float
    alternative, method : str
    treated, control : float
        Expected counts before.
    control_change : float
        Expected proportional change of the controls.
    """

    power: float
    size: float
    effect: float
    se: float
    reduction: float
    detectable: float
    scale: float
    target: float
    alpha: float
    alternative: str
    method: str
    treated: float
    control: float
    control_change: float

    def sentence(self) -> str:
        """Say it in one sentence."""
        least = (
            f"the smallest reduction found with probability {percent(self.target)} is {percent(self.detectable)}"
            if math.isfinite(self.detectable)
            else f"no reduction, however large, is found with probability {percent(self.target)}"
        )
        return (
            f"With {number(self.treated)} events before in treated and {number(self.control)} in control areas, a "
            f"reduction by {percent(self.reduction)} ({number(self.effect)} events, standard error {number(self.se)}) "
            f"is found with probability {percent(self.power)} ({self.alternative}, alpha {self.alpha:g}, "
            f"{self.method}); {least}.{self._notes}"
        )


def wdd_power(
    control: float,
    treated: float,
    displacement_control: float | None = None,
    displacement_treated: float | None = None,
    *,
    reduction: float = 0.2,
    displaced: float = 0.0,
    control_change: float = 0.0,
    times: Sequence[float] | None = None,
    areas: Sequence[float] | None = None,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    target: float = 0.8,
    method: Literal["normal", "exact"] = "normal",
) -> WDDPower:
    """Work out the power of `wdd` and the smallest effect it can find.

    Parameters
    ----------
    control, treated : float
        Expected counts before.
    displacement_control, displacement_treated : float, optional
        Expected counts before in displacement areas; both or neither.
    reduction : float
        Share of the treated areas' events that the program prevents; negative for an increase.
    displaced : float
        Share of the events prevented that move to the displacement area; needs one.
    control_change : float
        Proportional change that the controls, and without the program the treated, are expected to have.
    times, areas
        As for `wdd`; counts are those of periods and areas of these sizes.
    alpha : float
        Of the test.
    alternative : {"two-sided", "less", "greater"}
        "less" looks for a reduction only.
    target : float
        Power that `detectable` and `scale` are for.
    method : {"normal", "exact"}
        "exact" sums over the Poisson laws; for equal times and areas, and counts up to 20,000.

    Returns
    -------
    WDDPower

    Raises
    ------
    InputError
    """
    choice(alternative, "alternative", ("two-sided", "less", "greater"))
    choice(method, "method", ("normal", "exact"))
    _inside(alpha, "alpha", 0.0, 1.0)
    _inside(target, "target", 0.0, 1.0)
    if plain_number(reduction, "reduction") > 1:
        raise InputError(f"reduction: found {reduction:g}, expected a share, at most 1.")
    if plain_number(control_change, "control_change") < -1:
        raise InputError(f"control_change: found {control_change:g}, expected a proportional change, -1 or more.")
    if (displacement_control is None) != (displacement_treated is None):
        raise InputError("a displacement area needs its own control.", hint="Give both counts, or neither.")
    if displaced and displacement_control is None:
        raise InputError("displaced: events can only move to a displacement area.", hint="Give its counts before.")
    if not 0 <= plain_number(displaced, "displaced") <= 1:
        raise InputError(f"displaced: found {displaced:g}, expected a share from 0 to 1.")
    means = [_mean(control, "control"), _mean(treated, "treated")]
    if displacement_control is not None:
        means += [
            _mean(displacement_control, "displacement_control"),
            _mean(displacement_treated, "displacement_treated"),
        ]
    pair, size = times_in(times), areas_in(areas, len(means))
    divide = np.outer(size, pair)
    equal = bool((divide == divide[0, 0]).all())
    if method == "exact" and not equal:
        raise InputError("method 'exact' needs equal times and areas.", hint="Use method='normal'.")
    before = np.array(means)
    after_plain = before * (1 + control_change) * pair[1] / pair[0]

    def expected(share: float) -> Float:
        after = after_plain.copy()
        prevented = share * after[1]
        after[1] -= prevented
        if len(after) > 2:
            after[3] = max(0.0, after[3] + displaced * prevented)
        return np.stack([before, after], axis=1)

    def power(share: float) -> float:
        counts = expected(share)
        if method == "exact":
            return _exact(counts, alpha, alternative)
        effect, se = _moments(counts, divide)
        return _normal(effect, se, alpha, alternative)

    effect, se = _moments(expected(reduction), divide)
    return WDDPower(
        power=power(reduction), size=_exact(expected(0.0), alpha, alternative) if method == "exact" else alpha,
        effect=effect, se=se, reduction=float(reduction), detectable=_detectable(power, target, alternative),
        scale=_scale(effect, se, alpha, alternative, target), target=float(target), alpha=float(alpha),
        alternative=alternative, method=method, treated=means[1], control=means[0],
        control_change=float(control_change), flags=("few-events",) if min(means) < 10 and method == "normal" else (),
    )  # fmt: skip


def _moments(counts: Float, divide: Float) -> tuple[float, float]:
    signs = np.array([-1.0, 1.0, -1.0, 1.0])[: len(counts), None] * np.array([-1.0, 1.0])
    return float((signs * counts / divide).sum()), math.sqrt(float((counts / divide**2).sum()))


def _critical(alpha: float, alternative: str) -> float:
    return float(special.ndtri(1 - (alpha / 2 if alternative == "two-sided" else alpha)))


def _normal(effect: float, se: float, alpha: float, alternative: str) -> float:
    c, shift = _critical(alpha, alternative), effect / se
    lower, upper = float(special.ndtr(-c - shift)), float(special.ndtr(-c + shift))
    return lower if alternative == "less" else upper if alternative == "greater" else lower + upper


def _exact(counts: Float, alpha: float, alternative: str) -> float:
    """Sum the laws of A = T1 + C0 (+ displacement likewise) and B = T0 + C1 over the region of rejection."""
    signs = np.array([-1.0, 1.0, -1.0, 1.0])[: len(counts), None] * np.array([-1.0, 1.0])
    up, down = float(counts[signs > 0].sum()), float(counts[signs < 0].sum())
    if max(up, down) > _LARGEST:
        raise InputError(
            f"method 'exact': found counts of {max(up, down):,.0f}, expected at most {_LARGEST:,.0f}.",
            hint="Use method='normal', which is as good for counts as large.",
        )
    a, b = (
        np.arange(math.floor(max(0, m - 9 * math.sqrt(m) - 20)), math.ceil(m + 9 * math.sqrt(m) + 30))
        for m in (up, down)
    )
    pa, pb = stats.poisson.pmf(a, up), stats.poisson.pmf(b, down)
    tail_b = np.concatenate([np.cumsum(pb[::-1])[::-1], [0.0]])  # P(B >= b[i])
    c2 = _critical(alpha, alternative) ** 2
    # (A - B)^2 > c^2 (A + B): for each A, B beyond the roots of a quadratic
    root = np.sqrt(c2 * c2 / 4 + 2 * c2 * a)
    high, low = a + c2 / 2 + root, a + c2 / 2 - root
    found = np.zeros(a.size)
    if alternative in ("two-sided", "less"):  # A far below B
        found += tail_b[np.searchsorted(b, high, side="right")]
    if alternative in ("two-sided", "greater"):
        found += tail_b[0] - tail_b[np.searchsorted(b, low, side="left")]
    return float(pa @ found)


def _reach(mean: float) -> NDArray[np.int64]:
    """Counts beyond which a Poisson law has less than 1e-17."""
    wide = 9 * math.sqrt(mean) + 30
    return np.arange(max(0, math.floor(mean - wide)), math.ceil(mean + wide))


def _detectable(power: Any, target: float, alternative: str) -> float:
    if alternative == "greater":
        top = 1.0
        while power(-top) < target:
            top *= 2
            if top > 1e6:
                return math.nan
        return (
            -float(optimize.brentq(lambda s: power(-s) - target, 0.0, top, xtol=1e-6)) if power(0.0) < target else 0.0
        )
    if power(0.0) >= target:
        return 0.0
    if power(1.0) < target:
        return math.nan
    return float(optimize.brentq(lambda s: power(s) - target, 0.0, 1.0, xtol=1e-6))


def _scale(effect: float, se: float, alpha: float, alternative: str, target: float) -> float:
    """Counts k times as large make the effect k and its error sqrt(k) times as large."""
    right_way = effect < 0 if alternative == "less" else effect > 0 if alternative == "greater" else effect != 0
    if not right_way:
        return math.inf

    def lack(log_k: float) -> float:
        return _normal(effect * math.sqrt(math.exp(log_k)), se, alpha, alternative) - target

    if lack(-30.0) >= 0:
        return 0.0
    return math.exp(float(optimize.brentq(lack, -30.0, 60.0, xtol=1e-9)))


def _mean(value: Any, name: str) -> float:
    found = plain_number(value, name)
    if not (math.isfinite(found) and found > 0):
        raise InputError(f"{name}: found {found:g}, expected a positive expected count.")
    return found


def _inside(value: Any, name: str, low: float, high: float) -> None:
    if not low < plain_number(value, name) < high:
        raise InputError(f"{name}: found {value:g}, expected a number between {low:g} and {high:g}.")
