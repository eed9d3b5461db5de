"""Scenarios on Ray: this machine's cores, or a cluster's.

Inputs and designs are made here once and put into Ray's object store; tasks get them as direct arguments and read
them in place. Retries are ours and not Ray's, so that they are counted and end.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from rtmdx.errors import Cancelled, MissingDependencyError, SweepError
from rtmdx.model.design import Design
from rtmdx.runs.inputs import Inputs
from rtmdx.sweep.executors import Job
from rtmdx.sweep.plan import versions_now
from rtmdx.sweep.prepare import Prepared
from rtmdx.sweep.scenarios import Scenario
from rtmdx.sweep.work import Done, attempt, portable

__all__ = ["RayExecutor", "end_tasks", "ray_module"]

_CONNECT = 5.0  # seconds an address may take to answer
_GRACE = 5.0  # seconds a cancelled task may take to stop before its worker is ended
_AHEAD = 2  # tasks per worker that wait at the workers
_REFS = 4  # inputs and designs held for tasks to come


@dataclass(frozen=True)
class _Shipped:
    """What a task was given; a `rtmdx.sweep.work.Shared`."""

    inputs: Inputs
    design: Design

    def prepare(
        self,
        scenario: Scenario,  # noqa: ARG002
        *,
        threads: int | None = None,  # noqa: ARG002
        cancel: Callable[[], bool] | None = None,  # noqa: ARG002
    ) -> Prepared:
        return Prepared(self.inputs, self.design, "", "")


@dataclass(frozen=True)
class _Item:
    """A scenario ready to be sent, or why it is not."""

    scenario: Scenario
    inputs: Any = None
    design: Any = None
    failed: Done | None = None
    seconds: float = 0.0


def _task(
    common: tuple[Any, Any, dict[str, Any]], scenario: Scenario, inputs: Inputs, design: Design, threads: int
) -> Done:
    """Run one scenario in a worker; `common` is the store, the base study and the driver's versions."""
    store, base, versions = common
    here = f"{socket.gethostname()}:{os.getpid()}"
    if versions_now() != versions:
        error = SweepError(
            f"worker {here} has another build of rtmdx, or of what it uses, than the driver: its results could differ.",
            hint="Install the same wheels on every node.",
        )
        return Done(scenario.index, error, "worker", worker=here)
    done = attempt(
        store, scenario.index, replace(scenario, base=base), _Shipped(inputs, design), threads=threads, worker=here
    )
    return done if done.error is None else replace(done, error=portable(done.error))


