"""`rtmdx evaluate`: the file, its outputs, what a reader sees, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest
from typer.testing import CliRunner

import evaluate_city
from rtmdx.cli import app
from rtmdx.errors import OutputError, StudyError
from rtmdx.evaluate import EvaluationSpec, PlanLog, assess, evaluate_plan, write_assessment


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "160"})


def test_json_is_what_the_function_gives(tmp_path: Path) -> None:
    plan = evaluate_city.write(tmp_path, "chosen_by_counts = true\n")
    result = invoke(plan, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    e = gpd.read_file(tmp_path / "city.gpkg", layer="events")
    p = gpd.read_file(tmp_path / "city.gpkg", layer="places")
    expected = evaluate_plan(
        PlanLog.read(tmp_path / "log.csv"), p, e, outcome="burglaries", permutations=39, chosen_by_counts=True
    ).to_dict()
    for key in ("effects", "caveats", "areas", "log", "coverage", "outcome", "settings"):
        assert found[key] == expected[key], key
    assert [x["action"] for x in found["effects"]] == ["all actions", "board-ups", "lighting"]
    assert set(found["inputs"]) == {"city.gpkg", "log.csv"}
    assert found["spec"]["windows"] == {"before": "equal", "after": None, "lag": 0}
    assert found["series"] is None
    assert "enforcement" not in found["effects"][0]["flags"]
    stops = json.loads(invoke(plan, "--json", "--set", "permutations=0", "--set", "events.name=traffic stops").stdout)
    assert "enforcement" in stops["effects"][0]["flags"]


def test_outputs(tmp_path: Path) -> None:
    pytest.importorskip("statsmodels")
    plan = evaluate_city.write(tmp_path, "displacement = { distance = 150 }\n[series]\n")
    result = invoke(plan, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for said in (
        "Small city: burglaries", "all actions", "board-ups", "displacement control", "compatible with", "Placebo",
        "not thereby its", "In 12 periods from 2018-01-01 on", "evaluation.html",
    ):  # fmt: skip
        assert said in result.stdout
    out = tmp_path / "out"
    names = {"evaluation.json", "evaluation.csv", "roles.csv", "evaluation.html", "areas.gpkg"}
    assert {p.name for p in out.iterdir()} == names
    table = pd.read_csv(out / "evaluation.csv")
    data = json.loads((out / "evaluation.json").read_text())
    assert table["wdd"].tolist() == pytest.approx([x["estimate"] for x in data["effects"]])
    assert table["local_high"].iloc[0] < 0  # 70 % fewer were planted
    assert pd.read_csv(out / "roles.csv").shape[0] == 12
    areas = gpd.read_file(out / "areas.gpkg", layer="areas")
    assert set(areas["role"]) == {"treated", "control", "displacement", "excluded (near a treated place)"}
    assert areas.crs == evaluate_city.CRS
    assert PlanLog.read(out / "areas.gpkg", layer="plan_log").records == PlanLog.read(tmp_path / "log.csv").records
    page = (out / "evaluation.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert page.count("<svg") == 6  # differences, three that grew, a map, a series
    for said in ("Read this before the figures", "Small city", "r1c1", "two streets", "whatever else changed"):
        assert said in page
    assert invoke(plan, "--out", out).exit_code == 2
    assert invoke(plan, "--out", out, "--overwrite", "--quiet").exit_code == 0
    (out / "mine.txt").write_text("mine")
    refused = invoke(plan, "--out", out, "--overwrite")
    assert refused.exit_code == 2
    assert (out / "mine.txt").read_text() == "mine"


def test_series_needs_one_start(tmp_path: Path) -> None:
    log = "place,action,start,end\nr1c1,a,2018-01-01,2018-12-31\nr4c4,a,2018-02-01,2018-12-31\n"
    plan = evaluate_city.write(tmp_path, "series = {}\n", log)
    found = assess(EvaluationSpec.from_toml(plan), data=tmp_path, folder=tmp_path)
    assert found.series is None
    assert "the log has 2 starts" in found.sentences()[-1]
    assert "the log has 2 starts" in found.to_html()


def test_events_without_date_or_place_are_dropped_and_counted(tmp_path: Path) -> None:
    plan = evaluate_city.write(tmp_path)
    e = gpd.read_file(tmp_path / "city.gpkg", layer="events")
    n = len(e)
    e.loc[0:2, "date"] = None
    e.loc[5, "geometry"] = None
    e["kind"] = ["burglary"] * (n - 10) + ["other"] * 10
    write = {"layer": "events", "mode": "a"}
    (tmp_path / "city.gpkg").unlink()
    evaluate_city.places().to_file(tmp_path / "city.gpkg", layer="places")
    e.to_file(tmp_path / "city.gpkg", **write)
    result = invoke(plan, "--json", "--set", 'events.filter={kind="burglary"}', "--set", "permutations=0")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["dropped"] == {"not matching the filter": 10, "no date": 3, "no geometry": 1}
    assert found["events"] == n - 14
    ends = ("--set", "events.start=2016-06-01", "--set", "events.end=2019-06-30", "--set", "permutations=0")
    shorter = json.loads(invoke(plan, "--json", *ends).stdout)
    assert shorter["coverage"] == ["2016-06-01", "2019-06-30"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permutations = 3\n", "permutations"),
        ("level = 2\n", "level: found 2"),
        ("colour = 1\n", "colour: unknown key"),
        ('controls = { match = ["homes"] }\n', "controls.match needs"),
        ("windows = { before = 0 }\n", "windows.before"),
        ("displacement = { distance = -1 }\n", "displacement.distance: found -1"),
        ('factors = ["bars"]\n', "no factor 'vacant'"),
        ('controls = { places = ["r9"] }\n', "controls: no place 'r9'"),
    ],
)
def test_refused_with_one_message(tmp_path: Path, text: str, said: str) -> None:
    plan = evaluate_city.write(tmp_path, text if not text.startswith("permutations") else "")
    extra = ["--set", text.strip().replace(" ", "")] if text.startswith("permutations") else []
    result = invoke(plan, *extra)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_more_refusals(tmp_path: Path) -> None:
    plan = evaluate_city.write(tmp_path)
    assert "does not exist" in invoke(plan, "--set", "log.path=none.csv").stderr
    assert "no such study file" in invoke(tmp_path / "none.toml").stderr
    with pytest.raises(StudyError, match="events names no file"):
        EvaluationSpec.from_dict({"name": "a", "events": {"date_field": "d"}, "places": {}, "log": {"path": "l"}})
    with pytest.raises(StudyError, match="events need date_field"):
        EvaluationSpec.from_dict({"name": "a", "path": "f", "events": {}, "places": {}, "log": {"path": "l"}})
    found = assess(EvaluationSpec.from_toml(plan, overrides={"permutations": 0}), data=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_assessment(found, tmp_path / "file" / "out")
    assert EvaluationSpec.from_dict(EvaluationSpec.from_toml(plan).to_dict()) == EvaluationSpec.from_toml(plan)
    schema = json.loads(CliRunner().invoke(app, ["evaluate-schema"]).stdout)
    assert "windows" in schema["properties"]
