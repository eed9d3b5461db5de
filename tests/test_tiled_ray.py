"""Tiles on Ray: the same bits, also when workers die; and who may work on tiles at all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import rtmdx
import small_city
from rtmdx.errors import Cancelled, InputError, SweepError
from rtmdx.sweep.tile_executors import make_tiles
from rtmdx.sweep.tiled import run_tiled

SPATIAL = {"n_penalties": 20, "folds": "spatial"}
WINDOWS = [(r, 0, 4, 4) for r in range(0, 40, 4)]


@dataclass(frozen=True)
class Doubles:
    """A tile's work: its row doubled; some workers die, or fail, or take long."""

    folder: str
    kill: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    fail: tuple[int, ...] = ()
    slow: bool = False

    def double(self, window: Any, more: int, stop: Any = None) -> int:
        row = window[0]
        mark = Path(self.folder) / f"tried-{row}"
        if row in self.always or (row in self.kill and not mark.exists()):
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        if row in self.fail:
            raise InputError(f"row {row} is no good.")
        while self.slow and not (stop is not None and stop()):
            time.sleep(0.02)
        return 2 * row + more


def study(cell: float) -> rtmdx.Study:
    return rtmdx.Study.from_dict(
        small_city.study(grid={"block_length": 100.0, "cell_size": cell}, model=SPATIAL, holdout=None)
    )


def bits(path: Path) -> str:
    """Digest of every file of a store."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    told = hashlib.sha256()
    for p in files:
        told.update(p.relative_to(path).as_posix().encode() + p.read_bytes())
    return told.hexdigest()


def without_time(path: Path) -> str:
    """The same, the time of the run left out."""
    for name in ("zarr.json",):
        meta = json.loads((path / name).read_text())
        meta["attributes"]["rtmdx"]["provenance"].pop("created")
        (path / name).write_text(json.dumps(meta, sort_keys=True))
    return bits(path)


@pytest.mark.ray
def test_ray_leaves_the_store_that_threads_leave(cluster: Any, tmp_path: Path) -> None:
    assert cluster.is_initialized()
    small_city.write(tmp_path)
    here = run_tiled(study(2.0), tmp_path / "here.zarr", data=tmp_path, tile=1024, workers=2)
    told: list[tuple[str, int, int]] = []
    there = run_tiled(
        study(2.0), tmp_path / "there.zarr", data=tmp_path, tile=1024, executor="ray", workers=2,
        progress=lambda *a: told.append(a),
    )  # fmt: skip
    assert there.n_tiles == 4
    assert here.to_dict() == there.to_dict()
    assert without_time(tmp_path / "here.zarr") == without_time(tmp_path / "there.zarr")
    assert {t for t in told if t[0] in ("thresholds", "codes", "scores")} >= {
        (stage, n, 4) for stage in ("thresholds", "codes", "scores") for n in (0, 4)
    }


@pytest.mark.ray
def test_a_tile_whose_worker_dies_is_done_again(cluster: Any, tmp_path: Path) -> None:
    assert cluster.is_initialized()
    with make_tiles("ray", workers=2) as tiles:
        tiles.give(Doubles(str(tmp_path), kill=(4, 20)), 1e6)  # type: ignore[arg-type]
        found = sorted(tiles.over(WINDOWS, "double", (3,), lambda: None))
    assert found == [(w, 2 * w[0] + 3) for w in WINDOWS]
    assert (tmp_path / "tried-4").exists()


@pytest.mark.ray
def test_what_fails_on_ray_is_told_as_it_was_raised(cluster: Any, tmp_path: Path) -> None:
    assert cluster.is_initialized()
    with make_tiles("ray", workers=2, retries=1) as tiles:
        tiles.give(Doubles(str(tmp_path), fail=(8,)), 1e6)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"row 8 is no good\."):
            list(tiles.over(WINDOWS, "double", (3,), lambda: None))
        tiles.give(Doubles(str(tmp_path), always=(8,)), 1e6)  # type: ignore[arg-type]
        with pytest.raises(SweepError, match=r"the worker of tile \(8, 0, 4, 4\) died 2 times"):
            list(tiles.over(WINDOWS, "double", (3,), lambda: None))
        with pytest.raises(SweepError, match=r"a tile asks for 900000\.0 GB, but no node has more than"):
            tiles.give(Doubles(str(tmp_path)), 9e14)  # type: ignore[arg-type]


@pytest.mark.parametrize("executor", ["threads", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_cancel_ends_slow_tiles(executor: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if executor == "ray":
        request.getfixturevalue("cluster")
    polls = 0

    def poll() -> None:
        nonlocal polls
        polls += 1
        if polls > 3:
            raise Cancelled("cancelled by the caller's check.")

    with make_tiles(executor, workers=2) as tiles:
        tiles.give(Doubles(str(tmp_path), slow=True), 1e6)  # type: ignore[arg-type]
        with pytest.raises(Cancelled):
            list(tiles.over(WINDOWS, "double", (3,), poll))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "dask"}, "executor: found 'dask', expected one of threads, ray"),
        ({"executor": "threads", "address": "127.0.0.1:1"}, "is a Ray cluster's, but the executor is 'threads'"),
        ({"executor": "threads", "workers": 0}, "workers: found 0"),
    ],
)
def test_options_that_do_not_go(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run_tiled(study(25.0), tmp_path / "out.zarr", data=tmp_path, **options)


@pytest.mark.ray
def test_an_address_where_nobody_answers(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(SweepError, match=r"Ray address 127\.0\.0\.1:1: nobody answers"):
        run_tiled(study(25.0), tmp_path / "out.zarr", data=tmp_path, executor="ray", address="127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


# a process of its own: one process holds one session of Ray
SCRIPT = """
import json, sys
from pathlib import Path
from ray.cluster_utils import Cluster
import rtmdx
from rtmdx.sweep.tiled import run_tiled
folder = Path(sys.argv[1])
study = rtmdx.Study.from_dict(json.loads((folder / "study.json").read_text()))
cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 1, "include_dashboard": False})
node = cluster.add_node(num_cpus=1)
killed = []
def progress(stage, done, total):
    if stage == "scores" and done == 1 and not killed:
        killed.append(cluster.remove_node(node, allow_graceful=False))
there = {"executor": "ray", "address": cluster.address}
run_tiled(study, folder / "there.zarr", data=folder, tile=1024, **there, progress=progress)
cluster.shutdown()
print(len(killed))
"""


@pytest.mark.ray
@pytest.mark.long
def test_two_nodes_one_of_which_dies(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    small_city.write(tmp_path)
    (tmp_path / "study.json").write_text(json.dumps(study(1.5).to_dict()))
    run_tiled(study(1.5), tmp_path / "here.zarr", data=tmp_path, tile=1024, workers=2)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "1"
    assert without_time(tmp_path / "here.zarr") == without_time(tmp_path / "there.zarr")
