"""Distance against Shapely, and properties that must hold exactly."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rtmdx.space.distance import distance_array
from rtmdx.space.features import Features
from rtmdx.space.grid import Grid

CRS = pyproj.CRS("EPSG:32615")


def grid(rows=37, cols=53, size=1.0, x_min=0.0, y_min=0.0):
    return Grid(CRS, x_min, y_min + rows * size, size, np.ones((rows, cols), dtype=bool))


def centres(g):
    return np.meshgrid(g.x, g.y)


def nearest_by_hand(geometries, g):
    """The smallest distance to any geometry, without a union that could move coordinates."""
    x, y = centres(g)
    p = shapely.points(x, y)
    best = np.full(x.shape, np.inf)
    for geometry in geometries:
        best = np.minimum(best, shapely.distance(geometry, p))
    return best


def assert_distance(geometries, g, **options):
    want = nearest_by_hand(geometries, g)
    got = distance_array(geometries, g, dtype="float64", **options)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    single = distance_array(geometries, g, dtype="float32", **options)
    np.testing.assert_allclose(single, got, rtol=1.5e-7)  # the root is taken in single precision
    np.testing.assert_allclose(single, want, rtol=1e-6, atol=1e-9)


def scatter(n, seed=0, low=-20.0, high=70.0):
    return np.random.default_rng(seed).uniform(low, high, (n, 2))


def some_lines(n=40, seed=1):
    rng = np.random.default_rng(seed)
    return [
        shapely.LineString(rng.uniform(-20, 70, 2) + rng.normal(0, 8, (int(rng.integers(2, 6)), 2))) for _ in range(n)
    ]


def some_polygons(n=12, seed=2):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        centre = rng.uniform(0, 50, 2)
        angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
        ring = centre + np.c_[np.cos(angle), np.sin(angle)] * rng.uniform(4, 9, (9, 1))
        outline = shapely.Polygon(ring)
        if outline.is_valid:
            out.append(outline.difference(shapely.Point(centre).buffer(2.2)))
    return out


MIXED = [
    shapely.MultiPoint([(3, 4), (40, 30)]),
    shapely.MultiLineString([[(0, 0), (10, 12)], [(30, 5), (33, 30), (50, 31)]]),
    shapely.MultiPolygon([shapely.box(20, 20, 26, 28), shapely.box(42, 2, 48, 9)]),
    shapely.GeometryCollection(
        [shapely.Point(12, 33), shapely.LineString([(1, 30), (8, 36)]), shapely.box(0, 15, 2, 18)]
    ),
]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9, 200, 3000])
def test_points(n):
    assert_distance(shapely.points(scatter(n)), grid())


@pytest.mark.parametrize("size", [0.25, 3.7])
def test_lines(size):
    assert_distance(some_lines(), grid(61, 43, size))


def test_polygons_with_holes_that_overlap():
    polygons = some_polygons()
    assert any(a.overlaps(b) for a in polygons for b in polygons)
    g = grid(61, 55, 0.9)
    assert_distance(polygons, g)
    inside = distance_array(polygons, g) == 0
    x, y = centres(g)
    covered = np.zeros(x.shape, dtype=bool)
    for p in polygons:
        covered |= shapely.intersects_xy(p, x, y)
    np.testing.assert_array_equal(inside, covered)


def test_a_hole_filled_by_another_polygon_is_inside():
    ring = shapely.box(5, 5, 30, 30).difference(shapely.box(10, 10, 20, 20))
    assert_distance([ring, shapely.box(12, 12, 16, 16)], grid())


def test_mixed_and_collections():
    assert_distance(MIXED, grid())
    assert_distance([shapely.GeometryCollection([shapely.GeometryCollection(MIXED)])], grid())


def test_boundaries_through_centres_are_zero():
    square = shapely.box(10.5, 10.5, 20.5, 20.5)
    d = distance_array([square], grid(), dtype="float64")
    assert np.count_nonzero(d == 0) == 11 * 11


def test_rectangle_many_tiles_against_shapely_tree():
    g = grid(300, 410, 2.0, x_min=-30.0, y_min=17.0)
    points = scatter(500, 5, -50, 900)
    x, y = centres(g)
    from scipy.spatial import cKDTree

    want = cKDTree(points).query(np.c_[x.ravel(), y.ravel()])[0].reshape(x.shape)
    np.testing.assert_allclose(distance_array(points, g, dtype="float64"), want, rtol=1e-12)


def test_a_far_cluster_and_a_ring_of_ties():
    cluster = 500 + scatter(3000, 7, 0, 1)
    assert_distance([shapely.MultiPoint(cluster)], grid())
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    circle = np.c_[np.cos(angle), np.sin(angle)] * 10 + [26.5, 18.5]
    assert_distance([shapely.MultiPoint(circle)], grid())
    assert_distance([shapely.LinearRing(circle)], grid())


def all_kinds():
    return {
        "points": shapely.points(scatter(400, 3, 0, 300)),
        "lines": np.array([shapely.affinity.scale(s, 4, 4, origin=(0, 0)) for s in some_lines(80)]),
        "polygons": np.array([shapely.affinity.scale(p, 4, 4, origin=(0, 0)) for p in some_polygons(20)]),
    }


@pytest.mark.parametrize("kind", ["points", "lines", "polygons"])
def test_windows_and_threads_give_the_same_bits(kind):
    g = grid(290, 301, 0.9)
    features = Features.from_geometries(all_kinds()[kind])
    for dtype in ("float32", "float64"):
        whole = distance_array(features, g, dtype=dtype, threads=1)
        for threads in (2, 7):
            assert np.array_equal(distance_array(features, g, dtype=dtype, threads=threads), whole)
        for window in [
            (0, 0, 1, 1),
            (3, 130, 200, 7),
            (127, 127, 3, 3),
            (289, 0, 1, 301),
            (11, 5, 270, 290),
            (5, 5, 0, 9),
        ]:
            r, c, h, w = window
            part = distance_array(features, g, dtype=dtype, window=window, threads=2)
            assert np.array_equal(part, whole[r : r + h, c : c + w])
        limited = distance_array(features, g, dtype=dtype, max_distance=12.5)
        exact = distance_array(features, g, dtype="float64")
        assert np.array_equal(limited, np.where(exact <= 12.5, whole, np.inf).astype(dtype))


@pytest.mark.parametrize("kind", ["points", "lines", "polygons"])
def test_translation_by_ten_million_changes_nothing(kind):
    rng = np.random.default_rng(4)
    shapes = [shapely.transform(s, lambda xy: np.round(xy * 16) / 16) for s in all_kinds()[kind]]
    shapes = [s for s in shapes if s.is_valid]
    here = distance_array(shapes, grid(90, 80), dtype="float64")
    dx, dy = 1e7 + float(rng.integers(99)), -2e7
    there = distance_array(
        [shapely.affinity.translate(s, dx, dy) for s in shapes],
        grid(90, 80, x_min=dx, y_min=dy),
        dtype="float64",
    )
    assert np.array_equal(here, there)


def test_mirror():
    g = grid(40, 40)
    lines = some_lines()
    flipped = [shapely.transform(s, lambda xy: np.c_[40 - xy[:, 0], xy[:, 1]]) for s in lines]
    np.testing.assert_allclose(
        distance_array(flipped, g, dtype="float64"),
        distance_array(lines, g, dtype="float64")[:, ::-1],
        atol=1e-12,
    )


def test_more_features_never_lie_farther():
    points = scatter(300)
    some, more = (distance_array(p, grid(), dtype="float64") for p in (points[:40], points))
    assert np.all(more <= some)


def test_units():
    points = scatter(100)
    np.testing.assert_array_equal(
        distance_array(points * 4, grid(size=4.0), dtype="float64"),
        4 * distance_array(points, grid(), dtype="float64"),
    )


def test_nothing_and_little():
    g = grid()
    assert np.all(np.isinf(distance_array(np.empty((0, 2)), g)))
    assert np.all(np.isinf(distance_array([], g)))
    assert distance_array(np.array([[0.5, 0.5]]), grid(1, 1)).tolist() == [[0.0]]
    spot = distance_array([shapely.LineString([(7, 9), (7, 9)])], g, dtype="float64")
    np.testing.assert_allclose(spot, nearest_by_hand([shapely.Point(7, 9)], g), rtol=1e-14)
    tiny = distance_array([shapely.LineString([(7, 9), (7 + 1e-200, 9)])], g, dtype="float64")
    np.testing.assert_allclose(tiny, spot, rtol=1e-14)
    twice = np.repeat(scatter(50), 20, axis=0)
    assert np.array_equal(distance_array(twice, g), distance_array(twice[::20], g))
    assert np.array_equal(distance_array([shapely.Point(5, 5)], g, max_distance=0.0), np.full(g.shape, np.inf))
    assert distance_array([shapely.Point(5.5, 5.5)], g, max_distance=0.0).min() == 0


def test_out_is_written_in_place():
    big = np.full((40, 60), -1.0, dtype=np.float32)
    g = grid()
    view = big[2:39, 3:56]
    assert distance_array(scatter(9), g, out=view) is view
    assert np.array_equal(view, distance_array(scatter(9), g))
    assert np.all(big[:2] == -1)
    assert np.all(big[:, :3] == -1)


coordinates = st.integers(-40, 120).map(lambda v: v / 2)
point_sets = hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=coordinates)


@settings(max_examples=60, deadline=None)
@given(points=point_sets, rows=st.integers(1, 40), cols=st.integers(1, 40), reach=st.floats(0, 90))
def test_points_property(points, rows, cols, reach):
    g = grid(rows, cols)
    x, y = centres(g)
    d2 = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
    want = np.sqrt(d2.min(axis=-1))  # coordinates are halves: squares are exact
    assert np.array_equal(distance_array(points, g, dtype="float64"), want)
    want[want > reach] = np.inf
    assert np.array_equal(distance_array(points, g, dtype="float64", max_distance=reach), want)


@settings(max_examples=60, deadline=None)
@given(
    paths=st.lists(
        hnp.arrays(np.float64, st.tuples(st.integers(2, 6), st.just(2)), elements=coordinates),
        min_size=1,
        max_size=8,
    )
)
def test_lines_property(paths):
    assert_distance([shapely.LineString(p) for p in paths], grid(21, 23))


@settings(max_examples=60, deadline=None)
@given(ring=hnp.arrays(np.float64, st.tuples(st.integers(3, 9), st.just(2)), elements=coordinates))
def test_polygons_property_even_odd(ring):
    polygon = shapely.make_valid(shapely.Polygon(ring))
    if polygon.area > 0:
        areal = [p for p in shapely.get_parts(polygon) if p.geom_type in ("Polygon", "MultiPolygon")]
        assert_distance(areal, grid(21, 23))


@pytest.mark.parametrize("closed", [True, False])
def test_rings_need_not_be_closed_and_may_run_either_way(closed):
    ring = np.array([[5.0, 5.0], [20, 6], [22, 25], [4, 18]])
    stored = np.vstack([ring, ring[:1]]) if closed else ring
    for xy in (stored, stored[::-1]):
        features = Features.from_arrays(ring_xy=xy, ring_offsets=[0, len(xy)], polygon_offsets=[0, 1])
        want = nearest_by_hand([shapely.Polygon(ring)], grid())
        np.testing.assert_allclose(distance_array(features, grid(), dtype="float64"), want, rtol=1e-12, atol=1e-12)
