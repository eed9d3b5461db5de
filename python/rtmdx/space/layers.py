"""Study area, events and risk factors, cleaned and in the study area's CRS."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.cleaning import (
    Cleaning,
    clean_shapes,
    mend,
    require_crs,
    require_grid,
    require_single_points,
    select_polygons,
    select_shapes,
    stray_features,
)
from rtmdx.space.selection import ALL_ROWS, Finding, Selection, count_dropped
from rtmdx.space.values import named, number, text

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

    from rtmdx.space.grid import Grid

__all__ = ["Cleaning", "Events", "Finding", "RiskFactor", "Selection", "StudyArea", "frame_digest"]


@dataclass(frozen=True, eq=False)
class StudyArea:
    """The study area: one valid (Multi)Polygon in a projected CRS."""

    geometry: Any
    crs: pyproj.CRS
    cleaning: Cleaning

    @classmethod
    def from_frame(
        cls,
        frame: gpd.GeoDataFrame,
        *,
        selection: Selection = ALL_ROWS,
        source: str = "memory",
        digest: str = "",
        total: int | None = None,
    ) -> StudyArea:
        """Union the selected polygons of `frame`.

        Raises
        ------
        InputError
            No polygon, or other geometry types.
        """
        import shapely

        what = f"study area ({source})"
        selected = select_polygons(frame, selection, what, total, hint="Give one or more polygons.")
        shapes, mended = mend(selected.frame.geometry.to_numpy())
        union = shapely.union_all(shapes)
        parts = shapely.get_parts(union)
        union = shapely.multipolygons(parts[shapely.get_type_id(parts) == 3])
        cleaning = Cleaning(source, digest, selected.read, len(shapes), selected.dropped, mended)
        return cls(union, frame.crs, cleaning)


@dataclass(frozen=True, eq=False)
class Events:
    """Cleaned events of one outcome and period.

    Attributes
    ----------
    name : str
    x, y : float64 arrays, shape (n,)
        Coordinates in the study area's CRS.
    cleaning : Cleaning
    selection : Selection
        Which rows took part.
    stamps : object array, shape (n,), or None
        The date field's values as text, where one is named.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    cleaning: Cleaning
    selection: Selection = ALL_ROWS
    stamps: NDArray[np.object_] | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def period(self) -> str:
        """The time window, for people."""
        return self.selection.period

    def keys(self) -> list[tuple[float, float, str]]:
        """What tells events apart: place, and date where known."""
        stamps = [""] * len(self) if self.stamps is None else self.stamps.tolist()
        return list(zip(self.x.tolist(), self.y.tolist(), stamps, strict=True))

    def __len__(self) -> int:
        return self.x.size

    def counts(self, grid: Grid) -> NDArray[np.int64]:
        """Count events per kept cell, shape (n_cells,)."""
        cell = grid.cell_of(self.x, self.y)
        return np.bincount(cell[cell >= 0], minlength=grid.n_cells).astype(np.int64)

    @classmethod
    def from_frame(
        cls,
        frame: gpd.GeoDataFrame,
        grid: Grid,
        area: StudyArea,
        *,
        name: str = "events",
        role: str = "outcome",
        selection: Selection = ALL_ROWS,
        source: str = "memory",
        digest: str = "",
        total: int | None = None,
    ) -> Events:
        """Clean point events and clip them to the study area, before anything is counted.

        Parameters
        ----------
        frame : GeoDataFrame
            Points (or single-part multipoints) in any CRS.
        grid : Grid
        area : StudyArea
        name, role : str
            What the events are; "outcome" or "hold-out", for messages.
        selection : Selection
            Attribute filter and time window.
        total : int, optional
            Rows of the layer before a filter at reading, for the record.

        Raises
        ------
        InputError
            Unknown field, no point geometry, dates that do not parse, or no event left inside.
        """
        import shapely

        what = f"{text(role, 'role')} {text(name, 'name')!r} ({source})"
        require_grid(grid, what)
        if not isinstance(area, StudyArea):
            raise InputError(f"{what}: area: found {named(area)}, expected a StudyArea.")
        selected = select_shapes(frame, selection, what, total)
        frame, read, dropped = selected.frame, selected.read, selected.dropped
        kinds = sorted(set(frame.geom_type) - {"Point", "MultiPoint"})
        if kinds:
            raise InputError(f"{what}: events must be points, found {', '.join(kinds)}.", hint="Use their centroids.")
        require_crs(frame, what)
        require_single_points(frame, what, "; an event is one point")
        raw = shapely.get_coordinates(frame.geometry.to_numpy())
        x, y = _project(frame, grid.crs)
        finite = np.isfinite(x) & np.isfinite(y)
        findings = list(selected.findings)
        findings += stray_features(x[finite], y[finite], raw[finite], grid, what, "events")
        count_dropped(dropped, "coordinates not finite", ~finite)
        inside = finite.copy()
        shapely.prepare(area.geometry)
        inside[finite] = shapely.intersects_xy(area.geometry, x[finite], y[finite])
        count_dropped(dropped, "outside the study area", finite & ~inside)
        kept = inside.copy()
        kept[inside] = grid.cell_of(x[inside], y[inside]) >= 0
        count_dropped(dropped, "cell not kept", inside & ~kept)
        x, y = x[kept], y[kept]
        if not x.size:
            reasons = "; ".join(f"{n} {reason}" for reason, n in dropped.items()) or "the layer is empty"
            raise InputError(
                f"{what}: no event is left of {read} read ({reasons}).",
                hint="Check the filter, the dates and the CRS." if read else "Give a layer with events.",
            )
        findings += _one_coordinate(x, y, what)
        stamps = None
        if selection.date_field is not None:
            stamps = frame[selection.date_field].astype(str).to_numpy(dtype=object)[kept]
        cleaning = Cleaning(source, digest, read, x.size, dropped)
        return cls(name, x, y, cleaning, selection, stamps, tuple(findings))


