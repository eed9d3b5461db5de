from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmdx.errors import InputError
from rtmdx.model.fold_plan import describe_folds
from rtmdx.model.folds import (
    BlockSize,
    TimeFolds,
    district_folds,
    repeated_folds,
    spatial_folds,
    stratified_folds,
    suggest_block,
    time_folds,
)


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


def whole_blocks(folds: np.ndarray, rows: np.ndarray, cols: np.ndarray, side: int, down: int, right: int) -> bool:
    key = (rows + down) // side * 1000 + (cols + right) // side
    return len(np.unique(key)) == len(np.unique(key * 100 + folds))


def test_offset_shifts_the_lattice() -> None:
    rows, cols = (a.ravel() for a in np.mgrid[0:30, 0:40])
    shifts = set()
    for seed in range(12):
        folds = spatial_folds(rows, cols, 6, 3, seed=seed, offset=True)
        assert set(folds.tolist()) == {0, 1, 2}
        assert np.array_equal(folds, spatial_folds(rows, cols, 6, 3, seed=seed, offset=True))
        fits = [(d, r) for d in range(6) for r in range(6) if whole_blocks(folds, rows, cols, 6, d, r)]
        assert len(fits) == 1
        shifts.add(fits[0])
    assert len(shifts) > 6
    aligned = spatial_folds(rows, cols, 6, 3, seed=0)
    assert whole_blocks(aligned, rows, cols, 6, 0, 0)


def test_suggested_block_reaches_twice_the_largest_influence() -> None:
    assert suggest_block(598, 46) == BlockSize(26, 1196.0, 598)
    assert suggest_block(598, 46).describe("m") == "26 x 26 cells = 1,196 m, twice the largest influence (598 m)"
    assert suggest_block(273, 46).cells == 12  # 546 m need 11.9 cells
    assert suggest_block(300, 60).cells == 10
    assert suggest_block(1, 100).cells == 1
    assert suggest_block(300, 100, times=5).describe("ft") == (
        "15 x 15 cells = 1,500 ft, 5.0 times the largest influence (300 ft)"
    )
    for bad in ((0, 46), (np.nan, 46), (300, -1), (300, np.inf)):
        with pytest.raises(InputError, match="expected a positive number"):
            suggest_block(*bad)


def test_each_district_is_a_fold() -> None:
    labels = np.repeat(["north", "south", "east"], [50, 20, 30])
    folds, districts = district_folds(labels)
    assert folds.dtype == np.int32
    assert districts == (("north",), ("south",), ("east",))
    assert [districts[f][0] for f in folds] == labels.tolist()
    codes, named = district_folds(np.repeat([0, 2, 3], [50, 20, 30]), names=["north", "empty", "south", "east"])
    assert np.array_equal(codes, folds)
    assert named == districts


@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 2**32))
def test_many_districts_are_merged_whole_and_balanced(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 100, n)
    labels = rng.permutation(np.repeat(np.arange(n), size))
    folds, districts = district_folds(labels, max_folds=k)
    assert sorted(d for group in districts for d in group) == sorted(map(str, range(n)))
    for f, group in enumerate(districts):
        assert set(labels[folds == f].astype(str)) == set(group)
    cells = np.bincount(folds)
    assert len(cells) == min(n, k)
    if n > k:  # a fold grew only while it was the smallest
        assert np.ptp(cells) <= size.max()
    again, _ = district_folds(labels, max_folds=k)
    assert np.array_equal(folds, again)


def test_districts_without_events_join_others() -> None:
    labels = np.repeat([0, 1, 2, 3], [10, 40, 30, 5])
    counts = np.where(labels == 1, 0, 1)
    folds, districts = district_folds(labels, counts=counts)
    assert districts == (("0",), ("2",), ("1", "3"))
    assert set(folds[labels == 1]) == {2}


def test_cells_without_a_district() -> None:
    for labels in (
        ["a", None, "b"],
        ["a", np.nan, "b"],
        ["a", " ", "b"],
        [1.0, np.nan, 2.0],
        np.array(["a", "", "b"]),
    ):
        with pytest.raises(InputError, match="1 of 3 cells have no district; the first is cell 1"):
            district_folds(labels)
        folds, districts = district_folds(labels, outside="fold")
        assert folds.tolist() == [0, 2, 1]
        assert districts[2] == ("outside every district",)


