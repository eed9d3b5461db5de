"""Tables of distinct rows: from the cells of a design, and from the tables of tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _rows
from rtmdx.errors import InputError
from rtmdx.model.design import Design
from rtmdx.model.lanes import Amounts
from rtmdx.model.rows import Layout, RowTable, exposure_unit
from rtmdx.space.memory import require_bytes

__all__ = ["check_folds", "distinct_rows", "merge_tables", "tabulate"]

Float = NDArray[np.float64]
Codes = NDArray[np.uint8]

_CHUNK = 1 << 16  # cells whose codes are turned at a time
_ROUNDED = 1e-6  # relative; cells whose exposure changes by more are counted
_NO_GROUP = np.zeros(0, np.int32)
_NO_AMOUNT = np.zeros(0, np.int64)


def check_folds(folds: ArrayLike, n_cells: int, n_folds: int | None = None) -> tuple[NDArray[np.int32], int]:
    """Return folds as (n_repeats, n_cells), and how many there are.

    Parameters
    ----------
    folds : int array, shape (n_cells,) or (n_repeats, n_cells)
    n_cells : int
    n_folds : int, optional
        Folds of the whole of which the cells are a tile; a tile need not have all of them. By default the cells are
        the whole, and no fold may be empty.

    Raises
    ------
    InputError
        If they have another shape, are no whole numbers from 0, or a fold is empty: it names the repeat and the fold.
    """
    fold = np.asarray(folds)
    if fold.dtype.kind not in "iu" or fold.ndim not in (1, 2) or fold.shape[-1:] != (n_cells,) or not len(fold):
        raise InputError(
            f"folds are {fold.dtype} of shape {fold.shape}, expected integers of shape ({n_cells},), or one such line "
            "per repeat."
        )
    fold = np.atleast_2d(fold)
    low, high = (int(fold.min()), int(fold.max())) if fold.size else (0, 0)
    k = high + 1 if n_folds is None else n_folds
    if low < 0 or k < 2 or high >= k:
        what = "from 0, at least two of them" if n_folds is None else f"from 0 to {k - 1}"
        raise InputError(f"folds must be numbered {what}; found {low} to {high}.")
    if n_folds is None:
        for r, line in enumerate(fold):
            if k <= n_cells:
                missing = np.flatnonzero(np.bincount(line, minlength=k) == 0)
            else:  # a stray number: look before so many counters are made
                missing = np.setdiff1d(np.arange(len(np.unique(line)) + 1), line)
            if len(missing):
                of = f"fold {missing[0]} of repeat {r}" if len(fold) > 1 else f"fold {missing[0]}"
                raise InputError(
                    f"{of} has no cells, though the largest fold is {k - 1}.",
                    hint="Number the folds 0, 1, 2 and so on, without a gap.",
                )
    return np.ascontiguousarray(fold, dtype=np.int32), k


def _collapse_cells(
    design: Design, kept: NDArray[np.intp] | None, poll: Callable[[], None]
) -> tuple[Codes, NDArray[np.int32]]:
    blocks = [block.codes for block in design.blocks]

    def codes_of(start: int, stop: int) -> Codes:
        poll()
        where: Any = slice(start, stop) if kept is None else kept[start:stop]
        lines = np.empty((stop - start, len(blocks)), np.uint8)
        for b, codes in enumerate(blocks):
            lines[:, b] = codes[where]
        return lines

    return _collapse(codes_of, design.n_cells if kept is None else len(kept), len(blocks))


def distinct_rows(design: Design, poll: Callable[[], None] = lambda: None) -> tuple[Codes, NDArray[np.int32]]:
    """Distinct rows of a design, (n_blocks, n_rows), and the row of each cell: the same for all outcomes and folds.

    They stay with the design, and `tabulate` takes them from there where all cells take part.
    """
    found: tuple[Codes, NDArray[np.int32]] | None = design.derived.get("rows")
    if found is None:
        found = design.derived["rows"] = _collapse_cells(design, None, poll)
    return found


def tabulate(
    design: Design,
    counts: Float,
    folds: ArrayLike | None = None,
    *,
    n_folds: int | None = None,
    periods: tuple[Float, Float] | None = None,
    exposure: Float | None = None,
    unit: float | None = None,
    poll: Callable[[], None] = lambda: None,
) -> RowTable:
    """Collapse the cells of a design, or of a tile of it, to its distinct rows.

    Parameters
    ----------
    design : Design
    counts : float64 array of whole numbers, shape (n_cells,)
    folds : int array, shape (n_cells,) or (n_repeats, n_cells), optional
        Fold of each cell, from 0, per repeat.
    n_folds : int, optional
        Folds of the whole; give it with every tile, which need not have all of them.
    periods : tuple of arrays, optional
        Counts by part of the period, shape (k, n_cells), and each part's share of the exposure (k,).
    exposure : float64 array, shape (n_cells,), optional
        Checked by `rtmdx.model.outcome.check_exposure`; cells of exposure 0 take no part.
    unit : float, optional
        Step the exposures are rounded to; give all tiles that of the whole (`exposure_unit`).
    poll : callable
        Called between chunks of cells; raises to stop.

    Returns
    -------
    RowTable

    Raises
    ------
    InputError
        If the folds do not fit (`check_folds`), or an exposure is too large for the unit.
    MemoryLimitError
        If sums by fold and row need more memory than there is.
    """
    layout = Layout.of(design)
    fold = None
    if folds is not None:
        fold, n_folds = check_folds(folds, design.n_cells, n_folds)
    kept = np.flatnonzero(exposure > 0) if exposure is not None and (exposure == 0).any() else None
    known: tuple[Codes, NDArray[np.int32]] | None = design.derived.get("rows") if kept is None else None
    codes, row = _collapse_cells(design, kept, poll) if known is None else known
    n_rows = codes.shape[1]
    poll()
    y = counts if kept is None else counts[kept]
    steps, step, n_rounded = None, 1.0, 0
    if exposure is not None:
        step = exposure_unit(float(exposure.max()), design.n_cells) if unit is None else unit
        steps, n_rounded = _in_units(exposure if kept is None else exposure[kept], step)
    cells = np.zeros((1, n_rows), np.int32)
    _rows.add_by_row(row, _NO_GROUP, _NO_AMOUNT, cells)
    amount = None
    if steps is not None:
        amount = np.zeros((1, n_rows), np.int64)
        _rows.add_by_row(row, _NO_GROUP, steps, amount)

    with_events = np.flatnonzero(y > 0)
    event_fold, event_parts = np.zeros((0, len(with_events)), np.int32), np.zeros((0, len(with_events)))
    groups: Amounts = np.zeros((0, n_rows), np.uint16)
    fold_cells = np.zeros(0, np.int64)
    k, share = 0, None
    if periods is not None:
        parts, share = periods
        k = len(share)
        event_parts = np.ascontiguousarray((parts if kept is None else parts[:, kept])[:, with_events], np.float64)
    elif fold is not None and n_folds is not None:
        k = n_folds
        f = fold if kept is None else np.ascontiguousarray(fold[:, kept])
        wide = np.int32 if steps is None else np.int64
        require_bytes(2.0 * len(f) * k * n_rows * np.dtype(wide).itemsize, "rows by fold", (len(f), k, n_rows))
        sums = np.zeros((len(f) * k, n_rows), wide)
        for r, line in enumerate(f):
            poll()
            _rows.add_by_row(row, line, _NO_AMOUNT if steps is None else steps, sums[r * k : (r + 1) * k])
        groups = _narrowed(sums)
        fold_cells = np.concatenate([np.bincount(line, minlength=k) for line in f])
        event_fold = np.ascontiguousarray(f[:, with_events])
    full_row = row
    if kept is not None:
        full_row = np.full(design.n_cells, -1, np.int32)
        full_row[kept] = row
    event_e = np.ones(len(with_events)) if steps is None else steps[with_events].astype(np.float64) * step
    return RowTable(
        layout=layout,
        codes=codes,
        cells=cells[0],
        amount=None if amount is None else amount[0],
        unit=step,
        n_rounded=n_rounded,
        groups=groups,
        fold_cells=fold_cells,
        n_folds=k,
        **_sorted_events(row[with_events], y[with_events], event_e, event_fold, event_parts),
        share=share,
        row=full_row,
    )


def merge_tables(tables: Sequence[RowTable]) -> RowTable:
    """Merge the tables of tiles into that of the whole; the order of the tiles does not matter.

    Raises
    ------
    InputError
        If there are none, or the tiles' codes, folds or exposures do not mean the same.
    """
    if not tables:
        raise InputError("there are no tables to merge.")
    one = tables[0]
    for i, t in enumerate(tables[1:], start=1):
        if not t.layout.same(one.layout):
            raise InputError(f"table {i} was made from other variables than table 0; tiles must share one layout.")
        if (t.share is None) != (one.share is None) or (t.share is not None and not np.array_equal(t.share, one.share)):  # type: ignore[arg-type]
            raise InputError(f"table {i} has other parts of the period than table 0.")
        if t.n_folds != one.n_folds or t.n_groups != one.n_groups:
            raise InputError(
                f"table {i} has {t.n_groups} folds, table 0 {one.n_groups}.",
                hint="Give tabulate() the number of folds of the whole (n_folds) with every tile.",
            )
        if t.unit != one.unit or (t.amount is None) != (one.amount is None):
            raise InputError(
                f"table {i} has exposures in units of {t.unit:g}, table 0 of {one.unit:g}.",
                hint="Give tabulate() the exposure_unit of the whole (unit) with every tile.",
            )
    ends = np.cumsum([0, *(t.n_rows for t in tables)])
    lines = np.concatenate([t.codes.T for t in tables])
    codes, row = _collapse(lambda a, b: np.ascontiguousarray(lines[a:b]), len(lines), lines.shape[1])

    def add(part: Callable[[RowTable], NDArray[np.integer] | None]) -> NDArray[np.int64]:
        out = np.zeros((1, codes.shape[1]), np.int64)
        for start, stop, t in zip(ends, ends[1:], tables, strict=False):
            _rows.add_by_row(row[start:stop], _NO_GROUP, np.asarray(part(t), np.int64), out)
        total: NDArray[np.int64] = out[0]
        return total

    groups = np.zeros((len(one.groups), codes.shape[1]), np.int64)
    for g in range(len(groups)):
        groups[g] = add(lambda t, g=g: t.groups[g])  # type: ignore[misc]
    return RowTable(
        layout=one.layout,
        codes=codes,
        cells=add(lambda t: t.cells).astype(np.int32),
        amount=None if one.amount is None else add(lambda t: t.amount),
        unit=one.unit,
        n_rounded=sum(t.n_rounded for t in tables),
        groups=_narrowed(groups),
        fold_cells=np.sum([t.fold_cells for t in tables], axis=0),
        n_folds=one.n_folds,
        **_sorted_events(
            np.concatenate([row[s + t.event_row] for s, t in zip(ends, tables, strict=False)]),
            np.concatenate([t.event_count for t in tables]),
            np.concatenate([t.event_exposure for t in tables]),
            np.concatenate([t.event_fold for t in tables], axis=1),
            np.concatenate([t.event_parts for t in tables], axis=1),
        ),
        share=one.share,
    )


def _collapse(codes_of: Callable[[int, int], Codes], n: int, n_blocks: int) -> tuple[Codes, NDArray[np.int32]]:
    """Distinct rows in canonical order, (n_blocks, n_rows), and the row of each of n lines.

    ``codes_of(start, stop)`` returns lines as (n, n_blocks) bytes.
    """
    if n_blocks == 0:
        return np.zeros((0, min(n, 1)), np.uint8), np.zeros(n, np.int32)
    index = _rows.RowIndex(n_blocks)
    row = np.empty(n, np.int32)
    for start in range(0, n, _CHUNK):
        stop = min(start + _CHUNK, n)
        row[start:stop] = index.add(codes_of(start, stop))
    found, hashes = index.finish()
    order = _canonical(found, hashes)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    codes = np.empty((n_blocks, len(order)), np.uint8)
    for b in range(n_blocks):
        codes[b] = found[order, b]
    for start in range(0, n, _CHUNK):
        row[start : start + _CHUNK] = rank[row[start : start + _CHUNK]]
    return codes, row


def _canonical(codes: Codes, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Order of the distinct rows by hash, and among equal hashes by codes."""
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    if (ranked[1:] == ranked[:-1]).any():
        order = np.lexsort((*codes.T[::-1], hashes))
    return order


