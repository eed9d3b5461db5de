"""Replicates of a whole terrain beside the plain way: penalties chosen anew, exposure, failures, order, bad input."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from plain_refit import assert_same, at_penalty, cells_of, copied, fitted_terrain, same_refits, searched
from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.culling import cull
from rtmdx.model.fold_plan import describe_folds
from rtmdx.model.folds import BlockSize, repeated_folds, spatial_folds, stratified_folds
from rtmdx.model.refit import NO_EVENTS
from rtmdx.model.replicates import run_all
from rtmdx.model.resampling import draw_blocks, spatial_blocks
from rtmdx.model.stability import SHOWN

SIDE = 4  # cells along a block
CELL = 100.0


def lengths(terrain, seed: int = 1):
    """Street lengths, none in a tenth of the cells without events."""
    rng = np.random.default_rng(seed)
    e = 150.0 * rng.gamma(2.0, 1.0, terrain.grid.n_cells)
    e[(terrain.counts == 0) & (rng.random(len(e)) < 0.1)] = 0.0
    return e


def replicate(terrain, r: int, seed: int, scheme: str = "bootstrap"):
    lattice = spatial_blocks(*terrain.grid.rows_cols, SIDE)
    return cells_of(draw_blocks(lattice.n_blocks, r, seed, scheme), lattice.block)  # type: ignore[arg-type]


def anew(terrain, index, folds, forced=(), options=None):
    """Culling cross-validated, and the search, on the cells of a replicate."""
    exposure = None if terrain.exposure is None else terrain.exposure.cells
    if exposure is not None:
        index = index[exposure[index] > 0]
    own, y, e = copied(terrain.design, index), terrain.counts[index], None if exposure is None else exposure[index]
    dealt = np.searchsorted(np.unique(folds[index]), folds[index])
    found = cull(own, y, dealt, exposure=e, **(options or {"n_penalties": 15}))
    return found, searched(own, y, found.selected, e, forced)


@pytest.fixture(scope="module")
def plain():
    return fitted_terrain()


@pytest.fixture(scope="module")
def exposed(plain):
    return fitted_terrain(exposure=lengths(plain))


@pytest.mark.parametrize("scheme", ["bootstrap", "half"])
@pytest.mark.parametrize("kind", ["plain", "exposed", "forced"])
def test_a_replicate_is_a_run_on_its_cells(kind: str, scheme, request) -> None:
    forced = (1, 2) if kind == "forced" else ()
    t = fitted_terrain(forced=forced) if forced else request.getfixturevalue(kind)
    found = t.stability(4, block=SIDE * CELL, seed=3, scheme=scheme)
    assert found.n_failed == 0
    for r, refit in enumerate(found.refits):
        index = replicate(t, r, 3, scheme)
        e = None if t.exposure is None else t.exposure.cells[index]
        own, y = copied(t.design, index), t.counts[index]
        culled = at_penalty(own, y, t.culling.penalty, t.culling.ridge, e)
        assert_same(refit, culled, searched(own, y, culled, e, forced))
        assert {*forced} <= {t.design.variables[j].factor for j in refit.columns}


@pytest.mark.parametrize("kind", ["plain", "exposed", "forced"])
def test_reculled_is_a_whole_run_on_the_cells_of_a_replicate(kind: str, request) -> None:
    forced = (1,) if kind == "forced" else ()
    t = fitted_terrain(forced=forced, rule="1se") if forced else request.getfixturevalue(kind)
    folds = stratified_folds(t.counts, 5, seed=0)
    found = t.stability(3, block=SIDE * CELL, seed=5, recull=True)  # a terrain without a plan of folds has these
    assert found.recull
    for r, refit in enumerate(found.refits):
        culling, model = anew(t, replicate(t, r, 5), folds, forced, {"n_penalties": 15, **t.config["model"]})
        assert_same(refit, culling.selected, model)
        assert refit.penalty == pytest.approx(culling.penalty, rel=1e-12)
    chosen = Counter(j for refit in found.refits for j in refit.columns)
    kept = Counter(j for refit in found.refits for j in refit.culled)
    for v in found.found.variables:
        assert (v.frequency, v.culled) == (chosen[v.column] / 3, kept[v.column] / 3)
    for f in found.found.factors:
        own = [j for j, v in enumerate(t.design.variables) if v.factor_name == f.factor]
        assert f.frequency == pytest.approx(sum(chosen[j] for j in own) / 3)
        assert sum(f.reaches.values()) == pytest.approx(f.frequency)
    for threads in (2, 7) if kind == "exposed" else (2,):
        other = t.stability(3, block=SIDE * CELL, seed=5, recull=True, threads=threads)
        same_refits(found.refits, other.refits)
        assert other.to_dict() == found.to_dict()
        for name, values in found.columns.items():
            np.testing.assert_array_equal(other.columns[name], values)


def test_the_run_s_folds_are_made_again(plain) -> None:
    """Repeats and shifted lattices too; a replicate leaves out the repeats of which it lacks a fold."""
    rows_cols, block = plain.grid.rows_cols, BlockSize(6, 600.0, 400.0)

    def assign(seed):
        return spatial_folds(*rows_cols, block.cells, 5, seed=seed, offset=True)

    options = {"block": SIDE * CELL, "seed": 2, "recull": True, "scheme": "half"}
    folds = repeated_folds(assign, 3, seed=4)
    plan = describe_folds(folds, plain.counts, "spatial", seed=4, block=block, offset=True)
    t = replace(plain, fold_plan=plan)
    found = t.stability(2, **options)
    same_refits(found.refits, plain.stability(2, folds=folds, **options).refits)
    for r, refit in enumerate(found.refits):
        index = replicate(t, r, 2, "half")
        whole = folds[:, index][[len(np.unique(line[index])) == 5 for line in folds]]
        own, y = copied(t.design, index), t.counts[index]
        culling = cull(own, y, whole, n_penalties=15)
        assert_same(refit, culling.selected, searched(own, y, culling.selected, None))
    again = replace(plain, fold_plan=describe_folds(folds[0], plain.counts, "stratified", seed=9))
    same_refits(
        again.stability(2, **options).refits,
        plain.stability(2, folds=stratified_folds(plain.counts, 5, seed=9), **options).refits,
    )
    by_district = replace(plain, fold_plan=describe_folds(folds[0], plain.counts, "district"))
    with pytest.raises(InputError, match="cannot be made again"):
        by_district.stability(2, **options)
    same_refits(
        by_district.stability(2, folds=folds[0], **options).refits, plain.stability(2, folds=folds[0], **options).refits
    )


def test_a_fold_that_a_replicate_lacks_is_left_out(plain) -> None:
    """One assignment: the replicate is cross-validated over the folds it has; over one fold it has no model."""
    lattice = spatial_blocks(*plain.grid.rows_cols, SIDE)
    times = [draw_blocks(lattice.n_blocks, r, 0) for r in range(6)]
    absent = int(np.flatnonzero(times[0] == 0)[0])
    folds = np.where(lattice.block == absent, 2, stratified_folds(plain.counts, 2, seed=1))
    refit = plain.stability(2, block=SIDE * CELL, recull=True, folds=folds).refits[0]
    culling, model = anew(plain, replicate(plain, 0, 0), folds)
    assert len(culling.folds) == 2
    assert_same(refit, culling.selected, model)
    two = (lattice.block == absent).astype(int)
    found = plain.stability(6, block=SIDE * CELL, recull=True, folds=two)
    without = sum(int(t[absent] == 0) for t in times)
    assert 0 < without < 6
    assert found.n_failed == sum(found.failures.values()) >= without
    assert [r.error is None for r in found.refits].count(False) == found.n_failed


def test_ranks_under_exposure_are_those_of_the_scores_of_all_cells(exposed) -> None:
    found = exposed.stability(7, block=SIDE * CELL, seed=1, level=0.8, shares=(0.05, 0.2), threads=2)
    assert (exposed.exposure.cells == 0).any()
    ranks, top = [], np.zeros((2, exposed.grid.n_cells))
    for r in found.refits:
        s = np.zeros(exposed.grid.n_cells)
        for j, b in zip(r.columns, r.coefficients, strict=True):
            s += exposed.design.variables[j].sign * b * exposed.design.indicator(j)
        s = np.round(s, 10)
        ranks.append(scipy.stats.rankdata(-s))
        above = scipy.stats.rankdata(-s, "min") - 1
        ties = scipy.stats.rankdata(-s, "max") - above
        for i, share in enumerate(found.shares):
            top[i] += np.clip((round(share * len(s)) - above) / ties, 0, 1) / 7
    np.testing.assert_allclose(
        [found.rank_low, found.rank_median, found.rank_high], np.quantile(ranks, [0.1, 0.5, 0.9], axis=0)
    )
    np.testing.assert_allclose(found.p_top, top, atol=1e-12)


@pytest.mark.parametrize("recull", [False, True])
def test_nothing_selected(recull: bool, plain) -> None:
    """One event in every cell: no replicate has anything to choose, all cells tie."""
    n = plain.grid.n_cells
    t = fitted_terrain(np.ones(n, np.int64))
    assert t.culling.selected == t.model.columns == ()
    found = t.stability(3, block=SIDE * CELL, recull=recull)
    assert found.n_failed == 0
    assert {(r.culled, r.columns, r.family) for r in found.refits} == {((), (), "poisson")}
    assert [r.intercept for r in found.refits] == pytest.approx([0.0] * 3, abs=1e-12)
    assert (found.table["frequency"] == 0).all()
    assert found.table[["usual", "rrv", "rrv_low", "rrv_high"]].isna().all(axis=None)
    assert (found.found.same_factors, found.found.same_model, found.found.n_variables) == (1.0, 1.0, (0, 0, 0))
    assert found.rank_low == pytest.approx(np.full(n, (n + 1) / 2))
    assert found.rank_high == pytest.approx(np.full(n, (n + 1) / 2))
    for share, p in zip(found.shares, found.p_top, strict=True):
        assert p == pytest.approx(np.full(n, round(share * n) / n))
    assert "No repetition chose any factor" in found.sentence


def concentrated(plain, blocks: int):
    """Events in so few blocks that some replicates hold none of them; one block's share of the city in all."""
    lattice = spatial_blocks(*plain.grid.rows_cols, SIDE)
    busy = np.argsort(-np.bincount(lattice.block, weights=plain.counts), kind="stable")[:blocks]
    return np.where(np.isin(lattice.block, busy), plain.counts + 1, 0), lattice, busy


