"""Two terrains compared: factors by hand, overlap of tops by trying every way to break ties."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, norm, rankdata, spearmanr
from shapely import box

from rtmdx import open_sweep, priority
from rtmdx.errors import InputError, OutputError
from rtmdx.model.families import fit_count_model
from rtmdx.priority.ties import common, ranks_of
from sweep_stores import fill, manifest_of, raster_of
from terrain_fixture import make_terrain

A = make_terrain(rows=30, cols=40)


def refitted(terrain, coefficients, *, keep=None, title="Riverton, a year on", times=1.0):
    """The terrain with other coefficients, errors and, by choice, fewer variables."""
    model = terrain.model
    at = list(range(len(model.variables))) if keep is None else keep
    size = [0, *[i + 1 for i in at], len(model.covariance) - 1]
    own = replace(
        model,
        variables=tuple(model.variables[i] for i in at),
        columns=tuple(model.columns[i] for i in at),
        coefficients=np.array([coefficients[i] for i in at]),
        covariance=times * model.covariance[np.ix_(size, size)],
    )
    score = np.exp(own.linear_predictor(terrain.design))
    return replace(
        terrain, title=title, selection=replace(terrain.selection, model=own), score_cells=score / score.min(),
        expected_cells=score,
    )  # fmt: skip


B = refitted(A, A.model.coefficients + np.array([0.3, -0.1, 0.0, 0.2]), times=2.0)


def tops(values, k):
    """Every set of k that some breaking of ties makes the first k."""
    low, high = rankdata(-values, "min"), rankdata(-values, "max")
    sure = set(np.flatnonzero(high <= k))
    tied = np.flatnonzero((low <= k) & (high > k))
    return [sure | set(extra) for extra in combinations(tied, k - len(sure))]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=9), st.data())
def test_overlap_is_reached_and_never_left(pairs, data):
    a, b = np.array(pairs, dtype=float).T
    k_a, k_b = data.draw(st.integers(1, len(pairs))), data.draw(st.integers(1, len(pairs)))
    found = common(ranks_of(a, 1), ranks_of(b, 1), k_a, k_b)
    sizes = [len(x & y) for x in tops(a, k_a) for y in tops(b, k_b)]
    assert (found.lowest, found.highest) == (min(sizes), max(sizes))
    assert found.expected == pytest.approx(np.mean(sizes))


def test_factors_by_hand():
    r = priority.compare(A, B, k=100, level=0.9)
    assert [f.status for f in r.factors] == ["same variable"] * 4
    by_name = {f.factor: f for f in r.factors}
    for v, i in zip(A.model.variables, range(4), strict=True):
        f = by_name[v.factor_name]
        d = B.model.coefficients[i] - A.model.coefficients[i]
        se = math.hypot(A.model.standard_errors[i + 1], B.model.standard_errors[i + 1])
        assert f.ratio == pytest.approx(math.exp(d))
        assert (f.low, f.high) == pytest.approx((math.exp(d - 1.6448536 * se), math.exp(d + 1.6448536 * se)))
        assert f.p == pytest.approx(2 * norm.sf(abs(d / se)))
        assert f.rrv_b == pytest.approx(math.exp(B.model.coefficients[i]))
    assert "independent fits" in r.method
    turned = priority.compare(B, A, k=100, level=0.9)
    for f, g in zip(
        r.factors, sorted(turned.factors, key=lambda f: [x.factor for x in r.factors].index(f.factor)), strict=True
    ):
        assert g.ratio == pytest.approx(1 / f.ratio)
        assert (g.low, g.high) == pytest.approx((1 / f.high, 1 / f.low))
        assert g.p == pytest.approx(f.p)


def test_factors_in_one_model_only_and_other_variables():
    fewer = refitted(A, A.model.coefficients, keep=[0, 2])
    r = priority.compare(A, fewer, k=50)
    status = {f.factor: f.status for f in r.factors}
    assert sorted(status.values()) == ["only in a", "only in a", "same variable", "same variable"]
    gone = next(f for f in r.factors if f.status == "only in a")
    assert np.isnan([gone.rrv_b, gone.ratio, gone.low, gone.high, gone.p]).all()
    assert "Only in Riverton, street robbery:" in r.sentence()
    swapped = replace(fewer.model, variables=tuple(replace(v, distance=v.distance * 2) for v in fewer.model.variables))
    other = replace(fewer, selection=replace(fewer.selection, model=swapped))
    r = priority.compare(fewer, other, k=50)
    assert {f.status for f in r.factors} == {"other variable"}
    assert all(np.isnan(f.ratio) and f.rrv_b > 0 for f in r.factors)
    assert any("no ratio is given" in note for note in r.notes)
    protective, aggravating = make_terrain(rows=30, cols=40), make_terrain(rows=30, cols=40, effect="aggravating")
    parks = next(f for f in priority.compare(protective, aggravating, k=5).factors if f.factor == "parks")
    assert parks.status == "other variable"  # one is the value of absence


def test_fitted_anew_with_the_variables_of_the_other():
    fewer = refitted(A, A.model.coefficients, keep=[0, 2])
    r = priority.compare(A, fewer, k=50, variables="a")
    assert {f.status for f in r.factors} == {"same variable"}
    fit = fit_count_model(fewer.design, fewer.counts, A.model.columns, family=fewer.model.family)
    by_name = {f.factor: f for f in r.factors}
    for i, v in enumerate(A.model.variables):
        f = by_name[v.factor_name]
        assert f.rrv_b == pytest.approx(fit.rrv[i])
        se = math.hypot(A.model.standard_errors[i + 1], fit.standard_errors[i + 1])
        assert math.log(f.high / f.ratio) == pytest.approx(1.959964 * se, rel=1e-6)
    assert "b fitted anew with a's variables" in r.method
    np.testing.assert_array_equal(r.score_b, fewer.score_cells)  # cells are the terrains' own
    back = priority.compare(A, fewer, k=50, variables="b")
    assert len(back.factors) == 2
    assert "a fitted anew" in back.method
    lacking = replace(fewer, design=replace(fewer.design, blocks=fewer.design.blocks[:1]))
    with pytest.raises(InputError, match="design of terrain b lacks"):
        priority.compare(A, lacking, k=5, variables="a")
    with pytest.raises(InputError, match="fitted anew has no districts"):
        priority.compare(A, fewer, k=5, variables="a", robust=True)


@pytest.mark.parametrize("by", ["score", "expected"])
def test_cells_by_scipy(by):
    r = priority.compare(A, B, k=60, by=by)
    one, two = (A.score_cells, B.score_cells) if by == "score" else (A.expected_cells, B.expected_cells)
    np.testing.assert_allclose(r.rank_a, rankdata(-one))
    np.testing.assert_allclose(r.rank_b, rankdata(-two))
    assert r.tau == pytest.approx(kendalltau(one, two).statistic)
    assert r.spearman == pytest.approx(spearmanr(one, two).statistic)
    frame = r.to_frame()
    assert frame["entered"].sum() == pytest.approx(r.entered.expected)
    assert frame["left"].sum() == pytest.approx(r.left.expected)
    np.testing.assert_allclose(frame.sort_index()["log_ratio"], np.log(two / one))
    assert np.abs(frame["rank_change"]).is_monotonic_decreasing
    assert r.entered.lowest + r.overlap.highest == 60
    assert r.jaccard.highest == pytest.approx(r.overlap.highest / (120 - r.overlap.highest))
    if by == "expected":
        assert (r.total_a, r.total_b) == pytest.approx((one.sum(), two.sum()))


def test_a_terrain_beside_itself():
    r = priority.compare(A, A, share=0.05)
    assert r.entered.lowest == 0
    assert r.tau == pytest.approx(1)
    assert r.spearman == pytest.approx(1)
    assert all(f.ratio == 1 and f.p == 1 for f in r.factors)
    assert r.names == (f"{A.title} (a)", f"{A.title} (b)")
    assert f"{len(A.events):,} of {len(A.events):,} events" in r.notes[0]
    later = replace(A.events, cleaning=replace(A.events.cleaning, digest="cd" * 32))
    assert not priority.compare(A, replace(A, events=later), k=5).notes
    empty = make_terrain(rows=30, cols=40, selected=False)
    flat = priority.compare(empty, A, k=10)
    assert np.isnan(flat.tau)
    assert np.isnan(flat.spearman)
    assert {f.status for f in flat.factors} == {"only in b"}


def test_other_grids_need_places(tmp_path):
    coarse = make_terrain(rows=15, cols=20, cell=200.0)
    with pytest.raises(InputError, match="different grids .* cells of 100 and .* of 200"):
        priority.compare(A, coarse, k=5)
    west, south, east, north = A.grid.bounds
    xs = np.linspace(west, east, 7)
    zones = gpd.GeoSeries([box(xs[i], south, xs[i + 1], north) for i in range(6)], index=list("abcdef"), crs=A.grid.crs)
    zones["far"] = box(0, 0, 1, 1)
    r = priority.compare(A, coarse, k=2, places=zones, by="expected", statistic="sum")
    for t, score in ((A, r.score_a), (coarse, r.score_b)):
        expected = priority.rank(t, by="expected", places=zones, statistic="sum")
        np.testing.assert_allclose(score, expected.score)
    assert np.isnan(r.rank_a[6])
    assert r.unit == "place"
    r.save(tmp_path / "p.gpkg")
    assert gpd.read_file(tmp_path / "p.gpkg", layer="places")["place"].tolist() == [*"abcdef", "far"]
    with pytest.raises(InputError, match="places were compared"):
        r.to_dataset()
    with pytest.raises(InputError, match="none has a cell"):
        priority.compare(A, coarse, k=1, places=zones[6:])


def test_scenarios_of_a_sweep(tmp_path):
    manifest = manifest_of(2)
    fill(str(tmp_path / "s"), manifest)
    results = open_sweep(tmp_path / "s")
    r = priority.compare(results.terrain(0), results.terrain(1), k=40)
    mask = manifest.grids[0].kept
    one, two = (raster_of(manifest, i)[mask].astype(float) for i in (0, 1))
    assert r.tau == pytest.approx(kendalltau(one, two).statistic)
    f = r.factors[0]
    assert (f.factor, f.status) == ("bars", "same variable")
    assert f.ratio == pytest.approx(float(two[0]) / float(one[0]))
    assert "same events" in r.notes[0]
    with pytest.raises(InputError, match="cannot be fitted anew"):
        priority.compare(results.terrain(0), results.terrain(1), k=40, variables="a")
    with pytest.raises(InputError, match="terrain a has no robust standard errors"):
        priority.compare(results.terrain(0), results.terrain(1), k=40, robust=True)


def test_tells_and_saves(tmp_path):
    r = priority.compare(A, B, k=60, names=("2022", "2023"))
    told = json.loads(json.dumps(r.to_dict(), allow_nan=False))
    assert told["a"] == "2022"
    assert len(told["factors"]) == 4
    assert r.sentence().startswith("2023 beside 2022:")
    assert "as ties break" in r.sentence()
    maps = r.to_dataset()
    np.testing.assert_array_equal(A.grid.to_cells(maps["rank_change"].values), r.rank_a - r.rank_b)
    r.save(tmp_path / "c.gpkg")
    assert len(gpd.read_file(tmp_path / "c.gpkg", layer="factors")) == 4
    r.save(tmp_path / "c.csv")
    with pytest.raises(OutputError):
        r.save(tmp_path / "c.csv")
    flat = make_terrain(rows=12, cols=12, selected=False)
    priority.compare(flat, flat, k=3).save(tmp_path / "flat.gpkg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found neither"),
        ({"k": 10**7}, "k: found 10,000,000, but there are only"),
        ({"k": 5, "level": 0}, "level: found 0"),
        ({"k": 5, "by": "posterior"}, "by: found 'posterior'"),
        ({"k": 5, "variables": "c"}, "variables: found 'c'"),
        ({"k": 5, "robust": True}, "no robust standard errors"),
        ({"k": 5, "names": ("a",)}, "names: found 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        priority.compare(A, B, **options)


def test_needs_terrains():
    with pytest.raises(InputError, match="b: found None, expected a RiskTerrain"):
        priority.compare(A, None, k=5)
