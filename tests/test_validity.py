"""Capture under ties against brute force over permutations, and the published vectors."""

from __future__ import annotations

import json
import math
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx.errors import InputError
from rtmdx.model.validity import validity


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=6), st.integers(1, 6))
def test_bounds_equal_all_ways_to_break_ties(cells: list[tuple[int, int]], k: int) -> None:
    k = min(k, len(cells))
    captured = []
    for order in permutations(range(len(cells))):
        ranks = [cells[i][0] for i in order]
        if all(a >= b for a, b in pairwise(ranks)):
            captured.append(sum(cells[i][1] for i in order[:k]))
    score, counts = np.array(cells).T
    top = validity(score, counts, shares=[k / len(cells)]).top[0]
    assert top.n_cells == k
    assert top.events.lowest == min(captured)
    assert top.events.highest == max(captured)
    assert top.events.expected == pytest.approx(sum(captured) / len(captured))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=15))
def test_auc_is_the_chance_that_an_event_outranks_an_empty_cell(cells: list[tuple[int, int]]) -> None:
    wins = [(1.0 if s > t else 0.5 if s == t else 0.0) for s, n in cells for _ in range(n) for t, m in cells if m == 0]
    score, counts = np.array(cells).T
    found = validity(score, counts).auc
    assert math.isnan(found) if not wins else found == pytest.approx(sum(wins) / len(wins))


def test_curve_runs_from_nothing_to_everything() -> None:
    rng = np.random.default_rng(1)
    v = validity(rng.integers(0, 5, 1000), rng.poisson(0.3, 1000))
    for curve in (v.curve_lowest, v.curve_expected, v.curve_highest):
        assert curve[0] == 0
        assert curve[-1] == pytest.approx(1)
        assert (np.diff(curve) >= -1e-12).all()
    assert (v.curve_lowest <= v.curve_expected + 1e-12).all()
    assert (v.curve_expected <= v.curve_highest + 1e-12).all()


@pytest.mark.parametrize("vector", ["P1", "P2"])
def test_published_pai_pei_rri(vector: str) -> None:
    file = Path(__file__).parents[2] / "shared" / "reference" / "worked_examples.json"
    if not file.exists():
        pytest.skip("the published worked examples are not here")
    case = next(c for c in json.loads(file.read_text()) if c["id"] == vector)
    obs, pred = np.array(case["inputs"]["obs"]), np.array(case["inputs"]["pred"])
    n = obs.size
    v = validity(pred, obs, shares=[(k + 1) / n for k in range(n)], predicted=pred)
    np.testing.assert_allclose([t.pai.lowest for t in v.top], case["expected"]["pai"], atol=1e-4)
    np.testing.assert_allclose([t.pei.lowest for t in v.top], case["expected"]["pei"], atol=1e-4)
    if vector == "P1":  # P2's RRI breaks its tie one way; ours is the mean over both
        np.testing.assert_allclose([t.rri for t in v.top], case["expected"]["rri"], atol=1e-12)


def test_no_event_is_defined() -> None:
    v = validity([1.0, 2.0], [0, 0])
    assert v.n_events == 0
    assert math.isnan(v.auc)
    assert math.isnan(v.top[0].hit_rate.expected)
    assert v.to_dict()["auc"] is None
    json.dumps(v.to_dict(), allow_nan=False)


def test_one_cell_is_defined() -> None:
    assert validity([1.0], [3]).top[0].hit_rate.expected == 1


@pytest.mark.parametrize(
    ("score", "counts", "match"),
    [([1.0], [1, 2], "shape"), ([np.nan], [1], "not finite"), ([1.0], [-1], "negative"), ([], [], "non-empty")],
)
def test_bad_input(score: list[float], counts: list[int], match: str) -> None:
    with pytest.raises(InputError, match=match):
        validity(score, counts)
