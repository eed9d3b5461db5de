"""Adjusted ratios beside statsmodels' formula interface and planted effects; Dallas's use of force."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from rtmdx.disparity.adjustment import Adjusted, adjusted
from rtmdx.disparity.comparison import compare
from rtmdx.errors import FitError, InputError

pytest.importorskip("statsmodels")


def city(seed: int = 0, places: int = 300, noise: float = 0.0) -> pd.DataFrame:
    """Rates 2.0 and 1.3 times the reference's in like places; the first group lives where poverty is high."""
    rng = np.random.default_rng(seed)
    poverty = rng.uniform(0, 1, places)
    shock = np.exp(noise * rng.standard_normal(places))
    rows = []
    for group, ratio, lean in (("Black", 2.0, 1.5), ("Latino", 1.3, 0.3), ("White", 1.0, -1.5)):
        people = rng.poisson(2000 * np.exp(lean * (poverty - 0.5))) + 1
        mean = people * 0.004 * ratio * np.exp(1.2 * poverty) * shock
        rows += [
            {"group": group, "place": f"p{i}", "poverty": poverty[i], "zone": "NSEW"[i % 4], "year": 2013 + i % 3,
             "events": int(rng.poisson(mean[i])), "residents": int(people[i])}
            for i in range(places)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def run(table: pd.DataFrame, **options: object) -> Adjusted:
    return adjusted(table, **{"reference": "White", "covariates": ["poverty"], "cluster": "place", **options})  # type: ignore[arg-type]


def test_planted_ratios_come_back_and_the_crude_ones_are_pooled() -> None:
    t = city()
    found = run(t)
    for r, planted in zip(found.adjusted, (2.0, 1.3), strict=True):
        assert r.low < planted < r.high
        assert r.adjusted == "poverty"
        assert r.pooling == "regression"
    assert [r.estimate for r in found.crude] == [r.estimate for r in compare(t, reference="White").ratios]
    assert found.crude[0].estimate > found.adjusted[0].high  # poverty took its part
    assert 0 < found.explained["Black"] < 1
    assert found.dispersion == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("family", ["poisson", "negative-binomial"])
def test_beside_statsmodels_formulas(family: str) -> None:
    import statsmodels.formula.api as smf

    t = city(3, noise=0.6)
    found = run(t, family=family, covariates=["poverty", "zone"], factors=["year"])
    formula = "events ~ C(group, Treatment('White')) + poverty + C(zone) + C(year)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = (smf.poisson if family == "poisson" else smf.negativebinomial)(formula, t, exposure=t["residents"])
        codes = t["place"].astype("category").cat.codes
        theirs = model.fit(
            cov_type="cluster", cov_kwds={"groups": codes}, maxiter=2000, gtol=1e-7, method="bfgs", disp=0
        )
    for r in found.adjusted:
        name = f"C(group, Treatment('White'))[T.{r.group}]"
        assert np.log(r.estimate) == pytest.approx(theirs.params[name], abs=2e-5)
        from scipy import stats

        t_width = stats.t.ppf(0.975, found.n_clusters - 1) * theirs.bse[name]
        assert np.log(r.high / r.estimate) == pytest.approx(t_width, rel=2e-3)
    if family == "negative-binomial":
        assert found.alpha == pytest.approx(theirs.params["alpha"], rel=1e-3)
        assert found.dispersion < run(t).dispersion
    assert len(found.covariates) == 1 + 3 + 2


@pytest.mark.parametrize("family", ["poisson", "negative-binomial"])
def test_the_difference_is_split_exactly(family: str) -> None:
    t = city(5, noise=0.5)
    found = run(t, family=family)
    sums = t.groupby("group")[["events", "residents"]].sum()
    rate = sums["events"] / sums["residents"]
    for group, d in found.decompositions.items():
        assert d.difference == pytest.approx(rate[group] - rate["White"], rel=1e-12)
        assert sum(d.effects.values()) == pytest.approx(d.difference, rel=1e-12)
        if family == "poisson":
            assert d.effects["fit"] == pytest.approx(0, abs=1e-6 * abs(d.difference))


def test_errors_are_robust_to_places() -> None:
    """Rows of one place share a shock: taking them for independent would narrow the interval."""
    t = city(7, places=80, noise=1.0)
    t["row"] = np.arange(len(t))
    per_group = pd.concat([t.assign(part=p, row=t["row"] + 1000 * p) for p in range(3)], ignore_index=True)
    one, wide, narrow = run(t), run(per_group, cluster="place"), run(per_group, cluster="row")
    assert wide.adjusted[1].estimate == pytest.approx(narrow.adjusted[1].estimate)
    (_, low, high), (_, a, b) = (next(iter(found.covariates.values())) for found in (wide, narrow))
    assert np.log(high / low) > 1.7 * np.log(b / a)
    spread = [np.log(found.adjusted[1].high / found.adjusted[1].low) for found in (one, wide)]
    assert spread[0] == pytest.approx(spread[1], rel=0.02)  # rows told three times say nothing more


def test_places_without_residents_are_refused_or_counted() -> None:
    t = city(2)
    t.loc[[0, 5], "residents"] = 0
    t.loc[[0, 5], "events"] = [4, 3]
    t.loc[9, ["residents", "events"]] = 0
    with pytest.raises(InputError, match=r"row 0: 4 events of Black but no residents, as in 1 other rows"):
        run(t)
    found = run(t, without_exposure="drop")
    assert found.left_out == {"Black": 7, "Latino": 0, "White": 0}
    assert found.n_rows == len(t) - 3
    assert "7 of Black" in found.sentences()[-1]


def test_forms_and_flags() -> None:
    found = run(city(places=12), outcome="use of force")
    frame = found.to_frame()
    assert list(frame["group"]) == ["Black", "Latino"]
    assert {"crude", "crude_low", "adjusted_high", "explained"} <= set(frame.columns)
    assert {"few-clusters", "enforcement"} <= set(found.adjusted[0].flags)
    assert "fewer than 30 places" in found.adjusted[0].sentence()
    assert found.to_dict()["n_clusters"] == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariates": ["wealth"]}, "no column 'wealth'"),
        ({"covariates": []}, "covariates: found none"),
        ({"covariates": ["one"]}, "covariate 'one': found 1 everywhere"),
        ({"covariates": ["poverty", "twice"]}, r"covariate 'twice .* is a combination"),
        ({"covariates": ["hole"]}, "row 3: no hole"),
        ({"reference": "Martian"}, "reference: found 'Martian'"),
        ({"family": "gaussian"}, "family: found 'gaussian'"),
        ({"cluster": "one"}, "cluster 'one': found 1 value"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    t = city()
    t["one"], t["twice"] = 1, 2 * t["poverty"] + 3
    t["hole"] = np.where(np.arange(len(t)) == 3, np.nan, t["poverty"])
    with pytest.raises(InputError, match=message):
        run(t, **change)


def test_a_group_without_events_has_no_estimate() -> None:
    t = city()
    t.loc[t["group"] == "Latino", "events"] = 0
    with pytest.raises(FitError, match="has no events"):
        run(t)
