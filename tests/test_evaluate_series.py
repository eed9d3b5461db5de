"""Interrupted series: statsmodels' own fits, numerical derivatives and simulation are the oracle."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rtmdx.errors import FitError, InputError
from rtmdx.evaluate import interrupted_series

sm = pytest.importorskip("statsmodels.api")
N, START = 60, 36


def series(seed: int = 0, level: float = 0.8, season: float = 0.2, mean: float = 60.0) -> Any:
    rng = np.random.default_rng(seed)
    t = np.arange(N)
    mu = mean * np.exp(-0.004 * t + np.log(level) * (t >= START) + season * np.cos(2 * np.pi * t / 12))
    return rng.poisson(mu)


def design(slope: bool = True, season: bool = True) -> Any:
    t = np.arange(N, dtype=float)
    post = (t >= START).astype(float)
    columns = [np.ones(N), t - START, post]
    columns += [post * (t - START)] if slope else []
    columns += [np.cos(2 * np.pi * t / 12), np.sin(2 * np.pi * t / 12)] if season else []
    return np.column_stack(columns)


def test_poisson_fit_is_that_of_statsmodels() -> None:
    y, size = series(), np.linspace(28, 31, N)
    found = interrupted_series(y, START, season=12, exposure=size, lags=4)
    fit = sm.GLM(y, design(), family=sm.families.Poisson(), offset=np.log(size)).fit(
        cov_type="HAC", cov_kwds={"maxlags": 4}
    )
    for i, name in ((1, "trend"), (2, "level"), (3, "slope")):
        term = found.term(name)
        assert term.estimate == pytest.approx(np.exp(fit.params[i]), rel=1e-7)
        assert (term.low, term.high) == pytest.approx(tuple(np.exp(fit.conf_int()[i])), rel=1e-6)
        assert term.p == pytest.approx(fit.pvalues[i], rel=1e-5)
    np.testing.assert_allclose(found.fitted, fit.fittedvalues, rtol=1e-7)
    other = design().copy()
    other[:, 2:4] = 0
    predicted = fit.get_prediction(other, offset=np.log(size)).summary_frame(alpha=0.05)
    np.testing.assert_allclose(found.counterfactual[START:], predicted["mean"][START:], rtol=1e-6)
    np.testing.assert_allclose(found.counterfactual_low[START:], predicted["mean_ci_lower"][START:], rtol=1e-6)
    assert np.isnan(found.counterfactual[:START]).all()
    # the score equations: what is fitted after the start sums to what was observed
    assert found.expected - found.estimate == pytest.approx(y[START:].sum(), rel=1e-7)


@pytest.mark.parametrize("family", ["poisson", "ols", "negative-binomial"])
def test_interval_of_the_sum_is_the_delta_method(family: Any) -> None:
    y = series(seed=3)
    found = interrupted_series(y, START, season=12, family=family, lags=2)
    x, other = design(), design()
    other[:, 2:4] = 0
    if family == "ols":
        fit = sm.OLS(y, x).fit(cov_type="HAC", cov_kwds={"maxlags": 2})
    else:
        law = sm.families.Poisson() if family == "poisson" else sm.families.NegativeBinomial(alpha=found.alpha)
        fit = sm.GLM(y, x, family=law).fit(cov_type="HAC", cov_kwds={"maxlags": 2})

    def averted(beta: Any) -> float:
        link = (lambda e: e) if family == "ols" else np.exp
        return float((link(other @ beta) - link(x @ beta))[START:].sum())

    steps = 1e-5 * np.maximum(np.abs(fit.params), 1e-3)
    gradient = np.array(
        [(averted(fit.params + np.eye(6)[i] * h) - averted(fit.params - np.eye(6)[i] * h)) / (2 * h)
         for i, h in enumerate(steps)]
    )  # fmt: skip
    se = np.sqrt(gradient @ fit.cov_params() @ gradient)
    assert found.estimate == pytest.approx(averted(fit.params), rel=1e-5)
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(se, rel=1e-4)
    value, low, high = found.share
    assert value == pytest.approx(found.estimate / found.expected)
    assert low < value < high


def test_negative_binomial_dispersion_is_found() -> None:
    rng = np.random.default_rng(5)
    y = rng.negative_binomial(4, 4 / (4 + series(seed=5).clip(1)))
    found = interrupted_series(y, START, season=12, family="negative-binomial", slope_change=False)
    fit = sm.NegativeBinomial(y, design(slope=False)).fit(disp=0, maxiter=500, method="bfgs")
    assert found.alpha == pytest.approx(fit.params[-1], rel=1e-2)
    assert found.term("level").estimate == pytest.approx(np.exp(fit.params[2]), rel=1e-3)
    assert "dispersion" in interrupted_series(y, START, season=12).flags


def test_checks_are_those_of_statsmodels() -> None:
    from statsmodels.stats.diagnostic import acorr_ljungbox
    from statsmodels.stats.stattools import durbin_watson

    y = series(seed=2)
    found = interrupted_series(y, START, season=12)
    residual = (y - found.fitted) / np.sqrt(found.fitted)
    assert found.checks.durbin_watson == pytest.approx(durbin_watson(residual))
    expected = acorr_ljungbox(residual - residual.mean(), lags=[found.checks.lags])["lb_pvalue"].iloc[0]
    assert found.checks.ljung_box_p == pytest.approx(expected)
    assert found.checks.dispersion == pytest.approx((residual**2).sum() / (N - 6))


def test_autocorrelation_is_flagged() -> None:
    rng = np.random.default_rng(0)
    noise = np.zeros(N)
    for t in range(1, N):
        noise[t] = 0.8 * noise[t - 1] + rng.normal(0, 0.15)
    y = rng.poisson(200 * np.exp(noise))
    found = interrupted_series(y, START)
    assert "autocorrelation" in found.flags
    assert "Note" in found.sentence()


def test_coverage_of_events_averted() -> None:
    t = np.arange(N)
    cf = 60 * np.exp(-0.004 * t + 0.2 * np.cos(2 * np.pi * t / 12))
    truth = 0.2 * cf[START:].sum()
    hits = 0
    for seed in range(200):
        found = interrupted_series(series(seed=100 + seed), START, season=12, slope_change=False, lags=0)
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 200 <= 0.985


def test_labels_transition_and_exposure() -> None:
    months = [m.date() for m in pd.date_range("2015-01-01", periods=N, freq="MS")]
    y = pd.Series(series(), index=months)
    by_label = interrupted_series(y, dt.date(2018, 1, 1), season=12)
    assert by_label.start == START
    assert by_label.estimate == interrupted_series(y.to_numpy(), START, season=12).estimate
    assert interrupted_series(y, dt.date(2017, 12, 15), season=12).start == START  # the next period to begin
    without = interrupted_series(y, dt.date(2018, 1, 1), season=12, transition=3)
    assert without.observed == y.iloc[START + 3 :].sum()
    assert not without.used[START : START + 3].any()
    changed = y.copy()
    changed.iloc[START + 1] = 10_000  # a period that is left out has no say
    assert interrupted_series(changed, dt.date(2018, 1, 1), season=12, transition=3).estimate == without.estimate
    rate = interrupted_series(y, dt.date(2018, 1, 1), exposure=np.full(N, 7.0))
    assert rate.estimate == pytest.approx(interrupted_series(y, dt.date(2018, 1, 1)).estimate, rel=1e-7)
    assert by_label.to_frame().shape == (N, 7)
    assert by_label.to_dict()["periods"][0] == "2015-01-01"
    assert len(by_label.sentences()) == 5


def test_without_a_change_the_counterfactual_is_the_fit() -> None:
    y = np.full(24, 50)
    found = interrupted_series(y, 12, family="ols")
    assert found.estimate == pytest.approx(0, abs=1e-8)
    assert found.checks.durbin_watson == 2.0
    flat = interrupted_series(y, 12, trend=False, slope_change=False)
    assert flat.term("level").estimate == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"counts": [1, 2, -1, 4, 5]}, "counts: found -1 in period 2"),
        ({"counts": [1.5] * 20}, "counts: found 1.5 in period 0"),
        ({"counts": [1, 2]}, "expected a series of at least 4 periods"),
        ({"start": 0}, "leaves 0 periods before"),
        ({"start": 99}, "leaves 60 periods before and 0 after"),
        ({"start": "may"}, "start: found 'may'"),
        ({"level_change": False, "slope_change": False}, "there is nothing to estimate"),
        ({"season": 12, "harmonics": 7}, "harmonics: found 7, expected at most 6"),
        ({"exposure": [1, 2]}, "expected 60 positive numbers"),
        ({"exposure": np.zeros(60)}, "expected 60 positive numbers"),
        ({"periods": list(range(60, 0, -1))}, "ascending order"),
        ({"periods": [1] * 60}, "found 60 (1 different)"),
        ({"start": 58, "transition": 1, "slope_change": True}, "1 after the start"),
        ({"lags": 100}, "lags: found 100"),
    ],
)
def test_refused(change: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        interrupted_series(**({"counts": series(), "start": START} | change))
    assert said in str(caught.value)


def test_a_side_without_events_has_no_ratio() -> None:
    y = series()
    y[START:] = 0
    with pytest.raises(FitError, match="no events"):
        interrupted_series(y, START)
    assert interrupted_series(y, START, family="ols").observed == 0


def test_control_series_is_a_stacked_regression() -> None:
    y, c = series(seed=1), series(seed=2, level=0.9, mean=300.0)
    found = interrupted_series(y, START, season=12, control=c, lags=3)
    x = design()
    stacked = np.vstack([np.hstack([x, x]), np.hstack([x, 0 * x])])
    groups = np.repeat([0, 1], N)
    fit = sm.GLM(np.concatenate([y, c]), stacked, family=sm.families.Poisson()).fit(
        cov_type="hac-panel", cov_kwds={"groups": groups, "maxlags": 3, "use_correction": False}
    )
    for i, name in ((2, "control level"), (6 + 1, "trend"), (6 + 2, "level"), (6 + 3, "slope")):
        term = found.term(name)
        assert term.estimate == pytest.approx(np.exp(fit.params[i]), rel=1e-6)
        assert (term.low, term.high) == pytest.approx(tuple(np.exp(fit.conf_int()[i])), rel=1e-5)
    alone, other = interrupted_series(y, START, season=12), interrupted_series(c, START, season=12)
    assert found.term("level").estimate == pytest.approx(
        alone.term("level").estimate / other.term("level").estimate, rel=1e-6
    )
    # what would have been: the treated's own course, with the control's change
    ratio = other.fitted / np.where(np.isnan(other.counterfactual), other.fitted, other.counterfactual)
    np.testing.assert_allclose(found.counterfactual[START:], (alone.counterfactual * ratio)[START:], rtol=1e-6)
    assert "changed as its control did" in found.sentence()
    assert "control" in found.to_frame()
    assert len(found.sentences()) == 1 + 6 + 1


def test_a_change_that_both_had_is_not_averted() -> None:
    truth, hits = 0.0, 0
    for seed in range(60):
        found = interrupted_series(
            series(seed=seed), START, control=series(seed=900 + seed, mean=400.0), season=12, slope_change=False, lags=0
        )
        hits += found.low <= truth <= found.high
    assert hits >= 53
    with pytest.raises(InputError, match="found 60 \\(60 different\\), expected 5"):
        interrupted_series(series(), START, control=[1, 2, 3, 4, 5])
