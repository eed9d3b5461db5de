"""Which feature is nearest, which band that is, and distances along the axes: each beside its slow, obvious oracle."""

from __future__ import annotations

import itertools
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

import rtmdx
from rtmdx import Features, Frame, allocation_array, distance_array, distance_bands_array
from rtmdx.errors import Cancelled, InputError
from rtmdx.space.grid import Grid

CRS = "EPSG:26915"


def frame(rows: int = 40, cols: int = 50, size: float = 7.0, x: float = 0.0, y: float = 300.0) -> Frame:
    return Frame(CRS, x, y, size, size, (rows, cols))


def scattered(seed: int, n: int = 40) -> list[Any]:
    """Points, lines and polygons, some with holes, some overlapping, around the frame."""
    rng = np.random.default_rng(seed)
    out: list[Any] = []
    for x, y in rng.uniform(-50, 400, (n, 2)):
        kind = rng.integers(0, 4)
        if kind == 0:
            out.append(shapely.Point(x, y))
        elif kind == 1:
            out.append(shapely.LineString(np.cumsum(np.vstack([[x, y], rng.normal(0, 25, (3, 2))]), axis=0)))
        elif kind == 2:
            out.append(shapely.Point(x, y).buffer(rng.uniform(5, 40), quad_segs=3))
        else:
            ring = shapely.Point(x, y).buffer(30, quad_segs=2)
            out.append(ring.difference(shapely.Point(x, y).buffer(12, quad_segs=2)))
    return out


def centres(f: Frame) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(f.x, f.y)
    return x, y


def brute(shapes: list[Any], f: Frame) -> np.ndarray:
    """Distance of every cell from every geometry, shape (n, rows, cols)."""
    x, y = centres(f)
    places = shapely.points(x, y)
    return np.stack([shapely.distance(g, places) for g in shapes])


# --------------------------------------------------------------------------------------------- allocation


@pytest.mark.parametrize("seed", range(6))
def test_the_nearest_is_the_first_of_the_nearest(seed: int) -> None:
    shapes, f = scattered(seed), frame()
    far = brute(shapes, f)
    d, index = allocation_array(shapes, f, dtype="float64")
    np.testing.assert_array_equal(d, distance_array(shapes, f, dtype="float64"))
    np.testing.assert_allclose(d, far.min(axis=0), rtol=1e-12, atol=1e-12)
    chosen = np.take_along_axis(far, index[None], axis=0)[0]
    np.testing.assert_allclose(chosen, far.min(axis=0), rtol=1e-12, atol=1e-12)
    inside = far.min(axis=0) == 0  # exact ties: overlapping polygons
    np.testing.assert_array_equal(index[inside], (far == 0).argmax(axis=0)[inside])


def test_ties_go_to_the_geometry_given_first() -> None:
    f = Frame(CRS, 0.0, 10.0, 1.0, 1.0, (10, 10))
    same = np.array([[5.5, 5.5]] * 3)
    assert (allocation_array(same, f)[1] == 0).all()
    pair = np.array([[8.0, 5.0], [2.0, 5.0]])  # cells at x = 4.5 and 5.5 are one side each; none is equidistant
    _, index = allocation_array(pair, f)
    assert (index[:, :5] == 1).all()
    assert (index[:, 5:] == 0).all()
    middle = np.array([[7.5, 5.5], [3.5, 5.5]])  # column 5 is equidistant
    assert (allocation_array(middle, f)[1][:, 5] == 0).all()
    assert (allocation_array(middle[::-1], f)[1][:, 5] == 0).all()


def test_a_point_on_the_centre_and_the_polygon_around_it_tie() -> None:
    f = Frame(CRS, 0.0, 10.0, 1.0, 1.0, (10, 10))
    park, tree = shapely.box(2, 2, 9, 9), shapely.Point(5.5, 5.5)
    d, index = allocation_array([tree, park], f)
    assert d[4, 5] == 0
    assert index[4, 5] == 0
    assert index[4, 6] == 1  # inside the park, however near the tree is
    assert allocation_array([park, tree], f)[1][4, 5] == 0
    whole = Frame(CRS, 3.0, 8.0, 1.0, 1.0, (5, 5))  # every cell inside
    assert allocation_array([tree, park], whole)[1].tolist().count([1, 1, 0, 1, 1]) == 1


def test_parts_carry_the_position_of_their_geometry() -> None:
    f = frame()
    shapes = [None, shapely.MultiPoint([(10, 290), (340, 30)]), shapely.Point(170, 160), shapely.Point()]
    _, index = allocation_array(shapes, f)
    assert set(np.unique(index)) == {1, 2}
    assert index[0, 0] == index[-1, -1] == 1


