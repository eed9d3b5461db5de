"""Options of culling: exposure, mixing, the one-standard-error rule, repeats, parts of the period."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from glum import GeneralizedLinearRegressor

from rtmdx.errors import FitError, InputError
from rtmdx.model.culling import cull
from rtmdx.model.folds import stratified_folds
from stats_designs import binary_design, dense, objective, random_design, simulate


def city(seed: int = 3, n: int = 1500):
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 5, bands=4)
    y = simulate(rng, design, {3: 0.9, 5: 0.5, 20: 0.7, 26: 0.4}, base=0.2, dispersion=0.5)
    return rng, design, y, stratified_folds(y, 5, seed=seed)


def test_exposure_is_an_offset() -> None:
    """The same objective by glum with offset log(exposure), at every tenth penalty."""
    rng, design, _, folds = city()
    exposure = rng.gamma(2.0, 40.0, design.n_cells)
    x = dense(design)
    y = rng.poisson(exposure / 100 * np.exp(0.8 * x[:, 3] + 0.6 * x[:, 20]))
    path = cull(design, y, folds, exposure=exposure, ridge=(1e-3,), n_penalties=30, patience=None).paths[0]
    for m in (5, 15, 29):
        l1 = float(path.penalties[m])
        regressor = GeneralizedLinearRegressor(
            family="poisson",
            alpha=l1 + 1e-3,
            l1_ratio=l1 / (l1 + 1e-3),
            lower_bounds=np.zeros(x.shape[1]),
            gradient_tol=1e-8,
            max_iter=300,
            solver="irls-cd",
        ).fit(x, y, offset=np.log(exposure))

        def value(b0: float, beta, at: float = l1) -> float:
            eta = b0 + x @ beta
            mu = exposure * np.exp(eta)
            return float(np.mean(mu - y * eta) + at * beta.sum() + 0.5e-3 * beta @ beta)

        ours = value(path.intercepts[m], path.coefficients[m])
        theirs = value(float(regressor.intercept_), regressor.coef_)
        assert ours == pytest.approx(theirs, rel=1e-7)
        assert path.coefficients[m] == pytest.approx(regressor.coef_, abs=1e-4)


def test_the_scale_of_exposure_only_moves_the_intercept() -> None:
    rng, design, y, folds = city()
    exposure = 2.0 ** rng.integers(-3, 4, design.n_cells)
    a = cull(design, y, folds, exposure=exposure, n_penalties=30)
    b = cull(design, y, folds, exposure=exposure * 1024, n_penalties=30)
    assert a.selected == b.selected
    assert b.intercept == pytest.approx(a.intercept - np.log(1024), abs=1e-9)
    ones = cull(design, y, folds, exposure=np.ones(design.n_cells), n_penalties=30)
    assert ones.coefficients.tobytes() == cull(design, y, folds, n_penalties=30).coefficients.tobytes()


def test_cells_without_exposure_take_no_part() -> None:
    rng, design, y, folds = city()
    on = rng.random(design.n_cells) < 0.7
    y = np.where(on, y, 0)
    rows = np.flatnonzero(on)
    from test_rows import part

    a = cull(design, y, folds, exposure=on.astype(float), n_penalties=30)
    b = cull(part(design, rows), y[rows], folds[rows], n_penalties=30)
    assert a.coefficients.tobytes() == b.coefficients.tobytes()
    assert a.paths[0].cv_deviance.tobytes() == b.paths[0].cv_deviance.tobytes()
    assert sum(f.cells for f in a.folds) == len(rows)


@pytest.mark.parametrize("a", [1.0, 0.5])
def test_mixing_is_glmnets_alpha(a: float) -> None:
    _, design, y, folds = city()
    result = cull(design, y, folds, mixing=(a,), n_penalties=40, patience=None)
    path = result.paths[0]
    assert path.mixing == a
    assert path.ridge is None
    assert path.penalties[0] == pytest.approx(result.lambda_max / a)
    x = dense(design)
    for m in (10, 30):
        lam = float(path.penalties[m])
        fit = GeneralizedLinearRegressor(
            family="poisson",
            alpha=lam,
            l1_ratio=a,
            lower_bounds=np.zeros(x.shape[1]),
            gradient_tol=1e-8,
            max_iter=300,
            solver="irls-cd",
        ).fit(x, y)
        ours = objective(x, y, path.intercepts[m], path.coefficients[m], a * lam, (1 - a) * lam)
        assert ours == pytest.approx(objective(x, y, fit.intercept_, fit.coef_, a * lam, (1 - a) * lam), rel=1e-7)
    assert result.ridge == pytest.approx((1 - a) * result.penalty / a)


def test_one_standard_error_rule_takes_the_largest_penalty_within_it() -> None:
    _, design, y, folds = city()
    least = cull(design, y, folds, ridge=(1e-4,), n_penalties=60)
    sparse = cull(design, y, folds, ridge=(1e-4,), n_penalties=60, rule="1se")
    path = least.paths[0]
    best = int(np.argmin(path.cv_deviance))
    limit = path.cv_deviance[best] + path.cv_standard_error[best]
    first = int(np.flatnonzero(path.cv_deviance <= limit)[0])
    assert first < best
    assert sparse.penalty == path.penalties[first]
    assert sparse.best_penalty == least.penalty == path.penalties[best]
    assert len(sparse.selected) < len(least.selected)
    assert any("One-standard-error" in note for note in sparse.notes)
    paired = cull(design, y, folds, ridge=(1e-4,), n_penalties=60, rule="1se-paired")
    cells = np.bincount(folds)
    gap = (path.fold_deviance - path.fold_deviance[:, [best]]) / cells[:, None]
    share = cells / len(y)
    mean = share @ gap
    error = np.sqrt(share @ (gap - mean) ** 2 / 4)
    assert paired.penalty == path.penalties[int(np.flatnonzero(mean <= error)[0])]
    assert len(sparse.selected) <= len(paired.selected) <= len(least.selected)


def test_repeats_average_the_deviance_of_single_runs() -> None:
    _, design, y, _ = city()
    folds = [stratified_folds(y, 3, seed=s) for s in range(3)]
    singles = [cull(design, y, f, ridge=(1e-4,), n_penalties=25, patience=None).paths[0] for f in folds]
    both = cull(design, y, np.array(folds), ridge=(1e-4,), n_penalties=25, patience=None)
    path = both.paths[0]
    assert path.cv_deviance == pytest.approx(np.mean([p.cv_deviance for p in singles], axis=0), rel=1e-7)
    assert path.cv_standard_error == pytest.approx(np.mean([p.cv_standard_error for p in singles], axis=0), rel=1e-4)
    assert [(f.repeat, f.fold) for f in both.folds] == [(r, f) for r in range(3) for f in range(3)]
    assert path.fold_deviance.shape == (9, 25)


def test_parts_of_the_period_are_folds() -> None:
    """A part left out is scored on its own events, with its share of the exposure."""
    rng, design, y, _ = city()
    parts = np.array([rng.binomial(y, 0.4)])
    parts = np.vstack([parts, y - parts])
    share = np.array([0.4, 0.6])
    folds = SimpleNamespace(counts=parts, share=share)
    result = cull(design, y, folds, ridge=(1e-3,), n_penalties=20, patience=None)  # type: ignore[arg-type]
    path = result.paths[0]
    x, n = dense(design), design.n_cells
    for m in (4, 12):
        total = 0.0
        for g in (0, 1):
            fit = GeneralizedLinearRegressor(
                family="poisson",
                alpha=float(path.penalties[m]) + 1e-3,
                l1_ratio=float(path.penalties[m]) / (float(path.penalties[m]) + 1e-3),
                lower_bounds=np.zeros(x.shape[1]),
                gradient_tol=1e-8,
                max_iter=300,
                solver="irls-cd",
            ).fit(x, parts[1 - g] / share[1 - g])
            mu = share[g] * np.exp(fit.intercept_ + x @ fit.coef_)
            t = parts[g]
            total += 2 * np.sum(t * np.log(np.where(t > 0, t / mu, 1.0)) - (t - mu))
        assert path.cv_deviance[m] == pytest.approx(total / n, rel=1e-6)
    assert [f.events for f in result.folds] == parts.sum(axis=1).tolist()


def test_bad_options_are_named() -> None:
    _, design, y, folds = city(n=400)
    for bad, match in (
        ({"mixing": (0.0,)}, "mixing"),
        ({"mixing": (1.5,)}, "mixing"),
        ({"mixing": ()}, "mixing"),
        ({"mixing": "abc"}, "mixing"),
        ({"ridge": (np.nan,)}, "ridge"),
        ({"rule": "2se"}, "rule"),
        ({"exposure": np.ones(3)}, "exposure"),
    ):
        with pytest.raises(InputError, match=match):
            cull(design, y, folds, **bad)
    half = SimpleNamespace(counts=np.array([y, 0 * y]), share=np.array([0.5, 0.4]))
    with pytest.raises(InputError, match="sum to 1"):
        cull(design, y, half)  # type: ignore[arg-type]
    half.share = np.array([0.5, 0.5])
    with pytest.raises(FitError, match="fold 0"):
        cull(design, y, half)  # type: ignore[arg-type]
    half.counts = np.array([y, y])
    with pytest.raises(InputError, match="parts of the period have"):
        cull(design, y, half)  # type: ignore[arg-type]


def test_awkward_outcomes_give_an_answer() -> None:
    """A million events in one cell, a factor never with events, two equal variables, a constant one: no NaN."""
    rng = np.random.default_rng(4)
    x = (rng.random((800, 6)) < 0.3).astype(int)
    x[:, 4] = x[:, 0]
    x[:, 5] = 1
    y = rng.poisson(0.4 * np.exp(0.7 * x[:, 0]))
    y[x[:, 1] == 1] = 0
    y[7] = 1_000_000
    folds = stratified_folds(y, 4, seed=0)
    for ridge in ((0.0,), (1e-4,)):
        result = cull(binary_design(x), y, folds, ridge=ridge, n_penalties=20)
        assert np.isfinite(result.coefficients).all()
        assert np.isfinite(result.paths[0].cv_deviance).all()
        assert result.coefficients[5] == 0
    free = cull(binary_design(x), y, folds, ridge=(1e-4,), n_penalties=20, nonnegative=False)
    assert np.isfinite(free.coefficients).all()
