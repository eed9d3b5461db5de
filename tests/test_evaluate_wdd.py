"""Weighted displacement differences: published examples, sums written out, coverage, what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rtmdx.errors import InputError
from rtmdx.evaluate import wdd, wdd_cumulative, wdd_harm
from worked_examples import example

COUNT = st.integers(1, 500)
PAIR = st.tuples(COUNT, COUNT)


def test_example_e1() -> None:
    e = example("E1")
    i, expected = e["inputs"], e["expected"]
    found = wdd(i["control"], i["treated"], i["disp_control"], i["disp_treated"], level=1 - i["alpha"])
    assert (found.estimate, found.variance) == (expected["est"], expected["var"])
    assert round(found.z, 2) == expected["z"]
    assert [round(found.low), round(found.high)] == expected["ci"]
    assert not found.covers_zero
    for said in ("−118", "207 to 110", "308 to 318", "178 to 157", "150 to 140", "95 %"):
        assert said in found.sentence()


def test_example_e3() -> None:
    e = example("E3")
    i, expected = e["inputs"], e["expected"]
    found = wdd(i["control"], i["treated"], times=i["time"])
    assert (found.estimate, found.variance) == pytest.approx((expected["est"], expected["var"]), abs=1e-12)
    plain = wdd(i["control"], i["treated"])
    assert [plain.estimate, plain.variance] == expected["unweighted"]
    assert "unequal-times" in found.flags
    assert "unequal-times" not in plain.flags


def test_example_e4() -> None:
    e = example("E4")
    pairs = e["inputs"]["pairs"]
    found = wdd_harm([c for c, _ in pairs], [t for _, t in pairs], e["inputs"]["weights"])
    figures = [found.estimate, found.se, found.z, found.low, found.high]
    np.testing.assert_allclose(figures, e["expected"], atol=1e-7)
    table = found.to_frame()
    assert table["harm"].iloc[:-1].sum() == pytest.approx(table["harm"].iloc[-1])
    assert [t.estimate for t in found.types] == table["wdd"].iloc[:-1].tolist()


@given(PAIR, PAIR, PAIR, PAIR, st.tuples(*[st.floats(0.1, 10)] * 4), st.tuples(*[st.floats(0.1, 10)] * 2))
@settings(max_examples=60, deadline=None)
def test_formula(c: Any, t: Any, dc: Any, dt: Any, areas: Any, times: Any) -> None:
    found = wdd(c, t, dc, dt, areas=areas, times=times)
    rows = [(c, -1, areas[0]), (t, 1, areas[1]), (dc, -1, areas[2]), (dt, 1, areas[3])]
    estimate = sum(s * (n[1] / (times[1] * a) - n[0] / (times[0] * a)) for n, s, a in rows)
    variance = sum(n[1] / (times[1] * a) ** 2 + n[0] / (times[0] * a) ** 2 for n, _, a in rows)
    assert found.estimate == pytest.approx(estimate, rel=1e-9, abs=1e-9)
    assert found.variance == pytest.approx(variance, rel=1e-12)
    assert found.local[0] + found.displaced[0] == pytest.approx(found.estimate, abs=1e-9)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))
    swapped = wdd(t, c, dt, dc, areas=(areas[1], areas[0], areas[3], areas[2]), times=times)
    assert (swapped.estimate, swapped.low) == pytest.approx((-found.estimate, -found.high), rel=1e-9, abs=1e-9)
    scaled = wdd(c, t, dc, dt, areas=[3 * a for a in areas], times=times)
    assert scaled.z == pytest.approx(found.z, rel=1e-9, abs=1e-9)


def test_ratio_of_ratios_is_that_of_a_poisson_regression() -> None:
    sm = pytest.importorskip("statsmodels.api")
    c, t = (308, 318), (207, 110)
    found = wdd(c, t, times=(2, 1))
    x = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]], dtype=float)
    with warnings.catch_warnings():  # a saturated model leaves no degrees of freedom
        warnings.simplefilter("ignore")
        fit = sm.GLM([*c, *t], x, family=sm.families.Poisson(), offset=np.log([2, 1, 2, 1])).fit(tol=1e-14)
    low, high = fit.conf_int()[3]
    np.testing.assert_allclose(found.ratio, np.exp([fit.params[3], low, high]), rtol=1e-7)
    assert np.isnan(wdd((0, 3), (4, 5)).ratio[0])


def test_coverage_under_poisson_counts() -> None:
    rng = np.random.default_rng(7)
    means = np.array([[60, 66], [40, 30], [25, 26], [20, 18]], dtype=float)
    truth = -(66 - 60) + (30 - 40) - (26 - 25) + (18 - 20)
    draws = rng.poisson(means, size=(4000, 4, 2))
    inside = 0
    for k in draws:
        found = wdd(k[0], k[1], k[2], k[3])
        inside += found.low <= truth <= found.high
    assert inside / 4000 == pytest.approx(0.95, abs=0.012)


def test_coverage_with_overdispersed_counts_needs_the_dispersion() -> None:
    rng = np.random.default_rng(8)
    means = np.array([[200.0, 200.0], [100.0, 100.0]])
    draws = rng.negative_binomial(means / 2, 1 / 3, size=(3000, 2, 2))  # variance 3 times the mean
    hits = np.array([[wdd(*k, dispersion=d).covers_zero for d in (1.0, 3.0)] for k in draws]).mean(axis=0)
    assert hits[0] < 0.80
    assert hits[1] == pytest.approx(0.95, abs=0.02)


@given(st.lists(COUNT, min_size=2, max_size=9), st.lists(COUNT, min_size=2, max_size=9), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_cumulative_is_the_difference_with_time_weights(before: list[int], after: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    cb, ca = rng.poisson(30, len(before)), rng.poisson(30, len(after))
    found = wdd_cumulative((cb, ca), (before, after), periods=[f"m{i}" for i in range(len(after))])
    for t in range(1, len(after) + 1):
        whole = wdd((cb.sum(), ca[:t].sum()), (sum(before), sum(after[:t])), times=(len(before) / t, 1))
        row = found.to_frame().iloc[t - 1]
        np.testing.assert_allclose(
            row[["cumulative", "se", "low", "high"]].astype(float), [whole.estimate, whole.se, whole.low, whole.high],
            rtol=1e-9, atol=1e-9,
        )  # fmt: skip
    assert found.by_period.sum() == pytest.approx(found.estimate, abs=1e-9)
    wider = wdd_cumulative((cb, ca), (before, after), limits="bonferroni")
    assert (wider.highs >= found.highs).all()


def test_cumulative_matched_by_period() -> None:
    cb, ca, tb, ta = [5, 6, 7], [6, 6, 9], [9, 8, 8], [4, 5, 3]
    found = wdd_cumulative((cb, ca), (tb, ta), baseline="matched")
    assert found.cumulative.tolist() == [-5 - 1, -8 - 1, -13 - 3]
    assert found.se[2] ** 2 == pytest.approx(sum(cb + ca + tb + ta))
    assert found.estimate == -16


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((1, 2), (3, 4), (5, 6)), "displacement_control was given without displacement_treated"),
        (((1, 2), (3, 4), None, (5, 6)), "displacement_treated was given without displacement_control"),
        (((1, -2), (3, 4)), "control: found -2 at 1, expected whole counts from 0"),
        (((1, 2), (3, 4.5)), "treated: found 4.5 at 1"),
        (((1, 2), (3, np.nan)), "treated: found nan at 1"),
        (((1, 2), (3, 4, 5)), "treated: found an array of shape (3,), expected two counts"),
        (((1, 2), "ab"), "treated: found text"),
    ],
)
def test_counts_refused(arguments: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        wdd(*arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"times": (0, 1)}, "times: found (0, 1), expected two positive numbers"),
        ({"times": (1, 2, 3)}, "times"),
        ({"areas": (1, 2, 3)}, "areas: found (1, 2, 3), expected 2 positive numbers: control, treated"),
        ({"areas": (1, -1)}, "areas"),
        ({"level": 95}, "level: found 95, expected a probability between 0 and 1"),
        ({"dispersion": 0}, "dispersion: found 0, expected a positive number"),
    ],
)
def test_options_refused(options: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        wdd((10, 12), (14, 9), **options)
    assert said in str(caught.value)


def test_harm_and_cumulative_refused() -> None:
    with pytest.raises(InputError, match="weights: found"):
        wdd_harm([[1, 2]], [[3, 4]], [1, 2])
    with pytest.raises(InputError, match="weights: found"):
        wdd_harm([[1, 2]], [[3, 4]], [-1])
    with pytest.raises(InputError, match="names: found 2"):
        wdd_harm([[1, 2]], [[3, 4]], [1], names=["a", "b"])
    with pytest.raises(InputError, match="found shapes"):
        wdd_harm([[1, 2]], [[3, 4], [5, 6]], [1])
    with pytest.raises(InputError, match="found series of \\[2, 3\\] periods"):
        wdd_cumulative(([1, 2], [3]), ([1, 2, 3], [3]))
    with pytest.raises(InputError, match="as many of each"):
        wdd_cumulative(([1, 2], [3]), ([1, 2], [3]), baseline="matched")
    with pytest.raises(InputError, match="without displacement_treated"):
        wdd_cumulative(([1], [3]), ([1], [3]), ([1], [2]))


def test_results_are_plain_data() -> None:
    found = wdd((0, 0), (0, 0))
    assert found.estimate == 0
    assert found.to_dict()["z"] is None
    assert found.to_dict()["ratio"] == [None, None, None]
    assert "few-events" in found.flags
    assert found.to_frame().shape[0] == 1
    assert wdd_cumulative(([5, 5], [4, 4]), ([6, 6], [1, 1])).to_dict()["cumulative"] == [-4.0, -8.0]
