"""Cells collapsed to the table a likelihood needs: (covariate pattern, count, exposure) -> number of cells.

A few hundred rows stand for any number of cells. Cells are collapsed once, to distinct *entries* (codes of
the blocks that can matter, count, exposure); a search then splits the entries by one variable after another.
All weights are whole numbers, so a table is the same whatever the order in which cells or tiles arrive.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rtmdx import _counts, _tables
from rtmdx.model.design import Design, Variable
from rtmdx.model.entries import Distinct, Entries
from rtmdx.model.levels import count_constant

__all__ = ["CellTable", "CountTable", "Node"]

Float = NDArray[np.float64]
Int = NDArray[np.int32]

SUMS_LIMIT = 1 << 24  # sums by row and variable held for all variables at once
KEPT_BYTES = 1 << 28  # memory of the nodes kept beside the current one


@dataclass(frozen=True)
class CountTable:
    """Cells counted by covariate pattern, count and exposure; ``mu = exposure * exp(x beta)``.

    Attributes
    ----------
    x : float64 array, shape (n_patterns, 1 + k)
        Design rows of the patterns; the first column is 1, the others are ``sign * indicator``.
    pattern : int32 array, shape (n_rows,)
        Pattern of each row of the table.
    y, cells, exposure : float64 arrays, shape (n_rows,)
        Count, number of cells that have it, and the exposure of each of them. Where cells without
        events were merged over exposures, `cells` is the sum of exposure and `exposure` 1; where only sums
        are held, the events are rows of exposure 0.
    constant : float
        What log L lacks, minus its value by `_counts.count_likelihood`: the sum over cells of
        ``lgamma(y + 1) - y log(y) + y``.
    n_cells : int
        Number of cells with exposure.
    log_unit : float
        Log of the unit exposures are in: subtract it from an intercept.
    reference : tuple of float, or None
        As `Entries` has it, where only sums are held.
    """

    x: Float
    pattern: Int
    y: Float
    cells: Float
    exposure: Float
    constant: float
    n_cells: int
    log_unit: float = 0.0
    reference: tuple[float, float] | None = None

    @classmethod
    def of(cls, x: Float, pattern: Int, y: Float, cells: Float, exposure: Float | None = None) -> CountTable:
        """Build a table from its rows; those without cells or exposure are left out."""
        exposure = np.ones(len(y)) if exposure is None else exposure
        keep = (cells > 0) & (exposure > 0)
        y, cells, exposure = y[keep], cells[keep], exposure[keep]
        constant = float(np.sum(cells * count_constant(y)))
        x, pattern = np.ascontiguousarray(x), np.ascontiguousarray(pattern[keep])
        return cls(x, pattern, y, cells, exposure, constant, int(cells.sum()))

    @property
    def rows(self) -> _counts.Rows:
        """The rows as the compiled loops take them."""
        return _counts.Rows(self.pattern, self.y, self.cells, self.exposure)

    @cached_property
    def n_events(self) -> float:
        """Number of events."""
        return float(np.sum(self.cells * self.y))

    @cached_property
    def total_exposure(self) -> float:
        """Sum of the cells' exposure."""
        return float(np.sum(self.cells * self.exposure))

    def collapsed(self) -> CountTable:
        """One row per pattern, with its mean count: all that a Poisson likelihood needs."""
        n = len(self.x)
        exposure = np.bincount(self.pattern, weights=self.cells * self.exposure, minlength=n).astype(np.float64)
        events = np.bincount(self.pattern, weights=self.cells * self.y, minlength=n)
        seen = np.flatnonzero(exposure)
        # Events and exposure enter by their sums alone: one cell of the mean exposure 1 stands for each unit.
        mean = events[seen] / exposure[seen]
        table = CountTable(self.x, seen.astype(np.int32), mean, exposure[seen], np.ones(len(seen)), 0.0, self.n_cells)
        # What the cells differ among themselves is the deviance of each from its pattern's rate.
        rate = np.full(n, -np.inf)
        rate[seen[mean > 0.0]] = np.log(mean[mean > 0.0])
        sums = np.empty((n, 5))
        if self.reference is None:
            within = -_counts.count_likelihood(0, self.rows, rate, 0.0, sums)
        else:
            of_all, deviance = self.reference
            within = deviance + _counts.count_likelihood(0, table.rows, np.full(n, np.log(of_all)), 0.0, sums)
        return replace(table, constant=self.constant + within)


