"""The store of a sweep: one Zarr group per distinct grid, and a record per scenario, written last."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from rtmdx.errors import InputError, OutputError, RtmdxError, StoreError
from rtmdx.sweep.contract import Manifest, Problem, Record, ScenarioResult, State
from rtmdx.sweep.layout import LOCK, MANIFEST, digest_of, grid_of, manifest_bytes, places_of, skeleton
from rtmdx.sweep.lock import WriterLock, holder_of
from rtmdx.sweep.log import StoreLog
from rtmdx.sweep.objects import FolderObjects, Objects, objects_at
from rtmdx.sweep.records import Records
from rtmdx.sweep.writer import StoreHandle, forget_writers, read_store, reason

__all__ = ["StoreHandle", "SweepStore", "grid_of"]


class SweepStore:
    """A sweep's store; made by `create`, opened by `open`. What is asked of it is what is there at that moment.

    Attributes
    ----------
    url : str
    manifest : Manifest
    """

    def __init__(
        self,
        objects: Objects,
        manifest: Manifest,
        files: dict[str, str],
        lock: WriterLock | None = None,
        log: StoreLog | None = None,
    ) -> None:
        self.url, self.manifest = objects.url, manifest
        self.objects, self._files = objects, files
        self._lock = lock
        self._log = StoreLog(objects) if log is None else log
        self.records = Records(objects, manifest)
        self._places = places_of(manifest)
        self._failed_before: set[int] = set() if lock is None else self.records.failed()

    @classmethod
    def exists(cls, url: str) -> bool:
        """Whether there is a sweep's store."""
        return objects_at(url).read(MANIFEST) is not None

    @classmethod
    def create(cls, url: str, manifest: Manifest, *, overwrite: bool = False) -> SweepStore:
        """Make a store for a manifest, and take its lock.

        Raises
        ------
        StoreError
            Another process writes to it.
        OutputError
            There is something else in its place, or it cannot be written.
        """
        objects = objects_at(url)
        there = objects.read(MANIFEST) is not None
        if there and not overwrite:
            raise OutputError(f"store {url}: exists.", hint="Choose another, or overwrite it.")
        # an attempt to make a store, or to replace one, that was killed has left its lock
        if not there and objects.read(LOCK) is None and objects.occupied():
            raise OutputError(f"store {url}: holds something else.", hint="Choose an empty or a new folder.")
        log = StoreLog(objects)
        lock = WriterLock(objects, log.tick)
        try:
            objects.delete([MANIFEST])
            objects.clear(LOCK)
            files = skeleton(manifest)
            for key, data in files.items():
                objects.write(key, data)
            objects.write(MANIFEST, manifest_bytes(manifest, files))
        except BaseException as error:
            with suppress(Exception):
                objects.clear(LOCK)
            lock.release()
            if isinstance(error, OSError) and not isinstance(error, RtmdxError):
                raise OutputError(f"store {url}: cannot be made: {error.strerror or error}.") from None
            raise
        forget_writers()
        return cls(objects, manifest, {k: digest_of(v) for k, v in files.items()}, lock, log)

    @classmethod
    def open(cls, url: str, mode: Literal["r", "a"] = "r") -> SweepStore:
        """Open a store; "a" takes the writer's lock, also that of a writer that is dead.

        Raises
        ------
        StoreError
            There is none, it is damaged or of another version, or another process writes to it.
        """
        if mode not in ("r", "a"):
            raise InputError(f"mode: found {mode!r}, expected 'r' or 'a'.")
        objects = objects_at(url)
        log, lock = StoreLog(objects), None
        if mode == "a" and objects.read(MANIFEST) is not None:  # no lock is left where there is no store
            lock = WriterLock(objects, log.tick)
        try:
            if lock is not None:
                objects.tidy()
            manifest, files = read_store(objects)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return cls(objects, manifest, files, lock, log)

    def __enter__(self) -> SweepStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gather the figures of what is complete, and give the lock back."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            self._log.flush()
            with suppress(RtmdxError, OSError):  # it only saves time: each record has them too
                lock.require()
                self.records.gather()
        finally:
            lock.release()

    def handle(self) -> StoreHandle:
        """Return what workers write with."""
        url = str(self.objects.path) if isinstance(self.objects, FolderObjects) else self.url
        return StoreHandle(url, self.manifest.sweep_id)

    def write(self, index: int, result: ScenarioResult) -> Record:
        """Write a scenario's result, its record last; raises as `StoreHandle.write`."""
        return self.handle().write(index, result)

    def start(self, index: int) -> None:
        """Note that a scenario has begun; an earlier failure of it is forgotten."""
        self._writing().begin(index)
        self._log.add("started", index)
        if index in self._failed_before:
            self._failed_before.discard(index)
            self.records.forget_failure(index)

    def finished(self, index: int) -> None:
        """Note that a scenario is over, well or not."""
        self._writing().end(index)
        self._log.add("finished", index)

    def fail(self, index: int, error: BaseException, stage: str, trace: str = "") -> None:
        """Record a scenario's error.

        Raises
        ------
        StoreError
            The error is that the store cannot be written (a full disk): that is not the scenario's, which stays
            pending; or the record cannot be written.
        """
        lock = self._writing()
        if stage == "store" and isinstance(error, OSError):
            raise StoreError(
                f"store {self.url}: cannot be written: {reason(error)}.", hint="Mend it and resume the sweep."
            ) from error
        told = error.to_dict() if isinstance(error, RtmdxError) else {"message": str(error), "hint": None}
        text = trace or "".join(traceback.format_exception(error))
        told = {**told, "type": type(error).__name__, "stage": stage, "traceback": text}
        try:
            self.records.fail(Record(index, self.manifest.scenarios[index].id, "failed", {}, {}, told))
        except OSError as problem:
            raise StoreError(
                f"store {self.url}: cannot be written: {reason(problem)}.", hint="Mend it and resume the sweep."
            ) from None
        lock.end(index)
        self._failed_before.add(index)
        self._log.add("failed", index, message=told["message"])

    def states(self) -> dict[int, State]:
        """Return the state of each scenario."""
        found: dict[int, State] = dict.fromkeys(range(len(self.manifest.scenarios)), "pending")
        if self._lock is not None:
            found |= dict.fromkeys(self._lock.running, "running")
        else:
            holder = holder_of(self.objects.read(LOCK))
            if holder is not None and holder.running:
                state: State = "running" if holder.alive() else "aborted"
                found |= {i: state for i in holder.running if i in found}
        found |= dict.fromkeys(self.records.failed(), "failed")
        found |= dict.fromkeys(self.records.done(), "succeeded")
        return found

    def pending(self, *, retry_failed: bool = False) -> list[int]:
        """Return the scenarios that have no result, without those that failed unless they are to run again."""
        over = set(self.records.done()) | (set() if retry_failed else self.records.failed())
        return [e.index for e in self.manifest.scenarios if e.index not in over]

    def record(self, index: int) -> Record | None:
        """Return a scenario's record, of its result or else of its failure; None where there is none.

        Raises
        ------
        StoreError
            It is damaged.
        """
        name = self.records.done().get(index)
        return self.records.failure(index) if name is None else self.records.read(name)[0]

    def tables(self, index: int) -> dict[str, list[dict[str, Any]]]:
        """Return a complete scenario's tables; raises InputError where it is not complete, StoreError where damaged."""
        name = self.records.done().get(index)
        if name is None:
            raise InputError(f"scenario {index}: is not complete.", hint="Resume the sweep.")
        return self.records.read(name)[1]

    def verify(self, progress: Callable[[str, int, int], None] | None = None) -> list[Problem]:
        """Compute every digest anew; return what is damaged, each chunk by name."""
        from rtmdx.sweep.verify import verify_store

        return verify_store(self, self._files, progress)

    def discard(self, index: int) -> None:
        """Forget a scenario's result, as damaged; it is pending then."""
        self._writing()
        self.records.discard(index)

    def place(self, index: int) -> int:
        """Return a scenario's place in the arrays of its grid."""
        return self._places[index]

    def _writing(self) -> WriterLock:
        if self._lock is None:
            raise StoreError(f"store {self.url}: is open for reading only.", hint='Open it with mode "a".')
        self._lock.require()
        return self._lock