class RayExecutor:
    """Workers of Ray.

    Parameters
    ----------
    workers : int, optional
        Scenarios at a time; as many as the machine or the cluster has cores for by default.
    address : str, optional
        ``host:port`` of a running cluster. Without one, a session that is already running in this process is used and
        left running; otherwise one is started on this machine and ended with the sweep.
    retries : int
        Of a scenario whose worker or node died, before it counts as failed.
    """

    name = "ray"

    def __init__(self, workers: int | None = None, *, address: str | None = None, retries: int = 2) -> None:
        self.workers, self.address, self.retries = workers, address, retries

    def run(self, job: Job) -> Iterator[Done]:
        """See `rtmdx.sweep.executors.Executor.run`."""
        ray = ray_module()
        ours = self.connect(ray, job.threads)
        try:
            yield from _Run(ray, self, job, ours=ours and self.address is None).events()
        finally:
            if ours:
                ray.shutdown()

    def connect(self, ray: Any, threads: int) -> bool:
        """Connect, for tasks of so many cores each; return whether the session is ours to end."""
        if self.address is not None:
            _require_listener(self.address)
        if ray.is_initialized():
            own = str(ray.get_runtime_context().gcs_address)
            if self.address not in (None, "auto") and _resolved(own) != _resolved(str(self.address)):
                raise SweepError(
                    f"Ray cluster {self.address}: this process has a session on {own} already.",
                    hint="End that (ray.shutdown()), or leave the address out.",
                )
            return False
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if self.address is None:
            workers = self.workers or max(1, (os.cpu_count() or 1) // threads)
            with _quiet():
                ray.init(address="local", num_cpus=workers * threads, include_dashboard=False, **options)
            return True
        try:
            with _quiet():
                ray.init(address=self.address, **options)
        except Exception as error:
            raise SweepError(
                f"Ray cluster {self.address}: cannot be joined ({_first_line(error)}).",
                hint="Check the address, and that this machine has the cluster's version of Ray and Python.",
            ) from None
        return True  # leaves the cluster, does not end it

    def slots(self, ray: Any, threads: int, memory: float, what: str = "a scenario") -> int:
        """Return how many tasks may run at a time; raises SweepError where not even one fits."""
        nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
        cpus = [int(r.get("CPU", 0) // threads) for r in nodes]
        if not any(cpus):
            most = max((r.get("CPU", 0) for r in nodes), default=0)
            raise SweepError(
                f"Ray: {what} asks for {threads} cores, but no node has more than {most:g}.",
                hint="Use fewer threads.",
            )
        fits = [min(c, int(r.get("memory", 0) // max(1.0, memory))) for c, r in zip(cpus, nodes, strict=True)]
        if not any(fits):
            most = max(r.get("memory", 0) for r in nodes)
            raise SweepError(
                f"Ray: {what} asks for {memory / 1e9:.1f} GB, but no node has more than {most / 1e9:.1f} GB.",
                hint="Use larger cells or smaller tiles, or nodes with more memory.",
            )
        return sum(fits) if self.workers is None else min(self.workers, sum(fits))


class _Run:
    """One sweep on a session of Ray."""

    def __init__(self, ray: Any, executor: RayExecutor, job: Job, *, ours: bool) -> None:
        self.ray, self.job, self.retries, self.ours = ray, job, executor.retries, ours
        slots = executor.slots(ray, job.threads, job.memory)
        # on cores that are not only ours, the number in flight is all that holds to the number asked for
        self.bound = slots * _AHEAD if ours or executor.workers is None else slots
        self.task = ray.remote(_task).options(
            num_cpus=job.threads, memory=int(job.memory), max_retries=0, retry_exceptions=False
        )
        self.common = ray.put((job.store, dict(job.expansion.spec.study.to_dict()), versions_now()))
        self.flying: dict[Any, tuple[_Item, int]] = {}
        self.ready: queue.Queue[_Item | None] = queue.Queue(maxsize=max(2, slots))
        self.stop = threading.Event()
        self.feeder = threading.Thread(target=self._feed, name="rtmdx-sweep-feed", daemon=True)

    def events(self) -> Iterator[Done]:
        """Yield what became of each scenario."""
        self.feeder.start()
        fed = False
        try:
            while self.flying or not fed:
                if self.job.cancel():
                    raise Cancelled("the sweep was cancelled; resume continues it.")
                while not fed and len(self.flying) < self.bound:
                    try:
                        item = self.ready.get(timeout=0.0 if self.flying else 0.2)
                    except (queue.Empty, ValueError):
                        break
                    if item is None:
                        fed = True
                    elif item.failed is not None:
                        self.job.started(item.scenario.index)
                        yield item.failed
                    else:
                        self.job.started(item.scenario.index)
                        self._submit(item, 0)
                if not self.flying:
                    continue
                hungry = not fed and len(self.flying) < self.bound
                done, _ = self.ray.wait(list(self.flying), num_returns=1, timeout=0.005 if hungry else 0.2)
                if done:  # and whatever else is there
                    done, _ = self.ray.wait(list(self.flying), num_returns=len(self.flying), timeout=0)
                for ref in done:
                    found = self._collect(ref)
                    if found is not None:
                        yield found
        finally:
            self.stop.set()
            self._abandon()

    def _submit(self, item: _Item, attempts: int) -> None:
        ref = self.task.remote(self.common, item.scenario, item.inputs, item.design, self.job.threads)
        self.flying[ref] = (item, attempts)

    def _collect(self, ref: Any) -> Done | None:
        """Return what became of a task; None where it is tried again."""
        errors = self.ray.exceptions
        item, attempts = self.flying.pop(ref)
        index = item.scenario.index
        try:
            done: Done = self.ray.get(ref)
        except errors.RayTaskError as error:  # beyond what `attempt` catches: what was sent cannot be read there
            why = _last_line(error)
            hint = "Install the same wheels of rtmdx on every node." if "No module named" in why else None
            return Done(index, SweepError(f"its worker could not take it on: {why}", hint=hint), "worker", str(error))
        except errors.RayError as error:  # the worker or its node died, or was ended for lack of memory
            why = f"{type(error).__name__}: {_first_line(error).partition('. ')[0]}"
            if attempts < self.retries and not isinstance(error, errors.TaskCancelledError):
                self.job.retried(index, why)
                self._submit(item, attempts + 1)
                return None
            times = f"{attempts + 1} time{'s' if attempts else ''}"
            return Done(index, SweepError(f"its worker died {times}; the last: {why}"), "worker", str(error))
        return replace(done, seconds=done.seconds + item.seconds)

    def _feed(self) -> None:
        """Prepare scenarios ahead of the workers, in a thread of its own."""
        refs: OrderedDict[str, Any] = OrderedDict()

        def put(key: str, value: Any) -> Any:
            if key not in refs:
                refs[key] = self.ray.put(value)
            refs.move_to_end(key)
            while len(refs) > 2 * _REFS:
                refs.popitem(last=False)
            return refs[key]

        for index in self.job.order:
            if self.stop.is_set():
                return
            scenario = self.job.expansion[index]
            light = replace(scenario, base={})
            start = time.perf_counter()
            try:
                made = self.job.workshop.prepare(scenario, cancel=self.stop.is_set)
                item = _Item(
                    light, put("i" + made.inputs_key, made.inputs), put("d" + made.design_key, made.design),
                    seconds=time.perf_counter() - start,
                )  # fmt: skip
            except Cancelled:
                return
            except Exception as error:
                item = _Item(light, failed=Done(index, error, "layers", worker="driver"))
            self._offer(item)
        self._offer(None)

    def _offer(self, item: _Item | None) -> None:
        while not self.stop.is_set():
            with suppress(queue.Full):
                self.ready.put(item, timeout=0.2)
                return

    def _abandon(self) -> None:
        """Stop what runs: ask first, then end the workers. A session of ours ends with all it runs."""
        left = [] if self.ours else list(self.flying)
        self.flying.clear()
        end_tasks(self.ray, left)
        if self.feeder.is_alive():
            self.feeder.join(_GRACE)


def end_tasks(ray: Any, tasks: list[Any]) -> None:
    """Ask tasks to stop, and end the workers of those that do not.

    Not for a session of ours, which ends with all it runs: a cancel that meets a task's end can bring Ray down.
    """
    with suppress(Exception):  # the session may be gone
        for ref in tasks:
            ray.cancel(ref, force=False)
        if tasks:
            _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=_GRACE)
        for ref in tasks:
            ray.cancel(ref, force=True)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def ray_module() -> Any:
    """Import Ray; raises MissingDependencyError where it is not installed."""
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise MissingDependencyError('the executor "ray" needs Ray.', hint="pip install 'rtmdx[ray]'") from None
    return ray


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray says while it starts off the terminal, errors apart."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _resolved(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        host = socket.gethostbyname(host)
    return host, port


def _require_listener(address: str) -> None:
    """Raise in seconds where nobody answers; Ray itself tries for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in address:
        raise SweepError(
            f"Ray address: found {address!r}, expected host:port of the cluster's head.",
            hint="`ray start --head` prints it; the port is 6379 unless told otherwise.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT).close()
    except OSError as error:
        raise SweepError(
            f"Ray address {address}: nobody answers ({error.strerror or error}).",
            hint="Check that the cluster runs (`ray status`) and that its port can be reached from here.",
        ) from None
