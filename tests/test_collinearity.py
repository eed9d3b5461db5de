"""Variance inflation against statsmodels, correlations against NumPy's dense ones, groups by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx.errors import Cancelled, InputError
from rtmdx.model import collinearity as module
from rtmdx.model.collinearity import collinearity, correlations, variance_inflation
from rtmdx.model.design import Design
from stats_designs import binary_design, bits_block, dense, proximity_block, random_design


def unsigned(design: Design) -> np.ndarray:
    return np.column_stack([design.indicator(j) for j in range(len(design.variables))]).astype(float)


def test_equals_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    outliers = pytest.importorskip("statsmodels.stats.outliers_influence")
    rng = np.random.default_rng(0)
    design = random_design(rng, 400, 5)
    columns = [1, 4, 8, 13, 20, 25]
    x = np.column_stack([np.ones(400), dense(design, columns)])
    theirs = [outliers.variance_inflation_factor(x, k + 1) for k in range(len(columns))]
    np.testing.assert_allclose(variance_inflation(design, columns), theirs, rtol=1e-10)
    w = rng.gamma(0.5, 1.0, 400)
    for k in range(len(columns)):
        fitted = api.WLS(x[:, k + 1], np.delete(x, k + 1, axis=1), weights=w).fit()
        assert variance_inflation(design, columns, w)[k] == pytest.approx(1 / (1 - fitted.rsquared), rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(2, 80), factors=st.integers(1, 5), most=st.sampled_from([1, 9, 256])
)
def test_correlations_equal_the_dense_ones(seed: int, n: int, factors: int, most: int) -> None:
    design = random_design(np.random.default_rng(seed), n, factors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_CODES", most)  # how blocks are joined changes nothing
        ours = correlations(design)
    with np.errstate(invalid="ignore", divide="ignore"):
        theirs = np.corrcoef(unsigned(design), rowvar=False)
    np.testing.assert_allclose(ours, np.atleast_2d(theirs), atol=1e-10)
    some = np.random.default_rng(seed).permutation(len(design.variables))[:4].tolist()
    np.testing.assert_allclose(correlations(design, some), np.atleast_2d(theirs)[np.ix_(some, some)], atol=1e-10)


def test_exact_collinearity_is_infinite_and_the_others_are_not() -> None:
    rng = np.random.default_rng(3)
    a, b, c = (rng.random(500) < 0.4 for _ in range(3))
    both = a & ~b
    either = a | b  # = b + (a and not b)
    x = np.column_stack([a, b, c, both, either]).astype(int)
    design = binary_design(x)
    found = variance_inflation(design, [1, 2, 3, 4])
    assert np.isinf(found[[0, 2, 3]]).all()
    alone = variance_inflation(design, [1, 2, 3])
    assert found[1] == pytest.approx(alone[1], rel=1e-6)
    assert np.isinf(variance_inflation(binary_design(np.column_stack([a, a]).astype(int)), [0, 1])).all()


def test_constants_and_no_variables() -> None:
    x = np.column_stack([np.ones(50), np.arange(50) % 2, np.arange(50) % 3 == 0]).astype(int)
    found = variance_inflation(binary_design(x), [0, 1, 2])
    assert math.isnan(found[0])
    assert np.isfinite(found[1:]).all()
    design = binary_design(x)
    nothing = collinearity(design, [])
    assert nothing.inflation == ()
    assert nothing.worst is None
    assert nothing.to_dict()["inflation"] == []
    assert variance_inflation(design, []).shape == (0,)
    assert np.isnan(correlations(design)[0]).all()


def test_groups() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    near = rng.integers(0, 4, n)
    other = np.where(rng.random(n) < 0.95, near, rng.integers(0, 4, n))  # as near to factor 1 as to factor 0
    third = 1 - (other <= 1) * (rng.random(n) < 0.97)  # chained to factor 1, opposite
    free = rng.integers(0, 4, n)
    design = Design(
        (
            proximity_block(near, 3, 0),
            proximity_block(free, 3, 1),
            proximity_block(other, 3, 2),
            bits_block(third[:, None], 3),
        ),
        n,
    )
    found = collinearity(design, [2, 3], threshold=0.8)
    assert len(found.groups) == 1
    group = found.groups[0]
    assert group.factors == (0, 2, 3)
    assert group.names == ("layer0", "layer2", "layer3")
    assert group.in_model == ("layer0",)
    x = np.corrcoef(unsigned(design), rowvar=False)
    factor = np.array([v.factor for v in design.variables])
    apart = np.where(factor[:, None] == factor[None, :], 0.0, x)
    assert abs(group.phi) == pytest.approx(np.abs(apart).max())
    assert set(group.variables) == {v.name for v, row in zip(design.variables, apart, strict=True)
                                    if np.abs(row).max() >= 0.8}  # fmt: skip
    assert collinearity(design, [2, 3], threshold=1.0).groups == ()
    # bands of one factor are alike by construction, and not compared
    assert collinearity(Design(design.blocks[:1], n), [0], threshold=0.1).groups == ()
    assert collinearity(design, [2, 3], threshold=0.8, candidates=[0, 3, 4]).groups == ()


def test_identical_columns_are_a_group_at_one() -> None:
    a = (np.random.default_rng(0).random(60) < 0.3).astype(int)
    found = collinearity(binary_design(np.column_stack([a, a, 1 - a])), [0], threshold=1.0)
    assert found.groups[0].factors == (0, 1, 2)
    assert abs(found.groups[0].phi) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: variance_inflation(d, [99]), "column 99"),
        (lambda d: variance_inflation(d, [0, 0]), "twice"),
        (lambda d: variance_inflation(d, [0], np.ones(3)), "shape"),
        (lambda d: variance_inflation(d, [0], np.zeros(40)), "not all 0"),
        (lambda d: variance_inflation(d, [0], np.full(40, np.nan)), "finite"),
        (lambda d: variance_inflation(d, [0], -np.ones(40)), "finite numbers >= 0"),
        (lambda d: collinearity(d, [0], threshold=0.0), "threshold"),
        (lambda d: collinearity(d, [0], threshold=math.nan), "threshold"),
    ],
)
def test_refuses(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(random_design(np.random.default_rng(0), 40, 2))


def test_cancel() -> None:
    design = random_design(np.random.default_rng(0), 4000, 6, bands=6)
    with pytest.raises(Cancelled):
        correlations(design, cancel=lambda: True)
