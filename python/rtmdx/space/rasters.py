"""Rasters as operations take them: an array and the frame that says where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import CRSError, InputError
from rtmdx.space.frame import Frame
from rtmdx.space.values import array_in, kind_of, named

__all__ = ["frame_of", "raster_in", "values_in"]


def raster_in(raster: Any, frame: Frame | None, name: str = "raster") -> tuple[NDArray[Any], Frame]:
    """Return a raster's values and frame.

    Parameters
    ----------
    raster : DataArray or array, shape (rows, cols)
        Numbers or bool; float32 and float64 are taken as they are, all else as float64. What a masked array masks
        is NaN.
    frame : Grid or Frame, optional
        Needed unless `raster` is a DataArray with a grid mapping. Cells outside a grid's mask become NaN.
    name : str
        What messages call the raster.

    Returns
    -------
    values : float32 or float64 array, shape (rows, cols), rows contiguous
    frame : Frame

    Raises
    ------
    InputError
        It is no raster of numbers, or does not lie where the frame says.
    CRSError
        It is in another CRS than the frame, or in none and no frame is given.
    """
    if frame is not None and not isinstance(frame, Frame):
        raise InputError(f"frame: found {named(frame)}, expected a Frame or a Grid, or None.")
    if _is_dataarray(raster):
        here = frame_of(raster, name, frame)
        frame = here if frame is None else frame
        raster = raster.values
    if frame is None:
        raise InputError(
            f"{name}: is {named(raster)}, which does not say where its cells lie.",
            hint="Give frame=..., or a DataArray with x, y and a CRS.",
        )
    values = values_in(raster, name, "fiub")
    if values.shape != frame.shape:
        raise InputError(f"{name}: has the shape {values.shape}, expected {frame.shape}, the frame's.")
    if values.dtype not in (np.float32, np.float64) or not values.dtype.isnative:
        values = values.astype(np.float64)
    if not _rows_contiguous(values):
        values = np.ascontiguousarray(values)
    mask = getattr(frame, "mask", None)
    if mask is not None and not mask.all():
        values = np.where(mask, values, values.dtype.type(np.nan))
    return values, frame


def values_in(raster: Any, name: str, kinds: str = "fiu") -> NDArray[Any]:
    """Return a raster's values, of one of the kinds of dtype; those a masked array masks are NaN."""
    masked = isinstance(raster, np.ma.MaskedArray)
    values = array_in(raster, name, "an array of numbers")
    if values.dtype.kind not in kinds:
        what = named(raster) if values.dtype == object else kind_of(values.dtype)
        raise InputError(f"{name}: found {what}, expected numbers.")
    if masked and np.ma.is_masked(raster):
        real = values.dtype if values.dtype in (np.float32, np.float64) else np.dtype(np.float64)
        values = np.where(np.ma.getmaskarray(raster), real.type(np.nan), values.astype(real, copy=False))
    return values


def _is_dataarray(raster: Any) -> bool:
    return hasattr(raster, "dims") and hasattr(raster, "coords") and hasattr(raster, "encoding")


def frame_of(raster: Any, name: str = "raster", frame: Frame | None = None) -> Frame:
    """Return where a DataArray of dims (y, x) lies, from its coordinates and its grid mapping's CRS.

    Raises
    ------
    InputError
        Dims are not (y, x), coordinates are not evenly spaced with north first, or not those of `frame`.
    CRSError
        No CRS is known, it is not projected, or not that of `frame`.
    """
    if not _is_dataarray(raster):
        raise InputError(f"{name}: found {named(raster)}, expected a DataArray of dims (y, x).")
    if frame is not None and not isinstance(frame, Frame):
        raise InputError(f"frame: found {named(frame)}, expected a Frame or a Grid, or None.")
    if tuple(raster.dims) != ("y", "x"):
        raise InputError(
            f"{name}: has the dims {tuple(raster.dims)}, expected ('y', 'x').",
            hint="Pick one band (.squeeze(), .isel) and rename the dims.",
        )
    mapping = raster.attrs.get("grid_mapping") or raster.encoding.get("grid_mapping") or "spatial_ref"
    told = raster.coords[mapping].attrs if mapping in raster.coords else {}
    crs = told.get("crs_wkt") or told.get("spatial_ref")
    if crs is None and frame is None:
        raise CRSError(f"{name}: has no coordinate reference system.", hint="Give frame=..., or write its CRS.")
    found: list[tuple[float, float]] = []
    for dim in ("x", "y"):
        at = np.asarray(raster.coords[dim].values, dtype=np.float64) if dim in raster.coords else None
        found.append(_spacing(at, dim, name, frame))
    (x0, dx), (y0, dy) = found
    rows, cols = (int(n) for n in raster.shape)
    made = Frame(crs if crs is not None else frame.crs, x0 - dx / 2, y0 + dy / 2, dx, dy, (rows, cols))  # type: ignore[union-attr]
    if frame is not None:
        if not made.crs.equals(frame.crs, ignore_axis_order=True):
            raise CRSError(f"{name}: is in {made.crs.name}, the frame in {frame.crs.name}.")
        close = 1e-6 * min(frame.dx, frame.dy)
        same = made.shape == frame.shape and np.allclose(made.bounds, frame.bounds, rtol=0, atol=close)
        if not same:
            raise InputError(
                f"{name}: lies on {made.shape} cells within {made.bounds}, "
                f"expected the frame's {frame.shape} within {frame.bounds}.",
                hint="Resample it to the frame first, or leave the frame out.",
            )
    return made


def _spacing(at: NDArray[np.float64] | None, dim: str, name: str, frame: Frame | None) -> tuple[float, float]:
    """First centre and cell size along a dimension."""
    size = None if frame is None else (frame.dx if dim == "x" else frame.dy)
    if at is None or at.size == 0 or not np.isfinite(at).all():
        raise InputError(f"{name}: has no finite {dim} coordinates.")
    if at.size == 1:
        if size is None:
            raise InputError(f"{name}: has one cell along {dim}, so its size is unknown.", hint="Give frame=...")
        return float(at[0]), size
    step = (at[-1] - at[0]) / (at.size - 1)
    if (step <= 0) == (dim == "x"):
        order = "west to east" if dim == "x" else "north to south"
        raise InputError(f"{name}: {dim} must run {order}.", hint=f'Sort it: .sortby("{dim}", ascending={dim == "x"}).')
    even = at[0] + step * np.arange(at.size)
    if not np.allclose(at, even, rtol=0, atol=1e-3 * abs(step)):
        raise InputError(f"{name}: {dim} is not evenly spaced.", hint="Resample it to equal cells.")
    return float(at[0]), float(abs(step))


def _rows_contiguous(values: NDArray[Any]) -> bool:
    return bool(values.size and (values.shape[1] == 1 or values.strides[1] == values.itemsize))
