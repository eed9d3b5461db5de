"""Cells collapsed to distinct rows of codes: all that selection needs of any number of cells.

Cells whose codes agree in every block are one weighted *row*. A `RowTable` holds the distinct rows in an
order that depends on the codes alone (that of a hash), with sums that are exact: whole numbers of cells and
events, and exposures as whole multiples of a unit. So tables of tiles merge to the bits of the table of the
whole, in whatever order the tiles arrive, and a cluster needs to send nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.design import Design
from rtmdx.model.lanes import Amounts

__all__ = ["Layout", "RowTable", "exposure_unit"]

Float = NDArray[np.float64]
Codes = NDArray[np.uint8]

_EXPOSURE_BITS = 60  # of a sum over all cells: it fits in 64, with room for cells drawn more than once


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
class RowTable:
    """Distinct rows of codes with their cells, exposure and events, whole and by fold.

    A *group* is a part that is left out: fold f of repeat r, or a part of the period.

    Attributes
    ----------
    layout : Layout
    codes : uint8 array, shape (n_blocks, n_rows)
    cells : int32 array, shape (n_rows,)
        Number of cells that take part.
    amount : int64 array, shape (n_rows,), or None
        Sum of the cells' exposure, in multiples of `unit`; None where no exposure was given: it is that of `cells`.
    unit : float
        A power of two (`exposure_unit`); 1 without exposure.
    n_rounded : int
        Cells whose exposure was changed by more than a millionth of itself.
    groups : uint16, int32 or int64 array, shape (n_groups, n_rows)
        What each group has of `amount`; no lines for parts of the period, which are shares of all of it.
    fold_cells : int64 array, shape (n_groups,)
        Cells of each fold; empty for parts of the period.
    n_folds : int
        Groups per repeat.
    event_row : int32 array, shape (n_event_cells,)
        Row of each cell with events, sorted by row, count, exposure and group.
    event_count, event_exposure : float64 arrays, shape (n_event_cells,)
    event_fold : int32 array, shape (n_repeats, n_event_cells)
        Fold of each cell with events; no lines for parts of the period.
    event_parts : float64 array, shape (n_parts, n_event_cells)
        Events by part of the period; no lines where folds are sets of cells.
    share : float64 array, shape (n_parts,), or None
        Share of the exposure of each part of the period; None where folds are sets of cells.
    row : int32 array, shape (n_cells,), or None
        Row of each cell, -1 where it takes no part; None in a merged table.
    """

    layout: Layout
    codes: Codes
    cells: NDArray[np.int32]
    amount: NDArray[np.int64] | None
    unit: float
    n_rounded: int
    groups: Amounts
    fold_cells: NDArray[np.int64]
    n_folds: int
    event_row: NDArray[np.int32]
    event_count: Float
    event_exposure: Float
    event_fold: NDArray[np.int32]
    event_parts: Float
    share: Float | None = None
    row: NDArray[np.int32] | None = None

    @property
    def n_rows(self) -> int:
        """Number of distinct rows."""
        return int(self.codes.shape[1])

    @cached_property
    def n_cells(self) -> float:
        """Number of cells that take part."""
        return float(self.cells.sum(dtype=np.int64))

    @cached_property
    def n_events(self) -> float:
        """Number of events."""
        return float(self.event_count.sum())

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.fold_cells) if self.share is None else len(self.share)

    @cached_property
    def group_cells(self) -> Float:
        """Cells of each group; for parts of the period, cells times the share of the exposure."""
        return self.fold_cells.astype(np.float64) if self.share is None else self.n_cells * self.share

    def amounts(self) -> Float:
        """The exposure of each row, in multiples of `unit`."""
        return (self.cells if self.amount is None else self.amount).astype(np.float64)

    def group_count(self, group: int) -> Float:
        """Events of each cell with events that belong to a group."""
        if self.share is not None:
            part: Float = self.event_parts[group]
            return part
        repeat, fold = divmod(group, self.n_folds)
        return np.where(self.event_fold[repeat] == fold, self.event_count, 0.0)

    def group_events(self) -> Float:
        """Events of each group, shape (n_groups,)."""
        return np.array([self.group_count(g).sum() for g in range(self.n_groups)])

    def events_by_row(self, group: int | None = None) -> Float:
        """Sum the events of a group, or all, by row."""
        weights = self.event_count if group is None else self.group_count(group)
        return np.bincount(self.event_row, weights=weights, minlength=self.n_rows).astype(np.float64)

    def saturated(self, group: int) -> float:
        """Poisson log likelihood of a group's counts at mu = y, without log y!."""
        y = self.group_count(group)
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
        if self.amount is not None:
            raise InputError(
                "the table adds up exposures, which a stepwise search may need cell by cell.",
                hint="Give stepwise_entries the tiles' own codes, counts and exposures, put end to end.",
            )
        bare = self.cells - np.bincount(self.event_row, minlength=self.n_rows)
        rows = np.concatenate([np.flatnonzero(bare > 0), self.event_row])
        y = np.concatenate([np.zeros(len(rows) - len(self.event_row)), self.event_count])
        cells = np.concatenate([bare[bare > 0], np.ones(len(self.event_row), np.int64)]).astype(np.int64)
        return np.ascontiguousarray(self.codes[:, rows]), y, cells

    @cached_property
    def present(self) -> list[list[int]]:
        """The codes of each block that occur."""
        return [np.flatnonzero(np.bincount(line, minlength=1)).tolist() for line in self.codes]


def exposure_unit(largest: float, n_cells: int) -> float:
    """The step to which exposures are rounded, so that they add exactly.

    Parameters
    ----------
    largest : float
        The largest exposure of a cell of the whole.
    n_cells : int
        Cells of the whole.

    Returns
    -------
    float
        2^-60 of the next powers of two above `largest` and above `n_cells`, multiplied: at a million cells, 2^-40 of
        the largest.
    """
    return float(2.0 ** (np.frexp(largest)[1] - (_EXPOSURE_BITS - int(n_cells).bit_length())))
