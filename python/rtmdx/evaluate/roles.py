"""Whose ground is what: treated places, the rings around them, controls, and the rings around those.

A ring is the ground up to a distance from a place, exactly, less all treated and control places, within the study area;
rings of several places do not overlap, what lies in two belongs to the place that the log names first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import sparse

from rtmdx.errors import CRSError, InputError
from rtmdx.evaluate.ground import polygon_of, ring, shapes_of
from rtmdx.evaluate.plan_log import PlanLog
from rtmdx.space.cleaning import mend
from rtmdx.space.values import crs_name, number

__all__ = ["Roles", "assign_roles"]

Float = NDArray[np.float64]
DisplacementControls = Literal["ring", "scaled"]
_OVERLAP = 1e-6  # share of a place; less is how borders were digitised


@dataclass(frozen=True, eq=False)
class Roles:
    """Places and rings, and which is which.

    Attributes
    ----------
    names : tuple of str
        Of the places.
    shapes : object array of polygons, shape (n_units,)
        Places, then a ring for each treated place (in the order of `treated`), then the ring of the controls.
    areas : float64 array, shape (n_units,)
    treated : tuple of int
        Places of the log.
    controls : int64 array
    excluded : tuple of int
        Places that are neither, since a ring of a treated place reaches into them.
    distance : float or None
        Of the rings.
    displacement_controls : {"ring", "scaled"}
        Whether rings are held against the controls' ring, or against the controls themselves.
    """

    names: tuple[str, ...]
    shapes: NDArray[np.object_]
    areas: Float
    treated: tuple[int, ...]
    controls: NDArray[np.int64]
    excluded: tuple[int, ...]
    distance: float | None
    displacement_controls: DisplacementControls
    crs: Any = field(repr=False)

    @property
    def n_places(self) -> int:
        """Number of places."""
        return len(self.names)

    def ring_of(self, place: int) -> int:
        """Return the unit of a treated place's ring."""
        return self.n_places + self.treated.index(place)

    @property
    def control_ring(self) -> int:
        """The unit of the controls' ring."""
        return self.shapes.size - 1

    def frame(self) -> Any:
        """Return places and rings with their roles, as a GeoDataFrame."""
        import geopandas as gpd

        roles = np.full(self.n_places, "not used", dtype=object)
        roles[self.controls] = "control"
        roles[list(self.treated)] = "treated"
        roles[list(self.excluded)] = "excluded (near a treated place)"
        names, said = list(self.names), list(roles)
        if self.distance is not None:
            names += [f"around {self.names[i]}" for i in self.treated]
            said += ["displacement"] * len(self.treated)
            if self.displacement_controls == "ring":
                names.append("around the controls")
                said.append("displacement control")
        return gpd.GeoDataFrame({"name": names, "role": said, "area": self.areas}, geometry=self.shapes, crs=self.crs)

    def inside(self, points: NDArray[np.object_]) -> Any:
        """Return which points are in which unit: a sparse matrix of points by units."""
        units, index = shapely.STRtree(points).query(self.shapes, predicate="intersects")
        shape = (points.size, self.shapes.size)
        return sparse.csr_array((np.ones(units.size), (index, units)), shape=shape)


