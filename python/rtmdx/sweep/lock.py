"""One writer at a time: a lock that a dead process leaves is taken over."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from rtmdx.errors import StoreError

__all__ = ["WriterLock"]


class WriterLock:
    """Holds a file while a process writes to a store.

    Parameters
    ----------
    path : Path
    store : str
        Its name, for messages.

    Raises
    ------
    StoreError
        A process that is alive, or one on another machine, holds it.
    """

    def __init__(self, path: Path, store: str) -> None:
        self._path = path
        self.taken_over = False  # from a process that is gone
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
        for _ in range(2):
            try:
                with path.open("x", encoding="utf-8") as f:
                    json.dump(mine, f)
                return
            except FileExistsError:
                pass
            except OSError as error:
                raise StoreError(f"store {store}: cannot be written: {error.strerror or error}.") from None
            held = _read(path)
            if held is not None and not _dead(held):
                raise StoreError(
                    f"store {store}: is being written by process {held.get('pid')} on {held.get('host')}.",
                    hint=f"Wait for it or end it; if it is gone for certain, remove {path}.",
                )
            with suppress(OSError):
                path.unlink()
                self.taken_over = True
        raise StoreError(f"store {store}: another process took its lock at this moment.")

    def release(self) -> None:
        """Give it back."""
        with suppress(OSError):
            self._path.unlink()


def _read(path: Path) -> dict[str, object] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _dead(held: dict[str, object]) -> bool:
    if held.get("host") != socket.gethostname() or not isinstance(held.get("pid"), int):
        return False
    return _started(int(str(held["pid"]))) != held.get("started")


def _started(pid: int) -> str | None:
    """When a process began, so that a number used again is not taken for it; None where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
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
