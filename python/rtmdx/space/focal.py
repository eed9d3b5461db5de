"""Focal statistics: sums and means over the neighbourhood of every cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.arguments import Cancel, Float, Progress, native_grid, output, run_arguments, window_in, wrap
from rtmdx.space.frame import Frame, Window
from rtmdx.space.rasters import raster_in
from rtmdx.space.values import choice, named, number

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["focal", "focal_array"]


def focal(
    raster: Any,
    frame: Frame | None = None,
    *,
    radius: float,
    shape: Literal["circle", "square"] = "circle",
    statistic: Literal["sum", "mean"] = "mean",
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> xr.DataArray:
    """Sum or mean of a raster over the neighbourhood of each cell.

    A cell belongs to the neighbourhood if its centre lies within `radius` of the middle cell's centre (inclusive,
    to a relative 1e-9): Euclidean distance for a circle, in x and in y for a square. Cells that are NaN or beyond
    the raster don't count: a sum is that of the others, a mean is over the others, and where there are none the
    result is NaN. Sums are in double precision and nothing is subtracted on the way, so no error runs on from one
    cell to the next.

    Parameters
    ----------
    raster : DataArray or array, shape (rows, cols)
    frame : Grid or Frame, optional
        Where the cells are; needed for a plain array. Cells outside a grid's mask count as NaN.
    radius : float
        CRS units, 0 or more; 0 is the cell alone.
    shape : {"circle", "square"}
    statistic : {"mean", "sum"}
    dtype : {"float32", "float64"}
        Of the result.
    window : (row, column, rows, columns), optional
        Compute this part of the frame only; bit for bit what the whole run has there.
    threads : int, optional
        Default: the machine's processors. The result doesn't depend on it.
    cancel : callable, optional
        Called from the calling thread several times a second; a true value stops the run.
    progress : callable, optional
        Called likewise as ``progress(done, total)``, in blocks of work.

    Returns
    -------
    DataArray, dims (y, x)
        The raster's units. NaN outside a grid's mask.

    Raises
    ------
    InputError
        An argument is not usable, or the raster does not fit the frame.
    CRSError
        The raster has no CRS and there is no frame, or theirs differ.
    MemoryLimitError
        The result would not fit in memory; nothing was tried.
    Cancelled
        `cancel` returned a true value.
    """
    units = getattr(raster, "attrs", {}).get("units") if hasattr(raster, "dims") else None
    values, frame = raster_in(raster, frame)
    part = window_in(window, frame)
    made = _run(values, frame, part, radius, shape, statistic, dtype, None, threads, cancel, progress)
    attrs = {
        "long_name": f"{statistic} within a {shape} of {float(radius):g} {frame.symbol}",
        "radius": float(radius),
        "neighbourhood": shape,
    }
    if units is not None:
        attrs["units"] = units
    return wrap(made, frame, part, f"focal_{statistic}", attrs)


def focal_array(
    raster: Any,
    frame: Frame | None = None,
    *,
    radius: float,
    shape: str = "circle",
    statistic: str = "mean",
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """As `focal`, as a plain array, shape (rows, cols), with values in every cell, kept or not.

    Parameters
    ----------
    out : float32 or float64 array, shape (rows, cols), optional
        Written and returned; its rows must be contiguous. Must not overlap `raster`. Then `dtype` is ignored.
    """
    values, frame = raster_in(raster, frame)
    part = window_in(window, frame)
    return _run(values, frame, part, radius, shape, statistic, dtype, out, threads, cancel, progress)


def _run(
    values: NDArray[Any],
    frame: Frame,
    part: Window,
    radius: float,
    shape: str,
    statistic: str,
    dtype: Float,
    out: NDArray[Any] | None,
    threads: int | None,
    cancel: Cancel | None,
    progress: Progress | None,
) -> NDArray[Any]:
    from rtmdx import _engine

    reach = number(radius, "radius")
    if not 0 <= reach < math.inf:
        raise InputError(f"radius: found {named(radius)}, expected a length of 0 or more, in CRS units.")
    choice(shape, "shape", ("circle", "square"))
    choice(statistic, "statistic", ("sum", "mean"))
    result = output(out, dtype, part[2:])
    if out is not None and np.may_share_memory(values, out):
        raise InputError("out: shares memory with the raster.", hint="Give another array.")
    _engine.focal(
        result,
        values,
        native_grid(frame),
        _engine.Window(*part),
        radius=reach,
        shape=shape,
        statistic=statistic,
        **run_arguments(threads, cancel, progress),
    )
    return result
