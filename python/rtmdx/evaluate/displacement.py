"""The weighted displacement difference: did treated areas change more than control areas, displacement counted in.

    WDD = (T1 - T0) - (C1 - C0) + (DT1 - DT0) - (DC1 - DC0)

with counts before (0) and after (1) in treated, control, and their displacement areas, each divided by its weight w of
time and area. Counts are independent Poisson, so Var = sum of count / w^2 (Wheeler & Ratcliffe 2018, Crime Science
7:11; weights: Wheeler 2021). Negative is fewer events than the controls' change would have brought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rtmdx.errors import InputError
from rtmdx.evaluate.counts import areas_in, counts_in, dispersion_in, divisors, require_both, stacked_counts, times_in
from rtmdx.evaluate.results import FEW_EVENTS, Effect, level_in, normal_interval, signed
from rtmdx.report.numbers import number, p_value, span
from rtmdx.space.values import choice, named, reals

__all__ = ["WDD", "CumulativeWDD", "HarmWDD", "wdd", "wdd_cumulative", "wdd_harm"]

Float = NDArray[np.float64]
_SIGNS = np.array([-1.0, 1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class WDD(Effect):
    """A weighted displacement difference, in events of the period after (where its weight is 1).

    Attributes
    ----------
    variance, z : float
    control, treated : (float, float)
        Counts before and after, as given.
    displacement_control, displacement_treated : (float, float) or None
    times : (float, float)
    areas : tuple of float
        Weights of the areas, control, treated and the two displacement areas.
    dispersion : float
        Factor of the Poisson variance.
    local : (float, float, float)
        Difference without displacement areas, with its interval.
    displaced : (float, float, float)
        The displacement areas' own difference, with its interval; zeros without such areas.
    ratio : (float, float, float)
        (T1/T0) / (C1/C0) with weights, and its interval on the log scale: the comparison of those who expect equal
        proportional changes. NaN where a count is 0.
    """

    variance: float
    z: float
    control: tuple[float, float]
    treated: tuple[float, float]
    displacement_control: tuple[float, float] | None
    displacement_treated: tuple[float, float] | None
    times: tuple[float, float]
    areas: tuple[float, ...]
    dispersion: float
    local: tuple[float, float, float]
    displaced: tuple[float, float, float]
    ratio: tuple[float, float, float]

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)

    def sentence(self) -> str:
        """Say it in one sentence."""
        pairs = [("treated", self.treated), ("control", self.control)]
        if self.displacement_treated is not None and self.displacement_control is not None:
            pairs += [("displacement", self.displacement_treated), ("its control", self.displacement_control)]
        counts = ", ".join(f"{name} {_count(b)} to {_count(a)}" for name, (b, a) in pairs)
        more = ""
        if math.isfinite(self.ratio[0]):
            more = f"; ratio of ratios {number(self.ratio[0])} ({span(*self.ratio[1:])})"
        return (
            f"Weighted displacement difference {signed(self.estimate)} events ({self.interval}, z "
            f"{number(self.z)}, p {p_value(self.p)}; {counts}{more}).{self._notes}"
        )


@dataclass(frozen=True, kw_only=True)
class HarmWDD(Effect):
    """A weighted displacement difference over types of events, each counted with its harm.

    Attributes
    ----------
    variance, z : float
    names : tuple of str
    weights : tuple of float
    types : tuple of WDD
        Each type's own difference, unweighted.
    """

    variance: float
    z: float
    names: tuple[str, ...]
    weights: tuple[float, ...]
    types: tuple[WDD, ...]

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)

    def to_frame(self) -> Any:
        """Return a row per type, and one for the whole, in units of harm."""
        import pandas as pd

        rows = [
            {
                "type": name, "weight": w, "control_before": t.control[0], "control_after": t.control[1],
                "treated_before": t.treated[0], "treated_after": t.treated[1], "wdd": t.estimate, "wdd_low": t.low,
                "wdd_high": t.high, "harm": w * t.estimate, "harm_low": w * t.low, "harm_high": w * t.high, "p": t.p,
            }
            for name, w, t in zip(self.names, self.weights, self.types, strict=True)
        ]  # fmt: skip
        whole = {"type": "all", "harm": self.estimate, "harm_low": self.low, "harm_high": self.high, "p": self.p}
        return pd.DataFrame([*rows, whole])

    def sentence(self) -> str:
        """Say it in one sentence."""
        parts = ", ".join(
            f"{name} {signed(t.estimate)} of weight {w:g}"
            for name, w, t in zip(self.names, self.weights, self.types, strict=True)
        )
        return (
            f"Harm-weighted displacement difference {signed(self.estimate)} ({self.interval}, z {number(self.z)}, p "
            f"{p_value(self.p)}; {parts}).{self._notes}"
        )


@dataclass(frozen=True, kw_only=True)
class CumulativeWDD(Effect):
    """The difference from the start to the end of each period; `estimate` is that of the last.

    Attributes
    ----------
    periods : tuple
        Labels of the periods after.
    cumulative, se, lows, highs : float64 arrays, shape (n_periods,)
    by_period : float64 array, shape (n_periods,)
        Each period's own difference.
    baseline : {"mean", "matched"}
    limits : {"pointwise", "bonferroni"}
    """

    periods: tuple[Any, ...]
    cumulative: Float = field(compare=False)
    se: Float = field(compare=False)
    lows: Float = field(compare=False)
    highs: Float = field(compare=False)
    by_period: Float = field(compare=False)
    baseline: str
    limits: str

    def to_frame(self) -> Any:
        """Return a row per period."""
        import pandas as pd

        return pd.DataFrame(
            {"period": list(self.periods), "wdd": self.by_period, "cumulative": self.cumulative, "se": self.se,
             "low": self.lows, "high": self.highs}
        )  # fmt: skip

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"After {len(self.periods):,} periods, cumulative weighted displacement difference {signed(self.estimate)} "
            f"events ({self.interval}, {self.method}).{self._notes}"
        )


def wdd(
    control: ArrayLike,
    treated: ArrayLike,
    displacement_control: ArrayLike | None = None,
    displacement_treated: ArrayLike | None = None,
    *,
    times: Sequence[float] | None = None,
    areas: Sequence[float] | None = None,
    dispersion: float = 1.0,
    level: float = 0.95,
) -> WDD:
    """Compare the change of treated areas with that of control areas.

    Parameters
    ----------
    control, treated : two counts
        Before and after.
    displacement_control, displacement_treated : two counts, optional
        Areas that events may have been displaced to (or benefits diffused to), and their controls; both or neither.
    times : two numbers, optional
        Lengths of before and after, in any unit; (2, 1) where before is twice as long. The result is per unit.
    areas : two or four numbers, optional
        Weights of control and treated, and of the two displacement areas, in that order: sizes, in any unit.
    dispersion : float
        Factor of the Poisson variance, above 1 where counts vary more than by chance.
    level : float

    Returns
    -------
    WDD
        The interval is normal. Under independent Poisson counts of 10 and more its coverage is near the level.

    Raises
    ------
    InputError
        Counts that are not whole or negative, half a displacement pair, weights that are not positive.
    """
    level = level_in(level)
    counts = stacked_counts(control, treated, displacement_control, displacement_treated, (2,))
    divide = divisors(times, areas, len(counts))
    spread = dispersion_in(dispersion)
    return _wdd(counts, divide, times_in(times), areas_in(areas, len(counts)), spread, level)


def wdd_harm(
    control: ArrayLike,
    treated: ArrayLike,
    weights: Sequence[float],
    displacement_control: ArrayLike | None = None,
    displacement_treated: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    times: Sequence[float] | None = None,
    areas: Sequence[float] | None = None,
    dispersion: float = 1.0,
    level: float = 0.95,
) -> HarmWDD:
    """Compare changes in harm: the differences of several types of events, weighted and summed.

    The sum is sum_i h_i WDD_i, its variance sum_i h_i^2 Var_i: types are taken for independent given their means.

    Parameters
    ----------
    control, treated : counts, shape (n_types, 2)
        Before and after, of each type.
    weights : n_types numbers
        Harm of one event of each type, such as days of a sentence or points of a harm index.
    displacement_control, displacement_treated : counts, shape (n_types, 2), optional
    names : n_types strings, optional
    times, areas, dispersion, level
        As for `wdd`.

    Returns
    -------
    HarmWDD
    """
    level = level_in(level)
    counts = stacked_counts(control, treated, displacement_control, displacement_treated, (None, 2))
    n = counts.shape[1]
    harm = reals(list(weights), "weights", f"{n} numbers, one per type")
    if harm.shape != (n,) or not np.isfinite(harm).all() or (harm < 0).any():
        raise InputError(f"weights: found {named(list(weights))}, expected {n} numbers from 0, one per type.")
    labels = tuple(map(str, names)) if names is not None else tuple(f"type {i + 1}" for i in range(n))
    if len(labels) != n or len(set(labels)) != n:
        raise InputError(f"names: found {len(labels)} ({len(set(labels))} different), expected {n}, one per type.")
    divide = divisors(times, areas, len(counts))
    spread = dispersion_in(dispersion)
    pair, sizes = times_in(times), areas_in(areas, len(counts))
    types = tuple(_wdd(counts[:, i], divide, pair, sizes, spread, level) for i in range(n))
    estimate = float(sum(h * t.estimate for h, t in zip(harm, types, strict=True)))
    variance = float(sum(h * h * t.variance for h, t in zip(harm, types, strict=True)))
    low, high, p = normal_interval(estimate, math.sqrt(variance), level)
    return HarmWDD(
        estimate=estimate, low=low, high=high, level=level, p=p, method="normal, Poisson counts",
        variance=variance, z=_z(estimate, variance), names=labels, weights=tuple(harm.tolist()), types=types,
        flags=_flags(counts.sum(axis=1)),
    )  # fmt: skip


def wdd_cumulative(
    control: tuple[ArrayLike, ArrayLike],
    treated: tuple[ArrayLike, ArrayLike],
    displacement_control: tuple[ArrayLike, ArrayLike] | None = None,
    displacement_treated: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    periods: Sequence[Any] | None = None,
    baseline: Literal["mean", "matched"] = "mean",
    areas: Sequence[float] | None = None,
    dispersion: float = 1.0,
    limits: Literal["pointwise", "bonferroni"] = "pointwise",
    level: float = 0.95,
) -> CumulativeWDD:
    """Follow the difference from period to period.

    Parameters
    ----------
    control, treated : (counts before, counts after)
        One count for each period of equal length, such as months.
    displacement_control, displacement_treated : likewise, optional
    periods : sequence, optional
        Labels of the periods after.
    baseline : {"mean", "matched"}
        What a period after is compared with: the mean of all periods before; or the period before of the same place
        (the same month a year ago), for which there must be as many before as after.
    areas, dispersion, level
        As for `wdd`.
    limits : {"pointwise", "bonferroni"}
        Limits that hold at each period, or (Bonferroni) at all of them together.

    Returns
    -------
    CumulativeWDD
        At period t the counts after are summed to t; those before are the mean times t, or summed to t.
    """
    level = level_in(level)
    choice(baseline, "baseline", ("mean", "matched"))
    choice(limits, "limits", ("pointwise", "bonferroni"))
    given = [("control", control), ("treated", treated)]
    require_both(displacement_control, displacement_treated)
    if displacement_control is not None and displacement_treated is not None:
        given += [("displacement_control", displacement_control), ("displacement_treated", displacement_treated)]
    before, after = [], []
    for name, pair in given:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"{name}: found {named(pair)}, expected two series: counts before and counts after.")
        before.append(counts_in(pair[0], f"{name}, before", (None,)))
        after.append(counts_in(pair[1], f"{name}, after", (None,)))
    for series, when in ((before, "before"), (after, "after")):
        sizes = {s.size for s in series}
        if len(sizes) > 1 or 0 in sizes:
            raise InputError(f"counts {when}: found series of {sorted(sizes)} periods, expected the same, at least 1.")
    n, m = before[0].size, after[0].size
    if baseline == "matched" and n != m:
        raise InputError(f"baseline 'matched': found {n} periods before and {m} after, expected as many of each.")
    if periods is not None and len(periods) != m:
        raise InputError(f"periods: found {len(periods)} labels, expected {m}, one per period after.")
    signs = _SIGNS[: len(given)]
    size = np.array(areas_in(areas, len(given)))
    b, a = np.stack(before), np.stack(after)
    t = np.arange(1, m + 1)
    if baseline == "mean":
        reference, noise = np.outer(b.mean(axis=1), t), np.outer(b.sum(axis=1), (t / n) ** 2)
        own = b.mean(axis=1, keepdims=True)
    else:
        reference = noise = np.cumsum(b, axis=1)
        own = b
    total = np.cumsum(a, axis=1)
    cumulative = (signs / size) @ (total - reference)
    variance = dispersion_in(dispersion) * ((1 / size**2) @ (total + noise))
    se = np.sqrt(variance)
    tail = (1 - level) / (m if limits == "bonferroni" else 1)
    z = float(special.ndtri(1 - tail / 2))
    last = float(cumulative[-1])
    return CumulativeWDD(
        estimate=last, low=last - z * float(se[-1]), high=last + z * float(se[-1]), level=level,
        p=normal_interval(last, float(se[-1]), level)[2],
        method=f"normal, Poisson counts, {limits}, beside the {baseline} of the periods before",
        periods=tuple(periods) if periods is not None else tuple(range(1, m + 1)),
        cumulative=cumulative, se=se, lows=cumulative - z * se, highs=cumulative + z * se,
        by_period=(signs / size) @ (a - own), baseline=baseline, limits=limits,
        flags=_flags(np.stack([b.sum(axis=1), a.sum(axis=1)], axis=1)),
    )  # fmt: skip


def _wdd(
    counts: Float, divide: Float, times: tuple[float, float], areas: tuple[float, ...], spread: float, level: float
) -> WDD:
    signs = _SIGNS[: len(counts), None] * np.array([-1.0, 1.0])
    parts = (signs * counts / divide).sum(axis=1)
    noise = spread * (counts / divide**2).sum(axis=1)
    estimate, variance = float(parts.sum()), float(noise.sum())
    low, high, p = normal_interval(estimate, math.sqrt(variance), level)

    def some(rows: slice) -> tuple[float, float, float]:
        value = float(parts[rows].sum())
        ends = normal_interval(value, math.sqrt(float(noise[rows].sum())), level)
        return value, ends[0], ends[1]

    rows = [(float(b), float(a)) for b, a in counts]
    return WDD(
        estimate=estimate, low=low, high=high, level=level, p=p,
        method="normal, Poisson counts" if spread == 1 else f"normal, Poisson counts times {spread:g}",
        variance=variance, z=_z(estimate, variance), control=rows[0], treated=rows[1],
        displacement_control=rows[2] if len(rows) > 2 else None,
        displacement_treated=rows[3] if len(rows) > 2 else None,
        times=times, areas=areas, dispersion=spread, local=some(slice(0, 2)), displaced=some(slice(2, 4)),
        ratio=_ratio(counts[:2], divide[:2], spread, level),
        flags=_flags(counts) + (("unequal-times",) if times[0] != times[1] else ()),
    )  # fmt: skip


def _ratio(counts: Float, divide: Float, spread: float, level: float) -> tuple[float, float, float]:
    if (counts == 0).any():
        return math.nan, math.nan, math.nan
    (c0, c1), (t0, t1) = counts / divide
    middle = math.log(t1 / t0 / (c1 / c0))
    low, high, _ = normal_interval(middle, math.sqrt(spread * float((1 / counts).sum())), level)
    return math.exp(middle), math.exp(low), math.exp(high)


def _z(estimate: float, variance: float) -> float:
    return estimate / math.sqrt(variance) if variance > 0 else math.nan


def _flags(counts: Float) -> tuple[str, ...]:
    found: tuple[str, ...] = ("few-events",) if counts.min() < FEW_EVENTS else ()
    c0, t0 = float(counts[0, 0]), float(counts[1, 0])
    if max(c0, t0) > 2 * min(c0, t0):
        found += ("baseline-unlike",)
    return found


def _count(value: float) -> str:
    return f"{value:,.0f}"
