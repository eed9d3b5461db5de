"""Zonal statistics against Shapely's intersections and exactextract, and properties that must hold exactly."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rtmdx import Frame, Grid, coverage, zonal
from rtmdx.errors import Cancelled, CRSError, InputError, MemoryLimitError
from rtmdx.space.features import Features

CRS = "EPSG:26915"
ALL = ("count", "area", "sum", "mean", "min", "max", "missing", "outside")


def frame(rows=23, cols=31, dx=1.0, dy=1.0, x_min=0.0, y_min=0.0):
    return Frame(CRS, x_min, y_min + rows * dy, dx, dy, (rows, cols))


def values_on(f, seed=0, gaps=0.0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, f.shape)
    values[rng.random(f.shape) < gaps] = np.nan
    return values.astype(dtype)


def shares_by_hand(zone, f):
    """Share of every cell, by Shapely's intersection."""
    left, top = np.meshgrid(f.x - f.dx / 2, f.y + f.dy / 2)
    return shapely.area(shapely.intersection(zone, shapely.box(left, top - f.dy, left + f.dx, top))) / f.cell_area


def dense(cover, zone, f):
    out = np.zeros(f.size)
    mine = cover.zone == zone
    out[cover.cell[mine]] = cover.fraction[mine]
    return out.reshape(f.shape)


def stars(n=20, seed=1, low=-6.0, high=36.0):
    """Polygons with notches and holes, some partly off the raster."""
    rng = np.random.default_rng(seed)
    out = []
    while len(out) < n:
        centre = rng.uniform(low, high, 2)
        angle = np.sort(rng.uniform(0, 2 * np.pi, 12))
        outline = shapely.Polygon(centre + np.c_[np.cos(angle), np.sin(angle)] * rng.uniform(1.5, 8, (12, 1)))
        if outline.is_valid:
            out.append(outline.difference(shapely.Point(centre).buffer(1.1)))
    return out


NASTY = {
    "one cell": shapely.box(3, 3, 4, 4),
    "along edges": shapely.box(2, 5, 9, 11),
    "inside a cell": shapely.box(5.2, 5.3, 5.4, 5.9),
    "sliver": shapely.Polygon([(0, 0), (31, 23), (31, 23.0001)]),
    "over the corner": shapely.box(-5, -5, 2.5, 3.25),
    "over everything": shapely.box(-50, -50, 90, 90),
    "left of it, and back": shapely.Polygon([(-9, 2), (4, 8), (-9, 15), (-3, 8)]),
    "far away": shapely.box(1000, 1000, 1001, 1001),
    "hole": shapely.box(1, 1, 20, 20).difference(shapely.box(4, 4, 15.5, 9.75)),
    "hole in one cell": shapely.box(3, 3, 4, 4).difference(shapely.box(3.2, 3.2, 3.7, 3.6)),
    "parts": shapely.MultiPolygon([shapely.box(1, 1, 3.3, 3.3), shapely.box(10, 1.5, 12, 22.75)]),
    "touching parts": shapely.MultiPolygon([shapely.box(1, 1, 3.5, 3.5), shapely.box(3.5, 3.5, 6, 6)]),
    "tiny": shapely.box(7.00001, 7.00001, 7.00002, 7.00003),
    "corner to corner": shapely.Polygon([(5, 5), (10, 10), (5, 15), (0, 10)]),
}


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("size", [(1.0, 1.0), (0.7, 1.9)])
def test_coverage_is_the_intersection_s_area(name, size):
    f = frame(dx=size[0], dy=size[1], rows=int(23 / size[1]), cols=int(31 / size[0]))
    zone = NASTY[name]
    cover = coverage([zone], f)
    np.testing.assert_allclose(dense(cover, 0, f), shares_by_hand(zone, f), atol=1e-12)
    assert cover.area[0] == pytest.approx(zone.area, rel=1e-12)
    inside = zone.intersection(shapely.box(*f.bounds)).area
    assert cover.fraction.sum() * f.cell_area == pytest.approx(inside, rel=1e-9, abs=1e-15)
    assert cover.outside[0] == pytest.approx(1 - inside / zone.area, abs=1e-9)
    assert cover.fraction.min(initial=1) > 0
    assert cover.fraction.max(initial=0) <= 1
    assert np.all(np.diff(cover.cell) > 0)