@pytest.mark.parametrize("recull", [False, True])
def test_replicates_without_events_are_counted(recull: bool, plain) -> None:
    counts, lattice, busy = concentrated(plain, 2)
    t = replace(plain, counts=counts)
    empty = [not draw_blocks(lattice.n_blocks, r, 0)[busy].any() for r in range(9)]
    assert 0 < sum(empty) < 9
    found = t.stability(9, block=SIDE * CELL, recull=recull, threads=2)
    assert [r.error == NO_EVENTS for r in found.refits] == empty
    assert found.failures[NO_EVENTS] == sum(empty)
    assert sum(found.failures.values()) == found.n_failed == sum(r.error is not None for r in found.refits)
    assert sum(found.found.families.values()) == pytest.approx(1.0)
    good = [r for r in found.refits if r.error is None]
    for v in found.found.variables:
        assert v.frequency == pytest.approx(sum(v.column in r.columns for r in good) / len(good))
    assert found.to_dict()["failed"] == found.n_failed
    assert f"on {len(good)} sets" in found.sentence
    assert all(np.isnan(r.penalty) and r.columns == () for r in found.refits if r.error is not None)


def test_where_every_replicate_fails_the_error_counts_them_all(plain, monkeypatch) -> None:
    counts, lattice, busy = concentrated(plain, 1)
    draws = {s: [draw_blocks(lattice.n_blocks, r, s)[busy].any() for r in range(2)] for s in range(99)}
    seed = next(s for s, held in draws.items() if not any(held))
    t = replace(plain, counts=counts)
    for recull in (False, True):
        with pytest.raises(FitError, match=rf"None of 2 replicates .*: {NO_EVENTS} \(2 times\)\."):
            t.stability(2, block=SIDE * CELL, seed=seed, recull=recull)
    reasons = iter([*"aabbbccd", "e"])

    def fail(*_, **__):
        raise FitError(f"{next(reasons)} is wrong.")

    monkeypatch.setattr("rtmdx.model.replicates.cull", fail)
    with pytest.raises(FitError) as error:
        plain.stability(9, block=SIDE * CELL, recull=True)
    assert SHOWN == 3
    assert error.value.message == (
        "None of 9 replicates could be fitted: b is wrong (3 times); a is wrong (2 times); c is wrong (2 times); "
        "other reasons (2 times)."
    )


