"""Several outcomes on one map: priorities by all of them, with weights that are stated, and what each one gives up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.validity import Bounds
from rtmdx.priority.inputs import By, cell_values, one_top
from rtmdx.priority.saving import save_units
from rtmdx.priority.ties import common, jaccard_of, ranks_of, tau_of
from rtmdx.space.arguments import thread_count
from rtmdx.space.values import choice, named, number

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.space.grid import Grid

__all__ = ["LayerShare", "OutcomeOverlay", "overlay"]

Float = NDArray[np.float64]
Rule = Literal["share", "sum", "rank_product", "count"]


@dataclass(frozen=True, slots=True)
class LayerShare:
    """What the common top k holds of one layer.

    Attributes
    ----------
    name : str
    weight : float
        As given.
    total : float
        Sum over all cells.
    held, own : float
        Sum over the common top k, ties by their share; and over the layer's own top k.
    given_up : float
        1 - held / own; NaN where own is not above 0.
    """

    name: str
    weight: float
    total: float
    held: float
    own: float
    given_up: float


@dataclass(frozen=True, eq=False)
class OutcomeOverlay:
    """Several layers made one.

    Attributes
    ----------
    how : {"share", "sum", "rank_product", "count"}
    k : int
        How many are the top.
    weights : dict of str to float
        As given.
    score : float64 array, shape (n,)
        Higher comes first.
    best, worst : int32 arrays, shape (n,)
        First and last possible rank.
    inside : float64 array, shape (n_layers, n)
        How far each cell is in each layer's own top k.
    layers : tuple of LayerShare
    pairs : dict of (str, str) to (float, Bounds)
        Kendall's tau-b, and the overlap (Jaccard) of the top k.
    grid : Grid or None
    """

    how: Rule
    k: int
    weights: Mapping[str, float]
    score: Float = field(repr=False)
    best: NDArray[np.int32] = field(repr=False)
    worst: NDArray[np.int32] = field(repr=False)
    inside: Float = field(repr=False)
    layers: tuple[LayerShare, ...]
    pairs: Mapping[tuple[str, str], tuple[float, Bounds]] = field(repr=False)
    grid: Grid | None = field(default=None, repr=False)

    def _columns(self) -> pd.DataFrame:
        import pandas as pd

        tops = {f"in_top_{name}": row for name, row in zip(self.weights, self.inside, strict=True)}
        return pd.DataFrame({"score": self.score, "rank_best": self.best, "rank_worst": self.worst, **tops})

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell, highest first."""
        return self._columns().iloc[np.argsort(self.best, kind="stable")]

    def layer_frame(self) -> pd.DataFrame:
        """Return one row per layer: its weight, and what the common top holds of it."""
        import pandas as pd

        return pd.DataFrame([asdict(layer) for layer in self.layers])

    def pair_frame(self) -> pd.DataFrame:
        """Return one row per pair of layers: tau-b and the overlap of their tops, with bounds over ties."""
        import pandas as pd

        rows = [
            {
                "a": a,
                "b": b,
                "tau": tau,
                "jaccard_lowest": overlap.lowest,
                "jaccard_expected": overlap.expected,
                "jaccard_highest": overlap.highest,
            }
            for (a, b), (tau, overlap) in self.pairs.items()
        ]
        columns = ["a", "b", "tau", "jaccard_lowest", "jaccard_expected", "jaccard_highest"]
        return pd.DataFrame(rows, columns=columns)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the cells as ``.csv``, or as ``.gpkg`` with their squares, the layers and the pairs.

        Raises
        ------
        InputError
            `path` ends in neither, or it is not known where the cells lie.
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        more = {"layers": self.layer_frame(), "pairs": self.pair_frame()}
        return save_units(
            path, "cell", self._columns(), grid=self.grid, more=more, title="Several outcomes", overwrite=overwrite
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but cells as plain data."""
        return {
            "how": self.how,
            "k": self.k,
            "cells": int(self.score.size),
            "layers": [{k: None if v != v else v for k, v in asdict(layer).items()} for layer in self.layers],
            "pairs": [
                {"a": a, "b": b, "tau": None if tau != tau else tau, "jaccard": asdict(overlap)}
                for (a, b), (tau, overlap) in self.pairs.items()
            ],
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Say it in one or two plain sentences."""
        weights = ", ".join(f"{name} {w:g}" for name, w in self.weights.items())
        lost = [
            f"{100 * layer.given_up:.3g} % of {layer.name}" for layer in self.layers if layer.given_up == layer.given_up
        ]
        given = f" Against a top {self.k:,} of its own it gives up {', '.join(lost)}." if lost else ""
        return (
            f"Top {self.k:,} by {self.how.replace('_', ' ')} of {len(self.layers)} layers (weights: {weights}).{given}"
        )


def overlay(
    layers: Mapping[str, Any],
    *,
    k: int | None = None,
    share: float | None = None,
    weights: Mapping[str, float] | None = None,
    how: Rule = "share",
    by: By = "expected",
    grid: Grid | None = None,
    threads: int | None = None,
) -> OutcomeOverlay:
    """Make one priority of several outcomes, and tell what each gives up for it.

    Parameters
    ----------
    layers : mapping of str to RiskTerrain or float array of shape (n,) or (rows, cols)
        At least two, on one grid.
    k : int, optional
        How many cells are the top. Either this or `share` is given.
    share : float, optional
        Their share of the cells, rounded, at least one.
    weights : mapping of str to float, optional
        One per layer, >= 0; all 1 by default. How much one outcome counts beside another is a decision, not a finding:
        the result states it.
    how : {"share", "sum", "rank_product", "count"}
        "share": each layer as shares of its sum, so that a frequent outcome does not drown a rare one; "sum": as it
        stands, for expected counts with weights of harm per event; "rank_product": weighted geometric mean of the
        layers' mean ranks, taken so that 1 is first in all; "count": the weighted number of layers in whose own top k
        the cell is, ties by their share.
    by : {"score", "expected", "posterior"}
        Which figure of terrains; arrays are taken as they stand.
    grid : Grid, optional
        Where arrays lie.
    threads : int, optional
        The result does not depend on it.

    Returns
    -------
    OutcomeOverlay

    Raises
    ------
    InputError
        Fewer than two layers, other grids, weights that do not fit, scores that are not finite, or (for "share")
        negative or all 0.
    """
    choice(how, "how", ("share", "sum", "rank_product", "count"))
    if not isinstance(layers, Mapping) or len(layers) < 2:
        raise InputError(
            f"layers: found {named(layers)}, expected a mapping of at least two names to terrains or scores."
        )
    names = [str(name) for name in layers]
    scores, where = _scores(layers, by, grid)
    given = _weights(weights, names)
    n = scores[0].size
    k, part = one_top(k, share)
    top = k if k is not None else max(1, round((part or 0) * n))
    if top > n:
        raise InputError(f"k: found {top:,}, but there are only {n:,} cells.")
    n_threads = thread_count(threads)
    ranks = [ranks_of(s, n_threads) for s in scores]
    inside = np.array([r.inside(top) for r in ranks])
    w = np.array([given[name] for name in names])
    score = np.zeros(n)
    if how == "rank_product":
        for v, r in zip(w / w.sum(), ranks, strict=True):
            score += v * np.log(r.mean)
        score = 1.0 - (np.exp(np.round(score, 12)) - 1.0) / n  # equal products tie, whatever their rounding
    elif how == "count":
        for v, row in zip(w, inside, strict=True):
            score += v * row
    else:
        for name, v, s in zip(names, w, scores, strict=True):
            if how == "share" and ((s < 0).any() or not s.sum() > 0):
                raise InputError(
                    f"layers, {name}: has values below 0, or sums to 0: there are no shares of it.",
                    hint='Use how="rank_product".',
                )
            score += v * (s / s.sum() if how == "share" else s)
    joint = ranks_of(score, n_threads)
    chosen = joint.inside(top)
    told = []
    for name, v, s, row in zip(names, w, scores, inside, strict=True):
        held, own = float((chosen * s).sum()), float((row * s).sum())
        told.append(LayerShare(name, float(v), float(s.sum()), held, own, 1 - held / own if own > 0 else np.nan))
    pairs = {
        (names[i], names[j]): (
            tau_of(ranks[i], ranks[j], n_threads),
            jaccard_of(common(ranks[i], ranks[j], top, top), top, top),
        )
        for i, j in combinations(range(len(names)), 2)
    }
    return OutcomeOverlay(how, top, given, score, joint.best, joint.worst, inside, tuple(told), pairs, where)


def _scores(layers: Mapping[str, Any], by: By, grid: Grid | None) -> tuple[list[Float], Grid | None]:
    """Return the scores of every layer, and the grid they all have."""
    from rtmdx.model.terrain import RiskTerrain

    where, first = grid, "grid"
    scores: list[Float] = []
    for name, layer in layers.items():
        own = isinstance(layer, RiskTerrain)
        score, its = cell_values(layer, by if own else "score", None if own else where, f"layers, {name}")
        if its is not None and where is not None and its.digest != where.digest:
            raise InputError(
                f"layers, {name}: lies on another grid than {first} ({its.n_cells:,} and {where.n_cells:,} cells).",
                hint="Run both studies on one grid, or rank places of each.",
            )
        if where is None and its is not None:
            where, first = its, str(name)
        if scores and scores[0].size != score.size:
            raise InputError(f"layers, {name}: has {score.size:,} cells, the others {scores[0].size:,}.")
        scores.append(score)
    return scores, where


def _weights(weights: Mapping[str, float] | None, names: list[str]) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(weights, Mapping) or set(map(str, weights)) != set(names):
        raise InputError(f"weights: found {named(weights)}, expected one for each of {', '.join(names)}.")
    given = {name: number(weights[name], f"weights, {name}") for name in names}
    for name, w in given.items():
        if not 0 <= w < np.inf:
            raise InputError(f"weights, {name}: found {w:g}, expected a number >= 0.")
    if not sum(given.values()) > 0:
        raise InputError("weights: all are 0, expected at least one above.")
    return given
