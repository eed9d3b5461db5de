"""The grid: which cells are kept, where they lie, and back and forth."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx.errors import CRSError, InputError, MemoryLimitError
from rtmdx.space.grid import Grid

CRS = "EPSG:26915"


def boxes(grid: Grid) -> np.ndarray:
    rows, cols = np.indices(grid.shape)
    west, north = grid.x_min + cols * grid.dx, grid.y_max - rows * grid.dy
    return shapely.box(west, north - grid.dy, west + grid.dx, north)


def random_polygon(seed: int, n: int = 9) -> shapely.Polygon:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = rng.uniform(200, 900, n)
    shape = shapely.Polygon(np.column_stack([5e5 + radius * np.cos(angle), 4e6 + radius * np.sin(angle)]))
    hole = shapely.Point(5e5 + 40, 4e6).buffer(60)
    return shape.buffer(0).difference(hole)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([17.0, 50.0, 133.3]), st.sampled_from(["aligned", "bounds"]))
def test_kept_cells_equal_the_obvious_rule(seed: int, size: float, origin: str) -> None:
    area = random_polygon(seed)
    overlap = Grid.from_area(area, CRS, size, origin=origin)
    cell = boxes(overlap)
    np.testing.assert_array_equal(overlap.mask, shapely.intersects(area, cell) & ~shapely.touches(area, cell))
    center = Grid.from_area(area, CRS, size, cells="center", origin=origin)
    x, y = np.meshgrid(center.x, center.y)
    np.testing.assert_array_equal(center.mask, shapely.intersects_xy(area, x, y))
    west, south, east, north = overlap.bounds
    assert shapely.box(west - 1e-6, south - 1e-6, east + 1e-6, north + 1e-6).contains(area)


def test_cells_that_only_touch_are_left_out() -> None:
    grid = Grid.from_area(shapely.box(1000, 1000, 2000, 1500), CRS, 100)
    assert grid.shape == (5, 10)
    assert grid.mask.all()


def test_aligned_origin_is_a_multiple_of_the_cell_size() -> None:
    grid = Grid.from_area(shapely.box(1013, 1077, 2050, 1580), CRS, 50)
    assert grid.x_min % 50 == 0
    assert grid.y_max % 50 == 0
    other = Grid.from_area(shapely.box(1013, 1077, 2050, 1580), CRS, 50, origin="bounds")
    assert (other.x_min, other.bounds[1]) == (1013, 1077)


def test_row_zero_is_north_and_cells_are_row_major() -> None:
    grid = Grid.from_area(shapely.box(0, 0, 300, 200), CRS, 100)
    assert grid.y[0] > grid.y[-1]
    assert grid.cell_of([50, 250, 50], [150, 150, 50]).tolist() == [0, 2, 3]
    assert tuple(grid.transform)[:6] == (100, 0, 0, 0, -100, 200)


def test_points_on_edges_and_outside() -> None:
    grid = Grid.from_area(shapely.box(0, 0, 300, 200), CRS, 100)
    found = grid.cell_of([100, 300, 0, -1, 301, np.nan], [100, 0, 200, 50, 50, 50])
    assert found.tolist() == [4, 5, 0, -1, -1, -1]


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_raster_and_cells_are_inverse(seed: int) -> None:
    grid = Grid.from_area(random_polygon(seed), CRS, 50)
    values = np.random.default_rng(seed).normal(size=grid.n_cells)
    raster = grid.to_raster(values)
    np.testing.assert_array_equal(grid.to_cells(raster), values)
    assert np.isnan(raster[~grid.mask]).all()
    rows, cols = grid.rows_cols
    np.testing.assert_array_equal(grid.cell_of(grid.x[cols], grid.y[rows]), np.arange(grid.n_cells))


def test_dataarray_carries_the_crs() -> None:
    grid = Grid.from_area(shapely.box(0, 0, 300, 200), CRS, 100)
    array = grid.dataarray(grid.to_raster(np.arange(6.0)), "a")
    assert array.spatial_ref.attrs["GeoTransform"] == "0.0 100.0 0.0 200.0 0.0 -100.0"
    assert "NAD83" in array.spatial_ref.attrs["crs_wkt"]


def test_one_cell() -> None:
    grid = Grid.from_area(shapely.box(0, 0, 100, 100), CRS, 100)
    assert grid.n_cells == 1


def test_digest_tells_grids_apart() -> None:
    area = shapely.box(0, 0, 300, 200)
    a, b = Grid.from_area(area, CRS, 100), Grid.from_area(area, CRS, 50)
    assert a.digest == Grid.from_area(area, CRS, 100).digest != b.digest


def test_geographic_crs_names_itself_and_a_utm_zone() -> None:
    with pytest.raises(CRSError, match=r"EPSG:4326 is geographic.*EPSG:32615"):
        Grid.from_area(shapely.box(-90.3, 38.5, -90.1, 38.8), "EPSG:4326", 0.01)


def test_too_many_cells_are_refused_before_allocation() -> None:
    with pytest.raises(MemoryLimitError, match=r"1,000,000,000,000 cells.*larger cells"):
        Grid.from_area(shapely.box(0, 0, 1e5, 1e5), CRS, 0.1)


@pytest.mark.parametrize(
    ("area", "size", "match"),
    [
        (shapely.box(0, 0, 10, 10), 100, "smaller than one cell"),
        (shapely.Polygon(), 100, "no polygon"),
        (shapely.LineString([(0, 0), (1, 1)]), 100, "no polygon"),
    ],
)
def test_unusable_areas(area: shapely.Geometry, size: float, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Grid.from_area(area, CRS, size)


def test_wrong_shapes_are_refused() -> None:
    grid = Grid.from_area(shapely.box(0, 0, 300, 200), CRS, 100)
    with pytest.raises(InputError, match=r"expected \(6,\)"):
        grid.to_raster(np.zeros(5))
    with pytest.raises(InputError, match=r"expected \(2, 3\)"):
        grid.to_cells(np.zeros((3, 2)))
