"""Tests of one ratio common to all strata, beside statsmodels and by simulation."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rtmdx.disparity.comparison import compare
from rtmdx.disparity.homogeneity import heterogeneity
from rtmdx.disparity.standardise import mantel_haenszel
from rtmdx.errors import InputError

A, NA = np.array([12, 30, 9, 4]), np.array([1000.0, 900.0, 800.0, 350.0])
STRATUM = st.tuples(st.integers(1, 60), st.integers(50, 900), st.integers(1, 60), st.integers(50, 900))
B, NB = np.array([5, 20, 3, 6]), np.array([1100.0, 1300.0, 700.0, 500.0])


def test_breslow_day_is_that_of_statsmodels() -> None:
    """An odds ratio of rare events is a ratio of rates."""
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    n, m = NA * 1e7, NB * 1e7
    both = tables.StratifiedTable([np.array([[x, k - x], [y, j - y]]) for x, k, y, j in zip(A, n, B, m, strict=True)])
    expected = both.test_equal_odds(adjust=True)
    found = heterogeneity(A, n, B, m)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-5)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-5)
    assert found.common == pytest.approx(mantel_haenszel(A, NA, B, NB).estimate)
    assert (found.df, found.n_strata, found.left_out) == (3, 4, 0)


def test_likelihood_ratio_is_the_deviance_of_a_poisson_regression() -> None:
    sm = pytest.importorskip("statsmodels.api")
    k = len(A)
    strata = np.tile(np.eye(k), (2, 1))
    design = np.column_stack([strata, np.repeat([1.0, 0.0], k)])
    fit = sm.GLM(
        np.concatenate([A, B]), design, family=sm.families.Poisson(), offset=np.log(np.concatenate([NA, NB]))
    ).fit(tol=1e-12)
    found = heterogeneity(A, NA, B, NB, method="likelihood-ratio")
    assert found.statistic == pytest.approx(fit.deviance, rel=1e-8)
    assert found.common == pytest.approx(np.exp(fit.params[-1]), rel=1e-8)
    assert found.p_value == pytest.approx(stats.chi2.sf(fit.deviance, k - 1), rel=1e-7)
    # at the most likely ratio the score statistic is Pearson's
    assert heterogeneity(A, NA, B, NB).statistic == pytest.approx(fit.pearson_chi2, rel=0.02)


def test_cochran_s_q_is_that_of_a_meta_analysis() -> None:
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    effect, variance = np.log(A / NA / (B / NB)), 1 / A + 1 / B
    expected = meta.combine_effects(effect, variance)
    found = heterogeneity(A, NA, B, NB, method="cochran-q", group="Black", reference="White")
    assert found.statistic == pytest.approx(expected.q)
    assert found.i_squared == pytest.approx(max(0.0, 1 - 3 / expected.q))
    assert found.common == pytest.approx(np.exp(expected.mean_effect_fe))
    assert (found.lowest, found.highest) == pytest.approx((np.exp(effect).min(), np.exp(effect).max()))
    said = found.sentence()
    for part in ("Black beside White", "4 strata", "55 and 34 events", "Cochran's Q", "on 3", "may share"):
        assert part in said, part


@pytest.mark.parametrize("method", ["breslow-day", "likelihood-ratio", "cochran-q"])
def test_p_values_are_even_where_strata_agree(method: str) -> None:
    rng = np.random.default_rng(1)
    n, m = np.array([900.0, 2000.0, 600.0, 1500.0, 1000.0]), np.array([1500.0, 900.0, 700.0, 2500.0, 800.0])
    rate = np.array([0.03, 0.05, 0.08, 0.02, 0.06])
    p = [
        heterogeneity(rng.poisson(2.0 * rate * n), n, rng.poisson(rate * m), m, method=method).p_value  # type: ignore[arg-type]
        for _ in range(1500)
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.018)
    assert np.mean(p) == pytest.approx(0.5, abs=0.03)
    apart = heterogeneity((np.array([6.0, 2, 1, 1, 0.5]) * rate * n).round(), n, (rate * m).round(), m, method=method)  # type: ignore[arg-type]
    assert apart.p_value < 1e-6
    assert "do not share one ratio" in apart.sentence()
    assert "below 0.001" in apart.sentence()


@settings(max_examples=60, deadline=None)
@given(st.lists(STRATUM, min_size=2, max_size=7), st.floats(0.01, 100))
def test_units_order_and_sides_change_nothing(strata: list[tuple[int, int, int, int]], unit: float) -> None:
    a, n, b, m = (np.array(v, float) for v in zip(*strata, strict=True))
    for method in ("breslow-day", "likelihood-ratio", "cochran-q"):
        one = heterogeneity(a, n, b, m, method=method)  # type: ignore[arg-type]
        for other in (
            heterogeneity(a, unit * n, b, unit * m, method=method),  # type: ignore[arg-type]
            heterogeneity(a[::-1], n[::-1], b[::-1], m[::-1], method=method),  # type: ignore[arg-type]
        ):
            assert other.statistic == pytest.approx(one.statistic, rel=1e-6, abs=1e-7)
        turned = heterogeneity(b, m, a, n, method=method)  # type: ignore[arg-type]
        assert turned.statistic == pytest.approx(one.statistic, rel=1e-6, abs=1e-7)
        assert turned.common == pytest.approx(1 / one.common, rel=1e-9)
        assert 0.0 <= one.i_squared < 1.0


def test_strata_without_events_or_exposure_are_left_out_and_counted() -> None:
    a, b = np.append(A, [0, 0, 3]), np.append(B, [0, 0, 0])
    n, m = np.append(NA, [100.0, 0.0, 50.0]), np.append(NB, [100.0, 80.0, 60.0])
    found = heterogeneity(a, n, b, m)
    assert (found.n_strata, found.left_out) == (5, 2)
    assert found.sentence().endswith("2 strata without events or exposure are left out.")
    q = heterogeneity(a, n, b, m, method="cochran-q")
    assert (q.n_strata, q.left_out) == (4, 3)
    assert q.statistic == heterogeneity(A, NA, B, NB, method="cochran-q").statistic
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.to_frame()["n_strata"].tolist() == [5]


def test_a_comparison_over_strata_carries_it() -> None:
    rows = [
        (g, year, x, n)
        for g, counts, sizes in (("Black", A, NA), ("White", B, NB))
        for year, x, n in zip(range(2016, 2020), counts, sizes, strict=True)
    ]
    t = pd.DataFrame(rows, columns=["group", "year", "events", "residents"])
    for pooling in ("pooled", "mantel_haenszel", "mean_of_ratios"):
        found = compare(t, reference="White", strata=["year"], pooling=pooling)  # type: ignore[arg-type]
        (test,) = found.heterogeneity
        assert test == heterogeneity(A, NA, B, NB, group="Black", reference="White")
        assert found.sentences()[-1] == test.sentence()
    assert compare(t.drop(columns="year").groupby("group", as_index=False).sum(), reference="White").heterogeneity == ()
    t["events"] = t["events"].where(t["group"] == "White", 0)  # nothing to test
    assert compare(t, reference="White", strata=["year"]).heterogeneity == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "breslow"}, "expected one of"),
        ({"a": [1, -1]}, "a"),
        ({"na": [10.0, np.nan]}, "na, stratum 1: found nan"),
        ({"na": [10.0, 0.0]}, "a, stratum 1: 2 events without exposure"),
        ({"nb": [10.0, -3.0]}, "nb, stratum 1: found -3"),
        ({"na": "x"}, "na: expected numbers"),
        ({"a": [1, 2, 3]}, "one value per stratum"),
        ({"a": [0, 0]}, "expected some of both"),
        ({"a": [0, 2], "b": [0, 3]}, "1 of 2 strata can be compared"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"a": [1, 2], "na": [10.0, 10.0], "b": [3, 4], "nb": [10.0, 10.0], **change}
    with pytest.raises(InputError, match=message):
        heterogeneity(**arguments)  # type: ignore[arg-type]
