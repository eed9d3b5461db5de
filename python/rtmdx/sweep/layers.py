"""Layers of a sweep: each file read once, each edit made once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdx.errors import FileError
from rtmdx.runs.edits import Edit, apply_edits
from rtmdx.runs.inputs import LayerReader
from rtmdx.runs.study import ExposureSpec, Source, Study
from rtmdx.space.layers import frame_digest
from rtmdx.space.readers import file_digest
from rtmdx.sweep.kept import Kept

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

__all__ = ["EditedReader", "SharedLayers", "edits_key", "edits_of"]

Read = tuple["gpd.GeoDataFrame", int, str, str]


class SharedLayers:
    """What the scenarios of a sweep read, and the digests of it.

    Parameters
    ----------
    data : path or None
        Folder relative paths start from.
    layers : mapping of str to GeoDataFrame
        Layers in memory.
    limit : float
        Bytes of frames held at most.
    """

    def __init__(self, data: Path | None, layers: Mapping[str, gpd.GeoDataFrame], limit: float) -> None:
        if data is not None and not data.is_dir():
            raise FileError(f"data folder {data} does not exist.", hint="Give the folder that holds the layers.")
        self.data, self.layers = data, layers
        self.frames = Kept(limit)
        self._digests: dict[str, str] = {}

    def digests(self, study: Study) -> dict[str, str]:
        """SHA-256 of every file and layer in memory that a study names; a file that is missing has none."""
        found = {}
        for key, source in sources(study).items():
            if key in self.layers:
                found[f"layer {key}"] = self._once(f"layer {key}", partial(frame_digest, self.layers[key]))
            elif isinstance(source, str) or source.path is not None:
                name = source if isinstance(source, str) else str(source.path)
                path = LayerReader(self.data, {}).resolve(name)
                if path.exists():
                    found[name] = self._once(name, partial(file_digest, path))
        return found

    def _once(self, name: str, make: Any) -> str:
        if name not in self._digests:
            self._digests[name] = make()
        return self._digests[name]


class EditedReader(LayerReader):
    """Reads the layers of one scenario: from what is shared, with its edits."""

    def __init__(self, shared: SharedLayers, area: Source, edits: tuple[Edit, ...] = ()) -> None:
        super().__init__(shared.data, shared.layers)
        self._shared, self._area, self._edits = shared, area, edits

    def read(self, source: Source, key: str, what: str) -> Read:
        """Return the frame, rows in the layer, the source's name for people, and its digest."""
        place = (
            ("memory", key)
            if key in self.layers
            else (str(source.path), source.layer, source.crs, source.x, source.y, source.where)
        )

        def anew() -> Read:
            return super(EditedReader, self).read(source, key, what)

        found: Read = self._shared.frames.get(place, anew, _size)
        edits = edits_of(self._edits, key)
        if not edits:
            return found
        crs: pyproj.CRS = self.read(self._area, "area", "study area")[0].crs
        # a layer that is filtered for keeps what is added to it
        fields = {k: v for k, v in source.filter.items() if k in found[0].columns}

        def edited() -> Read:
            frame, total, name, digest = found
            frame, more = apply_edits(frame, edits, crs, what, fields)
            told = hashlib.sha256(f"{digest}\n{edits_key(edits)}".encode()).hexdigest()
            return frame, total + more, f"{name} (edited)", told

        made_of = (*place, edits_key(edits), str(crs), json.dumps(fields, sort_keys=True))
        return self._shared.frames.get(made_of, edited, _size)


def edits_of(edits: tuple[Edit, ...], key: str) -> tuple[Edit, ...]:
    """Return the edits of one layer, in their order."""
    return tuple(e for e in edits if e.layer == key)


def edits_key(edits: tuple[Edit, ...]) -> str:
    """What tells edits apart, as text; empty for none."""
    return json.dumps([e.model_dump(mode="json", exclude={"label"}) for e in edits]) if edits else ""


def sources(study: Study) -> dict[str, Source | str]:
    """The layers of a study by key, and its rasters by path."""
    found: dict[str, Source | str] = {"area": study.area, "outcome": study.outcome}
    later = study.holdout_source
    if later is not None:
        found["holdout"] = later
    found |= {f.name: f for f in study.factors}
    if study.impedance is not None:
        found |= {b.name: b for b in study.impedance.barriers}
        if study.impedance.friction is not None:
            found["impedance.friction"] = study.impedance.friction
    if study.model.districts is not None:
        found["districts"] = study.model.districts
    if isinstance(study.exposure, ExposureSpec):
        raster = study.exposure.measure == "raster"
        found["exposure"] = str(study.exposure.path) if raster else study.exposure
    return found


def _size(read: Read) -> float:
    return float(read[0].memory_usage(deep=True).sum()) + 200.0 * len(read[0])
