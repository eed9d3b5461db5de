"""Geometries of all kinds as simple parts: points, lines and valid polygons, each with the input it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.values import named

__all__ = ["SimpleParts", "simple_parts", "take_apart"]

_FARTHEST = 1e100  # a coordinate beyond is no place; its square would leave double precision


@dataclass(frozen=True, slots=True)
class SimpleParts:
    """Points, lines and polygons of one part.

    Attributes
    ----------
    parts : object array of shapely geometries, shape (n,)
        Polygons as they came, valid or not.
    source : int64 array, shape (n,)
        Position in the input of the geometry each is of.
    n_input : int
        Geometries given.
    n_dropped : int
        Of these, None or empty.
    crs : anything pyproj takes, or None
    """

    parts: NDArray[Any]
    source: NDArray[np.int64]
    n_input: int
    n_dropped: int
    crs: Any


def simple_parts(geometries: Any, crs: Any) -> SimpleParts:
    """Take apart what `Features.from_geometries` takes; parameters and errors as there."""
    import shapely

    labels: Any = None
    if hasattr(geometries, "geometry") and hasattr(geometries, "crs"):  # GeoSeries, GeoDataFrame
        labels = geometries.index
        geometries = geometries.geometry.array
    elif isinstance(geometries, shapely.Geometry) or geometries is None:
        geometries = [geometries]
    elif not isinstance(geometries, Iterable) or isinstance(geometries, (str, bytes, Mapping)):
        raise InputError(
            f"features: found {named(geometries)}, expected geometries.",
            hint="Give a GeoSeries, a GeoDataFrame, shapely geometries or an (n, 2) array.",
        )
    crs = getattr(geometries, "crs", None) or crs  # a GeometryArray brings its own too
    try:
        parts = np.fromiter(geometries, dtype=object)
    except TypeError as error:  # an array without dimensions, among others
        raise InputError(f"features: found {named(geometries)}, expected geometries ({error}).") from error
    is_geometry = np.asarray(shapely.is_geometry(parts))
    missing = np.asarray(shapely.is_missing(parts))
    if not np.all(is_geometry | missing):
        at = int(np.argmin(is_geometry | missing))
        raise InputError(
            f"{_name(at, labels)}: found {named(parts[at])}, expected a geometry.",
            hint="Give shapely geometries, None where there is none, or an (n, 2) array of points.",
        )
    n_input = len(parts)
    source = np.flatnonzero(~missing & ~shapely.is_empty(parts)).astype(np.int64)
    n_dropped = n_input - len(source)
    parts, source = take_apart(parts[source], source)

    kind = shapely.get_type_id(parts)
    if kind.size and kind.max() > 3:
        at = int(np.argmax(kind > 3))
        raise InputError(
            f"{_name(int(source[at]), labels)}: has the type {parts[at].geom_type}, "
            "expected points, lines or polygons.",
            hint="Turn curves into lines first.",
        )
    xy, owner = shapely.get_coordinates(parts, return_index=True)
    require_finite(xy, source[owner], labels)
    return SimpleParts(parts, source, n_input, n_dropped, crs)


def require_finite(xy: NDArray[np.float64], source: NDArray[np.int64], labels: Any) -> None:
    """Raise an InputError that names the first feature with a coordinate that is no finite place."""
    with np.errstate(invalid="ignore"):
        near = np.abs(xy) <= _FARTHEST
    if not near.all():  # by rows only now: for pairs that takes ten times as long
        finite = near.all(axis=1)
        at = int(np.argmin(finite))
        more = len(np.unique(source[~finite])) - 1
        raise InputError(
            f"{_name(int(source[at]), labels)}: has the coordinate ({xy[at, 0]}, {xy[at, 1]}), "
            "expected finite numbers" + (f"; so do {more:,} more features." if more else "."),
            hint="Drop or mend the feature.",
        )


def _name(position: int, labels: Any) -> str:
    if labels is None or labels[position] == position:
        return f"feature {position}"
    return f"feature {position} (index {labels[position]!r})"


def take_apart(parts: NDArray[Any], source: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Split multi-part geometries and collections, however nested, and drop empty members."""
    import shapely

    while True:
        kind = shapely.get_type_id(parts)
        if not np.any((kind >= 4) & (kind <= 7)):
            break
        parts, owner = shapely.get_parts(parts, return_index=True)
        source = source[owner]
    full = ~shapely.is_empty(parts)
    return parts[full], source[full]


def mend_polygons(polygons: NDArray[Any], source: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64], int]:
    """Make polygons valid (even-odd, the engine's rule); pieces without area are no polygons."""
    import shapely

    bad = ~shapely.is_valid(polygons)
    if not bad.any():
        return polygons, source, 0
    n_repaired = len(np.unique(source[bad]))
    mended = polygons.copy()
    mended[bad] = shapely.make_valid(polygons[bad])
    parts, owner = take_apart(mended, np.arange(len(mended)))
    areal = shapely.get_type_id(parts) == 3
    return parts[areal], source[owner[areal]], n_repaired


def offsets(owner: NDArray[np.intp], n: int) -> NDArray[np.int64]:
    """Turn the owner of each item, sorted, into offsets, shape (n + 1,)."""
    out = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(owner, minlength=n), out=out[1:])
    return out
