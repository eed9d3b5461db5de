"""Distance to a raster mask: proximity, for features that are already cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.arguments import (
    Cancel,
    Float,
    Progress,
    frame_in,
    limit_in,
    native_grid,
    output,
    run_arguments,
    window_in,
    wrap,
)
from rtmdx.space.frame import Frame, Window
from rtmdx.space.values import as_array, kind_of, named

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["mask_distance", "mask_distance_array"]


def mask_distance(
    mask: Any,
    frame: Frame,
    *,
    max_distance: float | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> xr.DataArray:
    """Euclidean distance from each cell's centre to the centre of the nearest feature cell.

    What GIS calls proximity (GDAL's ``gdal_proximity``, ArcGIS's Euclidean Distance on a raster) and image
    processing the Euclidean distance transform. Exact, for square and for oblong cells.

    Parameters
    ----------
    mask : bool or uint8 array or DataArray, shape (rows, cols)
        The frame's cells, row 0 north; anything but 0 is a feature. A DataArray must lie on the frame's cells.
    frame : Grid or Frame
        Where the cells are. A grid's mask decides which cells of the result hold a value; features count
        everywhere.
    max_distance : float, optional
        CRS units. Cells beyond it are +inf; a small one saves time.
    dtype : {"float32", "float64"}
        Of the result. A float32 is within 1 part in 2**23 of the exact distance.
    window : (row, column, rows, columns), optional
        Compute this part of the frame only; bit for bit what the whole run has there. `mask` is the whole
        frame's all the same.
    threads : int, optional
        Default: the machine's processors. The result doesn't depend on it.
    cancel : callable, optional
        Called from the calling thread several times a second; a true value stops the run.
    progress : callable, optional
        Called likewise as ``progress(done, total)``, in blocks of work.

    Returns
    -------
    DataArray, dims (y, x)
        CRS units; 0 in a feature cell. NaN outside a grid's mask, +inf where the mask has no feature.

    Raises
    ------
    InputError
        The mask's shape, type or place is not the frame's, or another argument is not usable.
    MemoryLimitError
        The result would not fit in memory; nothing was tried. Beside it a run needs about a quarter of a
        byte per cell of the frame.
    Cancelled
        `cancel` returned a true value.

    Notes
    -----
    Few features: candidate-pruning descent. Many: the separable transform of Meijster, Roerdink and
    Hesselink (2000), with the minimum along rows found by a short search, or by divide and conquer over
    the lower envelope of parabolas (Felzenszwalb and Huttenlocher, 2012) where the search would be long.
    """
    part = window_in(window, frame)
    values = mask_distance_array(
        mask,
        frame,
        max_distance=max_distance,
        dtype=dtype,
        window=part,
        threads=threads,
        cancel=cancel,
        progress=progress,
    )
    attrs: dict[str, Any] = {"long_name": "distance to the nearest feature cell", "units": frame.cf_unit}
    if max_distance is not None:
        attrs["max_distance"] = float(max_distance)
    return wrap(values, frame, part, "distance", attrs)


def mask_distance_array(
    mask: Any,
    frame: Frame,
    *,
    max_distance: float | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """As `mask_distance`, as a plain array, shape (rows, cols), with values in every cell, kept or not.

    Parameters
    ----------
    out : float32 or float64 array, shape (rows, cols), optional
        Written and returned; its rows must be contiguous. Then `dtype` is ignored.
    """
    from rtmdx import _engine

    cells = _cells(mask, frame)
    reach = limit_in(max_distance, "max_distance", "a length of 0 or more, in CRS units")
    part = window_in(window, frame)
    result = output(out, dtype, part[2:])
    if out is not None and np.may_share_memory(cells, out):
        raise InputError("out: shares memory with the mask.", hint="Give another array.")
    _engine.mask_distance(
        result,
        cells,
        native_grid(frame),
        _engine.Window(*part),
        max_distance=reach,
        **run_arguments(threads, cancel, progress),
    )
    return result


def _cells(mask: Any, frame: Frame) -> NDArray[np.uint8]:
    """Return the mask as bytes with contiguous rows, without a copy where it has them already."""
    require_on_frame(mask, frame_in(frame), "mask")
    if isinstance(mask, np.ma.MaskedArray) and np.ma.is_masked(mask):
        raise InputError("mask: found masked cells, expected bool or uint8.", hint="Say what they are: mask.filled(0).")
    values = as_array(mask)
    if values is None or values.dtype not in (np.bool_, np.uint8):
        what = named(mask) if values is None or values.dtype == object else kind_of(values.dtype)
        raise InputError(f"mask: found {what}, expected bool or uint8.", hint="Compare it first, for example mask > 0.")
    if values.shape != frame.shape:
        raise InputError(f"mask: has the shape {values.shape}, expected the frame's {frame.shape}.")
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    if values.shape[1] > 1 and values.strides[1] != 1:
        values = np.ascontiguousarray(values)
    return values


def require_on_frame(raster: Any, frame: Frame, name: str) -> None:
    """Raise an InputError if a DataArray with x and y coordinates lies on other cells than the frame's."""
    coords = raster.coords if hasattr(raster, "dims") else {}  # geometries have coords too
    for axis, size in (("y", frame.dy), ("x", frame.dx)):
        if axis not in coords:
            continue
        mine = frame.y if axis == "y" else frame.x
        theirs = np.asarray(coords[axis], dtype=np.float64)
        if theirs.shape == mine.shape and not np.allclose(theirs, mine, rtol=0, atol=1e-3 * size):
            at = int(np.argmax(np.abs(theirs - mine) > 1e-3 * size))
            raise InputError(
                f"{name}: its {axis} coordinate {at} is {float(theirs[at])!r}, the frame's is {float(mine[at])!r}.",
                hint="Resample it to the frame's cells first; row 0 is north.",
            )
