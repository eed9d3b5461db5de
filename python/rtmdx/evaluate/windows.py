"""When before and after are, for each record of a plan log; days are counted as numbers, both ends inclusive."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rtmdx.errors import InputError
from rtmdx.evaluate.plan_log import PlanLog, PlanRecord
from rtmdx.space.values import named, whole

__all__ = ["Window", "coverage_in", "windows_of"]

Before = int | Literal["equal", "year"]


@dataclass(frozen=True, order=True)
class Window:
    """Days before and after, inclusive."""

    before_start: dt.date
    before_end: dt.date
    after_start: dt.date
    after_end: dt.date

    @property
    def days(self) -> tuple[int, int]:
        """Number of days before and after."""
        return (self.before_end - self.before_start).days + 1, (self.after_end - self.after_start).days + 1

    @property
    def scale(self) -> float:
        """What a count before is multiplied by to be of as many days as after."""
        before, after = self.days
        return after / before

    @property
    def span(self) -> str:
        """The dates, for people."""
        return f"{self.before_start} to {self.before_end} against {self.after_start} to {self.after_end}"

    def earlier(self, rule: Before) -> Window:
        """Return the window of a placebo: before plays after, and what precedes it before."""
        n, _ = self.days
        if rule == "year":
            years = self.after_start.year - self.before_start.year
            start, end = _years_back(self.before_start, years), _years_back(self.before_end, years)
        else:
            start, end = self.before_start - dt.timedelta(days=n), self.before_start - dt.timedelta(days=1)
        return Window(start, end, self.before_start, self.before_end)


def windows_of(
    records: Sequence[PlanRecord],
    coverage: tuple[dt.date, dt.date],
    *,
    before: Before,
    after: int | None,
    lag: int,
    source: str,
) -> list[Window]:
    """Return the window of each record.

    Raises
    ------
    InputError
        A window leaves the days that the events cover; names the record.
    """
    first, last = coverage
    out = []
    for r in records:
        start = r.start + dt.timedelta(days=lag)
        end = start + dt.timedelta(days=after - 1) if after is not None else min(r.end or last, last)
        what = f"{source}: {r.action!r} in {r.place!r} {r.span}"
        if end < start:
            raise InputError(
                f"{what}: no day after its start{f' and lag of {lag} days' if lag else ''} is covered by the events, "
                f"which end on {last}.",
                hint="Give later events, or leave the record out.",
            )
        n = (end - start).days + 1
        if before == "year":
            years = 1
            while _years_back(end, years) >= r.start:
                years += 1
            window = Window(_years_back(start, years), _years_back(end, years), start, end)
        else:
            days = n if before == "equal" else int(before)
            window = Window(r.start - dt.timedelta(days=days), r.start - dt.timedelta(days=1), start, end)
        if window.before_start < first or window.after_end > last:
            raise InputError(
                f"{what}: its days, {window.span}, leave those of the events, {first} to {last}.",
                hint="Ask for fewer days with before= or after=, or say with coverage= which days the events cover.",
            )
        out.append(window)
    return out


def merged(log: PlanLog) -> PlanLog:
    """Return one record per place, from its first start to its last end, for all actions together."""
    out = []
    for place in log.places:
        own = [r for r in log if r.place == place]
        ends = [r.end for r in own]
        end = None if None in ends else max(e for e in ends if e is not None)
        out.append(PlanRecord(place, "", "all actions", min(r.start for r in own), end))
    return PlanLog(out, source=log.source)


def coverage_in(coverage: Any, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date]:
    """Return the days that the events cover: as given, else from the first event to the last."""
    if coverage is None:
        return first, last
    try:
        start, end = (v if type(v) is dt.date else dt.date.fromisoformat(str(v)[:10]) for v in coverage)
    except (TypeError, ValueError):
        raise InputError(
            f"coverage: found {named(coverage)}, expected two dates, the first and last day the events cover."
        ) from None
    if end < start:
        raise InputError(f"coverage: found {start} to {end}, expected a first day and a later last day.")
    return start, end


def before_in(value: Any) -> Before:
    """Return the rule of the period before."""
    if value is None or value == "equal":
        return "equal"
    if value == "year":
        return "year"
    if isinstance(value, str):
        raise InputError(f"before: found {value!r}, expected a number of days, 'equal' or 'year'.")
    return whole(value, "before", least=1, what="a number of days")


def _years_back(day: dt.date, years: int) -> dt.date:
    year = day.year - years
    if year < 1:
        raise InputError(f"before: {years} years before {day} is no date.")
    return day.replace(year=year, day=min(day.day, calendar.monthrange(year, day.month)[1]))
