"""Refits to weighted cells, and ranks over models."""

from __future__ import annotations

import numpy as np
import pytest

import small_city
from rtmdx.errors import Cancelled, InputError, StudyError
from rtmdx.model.culling import cull
from rtmdx.model.folds import stratified_folds
from rtmdx.model.ranks import ScoreModel, rank_summary
from rtmdx.model.refit import NO_EVENTS, Penalty, Refitter, SearchOptions
from rtmdx.model.replicates import repeated
from rtmdx.model.resampling import draw_blocks, spatial_blocks
from rtmdx.model.stepwise import stepwise
from rtmdx.model.tabulate import tabulate
from rtmdx.runs.run import run
from rtmdx.runs.study import Study
from stats_designs import dense, random_design, simulate
from terrain_fixture import make_terrain


def test_weights_are_repeats_and_weights_of_one_are_the_plain_fit() -> None:
    rng = np.random.default_rng(3)
    design = random_design(rng, 1500, 4)
    y = simulate(rng, design, {1: 0.9, 8: 0.7}, dispersion=0.5)
    c = cull(design, y, stratified_folds(y, 5, seed=1))
    p = Penalty(c.penalty, c.ridge, c.lambda_max, c.coefficients)
    refit = Refitter(design, y, np.arange(1500), SearchOptions())
    plain = stepwise(design, y, c.selected).model
    w = rng.integers(0, 3, 1500)
    index = np.repeat(np.arange(1500), w)
    one, weighted, empty = refit.run([np.ones(1500, np.int64), w, np.where(y > 0, 0, 1)], p)
    assert one.culled == c.selected
    assert one.columns == plain.columns
    np.testing.assert_array_equal(one.coefficients, plain.coefficients)
    copies = Refitter(repeated(design, index), y[index], np.arange(len(index)), SearchOptions())
    (other,) = copies.run([np.ones(len(index), np.int64)], p)
    assert weighted.culled == other.culled
    assert weighted.columns == other.columns
    np.testing.assert_array_equal(weighted.coefficients, other.coefficients)
    assert empty.error == NO_EVENTS


def test_ranks_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(4)
    design = random_design(rng, 400, 3)
    models = [ScoreModel((0, 7), np.array([0.5, b])) for b in (0.2, 0.5, 0.9)]
    found = rank_summary(tabulate(design, np.zeros(400)), models, level=0.8, shares=(0.1,), threads=2)
    ranks, top = [], np.zeros(400)
    for m in models:
        s = np.round(dense(design, m.columns) @ m.coefficients, 12)
        above, ties = (s[None] > s[:, None]).sum(1), (s[None] == s[:, None]).sum(1)
        ranks.append(above + (ties + 1) / 2)
        top += np.clip((40 - above) / ties, 0, 1) / 3
    np.testing.assert_allclose(found.median, np.median(ranks, axis=0))
    np.testing.assert_allclose(found.top[0], top)


def test_blocks() -> None:
    with pytest.raises(InputError, match="one block"):
        spatial_blocks([0, 1], [0, 1], 2)
    assert draw_blocks(9, 1, 0).sum() == 9
    assert draw_blocks(9, 1, 0, "half").sum() == 4


def test_no_bit_depends_on_threads() -> None:
    terrain = make_terrain(rows=30, cols=40)
    one, *others = [terrain.stability(6, seed=2, threads=n) for n in (1, 2, 7)]
    for other in others:
        assert other.to_dict() == one.to_dict()
        for name, values in one.columns.items():
            np.testing.assert_array_equal(other.columns[name], values)


def test_a_study_asks_for_it_and_every_output_has_it(tmp_path) -> None:
    plain = small_city.study()
    asked = small_city.study(stability={"replicates": 6})
    assert Study.from_dict(small_city.study(stability={"replicates": 0})).id == Study.from_dict(plain).id
    with pytest.raises(StudyError, match="at least 2"):
        Study.from_dict(small_city.study(stability={"replicates": 1}))
    small_city.write(tmp_path)
    terrain = run(Study.from_dict(asked), data=tmp_path, threads=2)
    found = terrain.resampled
    assert found is not None
    assert found.replicates == 6
    assert set(found.table["factor"]) == {f.name for f in terrain.factors}
    assert found.table["frequency"].between(0, 1).all()
    assert (found.rank_low <= found.rank_median).all()
    assert (found.rank_median <= found.rank_high).all()
    assert found.p_top.sum(axis=1) == pytest.approx([s * terrain.grid.n_cells for s in found.shares], rel=0.02)
    assert {"rank_low", "rank_high", "p_top_1"} <= set(terrain.cells.columns)
    terrain.report(tmp_path / "report.html")
    assert '<section id="stability">' in (tmp_path / "report.html").read_text()


def test_it_can_be_cancelled() -> None:
    with pytest.raises(Cancelled):
        make_terrain(rows=30, cols=40).stability(20, cancel=lambda: True)


def test_planted_factors_come_back_and_noise_seldom_does() -> None:
    rng = np.random.default_rng(11)
    design = random_design(rng, 4000, 6)
    y = simulate(rng, design, {1: 1.0, 8: 0.9}, base=0.3)
    c = cull(design, y, stratified_folds(y, 5, seed=1))
    refit = Refitter(design, y, np.arange(4000), SearchOptions())
    penalty = Penalty(c.penalty, c.ridge, c.lambda_max, c.coefficients)
    weights = [rng.multinomial(4000, np.full(4000, 1 / 4000)) for _ in range(12)]
    models = [m for start in range(0, 12, 4) for m in refit.run(weights[start : start + 4], penalty)]
    factors = [{design.variables[j].factor for j in m.columns} for m in models]
    assert all({0, 1} <= f for f in factors)
    assert sum(len(f - {0, 1}) for f in factors) <= 12
