"""Who runs the scenarios: one after another, threads, or Ray. One protocol, so that the store is the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from rtmdx.errors import Cancelled, InputError, SweepError
from rtmdx.sweep.prepare import Workshop
from rtmdx.sweep.scenarios import Expansion
from rtmdx.sweep.work import Done, attempt

__all__ = ["EXECUTORS", "Executor", "Job", "SerialExecutor", "ThreadExecutor", "make_executor"]

EXECUTORS = ("serial", "threads", "ray")
_POLL = 0.2  # seconds between two questions whether to stop


@dataclass(frozen=True)
class Job:
    """What an executor is given.

    Attributes
    ----------
    store : object
        Has ``write(index, result)``; pickles to workers.
    expansion : Expansion
    order : sequence of int
        Scenarios to run, those that share work beside each other.
    workshop : Workshop
    threads : int
        Of the engine, per scenario.
    memory : float
        Bytes a scenario needs.
    cancel : callable
        Asked in the caller's thread, at least twice a second.
    started, retried : callable
        Called in the caller's thread with a scenario's index (and why).
    """

    store: Any
    expansion: Expansion
    order: Sequence[int]
    workshop: Workshop
    threads: int = 1
    memory: float = 0.0
    cancel: Callable[[], bool] = lambda: False
    started: Callable[[int], None] = lambda _: None
    retried: Callable[[int, str], None] = field(default=lambda _i, _why: None)


class Executor(Protocol):
    """Runs scenarios."""

    name: str

    def run(self, job: Job) -> Iterator[Done]:
        """Yield what became of each scenario, in any order.

        A scenario that raises is yielded with its error. When `job.cancel` says so, or the generator is closed, what
        runs is stopped within a second or so, and nothing of it counts as done.

        Raises
        ------
        Cancelled
            `job.cancel` returned true.
        SweepError
            Nothing can run: no resources, no connection.
        """


class SerialExecutor:
    """One scenario after another, in the caller's thread."""

    name = "serial"

    def run(self, job: Job) -> Iterator[Done]:
        """See `Executor.run`."""
        for index in job.order:
            if job.cancel():
                raise Cancelled("the sweep was cancelled; resume continues it.")
            job.started(index)
            yield attempt(
                job.store, index, job.expansion[index], job.workshop, threads=job.threads, cancel=job.cancel,
                worker="serial",
            )  # fmt: skip


class ThreadExecutor:
    """Threads of this process; fits leave the interpreter most of the time.

    Parameters
    ----------
    workers : int
        Scenarios at a time.
    """

    name = "threads"

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, job: Job) -> Iterator[Done]:
        """See `Executor.run`."""
        stop = threading.Event()
        left = iter(job.order)
        running: set[Future[Done]] = set()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="rtmdx-sweep")

        def submit() -> bool:
            index = next(left, None)
            if index is None:
                return False
            job.started(index)
            running.add(
                pool.submit(
                    attempt, job.store, index, job.expansion[index], job.workshop, threads=job.threads,
                    cancel=stop.is_set, worker="thread",
                )
            )  # fmt: skip
            return True

        try:
            while len(running) < self.workers and submit():
                pass
            while running:
                done, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
                if job.cancel():
                    raise Cancelled("the sweep was cancelled; resume continues it.")
                for future in done:
                    running.discard(future)
                    submit()  # before the result is looked at: no worker waits for the caller
                for future in done:
                    yield future.result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def make_executor(
    executor: str | Executor, *, workers: int | None, threads: int, address: str | None, retries: int = 2
) -> Executor:
    """Return an executor by name.

    Parameters
    ----------
    executor : {"serial", "threads", "ray"} or Executor
    workers : int, optional
        Scenarios at a time: the cores by the threads of each by default.
    threads : int
        Of the engine, per scenario.
    address : str, optional
        Of a Ray cluster, ``host:port``; one is started on this machine by default.
    retries : int
        Of a scenario whose worker or node died.

    Raises
    ------
    InputError
        No such executor, or options that do not go with it.
    """
    if not isinstance(executor, str):
        return executor
    if executor not in EXECUTORS:
        raise InputError(f"executor: found {executor!r}, expected one of {', '.join(EXECUTORS)}.")
    if address is not None and executor != "ray":
        raise InputError(f"address: {address!r} is a Ray cluster's, but the executor is {executor!r}.",
                         hint='Use executor="ray", or leave the address out.')  # fmt: skip
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise InputError(f"{name}: found {value!r}, expected a whole number of at least 1.")
    if executor == "serial":
        if workers not in (None, 1):
            raise InputError(f"workers: the serial executor has one, found {workers}.", hint='Use "threads" or "ray".')
        return SerialExecutor()
    if executor == "ray":
        from rtmdx.sweep.ray_executor import RayExecutor

        return RayExecutor(workers, address=address, retries=retries)
    return ThreadExecutor(workers or max(1, (os.cpu_count() or 1) // threads))


def workers_within(workers: int, memory: float, limit: float) -> int:
    """Return how many scenarios fit into memory at a time; raises SweepError where not even one does."""
    if memory > limit:
        raise SweepError(
            f"a scenario needs about {memory / 1e9:.1f} GB; {limit / 1e9:.1f} GB may be used.",
            hint="Use larger cells, or raise the memory limit.",
        )
    return max(1, min(workers, int(limit // memory))) if memory > 0 else workers
