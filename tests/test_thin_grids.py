"""Distance where a grid or a window is a few cells thin: tiles are longer there, and evaluated along their columns."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdx.space.distance import allocation_array, distance_array, distance_bands_array
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame

CRS = "EPSG:26915"
SHAPES = [(5000, 1), (1, 5000), (3000, 3), (3, 3000), (2500, 5), (1300, 9), (1, 1), (2, 1)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=[f"{r} x {c}" for r, c in SHAPES])
metrics = pytest.mark.parametrize("metric", ["euclidean", "manhattan"])


def frame(shape):
    return Frame(CRS, 0.0, 4.0 * shape[0], 3.0, 4.0, shape)


def points(f, n, seed=0):
    """Some around the frame, some crowded in one place, one at a cell's centre."""
    rng = np.random.default_rng(seed)
    wide, high = 3.0 * f.shape[1], 4.0 * f.shape[0]
    around = np.column_stack([rng.uniform(-9, wide + 9, n), rng.uniform(-9, high + 9, n)])
    crowd = np.array([wide / 3, high / 3]) + rng.normal(0, 2, (n // 2, 2))
    return np.vstack([around, crowd, [[f.x[-1], f.y[-1]]]])


def by_hand(xy, f, metric):
    x, y = np.meshgrid(f.x, f.y)
    ex, ey = np.abs(x[..., None] - xy[:, 0]), np.abs(y[..., None] - xy[:, 1])
    return (np.hypot(ex, ey) if metric == "euclidean" else ex + ey).min(axis=-1)


@shapes
@metrics
@pytest.mark.parametrize("n", [1, 20, 600])
def test_brute_force(shape, metric, n):
    f = frame(shape)
    xy = points(f, n)
    want = by_hand(xy, f, metric)
    got = distance_array(xy, f, metric=metric, dtype="float64", threads=1)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=2e-11)  # the coordinates' own rounding
    np.testing.assert_allclose(distance_array(xy, f, metric=metric, threads=2), want, rtol=1e-6, atol=1e-9)
    limits = [2.0, 5.0, 11.0, 40.0]
    codes = distance_bands_array(xy, f, limits, metric=metric, threads=1)
    assert np.array_equal(codes, (got[..., None] > np.array(limits)).sum(axis=-1))
    far, index = allocation_array(xy, f, metric=metric, dtype="float64", threads=2)
    assert np.array_equal(far, got)
    assert index.min() >= 0
    near = distance_array(xy, f, metric=metric, dtype="float64", max_distance=5.0, threads=1)
    assert np.array_equal(near, np.where(got <= 5.0, got, np.inf))


@metrics
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_thin_windows_of_a_wide_grid(metric, dtype):
    f = frame((700, 900))
    features = Features.from_points(points(f, 900))
    whole = distance_array(features, f, metric=metric, dtype=dtype, threads=2)
    for r, c, rows, cols in [
        (3, 517, 697, 1),
        (0, 255, 700, 3),
        (126, 0, 4, 900),
        (511, 1, 1, 899),
        (130, 126, 300, 8),
    ]:
        part = distance_array(features, f, metric=metric, dtype=dtype, window=(r, c, rows, cols), threads=1)
        assert np.array_equal(part, whole[r : r + rows, c : c + cols])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_apart_in_memory(dtype):
    f = frame((2000, 2))
    xy = points(f, 50)
    plain = distance_array(xy, f, dtype=dtype, threads=1)
    around = np.full((2000, 7), -1.0, dtype=dtype)
    distance_array(xy, f, out=around[:, 2:4], threads=1)
    assert np.array_equal(around[:, 2:4], plain)
    assert np.all(around[:, [0, 1, 4, 5, 6]] == -1.0)
    upside_down = np.empty((2000, 2), dtype=dtype)
    distance_array(xy, f, out=upside_down[::-1], threads=1)
    assert np.array_equal(upside_down[::-1], plain)


@pytest.mark.parametrize("scale", [2.0**-400, 2.0**-80, 2.0**40, 2.0**60])
def test_beyond_single_precision(scale):
    """Squares leave single precision's range long before distances do; a point at a centre is at distance 0."""
    f = Frame(CRS, 0.0, 40.0 * scale, scale, scale, (40, 30))
    xy = np.array([[4.5, 7.5], [20.0, 31.0]]) * scale
    got = distance_array(xy, f, dtype="float64", threads=1)
    np.testing.assert_allclose(got, by_hand(xy, f, "euclidean"), rtol=1e-12)
    assert got[40 - 8, 4] == 0.0
    with np.errstate(over="ignore", under="ignore"):
        single = distance_array(xy, f, threads=1)
        want = got.astype(np.float32)
    np.testing.assert_allclose(single, want, rtol=2e-7, atol=1e-44)
