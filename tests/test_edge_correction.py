"""Edge-corrected density: against quadrature of the area, and what each correction is made to keep."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from rtmdx import density
from rtmdx.errors import CRSError, InputError
from rtmdx.space.density import KERNELS, density_array
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame
from rtmdx.space.grid import Grid
from rtmdx.space.layers import StudyArea

CRS = pyproj.CRS("EPSG:32615")
AREA = shapely.Polygon(
    [(10, 10), (70, 5), (90, 40), (60, 85), (50, 55), (20, 70)], [[(40, 20), (55, 22), (52, 38), (38, 36)]]
)
kernels = pytest.mark.parametrize("kernel", KERNELS)


def frame(cell=0.5):
    return Frame.from_bounds((-20, -20, 120, 120), CRS, cell)


def points_in(area, n, seed=0):
    xy = np.random.default_rng(seed).uniform(0, 100, (20 * n, 2))
    return xy[shapely.intersects_xy(area, xy)][:n]


def inside(f):
    """Share of every cell that the area covers, by 16 points a cell."""
    step = (np.arange(4) + 0.5) / 4 - 0.5
    share = np.zeros(f.shape)
    shapely.prepare(AREA)
    for dx in step * f.dx:
        for dy in step * f.dy:
            share += shapely.intersects_xy(AREA, *np.meshgrid(f.x + dx, f.y + dy))
    return share / 16


def reach(kernel, width):
    return width / 4 if kernel == "gaussian" else width


@kernels
def test_diggle_keeps_the_number_of_points_in_the_area(kernel):
    f, points = frame(), points_in(AREA, 60)
    weights = np.random.default_rng(1).uniform(0, 2, 60)
    covered = inside(f) * f.cell_area
    for width in (6.0, 25.0):
        options = {"bandwidth": reach(kernel, width), "kernel": kernel, "dtype": "float64"}
        corrected = density_array(points, f, edge_correction="diggle", area=AREA, **options)
        assert (corrected * covered).sum() == pytest.approx(60, rel=1e-3)
        plain = density_array(points, f, **options)
        assert (plain * covered).sum() < 58
        weighted = density_array(points, f, edge_correction="diggle", area=AREA, weights=weights, **options)
        assert (weighted * covered).sum() == pytest.approx(weights.sum(), rel=2e-3)


@kernels
def test_uniform_leaves_a_constant_intensity_constant(kernel):
    # Points on a fine lattice: as good as a constant intensity of 16 per unit.
    x, y = np.meshgrid(*2 * [np.arange(0, 100, 0.25) + 0.125])
    lattice = np.column_stack([x.ravel(), y.ravel()])
    lattice = lattice[shapely.intersects_xy(AREA, lattice)]
    f = frame(2.0)
    width = reach(kernel, 15.0)
    corrected = density_array(lattice, f, bandwidth=width, kernel=kernel, edge_correction="uniform", area=AREA)
    plain = density_array(lattice, f, bandwidth=width, kernel=kernel)
    within = shapely.intersects_xy(AREA, *np.meshgrid(f.x, f.y))
    near = shapely.distance(AREA.boundary, shapely.points(*np.meshgrid(f.x, f.y))) < 3
    np.testing.assert_allclose(corrected[within], 16, rtol=0.02)
    assert np.all(plain[within & near] < 15.5)
    far = shapely.distance(AREA, shapely.points(*np.meshgrid(f.x, f.y))) > 15
    assert np.all(corrected[far] == 0)


@kernels
def test_masses_against_the_raster_of_the_area(kernel):
    """The mass at a point is the area's own density there."""
    f, width = frame(4.0), reach(kernel, 20.0)
    one = shapely.Point(30.0, 12.0)
    corrected = density_array(
        [one], f, bandwidth=width, kernel=kernel, edge_correction="diggle", area=AREA, dtype="float64"
    )
    plain = density_array([one], f, bandwidth=width, kernel=kernel, dtype="float64")
    at = Frame(CRS, 29.5, 12.5, 1.0, 1.0, (1, 1))
    mass = density_array([AREA], at, bandwidth=width, kernel=kernel, dtype="float64")[0, 0]
    assert 0.3 < mass < 0.9
    np.testing.assert_allclose(corrected * mass, plain, rtol=1e-10, atol=1e-18)
    divided = density_array(
        [one], f, bandwidth=width, kernel=kernel, edge_correction="uniform", area=AREA, dtype="float64"
    )
    masses = density_array([AREA], f, bandwidth=width, kernel=kernel, dtype="float64")
    some = masses > 1e-9
    np.testing.assert_allclose((divided * masses)[some], plain[some], rtol=1e-10, atol=1e-18)


def test_what_lies_outside_is_left_out_and_counted():
    points = np.vstack([points_in(AREA, 20), [(0, 0), (95, 95), (45, 30)], [(70, 5)]])  # the last on a corner
    weights = np.arange(1.0, 25.0)
    got = density(
        points, frame(2.0), bandwidth=9.0, weights=weights, edge_correction="diggle", area=AREA, dtype="float64"
    )
    assert got.attrs["features_outside_area"] == 3
    assert got.attrs["edge_correction"] == "diggle"
    kept = [*range(20), 23]
    only = density_array(
        points[kept],
        frame(2.0),
        bandwidth=9.0,
        weights=weights[kept],
        edge_correction="diggle",
        area=AREA,
        dtype="float64",
    )
    assert np.array_equal(got.values, only)


