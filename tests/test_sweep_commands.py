"""The commands that read a store: inspect, verify and its repair, export; on folders and on S3."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import rtmdx
from rtmdx.cli import app
from rtmdx.errors import OutputError, StoreError
from rtmdx.sweep.store import SweepStore
from rtmdx.sweep.terrain import export_scenario
from sweep_stores import everything, fill, manifest_of, raster_of, result_of


def run_cli(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(args), catch_exceptions=False)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    fill(str(tmp_path / "s"), manifest_of(5))
    return tmp_path / "s"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_inspect_tells_of_a_bucket(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/{tmp_path.name}"
    fill(url, manifest_of(5), [0, 1, 4])
    with SweepStore.open(url, "a") as opened:
        opened.fail(2, ValueError("no events"), "fit")
    told = run_cli("inspect", url)
    assert told.exit_code == 0, told.stderr
    assert "Test sweep: 5 scenarios; " in told.stdout
    assert "failed 2 (seed=2), fit: no events" in told.stdout
    found = json.loads(run_cli("inspect", url, "--json").stdout)
    assert found["states"] == {"failed": 1, "pending": 1, "succeeded": 3}
    missing = run_cli("inspect", f"{bucket}/nothing-here")
    assert missing.exit_code == 2
    assert "holds no sweep" in missing.stderr


def test_repair_forgets_what_is_damaged_and_no_more(store: Path) -> None:
    before = everything(SweepStore.open(str(store)).objects)
    assert run_cli("sweep", "verify", str(store)).exit_code == 0
    flip(store / "grid0" / "score" / "c.1.0.0")
    (store / "grid0" / "expected" / "c.3.0.0").unlink()
    flip(next((store / "state" / "records").glob("4-*")))
    found = run_cli("sweep", "verify", str(store), "--json")
    assert found.exit_code == 2
    told = json.loads(found.stdout)
    assert (told["status"], told["damaged"], told["repaired"]) == ("damaged", [1, 3, 4], False)
    assert len(told["problems"]) == 3
    with SweepStore.open(str(store)) as opened:
        assert opened.pending() == []  # nothing is forgotten unasked
    repaired = run_cli("sweep", "verify", str(store), "--repair")
    assert repaired.exit_code == 2
    assert "3 scenarios are pending again" in repaired.stderr
    with SweepStore.open(str(store), "a") as opened:
        assert opened.pending() == [1, 3, 4]
        for index in opened.pending():
            opened.write(index, result_of(opened.manifest, index))
        assert opened.verify() == []
    assert everything(SweepStore.open(str(store)).objects) == before
    assert run_cli("sweep", "verify", str(store), "--repair").exit_code == 0


def test_a_damaged_record_is_a_row_of_the_table(store: Path) -> None:
    flip(next((store / "state" / "records").glob("2-*")))
    (store / "state" / "summary.json").unlink()
    results = rtmdx.open_sweep(store)
    table = results.scenarios
    assert table["state"].tolist() == ["succeeded", "succeeded", "damaged", "succeeded", "succeeded"]
    assert "the record of scenario 2 is damaged" in table.loc[2, "error"]
    assert table["bic"].dropna().to_dict() == {i: float(i) for i in (0, 1, 3, 4)}
    with pytest.raises(StoreError, match="the record of scenario 2 is damaged"):
        results.terrain(2)


@pytest.mark.parametrize("by", ["place", "id"])
def test_export_opens_in_other_programs(store: Path, tmp_path: Path, by: str) -> None:
    rasterio = pytest.importorskip("rasterio")
    manifest, out = manifest_of(5), tmp_path / "out"
    name = "3" if by == "place" else manifest.scenarios[3].id
    done = run_cli("sweep", "export", str(store), name, "--out", str(out), "--json")
    assert done.exit_code == 0, done.stderr
    files = [Path(f).name for f in json.loads(done.stdout)["files"]]
    assert files == ["score.tif", "expected.tif", "scenario.gpkg"]
    assert sorted(p.name for p in out.iterdir()) == sorted(files)
    with rasterio.open(out / "expected.tif") as tif:
        np.testing.assert_array_equal(tif.read(1), raster_of(manifest, 3, "expected"))
    assert len(gpd.read_file(out / "scenario.gpkg", layer="cells")) == len(result_of(manifest, 3).score)


def test_export_replaces_only_its_own(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    out = tmp_path / "out"
    terrain = rtmdx.open_sweep(store).terrain(0)
    export_scenario(terrain, out)
    with pytest.raises(OutputError, match="exists"):
        export_scenario(terrain, out)
    again = run_cli("sweep", "export", str(store), "1", "--out", str(out), "--overwrite")
    assert again.exit_code == 0, again.stderr
    assert again.stdout.splitlines() == [str(out / n) for n in ("score.tif", "expected.tif", "scenario.gpkg")]
    (out / "notes.txt").write_text("mine")
    refused = run_cli("sweep", "export", str(store), "1", "--out", str(out), "--overwrite")
    assert refused.exit_code == 2
    assert "notes.txt" in refused.stderr
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("scenario", "message"), [("99", "the sweep has no 99"), ("deadbeef", "the sweep has no 'deadbeef'")]
)
def test_export_of_no_scenario(store: Path, tmp_path: Path, scenario: str, message: str) -> None:
    done = run_cli("sweep", "export", str(store), scenario, "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
