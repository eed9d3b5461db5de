"""Culling beside glum on the same penalised objective; objective values are asserted equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtmdx.model.culling import cull
from rtmdx.model.design import Design, build_design
from rtmdx.model.folds import stratified_folds
from rtmdx.runs.inputs import load_inputs
from rtmdx.runs.study import Study

RIDGE, RATIO, PENALTIES = 1e-4, 1e-2, 20


@pytest.fixture(scope="module")
def problem(cities: Path) -> tuple[Design, np.ndarray]:
    study = Study.from_toml(Path(__file__).parents[1] / "examples" / "stlouis.toml")
    inputs = load_inputs(study, data=cities)
    return build_design(inputs.factors, inputs.grid), inputs.events.counts(inputs.grid)


def objective(design: Design, y: np.ndarray, intercept: float, beta: np.ndarray, penalty: float) -> float:
    eta = np.full(design.n_cells, intercept)
    for j in np.flatnonzero(beta):
        eta += beta[j] * design.variables[j].sign * design.indicator(j)
    loss = (np.exp(eta) - y * eta).mean()
    return float(loss + penalty * beta.sum() + RIDGE / 2 * (beta**2).sum())


# glum says when its line search can gain no more; its answer is checked here all the same
@pytest.mark.filterwarnings("ignore:Line search failed")
@pytest.mark.benchmark(group="culling: St. Louis, 228 variables, 20 penalties, one path")
@pytest.mark.parametrize("who", ["rtmdx (with 2-fold cross-validation)", "glum, dense"])
def test_path(benchmark: Any, problem: tuple[Design, np.ndarray], who: str) -> None:
    design, y = problem
    folds = stratified_folds(y, 2, seed=0)
    options = {"ridge": (RIDGE,), "n_penalties": PENALTIES, "min_ratio": RATIO, "threads": 2}
    mine = cull(design, y, folds, **options)  # type: ignore[arg-type]
    if who.startswith("rtmdx"):
        benchmark.pedantic(lambda: cull(design, y, folds, **options), rounds=3)  # type: ignore[arg-type]
        return
    from glum import GeneralizedLinearRegressor

    x = np.column_stack([v.sign * design.indicator(j).astype(np.float64) for j, v in enumerate(design.variables)])
    penalties = np.geomspace(mine.lambda_max, RATIO * mine.lambda_max, PENALTIES)
    m = int(np.argmin(np.abs(penalties - mine.penalty)))

    def path() -> tuple[float, np.ndarray]:
        beta, intercept = np.zeros(x.shape[1]), float(np.log(y.mean()))
        for penalty in penalties[: m + 1]:
            model = GeneralizedLinearRegressor(
                family="poisson",
                alpha=penalty + RIDGE,
                l1_ratio=penalty / (penalty + RIDGE),
                lower_bounds=np.zeros(x.shape[1]),
                gradient_tol=1e-6,
                start_params=np.concatenate([[intercept], beta]),
                max_iter=1000,
            ).fit(x, y.astype(np.float64))
            beta, intercept = model.coef_, float(model.intercept_)
        return intercept, beta

    intercept, beta = benchmark.pedantic(path, rounds=1)
    found = objective(design, y, mine.intercept, mine.coefficients, mine.penalty)
    assert found <= objective(design, y, intercept, beta, mine.penalty) * (1 + 1e-7)
