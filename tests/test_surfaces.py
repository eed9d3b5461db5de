"""The Python door: what it takes, what it refuses and how it says so, what it returns."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from rtmdx.errors import Cancelled, CRSError, InputError
from rtmdx.space.density import density, density_array
from rtmdx.space.distance import distance, distance_array
from rtmdx.space.features import Features
from rtmdx.space.grid import Grid

CRS = pyproj.CRS("EPSG:32615")
POINTS = np.array([[3.0, 4.0], [8.5, 1.25], [11.0, 9.0]])


def grid(rows=10, cols=12, size=1.0, mask=None):
    return Grid(CRS, 0.0, rows * size, size, np.ones((rows, cols), dtype=bool) if mask is None else mask)


def lower_left(rows=10, cols=12):
    mask = np.ones((rows, cols), dtype=bool)
    mask[:2, 5:] = False
    return mask


# ---------------------------------------------------------------- what comes back


def test_distance_is_a_raster_with_coordinates_units_and_nan_outside():
    g = grid(mask=lower_left())
    d = distance(POINTS, g, max_distance=6)
    assert d.dims == ("y", "x")
    assert d.name == "distance"
    assert d.dtype == np.float32
    assert d.attrs["units"] == "m"
    assert d.attrs["max_distance"] == 6.0
    assert "long_name" in d.attrs
    assert np.array_equal(d.x, g.x)
    assert np.array_equal(d.y, g.y)
    assert np.array_equal(np.isnan(d.values), ~g.mask)
    plain = distance_array(POINTS, g, max_distance=6)
    assert not np.isnan(plain).any()
    assert np.array_equal(d.values[g.mask], plain[g.mask])


@pytest.mark.parametrize(
    ("features", "units"),
    [
        (POINTS, "m-2"),
        ([shapely.LineString(POINTS)], "m m-2"),
        ([shapely.Polygon(POINTS)], "1"),
        (np.empty((0, 2)), "m-2"),
    ],
)
def test_density_says_its_units(features, units):
    g = grid(mask=lower_left())
    d = density(features, g, bandwidth=3, kernel="quartic", dtype="float64")
    assert d.dtype == np.float64
    assert d.attrs["units"] == units
    assert d.attrs["kernel"] == "quartic"
    assert d.attrs["bandwidth"] == 3.0
    assert np.array_equal(np.isnan(d.values), ~g.mask)


def test_a_window_is_the_part_of_the_whole():
    g = grid(mask=lower_left())
    for whole, part in (
        (distance(POINTS, g), distance(POINTS, g, window=(1, 3, 6, 7))),
        (density(POINTS, g, bandwidth=4), density(POINTS, g, bandwidth=4, window=(1, 3, 6, 7))),
    ):
        cut = whole.isel(y=slice(1, 7), x=slice(3, 10))
        np.testing.assert_array_equal(part.values, cut.values)
        assert np.array_equal(part.x, cut.x)
        assert np.array_equal(part.y, cut.y)
        assert part.x.attrs == cut.x.attrs
        assert part.attrs == whole.attrs
        assert part.spatial_ref.attrs["GeoTransform"] == "3.0 1.0 0.0 9.0 0.0 -1.0"


def test_cancel_reaches_python():
    with pytest.raises(Cancelled):
        distance(POINTS, grid(), cancel=lambda: True)


# ---------------------------------------------------------------- what goes in


def test_every_way_in_gives_the_same():
    shapes = shapely.points(POINTS)
    series = gpd.GeoSeries(shapes, crs=CRS)
    want = distance_array(POINTS, grid())
    for features in (
        shapes,
        list(shapes),
        (s for s in shapes),
        series,
        gpd.GeoDataFrame({"a": [1, 2, 3]}, geometry=series),
        series.array,
        shapely.MultiPoint(POINTS),
        shapely.GeometryCollection([shapes[0], shapely.MultiPoint(POINTS[1:])]),
        Features.from_points(POINTS),
        POINTS.astype(np.float64, order="F"),
        shapely.force_3d(shapes, z=7.0),
    ):
        assert np.array_equal(distance_array(features, grid()), want)


def test_features_count_what_they_drop_and_mend():
    bow = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    two = shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 3)]])
    bag = shapely.GeometryCollection([shapely.Point(5, 5), shapely.Polygon()])
    f = Features.from_geometries(
        [None, shapely.Point(1, 1), shapely.Point(), bow, two, shapely.GeometryCollection(), bag]
    )
    assert (f.n_input, f.n_dropped, f.n_repaired) == (7, 3, 1)
    assert (f.n_points, f.n_lines, f.n_polygons, len(f)) == (2, 2, 2, 6)
    assert f.point_source.tolist() == [1, 6]
    assert f.line_source.tolist() == [4, 4]
    assert f.polygon_source.tolist() == [3, 3]
    assert "3 dropped" in repr(f)


def test_features_are_read_only_pickle_and_leave_the_callers_array_alone():
    mine = POINTS.copy()
    f = Features.from_points(mine, crs=CRS)
    with pytest.raises(ValueError, match="read-only"):
        f.points[0] = 0
    mine[0, 0] += 0
    distance_array(f, grid())
    again = pickle.loads(pickle.dumps(f))
    assert np.array_equal(distance_array(again, grid()), distance_array(f, grid()))
    assert again.crs == CRS


def test_weights_belong_to_geometries():
    parts = [shapely.MultiPoint(POINTS[:2]), None, shapely.Point(POINTS[2])]
    got = density_array(parts, grid(), bandwidth=4, weights=[2, 9, 5], dtype="float64")
    each = [density_array(POINTS[[i]], grid(), bandwidth=4, dtype="float64") for i in range(3)]
    np.testing.assert_allclose(got, 2 * each[0] + 2 * each[1] + 5 * each[2], rtol=1e-12, atol=1e-15)
    lines = [shapely.LineString(POINTS[:2]), shapely.LineString(POINTS[1:])]
    got = density_array(lines, grid(), bandwidth=4, weights=[2, 0], dtype="float64")
    np.testing.assert_allclose(got, 2 * density_array(lines[:1], grid(), bandwidth=4, dtype="float64"), rtol=1e-12)


def test_crs_must_agree_and_both_are_named():
    series = gpd.GeoSeries(shapely.points(POINTS), crs="EPSG:4326")
    with pytest.raises(CRSError, match=r"EPSG:4326.*EPSG:32615"):
        distance(series, grid())
    with pytest.raises(CRSError, match=r"EPSG:4326.*EPSG:32615"):
        density(series, grid(), bandwidth=1)
    with pytest.raises(CRSError, match="no coordinate reference system"):
        Features.from_points(POINTS, crs="EPSG:nonsense")
    with pytest.raises(CRSError, match=r"EPSG:4326.*EPSG:32615"):
        distance(series.array, grid())
    distance(Features.from_points(POINTS).with_crs(32615), grid())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_coordinate_that_is_not_finite_names_its_feature(bad):
    points = POINTS.copy()
    points[1, 1] = bad
    with pytest.raises(InputError, match=r"feature 1: has the coordinate \(8.5, "):
        distance(points, grid())
    with np.errstate(invalid="ignore"):  # Shapely warns of its own
        line = shapely.linestrings([[(0, 0), (1, 1)], [(2, 2), (3, bad)]])
    with pytest.raises(InputError, match="feature 1: "):
        distance(line, grid())
    series = gpd.GeoSeries([None, line[1], line[1]], index=["a", "b", "c"], crs=CRS)
    with pytest.raises(InputError, match=r"feature 1 \(index 'b'\).*so do 1 more"):
        distance(series, grid())
    with pytest.raises(InputError, match="feature 1: "):
        Features.from_arrays(
            points=POINTS[:1], ring_xy=[(0, 0), (1, 1), (2, bad)], ring_offsets=[0, 3], polygon_offsets=[0, 1]
        )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((3, 3)), r"shape \(3, 3\), expected \(n, 2\)"),
        (np.zeros(4), r"shape \(4,\), expected \(n, 2\)"),
        (np.array([["a", "b"]]), "points: found text, expected"),
        ([shapely.Point(1, 1), "POINT (1 1)"], "feature 1: found .POINT.*, expected a geometry"),
        (7, "found 7, expected geometries"),
    ],
)
def test_features_that_are_none(features, message):
    with pytest.raises(InputError, match=message):
        distance(features, grid())


def test_offsets_that_do_not_fit():
    with pytest.raises(InputError, match="line offsets end at 2, expected 3"):
        Features.from_arrays(line_xy=POINTS, line_offsets=[0, 2])
    with pytest.raises(InputError, match="line_xy: has the shape"):
        Features.from_arrays(line_xy=np.zeros((2, 3)), line_offsets=[0, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_distance": -1}, "max_distance: found -1, expected a length of 0 or more"),
        ({"max_distance": np.nan}, "max_distance: found nan"),
        ({"max_distance": "far"}, "max_distance: found 'far', expected a number"),
        ({"dtype": "int32"}, "dtype: found 'int32', expected float32 or float64"),
        ({"dtype": "what"}, "dtype: found 'what'"),
        ({"window": (0, 0, 11, 3)}, "rows 0 to 11 and columns 0 to 3 don't lie in the grid of 10 x 12"),
        ({"window": (0, -1, 1, 1)}, "don't lie"),
        ({"window": (0, 0, 1)}, "expected four integers"),
        ({"window": (0, 0, 1.5, 2)}, "expected four integers"),
        ({"threads": 0}, "threads: found 0"),
        ({"threads": 1.5}, "threads: found 1.5"),
        ({"cancel": 3}, "cancel: found 3"),
    ],
)
def test_distance_options(options, message):
    with pytest.raises(InputError, match=message):
        distance(POINTS, grid(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0}, "bandwidth: found 0, expected a positive length"),
        ({"bandwidth": np.inf}, "bandwidth: found inf"),
        ({"bandwidth": "3 m"}, "bandwidth: found '3 m', expected a number"),
        ({"kernel": "cubic"}, "kernel: found 'cubic', expected one of epanechnikov"),
        ({"weights": [1, 2]}, r"weights: have the shape \(2,\), expected \(3,\)"),
        ({"weights": [1, 2, np.nan]}, "weights: feature 2 has nan"),
        ({"weights": ["a", "b", "c"]}, "weights: found text"),
    ],
)
def test_density_options(options, message):
    with pytest.raises(InputError, match=message):
        density(POINTS, grid(), **{"bandwidth": 3, **options})


def test_a_density_does_not_mix_counts_lengths_and_areas():
    with pytest.raises(InputError, match=r"found 1 points and 1 polygons.*Split the layer"):
        density([shapely.Point(1, 1), shapely.box(0, 0, 1, 1)], grid(), bandwidth=1)


def test_out_must_fit():
    with pytest.raises(InputError, match=r"out: found float32 of shape \(3, 3\), expected .* \(10, 12\)"):
        distance_array(POINTS, grid(), out=np.empty((3, 3), dtype=np.float32))
    with pytest.raises(InputError, match="out: found .1.0., expected"):
        distance_array(POINTS, grid(), out=[1.0])
    with pytest.raises(InputError, match="out: found int64"):
        density_array(POINTS, grid(), bandwidth=1, out=np.empty((10, 12), dtype=np.int64))


def test_importing_is_cheap():
    heavy = ("geopandas", "shapely", "xarray", "pyproj", "pandas")
    code = f"import sys, rtmdx.space.distance, rtmdx.space.density; print([m for m in {heavy} if m in sys.modules])"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert answer.stdout.strip() == "[]"
