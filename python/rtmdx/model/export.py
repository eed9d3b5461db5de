"""Exports of a risk terrain: Zarr, cloud-optimised GeoTIFF, GeoPackage and CSV.

Every writer makes its output beside the target and renames it when whole, so a name that exists is a
finished file, and a write that fails leaves nothing behind. Every output carries the study and its
provenance. Scores are float64 everywhere: the same bits in every format.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.errors import InputError
from rtmdx.model.export_tables import TABLES, factor_table, tables
from rtmdx.space.geofiles import write_cog, write_layers
from rtmdx.space.staging import replacing, require_own
from rtmdx.space.zarr_store import CHUNK, compressors, consolidate, spatial_attributes

if TYPE_CHECKING:
    import xarray as xr

    from rtmdx.model.terrain import RiskTerrain

__all__ = [
    "SCHEMA_VERSION",
    "provenance_json",
    "write_geopackage",
    "write_geotiff",
    "write_tables",
    "write_zarr",
]

SCHEMA_VERSION = 1

_RASTERS = {
    "score": "Relative risk score: product of the relative risk values present, lowest cell 1",
    "expected": "Expected events per cell over the outcome's period",
    "posterior": "Expected events per cell of a next period, from terrain and history together",
}
_REACH = {"proximity": "within", "cost": "within a cost distance of", "density": "dense at bandwidth"}
_OUTSIDE = 255  # of the uint8 layers


def plain(value: Any) -> Any:
    """Return JSON-compatible data: NumPy scalars become Python's, what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)


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


# ---------------------------------------------------------------------------------------------- Zarr


def write_zarr(
    terrain: RiskTerrain, path: str | os.PathLike[str], *, overwrite: bool = False, variables: bool = True
) -> None:
    """Write the terrain as one Zarr v3 store that ``xarray.open_zarr(path)`` opens as it is.

    Arrays with dims (y, x): ``score`` and ``expected`` (float64, NaN outside), ``count`` (int32),
    ``band`` (uint8, CF flags), ``exposure`` (float64) where the study names one, where it asks for it
    ``posterior``, ``posterior_lower`` and ``posterior_upper`` (float64), and, with `variables`, the
    model's 0/1 variables (uint8); CF
    ``spatial_ref`` with GeoTransform. Chunks are compressed (Blosc, byte shuffle) and then summed
    (CRC-32C); the same terrain gives the same bytes. The root attributes hold title, study, provenance,
    model and what the posterior chose as JSON, and the ``proj:`` and ``spatial:`` conventions.

    Raises
    ------
    OutputError
        `path` exists (and not `overwrite`, or it is no Zarr store), or cannot be written.
    """
    dataset = _dataset(terrain, variables)
    rows, cols = terrain.grid.shape
    chunks = (min(rows, CHUNK), min(cols, CHUNK))
    encoding: dict[str, dict[str, Any]] = {
        "spatial_ref": {"compressors": None},
        "x": {"compressors": None, "_FillValue": None},
        "y": {"compressors": None, "_FillValue": None},
    }
    for name, array in dataset.data_vars.items():
        fill = {"f": np.nan, "i": -1, "u": _OUTSIDE}[array.dtype.kind]
        encoding[str(name)] = {"compressors": compressors(), "chunks": chunks, "_FillValue": fill, "fill_value": fill}
    if overwrite:
        require_own(path, "Zarr store", set())
    with replacing(path, "Zarr store", overwrite=overwrite, folder=True) as new:
        dataset.to_zarr(new, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)
        consolidate(new)


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
        "band": grid.dataarray(grid.to_raster(terrain.band_index, _OUTSIDE), "band", bands),
    }
    if terrain.exposure is not None:
        layers["exposure"] = terrain.exposure.raster(grid)
    posterior = terrain.posterior_risk
    if posterior is not None:
        layers |= {"posterior": posterior.expected}
        layers |= {"posterior_lower": posterior.lower, "posterior_upper": posterior.upper}
    model = terrain.model
    for column, v in zip(model.columns, model.variables, strict=True) if variables else ():
        within = _REACH[v.operationalization]
        attrs = {
            "long_name": f"{terrain.factors[v.factor].label}, {within} {v.distance:g} {grid.symbol}",
            "flag_values": np.array([0, 1], dtype=np.uint8),
            "flag_meanings": "absent present",
        }
        layers[v.name] = grid.dataarray(grid.to_raster(terrain.design.indicator(column), _OUTSIDE), v.name, attrs)
    dataset = xr.Dataset(layers)
    dataset.attrs = {
        "title": terrain.title,
        "schema_version": SCHEMA_VERSION,
        "study": _json(terrain.config),
        "provenance": _json(terrain.provenance),
        "model": _json(_model_record(terrain)),
        **({} if posterior is None else {"posterior": _json(posterior.to_dict())}),
        **spatial_attributes(grid),
    }
    return dataset


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


