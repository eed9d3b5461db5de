"""Census counts in cells beside exact areas, with every zone's sum kept."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx import Frame, Grid
from rtmdx.disparity.exposure import exposure
from rtmdx.disparity.population import Population, allocate
from rtmdx.errors import CRSError, InputError

CRS = "EPSG:26915"
FRAME = Frame(CRS, 0.0, 40.0, 10.0, 10.0, (4, 5))


def city(seed: int = 0, n: int = 7) -> gpd.GeoDataFrame:
    """Zones that tile a rectangle a little smaller than the frame, their edges across cells."""
    rng = np.random.default_rng(seed)
    points = shapely.MultiPoint(rng.uniform((2, 2), (48, 38), (n, 2)))
    cells = shapely.voronoi_polygons(points, extend_to=shapely.box(0, 0, 50, 40))
    zones = [shapely.intersection(c, shapely.box(1, 1, 49, 39)) for c in cells.geoms]
    a, b = rng.integers(0, 4000, (2, len(zones)))
    return gpd.GeoDataFrame(
        {"id": [f"z{i}" for i in range(len(zones))], "a": a, "b": b, "all": a + b + 10, "ma": 0.1 * a, "mb": 0.2 * b},
        geometry=zones,
        crs=CRS,
    )


def cell_boxes(frame: Frame) -> list[shapely.Polygon]:
    rows, cols = frame.shape
    return [shapely.box(10 * c, 40 - 10 * (r + 1), 10 * (c + 1), 40 - 10 * r) for r in range(rows) for c in range(cols)]


def by_areas(zones: gpd.GeoDataFrame, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Residents by cell from Shapely's areas."""
    part = np.array([[z.intersection(b).area for b in cell_boxes(FRAME)] for z in zones.geometry]) * weights
    return counts @ (part / part.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("method", ["areal", "dasymetric", "weighted"])
def test_cells_are_the_areas_shares(method: Any) -> None:
    zones = city()
    rng = np.random.default_rng(1)
    surface = np.where(rng.random(FRAME.shape) < 0.8, rng.gamma(2.0, size=FRAME.shape), 0.0)
    used = {"areal": np.ones(20), "dasymetric": (surface > 0).ravel() * 1.0, "weighted": surface.ravel()}[method]
    found = allocate(zones, ["a", "b"], FRAME, method=method, weights=None if method == "areal" else surface)
    expected = by_areas(zones, zones[["a", "b"]].to_numpy(float).T, used)
    assert found.cells == pytest.approx(expected, rel=1e-10)
    assert not found.lost
    assert not found.fell_back
    assert found.notes() == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12))
def test_sums_come_back(seed: int, n: int) -> None:
    zones = city(seed, n)
    counts = zones[["a", "b"]].to_numpy(float).T
    whole = allocate(zones, {"A": "a", "B": "b"}, FRAME, whole=True, threads=1)
    assert whole.groups == ("A", "B")
    assert np.array_equal(whole.cells, np.rint(whole.cells))
    assert (whole.cells >= 0).all()
    assert np.array_equal(whole.cells.sum(axis=1), counts.sum(axis=1))
    assert np.array_equal(whole.zone_sums(), counts)
    real = allocate(zones, ["a", "b"], FRAME, threads=1)
    assert real.cells.sum(axis=1) == pytest.approx(counts.sum(axis=1), rel=1e-12)
    assert real.zone_sums() == pytest.approx(counts, rel=1e-12)
    quota = counts[:, real.zone] * real.share
    # each whole part is within one resident of its quota, so a cell within one for each of its zones
    assert (np.abs(whole.cells - real.cells) <= np.bincount(real.cell, minlength=20) + 1e-9).all()
    assert quota.sum() == pytest.approx(counts.sum(), rel=1e-12)


def test_one_zone_at_a_time_is_exact_in_whole_numbers() -> None:
    for i in range(7):
        zone = city().iloc[[i]]
        found = allocate(zone, ["a"], FRAME, whole=True)
        assert found.cells.sum() == zone["a"].iloc[0]


def test_huge_whole_counts_keep_their_last_resident() -> None:
    zones = city()
    zones["a"] = np.array([2**49 + 1, 2**50 - 3, 3, 0, 2**40 + 7, 1, 2**45 + 11][: len(zones)], dtype=float)
    for i in range(len(zones)):
        found = allocate(zones.iloc[[i]], ["a"], FRAME, whole=True)
        assert int(sum(int(v) for v in found.cells[0])) == int(zones["a"].iloc[i])
        assert (found.cells >= 0).all()


