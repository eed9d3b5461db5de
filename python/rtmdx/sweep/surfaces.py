"""The columns of factors, kept by their content: geometry, grid, kernel and bandwidth.

Whatever study asks for them: factors of one geometry share them, whatever they are called and wherever their
layer came from. A bandwidth is one column of bits, so studies of other reaches share those they have in common.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import OutputError
from rtmdx.model.columns import BitColumns, Columns, NestedColumns, computed_columns, density_column
from rtmdx.runs.provenance import build_info
from rtmdx.space.density import KernelName
from rtmdx.space.features import Features
from rtmdx.space.grid import Grid
from rtmdx.space.impedance import Impedance
from rtmdx.space.layers import Operationalization, RiskFactor
from rtmdx.sweep.kept import Kept

__all__ = ["SurfaceCount", "Surfaces"]

_HEAD = struct.Struct("<8sdqI")  # magic, threshold, bytes, CRC-32 of threshold and bytes
_MAGIC = b"rtmdxcol"


@dataclass(frozen=True, slots=True)
class SurfaceCount:
    """How many surfaces were asked for, and where they came from.

    Attributes
    ----------
    asked, computed, from_disk : int
        The rest was at hand in memory.
    """

    asked: int = 0
    computed: int = 0
    from_disk: int = 0

    @property
    def hit_rate(self) -> float:
        """Share that was not computed; 0 where nothing was asked for."""
        return 1 - self.computed / self.asked if self.asked else 0.0


class Surfaces:
    """Columns of factors, from memory, from a folder, or computed; a `rtmdx.model.columns.ColumnSource`.

    Parameters
    ----------
    limit : float
        Bytes held in memory at most.
    folder : path, optional
        Keeps the columns across sweeps, one file each. Files of another build are not read.

    Raises
    ------
    OutputError
        The folder cannot be made.
    """

    def __init__(self, limit: float, folder: str | os.PathLike[str] | None = None) -> None:
        self._kept = Kept(limit)
        self._digests: weakref.WeakKeyDictionary[RiskFactor, str] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._count = [0, 0, 0]
        self._folder: Path | None = None
        if folder is not None:
            self._folder = Path(folder) / _build_digest()
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"cache folder {folder}: cannot be made: {error.strerror or error}.") from None

    @property
    def count(self) -> SurfaceCount:
        """What was asked for so far."""
        return SurfaceCount(*self._count)

    def asked_again(self, n: int) -> None:
        """Count surfaces that a whole design at hand saved."""
        self._add(n, 0)

    def __call__(
        self,
        factor: RiskFactor,
        operationalization: Operationalization,
        grid: Grid,
        *,
        kernel: KernelName,
        impedance: Impedance | None,
        step: Callable[[], None],
        threads: int | None,
        cancel: Callable[[], bool] | None,
    ) -> Columns:
        """Return a factor's columns."""
        shape = self._digest(factor)
        features: list[Features] = []

        def prepared() -> Features:
            if not features:
                features.append(Features.from_geometries(factor.geometries))
            return features[0]

        if operationalization == "density":
            columns = BitColumns(grid.n_cells)
            room: list[NDArray[np.float64]] = []
            for bandwidth in factor.distances:

                def make(bandwidth: float = bandwidth) -> tuple[NDArray[np.uint8], float]:
                    if not room:
                        room.append(np.empty(grid.shape, dtype=np.float64))
                    column, threshold = density_column(
                        prepared(), grid, bandwidth, room[0], kernel=kernel, threads=threads, cancel=cancel
                    )
                    return np.packbits(column), threshold

                bits, threshold = self._get(("density", shape, grid.digest, kernel, float(bandwidth).hex()), make)
                columns.add(np.unpackbits(bits, count=grid.n_cells).view(np.bool_), threshold)
                step()
            return columns

        def codes() -> tuple[NDArray[np.uint8], float]:
            made = computed_columns(
                factor, operationalization, grid, kernel=kernel, impedance=impedance, step=_nothing,
                features=prepared(), threads=threads, cancel=cancel,
            )  # fmt: skip
            assert isinstance(made, NestedColumns)
            return made.codes, 0.0

        key = (operationalization, shape, grid.digest, *(float(d).hex() for d in factor.distances))
        if operationalization == "cost" and impedance is not None:
            key += (impedance_digest(impedance),)
        nested = NestedColumns(self._get(key, codes)[0], len(factor.distances))
        step()
        return nested

    def _get(
        self, key: tuple[str, ...], make: Callable[[], tuple[NDArray[np.uint8], float]]
    ) -> tuple[NDArray[np.uint8], float]:
        name = hashlib.sha256("\n".join(key).encode()).hexdigest()
        self._add(1, 0)

        def find() -> tuple[NDArray[np.uint8], float]:
            found = self._read(name)
            if found is not None:
                self._add(1, 2)
                return found
            made = make()
            self._add(1, 1)
            made[0].setflags(write=False)
            self._write(name, *made)
            return made

        return self._kept.get(name, find, lambda value: value[0].nbytes)

    def _add(self, n: int, which: int) -> None:
        with self._lock:
            self._count[which] += n

    def _digest(self, factor: RiskFactor) -> str:
        with self._lock:
            found = self._digests.get(factor)
        if found is None:
            found = geometry_digest(factor.geometries)
            with self._lock:
                self._digests[factor] = found
        return found

    def _read(self, name: str) -> tuple[NDArray[np.uint8], float] | None:
        if self._folder is None:
            return None
        try:
            data = (self._folder / name).read_bytes()
            magic, threshold, n, check = _HEAD.unpack_from(data)
        except (OSError, struct.error):
            return None
        body = data[_HEAD.size :]
        if magic != _MAGIC or len(body) != n or zlib.crc32(body, zlib.crc32(struct.pack("<d", threshold))) != check:
            return None  # damaged: made anew, and written over
        return np.frombuffer(body, dtype=np.uint8), float(threshold)

    def _write(self, name: str, values: NDArray[np.uint8], threshold: float) -> None:
        if self._folder is None:
            return
        body = values.tobytes()
        head = _HEAD.pack(_MAGIC, threshold, len(body), zlib.crc32(body, zlib.crc32(struct.pack("<d", threshold))))
        part = self._folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            part.write_bytes(head + body)
            part.replace(self._folder / name)
        except OSError:  # a cache that is full must not cost the sweep
            with suppress(OSError):
                part.unlink()


def geometry_digest(geometries: NDArray[np.object_]) -> str:
    """SHA-256 of the shapes, in their order."""
    import shapely

    h = hashlib.sha256()
    for part in shapely.to_wkb(geometries):
        h.update(part)
    return h.hexdigest()


def impedance_digest(impedance: Impedance) -> str:
    """SHA-256 of all that a cost distance depends on besides its features."""
    told = [str(impedance.connectivity), impedance.friction_digest]
    told += [geometry_digest(b.geometries) for b in impedance.barriers]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _build_digest() -> str:
    info = build_info()
    told: list[Any] = [info["rtmdx"], info["packages"]["numpy"], *sorted(map(str, info["engine"].items()))]
    return hashlib.sha256("\n".join(map(str, told)).encode()).hexdigest()[:16]


def _nothing() -> None:
    pass
