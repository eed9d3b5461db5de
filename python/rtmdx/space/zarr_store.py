"""Rasters in Zarr: the conventions every store of ours follows, and rasters too large for memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, InputError
from rtmdx.space.arguments import Cancel, Progress, frame_in, function
from rtmdx.space.frame import Frame, Window
from rtmdx.space.memory import require_bytes
from rtmdx.space.staging import replacing, require_own
from rtmdx.space.values import as_array, as_dtype, flag, named, text, whole

if TYPE_CHECKING:
    import zarr

__all__ = [
    "CHUNK",
    "compressors",
    "consolidate",
    "create_rasters",
    "encoded_nan",
    "spatial_attributes",
    "stream_to_zarr",
]

CHUNK = 1024

_TAKEN = {"x", "y", "spatial_ref", "zarr.json"}

_CONVENTIONS = [
    {
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/geo-proj/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/geo-proj/blob/v1/README.md",
        "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
        "name": "proj",
        "description": "Coordinate reference system information for geospatial data",
    },
    {
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v1/README.md",
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial",
        "description": "Spatial coordinate information",
    },
]


def stream_to_zarr(
    compute: Callable[[Window], NDArray[Any]],
    frame: Frame,
    path: str | os.PathLike[str],
    *,
    name: str = "surface",
    dtype: Any = "float32",
    attrs: dict[str, Any] | None = None,
    side: int = 4096,
    overwrite: bool = False,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> Path:
    """Compute a raster window by window into a Zarr store, in memory that does not grow with the raster.

    One window is computed while the one before is compressed and written, so at most three are held.
    Every operation gives a window the bits of the whole run, so the store holds what one array would.

    Parameters
    ----------
    compute : callable
        ``compute(window)`` returns that window's raster, shape (rows, columns), for example
        ``lambda window: rtmdx.distance_array(features, frame, window=window)``. Make `features` once,
        outside of it (`rtmdx.Features.of`).
    frame : Frame or Grid
        Outside a grid's mask a float raster is NaN, another 0.
    path : path
        Store to make; opened by ``xarray.open_zarr(path)``. It takes its name when whole.
    name : str
        Of the array, dims (y, x), chunks of 1024 x 1024; not that of a coordinate (x, y, spatial_ref).
    dtype : dtype
        Of the array.
    attrs : dict, optional
        Of the array: ``long_name``, ``units``.
    side : int
        Cells along a window; rounded up to whole chunks.
    overwrite : bool
        Replace a Zarr store that is there.
    cancel : callable, optional
        Asked before every window; a true value stops the run and leaves nothing.
    progress : callable, optional
        Called as ``progress(done, total)`` in windows.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        An argument is not usable, or `compute` returned another shape than the window's.
    MemoryLimitError
        Three windows would not fit in memory.
    OutputError
        `path` exists (and not `overwrite`, or is no Zarr store), or cannot be written.
    Cancelled
        `cancel` returned a true value.
    """
    kind, name, attrs = _asked(compute, frame, path, name, dtype, attrs)
    overwrite = flag(overwrite, "overwrite")
    side = min(whole(side, "side", least=1, what="a whole number of cells"), max(*frame.shape, 1))
    side = math.ceil(side / CHUNK) * CHUNK
    tell, asked = function(progress, "progress", "of (done, total)"), function(cancel, "cancel", "without arguments")
    largest = (min(side, frame.shape[0]), min(side, frame.shape[1]))
    require_bytes(3 * math.prod(largest) * kind.itemsize, "three windows", largest)
    windows = list(frame.windows(side))
    if overwrite:
        require_own(path, "Zarr store", set())
    with replacing(path, "Zarr store", overwrite=overwrite, folder=True) as new:
        array = create_rasters(new, frame, {name: attrs}, kind)[name]
        waiting: Future[None] | None = None
        # One writer, so chunks are never shared; the engine releases the GIL, so both go on at once.
        with ThreadPoolExecutor(max_workers=1) as writer:
            for done, window in enumerate(windows):
                if asked is not None and asked():
                    raise Cancelled("cancelled by the caller's check")
                if tell is not None:
                    tell(done, len(windows))
                values = _taken(compute(window), kind)
                if values.shape != window[2:]:
                    raise InputError(f"compute: returned the shape {values.shape} for a window of {window[2:]} cells.")
                if waiting is not None:
                    waiting.result()
                waiting = writer.submit(_write, array, frame, window, values)
            if waiting is not None:
                waiting.result()
        consolidate(new)
    if tell is not None:
        tell(max(len(windows), 1), max(len(windows), 1))
    return Path(path)


def _asked(
    compute: Any, frame: Any, path: Any, name: Any, dtype: Any, attrs: Any
) -> tuple[np.dtype[Any], str, dict[str, Any]]:
    """Check what is streamed where; return its dtype, name and attributes."""
    if not callable(compute):
        raise InputError(
            f"compute: found {named(compute)}, expected a function of a window.",
            hint="For example lambda window: rtmdx.distance_array(features, frame, window=window).",
        )
    frame_in(frame)
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(os.fspath(path)):
        raise InputError(f"path: found {named(path)}, expected the path of the store to make.")
    text(name, "name")
    if name in _TAKEN or "/" in name or "\0" in name or set(name) == {"."} or name.startswith("__"):
        raise InputError(
            f"name: found {name!r}, expected a name without '/', not of dots alone, not with '__' before it, and none "
            f"of {', '.join(sorted(_TAKEN))}, which the store holds already."
        )
    kind = as_dtype(dtype)
    if kind is None or kind.kind not in "fiub" or kind.itemsize > 8:
        raise InputError(f"dtype: found {named(dtype)}, expected a dtype of numbers of up to 8 bytes, or bool.")
    told = {} if attrs is None else attrs
    if not isinstance(told, dict) or not all(isinstance(key, str) for key in told):
        raise InputError(f"attrs: found {named(attrs)}, expected a dict with names as keys, or None.")
    try:
        json.dumps(told)
    except (TypeError, ValueError) as error:
        raise InputError(f"attrs: cannot be written as JSON ({error}).", hint="Give strings and numbers.") from None
    return kind, name, told


def _taken(values: Any, kind: np.dtype[Any]) -> NDArray[Any]:
    """Copy what `compute` returned: the next window may reuse the same array."""
    array = as_array(values)
    if array is None or array.dtype.kind not in "fiub":
        raise InputError(f"compute: returned {named(values)}, expected an array of numbers.")
    return np.array(array, dtype=kind)


def compressors() -> tuple[Any, Any]:
    """Blosc with byte shuffle, then CRC-32C: Blosc alone lets most flipped bits through."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    return BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()


