"""Ranks over models beside sorting, and frequencies beside counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx.model import ranks as ranks_module
from rtmdx.model.frequencies import frequencies
from rtmdx.model.ranks import ScoreModel, rank_summary
from rtmdx.model.refit import Refit
from rtmdx.model.tabulate import tabulate
from stats_designs import binary_design, dense, random_design


def sorted_ranks(score: list[float], top: int) -> tuple[list[float], list[float]]:
    """Each cell's mean rank among its ties, and the share of its tie that fits among the first `top` places."""
    order = sorted(range(len(score)), key=lambda i: -score[i])
    rank, share = [0.0] * len(score), [0.0] * len(score)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and score[order[end]] == score[order[start]]:
            end += 1
        for i in order[start:end]:
            rank[i] = sum(range(start + 1, end + 1)) / (end - start)
            share[i] = sum(place < top for place in range(start, end)) / (end - start)
        start = end
    return rank, share


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 2, 7, 40, 150]),
    n_models=st.integers(1, 6),
    level=st.sampled_from([0.1, 0.8, 0.95]),
    threads=st.sampled_from([1, 3]),
    chunk=st.sampled_from([1, 5, 1 << 22]),
)
def test_ranks_are_those_of_sorting(seed: int, n: int, n_models: int, level: float, threads: int, chunk: int) -> None:
    """Coefficients are multiples of 1/4, so sums are exact and ties between unlike cells occur."""
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 4, bands=2)  # factor 3 is protective
    models = []
    for _ in range(n_models):
        columns = sorted(rng.choice(16, rng.integers(0, 5), replace=False).tolist())
        models.append(ScoreModel(tuple(columns), rng.integers(-2, 7, len(columns)) / 4))
    shares = (0.01, 0.1, 0.5)
    table = tabulate(design, np.zeros(n))
    before = ranks_module.CHUNK
    ranks_module.CHUNK = chunk
    try:
        found = rank_summary(table, models, level=level, shares=shares, threads=threads)
    finally:
        ranks_module.CHUNK = before
    scores = [(dense(design, m.columns) @ m.coefficients).tolist() for m in models]
    ranks = np.array([sorted_ranks(s, 1)[0] for s in scores])
    low, median, high = np.quantile(ranks, [0.5 - level / 2, 0.5, 0.5 + level / 2], axis=0)
    np.testing.assert_allclose(found.low, low, rtol=1e-12)
    np.testing.assert_allclose(found.median, median, rtol=1e-12)
    np.testing.assert_allclose(found.high, high, rtol=1e-12)
    for share, p in zip(shares, found.top, strict=True):
        top = max(1, int(np.rint(share * n)))
        np.testing.assert_allclose(p, np.mean([sorted_ranks(s, top)[1] for s in scores], axis=0), atol=1e-12)
        assert p.sum() == pytest.approx(top)


def test_one_cell_and_no_variable() -> None:
    one = binary_design(np.ones((1, 1), int))
    for m in (ScoreModel((), np.zeros(0)), ScoreModel((0,), np.ones(1))):
        found = rank_summary(tabulate(one, np.zeros(1)), [m], level=0.9, shares=(0.05,))
        assert (found.low, found.median, found.high, found.top) == (1.0, 1.0, 1.0, 1.0)
    five = binary_design(np.zeros((5, 0), int))
    found = rank_summary(tabulate(five, np.zeros(5)), [ScoreModel((), np.zeros(0))], level=0.9, shares=(0.2,))
    np.testing.assert_array_equal(found.median, np.full(5, 3.0))
    np.testing.assert_array_equal(found.top, np.full((1, 5), 0.2))


def refit(columns, coefficients, culled=None, family="nbii") -> Refit:
    return Refit(tuple(culled or columns), tuple(columns), np.array(coefficients, dtype=float), 0.0, family, 0.1)


def test_frequencies_are_counts_of_the_refits() -> None:
    """Two factors with six variables each (proximity, then density); one is always chosen, in several forms."""
    design = random_design(np.random.default_rng(0), 200, 2)
    some = [
        refit((1, 8), (0.5, 0.1), culled=(0, 1, 8)),
        refit((4,), (0.7,)),
        refit((1,), (0.9,), family="poisson"),
        refit((4, 8), (0.2, -0.3), culled=(4,)),
    ]
    found = frequencies(design, some, ["layer0", "layer1"], {1: 0.6, 8: 0.2}, 0.5)
    first, second = found.factors
    assert (first.factor, first.in_model, first.frequency, first.rrv) == ("layer0", True, 1.0, math.exp(0.6))
    assert first.operationalizations == {"proximity": 0.5, "density": 0.5}
    assert first.reaches == {100.0: 0.0, 200.0: 1.0, 300.0: 0.0}
    assert first.usual == design.variables[1].name  # a tie goes to the earlier column
    assert first.usual_frequency == 0.5
    quartiles = np.exp(np.quantile([0.5, 0.7, 0.9, 0.2], [0.25, 0.5, 0.75]))
    assert (first.rrv_low, first.rrv_median, first.rrv_high) == pytest.approx(tuple(quartiles))
    assert (second.frequency, second.usual_frequency) == (0.5, 0.5)
    assert (second.rrv_low, second.rrv_high) == pytest.approx(tuple(np.exp(np.quantile([0.1, -0.3], [0.25, 0.75]))))
    assert [v.frequency for v in found.variables] == [0, 0.5, 0, 0, 0.5, 0, 0, 0, 0.5, 0, 0, 0]
    assert [v.culled for v in found.variables] == [0.25, 0.5, 0, 0, 0.5, 0, 0, 0, 0.25, 0, 0, 0]
    assert found.families == {"nbii": 0.75, "poisson": 0.25}
    assert found.n_variables == (1, 1, 2)
    assert (found.same_factors, found.same_model) == (0.5, 0.25)


def test_a_factor_without_a_variable_is_listed_with_none() -> None:
    """The support rule may leave a factor none: it is never chosen, and everything about it is undefined."""
    design = random_design(np.random.default_rng(0), 200, 1)
    found = frequencies(design, [refit((1,), (0.5,)), refit((), ())], ["layer0", "absent"], {}, 0.9)
    absent = found.factors[1]
    assert (absent.factor, absent.in_model, absent.frequency, absent.usual) == ("absent", False, 0.0, None)
    assert absent.operationalizations == absent.reaches == {}
    plain = absent.to_dict()
    assert [plain[k] for k in ("rrv", "rrv_low", "rrv_median", "rrv_high")] == [None] * 4
    assert (found.same_factors, found.same_model) == (0.5, 0.5)
    assert not any(f.in_model for f in found.factors)
