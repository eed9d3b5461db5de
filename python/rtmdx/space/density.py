"""Density: how densely features lie around every cell centre."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    output,
    run_arguments,
    window_in,
    wrap,
)
from rtmdx.space.edge_correction import Edge, EdgeCorrectionName, edge_in
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame, Window
from rtmdx.space.values import choice, named, number, reals

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["KERNELS", "KernelName", "density", "density_array"]

KernelName = Literal["epanechnikov", "quartic", "gaussian", "uniform", "triangular"]
KERNELS: tuple[KernelName, ...] = ("epanechnikov", "quartic", "gaussian", "uniform", "triangular")


def density(
    features: Any,
    frame: Frame,
    *,
    bandwidth: float | Sequence[float] | NDArray[Any],
    kernel: KernelName = "epanechnikov",
    weights: ArrayLike | None = None,
    edge_correction: EdgeCorrectionName | None = None,
    area: Any = None,
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
    Without `edge_correction` nothing is corrected at the study area's edge: give the features beyond it too.

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

    Edge corrections, for features known inside an area only, with e(u) the kernel's mass inside the area
    around u (integrated exactly):

    - ``"uniform"``: the density at u is divided by e(u) (Diggle 1985, Applied Statistics 34, 138-147;
      Berman and Diggle 1989, JRSS B 51, 81-92). Unbiased where the intensity is constant. A cell centre
      outside the area gets the same quotient, 0 where the area is out of reach.
    - ``"diggle"``: the weight of each point is divided by e at the point (Jones 1993, Statistics and
      Computing 3, 135-146). The integral over the area is then the points' total weight. Points only.

    Features outside the area are left out (points on its boundary are inside; lines and polygons are
    clipped), and counted in the attribute ``features_outside_area``.

    Parameters
    ----------
    features : GeoSeries, GeoDataFrame, geometries, (n, 2) array or Features
        In the frame's CRS, all points, all lines or all polygons.
    frame : Grid or Frame
        Where the cells are. A grid's mask decides which cells of the result hold a value.
    bandwidth : float or sequence of float
        CRS units. Several share the preparation of the features.
    kernel : {"epanechnikov", "quartic", "gaussian", "uniform", "triangular"}
    weights : float array, shape (n,), optional
        One per geometry given; a single number is refused (members of a multi-part geometry share its). Default 1.
    edge_correction : {"uniform", "diggle"}, optional
    area : polygon, StudyArea, GeoSeries or GeoDataFrame, optional
        Where the features were collected, in the frame's CRS; needed for an edge correction.
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
    DataArray, dims (y, x), or (bandwidth, y, x) for a sequence of bandwidths
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
    values, outside = _compute(
        features, frame, bandwidth, kernel, weights, edge_correction, area, dtype, part, None, threads, cancel, progress
    )
    unit = frame.cf_unit
    what, units = "features", f"{unit}-2"
    if features.n_lines:
        what, units = "line length", f"{unit} {unit}-2"
    elif features.n_polygons:
        what, units = "polygon area", "1"
    attrs: dict[str, Any] = {"long_name": f"kernel density of {what}", "units": units, "kernel": kernel}
    if values.ndim == 2:
        attrs["bandwidth"] = float(bandwidth)  # type: ignore[arg-type]
    if edge_correction is not None:
        attrs |= {"edge_correction": edge_correction, "features_outside_area": outside}
    wrapped = wrap(values, frame, part, "density", attrs)
    if values.ndim == 2:
        return wrapped
    widths = np.asarray(bandwidth, dtype=np.float64)
    about = {"long_name": "bandwidth of the kernel", "units": unit}
    return wrapped.rename({wrapped.dims[0]: "bandwidth"}).assign_coords(bandwidth=("bandwidth", widths, about))


def density_array(
    features: Any,
    frame: Frame,
    *,
    bandwidth: float | Sequence[float] | NDArray[Any],
    kernel: str = "epanechnikov",
    weights: ArrayLike | None = None,
    edge_correction: EdgeCorrectionName | None = None,
    area: Any = None,
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
    out : float32 or float64 array, shape (rows, cols) or (bandwidths, rows, cols), optional
        Written and returned; its rows must be contiguous. Then `dtype` is ignored.
    """
    part = window_in(window, frame)
    return _compute(
        features, frame, bandwidth, kernel, weights, edge_correction, area, dtype, part, out, threads, cancel, progress
    )[0]


