"""Districts, cover and least-cost sets against enumeration and published figures."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from rtmdx import priority
from rtmdx.errors import InputError
from worked_examples import example

LINE = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))


def test_published_districts():
    e = example("P3")
    given = e["inputs"]
    plan = priority.districts(given["calls"], LINE, given["k"], tolerance=given["disparity"])
    names = "ABCD"
    assert plan.objective == e["expected"]["objective"]
    assert [names[j] for j in plan.sources] == e["expected"]["sources"]
    assert [[names[i] for i in areas] for areas in plan.to_frame()["areas"]] == e["expected"]["areas"]
    assert plan.gap == 0


def test_published_p_median():
    example("P4")
    pytest.skip("P4: its data, spopt's San Francisco tracts, are not at hand")


def test_published_least_cost_set():
    e = example("P7")
    given = e["inputs"]
    s = priority.min_set(
        given["cost"], given["features"], given["targets"], locked_in=given["locked_in"], locked_out=given["locked_out"]
    )
    assert s.chosen.astype(int).tolist() == e["expected"]
    assert s.gap == pytest.approx(0)


@pytest.mark.parametrize("contiguous", [False, True])
def test_districts_by_enumeration(contiguous):
    rng = np.random.default_rng(2)
    n, k = 6, 2
    a, xy = rng.integers(1, 6, n).astype(float), np.array([[i % 3, i // 3] for i in range(n)]) * [1.0, 1.1]
    d = np.hypot(*(xy[:, None] - xy[None]).T)
    pairs = [(i, j) for i, j in combinations(range(n), 2) if d[i, j] < 1.2]
    best = np.inf
    for sources in combinations(range(n), k):
        for own in product(sources, repeat=n):
            own = np.array(own)
            load = np.array([a[own == j].sum() for j in sources])
            if abs(load - a.sum() / k).max() > 0.3 * a.sum() / k + 1e-9:
                continue
            if contiguous and not all(
                i == j or any(own[b] == j and d[b, j] < d[i, j] for b in _beside(i, pairs)) for i, j in enumerate(own)
            ):
                continue
            best = min(best, (a * d[np.arange(n), own]).sum())
    plan = priority.districts(a, d, k, tolerance=0.3, neighbours=pairs if contiguous else None)
    assert plan.objective == pytest.approx(best)
    assert plan.bound <= plan.objective


def _beside(i, pairs):
    return [b if a == i else a for a, b in pairs if i in (a, b)]


def test_cover_by_enumeration():
    rng = np.random.default_rng(1)
    w, d = rng.gamma(1, 1, 12), rng.random((12, 6))
    c = priority.cover(w, d, 0.3, 2, locked_out=[0])
    best = max(w[(d[:, list(s)] <= 0.3).any(axis=1)].sum() for s in combinations(range(1, 6), 2))
    assert c.value == pytest.approx(best)
    assert c.sites.sum() == 2
    assert c.coverage == pytest.approx(best / w.sum())
    assert c.gap == pytest.approx(0, abs=1e-6)
    one = priority.cover([1.0], [[0.0]], 0, 1)
    assert (one.value, one.coverage) == (1, 1)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: priority.districts([9, 1, 1, 1], LINE, 2), "area 0 alone has 9, 1.8 above"),
        (lambda: priority.districts([2, 2, 2], np.ones((3, 3)), 2, tolerance=0.1), "no 2 districts are within 0.1"),
        (lambda: priority.districts([1, 2], LINE, 2), "expected finite numbers"),
        (lambda: priority.districts([1, 1, 1, 1], LINE, 5), "only 4 areas"),
        (lambda: priority.districts(np.ones(501), np.ones((501, 501)), 2), "hundreds of areas"),
        (lambda: priority.districts([1, 1, 1, 1], LINE, 2, seconds=0), "above 0"),
        (lambda: priority.cover([1, 1], [[0, 1], [1, 0]], 0.5, 3), "found 3, but 0 of 2"),
        (lambda: priority.cover([1, 1], [0, 1], 0.5, 1), "found an array of shape"),
        (lambda: priority.min_set([1, 1], [[1, 1]], [3]), "feature 0 should reach 3, .* hold 2, 1 less"),
        (lambda: priority.min_set([1, 1], [[1, 1]], [1], locked_in=[0], locked_out=[0]), "in both"),
    ],
)
def test_bad_input_is_told(call, says):
    with pytest.raises(InputError, match=says):
        call()