def test_folds_in_time_count_events_by_part() -> None:
    rng = np.random.default_rng(3)
    cells = rng.integers(0, 30, 400)
    days = np.datetime64("2019-11-03") + rng.integers(0, 500, 400)
    folds = time_folds(cells, days, 30, 4, start="2019-11-03", end=dt.date(2021, 3, 16))
    assert (folds.k, folds.n_cells) == (4, 30)
    assert folds.counts.dtype == np.int32
    assert folds.share.tolist() == [0.25] * 4
    assert folds.periods[0] == "2019-11-03 to 2020-03-06"
    assert folds.periods[-1].endswith("to 2021-03-16")
    expected = np.zeros((4, 30))
    for cell, day in zip(cells, days, strict=True):
        expected[int((day - np.datetime64("2019-11-03")).astype(int)) // 125, cell] += 1
    assert np.array_equal(folds.counts, expected)
    assert np.array_equal(folds.total, np.bincount(cells, minlength=30))


@given(st.integers(2, 9), st.integers(9, 4000), st.integers(0, 2**32))
def test_parts_of_the_period_are_equal_to_within_a_day(k: int, days: int, seed: int) -> None:
    first = np.datetime64("1999-12-31") + np.random.default_rng(seed).integers(0, 9000)
    when = first + np.arange(days)
    folds = time_folds(np.zeros(days, dtype=int), when, 1, k)
    length = np.diff(folds.edges).astype(int)
    assert length.sum() == days
    assert np.ptp(length) <= 1
    assert np.array_equal(folds.counts[:, 0], length)
    assert np.allclose(folds.share, length / days)


def test_calendar_years_count_by_their_days() -> None:
    when = np.arange("2019-12-01", "2022-01-11", dtype="datetime64[D]")
    folds = time_folds(np.zeros(when.size, dtype=int), when, 1, parts="years")
    assert folds.periods == (
        "2019-12-01 to 2019-12-31",
        "2020-01-01 to 2020-12-31",
        "2021-01-01 to 2021-12-31",
        "2022-01-01 to 2022-01-10",
    )
    assert np.allclose(folds.share * when.size, [31, 366, 365, 10])
    assert folds.counts[:, 0].tolist() == [31, 366, 365, 10]


def test_repeats_are_independent_and_start_with_the_plain_assignment() -> None:
    counts = np.random.default_rng(0).poisson(1.0, 500)
    folds = repeated_folds(lambda s: stratified_folds(counts, 4, seed=s), 6, seed=11)
    assert folds.shape == (6, 500)
    assert folds.dtype == np.int32
    assert np.array_equal(folds[0], stratified_folds(counts, 4, seed=11))
    assert np.array_equal(folds, repeated_folds(lambda s: stratified_folds(counts, 4, seed=s), 6, seed=11))
    more = repeated_folds(lambda s: stratified_folds(counts, 4, seed=s), 8, seed=11)
    assert np.array_equal(more[:6], folds)
    for a in range(6):
        for b in range(a):
            assert 0.15 < np.mean(folds[a] == folds[b]) < 0.35
    other = repeated_folds(lambda s: stratified_folds(counts, 4, seed=s), 2, seed=12)
    assert np.mean(other[1] == folds[1]) < 0.35


def test_plans_say_what_is_left_out() -> None:
    rows, cols = (a.ravel() for a in np.mgrid[0:30, 0:40])
    counts = np.random.default_rng(0).poisson(1.0, 1200)
    block = suggest_block(300, 100)
    folds = repeated_folds(lambda s: spatial_folds(rows, cols, block.cells, 5, seed=s, offset=True), 3, seed=4)
    plan = describe_folds(folds, counts, "spatial", seed=4, block=block, offset=True, unit="m")
    assert (plan.k, plan.repeats, len(plan.parts)) == (5, 3, 15)
    assert plan.sentence == (
        "5-fold cross-validation by spatial blocks of 6 x 6 cells = 600 m, twice the largest influence (300 m), "
        "their lattice shifted at random. It was repeated with 3 independent assignments."
    )
    for part in plan.parts:
        here = folds[part.repeat] == part.fold
        assert (part.cells, part.events) == (here.sum(), counts[here].sum())
        assert part.share == here.mean()
    assert json.loads(json.dumps(plan.to_dict()))["block"] == {"cells": 6, "length": 600.0, "influence": 300}

    by_count = describe_folds(stratified_folds(counts, 3, seed=1), counts, "stratified", seed=1)
    assert by_count.sentence.startswith("3-fold cross-validation, cells dealt evenly")
    assert sum(p.events for p in by_count.parts) == counts.sum()

    labels = np.repeat(["a", "b", "c"], 400)
    each, names = district_folds(labels)
    plan = describe_folds(each, counts, "district", districts=names)
    assert plan.sentence == "Leave-one-district-out cross-validation: 3 folds, a district each."
    assert [p.label for p in plan.parts] == ["a", "b", "c"]
    merged, names = district_folds(labels, max_folds=2)
    plan = describe_folds(merged, counts, "district", districts=names)
    assert plan.sentence == "Cross-validation by whole districts: 3 districts in 2 folds of similar size."
    assert [p.label for p in plan.parts] == ["a, c", "b"]
    bare = np.array(["a", "b", "c", ""], dtype=object).repeat(300)
    for most, text in (
        (
            9,
            "Leave-one-district-out cross-validation: 4 folds, a district each, the cells outside all of them",
        ),
        (2, "Cross-validation by whole districts: 3 districts, and the cells outside all of them, in 2 folds"),
    ):
        folds, names = district_folds(bare, max_folds=most, outside="fold")
        assert describe_folds(folds, counts, "district", districts=names).sentence.startswith(text)

    when = np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]")
    time = time_folds(np.arange(10), when, 12, 3)
    plan = describe_folds(time, time.total, "time")
    assert plan.sentence == (
        "Cross-validation in time: the period 2020-01-01 to 2020-01-10 in 3 consecutive parts of 3 to 4 days, each "
        "predicted from the rest."
    )
    first = plan.parts[0]
    assert (first.cells, first.events, first.label) == (12, 3, "2020-01-01 to 2020-01-03")


