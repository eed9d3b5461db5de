"""Entries: the distinct combinations of block codes, count and exposure among the cells, with their numbers.

This is the *tabulation* before a search. It reads every cell once; what follows reads entries only. Entries
of tiles are merged by putting their arrays end to end: weights are whole numbers (exposures are rounded to a
multiple of 2^-60 of about the number of cells times the largest, before they are added), so the merged table
is that of the whole, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from rtmdx import _rows, _tables
from rtmdx.model.design import Design, Variable
from rtmdx.model.levels import PIECE, count_constant, levels_of, reference_rate

__all__ = ["Distinct", "Entries"]

Float = NDArray[np.float64]
Int = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Distinct = Literal["none", "events", "all"]
"""Which cells' exposures are told apart: none (all that Poisson needs), those of cells with events, or all."""

APART = 1 << 14  # from such counts on exposures stay apart for Poisson too: its sums alone would cost digits of log L
WORD = 256


@dataclass(frozen=True)
class _Place:
    """Where a block went: its word, the digit of each of its codes, its stride and number of digits."""

    block: int
    word: int
    digits: Bytes
    stride: int
    size: int
    variables: tuple[tuple[int, Bytes], ...]  # column, and its 0/1 value by digit


class _Plan:
    """Pack the blocks of the columns that can matter into words of one byte."""

    def __init__(self, design: Design, columns: Sequence[int]) -> None:
        self.columns = tuple(sorted(columns))
        wanted = set(self.columns)
        effective = []
        j = 0
        for b, block in enumerate(design.blocks):
            used = [k for k in range(len(block.variables)) if j + k in wanted]
            if used:
                rows, number = np.unique(block.decode[:, used] != 0, axis=0, return_inverse=True)
                names = [j + k for k in used]
                effective.append((b, number.ravel(), rows.astype(np.uint8), names))
            j += len(block.variables)
        # Largest first, each into the first word that still has room.
        effective.sort(key=lambda e: (-len(e[2]), e[0]))
        room: list[int] = []
        places = []
        for b, number, rows, names in effective:
            size = len(rows)
            word = next((w for w, used_up in enumerate(room) if used_up * size <= WORD), None)
            if word is None:
                word = len(room)
                room.append(1)
            digits = (number * room[word]).astype(np.uint8)
            columns_of = tuple((name, np.ascontiguousarray(rows[:, k])) for k, name in enumerate(names))
            places.append(_Place(b, word, digits, room[word], size, columns_of))
            room[word] *= size
        self.places, self.room = places, room

    def words(self, codes: Sequence[Bytes], extra: int = 0) -> Bytes:
        """The words of each cell, and `extra` empty ones."""
        n = len(codes[0]) if len(codes) else 0
        keys = np.zeros((n, len(self.room) + extra), np.uint8)
        for place in self.places:
            codes_of = np.ascontiguousarray(codes[place.block])
            lut = np.zeros(256, np.uint8)
            lut[: len(place.digits)] = place.digits
            _tables.pack_codes(codes_of, lut, keys, place.word)
        return keys


