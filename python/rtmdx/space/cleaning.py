"""Cleaning: a layer's rows as geometry that is usable, in the grid's CRS, with a record of what was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import CRSError, InputError
from rtmdx.space.selection import Finding, Selected, Selection, count_dropped, select_rows
from rtmdx.space.values import named

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

    from rtmdx.space.grid import Grid

__all__ = ["Cleaning", "clean_shapes"]


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What came in, what was kept and why the rest was dropped; ``read = kept + sum(dropped)``.

    Attributes
    ----------
    source : str
        File and layer, or "memory".
    digest : str
        SHA-256 of the content.
    read, kept : int
        Rows.
    dropped : mapping of str to int
        Rows by reason, in the order the checks were made.
    mended : int
        Invalid geometries that were repaired (kept).
    """

    source: str
    digest: str
    read: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    mended: int = 0


def clean_shapes(
    frame: gpd.GeoDataFrame,
    grid: Grid,
    *,
    what: str,
    selection: Selection,
    source: str,
    digest: str,
    total: int | None,
) -> tuple[NDArray[np.object_], str, Cleaning, tuple[Finding, ...]]:
    """Return a layer's usable geometries in the grid's CRS, their kind, what was dropped, and what looks odd.

    Raises
    ------
    InputError
        Unknown field, dates that do not parse, or no usable feature left.
    """
    import shapely

    require_grid(grid, what)
    selected = select_shapes(frame, selection, what, total)
    read, dropped = selected.read, selected.dropped
    shapes, kept, mended = usable_shapes(selected.frame, grid.crs, what, dropped)
    if not shapes.size:
        reasons = "; ".join(f"{n} {reason}" for reason, n in dropped.items()) or "the layer is empty"
        raise InputError(
            f"{what}: no feature is left of {read} read ({reasons}).",
            hint="Remove it from the study, or check its filter, dates and geometry.",
        )
    centre = shapely.get_coordinates(shapely.point_on_surface(shapes))
    raw = shapely.get_coordinates(shapely.point_on_surface(selected.frame.geometry.to_numpy()[kept]))
    findings = list(selected.findings)
    findings += stray_features(centre[:, 0], centre[:, 1], raw, grid, what, "features")
    return shapes, geometry_type(shapes), Cleaning(source, digest, read, shapes.size, dropped, mended), tuple(findings)


def select_shapes(frame: gpd.GeoDataFrame, selection: Selection, what: str, total: int | None) -> Selected:
    """Return the selected rows that have a geometry; parameters and errors as for `select_rows`."""
    selected = select_rows(frame, selection, what, total)
    none = (selected.frame.geometry.isna() | selected.frame.geometry.is_empty).to_numpy()
    count_dropped(selected.dropped, "no geometry", none)
    return replace(selected, frame=selected.frame[~none])


def select_polygons(
    frame: gpd.GeoDataFrame, selection: Selection, what: str, total: int | None, *, hint: str
) -> Selected:
    """Return the selected rows, which must be polygons; `hint` says what to give where there are none."""
    selected = select_shapes(frame, selection, what, total)
    if not len(selected.frame):
        raise InputError(f"{what}: has no geometry.", hint=hint)
    kinds = sorted(set(selected.frame.geom_type) - {"Polygon", "MultiPolygon"})
    if kinds:
        raise InputError(f"{what}: must be polygons, found {', '.join(kinds)}.")
    return selected


def require_single_points(frame: gpd.GeoDataFrame, what: str, but: str) -> None:
    """Raise an InputError if a row holds several points; `but` says why it may not."""
    import shapely

    parts = shapely.get_num_geometries(frame.geometry.to_numpy())
    if (parts > 1).any():
        i = int(np.argmax(parts > 1))
        raise InputError(
            f"{what}: row {frame.index[i] + 1} is a MultiPoint of {parts[i]} points{but}.",
            hint="Explode the layer to single points.",
        )


