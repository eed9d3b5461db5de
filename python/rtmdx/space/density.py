"""Density: how densely features lie around every cell centre."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame, Window

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["KERNELS", "KernelName", "density", "density_array"]

KernelName = Literal["epanechnikov", "quartic", "gaussian", "uniform", "triangular"]
KERNELS: tuple[KernelName, ...] = ("epanechnikov", "quartic", "gaussian", "uniform", "triangular")


def density(
    features: Any,
    frame: Frame,
    *,
    bandwidth: float,
    kernel: KernelName = "epanechnikov",
    weights: ArrayLike | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
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
        In the frame's CRS, all points, all lines or all polygons.
    frame : Grid or Frame
        Where the cells are. A grid's mask decides which cells of the result hold a value.
    bandwidth : float
        CRS units.
    kernel : {"epanechnikov", "quartic", "gaussian", "uniform", "triangular"}
    weights : float array, shape (n,), optional
        One per geometry given (members of a multi-part geometry share its). Default 1.
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
        Features per square CRS unit (points), length per square unit (lines), or share of area covered
        (polygons). NaN outside a grid's mask, 0 where there are no features.

    Raises
    ------
    InputError
        An argument or coordinate is not usable, or points, lines and polygons are mixed.
    CRSError
        The features are in another CRS than the frame.
    MemoryLimitError
        The result would not fit in memory; nothing was tried.
    Cancelled
        `cancel` returned a true value.
    """
    features = Features.of(features)
    part = window_in(window, frame)
    values = density_array(
        features,
        frame,
        bandwidth=bandwidth,
        kernel=kernel,
        weights=weights,
        dtype=dtype,
        window=part,
        threads=threads,
        cancel=cancel,
        progress=progress,
    )
    unit = frame.cf_unit
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
    return wrap(values, frame, part, "density", attrs)


def density_array(
    features: Any,
    frame: Frame,
    *,
    bandwidth: float,
    kernel: str = "epanechnikov",
    weights: ArrayLike | None = None,
    dtype: Float = "float32",
    window: Window | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """As `density`, as a plain array, shape (rows, cols), with values in every cell, kept or not.

    Parameters
    ----------
    out : float32 or float64 array, shape (rows, cols), optional
        Written and returned; its rows must be contiguous. Then `dtype` is ignored.
    """
    from rtmdx import _engine

    features = features_in(features, frame)
    counts = {"points": features.n_points, "lines": features.n_lines, "polygons": features.n_polygons}
    present = [f"{n:,} {kind}" for kind, n in counts.items() if n]
    if len(present) > 1:
        raise InputError(
            f"features: found {' and '.join(present)}, expected one kind for a density; "
            "a count, a length and an area don't add up.",
            hint="Split the layer, or turn its polygons and lines into points.",
        )
    width = number(bandwidth, "bandwidth")
    if not (0 < width < math.inf):
        raise InputError(f"bandwidth: found {bandwidth!r}, expected a positive length in CRS units.")
    if kernel not in KERNELS:
        raise InputError(f"kernel: found {kernel!r}, expected one of {', '.join(KERNELS)}.")
    part = window_in(window, frame)
    result = output(out, dtype, part[2:])
    _engine.density(
        result,
        features.native(_weights(weights, features)),
        native_grid(frame),
        _engine.Window(*part),
        kernel=kernel,
        bandwidth=width,
        **run_arguments(threads, cancel, progress),
    )
    return result


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
