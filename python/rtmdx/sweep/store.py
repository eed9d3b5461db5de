"""The store of a sweep: one Zarr group per distinct grid, tables beside it, and a record per scenario, written last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rtmdx.errors import OutputError, RtmdxError, StoreError
from rtmdx.space.grid import Grid
from rtmdx.space.zarr_store import CHUNK, compressors, encoded_nan, spatial_attributes
from rtmdx.sweep.contract import GridEntry, Manifest, Problem, Record, ScenarioEntry, ScenarioResult, State
from rtmdx.sweep.lock import WriterLock

__all__ = ["LAYOUT", "StoreHandle", "SweepStore", "grid_of"]

LAYOUT = 1
_ARRAYS = {
    "score": {"long_name": "relative risk score", "units": "1"},
    "expected": {"long_name": "expected events per cell", "units": "1"},
}


@dataclass(frozen=True)
class StoreHandle:
    """What a worker writes with; holds no lock, and may be pickled.

    Attributes
    ----------
    path : str
    sweep_id : str
    ids : tuple of str
        Id of each scenario.
    places : tuple of (str, int)
        Grid and place in its arrays of each scenario.
    """

    path: str
    sweep_id: str
    ids: tuple[str, ...]
    places: tuple[tuple[str, int], ...]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_groups"}

    @cached_property
    def _groups(self) -> dict[str, tuple[Any, Any]]:
        return {}

    def write(self, index: int, result: ScenarioResult) -> Record:
        """Write a scenario's arrays and tables, then its record.

        Raises
        ------
        OSError
            The store cannot be written; the scenario is then not complete.
        """
        key, place = self.places[index]
        if key not in self._groups:
            import zarr

            group = zarr.open_group(Path(self.path, key), mode="r+")
            mask = np.unpackbits(np.load(Path(self.path, "state", f"mask-{key}.npy")))
            shape = tuple(int(n) for n in group["score"].shape[1:])  # type: ignore[union-attr]
            self._groups[key] = (group, mask[: shape[0] * shape[1]].reshape(shape).astype(bool))
        group, mask = self._groups[key]
        digests = {}
        for name in _ARRAYS:
            values = np.full(mask.shape, np.nan, dtype=np.float32)
            values[mask] = getattr(result, name)
            group[name][place] = values
            digests[name] = hashlib.sha256(values.tobytes()).hexdigest()
        text = _json(result.tables)
        digests["tables"] = hashlib.sha256(text.encode()).hexdigest()
        _replace(Path(self.path, "tables", f"{index}.json"), text)
        record = Record(index, self.ids[index], "succeeded", digests, result.summary)
        _replace(Path(self.path, "state", "records", f"{index}.json"), _json(asdict(record)))
        return record


class SweepStore:
    """A sweep's store in a folder; made by `create`, opened by `open`."""

    def __init__(self, path: Path, manifest: Manifest, lock: WriterLock | None) -> None:
        self.path, self.manifest, self._lock = path, manifest, lock

    @classmethod
    def exists(cls, url: str) -> bool:
        """Whether there is a sweep's store."""
        return Path(_local(url), "state", "manifest.json").is_file()

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
        path = _local(url)
        if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
            ours = cls.exists(url) or not {p.name for p in path.iterdir()} - {"state", "tables", "zarr.json"}
            if not (overwrite or not cls.exists(url)) or not (path.is_dir() and ours):
                raise OutputError(f"store {url}: exists.", hint="Choose another, or overwrite a sweep's store.")
        lock = None
        try:
            (path / "state").mkdir(parents=True, exist_ok=True)
            lock = WriterLock(path / "state" / "lock.json", url)
            for old in [p for p in path.iterdir() if p.name != "state"]:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            for old in [p for p in (path / "state").iterdir() if p.name != "lock.json"]:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            for name in ("tables", "state/records", "state/failed", "state/running"):
                (path / name).mkdir()
            _make_arrays(path, manifest)
            _replace(path / "state" / "manifest.json", _json(_plain(manifest)))
        except OSError as error:
            if lock is not None:
                lock.release()
            if isinstance(error, RtmdxError):
                raise
            raise OutputError(f"store {url}: cannot be made: {error.strerror or error}.") from None
        return cls(path, manifest, lock)

    @classmethod
    def open(cls, url: str, mode: Literal["r", "a"] = "r") -> SweepStore:
        """Open a store; "a" takes the writer's lock.

        Raises
        ------
        StoreError
            There is none, it is damaged or of another version, or another process writes to it.
        """
        path = _local(url)
        try:
            data = json.loads((path / "state" / "manifest.json").read_text(encoding="utf-8"))
            if data["layout"] != LAYOUT:
                raise StoreError(
                    f"store {url}: has layout {data['layout']}, this version of rtmdx reads {LAYOUT}.",
                    hint="Use the version that made it.",
                )
            manifest = _manifest(data, path)
        except FileNotFoundError as error:
            if not cls.exists(url):
                raise StoreError(f"store {url}: holds no sweep.", hint="Check the path.") from None
            raise StoreError(f"store {url}: is damaged; {error.filename} is missing.") from None
        except StoreError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"store {url}: its manifest cannot be read ({error}).") from None
        for name in ["tables", "state/records", *(g.key for g in manifest.grids)]:
            if not (path / name).is_dir():
                raise StoreError(f"store {url}: is damaged; {name} is missing.", hint="Start the sweep anew.")
        lock = None if mode == "r" else WriterLock(path / "state" / "lock.json", url)
        if lock is not None:
            _clean(path, parts=lock.taken_over)
        return cls(path, manifest, lock)

    def __enter__(self) -> SweepStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def handle(self) -> StoreHandle:
        """Return what workers write with."""
        next_place: dict[str, int] = {}
        places = []
        for entry in self.manifest.scenarios:
            places.append((entry.grid, next_place.setdefault(entry.grid, 0)))
            next_place[entry.grid] += 1
        ids = tuple(e.id for e in self.manifest.scenarios)
        return StoreHandle(str(self.path.absolute()), self.manifest.sweep_id, ids, tuple(places))

    def write(self, index: int, result: ScenarioResult) -> Record:
        """Write a scenario's result, its record last."""
        return self.handle().write(index, result)

    def start(self, index: int) -> None:
        """Note that a scenario has begun."""
        (self.path / "state" / "running" / str(index)).touch()

    def finished(self, index: int) -> None:
        """Note that a scenario is over, well or not."""
        (self.path / "state" / "running" / str(index)).unlink(missing_ok=True)

    def fail(self, index: int, error: BaseException, stage: str, trace: str = "") -> None:
        """Record a scenario's error."""
        told = error.to_dict() if isinstance(error, RtmdxError) else {"message": str(error), "hint": None}
        text = trace or "".join(traceback.format_exception(error))
        told = {**told, "type": type(error).__name__, "stage": stage, "traceback": text}
        record = Record(index, self.manifest.scenarios[index].id, "failed", {}, {}, told)
        _replace(self.path / "state" / "failed" / f"{index}.json", _json(asdict(record)))

    def states(self) -> dict[int, State]:
        """Return the state of each scenario."""
        found: dict[int, State] = dict.fromkeys(range(len(self.manifest.scenarios)), "pending")
        alive = (self.path / "state" / "lock.json").exists()
        for i in self._indices("running"):
            found[i] = "running" if alive else "aborted"
        for i in self._indices("failed"):
            found[i] = "failed"
        for i in self._indices("records"):
            found[i] = "succeeded"
        return found

    def pending(self, *, retry_failed: bool = False) -> list[int]:
        """Return the scenarios that have no result, without those that failed unless they are to run again."""
        over = self._indices("records") | (set() if retry_failed else self._indices("failed"))
        return [e.index for e in self.manifest.scenarios if e.index not in over]

    def record(self, index: int) -> Record | None:
        """Return a scenario's record, of its result or else of its failure; None where there is none."""
        for kind in ("records", "failed"):
            try:
                data = json.loads((self.path / "state" / kind / f"{index}.json").read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except ValueError as error:
                raise StoreError(f"store {self.path}: the record of scenario {index} is damaged ({error}).") from None
            return Record(**data)
        return None

    def tables(self, index: int) -> dict[str, list[dict[str, Any]]]:
        """Return a scenario's tables."""
        data: dict[str, list[dict[str, Any]]] = json.loads(
            (self.path / "tables" / f"{index}.json").read_text(encoding="utf-8")
        )
        return data

    def verify(self, progress: Callable[[str, int, int], None] | None = None) -> list[Problem]:
        """Compute every digest of complete scenarios anew; return what does not agree."""
        import zarr

        problems = []
        done = sorted(self._indices("records"))
        places = self.handle().places
        for k, index in enumerate(done):
            entry = self.manifest.scenarios[index]

            def bad(message: str, entry: ScenarioEntry = entry) -> None:
                problems.append(Problem(entry.index, entry.label, message))

            try:
                record = self.record(index)
            except StoreError as error:
                bad(str(error))
                continue
            if record is None or record.id != entry.id:
                bad("its record is another scenario's")
                continue
            for name in _ARRAYS:
                try:
                    values = zarr.open_group(self.path / entry.grid, mode="r")[name][places[index][1]]  # type: ignore[index]
                    if hashlib.sha256(np.asarray(values).tobytes()).hexdigest() != record.digests[name]:
                        bad(f"{name} differs from its record")
                except Exception as error:
                    bad(f"{name} cannot be read ({type(error).__name__}: {error})")
            try:
                text = (self.path / "tables" / f"{index}.json").read_bytes()
                if hashlib.sha256(text).hexdigest() != record.digests["tables"]:
                    bad("its tables differ from its record")
            except OSError as error:
                bad(f"its tables cannot be read ({error})")
            if progress is not None:
                progress("verify", k + 1, len(done))
        return problems

    def _indices(self, kind: str) -> set[int]:
        try:
            names = os.listdir(self.path / "state" / kind)
        except FileNotFoundError:
            return set()
        return {int(n.partition(".")[0]) for n in names if n[:1].isdigit()}


def grid_of(entry: GridEntry) -> Grid:
    """Return the grid of an entry of a manifest."""
    import pyproj

    mask = np.ones((entry.n_rows, entry.n_cols), dtype=np.bool_) if entry.kept is None else entry.kept
    return Grid(pyproj.CRS.from_wkt(entry.crs_wkt), entry.x0, entry.y0, entry.dx, mask)


def _make_arrays(path: Path, manifest: Manifest) -> None:
    import zarr

    zarr.create_group(path, zarr_format=3, attributes={"title": manifest.title, "sweep_id": manifest.sweep_id})
    for entry in manifest.grids:
        grid = grid_of(entry)
        scenarios = [s.index for s in manifest.scenarios if s.grid == entry.key]
        np.save(path / "state" / f"mask-{entry.key}.npy", np.packbits(grid.mask))
        group = zarr.create_group(path / entry.key, zarr_format=3, attributes=spatial_attributes(grid))
        sample = grid.dataarray(np.empty((0, 0), dtype=np.float32), "score", {}, (0, 0, 0, 0))
        plain: dict[str, Any] = {"compressors": None}
        for axis, values in (("y", grid.y), ("x", grid.x)):
            coordinate = group.create_array(axis, data=values, dimension_names=(axis,), **plain)
            coordinate.attrs.update(sample.coords[axis].attrs)
        place = group.create_array("scenario", data=np.array(scenarios), dimension_names=("scenario",), **plain)
        place.attrs.update({"long_name": "scenario's place in the sweep"})
        mapping = group.create_array("spatial_ref", data=np.array(0, dtype=np.int64), dimension_names=(), **plain)
        mapping.attrs.update(sample.coords["spatial_ref"].attrs)
        for name, attrs in _ARRAYS.items():
            array = group.create_array(
                name, shape=(len(scenarios), *grid.shape), dtype=np.float32,
                chunks=(1, *(min(CHUNK, n) for n in grid.shape)), dimension_names=("scenario", "y", "x"),
                compressors=compressors(), fill_value=np.nan,
            )  # fmt: skip
            array.attrs.update({**sample.attrs, **attrs, "coordinates": "spatial_ref", "_FillValue": encoded_nan()})


def _plain(manifest: Manifest) -> dict[str, Any]:
    grids = [{k: v for k, v in vars(g).items() if k != "kept"} | {"all": g.kept is None} for g in manifest.grids]
    return {**vars(manifest), "layout": LAYOUT, "scenarios": [vars(s) for s in manifest.scenarios], "grids": grids}


def _manifest(data: dict[str, Any], path: Path) -> Manifest:
    grids = []
    for entry in data["grids"]:
        kept = None
        if not entry.pop("all"):
            bits = np.unpackbits(np.load(path / "state" / f"mask-{entry['key']}.npy"))
            n = entry["n_rows"] * entry["n_cols"]
            kept = bits[:n].reshape(entry["n_rows"], entry["n_cols"]).astype(np.bool_)
        grids.append(GridEntry(**entry, kept=kept))
    scenarios = tuple(ScenarioEntry(**s) for s in data["scenarios"])
    named = {k: data[k] for k in ("sweep_id", "title", "config", "versions")}
    return Manifest(**named, scenarios=scenarios, grids=tuple(grids))


def _clean(path: Path, *, parts: bool) -> None:
    """Remove what a writer that is gone left: its marks, and, where it was killed, files it had half written."""
    for left in (path / "state" / "running").glob("*"):
        left.unlink(missing_ok=True)
    for left in path.rglob(".*") if parts else ():
        if left.is_file():
            left.unlink(missing_ok=True)


def _local(url: str) -> Path:
    if "://" in url:
        raise StoreError(f"store {url}: only folders are supported.", hint="Give a path.")
    return Path(url)


def _json(data: Any) -> str:
    return json.dumps(data, sort_keys=True, allow_nan=False)


def _replace(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    part.replace(path)
