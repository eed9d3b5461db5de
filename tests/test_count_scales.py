"""Counts of any size beside 60 digits and each other: likelihoods, derivatives, dispersion, profile, search, tiles."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from rtmdx import _counts
from rtmdx.model.families import CountModel, fit_count_model
from rtmdx.model.levels import count_constant
from rtmdx.model.stepwise import stepwise, stepwise_entries
from rtmdx.model.stepwise_options import StepwiseOptions
from stats_designs import binary_design, random_design

FAMILIES = ("poisson", "nbii", "nb2")


def cell(family: str, y: float, mu, theta):
    """Log of the mass function, in mpmath's digits."""
    y, mu, d = mpmath.mpf(y), mpmath.mpf(mu), mpmath.exp(theta)
    if family == "poisson":
        return y * mpmath.log(mu) - mu - mpmath.loggamma(y + 1)
    r = mu / d if family == "nbii" else 1 / d
    rest = r * mpmath.log(r / (r + mu)) + y * mpmath.log(mu / (r + mu))
    return mpmath.loggamma(y + r) - mpmath.loggamma(r) - mpmath.loggamma(y + 1) + rest


def exact(model: CountModel, x, y, exposure=None) -> float:
    """The log likelihood of the cells at the model's parameters, in 60 digits."""
    family = "poisson" if model.at_boundary else model.family
    theta = model.log_dispersion if family != "poisson" else 0.0
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for i, count in enumerate(y):
            eta = mpmath.mpf(model.intercept)
            for b, v in zip(model.coefficients.tolist(), x[i].tolist(), strict=True):
                eta += mpmath.mpf(b) * v
            mu = mpmath.exp(eta) * (1 if exposure is None else mpmath.mpf(float(exposure[i])))
            total += cell(family, float(count), mu, theta)
        return float(total)


