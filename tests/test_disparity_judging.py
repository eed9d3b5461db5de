"""Smoothing, funnels, hit rates, missing groups and adjusted p values: published examples, and other packages."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse, stats

import worked_examples
from rtmdx.disparity.funnels import funnel, funnel_limits
from rtmdx.disparity.hit_rates import outcome_test
from rtmdx.disparity.missing_groups import missing_group
from rtmdx.disparity.pvalues import adjust_pvalues
from rtmdx.disparity.smoothing import smooth, standardised_rates
from rtmdx.errors import InputError
from worked_examples import example


def areas(seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    exposure = rng.integers(50, 5000, n).astype(float)
    return rng.poisson(exposure * 0.01 * np.exp(0.5 * rng.standard_normal(n))), exposure


def test_s5_marshall() -> None:
    e = example("S5")
    pytest.importorskip("libpysal")
    import geopandas as gpd
    from libpysal.examples import get_path

    table = gpd.read_file(Path(get_path("sids2.dbf")).with_suffix(".shp"))
    found = smooth(table["SID74"].to_numpy(), table["BIR74"].to_numpy()).estimate
    assert found[: len(e["expected"])] == pytest.approx(e["expected"], abs=e["tolerance"])


def test_s7_standardised_rates() -> None:
    e = example("S7")
    found = standardised_rates(e["inputs"]["e"], e["inputs"]["b"])
    assert found[: len(e["expected"])] == pytest.approx(e["expected"], abs=e["tolerance"])


def test_s8_funnel_classes() -> None:
    e = example("S8")
    assert worked_examples.PATH is not None
    path = worked_examples.PATH.with_name(e["inputs"]["data"].split(",")[0])
    if not path.exists():
        pytest.skip(f"{path.name} of PHEindicatormethods is not at hand; put it beside worked_examples.json")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = funnel([int(r["obs"]) for r in rows], [float(r["expected"]) for r in rows], target=1)
    theirs = {"Low (0.001)": -2, "Low (0.025)": -1, "Not significant": 0, "High (0.025)": 1, "High (0.001)": 2}
    assert len(rows) == 300
    assert [theirs[r["significance"]] for r in rows] == found.classes.tolist()


def test_m1_false_discoveries() -> None:
    e = example("M1")
    for method, count in e["expected"].items():
        assert (adjust_pvalues(e["inputs"]["p"], method=method) <= e["inputs"]["q"]).sum() == count


@pytest.mark.parametrize("seed", range(4))
def test_smoothing_beside_pysal(seed: int) -> None:
    esda = pytest.importorskip("esda.smoothing")
    from libpysal.weights import W

    x, n = areas(seed)
    theirs = np.ravel(esda.Empirical_Bayes(x, n).r)
    assert smooth(x, n).estimate == pytest.approx(theirs, rel=1e-10)
    assert standardised_rates(x, n) == pytest.approx(esda.assuncao_rate(x, n), rel=1e-10)
    ring = [[(i - 1) % len(x), (i + 1) % len(x), (i + 2) % len(x)] for i in range(len(x))]
    w = W(dict(enumerate(ring)), id_order=list(range(len(x))), silence_warnings=True)
    local = np.ravel(esda.Spatial_Empirical_Bayes(x, n, w).r)
    found = smooth(x, n, neighbours=ring)
    assert found.estimate == pytest.approx(local, rel=1e-9)
    dense = np.zeros((len(x), len(x)))
    for i, own in enumerate(ring):
        dense[i, own] = 1
    for form in (dense, sparse.csr_array(dense)):
        assert smooth(x, n, neighbours=form).estimate.tolist() == found.estimate.tolist()


def test_smoothing_draws_small_areas_more_and_limits_hold_it() -> None:
    x, n = areas(9, 400)
    found = smooth(x, n)
    between = (found.estimate - found.raw) * (found.mean - found.estimate)
    assert (between >= -1e-15).all()
    order = np.argsort(n)
    assert (np.diff(found.weight[order]) >= 0).all()
    assert ((found.low < found.estimate) & (found.estimate < found.high)).all()
    a = found.mean[0] ** 2 / found.variance[0]
    exact = stats.gamma(a + x[3], scale=1 / (found.mean[0] / found.variance[0] + n[3]))
    assert [found.low[3], found.high[3]] == pytest.approx(exact.interval(0.95))
    assert found.estimate[3] == pytest.approx(exact.mean())
    assert "400 areas" in found.sentence()
    assert len(found.to_frame()) == 400


def test_equal_rates_have_nothing_but_chance() -> None:
    found = smooth([10, 20, 30], [100, 200, 300])
    assert found.estimate == pytest.approx(0.1)
    assert (found.weight == 0).all()


def test_funnel_classes_and_limits() -> None:
    rng = np.random.default_rng(4)
    expected = rng.uniform(3, 300, 4000)
    found = funnel(rng.poisson(expected), expected, target=1)
    assert (found.classes != 0).mean() == pytest.approx(0.05, abs=0.015)
    assert found.dispersion == pytest.approx(0.75, abs=0.15)  # winsorised
    wild = funnel(rng.poisson(expected * np.exp(0.5 * rng.standard_normal(4000))), expected, target=1)
    calm = funnel(wild.events, expected, target=1, overdispersion=True)
    assert wild.dispersion > 5
    assert (calm.classes != 0).mean() < 0.25 * (wild.classes != 0).mean()
    low, high = funnel_limits(expected)
    assert ((low < 1) & (high > 1)).all()
    by_curve = (found.ratio > high).astype(int) - (found.ratio < low)
    assert (by_curve == np.sign(found.classes)).mean() > 0.97
    assert "4,000 areas" in found.sentence()
    assert list(found.to_frame()["class"].unique())
    assert found.to_dict()["areas"][0]["area"] == "0"


def test_outcome_test_beside_statsmodels() -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    hits, searches = [120, 300, 41], [1000, 1900, 402]
    found = outcome_test(hits, searches, ["Black", "White", "Latino"], reference="White")
    for r, x, n in zip(found.rates, hits, searches, strict=True):
        assert (r.low, r.high) == pytest.approx(proportion.proportion_confint(x, n, method="wilson"))
    black = found.differences[0]
    limits = proportion.confint_proportions_2indep(120, 1000, 300, 1900, method="newcomb")
    assert (black.low, black.high) == pytest.approx(limits)
    assert black.estimate == pytest.approx(0.12 - 300 / 1900)
    assert black.p == pytest.approx(stats.fisher_exact([[120, 880], [300, 1600]]).pvalue)
    assert all("infra-marginality" in d.flags for d in found.differences)
    assert "marginal" in found.sentences()[-1]
    assert found.to_dict()["rates"][0]["type"] == "HitRate"


def test_missing_group_bounds_and_tipping_point() -> None:
    known, people = {"Black": 300, "White": 200}, {"Black": 1000, "White": 2000}
    found = missing_group(known, people, group="Black", reference="White", missing=600)
    out, like, lowest, highest = found.ratios
    assert out.estimate == pytest.approx(3.0)
    assert like.estimate == pytest.approx(3.0)
    assert lowest.estimate == pytest.approx(300 / 1000 / (800 / 2000))
    assert highest.estimate == pytest.approx(900 / 1000 / (200 / 2000))
    assert (found.low, found.high) == (lowest.low, highest.high)
    s = found.tipping_point
    assert s is not None
    assert (300 + 600 * s) / 1000 / ((200 + 600 * (1 - s)) / 2000) == pytest.approx(1)
    k = round(found.tipping_point_limit * 600)
    at, after = (
        missing_group({"Black": 300 + j, "White": 800 - j}, people, group="Black", reference="White", missing=0)
        for j in (k, k + 1)
    )
    assert at.ratios[0].low <= 1 < after.ratios[0].low
    assert "whoever they are of" in found.sentence()
    none = missing_group(known, people, group="Black", reference="White", missing=50)
    assert none.tipping_point is None
    assert none.tipping_point_limit is None
    assert "No share" in none.sentence()
    back = missing_group(known, people, group="White", reference="Black", missing=600)
    assert back.tipping_point == pytest.approx(1 - s)
    assert found.to_dict()["missing"] == 600


@pytest.mark.parametrize("seed", range(6))
def test_adjusted_p_values_beside_scipy_and_statsmodels(seed: int) -> None:
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(1 + 8 * seed) ** 3, 2)  # with ties and zeros
    for method in ("bh", "by"):
        assert adjust_pvalues(p, method=method) == pytest.approx(stats.false_discovery_control(p, method=method))
    for method in ("holm", "bonferroni"):
        assert adjust_pvalues(p, method=method) == pytest.approx(multipletests(p, method=method)[1])
    assert adjust_pvalues(p.reshape(1, -1)).shape == (1, len(p))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smooth([1, 2], [1]), "expected one of each per area"),
        (lambda: smooth([0, 0], [1, 1]), "found none in any area"),
        (lambda: smooth([1, -2], [1, 1]), "events at 1: found -2"),
        (lambda: smooth([1, 2], [1, 0]), "exposure at 1: found 0"),
        (lambda: smooth([1, 2], [1, 1], neighbours=[[1]]), "found those of 1 areas, expected 2"),
        (lambda: smooth([1, 2], [1, 1], neighbours=[[1], [2]]), "neighbours of area 1: found 2"),
        (lambda: smooth([1, 2], [1, 1], neighbours=np.eye(3)), r"matrix of shape \(3, 3\)"),
        (lambda: funnel([0, 0], [1, 1]), "target: found 0"),
        (lambda: funnel([1, 2], [1, 1], names=["a"]), "names: found 1, expected 2"),
        (lambda: funnel_limits([1.0], level=2), "level: found 2"),
        (lambda: outcome_test([5], [3], ["A"], reference="A"), "A: found 5 hits of 3 searches"),
        (lambda: outcome_test([5], [9], ["A"], reference="B"), "reference: found 'B'"),
        (lambda: outcome_test([5, 1], [9, 9], ["A", "A"], reference="A"), "expected each once"),
        (lambda: outcome_test([5, 1], [9, 9], ["A"], reference="A"), "one value per group"),
        (lambda: missing_group({"A": 1}, {"A": 1}, group="A", reference="B", missing=1), "reference: found 'B'"),
        (lambda: missing_group({"A": 1}, {"A": 1}, group="A", reference="A", missing=1), "found 'A' twice"),
        (lambda: missing_group({"A": 1, "B": 1}, {"A": 1, "B": 1}, group="A", reference="B", missing=-1), "found -1"),
        (lambda: adjust_pvalues([0.1, np.nan]), "p at 1: found nan"),
        (lambda: adjust_pvalues([0.1], method="none"), "method: found 'none'"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
