"""Ranks over scenarios against SciPy, with ties, gaps, failures, places and every way the store may be laid out."""

from __future__ import annotations

import errno
import json
import threading

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata
from shapely import LineString, box

from rtmdx import Grid, open_sweep, priority
from rtmdx.errors import Cancelled, InputError, OutputError, RtmdxError, StoreError
from rtmdx.sweep.store import SweepStore
from sweep_stores import fill, manifest_of, raster_of, result_of

FIGURES = ("p_lowest", "p_top", "p_highest", "rank_lowest", "rank_median", "rank_highest", "rank_mean", "rank_sd")


def scores(n_scenarios=17, n=600, *, gaps=0.1, seed=3):
    """Some scenarios with few scores, some with many, and cells without any."""
    rng = np.random.default_rng(seed)
    out = rng.choice(rng.gamma(2, 1, 7), (n_scenarios, n))
    out[::3] = rng.gamma(2, 1, out[::3].shape)
    out[1::5] = np.round(rng.gamma(2, 1, out[1::5].shape) * 100)  # more than 255 scores
    out[rng.random(out.shape) < gaps] = np.nan
    return out


def shares(row, k):
    """How far each cell is in the top k: certain, expected, possible."""
    low = rankdata(-row, "min", nan_policy="omit")
    high = rankdata(-row, "max", nan_policy="omit")
    with np.errstate(invalid="ignore"):
        certain, possible = (high <= k), (low <= k)
        partly = possible & ~certain
        expected = certain + np.where(partly, (k - low + 1) / (high - low + 1), 0.0)
    return np.array([certain, expected, possible], dtype=float)


def by_scipy(values, k):
    """Every figure by cell."""
    ranks = np.array([rankdata(-row, nan_policy="omit") for row in values])
    inside = np.mean([shares(row, k) for row in values], axis=0)
    some = np.isfinite(ranks).any(axis=0)
    filled = np.where(some, ranks, 0.0)
    figures = [np.nanmin(filled, 0), np.nanmedian(filled, 0), np.nanmax(filled, 0), np.nanmean(filled, 0)]
    many = np.isfinite(ranks).sum(axis=0) > 1
    sd = np.full(values.shape[1], np.nan)
    sd[many] = np.nanstd(ranks[:, many], axis=0, ddof=1)
    return [*inside, *[np.where(some, f, np.nan) for f in figures], sd]


def same(a, b):
    for name in FIGURES:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for part in ("scenarios", "agreement", "choice"):
        for name in getattr(a, part).__dataclass_fields__:
            np.testing.assert_array_equal(getattr(getattr(a, part), name), getattr(getattr(b, part), name))
    np.testing.assert_array_equal(a.core, b.core)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 40, 300])
