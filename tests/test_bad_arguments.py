"""Every public function, every argument: what is not usable is an error of ours that names the argument and the fix."""

from __future__ import annotations

import inspect

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
import xarray as xr

import rtmdx
from rtmdx.errors import CRSError, InputError, OutputError, RtmdxError
from rtmdx.space import impedance, rasters, readers
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Events, RiskFactor, StudyArea

CRS = pyproj.CRS("EPSG:32615")
FRAME = Frame(CRS, 0.0, 20.0, 1.0, 1.0, (20, 20))
GRID = Grid(CRS, 0.0, 20.0, 1.0, np.ones((20, 20), dtype=bool))
POINTS = np.array([[3.0, 4.0], [10.0, 11.0]])
AREA = shapely.box(2, 2, 8, 8)
RASTER = np.arange(400.0).reshape(20, 20)
MASK = RASTER > 390
LAYER = gpd.GeoDataFrame(geometry=[shapely.Point(3, 3)], crs=CRS)
STUDY_AREA = StudyArea.from_frame(gpd.GeoDataFrame(geometry=[AREA], crs=CRS))
ON_FRAME = xr.DataArray(RASTER, dims=("y", "x"), coords={"x": FRAME.x, "y": FRAME.y})

RUN = {"threads": 1, "cancel": None, "progress": None}
FAR = {"max_distance": None, "metric": "euclidean", "window": None, **RUN}
THICK = {"kernel": "quartic", "weights": None, "edge_correction": None, "area": None, "window": None, **RUN}
ROUND = {"radius": 2.0, "shape": "circle", "statistic": "mean", "dtype": "float32", "window": None, **RUN}
COST = {"friction": None, "barriers": None, "connectivity": 16, "max_cost": None, "dtype": "float32", **RUN}
READY = {"features": POINTS, "frame": FRAME}
ARRAYS = {
    "points": POINTS,
    "line_xy": np.array([[0.0, 0.0], [1.0, 1.0]]),
    "line_offsets": [0, 2],
    "ring_xy": np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]]),
    "ring_offsets": [0, 3],
    "polygon_offsets": [0, 1],
    "crs": None,
}


def zeros(window):
    return np.zeros(window[2:], dtype=np.float32)


