"""Polygons a study ranks or counts in: read, put into the grid's CRS, named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.runs.inputs import LayerReader
from rtmdx.runs.study_priority import PlaceSource
from rtmdx.space.cleaning import Cleaning, select_polygons, usable_shapes
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Finding
from rtmdx.space.readers import require_field

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Places", "events_in_places", "read_places"]


@dataclass(frozen=True, eq=False)
class Places:
    """Named polygons with their fields.

    Attributes
    ----------
    frame : GeoDataFrame
        In the grid's CRS, valid; the index holds the names.
    cleaning : Cleaning
    findings : tuple of Finding
    """

    frame: gpd.GeoDataFrame
    cleaning: Cleaning
    findings: tuple[Finding, ...] = ()


def events_in_places(places: Places, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Count the events in each place, shape (n_places,), and those in none.

    An event counts for every place that holds it; one that lies on borders only, for the first of the layer.
    """
    import shapely

    shapes = places.frame.geometry.to_numpy()
    points = shapely.points(x, y)
    point, place = shapely.STRtree(shapes).query(points, predicate="intersects")
    inside = shapely.contains_properly(shapes[place], points[point])
    held = np.zeros(len(points), dtype=np.bool_)
    held[point[inside]] = True
    counts = np.bincount(place[inside], minlength=len(shapes))
    on_border = ~held[point]
    first = np.full(len(points), len(shapes), dtype=np.int64)
    np.minimum.at(first, point[on_border], place[on_border])
    counts += np.bincount(first[first < len(shapes)], minlength=len(shapes))
    return counts.astype(np.int64), len(points) - np.unique(point).size


def read_places(source: PlaceSource, key: str, what: str, reader: LayerReader, grid: Grid) -> Places:
    """Read a layer of places.

    Parameters
    ----------
    source : PlaceSource
    key : str
        Its name among layers in memory.
    what : str
        To begin messages with.
    reader : LayerReader
    grid : Grid

    Raises
    ------
    InputError
        Not polygons, an unknown field, a place without a name or a name of two places.
    FileError, CRSError
        The layer cannot be read, or names no CRS.
    """
    import geopandas as gpd

    frame, total, name, digest = reader.read(source, key, what)
    what = f"{what} ({name})"
    selected = select_polygons(frame, source.selection, what, total, hint="Give polygons.")
    rows = selected.frame
    if source.name is not None:
        require_field(rows, source.name, what)
    dropped = selected.dropped
    shapes, kept, mended = usable_shapes(rows, grid.crs, what, dropped)
    rows = rows[kept]
    if source.name is None:
        index = np.arange(1, len(rows) + 1)
    else:
        values = rows[source.name]
        if values.isna().any():
            raise InputError(
                f"{what}: {int(values.isna().sum()):,} of {len(rows):,} rows have no {source.name}.",
                hint="Name them, or filter them out.",
            )
        index = values.to_numpy()
        twice = values[values.duplicated()]
        if len(twice):
            raise InputError(
                f"{what}: field {source.name!r} holds {twice.iloc[0]!r} more than once; {len(twice):,} rows repeat a "
                "name.",
                hint="Name another field, or dissolve the layer by this one.",
            )
    placed = gpd.GeoDataFrame(
        rows.drop(columns=rows.geometry.name).reset_index(drop=True), geometry=list(shapes), crs=grid.crs
    )
    placed.index = index
    cleaning = Cleaning(name, digest, selected.read, len(placed), dropped, mended)
    return Places(placed, cleaning, tuple(selected.findings))
