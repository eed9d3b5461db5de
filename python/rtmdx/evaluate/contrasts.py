"""Differences as weighted sums over events, so that whatever is counted twice is counted so in the variance too.

Windows of several records may overlap, controls are shared by all of them, places may share ground. So each event e has
one coefficient a_e: the sum over records of +-1 (or a control's weight) after, and of the same times the ratio of days,
with the other sign, before. The difference is sum a_e and, events being Poisson, its variance sum a_e^2. With one
window and disjoint areas that is the weighted displacement difference of `wdd`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.evaluate.windows import Window

__all__ = ["Contrast", "EventDays", "Sum"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Sum:
    """A difference and its Poisson variance."""

    value: float
    variance: float

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance)

    @property
    def z(self) -> float:
        """The value over its standard error; 0 where both are."""
        return self.value / self.se if self.variance > 0 else 0.0


@dataclass(frozen=True, eq=False)
class EventDays:
    """Events: the unit each is in, and its day.

    Attributes
    ----------
    inside : sparse array, shape (n_events, n_units)
    day : int64 array, shape (n_events,)
        Days since 1970-01-01.
    """

    inside: Any
    day: NDArray[np.int64]

    def sides(self, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which events are before and which after."""
        b0, b1, a0, a1 = (np.datetime64(d).astype("datetime64[D]").astype(np.int64) for d in _days(window))
        return (self.day >= b0) & (self.day <= b1), (self.day >= a0) & (self.day <= a1)

    def signs(self, window: Window, share: float = 1.0) -> Float:
        """Return +1 after and minus the ratio of days before; `share` of the period after, from its beginning."""
        before, after = self.sides(window)
        if share < 1.0:
            start = np.datetime64(window.after_start).astype("datetime64[D]").astype(np.int64)
            after &= self.day < start + share * window.days[1]
        return np.asarray(after * 1.0 - before * (window.scale * share))


@dataclass(frozen=True, eq=False)
class Contrast:
    """What each unit's change counts for, by window.

    Attributes
    ----------
    windows : tuple of Window
        Distinct ones.
    weights : float64 array, shape (n_windows, n_units)
    """

    windows: tuple[Window, ...]
    weights: Float

    def sum(self, events: EventDays, share: float = 1.0) -> Sum:
        """Return the difference over the first `share` of each period after."""
        a = np.zeros(events.day.size)
        for window, g in zip(self.windows, self.weights, strict=True):
            a += events.signs(window, share) * (events.inside @ g)
        return Sum(float(a.sum()), float((a * a).sum()))

    def moved(self, windows: Sequence[Window]) -> Contrast:
        """Return the same with other windows."""
        return Contrast(tuple(windows), self.weights)

    def sides(self, events: EventDays) -> tuple[float, float, int, int]:
        """Return weighted counts before (scaled to the days after) and after, and the events behind each."""
        totals, seen = [0.0, 0.0], [np.zeros(events.day.size, dtype=np.bool_) for _ in range(2)]
        for window, g in zip(self.windows, self.weights, strict=True):
            amount = events.inside @ g
            for i, (side, scale) in enumerate(zip(events.sides(window), (window.scale, 1.0), strict=True)):
                totals[i] += scale * float(amount[side].sum())
                seen[i] |= side & (amount != 0)
        return totals[0], totals[1], int(seen[0].sum()), int(seen[1].sum())


def _days(window: Window) -> tuple[Any, Any, Any, Any]:
    return window.before_start, window.before_end, window.after_start, window.after_end