def assign_roles(
    log: PlanLog,
    places: Any,
    key: str,
    *,
    area: Any,
    controls: str | Sequence[str],
    displacement: float | None,
    displacement_controls: DisplacementControls | None,
) -> Roles:
    """Give every place its role and make the rings; parameters as of `evaluate_plan`.

    Raises
    ------
    InputError, CRSError
    """
    names, shapes = _places(places, key)
    log.require(places=names)
    index = {name: i for i, name in enumerate(names)}
    treated = tuple(index[p] for p in log.places)
    within = shapely.union_all(shapes) if area is None else polygon_of(_like(area, places), "area")
    reach = None
    rings: list[Any] = []
    if displacement is not None:
        reach = number(displacement, "displacement")
        if not 0 < reach < np.inf:
            raise InputError(f"displacement: found {reach:g}, expected a positive distance in CRS units.")
    rest = [i for i in range(len(names)) if i not in treated]
    named_controls = _named(controls, index, treated)
    core = shapely.union_all(shapes[list(treated)])
    if reach is not None:
        taken = core if named_controls is None else shapely.union_all([core, *shapes[named_controls]])
        for i in treated:
            rings.append(ring(shapes[i], reach, taken, within))
            taken = shapely.union_all([taken, rings[-1]])
    excluded: tuple[int, ...] = ()
    if named_controls is None:
        near = shapely.union_all(rings) if rings else None
        if near is not None:
            common = shapely.area(shapely.intersection(shapes[rest], near)) > _OVERLAP * shapely.area(shapes[rest])
            excluded = tuple(i for i, c in zip(rest, common, strict=True) if c)
        chosen = [i for i in rest if i not in excluded]
        if not chosen:
            raise InputError(
                f"controls: none of {len(names):,} places is left: {len(treated)} are treated"
                + (f", {len(excluded)} lie within {reach:g} of one." if excluded else "."),
                hint="Give a layer of the whole city, a smaller displacement distance, or name the controls.",
            )
    else:
        chosen = named_controls
    rule: DisplacementControls = displacement_controls or ("scaled" if named_controls is None else "ring")
    units = [*shapes, *rings]
    if reach is not None and sum(r.area for r in rings) <= 0:
        raise InputError(
            f"displacement: no ground within {reach:g} of the treated places is left beside places and controls.",
            hint="Choose controls that are not next to treated places, or a larger distance.",
        )
    if reach is not None and rule == "ring":
        other = ring(shapely.union_all(shapes[chosen]), reach, shapely.union_all([core, *rings]), within)
        if other.area < 0.01 * sum(r.area for r in rings):
            raise InputError(
                f"displacement: the ring of {reach:g} around the controls has an area of {other.area:,.6g}, that "
                f"around treated places {sum(r.area for r in rings):,.6g}; it can be no control of it.",
                hint='Name controls with ground around them, or use displacement_controls="scaled".',
            )
        units.append(other)
    array = np.empty(len(units), dtype=object)
    array[:] = units
    return Roles(
        tuple(names), array, shapely.area(array), treated, np.array(chosen, dtype=np.int64), excluded, reach, rule,
        places.crs,
    )  # fmt: skip


def _places(places: Any, key: str) -> tuple[list[str], NDArray[np.object_]]:
    if not hasattr(places, "columns") or not hasattr(places, "geometry"):
        raise InputError(f"places: found {type(places).__name__}, expected a GeoDataFrame of polygons.")
    if key not in places.columns:
        raise InputError(f"places: no column {key!r}; it has {', '.join(map(str, places.columns))}.")
    if places.crs is None:
        raise CRSError("places: has no coordinate reference system.", hint="Set it: frame.set_crs(...).")
    if places.crs.is_geographic:
        raise CRSError(f"places: is in {crs_name(places.crs)}, in degrees; lengths and areas need a projected CRS.",
                       hint="Use to_crs(...).")  # fmt: skip
    names = [str(v) for v in places[key]]
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise InputError(f"places: two are named {twice!r} in {key!r}.", hint="Dissolve them, or use another column.")
    shapes = places.geometry.to_numpy()
    for i, s in enumerate(shapes):
        if s is None or s.is_empty or s.geom_type not in ("Polygon", "MultiPolygon"):
            found = "no geometry" if s is None or s.is_empty else s.geom_type
            raise InputError(f"places, row {i}, {names[i]!r}: found {found}, expected a polygon.")
    return names, mend(shapes)[0]


def _like(area: Any, places: Any) -> Any:
    if getattr(area, "crs", None) is None:
        return area
    return shapely.union_all(shapes_of(area, "area", like=places))


def _named(controls: Any, index: dict[str, int], treated: tuple[int, ...]) -> list[int] | None:
    if isinstance(controls, str):
        if controls == "rest":
            return None
        raise InputError(f"controls: found {controls!r}, expected 'rest' or a list of names of places.")
    names = list(map(str, controls))
    if not names:
        raise InputError("controls: found no names, expected at least one, or 'rest'.")
    for n in names:
        if n not in index:
            raise InputError(f"controls: no place {n!r}.", hint="Mend the name.")
        if index[n] in treated:
            raise InputError(f"controls: {n!r} is treated, by the plan log.", hint="Choose another.")
    if len(set(names)) != len(names):
        raise InputError("controls: a place is named twice.")
    return [index[n] for n in names]
