"""Rows of codes: exact, in an order of their own, and the same from tiles as from the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx import _stats
from rtmdx.errors import InputError
from rtmdx.model.culling import CullingOptions, CullingResult, cull, cull_table
from rtmdx.model.design import Block, Design
from rtmdx.model.folds import stratified_folds
from rtmdx.model.outcome import check_exposure
from rtmdx.model.rows import RowTable, exposure_unit
from rtmdx.model.stepwise import stepwise, stepwise_entries
from rtmdx.model.stepwise_options import StepwiseOptions
from rtmdx.model.tabulate import merge_tables, tabulate
from rtmdx.model.words import GRAM_CODES, LOOKUP_CODES, Words
from stats_designs import dense, random_design, simulate


def part(design: Design, where) -> Design:
    """A tile: some of the cells, with the same variables."""
    blocks = tuple(Block(b.codes[where], b.decode, b.variables) for b in design.blocks)
    return Design(blocks, len(design.blocks[0].codes[where]))


def equal(a: RowTable, b: RowTable) -> bool:
    names = ("codes", "cells", "groups", "group_cells", "event_row", "event_count", "event_exposure", "event_fold")
    names += ("event_parts",)
    return (
        all(getattr(a, n).tobytes() == getattr(b, n).tobytes() for n in names)
        and a.amounts().tobytes() == b.amounts().tobytes()
        and (a.n_folds, a.unit, a.n_rounded) == (b.n_folds, b.unit, b.n_rounded)
    )


def problem(seed: int, n: int = 1500):
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 4, bands=3)
    y = simulate(rng, design, {2: 0.8, 9: 0.5, 13: 0.7}, base=0.3, dispersion=0.4).astype(float)
    folds = np.stack([stratified_folds(y, 4, seed=s) for s in (seed, seed + 1)]).astype(np.int64)
    return rng, design, y, folds


def test_rows_are_the_distinct_lines_of_codes() -> None:
    _, design, y, folds = problem(1)
    table = tabulate(design, y, folds)
    codes = np.stack([b.codes for b in design.blocks])
    assert table.n_rows == np.unique(codes, axis=1).shape[1] == np.unique(table.codes, axis=1).shape[1]
    assert table.row is not None
    assert np.array_equal(table.codes[:, table.row], codes)
    assert np.array_equal(table.cells, np.bincount(table.row))
    assert np.array_equal(table.events_by_row(), np.bincount(table.row, weights=y))
    for r in range(2):
        for f in range(4):
            on = folds[r] == f
            g = 4 * r + f
            assert np.array_equal(table.groups[g], np.bincount(table.row[on], minlength=table.n_rows))
            assert table.events_by_row(g).sum() == y[on].sum()
            yt = y[on][y[on] > 0]
            assert table.saturated(g) == pytest.approx(np.sum(yt * np.log(yt)) - yt.sum())


def test_order_of_rows_is_that_of_their_codes_alone() -> None:
    rng, design, y, folds = problem(2)
    order = rng.permutation(design.n_cells)
    assert equal(tabulate(design, y, folds), tabulate(part(design, order), y[order], folds[:, order]))


def test_equal_hashes_are_told_apart() -> None:
    """Two rows of one hash are ordered by their codes."""
    from rtmdx.model.tabulate import _canonical

    codes = np.array([[3, 1], [1, 2], [1, 1], [0, 9]], np.uint8)
    assert _canonical(codes, np.array([7, 7, 7, 5], np.uint64)).tolist() == [3, 2, 1, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.booleans())
def test_tiles_merge_to_the_whole(seed: int, n_tiles: int, with_exposure: bool) -> None:
    rng, design, y, folds = problem(seed, 300)
    exposure = None
    if with_exposure:
        exposure = rng.gamma(1.0, 50.0, design.n_cells) * (rng.random(design.n_cells) < 0.9)
        y = np.where(exposure > 0, y, 0.0)
    unit = None if exposure is None else exposure_unit(exposure.max(), design.n_cells)
    whole = tabulate(design, y, folds, exposure=exposure)
    tile = rng.integers(0, n_tiles, design.n_cells)
    tile[:n_tiles] = np.arange(n_tiles)
    tables = []
    for t in rng.permutation(n_tiles):
        on = np.flatnonzero(tile == t)
        e = None if exposure is None else exposure[on]
        tables.append(tabulate(part(design, on), y[on], folds[:, on], n_folds=4, exposure=e, unit=unit))
    assert equal(merge_tables(tables), whole)
    assert equal(merge_tables([merge_tables(tables[:1]), *tables[1:]]), whole)


def test_tiles_that_hold_some_of_the_folds_merge() -> None:
    """Folds that lie in one piece: no tile has them all."""
    _, design, y, _ = problem(11)
    folds = np.arange(design.n_cells) * 4 // design.n_cells
    pieces = np.array_split(np.arange(design.n_cells), 5)
    tables = [tabulate(part(design, on), y[on], folds[on], n_folds=4) for on in pieces]
    assert equal(merge_tables(tables), tabulate(design, y, folds))
    with pytest.raises(InputError, match="from 0 to 2; found 3 to 3"):
        tabulate(part(design, pieces[-1]), y[pieces[-1]], folds[pieces[-1]], n_folds=3)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_tiles_with_parts_of_the_period_merge_to_the_bits_of_the_whole(seed: int, n_tiles: int) -> None:
    rng, design, y, _ = problem(seed, 300)
    share = np.array([0.3, 0.5, 0.2])
    parts = np.stack([rng.binomial(y.astype(int), 0.3).astype(float), np.zeros(300), np.zeros(300)])
    parts[1] = rng.binomial((y - parts[0]).astype(int), 0.7)
    parts[2] = y - parts[0] - parts[1]
    tile = rng.integers(0, n_tiles, 300)
    tiles = [np.flatnonzero(tile == t) for t in range(n_tiles)]
    tables = [tabulate(part(design, on), y[on], periods=(parts[:, on], share)) for on in tiles]
    whole = tabulate(design, y, periods=(parts, share))
    merged = merge_tables(tables)
    assert equal(merged, whole)
    assert merged.group_cells.tolist() == (300 * share).tolist()


def test_a_stray_fold_number_is_named_before_memory_is_taken() -> None:
    _, design, y, folds = problem(12, 200)
    stray = folds.copy()
    stray[1, 7] = 10_000_000
    with pytest.raises(InputError, match="fold 4 of repeat 0 has no cells, though the largest fold is 10000000"):
        tabulate(design, y, stray)
    gap = np.where(folds[0] == 2, 3, folds[0])
    with pytest.raises(InputError, match="fold 2 has no cells"):
        tabulate(design, y, gap)
    with pytest.raises(InputError, match="numbered from 0"):
        tabulate(design, y, folds - 1)


def test_small_exposures_keep_their_size_and_those_that_cannot_are_counted() -> None:
    rng, design, y, _ = problem(13, 600)
    exposure = 10.0 ** rng.uniform(-6, 3, 600)
    table = tabulate(design, y, exposure=exposure)
    assert table.n_rounded == 0
    assert table.row is not None
    expected = np.bincount(table.row, weights=exposure, minlength=table.n_rows)
    assert table.amounts() * table.unit == pytest.approx(expected, rel=1e-6)
    exposure[3] = 1e-19
    assert tabulate(design, y, exposure=exposure).n_rounded == 1
    with pytest.raises(InputError, match="too large for the unit"):
        tabulate(design, y, exposure=exposure, unit=1e-20)


def same(a: CullingResult, b: CullingResult) -> bool:
    return (
        a.coefficients.tobytes() == b.coefficients.tobytes()
        and (a.intercept, a.penalty, a.ridge, a.kkt_residual) == (b.intercept, b.penalty, b.ridge, b.kkt_residual)
        and all(
            p.cv_deviance.tobytes() == q.cv_deviance.tobytes() and p.coefficients.tobytes() == q.coefficients.tobytes()
            for p, q in zip(a.paths, b.paths, strict=True)
        )
    )


@pytest.mark.parametrize("with_exposure", [False, True])
def test_culling_of_tiles_is_that_of_the_whole(with_exposure: bool) -> None:
    rng, design, y, folds = problem(5)
    exposure = rng.gamma(2.0, 30.0, design.n_cells) if with_exposure else None
    whole = cull(design, y, folds, exposure=exposure, n_penalties=30)
    unit = None if exposure is None else exposure_unit(exposure.max(), design.n_cells)
    pieces = np.array_split(rng.permutation(design.n_cells), 3)
    tables = []
    for on in pieces:
        e = None if exposure is None else exposure[on]
        tables.append(tabulate(part(design, on), y[on], folds[:, on], n_folds=4, exposure=e, unit=unit))
    merged = merge_tables(tables)
    assert same(whole, cull_table(merged, CullingOptions(n_penalties=30), threads=2))
    if with_exposure:
        with pytest.raises(InputError, match="exposures"):
            merged.entries()
        return
    direct = stepwise(design, y, whole.selected, families=("poisson", "nbii", "nb2"))
    tiled = stepwise_entries(
        part(design, pieces[0]),
        *merged.entries(),
        whole.selected,
        StepwiseOptions(("poisson", "nbii", "nb2")),
        threads=2,
    )
    assert direct.trace == tiled.trace
    assert direct.model.parameters.tobytes() == tiled.model.parameters.tobytes()
    assert direct.model.covariance.tobytes() == tiled.model.covariance.tobytes()


def test_sums_and_joint_sums_are_those_of_the_dense_matrix() -> None:
    rng, design, y, _ = problem(7, 700)
    table = tabulate(design, y)
    x = dense(design)
    assert table.row is not None
    weight = rng.random((table.n_rows, 4))
    by_cell = weight[table.row] / table.cells[table.row, None]
    for columns in (np.arange(x.shape[1]), np.array([0, 3, 4, 10, 17])):
        for most in (LOOKUP_CODES, GRAM_CODES, 2):
            words = Words(table, columns, most)
            assert sorted(words.columns) == columns.tolist()
            own = x[:, words.columns]
            assert words.sums(weight) == pytest.approx(own.T @ by_cell, rel=1e-12)
            grams, centre = words.grams(weight, 4, lambda: None)
            for f in range(4):
                assert grams[f] == pytest.approx(own.T @ (own * by_cell[:, [f]]), rel=1e-11, abs=1e-11)
            assert centre == pytest.approx(own.T @ by_cell, rel=1e-11)
            beta = rng.normal(size=(len(columns), 4))
            mean, total, everywhere = np.empty_like(weight), np.empty(4), np.empty(4)
            _stats.lane_means(
                words.words, words.offsets, words.table(beta), weight, table.amounts(), mean, total, everywhere
            )
            expected = by_cell * np.exp(own @ beta)
            assert total == pytest.approx(expected.sum(axis=0), rel=1e-12)
            assert everywhere == pytest.approx(np.exp(own @ beta).sum(axis=0), rel=1e-12)
            assert mean.sum(axis=0) == pytest.approx(total, rel=1e-12)


def test_exponential_is_exact_to_rounding_and_bounded() -> None:
    codes = np.zeros((1, 1), np.uint16)
    one, offsets = np.ones((1, 4)), np.array([0, 1], np.int32)
    mean, total, rest = np.empty((1, 4)), np.empty(4), np.empty(4)
    for v in np.concatenate([np.linspace(-699, 699, 999), [0.0, 1e-300, -1e-17, 0.34657359, -0.34657359]]):
        _stats.lane_means(codes, offsets, np.full((1, 4), v), one, np.ones(1), mean, total, rest)
        assert mean[0] == pytest.approx(np.exp(v), rel=4e-16)
    _stats.lane_means(codes, offsets, np.array([[5000.0, -5000.0, 0, 700]]), one, np.ones(1), mean, total, rest)
    assert np.isfinite(mean).all()
    assert (total == [np.inf, np.inf, 1.0, mean[0, 3]]).all()  # beyond the range a total says so
    _stats.lane_means(codes, offsets, np.full((1, 4), 5000.0), 0 * one, np.ones(1), mean, total, rest)
    assert (total == 0.0).all()  # where the row takes no part it does not matter


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.booleans(), st.sampled_from([0.0, 1e-3]))
def test_quadratic_programs_are_solved(seed: int, p: int, nonnegative: bool, l2: float) -> None:
    """The minimum satisfies its optimality conditions, which no other point does."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(max(2, p // 2 + 1), p))
    if rng.random() < 0.5:
        a = np.vstack([a, rng.normal(size=(p, p))])
    hessian = np.ascontiguousarray(a.T @ a)
    start = np.where(rng.random(p) < 0.5, 0.0, np.abs(rng.normal(size=p)))
    slope0 = hessian @ -np.abs(rng.normal(size=p)) * rng.choice([-1, 1])
    l1 = float(rng.random()) * np.abs(slope0).max()
    slope, beta = slope0.copy(), start.copy()
    _stats.minimise_quadratic(hessian, slope, beta, l1, l2, nonnegative, 1e-12, 5000)
    assert slope == pytest.approx(slope0 + hessian @ (beta - start), abs=1e-8 * (1 + np.abs(slope0).max()))
    g = slope + l2 * beta
    at_zero = np.maximum(0.0, (-g if nonnegative else np.abs(g)) - l1)
    violation = np.where(beta != 0, np.abs(g + l1 * np.sign(beta)), at_zero)
    assert violation.max() <= 1e-7 * (1 + np.abs(slope0).max())
    assert not nonnegative or (beta >= 0).all()


