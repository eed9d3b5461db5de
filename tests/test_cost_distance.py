"""Cost distance against scikit-image, an explicit graph and free distance, and properties that must hold."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

import rtmdx
from rtmdx.errors import Cancelled, CRSError, InputError
from rtmdx.space.cost import cost_distance_array
from rtmdx.space.distance import distance_array
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame
from rtmdx.space.grid import Grid

CRS = pyproj.CRS("EPSG:32615")
HALF = {8: [(1, 0), (0, 1), (1, 1), (-1, 1)]}
HALF[16] = [*HALF[8], (2, 1), (1, 2), (-1, 2), (-2, 1)]


def frame(rows, cols, dx=1.0, dy=None):
    dy = dx if dy is None else dy
    return Frame(CRS, 0.0, rows * dy, dx, dy, (rows, cols))


def run(features, f, **options):
    return cost_distance_array(features, f, dtype="float64", **options)


def centre(f, row, col):
    return np.array([[f.x[col], f.y[row]]])


def by_graph(f, first, friction, barriers, connectivity):
    """Every step as an edge of an explicit graph, crossings by Shapely; `first` holds the costs cells start with."""
    rows, cols = f.shape
    start, end, price = [], [], []
    for r, c in np.ndindex(f.shape):
        for dc, dr in HALF[connectivity]:
            r2, c2 = r + dr, c + dc
            if not (0 <= r2 < rows and 0 <= c2 < cols):
                continue
            passed = [(r, c), (r2, c2)]
            if abs(dc) + abs(dr) == 3:
                side = 1 if dc > 0 else -1
                passed += [(r, c + side) if abs(dc) == 2 else (r + 1, c), (r + 1, c + side)]
            start.append(r * cols + c)
            end.append(r2 * cols + c2)
            price.append(np.hypot(dc * f.dx, dr * f.dy) * np.mean([friction[p] for p in passed]))
    ends = np.stack([np.stack([f.x[np.array(k) % cols], f.y[np.array(k) // cols]], 1) for k in (start, end)], 1)
    crossed = np.zeros(len(start), dtype=bool)
    for b in barriers:
        shapely.prepare(b)
        crossed |= shapely.intersects(b, shapely.linestrings(ends))
    keep = np.isfinite(price) & ~crossed
    fed = np.flatnonzero(np.isfinite(first))
    start = np.concatenate([np.array(start)[keep], np.full(len(fed), rows * cols)])
    end = np.concatenate([np.array(end)[keep], fed])
    price = np.concatenate([np.array(price)[keep], first.ravel()[fed] + 1])  # 0 would be no edge
    graph = coo_array((price, (start, end)), shape=(rows * cols + 1, rows * cols + 1)).tocsr()
    # one way out of the extra node only: an edge back into it would be a way through the source
    return dijkstra(graph + _mirrored(graph), directed=True, indices=rows * cols)[:-1].reshape(rows, cols) - 1


def _mirrored(graph):
    """The edges the other way round, but none into the last node."""
    g = graph.tocoo()
    keep = g.row != graph.shape[0] - 1
    return coo_array((g.data[keep], (g.col[keep], g.row[keep])), shape=graph.shape).tocsr()


def some_barriers(seed, f, n=4):
    rng = np.random.default_rng(seed)
    size = np.array([f.shape[1] * f.dx, f.shape[0] * f.dy])
    return [shapely.LineString(rng.uniform(-0.1, 1.1, (3, 2)) * size) for _ in range(n)]


@pytest.mark.parametrize("connectivity", [8, 16])
@pytest.mark.parametrize("size", [(1.0, 1.0), (2.0, 3.0)])
@pytest.mark.parametrize("seed", range(4))
def test_against_an_explicit_graph(seed, size, connectivity):
    rng = np.random.default_rng(seed)
    f = frame(23, 27, *size)
    friction = rng.uniform(1, 5, f.shape)
    friction[rng.random(f.shape) < 0.1] = np.nan
    friction[11, 13] = 1.0
    barriers = some_barriers(seed, f)
    source = centre(f, 11, 13)
    got = run(source, f, friction=friction, barriers=barriers, connectivity=connectivity)
    first = np.full(f.shape, np.inf)
    first[11, 13] = 0
    steps = by_graph(f, first, friction, barriers, connectivity)
    assert np.all(got <= steps * (1 + 1e-12))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(steps))
    # Beyond the ring around the source, whose costs are its own, every cost follows from the steps.
    x, y = np.meshgrid(f.x, f.y)
    ring = np.hypot(x - source[0, 0], y - source[0, 1]) <= 4 * min(size) + 1e-9
    np.testing.assert_allclose(
        got, by_graph(f, np.where(ring, got, np.inf), friction, barriers, connectivity), rtol=1e-12
    )
    np.testing.assert_array_equal(
        run(source, f, friction=friction, barriers=barriers, connectivity=connectivity, threads=3), got
    )


def test_against_scikit_image():
    graph = pytest.importorskip("skimage.graph")
    rng = np.random.default_rng(5)
    f = frame(120, 150)
    friction = rng.uniform(0.5, 20, f.shape)
    friction[rng.random(f.shape) < 0.1] = np.inf
    # A corridor out of closed cells: along it the straight way and the steps are the same.
    friction[55:66, 65:76] = np.inf
    friction[60, 70:76] = 1
    friction[60, 76:80] = 2
    got = run(centre(f, 60, 70), f, friction=friction, connectivity=8)
    mcp = graph.MCP_Geometric(np.where(np.isfinite(friction), friction, -1))
    want, _ = mcp.find_costs([(60, 70)])
    assert np.count_nonzero(np.isfinite(want)) > 10_000
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(("connectivity", "excess"), [(16, 1.0276), (8, 1.0824)])
def test_free_ground_lies_between_distance_and_its_bound(connectivity, excess):
    rng = np.random.default_rng(0)
    f = frame(90, 110, 2.0)
    geometries = {
        "points": shapely.points(rng.uniform(0, 180, (3, 2))),
        "centre": shapely.points(centre(f, 40, 50)),
        "corner": shapely.points([[100.0, 80.0]]),
        "line": [shapely.LineString([(3.3, 5.1), (90.7, 33.2), (120.2, 150.9)])],
        "polygon": [shapely.box(60.3, 55.5, 101.2, 90.9), shapely.Point(180, 20).buffer(11.3)],
    }
    for name, features in geometries.items():
        d = distance_array(features, f, dtype="float64")
        c = run(features, f, connectivity=connectivity)
        assert np.all(c >= d * (1 - 1e-12)), name
        assert np.all(c <= d * excess + 1e-9), (name, np.nanmax(c / d))
        near = d <= 8.0
        np.testing.assert_allclose(c[near], d[near], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(cost_distance_array(features, f, connectivity=connectivity), c.astype(np.float32))


def test_friction_scales_and_bounds():
    rng = np.random.default_rng(1)
    f = frame(60, 70, 5.0)
    friction = rng.uniform(0.5, 3, f.shape)
    points = rng.uniform(20, 280, (4, 2))
    one = run(points, f, friction=friction)
    np.testing.assert_array_equal(run(points, f, friction=2 * friction), 2 * one)
    assert np.all(one >= distance_array(points, f, dtype="float64") * friction.min() * (1 - 1e-12))
    even = run(points, f)
    np.testing.assert_allclose(run(points, f, friction=np.full(f.shape, 3.0)), 3 * even, rtol=1e-12)
    single = friction.astype(np.float32)
    np.testing.assert_array_equal(run(points, f, friction=single), run(points, f, friction=single.astype(np.float64)))
    wide = np.exp(rng.normal(0, 6, f.shape))  # twelve orders of magnitude: all pages of the queue
    got = run(points, f, friction=wide)
    first = np.where(distance_array(points, f) <= 20, got, np.inf)
    np.testing.assert_allclose(got, by_graph(f, first, wide, [], 16), rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), connectivity=st.sampled_from([8, 16]))
@example(seed=1_886_882_655, connectivity=8)  # the straight way to a source touches the corner of a barrier
def test_a_barrier_never_shortens_and_mirrors_commute(seed, connectivity):
    rng = np.random.default_rng(seed)
    f = frame(32, 32)
    friction = rng.integers(1, 9, f.shape).astype(np.float64)
    points = rng.integers(0, 64, (2, 2)) / 2.0
    lines = rng.integers(0, 64, (3, 3, 2)) / 2.0
    free = run(points, f, friction=friction, connectivity=connectivity)
    barred = run(points, f, friction=friction, barriers=shapely.linestrings(lines), connectivity=connectivity)
    assert np.all(barred >= free)
    turned = {
        "x": (np.s_[:, ::-1], lambda xy: np.stack([32 - xy[..., 0], xy[..., 1]], -1)),
        "y": (np.s_[::-1], lambda xy: np.stack([xy[..., 0], 32 - xy[..., 1]], -1)),
    }
    for cut, move in turned.values():
        got = run(
            move(points),
            f,
            friction=friction[cut],
            barriers=shapely.linestrings(move(lines)),
            connectivity=connectivity,
        )
        np.testing.assert_allclose(got, barred[cut], rtol=1e-12)
    swapped = run(
        np.stack([32 - points[:, 1], 32 - points[:, 0]], 1),
        f,
        friction=friction.T,
        barriers=shapely.linestrings(np.stack([32 - lines[..., 1], 32 - lines[..., 0]], -1)),
        connectivity=connectivity,
    )
    np.testing.assert_allclose(swapped, barred.T, rtol=1e-12)


@pytest.mark.parametrize("connectivity", [8, 16])
@pytest.mark.parametrize("shift", [0.0, 0.5, 0.27])
def test_a_closed_ring_keeps_everything_outside_and_a_gap_lets_through(connectivity, shift):
    f = frame(40, 40)
    corners = np.array([(10, 10), (30, 11), (29, 30), (11, 28), (10, 10)]) + shift
    ring = shapely.LineString(corners)
    inside = shapely.contains_xy(shapely.Polygon(corners), *np.meshgrid(f.x, f.y))
    source = np.array([[20.3, 20.2]])
    c = run(source, f, barriers=[ring], connectivity=connectivity)
    assert np.all(np.isinf(c[~inside]))
    on_line = shapely.intersects_xy(ring, *np.meshgrid(f.x, f.y))
    assert np.all(np.isfinite(c[inside & ~on_line]))
    gap = ring.difference(shapely.Point(corners[1] * 0.5 + corners[2] * 0.5).buffer(1.5))
    through = run(source, f, barriers=[gap], connectivity=connectivity)
    assert np.all(np.isfinite(through[~inside & ~on_line]))
    west, east = through[20, 2], through[20, 37]
    assert west > east > 16
    with_bridge = run(source, f, barriers=[ring, gap], connectivity=connectivity)
    np.testing.assert_array_equal(with_bridge, c)


def test_a_barrier_given_two_thousand_times_is_one():
    f = frame(4, 40_000)
    wall = np.array([(1.3, 0.6), (39_990.0, 3.4)])
    once = Features.from_arrays(line_xy=wall, line_offsets=[0, 2])
    often = Features.from_arrays(line_xy=np.tile(wall, (2000, 1)), line_offsets=2 * np.arange(2001))
    source = [shapely.LineString([(10.0, 3.0), (2000.0, 2.5)])]
    c = run(source, f, barriers=once, connectivity=8)
    assert np.isinf(c).any() or c.max() > 37_000
    np.testing.assert_array_equal(run(source, f, barriers=often, connectivity=8), c)


def test_a_barrier_without_length_is_in_nobody_s_way():
    f = frame(9, 9)
    source = centre(f, 4, 1)
    point = shapely.LineString([(4.5, 4.5), (4.5, 4.5)])  # on a cell's centre
    free = run(source, f)
    np.testing.assert_array_equal(run(source, f, barriers=[point]), free)
    wall = shapely.LineString([(4.5, 0), (4.5, 4.5), (4.5, 4.5), (4.5, 9)])
    plain = shapely.LineString([(4.5, 0), (4.5, 4.5), (4.5, 9)])
    barred = run(source, f, barriers=[wall])
    assert np.isinf(barred).any()
    np.testing.assert_array_equal(barred, run(source, f, barriers=[plain]))


def test_a_barrier_polygon_closes_its_cells_and_its_outline():
    f = frame(30, 30)
    lake = shapely.box(8.2, -5, 20.4, 22.7)
    x, y = np.meshgrid(f.x, f.y)
    c = run(np.array([[2.5, 5.5]]), f, barriers=[lake])
    wet = shapely.contains_xy(lake, x, y)
    assert np.all(np.isinf(c[wet]))
    assert np.all(np.isfinite(c[~wet]))
    round_it = np.hypot(8.2 - 2.5, 22.7 - 5.5) + 12.2 + np.hypot(25.5 - 20.4, 22.7 - 5.5)
    assert round_it <= c[24, 25] <= 1.06 * round_it
    assert np.all(np.isinf(run(np.array([[14.0, 10.0]]), f, barriers=[lake])))
    sliver = shapely.box(8.1, -5, 8.3, 40)  # holds no centre: its outline alone bars
    assert np.all(np.isinf(run(np.array([[2.5, 5.5]]), f, barriers=[sliver])[:, 8:]))


def test_a_feature_on_a_barrier_is_reached_from_both_sides():
    f = frame(20, 20)
    wall = shapely.LineString([(9.8, -1), (9.8, 21)])
    c = run(np.array([[9.8, 10.2]]), f, barriers=[wall])
    assert np.all(np.isfinite(c))
    assert np.all(np.isinf(run(np.array([[9.7, 10.2]]), f, barriers=[wall])[:, 10:]))


def test_max_cost_cuts_and_nothing_else():
    rng = np.random.default_rng(3)
    f = frame(50, 60)
    friction = rng.uniform(1, 4, f.shape)
    whole = run(np.array([[30.0, 20.0]]), f, friction=friction)
    cut = run(np.array([[30.0, 20.0]]), f, friction=friction, max_cost=25)
    np.testing.assert_array_equal(cut, np.where(whole <= 25, whole, np.inf))


def test_edges_of_what_can_be_asked():
    f = frame(7, 9)
    assert np.all(np.isinf(run(np.empty((0, 2)), f)))
    assert np.all(np.isinf(run(np.array([[100.0, 3.0]]), f)))  # outside: friction is not known there
    assert run(np.array([[0.0, 0.0]]), f)[6, 0] == pytest.approx(np.hypot(0.5, 0.5))
    assert run(np.array([[0.5, 0.5]]), frame(1, 1))[0, 0] == 0
    assert np.all(np.isinf(run(np.array([[3.5, 3.5]]), f, friction=np.full((7, 9), np.nan))))
    across = run([shapely.LineString([(-50, 3.2), (50, 3.2)])], f)
    np.testing.assert_allclose(across[:, 4], np.abs(f.y - 3.2), atol=1e-12)
    assert run(np.array([[3.5, 3.5]]), frame(0, 9)).shape == (0, 9)
    fortran = np.asfortranarray(np.random.default_rng(0).uniform(1, 2, (7, 9)))
    np.testing.assert_array_equal(
        run(np.array([[3.0, 3.0]]), f, friction=fortran), run(np.array([[3.0, 3.0]]), f, friction=fortran.copy("C"))
    )


def test_the_result_as_a_dataarray():
    kept = np.random.default_rng(2).random((20, 30)) < 0.8
    grid = Grid(CRS, 0.0, 200.0, 10.0, kept)
    c = rtmdx.cost_distance(np.array([[100.0, 100.0]]), grid, friction=np.full((20, 30), 2.0), max_cost=300)
    assert np.array_equal(np.isnan(c.values), ~kept)
    assert c.attrs["units"] == "m times friction"
    assert c.attrs["connectivity"] == 16
    assert c.attrs["max_cost"] == 300.0
    assert rtmdx.cost_distance(np.array([[100.0, 100.0]]), grid).attrs["units"] == "m"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"friction": np.ones((3, 4))}, InputError, r"friction: has the shape \(3, 4\), expected the frame's \(4, 4\)"),
        ({"friction": np.diag([1.0, 2, 3, 4])}, InputError, "friction: row 0, column 1 is 0.0"),
        ({"friction": np.full((4, 4), "a")}, InputError, "friction: found text"),
        ({"connectivity": 4}, InputError, "connectivity: found 4"),
        ({"max_cost": -1}, InputError, "max_cost: found -1"),
        ({"barriers": np.ones((2, 2))}, InputError, "barriers: 2 are points"),
        (
            {"barriers": gpd.GeoSeries([shapely.LineString([(0, 0), (1, 1)])], crs="EPSG:32616")},
            CRSError,
            "barriers: .*EPSG:32616",
        ),
        ({"cancel": lambda: True}, Cancelled, "cancel"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        run(np.array([[1.0, 1.0]]), frame(4, 4), **options)


def test_progress_is_told():
    told = []
    run(np.array([[1.0, 1.0]]), frame(300, 300), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (90_000, 90_000)
