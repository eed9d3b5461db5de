"""What every raster operation's arguments must be: checked here, once, before the engine runs."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame, Window
from rtmdx.space.memory import require_bytes

if TYPE_CHECKING:
    import xarray as xr

    from rtmdx import _engine

__all__ = ["Cancel", "Float", "Progress"]

Cancel = Callable[[], Any]
Progress = Callable[[int, int], Any]
Float = Literal["float32", "float64"]


def features_in(features: Any, frame: Frame) -> Features:
    """Return the features as arrays; a CRSError if they are in another CRS than the frame."""
    made = Features.of(features)
    made.require_crs(frame.crs)
    return made


def number(value: Any, name: str) -> float:
    """Return a plain number."""
    if isinstance(value, (str, bytes, bool)):
        raise InputError(f"{name}: found {value!r}, expected a number.")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}: found {value!r}, expected a number.") from None


def window_in(window: Window | None, frame: Frame) -> Window:
    """Return the window, or the whole frame's; an error unless it lies in the frame."""
    rows, cols = frame.shape
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


def output(out: NDArray[Any] | None, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array to write: `out` if it fits, else a new one, refused where memory does not hold it."""
    if out is None:
        try:
            kind = np.dtype(dtype)
        except TypeError:
            kind = np.dtype(object)
        if kind not in (np.float32, np.float64):
            raise InputError(f"dtype: found {dtype!r}, expected float32 or float64.")
        require_bytes(math.prod(shape) * kind.itemsize, f"a {kind} raster", shape)
        return np.empty(shape, dtype=kind)
    if not isinstance(out, np.ndarray) or out.dtype not in (np.float32, np.float64) or out.shape != shape:
        found = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InputError(f"out: found {found}, expected a float32 or float64 array of shape {shape}.")
    return out


def thread_count(threads: int | None) -> int:
    """Return the number of threads; the machine's processors by default."""
    if threads is None:
        return os.cpu_count() or 1
    try:
        n = operator.index(threads)
    except TypeError:
        n = 0
    if not 1 <= n <= 4096:
        raise InputError(f"threads: found {threads!r}, expected a whole number from 1 to 4096, or None for all.")
    return n


def function(value: Any, name: str, arguments: str) -> Any:
    """Return a callable or None; `arguments` says what it is called with."""
    if value is not None and not callable(value):
        raise InputError(f"{name}: found {type(value).__name__}, expected a function {arguments}, or None.")
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