def test_zones_beyond_the_cells_are_reported_not_lost() -> None:
    zones = city()
    far = gpd.GeoDataFrame({"id": ["far"], "a": [500], "b": [5]}, geometry=[shapely.box(900, 900, 910, 910)], crs=CRS)
    found = allocate(pd.concat([zones, far], ignore_index=True), ["a", "b"], FRAME, key="id")
    assert found.lost == (len(zones),)
    assert found.n_lost == 1
    assert found.outside[:, -1].tolist() == [500, 5]
    assert found.cells.sum() + found.outside.sum() == pytest.approx(found.counts.sum(), rel=1e-12)
    assert "1 zones with 505 residents overlap no cell: far" in found.notes()[0]
    assert found.totals == pytest.approx(found.cells.sum(axis=1), rel=1e-12)
    assert "505" in " ".join(exposure(np.ones(FRAME.shape), found).notes)


@pytest.mark.parametrize("whole", [False, True])
def test_a_zone_half_inside(whole: bool) -> None:
    zones = gpd.GeoDataFrame({"a": [100]}, geometry=[shapely.box(-10, 0, 10, 10)], crs=CRS)
    kept = allocate(zones, ["a"], FRAME, whole=whole)
    assert kept.cells.sum() == 100
    part = allocate(zones, ["a"], FRAME, whole=whole, edge="share")
    assert part.cells.sum() == pytest.approx(50)
    assert part.outside.tolist() == [[50]]
    assert "50 residents live beyond the cells" in part.notes()[0]


def test_kept_cells_of_a_grid_take_all() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    mask[1:3, 1:4] = True
    grid = Grid(FRAME.crs, 0.0, 40.0, 10.0, mask)
    zones = city()
    found = allocate(zones, ["a"], grid)
    assert found.cells.shape == (1, 6)
    inside = [i for i, z in enumerate(zones.geometry) if z.intersection(shapely.box(10, 10, 40, 30)).area > 0]
    assert found.cells.sum() == pytest.approx(zones["a"].iloc[inside].sum(), rel=1e-12)
    assert set(found.lost) == set(range(len(zones))) - set(inside)


def test_a_zone_without_a_home_falls_back_to_its_area() -> None:
    zones = gpd.GeoDataFrame({"a": [10, 20]}, geometry=[shapely.box(0, 0, 20, 10), shapely.box(20, 0, 40, 10)], crs=CRS)
    homes = np.zeros(FRAME.shape)
    homes[3, 0] = 1
    found = allocate(zones, ["a"], FRAME, method="dasymetric", weights=homes)
    assert found.cells[0, 15:].tolist() == [10, 0, 10, 10, 0]
    assert found.fell_back == (1,)
    assert "no cell where people can live" in found.notes()[0]


def test_overlapping_zones_are_told() -> None:
    zones = gpd.GeoDataFrame({"a": [10, 20]}, geometry=[shapely.box(0, 0, 40, 10), shapely.box(0, 0, 40, 20)], crs=CRS)
    found = allocate(zones, ["a"], FRAME)
    assert found.overlap == pytest.approx(4.0)
    assert found.cells.sum() == pytest.approx(30)
    assert "overlap on an area of 4.0 cells" in found.notes()[0]


def test_the_rest_of_a_total_is_a_group() -> None:
    zones = city()
    found = allocate(zones, ["a", "b"], FRAME, total="all", margins={"a": "ma", "b": "mb"})
    assert found.groups == ("a", "b", "other")
    assert found.counts[2].tolist() == [10] * len(zones)
    assert found.margins is not None
    assert found.margins[2] == pytest.approx(np.hypot(zones["ma"], zones["mb"]))


def test_margins_add_by_their_squares() -> None:
    zones = city()
    found = allocate(zones, ["a", "b"], FRAME, margins={"a": "ma", "b": "mb"})
    assert found.total_margins == pytest.approx(np.sqrt((zones[["ma", "mb"]].to_numpy() ** 2).sum(axis=0)))
    margins = found.cell_margins()
    shares = found.shares().toarray()
    for i in range(20):
        assert margins[0, i] == pytest.approx(np.sqrt(((shares[:, i] * zones["ma"]) ** 2).sum()))
    assert list(found.to_frame().columns) == ["zone", "a", "a margin", "a outside", "b", "b margin", "b outside"]
    with pytest.raises(InputError, match="no margins"):
        allocate(zones, ["a"], FRAME).cell_margins()


def test_counts_in_a_table_of_their_own() -> None:
    zones = city()
    table = pd.DataFrame(zones.drop(columns="geometry")).iloc[::-1]
    found = allocate(zones[["id", "geometry"]], ["a", "b"], FRAME, table=table, key="id")
    assert np.array_equal(found.cells, allocate(zones, ["a", "b"], FRAME).cells)
    assert found.zones[0] == "z0"


