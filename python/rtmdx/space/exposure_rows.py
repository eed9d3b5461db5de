"""The rows of an exposure's layer: of the kind a measure takes, in the grid's CRS, with the amount each holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.cleaning import require_single_points, select_shapes, stray_features, usable_shapes
from rtmdx.space.readers import require_field
from rtmdx.space.selection import Finding, Selection, count_dropped

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.space.grid import Grid

__all__ = ["ExposureRows"]

Float = NDArray[np.float64]
Shapes = NDArray[np.object_]

_KINDS = {
    "length": ("lines", {"LineString", "MultiLineString", "LinearRing"}),
    "area": ("polygons", {"Polygon", "MultiPolygon"}),
    "polygons": ("polygons", {"Polygon", "MultiPolygon"}),
    "count": ("points", {"Point", "MultiPoint"}),
}


@dataclass(frozen=True, slots=True)
class ExposureRows:
    """Usable rows: shapes, the amount of each (None without a field), and its place in the layer."""

    shapes: Shapes
    values: Float | None
    index: NDArray[np.int64]
    read: int
    dropped: dict[str, int]
    mended: int
    findings: tuple[Finding, ...]


def clean_rows(
    frame: gpd.GeoDataFrame,
    grid: Grid,
    measure: str,
    field: str | None,
    selection: Selection,
    what: str,
    total: int | None,
) -> ExposureRows:
    """Select rows, check their kind, bring them into the grid's CRS and mend them; values stay beside them."""
    import pandas as pd
    import shapely

    selected = select_shapes(frame, selection, what, total)
    kept, dropped = selected.frame, selected.dropped
    if not len(kept):
        raise InputError(f"{what}: has no geometry left of {selected.read} rows read.", hint="Check its filter.")
    wanted, kinds = _KINDS[measure]
    other = sorted(set(kept.geom_type) - kinds)
    if other:
        raise InputError(
            f"{what}: measure {measure!r} takes {wanted}, found {', '.join(other)}.",
            hint="Points are counted (count), lines measured (length), polygons too (area, or polygons with a field).",
        )
    values = None
    if field is not None:
        require_field(kept, field, what)
        if wanted == "points":
            require_single_points(kept, what, f" with one value of {field!r}")
        numbers = pd.to_numeric(kept[field], errors="coerce")
        values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    shapes, finite, mended = usable_shapes(kept, grid.crs, what, dropped)
    index = kept.index.to_numpy()[finite]
    values = None if values is None else values[finite]
    if wanted == "polygons":
        sized = shapely.area(shapes) > 0
        count_dropped(dropped, "no area", ~sized)
        shapes, index, values = shapes[sized], index[sized], None if values is None else values[sized]
    if not len(shapes):
        raise InputError(f"{what}: no usable feature is left of {selected.read} rows read.", hint="Check the layer.")
    at = shapely.get_coordinates(shapely.point_on_surface(shapes))
    stray = stray_features(at[:, 0], at[:, 1], at, grid, what, "features") if measure == "count" else []
    return ExposureRows(shapes, values, index, selected.read, dropped, mended, (*selected.findings, *stray))


def require_amounts(values: Float, index: NDArray[np.int64], field: str | None, what: str) -> None:
    """Raise an InputError if an amount is missing, negative or not finite."""
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        i = int(np.argmax(bad))
        found = "missing or no number" if np.isnan(values[i]) else f"{values[i]:g}"
        raise InputError(
            f"{what}: {int(bad.sum()):,} of {len(values):,} values of {field!r} in the study area are missing, "
            f"negative or not finite; the first, in row {index[i] + 1}, is {found}.",
            hint="Mend them, or leave these rows out with a filter.",
        )
