"""Bad input, as a user meets it: exit code 2, one clear message, no traceback, no output."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from typer.testing import CliRunner

import small_city
from conftest import CRS, ORIGIN
from rtmdx.cli import app

Change = Callable[[dict[str, Any], Path], None]
X, Y = ORIGIN


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return folder


def run(folder: Path, study: dict[str, Any] | str, *options: str, command: str = "run") -> Any:
    (folder / "study.toml").write_text(study if isinstance(study, str) else small_city.toml(study))
    out = ["--out", str(folder / "out")] if command == "run" else []
    return CliRunner().invoke(app, [command, str(folder / "study.toml"), *out, *options])


def refused(result: Any, folder: Path, *parts: str) -> None:
    """Exit code 2, the message's parts on stderr, nothing like a traceback, nothing left behind."""
    message = " ".join(result.stderr.split())
    assert result.exit_code == 2, message + result.stdout
    for part in parts:
        assert part in message
    assert "Traceback" not in result.output
    assert message.count("error:") == 1
    assert not (folder / "out").exists()
    assert not [p for p in folder.iterdir() if ".partial" in p.name]


def layer(folder: Path, name: str, geometry: list[Any], crs: str | None = CRS, **columns: Any) -> None:
    gpd.GeoDataFrame(columns, geometry=geometry, crs=crs).to_file(folder / f"{name}.gpkg")


def outcome(**changes: Any) -> dict[str, Any]:
    return {**small_city.study()["outcome"], **changes}


def factor(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "bars", **changes}]


def inside(n: int, seed: int = 1) -> list[Any]:
    return list(shapely.points(np.random.default_rng(seed).uniform(100, 2900, (n, 2)) + ORIGIN))


CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "missing file": ({"path": "nowhere.gpkg"}, ("nowhere.gpkg does not exist", "6 problems")),
    "missing layer": ({"factors": factor(layer="pubs")}, ("factor 'bars'", "no layer 'pubs'", "boundary")),
    "wrong filter field": ({"factors": factor(filter={"type": "a"})}, ("no field 'type'", "the fields are kind")),
    "wrong filter value": ({"factors": factor(filter={"kind": 3})}, ("filter kind = 3", "holds text")),
    "filter that keeps nothing": (
        {"factors": factor(filter={"kind": "z"})},
        ("no feature is left of 60 read (60 not matching the filter)",),
    ),
    "wrong date field": ({"outcome": outcome(date_field="day")}, ("no field 'day'", "the fields are date")),
    "window without events": (
        {"outcome": outcome(start="1999-01-01", end="1999-12-31"), "holdout": {"start": "2022-01-01"}},
        ("no event is left", "outside the time window"),
    ),
    "SQL that fails": ({"factors": factor(where="no sql")}, ("cannot be read with where = 'no sql'",)),
    "unknown key": ({"grids": 5}, ("grids: unknown key",)),
    "unknown key of a factor": ({"factors": factor(effekt="protective")}, ("factors.1.effekt: unknown key",)),
    "missing table": ({"grid": {}}, ("grid.block_length: required, but missing",)),
    "negative length": ({"grid": {"block_length": -100}}, ("grid.block_length: found -100", "equal to 0.001")),
    "text for a number": ({"grid": {"block_length": "wide"}}, ("grid.block_length: found 'wide'",)),
    "duplicate factor names": ({"factors": factor() * 2}, ("two factors are named 'bars'",)),
    "no factor": ({"factors": []}, ("factors:",)),
    "cell larger than the area": (
        {"grid": {"block_length": 100, "cell_size": 9000}},
        ("smaller than one cell of 9000 x 9000",),
    ),
    "cell too small for memory": (
        {"grid": {"block_length": 100, "cell_size": 0.02}},
        ("GB; the limit is", "Use larger cells"),
    ),
    "a length of no use": ({"grid": {"block_length": 1e300}}, ("grid.block_length: found 1e+300",)),
    "no family": ({"model": {"families": []}}, ("model.families",)),
    "no share": ({"report": {"top_shares": []}}, ("report.top_shares",)),
    "a factor named outcome": ({"factors": [{"name": "outcome"}]}, ("which names another layer",)),
    "unknown time zone": ({"factors": factor(time_zone="Mars/Base")}, ("'Mars/Base' is no time zone",)),
    "more folds than blocks": (
        {"model": {"folds": "spatial", "fold_blocks": 30, "n_folds": 5}},
        ("folds",),
    ),
    "unknown crs": ({"factors": factor(crs="EPSG:abc")}, ("crs 'EPSG:abc' is not known",)),
    "contradicting crs": (
        {"factors": factor(crs="EPSG:2276")},
        ("the file says EPSG:26915", "the study says EPSG:2276"),
    ),
    "area of points": ({"area": {"layer": "bars"}}, ("must be polygons, found Point",)),
    "events of polygons": ({"outcome": {"layer": "parks"}, "holdout": {}}, ("events must be points, found Polygon",)),
    "fewer events than folds": (
        {"model": {"n_folds": 50}, "outcome": outcome(start="2022-01-01", end="2022-01-02")},
        ("50-fold cross-validation needs events in at least 50 cells",),
    ),
    "hold-out without events": ({"holdout": {"start": "2031-01-01"}}, ("no event is left",)),
    "no cell centre inside": (
        {"grid": {"block_length": 100, "cell_size": 1000, "cells": "center"}, "area": {"path": "thin.gpkg"}},
        ("has its centre inside",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_study_and_layers(city: Path, tmp_path: Path, case: str) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    frame = shapely.box(X, Y, X + 8000, Y + 8000).difference(shapely.box(X + 400, Y + 400, X + 7600, Y + 7600))
    layer(tmp_path, "thin", [frame])
    changes, parts = CASES[case]
    refused(run(tmp_path, small_city.study(**changes)), tmp_path, *parts)


def bad_layer(name: str, make: Callable[[Path], Any], **source: Any) -> Any:
    return pytest.param(make, source, id=name)


@pytest.mark.parametrize(
    ("make", "source"),
    [
        bad_layer("an empty layer", lambda p: layer(p, "bad", [])),
        bad_layer("only empty geometries", lambda p: layer(p, "bad", [None, shapely.Point()])),
        bad_layer("an unreadable file", lambda p: (p / "bad.gpkg").write_bytes(b"no map"), path="bad.gpkg"),
        bad_layer(
            "a CSV without CRS", lambda p: (p / "bad.csv").write_text("x,y\n1,2\n"), path="bad.csv", x="x", y="y"
        ),
        bad_layer(
            "NaN and infinite coordinates",
            lambda p: (p / "bad.csv").write_text("x,y\nnan,2\n,\ninf,5\n"),
            path="bad.csv",
            x="x",
            y="y",
            crs=CRS,
        ),
        bad_layer(
            "text for a coordinate",
            lambda p: (p / "bad.csv").write_text("x,y\n1,two\n"),
            path="bad.csv",
            x="x",
            y="y",
            crs=CRS,
        ),
    ],
)
@pytest.mark.parametrize("role", ["outcome", "factor"])
def test_layers_that_cannot_serve(
    city: Path, tmp_path: Path, role: str, make: Callable[[Path], Any], source: dict[str, Any]
) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    make(tmp_path)
    source = {"path": "bad.gpkg", **source}
    change: dict[str, Any] = {"factors": [{"name": "bad", **source}]} if role == "factor" else {"outcome": source}
    data = small_city.study(**change)
    if role == "outcome":
        del data["holdout"]
    refused(run(tmp_path, data), tmp_path, "bad")


def test_no_crs(city: Path, tmp_path: Path) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    gpd.GeoDataFrame(geometry=inside(5), crs=CRS).to_file(tmp_path / "bars.shp")
    (tmp_path / "bars.prj").unlink()
    result = run(tmp_path, small_city.study(factors=factor(path="bars.shp")))
    refused(result, tmp_path, "bars.shp", "has no coordinate reference system", 'crs = "EPSG:...')


def test_geographic_area(tmp_path: Path) -> None:
    layers = {k: v.to_crs("EPSG:4326") for k, v in small_city.frames().items()}
    small_city.write(tmp_path, layers)
    refused(run(tmp_path, small_city.study()), tmp_path, "EPSG:4326 is geographic", "EPSG:32615 (UTM zone 15)")


def test_all_events_outside(city: Path, tmp_path: Path) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    layer(tmp_path, "far", [shapely.Point(X + 9e5, Y), shapely.Point(0, 0)])
    data = small_city.study(outcome={"path": "far.gpkg"})
    del data["holdout"]
    refused(run(tmp_path, data), tmp_path, "no event is left of 2 read (2 outside the study area)")


@pytest.mark.parametrize("n", [1, 4])
def test_one_or_a_few_events(city: Path, tmp_path: Path, n: int) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    layer(tmp_path, "few", inside(n))
    data = small_city.study(outcome={"path": "few.gpkg", "name": "rare"})
    del data["holdout"]
    plural = "s" if n > 1 else ""
    refused(run(tmp_path, data), tmp_path, f"outcome 'rare': {n} event{plural} in {n} cell{plural}; 5-fold")


def test_dates_that_do_not_parse(city: Path, tmp_path: Path) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    layer(tmp_path, "dated", inside(30), date=["2022-02-01"] * 20 + ["the 3rd of May"] * 10)
    data = small_city.study(outcome=outcome(path="dated.gpkg", layer="dated"))
    del data["holdout"]
    refused(run(tmp_path, data), tmp_path, "10 values of 'date' are no date", "row 21", "'the 3rd of May'")


@pytest.mark.parametrize(
    ("text", "part"),
    [("name = ", "not valid TOML"), ("[area\n", "not valid TOML"), ("", "name: required, but missing")],
)
def test_broken_study_files(tmp_path: Path, text: str, part: str) -> None:
    refused(run(tmp_path, text), tmp_path, part)


def test_missing_study_and_data_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["run", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")])
    refused(result, tmp_path, "no such study file")
    refused(run(tmp_path, small_city.study(), "--data", str(tmp_path / "none")), tmp_path, "data folder")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--memory-limit", "1MB"], "the limit is 0.0 GB"),
        (["--memory-limit", "much"], "memory limit: found 'much', expected for example 2GB"),
        (["--set", "grid.cell_sise=5"], "grid.cell_sise: unknown key"),
        (["--set", "nonsense"], "expected FIELD=VALUE"),
    ],
)
def test_bad_options(city: Path, tmp_path: Path, options: list[str], part: str) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    refused(run(tmp_path, small_city.study(), *options), tmp_path, part)


def test_usage_errors_exit_2_too() -> None:
    for arguments in (["run"], ["run", "x", "--out", "y", "--threads", "0"], ["demo"], ["nothing"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_output_folder_that_exists(city: Path, tmp_path: Path) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    for options, part in (
        ([], "exists already"),
        (["--overwrite"], "holds more than an earlier result (precious.txt)"),
    ):
        result = run(tmp_path, small_city.study(), *options)
        assert result.exit_code == 2
        assert part in " ".join(result.stderr.split())
    assert [p.name for p in out.iterdir()] == ["precious.txt"]


def test_output_folder_that_cannot_be_made(city: Path, tmp_path: Path) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "study.toml").write_text(small_city.toml(small_city.study()))
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        result = CliRunner().invoke(app, ["run", str(tmp_path / "study.toml"), "--out", str(out)])
        assert result.exit_code == 2
        assert "output folder" in result.stderr
    if os.geteuid() == 0:
        readonly = Path("/proc/rtmdx-out")  # no one may write here, root neither
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        readonly = tmp_path / "locked" / "out"
    result = CliRunner().invoke(app, ["run", str(tmp_path / "study.toml"), "--out", str(readonly)])
    assert result.exit_code == 2
    assert "its folder cannot be written" in " ".join(result.stderr.split())


def test_check_reports_every_problem_at_once(city: Path, tmp_path: Path) -> None:
    shutil.copy(city / "city.gpkg", tmp_path)
    data = small_city.study(
        outcome=outcome(date_field="day"),
        factors=[{"name": "bars", "filter": {"no": 1}}, {"name": "pubs"}, {"name": "roads"}],
    )
    result = run(tmp_path, data, command="check")
    refused(result, tmp_path, "4 problems", "no field 'day'", "no field 'no'", "no layer 'pubs'")
    answer = json.loads(run(tmp_path, data, "--json", command="check").stdout)
    assert answer["status"] == "error"
    assert len(answer["error"]["problems"]) == 4


def test_inspect_needs_a_finished_run(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    for path, part in ((tmp_path / "no", "no such folder"), (tmp_path, "cannot be read")):
        result = CliRunner().invoke(app, ["inspect", str(path)])
        assert result.exit_code == 2
        assert part in result.stderr
