"""Reading a sweep back: one scenario, two compared, maps of ranks, exports that other programs open."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import rtmdx
from rtmdx.errors import Cancelled, InputError, OutputError, StoreError
from rtmdx.sweep.contract import Manifest
from rtmdx.sweep.maps import rank_of
from rtmdx.sweep.results import SweepResults
from rtmdx.sweep.store import SweepStore
from sweep_stores import fill, manifest_of, raster_of, result_of


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return manifest_of(9, grids=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Path:
    path = tmp_path_factory.mktemp("results") / "store"
    fill(str(path), manifest, [0, 1, 2, 3, 4, 6, 7])
    with SweepStore.open(str(path), "a") as opened:
        opened.fail(5, ValueError("no events"), "fit")
    return path


@pytest.fixture(scope="module")
def results(store: Path) -> SweepResults:
    return rtmdx.open_sweep(store)


def test_table_of_scenarios(results: SweepResults, manifest: Manifest) -> None:
    table = results.scenarios
    assert table.index.tolist() == list(range(9))
    assert table["id"].tolist() == [s.id for s in manifest.scenarios]
    assert table["seed"].tolist() == list(range(9))
    assert table["state"].tolist() == ["succeeded"] * 5 + ["failed", "succeeded", "succeeded", "pending"]
    assert table["bic"].dropna().to_dict() == {i: float(i) for i in (0, 1, 2, 3, 4, 6, 7)}
    assert table.loc[5, "error"] == "no events"


def test_one_scenario_by_place_and_id(results: SweepResults, manifest: Manifest) -> None:
    for name in (3, manifest.scenarios[3].id):
        terrain = results.terrain(name)
        np.testing.assert_array_equal(terrain.score, raster_of(manifest, 3))
        np.testing.assert_array_equal(terrain.expected, raster_of(manifest, 3, "expected"))
        assert terrain.table.to_dict("records") == result_of(manifest, 3).tables["model"]
        assert (terrain.id, terrain.label) == (manifest.scenarios[3].id, "seed=3")
        assert terrain.grid.crs.to_epsg() == 26915
    for name, message in ((8, "is not complete"), (5, "is not complete"), ("x", "has no 'x'"), (99, "has no 99")):
        with pytest.raises(InputError, match=message):
            results.terrain(name)


def test_rasters_are_lazy_and_need_a_grid(results: SweepResults, manifest: Manifest) -> None:
    cube = results.rasters("grid1")["score"]
    assert cube.sizes == {"scenario": 4, "y": 30, "x": 40}
    np.testing.assert_array_equal(cube.sel(scenario=3), raster_of(manifest, 3))
    for grid, message in ((None, "the sweep has 2 grids: grid0, grid1"), ("grid7", "found 'grid7', expected one of")):
        with pytest.raises(InputError, match=message):
            results.rasters(grid)


def test_two_compared(results: SweepResults, manifest: Manifest) -> None:
    table = results.compare(0, 3)
    assert table.columns.tolist() == [
        "variable",
        "factor",
        "rrv_a",
        "std_error_a",
        "p_a",
        "rrv_b",
        "std_error_b",
        "p_b",
    ]
    one, two = (result_of(manifest, i).tables["model"][0]["rrv"] for i in (0, 3))
    assert table.loc[0, ["rrv_a", "rrv_b"]].tolist() == [one, two]


@given(st.lists(st.sampled_from([1.0, 1.5, 2.25, 7.0]), min_size=1, max_size=40))
def test_ranks_with_ties(values: list[float]) -> None:
    score = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(rank_of(score), scipy.stats.rankdata(-score, method="average"))


def test_rank_maps_are_those_of_all_scenarios_at_once(results: SweepResults, manifest: Manifest) -> None:
    told: list[tuple[str, int, int]] = []
    for grid, own in (("grid0", [0, 2, 4, 6]), ("grid1", [1, 3, 7])):
        kept = next(g for g in manifest.grids if g.key == grid).kept
        kept = np.ones((30, 40), bool) if kept is None else kept
        maps = results.rank_maps(grid, progress=lambda *t: told.append(t))
        ranks = np.array([scipy.stats.rankdata(-result_of(manifest, i).score) for i in own])
        assert maps.attrs["n_scenarios"] == len(own)
        for name, expected in (
            ("mean", ranks.mean(axis=0)), ("sd", ranks.std(axis=0, ddof=1)), ("best", ranks.min(axis=0)),
            ("worst", ranks.max(axis=0)),
        ):  # fmt: skip
            np.testing.assert_allclose(maps[name].values[kept], expected, rtol=1e-12, atol=1e-9)
            assert np.isnan(maps[name].values[~kept]).all()
    assert told == [("ranks", k, 4) for k in range(1, 5)] + [("ranks", k, 3) for k in range(1, 4)]
    one = results.rank_maps("grid1", scenarios=[3])
    np.testing.assert_array_equal(one["mean"], one["best"])
    assert np.isnan(one["sd"]).all()
    for bad in (0, 5, "x"):
        with pytest.raises(InputError, match="is no complete scenario of grid grid1"):
            results.rank_maps("grid1", scenarios=[bad])
    with pytest.raises(Cancelled):
        results.rank_maps("grid1", cancel=lambda: True)


def test_without_a_complete_scenario(tmp_path: Path) -> None:
    fill(str(tmp_path / "s"), manifest_of(2), [])
    results = rtmdx.open_sweep(tmp_path / "s")
    with pytest.raises(InputError, match="no scenario of grid grid0 is complete"):
        results.rank_maps()
    assert results.scenarios["state"].tolist() == ["pending"] * 2


def test_exports_open_elsewhere(results: SweepResults, manifest: Manifest, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    terrain = results.terrain(2)
    for which in ("score", "expected"):
        terrain.to_geotiff(tmp_path / f"{which}.tif", which)  # type: ignore[arg-type]
        with rasterio.open(tmp_path / f"{which}.tif") as tif:
            np.testing.assert_array_equal(tif.read(1), raster_of(manifest, 2, which))
            assert tif.crs.to_epsg() == 26915
            assert (tif.transform.a, tif.transform.c, tif.transform.f) == (50.0, 7e5, 4.2e6)
            assert tif.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            provenance = json.loads(tif.tags()["RTMDX"])
            assert (provenance["id"], provenance["parameters"]) == (manifest.scenarios[2].id, {"seed": 2})
    with pytest.raises(OutputError, match="exists"):
        terrain.to_geotiff(tmp_path / "score.tif")
    terrain.to_geotiff(tmp_path / "score.tif", overwrite=True)
    with pytest.raises(InputError, match="found 'posterior', expected one of 'score', 'expected'"):
        terrain.to_geotiff(tmp_path / "p.tif", "posterior")  # type: ignore[arg-type]
    terrain.to_geopackage(tmp_path / "two.gpkg")
    cells = gpd.read_file(tmp_path / "two.gpkg", layer="cells")
    assert cells.crs.to_epsg() == 26915
    np.testing.assert_array_equal(cells["score"].to_numpy(np.float32), result_of(manifest, 2).score)
    first = cells.geometry[0].bounds
    row, col = cells.loc[0, ["row", "col"]].astype(int)
    assert first == (7e5 + col * 50, 4.2e6 - (row + 1) * 50, 7e5 + (col + 1) * 50, 4.2e6 - row * 50)
    assert gpd.list_layers(tmp_path / "two.gpkg")["name"].tolist() == ["cells", "model", "validity", "provenance"]
    model = gpd.read_file(tmp_path / "two.gpkg", layer="model")
    assert model["rrv"].tolist() == [result_of(manifest, 2).tables["model"][0]["rrv"]]
    assert gpd.read_file(tmp_path / "two.gpkg", layer="validity")["top"].tolist() == ["[1, 2]"]


def test_damage_is_told_and_never_read(tmp_path: Path) -> None:
    manifest = manifest_of(3)
    path = tmp_path / "s"
    fill(str(path), manifest)
    chunk = path / "grid0" / "score" / "c.1.0.0"
    data = bytearray(chunk.read_bytes())
    data[40] ^= 4
    chunk.write_bytes(data)
    (path / "grid0" / "score" / "c.2.0.0").unlink()
    results = rtmdx.open_sweep(path)
    with pytest.raises(StoreError, match=r"score of scenario 1 \(seed=1\) cannot be read"):
        results.terrain(1)
    with pytest.raises(StoreError, match=r"score of scenario 2 \(seed=2\) is missing"):
        results.terrain(2)
    with pytest.raises(StoreError, match="cannot be read"):
        results.rank_maps()
    np.testing.assert_array_equal(results.terrain(0).score, raster_of(manifest, 0))
