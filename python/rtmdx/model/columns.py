"""The 0/1 columns of one factor under one operationalization, as ``uint8`` codes per kept cell.

Bands of a distance are nested: one code, the number of bands that end before the cell, holds them all.
Densities are not: each bandwidth takes one bit. Surfaces are made one at a time and turned into codes
at once, so what is held does not grow with the number of factors or bands times eight bytes a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.cost import cost_distance_array
from rtmdx.space.density import KernelName, density_array
from rtmdx.space.distance import distance_bands_array
from rtmdx.space.features import Features
from rtmdx.space.grid import Grid
from rtmdx.space.impedance import Impedance
from rtmdx.space.layers import Operationalization, RiskFactor

__all__ = [
    "BLOCK",
    "BitColumns",
    "ColumnSource",
    "Columns",
    "Moments",
    "NestedColumns",
    "block_moments",
    "computed_columns",
    "cost_columns",
    "density_column",
    "density_columns",
    "density_threshold",
    "encode_bits",
    "proximity_columns",
]

Codes = NDArray[np.uint8]
Encoded = tuple[Codes, NDArray[np.uint8], tuple[int, ...]]
"""Codes per kept cell, decode table (codes, variables), and the band of each variable."""

_BITS = 8
BLOCK = (
    1024  # cells a side of the blocks whose moments are taken: a fixed order, and the same from tiles of whole blocks
)
Moments = tuple[int, float, float]
"""Number of cells, their mean, and the sum of squares about it."""


class Columns(Protocol):
    """Columns of the bands of one block, before the support rule."""

    n_cells: int

    def support(self, k: int) -> int:
        """Number of cells where column k is 1."""

    def threshold(self, k: int) -> float | None:
        """Density at and above which column k is 1."""

    def twin(self, k: int) -> int | None:
        """Return the first earlier column that equals column k."""

    def encode(self, kept: Sequence[int]) -> list[Encoded]:
        """Pack the columns kept, in rising order, into blocks."""


class NestedColumns:
    """Column k is 1 where the code is at most k."""

    def __init__(self, codes: Codes, n: int) -> None:
        self.codes, self.n_cells = codes, codes.size
        self.supports = np.cumsum(np.bincount(codes, minlength=n + 1))[:n]

    def support(self, k: int) -> int:
        return int(self.supports[k])

    def threshold(self, k: int) -> None:  # noqa: ARG002
        return None

    def twin(self, k: int) -> int | None:
        first = int(np.searchsorted(self.supports, self.supports[k]))  # nested: as many cells are the same cells
        return first if first < k else None

    def encode(self, kept: Sequence[int]) -> list[Encoded]:
        if not kept:
            return []
        n = len(kept)
        place = np.searchsorted(np.asarray(kept), np.arange(len(self.supports) + 1)).astype(np.uint8)
        decode = (np.arange(n + 1)[:, None] <= np.arange(n)[None, :]).astype(np.uint8)
        return [(place[self.codes], decode, tuple(kept))]


class BitColumns:
    """Column k is bit ``k % 8`` of code array ``k // 8``."""

    def __init__(self, n_cells: int) -> None:
        self.n_cells = n_cells
        self.arrays: list[Codes] = []
        self.supports: list[int] = []
        self.thresholds: list[float] = []

    def add(self, column: NDArray[np.bool_], threshold: float) -> None:
        bit = len(self.supports) % _BITS
        if bit == 0:
            self.arrays.append(np.zeros(self.n_cells, dtype=np.uint8))
        np.bitwise_or(self.arrays[-1], np.uint8(1 << bit), out=self.arrays[-1], where=column)
        self.supports.append(int(np.count_nonzero(column)))
        self.thresholds.append(threshold)

    def support(self, k: int) -> int:
        return self.supports[k]

    def threshold(self, k: int) -> float:
        return self.thresholds[k]

    def _bit(self, k: int) -> Codes:
        return (self.arrays[k // _BITS] >> np.uint8(k % _BITS)) & np.uint8(1)

    def twin(self, k: int) -> int | None:
        equal = (b for b in range(k) if self.supports[b] == self.supports[k])
        return next((b for b in equal if np.array_equal(self._bit(b), self._bit(k))), None)

    def encode(self, kept: Sequence[int]) -> list[Encoded]:
        return encode_bits(self._bit, self.n_cells, kept)


def encode_bits(bit: Callable[[int], Codes], n: int, kept: Sequence[int]) -> list[Encoded]:
    """Pack the 0/1 columns kept, of n cells each, eight to a block."""
    blocks = []
    for start in range(0, len(kept), _BITS):
        part = tuple(kept[start : start + _BITS])
        codes = np.zeros(n, dtype=np.uint8)
        for place, k in enumerate(part):
            codes |= bit(k) << np.uint8(place)
        decode = ((np.arange(2 ** len(part))[:, None] >> np.arange(len(part))[None, :]) & 1).astype(np.uint8)
        blocks.append((codes, decode, part))
    return blocks


def proximity_columns(features: Features, grid: Grid, distances: Sequence[float], **run: Any) -> Columns:
    """Columns of proximity: within each distance (inclusive) of the nearest feature; no distance raster is made."""
    codes = distance_bands_array(features, grid, distances, **run)
    return NestedColumns(codes[grid.mask], len(distances))


def cost_columns(
    features: Features, grid: Grid, distances: Sequence[float], impedance: Impedance, **run: Any
) -> Columns:
    """Columns of cost distance: each distance (inclusive) reaches the cell by the cheapest way.

    Ways may leave the grid by as much as the largest distance, so that the grid's edge is in nobody's way.
    """
    pad = math.ceil(distances[-1] / grid.cell_size)
    around = grid.padded(pad)
    cost = cost_distance_array(
        features,
        around,
        friction=impedance.friction_on(around),
        barriers=impedance.barrier_features,
        connectivity=impedance.connectivity,
        max_cost=distances[-1],
        dtype="float64",
        **run,
    )
    rows, cols = grid.shape
    values = cost[pad : pad + rows, pad : pad + cols][grid.mask]
    return NestedColumns(np.searchsorted(np.asarray(distances), values).astype(np.uint8), len(distances))


def density_columns(
    features: Features,
    grid: Grid,
    bandwidths: Sequence[float],
    *,
    kernel: KernelName,
    step: Callable[[], None],
    **run: Any,
) -> Columns:
    """Columns of density: at least mean + 2 SD over the kept cells; `step` is called after each bandwidth."""
    columns = BitColumns(grid.n_cells)
    raster = np.empty(grid.shape, dtype=np.float64)  # one for all: fresh memory costs as much as the kernel
    for bandwidth in bandwidths:
        columns.add(*density_column(features, grid, bandwidth, raster, kernel=kernel, **run))
        step()
    return columns


def density_column(
    features: Features,
    grid: Grid,
    bandwidth: float,
    raster: NDArray[np.float64],
    *,
    kernel: KernelName,
    **run: Any,
) -> tuple[NDArray[np.bool_], float]:
    """Return where the density is at least mean + 2 SD over the kept cells, and that threshold; `raster` is room."""
    density_array(features, grid, bandwidth=bandwidth, kernel=kernel, out=raster, **run)
    threshold = density_threshold(block_moments(raster, grid.mask))
    return raster[grid.mask] >= threshold, threshold


def block_moments(raster: NDArray[np.float64], mask: NDArray[np.bool_]) -> list[Moments]:
    """Return the moments of the kept values of each block of `BLOCK` x `BLOCK` cells, row by row, empty ones left out.

    Parameters
    ----------
    raster : float64 array, shape (rows, cols)
        Its first cell must be a block's.
    mask : bool array, shape (rows, cols)
    """
    out = []
    for top in range(0, raster.shape[0], BLOCK):
        for left in range(0, raster.shape[1], BLOCK):
            part = slice(top, top + BLOCK), slice(left, left + BLOCK)
            values = raster[part][mask[part]]
            if values.size:
                mean = float(values.mean())
                out.append((values.size, mean, float(np.square(values - mean).sum())))
    return out


def density_threshold(moments: Sequence[Moments]) -> float:
    """Mean + 2 SD (n - 1) of the values whose moments by block these are (Chan, Golub & LeVeque 1983)."""
    n, mean, squares = 0, 0.0, 0.0
    for m, at, about in moments:
        total = n + m
        gap = at - mean
        mean += gap * (m / total)
        squares += about + gap * gap * (n * (m / total))
        n = total
    return mean + 2.0 * (math.sqrt(squares / (n - 1)) if n > 1 else 0.0)


class ColumnSource(Protocol):
    """Gives the columns of a factor: computed, or kept from another study."""

    def __call__(
        self,
        factor: RiskFactor,
        operationalization: Operationalization,
        grid: Grid,
        *,
        kernel: KernelName,
        impedance: Impedance | None,
        step: Callable[[], None],
        threads: int | None,
        cancel: Callable[[], bool] | None,
    ) -> Columns:
        """Return the columns; `step` is called once per surface."""


def computed_columns(
    factor: RiskFactor,
    operationalization: Operationalization,
    grid: Grid,
    *,
    kernel: KernelName,
    impedance: Impedance | None,
    step: Callable[[], None],
    features: Features | None = None,
    **run: Any,
) -> Columns:
    """Compute the columns of a factor; `features` are its geometries where they are at hand."""
    if features is None:
        features = Features.from_geometries(factor.geometries)
    if operationalization == "density":
        return density_columns(features, grid, factor.distances, kernel=kernel, step=step, **run)
    if operationalization == "proximity":
        made = proximity_columns(features, grid, factor.distances, **run)
    elif impedance is None:
        raise InputError(f"factor {factor.name!r}: cost distance needs an impedance (barriers or friction).")
    else:
        made = cost_columns(features, grid, factor.distances, impedance, **run)
    step()
    return made
