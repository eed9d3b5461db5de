"""What a model expects of an edited landscape: figures with limits, in words, tables and files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.export import plain

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.space.grid import Grid

__all__ = ["CAVEAT", "Change", "EditedFactor", "WhatIf"]

Float = NDArray[np.float64]
CAVEAT = (
    "This is what the model associates with another landscape, not what changing it would do: places with and without "
    "these features differ in more than the features, crime can move, and the interval holds the error of the fitted "
    "coefficients alone, not that of the choice of factors."
)


@dataclass(frozen=True, slots=True)
class Change:
    """A change in expected events.

    Attributes
    ----------
    before, after : float
        Expected events over the outcome's period.
    change : float
        After less before.
    low, high : float
        Limits of the change.
    level : float
        Probability of the limits.
    """

    before: float
    after: float
    change: float
    low: float
    high: float
    level: float

    def sentence(self, where: str = "the study area") -> str:
        """Say it in words."""
        share = f" ({self.change / self.before:+.1%})" if self.before > 0 else ""
        return (
            f"In {where} the model expects {self.before:,.1f} events as the landscape is and {self.after:,.1f} as "
            f"edited: {self.change:+,.1f}{share}, {self.level:.0%} interval {self.low:+,.1f} to {self.high:+,.1f}."
        )


@dataclass(frozen=True, slots=True)
class EditedFactor:
    """What became of a factor that was edited.

    Attributes
    ----------
    name, label : str
    features_before, features_after : int
    variables : tuple of str
        Its variables in the model; empty where it is not in it, and the edit then changes nothing.
    cells_freed, cells_reached : int
        Cells that any of them has left, or newly reached.
    """

    name: str
    label: str
    features_before: int
    features_after: int
    variables: tuple[str, ...]
    cells_freed: int
    cells_reached: int


@dataclass(frozen=True, eq=False)
class WhatIf:
    """What a model expects of an edited landscape; made by `what_if`.

    Attributes
    ----------
    title : str
    total : Change
        Over the study area.
    expected_before, expected_after : float64 arrays, shape (n_cells,)
        Expected events per cell.
    score_after : float64 array, shape (n_cells,)
        Relative risk score on the scale of the terrain's own; it may fall below 1.
    places : tuple of Change
        By place, in their order; empty without places.
    index : pandas Index or None
        Of the places.
    factors : tuple of EditedFactor
    n_changed : int
        Cells whose expectation changes.
    draws : int
        Simulated models behind the limits.
    seed : int
    robust : bool
        Whether their spread is the cluster-robust one.
    notes : tuple of str
    caveat : str
    grid : Grid
    """

    title: str
    total: Change
    expected_before: Float = field(repr=False)
    expected_after: Float = field(repr=False)
    score_after: Float = field(repr=False)
    places: tuple[Change, ...]
    index: Any = field(repr=False)
    factors: tuple[EditedFactor, ...]
    n_changed: int
    draws: int
    seed: int
    robust: bool
    notes: tuple[str, ...]
    grid: Grid = field(repr=False)
    caveat: str = CAVEAT

    @property
    def change_cells(self) -> Float:
        """Change in expected events per cell, float64, shape (n_cells,)."""
        return self.expected_after - self.expected_before

    def to_frame(self) -> pd.DataFrame:
        """Return before, after, change, low, high, one row per place; without places one row, the study area."""
        import pandas as pd

        columns = ["before", "after", "change", "low", "high"]
        rows = self.places if self.index is not None else (self.total,)
        index = self.index if self.index is not None else pd.Index(["study area"])
        return pd.DataFrame([[getattr(c, n) for n in columns] for c in rows], columns=columns, index=index)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        places = self.to_frame().reset_index(names="place") if self.index is not None else None
        return {
            "title": self.title,
            "total": {n: getattr(self.total, n) for n in Change.__slots__},
            "places": [] if places is None else plain(places.to_dict("records")),
            "factors": [
                {n: list(v) if isinstance(v := getattr(f, n), tuple) else v for n in EditedFactor.__slots__}
                for f in self.factors
            ],
            "cells_changed": self.n_changed,
            "draws": self.draws,
            "seed": self.seed,
            "robust": self.robust,
            "notes": list(self.notes),
            "caveat": self.caveat,
        }

    def sentences(self) -> list[str]:
        """Say what was edited, what changes, and what that does not mean."""
        out = []
        for f in self.factors:
            said = f"{f.label}: {f.features_before:,} features before, {f.features_after:,} after"
            if f.variables:
                said += f"; {f.cells_freed:,} cells leave its influence, {f.cells_reached:,} come under it"
            out.append(said + ".")
        return [*out, self.total.sentence(), *self.notes, self.caveat]

    def to_geopackage(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write ``cells`` (those that change), and the table of ``places`` where there are any.

        Raises
        ------
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        import geopandas as gpd
        import pandas as pd

        from rtmdx.space.geofiles import cell_squares, write_layers

        changed = self.change_cells != 0
        data = {
            "cell": np.flatnonzero(changed), "before": self.expected_before[changed],
            "after": self.expected_after[changed], "change": self.change_cells[changed],
        }  # fmt: skip
        layers: dict[str, Any] = {"cells": gpd.GeoDataFrame(data, geometry=cell_squares(self.grid)[changed])}
        if self.index is not None:
            layers["places"] = self.to_frame().reset_index(names="place")
        told = [("title", self.title), *(("sentence", s) for s in self.sentences())]
        layers["provenance"] = pd.DataFrame(told, columns=["key", "value"])
        write_layers(path, layers, title=self.title, overwrite=overwrite)
