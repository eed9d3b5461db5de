"""Which rows of a layer take part: attribute filter and time window, with a count of what they leave out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.readers import apply_filter, require_field
from rtmdx.space.values import named, whole

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["ALL_ROWS", "Finding", "Selected", "Selection", "count_dropped", "local_times", "parse_days", "select_rows"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that deserves a second look.

    Attributes
    ----------
    code : str
        Stable name, for programs: "stray-features", "one-coordinate", ...
    where : str
        The layer, factor or setting it concerns.
    message : str
        One sentence for people, with figures and what to do.
    """

    code: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that take part.

    Attributes
    ----------
    filters : mapping
        Field to value, or list of values; a row must match all.
    date_field : str, optional
    start, end : date, optional
        First and last day kept, both whole.
    bad_dates : {"error", "drop"}
        What a value that is no date does; missing dates are always dropped and counted.
    time_zone : str, optional
        IANA name. Time stamps with an offset (or in UTC) are converted to it before the day is taken;
        without it they keep the clock they were written with.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    date_field: str | None = None
    start: dt.date | None = None
    end: dt.date | None = None
    bad_dates: Literal["error", "drop"] = "error"
    time_zone: str | None = None

    @property
    def period(self) -> str:
        """The time window, for people: "2017-01-01 to 2018-12-31", "from 2018-01-01", "all dates"."""
        if self.start and self.end:
            return f"{self.start} to {self.end}"
        return f"from {self.start}" if self.start else f"to {self.end}" if self.end else "all dates"


ALL_ROWS = Selection()


@dataclass(frozen=True, slots=True)
class Selected:
    """The selected rows (numbered by their place in the layer), rows read, and rows dropped by reason."""

    frame: gpd.GeoDataFrame
    read: int
    dropped: dict[str, int]
    findings: tuple[Finding, ...]


def select_rows(frame: gpd.GeoDataFrame, selection: Selection, what: str, total: int | None = None) -> Selected:
    """Apply a selection.

    Parameters
    ----------
    frame : GeoDataFrame
    selection : Selection
    what : str
        The layer, to begin messages with.
    total : int, optional
        Rows of the layer before a filter at reading; those count as not matching the filter.

    Raises
    ------
    InputError
        A field does not exist, a filter's value does not fit its field, or a value is no date.
    """
    import geopandas as gpd

    if not isinstance(frame, gpd.GeoDataFrame):
        hint = "Wrap it: geopandas.GeoDataFrame(geometry=series)." if isinstance(frame, gpd.GeoSeries) else None
        raise InputError(f"{what}: found {named(frame)}, expected a GeoDataFrame.", hint=hint)
    if not isinstance(selection, Selection):
        raise InputError(f"{what}: selection: found {named(selection)}, expected a Selection.")
    try:
        _ = frame.geometry
    except AttributeError:
        raise InputError(f"{what}: has no geometry column.", hint="Set one: frame.set_geometry(...).") from None
    read = len(frame) if total is None else whole(total, f"{what}: total", least=0)
    frame = frame.reset_index(drop=True)
    dropped: dict[str, int] = {}
    selected = apply_filter(frame, selection.filters, what)
    if read > len(selected):
        dropped["not matching the filter"] = read - len(selected)
    date_field, start, end = selection.date_field, selection.start, selection.end
    if date_field is None:
        return Selected(selected, read, dropped, ())
    require_field(selected, date_field, what)
    if start is None and end is None:
        return Selected(selected, read, dropped, ())
    column = selected[date_field]
    when, missing, bad, utc = _parse_dates(column, selection.time_zone)
    if bad.any() and selection.bad_dates == "error":
        i = int(bad.argmax())
        raise InputError(
            f"{what}: {int(bad.sum())} values of {date_field!r} are no date; the first, in row "
            f"{selected.index[i] + 1}, is {column.iloc[i]!r}; expected for example 2018-12-31 or 2018-12-31 23:59.",
            hint='Mend them, or drop and count them with bad_dates = "drop".',
        )
    count_dropped(dropped, "no date", missing)
    count_dropped(dropped, "unreadable date", bad)
    keep = ~(missing | bad)
    days = when.astype("datetime64[D]")
    inside = keep.copy()
    if start is not None:
        inside &= days >= np.datetime64(start)
    if end is not None:
        inside &= days <= np.datetime64(end)
    count_dropped(dropped, "outside the time window", keep & ~inside)
    return Selected(selected[inside], read, dropped, tuple(_date_findings(column, missing, bad, utc, what)))


