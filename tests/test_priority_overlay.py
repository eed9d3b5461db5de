"""Terrains laid over hot spots and over each other, against plain NumPy and SciPy."""

from __future__ import annotations

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata
from shapely import Point

from rtmdx import Grid, density, priority
from rtmdx.errors import CRSError, InputError, OutputError
from terrain_fixture import make_terrain

TERRAIN = make_terrain(rows=30, cols=40)
GRID = Grid("EPSG:32615", 0.0, 60.0, 10.0, np.ones((6, 8), dtype=bool))


def test_density_of_the_fitted_events_and_mean_plus_two_sd():
    r = priority.combine(TERRAIN)
    points = np.column_stack([TERRAIN.events.x, TERRAIN.events.y])
    width = max(d for f in TERRAIN.factors for d in f.distances)
    expected = density(points, TERRAIN.grid, bandwidth=width, dtype="float64").values[TERRAIN.grid.mask]
    np.testing.assert_array_equal(r.hot_spots, expected)
    assert r.bandwidth == width
    in_a = TERRAIN.score_cells >= TERRAIN.score_cells.mean() + 2 * TERRAIN.score_cells.std(ddof=1)
    in_b = expected >= expected.mean() + 2 * expected.std(ddof=1)
    sets = [in_a & in_b, in_a & ~in_b, ~in_a & in_b, ~in_a & ~in_b]
    for c, inside in zip(r.classes, sets, strict=True):
        assert c.n == inside.sum()
        assert c.events == TERRAIN.counts[inside].sum()
        assert c.area_share == pytest.approx(inside.mean())
        if c.n:
            assert c.pai == pytest.approx(c.event_share / c.area_share)
    assert sum(c.event_share for c in r.classes) == pytest.approx(1)
    np.testing.assert_array_equal(r.chosen, sets[0])
    assert r.in_both_by_chance == pytest.approx(in_a.sum() * in_b.sum() / in_a.size)
    assert r.tau == pytest.approx(kendalltau(TERRAIN.score_cells, expected).statistic)
    assert "both layers have seen them" in r.notes[0]
    either = priority.combine(TERRAIN, how="either")
    np.testing.assert_array_equal(either.chosen, in_a | in_b)


@pytest.mark.parametrize("weight", [0.5, 0.8, 0.0, 1.0])
def test_rank_products_with_ties(weight):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 48).astype(float), rng.integers(0, 30, 48).astype(float)
    r = priority.combine(a, b, grid=GRID, how="rank_product", weight=weight, top=0.2)
    ranks = np.array([rankdata(-a), rankdata(-b)])
    expected = np.exp(np.average(np.log(ranks), axis=0, weights=[weight, 1 - weight]))
    np.testing.assert_allclose(r.rank_product, expected, rtol=1e-10)
    k = int((rankdata(-a, "min") <= round(0.2 * 48)).sum())  # the terrain's top, with its ties
    cut = np.sort(r.rank_product)[k - 1]
    np.testing.assert_array_equal(r.chosen, r.rank_product <= cut)
    assert r.chosen.sum() >= k
    assert r.choice.n == r.chosen.sum()
    assert np.isnan(r.choice.event_share)
    ranking = priority.rank(r.score, grid=GRID)
    np.testing.assert_array_equal(ranking.best, rankdata(r.rank_product, "min"))
    frame = r.to_frame()
    assert frame["rank_product"].is_monotonic_increasing


def test_equal_products_tie():
    a, b = np.array([8.0, 6, 4, 2] + [0] * 44), np.array([2.0, 6, 8, 4] + [0] * 44)
    r = priority.combine(a, b, grid=GRID, how="rank_product")
    ranks = [(1, 4), (2, 2), (3, 1), (4, 3)]
    np.testing.assert_allclose(r.rank_product[:4], [np.sqrt(x * y) for x, y in ranks])
    assert r.rank_product[0] == r.rank_product[1]  # 1 x 4 and 2 x 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=48, max_size=48), st.data()
)
def test_classes_hold_every_cell_once_and_never_part_a_tie(rows, data):
    a, b, events = np.array(rows, dtype=float).T
    tops = (data.draw(st.floats(0.01, 1)), data.draw(st.floats(0.01, 1)))
    r = priority.combine(a, b, grid=GRID, top=tops, events=events, how="either")
    assert sum(c.n for c in r.classes) == 48
    assert sum(c.events for c in r.classes) == events.sum()
    for values, inside, share in ((a, r.index <= 1, tops[0]), (b, (r.index % 2) == 0, tops[1])):
        k = max(1, round(share * 48))
        np.testing.assert_array_equal(inside, values >= np.sort(values)[::-1][k - 1])


