"""A cell's rate given its counts: formulas against integration, intervals, limits, arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from rtmdx.errors import InputError
from rtmdx.model.gamma import RateDistribution, posterior_rate
from rtmdx.model.history import history_of_counts
from rtmdx.model.level import count_log_likelihood

# ----------------------------------------------------------------------------------------- formulas


def prior(mu: float, family: str, d: float) -> tuple[float, float]:
    """Shape and rate of the gamma a negative binomial mixes over."""
    return (mu / d, 1 / d) if family == "nbii" else (1 / d, 1 / (d * mu))


@pytest.mark.parametrize("family", ["nbii", "nb2"])
@pytest.mark.parametrize(
    ("mu", "d", "y", "t"),
    [(0.5, 1.7, 3, 1.0), (2.0, 0.4, 0, 1.0), (0.9, 2.5, 7, 3.0), (4.0, 0.05, 11, 0.5), (1.5, 1.0, 2, 2.25)],
)
def test_the_posterior_is_gamma_times_poisson(family: Any, mu: float, d: float, y: int, t: float) -> None:
    """Mean, variance and limits against direct integration of prior times likelihood."""
    shape, rate = prior(mu, family, d)

    def weight(u: float) -> float:  # u = log of the rate: the integrand is smooth whatever the shape
        x = math.exp(u)
        return math.exp(stats.gamma.logpdf(x, shape, scale=1 / rate) + stats.poisson.logpmf(y, x * t) + u)

    def integral(power: int, high: float = 8.0) -> float:
        return integrate.quad(lambda u: math.exp(power * u) * weight(u), -40, high, limit=500, epsabs=0)[0]

    total = integral(0)
    mean = integral(1) / total
    found = posterior_rate([mu], [y], family, d, periods=t)
    assert found.mean[0] == pytest.approx(mean, rel=1e-7)
    assert found.variance[0] == pytest.approx(integral(2) / total - mean**2, rel=1e-6)
    low, high = found.interval(0.9)
    assert integral(0, math.log(low[0])) / total == pytest.approx(0.05, abs=1e-6)
    assert integral(0, math.log(high[0])) / total == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize("family", ["nbii", "nb2"])
def test_the_prior_is_the_model_s_negative_binomial(family: Any) -> None:
    """The mixture behind the update has the family's likelihood, as `likelihood` writes it."""
    mu, d = 1.3, 0.8
    shape, rate = prior(mu, family, d)
    for y in range(8):
        mixed = stats.nbinom.logpmf(y, shape, rate / (1 + rate))
        assert count_log_likelihood(np.array([float(y)]), np.array([mu]), family, d) == pytest.approx(mixed, abs=1e-10)
    assert count_log_likelihood(np.array([3.0, 0]), np.array([2.0, 1.0]), family, 0.0) == pytest.approx(
        stats.poisson.logpmf([3, 0], [2.0, 1.0]).sum()
    )


def test_the_method_s_formulas() -> None:
    mu, y, s = np.array([0.2, 1.0, 3.0]), np.array([0, 4, 2]), 1.6
    np.testing.assert_allclose(posterior_rate(mu, y, "nbii", s).mean, (mu + s * y) / (1 + s), rtol=1e-14)
    shape, rate = 1 / 0.7 + y, 1 / (0.7 * mu) + 2
    found = posterior_rate(mu, y, "nb2", 0.7, periods=2.0)
    np.testing.assert_allclose(found.mean, shape / rate, rtol=1e-14)
    np.testing.assert_allclose(found.variance, shape / rate**2, rtol=1e-14)
    poisson = posterior_rate(mu, y, "poisson")
    np.testing.assert_array_equal(poisson.mean, mu)
    assert not poisson.variance.any()


def test_periods_add_up_and_weights_discount_both_events_and_time() -> None:
    mu, y = np.array([0.5, 2.0]), np.array([[1, 0], [4, 3], [2, 2]])
    t = np.array([0.5, 1.0, 0.25])
    whole = posterior_rate(mu, y.sum(axis=0), "nbii", 0.9, periods=t.sum())
    np.testing.assert_allclose(posterior_rate(mu, y, "nbii", 0.9, periods=t).mean, whole.mean, rtol=1e-14)
    w = np.array([0.25, 0.5, 1.0])
    shape, rate = mu / 0.9 + w @ y, 1 / 0.9 + w @ t
    found = posterior_rate(mu, y, "nbii", 0.9, periods=t, weights=w)
    np.testing.assert_allclose(found.mean, shape / rate, rtol=1e-14)
    wide = posterior_rate(mu, y, "nbii", 0.9, periods=t, weights=w, scale=2.5)
    np.testing.assert_array_equal(wide.mean, found.mean)
    np.testing.assert_allclose(wide.variance, 2.5 * found.variance, rtol=1e-14)


rates = st.floats(1e-6, 1e4)


