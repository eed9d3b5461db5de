"""The frame: where a raster's cells are, and windows of it, with no word on which cells are kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import CRSError, InputError
from rtmdx.space.values import crs_in, crs_name, named, number, reals, text, whole

if TYPE_CHECKING:
    import pyproj
    import xarray as xr
    from affine import Affine

__all__ = ["Frame", "Window", "require_projected", "unit_symbol", "window_of"]

_MOST_CELLS = 2**40  # a side; local coordinates keep their digits

Window = tuple[int, int, int, int]
"""Part of a frame: first row, first column, number of rows, number of columns."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A north-up raster's place on the ground: CRS, upper-left corner, cell size and shape.

    Holds no array, so a frame of 100,000 x 100,000 cells costs nothing; `Grid` adds the mask of kept
    cells. Row 0 is north; ``transform`` is the usual GDAL affine.

    Parameters
    ----------
    crs : pyproj.CRS or anything it takes
        Projected; all lengths are in its units.
    x_min, y_max : float
        Upper-left corner, CRS units.
    dx, dy : float
        Cell width and height, CRS units, both positive.
    shape : (rows, cols)

    Raises
    ------
    CRSError
        The CRS is missing or not projected.
    InputError
        A corner is not finite, a cell size not positive, or a shape negative.
    """

    crs: pyproj.CRS
    x_min: float
    y_max: float
    dx: float
    dy: float
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        what = type(self).__name__.lower()
        object.__setattr__(self, "crs", _projected(self.crs, what))
        for name in ("x_min", "y_max", "dx", "dy"):
            object.__setattr__(self, name, number(getattr(self, name), f"{what}: {name}"))
        if not (math.isfinite(self.x_min) and math.isfinite(self.y_max)):
            raise InputError(f"{what}: corner ({self.x_min}, {self.y_max}) must be finite.")
        for name, size in (("dx", self.dx), ("dy", self.dy)):
            if not (math.isfinite(size) and size > 0):
                raise InputError(f"{what}: {name} is {size!r}; cells need a positive width and height in CRS units.")
        object.__setattr__(self, "shape", _shape_in(self.shape, what))

    @classmethod
    def from_bounds(cls, bounds: tuple[float, float, float, float], crs: Any, cell_size: float) -> Frame:
        """Lay square cells over (west, south, east, north), from the upper-left corner on, covering all of it."""
        wanted = "four finite numbers, west < east and south < north"
        edges = reals(bounds, "frame: bounds", wanted)
        size = number(cell_size, "frame: cell_size")
        if not 0 < size < math.inf:
            raise InputError(f"frame: cell_size is {size!r}, expected a positive number of CRS units.")
        if edges.shape != (4,) or not np.isfinite(edges).all() or edges[0] >= edges[2] or edges[1] >= edges[3]:
            raise InputError(f"frame: bounds: found {named(bounds)}, expected {wanted}.")
        west, south, east, north = (float(v) for v in edges)
        cell_size = size
        if max(east - west, north - south) / size > _MOST_CELLS:
            raise InputError(
                f"frame: cell_size is {size!r} for bounds {named(bounds)}: more than {_MOST_CELLS:,} cells a side.",
                hint="Use larger cells, or check the CRS units.",
            )
        rows = max(1, math.ceil((north - south) / cell_size - 1e-9))
        cols = max(1, math.ceil((east - west) / cell_size - 1e-9))
        return cls(crs, west, north, float(cell_size), float(cell_size), (rows, cols))

    @property
    def cell_area(self) -> float:
        """Area of a cell, square CRS units."""
        return self.dx * self.dy

    @property
    def size(self) -> int:
        """Number of cells, kept or not."""
        return self.shape[0] * self.shape[1]

    @property
    def transform(self) -> Affine:
        """GDAL affine: pixel (col, row) to CRS coordinates of the upper-left corner."""
        from affine import Affine

        return Affine(self.dx, 0.0, self.x_min, 0.0, -self.dy, self.y_max)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(west, south, east, north), CRS units."""
        rows, cols = self.shape
        return (self.x_min, self.y_max - rows * self.dy, self.x_min + cols * self.dx, self.y_max)

    @property
    def unit(self) -> str:
        """Name of the CRS's length unit."""
        return str(self.crs.axis_info[0].unit_name)

    @property
    def symbol(self) -> str:
        """Short form of the length unit: "m", "ft", or its name."""
        return unit_symbol(self.unit)

    @property
    def cf_unit(self) -> str:
        """The length unit as CF attributes want it: "m", and full names otherwise."""
        return "m" if self.unit == "metre" else self.unit

    @property
    def metres_per_unit(self) -> float:
        """Length of the CRS unit in metres."""
        return float(self.crs.axis_info[0].unit_conversion_factor)

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """Cell-centre x, shape (cols,)."""
        return self.x_of(0, self.shape[1])

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Cell-centre y, shape (rows,), north first."""
        return self.y_of(0, self.shape[0])

    def x_of(self, first: int, n: int) -> NDArray[np.float64]:
        """Centre x of `n` columns from `first` on: the numbers that `x` has there."""
        return self.x_min + (np.arange(first, first + n, dtype=np.float64) + 0.5) * self.dx

    def y_of(self, first: int, n: int) -> NDArray[np.float64]:
        """Centre y of `n` rows from `first` on: the numbers that `y` has there."""
        return self.y_max - (np.arange(first, first + n, dtype=np.float64) + 0.5) * self.dy

    def windows(self, side: int = 4096) -> Iterator[Window]:
        """Cut the frame into windows of at most `side` x `side` cells, row by row; they cover it once.

        A window of any operation holds the bits that the whole run has there, so windows can be computed anywhere,
        in any order, and joined.
        """
        side = whole(side, "side", least=1, what="a whole number of cells")
        rows, cols = self.shape
        for row in range(0, rows, side):
            for col in range(0, cols, side):
                yield row, col, min(side, rows - row), min(side, cols - col)

    def padded(self, cells: int) -> Frame:
        """Return the frame with `cells` more on every side; its cells stay where they are."""
        cells = whole(cells, "cells", least=0, most=_MOST_CELLS)
        rows, cols = self.shape
        return Frame(
            self.crs,
            self.x_min - cells * self.dx,
            self.y_max + cells * self.dy,
            self.dx,
            self.dy,
            (rows + 2 * cells, cols + 2 * cells),
        )

    def dataarray(
        self, raster: NDArray[Any], name: str, attrs: dict[str, Any] | None = None, window: Window | None = None
    ) -> xr.DataArray:
        """Wrap a raster with coordinates and a CF grid mapping.

        Parameters
        ----------
        raster : array, shape (rows, cols), or with more dimensions before these two
            The frame's, or the window's.
        name : str
        attrs : dict, optional
        window : (row, column, rows, columns), optional
            The part of the frame that `raster` is; its coordinates are the very same numbers as the whole's.
        """
        import xarray as xr

        row, col, height, width = window_of(window, self.shape)
        if not isinstance(raster, np.ndarray) or raster.ndim < 2 or raster.shape[-2:] != (height, width):
            raise InputError(
                f"raster: found {named(raster)}, expected an array whose last two dimensions are ({height}, {width})."
            )
        text(name, "name")
        if attrs is not None and not isinstance(attrs, dict):
            raise InputError(f"attrs: found {named(attrs)}, expected a dict, or None.")
        left, top = self.x_min + col * self.dx, self.y_max - row * self.dy
        spatial_ref = {**self.crs.to_cf(), "GeoTransform": f"{left!r} {self.dx!r} 0.0 {top!r} 0.0 {-self.dy!r}"}
        unit = self.cf_unit
        y, x = self.y_of(row, height), self.x_of(col, width)
        return xr.DataArray(
            raster,
            dims=(*(f"dim_{i}" for i in range(raster.ndim - 2)), "y", "x"),
            coords={
                "y": ("y", y, {"standard_name": "projection_y_coordinate", "units": unit, "axis": "Y"}),
                "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": unit, "axis": "X"}),
                "spatial_ref": ((), np.int64(0), spatial_ref),
            },
            name=name,
            attrs={**(attrs or {}), "grid_mapping": "spatial_ref"},
        )

    def __repr__(self) -> str:
        rows, cols = self.shape
        size = f"{self.dx:g}" if self.dx == self.dy else f"{self.dx:g} x {self.dy:g}"
        return f"{type(self).__name__}({rows} x {cols}, cell {size} {self.symbol}, {crs_name(self.crs)})"


def unit_symbol(name: str) -> str:
    """Return the short form of a length unit's name."""
    return {"metre": "m", "US survey foot": "ft", "foot": "ft", "kilometre": "km"}.get(name, name)


