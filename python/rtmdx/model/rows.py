"""Cells collapsed to distinct rows of codes: all that selection needs of any number of cells.

Cells whose codes agree in every block are one weighted *row*. A `RowTable` holds the distinct rows in an
order that depends on the codes alone (that of a hash), with sums that are exact: whole numbers, and
exposures held to 2^-28 of the largest. So tables of tiles merge to the bits of the table of the whole,
in whatever order the tiles arrive, and a cluster needs to send nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _stats
from rtmdx.errors import InputError
from rtmdx.model.design import Design

__all__ = ["LANES", "Lanes", "Layout", "RowTable", "check_exposure", "exposure_unit", "merge_tables", "tabulate"]

Float = NDArray[np.float64]
Codes = NDArray[np.uint8]

_CHUNK = 1 << 18  # cells whose codes are turned at a time
LANES = 4  # fits that ride in one pass: as many doubles as a register holds
_EXPOSURE_BITS = 28  # 2^25 cells of the largest exposure add exactly


@dataclass(frozen=True, eq=False)
class Layout:
    """What the codes of a design mean: the same for all tiles of one study.

    Attributes
    ----------
    keys : tuple of tuple of int
        Per block and code: the bits of the variables that are 1.
    first : tuple of int
        First column of each block, and the number of columns.
    signs : float64 array, shape (n_variables,)
    """

    keys: tuple[tuple[int, ...], ...]
    first: tuple[int, ...]
    signs: Float

    @classmethod
    def of(cls, design: Design) -> Layout:
        """Read it from a design."""
        keys, first = [], [0]
        for block in design.blocks:
            keys.append(tuple(sum(1 << k for k, on in enumerate(line) if on) for line in block.decode))
            first.append(first[-1] + len(block.variables))
        return cls(tuple(keys), tuple(first), np.array([v.sign for v in design.variables], dtype=np.float64))

    @property
    def n_variables(self) -> int:
        """Number of columns."""
        return self.first[-1]

    def block_columns(self, block: int) -> range:
        """Return the columns of a block."""
        return range(self.first[block], self.first[block + 1])

    def same(self, other: Layout) -> bool:
        """Whether codes of both mean the same."""
        return self.keys == other.keys and self.first == other.first and np.array_equal(self.signs, other.signs)


@dataclass(frozen=True, eq=False)
class Lanes:
    """What up to four fits of one pass are fitted to. Lanes beyond `k` are empty.

    Lane f is fitted to ``share[f] * exposure - groups[group[f]]``, without the last where ``group[f] < 0``.

    Attributes
    ----------
    k : int
    exposure : float64 array, shape (n_rows,)
    groups : float32 or float64 array, shape (n_groups, n_rows)
    group : int32 array, shape (4,)
    share : float64 array, shape (4,)
    xty : float64 array, shape (p, 4)
        X'y over the cells fitted to.
    events, n : float64 arrays, shape (4,)
        Events and cells fitted to; events > 0.
    """

    k: int
    exposure: Float
    groups: NDArray[np.float32] | Float
    group: NDArray[np.int32]
    share: Float
    xty: Float
    events: Float
    n: Float


@dataclass(frozen=True, eq=False)
class RowTable:
    """Distinct rows of codes with their cells, exposure and events, whole and by fold.

    A *group* is a part that is left out: fold f of repeat r, or a part of the period.

    Attributes
    ----------
    layout : Layout
    codes : uint8 array, shape (n_blocks, n_rows)
    exposure : float64 array, shape (n_rows,)
        Sum of the cells' exposure; their number where no exposure was given.
    cells : float64 array, shape (n_rows,)
        Number of cells that take part.
    group_exposure : float32 or float64 array, shape (n_groups, n_rows)
        float32 where it holds numbers of cells.
    group_cells : float64 array, shape (n_groups,)
        Cells of each group; for parts of the period, cells times the share of the exposure.
    n_folds : int
        Groups per repeat.
    event_row : int32 array, shape (n_event_cells,)
        Row of each cell with events, sorted by row, count, exposure and groups.
    event_count, event_exposure : float64 arrays, shape (n_event_cells,)
    event_group_count : float64 array, shape (n_groups, n_event_cells)
        Events of the cell that belong to each group.
    share : float64 array, shape (n_groups,), or None
        Share of the exposure of each part of the period; None where folds are sets of cells.
    row : int32 array, shape (n_cells,), or None
        Row of each cell, -1 where it takes no part; None in a merged table.
    """

    layout: Layout
    codes: Codes
    exposure: Float
    cells: Float
    group_exposure: NDArray[np.float32] | Float
    group_cells: Float
    n_folds: int
    event_row: NDArray[np.int32]
    event_count: Float
    event_exposure: Float
    event_group_count: Float
    share: Float | None = None
    row: NDArray[np.int32] | None = None

    @property
    def n_rows(self) -> int:
        """Number of distinct rows."""
        return int(self.codes.shape[1])

    @cached_property
    def n_cells(self) -> float:
        """Number of cells that take part."""
        return float(self.cells.sum())

    @cached_property
    def n_events(self) -> float:
        """Number of events."""
        return float(self.event_count.sum())

    def events_by_row(self, group: int | None = None) -> Float:
        """Sum the events of a group, or all, by row."""
        weights = self.event_count if group is None else self.event_group_count[group]
        return np.bincount(self.event_row, weights=weights, minlength=self.n_rows).astype(np.float64)

    def saturated(self, group: int) -> float:
        """Poisson log likelihood of a group's counts at mu = y, without log y!."""
        y = self.event_group_count[group]
        on = y > 0
        y, exposure = y[on], self.event_exposure[on]
        if self.share is not None:
            exposure = exposure * self.share[group]
        return float(np.sum(y * np.log(y / exposure)) - y.sum())

    def entries(self) -> tuple[Codes, Float, NDArray[np.int64]]:
        """Return rows by count, for `rtmdx.model.stepwise.stepwise_entries`.

        Returns
        -------
        codes : uint8 array, shape (n_blocks, n_entries)
        y : float64 array, shape (n_entries,)
        cells : int64 array, shape (n_entries,)

        Raises
        ------
        InputError
            If the table has exposures: cells without events have only their sum here, which NB2 cannot do with.
        """
        if not (np.array_equal(self.exposure, self.cells) and (self.event_exposure == 1.0).all()):
            raise InputError(
                "the table adds up exposures, which a stepwise search may need cell by cell.",
                hint="Give stepwise_entries the tiles' own codes, counts and exposures, put end to end.",
            )
        bare = self.cells - np.bincount(self.event_row, minlength=self.n_rows)
        rows = np.concatenate([np.flatnonzero(bare > 0), self.event_row])
        y = np.concatenate([np.zeros(len(rows) - len(self.event_row)), self.event_count])
        cells = np.concatenate([bare[bare > 0], np.ones(len(self.event_row))]).astype(np.int64)
        return np.ascontiguousarray(self.codes[:, rows]), y, cells

    @cached_property
    def present(self) -> list[list[int]]:
        """The codes of each block that occur."""
        return [np.flatnonzero(np.bincount(line, minlength=1)).tolist() for line in self.codes]


