"""Distance: how far the nearest feature is, which it is, and which band that falls in, at every cell centre."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.arguments import (
    Cancel,
    Float,
    Progress,
    features_in,
    limit_in,
    native_grid,
    output,
    run_arguments,
    window_in,
    wrap,
)
from rtmdx.space.frame import Frame, Window
from rtmdx.space.memory import require_bytes
from rtmdx.space.values import choice, named, reals

if TYPE_CHECKING:
    import xarray as xr

    from rtmdx import _engine

__all__ = [
    "METRICS",
    "MetricName",
    "allocation",
    "allocation_array",
    "distance",
    "distance_array",
    "distance_bands_array",
]

MetricName = Literal["euclidean", "manhattan"]
METRICS: tuple[MetricName, ...] = ("euclidean", "manhattan")


def distance(
    features: Any,
    frame: Frame,
    *,
    max_distance: float | None = None,
    metric: MetricName = "euclidean",
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> xr.DataArray:
    """Distance from each kept cell's centre to the nearest feature.

    True distance to the geometry: to points, to any place along lines, to the boundary of polygons, and
    0 inside a polygon (holes are outside). Exact to rounding; computed in double precision.

    Parameters
    ----------
    features : GeoSeries, GeoDataFrame, geometries, (n, 2) array or Features
        In the frame's CRS. Features outside the frame count.
    frame : Frame or Grid
        Where the cells are. A grid's mask decides which cells of the result hold a value.
    max_distance : float, optional
        CRS units. Cells beyond it are +inf; a small one saves time.
    metric : {"euclidean", "manhattan"}
        Straight, or along the axes (the sum of the distances in x and in y).
    dtype : {"float32", "float64"}
        Of the result.
    window : (row, column, rows, columns), optional
        Compute this part of the frame only; bit for bit what the whole run has there. In a loop over
        windows, make ``Features.of(features)`` once before it.
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
        metric=metric,
        dtype=dtype,
        window=part,
        threads=threads,
        cancel=cancel,
        progress=progress,
    )
    return wrap(values, frame, part, "distance", _attributes(frame, metric, max_distance))


def allocation(
    features: Any,
    frame: Frame,
    *,
    max_distance: float | None = None,
    metric: MetricName = "euclidean",
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Which feature is nearest to each kept cell's centre, and how far it is.

    What GIS calls (Euclidean) allocation; the areas of equal index are the features' Voronoi regions.
    Of features equally near, the one given first counts; a polygon around the centre is at distance 0.
    Parameters and errors as for `distance`.

    Returns
    -------
    Dataset, dims (y, x)
        ``index``: int64, position of the nearest geometry in `features` as given, -1 outside a grid's
        mask, beyond `max_distance`, or where there are no features. ``distance``: the bits of `distance`.
    """
    import xarray as xr

    part = window_in(window, frame)
    values, index = allocation_array(
        features,
        frame,
        max_distance=max_distance,
        metric=metric,
        dtype=dtype,
        window=part,
        threads=threads,
        cancel=cancel,
        progress=progress,
    )
    mask = getattr(frame, "mask", None)
    if mask is not None:
        row, col, height, width = part
        index[~mask[row : row + height, col : col + width]] = -1
    attrs = {"long_name": "position of the nearest feature", "comment": "-1: none"}
    return xr.Dataset(
        {
            "distance": wrap(values, frame, part, "distance", _attributes(frame, metric, max_distance)),
            "index": frame.dataarray(index, "index", attrs, part),
        }
    )


def distance_array(
    features: Any,
    frame: Frame,
    *,
    max_distance: float | None = None,
    metric: MetricName = "euclidean",
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

    nearest, part, asked = _asked(features, frame, max_distance, metric, window, threads, cancel, progress)
    result = output(out, dtype, part[2:])
    _engine.distance(result, nearest(), _engine.Window(*part), **asked)
    return result


def allocation_array(
    features: Any,
    frame: Frame,
    *,
    max_distance: float | None = None,
    metric: MetricName = "euclidean",
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """As `allocation`, as plain arrays (distance, index), shape (rows, cols), for every cell, kept or not."""
    from rtmdx import _engine

    nearest, part, asked = _asked(features, frame, max_distance, metric, window, threads, cancel, progress)
    result = output(None, dtype, part[2:])
    require_bytes(8 * math.prod(part[2:]), "an index raster", part[2:])
    index = np.empty(part[2:], dtype=np.int64)
    _engine.allocation(result, index, nearest(), _engine.Window(*part), **asked)
    return result, index


def distance_bands_array(
    features: Any,
    frame: Frame,
    limits: Sequence[float] | NDArray[np.float64],
    *,
    metric: MetricName = "euclidean",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Which distance band each cell falls in: the number of limits that its distance exceeds.

    The decisions of comparing `distance` in double precision with each limit (inclusive), without a raster
    of distances: a tile that lies in one band as a whole is never looked at cell by cell.

    Parameters
    ----------
    limits : sequence of float, at most 255
        Band ends, ascending, CRS units.

    Returns
    -------
    uint8 array, shape (rows, cols)
        0 within the first limit, ``len(limits)`` beyond the last; for every cell, kept or not.
    """
    from rtmdx import _engine

    wanted = "a sequence of 1 to 255 ascending lengths of 0 or more, in CRS units"
    ends = reals(limits, "limits", wanted)
    rising = ends.ndim == 1 and 1 <= ends.size <= 255 and (ends >= 0).all() and (ends[1:] > ends[:-1]).all()
    if not rising:
        raise InputError(f"limits: found {named(limits)}, expected {wanted}.")
    ends = np.ascontiguousarray(ends)
    nearest, part, asked = _asked(features, frame, None, metric, window, threads, cancel, progress)
    del asked["max_distance"]
    require_bytes(math.prod(part[2:]), "a raster of codes", part[2:])
    codes = np.empty(part[2:], dtype=np.uint8)
    _engine.distance_bands(codes, nearest(), _engine.Window(*part), limits=ends, **asked)
    return codes


def _asked(
    features: Any,
    frame: Frame,
    max_distance: float | None,
    metric: str,
    window: Window | None,
    threads: int | None,
    cancel: Cancel | None,
    progress: Progress | None,
) -> tuple[Any, Window, dict[str, Any]]:
    """Check what all three ask; return how to prepare the features, the window, and the engine's arguments."""
    made = features_in(features, frame)
    reach = limit_in(max_distance, "max_distance", "a length of 0 or more, in CRS units")
    choice(metric, "metric", METRICS)
    part = window_in(window, frame)
    run = run_arguments(threads, cancel, progress)

    def nearest() -> _engine.Nearest:
        place = (frame.x_min, frame.y_max, frame.dx, frame.dy, frame.shape)
        return made.nearest(native_grid(frame), place, run["cancel"])

    return nearest, part, {"max_distance": reach, "metric": metric, **run}


def _attributes(frame: Frame, metric: str, max_distance: float | None) -> dict[str, Any]:
    attrs: dict[str, Any] = {"long_name": "distance to the nearest feature", "units": frame.cf_unit}
    if metric != "euclidean":
        attrs["metric"] = metric
    if max_distance is not None:
        attrs["max_distance"] = float(max_distance)
    return attrs
