"""Stand-ins for a sweep's store, where a test needs to see or disturb what a worker writes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtmdx.sweep.contract import ScenarioResult


@dataclass(frozen=True)
class FolderWriter:
    """Writes each result as one file; two writers that differ in one bit leave different files.

    `kill` names scenarios whose worker dies when it first writes them; `always` those whose worker dies each time;
    `slow` those that take long.
    """

    folder: str
    kill: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    slow: tuple[int, ...] = ()

    def write(self, index: int, result: ScenarioResult) -> str:
        mark = Path(self.folder) / f"tried-{index}"
        if index in self.always or (index in self.kill and not mark.exists()):
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        if index in self.slow:
            mark.write_text("")
            time.sleep(600)
        text = json.dumps([result.tables, result.summary], sort_keys=True, allow_nan=False).encode()
        part = Path(self.folder) / f".{index}.{os.getpid()}"
        part.write_bytes(result.score.tobytes() + result.expected.tobytes() + text)
        part.replace(Path(self.folder) / f"{index}.result")
        return str(index)

    def results(self) -> dict[int, bytes]:
        return {int(p.stem): p.read_bytes() for p in Path(self.folder).glob("*.result")}


class RaisingWriter:
    """A store that cannot be written."""

    def write(self, index: int, result: Any) -> None:  # noqa: ARG002
        raise OSError(28, "No space left on device")


@dataclass(frozen=True)
class Hungry:
    """A store's handle in front of which some scenarios ask for all memory: they are refused it, or killed
    for it while they write."""

    handle: Any
    hungry: tuple[int, ...]
    kills: bool

    def write(self, index: int, result: ScenarioResult) -> Any:
        if index in self.hungry:
            if self.kills:
                half = Path(self.handle.url, "state", "records", f".{index}.json.host-{os.getpid()}-0.part")
                half.write_bytes(b"half a record")
                os.kill(os.getpid(), signal.SIGKILL)
            np.ones(1 << 60, dtype=np.uint8)
        return self.handle.write(index, result)


def content(store: Path) -> dict[str, str]:
    """Digest of every file that results are made of: all but what tells of hosts, times and attempts."""
    return {
        str(p.relative_to(store)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(store.rglob("*"))
        if p.is_file() and not {"log", "lock"} & {*p.relative_to(store).parts, p.stem}
    }


def same_store(a: Path, b: Path) -> None:
    """Assert that two stores hold the same files, to the bit."""
    x, y = content(a), content(b)
    other = sorted(set(x) ^ set(y))
    assert other == [], f"files of one store alone: {other}"
    changed = [k for k in x if x[k] != y[k]]
    assert changed == [], f"files that differ: {changed}"
