"""The [priority] section of a study: which places come first, under which budget and cap, and what if."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rtmdx.runs.edits import Edit
from rtmdx.runs.study_layers import Source, Spec

__all__ = ["BudgetSpec", "FairSpec", "PlaceSource", "PrioritySpec", "WhatIfSpec"]


class PlaceSource(Source):
    """Polygons: neighbourhoods, blocks, beats."""

    name: str | None = None
    """Field with each place's name; the row number by default."""


class BudgetSpec(Spec):
    """A choice of cells under a budget."""

    cells: Annotated[int, Field(ge=1)]
    """Cells chosen."""
    min_patch: Annotated[int, Field(ge=1)] = 1
    """Least cells of a contiguous patch."""
    spacing: Annotated[float, Field(ge=0)] = 0.0
    """Least distance between patches, CRS units."""


class FairSpec(Spec):
    """The trade-off between coverage and a group's burden."""

    zones: PlaceSource
    """Polygons with residents."""
    group: str
    """Field with the residents of the group."""
    population: str
    """Field with all residents."""
    reference: str | None = None
    """Field with the residents of the reference group; needed for measure = "ratio"."""
    measure: Literal["share", "ratio"] = "share"
    """The group's share of the residents of the cells chosen, or the ratio of contact rates."""
    cells: Annotated[int, Field(ge=1)] = 500
    """Cells chosen."""
    points: Annotated[int, Field(ge=2, le=200)] = 10
    """Caps, evenly from the lowest that can be met to what the choice without a cap reaches."""
    label: str | None = None
    """The group, for people; the field's name by default."""

    @model_validator(mode="after")
    def _fitting(self) -> FairSpec:
        if (self.measure == "ratio") != (self.reference is not None):
            raise ValueError('reference goes with measure = "ratio"')
        return self


class WhatIfSpec(Spec):
    """One edited landscape."""

    label: str
    """Name for people."""
    edits: tuple[Edit, ...]
    """Features removed, added or moved."""
    within_top: Annotated[int, Field(ge=1)] | None = None
    """Remove and move only within so many of the highest places; of edits that name no polygon of their own."""
    around: Annotated[float, Field(ge=0)] = 0.0
    """Also so far around these places, CRS units: streets lie between blocks."""

    @field_validator("edits")
    @classmethod
    def _some(cls, value: tuple[Edit, ...]) -> tuple[Edit, ...]:
        if not value:
            raise ValueError("found none, expected at least one")
        return value


class PrioritySpec(Spec):
    """Which places come first. Nothing here changes the model."""

    places: PlaceSource | None = None
    """Polygons to rank; cells alone by default."""
    by: Literal["expected", "score", "posterior"] = "expected"
    """Figure of the terrain that ranks."""
    statistic: Literal["sum", "mean", "max"] | None = None
    """Of the cells of a place; by default their sum, or for a score their mean."""
    k: Annotated[int, Field(ge=1)] = 15
    """Places at the top."""
    cells: Annotated[int, Field(ge=1)] = 50
    """Cells at the top."""
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.01, 0.05, 0.1)
    """Tops by share of the cells."""
    budget: BudgetSpec | None = None
    fair: FairSpec | None = None
    what_if: tuple[WhatIfSpec, ...] = ()

    @model_validator(mode="after")
    def _fitting(self) -> PrioritySpec:
        if self.by == "score" and self.statistic == "sum":
            raise ValueError('a sum of scores over a place is no figure; use statistic = "mean" or "max"')
        return self

    @property
    def place_statistic(self) -> Literal["sum", "mean", "max"]:
        """The statistic, its default filled in."""
        return self.statistic or ("mean" if self.by == "score" else "sum")
