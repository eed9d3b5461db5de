"""A culling problem as the peers take it: a sparse 0/1 matrix by cells, and by distinct weighted rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rtmdx.model.design import Design

Float = NDArray[np.float64]


def row_keys(design: Design) -> NDArray[np.uint64]:
    """A 64-bit hash of each cell's codes: cells of equal rows have equal keys."""
    weights = np.random.default_rng(1).integers(2**63, size=len(design.blocks), dtype=np.uint64) * 2 + 1
    key = np.zeros(design.n_cells, dtype=np.uint64)
    for block, weight in zip(design.blocks, weights, strict=True):
        key = (key ^ (key >> np.uint64(29))) + (block.codes.astype(np.uint64) + np.uint64(1)) * weight
        key *= np.uint64(0x9E3779B97F4A7C15)
    return key


def columns_at(design: Design, cells: NDArray[np.intp]) -> sp.csc_matrix:
    """The signed 0/1 columns of the design at some cells, shape (len(cells), p)."""
    indices, ends, values = [], [0], []
    for block in design.blocks:
        codes = block.codes[cells]
        for k, variable in enumerate(block.variables):
            on = np.flatnonzero(block.decode[:, k][codes]).astype(np.int32)
            indices.append(on)
            ends.append(ends[-1] + len(on))
            values.append(np.full(len(on), float(variable.sign)))
    shape = (len(cells), len(design.variables))
    return sp.csc_matrix((np.concatenate(values), np.concatenate(indices), np.array(ends)), shape=shape)


@dataclass(frozen=True)
class Rows:
    """Weighted observations: design rows, mean count, number of cells and fold of each."""

    x: sp.csc_matrix
    y: Float
    cells: Float
    fold: NDArray[np.int64]

    def write(self, folder: Path) -> Path:
        """Write as plain little-endian arrays (float64 and int32), for R and for Python."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "sizes": np.array(self.x.shape, dtype="<i4"),
            "i": self.x.indices.astype("<i4"),
            "p": self.x.indptr.astype("<i4"),
            "x": self.x.data.astype("<f8"),
            "y": self.y.astype("<f8"),
            "w": self.cells.astype("<f8"),
            "fold": self.fold.astype("<i4"),
        }
        for name, values in arrays.items():
            values.tofile(folder / name)
        return folder


@dataclass(frozen=True)
class Problem:
    """Design, counts and folds, with the objective all solvers are judged by.

    The objective is ``(1/n) sum(mu - y eta) + l (a sum(b) + (1 - a)/2 sum(b^2))`` over the n cells, b >= 0.
    """

    design: Design
    counts: NDArray[np.int64]
    folds: NDArray[np.int64]
    mixing: float

    @cached_property
    def by_cell(self) -> Rows:
        """One observation per cell: what a user has."""
        x = columns_at(self.design, np.arange(self.design.n_cells))
        ones = np.ones(self.design.n_cells)
        return Rows(x, self.counts.astype(np.float64), ones, self.folds.astype(np.int64))

    @cached_property
    def by_row(self) -> Rows:
        """Cells of equal variables and equal fold as one observation.

        Weighted by the cells, and with their mean count as response, the objective of all cells and that of the
        cells outside any fold stay what they are: the fold is part of what tells the rows apart.
        """
        return self._collapsed(row_keys(self.design) * np.uint64(64) + self.folds.astype(np.uint64))

    @cached_property
    def _rows(self) -> Rows:
        return self._collapsed(row_keys(self.design))

    def _collapsed(self, key: NDArray[np.uint64]) -> Rows:
        _, first, row = np.unique(key, return_index=True, return_inverse=True)
        cells = np.bincount(row).astype(np.float64)
        events = np.bincount(row, weights=self.counts)
        return Rows(columns_at(self.design, first), events / cells, cells, self.folds[first].astype(np.int64))

    @cached_property
    def n_rows(self) -> int:
        """Distinct rows of the design."""
        return len(self._rows.y)

    @property
    def dense_bytes(self) -> float:
        """What a dense float64 matrix of the design takes."""
        return 8.0 * self.design.n_cells * len(self.design.variables)

    def collapsed_deviance(self) -> float:
        """What the deviance per cell of `by_row` lacks of that of the cells: the spread of counts within rows."""

        def y_log_y(y: Float, weights: Float) -> float:
            on = y > 0
            return float((weights[on] * y[on] * np.log(y[on])).sum())

        rows, y = self.by_row, self.counts.astype(np.float64)
        lost = y_log_y(y, np.ones(len(y))) - y_log_y(rows.y, rows.cells)
        return 2.0 * lost / len(y)

    def objective(self, penalties: Float, coefficients: Float, intercepts: Float) -> Float:
        """The objective at each penalty; coefficients of shape (m, p), intercepts of shape (m,)."""
        a, rows, out = self.mixing, self._rows, np.empty(len(penalties))
        by_row = rows.x.tocsr()
        for m, (penalty, b, b0) in enumerate(zip(penalties, coefficients, intercepts, strict=True)):
            eta = b0 + by_row @ b
            loss = rows.cells @ (np.exp(eta) - rows.y * eta) / self.design.n_cells
            out[m] = loss + penalty * (a * b.sum() + (1 - a) / 2 * (b @ b))
        return out

    def slack(self, penalty: float, b: Float, b0: float) -> Float:
        """Slack of each variable's optimality condition, a share of the L1 penalty, shape (p,).

        That is (gradient + l2 b + l1) / l1: 0 for a variable in the model, positive for one that must stay out, and
        near 0 for one of which it is hard to say.
        """
        a, rows = self.mixing, self._rows
        mu = np.exp(b0 + rows.x @ b)
        gradient = rows.x.T @ (rows.cells * (mu - rows.y)) / self.design.n_cells
        slack: Float = (gradient + (1 - a) * penalty * b) / (a * penalty) + 1.0
        return slack
