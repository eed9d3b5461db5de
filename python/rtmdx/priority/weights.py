"""How much of which cell lies in which place: sums over places of what cells have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.zonal import coverage

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = ["PlaceWeights", "place_weights"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlaceWeights:
    """Share of each kept cell's area in each place, by place.

    Attributes
    ----------
    place, cell : int64 arrays, shape (n,)
        Position of the place, and of the cell among the kept ones.
    share : float64 array, shape (n,)
    index : pandas Index
        Of the places.
    """

    place: NDArray[np.int64]
    cell: NDArray[np.int64]
    share: Float
    index: Any

    def __len__(self) -> int:
        return len(self.index)

    def sum(self, cells: Float) -> Float:
        """Sum a figure of cells over each place, by share of area."""
        found = np.bincount(self.place, weights=self.share * cells[self.cell], minlength=len(self))
        return np.asarray(found, dtype=np.float64)

    def mean(self, cells: Float) -> Float:
        """Average a figure of cells over each place, by area; NaN where a place has no cell."""
        area = np.bincount(self.place, weights=self.share, minlength=len(self))
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sum(cells) / area)

    def part(self, cells: NDArray[np.bool_]) -> PlaceWeights:
        """Keep some of the cells, numbered among themselves."""
        number = np.cumsum(cells) - 1
        kept = cells[self.cell]
        return PlaceWeights(self.place[kept], number[self.cell[kept]], self.share[kept], self.index)


def place_weights(places: Any, grid: Grid, threads: int | None = None) -> PlaceWeights:
    """Return which share of which kept cell lies in which polygon.

    Raises
    ------
    InputError
        The places are no polygons, or none covers a cell of the study area.
    CRSError
        They are in another CRS than the grid.
    """
    import pandas as pd

    found = coverage(places, grid, threads=threads)
    number = np.full(grid.mask.size, -1, dtype=np.int64)
    number[grid.mask.ravel()] = np.arange(grid.n_cells)
    cell = number[found.cell]
    kept = cell >= 0
    if not kept.any():
        raise InputError("places: none covers a cell of the study area.", hint="Do they lie in it?")
    index = places.index if hasattr(places, "geometry") and hasattr(places, "index") else pd.RangeIndex(len(found.area))
    return PlaceWeights(found.zone[kept], cell[kept], found.fraction[kept], index)