def require_projected(crs: Any, what: str, bounds: tuple[float, ...] | None = None) -> None:
    """Raise a CRSError unless `crs` is projected; suggest a UTM zone where the bounds allow it."""
    if crs is None:
        raise CRSError(f"{what}: has no coordinate reference system.", hint='Name it with crs = "EPSG:....".')
    if crs.is_projected:
        return
    hint = "Reproject it to a projected CRS (metres or feet), for example a UTM zone."
    if crs.is_geographic and bounds is not None and all(map(math.isfinite, bounds)):
        lon, lat = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
        if -180 <= lon <= 180 and -80 <= lat <= 84:
            zone = min(60, int((lon + 180) // 6) + 1)
            hint = f"Reproject it, for example to EPSG:{(32600 if lat >= 0 else 32700) + zone} (UTM zone {zone})."
    kind = "geographic (degrees)" if crs.is_geographic else "not projected"
    raise CRSError(f"{what}: CRS {crs.to_string()} is {kind}; lengths need a projected CRS.", hint=hint)


def _projected(crs: Any, what: str) -> pyproj.CRS:
    if crs is None:
        require_projected(None, what)
    made = crs_in(crs, what)
    require_projected(made, what)
    return made


def _shape_in(shape: Any, what: str) -> tuple[int, int]:
    try:
        if isinstance(shape, (str, bytes, set, frozenset, dict)):
            raise TypeError
        rows, cols = shape
        return whole(rows, "rows", least=0, most=_MOST_CELLS), whole(cols, "columns", least=0, most=_MOST_CELLS)
    except (TypeError, ValueError):  # InputError too
        wanted = "(rows, columns), two whole numbers of 0 or more"
        raise InputError(f"{what}: shape: found {named(shape)}, expected {wanted}.") from None


def window_of(window: Any, shape: tuple[int, int]) -> Window:
    """Return a window of a raster of this shape, the whole for None; an error unless it lies in it."""
    rows, cols = shape
    if window is None:
        return 0, 0, rows, cols
    try:
        if isinstance(window, (str, bytes, set, frozenset, dict)):
            raise TypeError
        row, col, height, width = (whole(v, "window") for v in window)
    except (TypeError, ValueError):  # InputError too
        raise InputError(
            f"window: found {named(window)}, expected four integers: first row, first column, rows, columns."
        ) from None
    if row < 0 or col < 0 or height < 0 or width < 0 or row + height > rows or col + width > cols:
        raise InputError(
            f"window: rows {row} to {row + height} and columns {col} to {col + width} don't lie in the "
            f"grid of {rows} x {cols} cells.",
            hint="A window is first row, first column, number of rows, number of columns.",
        )
    return row, col, height, width
