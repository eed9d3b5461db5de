"""Confidence of ranks against draws made and ranked in the test."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from scipy.stats import rankdata
from shapely import box

from rtmdx import priority
from rtmdx.errors import Cancelled, InputError
from rtmdx.model.scores import relative_risk_score
from terrain_fixture import make_terrain


def unsure(terrain, times=25.0):
    """A terrain with larger errors, so that its ranks vary."""
    model = replace(terrain.model, covariance=times * terrain.model.covariance)
    return replace(terrain, selection=replace(terrain.selection, model=model))


TERRAIN = unsure(make_terrain(rows=30, cols=40))


def drawn(terrain, n, seed, covariance, by="score"):
    """Scores of n models, by Cholesky's root of the eigenvectors' order: the same numbers from the same seeds."""
    model = terrain.model
    size = 1 + len(model.coefficients)
    values, vectors = np.linalg.eigh(covariance[:size, :size])
    root = vectors @ np.diag(np.sqrt(values))
    fitted = model.linear_predictor(terrain.design)
    out = []
    for s in np.random.SeedSequence(seed).spawn(n):
        b = model.parameters[:size] + root @ np.random.default_rng(s).standard_normal(size)
        one = replace(model, intercept=b[0], coefficients=b[1:])
        if by == "score":
            out.append(relative_risk_score(one, terrain.design))
        else:
            out.append(terrain.expected_cells * np.exp(one.linear_predictor(terrain.design) - fitted))
    return np.array(out)


def in_top(score, k):
    low, high = rankdata(-score, "min"), rankdata(-score, "max")
    return np.clip((k - low + 1) / (high - low + 1), 0, 1)


@pytest.mark.parametrize("by", ["score", "expected"])
def test_cells_as_ranked_here(by):
    k = 100
    r = priority.rank_confidence(TERRAIN, k=k, by=by, draws=60, seed=5, level=0.8)
    values = drawn(TERRAIN, 60, 5, TERRAIN.model.covariance, by)
    ranks = np.array([rankdata(-v) for v in values])
    np.testing.assert_allclose(r.p_top, np.mean([in_top(v, k) for v in values], axis=0), atol=1e-12)
    np.testing.assert_allclose(r.rank_low, np.quantile(ranks, 0.1, axis=0))
    np.testing.assert_allclose(r.rank_median, np.median(ranks, axis=0))
    np.testing.assert_allclose(r.rank_high, np.quantile(ranks, 0.9, axis=0))
    fitted = TERRAIN.score_cells if by == "score" else TERRAIN.expected_cells
    np.testing.assert_allclose(r.rank, rankdata(-fitted))
    np.testing.assert_allclose(r.in_top, in_top(fitted, k))
    assert r.p_top.sum() == pytest.approx(k)
    assert 0 < r.kept <= 1


def test_the_seed_decides_and_threads_do_not():
    a = priority.rank_confidence(TERRAIN, share=0.05, draws=40, threads=1)
    b = priority.rank_confidence(TERRAIN, share=0.05, draws=40, threads=7, memory=0)
    c = priority.rank_confidence(TERRAIN, share=0.05, draws=40, seed=1)
    for name in ("p_lowest", "p_top", "p_highest", "rank_low", "rank_median", "rank_high"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.p_top != c.p_top).any()
    assert a.k == round(0.05 * TERRAIN.grid.n_cells)


def test_certain_coefficients_give_the_fitted_ranks():
    model = replace(TERRAIN.model, covariance=np.zeros_like(TERRAIN.model.covariance))
    sure = replace(TERRAIN, selection=replace(TERRAIN.selection, model=model))
    r = priority.rank_confidence(sure, k=50, draws=20)
    np.testing.assert_allclose(r.rank_low, r.rank)
    np.testing.assert_allclose(r.rank_high, r.rank)
    np.testing.assert_allclose(r.p_top, r.in_top)
    wide = replace(
        sure,
        selection=replace(
            sure.selection, model=replace(model, covariance=np.eye(6)[: len(model.parameters), : len(model.parameters)])
        ),
    )
    assert priority.rank_confidence(wide, k=50, draws=20).kept < r.kept


def test_robust_covariance_and_its_absence():
    with pytest.raises(InputError, match="no robust covariance"):
        priority.rank_confidence(TERRAIN, k=5, robust=True)
    model = replace(TERRAIN.model, robust_covariance=4 * TERRAIN.model.covariance, n_clusters=12)
    robust = replace(TERRAIN, selection=replace(TERRAIN.selection, model=model))
    r = priority.rank_confidence(robust, k=100, draws=30, robust=True)
    values = drawn(robust, 30, 0, model.robust_covariance)
    np.testing.assert_allclose(r.p_top, np.mean([in_top(v, 100) for v in values], axis=0), atol=1e-12)
    assert "district-robust" in r.method


def test_places_have_the_score_of_their_ground(tmp_path):
    grid = TERRAIN.grid
    west, south, east, north = grid.bounds
    xs = np.linspace(west, east, 6)
    zones = gpd.GeoSeries(
        [box(a, south, b, north) for a, b in itertools.pairwise(xs)], index=list("abcde"), crs=grid.crs
    )
    zones["far"] = box(0, 0, 1, 1)
    r = priority.rank_confidence(TERRAIN, k=2, places=zones, by="expected", statistic="sum", draws=25)
    values = np.array(
        [
            priority.rank(v, grid=grid, places=zones[:5], statistic="sum").score
            for v in drawn(TERRAIN, 25, 0, TERRAIN.model.covariance, "expected")
        ]
    )
    np.testing.assert_allclose(r.p_top[:5], np.mean([in_top(v, 2) for v in values], axis=0))
    assert r.p_top[5] == 0
    assert np.isnan(r.rank[5])
    assert "no cell with a score" in r.notes[0]
    r.save(tmp_path / "p.gpkg")
    assert gpd.read_file(tmp_path / "p.gpkg")["place"].tolist() == [*"abcde", "far"]
    assert r.to_frame().index[-1] == "far"
    with pytest.raises(InputError, match="places were ranked"):
        r.to_dataset()


def test_without_a_variable_all_tie():
    nothing = make_terrain(rows=12, cols=12, selected=False)
    n = nothing.grid.n_cells
    r = priority.rank_confidence(nothing, k=6, draws=20)
    np.testing.assert_allclose(r.p_top, 6 / n)
    np.testing.assert_allclose(r.rank_low, (n + 1) / 2)
    assert "no variable" in r.notes[0]


def test_tells_and_saves(tmp_path):
    r = priority.rank_confidence(TERRAIN, k=100, draws=20)
    told = json.loads(json.dumps(r.to_dict(), allow_nan=False))
    assert told["draws"] == 20
    assert "The choice of variables is taken as given." in r.sentence()
    maps = r.to_dataset()
    np.testing.assert_array_equal(TERRAIN.grid.to_cells(maps["p_top"].values), r.p_top)
    r.save(tmp_path / "c.csv")
    assert len((tmp_path / "c.csv").read_text().splitlines()) == TERRAIN.grid.n_cells + 1
    assert r.to_frame()["rank"].is_monotonic_increasing
    assert set(r.sure(1.0)) <= set(r.sure(0.5))
    with pytest.raises(InputError, match="probability: found 2"):
        r.sure(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found neither"),
        ({"k": 10**9}, "k: found 1,000,000,000"),
        ({"k": 5, "draws": 3}, "draws: found 3"),
        ({"k": 5, "level": 1}, "level: found 1"),
        ({"k": 5, "by": "posterior"}, "by: found 'posterior'"),
        ({"k": 5, "robust": "yes"}, "robust: found 'yes'"),
        ({"k": 5, "seed": -1}, "seed: found -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        priority.rank_confidence(TERRAIN, **options)


def test_needs_a_terrain_and_heeds_a_cancel():
    with pytest.raises(InputError, match="expected a RiskTerrain"):
        priority.rank_confidence(np.ones(5), k=1)
    with pytest.raises(Cancelled):
        priority.rank_confidence(TERRAIN, k=5, cancel=lambda: True)
