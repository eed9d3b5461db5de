"""How a store is laid out: names, the manifest, and the arrays' metadata, which is written once and never changed."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import StoreError
from rtmdx.space.grid import Grid
from rtmdx.space.zarr_store import CHUNK, compressors, encoded_nan, spatial_attributes
from rtmdx.sweep.contract import GridEntry, Manifest, ScenarioEntry

__all__ = [
    "ARRAYS", "CHUNK", "FAILED", "LAYOUT", "LOCK", "LOG", "MANIFEST", "RECORDS", "SUMMARY", "RecordName", "canonical",
    "chunks_of", "digest_of", "grid_of", "in_order", "manifest_bytes", "places_of", "read_manifest", "skeleton",
]  # fmt: skip

LAYOUT = 1
MANIFEST = "state/manifest.json"
LOCK = "state/lock.json"
SUMMARY = "state/summary.json"
RECORDS = "state/records"
FAILED = "state/failed"
LOG = "state/log"

ARRAYS = {
    "score": {"long_name": "relative risk score", "units": "1"},
    "expected": {"long_name": "expected events per cell", "units": "1"},
}

_RECORD = re.compile(r"(\d+)-([0-9a-zA-Z]+)-([0-9a-f]{32})\.json")


@dataclass(frozen=True)
class RecordName:
    """The name of a completion record, which says all that a listing needs."""

    index: int
    id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.index}-{self.id}-{self.digest}.json"

    @classmethod
    def of(cls, text: str) -> RecordName | None:
        """Read a name; None where it is none."""
        found = _RECORD.fullmatch(text)
        return None if found is None else cls(int(found[1]), found[2], found[3])


def in_order(data: Any) -> bytes:
    """Return plain data as JSON that keeps the order of keys: that of a table's columns says something."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode()


def canonical(data: Any) -> bytes:
    """Return plain data as JSON, the same bytes for the same data."""
    return json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def digest_of(data: bytes | memoryview) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def grid_of(entry: GridEntry) -> Grid:
    """Return the grid of an entry of a manifest."""
    import pyproj

    mask = np.ones((entry.n_rows, entry.n_cols), dtype=np.bool_) if entry.kept is None else entry.kept
    return Grid(pyproj.CRS.from_wkt(entry.crs_wkt), entry.x0, entry.y0, entry.dx, mask)


def places_of(manifest: Manifest) -> tuple[int, ...]:
    """Return the place of each scenario in the arrays of its grid."""
    taken: dict[str, int] = {}
    places = []
    for entry in manifest.scenarios:
        places.append(taken.get(entry.grid, 0))
        taken[entry.grid] = places[-1] + 1
    return tuple(places)


def chunks_of(shape: tuple[int, int]) -> Iterator[tuple[str, slice, slice]]:
    """Yield the key (without the scenario), rows and columns of each chunk of a raster, in the order of digests."""
    rows, cols = shape
    for i in range(math.ceil(rows / CHUNK)):
        for j in range(math.ceil(cols / CHUNK)):
            yield (
                f"{i}.{j}",
                slice(i * CHUNK, min((i + 1) * CHUNK, rows)),
                slice(j * CHUNK, min((j + 1) * CHUNK, cols)),
            )


def manifest_bytes(manifest: Manifest, files: dict[str, bytes]) -> bytes:
    """Return the manifest as it is stored, with digests of itself and of the skeleton's files."""
    grids = [{k: v for k, v in vars(g).items() if k != "kept"} | {"all": g.kept is None} for g in manifest.grids]
    body = {
        **vars(manifest),
        "layout": LAYOUT,
        "scenarios": [vars(s) for s in manifest.scenarios],
        "grids": grids,
        "files": {key: digest_of(data) for key, data in sorted(files.items())},
    }
    return canonical({"digest": digest_of(canonical(body)), **body})


def read_manifest(data: bytes, url: str, kept: Any) -> tuple[Manifest, dict[str, str]]:
    """Read a manifest and the digests of the skeleton's files.

    Parameters
    ----------
    data : bytes
    url : str
        The store, for messages.
    kept : callable
        ``kept(key)`` returns the mask of a grid, shape (rows, cols).

    Raises
    ------
    StoreError
        It is damaged, or of another version.
    """
    try:
        body = json.loads(data)
        layout = body["layout"]
        if layout != LAYOUT:
            raise StoreError(
                f"store {url}: has layout {layout}, this version of rtmdx reads {LAYOUT}.",
                hint="Use the version that made it.",
            )
        if body.pop("digest") != digest_of(canonical(body)):
            raise ValueError("it differs from its digest")
        grids = [
            GridEntry(
                **{k: v for k, v in entry.items() if k != "all"}, kept=None if entry["all"] else kept(entry["key"])
            )
            for entry in body["grids"]
        ]
        named = {k: body[k] for k in ("sweep_id", "title", "config", "versions")}
        scenarios = tuple(ScenarioEntry(**s) for s in body["scenarios"])
        return Manifest(**named, scenarios=scenarios, grids=tuple(grids)), dict(body["files"])
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"store {url}: its manifest is damaged ({error}).", hint="Start the sweep anew.") from None


