"""Refits at a fixed penalty beside the plain way, and the Poisson search that is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plain_refit import assert_same, at_penalty, cells_of, copied, searched
from rtmdx.errors import InputError
from rtmdx.model import refit as refit_module
from rtmdx.model.culling import cull
from rtmdx.model.folds import stratified_folds
from rtmdx.model.refit import NO_EVENTS, Culled, Penalty, Refitter, SearchOptions
from rtmdx.model.search import Search
from stats_designs import dense, random_design, simulate

N = 1200
GROUP = np.arange(N) % 40


def penalty_of(design, y, exposure=None, **options) -> Penalty:
    c = cull(design, y, stratified_folds(y, 5, seed=1), exposure=exposure, n_penalties=30, **options)
    return Penalty(c.penalty, c.ridge, c.lambda_max, c.coefficients)


@pytest.mark.parametrize("dispersion", [0.0, 1.0])
@pytest.mark.parametrize("scale", [None, 1.0, 700.0, 2e-5])
def test_a_refit_is_culling_and_stepwise_on_copied_cells(scale: float | None, dispersion: float) -> None:
    rng = np.random.default_rng(5)
    design = random_design(rng, N, 4)
    y = simulate(rng, design, {1: 0.9, 8: 0.7}, base=0.4, dispersion=dispersion)
    e = None
    if scale is not None:
        e = scale * rng.gamma(2.0, 0.5, N)
        e[(y == 0) & (rng.random(N) < 0.1)] = 0.0
    p = penalty_of(design, y, e)
    refit = Refitter(design, y, GROUP, SearchOptions(), exposure=e)
    times = [np.bincount(rng.integers(0, 40, 40), minlength=40) for _ in range(4)]
    for found, t in zip(refit.run(times, p), times, strict=True):
        index = cells_of(t, GROUP)
        own, exposed = copied(design, index), None if e is None else e[index]
        culled = at_penalty(own, y[index], p.l1, p.l2, exposed)
        assert culled
        assert_same(found, culled, searched(own, y[index], culled, exposed))
        assert found.penalty == p.l1


@pytest.mark.parametrize("families", [("poisson", "nbii"), ("nb2", "poisson"), ("poisson",), ("nbii", "nb2")])
def test_forced_factors_exchanges_and_families(families) -> None:
    rng = np.random.default_rng(8)
    design = random_design(rng, N, 4)
    y = simulate(rng, design, {1: 0.9, 8: 0.7, 13: -0.5}, base=0.4, dispersion=0.6)
    e = rng.gamma(3.0, 100.0, N)
    for exposure in (None, e):
        p = penalty_of(design, y, exposure)
        options = SearchOptions(families, (2, 3), exchange=True)
        refit = Refitter(design, y, GROUP, options, exposure=exposure)
        times = [np.bincount(rng.integers(0, 40, 40), minlength=40) for _ in range(2)]
        for found, t in zip(refit.run(times, p), times, strict=True):
            index = cells_of(t, GROUP)
            own, exposed = copied(design, index), None if exposure is None else exposure[index]
            culled = at_penalty(own, y[index], p.l1, p.l2, exposed)
            model = searched(own, y[index], culled, exposed, (2, 3), families=families, exchange=True)
            assert_same(found, culled, model)
            assert {2, 3} <= {design.variables[j].factor for j in found.columns}


def test_lane_mates_change_nothing() -> None:
    """A replicate beside others, beside one without events, and alone."""
    rng = np.random.default_rng(2)
    design = random_design(rng, N, 4)
    y = simulate(rng, design, {1: 0.9}, dispersion=0.5)
    p = penalty_of(design, y)
    refit = Refitter(design, y, np.arange(N), SearchOptions())
    times = [rng.integers(0, 3, N), np.where(y > 0, 0, 1), rng.integers(0, 2, N), np.zeros(N, np.int64)]
    together = refit.run(times, p)
    for found, t in zip(together, times, strict=True):
        (alone,) = refit.run([t], p)
        assert (alone.culled, alone.columns, alone.family, alone.error) == (
            found.culled, found.columns, found.family, found.error,
        )  # fmt: skip
        np.testing.assert_array_equal(alone.coefficients, found.coefficients)
    assert [f.error for f in together] == [None, NO_EVENTS, None, NO_EVENTS]
    assert refit.run([], p) == []


def test_what_culling_cannot_solve_fails_alone(monkeypatch) -> None:
    """A lane that fails takes no other with it, and its reason is kept."""
    rng = np.random.default_rng(2)
    design = random_design(rng, N, 3)
    y = simulate(rng, design, {1: 0.9}, dispersion=0.5)
    p, refit = penalty_of(design, y), Refitter(design, y, np.arange(N), SearchOptions())
    times = [rng.integers(0, 3, N) for _ in range(4)]
    expected = refit.run(times, p)
    bad = float(refit.weights(times[2]).sum())
    solve = refit_module.LaneSolver.solve

    def stubborn(self, *args):
        if (self.n[: self.k] == bad).any():
            raise refit_module.FitError("it would not converge.")
        return solve(self, *args)

    monkeypatch.setattr(refit_module.LaneSolver, "solve", stubborn)
    found = refit.run(times, p)
    assert [f.error for f in found] == [None, None, "it would not converge.", None]
    assert np.isnan(found[2].penalty)
    assert [f.columns for f in found if f.error is None] == [f.columns for f in expected[:2] + expected[3:]]


def test_groups_must_fit_the_cells() -> None:
    rng = np.random.default_rng(2)
    design = random_design(rng, 50, 2)
    for group in (np.arange(49), np.arange(50) - 1):
        with pytest.raises(InputError, match=r"group has shape"):
            Refitter(design, np.ones(50), group, SearchOptions())


class Counted(Search):
    families: list[str] = []  # noqa: RUF012

    def __init__(self, design, cells, family, *args) -> None:
        Counted.families.append(family)
        super().__init__(design, cells, family, *args)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dispersion=st.sampled_from([0.0, 0.2, 2.0, 20.0]),
    base=st.sampled_from([0.03, 0.3, 3.0]),
    strength=st.sampled_from([0.0, 0.3, 1.0]),
    share=st.sampled_from([0.01, 0.3, 0.8, 1.1]),
    scale=st.sampled_from([None, 1e-6, 1.0, 1.7, 900.0, 1e7]),
    spread=st.sampled_from([0.1, 1.0, 8.0]),
)
def test_leaving_the_poisson_search_out_changes_nothing(
    seed: int, dispersion: float, base: float, strength: float, share: float, scale: float | None, spread: float
) -> None:
    """The bound holds for the best Poisson model, and with it the result is that of searching every family."""
    rng = np.random.default_rng(seed)
    n = 250
    design = random_design(rng, n, 3, bands=2)
    y = simulate(rng, design, {1: strength, 6: strength}, base=base, dispersion=dispersion)
    w = rng.integers(0, 3, n)
    e = None if scale is None else scale * np.exp(spread * rng.normal(size=n))
    refit = Refitter(design, y, np.arange(n), SearchOptions(), exposure=e)
    weights = refit.weights(w)
    if float((w * y).sum()) == 0:
        return
    x, mass = dense(design), w if e is None else w * e
    slopes = (w * y) @ x - (w @ y) / mass.sum() * (mass @ x)
    lambda_max = max(float(slopes.max()) / w.sum(), 1e-3)
    p = Penalty(share * lambda_max, 1e-6, lambda_max, np.zeros(len(design.variables)))
    (kept,) = refit.cull([weights], p)
    if isinstance(kept, str):  # exposures too far apart for the solver
        assert spread == 8.0
        return
    assert np.isfinite(kept.ceiling)
    fast, slow = refit.search(weights, kept), refit.search(weights, Culled(kept.columns))
    assert (fast.columns, fast.family, fast.error) == (slow.columns, slow.family, slow.error)
    np.testing.assert_array_equal(fast.coefficients, slow.coefficients)
    only = Refitter(design, y, np.arange(n), SearchOptions(("poisson",)), exposure=e).search(weights, kept)
    if only.error is None:
        eta = only.intercept + dense(design, only.columns) @ only.coefficients
        reached = float(w @ (y * eta - (1.0 if e is None else e) * np.exp(eta)))
        assert reached <= kept.ceiling + 1e-9 * (1.0 + abs(reached))


@pytest.mark.parametrize("scale", [None, 1e-4, 1.0, 5000.0])
def test_the_poisson_search_is_left_out_where_counts_spread_and_only_there(scale, monkeypatch) -> None:
    monkeypatch.setattr(refit_module, "Search", Counted)
    rng = np.random.default_rng(4)
    design = random_design(rng, N, 3)
    weight = np.ones(N) if scale is None else rng.gamma(3.0, 0.3, N)
    mu = 0.5 * weight * np.exp(0.8 * dense(design, [1])[:, 0])
    for y, family in ((rng.poisson(mu), "poisson"), (rng.poisson(rng.gamma(mu / 20.0, 20.0)), "nbii")):
        e = None if scale is None else scale * weight
        p = penalty_of(design, y, e)
        refit = Refitter(design, y, np.arange(N), SearchOptions(), exposure=e)
        Counted.families.clear()
        (found,) = refit.run([np.ones(N, np.int64)], Penalty(0.02 * p.lambda_max, p.l2, p.lambda_max, p.coefficients))
        assert found.family == family
        assert ("poisson" in Counted.families) == (family == "poisson")
