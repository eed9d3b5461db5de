"""Cleaning: what is dropped is named and counted; nothing is lost."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from conftest import CRS, ORIGIN, points
from rtmdx.errors import InputError
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Events, RiskFactor, Selection, StudyArea, frame_digest
from rtmdx.space.readers import read_layer


@pytest.fixture
def area(square: gpd.GeoDataFrame) -> StudyArea:
    return StudyArea.from_frame(square)


@pytest.fixture
def grid(area: StudyArea) -> Grid:
    return Grid.from_area(area.geometry, area.crs, 100)


def factor(frame: gpd.GeoDataFrame, grid: Grid, **kwargs: object) -> RiskFactor:
    return RiskFactor.from_frame(frame, grid, name="bars", distances=(50.0, 100.0), **kwargs)  # type: ignore[arg-type]


def test_every_event_is_counted_or_dropped_by_a_named_reason(grid: Grid, area: StudyArea) -> None:
    x, y = ORIGIN
    rows = [
        (shapely.Point(x + 10, y + 10), "2018-01-01 10:00", 1),
        (shapely.Point(x + 990, y + 990), "2018-12-31 23:59", 1),
        (shapely.Point(x + 990, y + 990), "2019-01-01 00:00", 1),  # outside the window
        (shapely.Point(x + 10, y + 10), None, 1),  # no date
        (shapely.Point(x + 10, y + 10), "", 1),  # no date
        (None, "2018-05-01", 1),  # no geometry
        (shapely.Point(), "2018-05-01", 1),  # empty geometry
        (shapely.Point(x + 5000, y), "2018-05-01", 1),  # outside
        (shapely.Point(np.inf, y), "2018-05-01", 1),  # not finite
        (shapely.Point(x + 10, y + 10), "2018-05-01", 2),  # filtered
    ]
    frame = gpd.GeoDataFrame(
        {"when": pd.Series([r[1] for r in rows], dtype="str"), "kind": [r[2] for r in rows]},
        geometry=[r[0] for r in rows],
        crs=CRS,
    )
    events = Events.from_frame(
        frame,
        grid,
        area,
        selection=Selection({"kind": 1}, "when", dt.date(2018, 1, 1), dt.date(2018, 12, 31)),
    )
    cleaning = events.cleaning
    assert cleaning.dropped == {
        "not matching the filter": 1,
        "no date": 2,
        "outside the time window": 1,
        "no geometry": 2,
        "coordinates not finite": 1,
        "outside the study area": 1,
    }
    assert cleaning.read == 10 == cleaning.kept + sum(cleaning.dropped.values())
    assert events.counts(grid).sum() == cleaning.kept == len(events) == 2


def test_cells_not_kept_are_a_reason_of_their_own() -> None:
    triangle = shapely.Polygon([(0, 0), (970, 0), (0, 970)])
    area = StudyArea.from_frame(gpd.GeoDataFrame(geometry=[triangle], crs=CRS))
    grid = Grid.from_area(triangle, CRS, 100, cells="center")
    rng = np.random.default_rng(0)
    frame = gpd.GeoDataFrame(geometry=shapely.points(rng.uniform(0, 1000, (500, 2))), crs=CRS)
    events = Events.from_frame(frame, grid, area)
    assert events.cleaning.dropped["cell not kept"] > 0
    assert events.cleaning.kept + sum(events.cleaning.dropped.values()) == 500
    assert events.counts(grid).sum() == len(events)


def test_other_crs_is_reprojected(grid: Grid, area: StudyArea) -> None:
    frame = points((150, 850)).to_crs("EPSG:4326")
    counts = Events.from_frame(frame, grid, area).counts(grid)
    assert np.flatnonzero(counts).tolist() == [1 * 10 + 1]


@pytest.mark.parametrize("values", [["2018-05-01", "May the first"], ["x", "y"]])
def test_dates_that_do_not_parse(grid: Grid, area: StudyArea, values: list[str]) -> None:
    frame = points((10, 10), (20, 20)).assign(when=values)
    window = Selection(date_field="when", start=dt.date(2018, 1, 1))
    with pytest.raises(InputError, match=r"'when' are no date; the first, in row \d, is '"):
        Events.from_frame(frame, grid, area, selection=window)
    if values[0] != "x":
        kept = Events.from_frame(frame, grid, area, selection=replace(window, bad_dates="drop"))
        assert kept.cleaning.dropped == {"unreadable date": 1}


@pytest.mark.parametrize(
    "values",
    [
        ["2018-05-01", "2018-05-02 10:00"],
        ["2018-05-01T10:00:00Z", "2018-05-02T23:30:00-06:00"],
        ["05/01/2018", "05/02/2018"],
        ["05/01/2018 12:00:00 AM", "05/02/2018 11:59:00 PM"],
        ["2018-05-01 10:00:00-05", "2018-05-02 23:30:00-06"],
        ["2018-05-01 10:00:00.5+00:00", "2018-05-02 00:30:00.25-0500"],
        ["2018/05/01 10:00:00", "2018/05/02 10:00:00"],
        [pd.Timestamp("2018-05-01"), pd.Timestamp("2018-05-02 23:59")],
    ],
)
def test_usual_date_forms(grid: Grid, area: StudyArea, values: list[object]) -> None:
    frame = points((10, 10), (20, 20)).assign(when=values)
    day = Selection(date_field="when", start=dt.date(2018, 5, 2), end=dt.date(2018, 5, 2))
    assert len(Events.from_frame(frame, grid, area, selection=day)) == 1


@pytest.mark.parametrize("value", [20180501, "20180501", "2018", "2018-05", "13/05/2018", "99999-01-01"])
def test_numbers_years_and_months_are_no_dates(grid: Grid, area: StudyArea, value: object) -> None:
    frame = points((10, 10)).assign(when=[value])
    with pytest.raises(InputError, match="no date"):
        Events.from_frame(frame, grid, area, selection=Selection(date_field="when", start=dt.date(2018, 1, 1)))


def test_no_event_left_says_where_they_went(grid: Grid, area: StudyArea) -> None:
    with pytest.raises(InputError, match=r"no event is left of 2 read \(2 outside the study area\)"):
        Events.from_frame(points((5000, 0), (6000, 0)), grid, area)
    with pytest.raises(InputError, match="the layer is empty"):
        Events.from_frame(points((1, 1)).iloc[:0], grid, area)


def test_events_must_be_points(grid: Grid, area: StudyArea, square: gpd.GeoDataFrame) -> None:
    with pytest.raises(InputError, match="found Polygon"):
        Events.from_frame(square, grid, area)
    several = gpd.GeoDataFrame(geometry=[shapely.MultiPoint([ORIGIN, (0, 0)])], crs=CRS)
    with pytest.raises(InputError, match="row 1 is a MultiPoint of 2 points"):
        Events.from_frame(several, grid, area)
    single = gpd.GeoDataFrame(geometry=[shapely.MultiPoint([(ORIGIN[0] + 5, ORIGIN[1] + 5)])], crs=CRS)
    assert len(Events.from_frame(single, grid, area)) == 1


def test_null_island_is_found(grid: Grid, area: StudyArea) -> None:
    x, y = ORIGIN
    frame = gpd.GeoDataFrame(geometry=[shapely.Point(x + 5, y + 5), shapely.Point(0, 0)], crs=CRS)
    finding = Events.from_frame(frame, grid, area).findings[0]
    assert finding.code == "stray-features"
    assert "null island" in finding.message
    assert factor(frame, grid).findings[0].code == "stray-features"
    assert len(factor(frame, grid)) == 2  # reported, not dropped: it does no harm to distances


def test_many_events_on_one_coordinate_are_found(grid: Grid, area: StudyArea) -> None:
    rng = np.random.default_rng(0)
    spread = [tuple(p) for p in rng.uniform(0, 1000, (100, 2))]
    assert not Events.from_frame(points(*spread), grid, area).findings
    finding = Events.from_frame(points(*spread, *[(500.0, 500.0)] * 30), grid, area).findings[0]
    assert finding.code == "one-coordinate"
    assert "30 of 130 events" in finding.message


def test_factors_keep_features_outside_the_area(grid: Grid) -> None:
    assert len(factor(points((10, 10), (-500, 10)), grid)) == 2


def test_invalid_polygons_are_mended_and_counted(grid: Grid) -> None:
    x, y = ORIGIN
    bow = shapely.Polygon([(x, y), (x + 100, y + 100), (x + 100, y), (x, y + 100)])
    found = factor(gpd.GeoDataFrame(geometry=[bow], crs=CRS), grid)
    assert found.cleaning.mended == 1
    assert found.geometry_type == "polygons"
    assert shapely.area(found.geometries).sum() == pytest.approx(5000)


def test_a_factor_needs_a_feature(grid: Grid) -> None:
    empty = gpd.GeoDataFrame(geometry=[None, shapely.Point()], crs=CRS)
    with pytest.raises(InputError, match=r"no feature is left of 2 read \(2 no geometry\)"):
        factor(empty, grid)
    with np.errstate(invalid="ignore"):
        line = shapely.LineString([(np.nan, 0), (1, 1)])
    infinite = gpd.GeoDataFrame(geometry=[line], crs=CRS)
    with pytest.raises(InputError, match="1 coordinates not finite"):
        factor(infinite, grid)


def test_unknown_field_lists_the_fields(grid: Grid) -> None:
    with pytest.raises(InputError, match=r"no field 'kind'; the fields are name, size"):
        factor(points((1, 1)).assign(name="a", size=1), grid, selection=Selection({"kind": 1}))
    with pytest.raises(InputError, match=r"the field holds text \(for example 'a'\)"):
        factor(points((1, 1)).assign(name="a"), grid, selection=Selection({"name": 1}))


def test_filters_take_one_value_or_several(grid: Grid) -> None:
    frame = points((1, 1), (2, 2), (3, 3)).assign(kind=["a", "b", "c"])
    assert len(factor(frame, grid, selection=Selection({"kind": "a"}))) == 1
    assert len(factor(frame, grid, selection=Selection({"kind": ["a", "c"]}))) == 2


def test_area_is_the_union_of_its_polygons() -> None:
    frame = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 10, 10), shapely.box(10, 0, 20, 10), None], crs=CRS)
    area = StudyArea.from_frame(frame)
    assert area.geometry.area == 200
    assert area.cleaning.dropped == {"no geometry": 1}
    with pytest.raises(InputError, match="must be polygons, found Point"):
        StudyArea.from_frame(points((1, 1)))


def test_digest_of_a_frame_follows_geometry_and_fields() -> None:
    a = points((1, 1)).assign(n=1)
    assert frame_digest(a) == frame_digest(a.copy())
    assert len({frame_digest(a), frame_digest(a.assign(n=2)), frame_digest(points((1, 2)).assign(n=1))}) == 3


def test_mixed_geometry_has_distances_but_no_density(grid: Grid, square: gpd.GeoDataFrame) -> None:
    mixed = pd.concat([points((10, 10)), square], ignore_index=True)
    with pytest.raises(InputError, match="mixes points, lines and polygons"):
        factor(mixed, grid)
    assert factor(mixed, grid, operationalizations=("proximity",)).geometry_type == "mixed"


@pytest.mark.parametrize("value", ["9999-12-31", "2607-01-15", "0001-01-01"])
def test_far_dates_do_not_wrap_into_the_window(grid: Grid, area: StudyArea, value: str) -> None:
    frame = points((10, 10), (20, 20)).assign(when=[value, "2022-06-01"])
    window = Selection(date_field="when", start=dt.date(1800, 1, 1), end=dt.date(2030, 1, 1))
    assert Events.from_frame(frame, grid, area, selection=window).cleaning.dropped == {"outside the time window": 1}


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_a_time_stamp_keeps_its_local_day_through_a_file(
    tmp_path: Path, grid: Grid, area: StudyArea, suffix: str
) -> None:
    stamps = pd.to_datetime(["2022-12-31 23:30", "2022-07-01 23:30"]).tz_localize("America/Chicago")
    frame = points((10, 10), (20, 20))
    path = tmp_path / f"events{suffix}"
    if suffix == ".geojson":  # one offset in winter, another in summer
        text = frame.assign(when=[s.isoformat() for s in stamps]).to_crs("EPSG:4326").to_json()
        path.write_text(text)
    else:  # a GeoPackage keeps UTC only
        frame.assign(when=stamps.tz_convert("UTC")).to_file(path)
    read, total = read_layer(path, what="outcome")
    day = Selection(date_field="when", start=dt.date(2022, 12, 31), end=dt.date(2022, 12, 31))
    zoned = replace(day, time_zone="America/Chicago")
    assert len(Events.from_frame(read, grid, area, selection=zoned, total=total)) == 1
    if suffix == ".geojson":
        assert len(Events.from_frame(read, grid, area, selection=day, total=total)) == 1
    else:
        window = replace(day, end=dt.date(2023, 1, 1))
        found = Events.from_frame(read, grid, area, selection=window, total=total)
        assert [f.code for f in found.findings] == ["utc-times"]


def test_two_date_forms_in_one_column_and_many_lost_dates(grid: Grid, area: StudyArea) -> None:
    frame = points((10, 10), (20, 20), (30, 30)).assign(when=["08/24/2016", "08/24/2016 12:00:00 AM", "2016-08-24"])
    window = Selection(date_field="when", start=dt.date(2016, 8, 24), end=dt.date(2016, 8, 24), bad_dates="drop")
    assert len(Events.from_frame(frame, grid, area, selection=window)) == 3
    lost = points((10, 10), (20, 20), (30, 30)).assign(when=["2016-08-24", "yesterday", None])
    found = Events.from_frame(lost, grid, area, selection=window)
    assert [f.code for f in found.findings] == ["unreadable-dates", "missing-dates"]
    assert "1 of 3 dates (33.3%)" in found.findings[0].message
    assert "'yesterday'" in found.findings[0].message
