from __future__ import annotations

import warnings

import numpy as np
import pytest
from glum import GeneralizedLinearRegressor
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.crossvalidation import Fits
from rtmdx.model.culling import CullingResult, cull
from rtmdx.model.design import Block, Design
from rtmdx.model.folds import stratified_folds
from rtmdx.model.penalized import LaneSolver
from rtmdx.model.stepwise import stepwise
from rtmdx.model.tabulate import tabulate
from stats_designs import binary_design, dense, objective, random_design, simulate


def glum_fit(x, y, l1: float, l2: float, nonnegative: bool = True):
    """The same objective by glum, whose loss is half the Poisson deviance per cell."""
    regressor = GeneralizedLinearRegressor(
        family="poisson",
        alpha=l1 + l2,
        l1_ratio=l1 / (l1 + l2),
        lower_bounds=np.zeros(x.shape[1]) if nonnegative else None,
        gradient_tol=1e-8,
        max_iter=300,
        solver="irls-cd",
    )
    with warnings.catch_warnings():  # the oracle warns when it reaches its own rounding floor
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = regressor.fit(x, y)
    return float(model.intercept_), model.coef_


def solver_of(design: Design, y, nonnegative: bool = True) -> LaneSolver:
    return Fits(tabulate(design, y.astype(float))).solver((None,), nonnegative, lambda: False)


def dense_violation(x, y, b0: float, beta, l1: float, l2: float) -> float:
    """KKT of the nonnegative problem from the dense matrix, the intercept's condition with it."""
    residual = np.exp(b0 + x @ beta) - y
    g = x.T @ residual / len(y) + l2 * beta + l1
    violation = np.where(beta > 0, np.abs(g), np.maximum(0.0, -g))
    return max(float(violation.max()), abs(float(residual.mean())))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("nonnegative", [True, False])
def test_path_equals_glum(seed: int, nonnegative: bool) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng, 700, 5)
    y = simulate(rng, design, {2: 0.8, 9: 0.5, 20: 0.6}, base=0.4)
    x = dense(design)
    l2 = (1e-3, 1e-4)[seed % 2]
    solver = solver_of(design, y, nonnegative)
    previous = lambda_max = solver.largest_slope(0)
    for share in (0.7, 0.3, 0.1, 0.03, 0.01):
        l1 = share * lambda_max
        assert solver.solve(l1, l2, previous, l1, 1e-11) <= 1e-11
        previous = l1
        b0, beta = glum_fit(x, y, l1, l2, nonnegative)
        assert solver.beta[:, 0] == pytest.approx(beta, abs=1e-5)
        assert solver.intercept[0] == pytest.approx(b0, abs=1e-5)
        ours = objective(x, y, solver.intercept[0], solver.beta[:, 0], l1, l2)
        theirs = objective(x, y, b0, beta, l1, l2)
        assert ours == pytest.approx(theirs, rel=1e-7)
        assert ours <= theirs + 1e-12


def test_cross_validated_deviance_equals_refits() -> None:
    rng = np.random.default_rng(11)
    design = random_design(rng, 600, 3)
    y = simulate(rng, design, {2: 0.8, 9: 0.7}, base=0.5)
    folds = stratified_folds(y, 4, seed=2)
    result = cull(design, y, folds, ridge=(1e-3,), n_penalties=20, min_ratio=0.01, tolerance=1e-9)
    x = dense(design)
    path = result.paths[0]
    for m in (0, 7, len(path.penalties) - 1):
        per_fold = []
        for f in range(4):
            train, test = folds != f, folds == f
            b0, beta = glum_fit(x[train], y[train], float(path.penalties[m]), 1e-3)
            mu, yt = np.exp(b0 + x[test] @ beta), y[test]
            per_fold.append(2 * np.sum(yt * np.log(np.where(yt > 0, yt / mu, 1.0)) - (yt - mu)))
        assert path.cv_deviance[m] == pytest.approx(sum(per_fold) / 600, rel=1e-7)
        mean = np.array(per_fold) / np.bincount(folds)
        assert path.cv_standard_error[m] == pytest.approx(mean.std(ddof=1) / 2, rel=1e-5)
    best = int(np.argmin(path.cv_deviance))
    assert result.penalty == path.penalties[best]
    assert path.n_nonzero[best] == len(result.selected)
    b0, beta = glum_fit(x, y, result.penalty, result.ridge)
    assert result.coefficients == pytest.approx(beta, abs=1e-5)
    assert result.intercept == pytest.approx(b0, abs=1e-5)


