from collections.abc import Callable, Sequence
from typing import Any, TypedDict, final, overload

import numpy as np
from numpy.typing import NDArray

KERNELS: tuple[str, ...]

class _BuildInfo(TypedDict):
    compiler: str
    cxx_standard: int
    flags: str
    pybind11: str
    debug: bool
    cpu: tuple[str, ...]

@final
class Features:
    def __init__(
        self,
        *,
        points: NDArray[np.float64],
        point_weights: NDArray[np.float64],
        line_xy: NDArray[np.float64],
        line_offsets: NDArray[np.int64],
        line_weights: NDArray[np.float64],
        ring_xy: NDArray[np.float64],
        ring_offsets: NDArray[np.int64],
        polygon_offsets: NDArray[np.int64],
        polygon_weights: NDArray[np.float64],
    ) -> None: ...

@final
class Grid:
    def __init__(self, *, x_min: float, y_max: float, dx: float, dy: float, rows: int, cols: int) -> None: ...

@final
class Window:
    def __init__(self, row0: int, col0: int, nrows: int, ncols: int) -> None: ...

METRICS: tuple[str, ...]

@final
class Nearest:
    def __init__(
        self,
        features: Features,
        grid: Grid,
        *,
        points: NDArray[np.int64],
        lines: NDArray[np.int64],
        polygons: NDArray[np.int64],
        cancel: Callable[[], Any] | None = None,
    ) -> None: ...

@overload
def distance(
    out: NDArray[np.float32],
    features: Nearest,
    window: Window,
    *,
    metric: str,
    max_distance: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def distance(
    out: NDArray[np.float64],
    features: Nearest,
    window: Window,
    *,
    metric: str,
    max_distance: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def allocation(
    out: NDArray[np.float32],
    index: NDArray[np.int64],
    features: Nearest,
    window: Window,
    *,
    metric: str,
    max_distance: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def allocation(
    out: NDArray[np.float64],
    index: NDArray[np.int64],
    features: Nearest,
    window: Window,
    *,
    metric: str,
    max_distance: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
def distance_bands(
    out: NDArray[np.uint8],
    features: Nearest,
    window: Window,
    *,
    limits: NDArray[np.float64],
    metric: str,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def density(
    out: NDArray[np.float32],
    features: Features,
    grid: Grid,
    window: Window,
    *,
    kernel: str,
    bandwidth: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    method: str = "automatic",
) -> None: ...
@overload
def density(
    out: NDArray[np.float64],
    features: Features,
    grid: Grid,
    window: Window,
    *,
    kernel: str,
    bandwidth: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    method: str = "automatic",
) -> None: ...
@overload
def densities(
    out: NDArray[np.float32],
    features: Features,
    grid: Grid,
    window: Window,
    *,
    kernel: str,
    bandwidths: Sequence[float],
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    method: str = "automatic",
) -> None: ...
@overload
def densities(
    out: NDArray[np.float64],
    features: Features,
    grid: Grid,
    window: Window,
    *,
    kernel: str,
    bandwidths: Sequence[float],
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
    method: str = "automatic",
) -> None: ...
def kernel_mass(
    out: NDArray[np.float64],
    polygons: Features,
    points: NDArray[np.float64],
    grid: Grid,
    *,
    kernel: str,
    bandwidth: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def zonal(
    values: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    features: Features,
    offsets: NDArray[np.int64],
    grid: Grid,
    *,
    kind: str,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, NDArray[np.float64]]: ...
@overload
def zonal(
    values: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    features: Features,
    offsets: NDArray[np.int64],
    grid: Grid,
    *,
    kind: str,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, NDArray[np.float64]]: ...
def coverage(
    features: Features,
    offsets: NDArray[np.int64],
    grid: Grid,
    *,
    kind: str,
    limit: int,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def group_exposure(
    risk: NDArray[np.float64],
    residents: Sequence[NDArray[np.float64]],
    top: Sequence[float],
    *,
    reference: int,
    points: int,
    ties: bool = True,
    memory: float = ...,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> dict[str, Any]: ...
@overload
def focal(
    out: NDArray[np.float32],
    values: NDArray[np.float32],
    grid: Grid,
    window: Window,
    *,
    radius: float,
    shape: str,
    statistic: str,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def focal(
    out: NDArray[np.float64],
    values: NDArray[np.float32],
    grid: Grid,
    window: Window,
    *,
    radius: float,
    shape: str,
    statistic: str,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def focal(
    out: NDArray[np.float32],
    values: NDArray[np.float64],
    grid: Grid,
    window: Window,
    *,
    radius: float,
    shape: str,
    statistic: str,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def focal(
    out: NDArray[np.float64],
    values: NDArray[np.float64],
    grid: Grid,
    window: Window,
    *,
    radius: float,
    shape: str,
    statistic: str,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def mask_distance(
    out: NDArray[np.float32],
    mask: NDArray[np.uint8],
    grid: Grid,
    window: Window,
    *,
    max_distance: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def mask_distance(
    out: NDArray[np.float64],
    mask: NDArray[np.uint8],
    grid: Grid,
    window: Window,
    *,
    max_distance: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def cost_distance(
    out: NDArray[np.float32],
    features: Features,
    grid: Grid,
    friction: NDArray[np.float32] | NDArray[np.float64] | None,
    barriers: Features,
    *,
    connectivity: int,
    max_cost: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
@overload
def cost_distance(
    out: NDArray[np.float64],
    features: Features,
    grid: Grid,
    friction: NDArray[np.float32] | NDArray[np.float64] | None,
    barriers: Features,
    *,
    connectivity: int,
    max_cost: float,
    threads: int,
    cancel: Callable[[], Any] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> None: ...
def build_info() -> _BuildInfo: ...
def native_errors() -> dict[str, str]: ...
def raise_native(native: str, message: str) -> None: ...