def test_cells_as_by_scipy(k, dtype):
    values = scores().astype(dtype)
    r = priority.stability(values, k=k, quantiles=(0.0, 0.1, 0.77), threads=2)
    for name, expected in zip(FIGURES, by_scipy(values, k), strict=True):
        np.testing.assert_allclose(getattr(r, name), expected, rtol=1e-12, atol=1e-12, err_msg=name)
    ranks = np.array([rankdata(-row, nan_policy="omit") for row in values])
    for q, found in r.quantiles.items():
        np.testing.assert_allclose(found, np.nanquantile(ranks, q, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(r.ranked, np.isfinite(values).sum(axis=0))
    np.testing.assert_array_equal(r.core, np.flatnonzero(by_scipy(values, k)[1] >= 0.95 - 1e-9))


def test_scenarios_and_pairs_as_by_scipy():
    values = scores(9, 400)
    values[:, :12] = 1e4 + np.arange(12)  # a core
    values[:, 12] = np.nan
    k = 30
    r = priority.stability(values, k=k, robust=1.0)
    np.testing.assert_array_equal(r.core, np.arange(12))
    chosen = np.zeros(values.shape[1])
    chosen[r.choice.cells] = r.choice.share
    assert chosen.sum() == pytest.approx(k)
    order = np.lexsort((r.rank_mean, -r.p_top))
    certain = np.flatnonzero(chosen == 1)
    assert set(certain) <= set(order[:k])
    mean = np.where(np.isfinite(r.rank_mean), r.rank_mean, np.nan)
    filled = np.nan_to_num(values)
    inside = np.array([shares(row, k)[1] for row in values])
    inside = np.nan_to_num(inside)
    best = np.array([np.sort(row)[::-1][:k].sum() for row in filled])
    s = r.scenarios
    np.testing.assert_allclose(s.best, best)
    np.testing.assert_allclose(s.regret, 1 - filled @ chosen / best)
    core_best = np.array([np.sort(row)[::-1][:12].sum() for row in filled])
    np.testing.assert_allclose(s.core_regret, 1 - filled[:, :12].sum(axis=1) / core_best, atol=1e-12)
    overlap = [np.minimum(row, chosen).sum() / np.maximum(row, chosen).sum() for row in inside]
    np.testing.assert_allclose(s.jaccard, overlap)
    tau = [kendalltau(row, -mean, nan_policy="omit").statistic for row in values]
    np.testing.assert_allclose(s.tau, tau)
    a = r.agreement
    for i in range(9):
        for j in range(9):
            pair = np.minimum(inside[i], inside[j]).sum() / np.maximum(inside[i], inside[j]).sum()
            assert a.jaccard[i, j] == pytest.approx(pair)
            assert a.tau[i, j] == pytest.approx(kendalltau(values[i], values[j], nan_policy="omit").statistic)
            assert a.regret[i, j] == pytest.approx(1 - inside[i] @ filled[j] / best[j], abs=1e-12)
    np.testing.assert_array_equal(s.certain, [int((shares(row, k)[0] == 1).sum()) for row in values])
    tied = [int(((shares(row, k)[1] > 0) & (shares(row, k)[1] < 1)).sum()) for row in values]
    np.testing.assert_array_equal(s.tied, tied)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 25), st.integers(0, 2**32 - 1), st.integers(1, 4), st.data())
def test_any_small_case(n_scenarios, n, seed, levels, data):
    rng = np.random.default_rng(seed)
    values = rng.integers(-levels, levels, (n_scenarios, n)).astype(float)
    values[rng.random(values.shape) < 0.2] = np.nan
    fewest = int(np.isfinite(values).sum(axis=1).min())
    if fewest == 0:
        values[~np.isfinite(values).any(axis=1)] = 1.0
        fewest = int(np.isfinite(values).sum(axis=1).min())
    k = data.draw(st.integers(1, fewest))
    r = priority.stability(values, k=k, threads=1)
    for name, expected in zip(FIGURES, by_scipy(values, k), strict=True):
        np.testing.assert_allclose(getattr(r, name), expected, rtol=1e-12, atol=1e-12, err_msg=name)
    assert r.p_top.sum() == pytest.approx(k)
    assert r.choice.share.sum() == pytest.approx(k)
    assert (r.p_lowest <= r.p_top + 1e-12).all()
    assert (r.p_top <= r.p_highest + 1e-12).all()
    assert (np.diff([r.rank_lowest, r.rank_median, r.rank_highest], axis=0)[:, r.ranked > 0] >= 0).all()


def test_bits_do_not_depend_on_threads_memory_or_chunks(tmp_path):
    values = scores(12, 35 * 40).reshape(12, 35, 40).astype(np.float32)
    whole = priority.stability(values, k=60, threads=1)
    for threads in (2, 7):
        same(whole, priority.stability(values, k=60, threads=threads))
    same(whole, priority.stability(values, k=60, memory=0, scratch=tmp_path))
    same(whole, priority.stability(values, k=60, memory=9000, threads=3))
    assert not list(tmp_path.iterdir())
    for name, chunks in (("single", (1, 20, 40)), ("deep", (5, 7, 9)), ("all", (12, 35, 40))):
        array = zarr.create_array(tmp_path / name, shape=values.shape, chunks=chunks, dtype="f4")
        array[:] = values
        same(whole, priority.stability(array, k=60))
        same(whole, priority.stability(str(tmp_path / name), k=60, memory=0, scratch=tmp_path))  # chunks taken apart
        lazy = xr.DataArray(array, dims=("scenario", "y", "x"))
        same(whole, priority.stability(lazy, k=60))
    turned = xr.DataArray(values.transpose(1, 2, 0), dims=("y", "x", "run"), coords={"run": list("abcdefghijkl")})
    r = priority.stability(turned, k=60)
    assert r.scenarios.label == tuple("abcdefghijkl")
    np.testing.assert_array_equal(r.p_top, whole.p_top)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all", "deep", "single"]