# Good arguments: each is replaced by bad ones. `path` of a stream is filled in by the tests.
CALLS = {
    "distance": (rtmdx.distance, {**READY, **FAR, "dtype": "float32"}),
    "distance_array": (rtmdx.distance_array, {**READY, **FAR, "dtype": "float32", "out": None}),
    "allocation": (rtmdx.allocation, {**READY, **FAR, "dtype": "float32"}),
    "allocation_array": (rtmdx.allocation_array, {**READY, **FAR, "dtype": "float32"}),
    "distance_bands_array": (
        rtmdx.distance_bands_array,
        {**READY, "limits": [1.0, 2.0], "metric": "euclidean", "window": None, **RUN},
    ),
    "density": (rtmdx.density, {**READY, "bandwidth": 3.0, **THICK, "dtype": "float32"}),
    "density_array": (
        rtmdx.density_array,
        {**READY, "bandwidth": [3.0, 4.0], **THICK, "dtype": "float32", "out": None},
    ),
    "mask_distance": (
        rtmdx.mask_distance,
        {"mask": MASK, "frame": FRAME, "max_distance": None, "dtype": "float32", "window": None, **RUN},
    ),
    "mask_distance_array": (
        rtmdx.mask_distance_array,
        {"mask": MASK, "frame": FRAME, "max_distance": None, "dtype": "float32", "window": None, "out": None, **RUN},
    ),
    "cost_distance": (rtmdx.cost_distance, {**READY, **COST}),
    "cost_distance_array": (rtmdx.cost_distance_array, {**READY, **COST, "out": None}),
    "focal": (rtmdx.focal, {"raster": RASTER, "frame": FRAME, **ROUND}),
    "focal_array": (rtmdx.focal_array, {"raster": RASTER, "frame": FRAME, **ROUND, "out": None}),
    "zonal": (
        rtmdx.zonal,
        {"raster": RASTER, "zones": [AREA], "frame": FRAME, "statistics": ("mean",), "weights": None, **RUN},
    ),
    "coverage": (rtmdx.coverage, {"polygons": [AREA], "frame": FRAME, **RUN}),
    "stream_to_zarr": (
        rtmdx.stream_to_zarr,
        {
            "compute": zeros,
            "frame": FRAME,
            "path": "",
            "name": "surface",
            "dtype": "float32",
            "attrs": None,
            "side": 4096,
            "overwrite": False,
            "cancel": None,
            "progress": None,
        },
    ),
    "Features.from_points": (Features.from_points, {"xy": POINTS, "crs": None}),
    "Features.from_arrays": (Features.from_arrays, ARRAYS),
    "Features.from_geometries": (Features.from_geometries, {"geometries": [AREA], "crs": None}),
    "Features.of": (Features.of, {"features": POINTS}),
    "Features.with_crs": (Features.from_points(POINTS).with_crs, {"crs": None}),
    "Frame": (Frame, {"crs": CRS, "x_min": 0.0, "y_max": 1.0, "dx": 1.0, "dy": 1.0, "shape": (2, 3)}),
    "Frame.from_bounds": (Frame.from_bounds, {"bounds": (0, 0, 1, 1), "crs": CRS, "cell_size": 0.5}),
    "Frame.windows": (lambda side: list(FRAME.windows(side)), {"side": 5}),
    "Frame.padded": (FRAME.padded, {"cells": 2}),
    "Frame.dataarray": (FRAME.dataarray, {"raster": RASTER, "name": "a", "attrs": None, "window": None}),
    "Grid": (Grid, {"crs": CRS, "x_min": 0.0, "y_max": 1.0, "cell_size": 1.0, "mask": MASK}),
    "Grid.from_area": (
        Grid.from_area,
        {"area": AREA, "crs": CRS, "cell_size": 1.0, "cells": "overlap", "origin": "aligned", "max_cells": 1000},
    ),
    "Grid.cell_of": (GRID.cell_of, {"x": [1.0], "y": [2.0]}),
    "Grid.to_raster": (GRID.to_raster, {"values": np.zeros(400), "fill": 0}),
    "Grid.to_cells": (GRID.to_cells, {"raster": RASTER}),
    "StudyArea.from_frame": (StudyArea.from_frame, {"frame": gpd.GeoDataFrame(geometry=[AREA], crs=CRS), "total": 1}),
    "Events.from_frame": (
        Events.from_frame,
        {"frame": LAYER, "grid": GRID, "area": STUDY_AREA, "name": "a", "role": "outcome", "total": None},
    ),
    "RiskFactor.from_frame": (
        RiskFactor.from_frame,
        {"frame": LAYER, "grid": GRID, "name": "a", "distances": (1.0, 2.0), "label": None, "total": None},
    ),
    "raster_in": (rasters.raster_in, {"raster": RASTER, "frame": FRAME}),
    "frame_of": (rasters.frame_of, {"raster": ON_FRAME, "frame": FRAME}),
    "read_layer": (readers.read_layer, {"path": "nowhere.gpkg", "what": "layer"}),
    "read_friction": (impedance.read_friction, {"path": "nowhere.tif", "frame": FRAME}),
}

# Where good arguments meet no file, the call itself fails, by an error of ours.
FILES = {"read_layer", "read_friction"}


class Odd:
    pass


def overlapping(*shape):
    return np.lib.stride_tricks.as_strided(np.zeros(shape[-1]), shape, (0,) * (len(shape) - 1) + (8,))


def infinite_polygon():
    with np.errstate(all="ignore"):
        return shapely.Polygon([(0, 0), (np.inf, 0), (1, 1)])