def _date_findings(
    column: Any, missing: NDArray[np.bool_], bad: NDArray[np.bool_], utc: bool, what: str
) -> list[Finding]:
    findings = []
    n = max(1, missing.size)
    if bad.sum() > 0.01 * n:
        first = column.iloc[int(bad.argmax())]
        message = (
            f"{bad.sum():,} of {n:,} dates ({bad.mean():.1%}) cannot be read and were dropped; the first is {first!r}."
        )
        findings.append(Finding("unreadable-dates", what, message))
    if missing.sum() > 0.1 * n:
        message = f"{missing.sum():,} of {n:,} rows ({missing.mean():.1%}) have no date and were dropped."
        findings.append(Finding("missing-dates", what, message))
    if utc:
        message = (
            f"The time stamps of {column.name!r} are in UTC, so a day runs from midnight to midnight UTC and evenings "
            'may fall on the next day. Name the city\'s zone with time_zone = "America/Chicago" (for example).'
        )
        findings.append(Finding("utc-times", what, message))
    return findings


def count_dropped(dropped: dict[str, int], reason: str, which: NDArray[np.bool_]) -> None:
    """Add the number of true values to `dropped` under `reason`."""
    n = int(np.count_nonzero(which))
    if n:
        dropped[reason] = dropped.get(reason, 0) + n


def parse_days(stamps: NDArray[np.object_], time_zone: str | None = None) -> NDArray[np.datetime64]:
    """Return the day of each date or time stamp in text, as a selection reads it; NaT where it is none."""
    import pandas as pd

    when, _, _, _ = _parse_dates(pd.Series(stamps, dtype=object), time_zone)
    days: NDArray[np.datetime64] = when.astype("datetime64[D]")
    return days


_DATE_FORMATS = (
    "ISO8601",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
)
_OFFSET = r"(?<=:\d\d)(?:\.\d+)?\s*(?:Z|UTC|[+-]\d{2}(?::?\d{2})?)$"
_UTC = r"(?<=:\d\d)(?:\.\d+)?\s*(?:Z|UTC|[+-]00(?::?00)?)$"


def _parse_dates(
    column: Any, time_zone: str | None
) -> tuple[NDArray[np.datetime64], NDArray[np.bool_], NDArray[np.bool_], bool]:
    """Return local times, which values are missing, which are present but no date, and whether all are UTC.

    A time stamp with an offset keeps its own wall clock, unless `time_zone` says whose clock to read.
    """
    import pandas as pd

    missing = column.isna().to_numpy(copy=True)
    if pd.api.types.is_datetime64_any_dtype(column):
        when, utc = column, str(getattr(column.dt, "tz", None)) == "UTC"
        if column.dt.tz is not None:
            when = column.dt.tz_convert(time_zone) if time_zone else column
            when = when.dt.tz_localize(None)
    elif pd.api.types.is_numeric_dtype(column):  # 20180101 or a year would silently become nanoseconds
        when, utc = pd.Series(pd.NaT, index=column.index, dtype="datetime64[s]"), False
    else:
        text = column.astype("string").str.strip()
        missing |= (text == "").fillna(value=False).to_numpy(dtype=bool)
        whole = text.str.fullmatch(r"\d{4}(-\d{2})?|\d+").fillna(value=False)  # a year, a month or a number is no day
        text = text.mask(whole.to_numpy(dtype=bool))
        stamped = text.str.contains(_OFFSET, regex=True).fillna(value=False).to_numpy(dtype=bool)
        utc = bool(stamped.any() and text[stamped].str.contains(_UTC, regex=True).all())
        local = text.str.replace(_OFFSET, "", regex=True)
        # month first or year first, so no text is a date in two of these forms; files do mix them
        parsed = [_to_datetime(local, form) for form in _DATE_FORMATS]
        when = parsed[0].astype("datetime64[s]")
        for other in parsed[1:]:
            when = when.fillna(other.astype("datetime64[s]"))
        if time_zone and stamped.any():
            aware = _to_datetime(text[stamped], "ISO8601", utc=True)
            when = when.copy()
            when[stamped] = aware.dt.tz_convert(time_zone).dt.tz_localize(None).astype(when.dtype)
    values = when.to_numpy(dtype="datetime64[s]")
    return values, missing, np.isnat(values) & ~missing, utc and not time_zone


def local_times(stamps: NDArray[np.object_], time_zone: str | None = None) -> NDArray[np.datetime64]:
    """Read time stamps as `select_rows` does: local times in seconds, NaT where a stamp is no date."""
    import pandas as pd

    return _parse_dates(pd.Series(stamps, dtype="object"), time_zone)[0]


def _to_datetime(text: Any, form: str, *, utc: bool = False) -> Any:
    import pandas as pd

    try:
        return pd.to_datetime(text, errors="coerce", format=form, utc=utc)
    except (ValueError, OverflowError):
        return pd.Series(pd.NaT, index=text.index, dtype="datetime64[s]")
