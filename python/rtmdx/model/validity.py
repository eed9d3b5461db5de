"""Predictive validity: capture curves, PAI, PEI, RRI and AUC, honest about ties.

A risk terrain has few distinct scores, so "the top 10 % of cells" is seldom one set. Every
top-k figure is given three ways: the *lowest* and *highest* number of events over all ways to
break the ties, and the number *expected* when ties break at random.

Sources: Chainey, Tompson & Uhlig (2008) for PAI, Hunt (2016) for PEI, Levine (2008) for RRI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError

__all__ = ["Bounds", "TopShare", "Validity", "validity"]

_CURVE_POINTS = 201


@dataclass(frozen=True, slots=True)
class Bounds:
    """A figure under the least favourable, random and most favourable breaking of ties."""

    lowest: float
    expected: float
    highest: float

    def scaled(self, factor: float) -> Bounds:
        """Multiply all three."""
        return Bounds(self.lowest * factor, self.expected * factor, self.highest * factor)


@dataclass(frozen=True, slots=True)
class TopShare:
    """Capture in the k highest-scored cells.

    Attributes
    ----------
    share : float
        Share of the cells asked for; ``n_cells`` = round(share x cells), at least 1.
    events : Bounds
        Events in those cells.
    hit_rate : Bounds
        n / N: share of all events.
    pai : Bounds
        Predictive accuracy index, (n/N) / (a/A).
    pei : Bounds
        Predictive efficiency index: PAI over the best PAI any choice of as many cells could have.
    rri : float
        Recapture index as predicted over observed events in the flagged set (expected over ties);
        NaN when the score is not a count or no event was captured.
    """

    share: float
    n_cells: int
    events: Bounds
    hit_rate: Bounds
    pai: Bounds
    pei: Bounds
    rri: float


@dataclass(frozen=True)
class Validity:
    """How well a score ranks the cells by the events of one period.

    Attributes
    ----------
    name : str
        The score: "Risk terrain", "Past counts", "Kernel density".
    period : str
        Whose events are captured, for people.
    n_cells, n_events : int
    n_levels : int
        Number of distinct scores.
    top : tuple of TopShare
    auc : float
        Probability that a random event's cell outranks a random cell without event, ties half;
        NaN when every cell, or none, has an event.
    curve_share, curve_lowest, curve_expected, curve_highest : float arrays, shape (201,)
        Share of cells flagged against share of events captured.
    """

    name: str
    period: str
    n_cells: int
    n_events: int
    n_levels: int
    top: tuple[TopShare, ...]
    auc: float
    curve_share: NDArray[np.float64] = field(repr=False)
    curve_lowest: NDArray[np.float64] = field(repr=False)
    curve_expected: NDArray[np.float64] = field(repr=False)
    curve_highest: NDArray[np.float64] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures (not the curve) as plain data; what is undefined is None."""

        def number(value: float) -> float | None:
            return float(value) if math.isfinite(value) else None

        def triple(b: Bounds) -> dict[str, float | None]:
            return {"lowest": number(b.lowest), "expected": number(b.expected), "highest": number(b.highest)}

        return {
            "name": self.name,
            "period": self.period,
            "n_cells": self.n_cells,
            "n_events": self.n_events,
            "n_levels": self.n_levels,
            "auc": number(self.auc),
            "top": [
                {
                    "share": t.share,
                    "n_cells": t.n_cells,
                    "events": triple(t.events),
                    "hit_rate": triple(t.hit_rate),
                    "pai": triple(t.pai),
                    "pei": triple(t.pei),
                    "rri": number(t.rri),
                }
                for t in self.top
            ],
        }