NONSENSE = {
    "None": None,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "-1": -1,
    "0": 0,
    "0.5": 0.5,
    "10**400": 10**400,
    "1e308": 1e308,
    "complex": 1 + 2j,
    "True": True,
    "text": "x",
    "no text": "",
    "a/b": "a/b",
    "bytes": b"x",
    "list": [1, 2],
    "no list": [],
    "ragged": [[1], [2, 3]],
    "set": {1, 2},
    "dict": {"a": 1},
    "object": Odd(),
    "date": np.datetime64("2020-01-01"),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "no dimension": np.array(3.0),
    "array": np.array([1.0, 2.0]),
    "whole array": np.array([8, 16]),
    "NaN array": np.array([np.nan, 1.0]),
    "complex array": np.zeros((2, 2), dtype=complex),
    "text array": np.array(["a", "b"]),
    "object array": np.array([None, Odd()], dtype=object),
    "masked": np.ma.masked_array([1.0, 2.0], [0, 1]),
    "masked value": np.ma.masked,
    "cube": np.zeros((2, 2, 2)),
    "overlapping": overlapping(20, 20),
    "DataArray": xr.DataArray(np.zeros((2, 3, 4)), dims=("b", "y", "x")),
    "point": shapely.Point(0, 0),
    "infinite point": shapely.Point(np.inf, 0),
    "empty polygon": shapely.Polygon(),
    "infinite polygon": infinite_polygon(),
    "other CRS": gpd.GeoSeries([shapely.box(0, 0, 1, 1)], crs=4326),
    "frame": FRAME,
    "type": Odd,
    "window outside": (0, 0, 21, 20),
    "huge window": (10**30, 0, 1, 1),
}
ARGUMENTS = [(name, argument) for name, (_, good) in CALLS.items() for argument in good]


def call(function_name, tmp_path, /, **changed):
    function, good = CALLS[function_name]
    given = {**good, **changed}
    if function_name == "stream_to_zarr" and "path" not in changed:
        given["path"] = tmp_path / "stream.zarr"
        given["overwrite"] = changed.get("overwrite", True)
    return function(**given)


def test_good_arguments_are_good(tmp_path):
    for name in CALLS:
        if name in FILES:
            with pytest.raises(RtmdxError, match=r"nowhere"):
                call(name, tmp_path)
        else:
            call(name, tmp_path)


