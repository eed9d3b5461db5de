"""What every pass of a tiled run does on one tile; the same wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled
from rtmdx.model.columns import Moments, block_moments
from rtmdx.model.design import Block, Design
from rtmdx.model.families import CountModel
from rtmdx.model.folds import BlockFolds
from rtmdx.model.rows import RowTable
from rtmdx.model.tabulate import tabulate
from rtmdx.model.tiles import RawBlock, RawLayout
from rtmdx.space.density import KernelName, density_array
from rtmdx.space.distance import distance_bands_array
from rtmdx.space.features import Features
from rtmdx.space.frame import Window
from rtmdx.space.grid import Grid

__all__ = ["TileWork"]

Stop = Callable[[], bool]


def _never() -> bool:
    return False


@dataclass(frozen=True, eq=False)
class TileWork:
    """The inputs of a tiled run, as its passes need them; may be pickled.

    Attributes
    ----------
    grid : Grid
    features : tuple of Features
        Of each factor.
    distances : tuple of tuple of float
        Bands of each factor.
    dense : tuple of int
        Factors that have densities.
    kernel : str
    events : int64 arrays, shape (n_events,)
        Row and column of each event in the study area.
    folds : BlockFolds
    n_folds : int
    """

    grid: Grid
    features: tuple[Features, ...]
    distances: tuple[tuple[float, ...], ...]
    dense: tuple[int, ...]
    kernel: KernelName
    events: tuple[NDArray[np.int64], NDArray[np.int64]]
    folds: BlockFolds
    n_folds: int

    def moments(self, window: Window, stop: Stop = _never) -> dict[int, list[list[Moments]]]:
        """Moments of every density, by factor, band and block."""
        mask = self.mask(window)
        return {
            i: [block_moments(self._density(i, k, window, stop), mask) for k in range(len(self.distances[i]))]
            for i in self.dense
        }

    def rows(self, window: Window, layout: RawLayout, stop: Stop = _never) -> RowTable:
        """Distinct rows of raw codes, with their cells and events."""
        mask = self.mask(window)
        codes: list[NDArray[np.uint8]] = []
        for block in layout.blocks:
            codes += self._raw_codes(block, window, mask, stop)
        folds = self.folds.of(*(at + start for at, start in zip(np.nonzero(mask), window[:2], strict=True)))

        def heed() -> None:
            if stop():
                raise Cancelled("cancelled by the caller's check.")

        made = tabulate(layout.design(codes), self._counts(window, mask), folds, n_folds=self.n_folds, poll=heed)
        return replace(made, row=None)

    def score(
        self, window: Window, path: Path, model: CountModel, blocks: tuple[Block, ...], lowest: float,
        stop: Stop = _never,
    ) -> None:  # fmt: skip
        """Score a tile by the model, and write it into the arrays of a Zarr group; `blocks` are those of the model."""
        import zarr

        row, col, height, width = window
        mask = self.mask(window)
        made = [replace(b, codes=self._codes(b, window, mask, stop)) for b in blocks]
        tile = Design(tuple(made), int(np.count_nonzero(mask)))
        if blocks:
            eta = np.asarray(model.linear_predictor(tile), dtype=np.float64)
        else:
            eta = np.full(tile.n_cells, model.intercept)
        for name, cells in (("score", np.exp(eta - lowest)), ("expected", np.exp(eta))):
            raster = np.full((height, width), np.nan)
            raster[mask] = cells
            zarr.open_array(path / name, mode="r+")[row : row + height, col : col + width] = raster

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Kept cells of a tile."""
        row, col, height, width = window
        return self.grid.mask[row : row + height, col : col + width]

    def _raw_codes(
        self, block: RawBlock, window: Window, mask: NDArray[np.bool_], stop: Stop
    ) -> list[NDArray[np.uint8]]:
        if block.thresholds is None:
            return [self._bands(block.factor, self.distances[block.factor], window, stop)[mask]]
        out: list[NDArray[np.uint8]] = []
        for k, threshold in enumerate(block.thresholds):
            if k % 8 == 0:
                out.append(np.zeros(int(np.count_nonzero(mask)), dtype=np.uint8))
            on = self._density(block.factor, k, window, stop)[mask] >= threshold
            np.bitwise_or(out[-1], np.uint8(1 << k % 8), out=out[-1], where=on)
        return out

    def _counts(self, window: Window, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Events per kept cell of a tile."""
        row, col, height, width = window
        r, c = self.events
        on = (r >= row) & (r < row + height) & (c >= col) & (c < col + width)
        counts = np.zeros((height, width), np.float64)
        np.add.at(counts, (r[on] - row, c[on] - col), 1.0)
        kept: NDArray[np.float64] = counts[mask]
        return kept

    def _codes(self, block: Block, window: Window, mask: NDArray[np.bool_], stop: Stop) -> NDArray[np.uint8]:
        """The codes of a block of the design, of a tile's kept cells."""
        first = block.variables[0]
        if first.operationalization == "density":
            out = np.zeros(int(np.count_nonzero(mask)), dtype=np.uint8)
            for place, v in enumerate(block.variables):
                assert v.threshold is not None
                on = self._density(v.factor, v.band - 1, window, stop)[mask] >= v.threshold
                np.bitwise_or(out, np.uint8(1 << place), out=out, where=on)
            return out
        return self._bands(first.factor, tuple(v.distance for v in block.variables), window, stop)[mask]

    def _bands(self, factor: int, ends: tuple[float, ...], window: Window, stop: Stop) -> NDArray[np.uint8]:
        return distance_bands_array(self.features[factor], self.grid, ends, window=window, threads=1, cancel=stop)

    def _density(self, factor: int, band: int, window: Window, stop: Stop) -> NDArray[np.float64]:
        raster: NDArray[np.float64] = density_array(
            self.features[factor], self.grid, bandwidth=self.distances[factor][band], kernel=self.kernel,
            dtype="float64", window=window, threads=1, cancel=stop,
        )  # fmt: skip
        return raster
