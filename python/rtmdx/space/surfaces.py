"""Surfaces: how far the nearest feature is, and how densely features lie, at every cell centre.

This is the one door to the compiled engine's rasters: arguments are checked here, once.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.space.features import Features

if TYPE_CHECKING:
    import xarray as xr

    from rtmdx import _engine
    from rtmdx.space.grid import Grid

__all__ = [
    "KERNELS",
    "Features",
    "KernelName",
    "Window",
    "density",
    "density_array",
    "distance",
    "distance_array",
]

KernelName = Literal["epanechnikov", "quartic", "gaussian", "uniform", "triangular"]
KERNELS: tuple[KernelName, ...] = ("epanechnikov", "quartic", "gaussian", "uniform", "triangular")

Window = tuple[int, int, int, int]
"""Part of a grid: first row, first column, number of rows, number of columns."""

Cancel = Callable[[], Any]
Float = Literal["float32", "float64"]


def distance(
    features: Any,
    grid: Grid,
    *,
    max_distance: float | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
) -> xr.DataArray:
    """Euclidean distance from each kept cell's centre to the nearest feature.

    True distance to the geometry: to points, to any place along lines, to the boundary of polygons, and
    0 inside a polygon (holes are outside). Exact to rounding; computed in double precision.

    Parameters
    ----------
    features : GeoSeries, GeoDataFrame, geometries, (n, 2) array or Features
        In the grid's CRS. Features outside the grid count.
    grid : Grid
    max_distance : float, optional
        CRS units. Cells beyond it are +inf; a small one saves time.
    dtype : {"float32", "float64"}
        Of the result.
    window : (row, column, rows, columns), optional
        Compute this part of the grid only; bit for bit what the whole run has there.
    threads : int, optional
        Default: the machine's processors. The result doesn't depend on it.
    cancel : callable, optional
        Called from the calling thread several times a second; a true value stops the run.

    Returns
    -------
    DataArray, dims (y, x)
        CRS units. NaN outside the grid's mask, +inf where there are no features.

    Raises
    ------
    InputError
        An argument or coordinate is not usable; the message says which and why.
    CRSError
        The features are in another CRS than the grid.
    Cancelled
        `cancel` returned a true value.
    """
    part = _window(window, grid)
    values = distance_array(
        features, grid, max_distance=max_distance, dtype=dtype, window=part, threads=threads, cancel=cancel
    )
    attrs: dict[str, Any] = {"long_name": "distance to the nearest feature", "units": grid.cf_unit}
    if max_distance is not None:
        attrs["max_distance"] = float(max_distance)
    return _wrap(values, grid, part, "distance", attrs)


def density(
    features: Any,
    grid: Grid,
    *,
    bandwidth: float,
    kernel: KernelName = "epanechnikov",
    weights: ArrayLike | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
) -> xr.DataArray:
    r"""Kernel density of features at each kept cell's centre.

    For points, :math:`\sum_i w_i K(|c - p_i| / h) / h^2`. For lines and polygons the sum is an integral
    along the line or over the area, solved exactly (lines in closed form; polygons by the divergence
    theorem), so it doesn't depend on how densely the geometry is drawn. Overlapping features add up.
    Nothing is corrected at the study area's edge: give the features beyond it too.

    Kernels, for u = r / h, zero for u > 1 (Silverman 1986, Density Estimation, table 3.1 and eq. 4.4-4.6):

    ============  =========================================
    uniform       1 / pi
    triangular    3 / pi (1 - u)
    epanechnikov  2 / pi (1 - u^2)
    quartic       3 / pi (1 - u^2)^2
    gaussian      exp(-u^2 / 2) / (2 pi (1 - exp(-8)))
    ============  =========================================

    The Gaussian's bandwidth is its standard deviation; it is cut at four of them (u > 4) and divided
    by the mass that is left, so each kernel integrates to 1.

    Parameters
    ----------
    features : GeoSeries, GeoDataFrame, geometries, (n, 2) array or Features
        In the grid's CRS, all points, all lines or all polygons.
    grid : Grid
    bandwidth : float
        CRS units.
    kernel : {"epanechnikov", "quartic", "gaussian", "uniform", "triangular"}
    weights : float array, shape (n,), optional
        One per geometry given (members of a multi-part geometry share its). Default 1.
    dtype : {"float32", "float64"}
        Of the result.
    window : (row, column, rows, columns), optional
        Compute this part of the grid only; bit for bit what the whole run has there.
    threads : int, optional
        Default: the machine's processors. The result doesn't depend on it.
    cancel : callable, optional
        Called from the calling thread several times a second; a true value stops the run.

    Returns
    -------
    DataArray, dims (y, x)
        Features per square CRS unit (points), length per square unit (lines), or share of area covered
        (polygons). NaN outside the grid's mask, 0 where there are no features.

    Raises
    ------
    InputError
        An argument or coordinate is not usable, or points, lines and polygons are mixed.
    CRSError
        The features are in another CRS than the grid.
    Cancelled
        `cancel` returned a true value.
    """
    features = Features.of(features)
    part = _window(window, grid)
    values = density_array(
        features,
        grid,
        bandwidth=bandwidth,
        kernel=kernel,
        weights=weights,
        dtype=dtype,
        window=part,
        threads=threads,
        cancel=cancel,
    )
    unit = grid.cf_unit
    what, units = "features", f"{unit}-2"
    if features.n_lines:
        what, units = "line length", f"{unit} {unit}-2"
    elif features.n_polygons:
        what, units = "polygon area", "1"
    attrs = {
        "long_name": f"kernel density of {what}",
        "units": units,
        "kernel": kernel,
        "bandwidth": float(bandwidth),
    }
    return _wrap(values, grid, part, "density", attrs)


def distance_array(
    features: Any,
    grid: Grid,
    *,
    max_distance: float | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """As `distance`, as a plain array, shape (rows, cols), with values in every cell, kept or not.

    Parameters
    ----------
    out : float32 or float64 array, shape (rows, cols), optional
        Written and returned; its rows must be contiguous. Then `dtype` is ignored.
    """
    from rtmdx import _engine

    features = _features(features, grid)
    reach = math.inf if max_distance is None else _number(max_distance, "max_distance")
    if not reach >= 0:
        raise InputError(
            f"max_distance: found {max_distance!r}, expected a length of 0 or more, in CRS units.",
            hint="Leave it out for no limit.",
        )
    part = _window(window, grid)
    result = _output(out, dtype, part)
    _engine.distance(
        result,
        features.native(),
        _native_grid(grid),
        _engine.Window(*part),
        max_distance=reach,
        threads=_threads(threads),
        cancel=_callable(cancel),
    )
    return result


def density_array(
    features: Any,
    grid: Grid,
    *,
    bandwidth: float,
    kernel: str = "epanechnikov",
    weights: ArrayLike | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """As `density`, as a plain array, shape (rows, cols), with values in every cell, kept or not.

    Parameters
    ----------
    out : float32 or float64 array, shape (rows, cols), optional
        Written and returned; its rows must be contiguous. Then `dtype` is ignored.
    """
    from rtmdx import _engine

    features = _features(features, grid)
    counts = {"points": features.n_points, "lines": features.n_lines, "polygons": features.n_polygons}
    present = [f"{n:,} {kind}" for kind, n in counts.items() if n]
    if len(present) > 1:
        raise InputError(
            f"features: found {' and '.join(present)}, expected one kind for a density; "
            "a count, a length and an area don't add up.",
            hint="Split the layer, or turn its polygons and lines into points.",
        )
    width = _number(bandwidth, "bandwidth")
    if not (0 < width < math.inf):
        raise InputError(f"bandwidth: found {bandwidth!r}, expected a positive length in CRS units.")
    if kernel not in KERNELS:
        raise InputError(f"kernel: found {kernel!r}, expected one of {', '.join(KERNELS)}.")
    part = _window(window, grid)
    result = _output(out, dtype, part)
    _engine.density(
        result,
        features.native(_weights(weights, features)),
        _native_grid(grid),
        _engine.Window(*part),
        kernel=kernel,
        bandwidth=width,
        threads=_threads(threads),
        cancel=_callable(cancel),
    )
    return result


def _features(features: Any, grid: Grid) -> Features:
    made = Features.of(features)
    made.require_crs(grid.crs)
    return made


def _number(value: Any, name: str) -> float:
    if isinstance(value, (str, bytes, bool)):
        raise InputError(f"{name}: found {value!r}, expected a number.")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}: found {value!r}, expected a number.") from None


def _weights(weights: ArrayLike | None, features: Features) -> NDArray[np.float64] | None:
    if weights is None:
        return None
    try:
        values = np.ascontiguousarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"weights: cannot be read as numbers ({error}).") from None
    if values.shape != (features.n_input,):
        raise InputError(
            f"weights: have the shape {values.shape}, expected ({features.n_input},), one per geometry given.",
            hint="Geometries that are None or empty count too.",
        )
    finite = np.isfinite(values)
    if not finite.all():
        at = int(np.argmin(finite))
        raise InputError(f"weights: feature {at} has {values[at]}, expected a finite number.")
    return values


def _window(window: Window | None, grid: Grid) -> Window:
    rows, cols = grid.shape
    if window is None:
        return 0, 0, int(rows), int(cols)
    try:
        row, col, height, width = (operator.index(v) for v in window)
    except (TypeError, ValueError):
        raise InputError(
            f"window: found {window!r}, expected four integers: first row, first column, rows, columns."
        ) from None
    if row < 0 or col < 0 or height < 0 or width < 0 or row + height > rows or col + width > cols:
        raise InputError(
            f"window: rows {row} to {row + height} and columns {col} to {col + width} don't lie in the "
            f"grid of {rows} x {cols} cells.",
            hint="A window is first row, first column, number of rows, number of columns.",
        )
    return row, col, height, width


def _output(out: NDArray[Any] | None, dtype: Any, window: Window) -> NDArray[Any]:
    shape = window[2:]
    if out is None:
        try:
            kind = np.dtype(dtype)
        except TypeError:
            kind = np.dtype(object)
        if kind not in (np.float32, np.float64):
            raise InputError(f"dtype: found {dtype!r}, expected float32 or float64.")
        return np.empty(shape, dtype=kind)
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float32, np.float64) or out.shape != shape:
        found = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InputError(f"out: found {found}, expected a float32 or float64 array of shape {shape}.")
    return out


def _threads(threads: int | None) -> int:
    if threads is None:
        return os.cpu_count() or 1
    try:
        n = operator.index(threads)
    except TypeError:
        n = 0
    if not 1 <= n <= 4096:
        raise InputError(f"threads: found {threads!r}, expected a whole number from 1 to 4096, or None for all.")
    return n


def _callable(cancel: Cancel | None) -> Cancel | None:
    if cancel is not None and not callable(cancel):
        raise InputError(f"cancel: found {type(cancel).__name__}, expected a function without arguments, or None.")
    return cancel


def _native_grid(grid: Grid) -> _engine.Grid:
    from rtmdx import _engine

    rows, cols = grid.shape
    return _engine.Grid(x_min=grid.x_min, y_max=grid.y_max, dx=grid.dx, dy=grid.dy, rows=rows, cols=cols)


def _wrap(values: NDArray[Any], grid: Grid, window: Window, name: str, attrs: dict[str, Any]) -> xr.DataArray:
    row, col, height, width = window
    rows, cols = slice(row, row + height), slice(col, col + width)
    if grid.mask is not None:
        values[~grid.mask[rows, cols]] = np.nan
    if values.shape == tuple(grid.shape):
        return grid.dataarray(values, name, attrs)
    # A smaller grid brings the right GeoTransform, the whole grid the very same coordinates.
    assert is_dataclass(grid)
    part = replace(grid, x_min=grid.x_min + col * grid.dx, y_max=grid.y_max - row * grid.dy, mask=grid.mask[rows, cols])
    array = part.dataarray(values, name, attrs)
    return array.assign_coords(
        y=array["y"].copy(data=grid.y[rows]).variable, x=array["x"].copy(data=grid.x[cols]).variable
    )
