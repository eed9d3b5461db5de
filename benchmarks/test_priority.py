"""Prioritization at size: ranks and capture of 10 million cells beside NumPy's argsort and cumsum.

pytest benchmarks/test_priority.py --benchmark-only -s
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from rtmdx import Grid, _priority
from rtmdx.priority import fair_frontier, select

N = 10_000_000
KS = np.round(np.linspace(0, N, 201)).astype(np.int64)


def problem(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    score = rng.gamma(2, 1, N) if kind == "no ties" else rng.choice(rng.gamma(2, 1, 60), N)
    return score, rng.poisson(0.05, N).astype(float)


def by_numpy(score: np.ndarray, events: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and last rank, expected capture: one sort, without the bounds, which would need two more."""
    order = np.argsort(-score)
    ordered = score[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), N - 1) + 1
    starts = np.concatenate([[0], ends[:-1]])
    level = np.repeat(np.arange(ends.size), ends - starts)
    best, worst = np.empty((2, N), dtype=np.int32)
    best[order], worst[order] = starts[level] + 1, ends[level]
    held = np.concatenate([[0], np.cumsum(events[order])])
    at = np.concatenate([[0], ends])
    return best, worst, np.interp(KS, at, held[at])


@pytest.mark.parametrize("kind", ["no ties", "60 scores"])
def test_rank_rtmdx(benchmark: Any, kind: str) -> None:
    benchmark.group = f"rank and capture, {N:,} cells, {kind}"
    score, events = problem(kind)

    def ours() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        best, worst, curve = np.empty(N, np.int32), np.empty(N, np.int32), np.empty((3, KS.size))
        _priority.rank(score, events, KS, best, worst, curve, 2)
        return best, worst, curve

    best, worst, curve = benchmark.pedantic(ours, rounds=5)
    expected = by_numpy(score, events)
    np.testing.assert_array_equal(best, expected[0])
    np.testing.assert_array_equal(worst, expected[1])
    np.testing.assert_allclose(curve[1], expected[2], rtol=1e-12)
    for row, sign in ((0, 1), (2, -1)):
        held = np.cumsum(events[np.lexsort((sign * events, -score))])
        np.testing.assert_array_equal(curve[row][1:], held[KS[1:] - 1])


@pytest.mark.parametrize("kind", ["no ties", "60 scores"])
def test_rank_numpy(benchmark: Any, kind: str) -> None:
    benchmark.group = f"rank and capture, {N:,} cells, {kind}"
    score, events = problem(kind)
    best, _, curve = benchmark.pedantic(lambda: by_numpy(score, events), rounds=2)
    assert best.min() == 1
    assert curve[-1] == events.sum()


def test_fair_frontier(benchmark: Any) -> None:
    """50 points of the trade-off on a million cells: at most 10 s on two cores, every gap at most 0.01 %."""
    benchmark.group = "fair frontier, 50 points, 1,000,000 cells"
    n = 1_000_000
    rng = np.random.default_rng(0)
    expected, people = rng.gamma(0.5, 0.05, n), rng.gamma(2, 20, n)
    group = people * np.clip(0.3 + expected + rng.normal(0, 0.2, n), 0, 1)
    run = partial(fair_frontier, expected, n // 100, group=group, population=people, points=50, threads=2)
    found = benchmark.pedantic(run, rounds=1)
    assert len(found.points) == 50
    assert max(p.gap for p in found.points) <= 1e-4
    for p in found.points:
        assert p.value == pytest.approx(expected[p.cells].sum())
        assert group[p.cells].sum() / people[p.cells].sum() <= p.cap * (1 + 1e-9)
    benchmark.extra_info["largest gap, %"] = 100 * max(p.gap for p in found.points)
    print(f"\nlargest gap {100 * max(p.gap for p in found.points):.6f} % (target 0.01 %)")


@pytest.mark.parametrize("spacing", [0.0, 35.0])
def test_contiguous_selection(benchmark: Any, spacing: float) -> None:
    """5,000 of 100,160 cells in patches of at least 10, valid by SciPy's labelling: at most 5 s."""
    benchmark.group = "contiguous selection, 100,160 cells, patches of 10"
    z = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(320, 313)), 3)
    grid = Grid("EPSG:32615", 0.0, 3200.0, 10.0, np.ones(z.shape, dtype=bool))
    run = partial(select, np.exp(2 * z / z.std()).ravel(), 5000, grid=grid, min_patch=10, spacing=spacing)
    found = benchmark.pedantic(run, rounds=2)
    labels, count = ndimage.label(found.chosen.reshape(z.shape), np.ones((3, 3)))
    assert count == found.n_patches
    assert np.bincount(labels.ravel())[1:].min() >= 10
    assert found.cost <= 5000
    benchmark.extra_info["gap, %"] = 100 * found.gap
    print(f"\ngap {100 * found.gap:.3f} %")