def test_a_forced_factor_that_cannot_enter_fails_the_replicate() -> None:
    """Events beside main roads, and in one block away from them: without that block the forced factor is separated."""
    t = fitted_terrain(forced=(2,))
    roads = [j for j, v in enumerate(t.design.variables) if v.factor == 2]
    away = ~np.any([t.design.indicator(j) for j in roads], axis=0)
    beside = np.all([t.design.indicator(j) for j in roads], axis=0)
    lattice = spatial_blocks(*t.grid.rows_cols, SIDE)
    block = int(np.argmax(np.bincount(lattice.block, weights=away)))
    t = replace(t, counts=np.where(beside | (away & (lattice.block == block)), 1, 0))
    found = t.stability(12, block=SIDE * CELL)
    without = [draw_blocks(lattice.n_blocks, r, 0)[block] == 0 for r in range(12)]
    assert 0 < sum(without) < 12
    assert [r.error is not None for r in found.refits] == without
    assert found.n_failed == sum(found.failures.values()) == sum(without)
    assert all("forced into the" in reason for reason in found.failures)
    for r in range(12):
        index = replicate(t, r, 0)
        own, y = copied(t.design, index), t.counts[index]
        culled = at_penalty(own, y, t.culling.penalty, t.culling.ridge, None)
        if without[r]:
            with pytest.raises(FitError, match="forced into the"):
                searched(own, y, culled, None, (2,))
        else:
            assert_same(found.refits[r], culled, searched(own, y, culled, None, (2,)))


