"""Geometry of an evaluation: places, the rings around them, and whose ground is whose."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rtmdx.errors import CRSError, InputError
from rtmdx.space.cleaning import mend
from rtmdx.space.values import crs_name, named

__all__ = ["polygon_of", "ring", "shapes_of"]

QUARTER = 64
"""Segments of a quarter of a circle: a buffer's area is then within about 0.01 %."""


def shapes_of(value: Any, name: str, *, like: Any = None) -> NDArray[np.object_]:
    """Return geometries as an array, in the CRS of `like`; missing and empty ones are left out, invalid ones mended.

    Raises
    ------
    InputError, CRSError
    """
    series: Any = getattr(value, "geometry", value) if not isinstance(value, shapely.Geometry) else [value]
    crs, other = getattr(series, "crs", None), getattr(like, "crs", None)
    if crs is not None and other is not None and not crs.equals(other):
        series = series.to_crs(other)
    elif (
        like is not None
        and (crs is None) != (other is None)
        and not isinstance(value, shapely.Geometry)
        and hasattr(series, "crs")
    ):
        raise CRSError(f"{name}: one layer has a coordinate reference system and the other has none.",
                       hint="Set it: frame.set_crs(...).")  # fmt: skip
    try:
        shapes = np.asarray(series, dtype=object).ravel()
        gone = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    except TypeError:
        raise InputError(f"{name}: found {named(value)}, expected geometries.") from None
    shapes = shapes[~gone]
    if not shapes.size:
        raise InputError(f"{name}: found no geometry.")
    return mend(shapes)[0]


def polygon_of(value: Any, name: str) -> Any:
    """Return the union of the polygons of a layer or geometry, in a projected CRS.

    Raises
    ------
    InputError, CRSError
    """
    crs = getattr(value, "crs", None)
    if crs is not None and crs.is_geographic:
        raise CRSError(f"{name}: is in {crs_name(crs)}, in degrees; lengths and areas need a projected CRS.",
                       hint="Use to_crs(...).")  # fmt: skip
    parts = shapely.get_parts(shapes_of(value, name))
    parts = parts[np.isin(shapely.get_type_id(parts), (3, 6))]
    if not parts.size:
        raise InputError(f"{name}: found no polygon, expected one or more.")
    return shapely.union_all(parts)


def ring(core: Any, distance: float, without: Any, within: Any) -> Any:
    """Return the ground up to `distance` from `core`, less `core` and `without`, within `within`."""
    around = shapely.buffer(core, distance, quad_segs=QUARTER)
    ground = shapely.intersection(shapely.difference(shapely.difference(around, core), without), within)
    parts = shapely.get_parts(ground)
    return shapely.union_all(parts[shapely.get_type_id(parts) == 3])  # where borders only touch, lines are left
