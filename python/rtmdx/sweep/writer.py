"""Writing results: what a worker is given, from whole rasters or tile by tile, the record always last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError, RtmdxError, StoreError
from rtmdx.space.frame import Window
from rtmdx.sweep.contract import Manifest, Record, ScenarioResult
from rtmdx.sweep.layout import ARRAYS, CHUNK, LOCK, MANIFEST, chunks_of, digest_of, places_of, read_manifest
from rtmdx.sweep.objects import Objects, objects_at
from rtmdx.sweep.records import Records

__all__ = ["StoreHandle", "TileDigests", "forget_writers", "read_store", "reason"]

Raster = NDArray[np.float32]
TileDigests = dict[str, str]  # of chunks that are written: array and place -> digest


@dataclass(frozen=True)
class StoreHandle:
    """What a worker writes with; holds no lock, and may be pickled.

    Attributes
    ----------
    url : str
    sweep_id : str
    """

    url: str
    sweep_id: str

    def write(self, index: int, result: ScenarioResult) -> Record:
        """Write a scenario's arrays, then its record with the tables.

        Raises
        ------
        StoreError, OSError
            The store cannot be written, or has become another sweep's; the scenario is then not complete.
        """
        return _writer(self.url, self.sweep_id).write(index, result)

    def write_tile(self, index: int, window: Window, score: Raster, expected: Raster) -> TileDigests:
        """Write a window of a scenario's rasters; what it returns is for `complete`.

        Tiles may be written by any process, in any order; none counts before `complete`.

        Parameters
        ----------
        index : int
        window : (row, column, rows, columns)
            Of whole chunks: it begins at multiples of 1024 and ends at such or at the grid's edge.
        score, expected : float32 arrays, shape (rows, columns)
            NaN outside the study area.

        Raises
        ------
        InputError
            The window is none of whole chunks, or an array is not of its shape.
        StoreError, OSError
            As `write`.
        """
        return _writer(self.url, self.sweep_id).write_tile(index, window, {"score": score, "expected": expected})

    def complete(
        self,
        index: int,
        tiles: Iterable[TileDigests],
        tables: dict[str, list[dict[str, Any]]],
        summary: dict[str, Any],
    ) -> Record:
        """Write a scenario's record, after all its tiles.

        Raises
        ------
        InputError
            The tiles do not cover the grid.
        StoreError, OSError
            As `write`.
        """
        return _writer(self.url, self.sweep_id).complete(index, tiles, tables, summary)


class _Writer:
    """A process's own view of a store, for writing results."""

    def __init__(self, objects: Objects, manifest: Manifest) -> None:
        self._objects, self._manifest = objects, manifest
        self._records = Records(objects, manifest)
        self._places = places_of(manifest)
        self._grids = {g.key: g for g in manifest.grids}
        self._arrays: dict[str, Any] = {}

    def write(self, index: int, result: ScenarioResult) -> Record:
        grid = self._grids[self._manifest.scenarios[index].grid]
        shape = (grid.n_rows, grid.n_cols)
        rasters = {name: _raster(getattr(result, name), shape, grid.kept, name) for name in ARRAYS}
        tile = self.write_tile(index, (0, 0, *shape), rasters)
        return self.complete(index, [tile], result.tables, result.summary)

    def write_tile(self, index: int, window: Window, rasters: dict[str, Raster]) -> TileDigests:
        grid = self._grids[self._manifest.scenarios[index].grid]
        row, col, height, width = window
        chunks = [
            (key, rows, cols) for key, rows, cols in chunks_of((grid.n_rows, grid.n_cols))
            if row <= rows.start and rows.stop <= row + height and col <= cols.start and cols.stop <= col + width
        ]  # fmt: skip
        area = sum((rows.stop - rows.start) * (cols.stop - cols.start) for _, rows, cols in chunks)
        if area != height * width or area == 0:
            raise InputError(f"window: found {window}, expected one of whole chunks of {CHUNK} x {CHUNK} cells.")
        digests: TileDigests = {}
        with self._told():
            for name, raster in rasters.items():
                if raster.shape != (height, width) or raster.dtype != np.float32:
                    raise InputError(
                        f"{name}: found {raster.dtype} of shape {raster.shape}, expected float32 of {(height, width)}."
                    )
                array = self._array(f"{grid.key}/{name}")
                for key, rows, cols in chunks:
                    part = raster[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col]
                    part = np.ascontiguousarray(part)
                    array[self._places[index], rows, cols] = part
                    digests[f"{name} {key}"] = digest_of(part.data)
        return digests

    def complete(
        self, index: int, tiles: Iterable[TileDigests], tables: dict[str, Any], summary: dict[str, Any]
    ) -> Record:
        entry = self._manifest.scenarios[index]
        grid = self._grids[entry.grid]
        found = {key: digest for tile in tiles for key, digest in tile.items()}
        keys = [key for key, _, _ in chunks_of((grid.n_rows, grid.n_cols))]
        missing = [f"{name} {key}" for name in ARRAYS for key in keys if f"{name} {key}" not in found]
        if missing:
            raise InputError(f"tiles: {len(missing):,} chunks were not written, the first is {missing[0]}.")
        digests = {name: [found[f"{name} {key}"] for key in keys] for name in ARRAYS}
        record = Record(index, entry.id, "succeeded", digests, summary)
        with self._told():
            self._objects.settle(f"{entry.grid}/{name}" for name in ARRAYS)
            self._records.complete(record, tables)
        return record

    def _array(self, path: str) -> Any:
        if path not in self._arrays:
            import zarr

            self._arrays[path] = zarr.open_array(self._objects.zarr(writable=True), path=path, mode="r+")
        return self._arrays[path]

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn an object store's errors into ours."""
        try:
            yield
        except (RtmdxError, OSError):
            raise
        except Exception as error:
            if type(error).__module__.startswith("obstore"):
                raise StoreError(f"store {self._objects.url}: cannot be written ({error}).") from None
            raise


