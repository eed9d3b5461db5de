"""One scenario as its store keeps it, and its export for GIS."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.space.grid import Grid

__all__ = ["RASTERS", "ScenarioTerrain", "export_scenario"]

RASTERS = {
    "score": ("Relative risk score: product of the relative risk values present, lowest cell 1", "1"),
    "expected": ("Expected events per cell over the outcome's period", "events per cell"),
}


@dataclass(frozen=True, eq=False)
class ScenarioTerrain:
    """One scenario as the store keeps it.

    Attributes
    ----------
    id, label : str
    grid : Grid
    score, expected : DataArray
        Float32, dims (y, x), NaN outside the study area.
    summary : dict
        Its row of the table of scenarios.
    tables : dict of DataFrame
        "model", "variables", "validity", "findings".
    provenance : dict
        The sweep's id and title, the scenario's parameters, versions and the digests of its record.
    """

    id: str
    label: str
    grid: Grid
    score: xr.DataArray
    expected: xr.DataArray
    summary: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> pd.DataFrame:
        """The final model, one row per variable, as `RiskTerrain.table`."""
        return self.tables["model"]

    @property
    def title(self) -> str:
        """The sweep's title and the scenario's label."""
        return f"{self.provenance.get('title', 'sweep')}: {self.label}"

    def to_geotiff(
        self, path: str | os.PathLike[str], which: Literal["score", "expected"] = "score", *, overwrite: bool = False
    ) -> None:
        """Write "score" or "expected" as a cloud-optimised GeoTIFF: float32, NaN outside, provenance in its tags.

        Raises
        ------
        InputError
            `which` is neither.
        MissingDependencyError
            rasterio is not installed.
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        from rtmdx.space.geofiles import write_cog

        if which not in RASTERS:
            raise InputError(f"which: found {which!r}, expected one of {', '.join(map(repr, RASTERS))}.")
        description, units = RASTERS[which]
        write_cog(
            path, self.grid, getattr(self, which).values, title=self.title, description=description, units=units,
            provenance=json.dumps(self.provenance, sort_keys=True), overwrite=overwrite,
        )  # fmt: skip

    def to_geopackage(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write ``cells`` (a square per kept cell with row, col, score, expected), the tables and ``provenance``.

        Raises
        ------
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        import geopandas as gpd
        import pandas as pd

        from rtmdx.space.geofiles import cell_squares, write_layers

        rows, cols = self.grid.rows_cols
        mask = self.grid.mask
        cells = {
            "cell": np.arange(self.grid.n_cells),
            "row": rows,
            "col": cols,
            "score": self.score.values[mask],
            "expected": self.expected.values[mask],
        }
        told = {**self.provenance, "summary": self.summary}
        provenance = [(k, v if isinstance(v, str) else json.dumps(v, sort_keys=True)) for k, v in told.items()]
        layers: dict[str, Any] = {"cells": gpd.GeoDataFrame(cells, geometry=cell_squares(self.grid))}
        # a table without rows has no columns either, and would be no table
        layers |= {name: _flat(frame) for name, frame in self.tables.items() if len(frame.columns)}
        layers["provenance"] = pd.DataFrame(provenance, columns=["key", "value"])
        write_layers(path, layers, title=self.title, overwrite=overwrite)


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn lists and mappings within a table into JSON."""
    flat = frame.copy()
    for column in flat.columns:
        if flat[column].map(lambda v: isinstance(v, list | dict)).any():
            flat[column] = flat[column].map(lambda v: None if v is None else json.dumps(v, sort_keys=True))
    return flat


def export_scenario(terrain: ScenarioTerrain, folder: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
    """Write a scenario as ``score.tif``, ``expected.tif`` and ``scenario.gpkg`` into a new folder; return the files.

    Raises
    ------
    MissingDependencyError
        rasterio is not installed.
    OutputError
        `folder` exists (and not `overwrite`, or it holds anything else), or cannot be written.
    """
    from rtmdx.space.staging import replacing, require_own

    names = ("score.tif", "expected.tif", "scenario.gpkg")
    if overwrite:
        require_own(folder, "export", set(names))
    with replacing(folder, "export", overwrite=overwrite, folder=True) as new:
        new.mkdir()
        terrain.to_geotiff(new / "score.tif", "score")
        terrain.to_geotiff(new / "expected.tif", "expected")
        terrain.to_geopackage(new / "scenario.gpkg")
    return [Path(folder) / name for name in names]
