"""Pixels of a raster file as polygons in a grid's CRS, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.memory import require_bytes
from rtmdx.space.raster_files import open_raster

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = ["pixel_blocks"]

_BLOCK = 100_000  # pixels handled at a time


def pixel_blocks(path: Path, grid: Grid, what: str) -> Iterator[tuple[NDArray[np.object_], NDArray[np.float64], int]]:
    """Yield the pixels of the first band about a grid, in rows of the file.

    Yields
    ------
    polygons : object array of shapely polygons, shape (n,)
        Outlines of the pixels that have a value, in the grid's CRS: corners are projected, edges are straight.
    values : float64 array, shape (n,)
    read : int
        Pixels of the block, those without a value included.

    Raises
    ------
    MissingDependencyError
        rasterio is not installed.
    FileError
        The file cannot be read, or has no CRS.
    InputError
        The raster does not reach the grid.
    MemoryLimitError
        The pixels about the grid do not fit in memory.
    """
    import pyproj

    with open_raster(path, f"{what}: {path}", "an exposure raster") as source:
        crs = pyproj.CRS.from_wkt(source.crs.to_wkt())
        transform = source.transform
        there = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True)
        r0, r1, c0, c1 = _window(grid, there, ~transform, source.height, source.width)
        if r0 >= r1 or c0 >= c1:
            raise InputError(f"{what}: does not reach the study area.", hint="Check its extent and CRS.")
        require_bytes(17.0 * (r1 - r0) * (c1 - c0), f"{what}: pixels", (r1 - r0, c1 - c0))
        band = source.read(1, window=((r0, r1), (c0, c1)), masked=True)
    values: NDArray[np.float64] = np.ma.filled(band.astype(np.float64), np.nan)
    back = pyproj.Transformer.from_crs(crs, grid.crs, always_xy=True)
    step = max(1, _BLOCK // (c1 - c0))
    for top in range(0, r1 - r0, step):
        part = values[top : top + step]
        yield *_polygons(part, r0 + top, c0, transform, back), part.size


def _window(grid: Grid, there: Any, inverse: Any, height: int, width: int) -> tuple[int, int, int, int]:
    """Rows and columns of the file that may meet the grid: its outline, followed closely, and a pixel more."""
    west, south, east, north = grid.bounds
    t = np.linspace(0.0, 1.0, 65)
    x = np.concatenate([west + t * (east - west)] * 2 + [np.full(65, west), np.full(65, east)])
    y = np.concatenate([np.full(65, south), np.full(65, north)] + [south + t * (north - south)] * 2)
    px, py = there.transform(x, y)
    col, row = _apply(inverse, np.asarray(px), np.asarray(py))
    good = np.isfinite(col) & np.isfinite(row)
    if not good.any():
        return 0, 0, 0, 0
    # the outline is straight between its points, a parallel is not: one part in a thousand is ample for a city
    spare = 1.0 + 1e-3 * max(np.ptp(col[good]), np.ptp(row[good]))

    def clip(value: float, most: int) -> int:
        return int(min(max(value, 0), most))

    return (
        clip(np.floor(row[good].min() - spare), height),
        clip(np.ceil(row[good].max() + spare), height),
        clip(np.floor(col[good].min() - spare), width),
        clip(np.ceil(col[good].max() + spare), width),
    )


def _apply(affine: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Any, Any]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _polygons(
    values: NDArray[np.float64], row: int, col: int, transform: Any, back: Any
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    import shapely

    rows, cols = values.shape
    c, r = np.meshgrid(col + np.arange(cols + 1.0), row + np.arange(rows + 1.0))
    x, y = _apply(transform, c, r)
    x, y = back.transform(x, y)
    corner = np.stack([x, y], axis=-1)
    ring = np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1], corner[:-1, :-1]], axis=2)
    known = ~np.isnan(values) & np.isfinite(ring).all(axis=(2, 3))
    polygons: NDArray[np.object_] = np.atleast_1d(np.asarray(shapely.polygons(ring[known]), dtype=object))
    return polygons, values[known]
