"""A hundred block-bootstrap refits beside one fit (culling with 5 folds and two ridge values, and the stepwise search).

    pytest benchmarks/test_stability.py --benchmark-only -s

The target: the refits take at most ten times as long as one fit.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtmdx.model.culling import cull
from rtmdx.model.folds import stratified_folds
from rtmdx.model.refit import Penalty, Refitter, SearchOptions
from rtmdx.model.stepwise import stepwise
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.run import run
from rtmdx.runs.study import Study


@pytest.fixture(scope="module")
def terrain(cities: Path) -> RiskTerrain:
    return run(Study.from_toml(Path(__file__).parents[1] / "examples" / "stlouis.toml"), data=cities)


@pytest.mark.benchmark(group="stability: St. Louis, 81,769 cells, 224 variables, two threads")
def test_refits(benchmark: Any, terrain: RiskTerrain) -> None:
    design, y = terrain.design, terrain.counts
    folds = stratified_folds(y, 5, seed=terrain.config["seed"])
    started = time.perf_counter()
    culling = cull(design, y, folds, threads=2)
    model = stepwise(design, y, culling.selected, threads=2).model
    fit = time.perf_counter() - started
    assert model.columns == terrain.model.columns

    penalty = Penalty(culling.penalty, culling.ridge, culling.lambda_max, culling.coefficients)
    (same,) = Refitter(design, y, np.arange(len(y)), SearchOptions()).run([np.ones(len(y), np.int64)], penalty)
    assert same.columns == model.columns
    assert same.coefficients == pytest.approx(model.coefficients, rel=1e-9)

    found = benchmark.pedantic(lambda: terrain.stability(100, threads=2), rounds=1)
    ratio = benchmark.stats.stats.min / fit
    chosen = sum(f.frequency >= 0.8 for f in found.found.factors if f.in_model)
    benchmark.extra_info |= {"one fit, s": fit, "refits over one fit": ratio, "failed": found.n_failed}
    took = benchmark.stats.stats.min
    print(f"\none fit {fit:.2f} s; 100 refits {took:.2f} s: {ratio:.1f} times; {found.n_blocks} blocks")
    print(f"{chosen} of {len(model.columns)} factors of the model in at least 80 % of the refits")
    assert found.n_failed == 0
    assert ratio <= 10
