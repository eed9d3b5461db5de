"""What every raster operation's arguments must be: checked here, once, before the engine runs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame, Window, window_of
from rtmdx.space.memory import require_bytes
from rtmdx.space.values import as_dtype, named, number, whole

if TYPE_CHECKING:
    import xarray as xr

    from rtmdx import _engine

__all__ = ["Cancel", "Float", "Progress"]

Cancel = Callable[[], Any]
Progress = Callable[[int, int], Any]
Float = Literal["float32", "float64"]


def frame_in(frame: Any) -> Frame:
    """Return the frame; an error if it is something else."""
    if not isinstance(frame, Frame):
        raise InputError(
            f"frame: found {named(frame)}, expected a Frame or a Grid.",
            hint="Lay one with rtmdx.Frame.from_bounds or rtmdx.Grid.from_area.",
        )
    return frame


def features_in(features: Any, frame: Frame) -> Features:
    """Return the features as arrays; a CRSError if they are in another CRS than the frame."""
    frame_in(frame)
    made = Features.of(features)
    made.require_crs(frame.crs)
    return made


def limit_in(value: Any, name: str, what: str) -> float:
    """Return an upper limit, infinite for None; `what` says what it may be."""
    limit = math.inf if value is None else number(value, name)
    if not limit >= 0:
        raise InputError(f"{name}: found {named(value)}, expected {what}.", hint="Leave it out for no limit.")
    return limit


def window_in(window: Window | None, frame: Frame) -> Window:
    """Return the window, or the whole frame's; an error unless it lies in the frame."""
    return window_of(window, frame_in(frame).shape)


def output(out: NDArray[Any] | None, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array to write: `out` if it fits, else a new one, refused where memory does not hold it."""
    if out is None:
        kind = dtype_in(dtype)
        require_bytes(math.prod(shape) * kind.itemsize, f"a {kind} raster", shape)
        return np.empty(shape, dtype=kind)
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float32, np.float64) or out.shape != shape:
        is_array = isinstance(out, np.ndarray)
        what = f"{out.dtype} of shape {out.shape}" if is_array else named(out)
        raise InputError(f"out: found {what}, expected a float32 or float64 array of shape {shape}.")
    if not out.flags.writeable:
        raise InputError("out: found a read-only array, expected one that may be written.", hint="Give a copy.")
    # From the innermost dimension outwards each step must reach over all of the one before.
    extent = out.itemsize
    for n, stride in zip(reversed(out.shape), reversed(out.strides), strict=True):
        if n > 1 and abs(stride) < extent:
            raise InputError(
                f"out: found strides of {out.strides} bytes for the shape {out.shape}: rows that overlap in memory or "
                "are not contiguous; expected each cell in a place of its own.",
                hint="Make it with numpy.empty.",
            )
        extent = max(extent, abs(stride) * n)
    return out


def dtype_in(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of a raster to make: float32 or float64."""
    kind = as_dtype(dtype)
    if kind is None or kind not in (np.float32, np.float64):
        raise InputError(f"dtype: found {named(dtype)}, expected float32 or float64.")
    return kind


def thread_count(threads: int | None) -> int:
    """Return the number of threads; the machine's processors by default."""
    if threads is None:
        return os.cpu_count() or 1
    n = whole(threads, "threads", what="a whole number from 1 to 4096, or None for all")
    if not 1 <= n <= 4096:
        raise InputError(f"threads: found {n}, expected a whole number from 1 to 4096, or None for all.")
    return n


def function(value: Any, name: str, arguments: str) -> Any:
    """Return a callable or None; `arguments` says what it is called with."""
    if value is not None and not callable(value):
        raise InputError(f"{name}: found {named(value)}, expected a function {arguments}, or None.")
    return value


def run_arguments(threads: int | None, cancel: Cancel | None, progress: Progress | None) -> dict[str, Any]:
    """Return how a native call runs, as its keyword arguments."""
    return {
        "threads": thread_count(threads),
        "cancel": function(cancel, "cancel", "without arguments"),
        "progress": function(progress, "progress", "of (done, total)"),
    }


def native_grid(frame: Frame) -> _engine.Grid:
    """Return the engine's grid."""
    from rtmdx import _engine

    rows, cols = frame.shape
    return _engine.Grid(x_min=frame.x_min, y_max=frame.y_max, dx=frame.dx, dy=frame.dy, rows=rows, cols=cols)


def wrap(values: NDArray[Any], frame: Frame, window: Window, name: str, attrs: dict[str, Any]) -> xr.DataArray:
    """Wrap a window's raster as a DataArray; cells outside a grid's mask become NaN."""
    mask = getattr(frame, "mask", None)
    if mask is not None:
        row, col, height, width = window
        values[..., ~mask[row : row + height, col : col + width]] = np.nan
    return frame.dataarray(values, name, attrs, window)
