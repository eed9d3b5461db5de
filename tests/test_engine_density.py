"""Kernel density against brute force and quadrature, and properties that must hold exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rtmdx.space.density import KERNELS, density_array
from rtmdx.space.features import Features
from rtmdx.space.grid import Grid

CRS = pyproj.CRS("EPSG:32615")
kernels = pytest.mark.parametrize("kernel", KERNELS)


def grid(rows=31, cols=37, size=1.0, x_min=0.0, y_min=0.0):
    return Grid(CRS, x_min, y_min + rows * size, size, np.ones((rows, cols), dtype=bool))


def shape(kernel, u):
    """K(u), as the documentation has it."""
    with np.errstate(under="ignore"):
        values = {
            "uniform": np.full_like(u, 1 / np.pi),
            "triangular": 3 / np.pi * (1 - u),
            "epanechnikov": 2 / np.pi * (1 - u**2),
            "quartic": 3 / np.pi * (1 - u**2) ** 2,
            "gaussian": np.exp(-(u**2) / 2) / (2 * np.pi * (1 - np.exp(-8))),
        }[kernel]
    return np.where(u <= (4 if kernel == "gaussian" else 1), values, 0.0)


def reach(kernel, h):
    return 4 * h if kernel == "gaussian" else h


def of_points(points, weights, kernel, h, g):
    x, y = np.meshgrid(g.x, g.y)
    out = np.zeros(g.shape)
    for (px, py), w in zip(points, weights, strict=True):
        out += w * shape(kernel, np.hypot(x - px, y - py) / h) / h**2
    return out


def run(features, g, kernel, h, **options):
    return density_array(features, g, bandwidth=h, kernel=kernel, dtype="float64", **options)


def scatter(n, seed=0, low=-5.0, high=40.0):
    return np.random.default_rng(seed).uniform(low, high, (n, 2))


@kernels
@pytest.mark.parametrize("h", [0.3, 2.6, 9.1])
def test_points_against_brute_force(kernel, h):
    points, weights = scatter(80), np.random.default_rng(1).uniform(-1, 3, 80)
    want = of_points(points, weights, kernel, h, grid())
    np.testing.assert_allclose(run(points, grid(), kernel, h, weights=weights), want, rtol=1e-11, atol=1e-13)
    single = density_array(points, grid(), bandwidth=h, kernel=kernel, weights=weights)
    np.testing.assert_allclose(single, want, rtol=1e-6, atol=1e-7 / h**2)


@kernels
def test_total_mass(kernel):
    g = grid(200, 200, 0.25)
    h = 5.0 if kernel != "gaussian" else 2.0
    points = scatter(20, 3, 20, 30)
    line = shapely.LineString(scatter(5, 4, 20, 30))
    area = shapely.Polygon(shapely.Point(25, 25).buffer(4).exterior, [shapely.box(24, 24, 26, 25).exterior])
    # The sum over cells is a midpoint rule: a jump at the support's edge converges slowest.
    tolerance = 2e-3 if kernel == "uniform" else 1e-4
    for features, total in ((points, 20), ([line], line.length), ([area], area.area)):
        assert run(features, g, kernel, h).sum() * 0.25**2 == pytest.approx(total, rel=tolerance)


@kernels
def test_lines_against_quadrature(kernel):
    rng = np.random.default_rng(5)
    g, h = grid(9, 11), 2.3 if kernel != "gaussian" else 0.8
    paths = [rng.uniform(-2, 12, (4, 2)), rng.uniform(3, 6, (3, 2)), np.array([[0.5, 4.5], [10.5, 4.5]])]
    weights = np.array([1.0, 2.5, 0.5])
    n = 20_000
    along = (np.arange(n) + 0.5) / n
    x, y = np.meshgrid(g.x, g.y)
    want = np.zeros(g.shape)
    for path, w in zip(paths, weights, strict=True):
        for a, b in itertools.pairwise(path):
            p = a + along[:, None] * (b - a)
            r = np.hypot(x[..., None] - p[:, 0], y[..., None] - p[:, 1])
            want += w * shape(kernel, r / h).mean(axis=-1) * np.hypot(*(b - a)) / h**2
    got = run([shapely.LineString(p) for p in paths], g, kernel, h, weights=weights)
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-4 if kernel == "uniform" else 1e-6)
    if kernel == "gaussian":  # the cut leaves a small jump
        return
    vertices_everywhere = [shapely.segmentize(shapely.LineString(p), 0.01) for p in paths]
    np.testing.assert_allclose(run(vertices_everywhere, g, kernel, h, weights=weights), got, rtol=1e-9, atol=1e-12)


def polygon_by_slices(polygon, kernel, h, cx, cy, n=1000):
    """Integrate the kernel over a polygon: thin slices, Gauss-Legendre along each."""
    node, weight = np.polynomial.legendre.leggauss(48)
    radius = reach(kernel, h)
    total = 0.0
    dy = 2 * radius / n
    for y in cy - radius + (np.arange(n) + 0.5) * dy:
        half = np.sqrt(max(radius**2 - (y - cy) ** 2, 0))
        cut = shapely.intersection(polygon, shapely.LineString([(cx - half, y), (cx + half, y)]))
        for piece in shapely.get_parts(cut):
            if piece.geom_type != "LineString":
                continue
            x0, _, x1, _ = piece.bounds
            for lo, hi in (
                (x0, min(x1, cx)),
                (max(x0, cx), x1),
            ):  # the triangular kernel has a kink at its centre
                if hi > lo:
                    x = 0.5 * (lo + hi) + 0.5 * (hi - lo) * node
                    total += dy * 0.5 * (hi - lo) * np.sum(weight * shape(kernel, np.hypot(x - cx, y - cy) / h)) / h**2
    return total


@kernels
def test_polygons_against_quadrature(kernel):
    h = 2.0 if kernel != "gaussian" else 0.5
    polygon = shapely.Polygon(
        [(1, 1), (7, 0.5), (8, 4), (5, 3.2), (6, 8), (2, 7), (3, 4)], [[(3, 1.7), (4.4, 1.9), (3.6, 2.8)]]
    )
    assert polygon.is_valid
    g = grid(9, 9)
    got = run([polygon], g, kernel, h)
    for r, c in [(0, 0), (4, 4), (7, 3), (2, 5), (3, 2)]:
        want = polygon_by_slices(polygon, kernel, h, g.x[c], g.y[r])
        assert got[r, c] == pytest.approx(want, abs=1e-4)


@kernels
def test_a_partition_of_the_plane_adds_to_one(kernel):
    h = 6.0 if kernel != "gaussian" else 1.5
    rng = np.random.default_rng(8)
    sites = np.vstack([rng.integers(-10, 50, (60, 2)), [(-40, -40), (90, -40), (90, 90), (-40, 90)]]).astype(float)
    triangles = list(shapely.delaunay_triangles(shapely.MultiPoint(sites)).geoms)
    g = grid(24, 24)
    np.testing.assert_allclose(run(triangles, g, kernel, h), 1.0, rtol=1e-11)
    each = np.array([run([t], g, kernel, h) for t in triangles[:40]])
    assert each.min() >= 0
    assert each.max() <= 1


@kernels
def test_half_planes_and_corners(kernel):
    h = 3.0 if kernel != "gaussian" else 0.75
    g = grid(9, 9)
    middle = (4, 4)  # centre (4.5, 4.5)
    assert run([shapely.box(4.5, -50, 60, 60)], g, kernel, h)[middle] == pytest.approx(0.5, abs=1e-12)
    assert run([shapely.box(4.5, 4.5, 60, 60)], g, kernel, h)[middle] == pytest.approx(0.25, abs=1e-12)
    assert run([shapely.box(-60, -60, 60, 60)], g, kernel, h)[middle] == 1.0
    assert run([shapely.box(7.5, -60, 60, 60)], g, kernel, h)[middle] == pytest.approx(0.0, abs=1e-12)
    assert run([shapely.box(7.6, -60, 60, 60)], g, kernel, h)[middle] == 0.0
    ring = shapely.box(-60, -60, 60, 60).difference(shapely.box(0, 0, 9, 9))
    assert run([ring], g, kernel, h)[middle] == 0.0


@kernels
def test_many_vertices_change_nothing(kernel):
    h = 3.0 if kernel != "gaussian" else 0.75
    outline = shapely.box(2.2, 3.1, 14.7, 12.9).difference(shapely.box(5, 5, 8, 8))
    dense = shapely.segmentize(outline, 0.05)
    g = grid(16, 18)
    np.testing.assert_allclose(run([dense], g, kernel, h), run([outline], g, kernel, h), atol=1e-11)
    turned = [shapely.reverse(outline)]
    np.testing.assert_allclose(run(turned, g, kernel, h), run([outline], g, kernel, h), atol=1e-13)


def all_kinds():
    rng = np.random.default_rng(11)
    starts = rng.uniform(-10, 210, (150, 2))
    return {
        "points": shapely.points(rng.uniform(-10, 210, (600, 2))),
        "lines": shapely.linestrings(np.stack([starts, starts + rng.normal(0, 15, (150, 2))], axis=1)),
        "polygons": shapely.buffer(shapely.points(starts[:60]), rng.uniform(1, 14, 60), quad_segs=5),
    }


@kernels
@pytest.mark.parametrize("kind", ["points", "lines", "polygons"])
def test_windows_and_threads_give_the_same_bits(kind, kernel):
    g = grid(140, 150, 1.3)
    h = 9.0 if kernel != "gaussian" else 3.0
    features = Features.from_geometries(all_kinds()[kind])
    weights = np.random.default_rng(0).uniform(0, 2, len(features))
    whole = run(features, g, kernel, h, weights=weights, threads=1)
    for threads in (2, 7):
        assert np.array_equal(run(features, g, kernel, h, weights=weights, threads=threads), whole)
    for r, c, height, width in [
        (0, 0, 1, 1),
        (60, 3, 70, 130),
        (63, 63, 2, 3),
        (139, 0, 1, 150),
        (3, 149, 99, 1),
        (4, 4, 0, 3),
    ]:
        part = run(features, g, kernel, h, weights=weights, window=(r, c, height, width), threads=2)
        assert np.array_equal(part, whole[r : r + height, c : c + width])


def test_members_listed_a_range_of_tiles_at_a_time_change_no_bit():
    rng = np.random.default_rng(5)
    n = 2000
    g = grid(n, n)
    # Long boxes: more members of tiles than are listed at once. Six thousand in one place: a tile without a list.
    starts = np.concatenate([rng.uniform(0, n, (60_000, 2)), rng.uniform(330, 350, (6000, 2))])
    steps = rng.uniform(-500, 500, starts.shape)
    steps[60_000:] /= 100
    lines = np.stack([starts, starts + steps], axis=1)

    def features(chosen):
        return Features.from_arrays(line_xy=chosen.reshape(-1, 2), line_offsets=2 * np.arange(len(chosen) + 1))

    told = []
    whole = run(features(lines), g, "epanechnikov", 1.5, threads=2, progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1] == (32 * 32, 32 * 32)
    for r, c in [(0, 0), (960, 500), (1930, 1300), (n - 345, 335)]:
        # Every line that meets the window's surroundings, and no other, gives the same sums in the same order.
        around = shapely.box(g.x[c] - 4, g.y[r + 39] - 4, g.x[c + 59] + 4, g.y[r] + 4)
        some = lines[shapely.intersects(around, shapely.linestrings(lines))]
        part = run(features(some), g, "epanechnikov", 1.5, window=(r, c, 40, 60))
        assert np.array_equal(part, whole[r : r + 40, c : c + 60])


@kernels
@pytest.mark.parametrize("kind", ["points", "lines", "polygons"])
def test_translation_by_ten_million_changes_nothing(kind, kernel):
    shapes = [shapely.transform(s, lambda xy: np.round(xy * 16) / 16) for s in all_kinds()[kind][:50]]
    shapes = [s for s in shapes if s.is_valid]
    dx, dy = 1e7, -2e7
    moved = [shapely.affinity.translate(s, dx, dy) for s in shapes]
    here = run(shapes, grid(50, 60), kernel, 3.0)
    assert np.array_equal(run(moved, grid(50, 60, x_min=dx, y_min=dy), kernel, 3.0), here)


@kernels
@pytest.mark.parametrize("kind", ["points", "lines", "polygons"])
def test_mirror_and_units(kind, kernel):
    g = grid(60, 60)
    shapes = list(all_kinds()[kind][:60])
    here = run(shapes, g, kernel, 4.0)
    mirrored = [shapely.transform(s, lambda xy: np.c_[60 - xy[:, 0], xy[:, 1]]) for s in shapes]
    np.testing.assert_allclose(run(mirrored, g, kernel, 4.0)[:, ::-1], here, rtol=1e-9, atol=1e-12)
    feet = [shapely.transform(s, lambda xy: xy * 4) for s in shapes]
    power = {"points": 2, "lines": 1, "polygons": 0}[kind]
    np.testing.assert_allclose(run(feet, grid(60, 60, 4.0), kernel, 16.0) * 4**power, here, rtol=1e-9, atol=1e-12)


@kernels
@pytest.mark.parametrize("kind", ["points", "lines", "polygons"])
def test_more_features_never_lower_it_and_twice_is_double(kind, kernel):
    g = grid(60, 60)
    shapes = list(all_kinds()[kind][:60])
    some, more, double = (run(s, g, kernel, 7.0) for s in (shapes[:20], shapes, shapes + shapes))
    assert np.all(more >= some)
    assert some.min() >= 0
    np.testing.assert_allclose(double, 2 * more, rtol=1e-11, atol=1e-15)


@kernels
def test_nothing_and_little(kernel):
    g = grid()
    assert np.all(run(np.empty((0, 2)), g, kernel, 2.0) == 0)
    assert np.all(run([shapely.LineString([(3, 3), (3, 3)])], g, kernel, 2.0) == 0)
    flat = Features.from_arrays(ring_xy=[(3, 3), (9, 9), (3, 3)], ring_offsets=[0, 3], polygon_offsets=[0, 1])
    assert np.all(run(flat, g, kernel, 2.0) == 0)
    assert np.all(run([shapely.Point(1e6, 1e6)], g, kernel, 2.0) == 0)
    one = run([shapely.Point(0.5, 0.5)], grid(1, 1), kernel, 2.0)
    assert one[0, 0] == pytest.approx(shape(kernel, np.zeros(1))[0] / 4)


def test_the_uniform_kernel_holds_its_edge():
    values = run([shapely.Point(5.5, 5.5)], grid(11, 11), "uniform", 3.0)
    assert values[5, 8] > 0
    assert values[5, 9] == 0
    assert np.count_nonzero(values) == 29  # lattice points within 3


coordinates = st.integers(-10, 40).map(lambda v: v / 2)


@settings(max_examples=40, deadline=None)
@given(
    points=hnp.arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=coordinates),
    kernel=st.sampled_from(KERNELS),
    h=st.floats(0.4, 12),
)
def test_points_property(points, kernel, h):
    g = grid(13, 17)
    x, y = np.meshgrid(g.x, g.y)
    edge = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1]) / reach(kernel, h)
    clear = (np.abs(edge - 1) > 1e-9).all(axis=-1)  # on the very edge rounding decides
    want = of_points(points, np.ones(len(points)), kernel, h, g)
    np.testing.assert_allclose(run(points, g, kernel, h)[clear], want[clear], rtol=1e-10, atol=1e-13 / h**2)


@settings(max_examples=40, deadline=None)
@given(
    corners=hnp.arrays(np.float64, st.tuples(st.integers(3, 7), st.just(2)), elements=coordinates),
    kernel=st.sampled_from(KERNELS),
    h=st.sampled_from([0.5, 1.0, 2.0, 2.5, 5.0]),
)
def test_a_polygon_and_the_rest_of_the_plane_add_to_one(corners, kernel, h):
    hull = shapely.convex_hull(shapely.MultiPoint(corners))
    if hull.area == 0:
        return
    rest = shapely.box(-100, -100, 200, 200).difference(hull)
    g = grid(13, 17)
    inside, outside = run([hull], g, kernel, h), run([rest], g, kernel, h)
    np.testing.assert_allclose(inside + outside, 1.0, atol=1e-11)
    deep = shapely.distance(shapely.boundary(hull), shapely.points(*np.meshgrid(g.x, g.y))) > reach(kernel, h) + 1e-9
    within = shapely.intersects_xy(hull, *np.meshgrid(g.x, g.y))
    assert np.array_equal(inside[deep], within[deep].astype(float))
