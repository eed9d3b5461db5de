"""Zonal statistics: what a raster holds in polygons, along lines or at points, by exact coverage of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.arguments import Cancel, Progress, features_in, frame_in, native_grid, run_arguments
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame
from rtmdx.space.memory import available_memory
from rtmdx.space.parts import offsets
from rtmdx.space.rasters import raster_in
from rtmdx.space.values import named

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Coverage", "coverage", "zonal"]

_MEASURE = {"points": "points", "lines": "length", "polygons": "area"}
_PLAIN = ("count", "sum", "mean", "min", "max")
_WEIGHTED = ("weighted_sum", "weighted_mean")
_BYTES = 40  # of a triple, with its copy on the way out


@dataclass(frozen=True, eq=False)
class Coverage:
    """Which share of which cell lies in which zone, as triples ordered by zone, then cell.

    Attributes
    ----------
    zone : int64 array, shape (n,)
        Position of the geometry among those given.
    cell : int64 array, shape (n,)
        ``row * cols + column`` in the frame, whether a grid keeps the cell or not.
    fraction : float64 array, shape (n,)
        Share of the cell's area in the zone, above 0, at most 1. Times ``frame.cell_area`` they sum to the area of
        the zone within the frame.
    area : float64 array, shape (zones,)
        Area of each whole zone, square CRS units.
    outside : float64 array, shape (zones,)
        Share of it that lies beyond the frame; NaN where the area is 0.
    """

    zone: NDArray[np.int64]
    cell: NDArray[np.int64]
    fraction: NDArray[np.float64]
    area: NDArray[np.float64]
    outside: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.zone)


def zonal(
    raster: Any,
    zones: Any,
    frame: Frame | None = None,
    *,
    statistics: Sequence[str] = ("mean",),
    weights: Any = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Statistics of a raster in each zone, every cell counted by how much of the zone lies in it.

    Coverage is exact: the share of a cell's area inside a polygon (holes are outside), the length of a line in a
    cell, or the number of points in it. A polygon's share is found from the signed area along its edges, in double
    precision; no cell is cut into smaller ones. With coverage a_i, value v_i and weight w_i of cell i, over the
    cells with a_i > 0 and a value:

    ==============  =================================================================
    count           sum a_i; a line's in CRS units of length
    sum             sum a_i v_i
    mean            sum a_i v_i / sum a_i
    min, max        of v_i, however small a_i
    weighted_sum    sum a_i w_i v_i
    weighted_mean   sum a_i w_i v_i / sum a_i w_i, over the cells whose weight is not NaN
    area            of the zone within the raster, with or without values (polygons)
    length, points  likewise (lines, points)
    missing         share of that in cells whose value is NaN
    outside         share of the whole zone that lies beyond the raster
    ==============  =================================================================

    Parameters
    ----------
    raster : DataArray or array, shape (rows, cols)
    zones : GeoSeries, GeoDataFrame, geometries or Features
        In the raster's CRS; all polygons, all lines or all points. Each geometry is one zone, its parts together;
        zones may overlap. Polygons that are not valid are mended, parts that overlap are united.
    frame : Grid or Frame, optional
        Where the cells are; needed for a plain array. Cells outside a grid's mask count as NaN.
    statistics : sequence of str
        Names above, in the order of the columns. `missing` and `outside` are always there.
    weights : DataArray or array, shape (rows, cols), optional
        On the raster's cells, for weighted statistics (population, for example).
    threads : int, optional
        Default: the machine's processors. The result doesn't depend on it.
    cancel : callable, optional
        Called from the calling thread several times a second; a true value stops the run.
    progress : callable, optional
        Called likewise as ``progress(done, total)``, in blocks of work.

    Returns
    -------
    DataFrame
        One row per geometry given, with the index of `zones` if it has one; all float64. A zone without a cell that
        has a value has the count and sum 0 and the mean, min and max NaN.

    Raises
    ------
    InputError
        An argument is not usable, or kinds of geometry are mixed.
    CRSError
        The zones are in another CRS than the raster, or the raster in none.
    Cancelled
        `cancel` returned a true value.
    """
    import pandas as pd

    from rtmdx import _engine

    values, frame = raster_in(raster, frame)
    features = features_in(_united(zones), frame)
    kind = _kind(features)
    names = _names(statistics, kind, weights is not None)
    weighing: NDArray[Any] | None = None
    if weights is not None:
        weighing, _ = raster_in(weights, frame, "weights")
        common = np.result_type(values, weighing)
        values, weighing = values.astype(common, copy=False), weighing.astype(common, copy=False)
    found = _engine.zonal(
        values,
        weighing,
        features.native(),
        zone_offsets(features, kind),
        native_grid(frame),
        kind=kind,
        **run_arguments(threads, cancel, progress),
    )
    unit = frame.cell_area if kind == "polygons" else 1.0
    some = found["count"] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            **{name: found[name] for name in ("count", "sum", "outside")},
            "mean": found["sum"] / found["count"],
            "min": np.where(some, found["min"], np.nan),
            "max": np.where(some, found["max"], np.nan),
            _MEASURE[kind]: found["covered"] * unit,
            "missing": np.clip(1.0 - found["count"] / found["covered"], 0.0, 1.0),
            "weighted_sum": found["weighted"],
            "weighted_mean": found["weighted"] / found["weight"],
        }
    return pd.DataFrame({name: columns[name] for name in names}, index=_index(zones, features.n_input))