def _in_units(exposure: Float, unit: float) -> tuple[NDArray[np.int64], int]:
    """Positive exposures as whole multiples of a unit, at least one; and how many that changes visibly."""
    scaled = np.rint(exposure / unit)
    if scaled.max(initial=0.0) >= 2.0**60:
        raise InputError(
            f"exposure {exposure.max():g} is too large for the unit {unit:g}.",
            hint="Take exposure_unit() of the largest exposure and the number of cells of the whole.",
        )
    steps = np.maximum(scaled, 1.0).astype(np.int64)
    return steps, int(np.count_nonzero(np.abs(steps * unit - exposure) > _ROUNDED * exposure))


def _narrowed(sums: Amounts) -> Amounts:
    """The same numbers in as few bytes as the compiled loops take."""
    largest = int(sums.max(initial=0))
    if largest < 1 << 16:
        return sums.astype(np.uint16)
    return sums.astype(np.int32) if largest < 1 << 31 else sums.astype(np.int64)


def _sorted_events(
    row: NDArray[np.int32], y: Float, exposure: Float, fold: NDArray[np.int32], parts: Float
) -> dict[str, Any]:
    order = np.lexsort((*parts[::-1], *fold[::-1], exposure, y, row))
    return {
        "event_row": row[order],
        "event_count": y[order],
        "event_exposure": exposure[order],
        "event_fold": np.ascontiguousarray(fold[:, order]),
        "event_parts": np.ascontiguousarray(parts[:, order]),
    }
