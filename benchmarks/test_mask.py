"""Distance to a raster mask, and cost distance, beside what a user would otherwise call; answers are asserted equal.

GDAL's proximity is reached through the library in rasterio's wheel: rasterio has no function for it, and PyPI's gdal
is source that wants GDAL's headers. It is not exact: a cell learns of features through its neighbours in two passes
over the rows, and may miss the nearest. Its error is reported beside its time (extra_info).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest

from rtmdx.space.cost import cost_distance_array
from rtmdx.space.frame import Frame
from rtmdx.space.mask import mask_distance_array

CRS = pyproj.CRS("EPSG:26915")
SIDE = 20.0


def frame(n: int) -> Frame:
    return Frame(CRS, 0.0, n * SIDE, SIDE, SIDE, (n, n))


def noise(n: int, share: float) -> np.ndarray:
    return np.random.default_rng(0).random((n, n), dtype=np.float32) < share


def gdal_proximity(mask: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a function that runs GDALComputeProximity on arrays in memory, no copies: distances in cells."""
    rasterio = pytest.importorskip("rasterio")
    found = sorted((Path(rasterio.__file__).parents[1] / "rasterio.libs").glob("libgdal*.so*"))
    if not found:
        pytest.skip("rasterio here is not a Linux wheel, which brings its own GDAL")
    gdal = ctypes.CDLL(str(found[0]))
    handle = ctypes.c_void_p
    gdal.GDALGetDriverByName.restype = gdal.GDALCreate.restype = gdal.GDALGetRasterBand.restype = handle
    gdal.GDALCreate.argtypes = [handle, ctypes.c_char_p, *[ctypes.c_int] * 4, handle]
    gdal.GDALAddBand.argtypes = [handle, ctypes.c_int, handle]
    gdal.GDALGetRasterBand.argtypes = [handle, ctypes.c_int]
    gdal.GDALClose.argtypes = [handle]
    gdal.GDALComputeProximity.argtypes = [handle] * 5
    gdal.GDALAllRegister()
    memory = gdal.GDALGetDriverByName(b"MEM")

    def texts(*given: bytes) -> Any:
        return (ctypes.c_char_p * (len(given) + 1))(*given, None)

    def dataset(values: np.ndarray, kind: int) -> Any:
        made = gdal.GDALCreate(memory, b"", values.shape[1], values.shape[0], 0, kind, None)
        assert gdal.GDALAddBand(made, kind, texts(b"DATAPOINTER=%d" % values.ctypes.data)) == 0
        return made

    def call() -> np.ndarray:
        out = np.empty(mask.shape, dtype=np.float32)
        source, target = dataset(cells, 1), dataset(out, 6)  # GDT_Byte, GDT_Float32
        bands = [gdal.GDALGetRasterBand(d, 1) for d in (source, target)]
        assert gdal.GDALComputeProximity(*bands, texts(b"VALUES=1", b"DISTUNITS=PIXEL"), None, None) == 0
        gdal.GDALClose(source)
        gdal.GDALClose(target)
        return out

    cells = np.ascontiguousarray(mask).view(np.uint8)
    return call


def transform(who: str, mask: np.ndarray) -> Any:
    """Return a function without arguments; it gives the distance in cells, or in map units for rtmdx."""
    if who == "rtmdx":
        place = frame(len(mask))
        out = np.empty(mask.shape, dtype=np.float32)
        return lambda: mask_distance_array(mask, place, threads=2, out=out)
    if who == "gdal":
        return gdal_proximity(mask)
    background = np.ascontiguousarray(~mask).view(np.uint8)
    if who == "opencv":
        cv2 = pytest.importorskip("cv2")
        cv2.setNumThreads(2)
        return lambda: cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if who == "edt":
        edt = pytest.importorskip("edt")
        return lambda: edt.edt(background, parallel=2)
    ndimage = pytest.importorskip("scipy.ndimage")
    return lambda: ndimage.distance_transform_edt(background)


def assert_near(benchmark: Any, found: np.ndarray, exact: np.ndarray) -> None:
    """GDAL's answer: never too small, equal in all but one of 10,000 cells, too large by less than a cell there."""
    excess = found - exact
    off = excess > 1e-6 * exact
    benchmark.extra_info["cells off"] = f"{np.mean(off):.2e}"
    benchmark.extra_info["largest error in cells"] = round(float(excess.max()), 4)
    assert np.all(excess >= -1e-6 * exact)
    assert np.mean(off) < 1e-4
    assert excess.max() < 1


