"""The priority section of a study: what it works out is what the functions give, and its files open elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from click.testing import Result
from typer.testing import CliRunner

import rtmdx
import small_city
from conftest import CRS, ORIGIN
from rtmdx import disparity, priority
from rtmdx.cli import app
from rtmdx.errors import Cancelled, InputError, OutputError, StudyError
from rtmdx.priority import Prioritization, prioritize
from rtmdx.priority.outputs import write_prioritization
from rtmdx.priority.page import prioritization_page
from rtmdx.runs.places import Places, events_in_places
from rtmdx.space.cleaning import Cleaning

X, Y = ORIGIN
PRIORITY: dict[str, Any] = {
    "places": {"layer": "places", "name": "title"},
    "k": 4,
    "cells": 20,
    "shares": [0.05, 0.2],
    "budget": {"cells": 60, "min_patch": 4},
    "fair": {"zones": {"layer": "places"}, "group": "black", "population": "total", "cells": 100, "points": 5},
    "what_if": [
        {"label": "Bars closed", "within_top": 2, "edits": [{"layer": "bars", "action": "remove"}]},
        {"label": "A new park", "edits": [{"layer": "parks", "action": "add", "geometries": [f"POINT ({X} {Y})"]}]},
    ],
}


def places() -> gpd.GeoDataFrame:
    """Nine squares with residents."""
    corners = [(X + i * 1e3, Y + j * 1e3) for j in (0, 1, 2) for i in (0, 1, 2)]
    boxes = [shapely.box(x, y, x + 1e3, y + 1e3) for x, y in corners]
    residents = {"total": np.arange(100, 1000, 100), "black": [5, 150, 30, 360, 50, 540, 70, 80, 810]}
    return gpd.GeoDataFrame({"title": list("ABCDEFGHI"), **residents}, geometry=boxes, crs=CRS)


def study(**changes: Any) -> dict[str, Any]:
    factors = [
        {"name": "bars", "max_influence": 2, "force": True},
        {"name": "roads", "operationalization": "proximity", "max_influence": 1, "force": True},
        {"name": "parks", "effect": "protective", "operationalization": "proximity", "max_influence": 1, "force": True},
    ]
    return small_city.study(factors=factors, priority=PRIORITY, **changes)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder, {**small_city.frames(), "places": places()})
    return folder


@pytest.fixture(scope="module")
def found(city: Path) -> Prioritization:
    return prioritize(rtmdx.Study.from_dict(study()), data=city)


def test_it_is_what_the_functions_give(found: Prioritization, city: Path) -> None:
    plain = rtmdx.Study.from_dict({k: v for k, v in study().items() if k != "priority"})
    terrain = rtmdx.run(plain, data=city)
    np.testing.assert_array_equal(found.terrain.expected_cells, terrain.expected_cells)
    assert found.terrain.provenance["study_id"] == terrain.provenance["study_id"]  # it changes no result
    named = places().set_index("title")
    later = small_city.frames()["events"]
    later = later[pd.to_datetime(later["date"]).dt.year == 2023]
    inside = gpd.sjoin(later, named.reset_index(), predicate="within")["title"].value_counts()
    held = inside.reindex(named.index, fill_value=0).to_numpy(float)
    ranking = priority.rank(terrain, by="expected", places=named, statistic="sum", events=held, k=4, shares=())
    own = [c.top for c in found.captures if c.unit == "place" and c.method == "Risk terrain"]
    assert repr(own) == repr(list(ranking.top))  # NaN where nothing was predicted
    table = found.top_places()
    assert table.index.tolist() == ranking.to_frame().index[:4].tolist()
    np.testing.assert_allclose(table["events"], inside.reindex(table.index, fill_value=0))
    assert found.events.sum() == len(later)
    cells = priority.rank(terrain, by="expected", events=found.events, k=20, shares=(0.05, 0.2))
    own = [c.top for c in found.captures if c.unit == "cell" and c.method == "Risk terrain"]
    assert repr(own) == repr(list(cells.top))  # NaN where nothing was predicted
    assert found.top_cells().index.tolist() == cells.to_frame().index[:20].tolist()
    assert found.selection is not None
    assert found.selection.value == priority.select(terrain, 60, min_patch=4).value
    people = disparity.allocate(named, {"black": "black"}, terrain.grid, total="total")
    frontier = priority.fair_frontier(
        terrain, 100, group=people.cells[0], population=people.cells.sum(axis=0), points=5, name="black"
    )
    assert found.frontier is not None
    pd.testing.assert_frame_equal(found.frontier.to_frame(), frontier.to_frame())
    ground = named.loc[table.index[:2]].geometry.union_all()
    edit = {"layer": "bars", "action": "remove", "within": ground}
    expected = priority.what_if(terrain, edit, data=city, places=named)
    assert found.what_ifs[0].total == expected.total
    assert [w.title for w in found.what_ifs] == ["Bars closed", "A new park"]


def test_baselines_stand_beside_the_terrain(found: Prioritization) -> None:
    table = found.capture_frame()
    methods = ["Risk terrain", "Past counts", "Kernel density (200 m)", "Posterior risk"]
    assert table["method"].unique().tolist() == methods
    assert table["k"].unique().tolist() == [4, 20, 180, 720]
    assert found.held_out
    first = table[(table["unit"] == "cell") & (table["k"] == 20)].set_index("method")
    counts = priority.rank(found.terrain.counts.astype(float), events=found.events, k=20, shares=()).top[0]
    assert first.loc["Past counts", "events_expected"] == counts.events.expected
    said = found.sentences()[0]
    assert said.startswith(
        "The first 4 places capture, of the events held out (2023-01-01 to 2023-12-31): risk terrain "
    )
    for method in methods[1:]:
        assert method.lower() in said


def test_without_a_hold_out_it_says_that_figures_flatter(city: Path) -> None:
    data = {k: v for k, v in study().items() if k != "holdout"} | {"priority": {"cells": 5}}
    found = prioritize(rtmdx.Study.from_dict(data), data=city)
    assert not found.held_out
    assert {c.method for c in found.captures} == {"Risk terrain", "Posterior risk"}
    assert any("flatter" in s for s in found.sentences())
    assert found.top_places().empty
    assert len(found.top_cells()) == 5
    assert found.frontier is None
    json.dumps(found.to_dict(), allow_nan=False)
    assert "Name a [holdout]" in prioritization_page(found)


def test_layers_in_memory_give_the_same(found: Prioritization) -> None:
    frames = small_city.frames()
    layers = {"area": frames["boundary"], "outcome": frames["events"], "places": places(), "zones": places()}
    layers |= {n: frames[n] for n in ("bars", "roads", "parks")}
    again = prioritize(rtmdx.Study.from_dict(study()), layers=layers)
    pd.testing.assert_frame_equal(again.top_places(), found.top_places())
    assert again.sentences() == found.sentences()


def test_events_in_places_that_touch_overlap_and_leave_gaps() -> None:
    shapes = [
        shapely.box(0, 0, 10, 10),
        shapely.box(10, 0, 20, 10),
        shapely.box(5, 5, 15, 15),
        shapely.box(50, 0, 60, 1),
    ]
    frame = gpd.GeoDataFrame(geometry=shapes, crs=CRS)
    held = Places(frame, Cleaning("memory", "", 4, 4))
    #              inside 0, inside both 0 and 2, on the border of 0 and 1, a corner of 1 within 2, nowhere
    x, y = np.array([1.0, 7, 10, 10, 30]), np.array([1.0, 7, 2, 10, 30])
    counts, beyond = events_in_places(held, x, y)
    assert (counts.tolist(), beyond) == ([3, 0, 2, 0], 1)
    counts, beyond = events_in_places(held, x[:0], y[:0])
    assert (counts.tolist(), beyond) == ([0, 0, 0, 0], 0)


def test_files_open_elsewhere(found: Prioritization, tmp_path: Path) -> None:
    written = write_prioritization(found, tmp_path / "out")
    assert sorted(written) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert not {"priority.gpkg", "priority.html", "top_places.csv"} - set(written)
    table = pd.read_csv(tmp_path / "out" / "top_places.csv", index_col="place")
    assert table["why"].tolist() == found.top_places()["why"].tolist()
    ranked = gpd.read_file(tmp_path / "out" / "priority.gpkg", layer="places").set_index("place")
    assert ranked.crs.to_epsg() == 26915
    assert len(ranked) == 9
    np.testing.assert_allclose(ranked["score"].loc[table.index], table["score"])
    chosen = gpd.read_file(tmp_path / "out" / "priority.gpkg", layer="chosen")
    assert len(chosen) == found.selection.cost  # type: ignore[union-attr]
    told = json.loads((tmp_path / "out" / "priority.json").read_text())
    assert told["sentences"] == found.sentences()
    assert len(told["frontier"]["points"]) == 5
    with pytest.raises(OutputError, match="exists already"):
        write_prioritization(found, tmp_path / "out")


def test_the_page_says_all(found: Prioritization) -> None:
    page = prioritization_page(found)
    for place in found.top_places().index:
        assert f"<td>{place}</td>" in page
    assert page.count("<circle") == 4
    assert "not what changing it would do" in page
    assert "Posterior risk" in page
    assert "<script" not in page


def run_cli(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, list(args), catch_exceptions=False)


def test_the_command_line(found: Prioritization, city: Path, tmp_path: Path) -> None:
    file = city / "study.toml"
    data = study()
    what_if = data["priority"].pop("what_if")
    file.write_text(small_city.toml(data))
    data["priority"]["what_if"] = what_if
    done = run_cli("prioritize", str(file), "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    for place in found.top_places().index:
        assert f" {place} " in done.stdout
    assert "Of the events held out (2023-01-01 to 2023-12-31)." in done.stdout
    assert (tmp_path / "out" / "priority.html").exists()
    told = json.loads(run_cli("prioritize", str(file), "--json").stdout)
    assert [p["place"] for p in told["places"]] == found.top_places().index.tolist()
    refused = run_cli("prioritize", str(file), "--out", str(tmp_path / "out"))
    assert refused.exit_code == 2
    assert "exists already" in refused.stderr
    assert "Reading layers" not in refused.stderr  # before anything is computed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 10}, "priority.k: found 10, but there are 9 places"),
        ({"cells": 10_000}, "priority.cells: found 10,000, but there are 3,600 cells"),
        ({"budget": {"cells": 4000}}, "priority.budget.cells: found 4,000, but there are 3,600 cells"),
        ({"places": {"layer": "places", "name": "name"}}, "no field 'name'; the fields are title"),
        ({"places": {"layer": "bars"}}, "must be polygons, found Point"),
        ({"fair": {**PRIORITY["fair"], "group": "blacks"}}, "no field 'blacks'"),
        ({"places": None}, "what_if 'Bars closed': within_top needs places"),
        ({"fair": None, "what_if": [{"label": "x", "edits": [{"layer": "pubs", "action": "remove"}]}]}, "'pubs' is no"),
    ],
)
def test_what_does_not_fit_the_data(city: Path, changes: dict[str, Any], message: str) -> None:
    told: list[str] = []
    with pytest.raises(InputError, match=message):
        prioritize(
            rtmdx.Study.from_dict({**study(), "priority": {**PRIORITY, **changes}}), data=city,
            progress=lambda stage, *_: told.append(stage),
        )  # fmt: skip
    assert "surfaces" not in told  # before anything is computed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "priority.k: found 0"),
        ({"by": "score", "statistic": "sum"}, "a sum of scores over a place is no figure"),
        ({"fair": {**PRIORITY["fair"], "measure": "ratio"}}, 'reference goes with measure = "ratio"'),
        ({"what_if": [{"label": "x", "edits": []}]}, "found none, expected at least one"),
        ({"tops": 3}, "priority.tops: unknown key"),
    ],
)
def test_what_a_study_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        rtmdx.Study.from_dict({**study(), "priority": {**PRIORITY, **changes}})


def test_places_with_a_name_twice_or_none(tmp_path: Path) -> None:
    named = places()
    named.loc[4, "title"] = "A"
    small_city.write(tmp_path, {**small_city.frames(), "places": named})
    with pytest.raises(InputError, match="field 'title' holds 'A' more than once; 1 rows repeat a name"):
        prioritize(rtmdx.Study.from_dict(study()), data=tmp_path)
    named.loc[4, "title"] = None
    named.to_file(tmp_path / "city.gpkg", layer="places")
    with pytest.raises(InputError, match="1 of 9 rows have no title"):
        prioritize(rtmdx.Study.from_dict(study()), data=tmp_path)


def test_cancel_and_progress(city: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def cancel() -> bool:
        return any(stage == "priority" for stage, _, _ in told)

    with pytest.raises(Cancelled):
        prioritize(rtmdx.Study.from_dict(study()), data=city, cancel=cancel, progress=lambda *t: told.append(t))
    told.clear()
    prioritize(rtmdx.Study.from_dict(study()), data=city, progress=lambda *t: told.append(t))
    own = [t for t in told if t[0] == "priority"]
    assert own[0] == ("priority", 0, 5)
    assert own[-1] == ("priority", 5, 5)