def validity(
    score: ArrayLike,
    counts: ArrayLike,
    *,
    name: str = "score",
    period: str = "",
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    predicted: ArrayLike | None = None,
) -> Validity:
    """Measure how well `score` ranks cells by `counts`.

    Parameters
    ----------
    score : float array, shape (n_cells,)
        Higher is riskier. Equal values are ties.
    counts : int array, shape (n_cells,)
        Events per cell, of the period being predicted.
    shares : sequence of float
        Shares of the cells at which capture is reported.
    name, period : str
        What the score is and whose events these are, for people.
    predicted : float array, shape (n_cells,), optional
        Expected counts on the scale of `counts`, for RRI.

    Returns
    -------
    Validity

    Raises
    ------
    InputError
        Shapes differ, a score is not finite, or a count is negative.
    """
    s = np.asarray(score, dtype=np.float64)
    y = np.asarray(counts, dtype=np.int64)
    if s.ndim != 1 or s.shape != y.shape or not s.size:
        raise InputError(f"score has shape {s.shape}, counts {y.shape}; expected one non-empty shape (n_cells,).")
    if not np.isfinite(s).all():
        raise InputError(f"score: {np.count_nonzero(~np.isfinite(s))} cells are not finite.")
    if (y < 0).any():
        raise InputError(f"counts: {np.count_nonzero(y < 0)} cells are negative.")
    levels, level = np.unique(-s, return_inverse=True)
    pred = None if predicted is None else np.asarray(predicted, dtype=np.float64)
    low = _Cumulative(level, y, np.lexsort((y, level)))
    high = _Cumulative(level, y, np.lexsort((-y, level)))
    best = np.concatenate([[0], np.cumsum(np.sort(y)[::-1])])
    total = int(y.sum())
    mean_pred = None if pred is None else _Cumulative(level, pred, np.argsort(level, kind="stable"))

    n = s.size
    top = []
    for share in shares:
        k = min(n, max(1, round(share * n)))
        events = Bounds(float(low.exact(k)), low.expected(k), float(high.exact(k)))
        hit = events.scaled(1 / total if total else math.nan)
        ideal = best[k] / total if total else math.nan
        rri = math.nan
        if mean_pred is not None and events.expected > 0:
            rri = mean_pred.expected(k) / events.expected
        top.append(TopShare(share, k, events, hit, hit.scaled(n / k), hit.scaled(1 / ideal), rri))

    ks = np.linspace(0, n, _CURVE_POINTS)
    norm = total if total else math.nan
    return Validity(
        name=name,
        period=period,
        n_cells=n,
        n_events=total,
        n_levels=levels.size,
        top=tuple(top),
        auc=_auc(level, y),
        curve_share=ks / n,
        curve_lowest=np.interp(ks, np.arange(n + 1), low.running) / norm,
        curve_expected=np.interp(ks, low.level_cells, low.level_total) / norm,
        curve_highest=np.interp(ks, np.arange(n + 1), high.running) / norm,
    )


class _Cumulative:
    """Running totals of `values` in score order, and at the ends of the tie levels."""

    def __init__(self, level: NDArray[np.intp], values: NDArray[Any], order: NDArray[np.intp]) -> None:
        self.running = np.concatenate([[0], np.cumsum(values[order])])
        self.level_cells = np.concatenate([[0], np.cumsum(np.bincount(level))])
        self.level_total = self.running[self.level_cells]

    def exact(self, k: int) -> float:
        return float(self.running[k])

    def expected(self, k: int) -> float:
        """Return the mean over random tie-breaking: linear within a level."""
        return float(np.interp(k, self.level_cells, self.level_total))


def _auc(level: NDArray[np.intp], counts: NDArray[np.int64]) -> float:
    """Event-weighted: each event against each cell without one; ties count half."""
    events = np.bincount(level, weights=counts)
    empty = np.bincount(level, weights=counts == 0)
    n_events, n_empty = events.sum(), empty.sum()
    if n_events == 0 or n_empty == 0:
        return math.nan
    below = n_empty - np.cumsum(empty)
    return float((events * (below + empty / 2)).sum() / (n_events * n_empty))
