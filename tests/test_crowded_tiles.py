"""Distance where thousands of features crowd a few cells: the engine searches for each cell there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from scipy.spatial import cKDTree

from rtmdx import Features, Frame, allocation_array, distance_array, distance_bands_array

CRS = "EPSG:26915"
N = 30_000


def crowd(kind: str, frame: Frame) -> np.ndarray:
    rng = np.random.default_rng(5)
    t = rng.uniform(0, 1, N)
    width, height = frame.dx * frame.shape[1], frame.dy * frame.shape[0]
    x, y = {
        "oblique line": (t, 0.2 + 0.5 * t),
        "falling line": (t, 0.9 - 0.7 * t),
        "row": (t, np.full(N, 0.37)),
        "column": (np.full(N, 0.61), t),
        "line far off": (5 * t - 2, -1.5 - 4 * t),
        "circle": (0.5 + 0.45 * np.cos(2 * np.pi * t), 0.5 + 0.45 * np.sin(2 * np.pi * t)),
        "one cell": (0.4 + t / frame.shape[1], 0.6 + rng.uniform(0, 1, N) / frame.shape[0]),
        "same places": tuple(np.repeat(rng.uniform(0, 1, (2, N // 200)), 200, axis=1)),
    }[kind]
    return np.column_stack([frame.x_min + width * x, frame.y_max - height * (1 - y)])


KINDS = ["oblique line", "falling line", "row", "column", "line far off", "circle", "one cell", "same places"]


@pytest.mark.parametrize("place", [(0.0, 130.0), (1e7, 2e7)])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
@pytest.mark.parametrize("kind", KINDS)
def test_crowds_against_a_tree(kind: str, metric: Any, place: tuple[float, float]) -> None:
    frame = Frame(CRS, place[0], place[1], 1.0, 1.0, (130, 141))
    points = crowd(kind, frame)
    features = Features.from_points(points)
    local = points - place
    x, y = np.meshgrid(np.arange(141) + 0.5, -np.arange(130) - 0.5)
    cells = np.column_stack([x.ravel(), y.ravel()])
    want = cKDTree(local).query(cells, p=2 if metric == "euclidean" else 1)[0].reshape(x.shape)

    found, index = allocation_array(features, frame, metric=metric, dtype="float64", threads=1)
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12)
    apart = np.abs(cells - local[index.ravel()])
    named = np.hypot(*apart.T) if metric == "euclidean" else apart.sum(axis=1)
    np.testing.assert_allclose(named.reshape(x.shape), want, rtol=1e-12, atol=1e-12)
    if kind == "same places":
        assert (index % 200 == 0).all()  # of equal places the first

    window = (21, 5, 60, 77)
    cut = np.s_[21:81, 5:82]
    for threads in (2, 7):
        part, who = allocation_array(features, frame, metric=metric, dtype="float64", window=window, threads=threads)
        np.testing.assert_array_equal(part, found[cut])
        np.testing.assert_array_equal(who, index[cut])
    np.testing.assert_array_equal(distance_array(features, frame, metric=metric, dtype="float64"), found)
    single = distance_array(features, frame, metric=metric)
    np.testing.assert_allclose(single, want, rtol=1e-6, atol=1e-9)
    limits = np.unique(np.quantile(found, [0.1, 0.5, 0.9]))
    codes = distance_bands_array(features, frame, limits, metric=metric)
    np.testing.assert_array_equal(codes, np.searchsorted(limits, found))


@pytest.mark.parametrize("turn", [False, True])
def test_an_outline_of_many_vertices(turn: bool) -> None:
    angle = np.linspace(0, 2 * np.pi, 30_000, endpoint=False)
    ring = np.column_stack([70 + 55 * np.cos(angle), 65 + 45 * np.sin(angle)])
    frame = Frame(CRS, 0.0, 130.0, 1.0, 1.0, (130, 141))
    x, y = np.meshgrid(frame.x, frame.y)
    shape = shapely.LinearRing(ring) if turn else shapely.Polygon(ring)
    got = distance_array([shape], frame, dtype="float64")
    some = np.random.default_rng(0).integers(0, x.size, 150)
    want = shapely.distance(shape, shapely.points(x.ravel()[some], y.ravel()[some]))
    np.testing.assert_allclose(got.ravel()[some], want, rtol=1e-12, atol=1e-11)
    window = (40, 30, 50, 60)
    np.testing.assert_array_equal(
        distance_array([shape], frame, dtype="float64", window=window, threads=2), got[40:90, 30:90]
    )
