"""Results of prioritization as files: tables as CSV, cells and places with their shapes as GeoPackage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.errors import InputError
from rtmdx.space.staging import replacing

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = ["save_tables", "save_units", "with_cells", "with_shapes"]


def with_cells(frame: Any, grid: Grid) -> Any:
    """Return a table of a grid's cells, in their order, with row, column and a square each."""
    import geopandas as gpd

    from rtmdx.space.geofiles import cell_squares

    rows, cols = grid.rows_cols
    where = {"cell": np.arange(grid.n_cells), "row": rows, "col": cols}
    return gpd.GeoDataFrame({**where, **{c: frame[c].to_numpy() for c in frame.columns}}, geometry=cell_squares(grid))


def with_shapes(frame: Any, shapes: Any) -> Any:
    """Return a table of places, in their order, with their names and shapes."""
    import geopandas as gpd

    columns = {c: frame[c].to_numpy() for c in frame.columns}
    return gpd.GeoDataFrame(
        {"place": [str(i) for i in shapes.index], **columns}, geometry=shapes.to_numpy(), crs=shapes.crs
    )


def save_units(
    path: str | os.PathLike[str],
    unit: str,
    frame: Any,
    *,
    grid: Grid | None,
    shapes: Any = None,
    more: Mapping[str, Any] | None = None,
    title: str,
    overwrite: bool = False,
) -> Path:
    """Write a table of cells or places as ``.csv``, or as ``.gpkg`` with their shapes and further tables.

    Parameters
    ----------
    path : path
    unit : {"cell", "place"}
    frame : DataFrame
        A row per cell of the grid, or per place, in their order.
    grid : Grid or None
        Of cells.
    shapes : GeoSeries, optional
        Of places.
    more : mapping of str to DataFrame, optional
        Further layers of a GeoPackage.
    title : str
    overwrite : bool

    Raises
    ------
    InputError
        `path` ends in neither, or it is not known where the cells lie.
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    if grid is not None:
        frame = with_cells(frame, grid)
    elif shapes is not None:
        frame = with_shapes(frame, shapes)
    elif Path(path).suffix.lower() == ".gpkg":
        raise InputError(f"path: the {unit}s have no grid and so no shapes.", hint="Save them as .csv.")
    return save_tables(path, {f"{unit}s": frame, **(more or {})}, title=title, overwrite=overwrite)


def save_tables(
    path: str | os.PathLike[str], layers: Mapping[str, Any], *, title: str, overwrite: bool = False
) -> Path:
    """Write a result's tables: the first one as ``.csv``, or all of them as the layers of a ``.gpkg``.

    Raises
    ------
    InputError
        `path` ends in neither.
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    kind = Path(path).suffix.lower()
    if kind == ".gpkg":
        from rtmdx.space.geofiles import write_layers

        write_layers(path, layers, title=title, overwrite=overwrite)
    elif kind == ".csv":
        frame = next(iter(layers.values()))
        plain = frame.drop(columns="geometry") if "geometry" in frame.columns else frame
        with replacing(path, "table", overwrite=overwrite) as new:
            plain.to_csv(new, index=False, encoding="utf-8", lineterminator="\n")
    else:
        raise InputError(f"path: found {os.fspath(path)!r}, expected a name that ends in .csv or .gpkg.")
    return Path(path)
