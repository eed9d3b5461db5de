"""Inputs that break count models: each has a named error or a defined answer, and no result holds a NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx.errors import FitError
from rtmdx.model.families import CountModel, fit_count_model
from rtmdx.model.stepwise import StepwiseResult, stepwise
from stats_designs import binary_design, random_design

FAMILIES = ("poisson", "nbii", "nb2")


def no_nan(model: CountModel) -> None:
    """Everything is a number; at the boundary the dispersion has no standard error."""
    k = 1 + len(model.coefficients)
    assert np.isfinite(model.parameters[:k]).all()
    assert np.isfinite(model.covariance[:k, :k]).all()
    assert np.isfinite([model.bic, model.aic, model.deviance]).all()
    assert np.isfinite(model.p_values).all()
    assert np.isfinite(model.rrv_interval()).all()
    if not model.at_boundary:
        assert np.isfinite(model.covariance).all()
    assert not np.isnan(model.profile_interval()).any()


def check(result: StepwiseResult) -> None:
    for model in result.models.values():
        no_nan(model)
        assert (model.coefficients > 0).all()
    for step in result.trace:
        assert np.isfinite([step.bic_before, step.bic_after]).all()
        assert all(a.bic is not None and np.isfinite(a.bic) for a in step.alternatives)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_events_in_one_cell(family: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (2000, 3))
    y = np.zeros(2000)
    y[7] = 1e6
    with pytest.raises(FitError, match="separation|cannot be estimated"):
        fit_count_model(binary_design(x), y, (0,), family=family)
    result = stepwise(binary_design(x), y, range(3), families=(family,))
    check(result)
    assert result.model.columns == ()
    assert result.model.expected(binary_design(x)).sum() == pytest.approx(1e6, rel=1e-6)


def test_one_cell_of_a_million_among_ordinary_ones() -> None:
    rng = np.random.default_rng(1)
    design = random_design(rng, 2000, 3)
    y = rng.poisson(0.5, 2000)
    y[11] = 10**6
    check(stepwise(design, y, range(18), families=FAMILIES))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 60),
    st.sampled_from([0.01, 0.3, 30.0, 1e5]),
    st.sampled_from([0.0, 1e-3, 5.0, 1e4]),
    st.sampled_from([None, 1e-12, 1.0, 1e12]),
)
def test_small_designs_never_give_a_nan(seed: int, n: int, base: float, spread: float, unit: float | None) -> None:
    """Few cells, tiny or huge counts, over- and underdispersed: errors are named, results are numbers."""
    rng = np.random.default_rng(seed)
    design = binary_design((rng.random((n, 4)) < rng.uniform(0.05, 0.95, 4)).astype(int))
    mu = np.full(n, base) * np.exp(design.indicator(0))
    y = rng.poisson(rng.gamma(np.maximum(mu / spread, 1e-9), spread) if spread else mu)
    exposure = None if unit is None else unit * rng.integers(0, 3, n)
    if exposure is not None:
        y = np.where(exposure > 0, y, 0)
        if not exposure.any():
            return
    if not y.any():
        with pytest.raises(FitError, match="no events"):
            stepwise(design, y, range(4), exposure=exposure)
        return
    check(stepwise(design, y, range(4), families=FAMILIES, exposure=exposure))


@pytest.mark.parametrize("family", FAMILIES)
def test_one_cell_and_one_event(family: str) -> None:
    design = binary_design(np.ones((1, 1), int))
    result = stepwise(design, [1], (0,), families=(family,))
    check(result)
    assert result.model.intercept == pytest.approx(0.0, abs=1e-9)
    assert result.trace[0].ruled_out[0].reason == "constant"


@pytest.mark.parametrize("family", FAMILIES)
def test_collinear_variables_do_not_enter_together(family: str) -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, (3000, 1))
    y = rng.poisson(rng.gamma(0.4 * np.exp(0.8 * x[:, 0]) / 0.7, 0.7))
    same = binary_design(np.column_stack([x, x, 1 - x]), (1, 1, -1))
    result = stepwise(same, y, range(3), families=(family,))
    check(result)
    assert result.model.columns == (0,)
    reasons = {a.reason for a in result.trace[1].ruled_out}
    assert any("collinear" in str(r) for r in reasons)
    # three that sum to a fourth
    kinds = rng.integers(0, 3, 3000)
    parts = np.column_stack([kinds == 0, kinds == 1, kinds == 2]).astype(int)
    with pytest.raises(FitError, match="collinear"):
        fit_count_model(binary_design(parts), y, (0, 1, 2), family=family)


def test_exposure_over_many_magnitudes() -> None:
    rng = np.random.default_rng(3)
    design = random_design(rng, 1500, 3)
    exposure = 10.0 ** rng.uniform(-12, 4, 1500)
    y = rng.poisson(0.01 * exposure)
    check(stepwise(design, y, range(18), families=FAMILIES, exposure=exposure))
    exposure[rng.random(1500) < 0.5] = 0.0  # an offset of -inf
    y = np.where(exposure > 0, y, 0)
    check(stepwise(design, y, range(18), families=FAMILIES, exposure=exposure))


@pytest.mark.parametrize("size", [1e3, 1e6, 1e8])
def test_a_small_dispersion_of_huge_counts_is_no_boundary(size: float) -> None:
    """NB2's variance exceeds its mean by alpha mu of it: alpha = 3 / mu is far from Poisson, however small."""
    rng = np.random.default_rng(8)
    x = rng.integers(0, 2, (4000, 2))
    mu = size * np.exp(0.2 * x[:, 0])
    shape = size / 3.0
    y = rng.poisson(rng.gamma(shape, mu / shape)).astype(float)
    model = fit_count_model(binary_design(x), y, (0, 1), family="nb2")
    assert not model.at_boundary
    assert model.dispersion == pytest.approx(3.0 / size, rel=0.15)
    assert model.coefficients[0] == pytest.approx(0.2, abs=5 * model.standard_errors[1])
    poisson = rng.poisson(mu).astype(float)
    assert fit_count_model(binary_design(x), poisson, (0, 1), family="nb2").dispersion * size < 0.1


@pytest.mark.parametrize("seed", range(20))
def test_a_saturated_fit_to_many_cells_converges(seed: int) -> None:
    """The deviance is 0 there and its rounding is not: it must not hold up the last steps."""
    rng = np.random.default_rng(seed)
    x = np.repeat(np.eye(4, dtype=int)[:, :3], (1, 50, 3000, 6000), axis=0)  # the last rows have none
    y = rng.poisson(x @ [6.0, 0.8, 0.3] + 0.03)
    model = fit_count_model(binary_design(x), y, (0, 1, 2), family="poisson")
    means = [y[x[:, j] == 1].mean() for j in range(3)]
    assert model.intercept == pytest.approx(np.log(y[x.sum(axis=1) == 0].mean()), abs=1e-9)
    assert model.intercept + model.coefficients == pytest.approx(np.log(means), abs=1e-9)
