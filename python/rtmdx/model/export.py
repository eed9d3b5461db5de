"""Exports of a risk terrain: Zarr, cloud-optimised GeoTIFF, GeoPackage and CSV.

Every writer makes its output beside the target and renames it when whole, so a name that exists is a
finished file, and a write that fails leaves nothing behind. Every output carries the study and its
provenance. Scores are float64 everywhere: the same bits in every format.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError, MissingDependencyError, OutputError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.model.terrain import RiskTerrain

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "band_index",
    "provenance_json",
    "replacing",
    "tables",
    "write_geopackage",
    "write_geotiff",
    "write_tables",
    "write_zarr",
]

SCHEMA_VERSION = 1
CHUNK = 1024
TABLES = ("cells", "factors", "model", "variables", "validity", "selection_trace")

_RASTERS = {
    "score": "Relative risk score: product of the relative risk values present, lowest cell 1",
    "expected": "Expected events per cell over the outcome's period",
}
_OUTSIDE = 255  # of the uint8 layers


@contextmanager
def replacing(
    path: str | os.PathLike[str], what: str, *, overwrite: bool = False, folder: bool = False
) -> Iterator[Path]:
    """Give a temporary path that takes the name `path` when the block ends without an error.

    Parameters
    ----------
    path : path
        Final name; its folder must exist.
    what : str
        The output, for messages: "report".
    overwrite : bool
        Replace what is there. A folder only ever replaces a folder, a file a file.
    folder : bool
        The output is a folder, which the block makes.

    Raises
    ------
    OutputError
        `path` exists, its folder is missing or not writable, or writing failed.
    """
    final = Path(path).absolute()
    _require_free(final, what, overwrite, folder)
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    except OSError as error:
        raise OutputError(
            f"{what} {final}: its folder cannot be written: {error.strerror or error}.",
            hint="Choose a folder that exists and that you may write.",
        ) from None
    try:
        new = stage / final.name
        yield new
        _require_free(final, what, overwrite, folder)
        if folder and final.exists():
            old = stage / "old"
            final.rename(old)
            try:
                new.rename(final)
            except OSError:
                old.rename(final)
                raise
        else:
            new.replace(final)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{what} {final}: cannot be written: {error.strerror or error}.",
            hint="Check the free space and the rights of the folder.",
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _require_free(final: Path, what: str, overwrite: bool, folder: bool) -> None:
    if not final.parent.is_dir():
        reason = "is no folder" if final.parent.exists() else "does not exist"
        raise OutputError(f"{what} {final}: its folder {final.parent} {reason}.", hint="Make the folder first.")
    if not (final.exists() or final.is_symlink()):
        return
    if not overwrite:
        raise OutputError(f"{what} {final}: exists already.", hint="Choose another name, or overwrite=True.")
    if final.is_dir() != folder:
        found, expected = ("folder", "file") if final.is_dir() else ("file", "folder")
        raise OutputError(
            f"{what} {final}: is a {found}; the {what} is a {expected}, and one never replaces the other.",
            hint="Choose another name.",
        )


def _require_own(path: str | os.PathLike[str], what: str, own: set[str]) -> None:
    """Refuse to overwrite a folder that holds anything but an earlier output of the same kind."""
    final = Path(path)
    if not final.is_dir():
        return
    content = {p.name for p in final.iterdir()}
    other = sorted(content - own) if own else []
    if other or (not own and content and "zarr.json" not in content):
        names = ", ".join((other or sorted(content))[:3])
        raise OutputError(
            f"{what} {final}: the folder holds other files ({names}).",
            hint=f"Only an earlier {what} is overwritten; choose another name.",
        )


def _plain(value: Any) -> Any:
    """Return JSON-compatible data: NumPy scalars become Python's, what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


def provenance_json(terrain: RiskTerrain, *, indent: int | None = None) -> str:
    """Return what stands in every output: title, schema version, study and provenance, as JSON."""
    return _json(
        {
            "title": terrain.title,
            "schema_version": SCHEMA_VERSION,
            "study": terrain.config,
            "provenance": terrain.provenance,
        },
        indent,
    )


def band_index(terrain: RiskTerrain) -> NDArray[np.uint8]:
    """Return the position in ``terrain.bands`` (highest first) of each kept cell, shape (n_cells,)."""
    index = np.full(terrain.grid.n_cells, len(terrain.bands) - 1, dtype=np.uint8)
    for i in range(len(terrain.bands) - 2, -1, -1):
        index[terrain.score_cells >= terrain.bands[i].lower] = i
    return index


# ---------------------------------------------------------------------------------------------- Zarr

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