@pytest.mark.parametrize("scheme", ["bootstrap", "half"])
def test_seeds_reproduce_and_differ(scheme, plain) -> None:
    """A replicate depends on seed and number alone, not on how many there are or who computes it."""
    runs = {s: plain.stability(6, block=SIDE * CELL, seed=s, scheme=scheme, threads=2) for s in (0, 1, 7)}
    for s, found in runs.items():
        again = plain.stability(6, block=SIDE * CELL, seed=s, scheme=scheme, threads=7)
        same_refits(found.refits, again.refits)
        fewer = plain.stability(3, block=SIDE * CELL, seed=s, scheme=scheme)
        for a, b in zip(fewer.refits, found.refits[:3], strict=True):
            assert (a.culled, a.columns) == (b.culled, b.columns)
    assert len({found.refits[0].coefficients.tobytes() for found in runs.values()}) == 3


def test_draws() -> None:
    for n in (2, 3, 9, 50):
        for seed in range(4):
            for r in range(5):
                whole, half = draw_blocks(n, r, seed), draw_blocks(n, r, seed, "half")
                assert whole.sum() == n
                assert set(half.tolist()) <= {0, 1}
                assert half.sum() == n // 2
    total = sum(draw_blocks(10, r, 3) for r in range(4000))
    assert scipy.stats.chisquare(total).pvalue > 1e-4
    total = sum(draw_blocks(10, r, 3, "half") for r in range(4000))
    assert abs(total - 2000).max() < 160


def test_results_are_in_the_order_of_the_jobs_whoever_ends_first() -> None:
    n, ended = 6, [threading.Event() for _ in range(7)]
    ended[n].set()

    def job(i: int) -> int:
        assert ended[i + 1].wait(20)  # the last ends first
        ended[i].set()
        return i

    told: list[int] = []
    found = run_all([lambda i=i: job(i) for i in range(n)], n, threading.Event(), told.append, None)
    assert found == list(range(n))
    assert told == sorted(told)
    assert told[-1] == n


def test_an_error_stops_the_other_jobs() -> None:
    stop, begun = threading.Event(), []

    def job(i: int) -> None:
        begun.append(i)
        if i == 1:
            raise ZeroDivisionError
        assert stop.wait(20) or i == 0

    with pytest.raises(ZeroDivisionError):
        run_all([lambda i=i: job(i) for i in range(50)], 2, stop, lambda _: None, None)
    assert stop.is_set()
    assert len(begun) < 50


@pytest.mark.parametrize("recull", [False, True])
def test_progress_and_cancel(recull: bool, plain) -> None:
    told: list[tuple[str, int, int]] = []
    plain.stability(6, block=SIDE * CELL, recull=recull, progress=lambda *a: told.append(a), threads=2)
    assert {(s, total) for s, _, total in told} == {("stability", 6)}
    numbers = [n for _, n, _ in told]
    assert numbers[0] == 0
    assert numbers[-1] == 6
    assert numbers == sorted(numbers)
    with pytest.raises(Cancelled):
        plain.stability(6, block=SIDE * CELL, recull=recull, cancel=lambda: True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"replicates": 0}, "replicates is 0, expected at least 2"),
        ({"replicates": 2.5}, "replicates is 2.5, expected at least 2"),
        ({"block": 1e6}, r"cells lie in one block of 10000 x 10000 cells"),
        ({"block": 3000.0}, r"cells lie in one block of 30 x 30 cells"),
        ({"block": 0.0}, "block is 0.0, expected a positive length"),
        ({"block": float("nan")}, "block is nan"),
        ({"scheme": "jackknife"}, "scheme is 'jackknife', expected 'bootstrap' or 'half'"),
        ({"seed": -1}, "seed is -1, expected a whole number >= 0"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"level": 1.0}, "level is 1.0"),
        ({"shares": ()}, "shares is"),
        ({"shares": (0.1, 1.0)}, "shares is"),
        ({"threads": 0}, "threads is 0"),
        ({"recull": True, "folds": [0, 1, 0]}, r"folds are int64 of shape \(3,\), expected whole numbers"),
        ({"recull": True, "folds": "float"}, "folds are float64"),
        ({"recull": True, "folds": "one"}, "at least two"),
        ({"recull": True, "folds": "below"}, "numbered from 0"),
    ],
)
def test_bad_input_is_one_clear_error(options, said: str, plain) -> None:
    n = plain.grid.n_cells
    known = {"float": np.zeros(n), "one": np.zeros((2, n), int), "below": np.arange(n) % 3 - 1}
    if isinstance(options.get("folds"), str):
        options = {**options, "folds": known[options["folds"]]}
    started: list[object] = []
    with pytest.raises(InputError, match=said):
        plain.stability(**{"replicates": 4, "block": SIDE * CELL, "progress": started.append, **options})
    assert not started  # refused before any work