def _compute(
    features: Any,
    frame: Frame,
    bandwidth: Any,
    kernel: str,
    weights: ArrayLike | None,
    edge_correction: Any,
    area: Any,
    dtype: Any,
    part: Window,
    out: NDArray[Any] | None,
    threads: int | None,
    cancel: Cancel | None,
    progress: Progress | None,
) -> tuple[NDArray[Any], int]:
    """Return the rasters, and how many features lie outside the area of an edge correction."""
    features = features_in(features, frame)
    counts = {"points": features.n_points, "lines": features.n_lines, "polygons": features.n_polygons}
    present = [f"{n:,} {kind}" for kind, n in counts.items() if n]
    if len(present) > 1:
        raise InputError(
            f"features: found {' and '.join(present)}, expected one kind for a density; "
            "a count, a length and an area don't add up.",
            hint="Split the layer, or turn its polygons and lines into points.",
        )
    array = hasattr(type(bandwidth), "__array__") and np.ndim(bandwidth) > 0
    single = not (array or isinstance(bandwidth, (list, tuple)))
    widths = _widths([bandwidth] if single else bandwidth, frame)
    choice(kernel, "kernel", KERNELS)
    given = _weights(weights, features)
    edge = edge_in(edge_correction, area, frame)
    run = run_arguments(threads, cancel, progress)
    result = output(out, dtype, part[2:] if single else (len(widths), *part[2:]))
    rasters = result[None] if single else result
    if edge is None:
        _run(rasters, features, given, frame, part, kernel, widths, run)
        return result, 0
    return result, _corrected(rasters, features, given, frame, part, kernel, widths, run, edge)


def _run(
    rasters: NDArray[Any],
    features: Features,
    weights: NDArray[np.float64] | None,
    frame: Frame,
    part: Window,
    kernel: str,
    widths: list[float],
    run: dict[str, Any],
) -> None:
    from rtmdx import _engine

    _engine.densities(
        rasters,
        features.native(weights),
        native_grid(frame),
        _engine.Window(*part),
        kernel=kernel,
        bandwidths=widths,
        **run,
    )


def _corrected(
    rasters: NDArray[Any],
    features: Features,
    weights: NDArray[np.float64] | None,
    frame: Frame,
    part: Window,
    kernel: str,
    widths: list[float],
    run: dict[str, Any],
    edge: Edge,
) -> int:
    """Write the corrected rasters; return how many features lie outside the area."""
    inside, chosen, outside = edge.clip(features, weights, run["cancel"])
    quiet, progress = {**run, "progress": None}, run["progress"]

    def tell(done: int) -> None:  # in bandwidths: each is several loops of the engine's
        if progress is not None:
            progress(done, len(widths))

    tell(0)
    if edge.correction == "uniform":
        _run(rasters, inside, chosen, frame, part, kernel, widths, quiet)
        for i, width in enumerate(widths):
            edge.divide(rasters[i], part, kernel, width, quiet)
            tell(i + 1)
        return outside
    for i, width in enumerate(widths):  # each has its own weights
        corrected = edge.point_weights(inside, chosen, kernel, width, quiet)
        _run(rasters[i : i + 1], inside, corrected, frame, part, kernel, [width], quiet)
        tell(i + 1)
    return outside


def _widths(bandwidth: Any, frame: Frame) -> list[float]:
    widths = []
    for value in bandwidth:
        width = number(value, "bandwidth")
        if not (0 < width < math.inf):
            raise InputError(f"bandwidth: found {named(value)}, expected a positive length in CRS units.")
        if width < 1e-6 * min(frame.dx, frame.dy):
            raise InputError(
                f"bandwidth: found {value!r}, less than a millionth of a cell of {frame.dx:g} x {frame.dy:g}; "
                "a density of such points would be 0 or infinite.",
                hint="Bandwidths are lengths in CRS units.",
            )
        widths.append(width)
    if not widths:
        raise InputError("bandwidth: found an empty sequence, expected a positive length in CRS units, or several.")
    return widths


def _weights(weights: ArrayLike | None, features: Features) -> NDArray[np.float64] | None:
    if weights is None:
        return None
    values = reals(weights, "weights", "an array of numbers, one per geometry given")
    if values.shape != (features.n_input,):
        raise InputError(
            f"weights: have the shape {values.shape}, expected ({features.n_input},), one per geometry given.",
            hint="Geometries that are None or empty count too.",
        )
    finite = np.isfinite(values)
    if not finite.all():
        at = int(np.argmin(finite))
        raise InputError(f"weights: feature {at} has {values[at]}, expected a finite number.")
    return np.ascontiguousarray(values)