def skeleton(manifest: Manifest) -> dict[str, bytes]:
    """Return every file of the Zarr hierarchy but the chunks of results: metadata, coordinates, masks.

    All metadata is final, so it is consolidated at once: one read opens a group, also while results are written.
    """
    import zarr
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    store = MemoryStore(held)
    places = places_of(manifest)
    attributes = {
        "title": manifest.title,
        "sweep_id": manifest.sweep_id,
        "comment": "A group per grid; state/records holds a record of each scenario that is complete.",
    }
    root = zarr.create_group(store, zarr_format=3, attributes=attributes)
    for entry in manifest.grids:
        own = [s for s in manifest.scenarios if s.grid == entry.key]
        assert [places[s.index] for s in own] == list(range(len(own)))
        _group(root, entry, own)
    files = {key: bytes(value.to_bytes()) for key, value in held.items()}
    metadata = {key: json.loads(value) for key, value in files.items() if key.endswith("zarr.json")}
    for key, own_metadata in metadata.items():
        folder = key.removesuffix("zarr.json")
        if own_metadata["node_type"] == "group":
            members = {
                k.removeprefix(folder).removesuffix("/zarr.json"): v
                for k, v in sorted(metadata.items()) if k != key and k.startswith(folder)
            }  # fmt: skip
            consolidated = {"kind": "inline", "must_understand": False, "metadata": members}
            files[key] = json.dumps({**own_metadata, "consolidated_metadata": consolidated}, indent=1).encode()
    return files


def _group(root: Any, entry: GridEntry, scenarios: list[ScenarioEntry]) -> None:
    grid = grid_of(entry)
    group = root.create_group(entry.key, attributes=spatial_attributes(grid))
    sample = grid.dataarray(np.empty((0, 0), dtype=np.float32), "score", {}, (0, 0, 0, 0))
    # whole in one chunk each, and uncompressed, so that any reader can have them
    plain: dict[str, Any] = {"compressors": None}
    for axis, values in (("y", grid.y), ("x", grid.x)):
        group.create_array(
            axis,
            data=values,
            chunks=values.shape,
            dimension_names=(axis,),
            attributes=sample.coords[axis].attrs,
            **plain,
        )
    n = len(scenarios)
    index = np.array([s.index for s in scenarios], dtype=np.int64)
    place = {"long_name": "scenario's place in the sweep"}
    group.create_array(
        "scenario", data=index, chunks=(max(n, 1),), dimension_names=("scenario",), attributes=place, **plain
    )
    for name, texts in (("scenario_id", [s.id for s in scenarios]), ("scenario_label", [s.label for s in scenarios])):
        array = group.create_array(
            name, shape=(n,), dtype=str, chunks=(max(n, 1),), dimension_names=("scenario",), **plain
        )
        array[:] = np.array(texts, dtype=object)
    group.create_array(
        "spatial_ref", data=np.array(0, dtype=np.int64), dimension_names=(),
        attributes=sample.coords["spatial_ref"].attrs, **plain,
    )  # fmt: skip
    raster: dict[str, Any] = {"chunks": tuple(min(CHUNK, n) for n in grid.shape), "compressors": compressors()}
    kept: NDArray[np.uint8] = grid.mask.astype(np.uint8)
    flags = {"long_name": "cell is in the study area", "flag_values": [0, 1], "flag_meanings": "outside kept"}
    group.create_array(
        "kept", data=kept, dimension_names=("y", "x"), fill_value=0,
        attributes={**flags, "grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}, **raster,
    )  # fmt: skip
    for name, attrs in ARRAYS.items():
        group.create_array(
            name, shape=(n, *grid.shape), dtype=np.float32, dimension_names=("scenario", "y", "x"), fill_value=np.nan,
            # a name for each chunk in one folder: no folder per scenario
            chunk_key_encoding={"name": "default", "separator": "."},
            attributes={
                **sample.attrs, **attrs, "coordinates": "spatial_ref scenario_id scenario_label",
                "_FillValue": encoded_nan(),
            },
            **{**raster, "chunks": (1, *raster["chunks"])},
        )  # fmt: skip
