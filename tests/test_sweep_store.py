"""Stores of sweeps: what is written is read, by plain readers too; states, locks, faults; folders and S3 alike."""

from __future__ import annotations

import json
import os
import pickle
import random
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

import rtmdx.sweep.lock as lock_module
from rtmdx.errors import InputError, OutputError, StoreError
from rtmdx.sweep.contract import ScenarioResult
from rtmdx.sweep.layout import CHUNK, MANIFEST, RecordName, chunks_of
from rtmdx.sweep.objects import objects_at
from rtmdx.sweep.store import SweepStore
from sweep_stores import everything, fill, manifest_of, raster_of, result_of


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store is made: the tests below hold for both."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


# ------------------------------------------------------------------------------------ what is written is read


def test_written_is_read(url: str) -> None:
    manifest = manifest_of(7, grids=2)
    fill(url, manifest, range(5))
    with SweepStore.open(url) as store:
        assert store.manifest.scenarios == manifest.scenarios
        assert [vars(g).keys() for g in store.manifest.grids] == [vars(g).keys() for g in manifest.grids]
        assert np.array_equal(store.manifest.grids[0].kept, manifest.grids[0].kept)  # type: ignore[arg-type]
        assert store.manifest.grids[1].kept is None
        assert store.pending() == [5, 6]
        assert list(store.states().values()) == ["succeeded"] * 5 + ["pending"] * 2
        assert store.tables(3) == result_of(manifest, 3).tables
        record = store.record(3)
        assert record is not None
        assert (record.summary, record.id) == (result_of(manifest, 3).summary, manifest.scenarios[3].id)
        assert store.record(5) is None
        assert store.verify() == []
        for i in range(5):
            for name in ("score", "expected"):
                array = zarr.open_array(store.objects.zarr(), path=f"grid{i % 2}/{name}", mode="r")
                np.testing.assert_array_equal(array[i // 2], raster_of(manifest, i, name))


def test_chunks_of_large_rasters(tmp_path: Path) -> None:
    manifest = manifest_of(2, rows=CHUNK + 3, cols=2 * CHUNK + 1)
    grid = manifest.grids[0]
    assert grid.kept is not None
    grid.kept[:CHUNK, CHUNK : 2 * CHUNK] = False  # a chunk without a cell is not stored
    keys = [k for k, _, _ in chunks_of((grid.n_rows, grid.n_cols))]
    assert keys == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    fill(str(tmp_path / "s"), manifest)
    stored = {p.name for p in (tmp_path / "s" / "grid0" / "score").glob("c.1.*")}
    assert stored == {f"c.1.{k}" for k in keys} - {"c.1.0.1"}
    with SweepStore.open(str(tmp_path / "s")) as store:
        assert store.verify() == []
        array = zarr.open_array(store.objects.zarr(), path="grid0/score", mode="r")
        np.testing.assert_array_equal(array[1], raster_of(manifest, 1))


def test_a_scenario_written_by_tiles_is_the_scenario(tmp_path: Path) -> None:
    manifest = manifest_of(2, rows=CHUNK + 3, cols=2 * CHUNK + 1)
    fill(str(tmp_path / "whole"), manifest)
    score, expected = raster_of(manifest, 1), raster_of(manifest, 1, "expected")
    with SweepStore.create(str(tmp_path / "tiles"), manifest) as store:
        store.write(0, result_of(manifest, 0))
        handle = pickle.loads(pickle.dumps(store.handle()))
        tiles = []
        for row, col, height, width in (
            (CHUNK, 0, 3, 2 * CHUNK + 1),
            (0, CHUNK, CHUNK, CHUNK + 1),
            (0, 0, CHUNK, CHUNK),
        ):
            with pytest.raises(InputError, match="chunks were not written"):
                handle.complete(1, tiles, {}, {})
            window = (slice(row, row + height), slice(col, col + width))
            tiles.append(handle.write_tile(1, (row, col, height, width), score[window], expected[window]))
        assert store.pending() == [1]
        handle.complete(1, tiles, result_of(manifest, 1).tables, result_of(manifest, 1).summary)
        assert store.pending() == []
        assert store.verify() == []
        with pytest.raises(InputError, match="expected one of whole chunks"):
            handle.write_tile(1, (0, 0, CHUNK, CHUNK - 1), score, expected)
        with pytest.raises(InputError, match="expected float32 of"):
            handle.write_tile(1, (0, 0, CHUNK, CHUNK), score, expected)
    assert everything(objects_at(str(tmp_path / "tiles"))) == everything(objects_at(str(tmp_path / "whole")))


def test_stores_are_the_same_bytes_whatever_the_order(url: str, tmp_path: Path) -> None:
    manifest = manifest_of()
    fill(url, manifest)
    fill(str(tmp_path / "other"), manifest, [4, 2, 0, 1, 3])
    with SweepStore.open(str(tmp_path / "other"), "a") as store:
        handle = pickle.loads(pickle.dumps(store.handle()))
        handle.write(5, result_of(manifest, 5))
        handle.write(2, result_of(manifest, 2))  # once more
    assert everything(objects_at(url)) == everything(objects_at(str(tmp_path / "other")))


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_opens_in_plain_xarray_and_rioxarray_while_it_is_written(tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    manifest = manifest_of(4, grids=2)
    path = tmp_path / "store"
    with SweepStore.create(str(path), manifest) as store:
        store.write(2, result_of(manifest, 2))
        opened = xr.open_zarr(path, group="grid0", chunks=None)
        assert opened["score"].dims == ("scenario", "y", "x")
        assert opened["scenario"].values.tolist() == [0, 2]
        assert opened["scenario_id"].values.tolist() == [manifest.scenarios[i].id for i in (0, 2)]
        assert opened["scenario_label"].values.tolist() == ["seed=0", "seed=2"]
        np.testing.assert_array_equal(opened["score"].sel(scenario=2), raster_of(manifest, 2))
        assert np.isnan(opened["score"].sel(scenario=0)).all()
        np.testing.assert_array_equal(opened["kept"], manifest.grids[0].kept)
        np.testing.assert_array_equal(opened["x"][:2], [7e5 + 25, 7e5 + 75])
        np.testing.assert_array_equal(opened["y"][:2], [4.2e6 - 25, 4.2e6 - 75])
        assert rioxarray
        assert opened["score"].rio.crs.to_epsg() == 26915
        assert tuple(float(opened.rio.transform(recalc=False)[k]) for k in range(6)) == (50, 0, 7e5, 0, -50, 4.2e6)
        store.write(0, result_of(manifest, 0))
        np.testing.assert_array_equal(opened["expected"].sel(scenario=0), raster_of(manifest, 0, "expected"))
    tree = xr.open_datatree(path, engine="zarr", chunks=None)
    assert set(tree.children) == {"grid0", "grid1"}


def test_opens_in_plain_xarray_from_s3(bucket: str, tmp_path: Path) -> None:
    from obstore.store import from_url
    from zarr.storage import ObjectStore

    manifest = manifest_of(2)
    fill(f"{bucket}/{tmp_path.name}", manifest)
    store = ObjectStore(from_url(f"{bucket}/{tmp_path.name}", client_options={"allow_http": True}), read_only=True)
    opened = xr.open_zarr(store, group="grid0", chunks=None)
    np.testing.assert_array_equal(opened["score"][1], raster_of(manifest, 1))


def test_states_are_listed_without_opening_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = manifest_of(5)
    fill(str(tmp_path / "s"), manifest, range(4))
    with SweepStore.open(str(tmp_path / "s")) as store:
        read: list[str] = []
        plain = store.objects.read
        monkeypatch.setattr(store.objects, "read", lambda key: (read.append(key), plain(key))[1])
        assert store.pending() == [4]
        assert store.states()[4] == "pending"
        assert not [k for k in read if k.startswith("state/records")]
        # nor is any for the figures, once they are gathered
        assert store.records.summaries() == {i: result_of(manifest, i).summary for i in range(4)}
        assert not [k for k in read if k.startswith("state/records")]
        damaged = plain("state/summary.json")
        assert damaged is not None
        store.objects.write("state/summary.json", damaged.replace(b"poisson", b"poissom"))
        assert store.records.summaries() == {i: result_of(manifest, i).summary for i in range(4)}


# ------------------------------------------------------------------------------------------------- failures


def test_failures_are_recorded_and_forgotten_when_tried_again(url: str, tmp_path: Path) -> None:
    manifest = manifest_of(3)
    with SweepStore.create(url, manifest) as store:
        store.start(1)
        store.fail(1, InputError("no events.", hint="Widen it."), "fit", "the trace")
        store.finished(1)
        assert store.states() == {0: "pending", 1: "failed", 2: "pending"}
        record = store.record(1)
        assert record is not None
        assert record.state == "failed"
        assert record.error == {
            "code": "input", "type": "InputError", "message": "no events.", "hint": "Widen it.", "stage": "fit",
            "traceback": "the trace",
        }  # fmt: skip
    with SweepStore.open(url, "a") as store:
        assert (store.pending(), store.pending(retry_failed=True)) == ([0, 2], [0, 1, 2])
        for i in range(3):
            store.start(i)
            store.write(i, result_of(manifest, i))
            store.finished(i)
    fill(str(tmp_path / "never failed"), manifest)
    assert everything(objects_at(url)) == everything(objects_at(str(tmp_path / "never failed")))


def test_an_unfinished_scenario_is_running_then_aborted_then_pending(url: str) -> None:
    manifest = manifest_of(3)
    with SweepStore.create(url, manifest) as store:
        store.start(1)
        assert store.states()[1] == "running"
        store._lock._renew()  # type: ignore[union-attr]
        with SweepStore.open(url) as reader:
            assert reader.states()[1] == "running"
    with SweepStore.open(url) as reader:
        assert reader.states()[1] == "aborted"
        assert reader.pending() == [0, 1, 2]
    with SweepStore.open(url, "a") as store:
        assert store.states()[1] == "pending"
    assert objects_at(url).read("state/lock.json") is None


def test_a_worker_of_another_sweep_is_refused(url: str) -> None:
    manifest, other = manifest_of(), manifest_of(sweep_id="other")
    with SweepStore.create(url, manifest) as store:
        handle = store.handle()
    with SweepStore.create(url, other, overwrite=True) as store:
        with pytest.raises(StoreError, match="has become another sweep's"):
            handle.write(0, result_of(manifest, 0))
        assert store.pending() == list(range(6))


@pytest.mark.parametrize("bad", [np.zeros(3, np.float32), np.zeros(30 * 40, np.float64)])
def test_a_result_of_the_wrong_form_is_refused(bad: np.ndarray[Any, Any], tmp_path: Path) -> None:
    manifest = manifest_of()
    with SweepStore.create(str(tmp_path / "s"), manifest) as store:
        with pytest.raises(InputError, match=r"score: found .* expected float32 of shape \(\d+,\)"):
            store.write(0, ScenarioResult(bad, bad, {}, {}))
        assert len(store.pending()) == 6


# --------------------------------------------------------------------------------------------------- damage


def test_one_flipped_bit_in_each_of_sixty_chunks_is_sixty_named_errors(url: str) -> None:
    manifest = manifest_of(30)
    fill(url, manifest)
    objects = objects_at(url)
    rng = random.Random(5)
    expected = set()
    for name in ("score", "expected"):
        for i in range(30):
            key = f"grid0/{name}/c.{i}.0.0"
            data = bytearray(objects.read(key) or b"")
            bit = rng.randrange(len(data) * 8)
            data[bit // 8] ^= 1 << bit % 8
            objects.write(key, bytes(data))
            expected.add((i, key))
    told: list[tuple[int, int]] = []
    with SweepStore.open(url) as store:
        problems = store.verify(lambda _, done, total: told.append((done, total)))
    assert len(problems) == 60
    assert {(p.index, p.message.split()[0]) for p in problems} == expected
    assert "scenario 7 (seed=7): grid0/score/c.7.0.0 is damaged" in "\n".join(map(str, problems))
    assert told == [(k, 30) for k in range(1, 31)]


def test_any_flipped_bit_outside_the_chunks_is_found(tmp_path: Path) -> None:
    manifest = manifest_of(2, grids=2)
    path = tmp_path / "s"
    fill(str(path), manifest)
    rng = random.Random(1)
    files = [p for p in path.rglob("*") if p.is_file() and p.name != "summary.json" and "log" not in p.parts]
    assert len(files) > 20
    for file in files:
        data = file.read_bytes()
        bit = rng.randrange(len(data) * 8)
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            with SweepStore.open(str(path)) as store:
                assert len(store.verify()) >= 1, file
        except StoreError as error:
            assert "damaged" in str(error) or "layout" in str(error), file  # noqa: PT017
        file.write_bytes(data)
    with SweepStore.open(str(path)) as store:
        assert store.verify() == []


def test_what_is_missing_or_strange_is_named(url: str) -> None:
    manifest = manifest_of(4)
    fill(url, manifest)
    objects = objects_at(url)
    objects.delete(["grid0/expected/c.2.0.0", "grid0/x/c/0"])
    objects.write(f"state/records/{RecordName(1, 'f' * 16, '0' * 32)}", b"{}")
    with SweepStore.open(url) as store:
        assert [str(p) for p in store.verify()] == [
            "store: grid0/x/c/0 is missing",
            f"store: the record {RecordName(1, 'f' * 16, '0' * 32)} is of no scenario of this sweep",
            "scenario 2 (seed=2): grid0/expected/c.2.0.0 is missing",
        ]


def test_a_damaged_scenario_is_run_again_and_the_store_is_whole(url: str, tmp_path: Path) -> None:
    manifest = manifest_of(3)
    fill(url, manifest)
    objects = objects_at(url)
    data = bytearray(objects.read("grid0/score/c.1.0.0") or b"")
    data[-1] ^= 1
    objects.write("grid0/score/c.1.0.0", bytes(data))
    with SweepStore.open(url, "a") as store:
        for problem in store.verify():
            assert problem.index == 1
            store.discard(problem.index)
        assert store.pending() == [1]
        store.write(1, result_of(manifest, 1))
        assert store.verify() == []
    fill(str(tmp_path / "other"), manifest)
    assert everything(objects) == everything(objects_at(str(tmp_path / "other")))


def test_stores_that_are_none(url: str) -> None:
    with pytest.raises(StoreError, match="holds no sweep"):
        SweepStore.open(url)
    with pytest.raises(StoreError, match="holds no sweep"):
        SweepStore.open(url, "a")
    assert not SweepStore.exists(url)
    fill(url, manifest_of(2))
    objects = objects_at(url)
    whole = objects.read(MANIFEST)
    assert whole is not None
    changed = json.loads(whole)
    changed["layout"] = 99
    for data, message in (
        (json.dumps(changed).encode(), "has layout 99, this version of rtmdx reads 1"),
        (whole.replace(b"seed=1", b"seed=7"), "its manifest is damaged"),
        (whole[:100], "its manifest is damaged"),
        (b"[]", "its manifest is damaged"),
    ):
        objects.write(MANIFEST, data)
        with pytest.raises(StoreError, match=message):
            SweepStore.open(url)
    objects.delete([MANIFEST])
    with pytest.raises(StoreError, match=r"is damaged; state/manifest.json is missing"):
        SweepStore.open(url)
    objects.write(MANIFEST, whole)
    objects.delete(["grid0/score/zarr.json"])
    with pytest.raises(StoreError, match="is damaged; grid0/score is missing"):
        SweepStore.open(url, "a")
    assert objects.read("state/lock.json") is None


def test_what_is_not_a_store_is_not_overwritten(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds something else"):
            SweepStore.create(str(other), manifest_of(), overwrite=overwrite)
        with pytest.raises(OutputError, match="holds something else"):
            SweepStore.create(str(other / "thesis.txt"), manifest_of(), overwrite=overwrite)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]
    fill(str(tmp_path / "s"), manifest_of())
    with pytest.raises(OutputError, match="exists"):
        SweepStore.create(str(tmp_path / "s"), manifest_of())


@pytest.mark.parametrize("bad", ["", "nonsense://x/y", "s3://"])
def test_urls_that_are_none(bad: str, bucket: str) -> None:  # noqa: ARG001
    with pytest.raises((InputError, StoreError), match="store"):
        SweepStore.create(bad, manifest_of())


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    for way in (
        lambda: SweepStore.open(f"{bucket}-none/x"),
        lambda: SweepStore.create(f"{bucket}-none/x", manifest_of()),
    ):
        with pytest.raises(StoreError, match="no such bucket"):
            way()


# ---------------------------------------------------------------------------------------------------- lock


def test_a_second_writer_is_refused_and_a_reader_is_not(url: str) -> None:
    with SweepStore.create(url, manifest_of()):
        for mode in (lambda: SweepStore.open(url, "a"), lambda: SweepStore.create(url, manifest_of(), overwrite=True)):
            with pytest.raises(
                StoreError, match=f"is being written by process {os.getpid()} on {socket.gethostname()}"
            ):
                mode()
        SweepStore.open(url).close()
    with SweepStore.open(url, "a") as store:
        store.start(0)
    with SweepStore.open(url) as store, pytest.raises(StoreError, match="for reading only"):
        store.start(0)


def test_of_many_writers_at_once_one_wins(url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    fill(url, manifest_of())
    dead = lock_module.Holder(socket.gethostname(), 2**22 + 1, "1", None, "dead", 0.0, (3,))
    for _ in range(5):
        objects_at(url).write("state/lock.json", dead.to_bytes())

        refused: list[str] = []

        def take(_: int, refused: list[str] = refused) -> SweepStore | None:
            try:
                return SweepStore.open(url, "a")
            except StoreError as error:
                refused.append(str(error))
                return None

        with ThreadPoolExecutor(8) as pool:
            won = [s for s in pool.map(take, range(8)) if s is not None]
        assert len(won) == 1
        assert all("is being written by" in r or "at this moment" in r for r in refused)
        won[0].close()


def test_a_writer_on_another_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(url, manifest_of())
    objects = objects_at(url)
    monkeypatch.setattr(lock_module, "WATCH", 0.5)

    def holder(age: float) -> bytes:
        return lock_module.Holder("elsewhere", 1, "1", "b", "theirs", time.time() - age, (2,)).to_bytes()

    objects.write("state/lock.json", holder(5))
    with pytest.raises(StoreError, match=r"process 1 on elsewhere \(last sign of life 5 s ago\)"):
        SweepStore.open(url, "a")
    objects.write("state/lock.json", holder(lock_module.STALE + 1))
    with SweepStore.open(url) as store:
        assert store._lock is None
    with SweepStore.open(url, "a") as store:
        assert store.pending() == []
    # its clock is wrong, but it lives
    beats = iter([holder(999.0 - k) for k in range(100)])
    read = type(objects).read
    monkeypatch.setattr(type(objects), "read", lambda self, key: next(beats) if "lock" in key else read(self, key))
    objects.write("state/lock.json", holder(999))
    with pytest.raises(StoreError, match="is being written by process 1 on elsewhere"):
        SweepStore.open(url, "a")


def test_a_writer_that_was_taken_over_notices(url: str) -> None:
    with SweepStore.create(url, manifest_of()) as store:
        objects_at(url).write("state/lock.json", lock_module.Holder("x", 1, "1", "b", "t", time.time()).to_bytes())
        store._lock._renew()  # type: ignore[union-attr]
        for act in (lambda: store.start(0), lambda: store.fail(0, ValueError("x"), "fit")):
            with pytest.raises(StoreError, match="another process took it over"):
                act()
    assert b'"token":"t"' in (objects_at(url).read("state/lock.json") or b"")


def test_tables_keep_the_order_of_their_columns(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    manifest = manifest_of()
    with SweepStore.create(url, manifest) as store:
        result = result_of(manifest, 0)
        rows = [{"variable": "b", "rrv": 2.0, "cells": 3, "a": 1}]
        store.write(0, replace(result, tables={"model": rows, "findings": []}))
    with SweepStore.open(url) as store:
        assert [list(r) for r in store.tables(0)["model"]] == [["variable", "rrv", "cells", "a"]]
