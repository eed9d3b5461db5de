"""Refits done the plain way: cells copied out, culled and searched with what a single run uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.culling import cull
from rtmdx.model.design import Block, Design
from rtmdx.model.families import CountModel
from rtmdx.model.folds import stratified_folds
from rtmdx.model.refit import Refit
from rtmdx.model.stepwise import stepwise
from rtmdx.model.terrain import RiskTerrain, relative_risk_score
from rtmdx.space.exposure import Exposure
from rtmdx.space.layers import Cleaning
from terrain_fixture import make_terrain

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def copied(design: Design, index: NDArray[np.intp]) -> Design:
    return Design(tuple(Block(b.codes[index].copy(), b.decode, b.variables) for b in design.blocks), len(index))


def cells_of(times: Int, group: NDArray[np.integer]) -> NDArray[np.intp]:
    """The cells of a replicate, group by group, so that not even their order is that of the fast way."""
    return np.concatenate([np.flatnonzero(group == g) for g in range(len(times)) for _ in range(times[g])])


def searched(
    design: Design, y: Int, culled: Sequence[int], exposure: Float | None, forced: Sequence[int] = (), **options: Any
) -> CountModel:
    held = [j for j, v in enumerate(design.variables) if v.factor in forced]
    columns = sorted({*culled, *held})
    return stepwise(design, y, columns, exposure=exposure, forced_factors=forced, **options).model


def at_penalty(design: Design, y: Int, l1: float, l2: float, exposure: Float | None) -> tuple[int, ...]:
    """What culling keeps at given penalties: the end of a path of two."""
    folds = stratified_folds(y, 2, seed=0)
    options: dict[str, Any] = {"exposure": exposure, "ridge": (l2,), "n_penalties": 2, "patience": None}
    top = cull(design, y, folds, **options).lambda_max
    if top <= l1:
        return ()
    path = cull(design, y, folds, min_ratio=l1 / top, tolerance=1e-9, **options).paths[0]
    return tuple(np.flatnonzero(path.coefficients[1]).tolist())


def assert_same(found: Refit, culled: Sequence[int], model: CountModel) -> None:
    assert found.error is None
    assert found.culled == tuple(culled)
    assert found.columns == model.columns
    assert found.family == model.family
    np.testing.assert_allclose(found.coefficients, model.coefficients, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.intercept, model.intercept, rtol=1e-7, atol=1e-9)


def same_refits(one: Sequence[Refit], other: Sequence[Refit]) -> None:
    """To the bit."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a.culled, a.columns, a.family, a.error) == (b.culled, b.columns, b.family, b.error)
        np.testing.assert_array_equal(a.coefficients, b.coefficients)
        np.testing.assert_array_equal([a.intercept, a.penalty], [b.intercept, b.penalty])


def street_length(cells: Float) -> Exposure:
    return Exposure("Street length", "length", "m", cells, 0.0, "drawn", Cleaning("a", "b", 1, 1))


def fitted_terrain(
    counts: Int | None = None, exposure: Float | None = None, forced: Sequence[int] = (), **model: Any
) -> RiskTerrain:
    """The invented city's terrain, this time culled and searched."""
    t = make_terrain(rows=24, cols=30)
    y = t.counts if counts is None else counts
    options = {"n_penalties": 15, **model}
    c = cull(t.design, y, stratified_folds(y, 5, seed=0), exposure=exposure, **options)
    held = [j for j, v in enumerate(t.design.variables) if v.factor in forced]
    s = stepwise(t.design, y, sorted({*c.selected, *held}), exposure=exposure, forced_factors=forced)
    factors = [{"name": f.name, "force": i in forced} for i, f in enumerate(t.factors)]
    return replace(
        t, counts=y, culling=c, selection=s, score_cells=relative_risk_score(s.model, t.design),
        config={**t.config, "model": options, "factors": factors},
        exposure=None if exposure is None else street_length(exposure),
    )  # fmt: skip
