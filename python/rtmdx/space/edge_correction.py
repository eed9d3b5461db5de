"""Edge correction of a kernel density: what the kernel spills over the study area's edge, given back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, CRSError, InputError
from rtmdx.space.arguments import Cancel, native_grid
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame, Window
from rtmdx.space.memory import require_bytes
from rtmdx.space.parts import take_apart
from rtmdx.space.values import as_array, choice, named

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["EDGE_CORRECTIONS", "Edge", "EdgeCorrectionName", "edge_in"]

_BATCH = 16  # shapes between two questions whether to stop: cutting by a long boundary takes milliseconds each

EdgeCorrectionName = Literal["uniform", "diggle"]
EDGE_CORRECTIONS: tuple[EdgeCorrectionName, ...] = ("uniform", "diggle")

_LEAST_MASS = 1e-12  # less is rounding: the area is out of the kernel's reach


@dataclass(frozen=True)
class Edge:
    """A correction and the area it is for."""

    correction: EdgeCorrectionName
    area: BaseGeometry
    polygons: Features
    frame: Frame

    def clip(
        self, features: Features, weights: NDArray[np.float64] | None, cancel: Cancel | None = None
    ) -> tuple[Features, NDArray[np.float64] | None, int]:
        """Return what lies in the area (points on its boundary do), its weights, and how many features don't."""
        import shapely

        if features.n_lines or features.n_polygons:
            if self.correction == "diggle":
                kind = "lines" if features.n_lines else "polygons"
                raise InputError(
                    f"edge_correction: found 'diggle' for {kind}, expected points; it weights each point.",
                    hint="Take edge_correction='uniform'.",
                )
            shapes, source = _shapes(features)
            cut = _intersection(shapes, self.area, cancel)
            cut = _of_dimension(cut, 1 if features.n_lines else 2)
            inside = Features.from_geometries(cut)
            chosen = None if weights is None else weights[source]
            return inside, chosen, int(np.count_nonzero(shapely.is_empty(cut)))
        shapely.prepare(self.area)
        within = np.asarray(shapely.intersects_xy(self.area, features.points))
        kept = features.points[within]
        chosen = None if weights is None else weights[features.point_source[within]]
        inside = replace(Features.from_points(kept), crs=features.crs)
        return inside, chosen, int(len(within) - len(kept))

    def point_weights(
        self,
        features: Features,
        weights: NDArray[np.float64] | None,
        kernel: str,
        bandwidth: float,
        run: dict[str, Any],
    ) -> NDArray[np.float64]:
        """Return the points' weights divided by the kernel's mass in the area around each."""
        from rtmdx import _engine

        mass = np.empty(features.n_points)
        _engine.kernel_mass(
            mass,
            self.polygons.native(),
            features.points,
            native_grid(self.frame),
            kernel=kernel,
            bandwidth=bandwidth,
            **run,
        )
        return (1.0 if weights is None else weights) / np.maximum(mass, _LEAST_MASS)

    def divide(self, values: NDArray[Any], window: Window, kernel: str, bandwidth: float, run: dict[str, Any]) -> None:
        """Divide a density by the kernel's mass in the area around each cell centre, in place."""
        from rtmdx import _engine

        require_bytes(values.nbytes, "the kernel's mass in the area", values.shape)
        mass = np.empty(values.shape, dtype=values.dtype)
        _engine.density(
            mass,
            self.polygons.native(),
            native_grid(self.frame),
            _engine.Window(*window),
            kernel=kernel,
            bandwidth=bandwidth,
            **run,
        )
        reached = mass > _LEAST_MASS
        np.divide(values, mass, out=values, where=reached)
        values[~reached] = 0


def edge_in(correction: Any, area: Any, frame: Frame) -> Edge | None:
    """Return the correction asked for, or None; an error if it or its area is not usable."""
    if correction is None:
        if area is not None:
            raise InputError(
                "area: given without an edge_correction, which alone uses it.",
                hint="Add edge_correction='uniform' or 'diggle', or leave area out.",
            )
        return None
    choice(correction, "edge_correction", EDGE_CORRECTIONS, optional=True)
    if area is None:
        raise InputError(
            f"area: missing; edge_correction={correction!r} needs the polygon that the features were collected in."
        )
    union = _union(area, frame)
    return Edge(correction, union, Features.from_geometries(union), frame)


def _union(area: Any, frame: Frame) -> BaseGeometry:
    import pyproj
    import shapely

    crs = getattr(area, "crs", None)
    if isinstance(crs, pyproj.CRS) and not frame.crs.equals(crs, ignore_axis_order=True):
        raise CRSError(
            f"area: is in {crs.to_string()}, the grid in {frame.crs.to_string()}.",
            hint="Reproject it first: area.to_crs(grid.crs).",
        )
    given = as_array(getattr(area, "geometry", area), object)
    shapes = np.array([None]) if given is None else np.atleast_1d(given)
    if not np.all(shapely.is_geometry(shapes)) or not np.isin(shapely.get_type_id(shapes), (3, 6)).all():
        raise InputError(
            f"area: found {named(area)}, expected a polygon, a StudyArea, or a GeoSeries or GeoDataFrame of polygons."
        )
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise InputError("area: has coordinates that are not finite.", hint="Mend or drop those vertices.")
    union: BaseGeometry = shapely.union_all(shapely.make_valid(shapes))
    parts = shapely.get_parts(union)
    parts = parts[shapely.get_type_id(parts) == 3]
    if not len(parts):
        raise InputError("area: has no area.")
    made: BaseGeometry = shapely.multipolygons(parts)
    return made


def _intersection(shapes: NDArray[Any], area: BaseGeometry, cancel: Cancel | None) -> NDArray[Any]:
    """Cut shapes to the area; only those that meet its boundary are cut, some at a time."""
    import shapely

    shapely.prepare(area)
    cut = shapes.copy()
    for first in range(0, len(shapes), _BATCH):
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller's check")
        part = cut[first : first + _BATCH]
        away = shapely.disjoint(area, part)
        across = ~away & ~shapely.contains_properly(area, part)
        part[away] = shapely.intersection(part[away], shapely.Polygon())  # empty
        part[across] = shapely.intersection(part[across], area)
    return cut


def _shapes(features: Features) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the lines or polygons as geometries, and the input geometry each came from."""
    import shapely

    if features.n_lines:
        owner = np.repeat(np.arange(features.n_lines), np.diff(features.line_offsets))
        return np.asarray(shapely.linestrings(features.line_xy, indices=owner)), features.line_source
    owner = np.repeat(np.arange(len(features.ring_offsets) - 1), np.diff(features.ring_offsets))
    rings = shapely.linearrings(features.ring_xy, indices=owner)
    polygon = np.repeat(np.arange(features.n_polygons), np.diff(features.polygon_offsets))
    return np.asarray(shapely.polygons(rings, indices=polygon)), features.polygon_source


def _of_dimension(cut: NDArray[Any], dimension: int) -> NDArray[Any]:
    """Keep the lines (1) or polygons (2) of each geometry, one geometry each; what only touches is dropped."""
    import shapely

    parts, owner = take_apart(cut, np.arange(len(cut)))
    keep = shapely.get_dimensions(parts) == dimension
    make = shapely.multilinestrings if dimension == 1 else shapely.multipolygons
    out = np.full(len(cut), shapely.MultiPolygon(), dtype=object)
    if keep.any():
        which = np.unique(owner[keep])
        out[which] = np.atleast_1d(make(parts[keep], indices=np.searchsorted(which, owner[keep])))
    return out