def test_coverage_of_many_zones():
    f = frame()
    zones = stars(30)
    cover = coverage(zones, f)
    for i, zone in enumerate(zones):
        np.testing.assert_allclose(dense(cover, i, f), shares_by_hand(zone, f), atol=1e-12)
    assert np.all(np.diff(cover.zone) >= 0)


def test_edges_along_cells_leave_no_slivers():
    for size in (0.1, 1 / 3, 100.0):
        f = frame(40, 40, size, size, x_min=731_234.5, y_min=4_219_876.1)
        west, south, *_ = f.bounds
        box = shapely.box(west + 7 * size, south + 3 * size, west + 19 * size, south + 33 * size)
        cover = coverage([box], f)
        assert len(cover) == 12 * 30
        assert np.all(cover.fraction == 1)


def test_adjacent_zones_share_every_cell_out():
    """A tessellation: shares of a cell sum to 1, areas to the raster's."""
    rng = np.random.default_rng(3)
    f = frame(rows=31)
    everything = shapely.box(*f.bounds)
    cells = shapely.voronoi_polygons(shapely.MultiPoint(rng.uniform(0, 31, (60, 2))), extend_to=everything)
    cover = coverage(list(cells.geoms), f)
    np.testing.assert_allclose(np.bincount(cover.cell, cover.fraction, f.size), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_statistics_by_hand(dtype, gaps):
    f = frame(dx=1.1, dy=0.9)
    values = values_on(f, gaps=gaps, dtype=dtype)
    population = values_on(f, seed=5, gaps=gaps / 2, dtype=dtype) ** 2
    zones = gpd.GeoSeries([*stars(), *NASTY.values()], crs=CRS, index=np.arange(7, 7 + 20 + len(NASTY))[::-1])
    got = zonal(values, zones, f, statistics=(*ALL, "weighted_mean", "weighted_sum"), weights=population)
    assert got.index.equals(zones.index)
    assert list(got.columns) == [*ALL, "weighted_mean", "weighted_sum"]
    for row, zone in zip(got.itertuples(), zones, strict=True):
        share = shares_by_hand(zone, f)
        share[share < 1e-13] = 0
        has = ~np.isnan(values) & (share > 0)
        v, a = values[has].astype(float), share[has]
        expected = {
            "count": a.sum(),
            "area": share.sum() * f.cell_area,
            "sum": (a * v).sum(),
            "mean": (a * v).sum() / a.sum() if a.size else np.nan,
            "min": v.min(initial=np.inf) if a.size else np.nan,
            "max": v.max(initial=-np.inf) if a.size else np.nan,
            "missing": 1 - a.sum() / share.sum() if share.sum() else np.nan,
            "outside": 1 - share.sum() * f.cell_area / zone.area,
        }
        both = has & ~np.isnan(population)
        w = share[both] * population[both].astype(float)
        expected["weighted_sum"] = (w * values[both]).sum()
        expected["weighted_mean"] = expected["weighted_sum"] / w.sum() if w.size else np.nan
        for name, value in expected.items():
            assert getattr(row, name) == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), (zone.wkt, name)


def test_exactextract_agrees():
    exactextract = pytest.importorskip("exactextract")
    f = frame(120, 150)
    values = values_on(f, gaps=0.1)
    zones = [shapely.affinity.scale(s, 4, 4, origin=(0, 0)) for s in stars(40)]
    zones = [z for z in zones if z.intersects(shapely.box(*f.bounds))]
    source = exactextract.raster.NumPyRasterSource(values, *_xyxy(f), nodata=np.nan)
    table = gpd.GeoDataFrame({"id": range(len(zones))}, geometry=zones, crs=CRS)
    want = exactextract.exact_extract(source, table, ["count", "sum", "mean", "min", "max"], output="pandas")
    got = zonal(values, zones, f, statistics=("count", "sum", "mean", "min", "max"))
    for name in ("min", "max"):
        np.testing.assert_array_equal(got[name], want[name])
    for name in ("count", "sum", "mean"):  # its coverage fractions are float32
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-6)