def broken(**columns: Any) -> gpd.GeoDataFrame:
    return city().assign(**columns)


@pytest.mark.parametrize(
    ("zones", "options", "message"),
    [
        (broken(a=-1), {}, "row 0, a: found -1, expected a number >= 0"),
        (broken(a=np.nan), {}, "row 0, a: found nan"),
        (broken(a="many"), {}, "'a': expected numbers"),
        (broken(a=1.5), {"whole": True}, "expected a whole number"),
        (broken(all=1), {"total": "all"}, "more than all"),
        (broken(), {"total": "al"}, "no column 'al'"),
        (broken(), {"total": "all", "rest": "a"}, "one of the groups already"),
        (broken(id="same"), {"key": "id"}, "row 1: a second zone 'same'"),
        (broken(), {"key": "ID"}, "no column 'ID'"),
        (broken(), {"table": pd.DataFrame({"id": ["z0"]})}, "needs key"),
        (broken(), {"table": pd.DataFrame({"id": ["z0", "z0"]}), "key": "id"}, "a second row of id 'z0'"),
        (broken(), {"table": pd.DataFrame({"id": ["z0"]}), "key": "id"}, "no row for 6 of 7 zones .* the first 'z1'"),
        (
            broken(),
            {"table": pd.DataFrame({"id": [f"z{i}" for i in range(8)], "a": 1}), "key": "id"},
            "zones: no row for 1 of 8 .*'z7'",
        ),
        (broken(), {"margins": {"b": "mb"}}, "'b' is no group"),
        (broken(), {"margins": {}}, "none for 'a'"),
        (broken(), {"method": "dasymetric"}, "needs weights"),
        (broken(), {"weights": np.ones((4, 5))}, "takes no weights"),
        (broken(), {"method": "weighted", "weights": -np.ones((4, 5))}, "row 0, column 0: found -1"),
        (broken(), {"method": "kriging"}, "method: found 'kriging'"),
        (broken(), {"edge": "cut"}, "edge: found 'cut'"),
        (broken(), {"margin_level": 90}, "margin_level"),
    ],
)
def test_bad_input(zones: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        allocate(zones, ["a"], FRAME, **options)


def test_other_crs_and_no_zones() -> None:
    with pytest.raises(CRSError):
        allocate(city().to_crs("EPSG:26916"), ["a"], FRAME)
    with pytest.raises(InputError, match="GeoDataFrame"):
        allocate([shapely.box(0, 0, 1, 1)], ["a"], FRAME)
    with pytest.raises(InputError, match="groups"):
        allocate(city(), [], FRAME)


def simple() -> tuple[Population, np.ndarray]:
    zones = city(3, 9).assign(a=lambda t: t["a"] + 500, b=lambda t: t["b"] + 500)
    zones = zones.assign(ma=0.15 * zones["a"], mb=0.15 * zones["b"])
    found = allocate(zones, ["a", "b"], FRAME, margins={"a": "ma", "b": "mb"})
    return found, np.random.default_rng(0).gamma(2.0, size=FRAME.shape)


def test_delta_and_simulation_of_margins_agree() -> None:
    population, risk = simple()
    delta = exposure(risk, population, reference="b", margins="delta")
    drawn = exposure(risk, population, reference="b", margins="simulation", draws=3000, threads=1)
    for x, y in zip([*delta.means, *delta.ratios], [*drawn.means, *drawn.ratios], strict=True):
        assert x.estimate == y.estimate
        assert x.low < x.estimate < x.high
        assert (x.high - x.low) == pytest.approx(y.high - y.low, rel=0.08)
        assert x.method == "census margins, delta method"
        assert y.method == "census margins, 3,000 simulations"
    assert all("no-interval" in e.flags for e in delta.top)
    assert all(e.low <= e.estimate <= e.high for e in drawn.indices)
    again = exposure(risk, population, reference="b", margins="simulation", draws=50, threads=2)
    same = exposure(risk, population, reference="b", margins="simulation", draws=50, threads=1)
    assert again.to_dict() == same.to_dict()


def test_theil_between_and_within_zones() -> None:
    population, risk = simple()
    found = {e.index: e.estimate for e in exposure(risk, population).indices}
    people = population.counts.sum(axis=0)
    own = population.shares() @ risk.ravel()
    mean = (people * own).sum() / people.sum()
    between = (people * own / mean * np.log(own / mean)).sum() / people.sum()
    assert found["theil-between-places"] == pytest.approx(between, rel=1e-10)
    assert found["theil-between-places"] + found["theil-within-places"] == pytest.approx(found["theil"], rel=1e-12)
    assert found["theil-within-places"] > 0
