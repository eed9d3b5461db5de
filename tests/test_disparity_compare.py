"""Comparison of groups: pooling rules against plain arithmetic, standardisation, decomposition, and what is refused."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rtmdx.disparity.comparison import POOLINGS, compare
from rtmdx.disparity.decompose import das_gupta, kitagawa
from rtmdx.disparity.intervals import rate_interval, ratio_interval
from rtmdx.disparity.results import Estimate, PersonRatio, PlaceRatio, Rate, Ratio, ResultTable, enforcement_flags
from rtmdx.disparity.standardise import direct_rate, indirect_ratio, mantel_haenszel
from rtmdx.errors import InputError


def table(seed: int = 1, areas: int = 4, years: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (g, f"area {a}", 2013 + t, int(rng.poisson(r * 30)) + 1, int(rng.integers(800, 4000)))
        for g, r in (("Black", 3.0), ("Latino", 1.5), ("White", 1.0))
        for a in range(areas)
        for t in range(years)
    ]
    return pd.DataFrame(rows, columns=["group", "area", "year", "events", "residents"])


def test_pooled_is_the_ratio_of_sums() -> None:
    t = table()
    found = compare(t, reference="White")
    assert [r.group for r in found.ratios] == ["Black", "Latino"]
    sums = t.groupby("group")[["events", "residents"]].sum()
    for r in found.ratios:
        assert isinstance(r, PersonRatio)
        rate = sums.loc[r.group, "events"] / sums.loc[r.group, "residents"]
        assert r.estimate == pytest.approx(rate / (sums.loc["White", "events"] / sums.loc["White", "residents"]))
        limits = ratio_interval(*sums.loc[r.group], *sums.loc["White"])
        assert (r.low, r.high) == tuple(float(v) for v in limits)
        assert (r.events, r.reference_events) == (sums.loc[r.group, "events"], sums.loc["White", "events"])
    rate = found.rates[0]
    low, high = rate_interval(rate.events, rate.exposure)
    assert (rate.low, rate.high) == pytest.approx((1000 * float(low), 1000 * float(high)))


def test_means_over_strata_are_what_their_names_say() -> None:
    t = table()
    years = t.groupby(["group", "year"])[["events", "residents"]].sum()
    rate = (years["events"] / years["residents"]).unstack()
    by_ratio = compare(t, reference="White", pooling="mean_of_ratios", strata=["year"])
    by_rate = compare(t, reference="White", pooling="ratio_of_mean_rates", strata=["year"])
    assert by_ratio.n_strata == by_rate.n_strata == 3
    for a, b in zip(by_ratio.ratios, by_rate.ratios, strict=True):
        assert a.estimate == pytest.approx((rate.loc[a.group] / rate.loc["White"]).mean())
        assert b.estimate == pytest.approx(rate.loc[b.group].mean() / rate.loc["White"].mean())
        assert a.low < a.estimate < a.high


def test_limits_of_the_means_cover_as_often_as_they_say() -> None:
    """Counts drawn again and again: 95 % of the intervals hold the truth, to three standard errors."""
    rng = np.random.default_rng(3)
    exposure = np.array([[900.0, 1500.0, 700.0], [2000.0, 1000.0, 1800.0]])
    rate = np.array([[0.05, 0.06, 0.04], [0.02, 0.03, 0.025]])
    truth = {"mean_of_ratios": (rate[0] / rate[1]).mean(), "ratio_of_mean_rates": rate[0].mean() / rate[1].mean()}
    inside = dict.fromkeys(truth, 0)
    n = 400
    for _ in range(n):
        x = rng.poisson(rate * exposure)
        rows = [("a b"[2 * g], y, x[g, y], exposure[g, y]) for g in range(2) for y in range(3)]
        t = pd.DataFrame(rows, columns=["group", "year", "events", "residents"])
        for pooling, value in truth.items():
            r = compare(t, reference="b", pooling=pooling, strata=["year"]).ratios[0]
            inside[pooling] += r.low <= value <= r.high
    for share in inside.values():
        assert abs(share / n - 0.95) < 3 * np.sqrt(0.95 * 0.05 / n)


def test_one_stratum_is_the_same_by_every_rule() -> None:
    t = table(areas=1, years=1)
    found = [compare(t, reference="White", pooling=p, strata=["year"]).ratios[0].estimate for p in POOLINGS]
    assert found == pytest.approx([found[0]] * len(found))


def test_mantel_haenszel_is_that_of_statsmodels() -> None:
    """A rate ratio is the limit of the risk ratio of rare events."""
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    a, na, b, nb = [12, 30, 9], [1000, 900, 800], [5, 20, 3], [1100, 1300, 700]
    found = mantel_haenszel(a, np.array(na) * 1e7, b, np.array(nb) * 1e7)
    both = tables.StratifiedTable(
        [np.array([[x, n * 1e7 - x], [y, m * 1e7 - y]]) for x, n, y, m in zip(a, na, b, nb, strict=True)]
    )
    assert found.estimate == pytest.approx(both.riskratio_pooled, rel=1e-6)
    z = stats.norm.ppf(0.975)
    x, n, y, m = (np.array(v, float) for v in (a, na, b, nb))
    total = n + m
    se = np.sqrt(((x + y) * n * m / total**2).sum() / ((x * m / total).sum() * (y * n / total).sum()))
    assert (found.low, found.high) == pytest.approx(tuple(found.estimate * np.exp([-z * se, z * se])))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(100, 9000), st.integers(1, 9000)), min_size=1, max_size=8))
def test_standardising_to_its_own_make_up_changes_nothing(strata: list[tuple[int, int, int]]) -> None:
    x, n, s = (np.array(v) for v in zip(*strata, strict=True))
    for method in ("fay-feuer", "dobson"):
        own = direct_rate(x, n, n, method=method)
        assert own.estimate == pytest.approx(x.sum() / n.sum(), abs=1e-15)
        low, high = (float(v) for v in rate_interval(x.sum(), n.sum()))
        assert own.low == pytest.approx(low, rel=1e-6, abs=1e-12)
        assert own.high == pytest.approx(high, rel=1e-6, abs=1e-12)
        other = direct_rate(x, n, s, method=method)
        assert other.low + 1e-12 >= 0
        assert other.low <= other.estimate + 1e-15 <= other.high + 1e-12
    if x.sum():
        assert indirect_ratio(x, n, x, n).estimate == pytest.approx(1.0)


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    st.integers(0, 2**32),
)
def test_parts_of_a_difference_sum_to_it(first: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    second = rng.uniform(0.01, 100, len(first))
    found = das_gupta(first, second)
    size = max(abs(found.rate_a), abs(found.rate_b))
    assert sum(found.effects.values()) == pytest.approx(found.difference, abs=1e-12 * size)
    weights = rng.uniform(0, 5, (2, len(first))) + 1e-3
    split = kitagawa(first, weights[0], second, weights[1])
    assert sum(split.effects.values()) == pytest.approx(split.difference, abs=1e-12 * 100)
    assert split.to_frame()["cause"].tolist() == ["rates", "composition"]


def test_a_result_says_its_counts_interval_benchmark_and_flags() -> None:
    t = pd.DataFrame(
        [("Black", 8632, 299152), ("White", 3317, 363092)], columns=["group", "uses of force", "residents"]
    )
    r = compare(t, reference="White", events="uses of force").ratios[0]
    said = r.sentence()
    for part in (
        "3.16 times",
        "3.03 to 3.29",
        "8,632",
        "299,152",
        "3,317",
        "363,092",
        "residents",
        "pooled",
        "unadjusted",
    ):
        assert part in said, part
    assert "enforcement" in r.flags
    assert "where police act" in said
    data = json.loads(r.to_json())
    assert data["type"] == "PersonRatio"
    assert data["method"] == "midp"
    assert set(compare(t, reference="White", events="uses of force").ratios.to_frame().columns) >= {
        "estimate", "low", "high", "level", "method", "flags", "group", "reference", "events", "benchmark", "pooling",
    }  # fmt: skip


def test_few_events_and_wide_intervals_are_flagged() -> None:
    t = pd.DataFrame([("a", 9, 1000), ("b", 0, 1000), ("c", 500, 1000)], columns=["group", "events", "residents"])
    a, c = compare(t, reference="b").ratios
    assert a.unreliable
    assert a.flags == ("no-events", "wide-interval")
    assert np.isinf(a.high)
    assert a.to_dict()["high"] == "inf"
    assert compare(t, reference="c").ratios[0].flags == ("few-events",)
    assert not compare(t, reference="c").rates[2].flags
    assert c.estimate == np.inf


def test_persons_and_places_do_not_mix() -> None:
    t = table()
    person = compare(t, reference="White").ratios[0]
    place = compare(t, reference="White", kind="place").ratios[0]
    assert isinstance(place, PlaceRatio)
    assert "in the places of Black" in place.sentence()
    with pytest.raises(InputError, match="PersonRatio and PlaceRatio"):
        ResultTable([person, place])
    with pytest.raises(InputError, match="either a PersonRatio or a PlaceRatio"):
        Ratio(**{f.name: getattr(person, f.name) for f in fields(person)})


def test_outcomes_made_by_enforcement_are_known_by_name_or_told() -> None:
    assert enforcement_flags("traffic stops") == ("enforcement",)
    assert enforcement_flags("Drug arrests") == ("enforcement",)
    assert enforcement_flags("homicide") == ()
    assert enforcement_flags("calls", True) == ("enforcement",)
    assert enforcement_flags("arrests", False) == ()


def test_bad_tables_are_refused_with_one_clear_error() -> None:
    t = table()
    with pytest.raises(InputError, match="no column 'population'; it has group"):
        compare(t, reference="White", benchmark="population")
    with pytest.raises(InputError, match="reference: found 'Asian', expected one of 'Black', 'Latino', 'White'"):
        compare(t, reference="Asian")
    for column, value, said in (("events", -2, "row 5, events: found -2"), ("events", 1.5, "whole number"),
                                ("residents", -1, "row 5, residents"), ("residents", np.nan, "found nan")):  # fmt: skip
        bad = t.copy()
        bad[column] = bad[column].astype(float)
        bad.loc[5, column] = value
        with pytest.raises(InputError, match=said):
            compare(bad, reference="White")
    with pytest.raises(InputError, match=r"a second row of group 'Black', area 'area 0', year"):
        compare(pd.concat([t, t.iloc[:1]]), reference="White", strata=["area", "year"])
    with pytest.raises(InputError, match=r"Black has no row for year"):
        compare(
            t[~((t.group == "Black") & (t.year == 2014))], reference="White", pooling="mean_of_ratios", strata=["year"]
        )
    none = t.copy()
    none.loc[none.group == "Black", "residents"] = 0
    with pytest.raises(InputError, match="Black: .* events but no residents"):
        compare(none, reference="White")
    with pytest.raises(InputError, match="needs strata"):
        compare(t, reference="White", pooling="mean_of_ratios")
    with pytest.raises(InputError, match="pooling: found 'mean', expected one of"):
        compare(t, reference="White", pooling="mean")  # type: ignore[arg-type]
    zero = t.copy()
    zero.loc[(zero.group == "White") & (zero.year == 2013), "events"] = 0
    with pytest.raises(InputError, match=r"Black, 2013: .* not defined"):
        compare(zero, reference="White", pooling="mean_of_ratios", strata=["year"])
    unnamed = t.copy()
    unnamed.loc[3, "group"] = None
    with pytest.raises(InputError, match="row 3: no group"):
        compare(unnamed, reference="White")
    with pytest.raises(InputError, match="no rows"):
        compare(t.iloc[:0], reference="White")
    with pytest.raises(InputError, match="expected numbers"):
        compare(t.assign(events="many"), reference="White")


def test_bad_strata_are_refused() -> None:
    with pytest.raises(InputError, match="one value per stratum"):
        direct_rate([1, 2], [10, 10], [1, 2, 3])
    with pytest.raises(InputError, match="nothing to expect"):
        indirect_ratio([1], [10], [0], [10])
    with pytest.raises(InputError, match="expected some of both"):
        mantel_haenszel([0, 0], [1, 1], [3, 2], [1, 1])
    with pytest.raises(InputError, match="expected the same in both"):
        das_gupta({"a": 1.0}, {"b": 1.0})
    with pytest.raises(InputError, match="not all 0"):
        kitagawa([1, 2], [0, 0], [1, 2], [1, 1])
    e = Estimate(estimate=1.0, low=0.5, high=2.0, level=0.95, method="exact")
    assert e.sentence() == "1.00 (95 % interval 0.50 to 2.00)."
    with pytest.raises(InputError, match="2 labels were given for 1 results"):
        ResultTable([e], [{}, {}])
    assert Rate(
        estimate=1.0, low=0.5, high=2.0, level=0.9, method="exact", group="x", events=10, exposure=10.0, unit="calls"
    ).sentence().startswith("x: 1.00 per 1 calls (90 % interval")  # fmt: skip