def check_exposure(exposure: ArrayLike | None, counts: Float) -> Float | None:
    """Return the exposure as float64, finite and >= 0, and > 0 where there are events.

    Raises
    ------
    InputError
        If it is anything else, naming the cell.
    """
    if exposure is None:
        return None
    e = np.asarray(exposure, dtype=np.float64)
    if e.shape != counts.shape:
        raise InputError(f"exposure has shape {e.shape}, expected {counts.shape}: one value per kept cell.")
    good = np.isfinite(e) & (e >= 0)
    if not good.all():
        i = int(np.argmin(good))
        raise InputError(f"exposure {e[i]} of cell {i} is not a finite number >= 0.")
    bare = (e == 0) & (counts > 0)
    if bare.any():
        i = int(np.argmax(bare))
        raise InputError(
            f"cell {i} has {counts[i]:.0f} events but no exposure (offset -inf): they would be impossible.",
            hint="Give the cell a positive exposure, or leave its events out.",
        )
    if not (e > 0).any():
        raise InputError("exposure is 0 in every cell: there is nothing to fit.")
    return e


def exposure_unit(exposure: Float) -> float:
    """The step to which exposures are rounded: 2^-28 of the next power of two above the largest."""
    return float(2.0 ** (np.frexp(exposure.max(initial=0.0))[1] - _EXPOSURE_BITS))