@lru_cache(maxsize=8)
def _writer(url: str, sweep_id: str) -> _Writer:
    objects = objects_at(url)
    manifest, _ = read_store(objects)
    if manifest.sweep_id != sweep_id:
        raise StoreError(f"store {url}: has become another sweep's.")
    return _Writer(objects, manifest)


def forget_writers() -> None:
    """Forget what this process knows of stores, one of which has just been made anew."""
    _writer.cache_clear()


def reason(error: OSError) -> str:
    """Say why, without the file."""
    return str(error.strerror or error).rstrip(".")


def _raster(
    cells: NDArray[np.float32], shape: tuple[int, int], kept: NDArray[np.bool_] | None, name: str
) -> NDArray[np.float32]:
    """Return kept cells as a raster, NaN elsewhere."""
    n = shape[0] * shape[1] if kept is None else int(np.count_nonzero(kept))
    cells = np.asarray(cells)
    if cells.shape != (n,) or cells.dtype != np.float32:
        raise InputError(f"{name}: found {cells.dtype} of shape {cells.shape}, expected float32 of shape ({n},).")
    if kept is None:
        return cells.reshape(shape)
    raster = np.full(shape, np.nan, dtype=np.float32)
    raster[kept] = cells
    return raster


def read_store(objects: Objects) -> tuple[Manifest, dict[str, str]]:
    """Read the manifest, with the masks of its grids."""
    url = objects.url
    try:
        data = objects.read(MANIFEST)
    except RtmdxError:
        raise
    except OSError as error:
        raise StoreError(f"store {url}: cannot be read: {reason(error)}.") from None
    if data is None:
        if objects.read(LOCK) is None and objects.read("zarr.json") is None:
            raise StoreError(f"store {url}: holds no sweep.", hint="Check the path.")
        raise StoreError(f"store {url}: is damaged; {MANIFEST} is missing.", hint="Start the sweep anew.")

    def kept(key: str) -> NDArray[np.bool_]:
        import zarr

        try:
            found = zarr.open_array(objects.zarr(), path=f"{key}/kept", mode="r")
            return np.asarray(found[:]).astype(np.bool_)
        except RtmdxError:
            raise
        except Exception as error:
            raise StoreError(
                f"store {url}: is damaged; the mask of grid {key} cannot be read ({error}).",
                hint="Start the sweep anew.",
            ) from None

    manifest, files = read_manifest(data, url, kept)
    for grid in manifest.grids:
        for name in ARRAYS:
            if objects.read(f"{grid.key}/{name}/zarr.json") is None:
                raise StoreError(
                    f"store {url}: is damaged; {grid.key}/{name} is missing.", hint="Start the sweep anew."
                )
    return manifest, files
