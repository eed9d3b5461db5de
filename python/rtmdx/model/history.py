"""The history of the cells: counts by period, oldest first, cut from dated events or given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.gamma import check_history
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Events
from rtmdx.space.selection import local_times

__all__ = ["History", "history_of_counts", "history_of_events"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """Counts of each cell by period.

    Attributes
    ----------
    counts : float64 array, shape (n_periods, n_cells)
        Whole numbers; the oldest period first.
    lengths : float64 array, shape (n_periods,)
        In units of the period the model was fitted to.
    period : str
        The time it covers, for people.
    note : str
        How it was divided, or why it was not.
    """

    counts: Float
    lengths: Float
    period: str
    note: str

    @property
    def total(self) -> Float:
        """Events of all periods, shape (n_cells,)."""
        total: Float = self.counts.sum(axis=0)
        return total

    @property
    def length(self) -> float:
        """Time observed, in fitted periods."""
        return float(self.lengths.sum())


def history_of_counts(counts: ArrayLike, lengths: ArrayLike | None, n_cells: int) -> History:
    """Take counts of shape (n_cells,) or (n_periods, n_cells); errors as for `posterior_rate`."""
    y, t = check_history(counts, lengths, n_cells)
    n = t.size
    return History(y, t, f"{n} period{'s' if n > 1 else ''} given", "counts as given")


def history_of_events(
    events: Events, grid: Grid, *, parts: int, fitted: Events | None = None, length: float | None = None
) -> History:
    """Count events in equal parts of their period, by their dates.

    Parameters
    ----------
    events : Events
    grid : Grid
        Events outside its cells are left out.
    parts : int
        Parts of equal length; 1 where the events have no readable dates, and the note says so.
    fitted : Events, optional
        Events whose period is the unit of time; by default these events themselves.
    length : float, optional
        Length of the history in fitted periods, where dates cannot tell.

    Raises
    ------
    InputError
        No event lies in the grid, or the length can be told neither from dates nor from `length`.
    """
    cell = grid.cell_of(events.x, events.y)
    kept = cell >= 0
    if len(events) and not kept.any():
        raise InputError(
            f"history {events.name!r}: none of its {len(events)} events lies in the study area's cells.",
            hint="Check the CRS and the area.",
        )
    days, note = _days(events)
    span = None if days is None else _span(events, days)
    if fitted is not None and length is None:
        own, unit = span, None
        fitted_days, _ = _days(fitted)
        if fitted_days is not None:
            unit = _span(fitted, fitted_days)
        if own is None or unit is None:
            raise InputError(
                "history: its length cannot be told from dates, which these events or the fitted ones lack.",
                hint="Give lengths, in units of the period the model was fitted to.",
            )
        length = (own[1] - own[0]) / (unit[1] - unit[0])
    total = 1.0 if length is None else float(length)
    if not (np.isfinite(total) and total > 0):
        raise InputError(f"lengths: found {length}, expected a positive length.")
    if span is None or days is None or parts < 2:
        one = np.bincount(cell[kept], minlength=grid.n_cells).astype(np.float64)
        return History(one[None, :], np.array([total]), events.period, note or "one period")
    first, end = span
    part = np.clip(np.floor((days - first) * (parts / (end - first))).astype(np.int64), 0, parts - 1)
    flat = np.bincount(part[kept] * grid.n_cells + cell[kept], minlength=parts * grid.n_cells)
    counts = flat.reshape(parts, grid.n_cells).astype(np.float64)
    lengths = np.full(parts, total / parts)
    days_each = (end - first) / parts
    return History(counts, lengths, events.period, f"cut by date into {parts} parts of {days_each:.4g} days")


def _days(events: Events) -> tuple[Float | None, str]:
    """Return the events' times in days, or None and why not."""
    if events.stamps is None:
        return None, "the events are not dated (the study names no date_field)"
    when = local_times(events.stamps, events.selection.time_zone)
    bad = int(np.isnat(when).sum())
    if bad:
        return None, f"{bad:,} of {len(events):,} events have no readable date, so the history could not be cut by date"
    if not when.size:
        return None, "there are no events"
    days: Float = when.astype("datetime64[s]").astype(np.float64) / 86400.0
    return days, ""


def _span(events: Events, days: Float) -> tuple[float, float]:
    """First day and the day after the last: the period selected, or that of the events."""
    start, end = events.selection.start, events.selection.end
    first = np.floor(days.min()) if start is None else np.datetime64(start).astype("datetime64[D]").astype(np.float64)
    last = np.floor(days.max()) if end is None else np.datetime64(end).astype("datetime64[D]").astype(np.float64)
    return float(first), float(last) + 1.0