def _xyxy(f):
    west, south, east, north = f.bounds
    return west, south, east, north


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_change_no_bit(threads):
    f = frame(700, 600)
    values = values_on(f, gaps=0.05, dtype=np.float32)
    zones = [shapely.affinity.scale(s, 15, 20, origin=(0, 0)) for s in stars(30)]
    assert max(z.bounds[3] - z.bounds[1] for z in zones) > 256  # more than one band of rows
    names = ("count", "sum", "mean", "min", "max")
    pd.testing.assert_frame_equal(
        zonal(values, zones, f, statistics=names, threads=threads),
        zonal(values, zones, f, statistics=names, threads=1),
        check_exact=True,
    )
    one, many = coverage(zones, f, threads=1), coverage(zones, f, threads=threads)
    for name in ("zone", "cell", "fraction", "area", "outside"):
        assert np.array_equal(getattr(one, name), getattr(many, name), equal_nan=True)


def test_a_part_of_the_raster_has_the_same_coverage():
    f = frame(60, 60)
    zones = [shapely.affinity.scale(s, 2, 2, origin=(0, 0)) for s in stars(10)]
    part = Frame(CRS, f.x_min + 13, f.y_max - 9, 1, 1, (30, 40))
    whole, piece = coverage(zones, f), coverage(zones, part)
    for i in range(len(zones)):
        np.testing.assert_allclose(dense(piece, i, part), dense(whole, i, f)[9:39, 13:53], atol=1e-12)


def test_moves_with_the_map():
    f = frame()
    there = frame(x_min=1e7, y_min=-2e7)
    zones = [shapely.transform(s, lambda xy: np.round(xy * 64) / 64) for s in stars(12)]
    zones = [z for z in zones if z.is_valid]
    moved = [shapely.affinity.translate(z, 1e7, -2e7) for z in zones]
    a, b = coverage(zones, f), coverage(moved, there)
    for i in range(len(zones)):
        np.testing.assert_allclose(dense(a, i, f), dense(b, i, there), atol=1e-9)


def test_mirror():
    f = frame(31, 31)
    zones = stars(12)
    mirrored = [shapely.transform(z, lambda xy: np.c_[31 - xy[:, 0], xy[:, 1]]) for z in zones]
    a, b = coverage(zones, f), coverage(mirrored, f)
    for i in range(len(zones)):
        np.testing.assert_allclose(dense(a, i, f)[:, ::-1], dense(b, i, f), atol=1e-12)


def test_invalid_and_overlapping_parts_are_one_zone():
    f = frame()
    bow = shapely.Polygon([(1, 1), (9, 9), (9, 1), (1, 9)])
    twice = shapely.MultiPolygon([shapely.box(2, 2, 8, 8), shapely.box(5.5, 5, 12, 12)])
    collection = shapely.GeometryCollection([shapely.box(2, 2, 8, 8), shapely.box(5.5, 5, 12, 12)])
    want = [shapely.make_valid(bow), shapely.union_all(list(twice.geoms)), shapely.union_all(list(twice.geoms))]
    cover = coverage([bow, twice, collection], f)
    for i, zone in enumerate(want):
        np.testing.assert_allclose(dense(cover, i, f), shares_by_hand(zone, f), atol=1e-12)
    kept = coverage(gpd.GeoSeries([bow, twice, collection], index=list("abc"), crs=CRS), f)
    assert np.array_equal(kept.fraction, cover.fraction)


def test_nothing_and_beyond():
    f = frame()
    values = values_on(f)
    got = zonal(values, [None, shapely.Polygon(), NASTY["far away"]], f, statistics=ALL)
    assert list(got["count"]) == [0, 0, 0]
    assert got[["mean", "min", "max"]].isna().all(axis=None)
    assert np.isnan(got["outside"][0])
    assert got["outside"][2] == 1
    assert zonal(values, [], f).shape == (0, 3)
    assert len(coverage([], f)) == 0
    none = zonal(np.full(f.shape, np.nan), [NASTY["one cell"]], f, statistics=ALL)
    assert none["count"][0] == 0
    assert none["missing"][0] == 1
    assert np.isnan(none["mean"][0])
    one = Frame(CRS, 0, 1, 1, 1, (1, 1))
    assert zonal(np.array([[5.0]]), [shapely.box(-1, -1, 0.5, 0.5)], one)["mean"][0] == 5
    assert len(coverage([shapely.box(0, 0, 1, 1)], Frame(CRS, 0, 0, 1, 1, (0, 5)))) == 0


