"""Exposure per cell from a layer: against Shapely cell by cell, and what must add up."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import CRS, ORIGIN
from rtmdx.errors import Cancelled, CRSError, FileError, InputError
from rtmdx.space.exposure import Exposure
from rtmdx.space.grid import Grid
from rtmdx.space.impedance import read_friction
from rtmdx.space.layers import Cleaning, StudyArea
from rtmdx.space.selection import Selection

X, Y = ORIGIN
HEX = shapely.Polygon([(X + 30, Y), (X + 900, Y + 80), (X + 990, Y + 700), (X + 500, Y + 960), (X, Y + 640)])
HOLED = HEX.difference(shapely.Point(X + 500, Y + 400).buffer(150))


def place(shape=HOLED, size: float = 70.0, cells: str = "overlap") -> tuple[Grid, StudyArea]:
    return Grid.from_area(shape, CRS, size, cells=cells), StudyArea(shape, CRS, Cleaning("memory", "", 1, 1))


def boxes(grid: Grid) -> np.ndarray:
    rows, cols = grid.rows_cols
    s = grid.cell_size
    west, north = grid.x_min + cols * s, grid.y_max - rows * s
    return shapely.box(west, north - s, west + s, north)


def frame(shapes, crs=CRS, **columns) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=list(shapes), crs=crs).assign(**columns)


def corner(at: Affine, c, r) -> tuple:
    return at.a * c + at.b * r + at.c, at.d * c + at.e * r + at.f


def lines(rng: np.random.Generator, n: int = 60) -> list[shapely.Geometry]:
    return [shapely.LineString(rng.uniform(-200, 1200, (k, 2)) + ORIGIN) for k in rng.integers(2, 6, n)]


def blobs(rng: np.random.Generator, n: int = 25, least: float = 20.0) -> list[shapely.Geometry]:
    return [
        shapely.Point(*(rng.uniform(-100, 1100, 2) + ORIGIN)).buffer(r, quad_segs=3) for r in rng.uniform(least, 150, n)
    ]


@pytest.mark.parametrize("cells", ["overlap", "center"])
def test_lengths_are_those_of_the_lines_cut_by_cells_and_area(cells: str) -> None:
    grid, area = place(cells=cells)
    shapes = lines(np.random.default_rng(1))
    shapes.append(shapely.MultiLineString([s.coords for s in shapes[:3]]))  # a repeated line counts again
    made = Exposure.from_frame(frame(shapes), grid, area, measure="length")
    within = shapely.intersection(np.array(shapes), area.geometry)
    oracle = [shapely.length(shapely.intersection(within, b)).sum() for b in boxes(grid)]
    assert made.cells == pytest.approx(np.array(oracle), abs=1e-7)
    inside = shapely.length(within).sum()
    if cells == "overlap":
        assert made.total == pytest.approx(inside, rel=1e-12)
    assert made.total + made.outside == pytest.approx(shapely.length(np.array(shapes)).sum(), rel=1e-12)
    assert (made.unit, made.cleaning.read, made.cleaning.kept, made.n_without) == (
        "m",
        61,
        61,
        int((made.cells == 0).sum()),
    )


def test_areas_count_overlaps_once() -> None:
    grid, area = place()
    shapes = blobs(np.random.default_rng(2))
    made = Exposure.from_frame(frame(shapes), grid, area, measure="area")
    union = shapely.union_all(shapes).intersection(area.geometry)
    assert made.cells == pytest.approx(shapely.area(shapely.intersection(boxes(grid), union)), abs=1e-6)
    assert made.total == pytest.approx(union.area, rel=1e-12)
    assert made.outside == pytest.approx(shapely.union_all(shapes).area - union.area, rel=1e-2)
    assert made.unit == "square m"


def test_the_study_area_itself_is_the_share_of_each_cell_inside() -> None:
    grid, area = place()
    made = Exposure.from_frame(frame([HOLED]), grid, area, measure="area")
    assert made.cells == pytest.approx(shapely.area(shapely.intersection(boxes(grid), HOLED)), abs=1e-6)
    assert made.total == pytest.approx(HOLED.area, rel=1e-13)
    assert made.outside == pytest.approx(0.0, abs=1e-6)
    assert made.n_without == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_points_are_counted_where_events_would_be(weighted: bool) -> None:
    grid, area = place()
    rng = np.random.default_rng(3)
    xy = rng.uniform(-100, 1100, (500, 2)) + ORIGIN
    weight = rng.integers(0, 9, 500)
    points = frame(shapely.points(xy), n=weight)
    made = Exposure.from_frame(points, grid, area, measure="count", field="n" if weighted else None)
    here = shapely.intersects_xy(HOLED, *xy.T)
    cell = grid.cell_of(*xy[here].T)
    amount = weight if weighted else np.ones(500)
    assert (made.cells == np.bincount(cell, amount[here], minlength=grid.n_cells)).all()
    assert made.outside == amount[~here].sum()
    assert made.unit == ("n" if weighted else "points")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([35.0, 70.0, 400.0]))
def test_zones_sum_back(seed: int, size: float) -> None:
    grid, area = place(size=size)
    rng = np.random.default_rng(seed)
    zones = np.array([*blobs(rng, 12, least=0.01), shapely.box(X + 300, Y + 650, X + 301, Y + 651)])
    people = rng.uniform(0, 1000, len(zones))
    whole = Exposure.from_frame(frame(zones, people=people), grid, area, measure="polygons", field="people")
    share = shapely.area(shapely.intersection(zones, area.geometry)) / shapely.area(zones)
    assert whole.total == pytest.approx((people * share).sum(), rel=1e-9)
    assert whole.total + whole.outside == pytest.approx(people.sum(), rel=1e-9)
    for i in np.flatnonzero(shapely.contains_properly(area.geometry, zones))[:3]:  # a zone alone: to the last digits
        one = Exposure.from_frame(frame(zones[[i]], people=[977.0]), grid, area, measure="polygons", field="people")
        assert one.total == pytest.approx(977.0, rel=1e-14)
        assert one.outside <= 1e-10


def test_zones_are_spread_by_area() -> None:
    grid, area = place()
    zones = np.array(blobs(np.random.default_rng(4), 8))
    people = np.arange(1.0, 9.0)
    made = Exposure.from_frame(frame(zones, p=people), grid, area, measure="polygons", field="p")
    oracle = [
        (people * shapely.area(shapely.intersection(zones, b)) / shapely.area(zones)).sum()
        for b in shapely.intersection(boxes(grid), area.geometry)
    ]
    assert made.cells == pytest.approx(np.array(oracle), abs=1e-9)


@pytest.mark.parametrize("measure", ["length", "area", "polygons"])
def test_threads_and_row_order_change_nothing(measure: str) -> None:
    grid, area = place()
    rng = np.random.default_rng(5)
    layer = frame(lines(rng) if measure == "length" else blobs(rng), p=1.0)
    field = "p" if measure == "polygons" else None
    one, two, seven = (
        Exposure.from_frame(layer, grid, area, measure=measure, field=field, threads=n).cells for n in (1, 2, 7)
    )
    assert (one == two).all()
    assert (one == seven).all()
    back = Exposure.from_frame(layer[::-1], grid, area, measure=measure, field=field).cells
    assert back == pytest.approx(one, rel=1e-9, abs=1e-9)


def test_lines_on_edges_count_once() -> None:
    grid, area = place(shapely.box(X, Y, X + 1000, Y + 1000), size=100.0)
    edges = [
        shapely.LineString([(X + a, Y), (X + a, Y + 1000)]) for a in (0, 300, 1000)
    ] + [shapely.LineString([(X, Y + a), (X + 1000, Y + a)]) for a in (0, 500, 1000)]  # fmt: skip
    made = Exposure.from_frame(frame(edges), grid, area, measure="length")
    assert made.total == pytest.approx(6000.0, rel=1e-12)
    assert made.outside == pytest.approx(0.0, abs=1e-9)


def test_other_crs_and_dirty_rows() -> None:
    grid, area = place()
    shapes = lines(np.random.default_rng(6))
    own = Exposure.from_frame(frame(shapes), grid, area, measure="length")
    degrees = Exposure.from_frame(frame(shapes).to_crs(4326), grid, area, measure="length")
    assert degrees.cells == pytest.approx(own.cells, abs=0.05)
    dirty = frame([*shapes, None, shapely.LineString(), shapely.LineString([(0, 0), (np.inf, 1)])], kind="street")
    dirty.loc[0, "kind"] = "path"
    made = Exposure.from_frame(dirty, grid, area, measure="length", selection=Selection({"kind": "street"}))
    assert dict(made.cleaning.dropped) == {
        "not matching the filter": 1,
        "no geometry": 2,
        "coordinates not finite": 1,
    }
    assert (made.cleaning.read, made.cleaning.kept) == (63, 59)
    rest = Exposure.from_frame(frame(shapes[1:]), grid, area, measure="length")
    assert (made.cells == rest.cells).all()


def test_mended_and_flat_polygons() -> None:
    grid, area = place()
    x, y = X + 200, Y + 650
    bow = shapely.Polygon([(x, y), (x + 100, y + 100), (x + 100, y), (x, y + 100)])
    flat = shapely.Polygon([(x, y), (x + 100, y), (x, y)])
    made = Exposure.from_frame(frame([bow, flat], n=[40, 2]), grid, area, measure="polygons", field="n")
    assert made.total == pytest.approx(40.0, rel=1e-12)
    assert made.cleaning.mended >= 1
    assert made.cleaning.dropped == {"no area": 1}


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([shapely.Point(X + 300, Y + 300)], {"measure": "length"}, "takes lines, found Point"),
        ([shapely.LineString([(X, Y), (X + 9, Y)])], {"measure": "area"}, "takes polygons, found LineString"),
        ([HEX], {"measure": "count"}, "takes points, found Polygon"),
        ([HEX], {"measure": "polygons"}, "need a field"),
        ([HEX], {"measure": "area", "field": "n"}, "takes no field"),
        ([HEX], {"measure": "polygons", "field": "m"}, "'m'"),
        ([HEX], {"measure": "polygons", "field": "bad"}, "missing or no number"),
        ([HEX], {"measure": "polygons", "field": "low"}, r"in row 1, is -1"),
        ([HEX], {"measure": "polygons", "field": "endless"}, r"in row 1, is inf"),
        ([HEX], {"measure": "polygons", "field": "word"}, "missing or no number"),
        ([HEX], {"measure": "polygons", "field": "zero"}, "is 0 in every cell"),
        ([shapely.Point(X + 5000, Y)], {"measure": "count"}, "is 0 in every cell"),
        ([shapely.MultiPoint([(X, Y), (X + 300, Y + 300)])], {"measure": "count", "field": "n"}, "MultiPoint of 2"),
        ([None], {"measure": "count"}, "no geometry left"),
        ([HEX], {"measure": "volume"}, "'volume'"),
    ],
)  # fmt: skip
def test_unusable_layers_are_named(shapes: list, options: dict, message: str) -> None:
    grid, area = place()
    layer = frame(shapes, n=1.0, bad=np.nan, low=-1.0, endless=np.inf, word="many", zero=0)
    with pytest.raises(InputError, match=message):
        Exposure.from_frame(layer, grid, area, **options)


def test_no_crs() -> None:
    grid, area = place()
    with pytest.raises(CRSError):
        Exposure.from_frame(frame([HEX], crs=None), grid, area, measure="area")


def test_codes_for_missing_outside_the_area_do_no_harm() -> None:
    grid, area = place()
    far = shapely.box(X + 5000, Y, X + 6000, Y + 1000)
    layer = frame([HEX, far, far], p=pd.array([10.0, -666666666.0, None], dtype="Float64"))
    made = Exposure.from_frame(layer, grid, area, measure="polygons", field="p")
    assert made.total == pytest.approx(10.0 * HOLED.area / HEX.area, rel=1e-9)
    words = frame([HEX], p=["10"])  # numbers written as text, as in a CSV
    assert Exposure.from_frame(words, grid, area, measure="polygons", field="p").total == pytest.approx(made.total)


def test_floor() -> None:
    grid, area = place()
    made = Exposure.from_frame(frame(lines(np.random.default_rng(8), 10)), grid, area, measure="length")
    assert made.n_without
    raised = made.floored()
    assert raised.floor == pytest.approx(0.1 * np.median(made.cells[made.cells > 0]))
    assert raised.raised == (made.cells < raised.floor).sum() > made.n_without
    assert (raised.cells == np.maximum(made.cells, raised.floor)).all()
    assert raised.total == pytest.approx(made.total, rel=1e-12)
    assert raised.added == pytest.approx(raised.cells.sum() - made.cells.sum(), rel=1e-9)
    assert made.floored(1.5).floor == 1.5
    with pytest.raises(InputError, match="above the median"):
        made.floored(1e9)


# ------------------------------------------------------------------------------------------------ rasters


def write(
    path: Path, values: np.ndarray, transform: Affine, crs: str | None = CRS, nodata: float | None = None
) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        crs=crs, transform=transform, nodata=nodata,
    ) as out:  # fmt: skip
        out.write(values, 1)
    return path


@pytest.mark.parametrize("turn", [0.0, 20.0])
@pytest.mark.parametrize("statistic", ["sum", "mean"])
def test_rasters_are_spread_by_exact_coverage(tmp_path: Path, statistic: str, turn: float) -> None:
    grid, area = place()
    values = np.random.default_rng(9).uniform(0, 10, (60, 50)).astype(np.float32)
    values[10:20, 5:30] = -99.0
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    transform = Affine(33 * cos, 27 * sin, X - 220, 33 * sin, -27 * cos, Y + 1250)
    path = write(tmp_path / "people.tif", values, transform, nodata=-99.0)
    made = Exposure.from_raster(path, grid, area, statistic=statistic, unit="people")
    r, c = np.nonzero(values >= 0)
    ring = [corner(transform, c + a, r + b) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
    pixels = shapely.polygons(np.stack([np.stack(p, axis=-1) for p in ring], axis=1))
    amount = values[r, c].astype(float)
    tree, cells = shapely.STRtree(pixels), shapely.intersection(boxes(grid), area.geometry)
    cell, pixel = tree.query(cells, predicate="intersects")
    shared = shapely.area(shapely.intersection(cells[cell], pixels[pixel]))
    sums = np.bincount(cell, shared * amount[pixel], minlength=grid.n_cells)
    if statistic == "sum":
        oracle = sums / (33.0 * 27.0)
    else:
        covered = np.bincount(cell, shared, minlength=grid.n_cells)
        oracle = np.divide(sums, covered, out=np.zeros_like(sums), where=covered > 1e-6)
    assert made.cells == pytest.approx(oracle, rel=1e-7, abs=1e-9)
    assert (made.name, made.unit) == ("people", "people")
    assert made.cleaning.read == made.cleaning.kept + sum(made.cleaning.dropped.values())


def test_a_raster_in_degrees_keeps_its_sum(tmp_path: Path) -> None:
    inner = HOLED.buffer(-60)
    grid, area = place()
    west, _, east, north = gpd.GeoSeries([HEX], crs=CRS).to_crs(4326).total_bounds
    step = (east - west) / 40
    transform = Affine(step, 0, west - 5 * step, 0, -step, north + 5 * step)
    values = np.zeros((60, 50))
    r, c = np.mgrid[0:60, 0:50]
    centre = gpd.points_from_xy(*corner(transform, c.ravel() + 0.5, r.ravel() + 0.5), crs=4326).to_crs(CRS)
    values.ravel()[shapely.contains(inner, np.array(centre))] = 7.0
    path = write(tmp_path / "d.tif", values, transform, "EPSG:4326")
    made = Exposure.from_raster(path, grid, area)
    assert values.sum() > 1000
    assert made.total == pytest.approx(values.sum(), rel=1e-12)
    assert made.outside == pytest.approx(0.0, abs=1e-9)


def test_a_raster_without_a_crs_is_named_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.ones((30, 30), dtype=np.float32), Affine(50.0, 0, X, 0, -50.0, Y), None)
    grid, area = place()
    with pytest.raises(FileError, match=r"^exposure \(a\.tif\): \S+ names no CRS\."):
        Exposure.from_raster(path, grid, area)
    with pytest.raises(FileError, match=r"^friction \S+: names no CRS\."):
        read_friction(path, grid)


def test_unusable_rasters_are_named(tmp_path: Path) -> None:
    grid, area = place()
    at = Affine(50.0, 0, X - 100, 0, -50.0, Y + 1100)
    ones = np.ones((30, 30), dtype=np.float32)
    with pytest.raises(FileError, match="names no CRS"):
        Exposure.from_raster(write(tmp_path / "a.tif", ones, at, None), grid, area)
    with pytest.raises(InputError, match="negative or infinite; the first is -9999"):
        Exposure.from_raster(write(tmp_path / "b.tif", ones * -9999, at), grid, area)
    with pytest.raises(InputError, match="does not reach"):
        Exposure.from_raster(write(tmp_path / "c.tif", ones, Affine(2, 0, 0, 0, -2, 0)), grid, area)
    with pytest.raises(InputError, match="is 0 in every cell"):
        Exposure.from_raster(write(tmp_path / "d.tif", ones * 0, at), grid, area)
    (tmp_path / "e.tif").write_text("no raster")
    with pytest.raises(FileError, match="cannot be read as a raster"):
        Exposure.from_raster(tmp_path / "e.tif", grid, area)


def test_chains_of_overlaps_and_neighbours_that_touch() -> None:
    grid, area = place()
    rng = np.random.default_rng(12)
    parcels = [
        shapely.box(X + a, Y + b, X + a + 50, Y + b + 50) for a in range(0, 900, 50) for b in range(100, 600, 50)
    ]
    chain = [shapely.box(X + 10 * i, Y + 610 + 3 * i, X + 10 * i + 25, Y + 640 + 3 * i) for i in range(40)]
    twice = [*parcels, *chain, *parcels[:20], *blobs(rng, 6)]
    made = Exposure.from_frame(frame(twice), grid, area, measure="area")
    union = shapely.union_all(twice).intersection(area.geometry)
    assert made.cells == pytest.approx(shapely.area(shapely.intersection(boxes(grid), union)), abs=1e-6)


@pytest.mark.parametrize("measure", ["length", "area"])
def test_a_cancel_stops_it(measure: str) -> None:
    grid, area = place()
    rng = np.random.default_rng(13)
    layer = frame(lines(rng) if measure == "length" else blobs(rng))
    with pytest.raises(Cancelled):
        Exposure.from_frame(layer, grid, area, measure=measure, cancel=lambda: True)