def write_zarr(
    terrain: RiskTerrain, path: str | os.PathLike[str], *, overwrite: bool = False, variables: bool = True
) -> None:
    """Write the terrain as one Zarr v3 store that ``xarray.open_zarr(path)`` opens as it is.

    Arrays with dims (y, x): ``score`` and ``expected`` (float64, NaN outside), ``count`` (int32),
    ``band`` (uint8, CF flags) and, with `variables`, the model's 0/1 variables (uint8); CF
    ``spatial_ref`` with GeoTransform. Chunks are compressed (Blosc, byte shuffle) and then summed
    (CRC-32C); the same terrain gives the same bytes. The root attributes hold title, study, provenance
    and model as JSON, and the ``proj:`` and ``spatial:`` conventions.

    Raises
    ------
    OutputError
        `path` exists (and not `overwrite`, or it is no Zarr store), or cannot be written.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    dataset = _dataset(terrain, variables)
    rows, cols = terrain.grid.shape
    chunks = (min(rows, CHUNK), min(cols, CHUNK))
    compressors = (BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec())
    encoding: dict[str, dict[str, Any]] = {
        "spatial_ref": {"compressors": None},
        "x": {"compressors": None, "_FillValue": None},
        "y": {"compressors": None, "_FillValue": None},
    }
    for name, array in dataset.data_vars.items():
        fill = {"f": np.nan, "i": -1, "u": _OUTSIDE}[array.dtype.kind]
        encoding[str(name)] = {"compressors": compressors, "chunks": chunks, "_FillValue": fill, "fill_value": fill}
    if overwrite:
        _require_own(path, "Zarr store", set())
    with replacing(path, "Zarr store", overwrite=overwrite, folder=True) as new:
        dataset.to_zarr(new, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)
        _consolidate(new)


def _dataset(terrain: RiskTerrain, variables: bool) -> xr.Dataset:
    import xarray as xr

    grid = terrain.grid
    events = {"long_name": f"events per cell: {terrain.events.name}", "units": "1", "period": terrain.events.period}
    bands = {
        "long_name": "risk band",
        "flag_values": np.arange(len(terrain.bands), dtype=np.uint8),
        "flag_meanings": " ".join(b.name.replace(" ", "_") for b in terrain.bands),
        "comment": terrain.bands_note,
    }
    layers: dict[str, xr.DataArray] = {
        "score": terrain.score,
        "expected": terrain.expected,
        "count": grid.dataarray(grid.to_raster(terrain.counts.astype(np.int32), -1), "count", events),
        "band": grid.dataarray(grid.to_raster(band_index(terrain), _OUTSIDE), "band", bands),
    }
    model = terrain.model
    for column, v in zip(model.columns, model.variables, strict=True) if variables else ():
        within = "within" if v.operationalization == "proximity" else "dense at bandwidth"
        attrs = {
            "long_name": f"{terrain.factors[v.factor].label}, {within} {v.distance:g} {grid.symbol}",
            "flag_values": np.array([0, 1], dtype=np.uint8),
            "flag_meanings": "absent present",
        }
        layers[v.name] = grid.dataarray(grid.to_raster(terrain.design.indicator(column), _OUTSIDE), v.name, attrs)
    dataset = xr.Dataset(layers)
    dataset.attrs = {
        "title": terrain.title,
        "Conventions": "CF-1.11",
        "schema_version": SCHEMA_VERSION,
        "study": _json(terrain.config),
        "provenance": _json(terrain.provenance),
        "model": _json(_model_record(terrain)),
        "zarr_conventions": _CONVENTIONS,
        **_crs_attributes(terrain),
        "spatial:dimensions": ["y", "x"],
        "spatial:bbox": list(grid.bounds),
        "spatial:transform_type": "affine",
        "spatial:transform": [float(v) for v in tuple(grid.transform)[:6]],
        "spatial:shape": list(grid.shape),
        "spatial:registration": "pixel",
    }
    return dataset


def _crs_attributes(terrain: RiskTerrain) -> dict[str, Any]:
    crs = terrain.grid.crs
    authority = crs.to_authority(min_confidence=100)
    return {"proj:code": ":".join(authority)} if authority else {"proj:wkt2": crs.to_wkt()}


def _model_record(terrain: RiskTerrain) -> dict[str, Any]:
    model = terrain.model
    return {
        "family": model.family,
        "intercept": model.intercept,
        "log_dispersion": model.log_dispersion,
        "log_likelihood": model.log_likelihood,
        "bic": model.bic,
        "bic_by_family": {family: m.bic for family, m in terrain.selection.models.items()},
        "n_cells": model.n_cells,
        "n_events": model.n_events,
        "formula": terrain.formula,
        "variables": terrain.table.to_dict(orient="records"),
    }


def _consolidate(store: Path) -> None:
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


# ------------------------------------------------------------------------------------------- GeoTIFF


def write_geotiff(
    terrain: RiskTerrain, path: str | os.PathLike[str], which: str = "score", *, overwrite: bool = False
) -> None:
    """Write "score" or "expected" as a cloud-optimised GeoTIFF.

    float64 (the bits of the Zarr store), NaN outside, tiles of 512, averaged overviews. Study and
    provenance are JSON in the tag ``RTMDX``.

    Raises
    ------
    InputError
        `which` is neither.
    MissingDependencyError
        rasterio is not installed.
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    if which not in _RASTERS:
        raise InputError(f"which: found {which!r}, expected one of {', '.join(map(repr, _RASTERS))}.")
    try:
        import rasterio
        from rasterio.crs import CRS
        from rasterio.errors import RasterioError
    except ImportError:
        raise MissingDependencyError(
            "GeoTIFF output needs rasterio.", hint="Install it with: pip install 'rtmdx[raster]'"
        ) from None
    grid = terrain.grid
    values = grid.to_raster(terrain.score_cells if which == "score" else terrain.expected_cells)
    rows, cols = grid.shape
    profile = {
        "driver": "COG",
        "dtype": "float64",
        "count": 1,
        "height": rows,
        "width": cols,
        "crs": CRS.from_wkt(grid.crs.to_wkt(version="WKT2_2019")),
        "transform": grid.transform,
        "nodata": np.nan,
        "compress": "DEFLATE",
        "predictor": "YES",
        "blocksize": 512,
        "overview_resampling": "AVERAGE",
        "num_threads": 1,
    }
    tags = {"TIFFTAG_IMAGEDESCRIPTION": f"{terrain.title}: {_RASTERS[which]}", "RTMDX": provenance_json(terrain)}
    with replacing(path, "GeoTIFF", overwrite=overwrite) as new:
        try:
            with rasterio.open(new, "w", **profile) as out:
                out.write(values, 1)
                out.set_band_description(1, _RASTERS[which])
                out.units = ["1" if which == "score" else "events per cell"]
                out.update_tags(**tags)
        except RasterioError as error:
            raise OSError(str(error)) from error