def spatial_attributes(frame: Frame) -> dict[str, Any]:
    """Return a group's attributes that say where its rasters lie: the ``proj:`` and ``spatial:`` conventions."""
    authority = frame.crs.to_authority(min_confidence=100)
    return {
        "Conventions": "CF-1.11",
        "zarr_conventions": _CONVENTIONS,
        **({"proj:code": ":".join(authority)} if authority else {"proj:wkt2": frame.crs.to_wkt()}),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(frame.bounds),
        "spatial:transform_type": "affine",
        "spatial:transform": [float(v) for v in tuple(frame.transform)[:6]],
        "spatial:shape": list(frame.shape),
        "spatial:registration": "pixel",
    }


def consolidate(store: Path) -> None:
    """Put the metadata of all arrays into the root's, where xarray looks for it first.

    Zarr-Python can do it, but warns that the format's extension is not final; the store is whole here
    and never written again, and a reader that does not know the key may ignore it.
    """
    root = store / "zarr.json"
    group = json.loads(root.read_text(encoding="utf-8"))
    members = {
        file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in sorted(store.glob("*/zarr.json"))
    }
    group["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
    root.write_text(json.dumps(group, indent=1), encoding="utf-8")


def create_rasters(
    store: Path,
    frame: Frame,
    rasters: Mapping[str, dict[str, Any]],
    kind: np.dtype[Any],
    attributes: dict[str, Any] | None = None,
) -> dict[str, zarr.Array[Any]]:
    """Make a Zarr group with coordinates, grid mapping and empty rasters, dims (y, x); `attributes` are the group's."""
    import zarr

    # The coordinates and the grid mapping are those of any raster of the frame; only the arrays themselves are new.
    sample = frame.dataarray(np.empty((0, 0), dtype=kind), "raster", {}, (0, 0, 0, 0))
    plain: dict[str, Any] = {"compressors": None}
    group = zarr.create_group(store, zarr_format=3, attributes={**spatial_attributes(frame), **(attributes or {})})
    for axis, values in (("y", frame.y), ("x", frame.x)):
        coordinate = group.create_array(axis, data=values, dimension_names=(axis,), **plain)
        coordinate.attrs.update(sample.coords[axis].attrs)
    mapping = group.create_array("spatial_ref", data=np.array(0, dtype=np.int64), dimension_names=(), **plain)
    mapping.attrs.update(sample.coords["spatial_ref"].attrs)
    fill = np.nan if kind.kind == "f" else 0
    chunks = (min(CHUNK, max(frame.shape[0], 1)), min(CHUNK, max(frame.shape[1], 1)))
    # As xarray writes it: the mapping is a coordinate, and a float's fill value means missing.
    missing = {"_FillValue": encoded_nan()} if kind.kind == "f" else {}
    arrays = {}
    for name, attrs in rasters.items():
        arrays[name] = group.create_array(
            name,
            shape=frame.shape,
            dtype=kind,
            chunks=chunks,
            dimension_names=("y", "x"),
            compressors=compressors(),
            fill_value=fill,
        )
        arrays[name].attrs.update({**sample.attrs, **attrs, "coordinates": "spatial_ref", **missing})
    return arrays


def encoded_nan() -> str:
    """NaN as xarray writes a float ``_FillValue`` into Zarr attributes: its little-endian bytes in base64."""
    import base64

    return base64.standard_b64encode(np.array(np.nan, dtype="<f8").tobytes()).decode()


def _write(array: zarr.Array[Any], frame: Frame, window: Window, values: NDArray[Any]) -> None:
    row, col, height, width = window
    mask = getattr(frame, "mask", None)
    if mask is not None:
        outside = ~mask[row : row + height, col : col + width]
        values[outside] = np.nan if values.dtype.kind == "f" else 0
    array[row : row + height, col : col + width] = values