@given(st.sampled_from(["nbii", "nb2"]), rates, st.floats(1e-9, 1e9), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_between_prior_and_data_and_rising_with_the_count(family: Any, mu: float, d: float, y: int, t: float) -> None:
    found = posterior_rate([mu, mu], [y, y + 1], family, d, periods=t)
    low, high = sorted((mu, y / t))
    assert low * (1 - 1e-12) <= found.mean[0] <= high * (1 + 1e-12)
    assert found.mean[1] >= found.mean[0]
    assert np.isfinite(found.variance).all()
    a, b = found.interval(0.8)
    assert np.isfinite(a).all()
    assert (a <= found.mean * (1 + 1e-9)).all() or found.variance[0] > found.mean[0] ** 2  # a skewed one may not
    assert (a <= b).all()


@given(st.sampled_from(["nbii", "nb2"]), st.floats(1e-3, 1e3), st.integers(0, 1000), st.floats(0.1, 10))
def test_limits_of_the_dispersion(family: Any, mu: float, y: int, t: float) -> None:
    assert posterior_rate([mu], [y], family, 1e-12, periods=t).mean[0] == pytest.approx(mu, rel=1e-6)
    assert posterior_rate([mu], [y], family, 1e12, periods=t).mean[0] == pytest.approx(y / t, rel=1e-6, abs=1e-6)
    assert posterior_rate([mu], [y], family, 1e300, periods=t).mean[0] == pytest.approx(y / t, rel=1e-9, abs=1e-9)
    none = posterior_rate([mu], [y], family, 0.0, periods=t)
    assert (none.mean[0], none.variance[0]) == (mu, 0.0)


# ---------------------------------------------------------------------------------------- intervals


def test_counts_are_negative_binomial_and_their_limits_the_smallest_that_hold() -> None:
    mu, y = np.array([0.01, 0.3, 2.0, 40.0, 0.0]), np.array([0, 5, 1, 60, 0])
    for found in (
        posterior_rate(mu, y, "nbii", 1.2),
        posterior_rate(mu, y, "nbii", 1.2, scale=1.8),
        posterior_rate(mu, y, "poisson"),
    ):
        low, high = found.count_interval(0.9, horizon=1.5)
        for i in range(mu.size):
            mean = found.mean[i] * 1.5
            variance = found.scale * mean + found.variance[i] * 1.5**2
            if variance > mean:
                law = stats.nbinom(mean**2 / (variance - mean), mean / variance)
            else:
                law = stats.poisson(mean)
            for limit, q in ((low[i], 0.05), (high[i], 0.95)):
                assert law.cdf(limit) >= q - 1e-9
                assert limit == 0 or law.cdf(limit - 1) < q + 1e-9


def test_intervals_cover_what_they_say_on_simulated_cells() -> None:
    rng = np.random.default_rng(5)
    mu = rng.gamma(0.8, 1.5, 40_000) + 0.05
    s, t, ahead = 1.4, 1.5, 2.0
    rate = rng.gamma(mu / s, s)
    y, later = rng.poisson(rate * t), rng.poisson(rate * ahead)
    found = posterior_rate(mu, y, "nbii", s, periods=t)
    for level in (0.5, 0.9):
        low, high = found.interval(level)
        assert ((rate >= low) & (rate <= high)).mean() == pytest.approx(level, abs=0.01)
        a, b = found.count_interval(level, horizon=ahead)
        assert ((later >= a) & (later <= b)).mean() > level - 0.01  # whole numbers hold more
    assert found.mean.mean() == pytest.approx(rate.mean(), rel=0.02)
    errors = [((later - m * ahead) ** 2).mean() for m in (found.mean, mu, y / t)]
    assert errors[0] < min(errors[1:])


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": [[1.0]]}, r"mu has shape \(1, 1\), expected \(n_cells,\)"),
        ({"mu": [1.0, math.nan]}, "mu: found nan at cell 1, expected a finite number >= 0"),
        ({"mu": [1.0, -2.0]}, "mu: found -2.0 at cell 1"),
        ({"mu": ["a", "b"]}, "mu: found text, expected an array of numbers"),
        ({"counts": [1, 2, 3]}, r"counts have shape \(3,\), expected \(2,\) or \(n_periods, 2\)"),
        ({"counts": [1, -1]}, "counts: found -1.0 at cell 1"),
        ({"counts": [1, math.nan]}, "counts: found nan at cell 1"),
        ({"counts": [1, 0.5]}, "counts: found 0.5 at cell 1, expected a whole number >= 0"),
        ({"counts": [[1, 2], [3, 4]]}, "counts of 2 periods need the lengths"),
        ({"counts": [[1, 2], [-3, 4]], "periods": [1, 1]}, "counts: found -3.0 at cell 0 in period 1"),
        ({"periods": [1, 1]}, r"periods have shape \(2,\), expected \(1,\)"),
        ({"periods": 0}, "periods: found 0.0 at period 0, expected a positive length"),
        ({"periods": math.inf}, "periods: found inf"),
        ({"family": "gamma"}, "family: found 'gamma', expected one of poisson, nbii, nb2"),
        ({"dispersion": None}, "dispersion: found None, expected a finite number >= 0"),
        ({"dispersion": -1.0}, "dispersion: found -1.0"),
        ({"dispersion": math.inf}, "dispersion: found inf"),
        ({"weights": [0.5, 0.5]}, r"weights have shape \(2,\)"),
        ({"weights": [1.5]}, "weights: found 1.5 at period 0, expected a number from 0 to 1"),
        ({"scale": 0.5}, "scale is 0.5, expected a number >= 1"),
        ({"mu": [0.0, 1.0]}, "cell 0 has 1 events, but an expected count of 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"mu": [1.0, 2.0], "counts": [1, 2], "family": "nbii", "dispersion": 1.0}
    arguments |= change
    mu, counts = arguments.pop("mu"), arguments.pop("counts")
    with pytest.raises(InputError, match=message):
        posterior_rate(mu, counts, **arguments)


def test_horizon_and_level_of_a_distribution_are_checked() -> None:
    rate = RateDistribution(np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="horizon"):
        rate.count_interval(0.9, horizon=-1)
    with pytest.raises(InputError, match="level"):
        rate.interval(0.0)
    history = history_of_counts([1, 2], None, 2)
    assert (history.length, history.lengths.size) == (1.0, 1)
