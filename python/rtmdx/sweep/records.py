"""What became of each scenario: one record each, listed by name; their figures gathered for quick reading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from rtmdx.errors import StoreError
from rtmdx.sweep.contract import Manifest, Record
from rtmdx.sweep.layout import FAILED, RECORDS, SUMMARY, RecordName, canonical, digest_of, in_order
from rtmdx.sweep.objects import Objects

__all__ = ["Records"]

_READERS, _BLOCK = 16, 256


class Records:
    """The records of a store.

    Parameters
    ----------
    objects : Objects
    manifest : Manifest
    """

    def __init__(self, objects: Objects, manifest: Manifest) -> None:
        self._objects, self._manifest = objects, manifest
        self._ids = [s.id for s in manifest.scenarios]

    def done(self) -> dict[int, RecordName]:
        """List the scenarios that are complete; no record is opened."""
        return {name.index: name for name in self.listed() if self.known(name)}

    def listed(self) -> list[RecordName]:
        """List every completion record there is, another sweep's too, in order."""
        names = (RecordName.of(n) for n in self._objects.names(RECORDS))
        return sorted((n for n in names if n is not None), key=lambda n: (n.index, n.id, n.digest))

    def known(self, name: RecordName) -> bool:
        """Whether a record is of one of the manifest's scenarios."""
        return name.index < len(self._ids) and self._ids[name.index] == name.id

    def failed(self) -> set[int]:
        """List the scenarios that have failed."""
        stems = (n.removesuffix(".json") for n in self._objects.names(FAILED))
        return {int(s) for s in stems if s.isdecimal() and int(s) < len(self._ids)}

    def complete(self, record: Record, tables: dict[str, Any]) -> None:
        """Write a completion record, with the scenario's tables."""
        data = in_order({**asdict(record), "tables": tables})
        name = RecordName(record.index, record.id, digest_of(data))
        self._objects.create(f"{RECORDS}/{name}", data)

    def fail(self, record: Record) -> None:
        """Write the record of a failure."""
        self._objects.write(f"{FAILED}/{record.index}.json", canonical(asdict(record)))

    def forget_failure(self, index: int) -> None:
        """Delete the record of a failure."""
        self._objects.delete([f"{FAILED}/{index}.json"])

    def discard(self, index: int) -> None:
        """Delete all records of a scenario."""
        self._objects.delete([f"{RECORDS}/{n}" for n in self.listed() if n.index == index])
        self.forget_failure(index)

    def read(self, name: RecordName) -> tuple[Record, dict[str, Any]]:
        """Read a completion record and its tables.

        Raises
        ------
        StoreError
            It is damaged or gone.
        """
        where = f"store {self._objects.url}: the record of scenario {name.index}"
        data = self._objects.read(f"{RECORDS}/{name}")
        if data is None:
            raise StoreError(f"{where} is gone.")
        if digest_of(data) != name.digest:
            raise StoreError(f"{where} is damaged: it differs from the digest in its name.")
        try:
            body = json.loads(data)
            tables = body.pop("tables")
            record = Record(**body)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{where} is damaged ({error}).") from None
        if (record.index, record.id) != (name.index, name.id):
            raise StoreError(f"{where} is damaged: it is another scenario's.")
        return record, tables

    def failure(self, index: int) -> Record | None:
        """Read the record of a failure; None where there is none."""
        data = self._objects.read(f"{FAILED}/{index}.json")
        if data is None:
            return None
        try:
            return Record(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"store {self._objects.url}: the record of scenario {index}'s failure is damaged ({error})."
            ) from None

    def several(self, names: Iterable[RecordName]) -> Iterator[tuple[Record, dict[str, Any]] | StoreError]:
        """Read completion records in their order, several at a time; of a damaged one, the error."""

        def read(name: RecordName) -> tuple[Record, dict[str, Any]] | StoreError:
            try:
                return self.read(name)
            except StoreError as error:
                return error

        names = list(names)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="rtmdx-records") as pool:
            for first in range(0, len(names), _BLOCK):  # so that few tables are held
                yield from pool.map(read, names[first : first + _BLOCK])

    def failures(self, indices: Iterable[int]) -> list[Record | None]:
        """Read records of failures, several at a time."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="rtmdx-records") as pool:
            return list(pool.map(self.failure, indices))

    def summaries(self, damaged: dict[int, str] | None = None) -> dict[int, dict[str, Any]]:
        """Return the figures of each complete scenario; of those gathered before, no record is opened.

        Parameters
        ----------
        damaged : dict, optional
            Takes the scenarios whose record is damaged, with what is wrong.
        """
        done = self.done()
        gathered = self._gathered()
        found = {i: gathered[str(n)] for i, n in done.items() if str(n) in gathered}
        missing = [n for n in done.values() if n.index not in found]
        for name, read in zip(missing, self.several(missing), strict=True):
            if not isinstance(read, StoreError):
                found[name.index] = read[0].summary
            elif damaged is not None:
                damaged[name.index] = str(read)
        return dict(sorted(found.items()))

    def gather(self) -> None:
        """Write the figures of all complete scenarios into one file; for the holder of the lock."""
        done = self.done()
        if set(map(str, done.values())) != set(self._gathered()):
            figures = {str(done[i]): summary for i, summary in self.summaries().items()}
            self._objects.write(SUMMARY, canonical({"digest": digest_of(canonical(figures)), "summaries": figures}))

    def _gathered(self) -> dict[str, dict[str, Any]]:
        data = self._objects.read(SUMMARY)
        try:
            body: Any = {} if data is None else json.loads(data)
            figures: dict[str, dict[str, Any]] = body.get("summaries", {})
            return figures if body.get("digest") == digest_of(canonical(figures)) else {}
        except (ValueError, AttributeError, TypeError):
            return {}
