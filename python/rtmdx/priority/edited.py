"""What the model expects of another landscape: features removed, added or moved, and what that changes where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.columns import cost_columns, proximity_columns
from rtmdx.priority.weights import PlaceWeights, place_weights
from rtmdx.runs.inputs import read_factor, read_impedance
from rtmdx.runs.study import Study, describe
from rtmdx.space.density import density_array
from rtmdx.space.features import Features
from rtmdx.space.values import whole
from rtmdx.sweep.edits import Edit
from rtmdx.sweep.layers import EditedReader, SharedLayers

if TYPE_CHECKING:
    from collections.abc import Callable

    import geopandas as gpd
    import pandas as pd

    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.space.grid import Grid

__all__ = ["CAVEAT", "Change", "EditedFactor", "WhatIf", "what_if"]

Float = NDArray[np.float64]
_BLOCK = 1024  # places whose changes are drawn at a time
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
            "places": [] if places is None else [_plain(r) for r in places.to_dict("records")],
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


def what_if(
    terrain: RiskTerrain,
    edits: Sequence[Edit | Mapping[str, Any]] | Edit | Mapping[str, Any],
    *,
    data: str | os.PathLike[str] | None = None,
    layers: Mapping[str, gpd.GeoDataFrame] | None = None,
    places: Any = None,
    title: str | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    robust: bool | None = None,
    threads: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> WhatIf:
    """Edit the landscape, and say what the terrain's model expects of it.

    The model stays as it was fitted. The variables of the edited factors that are in it are computed anew; a density
    counts as high by the threshold of the landscape it was fitted to. Limits are percentiles of the change over
    coefficients drawn from a normal law about the fitted ones with the model's covariance.

    Parameters
    ----------
    terrain : RiskTerrain
        Of `rtmdx.run`.
    edits : Edit or mapping, or a sequence of them
        ``{"layer": "vacant_buildings", "action": "remove", "within": polygon}``; see `rtmdx.sweep.edits.Edit`. Layers
        are factors of the study.
    data : path, optional
        Folder the study's relative paths start from: the edited layers are read again.
    layers : mapping of str to GeoDataFrame, optional
        The layers in memory that the study was run with.
    places : GeoSeries, GeoDataFrame or geometries, optional
        Polygons in the grid's CRS, for which changes are given. They are not clipped to whole cells.
    title : str, optional
        The edits' labels by default.
    level : float
    draws, seed : int
    robust : bool, optional
        Spread of the coefficients by the cluster-robust covariance; by default where the model has one.
    threads : int, optional
        The result does not depend on it.
    cancel : callable, optional

    Returns
    -------
    WhatIf

    Raises
    ------
    InputError
        There is no edit, a layer is no factor of the study, an edit chooses no feature, a layer is not what it was
        when the terrain was fitted, or an argument is out of range.
    FileError, CRSError
        A layer cannot be read; places are in another CRS.
    Cancelled
        `cancel` returned true.
    """
    made = _edits_in(edits)
    if not 0 < level < 1:
        raise InputError(f"level: found {level}, expected between 0 and 1, such as 0.95.")
    draws, model, grid = whole(draws, "draws", least=100), terrain.model, terrain.grid
    if robust and model.robust_covariance is None:
        raise InputError("robust: the model has no robust covariance.", hint="Name districts in the study.")
    study = Study.from_dict(dict(terrain.config), source="the terrain's study")
    known = [f.name for f in study.factors]
    for edit in made:
        if edit.layer not in known:
            raise InputError(
                f"edit {edit.title!r}: layer {edit.layer!r} is no factor of the study.",
                hint=f"Its factors are {', '.join(known)}.",
            )
    edited = sorted({e.layer for e in made}, key=known.index)
    shared = SharedLayers(None if data is None else Path(data), layers or {}, limit=1e9)
    plain, reader = EditedReader(shared, study.area), EditedReader(shared, study.area, made)
    old = np.stack([terrain.design.indicator(c) for c in model.columns], axis=1) if model.columns else None
    new = None if old is None else old.copy()
    factors, notes = [], []
    for name in edited:
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller's check.")
        place = known.index(name)
        own = [i for i, v in enumerate(model.variables) if v.factor == place]
        features, after = _features(terrain, study, plain, reader, place)
        for i in own:
            assert new is not None
            new[:, i] = _indicator(terrain, study, reader, features, i, threads, cancel)
        freed = reached = 0
        if old is not None and new is not None and own:
            freed = int((old[:, own] > new[:, own]).any(axis=1).sum())
            reached = int((old[:, own] < new[:, own]).any(axis=1).sum())
            if not freed + reached:
                reach = ", ".join(
                    f"{model.variables[i].operationalization} {model.variables[i].distance:g}" for i in own
                )
                notes.append(
                    f"{terrain.factors[place].label}: no cell changes; the layer as edited still makes every cell what "
                    f"it was ({reach} {grid.symbol})."
                )
        else:
            notes.append(f"{terrain.factors[place].label} is not in the model: editing it changes nothing expected.")
        names = tuple(model.variables[i].name for i in own)
        label = terrain.factors[place].label
        factors.append(EditedFactor(name, label, len(terrain.factors[place]), after, names, freed, reached))
    use_robust = model.robust_covariance is not None if robust is None else robust
    weights = None if places is None else place_weights(places, grid, threads)
    told = title or "; ".join(e.title for e in made)
    return _changed(terrain, old, new, weights, level, draws, seed, use_robust, told, tuple(factors), notes)


def _edits_in(edits: Any) -> tuple[Edit, ...]:
    items = [edits] if isinstance(edits, Edit | Mapping) else list(edits)
    if not items:
        raise InputError("edits: found none, expected at least one.")
    out = []
    for i, item in enumerate(items, 1):
        if isinstance(item, Edit):
            out.append(item)
            continue
        try:
            out.append(Edit.model_validate(dict(item)))
        except (ValidationError, TypeError, ValueError) as error:
            if not isinstance(error, ValidationError):
                raise InputError(f"edit {i}: found {item!r}, expected an Edit or a mapping.") from None
            said = "; ".join(str(e).removeprefix("study: ") for e in describe(error))
            raise InputError(f"edit {i}: {said}") from None
    return tuple(out)


def _features(
    terrain: RiskTerrain, study: Study, plain: EditedReader, reader: EditedReader, place: int
) -> tuple[Features | None, int]:
    """Features of an edited factor (None for none left), and how many there are."""
    spec, was = study.factors[place], terrain.factors[place]
    _, _, source, digest = plain.read(spec, spec.name, f"factor {spec.name!r}")
    if was.cleaning.digest not in ("", digest):
        raise InputError(
            f"factor {spec.name!r} ({source}): is not the layer the terrain was fitted to.",
            hint="Run the study again, or give the layer it was run with.",
        )
    frame, _, _, _ = reader.read(spec, spec.name, f"factor {spec.name!r}")
    if not len(frame):
        return None, 0
    factor = read_factor(spec, study, reader, terrain.grid)
    assert factor is not None
    return Features.from_geometries(factor.geometries), len(factor)


def _indicator(
    terrain: RiskTerrain, study: Study, reader: EditedReader, features: Features | None, i: int,
    threads: int | None, cancel: Callable[[], bool] | None,
) -> NDArray[np.uint8]:  # fmt: skip
    """The 0/1 column of variable i of the model for an edited layer."""
    grid, variable = terrain.grid, terrain.model.variables[i]
    run: dict[str, Any] = {"threads": threads, "cancel": cancel}
    if features is None:
        return np.zeros(grid.n_cells, dtype=np.uint8)
    if variable.operationalization == "density":
        raster = density_array(
            features, grid, bandwidth=variable.distance, kernel=study.model.kernel, dtype="float64", **run
        )
        return np.asarray(raster[grid.mask] >= variable.threshold, dtype=np.uint8)
    if variable.operationalization == "proximity":
        made: Any = proximity_columns(features, grid, [variable.distance], **run)
    else:
        way = read_impedance(study, reader, grid)
        assert way is not None  # the study was run with it
        made = cost_columns(features, grid, [variable.distance], way, **run)
    return np.asarray(made.codes == 0, dtype=np.uint8)


def _changed(
    terrain: RiskTerrain, old: Any, new: Any, weights: PlaceWeights | None, level: float, draws: int, seed: int,
    robust: bool, title: str, factors: tuple[EditedFactor, ...], notes: list[str],
) -> WhatIf:  # fmt: skip
    model, before = terrain.model, terrain.expected_cells
    moved = np.zeros(before.size, dtype=bool) if old is None else (old != new).any(axis=1)
    signs = np.array([v.sign for v in model.variables], dtype=np.float64)
    size = 1 + len(signs)
    limits = np.zeros((2, 1 if weights is None else 1 + len(weights)))
    after, score = before.copy(), terrain.score_cells.copy()
    if moved.any():
        # cells that change in the same way, and have the same state before, are one: a city has a few dozen
        pairs, number = np.unique(np.concatenate([old[moved], new[moved]], axis=1), axis=0, return_inverse=True)
        x_old, x_new = (p.astype(np.float64) * signs for p in np.split(pairs, 2, axis=1))
        ratio = np.exp((x_new - x_old) @ model.coefficients)
        after[moved] *= ratio[number]
        score[moved] *= ratio[number]
        # expected events per unit of exp(x b): exposure and intercept, by place and pair
        unit = before[moved] / np.exp(x_old @ model.coefficients)[number]
        held = np.bincount(number, weights=unit, minlength=len(pairs))[None, :]
        if weights is not None:
            part = weights.part(moved)
            flat = part.place * len(pairs) + number[part.cell]
            by = np.bincount(flat, weights=part.share * unit[part.cell], minlength=len(weights) * len(pairs))
            held = np.concatenate([held, by.reshape(len(weights), len(pairs))])
        covariance = (model.robust_covariance if robust else model.covariance)[:size, :size]  # type: ignore[index]
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        drawn = np.random.default_rng(seed).standard_normal((draws, size)) @ root.T
        slopes = model.coefficients + drawn[:, 1:]
        effect = (np.exp(slopes @ x_new.T) - np.exp(slopes @ x_old.T)) * np.exp(drawn[:, :1])
        tail = 50.0 * (1.0 - level)
        for first in range(0, len(held), _BLOCK):
            block = slice(first, first + _BLOCK)
            limits[:, block] = np.percentile(held[block] @ effect.T, [tail, 100.0 - tail], axis=1)

    def change(b: float, a: float, i: int) -> Change:
        return Change(float(b), float(a), float(a) - float(b), float(limits[0, i]), float(limits[1, i]), level)

    total = change(before.sum(), after.sum(), 0)
    places: tuple[Change, ...] = ()
    if weights is not None:
        both = zip(weights.sum(before), weights.sum(after), strict=True)
        places = tuple(change(b, a, 1 + i) for i, (b, a) in enumerate(both))
        empty = np.flatnonzero(np.bincount(weights.place, minlength=len(weights)) == 0)
        if empty.size:
            shown = ", ".join(str(weights.index[i]) for i in empty[:5]) + (", ..." if empty.size > 5 else "")
            notes = [*notes, f"{empty.size:,} of {len(weights):,} places have no cell of the study area: {shown}."]
    return WhatIf(
        title=title, total=total, expected_before=before, expected_after=after, score_after=score, places=places,
        index=None if weights is None else weights.index, factors=factors, n_changed=int(moved.sum()), draws=draws,
        seed=seed, robust=robust, notes=tuple(notes), grid=terrain.grid,
    )  # fmt: skip


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(k): v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
