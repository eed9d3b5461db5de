"""Differences as weighted sums over events, so that whatever is counted twice is counted so in the variance too.

Windows of several records may overlap, controls are shared by all of them, places may share ground. So each event e has
one coefficient a_e: the sum over records of +-1 (or a control's weight) after, and with the other sign of the same
times a scale before. The difference is sum a_e and, events being Poisson, its variance sum a_e^2. With the ratio of
days as scale, one window and disjoint areas, that is the weighted displacement difference of `wdd`.

Controls weighed by events count w = T0 / C0, so that the difference is T1 - w C1; with C1 / C0 as scale its derivatives
by the four counts are the coefficients, and sum a_e^2 is its variance by the delta method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.evaluate.windows import Window

__all__ = ["Contrast", "EventDays", "Sum", "contrast_pair"]

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
    _kept: dict[Window, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = field(default_factory=dict, repr=False)

    def sides(self, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which events are before and which after."""
        if window not in self._kept:
            self._kept[window] = self._sides(window)
        return self._kept[window]

    def _sides(self, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        b0, b1, a0, a1 = (np.datetime64(d).astype("datetime64[D]").astype(np.int64) for d in _days(window))
        return (self.day >= b0) & (self.day <= b1), (self.day >= a0) & (self.day <= a1)

    def signs(self, window: Window, scale: float, share: float = 1.0) -> Float:
        """Return +1 after and minus the scale before; `share` of the period after, from its beginning."""
        before, after = self.sides(window)
        if share < 1.0:
            start = np.datetime64(window.after_start).astype("datetime64[D]").astype(np.int64)
            after = after & (self.day < start + share * window.days[1])
        return np.asarray(after * 1.0 - before * (scale * share))

    def counts(self, window: Window) -> tuple[Float, Float]:
        """Return the events of each unit before and after."""
        before, after = (np.asarray(self.inside.T @ s.astype(np.float64)) for s in self.sides(window))
        return before, after


@dataclass(frozen=True, eq=False)
class Contrast:
    """What each unit's change counts for, by window.

    Attributes
    ----------
    windows : tuple of Window
    scales : tuple of float
        What counts before are multiplied by, of each window.
    weights : float64 array, shape (n_windows, n_units)
    """

    windows: tuple[Window, ...]
    scales: tuple[float, ...]
    weights: Float

    def __sub__(self, other: Contrast) -> Contrast:
        """Return the difference of two with the same windows and scales."""
        return Contrast(self.windows, self.scales, self.weights - other.weights)

    def __add__(self, other: Contrast) -> Contrast:
        """Return both together; their scales may differ."""
        weights = np.concatenate([self.weights, other.weights])
        return Contrast(self.windows + other.windows, self.scales + other.scales, weights)

    def sum(self, events: EventDays, share: float = 1.0) -> Sum:
        """Return the difference over the first `share` of each period after."""
        a = np.zeros(events.day.size)
        for window, scale, g in zip(self.windows, self.scales, self.weights, strict=True):
            a += events.signs(window, scale, share) * (events.inside @ g)
        return Sum(float(a.sum()), float((a * a).sum()))

    def sides(self, events: EventDays) -> tuple[float, float, int, int]:
        """Return weighted counts before (scaled to the days after) and after, and the events behind each."""
        totals, seen = [0.0, 0.0], [np.zeros(events.day.size, dtype=np.bool_) for _ in range(2)]
        for window, g in zip(self.windows, self.weights, strict=True):
            amount = events.inside @ g
            for i, (side, scale) in enumerate(zip(events.sides(window), (window.scale, 1.0), strict=True)):
                totals[i] += scale * float(amount[side].sum())
                seen[i] |= side & (amount != 0)
        return totals[0], totals[1], int(seen[0].sum()), int(seen[1].sum())


def contrast_pair(
    own: NDArray[np.int64],
    against: NDArray[np.int64],
    windows: Sequence[Window],
    shares: Float | None,
    events: EventDays,
) -> tuple[Contrast, Contrast]:
    """Return what the records' own units count for, and the units they are held against.

    Parameters
    ----------
    own : int64 array, shape (n_records,)
    against : int64 array, shape (n_against,)
    windows : sequence of Window, shape (n_records,)
    shares : float64 array, shape (n_records, n_against), or None
        What a unit's change counts for beside each record; None: by events before.

    Raises
    ------
    InputError
        By events, and there are none before to weigh with.
    """
    distinct = tuple(dict.fromkeys(windows))
    where = np.array([distinct.index(w) for w in windows])
    scales = [w.scale for w in distinct]
    if shares is None:
        shares = np.empty((own.size, against.size))
        for k, window in enumerate(distinct):
            before, after = events.counts(window)
            total = float(before[against].sum())
            if total == 0:
                raise InputError(
                    f"weighting 'events': what treated areas are held against has no events in "
                    f"{window.before_start} to {window.before_end}.",
                    hint="Use weighting='area', more controls, or more days before.",
                )
            scales[k] = float(after[against].sum()) / total
            shares[where == k] = (before[own[where == k]] / total)[:, None]
    weights = np.zeros((2, len(distinct), events.inside.shape[1]))
    np.add.at(weights[0], (where, own), 1.0)
    for k, row in zip(where.tolist(), shares, strict=True):
        weights[1, k, against] += row
    return Contrast(distinct, tuple(scales), weights[0]), Contrast(distinct, tuple(scales), weights[1])


def _days(window: Window) -> tuple[Any, Any, Any, Any]:
    return window.before_start, window.before_end, window.after_start, window.after_end
