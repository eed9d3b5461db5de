"""Residents of a study's [disparity.exposure]: zones, masks, tables and margins, beside the functions they call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pydantic import ValidationError

from conftest import CRS, ORIGIN
from rtmdx.disparity.population import allocate
from rtmdx.disparity.residents import read_residents, settle
from rtmdx.errors import FileError, InputError
from rtmdx.runs.study_disparity import DisparitySpec, GroupExposureSpec
from rtmdx.space.grid import Grid

X, Y = ORIGIN
AREA = shapely.box(X, Y, X + 1000, Y + 1000)
GRID = Grid.from_area(AREA, CRS, 50.0)


def zones() -> gpd.GeoDataFrame:
    boxes = [shapely.box(X + 250 * i, Y, X + 250 * (i + 1), Y + 1000) for i in range(4)]
    counts = {
        "black": [10.0, 200.0, 30.0, 60.0],
        "white": [90.0, 20.0, 70.0, 25.0],
        "all": [110.0, 230.0, 100.0, 100.0],
    }
    margins = {"black_m": [4.0, 30.0, 8.0, 9.0], "all_m": [20.0, 40.0, 20.0, 30.0]}
    return gpd.GeoDataFrame({"tract": ["1", "2", "3", "4"], **counts, **margins}, geometry=boxes, crs=CRS)


def write(folder: Path, frame: gpd.GeoDataFrame | None = None) -> None:
    (zones() if frame is None else frame).to_file(folder / "zones.gpkg", layer="zones")


def spec(**changes: Any) -> GroupExposureSpec:
    base = {"path": "zones.gpkg", "layer": "zones", "groups": {"Black": "black", "White": "white"}}
    return GroupExposureSpec.model_validate({**base, **changes})


def test_residents_are_those_of_allocate(tmp_path: Path) -> None:
    write(tmp_path, zones().to_crs("EPSG:4326"))  # another CRS than the terrain's
    found = settle(spec(total="all", rest="others", key="tract"), read_residents(spec(total="all"), tmp_path), GRID)
    expected = allocate(zones(), {"Black": "black", "White": "white"}, GRID, total="all", rest="others", key="tract")
    assert found.groups == ("Black", "White", "others")
    np.testing.assert_allclose(found.cells, expected.cells, atol=1e-6)
    np.testing.assert_allclose(found.cells.sum(axis=1), [300.0, 205.0, 35.0])


def test_counts_of_a_table_and_its_filter(tmp_path: Path) -> None:
    frame = zones().assign(year=2017)
    more = pd.concat([frame, frame.assign(year=2010, tract=["5", "6", "7", "8"])])
    write(tmp_path, gpd.GeoDataFrame(more[["tract", "year", "geometry"]], crs=CRS))
    table = pd.DataFrame(zones().drop(columns="geometry")).sample(frac=1.0, random_state=1)
    table.to_csv(tmp_path / "census.csv", index=False)
    own = spec(table="census.csv", key="tract", filter={"year": 2017})
    found = settle(own, read_residents(own, tmp_path), GRID)
    expected = allocate(zones(), {"Black": "black", "White": "white"}, GRID, key="tract")
    np.testing.assert_array_equal(found.cells, expected.cells)


@pytest.mark.parametrize("says", ["nobody", "people"])
@pytest.mark.parametrize("allocation", ["dasymetric", "weighted"])
def test_a_mask_moves_residents_within_their_zones(tmp_path: Path, says: str, allocation: str) -> None:
    write(tmp_path)
    parks = [
        shapely.box(X, Y + 520, X + 470, Y + 1000),
        shapely.box(X + 400, Y + 700, X + 640, Y + 930),
    ]  # they overlap
    water = [shapely.box(X + 900, Y, X + 1000, Y + 260)]
    for name, shapes in (("parks", parks), ("water", water)):
        gpd.GeoDataFrame(geometry=shapes, crs=CRS).to_file(tmp_path / "zones.gpkg", layer=name)
    masks = [{"path": "zones.gpkg", "layer": name, "says": says} for name in ("parks", "water")]
    own = spec(allocation=allocation, mask=masks)
    found = settle(own, read_residents(own, tmp_path), GRID)
    union = shapely.union_all([*parks, *water])
    cells = [
        shapely.box(X + 50 * c, Y + 1000 - 50 * (r + 1), X + 50 * (c + 1), Y + 1000 - 50 * r)
        for r in range(20)
        for c in range(20)
    ]
    covered = np.array([shapely.intersection(cell, union).area / 2500 for cell in cells])
    habitable = covered if says == "people" else 1 - covered
    weight = (habitable > 0.5).astype(float) if allocation == "dasymetric" else habitable
    for g, column in enumerate(("black", "white")):
        zone = np.tile(np.arange(20) // 5, 20)
        expected = zones()[column].to_numpy()[zone] * weight / np.bincount(zone, weight)[zone]
        np.testing.assert_allclose(found.cells[g], expected, rtol=1e-9, atol=1e-9)
    one = spec(allocation=allocation, mask=masks[0])
    assert len(read_residents(one, tmp_path).masks) == 1


def test_margins_by_group_and_of_the_total(tmp_path: Path) -> None:
    write(tmp_path)
    own = spec(groups={"Black": "black"}, total="all", margins={"Black": "black_m"})
    found = settle(own, read_residents(own, tmp_path), GRID)
    assert found.margins is not None
    np.testing.assert_allclose(found.margins[0], zones()["black_m"])
    own = spec(total="all", total_margin="all_m")
    read = read_residents(own, tmp_path)
    found = settle(own, read, GRID)
    assert found.margins is not None
    np.testing.assert_allclose((found.margins**2).sum(axis=0), zones()["all_m"] ** 2)
    np.testing.assert_allclose(found.margins[1], zones()["all_m"] * np.sqrt(zones()["white"] / zones()["all"]))
    assert any("assumption" in note for note in read.notes)


def test_an_outline_that_crosses_itself_is_mended_and_said(tmp_path: Path) -> None:
    frame = zones()
    bow = shapely.Polygon([(X, Y), (X + 250, Y + 1000), (X + 250, Y), (X, Y + 1000)])
    write(tmp_path, frame.set_geometry([bow, *frame.geometry[1:]], crs=CRS))
    read = read_residents(spec(), tmp_path)
    assert any("1 zones had an outline that crosses itself" in note for note in read.notes)
    assert settle(spec(), read, GRID).cells.sum() == pytest.approx(505.0)


@pytest.mark.parametrize(
    ("change", "frame", "error", "message"),
    [
        ({"groups": {"Black": "blacks"}}, None, InputError, r"disparity.exposure: no column 'blacks'"),
        ({}, {"white": [1.0, -2.0, 3.0, 4.0]}, InputError, r"disparity.exposure: row 1, white: found -2"),
        ({"total": "all"}, {"all": [1.0, 1.0, 1.0, 1.0]}, InputError, "groups sum to 100, more than all 1"),
        ({"path": "none.gpkg"}, None, FileError, "none.gpkg"),
        ({"layer": "tracts"}, None, InputError, "tracts"),
        ({"table": "none.csv", "key": "tract"}, None, FileError, "none.csv does not exist"),
        ({"total": "all", "total_margin": "moe"}, None, InputError, "total_margin: no column 'moe'"),
        ({"filter": {"county": 1}}, None, InputError, "county"),
        ({}, {"geometry": shapely.points([X + 1, X + 2, X + 3, X + 4], Y)}, InputError, "row 0: found a Point"),
        ({}, {"geometry": [*zones().geometry[:2], None, AREA]}, InputError, "row 2: has no polygon"),
    ],
)
def test_mistakes_are_one_message(
    tmp_path: Path, change: dict[str, Any], frame: dict[str, Any] | None, error: type[Exception], message: str
) -> None:
    write(tmp_path, zones() if frame is None else gpd.GeoDataFrame({**zones(), **frame}, crs=CRS))
    with pytest.raises(error, match=message):
        read_residents(spec(**change), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": {}}, "groups: found none"),
        ({"allocation": "dasymetric"}, "needs a mask"),
        ({"mask": {"path": "parks.gpkg"}}, "takes no mask"),
        ({"allocation": "weighted", "mask": [{"path": "a"}, {"path": "b", "says": "people"}]}, "use one of the two"),
        ({"table": "census.csv"}, "table needs key"),
        ({"margins": {"Asian": "asian_m"}}, "'Asian' is no group"),
        ({"total_margin": "all_m"}, "total_margin is of total"),
        ({"margins_by": "delta"}, "needs margins"),
        ({"reference": "Asian"}, "reference: found 'Asian'"),
        ({"top": [0.0]}, "greater than 0"),
        ({"draws": 3}, "greater than or equal to 10"),
        ({"zones": "tracts"}, "Extra inputs"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**change)


def test_a_section_needs_a_table_or_zones() -> None:
    own = spec().model_dump()
    with pytest.raises(ValidationError, match="give one or both"):
        DisparitySpec.model_validate({"reference": "White"})
    with pytest.raises(ValidationError, match="required with path"):
        DisparitySpec.model_validate({"path": "force.csv"})
    with pytest.raises(ValidationError, match="expected a group of exposure.groups"):
        DisparitySpec.model_validate({"exposure": own, "reference": "Martian"})
    assert DisparitySpec.model_validate({"exposure": own, "reference": "White"}).exposure_reference == "White"
    assert DisparitySpec.model_validate({"exposure": own}).exposure_reference is None
    both = {"path": "force.csv", "reference": "W", "exposure": own}  # other names in the table than in the zones
    assert DisparitySpec.model_validate(both).exposure_reference is None
    both["exposure"] = {**own, "reference": "Black"}
    assert DisparitySpec.model_validate(both).exposure_reference == "Black"
    assert DisparitySpec.model_validate({"path": "force.csv", "reference": "W"}).exposure_reference is None