Operationalization = Literal["proximity", "density", "cost"]
"""How a factor's influence is put in numbers: distance, concentration, or cost distance around what is in the way."""


@dataclass(frozen=True, eq=False)
class RiskFactor:
    """One risk factor: cleaned features and how their influence is operationalized.

    Attributes
    ----------
    name, label : str
        Name in variable names; name for people.
    geometries : object array of shapely geometries, shape (n,)
        Points, lines and polygons in the study area's CRS. Features outside the area count.
    effect : {"aggravating", "protective"}
    operationalizations : tuple of {"proximity", "density", "cost"}
    distances : tuple of float
        Band distances in CRS units, smallest first.
    increment : {"half", "whole"}
    geometry_type : str
        "points", "lines", "polygons" or "mixed".
    """

    name: str
    label: str
    geometries: NDArray[np.object_]
    effect: Literal["aggravating", "protective"]
    operationalizations: tuple[Operationalization, ...]
    distances: tuple[float, ...]
    increment: str
    geometry_type: str
    cleaning: Cleaning
    findings: tuple[Finding, ...] = ()

    @property
    def sign(self) -> int:
        """+1 aggravating, -1 protective."""
        return 1 if self.effect == "aggravating" else -1

    def __len__(self) -> int:
        return self.geometries.size

    @classmethod
    def from_frame(
        cls,
        frame: gpd.GeoDataFrame,
        grid: Grid,
        *,
        name: str,
        distances: tuple[float, ...],
        label: str | None = None,
        effect: Literal["aggravating", "protective"] = "aggravating",
        operationalizations: tuple[Operationalization, ...] = ("proximity", "density"),
        increment: str = "half",
        selection: Selection = ALL_ROWS,
        source: str = "memory",
        digest: str = "",
        total: int | None = None,
    ) -> RiskFactor:
        """Clean a layer of points, lines or polygons in any CRS; parameters as for `Events.from_frame`.

        Raises
        ------
        InputError
            Unknown field, dates that do not parse, or no usable feature left.
        """
        what = f"factor {text(name, 'name')!r} ({source})"
        distances = _distances_in(distances, what)
        if label is not None:
            text(label, f"{what}: label", "a label")
        shapes, kind, cleaning, findings = clean_shapes(
            frame, grid, what=what, selection=selection, source=source, digest=digest, total=total
        )
        if kind == "mixed" and "density" in operationalizations:
            raise InputError(
                f"{what}: mixes points, lines and polygons; a count, a length and an area do not add up to a density.",
                hint='Use operationalization = "proximity", or split the layer by geometry type.',
            )
        return cls(
            name=name,
            label=label or name.replace("_", " ").capitalize(),
            geometries=shapes,
            effect=effect,
            operationalizations=operationalizations,
            distances=distances,
            increment=increment,
            geometry_type=kind,
            cleaning=cleaning,
            findings=findings,
        )


def _distances_in(distances: Any, what: str) -> tuple[float, ...]:
    if not isinstance(distances, (list, tuple, np.ndarray)) or getattr(distances, "ndim", 1) == 0:
        raise InputError(f"{what}: distances: found {named(distances)}, expected a sequence of lengths.")
    made = tuple(number(d, f"{what}: distances") for d in distances)
    if not made or not all(0 < d < math.inf for d in made):
        raise InputError(f"{what}: distances: found {named(distances)}, expected one or more positive lengths.")
    return made


def frame_digest(frame: gpd.GeoDataFrame) -> str:
    """SHA-256 of a frame held in memory: its geometry, CRS and fields."""
    h = hashlib.sha256()
    h.update((frame.crs.to_wkt() if frame.crs is not None else "").encode())
    for wkb in frame.geometry.to_wkb():
        h.update(wkb or b"-")
    h.update(frame.drop(columns=frame.geometry.name).to_csv(index=False).encode())
    return h.hexdigest()


def _project(frame: gpd.GeoDataFrame, crs: pyproj.CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    moved = frame.geometry.to_crs(crs)
    import shapely

    xy = shapely.get_coordinates(moved.to_numpy())
    return xy[:, 0], xy[:, 1]


def _one_coordinate(x: NDArray[np.float64], y: NDArray[np.float64], what: str) -> list[Finding]:
    """Find one coordinate that holds many events: often a centroid filled in for unknown places."""
    places, n = np.unique(np.column_stack([x, y]), axis=0, return_counts=True)
    i = int(n.argmax())
    most, share = int(n[i]), n[i] / x.size
    if not ((most >= 10 and share >= 0.05) or (most >= 50 and share >= 0.01)):
        return []
    return [
        Finding(
            "one-coordinate",
            what,
            f"{most} of {x.size} events ({share:.1%}) share the coordinate ({places[i][0]:.1f}, {places[i][1]:.1f}). "
            "A hot address, or a centroid filled in for unknown places? Check it.",
        )
    ]
