"""Sweeps whole: from a file or Python to a store, continued after anything, and what is refused."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

import rtmdx
import small_city
from conftest import heed_interrupts
from rtmdx.cli import app
from rtmdx.errors import Cancelled, FileError, InputError, MemoryLimitError, StoreError, SweepError
from rtmdx.sweep.driver import Tally
from rtmdx.sweep.store import SweepStore
from sweep_doubles import same_store

BASE = rtmdx.Study.from_dict(small_city.study())
AXES: dict[str, Any] = {"grid.cell_size": [75, 100], "seeds": 2, "factors": [["bars", "parks"], ["bars", "roads"]]}
TOML = """
schema_version = 1
study = "study.toml"
[[axes]]
field = "grid.cell_size"
values = [75, 100]
[[axes]]
seeds = 2
[[axes]]
[axes.subsets]
"bars+parks" = ["bars", "parks"]
"bars+roads" = ["bars", "roads"]
"""


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    (folder / "study.toml").write_text(small_city.toml(small_city.study()))
    (folder / "sweep.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def undisturbed(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    rtmdx.sweep(BASE, axes=AXES, store=store, data=city, executor="serial")
    return store


@pytest.mark.parametrize(
    ("executor", "workers"),
    [("threads", 1), ("threads", 2), *(pytest.param("ray", n, marks=pytest.mark.ray) for n in (1, 2))],
)
def test_every_executor_leaves_the_same_store(
    executor: str, workers: int, city: Path, tmp_path: Path, undisturbed: Path, request: pytest.FixtureRequest
) -> None:
    if executor == "ray":
        request.getfixturevalue("cluster")
    told: list[Tally] = []
    stages: list[tuple[str, int, int]] = []
    rtmdx.sweep(
        BASE, axes=AXES, store=tmp_path / "s", data=city, executor=executor, workers=workers, watch=told.append,
        progress=lambda *a: stages.append(a),
    )  # fmt: skip
    same_store(tmp_path / "s", undisturbed)
    last = told[-1]
    assert (last.total, last.done, last.failed, last.ran, last.retried) == (8, 8, 0, 8, 0)
    assert last.surfaces.hit_rate > 0.5
    assert stages[-1] == ("scenarios", 8, 8)
    with SweepStore.open(str(tmp_path / "s")) as store:
        assert store.pending() == []
        assert store.verify() == []


@pytest.fixture(scope="module")
def separate(city: Path) -> list[rtmdx.RiskTerrain]:
    """Each scenario run by itself."""
    return [rtmdx.run(s.study, data=city) for s in rtmdx.plan_sweep(BASE, axes=AXES, data=city).expansion]


def test_scores_in_the_store_are_those_of_separate_runs(separate: list[rtmdx.RiskTerrain], undisturbed: Path) -> None:
    results = rtmdx.open_sweep(undisturbed)
    for index, terrain in enumerate(separate):
        kept = results.terrain(index)
        np.testing.assert_array_equal(kept.score.values, terrain.score.values.astype("float32"))
        np.testing.assert_array_equal(kept.expected.values, terrain.expected.values.astype("float32"))
        assert kept.summary["bic"] == terrain.model.bic


def test_robust_factors_are_those_of_separate_runs(separate: list[rtmdx.RiskTerrain], undisturbed: Path) -> None:
    found = rtmdx.open_sweep(undisturbed).robust_factors().set_index("factor")
    assert sorted(found.index) == ["bars", "parks", "roads"]
    for name, row in found.iterrows():
        tried = [t for t in separate if name in [f.name for f in t.factors]]
        rrv = [v for t in tried for f, v in zip(t.table["factor"], t.table["rrv"], strict=True) if f == name]
        assert (row["tried"], row["selected"]) == (len(tried), len(rrv))
        assert row["share"] == len(rrv) / len(tried)
        if rrv:
            assert (row["rrv_low"], row["rrv_high"]) == (min(rrv), max(rrv))
            assert row["rrv_median"] == pytest.approx(statistics.median(rrv))
        else:
            assert np.isnan(row["rrv_median"])
    assert found["share"].is_monotonic_decreasing
    assert found.loc["bars", "share"] == 1.0  # the events were made near bars


def test_two_scenarios_side_by_side_are_two_separate_runs(separate: list[rtmdx.RiskTerrain], undisturbed: Path) -> None:
    frame = rtmdx.open_sweep(undisturbed).compare(0, 7).set_index("variable")
    one, two = (t.table.set_index("variable")["rrv"].to_dict() for t in (separate[0], separate[7]))
    assert set(frame.index) == {*one, *two}
    for name, row in frame.iterrows():
        for side, model in (("rrv_a", one), ("rrv_b", two)):
            assert row[side] == model[name] if name in model else np.isnan(row[side])


def test_a_plan_knows_what_is_done(city: Path, undisturbed: Path) -> None:
    plan = rtmdx.plan_sweep(BASE, axes=AXES, data=city, store=undisturbed)
    assert (plan.n_runs, plan.done) == (8, 8)
    assert plan.seconds_on(2) == 0


def test_a_cancelled_sweep_goes_on_where_it_was(city: Path, tmp_path: Path, undisturbed: Path) -> None:
    done: list[Tally] = []
    with pytest.raises(Cancelled):
        rtmdx.sweep(
            BASE, axes=AXES, store=tmp_path / "s", data=city, executor="serial", watch=done.append,
            cancel=lambda: bool(done) and done[-1].ran >= 3,
        )  # fmt: skip
    with SweepStore.open(str(tmp_path / "s")) as store:
        left = store.pending()
    assert len(left) == 5
    again: list[Tally] = []
    rtmdx.resume(tmp_path / "s", watch=again.append)  # data: where it was
    assert again[-1].ran == 5
    same_store(tmp_path / "s", undisturbed)
    rtmdx.resume(tmp_path / "s", watch=again.append)
    assert again[-1].ran == 0


def test_a_driver_killed_at_any_moment_loses_nothing_complete(city: Path, tmp_path: Path, undisturbed: Path) -> None:
    store = tmp_path / "s"
    command = [sys.executable, "-m", "rtmdx", "sweep", "run", str(city / "sweep.toml"), "--store", str(store), "-q"]
    command[1:3] = ["-c", "from rtmdx.cli import main; main()"]
    finished: set[int] = set()
    for wanted in (1, 5):
        child = subprocess.Popen(command, preexec_fn=heed_interrupts)
        limit = time.monotonic() + 60
        while time.monotonic() < limit and child.poll() is None and len(_complete(store)) < wanted:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        now = _complete(store)
        assert finished <= now
        finished = now
    told: list[Tally] = []
    rtmdx.resume(store, watch=told.append)
    assert told[-1].ran == 8 - len(finished)
    same_store(store, undisturbed)


def _complete(store: Path) -> set[int]:
    try:
        with SweepStore.open(str(store)) as opened:
            return set(range(8)) - set(opened.pending(retry_failed=True))
    except (StoreError, OSError):
        return set()


def test_a_scenario_that_raises_is_recorded_and_retried_on_demand(city: Path, tmp_path: Path) -> None:
    axes = {"outcome.layer": ["events", "nothing"]}
    told: list[Tally] = []
    results = rtmdx.sweep(BASE, axes=axes, store=tmp_path / "s", data=city, watch=told.append)
    assert (told[-1].done, told[-1].failed) == (1, 1)
    assert len(results.scenarios) == 2
    rtmdx.sweep(BASE, axes=axes, store=tmp_path / "s", data=city, watch=told.append)
    assert told[-1].ran == 0
    rtmdx.sweep(BASE, axes=axes, store=tmp_path / "s", data=city, watch=told.append, retry_failed=True)
    assert (told[-1].ran, told[-1].failed) == (1, 1)


def test_what_a_store_refuses(city: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    axes = {"seed": [1, 2]}
    rtmdx.sweep(BASE, axes=axes, store=store, data=city)
    with pytest.raises(StoreError, match=r"holds another sweep, 'Small city' of 2 scenarios"):
        rtmdx.sweep(BASE, axes={"seed": [1, 3]}, store=store, data=city)
    bars = {"bars": small_city.frames()["bars"]}
    with pytest.raises(StoreError, match=r"holds this sweep of other inputs; changed since: .*layer bars"):
        rtmdx.sweep(BASE, axes=axes, store=store, data=city, layers=bars)
    rtmdx.sweep(BASE, axes={"seed": [1, 3]}, store=store, data=city, overwrite=True)
    with pytest.raises(StoreError):
        rtmdx.resume(tmp_path / "nothing")
    with pytest.raises(FileError, match="data folder"):
        rtmdx.sweep(BASE, axes=axes, store=tmp_path / "t", data=tmp_path / "nowhere")


def test_another_build_is_refused_unless_allowed(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rtmdx.sweep import driver

    rtmdx.sweep(BASE, axes={"seed": [1]}, store=tmp_path / "s", data=city)
    now = driver.versions_now()
    monkeypatch.setattr(driver, "versions_now", lambda: {**now, "numpy": "99"})
    with pytest.raises(StoreError, match=r"another version or build \(numpy .* then, 99 now\)"):
        rtmdx.resume(tmp_path / "s")
    rtmdx.resume(tmp_path / "s", other_build=True)


def test_arguments_of_a_sweep(city: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="study: found dict"):
        rtmdx.sweep(small_city.study(), axes={"seed": [1]}, store=tmp_path / "s")
    spec = rtmdx.SweepSpec.build(BASE, axes={"seed": [1]})
    with pytest.raises(SweepError, match="has its own axes"):
        rtmdx.sweep(spec, axes={"seed": [1]}, store=tmp_path / "s", data=city)
    with pytest.raises(MemoryLimitError, match="the limit is"):
        rtmdx.sweep(spec, store=tmp_path / "s", data=city, memory_limit=1e6)
    with pytest.raises(SweepError, match="study area"):
        rtmdx.sweep(rtmdx.SweepSpec.build(BASE, axes={"area.layer": ["nothing"]}), store=tmp_path / "u", data=city)


def run_cli(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(args), catch_exceptions=False)


def test_the_command_line(city: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "s")
    plan = run_cli("sweep", "plan", str(city / "sweep.toml"))
    assert plan.exit_code == 0, plan.stderr
    assert "Small city: 8 scenarios (2 cell_size x 2 seed x 2 factors), 0 done" in plan.stdout
    run = run_cli("sweep", "run", str(city / "sweep.toml"), "--store", store, "--workers", "2")
    assert run.exit_code == 0, run.stderr
    assert "8 of 8 scenarios done" in run.stdout
    assert "Scenarios: 8 of 8" in run.stderr
    again = run_cli("sweep", "resume", store, "--json")
    assert json.loads(again.stdout)["done"] == 8
    planned = run_cli("sweep", "plan", str(city / "sweep.toml"), "--store", store, "--json")
    assert json.loads(planned.stdout)["done"] == 8
    verify = run_cli("sweep", "verify", store)
    assert verify.exit_code == 0, verify.stdout + verify.stderr
    shown = run_cli("inspect", store)
    assert shown.exit_code == 0, shown.stderr
    assert "8" in shown.stdout


@pytest.mark.parametrize("executor", ["serial", "threads", pytest.param("ray", marks=pytest.mark.ray)])
def test_ctrl_c_ends_a_sweep_that_can_go_on(executor: str, city: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    (city / "long.toml").write_text('schema_version = 1\nstudy = "study.toml"\n[[axes]]\nseeds = 300\n')
    command = [sys.executable, "-c", "from rtmdx.cli import main; main()", "sweep", "run", str(city / "long.toml")]
    command += ["--store", str(store), "--executor", executor, "--workers", "1"]
    child = subprocess.Popen(command, preexec_fn=heed_interrupts, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and not list(store.glob("state/records/[0-9]*")):
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "interrupted." in said
    assert "Traceback" not in said
    with SweepStore.open(str(store), mode="a") as opened:  # its lock is given back
        assert 0 < len(opened.pending()) < 300
        assert opened.verify() == []
        assert "running" not in opened.states().values()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "grid.cel_size=1"], "grid.cel_size: unknown key"),
        (["--executor", "dask"], "expected one of serial, threads, ray"),
        (["--executor", "ray", "--address", "127.0.0.1:1"], "Ray address 127.0.0.1:1: nobody answers"),
        (["--executor", "threads", "--address", "127.0.0.1:1"], "is a Ray cluster's"),
    ],
)
def test_the_command_line_refuses_in_one_message(args: list[str], message: str, city: Path, tmp_path: Path) -> None:
    done = run_cli("sweep", "run", str(city / "sweep.toml"), "--store", str(tmp_path / "s"), *args)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
