"""The tabulation: tiles put end to end, and cells in any order, give the bits of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmdx import _tables
from rtmdx.errors import Cancelled, InputError
from rtmdx.model import entries, levels
from rtmdx.model.design import Block, Design
from rtmdx.model.stepwise import StepwiseResult, stepwise, stepwise_entries
from rtmdx.model.stepwise_options import StepwiseOptions
from rtmdx.model.tables import CellTable
from stats_designs import random_design, simulate

FAMILIES = ("poisson", "nbii", "nb2")


def city(seed: int = 0, n: int = 3000):
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 5)
    y = simulate(rng, design, {1: 0.6, 10: 0.7, 20: 0.6, 26: 0.5}, base=0.4, dispersion=1.0)
    return design, y, rng


def bits(result: StepwiseResult) -> list[object]:
    out: list[object] = [result.trace, result.exchanges, result.notes]
    for m in result.models.values():
        out += [m.columns, m.parameters.tobytes(), m.covariance.tobytes(), m.log_likelihood]
    return out


def rows_of(design: Design, y, cells: slice, exposure=None):
    """What one tile returns: distinct rows of codes, count and exposure, with their numbers of cells."""
    parts = [b.codes[cells] for b in design.blocks] + [y[cells]] + ([] if exposure is None else [exposure[cells]])
    table, number = np.unique(np.column_stack(parts).astype(float), axis=0, return_counts=True)
    k = len(design.blocks)
    return table[:, :k].T.astype(np.uint8), table[:, k], number, None if exposure is None else table[:, k + 1]


@pytest.mark.parametrize("exposed", [False, True])
def test_tiles_end_to_end_give_the_bits_of_the_whole(exposed: bool) -> None:
    design, y, rng = city()
    exposure = np.round(rng.gamma(2.0, 0.5, design.n_cells), 2) if exposed else None
    if exposure is not None:
        y = np.where(exposure > 0, y, 0)
    candidates = range(0, 30, 2)
    whole = bits(stepwise(design, y, candidates, families=FAMILIES, exposure=exposure))
    cuts = [0, 700, 701, 1500, 3000]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        tiles = [rows_of(design, y, slice(cuts[t], cuts[t + 1]), exposure) for t in order]
        codes = np.concatenate([t[0] for t in tiles], axis=1)
        counts, cells = (np.concatenate([t[i] for t in tiles]) for i in (1, 2))
        e = np.concatenate([t[3] for t in tiles]) if exposed else None
        found = stepwise_entries(design, codes, counts, cells, candidates, StepwiseOptions(FAMILIES), exposure=e)
        assert bits(found) == whole


@pytest.mark.parametrize("threads", [2, 7])
def test_threads_and_order_of_cells_change_no_bit(threads: int) -> None:
    design, y, rng = city(1)
    exposure = rng.gamma(2.0, 0.5, design.n_cells)
    for e in (None, exposure):
        whole = bits(stepwise(design, y, range(30), exposure=e))
        order = rng.permutation(design.n_cells)
        other = Design(tuple(Block(b.codes[order], b.decode, b.variables) for b in design.blocks), design.n_cells)
        again = stepwise(other, y[order], range(30), exposure=None if e is None else e[order], threads=threads)
        assert bits(again) == whole


def test_pieces_and_sums_by_demand_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    design, y, rng = city(2)
    exposure = rng.gamma(2.0, 0.5, design.n_cells)
    for e in (None, exposure):
        whole = bits(stepwise(design, y, range(30), families=FAMILIES, exposure=e))
        with monkeypatch.context() as patch:
            patch.setattr("rtmdx.model.entries.PIECE", 170)
            patch.setattr("rtmdx.model.tables.SUMS_LIMIT", 0)
            patch.setattr("rtmdx.model.tables.KEPT_BYTES", 0)
            assert bits(stepwise(design, y, range(30), families=FAMILIES, exposure=e)) == whole


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 400), st.booleans())
def test_tables_equal_counting_cells(seed: int, n: int, merge: bool) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 3)
    y = rng.poisson(0.6, n).astype(float)
    exposure = rng.integers(0, 4, n) / 4.0
    y[exposure == 0] = 0
    columns = tuple(int(j) for j in rng.permutation(18)[: rng.integers(0, 5)])
    cells = CellTable.from_design(design, y, exposure, distinct="events" if merge else "all")
    node = cells.node(columns)
    scale = np.exp(cells.entries.log_unit)
    x = np.column_stack([np.ones(n), *(design.variables[j].sign * design.indicator(j).astype(float) for j in columns)])

    def counted(x):
        out: dict[tuple[float, ...], float] = {}
        for line, k, e in zip(x, y, exposure, strict=True):
            if e > 0:
                key = (*line, k, 1.0 if merge and k == 0 else e)
                out[key] = out.get(key, 0.0) + (e if merge and k == 0 else 1.0)
        return out

    def tabled(table):
        out = {}
        for p, k, c, e in zip(table.pattern, table.y, table.cells, table.exposure, strict=True):
            merged = merge and k == 0
            key = (*table.x[p], k, 1.0 if merged else e * scale)
            out[key] = out.get(key, 0.0) + c * (scale if merged else 1.0)
        return out

    def same(table, x):
        expected = counted(x)
        found = tabled(table)
        assert found.keys() == expected.keys()
        assert [found[k] for k in expected] == pytest.approx(list(expected.values()), rel=1e-12)

    same(cells.table(node), x)
    j = next(v for v in range(18) if v not in columns)
    added = np.column_stack([x, design.variables[j].sign * design.indicator(j).astype(float)])
    same(cells.with_variable(node, j), added)
    if columns:
        same(cells.without(node, columns[0]), np.delete(x, 1, axis=1))
        same(cells.with_variable(node, j, columns[0]), np.delete(added, 1, axis=1))
    some, elsewhere, events = cells.support(node, j)
    on = design.indicator(j)[exposure > 0] == 1
    assert (some, elsewhere) == (on.any(), (~on).any())
    assert events == y[exposure > 0][on].sum()


def test_many_codes_do_not_overflow_a_word() -> None:
    """A block of 256 codes fills a word; more blocks open others."""
    rng = np.random.default_rng(0)
    from stats_designs import bits_block

    design = Design(tuple(bits_block(rng.integers(0, 2, (900, 8)), f) for f in range(4)), 900)
    y = simulate(rng, design, {0: 1.0, 31: 1.0}, base=0.5)
    cells = CellTable.from_design(design, y.astype(float))
    assert cells.entries.words.shape[1] == 4
    for j in range(32):
        inside = cells.inside(cells.node(()), j)
        assert inside.sum() == design.indicator(j).sum()
    assert set(stepwise(design, y, range(32)).model.columns) >= {0, 31}


def test_bad_rows_are_named() -> None:
    design, y, _ = city()
    codes = np.array([b.codes for b in design.blocks])
    ones = np.ones(len(y))
    with pytest.raises(InputError, match="one line per block"):
        stepwise_entries(design, codes[:-1], y, ones, range(30))
    with pytest.raises(InputError, match="row 3 stands for 0 cells"):
        stepwise_entries(design, codes, y, np.where(np.arange(len(y)) == 3, 0, 1), range(30))
    with pytest.raises(InputError, match="shape"):
        stepwise_entries(design, codes, y, ones[1:], range(30))
    with pytest.raises(InputError, match="threads"):
        stepwise(design, y, range(30), threads=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 1000, 1 << 20]), st.sampled_from([1, 3, 10**9]))
def test_pairs_sorted_in_parts_are_those_sorted_at_once(seed: int, counts: int, exposures: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 800))
    y, e = rng.integers(0, counts, n).astype(float), rng.integers(1, exposures + 1, n) / 7.0
    whole = np.lexsort((e, y))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "PIECE", 16)
        order = levels.sorted_pairs(y, e, lambda: None)
    assert (np.sort(order) == np.arange(n)).all()
    assert (y[order] == y[whole]).all()
    assert (e[order] == e[whole]).all()


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_tabulation_answers_a_cancel_piece_by_piece(
    family: str, exposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    design, y, rng = city(1)
    exposure = rng.gamma(2.0, 0.5, design.n_cells) if exposed else None
    whole = bits(stepwise(design, y, range(30), families=(family,), exposure=exposure))
    monkeypatch.setattr(entries, "PIECE", 100)
    monkeypatch.setattr(levels, "PIECE", 100)
    assert bits(stepwise(design, y, range(30), families=(family,), exposure=exposure)) == whole
    for stop in (2, 5, 20):  # of 30 pieces
        asked = 0

        def cancel(stop: int = stop) -> bool:
            nonlocal asked
            asked += 1
            return asked == stop

        monkeypatch.setattr("rtmdx.model.stepwise.Search", None)  # not reached
        with pytest.raises(Cancelled):
            stepwise(design, y, range(30), families=(family,), exposure=exposure, cancel=cancel)
        assert asked == stop


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(0, 3))
def test_order_by_level_is_a_stable_sort(levels: list[int], beyond: int) -> None:
    level = np.array(levels, np.int32)
    n_levels = int(level.max(initial=-1)) + 1 + beyond
    weight = np.arange(1, len(level) + 1, dtype=np.int64)
    order, begin, total = np.empty(len(level), np.int32), np.empty(n_levels + 1, np.int32), np.empty(n_levels, np.int64)
    _tables.order_by_level(level, weight, order, begin, total)
    assert order.tolist() == np.argsort(level, kind="stable").tolist()
    assert begin.tolist() == [int((level < v).sum()) for v in range(n_levels + 1)]
    assert total.tolist() == [int(weight[level == v].sum()) for v in range(n_levels)]
