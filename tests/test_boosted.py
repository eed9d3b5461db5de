"""The gradient-boosted comparison: scikit-learn's own fit, seeds, threads, and its absence."""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rtmdx.errors import Cancelled, InputError, MissingDependencyError
from rtmdx.model.boosted import boosted_out_of_region, features, fit_boosted
from rtmdx.model.design import Design
from rtmdx.model.regions import poisson_deviance
from stats_designs import random_design, simulate
from terrain_fixture import make_terrain


def data(n: int = 3000, seed: int = 0) -> tuple[Design, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 3)
    return design, simulate(rng, design, {1: 1.2, 8: 0.8})


def test_features_are_bands_and_bits() -> None:
    design, _ = data(500)
    x = features(design)
    assert x.shape == (500, 3 * (1 + 3))
    assert x.dtype == np.uint8
    column = 0
    for block in design.blocks:
        if block.variables[0].operationalization == "density":
            for k in range(len(block.variables)):
                np.testing.assert_array_equal(x[:, column], block.decode[block.codes, k])
                column += 1
        else:
            np.testing.assert_array_equal(x[:, column], block.codes)
            column += 1


def test_equals_scikit_learn_and_beats_the_mean() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    design, y = data()
    made = fit_boosted(design, y, seed=4)
    assert made.expected(design).min() > 0
    theirs = ensemble.HistGradientBoostingRegressor(**made.settings, random_state=4).fit(features(design), y)
    np.testing.assert_allclose(made.expected(design), theirs.predict(features(design)), rtol=1e-6)
    assert made.to_dict()["n_trees"] == theirs.n_iter_
    _, later = data(seed=0)
    flat = np.full(len(y), y.mean())
    assert poisson_deviance(later.astype(float), made.expected(design)) < poisson_deviance(later.astype(float), flat)


def test_same_bits_for_any_number_of_threads() -> None:
    pytest.importorskip("sklearn")
    threadpoolctl = pytest.importorskip("threadpoolctl")
    design, y = data()
    found = []
    for threads in (1, 2, 7):
        with threadpoolctl.threadpool_limits(threads):
            found.append(fit_boosted(design, y, seed=1).expected(design))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_out_of_region_has_not_seen_the_region() -> None:
    pytest.importorskip("sklearn")
    design, y = data(900)
    regions = np.arange(900) % 2
    before = boosted_out_of_region(design, y, regions, seed=1)
    changed = np.where(regions == 0, 50, y)
    after = boosted_out_of_region(design, changed, regions, seed=1)
    np.testing.assert_array_equal(before[regions == 0], after[regions == 0])
    assert (before[regions == 1] != after[regions == 1]).any()
    with pytest.raises(Cancelled):
        boosted_out_of_region(design, y, regions, cancel=lambda: True)


def test_refuses() -> None:
    pytest.importorskip("sklearn")
    design, y = data(500)
    with pytest.raises(InputError, match="at least 200"):
        fit_boosted(*data(150))
    with pytest.raises(InputError, match="No events"):
        fit_boosted(design, np.zeros(500, int))
    with pytest.raises(InputError, match="no variable"):
        fit_boosted(Design((), 500), y)
    with pytest.raises(InputError, match="features"):
        fit_boosted(design, y).expected(Design(design.blocks[:2], 500))
    with pytest.raises(InputError, match="nothing to judge it on"):
        make_terrain().diagnostics(boosted=True)


def test_comparison_of_a_terrain() -> None:
    pytest.importorskip("sklearn")
    jinja = pytest.importorskip("jinja2")
    assert jinja
    from rtmdx.report.html import render

    terrain = make_terrain()
    later = np.random.default_rng(0).poisson(terrain.expected_cells)
    found = terrain.diagnostics(
        regions=terrain.grid.rows_cols[0] // 20,
        holdout=later,
        boosted=True,
        permutations=0,
        scores={"Kernel density": terrain.score_cells**0.5},
    )
    space, time = found.comparisons
    assert [s.name for s in space.scores] == ["Risk terrain", "Gradient boosting"]
    assert [s.name for s in time.scores] == ["Risk terrain", "Past counts", "Kernel density", "Gradient boosting"]
    mu = terrain.expected_cells * later.sum() / terrain.expected_cells.sum()
    assert time.scores[0].deviance == pytest.approx(poisson_deviance(later.astype(float), mu))
    assert time.scores[0].deviance < time.scores[3].deviance  # the terrain is the truth here
    page = render(replace(terrain, diagnosed=found))
    assert "the terrain beside other scores" in page
    assert f"{round(time.scores[3].deviance):,}" in page
    with pytest.raises(InputError, match="score 'x'"):
        terrain.diagnostics(holdout=later, scores={"x": np.full(len(later), np.nan)}, permutations=0)


def test_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pip install 'rtmdx\[ml\]'"):
        fit_boosted(*data(500))