def city(seed: int = 3) -> tuple[Design, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = random_design(rng, 2000, 6, bands=4)
    y = simulate(rng, design, {3: 0.9, 5: 0.5, 20: 0.7, 26: 0.4}, base=0.2, dispersion=0.5)
    return design, y, stratified_folds(y, 5, seed=seed)


def same(a: CullingResult, b: CullingResult) -> bool:
    return (
        a.selected == b.selected
        and a.coefficients.tobytes() == b.coefficients.tobytes()
        and (a.intercept, a.penalty, a.ridge, a.kkt_residual) == (b.intercept, b.penalty, b.ridge, b.kkt_residual)
        and all(
            p.cv_deviance.tobytes() == q.cv_deviance.tobytes() and p.n_nonzero.tolist() == q.n_nonzero.tolist()
            for p, q in zip(a.paths, b.paths, strict=True)
        )
    )


def test_same_bits_for_any_number_of_threads() -> None:
    design, y, folds = city()
    one = cull(design, y, folds, n_penalties=40)
    assert same(one, cull(design, y, folds, n_penalties=40, threads=2))
    assert same(one, cull(design, y, folds, n_penalties=40, threads=7))


def test_order_of_factors_does_not_matter() -> None:
    design, y, folds = city()
    order = np.random.default_rng(1).permutation(len(design.blocks))
    other = Design(tuple(design.blocks[b] for b in order), design.n_cells)
    a, b = (cull(d, y, folds, n_penalties=40) for d in (design, other))
    assert {design.variables[j].name for j in a.selected} == {other.variables[j].name for j in b.selected}
    assert a.penalty == pytest.approx(b.penalty, rel=1e-12)
    where = {v.name: c for v, c in zip(other.variables, b.coefficients, strict=True)}
    assert a.coefficients == pytest.approx([where[v.name] for v in design.variables], abs=1e-7)


def test_result_is_optimal_nonnegative_and_summarised() -> None:
    design, y, folds = city()
    result = cull(design, y, folds, n_penalties=60)
    assert (result.coefficients >= 0).all()
    assert result.selected == tuple(np.flatnonzero(result.coefficients > 0))
    assert {3, 20} <= set(result.selected) | {2, 4, 19, 21}
    violation = dense_violation(dense(design), y, result.intercept, result.coefficients, result.penalty, result.ridge)
    assert violation <= 1e-7 * result.lambda_max + 1e-13
    assert result.kkt_residual <= 1e-7
    assert [f.cells for f in result.folds] == np.bincount(folds).tolist()
    assert sum(f.events for f in result.folds) == y.sum()
    for path in result.paths:
        assert path.penalties[0] == result.lambda_max
        assert (np.diff(path.penalties) < 0).all()
        assert path.n_nonzero[0] == 0
        assert len(path.penalties) == len(path.cv_deviance) == len(path.cv_standard_error)
    # lambda_max is the first penalty at which everything is zero
    x = dense(design)
    assert result.lambda_max == pytest.approx((x.T @ (y - y.mean()) / len(y)).max(), rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(60, 400), st.integers(1, 4))
def test_kkt_holds_on_any_design(seed: int, n: int, factors: int) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, factors)
    y = simulate(rng, design, {1: 1.0}, base=0.5, dispersion=1.0)
    if y.sum() < 10:
        return
    result = cull(design, y, stratified_folds(y, 3, seed=seed), ridge=(1e-4,), n_penalties=15, min_ratio=0.02)
    if result.lambda_max == 0.0:
        return
    violation = dense_violation(dense(design), y, result.intercept, result.coefficients, result.penalty, result.ridge)
    assert violation <= 1e-7 * result.lambda_max + 1e-12


def test_path_stops_once_the_deviance_has_turned() -> None:
    rng = np.random.default_rng(8)
    design = random_design(rng, 300, 8, bands=4)
    y = simulate(rng, design, {3: 1.0}, base=0.5)
    folds = stratified_folds(y, 5, seed=1)
    short = cull(design, y, folds, ridge=(1e-6,), n_penalties=100, min_ratio=1e-4)
    path = short.paths[0]
    assert path.stopped_early
    assert len(path.penalties) < 100
    assert len(path.penalties) % 10 == 0
    assert len(path.penalties) - 1 - int(np.argmin(path.cv_deviance)) >= 10


