"""What-if edits of layers: features removed, added or moved before anything is made from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rtmdx.errors import InputError
from rtmdx.space.readers import apply_filter

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

__all__ = ["Edit", "apply_edits"]

Scalar = bool | int | float | str


class Edit(BaseModel):
    """One edit of a layer. Coordinates are in the study area's CRS.

    A feature is chosen when it matches every field of `filter` and touches `within`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    layer: str
    """Name of a factor, a barrier, "outcome", "holdout", "exposure" or "districts"."""
    action: Literal["remove", "add", "move"]
    filter: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    """Remove, move: features whose field equals the value, or one of the values. Add: fields of the new features."""
    within: str | None = None
    """Remove, move: a polygon (WKT, or a shapely geometry); features that touch it."""
    geometries: tuple[str, ...] = ()
    """Add: the new features (WKT, or shapely geometries)."""
    by: tuple[float, float] | None = None
    """Move: east and north, in units of the CRS."""
    label: str | None = None
    """Name for people."""

    @field_validator("within", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Take a shapely geometry as well."""
        return getattr(value, "wkt", value)

    @field_validator("geometries", mode="before")
    @classmethod
    def _all_as_text(cls, value: Any) -> Any:
        """Take shapely geometries as well, and a GeoSeries."""
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            return value
        return tuple(getattr(g, "wkt", g) for g in value)

    @field_validator("layer")
    @classmethod
    def _not_the_area(cls, value: str) -> str:
        if value == "area":
            raise ValueError("the study area lays the grid and cannot be edited; use the area's filter")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Edit:
        if self.action == "add" and (not self.geometries or self.within or self.by):
            raise ValueError("add takes geometries (WKT), not within or by")
        if self.action != "add" and self.geometries:
            raise ValueError(f"{self.action} takes filter and within, not geometries")
        if (self.by is not None) != (self.action == "move"):
            raise ValueError("by = [east, north] goes with move")
        for text in (*self.geometries, *([self.within] if self.within else [])):
            _shape(text)
        if self.within is not None and _shape(self.within).geom_type not in ("Polygon", "MultiPolygon"):
            raise ValueError("within must be a polygon")
        return self

    @property
    def title(self) -> str:
        """Name for people."""
        return self.label or f"{self.action} {self.layer}"


def apply_edits(
    frame: gpd.GeoDataFrame,
    edits: tuple[Edit, ...],
    crs: pyproj.CRS,
    what: str,
    fields: Mapping[str, Any] | None = None,
) -> tuple[gpd.GeoDataFrame, int]:
    """Return the frame with the edits made, in their order, and by how many rows it grew.

    Parameters
    ----------
    frame : GeoDataFrame
        As read, with a CRS; it is left as it is.
    edits : tuple of Edit
        All of this layer.
    crs : pyproj.CRS
        The study area's.
    what : str
        The layer, to begin messages with.
    fields : mapping, optional
        Fields that features added have unless the edit says otherwise: those that the layer's filter asks for.

    Raises
    ------
    InputError
        A field does not exist, or an edit chooses no feature.
    """
    before = len(frame)
    for edit in edits:
        if edit.action == "add":
            frame = _added(frame, {**(fields or {}), **edit.filter}, edit, crs)
            continue
        chosen = _chosen(frame, edit, crs, what)
        if not chosen.any():
            raise InputError(
                f"{what}: the edit {edit.title!r} chooses none of {len(frame)} features.",
                hint="Check its filter and polygon; coordinates are in the study area's CRS.",
            )
        frame = frame[~chosen] if edit.action == "remove" else _moved(frame, chosen, edit, crs)
    return frame, len(frame) - before


def _chosen(frame: gpd.GeoDataFrame, edit: Edit, crs: Any, what: str) -> Any:
    import numpy as np

    rows = np.zeros(len(frame), dtype=bool)
    numbered = frame.reset_index(drop=True)
    rows[apply_filter(numbered, edit.filter, f"{what}: edit {edit.title!r}").index.to_numpy()] = True
    if edit.within is not None:
        rows &= frame.geometry.to_crs(crs).intersects(_shape(edit.within)).to_numpy()
    return rows


def _added(frame: gpd.GeoDataFrame, fields: Mapping[str, Any], edit: Edit, crs: Any) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pandas as pd

    new = gpd.GeoDataFrame(geometry=[_shape(t) for t in edit.geometries], crs=crs).to_crs(frame.crs)
    if frame.geometry.name != new.geometry.name:
        new = new.rename_geometry(frame.geometry.name)
    for field, value in fields.items():
        new[field] = value[0] if isinstance(value, list) else value
    blank = frame.iloc[:0].reindex(range(len(new)))  # the layer's own fields and types, empty
    for column in frame.columns:
        if column not in new.columns:
            new[column] = blank[column].to_numpy()
    both = pd.concat([frame, new[[*frame.columns]]], ignore_index=True)
    return gpd.GeoDataFrame(both, geometry=frame.geometry.name, crs=frame.crs)


def _moved(frame: gpd.GeoDataFrame, chosen: Any, edit: Edit, crs: Any) -> gpd.GeoDataFrame:
    assert edit.by is not None
    shapes = frame.geometry.to_numpy().copy()
    there = frame.geometry[chosen].to_crs(crs)
    back = there.translate(*edit.by).to_crs(frame.crs)
    shapes[chosen] = back.to_numpy()
    return frame.set_geometry(type(frame.geometry)(shapes, index=frame.index, crs=frame.crs, name=frame.geometry.name))


def _shape(text: str) -> Any:
    import shapely

    try:
        return shapely.from_wkt(text)
    except shapely.errors.GEOSException:
        raise ValueError(f"{text[:40]!r} is no geometry in WKT") from None