def test_every_public_operation_and_argument_is_here():
    functions = {name for name in rtmdx.__all__ if inspect.isfunction(getattr(rtmdx, name))}
    studies = {"run", "run_tiled", "plan_sweep", "resume", "open_sweep"}  # tested by themselves
    assert functions - studies - {"build_info", "validity"} <= set(CALLS)
    for name in functions & set(CALLS):
        assert set(inspect.signature(getattr(rtmdx, name)).parameters) == set(CALLS[name][1]), name


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS, ids=[f"{n}-{a}" for n, a in ARGUMENTS])
def test_nonsense_is_refused_by_an_error_of_ours(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = {}
    for what, value in NONSENSE.items():
        if argument in ("cancel", "progress", "compute") and what == "type":
            continue  # callable; what it then raises is its own
        try:
            call(name, tmp_path, **{argument: value})
        except RtmdxError as error:
            said[what] = str(error)
        except Exception as error:
            pytest.fail(f"{name}({argument}={what}): {type(error).__name__}: {error}")
    assert len(said) > len(NONSENSE) // 2
    assert all(10 < len(message) < 500 for message in said.values()), said


EXPECTED = [
    # frame
    ("distance", "frame", None, InputError, "frame: found None, expected a Frame or a Grid"),
    ("density", "frame", RASTER, InputError, r"frame: found an array of float64 of shape \(20, 20\), expected a Frame"),
    ("cost_distance_array", "frame", "x", InputError, "frame: found 'x', expected a Frame"),
    ("mask_distance", "frame", None, InputError, "frame: found None"),
    ("coverage", "frame", None, InputError, "frame: found None"),
    ("stream_to_zarr", "frame", None, InputError, "frame: found None"),
    ("focal", "frame", 3, InputError, "frame: found 3, expected a Frame or a Grid, or None"),
    ("focal", "frame", None, InputError, "does not say where its cells lie"),
    # numbers and names
    ("distance", "max_distance", -1, InputError, "max_distance: found -1, expected a length of 0 or more"),
    ("distance", "max_distance", np.ones(3), InputError, r"max_distance: found an array .*, expected a number"),
    ("distance", "max_distance", 10**400, InputError, "max_distance: found a number beyond double precision"),
    ("distance", "metric", np.array(["euclidean", "x"]), InputError, "metric: found an array of <U9"),
    ("distance", "dtype", None, InputError, "dtype: found None, expected float32 or float64"),
    ("density", "dtype", "int32", InputError, "dtype: found 'int32', expected float32 or float64"),
    ("distance", "threads", True, InputError, "threads: found True, expected a whole number from 1 to 4096"),
    ("zonal", "threads", 5000, InputError, "threads: found 5000, expected a whole number from 1 to 4096"),
    ("distance", "window", "abcd", InputError, "window: found 'abcd', expected four integers"),
    ("distance", "window", (True, 0, 1, 1), InputError, "expected four integers"),
    ("cost_distance", "connectivity", np.array([8, 16]), InputError, "expected 8 or 16 neighbours"),
    ("cost_distance", "connectivity", 4, InputError, "connectivity: found 4, expected 8 or 16"),
    ("cost_distance", "max_cost", "x", InputError, "max_cost: found 'x', expected a number"),
    ("focal", "radius", True, InputError, "radius: found True, expected a number"),
    ("focal", "statistic", ["sum"], InputError, "statistic: found .*, expected one of sum, mean"),
    ("focal", "shape", None, InputError, "shape: found None, expected one of circle, square"),
    ("distance", "cancel", True, InputError, "cancel: found True, expected a function"),
    ("distance", "progress", "bar", InputError, "progress: found 'bar', expected a function"),
    # arrays of numbers
    ("distance_bands_array", "limits", "abc", InputError, "limits: found text, expected a sequence of 1 to 255"),
    ("distance_bands_array", "limits", 5.0, InputError, "limits: found 5.0, expected a sequence of 1 to 255"),
    ("distance_bands_array", "limits", [2, 1], InputError, r"limits: found \[2, 1\], expected .* ascending"),
    ("distance_bands_array", "limits", [1j], InputError, "limits: found complex numbers"),
    ("density", "weights", 2.0, InputError, r"weights: have the shape \(\), expected \(2,\), one per geometry"),
    ("density", "weights", ["1", "2"], InputError, "weights: found text, expected an array of numbers"),
    ("density", "weights", np.ma.masked_array([1.0, 2.0], [0, 1]), InputError, "weights: found 1 masked values"),
    ("density", "bandwidth", {"a": 1}, InputError, r"bandwidth: found \{'a': 1\}, expected a number"),
    ("density", "bandwidth", [[1], [2, 3]], InputError, r"bandwidth: found \[1\], expected a number"),
    ("density", "kernel", None, InputError, "kernel: found None, expected one of epanechnikov"),
    ("zonal", "statistics", 5, InputError, "statistics: found 5, expected a list of names"),
    ("zonal", "statistics", [5], InputError, r"statistics: found \[5\], expected a list of names"),
    ("zonal", "zones", "city.gpkg", InputError, "features: found 'city.gpkg', expected geometries"),
    ("zonal", "raster", [[1], [2, 3]], InputError, "raster: found .*, expected an array of numbers"),
    ("cost_distance", "friction", [[1], [2, 3]], InputError, "friction: found .*, expected an array of numbers"),
    ("mask_distance", "mask", RASTER, InputError, "mask: found values of type float64, expected bool or uint8"),
    ("mask_distance", "mask", np.ma.masked_array(MASK, MASK), InputError, r"mask: found masked cells.*filled"),
    # features
    ("distance", "features", POINTS + 1j, InputError, "points: found complex numbers, expected"),
    ("Features.from_points", "xy", [["a", "b"]], InputError, "points: found text"),
    ("distance", "features", 3, InputError, "features: found 3, expected geometries"),
    ("distance", "features", {"a": AREA}, InputError, "features: found .*expected geometries"),
    ("Features.from_arrays", "points", 5, InputError, r"points: has the shape \(\), expected \(n, 2\)"),
    ("Features.from_arrays", "line_xy", np.zeros((2, 3)), InputError, r"line_xy: has the shape \(2, 3\)"),
    ("Features.from_arrays", "line_offsets", 0, InputError, r"line_offsets: has the shape \(\), expected \(n \+ 1,\)"),
    ("Features.from_arrays", "line_offsets", [0, 1.5, 2], InputError, "line_offsets: found numbers that are not whole"),
    ("Features.from_arrays", "ring_offsets", [0, np.nan], InputError, "ring_offsets: found numbers that are not whole"),
    ("Features.from_arrays", "polygon_offsets", ["a"], InputError, "polygon_offsets: found text, expected offsets"),
    ("Features.from_arrays", "polygon_offsets", [], InputError, r"polygon_offsets: has the shape \(0,\)"),
    ("Features.from_geometries", "crs", np.ones(2), CRSError, "features: found|is no coordinate reference system"),
    ("cost_distance", "barriers", [shapely.Point(1, 1)], InputError, "barriers: 1 are points, expected lines"),
    # frames and grids
    ("Frame", "shape", (np.nan, 3), InputError, r"frame: shape: found \(nan, 3\), expected \(rows, columns\)"),
    ("Frame", "shape", "ab", InputError, r"frame: shape: found 'ab', expected \(rows, columns\)"),
    ("Frame", "x_min", "west", InputError, "frame: x_min: found 'west', expected a number"),
    ("Frame", "crs", {1, 2}, CRSError, "is no coordinate reference system"),
    ("Frame.from_bounds", "bounds", (0, 0, 1), InputError, "frame: bounds: found .*, expected four finite numbers"),
    ("Frame.from_bounds", "cell_size", "1", InputError, "frame: cell_size: found '1', expected a number"),
    ("Frame.windows", "side", 2.5, InputError, "side: found 2.5, expected a whole number of cells, 1 or more"),
    ("Frame.padded", "cells", -1, InputError, "cells: found -1, expected a whole number, 0 or more"),
    ("Frame.dataarray", "raster", np.zeros((3, 3)), InputError, r"raster: found .*, expected .* are \(20, 20\)"),
    ("Grid", "mask", [[True]], InputError, "mask: found .*, expected a bool array"),
    ("Grid.from_area", "cell_size", 0, InputError, "cell_size: found 0.0, expected a positive number"),
    ("Grid.from_area", "cells", "half", InputError, "cells: found 'half', expected one of overlap, center"),
    ("Grid.from_area", "area", "city.gpkg", InputError, "study area: found 'city.gpkg', expected a Polygon"),
    ("Grid.from_area", "area", infinite_polygon(), InputError, "study area: has coordinates that are not finite"),
    ("Grid.from_area", "crs", None, CRSError, "study area: None is no coordinate reference system"),
    ("Grid.to_raster", "fill", "x", InputError, "fill: found 'x', expected a value that an array of float64"),
    ("Grid.cell_of", "x", [1.0, 2.0], InputError, r"x, y: have the shapes \(2,\) and \(1,\)"),
    # layers
    ("StudyArea.from_frame", "frame", LAYER.geometry, InputError, "expected a GeoDataFrame. Wrap it"),
    ("Events.from_frame", "grid", FRAME, InputError, "grid: found Frame, expected a Grid"),
    ("Events.from_frame", "frame", LAYER.set_crs(None, allow_override=True), CRSError, "has no coordinate reference"),
    ("RiskFactor.from_frame", "distances", 5, InputError, "distances: found 5, expected a sequence of lengths"),
    # streams
    ("stream_to_zarr", "side", "x", InputError, "side: found 'x', expected a whole number of cells"),
    ("stream_to_zarr", "dtype", "x", InputError, "dtype: found 'x', expected a dtype of numbers"),
    ("stream_to_zarr", "dtype", None, InputError, "dtype: found None, expected a dtype of numbers"),
    ("stream_to_zarr", "dtype", object, InputError, "dtype: found the type object"),
    ("stream_to_zarr", "compute", "x", InputError, "compute: found 'x', expected a function of a window"),
    ("stream_to_zarr", "compute", lambda _: "x", InputError, "compute: returned 'x', expected an array of numbers"),
    ("stream_to_zarr", "compute", lambda w: zeros(w) + 1j, InputError, "compute: returned an array of complex64"),
    ("stream_to_zarr", "name", "", InputError, "name: found '', expected a name"),
    ("stream_to_zarr", "name", "x", InputError, "name: found 'x', expected .* none of spatial_ref, x, y"),
    ("stream_to_zarr", "name", "/", InputError, "name: found '/', expected a name without '/'"),
    ("stream_to_zarr", "name", "a/b", InputError, "name: found 'a/b', expected a name without '/'"),
    ("stream_to_zarr", "name", "..", InputError, "name: found '..', expected a name"),
    ("stream_to_zarr", "attrs", {"a": Odd()}, InputError, "attrs: cannot be written as JSON"),
    ("stream_to_zarr", "attrs", [1], InputError, r"attrs: found \[1\], expected a dict"),
    ("stream_to_zarr", "overwrite", "no", InputError, "overwrite: found 'no', expected True or False"),
    ("stream_to_zarr", "path", 3, InputError, "path: found 3, expected the path of the store"),
    ("stream_to_zarr", "path", "no/such/folder.zarr", OutputError, "does not exist"),
]


@pytest.mark.parametrize(
    ("name", "argument", "value", "error", "said"), EXPECTED, ids=[f"{c[0]}-{c[1]}-{i}" for i, c in enumerate(EXPECTED)]
)
def test_what_is_said(name, argument, value, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said) as caught:
        call(name, tmp_path, **{argument: value})
    assert isinstance(caught.value, error)
    assert not list(tmp_path.iterdir())  # a stream that failed leaves nothing


@pytest.mark.parametrize("area", [infinite_polygon(), [infinite_polygon()]])
def test_an_area_that_ends_nowhere(area):
    with pytest.raises(InputError, match="area: has coordinates that are not finite"):
        rtmdx.density(POINTS, FRAME, bandwidth=2.0, edge_correction="uniform", area=area)


ARRAY_CALLS = [name for name, (_, good) in CALLS.items() if "out" in good]


@pytest.mark.parametrize("name", ARRAY_CALLS)
def test_outputs_that_cannot_be_written(name, tmp_path):
    lead = (2,) if name == "density_array" else ()
    frozen = np.zeros((*lead, 20, 20))
    frozen.setflags(write=False)
    wide = np.zeros((*lead, 20, 40))
    for out, said in [
        (overlapping(*lead, 20, 20), "overlap in memory"),
        (np.lib.stride_tricks.as_strided(np.zeros(400), (*lead, 20, 20), (*(8,) * len(lead), 8, 8)), "overlap"),
        (frozen, "read-only"),
        (np.zeros((*lead, 20, 20), dtype=np.int32), "found int32"),
        (np.zeros((*lead, 20, 20), dtype=">f8"), "found >f8"),
        (np.zeros((*lead, 20, 19)), "of shape"),
        (np.zeros((*lead, 20, 20)).swapaxes(-1, -2), "contiguous"),
    ]:
        with pytest.raises(InputError, match=said):
            call(name, tmp_path, out=out)
    want = call(name, tmp_path, dtype="float64")
    for out in (
        wide[..., ::1][..., 3:23],
        np.zeros((*lead, 20, 20))[..., ::-1, :],
        np.zeros((*lead, 40, 20))[..., ::2, :],
    ):
        assert call(name, tmp_path, out=out) is out
        np.testing.assert_array_equal(out, want)


def test_an_output_over_its_own_input():
    room = np.zeros(400, dtype=np.float32)
    mask = room.view(np.uint8)[:400].reshape(20, 20)
    with pytest.raises(InputError, match="shares memory with the mask"):
        rtmdx.mask_distance_array(mask, FRAME, out=room.reshape(20, 20))


def test_what_is_masked_is_missing():
    hidden = np.zeros((20, 20), dtype=bool)
    hidden[3:9, 4:7] = True
    holes = np.where(hidden, np.nan, RASTER)
    for values in (RASTER, RASTER.astype(np.float32), RASTER.astype(np.int16)):
        masked = np.ma.masked_array(values, hidden)
        np.testing.assert_array_equal(
            rtmdx.focal_array(masked, FRAME, radius=2.0), rtmdx.focal_array(holes, FRAME, radius=2.0)
        )
        got, want = rtmdx.zonal(masked, [AREA], FRAME), rtmdx.zonal(holes, [AREA], FRAME)
        np.testing.assert_allclose(got.to_numpy(), want.to_numpy())
    friction = np.ma.masked_array(np.ones((20, 20)), hidden)
    np.testing.assert_array_equal(
        rtmdx.cost_distance_array(POINTS, FRAME, friction=friction),
        rtmdx.cost_distance_array(POINTS, FRAME, friction=np.where(hidden, np.nan, 1.0)),
    )


def test_an_iterator_of_zones_is_read_once():
    zones = [AREA, shapely.box(0, 0, 4, 4)]
    want = rtmdx.zonal(RASTER, zones, FRAME)
    np.testing.assert_array_equal(rtmdx.zonal(RASTER, iter(zones), FRAME).to_numpy(), want.to_numpy())
    assert len(rtmdx.coverage(iter(zones), FRAME)) == len(rtmdx.coverage(zones, FRAME)) > 0
