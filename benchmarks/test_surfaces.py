"""Distance beside what a user would otherwise call; the answers are asserted equal.

Run: pytest benchmarks --benchmark-only
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from scipy.spatial import cKDTree

from rtmdx.space.distance import distance_array
from rtmdx.space.features import Features
from rtmdx.space.grid import Grid


def centres(grid: Grid) -> np.ndarray:
    x, y = np.meshgrid(grid.x, grid.y)
    return np.column_stack([x.ravel(), y.ravel()])


@pytest.mark.benchmark(group="distance: 10,000 points -> 1000 x 1000 cells")
@pytest.mark.parametrize("who", ["rtmdx", "scipy cKDTree, 2 workers"])
def test_points(benchmark: Any, grid: Grid, places: np.ndarray, who: str) -> None:
    if who == "rtmdx":
        features = Features.from_points(places)
        found = benchmark(lambda: distance_array(features, grid, dtype="float64", threads=2))
    else:
        c = centres(grid)
        found = benchmark.pedantic(lambda: cKDTree(places).query(c, workers=2)[0].reshape(grid.shape), rounds=3)
    some = np.random.default_rng(2).integers(0, 1000, (500, 2))
    brute = [np.hypot(grid.x[c] - places[:, 0], grid.y[r] - places[:, 1]).min() for r, c in some]
    np.testing.assert_allclose(found[some[:, 0], some[:, 1]], brute, rtol=1e-9)


@pytest.mark.benchmark(group="distance: 18,000 segments -> 1000 x 1000 cells")
@pytest.mark.parametrize("who", ["rtmdx", "shapely STRtree"])
def test_segments(benchmark: Any, grid: Grid, streets: np.ndarray, who: str) -> None:
    if who == "rtmdx":
        features = Features.from_geometries(streets)
        found = benchmark(lambda: distance_array(features, grid, dtype="float64", threads=2))
    else:
        points = shapely.points(centres(grid))

        def nearest() -> np.ndarray:
            _, distance = shapely.STRtree(streets).query_nearest(points, all_matches=False, return_distance=True)
            return distance.reshape(grid.shape)

        found = benchmark.pedantic(nearest, rounds=1)
    some = np.random.default_rng(2).integers(0, 1000, (50, 2))
    brute = [shapely.distance(shapely.Point(grid.x[c], grid.y[r]), streets).min() for r, c in some]
    np.testing.assert_allclose(found[some[:, 0], some[:, 1]], brute, rtol=1e-9)
