"""Fair selection against HiGHS and against enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from rtmdx import priority
from rtmdx.errors import Cancelled, InputError
from worked_examples import example


def city(n, kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "continuous":
        c, people = rng.gamma(0.5, 1, n), rng.gamma(2, 20, n)
        share = np.clip(0.2 + 0.1 * c + rng.normal(0, 0.2, n), 0, 1)
    else:
        c, people = rng.choice(rng.gamma(2, 1, 6), n), rng.choice([0.0, 10, 20], n)
        share = rng.choice([0, 0.25, 0.5, 1], n)
    return c, people * share, people


def exact(c, weight, k):
    n = len(c)
    found = milp(
        -c, constraints=[LinearConstraint(np.ones((1, n)), k, k), LinearConstraint(weight[None], -np.inf, 1e-9)],
        integrality=np.ones(n), bounds=Bounds(0, 1), options={"mip_rel_gap": 1e-7, "time_limit": 20},
    )  # fmt: skip
    assert found.x is not None
    return -found.fun


@pytest.mark.parametrize("kind", ["continuous", "ties"])
@pytest.mark.parametrize("measure", ["share", "ratio"])
def test_within_its_gap_of_highs(kind, measure):
    c, group, people = city(400, kind)
    others = {"population": people} if measure == "share" else {"reference": people - group}
    f = priority.fair_frontier(c, 40, group=group, measure=measure, points=6, **others)
    assert f.points[0].cap == pytest.approx(f.lowest)
    for p in f.points:
        if measure == "share":
            weight = group - p.cap * people
        else:
            weight = group / group.sum() - p.cap * (people - group) / (people - group).sum()
        best = exact(c, weight, 40)
        assert p.value <= best * (1 + 1e-6)
        assert best <= p.bound * (1 + 1e-6)
        assert p.gap == pytest.approx((p.bound - p.value) / p.value)
        assert p.reached <= p.cap * (1 + 1e-9) + 1e-12
        assert len(set(p.cells.tolist())) == 40
        assert p.value == pytest.approx(c[p.cells].sum())
        assert p.price >= p.price_least


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=9), st.data())
def test_small_problems_by_enumeration(rows, data):
    c, a, rest = np.array(rows, dtype=float).T
    people = a + rest
    if people.sum() == 0:
        return
    k = data.draw(st.integers(1, len(rows)))
    cap = data.draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.9, 1.0]))
    sets = [list(s) for s in combinations(range(len(rows)), k)]
    fair = [s for s in sets if a[s].sum() <= cap * people[s].sum() + 1e-12]
    shares = [a[s].sum() / people[s].sum() if people[s].sum() else 0.0 for s in sets]
    if not fair:
        with pytest.raises(InputError, match="cannot be met"):
            priority.fair_frontier(c, k, group=a, population=people, caps=cap)
        return
    f = priority.fair_frontier(c, k, group=a, population=people, caps=cap)
    assert f.lowest == pytest.approx(min(shares))
    p = f.points[0]
    best = max(c[s].sum() for s in fair)
    assert p.value <= best <= p.bound + 1e-9
    assert a[p.cells].sum() <= cap * people[p.cells].sum() + 1e-9
    assert f.unconstrained.value == max(c[s].sum() for s in sets)


def test_the_curve_of_many_cells_is_monotone_and_tight():
    c, group, people = city(60_000, "continuous")
    one = priority.fair_frontier(c, 3000, group=group, population=people, points=20, threads=1)
    two = priority.fair_frontier(c, 3000, group=group, population=people, points=20, threads=2)
    frame = one.to_frame()
    assert (frame["gap"] <= 1e-4).all()
    assert frame["bound"].is_monotonic_increasing
    assert frame["price"].iloc[-1] == pytest.approx(0, abs=1e-9)
    assert frame["reached"].iloc[0] == pytest.approx(one.lowest)
    for a, b in zip(one.points, two.points, strict=True):
        np.testing.assert_array_equal(a.cells, b.cells)
    assert "% less than without a cap" in one.sentences()[0]


def test_an_infeasible_cap_says_which_and_by_how_much():
    with pytest.raises(InputError, match=r"cap 0.2 on the share of residents .* reach is 0.3, 0.1 above it"):
        priority.fair_frontier([1.0, 2, 3], 2, group=[0.2, 0.4, 0.9], caps=0.2, name="residents")


def test_share_without_population_is_the_mean_of_shares():
    f = priority.fair_frontier([1.0, 2, 3], 2, group=[0.2, 0.4, 0.9], caps=[0.55, 1])
    assert [p.cells.tolist() for p in f.points] == [[0, 2], [1, 2]]
    assert f.points[0].reached == pytest.approx(0.55)
    assert f.points[0].price == pytest.approx(0.2)


def test_one_cell_and_all_ties():
    f = priority.fair_frontier([2.0], 1, group=[0.5])
    assert (f.points[0].value, f.points[0].gap, f.lowest) == pytest.approx((2, 0, 0.5))
    f = priority.fair_frontier(np.ones(6), 3, group=np.array([0, 0, 0.3, 0.4, 0.5, 0.6]))
    assert f.unconstrained.cells.tolist() == [0, 1, 2]
    assert len(f.points) == 1
    f = priority.fair_frontier(np.zeros(4), 2, group=np.zeros(4))
    assert (f.points[0].value, f.points[0].gap) == (0, 0)
    assert np.isnan(f.points[0].coverage)


def test_nobody_lives_in_the_cells_chosen():
    f = priority.fair_frontier([5.0, 1, 1], 1, group=[0, 1, 1], population=[0, 2, 1], caps=0)
    assert (f.lowest, f.points[0].reached, f.points[0].value) == (0, 0, 5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"k": 4}, "only 3 cells"),
        ({"group": [1, 2, 3]}, "found 3 of 1 residents"),
        ({"group": [0.1, 0.2]}, "expected 3 numbers"),
        ({"measure": "ratio"}, "needs the residents of a reference group"),
        ({"measure": "ratio", "reference": [0, 0, 0]}, "found nobody"),
        ({"reference": [1, 1, 1]}, 'of measure="ratio"'),
        ({"population": [0, 0, 0], "group": [0, 0, 0]}, "found nobody"),
        ({"caps": [-1]}, "expected numbers >= 0"),
        ({"points": 0}, "1 or more"),
        ({"score": [1, 2, np.inf]}, "not usable"),
    ],
)
def test_bad_input_is_told(arguments, says):
    given = {"score": [1.0, 2, 3], "k": 2, "group": [0.1, 0.2, 0.3]} | arguments
    with pytest.raises(InputError, match=says):
        priority.fair_frontier(given.pop("score"), given.pop("k"), **given)


def test_cancel_and_progress():
    c, group, people = city(2000, "continuous")
    told = []
    priority.fair_frontier(
        c, 50, group=group, population=people, points=5, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (5, 5)
    with pytest.raises(Cancelled):
        priority.fair_frontier(c, 50, group=group, population=people, cancel=lambda: True)


def test_published_siting_objective():
    e = example("P8")
    first = priority.siting_objective(e["inputs"]["white"], e["inputs"]["minority"])
    assert [first, priority.siting_objective(*e["inputs"]["alt"])] == pytest.approx(e["expected"], abs=e["tolerance"])