def test_infinities_stay_where_they_are():
    f = frame()
    values = values_on(f)
    values[0, 0] = np.inf
    got = zonal(values, [shapely.box(0, 22, 1, 23), shapely.box(1, 0, 5, 5)], f, statistics=("sum", "max"))
    assert got["sum"][0] == np.inf
    assert np.isfinite(got["sum"][1])


def test_lines_and_points():
    f = frame(dx=0.8, dy=1.3, rows=18, cols=39)
    values = values_on(f, gaps=0.1)
    rng = np.random.default_rng(2)
    lines = [shapely.LineString(rng.uniform(-4, 36, (6, 2))) for _ in range(15)]
    lines += [
        shapely.MultiLineString([[(0.8, 1.3), (8.0, 1.3)], [(4.0, 2.6), (4.0, 13.0)]]),  # along the cells' edges
        shapely.box(*f.bounds).exterior,  # along the raster's
        shapely.LineString([(-5, 3.3), (-1, 4.4)]),
    ]
    left, top = np.meshgrid(f.x - f.dx / 2, f.y + f.dy / 2)
    cells = shapely.box(left, top - f.dy, left + f.dx, top)
    got = zonal(values, lines, f, statistics=("length", "count", "sum", "mean", "min", "max"))
    for i, line in enumerate(lines):
        inside = line.intersection(shapely.box(*f.bounds)).length
        assert got["length"][i] == pytest.approx(inside, rel=1e-9, abs=1e-12)
        assert got["outside"][i] == pytest.approx(1 - inside / line.length, abs=1e-9)
        if i >= 15:
            continue
        a = shapely.length(shapely.intersection(line, cells))
        has = ~np.isnan(values) & (a > 0)
        assert got["count"][i] == pytest.approx(a[has].sum(), rel=1e-9)
        assert got["sum"][i] == pytest.approx((a * values)[has].sum(), rel=1e-9, abs=1e-9)
        assert got["max"][i] == values[has].max()
    grid = Grid(CRS, 0, 23, 1.0, np.ones((23, 31), dtype=bool))
    xy = np.vstack([rng.uniform(-2, 33, (200, 2)), [[0, 0], [31, 23], [4, 5], [31, 0.5]]])
    values = values_on(grid)
    at = grid.cell_of(xy[:, 0], xy[:, 1])
    got = zonal(values, xy, grid, statistics=("points", "mean"))
    assert np.array_equal(got["mean"], np.where(at >= 0, values.ravel()[at], np.nan), equal_nan=True)
    assert np.array_equal(got["points"], (at >= 0).astype(float))
    pair = zonal(values, [shapely.MultiPoint([(0.5, 0.5), (3.5, 7.5)])], grid, statistics=("count", "sum"))
    assert pair["count"][0] == 2
    assert pair["sum"][0] == pytest.approx(values[22, 0] + values[15, 3])


