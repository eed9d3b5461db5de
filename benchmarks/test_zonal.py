"""Zonal and focal statistics beside what a user would otherwise call; the answers are asserted equal.

Run: pytest benchmarks --benchmark-only
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

from rtmdx import Frame, coverage, zonal
from rtmdx.space.focal import focal_array

SIDE = 4000
CRS = "EPSG:26915"


@pytest.fixture(scope="module")
def frame() -> Frame:
    """4000 x 4000 cells of 1 m."""
    return Frame(CRS, 0, SIDE, 1, 1, (SIDE, SIDE))


@pytest.fixture(scope="module")
def raster() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def zones() -> gpd.GeoDataFrame:
    """1,000 polygons of 60 vertices, 11,000 cells each."""
    rng = np.random.default_rng(0)
    made = []
    for centre in rng.uniform(100, SIDE - 100, (1000, 2)):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 60))
        made.append(shapely.Polygon(centre + np.c_[np.cos(angle), np.sin(angle)] * rng.uniform(40, 80, (60, 1))))
    return gpd.GeoDataFrame({"id": range(1000)}, geometry=made, crs=CRS)


@pytest.fixture(scope="module")
def exact(raster: np.ndarray, zones: gpd.GeoDataFrame) -> np.ndarray:
    """Means of the first ten zones, from Shapely's intersections."""
    means = []
    for zone in zones.geometry[:10]:
        left, bottom, right, top = (int(v) for v in (*np.floor(zone.bounds[:2]), *np.ceil(zone.bounds[2:])))
        x, y = np.meshgrid(np.arange(left, right), np.arange(top, bottom, -1))
        share = shapely.area(shapely.intersection(zone, shapely.box(x, y - 1, x + 1, y)))
        part = raster[SIDE - top : SIDE - bottom, left:right].astype(float)
        means.append((share * part).sum() / share.sum())
    return np.array(means)


@pytest.mark.filterwarnings("ignore:Use `@`:PendingDeprecationWarning")  # rasterio's
@pytest.mark.benchmark(group="zonal mean: 1,000 polygons on 4000 x 4000 cells")
@pytest.mark.parametrize("who", ["rtmdx, 1 thread", "rtmdx, 2 threads", "exactextract", "rasterio masks"])
def test_zonal_mean(
    benchmark: Any, who: str, raster: np.ndarray, zones: gpd.GeoDataFrame, frame: Frame, exact: np.ndarray
) -> None:
    tolerance = 1e-9
    if who.startswith("rtmdx"):
        threads = int(who.split()[1])
        found = benchmark(lambda: zonal(raster, zones, frame, threads=threads))["mean"]
    elif who == "exactextract":
        exactextract = pytest.importorskip("exactextract")
        source = exactextract.raster.NumPyRasterSource(raster, 0, 0, SIDE, SIDE)
        found = benchmark.pedantic(
            lambda: exactextract.exact_extract(source, zones, ["mean"], output="pandas", max_cells_in_memory=10**9),
            rounds=3,
        )["mean"]
        tolerance = 1e-6  # its coverage fractions are float32
    else:
        features = pytest.importorskip("rasterio.features")
        from rasterio.transform import from_origin

        def means() -> np.ndarray:
            out = []
            for zone in zones.geometry:
                left, bottom = (int(v) for v in np.floor(zone.bounds[:2]))
                right, top = (int(v) for v in np.ceil(zone.bounds[2:]))
                shape = (top - bottom, right - left)
                mask = features.geometry_mask([zone], shape, from_origin(left, top, 1, 1), invert=True)
                out.append(raster[SIDE - top : SIDE - bottom, left:right][mask].mean(dtype=float))
            return np.array(out)

        found = benchmark.pedantic(means, rounds=2)
        tolerance = 0.02  # whole cells by their centres
    np.testing.assert_allclose(np.asarray(found)[:10], exact, atol=tolerance)


@pytest.mark.benchmark(group="coverage: 1,000 polygons on 4000 x 4000 cells")
def test_coverage(benchmark: Any, zones: gpd.GeoDataFrame, frame: Frame) -> None:
    found = benchmark.pedantic(lambda: coverage(zones, frame, threads=2), rounds=3)
    np.testing.assert_allclose(np.bincount(found.zone, found.fraction), zones.area, rtol=1e-10)


@pytest.mark.parametrize("cells", [5, 50])
@pytest.mark.parametrize("who", ["rtmdx, 2 threads", "scipy uniform_filter", "cv2 boxFilter, 2 threads"])
def test_square(benchmark: Any, who: str, cells: int, raster: np.ndarray, frame: Frame) -> None:
    benchmark.group = f"focal mean: square of {2 * cells + 1} cells a side, 4000 x 4000 cells"
    side = 2 * cells + 1
    if who.startswith("rtmdx"):
        found = benchmark(lambda: focal_array(raster, frame, radius=cells, shape="square", threads=2))
    elif who.startswith("scipy"):
        from scipy import ndimage

        found = benchmark.pedantic(lambda: ndimage.uniform_filter(raster, side), rounds=2)
    else:
        cv2 = pytest.importorskip("cv2")
        cv2.setNumThreads(2)
        found = benchmark(lambda: cv2.boxFilter(raster, -1, (side, side)))
    _agree(found, raster, np.ones((side, side)), cells)


@pytest.mark.parametrize("cells", [5, 50])
@pytest.mark.parametrize("who", ["rtmdx, 2 threads", "cv2 filter2D (float32, no NaN), 2 threads"])
def test_circle(benchmark: Any, who: str, cells: int, raster: np.ndarray, frame: Frame) -> None:
    benchmark.group = f"focal mean: circle of radius {cells} cells, 4000 x 4000 cells"
    y, x = np.mgrid[-cells : cells + 1, -cells : cells + 1]
    disc = x**2 + y**2 <= cells**2
    if who.startswith("rtmdx"):
        found = benchmark.pedantic(lambda: focal_array(raster, frame, radius=cells, threads=2), rounds=3)
    else:
        cv2 = pytest.importorskip("cv2")
        cv2.setNumThreads(2)
        weights = (disc / disc.sum()).astype(np.float32)
        found = benchmark.pedantic(lambda: cv2.filter2D(raster, -1, weights), rounds=3)
    _agree(found, raster, disc, cells)


def _agree(found: np.ndarray, raster: np.ndarray, footprint: np.ndarray, reach: int) -> None:
    for r, c in np.random.default_rng(1).integers(reach, SIDE - reach, (50, 2)):
        part = raster[r - reach : r + reach + 1, c - reach : c + reach + 1].astype(float)
        assert found[r, c] == pytest.approx((part * footprint).sum() / footprint.sum(), abs=1e-6)
