"""The command line on a small city: every command, what it prints, what it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import small_city
from conftest import heed_interrupts
from rtmdx.cli import app
from rtmdx.errors import OutputError
from rtmdx.runs import outputs
from rtmdx.runs.study import Study

rasterio = pytest.importorskip("rasterio")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with city.gpkg, study.toml and the output of one run, "out"."""
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    (folder / "study.toml").write_text(small_city.toml(small_city.study()))
    result = invoke("run", str(folder / "study.toml"), "--out", str(folder / "out"))
    assert result.exit_code == 0, result.output
    (folder / "stdout.txt").write_text(result.stdout)
    (folder / "stderr.txt").write_text(result.stderr)
    return folder


def test_run_leaves_every_output(city: Path) -> None:
    names = {p.name for p in (city / "out").iterdir()}
    rasters = {"terrain.zarr", "score.tif", "expected.tif", "posterior.tif"}
    assert names == rasters | {"terrain.gpkg", "tables", "report.html", "run.json"}
    assert not [p for p in city.iterdir() if p.name.startswith(".")]


def test_results_on_stdout_progress_on_stderr(city: Path) -> None:
    out, err = (city / "stdout.txt").read_text(), (city / "stderr.txt").read_text()
    assert "Bars" in out
    assert "Held out in time" in out
    for stage in (
        "Reading layers",
        "Distance and density",
        "Culling variables",
        "Selecting the model",
        "Writing outputs",
    ):
        assert err.count(f"{stage}: ") == 1
        assert stage not in out


def test_the_outputs_agree_with_each_other(city: Path) -> None:
    store = xr.open_zarr(city / "out" / "terrain.zarr")
    for name in ("score", "expected", "posterior"):
        raster = store[name]
        with rasterio.open(city / "out" / f"{name}.tif") as tif:
            assert tif.crs.to_epsg() == 26915
            assert tif.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
            where = [(float(x), float(y)) for x in raster.x[::7] for y in raster.y[::5]]
            sampled = np.array([v[0] for v in tif.sample(where)])
            inside = raster.sel(x=xr.DataArray([x for x, _ in where]), y=xr.DataArray([y for _, y in where]))
            np.testing.assert_array_equal(sampled, inside.to_numpy())
    cells = gpd.read_file(city / "out" / "terrain.gpkg", layer="cells")
    assert cells.crs.to_epsg() == 26915
    centre = cells.geometry.centroid
    at = store["score"].sel(x=xr.DataArray(centre.x), y=xr.DataArray(centre.y), method="nearest", tolerance=1e-6)
    np.testing.assert_array_equal(at.to_numpy(), cells["score"].to_numpy())
    events = gpd.read_file(city / "city.gpkg", layer="events")
    assert cells["count"].sum() == (events["date"] < "2023").sum()


def test_provenance_is_in_every_output(city: Path) -> None:
    study_id = Study.from_toml(city / "study.toml").id
    out = city / "out"
    assert study_id in json.dumps(xr.open_zarr(out / "terrain.zarr").attrs)
    for name in ("score", "expected", "posterior"):
        with rasterio.open(out / f"{name}.tif") as tif:
            assert study_id in json.dumps(tif.tags())
    assert study_id in gpd.read_file(out / "terrain.gpkg", layer="provenance").to_json()
    assert study_id in (out / "report.html").read_text()
    assert json.loads((out / "run.json").read_text())["provenance"]["study_id"] == study_id