def test_a_dataarray_brings_its_frame_and_a_grid_its_mask():
    f = frame(x_min=500.0)
    values = values_on(f)
    zones = [shapely.box(503.5, 2.5, 520, 17.25)]
    plain = zonal(values, zones, f, statistics=ALL)
    array = f.dataarray(values, "v")
    pd.testing.assert_frame_equal(zonal(array, zones, statistics=ALL), plain)
    pd.testing.assert_frame_equal(zonal(array, zones, f, statistics=ALL), plain)
    pd.testing.assert_frame_equal(zonal(np.asfortranarray(values), zones, f, statistics=ALL), plain)
    whole = zonal(np.ones(f.shape, dtype=np.int16), zones, f, statistics=("mean",))
    assert whole["mean"][0] == pytest.approx(1)
    mask = np.zeros(f.shape, dtype=bool)
    mask[:, :10] = True
    grid = Grid(CRS, 500.0, 23.0, 1.0, mask)
    got = zonal(values, zones, grid, statistics=ALL)
    want = zonal(np.where(mask, values, np.nan), zones, f, statistics=ALL)
    pd.testing.assert_frame_equal(got, want)
    with pytest.raises(InputError, match="lies on"):
        zonal(array, zones, frame())
    with pytest.raises(CRSError, match="frame in"):
        zonal(array, zones, Frame("EPSG:26916", f.x_min, f.y_max, 1, 1, f.shape))
    with pytest.raises(InputError, match="north to south"):
        zonal(array[::-1], zones)
    with pytest.raises(InputError, match="evenly"):
        zonal(array[:, [0, 1, 2, 9]], zones)
    with pytest.raises(InputError, match="dims"):
        zonal(array.rename(x="lon"), zones)
    with pytest.raises(CRSError, match="no coordinate"):
        zonal(array.drop_vars("spatial_ref"), zones)


def test_wrong_arguments():
    f = frame()
    values = values_on(f)
    box = [shapely.box(1, 1, 2, 2)]
    for call, message in [
        (lambda: zonal(values, box, f, statistics=("median",)), "found 'median'"),
        (lambda: zonal(values, box, f, statistics=("length",)), "found 'length'"),
        (lambda: zonal(values, box, f, statistics="weighted_mean"), "needs weights"),
        (lambda: zonal(values, box, f, weights=values), "no statistic uses them"),
        (lambda: zonal(values, box, f, statistics=("weighted_mean",), weights=values[1:]), "weights: has the shape"),
        (lambda: zonal(values[1:], box, f), "expected \\(23, 31\\)"),
        (lambda: zonal(values, box), "does not say where"),
        (lambda: zonal(values.astype(str), box, f), "expected numbers"),
        (lambda: zonal(values, [*box, shapely.Point(1, 1)], f), "one kind"),
        (lambda: zonal(values, 7, f), "expected geometries"),
        (lambda: zonal(values, [shapely.Polygon([(0, 0), (1, np.inf), (2, 0)])], f), "finite"),
        (lambda: coverage([shapely.Point(1, 1)], f), "expected polygons"),
        (lambda: zonal(values, box, f, threads=0), "threads"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(CRSError):
        zonal(values, gpd.GeoSeries(box, crs="EPSG:26916"), f)
    with pytest.raises(Cancelled):
        zonal(values, box, f, cancel=lambda: True)
    told = []
    zonal(values, box, f, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1, 1)


def test_more_pairs_than_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr("rtmdx.space.zonal.available_memory", lambda: 4000.0)
    with pytest.raises(MemoryLimitError, match="713 cells"):
        coverage([NASTY["over everything"]], frame())


def test_zones_from_features():
    f = frame()
    made = Features.from_geometries([NASTY["parts"], None, NASTY["hole"]])
    got = zonal(values_on(f), made, f, statistics=("area",))
    np.testing.assert_allclose(got["area"], [NASTY["parts"].area, 0, NASTY["hole"].area])


coordinates = st.one_of(st.integers(-12, 40).map(lambda v: v / 2), st.floats(-8, 30, width=32))


@settings(max_examples=150, deadline=None)
@given(
    ring=hnp.arrays(np.float64, st.tuples(st.integers(3, 9), st.just(2)), elements=coordinates),
    rows=st.integers(1, 20),
    cols=st.integers(1, 20),
    dx=st.sampled_from([1.0, 0.5, 0.3, 2.7]),
)
def test_any_polygon(ring, rows, cols, dx):
    mended = shapely.make_valid(shapely.Polygon(ring))
    if mended.area < 1e-6:
        return
    zone = shapely.union_all([p for p in getattr(mended, "geoms", [mended]) if p.area > 0])
    f = frame(rows, cols, dx, 1.0)
    cover = coverage([zone], f)
    np.testing.assert_allclose(dense(cover, 0, f), shares_by_hand(zone, f), atol=1e-9)
