"""Census counts and their margins as a table brings them, checked against the zones they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["counts_in", "joined", "margins_in"]

Float = NDArray[np.float64]

_MOST = 2.0**50  # whole residents of a zone; above it quotas have no digits left to round by


def joined(zones: Any, table: pd.DataFrame | None, key: str | None) -> Any:
    """The rows of counts in the order of the zones."""
    if key is not None and key not in zones.columns:
        raise InputError(f"zones: no column {key!r}; they have {', '.join(map(str, zones.columns))}.")
    if key is not None and zones[key].duplicated().any():
        i = int(np.argmax(zones[key].duplicated().to_numpy()))
        raise InputError(f"zones, row {i}: a second zone {zones[key].iloc[i]!r}.", hint="Dissolve them, or drop one.")
    if table is None:
        return zones
    if key is None:
        raise InputError("table: needs key, the column that names the zones in both.")
    if key not in table.columns:
        raise InputError(f"table: no column {key!r}; it has {', '.join(map(str, table.columns))}.")
    twice = table[key].duplicated().to_numpy()
    if twice.any():
        i = int(np.argmax(twice))
        raise InputError(f"table, row {i}: a second row of {key} {table[key].iloc[i]!r}.", hint="Add up, or drop one.")
    for name, one, other in (("table", zones[key], table[key]), ("zones", table[key], zones[key])):
        lacking = ~one.isin(other).to_numpy()
        if lacking.any():
            raise InputError(
                f"{name}: no row for {lacking.sum()} of {len(one)} zones of the other, the first "
                f"{one.iloc[int(np.argmax(lacking))]!r} ({key}).",
                hint="Zones and counts must be of one census; check the type of the key too.",
            )
    return table.set_index(key).loc[zones[key]].reset_index()


def _column(rows: pd.DataFrame, column: str, whole: bool) -> Float:
    if column not in rows.columns:
        raise InputError(f"no column {column!r}; there are {', '.join(map(str, rows.columns))}.")
    try:
        values = rows[column].to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"column {column!r}: expected numbers.") from None
    bad = ~(np.isfinite(values) & (values >= 0))
    if whole:
        bad |= (values != np.rint(values)) | (values > _MOST)
    if bad.any():
        i = int(np.argmax(bad))
        what = "a whole number >= 0 (whole=True)" if whole else "a number >= 0"
        raise InputError(f"row {i}, {column}: found {values[i]:g}, expected {what}.")
    return np.asarray(values)


def counts_in(
    rows: pd.DataFrame, groups: Mapping[str, str] | Sequence[str], total: str | None, rest: str, whole: bool
) -> tuple[tuple[str, ...], Float]:
    """The groups, and their counts by zone; last the rest of a total."""
    columns = dict(groups) if isinstance(groups, Mapping) else {str(g): g for g in groups}
    if isinstance(groups, str) or not columns:
        raise InputError(f"groups: found {groups!r}, expected columns of counts, or a mapping of groups to them.")
    counts = [_column(rows, c, whole) for c in columns.values()]
    names = list(columns)
    if total is not None:
        if rest in names:
            raise InputError(f"rest: {rest!r} is one of the groups already.")
        everyone = _column(rows, total, whole)
        left = everyone - np.sum(counts, axis=0)
        over = left < -1e-6 * np.maximum(everyone, 1.0)
        if over.any():
            i = int(np.argmax(over))
            raise InputError(
                f"row {i}: the groups sum to {everyone[i] - left[i]:,.6g}, more than {total} {everyone[i]:,.6g}.",
                hint="Groups must have no members in common; check that all are of one year.",
            )
        counts.append(np.maximum(left, 0.0))
        names.append(rest)
    return tuple(names), np.array(counts).reshape(len(names), len(rows))


def margins_in(rows: pd.DataFrame, names: tuple[str, ...], margins: Mapping[str, str], rest: str | None) -> Float:
    """The margins of every group by zone."""
    given = {name: _column(rows, c, False) for name, c in margins.items() if name in names}
    unknown = [m for m in margins if m not in names]
    if unknown:
        raise InputError(f"margins: {unknown[0]!r} is no group; there are {', '.join(names)}.")
    lacking = [n for n in names if n not in given and n != rest]
    if lacking:
        raise InputError(f"margins: none for {lacking[0]!r}.", hint="Give a column for every group, or no margins.")
    if rest is not None and rest not in given:
        given[rest] = np.sqrt(np.sum([m**2 for m in given.values()], axis=0))
    return np.array([given[n] for n in names]).reshape(len(names), len(rows))
