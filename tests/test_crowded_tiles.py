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


def strung(kind: str, frame: Frame, n: int) -> np.ndarray:
    """Points along a line, by their share of the frame; far more than the cells that they pass."""
    rng = np.random.default_rng(8)
    t, even = np.sort(rng.uniform(0, 1, n)), np.linspace(0, 1, n)
    half = np.zeros(n)
    half[::2] = 1
    turn = 2 * np.pi * even
    x, y = {
        "even row": (even, np.full(n, 0.31)),
        "uneven column": (np.full(n, 0.3), t**3),
        "diagonal": (even, even),
        "oblique": (even, 0.2 + 0.3 * even),
        "two columns": (0.25 + 0.5 * half, t),
        "row beyond the edge": (3 * even - 1, np.full(n, 1.7)),
        "short row": (0.4 + 0.05 * even, np.full(n, 0.5)),
        "row with outliers": (even, 0.31 + 0.2 * (rng.uniform(0, 1, n) < 3e-4)),
        "rough row": (even, 0.31 + 1e-5 * rng.normal(0, 1, n)),
        "circle": (0.5 + 0.4 * np.cos(turn), 0.5 + 0.4 * np.sin(turn)),
        "wave": (even, 0.5 + 0.1 * np.sin(9 * even)),
        "spiral": (0.5 + 0.45 * even * np.cos(5 * turn), 0.5 + 0.45 * even * np.sin(5 * turn)),
        "lattice": (np.repeat(np.arange(200), n // 200)[:n] / 200, np.tile(np.arange(n // 200), 200)[:n] * 200 / n),
    }[kind]
    width, height = frame.dx * frame.shape[1], frame.dy * frame.shape[0]
    return np.column_stack([frame.x_min + width * x, frame.y_max - height * y])


STRUNG = ["even row", "uneven column", "diagonal", "oblique", "two columns", "row beyond the edge", "short row"]
STRUNG += ["row with outliers", "rough row", "circle", "wave", "spiral", "lattice"]


@pytest.mark.parametrize("place", [(0.0, 300.0), (3e5, 5e6)])
@pytest.mark.parametrize("kind", STRUNG)
def test_strung_points_to_the_last_bit(kind: str, place: tuple[float, float]) -> None:
    frame = Frame(CRS, place[0], place[1], 1.0, 1.0, (260, 270))
    points = strung(kind, frame, 20_000)
    features = Features.from_points(points)
    found, index = allocation_array(features, frame, dtype="float64", threads=1)
    np.testing.assert_array_equal(distance_array(features, frame, dtype="float64", threads=2), found)

    local_x, local_y = points[:, 0] - frame.x_min, frame.y_max - points[:, 1]
    rng = np.random.default_rng(1)
    for r, c in zip(rng.integers(0, 260, 400), rng.integers(0, 270, 400), strict=True):
        ex, ey = c + 0.5 - local_x, r + 0.5 - local_y
        squares = ex * ex + ey * ey
        assert found[r, c] == np.sqrt(squares.min())
        assert index[r, c] == squares.argmin()

    window = (37, 3, 150, 201)
    part, who = allocation_array(features, frame, dtype="float64", window=window, threads=3)
    np.testing.assert_array_equal(part, found[37:187, 3:204])
    np.testing.assert_array_equal(who, index[37:187, 3:204])
    near = distance_array(features, frame, dtype="float64", max_distance=20.0)
    np.testing.assert_array_equal(near, np.where(found <= 20.0, found, np.inf))
    limits = [3.0, 20.0, 90.0]
    np.testing.assert_array_equal(distance_bands_array(features, frame, limits), np.searchsorted(limits, found))


@pytest.mark.parametrize("kind", ["even row", "uneven column", "oblique", "circle", "wave", "spiral"])
def test_finely_digitised_lines(kind: str) -> None:
    frame = Frame(CRS, 0.0, 260.0, 1.0, 1.0, (260, 270))
    points = strung(kind, frame, 15_000)
    line = shapely.LineString(points)
    found, index = allocation_array([line], frame, dtype="float64")
    assert (index == 0).all()
    x, y = np.meshgrid(frame.x, frame.y)
    some = np.random.default_rng(0).integers(0, x.size, 300)
    pieces = shapely.linestrings(np.stack([points[:-1], points[1:]], axis=1))
    at = shapely.points(x.ravel()[some], y.ravel()[some])
    want = shapely.STRtree(pieces).query_nearest(at, all_matches=False, return_distance=True)[1]
    np.testing.assert_allclose(found.ravel()[some], want, rtol=1e-11, atol=1e-11)

    # Each piece alone is searched plainly: the same bits from the least of them.
    window = (100, 60, 9, 11)
    plain = np.full((9, 11), np.inf)
    for k in range(0, len(pieces), 500):
        few = distance_array(pieces[k : k + 500 : 1], frame, dtype="float64", window=window)
        plain = np.minimum(plain, few)
    np.testing.assert_array_equal(distance_array([line], frame, dtype="float64", window=window), plain)
    np.testing.assert_array_equal(found[100:109, 60:71], plain)


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
