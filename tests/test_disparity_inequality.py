"""Indices of inequality beside published examples and the same by their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx.disparity.inequality import atkinson, gini_generalised, kolm_pollak, theil
from rtmdx.errors import InputError
from worked_examples import example

AMOUNTS = st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=20).filter(lambda x: sum(x) > 1e-3)


@pytest.mark.parametrize("name", ["I1", "I3"])
def test_i1_i3_generalised_gini(name: str) -> None:
    """I3's caption prints .58; the closed form and the package's own code give .56, as the file says."""
    e = example(name)
    found = gini_generalised(e["inputs"]["x"])
    assert found.standard == pytest.approx(e["expected"]["standard"], abs=e["tolerance"])
    assert found.generalised == pytest.approx(e["expected"]["generalised"], abs=e["tolerance"])
    if "caption" in e["expected"]:
        assert e["status"] == "caption does not reproduce"
        assert round(found.generalised, 2) != e["expected"]["caption"]


def test_i2_generalised_gini_of_frequencies() -> None:
    e = example("I2")
    freq = e["inputs"]["freq"]
    found = gini_generalised([int(k) for k in freq], frequency=list(freq.values()), unbiased=e["inputs"]["unbiased"])
    assert found.generalised == pytest.approx(e["expected"], abs=e["tolerance"])


def test_i4_theil() -> None:
    e = example("I4")
    found = theil(e["inputs"]["y"], e["inputs"]["groups"])
    assert found.total == pytest.approx(e["expected"]["T"], abs=e["tolerance"])
    assert found.between == pytest.approx(e["expected"]["between"], abs=e["tolerance"])
    assert found.within == pytest.approx(e["expected"]["within"], abs=e["tolerance"])


def test_i6_atkinson() -> None:
    e = example("I6")
    assert atkinson(e["inputs"]["y"], e["inputs"]["eps"]) == pytest.approx(e["expected"], abs=e["tolerance"])


def test_i7_kolm_pollak() -> None:
    e = example("I7")
    assert kolm_pollak(e["inputs"]["x"]) == pytest.approx(e["expected"], abs=e["tolerance"])


@settings(max_examples=60, deadline=None)
@given(AMOUNTS)
def test_standard_gini_is_the_mean_difference(x: list[float]) -> None:
    y = np.array(x)
    expected = np.abs(y[:, None] - y).sum() / (2 * len(y) ** 2 * y.mean())
    assert gini_generalised(y).standard == pytest.approx(expected, abs=1e-10)
    values, counts = np.unique(y, return_counts=True)
    assert gini_generalised(values, frequency=counts).standard == pytest.approx(expected, abs=1e-10)


def test_generalised_gini_is_0_with_one_event_each() -> None:
    assert gini_generalised([1, 1, 1, 0, 0, 0, 0, 0, 0, 0]).generalised == pytest.approx(0.0, abs=1e-12)
    found = gini_generalised([3, 1, 5])
    assert found.generalised == found.standard


@settings(max_examples=60, deadline=None)
@given(AMOUNTS, st.data())
def test_theil_by_its_definition_and_parts(x: list[float], data: Any) -> None:
    y = np.array(x)
    groups = data.draw(st.lists(st.sampled_from("abc"), min_size=len(x), max_size=len(x)))
    found = theil(y, groups)
    r = y / y.mean()
    assert found.total == pytest.approx(np.mean([v * np.log(v) if v > 0 else 0.0 for v in r]), abs=1e-10)
    assert found.between + found.within == pytest.approx(found.total, abs=1e-10)
    weighted = theil(y, groups, weights=np.full(len(y), 3.0))
    assert weighted.between == pytest.approx(found.between, abs=1e-10)


def test_atkinson_weights_and_zeros() -> None:
    assert atkinson([1, 2], 2.0, weights=[1, 3]) == pytest.approx(atkinson([1, 2, 2, 2], 2.0))
    assert atkinson([0, 1], [1.0, 2.0]).tolist() == [1.0, 1.0]
    assert atkinson([4, 4, 4], [0.0, 0.5, 1.0, 3.0]) == pytest.approx([0, 0, 0, 0], abs=1e-12)


def test_kolm_pollak_is_unmoved_by_a_shift_and_survives_large_values() -> None:
    x = np.array([1.0, 5.0, 9.0])
    assert kolm_pollak(x + 1e4) == pytest.approx(kolm_pollak(x), abs=1e-9)
    assert np.isfinite(kolm_pollak([0.0, 5000.0]))
    assert kolm_pollak(x, weights=[1, 2, 1]) == pytest.approx(kolm_pollak([1, 5, 5, 9]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gini_generalised([0, 0]), "there are none"),
        (lambda: gini_generalised([1, -1]), "events, 1: found -1"),
        (lambda: gini_generalised([1], frequency=[1, 2]), "2 values, events 1"),
        (lambda: gini_generalised([4], unbiased=True), "one place"),
        (lambda: theil([0, 0]), "mean is 0"),
        (lambda: theil([1, 2], ["a"]), "groups: has 1"),
        (lambda: theil([1, np.nan]), "found nan"),
        (lambda: atkinson([1, 2], -1.0), "aversion"),
        (lambda: kolm_pollak([1, 2], 0.0), "aversion: found 0"),
        (lambda: kolm_pollak([np.inf, 2]), "finite"),
        (lambda: kolm_pollak([1.0, 2], weights=[1]), "weights"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
