"""One contract for all executors: same results, errors that stay with their scenario, cancels and deaths survived."""

from __future__ import annotations

import dataclasses
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import rtmdx
import small_city
from rtmdx.errors import Cancelled, InputError, StudyError, SweepError
from rtmdx.sweep.axes import SweepSpec
from rtmdx.sweep.executors import Executor, Job, SerialExecutor, ThreadExecutor, make_executor, workers_within
from rtmdx.sweep.plan import make_plan
from rtmdx.sweep.prepare import Workshop
from rtmdx.sweep.scenarios import expand
from rtmdx.sweep.work import Done, portable
from sweep_doubles import FolderWriter, RaisingWriter

BASE = rtmdx.Study.from_dict(small_city.study())
AXES: dict[str, Any] = {"grid.cell_size": [75, 100], "seeds": 2, "factors": [["bars", "parks"], ["bars", "roads"]]}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return folder


def executors() -> list[Any]:
    serial_and_threads = [("serial", None), ("threads", 1), ("threads", 2)]
    ray = [pytest.param("ray", n, marks=pytest.mark.ray) for n in (1, 2)]
    return [*serial_and_threads, *ray]


def chosen(name: str, workers: int | None, request: pytest.FixtureRequest, **options: Any) -> Executor:
    if name == "ray":
        request.getfixturevalue("cluster")
    return make_executor(name, workers=workers, threads=1, address=None, **options)


def job(city: Path, axes: dict[str, Any], writer: Any, **options: Any) -> Job:
    spec = SweepSpec.build(BASE, axes=axes)
    workshop = Workshop(data=city)
    expansion = expand(spec)
    order = options.pop("order", range(len(expansion)))
    return Job(writer, expansion, list(order), workshop, memory=50e6, **options)