def test_lines_and_polygons_are_clipped_for_uniform():
    f = frame(2.0)
    lines = [shapely.LineString([(0, 0), (100, 90)]), shapely.LineString([(0, 99), (9, 99)])]
    weights = [2.0, 5.0]
    got = density(lines, f, bandwidth=9.0, weights=weights, edge_correction="uniform", area=AREA, dtype="float64")
    assert got.attrs["features_outside_area"] == 1
    masses = density_array([AREA], f, bandwidth=9.0, dtype="float64")
    clipped = density_array([AREA.intersection(lines[0])], f, bandwidth=9.0, weights=[2.0], dtype="float64")
    some = masses > 1e-9
    np.testing.assert_allclose(got.values[some], (clipped[some] / masses[some]), rtol=1e-9)
    whole = density_array(
        [shapely.box(-50, -50, 200, 200)], f, bandwidth=9.0, edge_correction="uniform", area=AREA, dtype="float64"
    )
    within = shapely.intersects_xy(AREA, *np.meshgrid(f.x, f.y))
    np.testing.assert_allclose(whole[within], 1, rtol=1e-9)
    with pytest.raises(InputError, match="found 'diggle' for lines, expected points"):
        density(lines, f, bandwidth=9.0, edge_correction="diggle", area=AREA)


@pytest.mark.parametrize("correction", ["uniform", "diggle"])
def test_several_bandwidths_windows_and_threads(correction):
    f, points = frame(1.0), points_in(AREA, 300)
    options = {"edge_correction": correction, "area": AREA, "kernel": "quartic"}
    several = density_array(points, f, bandwidth=[4.0, 11.0], threads=2, **options)
    for i, width in enumerate((4.0, 11.0)):
        assert np.array_equal(several[i], density_array(points, f, bandwidth=width, threads=1, **options))
    part = density_array(points, f, bandwidth=[4.0, 11.0], window=(33, 40, 50, 60), **options)
    assert np.array_equal(part, several[:, 33:83, 40:100])


def test_the_kinds_of_area_that_are_taken():
    f, points = frame(2.0), points_in(AREA, 50)
    parts = list(shapely.get_parts(shapely.intersection(AREA, [shapely.box(0, 0, 50, 99), shapely.box(50, 0, 99, 99)])))
    series = gpd.GeoSeries(parts, crs=CRS)
    want = density_array(points, f, bandwidth=9.0, edge_correction="uniform", area=AREA, dtype="float64")
    areas = [series, gpd.GeoDataFrame(geometry=series), StudyArea.from_frame(gpd.GeoDataFrame(geometry=series)), parts]
    for area in areas:
        got = density_array(points, f, bandwidth=9.0, edge_correction="uniform", area=area, dtype="float64")
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-15)
    with pytest.raises(CRSError, match="area: is in EPSG:26915, the grid in EPSG:32615"):
        density(points, f, bandwidth=9.0, edge_correction="uniform", area=series.set_crs(26915, allow_override=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge_correction": "torus", "area": AREA}, "edge_correction: found 'torus', expected one of uniform, diggle"),
        ({"edge_correction": "uniform"}, "area: missing"),
        ({"area": AREA}, "area: given without an edge_correction"),
        ({"edge_correction": "uniform", "area": shapely.Point(1, 1)}, "area: found .*, expected a polygon"),
        ({"edge_correction": "uniform", "area": "city.gpkg"}, "area: found .*, expected a polygon"),
        ({"edge_correction": "uniform", "area": shapely.Polygon()}, "area: has no area"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        density([shapely.Point(30, 12)], frame(2.0), bandwidth=5.0, **options)


def test_several_bandwidths_are_a_dimension():
    grid = Grid.from_area(AREA, CRS, 2)
    points = points_in(AREA, 100)
    made = density(points, grid, bandwidth=[5, 9.5, 20], window=(3, 4, 20, 21))
    assert made.dims == ("bandwidth", "y", "x")
    assert made.shape == (3, 20, 21)
    assert made.bandwidth.values.tolist() == [5.0, 9.5, 20.0]
    assert made.bandwidth.attrs["units"] == "m"
    assert "bandwidth" not in made.attrs
    one = density(points, grid, bandwidth=9.5, window=(3, 4, 20, 21))
    assert one.dims == ("y", "x")
    assert one.attrs["bandwidth"] == 9.5
    np.testing.assert_array_equal(made.sel(bandwidth=9.5).values, one.values)
    out = np.empty((2, *grid.shape))
    assert density_array(Features.from_points(points), grid, bandwidth=np.array([5, 9.5]), out=out) is out
    with pytest.raises(InputError, match="bandwidth: found an empty sequence"):
        density(points, grid, bandwidth=[])
    with pytest.raises(InputError, match="bandwidth: found -1"):
        density(points, grid, bandwidth=[3, -1])
    with pytest.raises(InputError, match=r"out: found float64 .* expected .* \(1, "):
        density_array(points, grid, bandwidth=[3], out=out)
