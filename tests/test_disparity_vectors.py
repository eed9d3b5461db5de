"""Disparity against published worked examples, each read from the file with its tolerance."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdx.disparity.decompose import das_gupta
from rtmdx.disparity.indices import disparity_index, equity_score, share_ratio
from rtmdx.disparity.intervals import rate_interval, ratio_interval, ratio_test
from rtmdx.disparity.standardise import direct_rate, indirect_ratio
from worked_examples import example


def test_d1_rates_and_ratio_of_st_louis() -> None:
    e = example("D1")
    (a, b), (na, nb), per = e["inputs"]["events"], e["inputs"]["pop"], e["inputs"]["per"]
    assert [round(per * a / na, 1), round(per * b / nb, 1)] == e["expected"]["rates"]
    assert round(a / na / (b / nb), 3) == e["expected"]["ratio"]
    low, high = ratio_interval(a, na, b, nb)
    assert low < e["expected"]["ratio"] < high


def test_d2_equity_score() -> None:
    e = example("D2")
    assert equity_score(e["inputs"]["ratio"]) == e["expected"]["score"]


def test_d3_disparity_index() -> None:
    e = example("D3")
    stops, residents = e["inputs"]["stops"], e["inputs"]["pop"]
    assert disparity_index(stops, residents) == pytest.approx(e["expected"]["unrounded"], abs=5e-9)
    assert np.round(disparity_index(stops, residents, decimals=2), 2).tolist() == e["expected"]["di"]


def test_d4_search_rates() -> None:
    e = example("D4")
    searches, stops = np.array(e["inputs"]["searches"]), np.array(e["inputs"]["stops"])
    assert np.round(100 * searches / stops, 2).tolist() == e["expected"]["pct"]
    assert round(100 * searches.sum() / stops.sum(), 2) == e["expected"]["total"]


def test_d6_ratio_of_shares() -> None:
    e = example("D6")
    ratio = share_ratio(tuple(e["inputs"]["event_share"]), tuple(e["inputs"]["pop_share"]))
    assert ratio == pytest.approx(e["expected"]["ratio"], abs=5e-5)
    assert round(ratio, 1) == e["expected"]["published"]


def test_d8_does_not_reproduce() -> None:
    """The published 4.3 is "per year": pooled shares of the public figures give 4.11 to 4.16, as the file says."""
    e = example("D8")
    assert e["status"] == "does not reproduce"
    low, high = (float(v) for v in e["inputs"]["event_share"][0].split("-"))
    found = [share_ratio((v, e["inputs"]["event_share"][1]), tuple(e["inputs"]["pop_share"])) for v in (low, high)]
    assert "-".join(f"{v:.2f}" for v in found) == e["expected"]["ratio"]
    assert max(found) < e["expected"]["published"]


@pytest.mark.parametrize(("name", "method", "tolerance"), [("C1", "score", 5e-6), ("C2", "minlike", 2e-3)])
def test_c_ratio_intervals(name: str, method: str, tolerance: float) -> None:
    e = example(name)
    i = e["inputs"]
    found = ratio_interval(i["a"], i["na"], i["b"], i["nb"], level=1 - i["alpha"], method=method)
    assert [float(v) for v in found] == pytest.approx(e["expected"], abs=tolerance)


def test_c3_minlike_tests() -> None:
    e = example("C3")
    i = e["inputs"]
    where = (i["a"], i["na"], i["b"], i["nb"])
    assert float(ratio_test(*where, value=i["value"], method="minlike")) == pytest.approx(
        e["expected"]["exact_minlike"], abs=1e-12
    )
    assert float(ratio_test(*where, value=i["value"], method="minlike-midp")) == pytest.approx(
        e["expected"]["midp_minlike"], abs=1e-12
    )


def test_c5_one_sided_tests() -> None:
    e = example("C5")
    i = e["inputs"]
    names = {"wald": "wald", "score": "score", "sqrt": "sqrt", "exact_cond": "exact", "cond_midp": "midp"}
    for theirs, ours in names.items():
        p = ratio_test(i["a"], i["na"], i["b"], i["nb"], value=i["value"], alternative=i["alternative"], method=ours)
        assert float(p) == pytest.approx(e["expected"][theirs], abs=e["tolerance"]), theirs


def test_c6_e_test() -> None:
    e = example("C6")
    for (a, b), expected in zip(e["inputs"]["k"], e["expected"], strict=True):
        assert float(ratio_test(a, 1, b, 1, method="etest")) == pytest.approx(expected, abs=e["tolerance"])


def test_c7_exact_limits_of_a_rate() -> None:
    e = example("C7")
    found = rate_interval(e["inputs"]["x"], e["inputs"]["n"])
    assert [float(v) for v in found] == pytest.approx(e["expected"], abs=1e-12)


def test_c8_byar() -> None:
    e = example("C8")
    found = np.stack(rate_interval(e["inputs"]["x"], 1, level=e["inputs"]["conf"], method="byar"), axis=1)
    assert found == pytest.approx(np.array(e["expected"]), abs=1e-6)


def test_c10_exact_below_ten() -> None:
    e = example("C10")
    found = np.stack(rate_interval(e["inputs"]["x"], e["inputs"]["n"], method="phe"), axis=1) * e["inputs"]["per"]
    assert found == pytest.approx(np.array(e["expected"]), abs=1e-6)


def test_s1_standardised_ratio() -> None:
    """The file gives no age bands, only what is expected in all: the ratio's limits follow from that."""
    e = example("S1")
    expected = e["expected"]["expected"]
    for smr, limits in zip(e["expected"]["smr"], e["expected"]["ci"], strict=True):
        found = indirect_ratio([round(smr * expected)], [expected], [1], [1.0], method="phe")
        assert found.estimate == pytest.approx(smr, abs=1e-6)
        assert [found.low, found.high] == pytest.approx(limits, abs=1e-6)


def test_s3_direct_standardisation() -> None:
    e = example("S3")
    i = e["inputs"]
    for r, expected in enumerate(e["expected"]):
        s = slice(4 * r, 4 * r + 4)
        found = direct_rate(i["e"][s], i["b"][s], i["std"][s])
        assert [found.estimate, found.low, found.high] == pytest.approx(expected, abs=5e-9)


def test_s4_indirect_standardisation() -> None:
    e = example("S4")
    i = e["inputs"]
    for r, expected in enumerate(e["expected"]):
        s = slice(4 * r, 4 * r + 4)
        assert indirect_ratio(i["e"][s], i["b"][s], i["s_e"][s], i["s_b"][s]).estimate == pytest.approx(
            expected, abs=1e-8
        )


@pytest.mark.parametrize("name", ["S9", "S10"])
def test_s9_s10_das_gupta(name: str) -> None:
    e = example(name)
    found = das_gupta(e["inputs"]["A"], e["inputs"]["B"])
    for pair, expected in zip(found.standardised.values(), e["expected"], strict=True):
        assert pair == pytest.approx(expected, abs=e["tolerance"])
    assert sum(found.effects.values()) == pytest.approx(found.difference, rel=1e-12)