@dataclass(frozen=True)
class Entries:
    """Distinct entries of a design.

    Attributes
    ----------
    columns : tuple of int
        Columns of the design the entries tell apart.
    variables : dict of Variable by column
    words : uint8 array, shape (n_entries, n_words)
        Packed codes.
    level : int32 array, shape (n_entries,)
        Number of each entry's count and exposure among `y`, `exposure`.
    weight : int64 array, shape (n_entries,)
        Cells; for level 0 of merged exposures, exposure in multiples of its `unit`.
    y, exposure, unit : float64 arrays, shape (n_levels,)
        Count, exposure (in units of `log_unit`), and what a weight of 1 stands for.
    n_cells : int
        Cells with exposure.
    n_events, constant, saturated, log_unit : float
        Events; the sums of ``lgamma(y + 1) - y log(exposure)`` and of `count_constant`; log of the unit of exposure.
    reference : tuple of float, or None
        Where only sums of exposure and events are held: the rate over all cells, and the Poisson deviance / 2 of the
        cells from it.
    group : int32 array, shape (n_entries,)
        Group of each entry; 0 unless groups were given.
    """

    columns: tuple[int, ...]
    variables: dict[int, Variable]
    words: Bytes
    level: Int
    weight: NDArray[np.int64]
    y: Float
    exposure: Float
    unit: Float
    n_cells: int
    n_events: float
    constant: float
    saturated: float
    reference: tuple[float, float] | None
    log_unit: float
    plan: _Plan
    group: Int

    @classmethod
    def tabulate(
        cls,
        design: Design,
        codes: Sequence[Bytes],
        y: Float,
        cells: NDArray[np.int64] | None = None,
        exposure: Float | None = None,
        columns: Sequence[int] | None = None,
        *,
        distinct: Distinct = "all",
        group: Int | None = None,
        poll: Callable[[], None] = lambda: None,
    ) -> Entries:
        """Collapse cells, or rows that stand for several, to distinct entries.

        Parameters
        ----------
        design : Design
            Its decode tables and variables are read, its codes are not.
        codes : sequence of uint8 arrays, shape (n_blocks, n_rows)
            Codes of every block.
        y : float64 array, shape (n_rows,)
            Count of each cell of the row.
        cells : int64 array, shape (n_rows,), optional
            Number of cells of each row; 1 by default.
        exposure : float64 array, shape (n_rows,), optional
            Exposure of each cell of the row. Rows without exposure are left out.
        columns : sequence of int, optional
            Columns that can matter; all by default.
        distinct : {"none", "events", "all"}
            With exposure: which exposures are told apart; those of other cells are added up (see `CellTable`).
        group : int32 array, shape (n_rows,), optional
            Rows of different groups, from 0, stay apart.
        poll : callable
            Called between pieces of the cells; raises to stop.
        """
        poll()
        plan = _Plan(design, range(len(design.variables)) if columns is None else columns)
        n = len(y)
        keep = None
        if exposure is not None and not (exposure > 0).all():
            keep = np.flatnonzero(exposure > 0)
            y, exposure = y[keep], exposure[keep]
            cells = None if cells is None else cells[keep]
            codes = [c[keep] for c in codes]
            group = None if group is None else group[keep]
            n = len(y)
        n_cells = n if cells is None else int(cells.sum())
        if distinct == "none" and n and float(y.max()) >= APART:
            distinct = "events"
        scale = 1.0
        if exposure is not None and n:
            scale = math.ldexp(1.0, max(math.frexp(float(exposure.max()))[1] - 1, -1022))
            exposure = exposure / scale
        level, level_y, level_e = levels_of(y, exposure, merge_zeros=distinct != "all", poll=poll)
        poll()
        weight = np.ones(n, np.int64) if cells is None else np.ascontiguousarray(cells, np.int64)
        unit = np.ones(len(level_y))
        per_level = np.zeros(len(level_y), np.int64)
        _sum_by(level, weight, per_level)
        n_events = float(np.sum(per_level * level_y))
        values, first = np.unique(level_y, return_index=True)
        per_count = np.add.reduceat(per_level, first) if len(first) else per_level
        constant = float(np.sum(per_count * gammaln(values + 1.0)) - np.sum(per_level * level_y * np.log(level_e)))
        saturated = float(np.sum(per_count * count_constant(values)))
        reference = None
        bits = 60 - n_cells.bit_length()

        def units(which: NDArray[np.intp] | slice) -> NDArray[np.int64]:
            assert exposure is not None
            whole = np.maximum(np.rint(np.ldexp(exposure[which], bits)).astype(np.int64), 1)
            return whole * weight[which]

        if exposure is not None and distinct == "events" and len(level_y) and level_y[0] == 0:
            unit[0] = math.ldexp(1.0, -bits)
            zero = np.flatnonzero(level == 0)
            exposed = weight.copy()
            exposed[zero] = units(zero)
            weight = exposed
        if exposure is not None and distinct == "none":
            # The sums of exposure and of events in each combination of codes: a Poisson log likelihood has them apart.
            some = np.flatnonzero(y > 0)
            amount = units(slice(None))
            reference = reference_rate(
                level_y, level_e, per_level, int(amount.sum()), int(amount[y == 0].sum()), math.ldexp(1.0, -bits)
            )
            all_codes, exposed = _collapse(plan, codes, np.zeros(n, np.int32), amount, n, poll)[::2]
            happened = weight[some] * y[some].astype(np.int64)
            with_events = [c[some] for c in codes]
            event_codes, events = _collapse(
                plan, with_events, np.zeros(len(some), np.int32), happened, len(some), poll
            )[::2]
            words, weight = np.concatenate([all_codes, event_codes]), np.concatenate([exposed, events])
            level = np.repeat(np.arange(2, dtype=np.int32), [len(exposed), len(events)])
            level_y, level_e, unit = np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([math.ldexp(1.0, -bits), 1.0])
            group = np.zeros(len(level), np.int32)
        elif group is None:
            words, level, weight = _collapse(plan, codes, level, weight, n, poll)
            group = np.zeros(len(level), np.int32)
        else:
            n_groups = int(group.max(initial=0)) + 1
            pairs, both = np.unique(level.astype(np.int64) * n_groups + group, return_inverse=True)
            words, both, weight = _collapse(plan, codes, both.astype(np.int32), weight, n, poll)
            level = (pairs[both] // n_groups).astype(np.int32)
            group = (pairs[both] % n_groups).astype(np.int32)
        return cls(
            plan.columns,
            {j: design.variables[j] for j in plan.columns},
            words,
            level,
            weight,
            level_y,
            level_e,
            unit,
            n_cells,
            n_events,
            constant,
            saturated,
            reference,
            math.log(scale),
            plan,
            group,
        )

    @cached_property
    def bins(self) -> tuple[Int, Int, Int]:
        """For each value of each word, the variables (by place in `columns`) that are 1: offsets, starts, list."""
        offsets = np.concatenate([[0], np.cumsum(self.plan.room)]).astype(np.int32)
        place = {j: v for v, j in enumerate(self.columns)}
        lists: list[list[int]] = [[] for _ in range(int(offsets[-1]))]
        for p in self.plan.places:
            digit = np.arange(self.plan.room[p.word]) // p.stride % p.size
            for j, value in p.variables:
                for c in np.flatnonzero(value[digit]):
                    lists[offsets[p.word] + c].append(place[j])
        starts = np.concatenate([[0], np.cumsum([len(v) for v in lists])]).astype(np.int32)
        flat = np.array([v for values in lists for v in values], dtype=np.int32)
        return offsets, starts, flat

    @cached_property
    def _members(self) -> dict[int, tuple[int, Bytes]]:
        out = {}
        for p in self.plan.places:
            digit = np.arange(WORD) // p.stride % p.size
            for j, value in p.variables:
                out[j] = (p.word, np.ascontiguousarray(value[digit]))
        return out

    def member(self, j: int) -> tuple[int, Bytes]:
        """The word that holds variable j, and its 0/1 value for each value of the word."""
        return self._members[j]


def _sum_by(row: Int, weight: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Add ``weight[i]`` to ``out[row[i]]``."""
    _rows.add_by_row(row, np.zeros(0, np.int32), weight, out[None])


def _collapse(
    plan: _Plan, codes: Sequence[Bytes], level: Int, weight: NDArray[np.int64], n: int, poll: Callable[[], None]
) -> tuple[Bytes, Int, NDArray[np.int64]]:
    """Add up the weights of cells with equal words and level, a piece at a time; in order of first appearance."""
    n_bytes = 4 if not len(level) else max(1, (int(level.max()).bit_length() + 7) // 8)
    n_words = len(plan.room)
    index = _rows.RowIndex(n_words + n_bytes)
    total = np.zeros(1024, np.int64)
    for begin in range(0, n, PIECE):
        poll()
        piece = slice(begin, min(begin + PIECE, n))
        keys = (
            plan.words([c[piece] for c in codes], n_bytes)
            if n_words
            else np.zeros((piece.stop - begin, n_bytes), np.uint8)
        )
        little = np.ascontiguousarray(level[piece]).astype("<i4").view(np.uint8).reshape(-1, 4)
        keys[:, n_words:] = little[:, :n_bytes]
        row = index.add(keys)
        more = int(row.max()) + 1 - len(total)
        if more > 0:
            total = np.concatenate([total, np.zeros(max(more, len(total)), np.int64)])
        _sum_by(row, weight[piece], total)
    rows = index.finish()[0]
    levels = np.zeros((len(rows), 4), np.uint8)
    levels[:, :n_bytes] = rows[:, n_words:]
    words = np.ascontiguousarray(rows[:, :n_words])
    return words, levels.view("<i4").ravel().astype(np.int32), total[: len(rows)].copy()
