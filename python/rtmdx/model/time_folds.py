"""Folds in time: the same cells in every fold, what differs is the part of the period that is left out."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError

__all__ = ["TimeFolds", "time_folds"]

Day = str | dt.date | np.datetime64


@dataclass(frozen=True, eq=False)
class TimeFolds:
    """A period cut into consecutive parts, each scored by a model fitted to the others.

    Fold i trains on ``total - counts[i]`` with ``1 - share[i]`` of every cell's exposure, and is scored on
    ``counts[i]`` with ``share[i]`` of it.

    Attributes
    ----------
    counts : int32 array, shape (k, n_cells)
        Events per part and kept cell.
    share : float64 array, shape (k,)
        Each part's share of the period's days; sums to 1.
    edges : datetime64[D] array, shape (k + 1,)
        First day of each part, and the day after the last.

    Raises
    ------
    InputError
        If the shapes disagree, a count is negative, a share not positive, or the shares do not sum to 1.
    """

    counts: NDArray[np.int32]
    share: NDArray[np.float64]
    edges: NDArray[np.datetime64]

    def __post_init__(self) -> None:
        k = len(self.share)
        if k < 2 or self.counts.ndim != 2 or self.counts.shape[0] != k or self.edges.shape != (k + 1,):
            raise InputError(
                f"counts of shape {self.counts.shape}, {k} shares and {self.edges.shape[0]} edges do not fit: "
                "expected (k, n_cells), k >= 2 and k + 1."
            )
        if self.counts.dtype.kind not in "iu" or self.counts.min(initial=0) < 0:
            raise InputError("counts of time folds must be whole numbers >= 0.")
        if not (self.share > 0).all() or abs(self.share.sum() - 1) > 1e-9:
            raise InputError(f"shares {self.share.tolist()} of the period must be positive and sum to 1.")

    @property
    def k(self) -> int:
        """Number of parts."""
        return int(self.counts.shape[0])

    @property
    def n_cells(self) -> int:
        """Number of kept cells."""
        return int(self.counts.shape[1])

    @property
    def total(self) -> NDArray[np.int64]:
        """Events per kept cell over the whole period, shape (n_cells,)."""
        return np.asarray(self.counts.sum(axis=0, dtype=np.int64))

    @property
    def periods(self) -> tuple[str, ...]:
        """Each part in words: "2017-01-01 to 2017-05-26", both days whole."""
        last = self.edges[1:] - np.timedelta64(1, "D")
        return tuple(f"{a} to {b}" for a, b in zip(self.edges[:-1], last, strict=True))


def time_folds(
    cells: ArrayLike,
    dates: ArrayLike,
    n_cells: int,
    k: int = 5,
    *,
    start: Day | None = None,
    end: Day | None = None,
    parts: Literal["equal", "years"] = "equal",
) -> TimeFolds:
    """Cut the outcome's period into consecutive parts and count events per part and cell.

    Parameters
    ----------
    cells : int array, shape (n_events,)
        Kept cell of each event.
    dates : datetime64 array, or anything NumPy converts to one, shape (n_events,)
        Day of each event.
    n_cells : int
    k : int
        Number of parts of equal length, to within a day; not used with ``parts="years"``.
    start, end : date, optional
        First and last day of the period, both whole; those of the events by default, which is too short a
        period when the first or last days saw none: give them where they are known.
    parts : {"equal", "years"}
        "years": one part per calendar year; a year the period covers in part counts by its days.

    Returns
    -------
    TimeFolds

    Raises
    ------
    InputError
        If there are no events, one has no date, lies outside the period or in no cell; if the period has fewer days
        than parts, or lies within one calendar year; or if a part has no events.
    """
    cell = np.asarray(cells)
    day = np.asarray(dates, dtype="datetime64[D]")
    if cell.ndim != 1 or cell.shape != day.shape:
        raise InputError(f"cells and dates must be 1-D and of one length, found {cell.shape} and {day.shape}.")
    if not cell.size:
        raise InputError("There are no events, so no period to cut into folds.")
    if cell.dtype.kind not in "iu" or cell.min() < 0 or cell.max() >= n_cells:
        raise InputError(f"cells must be whole numbers from 0 to {n_cells - 1}.")
    if np.isnat(day).any():
        i = int(np.isnat(day).argmax())
        raise InputError(
            f"{int(np.isnat(day).sum()):,} of {day.size:,} events have no date, which folds in time need; "
            f"the first is event {i}.",
            hint="Give the outcome's start and end: rows without a date are then dropped and counted.",
        )
    first = day.min() if start is None else np.datetime64(str(start)[:10], "D")
    last = day.max() if end is None else np.datetime64(str(end)[:10], "D")
    early = (day < first) | (day > last)
    if early.any():
        raise InputError(f"{int(early.sum()):,} events lie outside the period {first} to {last}.")
    edges = _year_edges(first, last) if parts == "years" else _equal_edges(first, last, k)
    part = np.searchsorted(edges, day, side="right") - 1
    n = len(edges) - 1
    counts = np.zeros((n, n_cells), dtype=np.int32)
    np.add.at(counts, (part, cell), 1)
    share = np.diff(edges) / (edges[-1] - edges[0])
    folds = TimeFolds(counts, share.astype(np.float64), edges)
    empty = np.flatnonzero(np.bincount(part, minlength=n) == 0)
    if empty.size:
        raise InputError(
            f"folds in time: no event in the part {folds.periods[empty[0]]} ({empty.size} of {n} parts are empty).",
            hint="Use fewer folds, or a period that the data cover throughout.",
        )
    return folds


def _equal_edges(first: np.datetime64, last: np.datetime64, k: int) -> NDArray[np.datetime64]:
    if k < 2:
        raise InputError(f"k is {k}, at least 2 folds are needed.", hint="Use k=5.")
    days = int((last - first).astype(np.int64)) + 1
    if days < k:
        raise InputError(
            f"folds in time: the period {first} to {last} has {days} day{'s' if days != 1 else ''}, "
            f"fewer than the {k} folds asked for.",
            hint="Use a longer period, fewer folds, or folds in space.",
        )
    edges: NDArray[np.datetime64] = first + np.array([i * days // k for i in range(k + 1)], dtype="timedelta64[D]")
    return edges


def _year_edges(first: np.datetime64, last: np.datetime64) -> NDArray[np.datetime64]:
    years = np.arange(first.astype("datetime64[Y]"), last.astype("datetime64[Y]") + 1)
    if len(years) < 2:
        raise InputError(
            f"folds by calendar year: the period {first} to {last} lies within one year.",
            hint='Use a longer period, or parts of equal length ("equal").',
        )
    edges: NDArray[np.datetime64] = years.astype("datetime64[D]")
    return np.concatenate([[first], edges[1:], [last + np.timedelta64(1, "D")]]).astype("datetime64[D]")
