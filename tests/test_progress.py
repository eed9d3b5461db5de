"""Progress ends with done == total for every call that succeeds, also where there is nothing to do."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely

import rtmdx
from rtmdx.space.frame import Frame
from rtmdx.space.grid import Grid

CRS = pyproj.CRS("EPSG:32615")


def frame(rows, cols):
    return Frame(CRS, 0.0, 100.0, 1.0, 1.0, (rows, cols))


POINTS = np.array([[3.0, 96.0], [5.0, 95.0]])
NOBODY = np.empty((0, 2))
LINE = [shapely.LineString([(1, 99), (9, 91)])]
AREA = [shapely.box(2, 92, 8, 98)]
RASTERS = {
    "distance": lambda where, f, **how: rtmdx.distance(where, f, **how),
    "allocation": lambda where, f, **how: rtmdx.allocation(where, f, **how),
    "bands": lambda where, f, **how: rtmdx.distance_bands_array(where, f, [2.0, 4.0], **how),
    "density": lambda where, f, **how: rtmdx.density(where, f, bandwidth=3.0, **how),
    "densities": lambda where, f, **how: rtmdx.density(where, f, bandwidth=[3.0, 4.0], **how),
    "corrected": lambda where, f, **how: rtmdx.density(
        where, f, bandwidth=3.0, edge_correction="uniform", area=AREA[0], **how
    ),
    "cost": lambda where, f, **how: rtmdx.cost_distance(where, f, **how),
    "focal": lambda _, f, **how: rtmdx.focal(np.ones(f.shape), f, radius=2.0, **how),
    "zonal": lambda where, f, **how: rtmdx.zonal(np.ones(f.shape), where, f, **how),
}


def last_told(call):
    told = []
    call(progress=lambda *now: told.append(now))
    assert told, "progress was never called"
    done, total = told[-1]
    assert done == total >= 1
    assert all(0 <= d <= t for d, t in told)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (10, 10)])
@pytest.mark.parametrize("features", [POINTS, NOBODY, LINE, AREA], ids=["points", "none", "line", "polygon"])
@pytest.mark.parametrize("name", RASTERS)
def test_rasters(name, features, shape):
    last_told(lambda progress: RASTERS[name](features, frame(*shape), progress=progress))


@pytest.mark.parametrize("name", ["distance", "allocation", "bands", "density", "densities", "corrected", "focal"])
def test_an_empty_window(name):
    last_told(lambda progress: RASTERS[name](POINTS, frame(10, 10), window=(3, 3, 0, 4), progress=progress))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (70, 70)])
@pytest.mark.parametrize("mask", ["all", "none", "some", "half"])
def test_masks(mask, shape):
    cells = np.full(shape, mask == "all")
    if mask == "some" and cells.size:
        cells[0, 0] = True
    if mask == "half":
        cells[::2] = True
    last_told(lambda progress: rtmdx.mask_distance(cells, frame(*shape), progress=progress))
    window = (0, 0, 0, shape[1])
    last_told(lambda progress: rtmdx.mask_distance(cells, frame(*shape), window=window, progress=progress))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (10, 10)])
@pytest.mark.parametrize("zones", [[], AREA, [shapely.box(500, 500, 600, 600)], [shapely.Polygon()]])
def test_coverage(zones, shape):
    last_told(lambda progress: rtmdx.coverage(zones, frame(*shape), progress=progress))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (10, 10)])
def test_streams(shape, tmp_path):
    f = frame(*shape)
    last_told(
        lambda progress: rtmdx.stream_to_zarr(
            lambda window: rtmdx.distance_array(POINTS, f, window=window), f, tmp_path / "s.zarr", progress=progress
        )
    )


def test_a_grid_without_kept_cells():
    empty = Grid(CRS, 0.0, 100.0, 1.0, np.zeros((10, 10), dtype=bool))
    last_told(lambda progress: rtmdx.distance(POINTS, empty, progress=progress))
    last_told(lambda progress: rtmdx.zonal(np.ones((10, 10)), AREA, empty, progress=progress))
