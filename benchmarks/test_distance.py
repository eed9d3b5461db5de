"""Distance beside what a user would otherwise call, two threads each where the peer has them; every answer is checked.

Preparation counts on both sides: ours sorts its features, a peer builds its tree, in every round. float32 output, as
`rtmdx.distance` gives by default; the peers give float64.

Run: pytest benchmarks/test_distance.py --benchmark-only
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import pytest
import shapely

from rtmdx.space.distance import distance_array
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame

os.environ.setdefault("OMP_NUM_THREADS", "2")  # pykdtree's
SIDE = 20_000.0
CRS = "EPSG:26915"


def frame(cells: int) -> Frame:
    return Frame(CRS, 0.0, SIDE, SIDE / cells, SIDE / cells, (cells, cells))


def centres(f: Frame) -> np.ndarray:
    x, y = np.meshgrid(f.x, f.y)
    return np.column_stack([x.ravel(), y.ravel()])


@cache
def places(n: int) -> np.ndarray:
    """Half uniform, half in 50 clusters."""
    rng = np.random.default_rng(0)
    hubs = rng.uniform(0, SIDE, (50, 2))
    clustered = hubs[rng.integers(0, 50, n - n // 2)] + rng.normal(0, 300, (n - n // 2, 2))
    return np.vstack([rng.uniform(0, SIDE, (n // 2, 2)), clustered])


@cache
def streets(n: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    a = rng.uniform(0, SIDE, (n, 2))
    return np.asarray(shapely.linestrings(np.stack([a, a + rng.uniform(-120, 120, a.shape)], axis=1)))


@cache
def parks(n: int) -> np.ndarray:
    """Polygons of 16 to 64 vertices."""
    rng = np.random.default_rng(2)
    middles, sizes = rng.uniform(0, SIDE, (n, 2)), rng.uniform(30, 200, n)
    corners = rng.integers(4, 17, n)
    made = [shapely.Point(m).buffer(r, quad_segs=int(q)) for m, r, q in zip(middles, sizes, corners, strict=True)]
    return np.asarray(made)


@cache
def exact(kind: str, n: int, cells: int) -> np.ndarray:
    """The distances themselves, from an independent tree, once for all that are compared."""
    f = frame(cells)
    if kind == "points":
        from scipy.spatial import cKDTree

        return cKDTree(places(n)).query(centres(f), workers=2)[0].reshape(f.shape)
    return strtree(streets(n) if kind == "segments" else parks(n), f)


def strtree(shapes: np.ndarray, f: Frame) -> np.ndarray:
    points = shapely.points(centres(f))
    _, far = shapely.STRtree(shapes).query_nearest(points, all_matches=False, return_distance=True)
    return np.asarray(far).reshape(f.shape)


def agrees(found: np.ndarray, kind: str, n: int, cells: int, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(found, exact(kind, n, cells), rtol=tolerance, atol=1e-9)


@pytest.mark.parametrize("who", ["rtmdx", "pykdtree", "scipy cKDTree"])
@pytest.mark.parametrize("n", [10_000, 100_000])
def test_points(benchmark: Any, n: int, who: str) -> None:
    benchmark.group = f"distance: {n:,} points -> 4000 x 4000"
    f, xy = frame(4000), places(n)
    exact("points", n, 4000)
    if who == "rtmdx":
        found = benchmark.pedantic(
            lambda: distance_array(Features.from_points(xy), f, threads=2), rounds=9, warmup_rounds=1
        )
    elif who == "pykdtree":
        pykdtree = pytest.importorskip("pykdtree.kdtree")
        c = centres(f)
        found = benchmark.pedantic(lambda: pykdtree.KDTree(xy).query(c)[0].reshape(f.shape), rounds=3)
    else:
        from scipy.spatial import cKDTree

        c = centres(f)
        found = benchmark.pedantic(lambda: cKDTree(xy).query(c, workers=2)[0].reshape(f.shape), rounds=2)
    agrees(found, "points", n, 4000)


@pytest.mark.parametrize("who", ["rtmdx", "shapely STRtree", "geopandas sjoin_nearest"])
@pytest.mark.parametrize(("kind", "n"), [("segments", 18_000), ("segments", 180_000), ("polygons", 2_000)])
def test_lines_and_polygons(benchmark: Any, kind: str, n: int, who: str) -> None:
    benchmark.group = f"distance: {n:,} {kind} -> 1000 x 1000"
    f, shapes = frame(1000), streets(n) if kind == "segments" else parks(n)
    exact(kind, n, 1000)
    if who == "rtmdx":
        flat = Features.from_geometries(shapes)
        fresh = [Features.from_arrays(**_arrays(flat)) for _ in range(10)]  # prepared anew in every round
        found = benchmark.pedantic(lambda: distance_array(fresh.pop(), f, threads=2), rounds=9, warmup_rounds=1)
    elif who == "shapely STRtree":
        found = benchmark.pedantic(lambda: strtree(shapes, f), rounds=2)
    else:
        import geopandas as gpd

        cells = gpd.GeoDataFrame(geometry=shapely.points(centres(f)), crs=CRS)
        layer = gpd.GeoDataFrame(geometry=shapes, crs=CRS)

        def joined() -> np.ndarray:
            near = gpd.sjoin_nearest(cells, layer, distance_col="far")["far"]
            return near[~near.index.duplicated()].to_numpy().reshape(f.shape)

        found = benchmark.pedantic(joined, rounds=1)
    agrees(found, kind, n, 1000)


def _arrays(f: Features) -> dict[str, Any]:
    if f.n_lines:
        return {"line_xy": f.line_xy, "line_offsets": f.line_offsets}
    return {"ring_xy": f.ring_xy, "ring_offsets": f.ring_offsets, "polygon_offsets": f.polygon_offsets}


def corner(name: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    along, turn = np.linspace(0, SIDE, n), np.linspace(0, 2 * np.pi, n, endpoint=False)
    return {
        "uniform": rng.uniform(0, SIDE, (n, 2)),
        "one cell": rng.uniform(5000, 5005, (n, 2)),
        "duplicated": np.repeat(rng.uniform(0, SIDE, (100, 2)), n // 100, axis=0),
        "a row": np.column_stack([along, np.full(n, SIDE / 3)]),
        "a diagonal": np.column_stack([along, along]),
        "an oblique line": np.column_stack([along, 2000 + 0.3 * along]),
        "two columns": np.column_stack([np.where(np.arange(n) % 2, SIDE / 3, 2 * SIDE / 3), along]),
        "a circle": SIDE / 2 + 8000 * np.column_stack([np.cos(turn), np.sin(turn)]),
        "a spiral": SIDE / 2 + 0.45 * along[:, None] * np.column_stack([np.cos(20 * turn), np.sin(20 * turn)]),
        "a lattice": 7002.5 + 5.0 * np.column_stack(np.divmod(np.arange(n), 316)),
    }[name]


ODD = [
    "uniform",
    "one cell",
    "duplicated",
    "a row",
    "a diagonal",
    "an oblique line",
    "two columns",
    "a circle",
    "a spiral",
]
ODD += ["a lattice"]


@pytest.mark.parametrize("name", ODD)
def test_corners_of_placement(benchmark: Any, name: str) -> None:
    benchmark.group = "distance: 100,000 points, placed oddly -> 4000 x 4000"
    f, xy = frame(4000), corner(name, 100_000)
    found = benchmark.pedantic(
        lambda: distance_array(Features.from_points(xy), f, dtype="float64", threads=2), rounds=3
    )
    spot_check(found, xy, f)


@pytest.mark.parametrize("name", ["streets", "a row", "an oblique line", "a circle"])
def test_finely_digitised_lines(benchmark: Any, name: str) -> None:
    benchmark.group = "distance: 100,000 segments, placed oddly -> 4000 x 4000"
    f, n = frame(4000), 100_000
    if name == "streets":
        made = _arrays(Features.from_geometries(streets(n)))
    else:
        xy = np.vstack([corner(name, n), corner(name, n)[:1]] if name == "a circle" else [corner(name, n)])
        made = {"line_xy": xy, "line_offsets": np.array([0, len(xy)])}
    found = benchmark.pedantic(
        lambda: distance_array(Features.from_arrays(**made), f, dtype="float64", threads=2), rounds=3
    )
    ends, starts = made["line_xy"], made["line_offsets"]
    first = np.setdiff1d(np.arange(len(ends) - 1), starts[1:] - 1)
    pieces = shapely.STRtree(shapely.linestrings(np.stack([ends[first], ends[first + 1]], axis=1)))
    rng = np.random.default_rng(5)
    r, c = rng.integers(0, 4000, 200), rng.integers(0, 4000, 200)
    _, far = pieces.query_nearest(shapely.points(f.x[c], f.y[r]), all_matches=False, return_distance=True)
    np.testing.assert_allclose(found[r, c], far, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("shape", [(4000, 4000), (16_000_000, 1)], ids=["square", "one column"])
def test_corners_of_size(benchmark: Any, n: int, shape: tuple[int, int]) -> None:
    benchmark.group = f"distance: {n:,} points -> 16 million cells"
    f = Frame(CRS, 0.0, SIDE, SIDE / shape[0], SIDE / shape[0], shape)
    rng = np.random.default_rng(4)
    xy = np.column_stack([rng.uniform(0, SIDE * shape[1] / shape[0], n), rng.uniform(0, SIDE, n)])
    found = benchmark.pedantic(
        lambda: distance_array(Features.from_points(xy), f, dtype="float64", threads=2), rounds=3
    )
    spot_check(found, xy, f)


def spot_check(found: np.ndarray, xy: np.ndarray, f: Frame) -> None:
    rng = np.random.default_rng(5)
    for r, c in zip(rng.integers(0, f.shape[0], 100), rng.integers(0, f.shape[1], 100), strict=True):
        assert found[r, c] == pytest.approx(np.hypot(f.x[c] - xy[:, 0], f.y[r] - xy[:, 1]).min(), rel=1e-9, abs=1e-9)
