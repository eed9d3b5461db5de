"""What goes wrong with a real store: flipped bits, two writers, lost files, full and read-only disks, memory."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtmdx
import small_city
from rtmdx.errors import MemoryLimitError, OutputError, StoreError
from rtmdx.sweep.driver import Tally
from rtmdx.sweep.store import SweepStore
from sweep_doubles import Hungry, same_store

N = 30
TINY = small_city.study(grid={"block_length": 150}, model={"n_penalties": 10, "n_folds": 2, "families": ["poisson"]})
BASE = rtmdx.Study.from_dict(TINY)
AXES: dict[str, Any] = {"seeds": N}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    rtmdx.sweep(BASE, axes=AXES, store=store, data=city)
    return store


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Path:
    shutil.copytree(undisturbed, tmp_path / "s")
    return tmp_path / "s"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None or _mount("-t", "tmpfs", "-o", "size=200k", "none", place):
        pytest.skip("mounting a small file system needs to be root, with the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(*args: Any) -> int:
    return subprocess.run(["mount", *map(str, args)], capture_output=True, check=False).returncode


def chunks(store: Path) -> list[Path]:
    """Every file of results."""
    found = [p for name in ("score", "expected") for p in store.glob(f"*/{name}/**/*")]
    return sorted(p for p in found if p.is_file() and p.name != "zarr.json")


def test_one_flipped_bit_in_each_of_60_chunks(copied: Path) -> None:
    files = chunks(copied)
    assert len(files) == 60
    rng = np.random.default_rng(0)
    for file in files:
        data = bytearray(file.read_bytes())
        bit = int(rng.integers(8 * len(data)))
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
    with SweepStore.open(str(copied)) as store:
        problems = store.verify()
    assert len(problems) == 60
    told = {(p.index, name) for p in problems for name in ("score", "expected") if f"/{name}/" in p.message}
    assert told == {(i, name) for i in range(N) for name in ("score", "expected")}
    assert all(p.index is not None and p.label == store.manifest.scenarios[p.index].label for p in problems)
    shown = cli("sweep", "verify", str(copied))
    assert shown.returncode == 2
    assert len([line for line in shown.stdout.splitlines() if line.startswith("scenario ")]) == 60


@pytest.mark.parametrize("kind", ["chunk", "record", "coordinate", "manifest"])
def test_what_is_lost_or_changed_is_named(kind: str, copied: Path) -> None:
    if kind == "chunk":
        chunks(copied)[0].unlink()
        expected = r"/expected/.* is missing"
    elif kind == "record":
        file = next(iter(sorted((copied / "state" / "records").iterdir())))
        file.write_bytes(file.read_bytes().replace(b'"bic"', b'"BIC"'))
        expected = "record of scenario 0 is damaged"
    elif kind == "coordinate":
        file = next(p for p in copied.glob("*/x/**/*") if p.is_file() and p.name != "zarr.json")
        file.write_bytes(b"\0" + file.read_bytes()[1:-1] + b"\1")
        expected = "/x/.* differs"
    else:
        file = copied / "state" / "manifest.json"
        file.write_bytes(file.read_bytes().replace(b"Small city", b"Small town"))
        with pytest.raises(StoreError, match="manifest is damaged"):
            SweepStore.open(str(copied))
        return
    with SweepStore.open(str(copied)) as store:
        problems = [str(p) for p in store.verify()]
    assert len(problems) == 1
    assert re.search(expected, problems[0])


def test_half_a_store_is_refused_in_one_message(copied: Path) -> None:
    manifest = copied / "state" / "manifest.json"
    text = manifest.read_text()
    group = next(p.parent for p in copied.glob("*/score"))
    shutil.rmtree(group / "score")
    for call in (rtmdx.open_sweep, rtmdx.resume):
        with pytest.raises(StoreError, match="is damaged; .*score is missing"):
            call(copied)
    shutil.rmtree(group)
    with pytest.raises(StoreError, match="is damaged"):
        rtmdx.resume(copied)
    manifest.write_text(text[: len(text) // 2])
    with pytest.raises(StoreError, match="manifest is damaged"):
        rtmdx.open_sweep(copied)
    manifest.unlink()
    with pytest.raises(StoreError, match=r"manifest.json is missing|holds no sweep"):
        rtmdx.resume(copied)
    shown = cli("sweep", "resume", str(copied))
    assert shown.returncode == 2
    assert len(shown.stderr.strip().splitlines()) <= 2
    assert "Traceback" not in shown.stderr


def test_another_layout_is_refused_by_number(copied: Path) -> None:
    manifest = copied / "state" / "manifest.json"
    data = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**data, "layout": 99}))
    for call in (rtmdx.open_sweep, rtmdx.resume):
        with pytest.raises(StoreError, match="has layout 99, this version of rtmdx reads 1"):
            call(copied)
    assert not (copied / "state" / "lock.json").exists()


def test_lost_records_alone_are_run_again(copied: Path, undisturbed: Path) -> None:
    records = sorted((copied / "state" / "records").iterdir())
    for file in records[::3]:
        file.unlink()
    told: list[Tally] = []
    rtmdx.resume(copied, watch=told.append)
    assert (told[-1].ran, told[-1].done) == (len(records[::3]), N)
    same_store(copied, undisturbed)


def test_a_live_second_writer_is_refused_and_a_dead_one_followed(city: Path, copied: Path) -> None:
    code = (
        "import sys, time; from rtmdx.sweep.store import SweepStore\n"
        "s = SweepStore.open(sys.argv[1], mode='a'); s.start(3); print('held', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(copied)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    try:
        with pytest.raises(StoreError, match=f"is being written by process {child.pid} on "):
            rtmdx.resume(copied)
        with pytest.raises(StoreError, match=f"is being written by process {child.pid} on "):
            rtmdx.sweep(BASE, axes=AXES, store=copied, data=city, overwrite=True)
        assert len(rtmdx.open_sweep(copied).scenarios) == N  # readers are welcome
        child.send_signal(signal.SIGSTOP)  # stopped is not dead
        with pytest.raises(StoreError, match=f"is being written by process {child.pid} on "):
            SweepStore.open(str(copied), mode="a")
    finally:
        child.kill()
        child.communicate()
    with SweepStore.open(str(copied), mode="a") as store:
        assert store.pending() == []
    assert not (copied / "state" / "lock.json").exists()


def test_a_full_disk_stops_the_sweep_and_costs_nothing(city: Path, disk: Path, undisturbed: Path) -> None:
    store = disk / "s"
    told: list[Tally] = []
    with pytest.raises((StoreError, OutputError), match="No space left on device"):
        rtmdx.sweep(BASE, axes=AXES, store=store, data=city, watch=told.append)
    assert told[-1].failed == 0  # the disk's fault, and not a scenario's
    before = told[-1].done
    with SweepStore.open(str(store)) as opened:
        assert len(opened.pending()) <= N - before
        assert opened.verify() == []
    assert 0 < before < N
    assert _mount("-o", "remount,size=20m", disk) == 0
    rtmdx.resume(store, watch=told.append)
    assert told[-1].done == N
    assert told[-1].ran <= N - before
    same_store(store, undisturbed)


def test_files_that_may_not_grow(city: Path, tmp_path: Path, undisturbed: Path) -> None:
    """A limit on the size of files, which needs no rights, stops what is written at its first large file."""
    store = tmp_path / "s"
    done: list[Tally] = []
    with pytest.raises(rtmdx.errors.Cancelled):
        rtmdx.sweep(BASE, axes=AXES, store=store, data=city, executor="serial", watch=done.append,
                    cancel=lambda: bool(done) and done[-1].ran >= 3)  # fmt: skip
    before = small_files(store)
    shown = cli("sweep", "resume", str(store), limits=((resource.RLIMIT_FSIZE, before),))
    assert shown.returncode == 2, shown.stderr
    assert "cannot be written: File too large" in shown.stderr
    assert "Traceback" not in shown.stderr
    told: list[Tally] = []
    rtmdx.resume(store, watch=told.append)
    assert (told[-1].done, told[-1].ran) == (N, N - 3)
    same_store(store, undisturbed)


def small_files(store: Path) -> int:
    """A size that the lock has, and no chunk of results."""
    least = min(p.stat().st_size for p in chunks(store))
    assert least > 600
    return 600


def test_a_store_that_becomes_read_only(city: Path, tmp_path: Path, undisturbed: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    mounted = os.geteuid() == 0
    if mounted and _mount("-t", "tmpfs", "-o", "size=20m", "none", place):
        pytest.skip("root may write to what is read-only, and may not mount here")
    store = place / "s"
    told: list[Tally] = []

    def freeze(tally: Tally) -> None:
        told.append(tally)
        if tally.ran == 3:
            set_writable(False)

    def set_writable(yes: bool) -> None:
        if mounted:
            for _ in range(100):  # busy while the heartbeat is written
                if not _mount("-o", f"remount,{'rw' if yes else 'ro'}", place):
                    return
            raise AssertionError("cannot remount")
        for folder in [store, *(p for p in store.rglob("*") if p.is_dir())]:
            folder.chmod(0o755 if yes else 0o555)

    try:
        with pytest.raises(StoreError, match="cannot be written: (Read-only file system|Permission denied)"):
            rtmdx.sweep(BASE, axes=AXES, store=store, data=city, executor="serial", watch=freeze)
        assert (told[-1].done, told[-1].failed) == (3, 0)
        with pytest.raises(StoreError, match="cannot be written: (Read-only file system|Permission denied)"):
            rtmdx.resume(store)
        results = rtmdx.open_sweep(store)  # reading goes on
        assert int((results.scenarios["state"] == "succeeded").sum()) == 3
        assert float(results.terrain(0).score.min()) == 1.0
        set_writable(True)
        rtmdx.resume(store, watch=told.append)
        assert told[-1].ran == N - 3
        same_store(store, undisturbed)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)
        else:
            set_writable(True)


def test_a_place_that_cannot_be_written(city: Path) -> None:
    with pytest.raises((StoreError, OutputError), match="cannot be"):
        rtmdx.sweep(BASE, axes={"seeds": 2}, store="/proc/rtmdx-store", data=city)


def test_a_grid_beyond_the_memory_limit_is_refused_before_anything_runs(city: Path, tmp_path: Path) -> None:
    with pytest.raises(MemoryLimitError, match="the limit is"):
        rtmdx.sweep(BASE, axes={"grid.cell_size": [75, 1]}, store=tmp_path / "s", data=city, memory_limit=500e6)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("executor", ["threads", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_scenario_that_exhausts_memory_fails_alone(
    executor: str, city: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """In threads an allocation is refused; on Ray the worker is killed, as the kernel does, each time it tries."""
    if executor == "ray":
        request.getfixturevalue("cluster")
    plain = SweepStore.handle
    kills = executor == "ray"
    told: list[Tally] = []
    with monkeypatch.context() as patch:
        patch.setattr(SweepStore, "handle", lambda self: Hungry(plain(self), (2,), kills))
        results = rtmdx.sweep(BASE, axes=AXES, store=tmp_path / "s", data=city, executor=executor, workers=2,
                              retries=1, watch=told.append)  # fmt: skip
    assert (told[-1].done, told[-1].failed) == (N - 1, 1)
    assert not list((tmp_path / "s").rglob("*.part"))
    row = results.scenarios.loc[2]
    assert row["state"] == "failed"
    assert ("its worker died 2 times" if kills else "Unable to allocate") in row["error"]
    rtmdx.resume(tmp_path / "s", retry_failed=True)
    same_store(tmp_path / "s", undisturbed)


def test_errors_are_told(city: Path, tmp_path: Path) -> None:
    axes = {"outcome.layer": ["events", "late"]}
    told: list[Tally] = []
    results = rtmdx.sweep(BASE, axes=axes, store=tmp_path / "s", data=city, watch=told.append)
    assert (told[-1].done, told[-1].failed) == (1, 1)
    assert results.scenarios["state"].tolist() == ["succeeded", "failed"]
    assert "no layer 'late'" in results.scenarios.loc[1, "error"]
    with SweepStore.open(str(tmp_path / "s")) as store:
        record = store.record(1)
    assert record is not None
    assert record.error is not None
    assert record.error["stage"] == "layers"
    assert "Traceback" in record.error["traceback"]
    shown = cli("inspect", str(tmp_path / "s"))
    assert shown.returncode == 0
    assert "no layer 'late'" in shown.stdout


def cli(*args: str, limits: tuple[tuple[int, int], ...] = ()) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for what, value in limits:
            resource.setrlimit(what, (value, value))

    command = [sys.executable, "-c", "from rtmdx.cli import main; main()", *args]
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, preexec_fn=limit)
