"""Cells collapsed to the table a likelihood needs: (covariate pattern, count) -> number of cells.

A few hundred rows stand for any number of cells; splitting them by one more 0/1 variable is one pass
over its codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from rtmdx import _stats
from rtmdx.model.design import Design

__all__ = ["CellTable", "CountTable"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class CountTable:
    """Cells counted by covariate pattern and count.

    Attributes
    ----------
    x : float64 array, shape (n_patterns, 1 + k)
        Design rows of the patterns; the first column is 1, the others are ``sign * indicator``.
    pattern : int32 array, shape (n_rows,)
        Pattern of each row of the table.
    y, cells : float64 arrays, shape (n_rows,)
        Count, and number of cells that have it.
    constant : float
        The sum over cells of ``lgamma(y + 1)``.
    """

    x: Float
    pattern: NDArray[np.int32]
    y: Float
    cells: Float
    constant: float

    @classmethod
    def of(cls, x: Float, pattern: NDArray[np.int32], y: Float, cells: Float) -> CountTable:
        """Build a table and its constant; rows without cells are left out."""
        keep = cells > 0
        y, cells = y[keep], cells[keep]
        return cls(
            np.ascontiguousarray(x),
            np.ascontiguousarray(pattern[keep]),
            y,
            cells,
            float(np.sum(cells * gammaln(y + 1.0))),
        )

    @property
    def n_cells(self) -> float:
        """Number of cells."""
        return float(self.cells.sum())

    @property
    def n_events(self) -> float:
        """Number of events."""
        return float(np.sum(self.cells * self.y))


class CellTable:
    """The cells collapsed by the current variables' pattern and the count, cheap to split by one more.

    Attributes
    ----------
    columns : list of int
        Current variables.
    row : int32 array, shape (n_cells,)
        Table row of each cell.
    x : float64 array, shape (n_patterns, 1 + k)
    pattern, y, cells : arrays, shape (n_rows,)
    """

    def __init__(self, design: Design, counts: Float) -> None:
        self.design = design
        self.columns: list[int] = []
        self.y, level, cells = np.unique(counts, return_inverse=True, return_counts=True)
        self.row = level.astype(np.int32)
        self.cells = cells.astype(np.float64)
        self.pattern = np.zeros(len(self.y), dtype=np.int32)
        self.x = np.ones((1, 1))
        self.n_events = float(counts.sum())
        self.place = [(b, k) for b, block in enumerate(design.blocks) for k in range(len(block.variables))]
        self.constant = CountTable.of(self.x, self.pattern, self.y, self.cells).constant

    def inside(self, j: int) -> Float:
        """Count the cells of each row in which variable j is 1."""
        b, k = self.place[j]
        block = self.design.blocks[b]
        out = np.empty(len(self.y))
        codes = np.ascontiguousarray(block.codes)
        _stats.split_rows(self.row, codes, np.ascontiguousarray(block.decode[:, k]), out)
        return out

    def table(self) -> CountTable:
        """The table of the current variables."""
        return CountTable(self.x, self.pattern, self.y, self.cells, self.constant)

    def with_variable(self, j: int, inside: Float) -> CountTable:
        """The table with variable j as last column."""
        n = len(self.x)
        sign = float(self.design.variables[j].sign)
        x = np.empty((2 * n, self.x.shape[1] + 1))
        x[:n, :-1] = x[n:, :-1] = self.x
        x[:n, -1] = 0.0
        x[n:, -1] = sign
        pattern = np.concatenate([self.pattern, self.pattern + np.int32(n)])
        y = np.concatenate([self.y, self.y])
        cells = np.concatenate([self.cells - inside, inside])
        keep = cells > 0
        seen = np.unique(pattern[keep])
        number = np.zeros(2 * n, dtype=np.int32)
        number[seen] = np.arange(len(seen), dtype=np.int32)
        return CountTable(x[seen], number[pattern[keep]], y[keep], cells[keep], self.constant)

    def without(self, j: int) -> CountTable:
        """The table without variable j; rows of merged patterns stay apart, which changes no sum."""
        x = np.delete(self.x, 1 + self.columns.index(j), axis=1)
        unique, number = np.unique(x, axis=0, return_inverse=True)
        return CountTable(
            unique, number.ravel().astype(np.int32)[self.pattern], self.y, self.cells, self.constant
        )

    def move_to(self, columns: list[int]) -> None:
        """Collapse anew by another set of variables."""
        design = self.design
        y_of_cell = self.y[self.row]
        indicators = np.empty((design.n_cells, len(columns)), dtype=np.uint8)
        for a, j in enumerate(columns):
            indicators[:, a] = design.indicator(j)
        pattern, first = _stats.collapse_rows(indicators)
        signs = np.array([design.variables[j].sign for j in columns], dtype=np.float64)
        self.x = np.ones((len(first), 1 + len(columns)))
        self.x[:, 1:] = indicators[first] * signs
        values, level = np.unique(y_of_cell, return_inverse=True)
        key = pattern.astype(np.int64) * len(values) + level
        rows, row, cells = np.unique(key, return_inverse=True, return_counts=True)
        self.row = row.astype(np.int32)
        self.cells = cells.astype(np.float64)
        self.pattern = (rows // len(values)).astype(np.int32)
        self.y = values[rows % len(values)]
        self.columns = columns