@dataclass(frozen=True)
class Node:
    """Entries grouped by the pattern of a set of variables and by level (count and exposure).

    Attributes
    ----------
    columns : tuple of int
        The variables, in the order in which they split.
    x : float64 array, shape (n_patterns, 1 + k)
    pattern, level : int32 arrays, shape (n_rows,)
        Rows are in order of pattern, then level.
    order, begin, end : int32 arrays
        The entries of row t are ``order[begin[t]:end[t]]``.
    total : int64 array, shape (n_rows,)
        Weight of each row.
    inside : int64 array, shape (n_rows, n_variables), or None
        Weight of each row where each variable is 1; None where it would be too large.
    """

    columns: tuple[int, ...]
    x: Float
    pattern: Int
    level: Int
    order: Int
    begin: Int
    end: Int
    total: NDArray[np.int64]
    inside: NDArray[np.int64] | None

    @property
    def n_bytes(self) -> int:
        """Memory it holds."""
        held = (self.x, self.pattern, self.level, self.order, self.begin, self.end, self.total)
        return sum(int(a.nbytes) for a in held) + (0 if self.inside is None else int(self.inside.nbytes))


class CellTable:
    """Entries ready to be split by variables: what a stepwise search runs from.

    Parameters
    ----------
    entries : Entries
        The distinct entries; made by `from_design` or `from_entries`.

    Attributes
    ----------
    variables : dict of Variable by column
        The variables that may split.
    n_cells : int
        Cells with exposure.
    n_events : float
    """

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.n_cells, self.n_events = entries.n_cells, entries.n_events
        self.y, self.exposure, self.unit, self._weight = entries.y, entries.exposure, entries.unit, entries.weight
        self.place = {j: v for v, j in enumerate(entries.columns)}
        self._offsets, self._starts, self._variables = entries.bins
        self._nodes: OrderedDict[tuple[int, ...], Node] = OrderedDict()
        n_levels = len(entries.y)
        order = np.empty(len(entries.level), np.int32)
        first, weight = np.empty(n_levels + 1, np.int32), np.empty(n_levels, np.int64)
        _tables.order_by_level(entries.level, self._weight, order, first, weight)
        seen = np.flatnonzero(np.diff(first)).astype(np.int32)
        pattern, begin, end, total = np.zeros(len(seen), np.int32), first[seen], first[seen + 1], weight[seen]
        root = Node((), np.ones((1, 1)), pattern, seen, order, begin, end, total, None)
        self._root = self._with_sums(root)

    @classmethod
    def from_design(
        cls,
        design: Design,
        counts: Float,
        exposure: Float | None = None,
        columns: Sequence[int] | None = None,
        *,
        distinct: Distinct = "all",
        poll: Callable[[], None] = lambda: None,
    ) -> CellTable:
        """Tabulate the cells of a design.

        Parameters
        ----------
        design : Design
        counts : float64 array, shape (n_cells,)
            Events in each cell.
        exposure : float64 array, shape (n_cells,), optional
            Exposure of each cell.
        columns : sequence of int, optional
            Columns that can matter; all by default. Fewer give fewer entries.
        distinct : {"none", "events", "all"}
            With exposure: which cells' exposures are told apart; the others are added up. The Poisson log
            likelihood needs the sums of exposure and events only ("none"). That of NBII is linear in the mean where
            there are no events, so it needs the exposure of the cells that have some ("events"). NB2 needs all.
            With counts of 16,384 and more, "none" is "events": by its sums alone log L would lose digits.
        poll : callable
            Called between pieces of the cells; raises to stop.

        Returns
        -------
        CellTable
            The same bits, in every table it gives, for any order and any division of the cells into rows.
        """
        codes = [block.codes for block in design.blocks]
        return cls(Entries.tabulate(design, codes, counts, None, exposure, columns, distinct=distinct, poll=poll))

    @classmethod
    def from_entries(
        cls,
        design: Design,
        codes: NDArray[np.uint8],
        y: Float,
        cells: NDArray[np.int64],
        exposure: Float | None = None,
        columns: Sequence[int] | None = None,
        *,
        distinct: Distinct = "all",
        poll: Callable[[], None] = lambda: None,
    ) -> CellTable:
        """Tabulate rows of codes, (n_blocks, n_rows), each for several cells; the rest as for `from_design`.

        The design's decode tables and variables are read, its cells' codes are not.
        """
        rows = [np.ascontiguousarray(c) for c in codes]
        return cls(Entries.tabulate(design, rows, y, cells, exposure, columns, distinct=distinct, poll=poll))

    @property
    def variables(self) -> dict[int, Variable]:
        """The variables that may split, by column."""
        return self.entries.variables

    def _fits(self, n_rows: int) -> bool:
        return n_rows * len(self.place) <= SUMS_LIMIT

    def _fill(self, node: Node, rows: Int, inside: NDArray[np.int64]) -> None:
        words = self.entries.words
        bins = (self._offsets, self._starts, self._variables)
        _tables.sums_by_variable(node.order, node.begin, node.end, rows, words, self._weight, *bins, inside)

    def _with_sums(self, node: Node) -> Node:
        if not self._fits(len(node.level)):
            return node
        inside = np.empty((len(node.level), len(self.place)), np.int64)
        self._fill(node, np.arange(len(node.level), dtype=np.int32), inside)
        return Node(**{**node.__dict__, "inside": inside})

    def node(self, columns: Sequence[int]) -> Node:
        """The entries grouped by the given variables; nodes met lately are kept."""
        key = tuple(columns)
        if not key:
            return self._root
        if key in self._nodes:
            self._nodes.move_to_end(key)
            return self._nodes[key]
        made = self._split(self.node(key[:-1]), key[-1])
        self._nodes[key] = made
        while len(self._nodes) > 1 and sum(n.n_bytes for n in self._nodes.values()) > KEPT_BYTES:
            self._nodes.popitem(last=False)
        return made

    def _split(self, parent: Node, j: int) -> Node:
        word, member = self.entries.member(j)
        order, middle = np.empty_like(parent.order), np.empty_like(parent.begin)
        _tables.partition_rows(parent.order, parent.begin, parent.end, self.entries.words, word, member, order, middle)
        both = np.concatenate
        weight = self.inside(parent, j)
        total = both([parent.total - weight, weight])
        n = len(parent.x)
        keep = total > 0
        begin, end = both([parent.begin, middle])[keep], both([middle, parent.end])[keep]
        pattern, level = both([parent.pattern, parent.pattern + n])[keep], both([parent.level, parent.level])[keep]
        seen, number = np.unique(pattern, return_inverse=True)
        x = np.ones((2 * n, parent.x.shape[1] + 1))
        x[:n, :-1] = x[n:, :-1] = parent.x
        x[:n, -1], x[n:, -1] = 0.0, float(self.variables[j].sign)
        node = Node((*parent.columns, j), x[seen], number.astype(np.int32), level, order, begin, end, total[keep], None)
        if parent.inside is None or not self._fits(len(level)):
            return self._with_sums(node)
        # Sums of the smaller child of each row are counted, those of the larger are what the row has left.
        rows = len(parent.level)
        lower, upper = middle - parent.begin, parent.end - middle
        smaller = both([lower <= upper, upper < lower])
        counted = np.empty((2 * rows, len(self.place)), np.int64)
        scan = np.flatnonzero(smaller).astype(np.int32)
        whole = Node(
            (), x, pattern, level, order, both([parent.begin, middle]), both([middle, parent.end]), total, None
        )
        self._fill(whole, scan, counted)
        other = (scan + rows) % (2 * rows)
        counted[other] = parent.inside[scan % rows] - counted[scan]
        return Node(**{**node.__dict__, "inside": counted[keep]})

    def inside(self, node: Node, j: int) -> NDArray[np.int64]:
        """The weight of each row of a node in which variable j is 1."""
        if node.inside is not None:
            return node.inside[:, self.place[j]]
        word, member = self.entries.member(j)
        out = np.empty(len(node.level), np.int64)
        words = self.entries.words
        _tables.sums_of_variable(node.order, node.begin, node.end, words, self._weight, word, member, out)
        return out

    def _table(self, x: Float, pattern: Int, level: Int, weight: NDArray[np.int64]) -> CountTable:
        cells = weight * self.unit[level]
        return CountTable(
            x,
            pattern,
            self.y[level],
            cells,
            self.exposure[level],
            self.entries.saturated,
            self.n_cells,
            self.entries.log_unit,
            self.entries.reference,
        )

    def table(self, node: Node) -> CountTable:
        """The table of a node's variables."""
        return self._table(node.x, node.pattern, node.level, node.total)

    def with_variable(self, node: Node, j: int, without: int | None = None) -> CountTable:
        """The table with variable j as last column, and perhaps without another."""
        n, sign = len(node.x), float(self.variables[j].sign)
        base = node.x if without is None else np.delete(node.x, 1 + node.columns.index(without), axis=1)
        x = np.empty((2 * n, base.shape[1] + 1))
        x[:n, :-1] = x[n:, :-1] = base
        x[:n, -1], x[n:, -1] = 0.0, sign
        inside = self.inside(node, j)
        weight = np.concatenate([node.total - inside, inside])
        keep = weight > 0
        pattern = np.concatenate([node.pattern, node.pattern + np.int32(n)])[keep]
        level = np.concatenate([node.level, node.level])[keep]
        table = self._table(x, pattern, level, weight[keep])
        return table if without is None else merged(table)

    def without(self, node: Node, j: int) -> CountTable:
        """The table without variable j."""
        x = np.delete(node.x, 1 + node.columns.index(j), axis=1)
        return merged(self._table(x, node.pattern, node.level, node.total))

    def support(self, node: Node, j: int) -> tuple[bool, bool, float]:
        """Whether variable j is 1 somewhere, whether it is 0 somewhere, and the events where it is 1."""
        inside = self.inside(node, j)
        events = float(np.sum(inside * self.unit[node.level] * self.y[node.level]))
        return bool(inside.any()), bool((inside < node.total).any()), events


def merged(table: CountTable) -> CountTable:
    """Number equal rows of x once, and add up rows of the table that have become equal."""
    k = table.x.shape[1]
    if k <= 63:  # a row of x is a row of bits, and whole numbers sort faster than rows
        bits = (table.x[:, 1:] != 0.0) @ (1 << np.arange(k - 1, dtype=np.int64))
        _, first, number = np.unique(bits, return_index=True, return_inverse=True)
    else:
        _, first, number = np.unique(table.x, axis=0, return_index=True, return_inverse=True)
    x = np.ascontiguousarray(table.x[first])
    pattern = number.ravel().astype(np.int32)[table.pattern]
    order = np.lexsort((table.exposure, table.y, pattern))
    pattern, y, exposure = pattern[order], table.y[order], table.exposure[order]
    cells = table.cells[order]
    if len(order):
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(pattern) != 0) | (np.diff(y) != 0) | (np.diff(exposure) != 0)
        first = np.flatnonzero(new)
        cells = np.add.reduceat(cells, first)
        pattern, y, exposure = pattern[first], y[first], exposure[first]
    return replace(table, x=x, pattern=pattern, y=y, cells=cells, exposure=exposure)