def coverage(
    polygons: Any,
    frame: Frame,
    *,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> Coverage:
    """Share of each cell's area in each polygon, for all pairs that meet: what moves counts from zones to cells.

    Parameters
    ----------
    polygons : GeoSeries, GeoDataFrame, geometries or Features
        In the frame's CRS; each geometry is one zone, as in `zonal`.
    frame : Grid or Frame
        Where the cells are; a grid's mask changes nothing.
    threads, cancel, progress
        As in `zonal`.

    Returns
    -------
    Coverage
        24 bytes for every pair of zone and cell.

    Raises
    ------
    InputError
        There are geometries that are no polygons.
    CRSError
        The polygons are in another CRS than the frame.
    MemoryLimitError
        The pairs would not fit in memory.
    Cancelled
        `cancel` returned a true value.
    """
    from rtmdx import _engine

    features = features_in(_united(polygons), frame_in(frame))
    if _kind(features) != "polygons":
        raise InputError(
            f"polygons: found {features.n_points:,} points and {features.n_lines:,} lines, expected polygons."
        )
    return Coverage(
        *_engine.coverage(
            features.native(),
            zone_offsets(features, "polygons"),
            native_grid(frame),
            kind="polygons",
            limit=int(min(available_memory() / _BYTES, 2**62)),
            **run_arguments(threads, cancel, progress),
        )
    )


def _kind(features: Features) -> str:
    counts = {"points": features.n_points, "lines": features.n_lines, "polygons": features.n_polygons}
    present = [f"{n:,} {kind}" for kind, n in counts.items() if n]
    if len(present) > 1:
        raise InputError(
            f"zones: found {' and '.join(present)}, expected one kind; a number, a length and an area don't add up.",
            hint="Split the layer, or buffer its points and lines.",
        )
    return next((kind for kind, n in counts.items() if n), "polygons")


def _names(statistics: Sequence[str], kind: str, weighted: bool) -> list[str]:
    if isinstance(statistics, str):
        statistics = (statistics,)
    if not isinstance(statistics, (list, tuple)) or not all(isinstance(name, str) for name in statistics):
        raise InputError(
            f"statistics: found {named(statistics)}, expected a list of names, for example ('count', 'mean')."
        )
    names = list(dict.fromkeys([*statistics, "missing", "outside"]))
    allowed = [*_PLAIN, _MEASURE[kind], *_WEIGHTED, "missing", "outside"]
    for name in names:
        if name not in allowed:
            raise InputError(f"statistics: found {name!r}, expected names from {', '.join(allowed)}, for {kind}.")
        if name in _WEIGHTED and not weighted:
            raise InputError(f"statistics: {name} needs weights.", hint="Give weights=..., a raster of the same cells.")
    if weighted and not set(names) & set(_WEIGHTED):
        raise InputError(
            "weights: are given, but no statistic uses them.", hint='Ask for statistics=("weighted_mean",).'
        )
    return names


def zone_offsets(features: Features, kind: str) -> NDArray[np.int64]:
    """First feature of each zone, shape (n_input + 1,)."""
    source = {"points": features.point_source, "lines": features.line_source, "polygons": features.polygon_source}[kind]
    if np.any(np.diff(source) < 0):
        raise InputError("zones: the features of a geometry must follow one another.")
    return offsets(source, features.n_input)


def _index(zones: Any, n: int) -> Any:
    import pandas as pd

    return zones.index if hasattr(zones, "geometry") and hasattr(zones, "index") else pd.RangeIndex(n)


def _united(zones: Any) -> Any:
    """Unite parts of a zone that may overlap: of multipolygons that are not valid, and of collections."""
    import shapely

    if isinstance(zones, Features) or (isinstance(zones, np.ndarray) and zones.dtype.kind != "O"):
        return zones
    if isinstance(zones, shapely.Geometry) or zones is None:
        zones = [zones]
    if isinstance(zones, (str, bytes, Mapping)):
        return zones  # Features says what is wrong
    series = hasattr(zones, "geometry") and hasattr(zones, "crs")
    items = zones.geometry.array if series else zones
    try:
        parts = np.fromiter(items, dtype=object)
    except TypeError:
        return zones  # likewise
    if not np.all(shapely.is_geometry(parts) | shapely.is_missing(parts)):
        return parts  # likewise
    kind = shapely.get_type_id(parts)
    doubtful = (kind == 7) | ((kind == 6) & ~shapely.is_valid(parts))
    if not doubtful.any():
        return zones if series else parts  # an iterator has been used up
    united = parts.copy()
    for i in np.flatnonzero(doubtful):
        if shapely.get_dimensions(parts[i]) == 2:
            united[i] = _union(parts[i])
    if not series:
        return united
    import geopandas as gpd

    return gpd.GeoSeries(united, index=zones.index, crs=zones.crs)


def _union(zone: Any) -> Any:
    """The zone with its polygons united; other members stay, so that mixing is noticed."""
    import shapely

    pieces = [zone]
    while any(hasattr(p, "geoms") for p in pieces):
        pieces = [q for p in pieces for q in (p.geoms if hasattr(p, "geoms") else [p])]
    pieces = [p for p in pieces if not p.is_empty]
    areal = [shapely.make_valid(p) for p in pieces if p.geom_type == "Polygon"]
    finite = all(np.isfinite(shapely.get_coordinates(p)).all() for p in areal)
    if not areal or not finite:
        return zone
    rest = [p for p in pieces if p.geom_type != "Polygon"]
    merged = shapely.union_all(areal)
    keep = [p for p in getattr(merged, "geoms", [merged]) if p.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.GeometryCollection([*keep, *rest])
