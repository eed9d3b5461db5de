"""Faults injected for real into a sweep's store: killed writers, full and read-only disks."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rtmdx.errors import OutputError, StoreError
from rtmdx.sweep.contract import Manifest
from rtmdx.sweep.layout import RecordName
from rtmdx.sweep.objects import objects_at
from rtmdx.sweep.store import SweepStore
from sweep_stores import everything, fill, manifest_of, result_of

WRITER = """
import sys, time
sys.path.insert(0, {tests!r})
from sweep_stores import manifest_of, result_of
from rtmdx.sweep.store import SweepStore
url, n = sys.argv[1], int(sys.argv[2])
manifest = manifest_of(n)
with (SweepStore.open(url, "a") if SweepStore.exists(url) else SweepStore.create(url, manifest)) as store:
    print("ready", flush=True)
    for i in store.pending():
        store.start(i)
        store.write(i, result_of(manifest, i))
        store.finished(i)
        print(i, flush=True)
"""


def writer(url: str, n: int) -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, url, str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed_writers(url: str, n: int, kills: int, undisturbed: str) -> None:
    manifest = manifest_of(n)
    fill(undisturbed, manifest)
    rng = random.Random(11)
    done: set[int] = set()
    for k in range(kills):
        child = writer(url, n)
        assert child.stdout is not None
        if k > 1:  # the first ones may die while the store is made
            child.stdout.readline()
            for _ in range(rng.randrange(max(1, n // kills))):
                child.stdout.readline()
            time.sleep(rng.random() * 0.02)
        else:
            time.sleep(0.5 + rng.random())
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if not SweepStore.exists(url):
            continue
        with SweepStore.open(url) as store:
            assert store.verify() == []
            now = {i for i, state in store.states().items() if state == "succeeded"}
            assert set(store.states().values()) <= {"succeeded", "pending", "aborted"}
        assert done <= now
        done = now
        recorded = {RecordName.of(p.name).digest for p in Path(url, "state", "records").glob("[0-9]*.json")}  # type: ignore[union-attr]
        assert len(recorded) == len(now)
    assert done, "every kill came too early to mean anything"
    last = writer(url, n)
    out, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    ran = {int(line) for line in out.splitlines() if line.isdecimal()}
    assert ran == set(range(n)) - done
    assert everything(objects_at(url)) == everything(objects_at(undisturbed))
    assert not [p for p in Path(url).rglob(".*") if p.is_file()]


def test_a_writer_killed_at_any_moment_leaves_nothing_half_done(tmp_path: Path) -> None:
    killed_writers(str(tmp_path / "s"), 80, 4, str(tmp_path / "undisturbed"))


@pytest.mark.long
def test_a_writer_killed_at_twenty_moments(tmp_path: Path) -> None:
    killed_writers(str(tmp_path / "s"), 600, 20, str(tmp_path / "undisturbed"))


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system; skipped where that is not permitted."""
    place = tmp_path / "small"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True)


def run_until_full(url: str, manifest: Manifest) -> None:
    """What a driver does."""
    with SweepStore.open(url, "a") as store:
        for i in store.pending():
            store.start(i)
            try:
                store.write(i, result_of(manifest, i))
            except OSError as error:
                store.fail(i, error, "store")
            store.finished(i)


def test_a_full_disk_stops_the_sweep_and_loses_nothing(tmpfs: Callable[[str], Path], tmp_path: Path) -> None:
    manifest = manifest_of(200)
    place = tmpfs("size=1m")
    url = str(place / "s")
    SweepStore.create(url, manifest).close()
    with pytest.raises(StoreError, match=r"cannot be written: No space left on device. Mend it and resume"):
        run_until_full(url, manifest)
    with SweepStore.open(url) as store:
        assert store.verify() == []
        states = list(store.states().values())
        done = states.count("succeeded")
        assert 0 < done < 200
        assert "failed" not in states
    with pytest.raises(StoreError):
        run_until_full(url, manifest)
    assert not [p for p in place.rglob(".*") if p.is_file()]
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    run_until_full(url, manifest)
    fill(str(tmp_path / "other"), manifest)
    assert everything(objects_at(url)) == everything(objects_at(str(tmp_path / "other")))


def test_a_disk_too_small_for_a_store(tmpfs: Callable[[str], Path]) -> None:
    place = tmpfs("size=40k")
    with pytest.raises(OutputError, match="cannot be made: No space left on device"):
        SweepStore.create(str(place / "s"), manifest_of(200))
    assert [p for p in place.rglob("*") if p.is_file()] == []


def test_a_store_made_read_only_is_read_and_not_written(tmpfs: Callable[[str], Path]) -> None:
    manifest = manifest_of(4)
    place = tmpfs("size=8m")
    url = str(place / "s")
    fill(url, manifest, range(2))
    store = SweepStore.open(url, "a")
    handle = store.handle()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        handle.write(2, result_of(manifest, 2))
    store.start(2)
    with pytest.raises(StoreError, match="cannot be written: Read-only file system"):
        store.fail(2, ValueError("x"), "fit")
    store.close()
    with pytest.raises(StoreError, match="is being written by|cannot be written"):
        SweepStore.open(url, "a")
    with SweepStore.open(url) as reader:
        assert reader.verify() == []
        assert reader.pending() == [2, 3]
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)


def test_files_beyond_a_limit_are_not_half_written(tmp_path: Path) -> None:
    url = str(tmp_path / "s")
    manifest = manifest_of(3)
    fill(url, manifest, [0])
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from sweep_stores import manifest_of, result_of
from rtmdx.sweep.store import SweepStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SweepStore.open({url!r}, "a")
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
try:
    store.write(1, result_of(manifest_of(3), 1))
except OSError as error:
    print(error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "File too large", done.stderr
    with SweepStore.open(url) as store:
        assert (store.pending(), store.verify()) == ([1, 2], [])
    assert not [p for p in (tmp_path / "s").rglob(".*") if p.is_file()]


def test_a_folder_that_a_killed_maker_left_can_be_made_again(tmp_path: Path) -> None:
    url = tmp_path / "store"
    (url / "state").mkdir(parents=True)
    (url / "state" / ".half.written").write_text("")
    SweepStore.create(str(url), manifest_of()).close()
    (tmp_path / "mine" / "state").mkdir(parents=True)
    (tmp_path / "mine" / "state" / "letter.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        SweepStore.create(str(tmp_path / "mine"), manifest_of())