def run_mask(benchmark: Any, n: int, share: float, who: str) -> None:
    mask = noise(n, share)
    call = transform(who, mask)
    found = benchmark.pedantic(call, rounds=3 if who in ("rtmdx", "opencv") else 1, warmup_rounds=who == "rtmdx")
    exact = mask_distance_array(mask, frame(n), dtype="float64", threads=2)
    if who == "gdal":
        assert_near(benchmark, found, exact / SIDE)
        return
    np.testing.assert_allclose(found, exact if who == "rtmdx" else exact / SIDE, rtol=1e-6)


@pytest.mark.parametrize("share", [1e-4, 1e-2])
@pytest.mark.parametrize("who", ["rtmdx", "opencv", "edt", "scipy", "gdal"])
def test_mask_4096(benchmark: Any, share: float, who: str) -> None:
    benchmark.group = f"mask distance: 4096 x 4096 cells, features in {share:.2%}"
    run_mask(benchmark, 4096, share, who)


# SciPy holds two int32 indices a cell and takes half a minute here
@pytest.mark.parametrize("share", [1e-4, 1e-2])
@pytest.mark.parametrize("who", ["rtmdx", "opencv", "edt", "gdal"])
def test_mask_10000(benchmark: Any, share: float, who: str) -> None:
    benchmark.group = f"mask distance: 10,000 x 10,000 cells, features in {share:.2%}"
    run_mask(benchmark, 10_000, share, who)


def test_mask_against_an_independent_answer() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    for share in (1e-4, 1e-2):
        mask = noise(1024, share)
        exact = ndimage.distance_transform_edt(~mask, sampling=SIDE)
        np.testing.assert_allclose(mask_distance_array(mask, frame(1024), dtype="float64"), exact, rtol=1e-14)


def step_graph(friction: np.ndarray) -> Any:
    """The 8-neighbour graph of steps as a sparse matrix."""
    sparse = pytest.importorskip("scipy.sparse")
    n = len(friction)
    index = np.arange(n * n, dtype=np.int32).reshape(n, n)
    start, end, price = [], [], []
    for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = np.s_[: n - dr, max(0, -dc) : n - max(0, dc)]
        b = np.s_[dr:, max(0, dc) : n - max(0, -dc)]
        start.append(index[a].ravel())
        end.append(index[b].ravel())
        price.append((np.hypot(dr, dc) * SIDE / 2) * (friction[a] + friction[b]).ravel())
    rows, cols, data = (np.concatenate(v) for v in (start, end, price))
    return sparse.coo_array((data, (rows, cols)), shape=(n * n, n * n)).tocsr()


@pytest.mark.benchmark(group="cost distance: 1000 x 1000 cells, 8 neighbours")
@pytest.mark.parametrize("who", ["rtmdx", "rtmdx, 16 neighbours", "scikit-image MCP_Geometric", "scipy dijkstra"])
def test_cost(benchmark: Any, who: str) -> None:
    n = 1000
    friction = np.random.default_rng(1).uniform(1, 10, (n, n))
    # A corridor out of closed cells around the source: along it the straight way and the steps are the same.
    friction[490:511, 490:511] = 1e9
    friction[500, 500:511] = 1.0
    place = frame(n)
    source = np.array([[place.x[500], place.y[500]]])
    exact = cost_distance_array(source, place, friction=friction, connectivity=8, dtype="float64")
    if who.startswith("rtmdx"):
        near = 16 if "16" in who else 8
        found = benchmark.pedantic(
            lambda: cost_distance_array(source, place, friction=friction, connectivity=near, dtype="float64"), rounds=3
        )
        assert np.all(found <= exact * (1 + 1e-12))
        return
    if "MCP" in who:
        graph = pytest.importorskip("skimage.graph")
        found = benchmark.pedantic(lambda: graph.MCP_Geometric(friction * SIDE).find_costs([(500, 500)])[0], rounds=1)
    else:
        csgraph = pytest.importorskip("scipy.sparse.csgraph")
        steps = step_graph(friction)
        found = benchmark.pedantic(
            lambda: csgraph.dijkstra(steps, directed=False, indices=500 * n + 500).reshape(n, n), rounds=1
        )
    free = friction < 1e9
    np.testing.assert_allclose(found[free], exact[free], rtol=1e-9)
