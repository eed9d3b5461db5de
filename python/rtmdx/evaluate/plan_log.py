"""The plan log: which place, which factor, which action, when. What was done, in a form that an evaluation can read."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtmdx.errors import FileError, InputError
from rtmdx.space.selection import parse_days
from rtmdx.space.staging import replacing
from rtmdx.space.values import named

__all__ = ["PlanLog", "PlanRecord"]

COLUMNS = ("place", "factor", "action", "start", "end", "note")
_NEEDED = ("place", "action", "start")


@dataclass(frozen=True)
class PlanRecord:
    """One line of the log.

    Attributes
    ----------
    place : str
        As the layer of places names it.
    factor : str
        The risk factor the action is about; empty where it is about none.
    action : str
    start : date
    end : date or None
        Last day; None while it goes on.
    note : str
    """

    place: str
    factor: str
    action: str
    start: dt.date
    end: dt.date | None = None
    note: str = ""

    @property
    def span(self) -> str:
        """The dates, for people."""
        return f"{self.start} to {self.end}" if self.end else f"from {self.start}"


class PlanLog:
    """A checked log.

    Parameters
    ----------
    records : sequence of PlanRecord
    source : str
        For messages.

    Raises
    ------
    InputError
        No records, an end before its start, the same record twice.
    """

    def __init__(self, records: Sequence[PlanRecord], *, source: str = "plan log") -> None:
        self.records = tuple(records)
        self.source = source
        if not self.records:
            raise InputError(f"{source}: found no records, expected at least one.")
        seen: dict[tuple[str, str, str, dt.date], int] = {}
        for i, r in enumerate(self.records):
            if r.end is not None and r.end < r.start:
                raise InputError(f"{source}, row {i + 1}: ends on {r.end}, before its start, {r.start}.",
                                 hint="Mend one of the dates.")  # fmt: skip
            key = (r.place, r.factor, r.action, r.start)
            if key in seen:
                raise InputError(
                    f"{source}, row {i + 1}: {r.action!r} in {r.place!r} from {r.start} is row {seen[key] + 1} again.",
                    hint="Remove one of the two.",
                )
            seen[key] = i

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[PlanRecord]:
        return iter(self.records)

    @property
    def places(self) -> tuple[str, ...]:
        """Places with any record, in order of first mention."""
        return tuple(dict.fromkeys(r.place for r in self.records))

    @property
    def actions(self) -> tuple[str, ...]:
        """Actions, in order of first mention."""
        return tuple(dict.fromkeys(r.action for r in self.records))

    @property
    def factors(self) -> tuple[str, ...]:
        """Factors named, in order of first mention."""
        return tuple(dict.fromkeys(r.factor for r in self.records if r.factor))

    def overlaps(self) -> list[tuple[PlanRecord, PlanRecord]]:
        """Pairs of records of one place whose dates overlap."""
        out = []
        for i, a in enumerate(self.records):
            for b in self.records[i + 1 :]:
                if a.place == b.place and a.start <= (b.end or dt.date.max) and b.start <= (a.end or dt.date.max):
                    out.append((a, b))
        return out

    def require(self, *, places: Sequence[str] | None = None, factors: Sequence[str] | None = None) -> PlanLog:
        """Check that places and factors are known.

        Raises
        ------
        InputError
            Names the row, what it says and what there is.
        """
        for what, known in (("place", places), ("factor", factors)):
            if known is None:
                continue
            names = list(map(str, known))
            for i, r in enumerate(self.records):
                value = getattr(r, what)
                if value not in names and not (what == "factor" and not value):
                    raise InputError(
                        f"{self.source}, row {i + 1}: no {what} {value!r}; there are {_some(names)}.",
                        hint="Mend the name in the log.",
                    )
        return self

    def of(self, action: str) -> PlanLog:
        """Return the records of one action."""
        return PlanLog([r for r in self.records if r.action == action], source=f"{self.source}, {action!r}")

    @classmethod
    def from_frame(cls, table: Any, *, source: str = "plan log") -> PlanLog:
        """Read a log from a DataFrame with columns place, action, start, and optionally factor, end, note.

        Raises
        ------
        InputError
            A column is missing or not known, a name is empty, a value is no date; the message names the row.
        """
        missing = [c for c in _NEEDED if c not in table.columns]
        if missing:
            raise InputError(
                f"{source}: no column {missing[0]!r}; it has {_some(list(map(str, table.columns)))}.",
                hint=f"The columns are {', '.join(COLUMNS)}; factor, end and note may be left out.",
            )
        days = {c: _days(table, c, source) for c in ("start", "end")}
        names = {c: _names(table, c) for c in ("place", "factor", "action", "note")}
        records = []
        for i in range(len(table)):
            for c in ("place", "action"):
                if not names[c][i]:
                    raise InputError(f"{source}, row {i + 1}: no {c}.", hint="Fill it in.")
            start = days["start"][i]
            if start is None:
                raise InputError(f"{source}, row {i + 1}: no start.", hint="Write a date such as 2018-03-01.")
            records.append(
                PlanRecord(
                    names["place"][i], names["factor"][i], names["action"][i], start, days["end"][i], names["note"][i]
                )
            )
        return cls(records, source=source)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, layer: str | None = None) -> PlanLog:
        """Read a log from CSV or any table GDAL reads, such as a layer of a GeoPackage; geometry is not looked at.

        Raises
        ------
        FileError
            The file is missing or no table.
        InputError
            See `from_frame`.
        """
        import pandas as pd
        import pyogrio

        file = Path(path)
        if not file.exists():
            raise FileError(f"plan log: {file} does not exist.", hint="Check the path.")
        try:
            if file.name.lower().endswith((".csv", ".csv.gz", ".txt")):
                table = pd.read_csv(file, dtype="string", keep_default_na=False)
            else:
                table = pyogrio.read_dataframe(file, layer=layer, read_geometry=False, datetime_as_string=True)
        except (ValueError, OSError, RuntimeError) as error:
            raise FileError(f"plan log: {file} cannot be read as a table: {error}.") from None
        return cls.from_frame(table, source=f"plan log ({file.name})")

    def to_frame(self) -> Any:
        """Return a row per record; dates as text, empty where an action goes on."""
        import pandas as pd

        return pd.DataFrame(
            [
                (r.place, r.factor, r.action, r.start.isoformat(), r.end.isoformat() if r.end else "", r.note)
                for r in self.records
            ],
            columns=list(COLUMNS),
        )

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain data."""
        return [dict(row) for row in self.to_frame().to_dict(orient="records")]

    def write(
        self, path: str | os.PathLike[str], *, places: Any = None, key: str = "name", overwrite: bool = False
    ) -> None:
        """Write the log: CSV, or with the polygons of its places a GeoPackage (layer "plan_log").

        Raises
        ------
        InputError
            A GeoPackage without places, or a place that is not among them.
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        from rtmdx.space.geofiles import write_layers

        file, table = Path(path), self.to_frame()
        if file.suffix.lower() != ".gpkg":
            with replacing(file, "plan log", overwrite=overwrite) as new:
                table.to_csv(new, index=False)
            return
        if places is None:
            raise InputError("plan log: a GeoPackage needs the places' polygons.", hint="Give places=, or write a CSV.")
        names = list(map(str, places[key]))
        self.require(places=names)
        shapes = places.geometry.to_numpy()[[names.index(p) for p in table["place"]]]
        import geopandas as gpd

        write_layers(file, {"plan_log": gpd.GeoDataFrame(table, geometry=shapes, crs=places.crs)}, title="Plan log",
                     overwrite=overwrite)  # fmt: skip


def _days(table: Any, column: str, source: str) -> list[dt.date | None]:
    if column not in table.columns:
        return [None] * len(table)
    values = table[column]
    text = values.astype("string").str.strip()
    empty = (values.isna() | text.isna() | (text == "")).fillna(value=True).to_numpy(dtype=bool)
    stamps = text.to_numpy(dtype=object)
    stamps[empty] = None
    found = parse_days(stamps)
    wrong = np.isnat(found) & ~empty
    if wrong.any():
        i = int(np.argmax(wrong))
        raise InputError(
            f"{source}, row {i + 1}, {column}: found {named(values.iloc[i])}, expected a date.",
            hint="Write dates as 2018-03-01.",
        )
    return [None if e else d.item() for e, d in zip(empty, found, strict=True)]


def _names(table: Any, column: str) -> list[str]:
    if column not in table.columns:
        return [""] * len(table)
    empty = table[column].isna()
    return ["" if gone else str(v).strip() for v, gone in zip(table[column], empty, strict=True)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