# ------------------------------------------------------------------------------------------- GeoTIFF


def write_geotiff(
    terrain: RiskTerrain, path: str | os.PathLike[str], which: str = "score", *, overwrite: bool = False
) -> None:
    """Write "score", "expected" or "posterior" as a cloud-optimised GeoTIFF.

    float64 (the bits of the Zarr store), NaN outside, tiles of 512, averaged overviews. Study and
    provenance are JSON in the tag ``RTMDX``.

    Raises
    ------
    InputError
        `which` is none of these, or the terrain holds no posterior.
    MissingDependencyError
        rasterio is not installed.
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    if which not in _RASTERS:
        raise InputError(f"which: found {which!r}, expected one of {', '.join(map(repr, _RASTERS))}.")
    if which == "posterior" and terrain.posterior_risk is None:
        raise InputError(
            "which: this terrain holds no posterior.",
            hint="Enable it in the study, or take terrain.posterior(), whose `expected` is a DataArray.",
        )
    grid = terrain.grid
    cells = {"score": terrain.score_cells, "expected": terrain.expected_cells, **terrain.posterior_columns}
    write_cog(
        path, grid, grid.to_raster(cells[which]), title=terrain.title, description=_RASTERS[which],
        units="1" if which == "score" else "events per cell", provenance=provenance_json(terrain), overwrite=overwrite,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------- GeoPackage


def write_geopackage(terrain: RiskTerrain, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the terrain as a GeoPackage.

    Layers: ``cells`` (a square per kept cell with count, score, expected, band, exposure where the study
    names one, where it asks for them posterior, posterior_lower and posterior_upper, and rank_low to p_top_10,
    and the model's 0/1 variables), and the tables ``model``, ``factors`` and ``provenance`` (key, value).

    Raises
    ------
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    import pandas as pd

    provenance = [("title", terrain.title), ("schema_version", str(SCHEMA_VERSION)), ("study", _json(terrain.config))]
    provenance += [
        (key, value if isinstance(value, str) else _json(value)) for key, value in terrain.provenance.items()
    ]
    model = terrain.model
    provenance += [("model", _json({k: v for k, v in _model_record(terrain).items() if k != "variables"}))]
    if terrain.posterior_risk is not None:
        provenance += [("posterior", _json(terrain.posterior_risk.to_dict()))]
    layers: dict[str, Any] = {
        "cells": terrain.cells,
        "model": terrain.table,
        "factors": factor_table(terrain),
        "provenance": pd.DataFrame(provenance, columns=["key", "value"]),
    }
    if not model.variables:
        layers["model"] = layers["model"].astype({"cells": "int64"})
    write_layers(path, layers, title=terrain.title, overwrite=overwrite)


# ----------------------------------------------------------------------------------------------- CSV


def write_tables(terrain: RiskTerrain, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the tables of `rtmdx.model.export_tables` as CSV (UTF-8, full precision) into a new folder.

    ``provenance.json`` beside them holds study and provenance.

    Raises
    ------
    OutputError
        `folder` exists (and not `overwrite`, or it holds anything else), or cannot be written.
    """
    names = {f"{name}.csv" for name in TABLES} | {"provenance.json"}
    if overwrite:
        require_own(folder, "tables", names)
    with replacing(folder, "tables", overwrite=overwrite, folder=True) as new:
        new.mkdir()
        for name, frame in tables(terrain).items():
            frame.to_csv(new / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
        (new / "provenance.json").write_text(provenance_json(terrain, indent=1) + "\n", encoding="utf-8")