@pytest.fixture(scope="module")
def undisturbed(city: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    writer = FolderWriter(str(tmp_path_factory.mktemp("undisturbed")))
    for done in SerialExecutor().run(job(city, AXES, writer)):
        assert done.error is None
    return writer.results()


@pytest.mark.parametrize(("name", "workers"), executors())
def test_every_executor_leaves_the_same_bytes(
    name: str, workers: int | None, city: Path, tmp_path: Path, undisturbed: dict[int, bytes],
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    writer = FolderWriter(str(tmp_path))
    plan = make_plan(SweepSpec.build(BASE, axes=AXES), Workshop(data=city))
    started: list[int] = []
    run = job(city, AXES, writer, order=plan.order, started=started.append)
    done = list(chosen(name, workers, request).run(run))
    assert all(d.error is None and d.seconds > 0 and d.worker for d in done)
    assert sorted(d.index for d in done) == sorted(started) == list(range(8))
    assert writer.results() == undisturbed
    assert run.workshop.count.computed == plan.n_surfaces  # each once


@pytest.mark.parametrize(("name", "workers"), executors())
def test_a_scenario_that_raises_fails_alone(
    name: str, workers: int | None, city: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    writer = FolderWriter(str(tmp_path))
    axes = {"outcome.layer": ["events", "nothing"], "model.n_folds": [2, 5], "model.families": [["poisson"]]}
    done = list(chosen(name, workers, request).run(job(city, axes, writer)))
    failed = {d.index: d for d in done if d.error is not None}
    assert sorted(failed) == [2, 3]
    assert sorted(writer.results()) == [0, 1]
    for d in failed.values():
        assert isinstance(d.error, StudyError)
        assert "no layer 'nothing'" in str(d.error)
        assert d.stage == "layers"


@pytest.mark.parametrize(("name", "workers"), executors())
def test_an_error_of_the_fit_comes_home_whole(
    name: str, workers: int | None, city: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    axes = {"outcome.end": ["2022-01-03"], "model.n_folds": [50], "holdout": [None]}
    (done,) = chosen(name, workers, request).run(job(city, axes, FolderWriter(str(tmp_path))))
    assert isinstance(done.error, InputError)
    assert "50-fold cross-validation needs events in at least 50 cells" in str(done.error)
    assert done.error.hint
    assert done.stage == "fit"
    assert "Traceback" in done.trace


@pytest.mark.parametrize(("name", "workers"), executors())
def test_a_store_that_is_full(name: str, workers: int | None, city: Path, request: pytest.FixtureRequest) -> None:
    (done,) = chosen(name, workers, request).run(job(city, {"seed": [1]}, RaisingWriter()))
    assert isinstance(done.error, OSError)
    assert (done.stage, done.error.errno) == ("store", 28)


@pytest.mark.parametrize(("name", "workers"), executors())
def test_a_cancel_stops_and_nothing_half_done_counts(
    name: str, workers: int | None, city: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    writer = FolderWriter(str(tmp_path))
    finished: list[Done] = []
    events = chosen(name, workers, request).run(job(city, {"seeds": 50}, writer, cancel=lambda: len(finished) >= 2))

    def follow() -> None:
        for done in events:
            finished.append(done)

    with pytest.raises(Cancelled, match="resume continues it"):
        follow()
    assert {d.index for d in finished} <= set(writer.results())
    assert len(writer.results()) < 50
    assert not [t for t in threading.enumerate() if t.name.startswith("rtmdx-sweep")]


@pytest.mark.parametrize(("name", "workers"), executors())
def test_a_caller_that_leaves_ends_the_work(
    name: str, workers: int | None, city: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    events = chosen(name, workers, request).run(job(city, {"seeds": 50}, FolderWriter(str(tmp_path))))
    next(events)
    events.close()  # type: ignore[attr-defined]
    n = len(FolderWriter(str(tmp_path)).results())
    assert n < 50
    assert not [t for t in threading.enumerate() if t.name.startswith("rtmdx-sweep")]


@pytest.mark.ray
def test_a_worker_that_is_killed_is_tried_again(
    city: Path, tmp_path: Path, undisturbed: dict[int, bytes], request: pytest.FixtureRequest
) -> None:
    writer = FolderWriter(str(tmp_path), kill=(1, 6))
    retried: list[tuple[int, str]] = []
    run = job(city, AXES, writer, retried=lambda i, why: retried.append((i, why)))
    done = list(chosen("ray", 2, request).run(run))
    assert all(d.error is None for d in done)
    assert {i for i, _ in retried} >= {1, 6}
    assert all("Error" in why for _, why in retried)
    assert writer.results() == undisturbed


@pytest.mark.ray
def test_a_worker_that_dies_each_time_fails_its_scenario(
    city: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    writer = FolderWriter(str(tmp_path), always=(1,))
    done = {d.index: d for d in chosen("ray", 1, request, retries=1).run(job(city, {"seeds": 3}, writer))}
    assert isinstance(done[1].error, SweepError)
    assert "its worker died 2 times" in str(done[1].error)
    assert done[1].stage == "worker"
    assert sorted(writer.results()) == [0, 2]


@pytest.mark.ray
def test_a_task_that_does_not_answer_a_cancel_is_ended(
    city: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtmdx.sweep.ray_executor._GRACE", 1.0)
    writer = FolderWriter(str(tmp_path), slow=(0,))
    mark = tmp_path / "tried-0"
    with pytest.raises(Cancelled):
        list(chosen("ray", 1, request).run(job(city, {"seeds": 2}, writer, cancel=mark.exists)))
    assert writer.results() == {}


@pytest.mark.ray
def test_what_ray_cannot_give_is_said_and_not_waited_for(
    city: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = job(city, {"seed": [1]}, FolderWriter(str(tmp_path)))
    executor = chosen("ray", 1, request)
    with pytest.raises(SweepError, match="asks for 64 cores, but no node has more than 2"):
        list(executor.run(dataclasses.replace(run, threads=64)))
    with pytest.raises(SweepError, match=r"asks for 9000.0 GB, but no node has more than"):
        list(executor.run(dataclasses.replace(run, memory=9e12)))


def test_an_address_where_nobody_answers() -> None:
    pytest.importorskip("ray")
    from rtmdx.sweep.ray_executor import _require_listener

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SweepError, match=f"Ray address 127.0.0.1:{port}: nobody answers"):
        _require_listener(f"127.0.0.1:{port}")
    for bad in ("localhost", "ray://localhost:10001", "host:"):
        with pytest.raises(SweepError, match=r"expected host:port of the cluster's head"):
            _require_listener(bad)


@pytest.mark.ray
def test_an_address_other_than_that_of_the_session(city: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    cluster = request.getfixturevalue("cluster")
    run = job(city, {"seed": [1]}, FolderWriter(str(tmp_path)))
    own = cluster.get_runtime_context().gcs_address
    (done,) = make_executor("ray", workers=1, threads=1, address=own).run(run)
    assert done.error is None
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SweepError, match=f"{address}: this process has a session on {own} already"):
            list(make_executor("ray", workers=1, threads=1, address=address).run(run))


def test_choosing_an_executor() -> None:
    def make(name: str, **options: Any) -> Executor:
        return make_executor(name, **{"workers": None, "threads": 1, "address": None, **options})

    assert isinstance(make("serial"), SerialExecutor)
    assert isinstance(make("threads", workers=3), ThreadExecutor)
    for call, message in [
        (lambda: make("dask"), "expected one of serial, threads, ray"),
        (lambda: make("threads", address="a:1"), "is a Ray cluster's, but the executor is 'threads'"),
        (lambda: make("threads", workers=0), "workers: found 0"),
        (lambda: make("serial", workers=2), "the serial executor has one"),
        (lambda: make("threads", threads="2"), "threads: found '2'"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    assert workers_within(8, 1e9, 3.5e9) == 3
    with pytest.raises(SweepError, match=r"needs about 4.0 GB; 3.5 GB may be used"):
        workers_within(8, 4e9, 3.5e9)


class _Odd(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def test_errors_that_do_not_pickle_come_home_as_text() -> None:
    error = portable(_Odd(1, 2))
    assert str(error) == "_Odd: 1 and 2"
    same = InputError("x", hint="y")
    assert portable(same) is same