def test_nothing_is_selected_where_nothing_aggravates() -> None:
    x = np.zeros((400, 2), dtype=int)
    x[:100, 0] = x[50:150, 1] = 1
    y = np.where(x.any(axis=1), 0, 2)
    result = cull(binary_design(x), y, stratified_folds(y, 4, seed=1))
    assert result.selected == ()
    assert result.lambda_max == 0.0
    assert result.intercept == pytest.approx(np.log(y.mean()))
    assert "nothing is selected" in result.notes[0]


def test_a_constant_variable_is_not_selected_for_rounding() -> None:
    y = np.random.default_rng(0).poisson(0.3, 1001)
    x = np.ones((1001, 1), dtype=int)
    assert cull(binary_design(x), y, stratified_folds(y, 5, seed=1)).selected == ()


def test_a_path_cut_short_is_noted() -> None:
    design, y, folds = city()
    result = cull(design, y, folds, n_penalties=5, min_ratio=0.5)
    assert any("min_ratio" in note for note in result.notes)


def test_a_design_without_variables_selects_nothing() -> None:
    result = cull(Design((), 30), np.arange(30), np.arange(30) % 3)
    assert result.selected == ()
    assert result.intercept == pytest.approx(np.log(14.5))


def test_a_variable_constant_in_one_fold_is_harmless() -> None:
    x = np.zeros((400, 2), dtype=int)
    x[:5, 0] = 1
    x[100:300, 1] = 1
    y = np.ones(400, dtype=int)
    y[100:200] += 2
    folds = np.arange(400) // 80
    result = cull(binary_design(x), y, folds, n_penalties=20)
    assert 1 in result.selected


def test_progress_is_monotone_and_cancel_stops() -> None:
    design, y, folds = city()
    seen: list[tuple[str, int, int]] = []
    cull(design, y, folds, n_penalties=20, progress=lambda *a: seen.append(a))
    done = [d for _, d, _ in seen]
    assert {s for s, _, _ in seen} == {"culling"}
    assert done == sorted(done)
    assert seen[-1][1] == seen[-1][2] == 20 * 2 * 6
    with pytest.raises(Cancelled):
        cull(design, y, folds, cancel=lambda: True)


def test_bad_input_is_named() -> None:
    design, y, folds = city()
    with pytest.raises(FitError, match="no events"):
        cull(design, np.zeros_like(y), folds)
    lonely = np.zeros_like(y)
    lonely[folds == 2] = 1
    with pytest.raises(FitError, match="fold 2"):
        cull(design, lonely, folds)
    with pytest.raises(InputError, match="fold 1 has no cells"):
        cull(design, y, np.where(folds == 1, 0, folds))
    with pytest.raises(InputError, match="shape"):
        cull(design, y[1:], folds)
    with pytest.raises(InputError, match="whole number"):
        cull(design, y + 0.5, folds)
    with pytest.raises(InputError, match="integers"):
        cull(design, y, folds + 0.5)
    with pytest.raises(InputError, match="numbered from 0"):
        cull(design, y, np.zeros_like(folds))
    for bad in (
        {"ridge": ()},
        {"ridge": (-1.0,)},
        {"n_penalties": 1},
        {"min_ratio": 1.0},
        {"tolerance": 0.0},
    ):
        with pytest.raises(InputError, match=next(iter(bad))):
            cull(design, y, folds, **bad)
    with pytest.raises(InputError, match="threads"):
        cull(design, y, folds, threads=0)


def test_read_only_input_is_taken_and_left_alone() -> None:
    """Ray hands out read-only arrays."""
    design, y, folds = city()
    expected = cull(design, y, folds, n_penalties=12)
    blocks = []
    for block in design.blocks:
        codes, decode = block.codes.copy(), block.decode.copy()
        codes.flags.writeable = decode.flags.writeable = False
        blocks.append(Block(codes, decode, block.variables))
    frozen = Design(tuple(blocks), design.n_cells)
    y.flags.writeable = folds.flags.writeable = False
    result = cull(frozen, y, folds, n_penalties=12)
    assert same(result, expected)
    assert stepwise(frozen, y, result.selected).trace == stepwise(design, y, result.selected).trace
