"""Geometry as flat arrays: what the engine takes, made once from whatever a user has."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import CRSError, InputError
from rtmdx.space.parts import mend_polygons, offsets, require_finite, simple_parts
from rtmdx.space.values import crs_in, crs_name, reals, whole_numbers

if TYPE_CHECKING:
    import pyproj

    from rtmdx import _engine

__all__ = ["Features"]

_NO_XY = np.empty((0, 2))
_NO_OFFSETS = np.zeros(1, dtype=np.int64)
_NO_INDEX = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Features:
    """Points, lines and polygons as coordinate and offset arrays, in CRS units.

    Build it with `from_geometries`, `from_points` or `from_arrays` and reuse it: the engine reads these
    arrays without a copy. Arrays are read-only.

    Attributes
    ----------
    points : float64 array, shape (n, 2)
    line_xy : float64 array, shape (vertices, 2)
    line_offsets : int64 array, shape (lines + 1,)
        Line i has the vertices ``line_offsets[i]:line_offsets[i + 1]``.
    ring_xy : float64 array, shape (vertices, 2)
    ring_offsets : int64 array, shape (rings + 1,)
    polygon_offsets : int64 array, shape (polygons + 1,)
        Polygon j has the rings ``polygon_offsets[j]:polygon_offsets[j + 1]``, its outline first.
    point_source, line_source, polygon_source : int64 arrays
        Position, in the input, of the geometry each point, line or polygon came from.
    n_input : int
        Geometries given.
    n_dropped : int
        Of these, None or empty.
    n_repaired : int
        Of these, holding a polygon that was not valid; ``shapely.make_valid`` mended it.
    crs : pyproj.CRS or None
        None where the input had none; then it is taken to be in the grid's.
    """

    points: NDArray[np.float64]
    line_xy: NDArray[np.float64]
    line_offsets: NDArray[np.int64]
    ring_xy: NDArray[np.float64]
    ring_offsets: NDArray[np.int64]
    polygon_offsets: NDArray[np.int64]
    point_source: NDArray[np.int64]
    line_source: NDArray[np.int64]
    polygon_source: NDArray[np.int64]
    n_input: int = 0
    n_dropped: int = 0
    n_repaired: int = 0
    crs: pyproj.CRS | None = None

    def __post_init__(self) -> None:
        for name in ("points", "line_xy", "ring_xy"):
            _freeze(self, name, np.float64)
            shape = getattr(self, name).shape
            if len(shape) != 2 or shape[1] != 2:
                raise InputError(f"{name}: has the shape {shape}, expected (n, 2).")
        for name in ("line_offsets", "ring_offsets", "polygon_offsets"):
            _freeze(self, name, np.int64)
        for name in ("point_source", "line_source", "polygon_source"):
            _freeze(self, name, np.int64)

    @property
    def n_points(self) -> int:
        """Points, multipoints counted by member."""
        return len(self.points)

    @property
    def n_lines(self) -> int:
        """Lines, multilines counted by member."""
        return len(self.line_offsets) - 1

    @property
    def n_polygons(self) -> int:
        """Polygons, multipolygons counted by member."""
        return len(self.polygon_offsets) - 1

    def __len__(self) -> int:
        return self.n_points + self.n_lines + self.n_polygons

    def __repr__(self) -> str:
        return (
            f"Features({self.n_points:,} points, {self.n_lines:,} lines, {self.n_polygons:,} polygons"
            f" from {self.n_input:,} geometries, {self.n_dropped:,} dropped)"
        )

    @classmethod
    def from_points(cls, xy: ArrayLike, *, crs: Any = None) -> Features:
        """Take points from an array, shape (n, 2), CRS units.

        Raises
        ------
        InputError
            The array is not (n, 2), or a coordinate is not finite.
        """
        points = reals(xy, "points", "an (n, 2) array of numbers")
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(
                f"points: found an array of shape {points.shape}, expected (n, 2).",
                hint="Put x in the first column and y in the second.",
            )
        return cls.from_arrays(points=points, crs=crs)

    @classmethod
    def from_arrays(
        cls,
        *,
        points: ArrayLike = _NO_XY,
        line_xy: ArrayLike = _NO_XY,
        line_offsets: ArrayLike = _NO_OFFSETS,
        ring_xy: ArrayLike = _NO_XY,
        ring_offsets: ArrayLike = _NO_OFFSETS,
        polygon_offsets: ArrayLike = _NO_OFFSETS,
        crs: Any = None,
    ) -> Features:
        """Take coordinate and offset arrays as they are (see the class).

        Rings may be closed or not and run either way. They are not mended: a density needs valid
        polygons, a distance takes each polygon as even-odd over its rings. The input geometries, for
        weights, are the points, then the lines, then the polygons.

        Raises
        ------
        InputError
            A coordinate is not finite, or offsets don't fit what they cut.
        """
        points, line_xy, ring_xy = (
            _pairs(a, name) for a, name in ((points, "points"), (line_xy, "line_xy"), (ring_xy, "ring_xy"))
        )
        line_offsets, ring_offsets, polygon_offsets = (
            _cuts(a, name)
            for a, name in (
                (line_offsets, "line_offsets"),
                (ring_offsets, "ring_offsets"),
                (polygon_offsets, "polygon_offsets"),
            )
        )
        starts = np.cumsum([0, len(points), len(line_offsets) - 1, len(polygon_offsets) - 1])
        made = cls(
            points=points,
            line_xy=line_xy,
            line_offsets=line_offsets,
            ring_xy=ring_xy,
            ring_offsets=ring_offsets,
            polygon_offsets=polygon_offsets,
            point_source=np.arange(starts[0], starts[1]),
            line_source=np.arange(starts[1], starts[2]),
            polygon_source=np.arange(starts[2], starts[3]),
            n_input=int(starts[3]),
            crs=_crs(crs),
        )
        made.native()  # checks the offsets
        require_finite(made.points, made.point_source, None)
        line = np.repeat(made.line_source, np.diff(made.line_offsets))
        require_finite(made.line_xy, line, None)
        polygon = np.repeat(made.polygon_source, np.diff(made.ring_offsets[made.polygon_offsets]))
        require_finite(made.ring_xy, polygon, None)
        return made

    @classmethod
    def from_geometries(cls, geometries: Any, *, crs: Any = None) -> Features:
        """Take a shapely geometry, an iterable of them, or a GeoSeries or GeoDataFrame.

        Multi-part geometries and collections are taken apart; z and m are ignored; None and empty
        geometries are dropped and counted; polygons that are not valid are mended and counted.

        Parameters
        ----------
        geometries : geometry, iterable of geometry or None, GeoSeries or GeoDataFrame
        crs : anything pyproj takes, optional
            Of plain geometries; a GeoSeries brings its own.

        Raises
        ------
        InputError
            Something is not a geometry, is of a curved type, or has a coordinate that is not finite;
            the message says which feature.
        """
        import shapely

        given = simple_parts(geometries, crs)
        parts, source = given.parts, given.source
        kind = shapely.get_type_id(parts)
        is_polygon = kind == 3
        polygons, polygon_source, n_repaired = mend_polygons(parts[is_polygon], source[is_polygon])
        rings, ring_polygon = shapely.get_rings(polygons, return_index=True)
        ring_xy, vertex_ring = shapely.get_coordinates(rings, return_index=True)
        is_line = (kind == 1) | (kind == 2)
        line_xy, vertex_line = shapely.get_coordinates(parts[is_line], return_index=True)
        is_point = kind == 0
        return cls(
            points=shapely.get_coordinates(parts[is_point]),
            line_xy=line_xy,
            line_offsets=offsets(vertex_line, int(np.count_nonzero(is_line))),
            ring_xy=ring_xy,
            ring_offsets=offsets(vertex_ring, len(rings)),
            polygon_offsets=offsets(ring_polygon, len(polygons)),
            point_source=source[is_point],
            line_source=source[is_line],
            polygon_source=polygon_source,
            n_input=given.n_input,
            n_dropped=given.n_dropped,
            n_repaired=n_repaired,
            crs=_crs(given.crs),
        )

    @classmethod
    def of(cls, features: Any) -> Features:
        """Return `features` as Features: as is, from an (n, 2) number array, or from geometries."""
        if isinstance(features, Features):
            return features
        if isinstance(features, np.ndarray) and features.dtype != object:
            return cls.from_points(features)
        return cls.from_geometries(features)

    def with_crs(self, crs: Any) -> Features:
        """Return the same features, said to be in `crs`."""
        return replace(self, crs=_crs(crs))

    def require_crs(self, crs: Any) -> None:
        """Raise a CRSError if the features are known to be in another CRS than `crs`."""
        if self.crs is not None and crs is not None and not self.crs.equals(crs, ignore_axis_order=True):
            raise CRSError(
                f"features: are in {crs_name(self.crs)}, the grid is in {crs_name(crs)}.",
                hint="Reproject them first: features.to_crs(grid.crs).",
            )

    def native(self, weights: NDArray[np.float64] | None = None) -> _engine.Features:
        """Return the engine's view; `weights` has one value per input geometry, shape (n_input,)."""
        if weights is None:
            return self._unweighted
        return self._native(weights[self.point_source], weights[self.line_source], weights[self.polygon_source])

    @cached_property
    def _unweighted(self) -> _engine.Features:
        none = np.empty(0)
        return self._native(none, none, none)

    def _native(
        self, points: NDArray[np.float64], lines: NDArray[np.float64], polygons: NDArray[np.float64]
    ) -> _engine.Features:
        from rtmdx import _engine

        return _engine.Features(
            points=self.points,
            point_weights=points,
            line_xy=self.line_xy,
            line_offsets=self.line_offsets,
            line_weights=lines,
            ring_xy=self.ring_xy,
            ring_offsets=self.ring_offsets,
            polygon_offsets=self.polygon_offsets,
            polygon_weights=polygons,
        )

    def nearest(self, grid: _engine.Grid, place: Hashable, cancel: Any = None) -> _engine.Nearest:
        """Return the features prepared for distances on a grid, which `place` identifies; the last one is kept.

        So a loop over the windows of a large frame sorts the features once.
        """
        from rtmdx import _engine

        kept: tuple[Hashable, _engine.Nearest] | None = self.__dict__.get("_nearest")
        if kept is not None and kept[0] == place:
            return kept[1]
        made = _engine.Nearest(
            self.native(),
            grid,
            points=self.point_source,
            lines=self.line_source,
            polygons=self.polygon_source,
            cancel=cancel,
        )
        self.__dict__["_nearest"] = (place, made)  # one assignment: another thread sees the old pair or this one
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_unweighted", "_nearest")}


def _freeze(features: Features, name: str, dtype: Any) -> None:
    """Store an array in the engine's layout, read-only; the caller's own array stays writable and is not shared."""
    given = getattr(features, name)
    array = np.ascontiguousarray(given, dtype=dtype)
    array = array.copy() if array.flags.writeable and np.may_share_memory(array, given) else array.view()
    array.setflags(write=False)
    object.__setattr__(features, name, array)


def _pairs(value: ArrayLike, name: str) -> NDArray[np.float64]:
    array = reals(value, name, "an (n, 2) array of numbers")
    if array.ndim != 2 or array.shape[1] != 2:
        raise InputError(f"{name}: has the shape {array.shape}, expected (n, 2).")
    return array


def _cuts(value: ArrayLike, name: str) -> NDArray[np.int64]:
    array = whole_numbers(value, name, "offsets: ascending whole numbers from 0")
    if array.ndim != 1 or not array.size:
        raise InputError(
            f"{name}: has the shape {array.shape}, expected (n + 1,) for n parts.", hint="None at all is [0]."
        )
    return array


def _crs(crs: Any) -> pyproj.CRS | None:
    return None if crs is None else crs_in(crs, "features")
