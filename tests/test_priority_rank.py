"""Ranks and capture against sorting, with every way to break ties."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import LineString, Point, box

from rtmdx import Grid, priority
from rtmdx.errors import InputError
from rtmdx.model.validity import validity
from terrain_fixture import make_terrain
from worked_examples import example


def by_sorting(score, amount, k):
    """Lowest, expected and highest amount in the first k, by NumPy."""
    low = np.cumsum(np.concatenate([[0], amount[np.lexsort((amount, -score))]]))
    high = np.cumsum(np.concatenate([[0], amount[np.lexsort((-amount, -score))]]))
    ends = np.concatenate([[0], np.cumsum(np.unique(-score, return_counts=True)[1])])
    return low[k], np.interp(k, ends, low[ends]), high[k]


def grid(rows=6, cols=8):
    return Grid("EPSG:32615", 0.0, 10.0 * rows, 10.0, np.ones((rows, cols), dtype=bool))


@pytest.mark.parametrize("kind", ["continuous", "levels", "one", "wild", "heap", "zeros"])
@pytest.mark.parametrize("amounts", ["counts", "floats"])
def test_as_by_sorting(kind, amounts):
    rng = np.random.default_rng(4)
    n = 150_001
    score = {
        "continuous": rng.gamma(2, 1, n),
        "levels": rng.choice(rng.gamma(2, 1, 30), n),
        "one": np.full(n, 2.5),
        "wild": rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-300, 300, n),
        "heap": np.where(rng.random(n) < 0.8, 0.0, rng.normal(size=n)),
        "zeros": rng.choice([0.0, -0.0, 1e-320, -1e-320], n),
    }[kind]
    y = rng.poisson(0.3, n) if amounts == "counts" else rng.normal(1, 2, n) * (rng.random(n) < 0.5)
    if amounts == "floats":
        y = np.abs(y)
    ks = np.array([1, 17, n // 100, n // 10, n // 3, n])
    one, seven = (priority.rank(score, events=y, k=ks, shares=(), threads=t) for t in (1, 7))
    low, mean, high = by_sorting(score, y.astype(float), ks)
    for r in (one, seven):
        got = np.array([[t.events.lowest, t.events.expected, t.events.highest] for t in r.top]).T
        if amounts == "counts":
            np.testing.assert_array_equal(got[0], low)
            np.testing.assert_array_equal(got[2], high)
        np.testing.assert_allclose(got, [low, mean, high], rtol=1e-10, atol=1e-9)
    assert repr(one.top) == repr(seven.top)
    descending = np.sort(-score)
    np.testing.assert_array_equal(one.best, np.searchsorted(descending, -score, "left") + 1)
    np.testing.assert_array_equal(one.worst, np.searchsorted(descending, -score, "right"))
    np.testing.assert_array_equal(one.best, seven.best)
    assert one.levels == np.unique(score).size


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=30), st.data())
def test_bounds_are_reached(pairs, data):
    score, y = np.array(pairs, dtype=float).T
    k = data.draw(st.integers(1, len(pairs)))
    r = priority.rank(score, events=y, k=k, shares=())
    t = r.top[0]
    certain, tied = r.first(k)
    assert (t.certain, t.tied) == (len(certain), len(tied))
    rest = np.sort(y[tied])
    open_places = k - len(certain)
    assert t.events.lowest == y[certain].sum() + rest[:open_places].sum()
    assert t.events.highest == y[certain].sum() + rest[len(rest) - open_places :].sum()
    assert t.events.expected == pytest.approx(y[certain].sum() + (open_places * rest.mean() if len(rest) else 0))


def test_agrees_with_validity():
    rng = np.random.default_rng(0)
    score, y = rng.integers(1, 9, 5000).astype(float), rng.poisson(0.2, 5000)
    ours, theirs = priority.rank(score, events=y, shares=(0.01, 0.2)), validity(score, y, shares=(0.01, 0.2))
    for a, b in zip(ours.top, theirs.top, strict=True):
        for name in ("events", "hit_rate", "pai", "pei"):
            x, z = getattr(a, name), getattr(b, name)
            assert (x.lowest, x.expected, x.highest) == pytest.approx((z.lowest, z.expected, z.highest))


@pytest.mark.parametrize("name", ["P1", "P2"])
def test_published_pai_curves(name):
    e = example(name)
    obs, pred = (np.array(e["inputs"][v], dtype=float) for v in ("obs", "pred"))
    r = priority.rank(pred, events=obs, predicted=pred, k=range(1, len(obs) + 1), shares=())
    tolerance = {"rel": 0, "abs": max(e["tolerance"], 1e-12)}
    assert [t.pai.lowest for t in r.top] == pytest.approx(e["expected"]["pai"], **tolerance)
    assert [t.pei.lowest for t in r.top] == pytest.approx(e["expected"]["pei"], **tolerance)
    assert [t.rri.highest for t in r.top] == pytest.approx(e["expected"]["rri"], **tolerance)  # of the fewest events


def test_tiers_hold_everything_once():
    rng = np.random.default_rng(1)
    score, y = rng.integers(1, 30, 1000).astype(float), rng.poisson(1, 1000)
    for shares in (None, (0.01, 0.1, 0.5)):
        r = priority.rank(score, events=y, tiers=shares)
        for name in ("share", "area_share", "event_share"):
            assert sum(getattr(t, name) for t in r.tiers) == pytest.approx(1)
        assert [t.n for t in r.tiers] == np.bincount(r.tier_index, minlength=len(r.tiers)).tolist()
    assert r.tiers[0].n >= 10
    assert r.tiers[0].lower == 29


def test_polygons_and_lines_have_the_score_of_their_ground():
    g = grid()
    score = np.arange(g.n_cells, dtype=float)
    zones = gpd.GeoSeries([box(0, 50, 20, 60), box(0, 50, 10, 60), box(35, 0, 55, 10)], index=list("abc"), crs=g.crs)
    r = priority.rank(score, grid=g, places=zones, events=np.ones(g.n_cells), k=1)
    np.testing.assert_allclose(r.score, [0.5, 0.0, (43 / 2 + 44 + 45 / 2) / 2])
    assert r.to_frame().index.tolist() == ["c", "a", "b"]
    assert "1 pair of places overlap (first a and b)" in r.notes[0]
    assert r.top[0].events.expected == pytest.approx(2)
    assert r.top[0].area_share.expected == pytest.approx(200 / 500)
    assert priority.rank(score, grid=g, places=zones, statistic="sum").score[0] == pytest.approx(1)
    lines = gpd.GeoSeries([LineString([(0, 55), (20, 55)]), LineString([(0, 5), (10, 5)])], crs=g.crs)
    r = priority.rank(score, grid=g, places=lines, events=[3, 1], k=1)
    np.testing.assert_allclose(r.score, [0.5, 40])
    assert r.top[0].events.expected == 1
    with pytest.raises(InputError, match="sum of cells along a line"):
        priority.rank(score, grid=g, places=lines, statistic="sum")
    with pytest.raises(InputError, match="no share on a line"):
        priority.rank(score, grid=g, places=lines, events=score)
    with pytest.raises(InputError, match="found points"):
        priority.rank(score, grid=g, places=gpd.GeoSeries([Point(5, 5)], crs=g.crs))


def test_a_place_without_cells_has_no_rank():
    g = grid()
    zones = gpd.GeoSeries([box(0, 0, 20, 20), box(900, 900, 950, 950)], index=["in", "out"], crs=g.crs)
    r = priority.rank(np.ones(g.n_cells), grid=g, places=zones)
    assert r.best.tolist() == [1, 0]
    assert np.isnan(r.score[1])
    assert "no cell with a score and no rank: out" in r.notes[0]
    assert r.to_frame().loc["out", "tier"] == ""
    with pytest.raises(InputError, match="none has a cell"):
        priority.rank(np.ones(g.n_cells), grid=g, places=zones[1:])


def test_terrain_by_score_and_expected():
    terrain = make_terrain()
    assert priority.rank(terrain).unit == "cell"
    r = priority.rank(terrain, by="expected", events=terrain.counts)
    np.testing.assert_array_equal(r.score, terrain.expected_cells)
    assert [t.n for t in priority.rank(terrain).tiers] == [b.n_cells for b in terrain.bands]
    with pytest.raises(InputError, match="of a RiskTerrain"):
        priority.rank([1.0, 2.0], by="expected")


def test_one_cell_and_all_ties():
    r = priority.rank([3.0], events=[2], k=1)
    assert (r.best[0], r.worst[0], r.levels) == (1, 1, 1)
    assert r.top[0].pai.expected == 1
    r = priority.rank(np.ones(4), events=[4, 0, 0, 0], k=1, shares=())
    assert (r.top[0].events.lowest, r.top[0].events.expected, r.top[0].events.highest) == (0, 1, 4)
    assert (r.top[0].certain, r.top[0].tied) == (0, 4)
    assert r.tiers[0].n == 0
    r = priority.rank(np.ones(4), k=2)
    assert np.isnan(r.top[0].events.expected)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"score": [1.0, np.nan]}, "1 of 2 are not usable"),
        ({"score": []}, "found an array of shape"),
        ({"score": [1.0, 2.0], "k": 3}, "found 3, but there are only 2"),
        ({"score": [1.0, 2.0], "k": 0}, "1 or more"),
        ({"score": [1.0, 2.0], "shares": (1.5,)}, "at most 1"),
        ({"score": [1.0, 2.0], "events": [1]}, "found 1 numbers, expected 2"),
        ({"score": [1.0, 2.0], "events": [1, -1]}, "from 0"),
        ({"score": [1.0, 2.0], "tiers": (0.5, 0.1)}, "ascending shares"),
        ({"score": [1.0, 2.0], "places": [box(0, 0, 1, 1)]}, "need a grid"),
    ],
)
def test_bad_input_is_told(arguments, says):
    with pytest.raises(InputError, match=says):
        priority.rank(arguments.pop("score"), **arguments)
