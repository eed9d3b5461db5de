"""Who works on tiles: threads of this process, or workers of Ray."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol

from rtmdx.errors import InputError, SweepError
from rtmdx.space.frame import Window
from rtmdx.space.values import whole
from rtmdx.sweep.plan import versions_now
from rtmdx.sweep.tile_work import TileWork

__all__ = ["Tiles", "make_tiles"]

_POLL = 0.2  # seconds between polls
_AHEAD = 2  # tiles per worker that are sent, or wait to be taken


class Tiles(Protocol):
    """Workers for the tiles of one run.

    Attributes
    ----------
    workers : int
        Tiles at a time.
    here : bool
        Whether they work in this process, in its memory.
    """

    workers: int
    here: bool

    def give(self, work: TileWork, memory: float) -> None:
        """Take what every tile needs, and the bytes that work on one takes; for the whole run."""

    def over(
        self, windows: Sequence[Window], method: str, arguments: tuple[Any, ...], poll: Callable[[], None]
    ) -> Iterator[tuple[Window, Any]]:
        """Call a method of the work on every window; yield as they are done, in any order.

        `poll` is called often; what it raises stops the work, as does the first tile that fails.
        """


@contextmanager
def make_tiles(
    executor: str, *, workers: int | None = None, address: str | None = None, retries: int = 2
) -> Iterator[Tiles]:
    """Give workers by name, and end them with the block.

    Raises
    ------
    InputError
        No such executor, or options that do not go with it.
    SweepError
        Ray cannot be joined.
    """
    if executor not in ("threads", "ray"):
        raise InputError(f"executor: found {executor!r}, expected one of threads, ray.")
    if address is not None and executor != "ray":
        raise InputError(f"address: {address!r} is a Ray cluster's, but the executor is {executor!r}.",
                         hint='Use executor="ray", or leave the address out.')  # fmt: skip
    asked = None if workers is None else whole(workers, "workers", least=1)
    if executor == "threads":
        yield _Threads(asked or os.cpu_count() or 1)
        return
    from rtmdx.sweep.ray_executor import RayExecutor, end_tasks, ray_module

    ray, session = ray_module(), RayExecutor(asked, address=address, retries=retries)
    ours = session.connect(ray, 1)
    try:
        yield _RayTiles(ray, session, end_tasks, ours=ours and address is None)
    finally:
        if ours:
            ray.shutdown()


class _Threads:
    """Threads of this process: the work is native code without the interpreter's lock."""

    here = True

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._work: TileWork | None = None

    def give(self, work: TileWork, memory: float) -> None:  # noqa: ARG002
        self._work = work

    def over(
        self, windows: Sequence[Window], method: str, arguments: tuple[Any, ...], poll: Callable[[], None]
    ) -> Iterator[tuple[Window, Any]]:
        stop = threading.Event()
        call = getattr(self._work, method)
        left = iter(windows)
        running: dict[Future[Any], Window] = {}
        with ThreadPoolExecutor(self.workers, thread_name_prefix=f"rtmdx-{method}") as pool:
            try:
                while True:
                    while len(running) < _AHEAD * self.workers and (window := next(left, None)) is not None:
                        running[pool.submit(call, window, *arguments, stop=stop.is_set)] = window
                    if not running:
                        return
                    done, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
                    poll()
                    for future in done:
                        yield running.pop(future), future.result()
            except BaseException:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _tile(work: TileWork, versions: dict[str, str], method: str, window: Window, arguments: tuple[Any, ...]) -> Any:
    """Do one pass on one tile in a worker of Ray."""
    if versions_now() != versions:
        raise SweepError(
            "a worker has another build of rtmdx, or of what it uses, than the driver: its results could differ.",
            hint="Install the same wheels on every node.",
        )
    return getattr(work, method)(window, *arguments)


class _RayTiles:
    """Workers of Ray. What every tile needs is put into its object store once, and read in place."""

    here = False

    def __init__(self, ray: Any, session: Any, end: Callable[[Any, list[Any]], None], *, ours: bool) -> None:
        self._ray, self._session, self.workers, self._ours = ray, session, session.workers or 1, ours
        self._end = end
        self._work: Any = None
        self._task: Any = None

    def give(self, work: TileWork, memory: float) -> None:
        self.workers = self._session.slots(self._ray, 1, memory, "a tile")
        self._work = self._ray.put(work)
        self._task = self._ray.remote(_tile).options(num_cpus=1, memory=int(memory), max_retries=0)

    def over(
        self, windows: Sequence[Window], method: str, arguments: tuple[Any, ...], poll: Callable[[], None]
    ) -> Iterator[tuple[Window, Any]]:
        given = self._ray.put(arguments)  # once, not with every task
        versions = versions_now()
        left = iter(windows)
        flying: dict[Any, tuple[Window, int]] = {}

        def send(window: Window, attempts: int) -> None:
            flying[self._task.remote(self._work, versions, method, window, given)] = (window, attempts)

        try:
            while True:
                while len(flying) < _AHEAD * self.workers and (window := next(left, None)) is not None:
                    send(window, 0)
                if not flying:
                    return
                done, _ = self._ray.wait(list(flying), num_returns=1, timeout=_POLL)
                poll()
                for ref in done:
                    window, attempts = flying.pop(ref)
                    try:
                        found = self._ray.get(ref)
                    except self._ray.exceptions.RayTaskError as error:
                        raise _cause(error) from None
                    except self._ray.exceptions.RayError as error:  # the worker or its node died
                        if attempts >= self._session.retries:
                            raise SweepError(
                                f"the worker of tile {window} died {attempts + 1} times; the last: "
                                f"{type(error).__name__}.",
                                hint="Use smaller tiles, or fewer workers at a time.",
                            ) from None
                        send(window, attempts + 1)
                        continue
                    yield window, found
        finally:
            if not self._ours:
                self._end(self._ray, list(flying))


def _cause(error: Any) -> BaseException:
    """What was raised in the worker, without Ray's dress."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return cause
    lines = str(error).strip().splitlines()
    return SweepError(f"a worker could not take a tile on: {lines[-1] if lines else type(error).__name__}")