def usable_shapes(
    frame: gpd.GeoDataFrame, crs: pyproj.CRS, what: str, dropped: dict[str, int]
) -> tuple[NDArray[np.object_], NDArray[np.bool_], int]:
    """Return geometries in `crs`, valid and without z, the rows they are of, and how many were mended.

    Rows whose coordinates are not finite, as they came or in `crs`, are counted in `dropped`.
    """
    import shapely

    require_crs(frame, what)
    xy, owner = shapely.get_coordinates(frame.geometry.to_numpy(), return_index=True)
    kept = np.ones(len(frame), dtype=np.bool_)
    kept[owner[~np.isfinite(xy).all(axis=1)]] = False
    shapes, mended = mend(frame[kept].to_crs(crs).geometry.to_numpy())
    finite = np.isfinite(shapely.bounds(shapes)).all(axis=1)
    kept[kept] = finite
    count_dropped(dropped, "coordinates not finite", ~kept)
    return shapes[finite], kept, mended


def require_grid(grid: Any, what: str) -> None:
    """Raise an InputError if `grid` is something else."""
    from rtmdx.space.grid import Grid

    if not isinstance(grid, Grid):
        raise InputError(f"{what}: grid: found {named(grid)}, expected a Grid.", hint="Lay it with Grid.from_area.")


def require_crs(frame: gpd.GeoDataFrame, what: str) -> None:
    """Raise a CRSError if the frame has no coordinate reference system."""
    if frame.crs is None:
        raise CRSError(f"{what}: has no coordinate reference system.", hint="Set it: frame.set_crs(...).")


def mend(shapes: NDArray[np.object_]) -> tuple[NDArray[np.object_], int]:
    """Repair invalid geometries; shapes that collapse keep the part of their own dimension."""
    import shapely

    shapes = shapely.force_2d(shapes)
    bad = ~shapely.is_valid(shapes) & np.isfinite(shapely.bounds(shapes)).all(axis=1)
    if bad.any():
        shapes = shapes.copy()
        shapes[bad] = [_own_dimension(g, m) for g, m in zip(shapes[bad], shapely.make_valid(shapes[bad]), strict=True)]
    return shapes, int(np.count_nonzero(bad))


def _own_dimension(original: Any, repaired: Any) -> Any:
    """Drop the points and lines a repaired polygon sheds; a shape that collapses whole stays as it fell."""
    import shapely

    if repaired.geom_type != "GeometryCollection":
        return repaired
    parts = shapely.get_parts(repaired)
    same = parts[shapely.get_dimensions(parts) == shapely.get_dimensions(original)]
    return shapely.union_all(same) if same.size else repaired


def geometry_type(shapes: NDArray[np.object_]) -> str:
    """Return "points", "lines", "polygons" or "mixed"."""
    import shapely

    kinds = {0: "points", 4: "points", 1: "lines", 2: "lines", 5: "lines", 3: "polygons", 6: "polygons"}
    found = {kinds.get(int(t), "mixed") for t in np.unique(shapely.get_type_id(shapes))}
    return found.pop() if len(found) == 1 else "mixed"


def stray_features(
    x: NDArray[np.float64], y: NDArray[np.float64], raw: NDArray[np.float64], grid: Grid, what: str, noun: str
) -> list[Finding]:
    """Find features farther from the area than ten times its size: null island, swapped axes."""
    west, south, east, north = grid.bounds
    size = max(east - west, north - south)
    away = np.hypot(np.maximum(0, np.maximum(west - x, x - east)), np.maximum(0, np.maximum(south - y, y - north)))
    far = away > 10 * size
    if not far.any():
        return []
    i = int(far.argmax())
    n = int(far.sum())
    zero = " (null island)" if np.abs(raw[i]).max() < 1e-6 else ""
    return [
        Finding(
            "stray-features",
            what,
            f"{n} of {x.size} {noun} lie{'s' if n == 1 else ''} more than {10 * size:,.0f} {grid.symbol} from the "
            f"study area; the first is at ({raw[i][0]:g}, {raw[i][1]:g}){zero}. Check the coordinates and the CRS.",
        )
    ]
