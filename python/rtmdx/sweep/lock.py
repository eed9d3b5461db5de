"""One writer at a time: a lock with a heartbeat, which a dead process's successor takes over."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtmdx.errors import StoreError
from rtmdx.sweep.layout import LOCK, canonical
from rtmdx.sweep.objects import Objects

__all__ = ["Holder", "WriterLock", "holder_of"]

BEAT = 2.0  # seconds between two signs of life; also the least time between two writes of the lock
STALE = 60.0  # seconds without one, after which a writer on another machine may be gone
WATCH = 3.0 * BEAT  # and is taken for gone if it gives none meanwhile: clocks of two machines need not agree
_given_back: set[str] = set()  # tokens of this process's own locks that are over, whatever their files say


@dataclass(frozen=True)
class Holder:
    """Who writes to a store.

    Attributes
    ----------
    host, pid, started, boot
        Where it is, and what tells it from another process of the same number.
    token : str
        Its own.
    beat : float
        Unix time of its last sign of life.
    running : tuple of int
        Scenarios it had running then.
    released : bool
        It has given the lock back; the file stays where scenarios were left unfinished.
    """

    host: str
    pid: int
    started: str | None
    boot: str | None
    token: str
    beat: float
    running: tuple[int, ...] = ()
    released: bool = False

    def alive(self) -> bool:
        """Whether it lives, as far as can be told from here at once."""
        known = self.alive_here()
        return time.time() - self.beat < STALE if known is None else known

    def alive_here(self) -> bool | None:
        """Whether it lives, if it is a process of this machine; None if it is not."""
        if self.released or self.token in _given_back:
            return False
        if self.host != socket.gethostname():
            return None
        return self.boot == _boot() and _started(self.pid) == self.started

    def to_bytes(self) -> bytes:
        """Return it as it is stored."""
        return canonical({**vars(self), "running": list(self.running)})


def holder_of(data: bytes | None) -> Holder | None:
    """Read who holds a lock; None if nobody does, or it cannot be read."""
    try:
        found: Any = None if data is None else json.loads(data)
        return None if found is None else Holder(**{**found, "running": tuple(found["running"])})
    except (ValueError, TypeError, KeyError):
        return None


class WriterLock:
    """Held while a process writes to a store.

    Parameters
    ----------
    objects : Objects
    tick : callable, optional
        Called now and then from the thread of the heartbeat.

    Attributes
    ----------
    taken_over : Holder or None
        The dead writer whose lock it was.

    Raises
    ------
    StoreError
        A process that is alive holds it.
    """

    def __init__(self, objects: Objects, tick: Callable[[], None] = lambda: None) -> None:
        self._objects = objects
        self._tick = tick
        self.taken_over: Holder | None = None
        self._running: set[int] = set()
        self._guard = threading.Lock()
        self._lost = False
        self._over = threading.Event()
        pid = os.getpid()
        self._me = Holder(socket.gethostname(), pid, _started(pid), _boot(), uuid.uuid4().hex, time.time())
        self._held = self._me.to_bytes()
        self._take()
        self._thread = threading.Thread(target=self._beat, name="rtmdx-store-lock", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        try:
            if self._objects.create(LOCK, self._held):
                return
            data = self._objects.read(LOCK)
            if data is None:  # given back at this moment
                taken = self._objects.create(LOCK, self._held)
            else:
                self.taken_over = holder_of(data)
                self._require_dead(data, self.taken_over)
                taken = self._objects.swap(LOCK, data, self._held)
        except StoreError:
            raise
        except OSError as error:
            # one who has just taken it has tidied away what this one was writing
            if isinstance(error, FileNotFoundError) and self._objects.read(LOCK) is not None:
                raise StoreError(f"store {self._objects.url}: another process took its lock at this moment.") from None
            raise StoreError(f"store {self._objects.url}: cannot be written: {error.strerror or error}.") from None
        if not taken:
            raise StoreError(f"store {self._objects.url}: another process took its lock at this moment.")

    def _require_dead(self, data: bytes, holder: Holder | None) -> None:
        if holder is None:  # damaged; its writer, if there is one, will notice
            return
        if not holder.alive():
            if holder.alive_here() is not None:
                return
            end = time.monotonic() + WATCH
            while time.monotonic() < end:
                time.sleep(min(0.2, WATCH))
                if self._objects.read(LOCK) != data:
                    break
            else:
                return
        ago = max(0.0, time.time() - holder.beat)
        raise StoreError(
            f"store {self._objects.url}: is being written by process {holder.pid} on {holder.host} "
            f"(last sign of life {ago:.0f} s ago).",
            hint="Wait for it or end it; the store of a writer that is gone is taken over.",
        )

    def begin(self, index: int) -> None:
        """Note that a scenario is running."""
        self.require()
        with self._guard:
            self._running.add(index)

    def end(self, index: int) -> None:
        """Note that it is over."""
        with self._guard:
            self._running.discard(index)

    @property
    def running(self) -> tuple[int, ...]:
        """Scenarios that are running."""
        with self._guard:
            return tuple(sorted(self._running))

    def require(self) -> None:
        """Raise StoreError if another writer has taken over."""
        if self._lost:
            raise StoreError(
                f"store {self._objects.url}: another process took it over, as this one gave no sign of life for long."
            )

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(Exception):  # a full disk or a network that is away for a while: the next beat tries again
                self._renew()
            with suppress(Exception):
                self._tick()

    def _renew(self) -> None:
        new = self._now()
        with self._guard:
            if self._objects.swap(LOCK, self._held, new):
                self._held = new
            else:
                found = holder_of(self._objects.read(LOCK))
                self._lost = found is None or found.token != self._me.token

    def _now(self, *, released: bool = False) -> bytes:
        beat = {"beat": time.time(), "running": self.running, "released": released}
        return Holder(**{**vars(self._me), **beat}).to_bytes()

    def release(self) -> None:
        """Give it back; scenarios that are still running are left as aborted."""
        self._over.set()
        self._thread.join()
        _given_back.add(self._me.token)  # a store that has become read-only keeps the file
        with suppress(OSError):
            if self._objects.read(LOCK) != self._held:
                return
            left = False
            if self.running:
                with suppress(OSError):  # where nothing can be written any more, something can still be deleted
                    left = self._objects.swap(LOCK, self._held, self._now(released=True))
            if not left:
                self._objects.delete([LOCK])


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process began, so that a number used again is not taken for it; None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return "alive"
    return "alive"
