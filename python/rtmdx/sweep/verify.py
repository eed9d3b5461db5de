"""Whether a store is what its records say: every digest computed anew, and every problem by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.errors import RtmdxError
from rtmdx.sweep.contract import GridEntry, Problem
from rtmdx.sweep.layout import ARRAYS, RecordName, chunks_of, digest_of

if TYPE_CHECKING:
    from rtmdx.sweep.store import SweepStore

__all__ = ["verify_store"]

_READERS = 4


def verify_store(
    store: SweepStore, files: dict[str, str], progress: Callable[[str, int, int], None] | None
) -> list[Problem]:
    """Compute every digest of a store anew.

    Parameters
    ----------
    store : SweepStore
    files : mapping of str to str
        Digests of what was written when it was made.
    progress : callable, optional
        Called as ``progress("verify", done, total)`` in scenarios.

    Returns
    -------
    list of Problem
        In the order of the scenarios; what concerns the whole store first.
    """
    problems = [Problem(None, "store", message) for message in _skeleton(store, files)]
    listed = store.records.listed()
    problems += [
        Problem(None, "store", f"the record {n} is of no scenario of this sweep")
        for n in listed
        if not store.records.known(n)
    ]
    known = [n for n in listed if store.records.known(n)]
    for index, n in sorted(Counter(n.index for n in known).items()):
        if n > 1:
            problems.append(Problem(index, store.manifest.scenarios[index].label, f"has {n} records that differ"))
    root = _Arrays(store)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="rtmdx-verify") as pool:
        for done, found in enumerate(pool.map(root.check, known), 1):
            problems += found
            if progress is not None:
                progress("verify", done, len(known))
    return problems


def _skeleton(store: SweepStore, files: dict[str, str]) -> Iterator[str]:
    for key, digest in files.items():
        data = store.objects.read(key)
        if data is None:
            yield f"{key} is missing"
        elif digest_of(data) != digest:
            yield f"{key} differs from what was written"


class _Arrays:
    """Checks scenarios one at a time."""

    def __init__(self, store: SweepStore) -> None:
        import zarr

        self._store = store
        self._zarr = store.objects.zarr()
        self._arrays: dict[tuple[str, str], Any] = {}
        for grid in store.manifest.grids:
            for name in ARRAYS:
                try:
                    self._arrays[grid.key, name] = zarr.open_array(self._zarr, path=f"{grid.key}/{name}", mode="r")
                except Exception:
                    self._arrays[grid.key, name] = None  # reported with the skeleton
        self._grids = {g.key: g for g in store.manifest.grids}

    def check(self, name: RecordName) -> list[Problem]:
        entry = self._store.manifest.scenarios[name.index]
        try:
            record, _ = self._store.records.read(name)
        except (RtmdxError, OSError) as error:
            return [Problem(entry.index, entry.label, str(error))]
        grid = self._grids[entry.grid]
        return [
            Problem(entry.index, entry.label, message)
            for array in ARRAYS
            for message in self._chunks(name.index, array, grid, record.digests.get(array, []))
        ]

    def _chunks(self, index: int, name: str, grid: GridEntry, digests: list[str]) -> Iterator[str]:
        array, place = self._arrays[grid.key, name], self._store.place(index)
        chunks = list(chunks_of((grid.n_rows, grid.n_cols)))
        if len(digests) != len(chunks):
            yield f"{name}: its record has {len(digests)} digests for {len(chunks)} chunks"
        for (key, rows, cols), digest in zip(chunks, digests, strict=False):
            where = f"{grid.key}/{name}/c.{place}.{key}"
            if array is None:
                yield f"{where} cannot be read"
                continue
            try:
                values = np.ascontiguousarray(array[place, rows, cols], dtype=np.float32)
            except Exception as error:
                yield f"{where} is damaged ({_first(error)})"
                continue
            if digest_of(values.data) != digest:
                gone = np.isnan(values).all()
                yield f"{where} is missing" if gone else f"{where} differs from its record"


def _first(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
