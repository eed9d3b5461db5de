"""The grid: the one definition of cell, row order, window and cell index."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError, MemoryLimitError
from rtmdx.space.frame import Frame, require_projected, unit_symbol
from rtmdx.space.values import array_in, choice, crs_in, crs_name, named, number, reals, whole

__all__ = ["Grid"]

_MAX_CELLS = 2**31 - 1
_INDEXED = 1 << 26  # rasters up to so many cells hold an index of their kept ones


class Grid(Frame):
    """A frame of square cells over a study area, with a mask of kept cells.

    Row 0 is north; ``transform`` is the usual GDAL affine. Cells are addressed by their index
    among the kept cells in row-major order; `to_raster` and `to_cells` are the only conversions.

    Parameters
    ----------
    crs : pyproj.CRS
        Projected; all lengths are in its units.
    x_min, y_max : float
        Upper-left corner, CRS units.
    cell_size : float
        Side of a square cell, CRS units.
    mask : bool array, shape (rows, cols)
        True where a cell is kept.
    """

    mask: NDArray[np.bool_]

    def __init__(self, crs: Any, x_min: float, y_max: float, cell_size: float, mask: NDArray[np.bool_]) -> None:
        if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype != np.bool_:
            raise InputError(f"mask: found {named(mask)}, expected a bool array of shape (rows, cols).")
        super().__init__(crs, x_min, y_max, cell_size, cell_size, (mask.shape[0], mask.shape[1]))
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)

    @property
    def cell_size(self) -> float:
        """Side of a cell, CRS units."""
        return self.dx

    @classmethod
    def from_area(
        cls,
        area: Any,
        crs: Any,
        cell_size: float,
        *,
        cells: Literal["overlap", "center"] = "overlap",
        origin: Literal["aligned", "bounds"] = "aligned",
        max_cells: int = _MAX_CELLS,
    ) -> Grid:
        """Lay a grid over a study area.

        Parameters
        ----------
        area : shapely Polygon or MultiPolygon
        crs : anything pyproj takes
        cell_size : float
            CRS units.
        cells : {"overlap", "center"}
            Keep a cell that shares any area with the polygon (RTMDx's rule), or whose centre is in it.
        origin : {"aligned", "bounds"}
            Cell edges at multiples of `cell_size`, or starting from the lower-left of the bounds.
        max_cells : int
            Refuse a raster with more cells (kept or not) before anything is allocated.

        Raises
        ------
        CRSError
            `crs` is geographic.
        InputError
            The area is empty, smaller than a cell, or no cell is kept.
        MemoryLimitError
            More than `max_cells` cells.
        """
        import shapely

        crs = crs_in(crs, "study area")
        if not isinstance(area, shapely.Geometry):
            raise InputError(f"study area: found {named(area)}, expected a Polygon or MultiPolygon.")
        cell_size = number(cell_size, "cell_size")
        if not 0 < cell_size < math.inf:
            raise InputError(f"cell_size: found {cell_size!r}, expected a positive number of CRS units.")
        choice(cells, "cells", ("overlap", "center"))
        choice(origin, "origin", ("aligned", "bounds"))
        max_cells = whole(max_cells, "max_cells", least=1)
        bounds = tuple(float(v) for v in area.bounds) if not area.is_empty else None
        require_projected(crs, "study area", bounds)
        if bounds is not None and not np.isfinite(shapely.get_coordinates(area)).all():
            raise InputError("study area: has coordinates that are not finite.", hint="Mend or drop those vertices.")
        if bounds is None or area.area <= 0:
            raise InputError("study area: has no polygon with an area.", hint="Give one or more polygons.")
        unit = unit_symbol(crs.axis_info[0].unit_name)
        if area.area < cell_size * cell_size:
            raise InputError(
                f"study area: {area.area:g} square {unit} is smaller than one cell of {cell_size:g} x {cell_size:g}.",
                hint=f"Use a cell size well below {math.sqrt(area.area):g} {unit}.",
            )
        west, south, east, north = bounds
        if origin == "aligned":
            x_min, y_min = (math.floor(v / cell_size) * cell_size for v in (west, south))
        else:
            x_min, y_min = west, south
        across, down = (east - x_min) / cell_size, (north - y_min) / cell_size
        if not max(across, down) < 2**53:  # their product would leave double precision, or the numbers whole ones
            raise InputError(f"cell_size: {cell_size!r} is too small for an area {east - west:g} x {north - south:g}.")
        cols = max(1, math.ceil(across - 1e-9))
        rows = max(1, math.ceil(down - 1e-9))
        if rows * cols > max_cells:
            raise MemoryLimitError(
                f"grid: cells of {cell_size:g} {unit} make {rows:,} x {cols:,} = {rows * cols:,} cells, "
                f"more than the {max_cells:,} allowed.",
                hint="Use larger cells, check the CRS units, or raise the memory limit.",
            )
        y_max = y_min + rows * cell_size
        shapely.prepare(area)
        mask = _cover(area, x_min, y_max, cell_size, rows, cols, cells)
        if not mask.any():
            raise InputError(
                f"study area: no cell of {cell_size:g} {unit} has its centre inside it.",
                hint='Use smaller cells or cells = "overlap".',
            )
        return cls(crs=crs, x_min=x_min, y_max=y_max, cell_size=float(cell_size), mask=mask)

    @cached_property
    def n_cells(self) -> int:
        """Number of kept cells."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows_cols(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column of every kept cell, each shape (n_cells,)."""
        rows, cols = np.nonzero(self.mask)
        return rows, cols

    @cached_property
    def _index(self) -> NDArray[np.int32]:
        index = np.full(self.shape, -1, dtype=np.int32)
        index[self.mask] = np.arange(self.n_cells, dtype=np.int32)
        return index

    @cached_property
    def digest(self) -> str:
        """16 hex digits that identify the grid: CRS, placement and mask."""
        h = hashlib.sha256()
        h.update(self.crs.to_wkt().encode())
        h.update(np.array([self.x_min, self.y_max, self.cell_size, *self.shape], dtype="<f8").tobytes())
        h.update(np.packbits(self.mask).tobytes())
        return h.hexdigest()[:16]

    def cell_of(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.int32]:
        """Return the kept-cell index of each point, -1 where no kept cell holds it.

        Parameters
        ----------
        x, y : float arrays, shape (n,)
            CRS coordinates. A point on a cell edge belongs to the cell east and south of it; the
            grid's own east and south edges belong to its last column and row.
        """
        r, c, inside = self.row_col_of(x, y)
        out = np.full(inside.shape, -1, dtype=np.int32)
        out[inside] = self._index[r, c] if self.mask.size <= _INDEXED else self._counted(r, c)
        return out

    def row_col_of(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
        """Return row and column of the points in the raster, kept cell or not, and which points these are.

        Parameters
        ----------
        x, y : float arrays, shape (n,)
            As for `cell_of`.
        """
        rows, cols = self.shape
        east, north = reals(x, "x", "coordinates"), reals(y, "y", "coordinates")
        if east.shape != north.shape:
            raise InputError(f"x, y: have the shapes {east.shape} and {north.shape}, expected the same.")
        fx = (east - self.x_min) / self.dx
        fy = (self.y_max - north) / self.dy
        with np.errstate(invalid="ignore"):
            inside = (fx >= 0) & (fx <= cols) & (fy >= 0) & (fy <= rows)
        c = np.minimum(np.floor(fx[inside]).astype(np.intp), cols - 1)
        r = np.minimum(np.floor(fy[inside]).astype(np.intp), rows - 1)
        return r, c, inside

    def _counted(self, r: NDArray[np.intp], c: NDArray[np.intp]) -> NDArray[np.int32]:
        """The kept-cell index by counting along rows: no raster of indices, which is four times the mask."""
        before = np.concatenate([[0], np.cumsum(np.count_nonzero(self.mask, axis=1))])
        out = np.full(r.shape, -1, dtype=np.int32)
        order = np.argsort(r, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(r[order])) + 1):
            if part.size:
                line = self.mask[r[part[0]]]
                number = before[r[part[0]]] + np.cumsum(line)[c[part]] - 1
                out[part] = np.where(line[c[part]], number, -1)
        return out

    def to_raster(self, values: ArrayLike, fill: Any = np.nan) -> NDArray[Any]:
        """Spread per-cell values, shape (n_cells,), over the raster, shape (rows, cols)."""
        values = array_in(values, "values", "an array")
        if values.shape != (self.n_cells,):
            raise InputError(f"values have shape {values.shape}, expected ({self.n_cells},), one per kept cell.")
        try:
            if values.dtype.kind in "fiub" and np.asarray(fill).dtype.kind not in "fiub":
                raise TypeError
            out = np.full(self.shape, fill, dtype=values.dtype)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"fill: found {named(fill)}, expected a value that an array of {values.dtype} can hold.",
                hint="Give another fill, for example fill=-1, or values as floats.",
            ) from None
        out[self.mask] = values
        return out

    def to_cells(self, raster: ArrayLike) -> NDArray[Any]:
        """Return the kept cells of a raster, shape (rows, cols), as shape (n_cells,), row-major."""
        raster = array_in(raster, "raster", "an array")
        if raster.shape != self.shape:
            raise InputError(f"raster has shape {raster.shape}, expected {self.shape}, the grid's.")
        return raster[self.mask]

    def __repr__(self) -> str:
        rows, cols = self.shape
        kept = f"{self.n_cells:,} cells kept, cell {self.cell_size:g} {self.symbol}"
        return f"Grid({rows} x {cols}, {kept}, {crs_name(self.crs)})"