def _canonical(codes: Codes, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Order of the distinct rows by hash, and among equal hashes by codes."""
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    if (ranked[1:] == ranked[:-1]).any():
        order = np.lexsort((*codes.T[::-1], hashes))
    return order


def _collapse(codes_of: Any, n: int, n_blocks: int) -> tuple[Codes, NDArray[np.int32]]:
    """Distinct rows in canonical order, (n_rows, n_blocks), and the row of each of n lines.

    ``codes_of(start, stop)`` returns lines as (n, n_blocks) bytes.
    """
    if n_blocks == 0:
        return np.zeros((min(n, 1), 0), np.uint8), np.zeros(n, np.int32)
    index = _stats.RowIndex(n_blocks)
    row = np.empty(n, np.int32)
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        row[start:stop] = index.add(codes_of(start, stop))
    rows, hashes = index.finish()
    order = _canonical(rows, hashes)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rows[order], rank[row]


def tabulate(
    design: Design,
    counts: Float,
    folds: NDArray[np.int64] | None = None,
    *,
    periods: tuple[Float, Float] | None = None,
    exposure: Float | None = None,
    unit: float | None = None,
) -> RowTable:
    """Collapse the cells of a design, or of a tile of it, to its distinct rows.

    Parameters
    ----------
    design : Design
    counts : float64 array of whole numbers, shape (n_cells,)
    folds : int array, shape (n_repeats, n_cells), optional
        Fold of each cell, from 0, per repeat.
    periods : tuple of arrays, optional
        Counts by part of the period, shape (k, n_cells), and each part's share of the exposure (k,).
    exposure : float64 array, shape (n_cells,), optional
        Checked by `check_exposure`; cells of exposure 0 take no part.
    unit : float, optional
        Step the exposures are rounded to; give all tiles that of the whole (`exposure_unit`).

    Returns
    -------
    RowTable
    """
    layout = Layout.of(design)
    blocks = [block.codes for block in design.blocks]
    kept = np.flatnonzero(exposure > 0) if exposure is not None and (exposure == 0).any() else None
    n = design.n_cells if kept is None else len(kept)

    def codes_of(start: int, stop: int) -> Codes:
        where: Any = slice(start, stop) if kept is None else kept[start:stop]
        lines = np.empty((stop - start, len(blocks)), np.uint8)
        for b, codes in enumerate(blocks):
            lines[:, b] = codes[where]
        return lines

    rows, row = _collapse(codes_of, n, len(blocks))
    n_rows = len(rows)
    y = counts if kept is None else counts[kept]
    e: Float | None = None
    if exposure is not None:
        step = exposure_unit(exposure) if unit is None else unit
        e = exposure if kept is None else exposure[kept]
        e = np.maximum(np.rint(e / step), 1.0) * step
    cells = np.bincount(row, minlength=n_rows).astype(np.float64)
    total = cells if e is None else np.bincount(row, weights=e, minlength=n_rows).astype(np.float64)

    with_events = np.flatnonzero(y > 0)
    event_y = y[with_events]
    event_e = np.ones(len(with_events)) if e is None else e[with_events]
    share: Float | None = None
    if periods is not None:
        parts, share = periods
        parts = parts if kept is None else parts[:, kept]
        k = len(share)
        group_exposure, group_cells = np.zeros((0, n_rows)), float(n) * share
        event_groups = np.ascontiguousarray(parts[:, with_events], dtype=np.float64)
    elif folds is not None:
        f = folds if kept is None else folds[:, kept]
        k = int(folds.max(initial=0)) + 1
        group_exposure = np.empty((len(f) * k, n_rows), np.float32 if e is None and n < 1 << 24 else np.float64)
        group_cells = np.empty(len(f) * k)
        event_groups = np.zeros((len(f) * k, len(with_events)))
        for r, fold in enumerate(f):
            key = row.astype(np.int64) * k + fold
            sums = np.bincount(key, weights=e, minlength=n_rows * k).reshape(n_rows, k)
            group_exposure[r * k : (r + 1) * k] = sums.T
            group_cells[r * k : (r + 1) * k] = np.bincount(fold, minlength=k)
            event_groups[r * k + fold[with_events], np.arange(len(with_events))] = event_y
    else:
        k, group_exposure, group_cells = 0, np.zeros((0, n_rows)), np.zeros(0)
        event_groups = np.zeros((0, len(with_events)))
    full_row = row
    if kept is not None:
        full_row = np.full(design.n_cells, -1, np.int32)
        full_row[kept] = row
    return RowTable(
        layout=layout,
        codes=np.ascontiguousarray(rows.T),
        exposure=total,
        cells=cells,
        group_exposure=group_exposure,
        group_cells=group_cells,
        n_folds=k,
        **_sorted_events(row[with_events], event_y, event_e, event_groups),
        share=share,
        row=full_row,
    )


def _sorted_events(row: NDArray[np.int32], y: Float, exposure: Float, groups: Float) -> dict[str, Any]:
    order = np.lexsort((*groups[::-1], exposure, y, row))
    return {
        "event_row": row[order],
        "event_count": y[order],
        "event_exposure": exposure[order],
        "event_group_count": np.ascontiguousarray(groups[:, order]),
    }


def merge_tables(tables: Sequence[RowTable]) -> RowTable:
    """Merge the tables of tiles into that of the whole; the order of the tiles does not matter.

    Raises
    ------
    InputError
        If there are none, or the tiles' codes do not mean the same.
    """
    if not tables:
        raise InputError("there are no tables to merge.")
    one = tables[0]
    for i, t in enumerate(tables[1:], start=1):
        if not t.layout.same(one.layout):
            raise InputError(f"table {i} was made from other variables than table 0; tiles must share one layout.")
        if t.n_folds != one.n_folds or len(t.group_cells) != len(one.group_cells):
            raise InputError(f"table {i} has {len(t.group_cells)} folds, table 0 {len(one.group_cells)}.")
        if (t.share is None) != (one.share is None) or (t.share is not None and not np.array_equal(t.share, one.share)):  # type: ignore[arg-type]
            raise InputError(f"table {i} has other parts of the period than table 0.")
    lines = np.concatenate([t.codes.T for t in tables])
    rows, row = _collapse(lambda a, b: np.ascontiguousarray(lines[a:b]), len(lines), lines.shape[1])

    def add(parts: list[Any]) -> Float:
        return np.bincount(row, weights=np.concatenate(parts), minlength=len(rows)).astype(np.float64)

    starts = np.cumsum([0, *(t.n_rows for t in tables)])
    n_groups = len(one.group_exposure)
    narrow = all(t.group_exposure.dtype == np.float32 for t in tables) and sum(t.n_cells for t in tables) < 1 << 24
    shape = (n_groups, len(rows))
    groups: NDArray[np.float32] | Float = np.empty(shape, np.float32) if narrow else np.empty(shape, np.float64)
    for g in range(n_groups):
        groups[g] = add([t.group_exposure[g] for t in tables])
    moved = [row[s + t.event_row] for s, t in zip(starts, tables, strict=False)]
    return RowTable(
        layout=one.layout,
        codes=np.ascontiguousarray(rows.T),
        exposure=add([t.exposure for t in tables]),
        cells=add([t.cells for t in tables]),
        group_exposure=groups,
        group_cells=np.sum([t.group_cells for t in tables], axis=0),
        n_folds=one.n_folds,
        **_sorted_events(
            np.concatenate(moved),
            np.concatenate([t.event_count for t in tables]),
            np.concatenate([t.event_exposure for t in tables]),
            np.concatenate([t.event_group_count for t in tables], axis=1),
        ),
        share=one.share,
    )
