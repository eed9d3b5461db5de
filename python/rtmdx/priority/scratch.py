"""Rows kept for a second look: in memory while they fit, else in a file that is gone when it is closed."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError, OutputError

__all__ = ["Scratch"]

Bytes = NDArray[np.uint8]


class Scratch:
    """Rows of bytes, by number; written once each, read by range. Any thread may do either.

    Parameters
    ----------
    n_rows : int
    length : int
        Bytes of a row at most.
    memory : float
        Bytes that may be held; where all rows at their longest need more, they go to a file.
    folder : path, optional
        Where the file is; by default that of temporary files.

    Raises
    ------
    InputError
        There is no such folder.
    OutputError
        The file cannot be made.
    """

    def __init__(self, n_rows: int, length: int, memory: float, folder: str | os.PathLike[str] | None = None) -> None:
        self._length = length
        self._rows: list[Bytes | None] = [None] * n_rows
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._held, self._memory = 0, memory
        self._folder = tempfile.gettempdir() if folder is None else os.fspath(folder)
        self._at: dict[int, int] = {}
        self._end = 0
        if not os.path.isdir(self._folder):
            raise InputError(f"scratch: found {self._folder!r}, expected a folder that exists.")

    def write(self, row: int, data: NDArray[Any]) -> None:
        """Keep a row."""
        raw = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
        with self._lock:
            if self._held + raw.nbytes <= self._memory:
                self._held += raw.nbytes
                self._rows[row] = raw.copy()
                return
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._folder, prefix="rtmdx-ranks-", buffering=0)  # noqa: SIM115
                self._file.seek(self._end)
                left = raw.data
                while left:
                    left = left[self._file.write(left) :]
            except OSError as error:
                free = shutil.disk_usage(self._folder).free
                raise OutputError(
                    f"scratch {self._folder}: cannot keep a row of {raw.nbytes / 1e6:,.1f} MB "
                    f"({error.strerror or error}; {free / 1e9:,.1f} GB are free).",
                    hint="Name another folder (scratch=...), or let more be held in memory (memory=...).",
                ) from None
            self._at[row] = self._end
            self._end += raw.nbytes

    def read(self, row: int, out: Bytes, start: int = 0) -> None:
        """Read as many bytes of a row as `out` holds, from `start`."""
        held = self._rows[row]
        if held is not None:
            out[:] = held[start : start + out.size]
            return
        assert self._file is not None
        with self._lock:
            self._file.seek(self._at[row] + start)
            left = out.data
            while left:
                n = self._file.readinto(left)  # type: ignore[attr-defined]
                if not n:
                    raise OutputError(f"scratch {self._folder}: a row that was written is not there any more.")
                left = left[n:]

    def close(self) -> None:
        """Let everything go."""
        self._rows = []
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