# ---------------------------------------------------------------------------------------- GeoPackage


def write_geopackage(terrain: RiskTerrain, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the terrain as a GeoPackage.

    Layers: ``cells`` (a square per kept cell with count, score, expected, band and the model's 0/1
    variables), and the tables ``model``, ``factors`` and ``provenance`` (key, value).

    Raises
    ------
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    import pandas as pd
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    provenance = [("title", terrain.title), ("schema_version", str(SCHEMA_VERSION)), ("study", _json(terrain.config))]
    provenance += [
        (key, value if isinstance(value, str) else _json(value)) for key, value in terrain.provenance.items()
    ]
    model = terrain.model
    provenance += [("model", _json({k: v for k, v in _model_record(terrain).items() if k != "variables"}))]
    layers: dict[str, Any] = {
        "cells": terrain.cells,
        "model": terrain.table,
        "factors": _factors(terrain),
        "provenance": pd.DataFrame(provenance, columns=["key", "value"]),
    }
    with replacing(path, "GeoPackage", overwrite=overwrite) as new:
        # GDAL takes the format from the name of the file
        whole = new if new.suffix.lower() == ".gpkg" else new.with_name(f"{new.name}.gpkg")
        try:
            for name, frame in layers.items():
                if name == "model" and not model.variables:
                    frame = frame.astype({"cells": "int64"})
                pyogrio.write_dataframe(
                    frame,
                    whole,
                    layer=name,
                    driver="GPKG",
                    append=whole.exists(),
                    geometry_type="Polygon" if name == "cells" else None,
                    layer_metadata={"description": f"{terrain.title}: {name}"},
                )
        except (DataSourceError, DataLayerError) as error:
            raise OSError(str(error)) from error
        if whole != new:
            whole.rename(new)


# ----------------------------------------------------------------------------------------------- CSV


def write_tables(terrain: RiskTerrain, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the tables of `tables` as CSV (UTF-8, full precision) into a new folder, with ``provenance.json``.

    Raises
    ------
    OutputError
        `folder` exists (and not `overwrite`, or it holds anything else), or cannot be written.
    """
    names = {f"{name}.csv" for name in TABLES} | {"provenance.json"}
    if overwrite:
        _require_own(folder, "tables", names)
    with replacing(folder, "tables", overwrite=overwrite, folder=True) as new:
        new.mkdir()
        for name, frame in tables(terrain).items():
            frame.to_csv(new / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
        (new / "provenance.json").write_text(provenance_json(terrain, indent=1) + "\n", encoding="utf-8")


def tables(terrain: RiskTerrain) -> dict[str, pd.DataFrame]:
    """Return the tables of `TABLES` as data frames.

    ``cells`` (one row per kept cell), ``factors``, ``model`` (as ``terrain.table``, with intercept and
    log dispersion), ``variables`` (every generated variable and what became of it), ``validity`` (long
    form: figure by share, with lowest, expected and highest over the ties) and ``selection_trace``.
    """
    return {
        "cells": _cells(terrain),
        "factors": _factors(terrain),
        "model": _model(terrain),
        "variables": _variables(terrain),
        "validity": _validity(terrain),
        "selection_trace": _trace(terrain),
    }


def _cells(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    rows, cols = terrain.grid.rows_cols
    names = np.array([b.name for b in terrain.bands], dtype=object)
    return pd.DataFrame(
        {
            "cell": np.arange(terrain.grid.n_cells),
            "row": rows,
            "col": cols,
            "x": terrain.grid.x[cols],
            "y": terrain.grid.y[rows],
            "count": terrain.counts,
            "score": terrain.score_cells,
            "expected": terrain.expected_cells,
            "band": names[band_index(terrain)],
        }
    )


def _factors(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {
            "name": f.name,
            "label": f.label,
            "features": len(f),
            "geometry": f.geometry_type,
            "effect": f.effect,
            "operationalization": " and ".join(f.operationalizations),
            "influence": " ".join(f"{d:g}" for d in f.distances),
            "increment": f.increment,
            "read": f.cleaning.read,
            "kept": f.cleaning.kept,
            "dropped": "; ".join(f"{n} {reason}" for reason, n in f.cleaning.dropped.items()),
            "mended": f.cleaning.mended,
            "source": f.cleaning.source,
            "sha256": f.cleaning.digest,
        }
        for f in terrain.factors
    ]
    return pd.DataFrame(rows)


def _model(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    model, table = terrain.model, terrain.table
    errors = model.standard_errors
    rest = [{"factor": "(intercept)", "coefficient": model.intercept, "std_error": float(errors[0])}]
    if model.log_dispersion is not None:
        rest.append({"factor": "(log dispersion)", "coefficient": model.log_dispersion, "std_error": float(errors[-1])})
    rows = [*table.to_dict(orient="records"), *rest]
    frame = pd.DataFrame(rows, columns=table.columns)
    frame["cells"] = frame["cells"].astype("Int64")
    return frame


def _variables(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    design, culling = terrain.design, terrain.culling
    selected, final = set(culling.selected), set(terrain.model.columns)
    rows = []
    for j, v in enumerate(design.variables):
        status = "in the model" if j in final else "selected by culling" if j in selected else "culled"
        rows.append((v, status, "", float(culling.coefficients[j])))
    rows += [(d.variable, "dropped", d.reason, math.nan) for d in design.dropped]
    rows.sort(key=lambda row: row[0].name)
    return pd.DataFrame(
        [
            {
                "variable": v.name,
                "factor": v.factor_name,
                "operationalization": v.operationalization,
                "distance": v.distance,
                "threshold": math.nan if v.threshold is None else v.threshold,
                "cells": v.support,
                "status": status,
                "reason": reason,
                "culling_coefficient": coefficient,
            }
            for v, status, reason, coefficient in rows
        ]
    )


def _validity(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    columns = [
        "kind", "score", "period", "n_cells", "n_events", "n_levels", "figure", "share", "cells",
        "lowest", "expected", "highest",
    ]  # fmt: skip
    rows = []
    for kind, judged in (("fitted", terrain.fitted), ("holdout", terrain.holdout)):
        for v in judged:
            head = (kind, v.name, v.period, v.n_cells, v.n_events, v.n_levels)
            rows.append((*head, "auc", math.nan, None, math.nan, v.auc, math.nan))
            for t in v.top:
                for figure in ("events", "hit_rate", "pai", "pei"):
                    b = getattr(t, figure)
                    rows.append((*head, figure, t.share, t.n_cells, b.lowest, b.expected, b.highest))
                rows.append((*head, "rri", t.share, t.n_cells, math.nan, t.rri, math.nan))
    return pd.DataFrame(rows, columns=columns).astype({"cells": "Int64"})


def _trace(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    columns = ["family", "number", "action", "variable", "bic_before", "bic_after", "n_tried"]
    rows = [[getattr(step, c) for c in columns] for step in terrain.selection.trace]
    return pd.DataFrame(rows, columns=columns)