def test_some_scenarios_of_an_array_and_one_row_of_cells_each(tmp_path):
    values = scores(12, 500).astype(np.float32)
    some = [0, 3, 4, 11]
    expected = priority.stability(values[some], k=20)
    for chunks in ((1, 500), (5, 100)):
        array = zarr.create_array(tmp_path / f"{chunks[0]}", shape=values.shape, chunks=chunks, dtype="f4")
        array[:] = values
        for memory in (512e6, 0):  # taken apart first where what a chunk holds is more
            r = priority.stability(array, k=20, scenarios=[4, 11, 0, 3], memory=memory, scratch=tmp_path)
            assert r.scenarios.number.tolist() == some
            for name in FIGURES:
                np.testing.assert_array_equal(getattr(r, name), getattr(expected, name))


def test_a_sweep_with_failures(tmp_path):
    manifest = manifest_of(7)
    fill(str(tmp_path / "s"), manifest, [0, 1, 3, 4, 6])
    with SweepStore.open(str(tmp_path / "s"), "a") as store:
        store.start(2)
        store.fail(2, InputError("no events"), "fit")
    mask = manifest.grids[0].kept
    done = [0, 1, 3, 4, 6]
    for by in ("score", "expected"):
        values = np.array([raster_of(manifest, i, by)[mask] for i in done])
        r = priority.stability(open_sweep(tmp_path / "s"), share=0.1, by=by)
        assert r.left_out == {"failed": 1, "pending": 1}
        assert r.n_scenarios == 5
        assert r.scenarios.number.tolist() == done
        k = round(0.1 * mask.sum())
        np.testing.assert_allclose(r.p_top, by_scipy(values, k)[1])
        np.testing.assert_allclose(r.rank_median, by_scipy(values, k)[4])
    assert "1 failed, 1 pending left out" in r.sentence()
    maps = r.to_dataset()
    np.testing.assert_array_equal(maps["p_top"].values[mask], r.p_top)
    assert np.isnan(maps["p_top"].values[~mask]).all()
    some = priority.stability(str(tmp_path / "s"), k=5, scenarios=[0, manifest.scenarios[3].id])
    assert some.scenarios.number.tolist() == [0, 3]
    ranks = open_sweep(tmp_path / "s").rank_maps()
    np.testing.assert_allclose(
        ranks["mean"].values[mask], priority.stability(str(tmp_path / "s"), k=5).rank_mean, rtol=1e-12
    )
    cube = open_sweep(tmp_path / "s").rasters()["expected"]  # lazy; what is not there is NaN
    grid = Grid(manifest.grids[0].crs_wkt, 7e5, 4.2e6, 50.0, mask)
    plain = priority.stability(cube, share=0.1, grid=grid)
    assert plain.left_out == {"without any score": 2}
    assert plain.scenarios.label == tuple(map(str, done))
    np.testing.assert_array_equal(plain.p_top, r.p_top)
    with pytest.raises(InputError, match="none of 1 scenarios is complete \\(1 failed\\)"):
        priority.stability(str(tmp_path / "s"), k=5, scenarios=[2])
    with pytest.raises(InputError, match="sweep has no 99"):
        priority.stability(str(tmp_path / "s"), k=5, scenarios=[99])


def test_damage_is_an_error_and_leaves_nothing(tmp_path):
    fill(str(tmp_path / "s"), manifest_of(4))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "s" / "grid0" / "score" / "c.2.0.0").unlink()
    with pytest.raises(StoreError, match="scenario 2 .* is missing"):
        priority.stability(str(tmp_path / "s"), k=5, memory=0, scratch=scratch)
    assert not list(scratch.iterdir())