def test_report_opens_offline(city: Path) -> None:
    html = (city / "out" / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert "<script src" not in html


def test_json_is_all_there_is_on_stdout(city: Path, tmp_path: Path) -> None:
    result = invoke("run", str(city / "study.toml"), "--out", str(tmp_path / "out"), "--json")
    answer = json.loads(result.stdout)
    assert answer["status"] == "ok"
    assert answer["events"]["read"] == answer["events"]["counted"] + sum(answer["events"]["dropped"].values())
    assert sum(b["area_share"] for b in answer["bands"]) == pytest.approx(1)
    assert answer["expected_total"] == pytest.approx(answer["events"]["counted"], rel=1e-6)
    assert result.stderr == ""


def test_quiet_says_nothing(city: Path, tmp_path: Path) -> None:
    result = invoke("run", str(city / "study.toml"), "--out", str(tmp_path / "out"), "--quiet", "--threads", "1")
    assert (result.exit_code, result.output) == (0, "")
    one, two = (xr.open_zarr(p / "terrain.zarr")["score"].to_numpy() for p in (tmp_path / "out", city / "out"))
    assert one.tobytes() == two.tobytes()


def test_overwrite_replaces_an_earlier_result(city: Path, tmp_path: Path) -> None:
    arguments = ["run", str(city / "study.toml"), "--out", str(tmp_path / "out"), "--quiet"]
    assert invoke(*arguments).exit_code == 0
    before = json.loads((tmp_path / "out" / "run.json").read_text())["provenance"]["seed"]
    assert invoke(*arguments).exit_code == 2
    assert invoke(*arguments, "--overwrite", "--set", "seed=5").exit_code == 0
    after = json.loads((tmp_path / "out" / "run.json").read_text())["provenance"]["seed"]
    assert (before, after) == (0, 5)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_overwrite_never_removes_what_the_user_added_or_changed(city: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["run", str(city / "study.toml"), "--out", str(out), "--quiet", "--overwrite"]
    assert invoke(*arguments).exit_code == 0
    (out / "notes.txt").write_text("mine")
    refused = invoke(*arguments)
    assert refused.exit_code == 2
    assert "holds more than an earlier result (notes.txt)" in " ".join(refused.stderr.split())
    (out / "notes.txt").unlink()
    (out / "tables" / "model.csv").write_text("mine")
    later = (out / "run.json").stat().st_mtime + 60
    os.utime(out / "tables" / "model.csv", (later, later))
    refused = invoke(*arguments)
    assert refused.exit_code == 2
    assert "was changed since the run (tables/model.csv)" in " ".join(refused.stderr.split())
    assert (out / "tables" / "model.csv").read_text() == "mine"


def test_overwrite_through_a_link_keeps_the_link(city: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    arguments = ["run", str(city / "study.toml"), "--out", str(tmp_path / "link"), "--quiet", "--overwrite"]
    assert invoke(*arguments).exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "run.json").exists()


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_between_the_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text("old")
    rename, calls = Path.rename, []

    def interrupted(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == at:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), outputs.output_folder(out, overwrite=True) as staging:
        (staging / "run.json").write_text("new")
    assert (out / "run.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_pieces_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    left = tmp_path / f".out.partial-{socket.gethostname()}-{done.pid}-x"
    (left / "old").mkdir(parents=True)
    (left / "old" / "run.json").write_text("earlier")
    with pytest.raises(OutputError, match="exists already"), outputs.output_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "run.json").read_text() == "earlier"  # it had been moved away, and is back
    assert not left.exists()


def test_folders_made_for_a_failed_run_go_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), outputs.output_folder(tmp_path / "a" / "b" / "out"):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_dispersion_at_its_boundary_is_reported(tmp_path: Path) -> None:
    frames = small_city.frames()
    cells = small_city.BLOCK / 2
    xy = np.column_stack([frames["events"].geometry.x, frames["events"].geometry.y])
    _, first = np.unique(np.floor(xy / cells), axis=0, return_index=True)
    frames["events"] = frames["events"].iloc[np.sort(first)]  # one event per cell: less than Poisson varies
    small_city.write(tmp_path, frames)
    data = small_city.study(model={"families": ["nbii"], "n_penalties": 20})
    (tmp_path / "study.toml").write_text(small_city.toml(data))
    result = invoke("run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    model = json.loads(result.stdout)["model"]
    assert model["at_boundary"] is True
    assert model["log_dispersion"] is None


def test_inspect_refuses_what_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"status": "ok"}')
    result = invoke("inspect", str(tmp_path))
    assert result.exit_code == 2
    assert "is no result of this version" in result.stderr


def test_a_failed_write_leaves_the_earlier_result(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["run", str(city / "study.toml"), "--out", str(tmp_path / "out"), "--quiet", "--overwrite"]
    assert invoke(*arguments).exit_code == 0
    before = (tmp_path / "out" / "run.json").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs.export, "write_tables", full)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert (tmp_path / "out" / "run.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_run_leaves_no_result(city: Path, tmp_path: Path, sent: int, code: int) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rtmdx.cli", "run", str(city / "study.toml"), "--out", str(out)]
    command += ["--set", "grid.cell_size=5", "--set", "model.n_penalties=1000"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, preexec_fn=heed_interrupts, stderr=pipe, stdout=pipe, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Distance and density"):
                break
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert not out.exists()


def test_check_says_what_a_run_would_read(city: Path) -> None:
    result = invoke("check", str(city / "study.toml"))
    assert result.exit_code == 0
    for part in ("nothing wrong", "factor bars (points)", "outside the time window", "3,600 cells kept", "variables"):
        assert part in " ".join(result.stdout.split())
    answer = json.loads(invoke("check", str(city / "study.toml"), "--json").stdout)
    assert answer["estimate"]["memory_bytes"] > 0
    assert not (city / "out2").exists()


def test_inspect_shows_a_finished_run(city: Path) -> None:
    shown = invoke("inspect", str(city / "out")).stdout
    for part in ("Bars", "city.gpkg:bars", Study.from_toml(city / "study.toml").id, "seed 0"):
        assert part in shown
    assert json.loads(invoke("inspect", str(city / "out"), "--json").stdout)["title"] == "Small city"


def test_schema_is_the_study_s() -> None:
    assert json.loads(invoke("schema").stdout) == Study.model_json_schema()


def test_data_folder_from_option_and_environment(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tmp_path / "study.toml"
    study.write_text((city / "study.toml").read_text())
    assert invoke("check", str(study)).exit_code == 2
    assert invoke("check", str(study), "--data", str(city)).exit_code == 0
    monkeypatch.setenv("RTMDX_DATA", str(city))
    assert invoke("check", str(study)).exit_code == 0


def test_set_replaces_a_field(city: Path) -> None:
    answer = json.loads(invoke("check", str(city / "study.toml"), "--set", "grid.cell_size=100", "--json").stdout)
    assert answer["cells"] == 900


def test_demo_recovers_what_it_planted(tmp_path: Path) -> None:
    result = invoke("demo", "--out", str(tmp_path / "demo"), "--seed", "0", "--json")
    answer = json.loads(result.stdout)
    assert {p["verdict"] for p in answer["planted"]} == {"recovered", "left out"}
    again = invoke("run", str(tmp_path / "demo" / "city" / "study.toml"), "--out", str(tmp_path / "again"), "--quiet")
    assert again.exit_code == 0
    one, two = (xr.open_zarr(tmp_path / d / "terrain.zarr")["score"].to_numpy() for d in ("demo", "again"))
    assert one.tobytes() == two.tobytes()


def test_help_names_the_exit_codes() -> None:
    text = " ".join(invoke("--help").stdout.split())
    assert "Exit codes: 0 done" in text
    for command in ("demo", "run", "check", "schema", "inspect"):
        assert command in text


def test_start_up_is_light() -> None:
    code = (
        "import sys, rtmdx.cli; print(sorted({'pandas', 'geopandas', 'scipy', 'zarr', 'rasterio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ.copy()
    )
    assert done.stdout.strip() == "[]"


def test_check_looks_at_the_layers_of_a_file_with_mistakes(city: Path, tmp_path: Path) -> None:
    data = small_city.study(wrong=1)
    data["grid"] = {"block_length": 100, "cell_size": "wide"}
    data["factors"][0] |= {"effekt": "x", "filter": {"no": 1}}
    data["factors"].append({"name": "pubs"})
    (tmp_path / "study.toml").write_text(small_city.toml(data))
    answer = json.loads(invoke("check", str(tmp_path / "study.toml"), "--data", str(city), "--json").stdout)
    text = " ".join(p["message"] for p in answer["error"]["problems"])
    for part in (
        "wrong: unknown key",
        "cell_size: found 'wide'",
        "effekt: unknown key",
        "no field 'no'",
        "no layer 'pubs'",
    ):
        assert part in text
    assert len(answer["error"]["problems"]) == 5


def test_what_users_write_is_shown_as_written(city: Path, tmp_path: Path) -> None:
    name = "theft [/x] [bold]"
    out = tmp_path / "res[red]"
    result = invoke("run", str(city / "study.toml"), "--out", str(out), "--set", f'outcome.name="{name}"')
    assert result.exit_code == 0, result.output
    assert "res[red]" in "".join(result.stdout.split())
    assert out.exists()
    result = invoke("check", str(city / "study.toml"), "--set", f'outcome.name="{name}"')
    assert name in " ".join(result.stdout.split())


def test_quiet_swallows_the_libraries_warnings(city: Path, tmp_path: Path) -> None:
    frames = small_city.frames()
    rows = [f'"POINT M ({p.x} {p.y} 1)"' for p in frames["bars"].geometry]
    (tmp_path / "bars.csv").write_text("\n".join(["WKT", *rows]) + "\n")
    vrt = """<OGRVRTDataSource><OGRVRTLayer name="bars"><SrcDataSource relativeToVRT="1">bars.csv</SrcDataSource>
    <GeometryType>wkbPointM</GeometryType><LayerSRS>EPSG:26915</LayerSRS></OGRVRTLayer></OGRVRTDataSource>"""
    (tmp_path / "bars.vrt").write_text(vrt)
    change = f'factors.bars.path="{tmp_path / "bars.vrt"}"'
    loud = invoke("check", str(city / "study.toml"), "--set", change)
    assert "Measured (M) geometry" in " ".join(loud.stderr.split())
    quiet = invoke("check", str(city / "study.toml"), "--set", change, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


@pytest.mark.parametrize("limit", [2_000, 30_000, 200_000])
def test_a_disk_that_takes_no_more_is_one_clear_error(city: Path, tmp_path: Path, limit: int) -> None:
    resource = pytest.importorskip("resource")
    command = [sys.executable, "-m", "rtmdx.cli", "run", str(city / "study.toml"), "--out", str(tmp_path / "out"), "-q"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_said_before_the_run(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs.importlib.util, "find_spec", lambda _: None)
    result = invoke("run", str(city / "study.toml"), "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "need rasterio and jinja2" in result.stderr
    assert "rtmdx[raster,report]" in result.stderr
    assert "Reading layers" not in result.stderr


def test_check_does_not_call_missing_what_it_set_aside(city: Path, tmp_path: Path) -> None:
    data = small_city.study()
    data["grid"] = {"block_length": "400 ft"}
    (tmp_path / "study.toml").write_text(small_city.toml(data))
    answer = json.loads(invoke("check", str(tmp_path / "study.toml"), "--data", str(city), "--json").stdout)
    assert [p["message"] for p in answer["error"]["problems"]] == [
        "grid.block_length: found '400 ft'; input should be a valid number, unable to parse string as a number."
    ]
    data = small_city.study()
    data["factors"] = [{"name": "two words"}, {"name": "pubs"}, {"name": "bars"}]
    (tmp_path / "study.toml").write_text(small_city.toml(data))
    answer = json.loads(invoke("check", str(tmp_path / "study.toml"), "--data", str(city), "--json").stdout)
    text = " ".join(p["message"] for p in answer["error"]["problems"])
    assert "'two words'" in text
    assert "no layer 'pubs'" in text
    assert len(answer["error"]["problems"]) == 2