def sample(seed: int, size: float, excess: float, n: int = 200):
    """Counts about `size` whose variance is (1 + excess) times the mean."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (n, 2))
    mu = size * np.exp(0.7 * x[:, 0] + 0.2 * x[:, 1])
    return x, rng.poisson(rng.gamma(mu / excess, excess) if excess else mu)


@pytest.mark.parametrize("spread", [0.0, 3.0])
@pytest.mark.parametrize("size", [1e6, 1e9])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_likelihood_keeps_its_digits_with_exposure(family: str, size: float, spread: float) -> None:
    """`spread`: what one rate for all is wrong by, so that sums by code alone would lose digits."""
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, (200, 2))
    exposure = rng.gamma(3.0, 0.3, 200) * rng.choice([1.0, 1.0, 0.0], 200)
    y = rng.poisson(size * exposure * np.exp(spread * x[:, 0] + 0.2 * x[:, 1]))
    y[np.flatnonzero(exposure)[:20]] = 0
    model = fit_count_model(binary_design(x), y, (0, 1), family=family, exposure=exposure)
    on = exposure > 0
    assert model.log_likelihood == pytest.approx(exact(model, x[on], y[on], exposure[on]), rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_few_events_among_many_cells_keep_their_digits(family: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (600, 2))
    y = rng.poisson(rng.gamma(0.05 * np.exp(0.7 * x[:, 0]) / 0.5, 0.5))
    exposure = rng.gamma(3.0, 0.3, 600)
    for given in (None, exposure):
        model = fit_count_model(binary_design(x), y, (0, 1), family=family, exposure=given)
        assert model.log_likelihood == pytest.approx(exact(model, x, y, given), rel=1e-13)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_cell_and_its_derivatives_are_exact(number: int) -> None:
    """From mass functions in 90 digits, differentiated numerically there."""
    family = FAMILIES[number]
    h = mpmath.mpf(10) ** -12
    for y in (0.0, 1.0, 11.0, 12.0, 13.0, 1e3, 1e6, 1e9):
        for ratio in (0.5, 0.999, 1.0001, 2.0):
            for theta in (-14.0, -9.0, -3.0, 0.5, 6.0, 15.0) if number else (0.0,):
                mu = max(y, 0.01) * ratio
                sums = np.empty((1, 5))
                rows = (_counts.Rows(np.zeros(1, np.int32), np.array([y]), np.ones(1), np.array([mu])), np.zeros(1))
                value = _counts.count_likelihood(number, *rows, theta, sums)
                with mpmath.workdps(90):
                    here = cell(family, y, mu, theta)
                    assert value - count_constant(np.array([y]))[0] == pytest.approx(float(here), rel=1e-13)
                    up, down = (cell(family, y, mpmath.mpf(mu) * mpmath.exp(s), theta) for s in (h, -h))
                    assert sums[0, 0] == pytest.approx(float((up - down) / (2 * h)), rel=1e-8, abs=1e-10 * np.sqrt(mu))
                    if number == 0:
                        continue
                    up, down = (cell(family, y, mu, mpmath.mpf(theta) + s) for s in (h, -h))
                    slope, bend = float((up - down) / (2 * h)), float((up - 2 * here + down) / h**2)
                excess = np.exp(theta) * (mu if number == 2 else 1.0)
                size = min(excess, 1.0)  # of the slope, but for where it changes sign
                assert sums[0, 3] == pytest.approx(slope, rel=1e-8, abs=1e-8 * size)
                assert sums[0, 4] == pytest.approx(bend, rel=1e-6, abs=1e-6 * size)


@pytest.mark.parametrize(("size", "excess"), [(1e8, 1.0), (1e10, 100.0), (1e8, 0.3), (1e4, 0.5)])
@pytest.mark.parametrize("family", ["nbii", "nb2"])
def test_overdispersion_of_huge_counts_is_found(family: str, size: float, excess: float) -> None:
    """An alpha of 1e-8 doubles the variance of counts of 1e8."""
    x, y = sample(4, size, excess, 2000)
    model = fit_count_model(binary_design(x), y, (0, 1), family=family)
    poisson = fit_count_model(binary_design(x), y, (0, 1), family="poisson")
    assert not model.at_boundary
    found = model.dispersion * (model.expected(binary_design(x)).mean() if family == "nb2" else 1.0)
    assert found == pytest.approx(excess, rel=0.35)
    assert model.log_likelihood > poisson.log_likelihood + 10.0
    searched = stepwise(binary_design(x), y, (0, 1), families=("poisson", family)).model  # from neighbours' starts
    assert searched.family == family
    assert searched.dispersion == pytest.approx(model.dispersion, rel=1e-5)
    low, high = np.log(model.profile_interval()).T
    half = 1.959964 * model.standard_errors[1:3]
    assert model.coefficients - low == pytest.approx(half, rel=0.02)
    assert high - model.coefficients == pytest.approx(half, rel=0.02)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4, 1e8, 1e12])
@pytest.mark.parametrize("family", ["nbii", "nb2"])
def test_counts_of_less_variance_than_poisson_are_at_the_boundary(family: str, size: float) -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2, (3000, 1))
    mu = size * np.exp(0.5 * x[:, 0])
    y = rng.random(3000) < mu if size < 0.1 else np.rint(mu + 0.5 * np.sqrt(mu) * rng.standard_normal(3000)).clip(0)
    model = fit_count_model(binary_design(x), y.astype(float), (0,), family=family)
    poisson = fit_count_model(binary_design(x), y.astype(float), (0,), family="poisson")
    assert model.at_boundary
    assert model.log_likelihood == poisson.log_likelihood


@pytest.mark.parametrize("size", [1e-4, 1e-2])
def test_nb2_of_tiny_means_is_found(size: float) -> None:
    """Few events, but several in a cell: alpha is far above 1 and alpha mu is what it is."""
    rng = np.random.default_rng(6)
    n = 200_000
    x = rng.integers(0, 2, (n, 1))
    y = rng.poisson(rng.gamma(size * np.exp(0.5 * x[:, 0]) / 2.0, 2.0))
    model = fit_count_model(binary_design(x), y, (0,), family="nb2")
    assert not model.at_boundary
    assert model.dispersion * size == pytest.approx(1.5, abs=1.2)
    assert model.log_likelihood > fit_count_model(binary_design(x), y, (0,), family="poisson").log_likelihood


def test_tiles_of_huge_counts_give_the_bits_of_the_whole() -> None:
    rng = np.random.default_rng(7)
    design = random_design(rng, 600, 3)
    exposure = np.round(rng.gamma(2.0, 0.5, 600), 2) + 0.01
    y = rng.poisson(1e7 * exposure * np.exp(2.0 * design.indicator(1))).astype(float)
    codes = np.stack([b.codes for b in design.blocks])
    order = rng.permutation(600)
    whole = stepwise(design, y, range(18), families=FAMILIES, exposure=exposure)
    options = StepwiseOptions(families=FAMILIES)
    parts = stepwise_entries(
        design, codes[:, order], y[order], np.ones(600), range(18), options, exposure=exposure[order]
    )
    assert parts.trace == whole.trace
    for family in FAMILIES:
        a, b = parts.models[family], whole.models[family]
        assert a.parameters.tobytes() == b.parameters.tobytes()
        assert a.log_likelihood == b.log_likelihood