def test_hot_spots_of_every_kind():
    points = gpd.GeoSeries([Point(12, 33), Point(14, 36), Point(70, 8)], crs=GRID.crs)
    score = np.arange(48.0)
    r = priority.combine(score, points, grid=GRID, bandwidth=20, kernel="quartic")
    expected = density(points, GRID, bandwidth=20, kernel="quartic", dtype="float64")
    np.testing.assert_array_equal(r.hot_spots, expected.values.ravel())
    for given_ in (expected, expected.values, expected.values.ravel()):
        again = priority.combine(score, given_, grid=GRID)
        np.testing.assert_array_equal(again.index, r.index)
        assert again.bandwidth is None
    xy = np.array([[p.x, p.y] for p in points])
    np.testing.assert_array_equal(priority.combine(score, xy, grid=GRID, bandwidth=20, kernel="quartic").index, r.index)
    with pytest.raises(CRSError):
        priority.combine(score, points.to_crs("EPSG:26915"), grid=GRID, bandwidth=20)


def test_flat_layers_and_one_cell():
    r = priority.combine(np.ones(48), np.ones(48), grid=GRID)
    assert r.classes[3].n == 48  # no cell stands out
    assert np.isnan(r.tau)
    assert priority.combine(np.ones(48), np.ones(48), grid=GRID, how="rank_product").chosen.sum() == 0
    one = Grid("EPSG:32615", 0.0, 10.0, 10.0, np.ones((1, 1), dtype=bool))
    r = priority.combine(np.ones(1), np.ones(1), grid=one, top=0.5, events=[3])
    assert (r.classes[0].n, r.classes[0].pai) == (1, 1)
    assert np.isnan(r.classes[1].pai)


def test_combination_tells_and_saves(tmp_path):
    r = priority.combine(TERRAIN, top=0.05)
    told = json.loads(json.dumps(r.to_dict(), allow_nan=False))
    assert [c["name"] for c in told["classes"]] == ["both", "terrain only", "hot spot only", "neither"]
    assert "5 % of the cells" in r.sentence()
    assert "by chance" in r.sentence()
    r.save(tmp_path / "c.gpkg")
    cells = gpd.read_file(tmp_path / "c.gpkg", layer="cells")
    assert cells["class"].value_counts().to_dict() == {c.name: c.n for c in r.classes if c.n}
    assert len(gpd.read_file(tmp_path / "c.gpkg", layer="classes")) == 5
    r.save(tmp_path / "c.csv")
    with pytest.raises(OutputError):
        r.save(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "all"}, "how: found 'all'"),
        ({"top": 0}, "top: found 0"),
        ({"top": (0.1, 0.2, 0.3)}, "top: found 3 shares"),
        ({"weight": 2}, "weight: found 2"),
        ({"bandwidth": -5}, "bandwidth"),
        ({"events": [1, 2]}, "events: found an array of shape"),
        ({"hot_spots": np.arange(5.0)}, "hot_spots: found .* expected points, or one number per cell"),
        ({"hot_spots": TERRAIN.score_cells, "bandwidth": 100}, "taken as they stand"),
        ({"hot_spots": np.full(TERRAIN.grid.n_cells, np.inf)}, "hot_spots: .* not usable"),
    ],
)
def test_bad_combinations(options, message):
    with pytest.raises(InputError, match=message):
        priority.combine(TERRAIN, **options)


def test_scores_of_ones_own_need_a_grid_and_a_bandwidth():
    with pytest.raises(InputError, match="need a grid"):
        priority.combine(np.ones(48), np.ones(48))
    with pytest.raises(InputError, match="hot_spots: found None"):
        priority.combine(np.ones(48), grid=GRID)
    with pytest.raises(InputError, match="bandwidth: found None"):
        priority.combine(np.ones(48), [[1.0, 2.0]], grid=GRID)


def layers():
    rng = np.random.default_rng(5)
    return {"a": rng.gamma(2, 1, 48), "b": rng.integers(0, 5, 48).astype(float), "c": rng.gamma(1, 3, 48)}


def in_top(v, k):
    low, high = rankdata(-v, "min"), rankdata(-v, "max")
    return np.clip((k - low + 1) / (high - low + 1), 0, 1)


