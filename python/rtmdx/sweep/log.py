"""What happened when and where in a store: kept beside the records, and compared with nothing."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rtmdx.sweep.layout import LOG, canonical
from rtmdx.sweep.objects import Objects

__all__ = ["StoreLog"]

EVERY = 30.0  # seconds


@dataclass
class StoreLog:
    """One writer's log, a line of JSON per event."""

    objects: Objects
    lines: list[bytes] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)
    name: str = ""

    written: float = 0.0

    def add(self, event: str, index: int, **more: Any) -> None:
        """Note an event."""
        line = canonical({"time": round(time.time(), 3), "event": event, "index": index, **more})
        with self.guard:
            self.lines.append(line + b"\n")

    def tick(self) -> None:
        """Write the log if it has not been for a while: it is written whole, as object stores know no appending."""
        if time.monotonic() - self.written > EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the log."""
        with self.guard:
            self.written = time.monotonic()
            if self.lines:
                when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
                self.name = self.name or f"{when}-{_host()}-{os.getpid()}.jsonl"
                with suppress(OSError):
                    self.objects.write(f"{LOG}/{self.name}", b"".join(self.lines))


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname())
