"""A design made tile by tile: what each tile adds to it, and the design's variables from all tiles together.

A tile keeps no cell: its cells are collapsed to distinct rows of *raw* codes, which tell all bands apart. Which
variables pass the support rule is known only when all tiles are; then the distinct rows, and not the cells, are
coded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.columns import Columns, Encoded, NestedColumns, encode_bits
from rtmdx.model.design import Block, Design, DroppedVariable, Variable, support_rule
from rtmdx.model.rows import Layout, RowTable
from rtmdx.model.tabulate import merge_tables
from rtmdx.space.layers import Operationalization, RiskFactor

__all__ = ["RawBlock", "RawLayout", "coded_anew"]

Codes = NDArray[np.uint8]
_BITS = 8


@dataclass(frozen=True)
class RawBlock:
    """One factor under one operationalization, before the support rule.

    Attributes
    ----------
    factor : int
    operationalization : {"proximity", "density"}
    n_bands : int
    thresholds : tuple of float, or None
        Of densities.
    """

    factor: int
    operationalization: Operationalization
    n_bands: int
    thresholds: tuple[float, ...] | None = None

    @property
    def n_arrays(self) -> int:
        """Code arrays it takes."""
        return 1 if self.thresholds is None else -(-self.n_bands // _BITS)


@dataclass(frozen=True)
class RawLayout:
    """All blocks of a study, before the support rule."""

    blocks: tuple[RawBlock, ...]

    def design(self, codes: Sequence[Codes]) -> Design:
        """Return a stand-in design of raw codes, for `rtmdx.model.tabulate.tabulate`; its variables have no meaning."""
        blocks: list[Block] = []
        for raw in self.blocks:
            for start in range(raw.n_arrays):
                if raw.thresholds is None:
                    n = raw.n_bands
                    decode = (np.arange(n + 1)[:, None] <= np.arange(n)[None, :]).astype(np.uint8)
                else:
                    n = min(_BITS, raw.n_bands - start * _BITS)
                    decode = ((np.arange(2**n)[:, None] >> np.arange(n)[None, :]) & 1).astype(np.uint8)
                names = tuple(
                    Variable(f"raw {len(blocks)} {k}", raw.factor, "", raw.operationalization, k + 1, 0.0, None, 1, 0)
                    for k in range(n)
                )
                blocks.append(Block(codes[len(blocks)], decode, names))
        return Design(tuple(blocks), len(codes[0]) if codes else 0)


class _WeightedNested:
    """As `NestedColumns`, of rows that stand for several cells."""

    def __init__(self, codes: Codes, n: int, cells: NDArray[np.int32]) -> None:
        self.of_rows = NestedColumns(codes, n)
        self.n_cells = int(cells.sum(dtype=np.int64))
        self.of_rows.supports = np.cumsum(np.bincount(codes, weights=cells, minlength=n + 1).astype(np.int64))[:n]

    def support(self, k: int) -> int:
        return self.of_rows.support(k)

    def threshold(self, k: int) -> None:  # noqa: ARG002
        return None

    def twin(self, k: int) -> int | None:
        return self.of_rows.twin(k)

    def encode(self, kept: Sequence[int]) -> list[Encoded]:
        return self.of_rows.encode(kept)


class _WeightedBits:
    """As `BitColumns`, of rows that stand for several cells."""

    def __init__(self, arrays: Sequence[Codes], thresholds: tuple[float, ...], cells: NDArray[np.int32]) -> None:
        self.arrays, self.thresholds = arrays, thresholds
        self.n_cells = int(cells.sum(dtype=np.int64))
        self.supports = [int(cells[self._bit(k) != 0].sum(dtype=np.int64)) for k in range(len(thresholds))]

    def _bit(self, k: int) -> Codes:
        bit: Codes = (self.arrays[k // _BITS] >> np.uint8(k % _BITS)) & np.uint8(1)
        return bit

    def support(self, k: int) -> int:
        return self.supports[k]

    def threshold(self, k: int) -> float:
        return self.thresholds[k]

    def twin(self, k: int) -> int | None:
        equal = (b for b in range(k) if self.supports[b] == self.supports[k])
        return next((b for b in equal if np.array_equal(self._bit(b), self._bit(k))), None)

    def encode(self, kept: Sequence[int]) -> list[Encoded]:
        return encode_bits(self._bit, len(self.arrays[0]), kept)


def coded_anew(
    raw: RowTable, layout: RawLayout, factors: Sequence[RiskFactor], need: int
) -> tuple[RowTable, Design, list[DroppedVariable]]:
    """Apply the support rule to all tiles' rows, and code them by the variables kept.

    Parameters
    ----------
    raw : RowTable
        Merged from all tiles, of raw codes.
    layout : RawLayout
    factors : sequence of RiskFactor
    need : int
        Fewest cells in which a variable must be 1.

    Returns
    -------
    RowTable
        The bits of that of the cells' own codes.
    Design
        Its blocks, variables and decode tables are the study's; its "cells" are the table's rows.
    list of DroppedVariable
    """
    coded: list[Encoded] = []
    variables: list[tuple[Variable, ...]] = []
    dropped: list[DroppedVariable] = []
    at = 0
    for block in layout.blocks:
        arrays = [raw.codes[at + i] for i in range(block.n_arrays)]
        at += block.n_arrays
        columns: Columns
        if block.thresholds is None:
            columns = _WeightedNested(arrays[0], block.n_bands, raw.cells)
        else:
            columns = _WeightedBits(arrays, block.thresholds, raw.cells)
        kept, lost = support_rule(block.factor, factors[block.factor], block.operationalization, columns, need)
        dropped += lost
        for codes, decode, which in columns.encode(sorted(kept)):
            coded.append((codes, decode, which))
            variables.append(tuple(kept[k] for k in which))
    blocks = tuple(Block(c, d, v) for (c, d, _), v in zip(coded, variables, strict=True))
    rows = Design(blocks, raw.n_rows)
    codes = np.stack([b.codes for b in blocks]) if blocks else np.zeros((0, raw.n_rows), np.uint8)
    table = merge_tables([replace(raw, layout=Layout.of(rows), codes=np.ascontiguousarray(codes), row=None)])
    own = tuple(replace(b, codes=np.ascontiguousarray(table.codes[i])) for i, b in enumerate(blocks))
    return table, Design(own, table.n_rows, tuple(dropped)), dropped
