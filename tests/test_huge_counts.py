"""Counts up to 1e9 a cell: the log likelihood keeps its digits, and dispersion is told from none."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from rtmdx.model.families import CountModel, fit_count_model
from rtmdx.model.levels import count_constant
from rtmdx.model.stepwise import stepwise
from stats_designs import binary_design

FAMILIES = ("poisson", "nbii", "nb2")
BASES = (1e3, 1e6, 1e9)


def exact(model: CountModel, x, y, exposure) -> mpmath.mpf:
    """Log likelihood of a model's parameters to 50 digits, cell by cell."""
    with mpmath.workdps(50):
        beta = [mpmath.mpf(float(b)) for b in model.parameters[: 1 + x.shape[1]]]
        total = mpmath.mpf(0)
        for row, count, e in zip(x.tolist(), y.tolist(), exposure.tolist(), strict=True):
            mu = mpmath.mpf(e) * mpmath.exp(beta[0] + sum(b * v for b, v in zip(beta[1:], row, strict=True)))
            total -= mpmath.loggamma(count + 1)
            if model.log_dispersion is None or model.at_boundary:
                total += count * mpmath.log(mu) - mu
                continue
            d = mpmath.exp(mpmath.mpf(model.log_dispersion))
            r, t = (mu / d, d) if model.family == "nbii" else (1 / d, d * mu)
            total += mpmath.loggamma(count + r) - mpmath.loggamma(r)
            total += count * mpmath.log(t / (1 + t)) - r * mpmath.log(1 + t)
        return total


def sample(base: float, excess: float, *, exposed: bool):
    """Cells whose variance is 1 + excess times their mean."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (120, 2))
    exposure = rng.gamma(3.0, 0.4, 120) if exposed else np.ones(120)
    mu = base * exposure * np.exp(x @ [0.7, 0.2])
    return x, rng.poisson(rng.gamma(mu / excess, excess) if excess else mu), exposure


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("base", BASES)
def test_log_likelihood_has_thirteen_digits(base: float, family: str, exposed: bool) -> None:
    for excess in (0.0, 1e-3, 1.0, 0.5 * base, 50.0 * base):
        x, y, exposure = sample(base, excess, exposed=exposed)
        model = fit_count_model(binary_design(x), y, (0, 1), family=family, exposure=exposure if exposed else None)
        truth = exact(model, x, y, exposure)
        assert abs((model.log_likelihood - truth) / truth) < 1e-13, excess


def test_poisson_by_sums_keeps_its_digits_below_the_counts_that_stay_apart() -> None:
    x, y, exposure = sample(5e3, 1.0, exposed=True)
    assert y.max() > 1 << 14
    for scale in (1.0, 3.0):  # above and below
        counts = np.rint(y / scale)
        model = fit_count_model(binary_design(x), counts, (0, 1), family="poisson", exposure=exposure)
        truth = exact(model, x, counts, exposure)
        assert abs((model.log_likelihood - truth) / truth) < 1e-13
    mixed = np.where(np.arange(120) % 3 > 0, y, 0) // 40  # cells without events too
    model = fit_count_model(binary_design(x), mixed, (0, 1), family="poisson", exposure=exposure)
    truth = exact(model, x, mixed, exposure)
    assert abs((model.log_likelihood - truth) / truth) < 1e-13


def test_count_constant() -> None:
    y = np.array([0, 1, 2, 7, 63, 64, 65, 1000, 10**6, 10**9, 2**52], dtype=float)
    with mpmath.workdps(50):
        truth = [float(mpmath.loggamma(v + 1) - (v * mpmath.log(v) if v else 0) + v) for v in y]
    assert count_constant(y) == pytest.approx(truth, rel=1e-14, abs=1e-13)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("family", ["nbii", "nb2"])
def test_dispersion_is_judged_beside_the_counts(family: str, base: float) -> None:
    """At 1e8 a cell alpha = 1e-8 doubles the variance; it is no boundary, and never was one for s = 1."""
    x, y, _ = sample(base, 1.0, exposed=False)
    model = fit_count_model(binary_design(x), y, (0, 1), family=family)
    assert not model.at_boundary
    mean = np.exp(model.intercept) * np.exp(x @ model.coefficients)
    excess = model.dispersion * (1.0 if family == "nbii" else (mean**2).sum() / mean.sum())
    assert excess == pytest.approx(1.0, rel=0.4)
    poisson = fit_count_model(binary_design(x), y, (0, 1), family="poisson")
    assert model.log_likelihood > poisson.log_likelihood + 5.0
    assert (model.standard_errors[:3] > 1.2 * poisson.standard_errors).all()


@pytest.mark.parametrize("base", [1.0, *BASES])
@pytest.mark.parametrize("family", ["nbii", "nb2"])
def test_less_variance_than_poisson_is_the_boundary_at_any_size(family: str, base: float) -> None:
    rng = np.random.default_rng(4)
    x = rng.integers(0, 2, (300, 1))
    y = rng.binomial(int(4 * base), 0.3 + 0.3 * x[:, 0])
    model = fit_count_model(binary_design(x), y, (0,), family=family)
    assert model.at_boundary
    assert model.log_likelihood == fit_count_model(binary_design(x), y, (0,), family="poisson").log_likelihood


def test_scale_of_counts_leaves_dispersion_times_mean() -> None:
    """NB2 far above Poisson noise is a gamma law: alpha is the same at any scale of the counts."""
    x, y, _ = sample(1e6, 5e5, exposed=False)
    a = fit_count_model(binary_design(x), y, (0, 1), family="nb2")
    b = fit_count_model(binary_design(x), y * 1000, (0, 1), family="nb2")
    assert b.dispersion == pytest.approx(a.dispersion, rel=1e-5)
    assert b.coefficients == pytest.approx(a.coefficients, rel=1e-5)


def test_search_at_huge_counts() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2, (400, 4))
    mu = 1e8 * np.exp(x[:, :2] @ [1e-3, 5e-4])
    y = rng.poisson(rng.gamma(mu, 1.0))  # variance twice the mean
    result = stepwise(binary_design(x), y, range(4), families=FAMILIES)
    assert result.model.family in ("nbii", "nb2")
    assert result.model.columns == (0, 1)
    assert not any(m.at_boundary for m in result.models.values())
    assert result.models["nb2"].bic == pytest.approx(result.models["nbii"].bic, abs=0.1)
