"""What the model expects of another landscape: features removed, added or moved, and what that changes where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.columns import cost_columns, proximity_columns
from rtmdx.model.draws import covariance_root
from rtmdx.priority.edited_result import Change, EditedFactor, WhatIf
from rtmdx.priority.weights import PlaceWeights, place_weights
from rtmdx.runs.edits import Edit
from rtmdx.runs.inputs import read_factor, read_impedance
from rtmdx.runs.study import Study, describe
from rtmdx.space.density import density_array
from rtmdx.space.features import Features
from rtmdx.space.values import whole
from rtmdx.sweep.layers import EditedReader, SharedLayers

if TYPE_CHECKING:
    from collections.abc import Callable

    import geopandas as gpd

    from rtmdx.model.terrain import RiskTerrain

__all__ = ["what_if"]

Float = NDArray[np.float64]
_BLOCK = 1024  # places whose changes are drawn at a time


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
        ``{"layer": "vacant_buildings", "action": "remove", "within": polygon}``; see `rtmdx.runs.edits.Edit`. Layers
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
    use_robust = model.robust_covariance is not None if robust is None else robust
    covariance_root(model, use_robust)  # refuses before anything is read
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
                    f"{terrain.factors[place].label}: no cell changes; the layer as edited still makes every cell "
                    f"what it was ({reach} {grid.symbol})."
                )
        else:
            notes.append(f"{terrain.factors[place].label} is not in the model: editing it changes nothing expected.")
        names = tuple(model.variables[i].name for i in own)
        label = terrain.factors[place].label
        factors.append(EditedFactor(name, label, len(terrain.factors[place]), after, names, freed, reached))
    weights = None if places is None else place_weights(places, grid, threads)
    told = title or "; ".join(e.title for e in made)
    return _changed(terrain, old, new, weights, level, draws, seed, use_robust, told, tuple(factors), notes)


def _edits_in(edits: Any) -> tuple[Edit, ...]:
    items = list(edits) if isinstance(edits, Sequence) and not isinstance(edits, str) else [edits]
    if not items:
        raise InputError("edits: found none, expected at least one.")
    out = []
    for i, item in enumerate(items, 1):
        if isinstance(item, Edit):
            out.append(item)
            continue
        if not isinstance(item, Mapping):
            raise InputError(f"edit {i}: found {item!r}, expected an Edit or a mapping.")
        try:
            out.append(Edit.model_validate(dict(item)))
        except ValidationError as error:
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
        root = covariance_root(model, robust)
        drawn = np.random.default_rng(seed).standard_normal((draws, len(root))) @ root.T
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
