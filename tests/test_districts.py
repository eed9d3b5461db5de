"""Districts: cells by their centre, against Shapely one cell at a time; and folds a study asks for."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

import rtmdx
from conftest import CRS, ORIGIN
from rtmdx.errors import CRSError, InputError, StudyError
from rtmdx.model.fold_plan import describe_folds
from rtmdx.model.folds import TimeFolds, repeated_folds, spatial_folds, stratified_folds, time_folds
from rtmdx.report.folds import fold_table
from rtmdx.report.numbers import percent
from rtmdx.runs.folds import make_folds
from rtmdx.runs.inputs import Inputs, load_inputs
from rtmdx.runs.outputs import summary
from rtmdx.runs.study import Study
from rtmdx.space.districts import Districts
from rtmdx.space.grid import Grid
from small_city import SIDE, frames, study

X, Y = ORIGIN


def grid(rows: int = 30, cols: int = 40, size: float = 50.0) -> Grid:
    return Grid(CRS, X, Y + rows * size, size, np.ones((rows, cols), dtype=bool))


def layer(shapes: list, **fields) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(fields, geometry=shapes, crs=CRS)


def boxes(n: int = 3) -> list:
    step = SIDE / n
    return [
        shapely.box(X + c * step, Y + r * step, X + (c + 1) * step, Y + (r + 1) * step)
        for r in range(n)
        for c in range(n)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_cells_belong_where_their_centre_lies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(30, 40)) < 0.8
    g = Grid(CRS, X, Y + 1500, 50.0, mask)
    sites = shapely.MultiPoint(rng.uniform(-300, 2300, (12, 2)) + ORIGIN)
    cells = list(shapely.get_parts(shapely.voronoi_polygons(sites)))
    shapes = [p.buffer(rng.uniform(-60, 60)) for p in cells]  # gaps and overlaps
    shapes = [p for p in shapes if not p.is_empty]
    found = Districts.from_frame(layer(shapes, name=[f"d{i % 7}" for i in range(len(shapes))]), g, field="name")
    rows, cols = g.rows_cols
    twice = 0
    for cell in range(g.n_cells):
        centre = shapely.Point(X + (cols[cell] + 0.5) * 50, Y + 1500 - (rows[cell] + 0.5) * 50)
        holds = [i for i, p in enumerate(shapes) if p.intersects(centre)]
        if not holds:
            gaps = [p.distance(centre) for p in shapes]
            holds = [int(np.argmin(gaps))] if min(gaps) <= 50 * np.sqrt(0.5) else []
        expected = found.names.index(f"d{holds[0] % 7}") if holds else -1
        twice += len({i % 7 for i in holds}) > 1
        assert found.labels[cell] == expected
    codes = {f.code: f.message for f in found.findings}
    assert ("outside-districts" in codes) == bool((found.labels < 0).any())
    assert ("overlapping-districts" in codes) == (twice > 0)
    if twice:
        assert f" {twice:,} cells" in codes["overlapping-districts"]


def test_districts_in_another_crs_and_cells_on_the_boundary() -> None:
    g = grid(31, 41)  # a row and a column beyond the districts, as an overlap rule keeps them
    shapes = [shapely.box(X, Y + 60, X + 1000, Y + 1560), shapely.box(X + 1000, Y + 60, X + 2030, Y + 1560)]
    found = Districts.from_frame(layer(shapes, name=["west", "east"]).to_crs("EPSG:4326"), g, field="name")
    assert found.names == ("west", "east")
    raster = g.to_raster(found.labels, fill=-9)
    assert (raster[:-1, :20] == 0).all()
    assert (raster[:-1, 20:] == 1).all()  # centres of the last column lie 5 m beyond, within half a diagonal
    assert (raster[-1] >= 0).all()  # 35 m: within half a diagonal (35.4 m) too
    assert found.cleaning.read == 2
    assert not found.findings


def test_unusable_districts_are_named() -> None:
    g = grid()
    cases = [
        (layer(boxes(), name=[None, *"abcdefgh"]), "name", "1 of 9 districts have no 'name'; the first is row 1"),
        (layer(boxes(), name=[*"abcdefgh", " "]), "name", "first is row 9"),
        (layer(boxes(), name=[np.nan, *range(8)]), "name", "first is row 1"),
        (layer(boxes(), name=["a"] * 9), "name", r"one district \('a'\)"),
        (layer(boxes()), "name", "no field 'name'"),
        (layer([shapely.Point(X, Y)] * 2), None, "must be polygons, found Point"),
        (layer([None, None]), None, "has no geometry"),
        (layer([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)]), None, "no cell of the study area lies in any"),
    ]
    for frame, field, text in cases:
        with pytest.raises(InputError, match=text):
            Districts.from_frame(frame, g, field=field)


def test_districts_that_lie_nowhere_are_named() -> None:
    where = grid()
    with pytest.raises(CRSError, match=r"districts \(memory\): has no coordinate reference system"):
        Districts.from_frame(gpd.GeoDataFrame(geometry=boxes()), where)
    with np.errstate(all="ignore"):
        lost = shapely.Polygon([(0, 0), (np.nan, 0), (1, 1)])
    made = Districts.from_frame(layer([*boxes(), lost]), where)
    assert made.cleaning.dropped == {"coordinates not finite": 1}
    assert np.array_equal(made.labels, Districts.from_frame(layer(boxes()), where).labels)


def prepared(**changes) -> tuple[Study, Inputs, np.ndarray]:
    layers = {**frames(), "districts": layer(boxes(), name=[f"d{i}" for i in range(9)])}
    layers["area"], layers["outcome"] = layers.pop("boundary"), layers.pop("events")
    data = study(holdout=None, **changes)
    made = Study.from_dict(data)
    if made.model.districts is None:
        layers.pop("districts")
    inputs = load_inputs(made, layers=layers)
    return made, inputs, inputs.events.counts(inputs.grid)


def test_a_study_runs_with_districts(tmp_path: Path) -> None:
    layers = {**frames(), "districts": layer(boxes(), name=[f"d{i}" for i in range(9)])}
    layers["area"], layers["outcome"] = layers.pop("boundary"), layers.pop("events")
    model = {"n_penalties": 10, "folds": "district", "districts": {"layer": "districts", "field": "name"}}
    terrain = rtmdx.run(Study.from_dict(study(holdout=None, model=model)), layers=layers, threads=1)
    plan = terrain.fold_plan
    assert plan is not None
    assert (plan.kind, plan.k, plan.seed) == ("district", 9, None)
    assert plan.sentence == "Leave-one-district-out cross-validation: 9 folds, a district each."
    assert [p.label for p in plan.parts] == [f"d{i}" for i in range(9)]
    assert [(f.cells, f.events) for f in terrain.culling.folds] == [(p.cells, p.events) for p in plan.parts]
    assert terrain.provenance["inputs"]["districts"]["rows"] == 9
    kept = json.loads(json.dumps(summary(terrain)))["cross_validation"]
    assert kept["sentence"] == plan.sentence
    assert [p["label"] for p in kept["parts"]] == [f"d{i}" for i in range(9)]
    terrain.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert plan.sentence in page
    assert "Folds of the cross-validation (9)" in page
    assert "<td>d8</td>" in page


def test_districts_are_merged_as_the_study_says() -> None:
    model = {"folds": "district", "districts": {"field": "name", "max_folds": 4}}
    made, inputs, counts = prepared(model=model)
    folds, plan = make_folds(made, inputs, counts)
    assert isinstance(folds, np.ndarray)
    assert (plan.k, sum(p.events for p in plan.parts)) == (4, counts.sum())
    assert made.model.districts is not None
    assert (made.model.districts.path, made.model.districts.layer) == ("city.gpkg", "districts")


def test_a_study_s_spatial_folds_state_their_blocks() -> None:
    made, inputs, counts = prepared(model={"folds": "spatial"})
    folds, plan = make_folds(made, inputs, counts)
    rows, cols = inputs.grid.rows_cols
    assert np.array_equal(folds, spatial_folds(rows, cols, 8, 5, seed=0))
    assert plan.sentence == (
        "5-fold cross-validation by spatial blocks of 8 x 8 cells = 400 m, twice the largest influence (200 m)."
    )
    made, inputs, counts = prepared(
        model={"folds": "spatial", "fold_blocks": 3, "fold_offset": True, "fold_repeats": 4}, seed=5
    )
    folds, plan = make_folds(made, inputs, counts)
    assert np.array_equal(
        folds, repeated_folds(lambda s: spatial_folds(rows, cols, 6, 5, seed=s, offset=True), 4, seed=5)
    )
    assert "6 x 6 cells = 300 m, 1.5 times the largest influence (200 m), their lattice shifted" in plan.sentence


def test_a_study_s_folds_in_time() -> None:
    made, inputs, counts = prepared(model={"folds": "time", "n_folds": 4})
    folds, plan = make_folds(made, inputs, counts)
    assert isinstance(folds, TimeFolds)
    assert np.array_equal(folds.total, counts)
    assert folds.periods[0] == "2022-01-01 to 2022-04-01"  # 365 days: 91, 91, 91, 92
    assert plan.k == 4
    days = frames()["events"]["date"].str[:10]
    inside = days.between("2022-01-01", "2022-04-01").sum()
    assert plan.parts[0].events == inside

    outcome = {"layer": "events", "date_field": "date"}  # the period is the events' own
    made, inputs, counts = prepared(model={"folds": "time", "fold_time": "years"}, outcome=outcome)
    folds, plan = make_folds(made, inputs, counts)
    assert isinstance(folds, TimeFolds)
    assert folds.k == 2
    assert folds.periods[0].endswith("to 2022-12-31")
    assert np.array_equal(folds.total, counts)


def test_dates_missing_for_folds_in_time() -> None:
    layers = frames()
    layers["area"], layers["outcome"] = layers.pop("boundary"), layers.pop("events")
    layers["outcome"].loc[3, "date"] = None
    made = Study.from_dict(
        study(holdout=None, model={"folds": "time"}, outcome={"layer": "events", "date_field": "date"})
    )
    inputs = load_inputs(made, layers=layers)
    with pytest.raises(InputError, match="1 of 1,?[0-9]+ events have no date"):
        make_folds(made, inputs, inputs.events.counts(inputs.grid))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": {"folds": "time"}, "outcome": {"layer": "events"}, "holdout": None}, "needs outcome.date_field"),
        ({"model": {"folds": "district"}}, r"needs \[model.districts\]"),
        ({"model": {"folds": "time", "fold_repeats": 3}}, "fold_repeats is 3, but time folds are the same each time"),
        ({"model": {"folds": "district", "districts": {}, "fold_repeats": 2}}, "district folds are the same"),
        (
            {"model": {"folds": "district", "districts": {}}, "factors": [{"name": "districts"}]},
            'a layer is named "districts"',
        ),
    ],
)
def test_fold_options_that_do_not_fit_are_named(changes: dict, text: str) -> None:
    with pytest.raises(StudyError, match=text):
        Study.from_dict(study(**changes))


def test_studies_without_the_options_keep_their_id() -> None:
    plain = Study.from_dict(study())
    assert plain.id == Study.from_dict(study(model={"n_penalties": 30, "fold_repeats": 1, "fold_offset": False})).id
    assert plain.id != Study.from_dict(study(model={"n_penalties": 30, "fold_repeats": 2})).id
    assert plain.id != Study.from_dict(study(model={"n_penalties": 30, "folds": "time"})).id


def test_districts_wait_unread_until_folds_ask_for_them() -> None:
    layers = frames()
    layers["area"], layers["outcome"] = layers.pop("boundary"), layers.pop("events")
    made = Study.from_dict(study(holdout=None, model={"folds": "spatial", "districts": {"path": "not there"}}))
    assert load_inputs(made, layers=layers).districts is None


def test_the_report_names_parts_of_the_period_and_repeats() -> None:
    when = np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]")
    folds = time_folds(np.arange(10), when, 10, 2)
    shown = fold_table(describe_folds(folds, folds.total, "time"))
    assert shown is not None
    assert (shown["label"], shown["share"]) == ("Part of the period", "Share of the days")
    assert shown["rows"][1] == {
        "fold": 2, "label": "2020-01-06 to 2020-01-10", "cells": "10", "events": "5", "share": percent(0.5)
    }  # fmt: skip
    twice = repeated_folds(lambda s: stratified_folds(np.ones(10), 2, seed=s), 3, seed=0)
    shown = fold_table(describe_folds(twice, np.ones(10), "stratified", seed=0))
    assert shown is not None
    assert (shown["repeats"], shown["label"], len(shown["rows"])) == (3, "", 2)
    assert fold_table(None) is None