def test_grids_that_differ_need_places(tmp_path):
    manifest = manifest_of(6, grids=2)
    fill(str(tmp_path / "s"), manifest)
    with pytest.raises(InputError, match="2 different grids .* cannot be ranked against each other"):
        priority.stability(str(tmp_path / "s"), k=5)
    one = priority.stability(str(tmp_path / "s"), k=5, grid="grid1")
    assert one.scenarios.number.tolist() == [1, 3, 5]
    assert one.left_out == {"of another grid": 3}
    with pytest.raises(InputError, match="expected one of grid0, grid1"):
        priority.stability(str(tmp_path / "s"), k=5, grid="grid9")
    zones = gpd.GeoSeries(
        [box(7e5 + 400 * i, 4.2e6 - 1400, 7e5 + 400 * (i + 1), 4.2e6) for i in range(4)], index=list("abcd"),
        crs=manifest.grids[0].crs_wkt,
    )  # fmt: skip
    for statistic in ("mean", "max", "sum"):
        r = priority.stability(str(tmp_path / "s"), k=2, places=zones, statistic=statistic)
        expected = []
        for i in range(6):
            g = manifest.grids[i % 2]
            kept = np.ones((g.n_rows, g.n_cols), bool) if g.kept is None else g.kept
            frame = Grid(g.crs_wkt, g.x0, g.y0, g.dx, kept)
            expected.append(
                priority.rank(
                    result_of(manifest, i).score.astype(float), grid=frame, places=zones, statistic=statistic
                ).score
            )
        np.testing.assert_allclose(r.rank_mean, by_scipy(np.array(expected), 2)[6])
        np.testing.assert_allclose(r.p_top, by_scipy(np.array(expected), 2)[1])
    assert r.unit == "place"
    assert any("2 grids" in note for note in r.notes)
    assert sorted(r.to_frame().index) == list("abcd")
    with pytest.raises(InputError, match="places have no grid"):
        r.to_dataset()
    r.save(tmp_path / "places.gpkg")
    assert gpd.read_file(tmp_path / "places.gpkg", layer="places")["place"].tolist() == list("abcd")


def test_places_of_an_array_with_gaps_and_lines():
    grid = Grid("EPSG:32615", 0.0, 60.0, 10.0, np.ones((6, 8), dtype=bool))
    values = scores(5, 48).reshape(5, 6, 8)
    zones = gpd.GeoSeries(
        [box(0, 0, 25, 60), box(25, 0, 60, 33), box(60, 5, 80, 60), box(500, 500, 510, 510)], crs=grid.crs
    )
    lines = gpd.GeoSeries([LineString([(0, 5), (80, 5)]), LineString([(3, 0), (3, 60)])], crs=grid.crs)
    for places, statistic in ((zones, "mean"), (zones, "max"), (zones, "sum"), (lines, "mean")):
        r = priority.stability(values, k=2, grid=grid, places=places, statistic=statistic)
        from rtmdx.priority.places import place_values

        expected = np.array([place_values(v.ravel(), grid, places, statistic, None, 1).score for v in values])
        np.testing.assert_allclose(r.p_top, np.nan_to_num(by_scipy(expected, 2)[1]))
        np.testing.assert_allclose(r.rank_mean, by_scipy(expected, 2)[6])
    with pytest.raises(InputError, match="need a grid"):
        priority.stability(values, k=2, places=zones)


def test_one_scenario_one_cell_all_ties_and_none():
    r = priority.stability(np.array([[3.0]]), k=1)
    assert (r.p_top[0], r.rank_median[0], r.scenarios.regret[0]) == (1, 1, 0)
    assert np.isnan(r.rank_sd[0])
    assert np.isnan(r.scenarios.tau[0])
    r = priority.stability(np.ones((4, 10)), k=3)
    np.testing.assert_allclose(r.p_top, 0.3)
    assert (r.p_lowest == 0).all()
    assert (r.p_highest == 1).all()
    np.testing.assert_array_equal(r.rank_median, 5.5)
    np.testing.assert_allclose(r.choice.share, 0.3)
    np.testing.assert_allclose(r.scenarios.jaccard, 3 / 3)
    np.testing.assert_allclose(r.scenarios.regret, 0, atol=1e-12)
    assert r.core.size == 0
    values = scores(4, 50)
    values[2] = np.nan
    r = priority.stability(values, k=5)
    assert r.left_out == {"without any score": 1}
    assert r.scenarios.number.tolist() == [0, 1, 3]
    np.testing.assert_allclose(r.p_top, by_scipy(values[[0, 1, 3]], 5)[1])
    zero = priority.stability(np.array([[0.0, 0.0, -0.0], [1.0, 2.0, 3.0]]), k=1)
    np.testing.assert_allclose(zero.p_top, [1 / 6, 1 / 6, 4 / 6])
    assert np.isnan(zero.scenarios.regret[0])  # nothing to hold
    whole = priority.stability(scores(3, 20, gaps=0), k=20)
    np.testing.assert_array_equal(whole.core_at(1.0), np.arange(20))