@pytest.mark.parametrize("how", ["share", "sum", "rank_product", "count"])
def test_several_outcomes(how):
    values, weights = layers(), {"a": 2.0, "b": 1.0, "c": 0.5}
    w = np.array(list(weights.values()))
    v = np.array(list(values.values()))
    r = priority.overlay(values, k=10, weights=weights, how=how, grid=GRID)
    expected = {
        "share": w @ (v / v.sum(axis=1, keepdims=True)),
        "sum": w @ v,
        "rank_product": 1 - (np.exp(np.average(np.log([rankdata(-x) for x in v]), axis=0, weights=w)) - 1) / 48,
        "count": w @ np.array([in_top(x, 10) for x in v]),
    }[how]
    np.testing.assert_allclose(r.score, expected, rtol=1e-10)
    chosen = in_top(r.score, 10)
    for layer, x in zip(r.layers, v, strict=True):
        assert layer.weight == weights[layer.name]
        assert layer.held == pytest.approx((chosen * x).sum())
        assert layer.own == pytest.approx(np.sort(x)[::-1][:10].sum())
        assert layer.given_up == pytest.approx(1 - layer.held / layer.own)
    tau, overlap = r.pairs["a", "c"]
    assert tau == pytest.approx(kendalltau(values["a"], values["c"]).statistic)
    both = len(set(np.argsort(-values["a"])[:10]) & set(np.argsort(-values["c"])[:10]))
    assert overlap.lowest == overlap.highest == pytest.approx(both / (20 - both))
    assert "weights: a 2, b 1, c 0.5" in r.sentence()


def test_outcomes_of_terrains(tmp_path):
    other = make_terrain(rows=30, cols=40, seed=2, selected=False)
    other = replace(other, expected_cells=np.random.default_rng(0).gamma(1, 1, other.grid.n_cells))
    r = priority.overlay({"robbery": TERRAIN, "theft": other}, share=0.02)
    assert r.k == round(0.02 * TERRAIN.grid.n_cells)
    assert r.layers[0].total == pytest.approx(TERRAIN.expected_cells.sum())
    assert dict(r.weights) == {"robbery": 1.0, "theft": 1.0}
    r.save(tmp_path / "o.gpkg")
    assert set(gpd.read_file(tmp_path / "o.gpkg", layer="layers")["name"]) == {"robbery", "theft"}
    r.save(tmp_path / "o.csv")
    assert "in_top_robbery" in (tmp_path / "o.csv").read_text().splitlines()[0]
    json.dumps(r.to_dict(), allow_nan=False)
    assert r.to_frame()["rank_best"].is_monotonic_increasing
    bare = priority.overlay(layers(), k=3)
    with pytest.raises(InputError, match="no grid and so no shapes"):
        bare.save(tmp_path / "b.gpkg")
    with pytest.raises(InputError, match="theft: lies on another grid than robbery"):
        priority.overlay({"robbery": TERRAIN, "theft": make_terrain(rows=20, cols=20)}, k=5)


@pytest.mark.parametrize(
    ("given_", "options", "message"),
    [
        ({"a": np.ones(4)}, {"k": 1}, "at least two names"),
        ([1, 2], {"k": 1}, "layers: found"),
        ({"a": np.ones(4), "b": np.ones(5)}, {"k": 1}, "b: has 5 cells, the others 4"),
        ({"a": np.ones(4), "b": np.ones(4)}, {}, "found neither"),
        ({"a": np.ones(4), "b": np.ones(4)}, {"k": 5}, "only 4 cells"),
        ({"a": np.ones(4), "b": np.zeros(4)}, {"k": 1}, "b: has values below 0, or sums to 0"),
        ({"a": np.ones(4), "b": -np.ones(4)}, {"k": 1}, "b: has values below 0"),
        ({"a": np.ones(4), "b": np.ones(4)}, {"k": 1, "weights": {"a": 1}}, "expected one for each of a, b"),
        ({"a": np.ones(4), "b": np.ones(4)}, {"k": 1, "weights": {"a": 1, "b": -1}}, "weights, b: found -1"),
        ({"a": np.ones(4), "b": np.ones(4)}, {"k": 1, "weights": {"a": 0, "b": 0}}, "all are 0"),
        ({"a": np.ones(4), "b": np.ones(4)}, {"k": 1, "how": "max"}, "how: found 'max'"),
        ({"a": np.ones(4), "b": np.array([1, np.nan, 1, 1])}, {"k": 1}, "b: 1 of 4 are not usable"),
    ],
)
def test_bad_outcomes(given_, options, message):
    with pytest.raises(InputError, match=message):
        priority.overlay(given_, **options)
