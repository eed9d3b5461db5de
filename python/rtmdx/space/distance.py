"""Distance: how far the nearest feature is, at every cell centre."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.arguments import (
    Cancel,
    Float,
    Progress,
    features_in,
    native_grid,
    number,
    output,
    run_arguments,
    window_in,
    wrap,
)
from rtmdx.space.frame import Frame, Window

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["distance", "distance_array"]


def distance(
    features: Any,
    frame: Frame,
    *,
    max_distance: float | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> xr.DataArray:
    """Euclidean distance from each kept cell's centre to the nearest feature.

    True distance to the geometry: to points, to any place along lines, to the boundary of polygons, and
    0 inside a polygon (holes are outside). Exact to rounding; computed in double precision.

    Parameters
    ----------
    features : GeoSeries, GeoDataFrame, geometries, (n, 2) array or Features
        In the frame's CRS. Features outside the frame count.
    frame : Grid or Frame
        Where the cells are. A grid's mask decides which cells of the result hold a value.
    max_distance : float, optional
        CRS units. Cells beyond it are +inf; a small one saves time.
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
        CRS units. NaN outside a grid's mask, +inf where there are no features.

    Raises
    ------
    InputError
        An argument or coordinate is not usable; the message says which and why.
    CRSError
        The features are in another CRS than the frame.
    MemoryLimitError
        The result would not fit in memory; nothing was tried.
    Cancelled
        `cancel` returned a true value.
    """
    part = window_in(window, frame)
    values = distance_array(
        features,
        frame,
        max_distance=max_distance,
        dtype=dtype,
        window=part,
        threads=threads,
        cancel=cancel,
        progress=progress,
    )
    attrs: dict[str, Any] = {"long_name": "distance to the nearest feature", "units": frame.cf_unit}
    if max_distance is not None:
        attrs["max_distance"] = float(max_distance)
    return wrap(values, frame, part, "distance", attrs)


def distance_array(
    features: Any,
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
    """As `distance`, as a plain array, shape (rows, cols), with values in every cell, kept or not.

    Parameters
    ----------
    out : float32 or float64 array, shape (rows, cols), optional
        Written and returned; its rows must be contiguous. Then `dtype` is ignored.
    """
    from rtmdx import _engine

    features = features_in(features, frame)
    reach = math.inf if max_distance is None else number(max_distance, "max_distance")
    if not reach >= 0:
        raise InputError(
            f"max_distance: found {max_distance!r}, expected a length of 0 or more, in CRS units.",
            hint="Leave it out for no limit.",
        )
    part = window_in(window, frame)
    result = output(out, dtype, part[2:])
    _engine.distance(
        result,
        features.native(),
        native_grid(frame),
        _engine.Window(*part),
        max_distance=reach,
        **run_arguments(threads, cancel, progress),
    )
    return result


def distance_bands_array(
    features: Any,
    frame: Frame,
    limits: Sequence[float],
    *,
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Count, per cell, the limits (ascending) that the distance exceeds: 0 is within the first."""
    far = distance_array(
        features,
        frame,
        max_distance=limits[-1],
        dtype="float64",
        window=window,
        threads=threads,
        cancel=cancel,
        progress=progress,
    )
    return np.searchsorted(np.asarray(limits), far).astype(np.uint8)