@pytest.mark.parametrize("reach", [0.0, 15.0, 60.0])
def test_nothing_within_reach_is_minus_one(reach: float) -> None:
    shapes, f = scattered(3), frame()
    d, index = allocation_array(shapes, f, max_distance=reach, dtype="float64")
    np.testing.assert_array_equal(index == -1, np.isinf(d))
    full = allocation_array(shapes, f)[1]
    np.testing.assert_array_equal(index[index >= 0], full[index >= 0])
    assert (allocation_array(np.empty((0, 2)), f)[1] == -1).all()


def test_allocation_as_a_dataset() -> None:
    mask = np.ones((12, 9), dtype=bool)
    mask[3, 4] = False
    grid = Grid(CRS, 0.0, 120.0, 10.0, mask)
    made = rtmdx.allocation([shapely.Point(20, 20), shapely.Point(80, 100)], grid, max_distance=50, window=(2, 3, 5, 4))
    assert set(made.data_vars) == {"distance", "index"}
    assert made["index"].dtype == np.int64
    assert made["index"].values[1, 1] == -1
    assert np.isnan(made["distance"].values[1, 1])
    xr.testing.assert_equal(
        made["distance"].drop_vars("spatial_ref"),
        rtmdx.distance([shapely.Point(20, 20), shapely.Point(80, 100)], grid, max_distance=50)[2:7, 3:7].drop_vars(
            "spatial_ref"
        ),
    )


# --------------------------------------------------------------------------------------------------- bands


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    limits=st.lists(st.floats(0, 300), min_size=1, max_size=12, unique=True).map(sorted),
    metric=st.sampled_from(["euclidean", "manhattan"]),
    n=st.sampled_from([0, 1, 7, 60]),
)
def test_bands_are_the_comparisons_of_the_double_distance(seed: int, limits: list[float], metric: Any, n: int) -> None:
    shapes, f = scattered(seed, n), frame(33, 70)
    far = distance_array(shapes, f, dtype="float64", metric=metric)
    want = sum((far > limit).astype(np.uint8) for limit in limits)
    np.testing.assert_array_equal(distance_bands_array(shapes, f, limits, metric=metric), want)


def test_a_limit_met_exactly_is_within() -> None:
    f = Frame(CRS, 0.0, 1.0, 1.0, 1.0, (1, 2000))
    codes = distance_bands_array(np.array([[0.5, 0.5]]), f, [0.0, 100.0, 1000.0, 1500.0])[0]
    assert codes[0] == 0
    assert (codes[1:101] == 1).all()
    assert (codes[101:1001] == 2).all()
    assert (codes[1001:1501] == 3).all()
    assert (codes[1501:] == 4).all()
    root = Frame(CRS, 0.0, 1.0, 1.0, 1.0, (1, 300))
    far = distance_array(np.array([[0.1, 0.3]]), root, dtype="float64")[0]
    limits = np.unique(far)[:255]  # each distance is a limit
    np.testing.assert_array_equal(
        distance_bands_array(np.array([[0.1, 0.3]]), root, limits)[0], np.searchsorted(limits, far)
    )


def test_bands_on_a_real_size() -> None:
    rng = np.random.default_rng(0)
    f = Frame(CRS, 0.0, 20_000.0, 20.0, 20.0, (1000, 1000))
    places = rng.uniform(0, 20_000, (500, 2))
    limits = [100.0, 200.0, 300.0, 400.0, 500.0, 600.0]
    far = distance_array(places, f, dtype="float64")
    np.testing.assert_array_equal(distance_bands_array(places, f, limits), np.searchsorted(limits, far))


@pytest.mark.parametrize("limits", [[], [2.0, 1.0], [1.0, 1.0], [-1.0], [np.nan], list(range(256)), [[1.0]]])
def test_limits_that_make_no_bands(limits: Any) -> None:
    with pytest.raises(InputError, match="limits"):
        distance_bands_array(np.ones((1, 2)), frame(), limits)


# ----------------------------------------------------------------------------------------------- Manhattan