def test_few_and_many_scores_give_the_same(monkeypatch):
    import rtmdx.priority.scenario_ranks as module

    values = scores(8, 5000)
    tabled = priority.stability(values, k=100)
    compiled = module._priority

    class Sorted:
        """As if every scenario had too many scores to be tabled."""

        def __getattr__(self, name):
            return self.none if name == "levels" else getattr(compiled, name)

        @staticmethod
        def none(*_):
            return -1

    monkeypatch.setattr(module, "_priority", Sorted())
    sorted_ = priority.stability(values, k=100)
    for name in FIGURES:
        np.testing.assert_array_equal(getattr(tabled, name), getattr(sorted_, name))
    np.testing.assert_allclose(tabled.scenarios.regret, sorted_.scenarios.regret, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(tabled.agreement.regret, sorted_.agreement.regret, rtol=1e-12, atol=1e-14)


def test_sampled_pairs_and_cells():
    values = scores(30, 3000, gaps=0.0)
    full, some = priority.stability(values, k=100), priority.stability(values, k=100, sample=500, compared=6, seed=4)
    assert some.sample == 500
    assert len(some.agreement.number) == 6
    at = np.searchsorted(full.agreement.number, some.agreement.number)
    np.testing.assert_allclose(some.agreement.jaccard, full.agreement.jaccard[np.ix_(at, at)])
    np.testing.assert_allclose(some.agreement.regret, full.agreement.regret[np.ix_(at, at)])
    assert np.abs(some.scenarios.tau - full.scenarios.tau).max() < 6 * (2 / 500) ** 0.5
    same(some, priority.stability(values, k=100, sample=500, compared=6, seed=4, threads=7))


def test_order_of_scenarios_scale_and_mirroring_do_not_matter():
    values = scores(11, 20 * 30)
    r = priority.stability(values, k=30)
    shuffled = priority.stability(values[np.random.default_rng(0).permutation(11)], k=30)
    scaled = priority.stability(np.exp(values / values[np.isfinite(values)].max()), k=30)
    mirrored = priority.stability(values.reshape(11, 20, 30)[:, :, ::-1], k=30)
    for name in FIGURES:
        for other in (shuffled, scaled):
            np.testing.assert_allclose(getattr(other, name), getattr(r, name), rtol=1e-12, atol=1e-12)
        flipped = getattr(mirrored, name).reshape(20, 30)[:, ::-1].ravel()
        np.testing.assert_array_equal(flipped, getattr(r, name))
    np.testing.assert_allclose(np.sort(shuffled.scenarios.regret), np.sort(r.scenarios.regret), rtol=1e-9)


def test_a_full_disk_is_one_clear_error(monkeypatch, tmp_path):
    import rtmdx.priority.scratch as module

    class Full:
        def seek(self, at):
            del at

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device", len(data))

        def close(self):
            pass

    monkeypatch.setattr(module.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(OutputError, match=r"cannot keep a row .*No space left on device; .* GB are free"):
        priority.stability(scores(), k=5, memory=100, scratch=tmp_path)


def test_saves_and_tells(tmp_path):
    grid = Grid("EPSG:32615", 0.0, 60.0, 10.0, np.ones((6, 8), dtype=bool))
    values = scores(5, 48, gaps=0).reshape(5, 6, 8)
    r = priority.stability(values, k=6, grid=grid)
    r.save(tmp_path / "s.gpkg")
    cells = gpd.read_file(tmp_path / "s.gpkg", layer="cells")
    np.testing.assert_allclose(cells["p_top"], r.p_top)
    assert cells.geometry[0].bounds == (0, 50, 10, 60)
    assert len(gpd.read_file(tmp_path / "s.gpkg", layer="scenarios")) == 5
    r.save(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().startswith("cell,row,col,p_lowest")
    with pytest.raises(OutputError, match="exists already"):
        r.save(tmp_path / "s.csv")
    with pytest.raises(InputError, match=r"\.csv or \.gpkg"):
        r.save(tmp_path / "s.txt")
    bare = priority.stability(values, k=6)
    with pytest.raises(InputError, match="no grid and so no shapes"):
        bare.save(tmp_path / "t.gpkg")
    with pytest.raises(InputError, match="have no grid"):
        bare.to_dataset()
    told = r.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False))["k"] == 6
    assert told["sentence"] == r.sentence()
    assert "Over 5 scenarios" in r.sentence()
    assert r.to_frame()["p_top"].is_monotonic_decreasing


def test_progress_and_cancel():
    values = scores(12, 500)
    told = []
    priority.stability(values, k=5, progress=lambda *a: told.append(a))
    for stage in ("ranks", "summary", "choices", "pairs"):
        own = [t for t in told if t[0] == stage]
        assert own[-1][1] == own[-1][2]
    before = threading.active_count()
    for after in (0, 1, 5, 20):
        left = iter(range(after))
        with pytest.raises(Cancelled):
            priority.stability(values, k=5, cancel=lambda left=left: next(left, None) is None)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found neither, expected one of them"),
        ({"k": 3, "share": 0.1}, "found both"),
        ({"k": 0}, "k: found 0"),
        ({"k": 49}, "k: found 49, but scenario 0 .* has only 48 cells"),
        ({"share": 1.5}, "share: found 1.5"),
        ({"k": 3, "robust": 0}, "robust: found 0"),
        ({"k": 3, "quantiles": [2]}, "quantiles: found"),
        ({"k": 3, "by": "expected"}, "is of a sweep's store"),
        ({"k": 3, "grid": "g"}, "expected the Grid"),
        ({"k": 3, "sample": 1}, "sample: found 1"),
        ({"k": 3, "compared": 0}, "compared: found 0"),
        ({"k": 3, "memory": -1}, "memory: found -1"),
        ({"k": 3, "memory": 0, "scratch": "/nowhere/at/all"}, "expected a folder that exists"),
        ({"k": 3, "scenarios": [7]}, "scenarios: found 7"),
        ({"k": 3, "scenarios": []}, "scenarios: found none"),
        ({"k": 3, "statistic": "median"}, "statistic: found 'median'"),
        ({"k": 3, "threads": 0}, "threads: found 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        priority.stability(np.arange(96.0).reshape(2, 6, 8), **options)


def test_bad_stores(tmp_path):
    for values, message in (
        (np.zeros(4), r"shape \(4,\), expected \(scenario, y, x\)"),
        (np.zeros((0, 3)), "none of them 0"),
        (np.array([["a"]]), "expected numbers"),
        (np.array([[1.0, np.inf]]), "scenario 0 .* infinite"),
        (np.append(np.arange(5000.0), np.inf)[None], "infinite"),
        (np.full((2, 3), np.nan), "none of 2 scenarios has a cell with a score"),
    ):
        with pytest.raises(InputError, match=message):
            priority.stability(values, k=1)
    with pytest.raises(InputError, match="the grid"):
        priority.stability(np.zeros((2, 3, 3)), k=1, grid=Grid("EPSG:32615", 0, 60, 10, np.ones((6, 8), bool)))
    with pytest.raises(StoreError, match="neither a sweep's store nor a Zarr array"):
        priority.stability(str(tmp_path / "none"), k=1)
    zarr.create_group(tmp_path / "group").create_array("risk", shape=(2, 3, 3), dtype="f4")
    with pytest.raises(InputError, match="Name one of its arrays: risk"):
        priority.stability(str(tmp_path / "group"), k=1)
    assert issubclass(StoreError, RtmdxError)
