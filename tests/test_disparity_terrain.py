"""Exposure to a risk terrain, with intervals from its coefficients."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pytest
import shapely

from rtmdx.disparity.exposure import exposure
from rtmdx.disparity.population import Population, allocate
from rtmdx.errors import InputError
from rtmdx.model.scores import relative_risk_score
from rtmdx.model.terrain import RiskTerrain
from terrain_fixture import make_terrain


@cache
def city() -> tuple[RiskTerrain, Population]:
    terrain = make_terrain()
    west, south, east, north = terrain.grid.bounds
    xs, ys = np.linspace(west, east, 5), np.linspace(south, north, 5)
    boxes = [shapely.box(a, c, b, d) for a, b in pairwise(xs) for c, d in pairwise(ys)]
    rng = np.random.default_rng(0)
    a, b = rng.integers(100, 3000, (2, len(boxes)))
    zones = gpd.GeoDataFrame({"a": a, "b": b, "ma": 0.1 * a, "mb": 0.1 * b}, geometry=boxes, crs=terrain.grid.crs)
    return terrain, allocate(zones, ["a", "b"], terrain.grid, margins={"a": "ma", "b": "mb"})


def test_means_are_of_the_score() -> None:
    terrain, population = city()
    found = exposure(terrain, population, margins=None)
    expected = (population.cells * terrain.score_cells).sum(axis=1) / population.cells.sum(axis=1)
    assert [m.estimate for m in found.means] == pytest.approx(expected.tolist(), rel=1e-12)
    assert found.to_dict() == exposure(terrain.score, population, margins=None, name="relative risk score").to_dict()
    scaled = exposure(terrain, population, margins=None, measure="expected")
    assert scaled.means[0].estimate == pytest.approx(
        (population.cells[0] @ terrain.expected_cells) / population.totals[0]
    )


def test_coefficients_are_drawn_with_their_covariance() -> None:
    terrain, population = city()
    size = 1 + len(terrain.model.coefficients)
    spread = np.diag(np.full(len(terrain.model.covariance), 0.01))
    terrain = replace(terrain, selection=replace(terrain.selection, model=replace(terrain.model, covariance=spread)))
    found = exposure(terrain, population, model_draws=True, margins=None, draws=400, seed=3, threads=1)
    rng = np.random.default_rng(9)
    ratios = []
    for _ in range(400):
        b = terrain.model.parameters[:size] + 0.1 * rng.standard_normal(size)
        score = relative_risk_score(replace(terrain.model, intercept=b[0], coefficients=b[1:]), terrain.design)
        mean = population.cells @ score / population.cells.sum(axis=1)
        ratios.append(mean[0] / mean[1])
    low, high = np.percentile(ratios, [2.5, 97.5])
    got = found.ratio("a")
    assert got.method == "model coefficients, 400 simulations"
    assert (got.high - got.low) == pytest.approx(high - low, rel=0.25)
    assert got.low < got.estimate < got.high
    both = exposure(terrain, population, model_draws=True, draws=400, seed=3, threads=1).ratio("a")
    assert both.method == "census margins and model coefficients, 400 simulations"
    assert both.high - both.low > got.high - got.low


def test_certain_coefficients_have_no_spread() -> None:
    terrain, population = city()
    model = replace(terrain.model, covariance=np.zeros_like(terrain.model.covariance))
    terrain = replace(terrain, selection=replace(terrain.selection, model=model))
    for measure in ("score", "expected"):
        got = exposure(terrain, population, measure=measure, model_draws=True, margins=None, draws=3)  # type: ignore[arg-type]
        for r in [*got.ratios, *got.top]:
            assert r.low == pytest.approx(r.estimate, rel=1e-9)
            assert r.high == pytest.approx(r.estimate, rel=1e-9)


def test_what_does_not_go_together() -> None:
    terrain, population = city()
    other = make_terrain(rows=12, cols=14)
    with pytest.raises(InputError, match="cells are not the terrain's"):
        exposure(other, population)
    with pytest.raises(InputError, match="does not go with model_draws"):
        exposure(terrain, population, margins="delta", model_draws=True)
    with pytest.raises(InputError, match="robust"):
        exposure(terrain, population, model_draws=True, robust=True, draws=2)