def l1_of_segment(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The least sum of axis distances: where the segment crosses the column or the row, or an end."""
    best = np.full(x.shape, np.inf)
    u = b - a
    with np.errstate(divide="ignore", invalid="ignore"):
        for t in (np.zeros(x.shape), np.ones(x.shape), (x - a[0]) / u[0], (y - a[1]) / u[1]):
            s = np.clip(np.nan_to_num(t, nan=0.0), 0, 1)
            best = np.minimum(best, np.abs(x - a[0] - s * u[0]) + np.abs(y - a[1] - s * u[1]))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_manhattan_of_points_lines_and_polygons(seed: int) -> None:
    shapes, f = scattered(seed, 25), frame()
    x, y = centres(f)
    want = np.full(x.shape, np.inf)
    for g in shapes:
        if g.geom_type == "Point":
            want = np.minimum(want, np.abs(x - g.x) + np.abs(y - g.y))
            continue
        lines = [g.coords] if g.geom_type == "LineString" else [g.exterior.coords, *(r.coords for r in g.interiors)]
        for xy in map(np.asarray, lines):
            for a, b in itertools.pairwise(xy):
                want = np.minimum(want, l1_of_segment(x, y, a, b))
        if g.geom_type == "Polygon":
            want[shapely.contains_xy(g, x, y)] = 0
    got = distance_array(shapes, f, metric="manhattan", dtype="float64")
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(allocation_array(shapes, f, metric="manhattan", dtype="float64")[0], got)
    straight = distance_array(shapes, f, dtype="float64")
    assert (got >= straight * (1 - 1e-12)).all()
    assert (got <= straight * np.sqrt(2) * (1 + 1e-12)).all()


def test_manhattan_is_scipys_for_points() -> None:
    from scipy.spatial import cKDTree

    f = frame(300, 280, 1.0)
    places = np.random.default_rng(1).uniform(0, 300, (900, 2))
    x, y = centres(f)
    want, who = cKDTree(places).query(np.column_stack([x.ravel(), y.ravel()]), p=1)
    d, index = allocation_array(places, f, metric="manhattan", dtype="float64")
    np.testing.assert_allclose(d.ravel(), want, rtol=1e-12)
    assert (index.ravel() == who).mean() > 0.999


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(InputError, match="metric: found 'taxi', expected one of euclidean, manhattan"):
        distance_array(np.ones((1, 2)), frame(), metric="taxi")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------ windows, threads, reuse


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), data=st.data())
def test_windows_and_threads_hold_the_bits_of_the_whole(seed: int, data: st.DataObject) -> None:
    f, shapes = frame(150, 170, 2.0), Features.of(scattered(seed, 30))
    metric = data.draw(st.sampled_from(["euclidean", "manhattan"]))
    d, index = allocation_array(shapes, f, metric=metric, threads=1)
    codes = distance_bands_array(shapes, f, [10, 20, 50], metric=metric, threads=1)
    row, col = data.draw(st.integers(0, 149)), data.draw(st.integers(0, 169))
    part = (row, col, data.draw(st.integers(0, 150 - row)), data.draw(st.integers(0, 170 - col)))
    cut = np.s_[row : row + part[2], col : col + part[3]]
    for threads in (1, 2, 7):
        d2, index2 = allocation_array(shapes, f, metric=metric, window=part, threads=threads)
        np.testing.assert_array_equal(d2, d[cut])
        np.testing.assert_array_equal(index2, index[cut])
        np.testing.assert_array_equal(
            distance_bands_array(shapes, f, [10, 20, 50], metric=metric, window=part, threads=threads), codes[cut]
        )


def test_mirrored_and_turned_features_give_mirrored_and_turned_rasters() -> None:
    f = Frame(CRS, -64.0, 64.0, 1.0, 1.0, (128, 128))
    shapes = [affinity.translate(g, -170, -170) for g in scattered(9)]
    d, index = allocation_array(shapes, f, metric="manhattan", dtype="float64")
    mirrored = [affinity.scale(g, -1, 1, origin=(0, 0)) for g in shapes]
    d2, index2 = allocation_array(mirrored, f, metric="manhattan", dtype="float64")
    np.testing.assert_allclose(d2, d[:, ::-1], rtol=1e-12, atol=1e-12)
    assert (index2 == index[:, ::-1]).mean() > 0.99
    turned = [affinity.affine_transform(g, [0, -1, 1, 0, 0, 0]) for g in shapes]
    np.testing.assert_allclose(
        distance_array(turned, f, dtype="float64"),
        np.rot90(distance_array(shapes, f, dtype="float64")),
        rtol=1e-12,
        atol=1e-12,
    )


def test_features_are_prepared_once_for_a_frame() -> None:
    features, f = Features.of(scattered(1)), frame()
    first = distance_array(features, f)
    kept = features.__dict__["_nearest"]
    distance_array(features, f, window=(3, 3, 10, 10))
    allocation_array(features, f)
    assert features.__dict__["_nearest"] is kept
    elsewhere = frame(x=100.0)
    moved = distance_array(features, elsewhere)
    np.testing.assert_array_equal(moved, distance_array(Features.of(scattered(1)), elsewhere))
    again = pickle.loads(pickle.dumps(features))
    assert "_nearest" not in again.__dict__
    np.testing.assert_array_equal(distance_array(again, f), first)


def test_two_threads_may_use_the_same_features_on_different_frames() -> None:
    features = Features.of(scattered(2, 200))
    frames = [frame(x=100.0 * i) for i in range(4)]
    want = [distance_array(Features.of(scattered(2, 200)), f) for f in frames]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            if not np.array_equal(distance_array(features, frames[i], threads=1), want[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_preparing_many_points_can_be_cancelled() -> None:
    features = Features.from_points(np.random.default_rng(0).uniform(0, 300, (2_000_000, 2)))
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        distance_array(features, frame(), cancel=lambda: next(asked) > 2)
    assert "_nearest" not in features.__dict__