def _cover(area: Any, x_min: float, y_max: float, size: float, rows: int, cols: int, rule: str) -> NDArray[np.bool_]:
    """Mark the cells the area keeps, by quartering: only boxes that meet the boundary are split."""
    import shapely

    mask = np.zeros((rows, cols), dtype=np.bool_)
    side = 1 << max(0, math.ceil(math.log2(max(rows, cols))))
    r = np.zeros(1, dtype=np.int64)
    c = np.zeros(1, dtype=np.int64)
    while r.size:
        box = shapely.box(x_min + c * size, y_max - (r + side) * size, x_min + (c + side) * size, y_max - r * size)
        meets = shapely.intersects(area, box)
        r, c, box = r[meets], c[meets], box[meets]
        full = shapely.contains_properly(area, box)
        for r0, c0 in zip(r[full], c[full], strict=True):
            mask[r0 : r0 + side, c0 : c0 + side] = True
        r, c, box = r[~full], c[~full], box[~full]
        if side == 1:
            if rule == "center":
                keep = shapely.intersects_xy(area, x_min + (c + 0.5) * size, y_max - (r + 0.5) * size)
            else:  # a shared edge or corner is no overlap
                keep = ~shapely.touches(area, box)
            mask[r[keep], c[keep]] = True
            break
        side //= 2
        r = np.concatenate([r, r, r + side, r + side])
        c = np.concatenate([c, c + side, c, c + side])
        inside = (r < rows) & (c < cols)
        r, c = r[inside], c[inside]
    return mask
