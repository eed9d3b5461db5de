"""Cost distance: how far on foot, where ground is slow and rivers and motorways are in the way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import CRSError, InputError
from rtmdx.space.arguments import (
    Cancel,
    Float,
    Progress,
    features_in,
    limit_in,
    native_grid,
    output,
    run_arguments,
    wrap,
)
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame
from rtmdx.space.mask import require_on_frame
from rtmdx.space.memory import require_bytes
from rtmdx.space.rasters import values_in
from rtmdx.space.values import named, whole

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["cost_distance", "cost_distance_array"]

_NO_POINTS = np.empty((0, 2))


def cost_distance(
    features: Any,
    frame: Frame,
    *,
    friction: Any = None,
    barriers: Any = None,
    connectivity: int = 16,
    max_cost: float | None = None,
    dtype: Float = "float32",
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> xr.DataArray:
    """Least accumulated cost from the features to each cell's centre.

    Ways lead from centre to centre. A step costs the integral of friction along its straight line: half its
    length in either end cell, and a quarter in each of the four cells of a knight's move. Cells within four
    cell sides of a feature start from the straight way to it, where no barrier or closed cell is on that way.

    Parameters
    ----------
    features : GeoSeries, GeoDataFrame, geometries, (n, 2) array or Features
        Where ways start, in the frame's CRS; 0 inside polygons. What lies outside the frame does not count:
        friction is not known there. A feature in a closed cell starts nothing there.
    frame : Grid or Frame
        Where the cells are. Ways may lead through any cell of the frame; a grid's mask only decides which
        cells of the result hold a value. The whole frame is computed: for a part, cut the result.
    friction : float array or DataArray, shape (rows, cols), optional
        Cost per CRS unit, positive; NaN and infinity close a cell. Default: 1 everywhere, so that the
        result is a length. A diagonal step may pass between two closed cells; close what must not leak with
        `barriers`.
    barriers : GeoSeries, GeoDataFrame, geometries or Features, optional
        Lines and outlines of polygons without thickness that no step may cross or touch; gaps are bridges.
        Points are refused; a line without length is in nobody's way.
        Cells with their centre inside a barrier polygon are closed.
    connectivity : {16, 8}
        Neighbours of a cell. On free ground of square cells, ways are at most 2.8 % longer than the
        straight line with 16, 8.3 % with 8.
    max_cost : float, optional
        Cells that cost more are +inf; a small one saves time.
    dtype : {"float32", "float64"}
        Of the result; costs are summed in double precision.
    threads : int, optional
        Used to find cells inside polygons; ways are found by one. The result doesn't depend on it.
    cancel : callable, optional
        Called from the calling thread several times a second; a true value stops the run.
    progress : callable, optional
        Called likewise as ``progress(done, total)``, in cells.

    Returns
    -------
    DataArray, dims (y, x)
        CRS units times friction. NaN outside a grid's mask, +inf where no way leads. Never below the
        Euclidean distance times the least friction.

    Raises
    ------
    InputError
        Friction of another shape, or not positive (the first such cell is named); barriers that are points;
        another argument that is not usable.
    CRSError
        The features or the barriers are in another CRS than the frame.
    MemoryLimitError
        The run would not fit in memory (about 30 bytes a cell); nothing was tried.
    Cancelled
        `cancel` returned a true value.

    Notes
    -----
    Dijkstra (1959) over buckets (Dial, 1969). The result is the least rounded sum over all ways, so it does
    not depend on the order in which cells are visited.
    """
    values = cost_distance_array(
        features,
        frame,
        friction=friction,
        barriers=barriers,
        connectivity=connectivity,
        max_cost=max_cost,
        dtype=dtype,
        threads=threads,
        cancel=cancel,
        progress=progress,
    )
    units = frame.cf_unit if friction is None else f"{frame.cf_unit} times friction"
    attrs: dict[str, Any] = {
        "long_name": "least accumulated cost from the nearest feature",
        "units": units,
        "connectivity": int(connectivity),
    }
    if max_cost is not None:
        attrs["max_cost"] = float(max_cost)
    return wrap(values, frame, (0, 0, *frame.shape), "cost_distance", attrs)


def cost_distance_array(
    features: Any,
    frame: Frame,
    *,
    friction: Any = None,
    barriers: Any = None,
    connectivity: int = 16,
    max_cost: float | None = None,
    dtype: Float = "float32",
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """As `cost_distance`, as a plain array, shape (rows, cols), with values in every cell, kept or not.

    Parameters
    ----------
    out : float32 or float64 array, shape (rows, cols), optional
        Written and returned; its rows must be contiguous. Then `dtype` is ignored.
    """
    from rtmdx import _engine

    sources = features_in(features, frame)
    lines = _barriers_in(barriers, frame)
    cells = _friction_in(friction, frame)
    if whole(connectivity, "connectivity", what="8 or 16 neighbours") not in (8, 16):
        raise InputError(f"connectivity: found {named(connectivity)}, expected 8 or 16 neighbours.")
    limit = limit_in(max_cost, "max_cost", "a cost of 0 or more")
    require_bytes(30 * math.prod(frame.shape), "cost distance", frame.shape)
    result = output(out, dtype, frame.shape)
    _engine.cost_distance(
        result,
        sources.native(),
        native_grid(frame),
        cells,
        lines.native(),
        connectivity=int(connectivity),
        max_cost=limit,
        **run_arguments(threads, cancel, progress),
    )
    return result


def _barriers_in(barriers: Any, frame: Frame) -> Features:
    if barriers is None:
        return Features.from_points(_NO_POINTS)
    made = Features.of(barriers)
    try:
        made.require_crs(frame.crs)
    except CRSError as error:
        raise CRSError(f"barriers: {error.message}", hint="Reproject them first: barriers.to_crs(frame.crs).") from None
    if made.n_points:
        raise InputError(
            f"barriers: {made.n_points:,} are points, expected lines or polygons.",
            hint="A point blocks nothing; buffer it first.",
        )
    return made


def _friction_in(friction: Any, frame: Frame) -> NDArray[Any] | None:
    """Return friction as float32 or float64 with contiguous rows, every finite value positive."""
    if friction is None:
        return None
    require_on_frame(friction, frame, "friction")
    values = values_in(friction, "friction")
    if values.shape != frame.shape:
        raise InputError(f"friction: has the shape {values.shape}, expected the frame's {frame.shape}.")
    if values.dtype != np.float32:
        values = values.astype(np.float64, copy=False)
    wrong = values <= 0
    if wrong.any():
        row, col = np.unravel_index(int(np.argmax(wrong)), values.shape)
        raise InputError(
            f"friction: row {row}, column {col} is {float(values[row, col])!r}, expected a positive number.",
            hint="Use NaN to close a cell.",
        )
    if values.size and (values.strides[1] != values.itemsize or values.strides[0] % values.itemsize):
        values = np.ascontiguousarray(values)
    return values
