"""What the model expects of an edited landscape, against distances and densities worked out one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely

import rtmdx
import small_city
from conftest import CRS, ORIGIN
from rtmdx import priority
from rtmdx.errors import Cancelled, CRSError, InputError
from rtmdx.runs.edits import Edit

X, Y = ORIGIN
CORNER = shapely.box(X, Y, X + 1200, Y + 1200)
WEST, EAST = shapely.box(X, Y, X + 1500, Y + 3000), shapely.box(X + 1500, Y, X + 3000, Y + 3000)
HALVES = gpd.GeoSeries([WEST, EAST], index=["west", "east"], crs=CRS)


def factors(bars: str) -> list[dict[str, Any]]:
    return [
        {"name": "bars", "max_influence": 2, "operationalization": bars, "force": True},
        {"name": "roads", "operationalization": "proximity", "max_influence": 1},
        {"name": "parks", "effect": "protective", "operationalization": "proximity", "max_influence": 1, "force": True},
    ]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return folder


@pytest.fixture(scope="module", params=["proximity", "density"])
def terrain(request: pytest.FixtureRequest, city: Path) -> rtmdx.RiskTerrain:
    return rtmdx.run(rtmdx.Study.from_dict(small_city.study(factors=factors(request.param))), data=city)


def column(terrain: rtmdx.RiskTerrain, i: int, shapes: list[Any]) -> np.ndarray:
    """The 0/1 column of a variable, by distances to every feature."""
    v, grid = terrain.model.variables[i], terrain.grid
    rows, cols = grid.rows_cols
    centres = shapely.points(grid.x[cols], grid.y[rows])
    distances = np.array([shapely.distance(centres, s) for s in shapes]).reshape(len(shapes), centres.size)
    if v.operationalization == "proximity":
        return (distances <= v.distance).any(axis=0)
    kernel = np.where(distances < v.distance, 2 / np.pi / v.distance**2 * (1 - (distances / v.distance) ** 2), 0.0)
    return kernel.sum(axis=0) >= v.threshold


def columns(terrain: rtmdx.RiskTerrain, layers: dict[str, gpd.GeoDataFrame]) -> np.ndarray:
    """The model's columns for these layers, the intercept's first."""
    own = [
        v.sign * column(terrain, i, list(layers[v.factor_name].geometry)).astype(float)
        for i, v in enumerate(terrain.model.variables)
    ]
    return np.column_stack([np.ones(terrain.grid.n_cells), *own])


def edited(edit: str) -> tuple[dict[str, Any], dict[str, gpd.GeoDataFrame]]:
    """An edit, and the layers as they are after it, made by hand."""
    layers = small_city.frames()
    bars = layers["bars"]
    inside = bars.intersects(CORNER)
    if edit == "remove":
        layers["bars"] = bars[~inside]
        return {"layer": "bars", "action": "remove", "within": CORNER}, layers
    if edit == "some":
        layers["bars"] = bars[~(inside & (bars["kind"] == "a"))]
        return {"layer": "bars", "action": "remove", "within": CORNER.wkt, "filter": {"kind": "a"}}, layers
    if edit == "all":
        layers["bars"] = bars[:0]
        return {"layer": "bars", "action": "remove"}, layers
    if edit == "move":
        moved = bars.geometry.where(~inside, bars.geometry.translate(300, -150))
        layers["bars"] = bars.set_geometry(moved)
        return {"layer": "bars", "action": "move", "within": CORNER, "by": (300, -150)}, layers
    new = [shapely.box(X + 100, Y + 100, X + 400, Y + 300)]
    parks = layers["parks"]
    layers["parks"] = gpd.GeoDataFrame(geometry=[*parks.geometry, *new], crs=CRS)
    return {"layer": "parks", "action": "add", "geometries": new}, layers


@pytest.mark.parametrize("edit", ["remove", "some", "all", "move", "add"])
def test_expected_events_are_those_of_the_edited_layers(terrain: rtmdx.RiskTerrain, city: Path, edit: str) -> None:
    change, layers = edited(edit)
    found = priority.what_if(terrain, change, data=city, draws=100)
    b = terrain.model.parameters[: 1 + len(terrain.model.coefficients)]
    np.testing.assert_allclose(found.expected_after, np.exp(columns(terrain, layers) @ b), rtol=1e-12)
    np.testing.assert_array_equal(found.expected_before, terrain.expected_cells)
    np.testing.assert_allclose(found.score_after / terrain.score_cells, found.expected_after / found.expected_before)
    assert found.n_changed == np.count_nonzero(found.change_cells)
    assert found.n_changed > 0
    assert found.total.change == pytest.approx(found.change_cells.sum())
    assert found.total.low <= found.total.change <= found.total.high
    before, after = found.factors[0].features_before, found.factors[0].features_after
    name = change["layer"]
    assert (before, after) == (len(small_city.frames()[name]), len(layers[name]))
    if edit in ("remove", "some", "all"):
        assert found.total.change < 0
        assert found.factors[0].cells_reached == 0
        assert found.factors[0].cells_freed == found.n_changed


def test_limits_are_percentiles_over_models_drawn_one_by_one(terrain: rtmdx.RiskTerrain, city: Path) -> None:
    change, layers = edited("move")
    found = priority.what_if(terrain, change, data=city, places=HALVES, draws=150, seed=7, level=0.8)
    model = terrain.model
    size = 1 + len(model.coefficients)
    values, vectors = np.linalg.eigh(model.covariance[:size, :size])
    normal = np.random.default_rng(7).standard_normal((150, size))
    west = terrain.grid.x[terrain.grid.rows_cols[1]] < X + 1500
    after, before = columns(terrain, layers), columns(terrain, small_city.frames())
    told = []
    for z in normal:
        b = model.parameters[:size] + vectors @ (np.sqrt(np.maximum(values, 0)) * z)
        difference = np.exp(after @ b) - np.exp(before @ b)
        told.append([difference.sum(), difference[west].sum(), difference[~west].sum()])
    limits = np.percentile(told, [10, 90], axis=0)
    rows = (found.total, *found.places)
    np.testing.assert_allclose([[c.low for c in rows], [c.high for c in rows]], limits, rtol=1e-9, atol=1e-12)
    assert found.to_frame().index.tolist() == ["west", "east"]
    assert found.to_frame()["change"].sum() == pytest.approx(found.total.change)


def test_a_move_by_nothing_changes_nothing(terrain: rtmdx.RiskTerrain, city: Path) -> None:
    found = priority.what_if(terrain, Edit(layer="bars", action="move", by=(0, 0)), data=city)
    assert found.n_changed == 0
    np.testing.assert_array_equal(found.expected_after, terrain.expected_cells)
    assert (found.total.change, found.total.low, found.total.high) == (0, 0, 0)
    assert "no cell changes" in found.notes[0]


def test_threads_and_order_of_places_change_no_bit(terrain: rtmdx.RiskTerrain, city: Path) -> None:
    change, _ = edited("remove")
    one = priority.what_if(terrain, change, data=city, places=HALVES, threads=1)
    two = priority.what_if(terrain, change, data=city, places=HALVES, threads=2)
    assert one.to_dict() == two.to_dict()
    turned = priority.what_if(terrain, change, data=city, places=HALVES[::-1]).to_frame()
    np.testing.assert_allclose(turned.loc[HALVES.index], one.to_frame(), rtol=1e-12)


def test_layers_in_memory_and_several_edits(terrain: rtmdx.RiskTerrain, city: Path) -> None:
    change, _ = edited("remove")
    more = {"layer": "roads", "action": "remove"}
    both = priority.what_if(terrain, [change, more], data=city)
    alone = priority.what_if(terrain, change, data=city)
    assert [f.name for f in both.factors] == ["bars", "roads"]
    if not both.factors[1].variables:
        assert both.notes == ("Roads is not in the model: editing it changes nothing expected.",)
        assert both.total == alone.total
    frames = small_city.frames()
    study = small_city.study(factors=factors("proximity"))
    held = {
        "area": frames["boundary"],
        "outcome": frames["events"],
        **{n: frames[n] for n in ("bars", "roads", "parks")},
    }
    run = rtmdx.run(rtmdx.Study.from_dict({**study, "holdout": None}), layers=held)
    found = priority.what_if(run, change, layers=held)
    assert found.total.change < 0
    with pytest.raises(InputError, match=r"factor 'bars' \(memory\): is not the layer the terrain was fitted to"):
        priority.what_if(run, change, layers={**held, "bars": frames["bars"][1:]})


def test_places_beyond_the_area_are_told(terrain: rtmdx.RiskTerrain, city: Path) -> None:
    change, _ = edited("remove")
    far = shapely.box(X + 9000, Y, X + 9100, Y + 100)
    places = gpd.GeoSeries([HALVES["west"], far], index=["west", "far"], crs=CRS)
    found = priority.what_if(terrain, change, data=city, places=places)
    assert found.notes == ("1 of 2 places have no cell of the study area: far.",)
    assert found.to_frame().loc["far"].tolist() == [0, 0, 0, 0, 0]
    with pytest.raises(InputError, match="places: none covers a cell of the study area"):
        priority.what_if(terrain, change, data=city, places=places[1:])
    with pytest.raises(CRSError):
        priority.what_if(terrain, change, data=city, places=HALVES.to_crs(4326))


@pytest.mark.parametrize(
    ("edits", "options", "message"),
    [
        ([], {}, "edits: found none, expected at least one"),
        (5, {}, "edit 1: found 5, expected an Edit or a mapping"),
        ("bars", {}, "edit 1: found 'bars', expected an Edit or a mapping"),
        ({"layer": "pubs", "action": "remove"}, {}, "layer 'pubs' is no factor of the study"),
        ({"layer": "outcome", "action": "remove"}, {}, "layer 'outcome' is no factor of the study"),
        ({"layer": "bars", "action": "burn"}, {}, "edit 1: action: found 'burn'"),
        ({"layer": "bars", "action": "remove", "within": "POLYGON"}, {}, "edit 1: 'POLYGON' is no geometry in WKT"),
        ({"layer": "bars", "action": "remove", "filter": {"kind": "z"}}, {}, "chooses none of 60 features"),
        ({"layer": "bars", "action": "remove", "filter": {"colour": "z"}}, {}, "colour"),
        ({"layer": "bars", "action": "remove"}, {"level": 95}, "level: found 95, expected between 0 and 1"),
        ({"layer": "bars", "action": "remove"}, {"draws": 5}, "draws: found 5"),
        ({"layer": "bars", "action": "remove"}, {"robust": True}, "robust: the model has no robust covariance"),
    ],
)
def test_what_it_refuses(terrain: rtmdx.RiskTerrain, city: Path, edits: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        priority.what_if(terrain, edits, data=city, **options)


def test_cancel(terrain: rtmdx.RiskTerrain, city: Path) -> None:
    with pytest.raises(Cancelled):
        priority.what_if(terrain, {"layer": "bars", "action": "remove"}, data=city, cancel=lambda: True)


def test_what_it_says_and_writes(terrain: rtmdx.RiskTerrain, city: Path, tmp_path: Path) -> None:
    change, _ = edited("remove")
    found = priority.what_if(terrain, {**change, "label": "Corner closed"}, data=city, places=HALVES)
    said = " ".join(found.sentences())
    assert "Bars: 60 features before" in said
    assert "not what changing it would do" in said
    assert f"{found.total.low:+,.1f} to {found.total.high:+,.1f}" in said
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["title"] == "Corner closed"
    assert [p["place"] for p in data["places"]] == ["west", "east"]
    found.to_geopackage(tmp_path / "w.gpkg")
    cells = gpd.read_file(tmp_path / "w.gpkg", layer="cells")
    assert len(cells) == found.n_changed
    assert cells["change"].sum() == pytest.approx(found.total.change)
    assert cells.crs.to_epsg() == 26915
    assert gpd.read_file(tmp_path / "w.gpkg", layer="places")["place"].tolist() == ["west", "east"]