def test_bad_exposure_is_named() -> None:
    y = np.array([0.0, 2.0, 0.0])
    assert check_exposure(3, None, y) is None
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        check_exposure(3, [1, 2], y)
    for bad in (np.nan, -1.0, np.inf):
        with pytest.raises(InputError, match="cell 2"):
            check_exposure(3, [1, 2, bad], y)
    with pytest.raises(InputError, match="cell 1 has 2 events but exposure 0"):
        check_exposure(3, [1, 0, 1], y)
    with pytest.raises(InputError, match="0 in every cell"):
        check_exposure(2, [0, 0], np.zeros(2))


def test_merging_what_does_not_belong_together_is_refused() -> None:
    _, design, y, folds = problem(3, 200)
    table = tabulate(design, y, folds)
    with pytest.raises(InputError, match="no tables"):
        merge_tables([])
    with pytest.raises(InputError, match="other variables"):
        merge_tables([table, tabulate(Design(design.blocks[:2], design.n_cells), y, folds)])
    with pytest.raises(InputError, match="folds"):
        merge_tables([table, tabulate(design, y, folds[:1])])
    with pytest.raises(InputError, match="units of 0.5"):
        merge_tables([table, replace(table, unit=0.5)])
    with pytest.raises(InputError, match="no folds"):
        cull_table(tabulate(design, y))
    with pytest.raises(InputError, match="parts of the period"):
        merge_tables([table, replace(table, share=np.full(8, 0.125))])
