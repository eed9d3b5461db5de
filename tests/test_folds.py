from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmdx.errors import InputError
from rtmdx.model.folds import spatial_folds, stratified_folds


@given(st.integers(2, 7), st.integers(7, 300), st.integers(0, 2**32))
def test_stratified_folds_spread_every_count(k: int, n: int, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(1.0, n)
    folds = stratified_folds(counts, k, seed=seed)
    assert folds.dtype == np.int32
    assert set(folds.tolist()) == set(range(k))
    sizes = np.bincount(folds, minlength=k)
    assert np.ptp(sizes) <= 1
    # the cells with a count of at least c are a run of the deal: each fold has its share to within one block
    for c in range(1, int(counts.max()) + 1):
        assert np.ptp(np.bincount(folds[counts >= c], minlength=k)) <= 1


def test_stratified_folds_repeat_with_the_seed() -> None:
    counts = np.random.default_rng(0).poisson(0.2, 1000)
    assert np.array_equal(stratified_folds(counts, seed=5), stratified_folds(counts, seed=5))
    assert not np.array_equal(stratified_folds(counts, seed=5), stratified_folds(counts, seed=6))


def test_spatial_folds_keep_blocks_whole_and_even() -> None:
    rows, cols = (a.ravel() for a in np.mgrid[3:63, 10:90])
    folds = spatial_folds(rows, cols, 10, 5, seed=1)
    assert folds.dtype == np.int32
    keys = (rows // 10) * 1000 + cols // 10
    for key in np.unique(keys):
        assert len(set(folds[keys == key].tolist())) == 1
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 200
    assert np.array_equal(folds, spatial_folds(rows, cols, 10, 5, seed=1))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: stratified_folds([0, 1, 2], 5, seed=1), "only 3 cells"),
        (lambda: stratified_folds([0, 1, 2], 1, seed=1), "at least 2 folds"),
        (lambda: stratified_folds([0.0, np.nan, 2.0], 2, seed=1), "finite"),
        (lambda: spatial_folds([0, 1], [0, 1, 2], 1, 2, seed=1), "one length"),
        (lambda: spatial_folds(np.arange(9), np.arange(9), 0, 2, seed=1), "block_cells is 0"),
        (lambda: spatial_folds(np.arange(9), np.arange(9), 100, 2, seed=1), "only 1 blocks"),
    ],
)
def test_bad_folds_are_named(call, text: str) -> None:
    with pytest.raises(InputError, match=text):
        call()