DAYS = np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]")
TEN = np.arange(10)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: stratified_folds([0, 1, 2], 5, seed=1), "only 3 cells"),
        (lambda: stratified_folds([0, 1, 2], 1, seed=1), "at least 2 folds"),
        (lambda: stratified_folds([0.0, np.nan, 2.0], 2, seed=1), "finite"),
        (lambda: spatial_folds([0, 1], [0, 1, 2], 1, 2, seed=1), "one length"),
        (lambda: spatial_folds(np.arange(9), np.arange(9), 0, 2, seed=1), "block_cells is 0"),
        (lambda: spatial_folds(np.arange(9), np.arange(9), 100, 2, seed=1), r"only 1 block: .*the area has 9 x 9"),
        (lambda: spatial_folds(np.arange(9), np.arange(9), 3, 4, seed=1), r"only 3 blocks: .*fewer folds \(k <= 3\)"),
        (lambda: spatial_folds(np.arange(9), np.arange(9), 1, 10, seed=1), "only 9 cells"),
        (lambda: district_folds(["a"] * 5), "only 'a' has events"),
        (lambda: district_folds(["a", "b"], counts=[0, 1]), "Of 2 districts with cells only 'b' has events"),
        (lambda: district_folds(["a", "b"], counts=[0, 0]), "cells none has events"),
        (lambda: district_folds(["a", "b"], counts=[0, 1, 2]), "one per cell"),
        (lambda: district_folds([None, np.nan]), "2 of 2 cells have no district"),
        (lambda: district_folds([]), "one per cell"),
        (lambda: district_folds([0, 1], max_folds=1), "max_folds is 1"),
        (lambda: district_folds([0, 2], names=["a", "b"]), "positions in names"),
        (lambda: repeated_folds(lambda s: stratified_folds(TEN, 2, seed=s), 0, seed=1), "repeats is 0"),
        (lambda: time_folds(TEN, DAYS[[0] * 10], 10), "2020-01-01 to 2020-01-01 has 1 day, fewer than the 5 folds"),
        (lambda: time_folds(TEN, DAYS, 10, 11), "has 10 days, fewer than the 11"),
        (lambda: time_folds(TEN, DAYS, 10, 1), "at least 2 folds"),
        (lambda: time_folds(TEN, DAYS, 10, parts="years"), "lies within one year"),
        (lambda: time_folds(TEN, DAYS, 10, 5, end="2020-02-28"), r"no event in the part 2020-01-12 .*4 of 5"),
        (lambda: time_folds(TEN, DAYS, 10, 5, start="2020-01-03"), "2 events lie outside the period"),
        (lambda: time_folds(TEN, [*DAYS[:9], "NaT"], 10), "1 of 10 events have no date, .*the first is event 9"),
        (lambda: time_folds(TEN, DAYS[:9], 10), "one length"),
        (lambda: time_folds(TEN, DAYS, 9), "from 0 to 8"),
        (lambda: time_folds([], [], 9), "no events"),
        (lambda: TimeFolds(np.zeros((2, 3), int), np.array([0.5, 0.6]), DAYS[:3]), "sum to 1"),
        (lambda: TimeFolds(np.zeros((2, 3), int), np.array([0.0, 1.0]), DAYS[:3]), "positive"),
        (lambda: TimeFolds(np.zeros((3, 3), int), np.array([0.5, 0.5]), DAYS[:3]), "do not fit"),
        (lambda: TimeFolds(np.full((2, 3), -1), np.array([0.5, 0.5]), DAYS[:3]), ">= 0"),
        (lambda: describe_folds(TEN.astype(np.int32) % 2, TEN % 2, "spatial"), r"fold 1 \(5 cells\) has no events"),
        (lambda: describe_folds(np.stack([TEN > 4, TEN % 2]), TEN % 2, "stratified"), "fold 1 of repeat 2"),
        (lambda: describe_folds(TEN % 2, TEN[:9], "spatial"), "do not fit 9 counts"),
        (lambda: describe_folds(time_folds(TEN, DAYS, 10), 2 * TEN, "time"), "do not add up"),
    ],
)
def test_bad_folds_are_named(call, text: str) -> None:
    with pytest.raises(InputError, match=text):
        call()
