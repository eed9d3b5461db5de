"""Rates, ratios and their intervals: SciPy, statsmodels and exact sums are the oracles."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from rtmdx.disparity.intervals import RATIO_METHODS, rate_interval, ratio_interval, ratio_test
from rtmdx.errors import InputError

counts = st.one_of(st.integers(0, 12), st.integers(0, 500), st.integers(0, 10**9))


def tails(a: int, b: int, p: float, weight: float) -> tuple[float, float]:
    """P(X > a) + weight P(X = a), and the same below."""
    own = stats.binom.pmf(a, a + b, p)
    return stats.binom.sf(a, a + b, p) + weight * own, stats.binom.cdf(a - 1, a + b, p) + weight * own


@settings(max_examples=200, deadline=None)
@given(counts, counts, st.sampled_from([0.5, 0.9, 0.95, 0.999]), st.sampled_from(["exact", "midp"]))
def test_limits_leave_the_tails_they_promise(a: int, b: int, level: float, method: str) -> None:
    low, high = (float(v) for v in ratio_interval(a, 3.0, b, 7.0, level=level, method=method))
    weight = 1.0 if method == "exact" else 0.5
    tail = (1 - level) / 2
    if a == 0:
        assert low == 0.0
    else:
        p = low * 3 / (low * 3 + 7)
        assert tails(a, b, p, weight)[0] == pytest.approx(tail, rel=1e-6 if a + b > 10**5 else 1e-9)
    if b == 0:
        assert high == np.inf
    else:
        p = high * 3 / (high * 3 + 7)
        assert tails(a, b, p, weight)[1] == pytest.approx(tail, rel=1e-6 if a + b > 10**5 else 1e-9)
    assert low <= high
    if a and b:
        assert low < (a / 3) / (b / 7) < high


def test_clopper_pearson_is_the_beta_quantile() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 3000, 4000), rng.integers(0, 3000, 4000)
    low, high = ratio_interval(a, 1.0, b, 1.0, method="exact", threads=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = low / (1 + low), np.where(np.isinf(high), 1.0, high / (1 + high))
    on = (a > 0) & (b > 0)
    assert p[on] == pytest.approx(stats.beta.ppf(0.025, a, b + 1)[on], rel=1e-11)
    assert q[on] == pytest.approx(stats.beta.ppf(0.975, a + 1, b)[on], rel=1e-11)


def test_midp_by_inversion_one_by_one() -> None:
    rng = np.random.default_rng(2)
    for a, b in zip(rng.integers(1, 200, 60).tolist(), rng.integers(1, 200, 60).tolist(), strict=True):
        low, high = (float(v) for v in ratio_interval(a, 11.0, b, 13.0))

        def excess(theta: float, side: int, a: int = a, b: int = b) -> float:
            return tails(a, b, float(1 / (1 + np.exp(-theta))), 0.5)[side] - 0.025

        roots = [optimize.brentq(excess, -15, 15, args=(side,), xtol=1e-13) for side in (0, 1)]
        assert [low, high] == pytest.approx(np.exp(roots) * 13 / 11, rel=1e-9)


def minlike_p(a: int, b: int, p: float) -> float:
    probabilities = stats.binom.pmf(np.arange(a + b + 1), a + b, p)
    return float(probabilities[probabilities <= probabilities[a] * (1 + 1e-7)].sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.2, 5.0))
def test_minlike_adds_up_what_is_at_most_as_likely(a: int, b: int, value: float) -> None:
    p = value * 2 / (value * 2 + 3)
    found = float(ratio_test(a, 2.0, b, 3.0, value=value, method="minlike"))
    assert found == pytest.approx(minlike_p(a, b, p), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.8, 0.95]))
def test_minlike_limits_are_the_first_and_last_values_not_rejected(a: int, b: int, level: float) -> None:
    low, high = (float(v) for v in ratio_interval(a, 1.0, b, 1.0, method="minlike", level=level))
    grid = np.exp(np.linspace(-7, 7, 1501))
    inside = np.array([minlike_p(a, b, r / (1 + r)) for r in grid]) >= 1 - level
    assert not inside[grid < low * (1 - 1e-9)].any()
    assert not inside[grid > high * (1 + 1e-9)].any()
    if a:
        assert minlike_p(a, b, low * (1 + 1e-6) / (1 + low * (1 + 1e-6))) >= (1 - level) * (1 - 1e-4)


def test_score_and_wald_agree_with_statsmodels() -> None:
    rates = pytest.importorskip("statsmodels.stats.rates")
    rng = np.random.default_rng(3)
    for _ in range(30):
        a, b = (int(v) for v in rng.integers(1, 90, 2))
        na, nb = rng.uniform(1, 1000, 2)
        for ours, theirs, tolerance in (("score", "score", 1e-5), ("wald-log", "wald-log", 1e-9)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = rates.confint_poisson_2indep(a, na, b, nb, method=theirs, compare="ratio")
            found = ratio_interval(a, na, b, nb, method=ours)
            assert [float(v) for v in found] == pytest.approx(expected, rel=tolerance), ours


def test_tests_agree_with_statsmodels() -> None:
    rates = pytest.importorskip("statsmodels.stats.rates")
    names = {"exact-cond": "exact", "cond-midp": "midp", "score": "score", "wald": "wald", "sqrt": "sqrt"}
    rng = np.random.default_rng(4)
    for _ in range(25):
        a, b = (int(v) for v in rng.integers(1, 60, 2))
        na, nb, value = rng.uniform(1, 10), rng.uniform(1, 10), rng.uniform(0.5, 2)
        for theirs, ours in names.items():
            for side in ("larger", "smaller"):
                expected = rates.test_poisson_2indep(a, na, b, nb, value=value, method=theirs, alternative=side).pvalue
                found = float(ratio_test(a, na, b, nb, value=value, method=ours, alternative=side))
                assert found == pytest.approx(expected, rel=1e-6, abs=1e-12), (theirs, side)
        expected = rates.test_poisson_2indep(a, na, b, nb, value=value, method="etest-wald").pvalue
        assert float(ratio_test(a, na, b, nb, value=value, method="etest")) == pytest.approx(
            expected, rel=2e-2, abs=2e-3
        )


@given(st.integers(0, 10**7), st.floats(1e-3, 1e9))
def test_exact_limits_of_a_rate_are_those_of_chi_square(x: int, n: float) -> None:
    low, high = rate_interval(x, n)
    assert float(low) == pytest.approx(stats.chi2.ppf(0.025, 2 * x) / 2 / n if x else 0.0, rel=1e-9)
    assert float(high) == pytest.approx(stats.chi2.ppf(0.975, 2 * x + 2) / 2 / n, rel=1e-9)


@pytest.mark.parametrize("method", RATIO_METHODS)
def test_any_number_of_threads_gives_the_same_bits(method: str) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(1, 80, (2, 100, 90))
    one = ratio_interval(a, 2.0, b, 3.0, method=method)
    for threads in (2, 7):
        many = ratio_interval(a, 2.0, b, 3.0, method=method, threads=threads)
        assert one[0].tobytes() == many[0].tobytes()
        assert one[1].tobytes() == many[1].tobytes()
    assert one[0].shape == (100, 90)


@pytest.mark.parametrize("method", ["midp", "exact", "minlike", "score"])
def test_zero_counts_are_defined(method: str) -> None:
    low, high = ratio_interval([0, 5, 0], 10, [5, 0, 0], 10, method=method)
    assert low.tolist()[::2] == [0.0, 0.0]
    assert 0 < low[1] < np.inf
    assert 0 < high[0] < np.inf
    assert np.isinf(high[1:]).all()


def test_swapping_the_groups_inverts_the_interval() -> None:
    for method in RATIO_METHODS:
        low, high = ratio_interval(17, 3.0, 29, 5.0, method=method)
        back = ratio_interval(29, 5.0, 17, 3.0, method=method)
        assert [1 / float(back[1]), 1 / float(back[0])] == pytest.approx([float(low), float(high)], rel=1e-9)


def test_bad_input_names_the_place() -> None:
    with pytest.raises(InputError, match=r"a at 1: found -1, expected a whole number"):
        ratio_interval([3, -1], 1, 2, 1)
    with pytest.raises(InputError, match=r"b at \(0, 1\): found 2.5"):
        ratio_interval(1, 1, [[1, 2.5]], 1)
    with pytest.raises(InputError, match=r"na: found 0, expected a number > 0"):
        ratio_interval(1, 0, 1, 1)
    with pytest.raises(InputError, match="nb at 0: found nan"):
        ratio_interval(1, 1, 1, [np.nan])
    with pytest.raises(InputError, match="do not fit together"):
        ratio_interval([1, 2], 1, [1, 2, 3], 1)
    with pytest.raises(InputError, match=r"'wald-log' at 1: found no events"):
        ratio_interval([1, 0], 1, 1, 1, method="wald-log")
    with pytest.raises(InputError, match=r"level: found 95"):
        rate_interval(1, 1, level=95)
    with pytest.raises(InputError, match=r"method: found 'fisher', expected one of midp"):
        ratio_interval(1, 1, 1, 1, method="fisher")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has two sides"):
        ratio_test(1, 1, 1, 1, method="minlike", alternative="larger")
    with pytest.raises(InputError, match="too large"):
        ratio_test(10**9, 1, 10**9, 1, method="etest")
    with pytest.raises(InputError, match="events: found str|expected whole numbers"):
        rate_interval("many", 1)
