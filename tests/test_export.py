"""Exports: plain readers open them, every format holds the same bits, and a failed write leaves nothing."""

from __future__ import annotations

import builtins
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import xarray as xr

from rtmdx.errors import InputError, MissingDependencyError, OutputError
from rtmdx.model import export
from rtmdx.model.export_tables import TABLES
from rtmdx.model.terrain import RiskTerrain
from terrain_fixture import cells_frame, make_terrain, nothing_found

rasterio = pytest.importorskip("rasterio", reason="rasterio (the raster extra) is not installed")


@pytest.fixture(scope="module")
def terrain() -> RiskTerrain:
    return make_terrain()


Writer = Callable[..., None]
WRITERS: dict[str, tuple[str, Writer]] = {
    "zarr": ("a.zarr", export.write_zarr),
    "geotiff": ("a.tif", export.write_geotiff),
    "geopackage": ("a.gpkg", export.write_geopackage),
    "tables": ("a", export.write_tables),
}
each_writer = pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=list(WRITERS))


def test_plain_xarray_opens_the_zarr_store(terrain: RiskTerrain, tmp_path: Path) -> None:
    terrain.to_zarr(tmp_path / "a.zarr")
    with xr.open_zarr(tmp_path / "a.zarr") as store:
        assert store["score"].dims == ("y", "x")
        np.testing.assert_array_equal(store["score"].values, terrain.score.values)
        np.testing.assert_array_equal(store["expected"].values, terrain.expected.values)
        counts = store["count"].values
        np.testing.assert_array_equal(terrain.grid.to_cells(counts), terrain.counts)
        assert np.isnan(counts[~terrain.grid.mask]).all()
        for column, v in zip(terrain.model.columns, terrain.model.variables, strict=True):
            inside = terrain.grid.to_cells(store[v.name].values)
            np.testing.assert_array_equal(inside, terrain.design.indicator(column))
        band = terrain.grid.to_cells(store["band"].values)
        assert [int((band == i).sum()) for i in range(3)] == [b.n_cells for b in terrain.bands]
        assert pyproj.CRS.from_cf(store["spatial_ref"].attrs) == terrain.grid.crs
        west, dx, _, north, _, dy = map(float, store["spatial_ref"].attrs["GeoTransform"].split())
        assert (dx, dy) == (terrain.grid.dx, -terrain.grid.dy)
        assert store["x"].values[0] == west + dx / 2
        assert store["y"].values[0] == north + dy / 2
        attrs = store.attrs
    assert attrs["proj:code"] == "EPSG:26915"
    assert attrs["spatial:transform"] == list(terrain.grid.transform)[:6]
    assert attrs["spatial:shape"] == list(terrain.grid.shape)
    assert {c["name"] for c in attrs["zarr_conventions"]} == {"proj", "spatial"}
    assert json.loads(attrs["provenance"])["study_id"] == "0123456789abcdef"
    assert json.loads(attrs["study"])["seed"] == 7
    assert json.loads(attrs["model"])["variables"][0]["factor"] == terrain.table["factor"][0]


def test_zarr_is_compressed_then_summed_in_small_chunks(tmp_path: Path) -> None:
    terrain = make_terrain(rows=3, cols=1500)
    terrain.to_zarr(tmp_path / "a.zarr")
    meta = json.loads((tmp_path / "a.zarr" / "score" / "zarr.json").read_text())
    assert [c["name"] for c in meta["codecs"]] == ["bytes", "blosc", "crc32c"]
    assert meta["codecs"][1]["configuration"]["shuffle"] == "shuffle"
    assert max(meta["chunk_grid"]["configuration"]["chunk_shape"]) <= 1024
    spatial_ref = json.loads((tmp_path / "a.zarr" / "spatial_ref" / "zarr.json").read_text())
    assert [c["name"] for c in spatial_ref["codecs"]] == ["bytes"]
    chunk = tmp_path / "a.zarr" / "score" / "c" / "0" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    with xr.open_zarr(tmp_path / "a.zarr") as store, pytest.raises(Exception, match="checksum|crc32c"):
        store["score"].load()


def test_zarr_bytes_are_the_same_every_time(terrain: RiskTerrain, tmp_path: Path) -> None:
    def digest(store: Path) -> dict[str, str]:
        files = (p for p in sorted(store.rglob("*")) if p.is_file())
        return {p.relative_to(store).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    for name in ("a.zarr", "b.zarr"):
        terrain.to_zarr(tmp_path / name)
    assert digest(tmp_path / "a.zarr") == digest(tmp_path / "b.zarr")


def test_variables_can_be_left_out(terrain: RiskTerrain, tmp_path: Path) -> None:
    export.write_zarr(terrain, tmp_path / "a.zarr", variables=False)
    with xr.open_zarr(tmp_path / "a.zarr") as store:
        assert set(store.data_vars) == {"score", "expected", "count", "band"}


def test_a_crs_without_code_is_written_as_wkt(tmp_path: Path) -> None:
    crs = "+proj=tmerc +lat_0=38.6 +lon_0=-90.2 +x_0=700000 +y_0=4200000 +datum=WGS84 +units=m"
    terrain = make_terrain(crs=crs)
    terrain.to_zarr(tmp_path / "a.zarr")
    terrain.to_geotiff(tmp_path / "a.tif")
    with xr.open_zarr(tmp_path / "a.zarr") as store:
        assert pyproj.CRS.from_wkt(store.attrs["proj:wkt2"]) == terrain.grid.crs
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs is not None


@pytest.mark.parametrize("which", ["score", "expected"])
def test_geotiff_is_cloud_optimised_and_equals_the_zarr(terrain: RiskTerrain, tmp_path: Path, which: str) -> None:
    terrain.to_geotiff(tmp_path / "a.tif", which)
    terrain.to_zarr(tmp_path / "a.zarr")
    points = cells_frame(terrain).geometry
    xy = np.column_stack([points.x, points.y])
    with rasterio.open(tmp_path / "a.tif") as file, xr.open_zarr(tmp_path / "a.zarr") as store:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.crs.to_epsg() == 26915
        assert file.transform == terrain.grid.transform
        assert np.isnan(file.nodata)
        sampled = np.array([v[0] for v in file.sample(xy)])
        at = {"x": xr.DataArray(xy[:, 0], dims="cell"), "y": xr.DataArray(xy[:, 1], dims="cell")}
        np.testing.assert_array_equal(sampled, store[which].sel(at).values)
        assert file.descriptions[0].startswith("Relative risk score" if which == "score" else "Expected events")
        assert file.units[0]
        tags = json.loads(file.tags()["RTMDX"])
    assert tags["provenance"]["study_id"] == "0123456789abcdef"
    assert tags["study"]["seed"] == 7


def test_a_large_geotiff_has_overviews(tmp_path: Path) -> None:
    terrain = make_terrain(rows=3, cols=1500)
    terrain.to_geotiff(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1)


def test_unknown_raster_is_refused(terrain: RiskTerrain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'risk', expected one of 'score', 'expected', 'posterior'"):
        terrain.to_geotiff(tmp_path / "a.tif", "risk")


def test_geopandas_opens_the_geopackage(terrain: RiskTerrain, tmp_path: Path) -> None:
    terrain.to_geopackage(tmp_path / "a.gpkg")
    assert [str(name) for name, _ in pyogrio.list_layers(tmp_path / "a.gpkg")] == [
        "cells", "model", "factors", "provenance"
    ]  # fmt: skip
    cells = gpd.read_file(tmp_path / "a.gpkg", layer="cells")
    assert cells.crs == terrain.grid.crs
    np.testing.assert_array_equal(cells["score"], terrain.score_cells)
    np.testing.assert_array_equal(cells["count"], terrain.counts)
    centre = cells.geometry.centroid
    np.testing.assert_array_equal(terrain.grid.cell_of(centre.x, centre.y), np.arange(terrain.grid.n_cells))
    model = gpd.read_file(tmp_path / "a.gpkg", layer="model")
    np.testing.assert_array_equal(model["rrv"], terrain.table["rrv"])
    factors = gpd.read_file(tmp_path / "a.gpkg", layer="factors")
    assert list(factors["name"]) == ["bars", "bus_stops", "main_roads", "parks"]
    assert factors["dropped"][0] == "1 no geometry"
    provenance = gpd.read_file(tmp_path / "a.gpkg", layer="provenance").set_index("key")["value"]
    assert provenance["study_id"] == "0123456789abcdef"
    assert json.loads(provenance["study"])["seed"] == 7


def test_geopackage_under_another_name(terrain: RiskTerrain, tmp_path: Path) -> None:
    terrain.to_geopackage(tmp_path / "result.partial")
    assert [p.name for p in tmp_path.iterdir()] == ["result.partial"]
    assert (tmp_path / "result.partial").read_bytes().startswith(b"SQLite format 3")


def test_tables(terrain: RiskTerrain, tmp_path: Path) -> None:
    export.write_tables(terrain, tmp_path / "tables")
    read = {name: pd.read_csv(tmp_path / "tables" / f"{name}.csv") for name in TABLES}
    assert len(list((tmp_path / "tables").iterdir())) == len(TABLES) + 1
    columns = ["cell", "row", "col", "x", "y", "count", "score", "expected", "band"]
    assert list(read["cells"].columns) == columns + [v.name for v in terrain.model.variables]
    for column, v in zip(terrain.model.columns, terrain.model.variables, strict=True):
        np.testing.assert_array_equal(read["cells"][v.name], terrain.design.indicator(column))
    np.testing.assert_array_equal(read["cells"]["score"], terrain.score_cells)
    found = terrain.grid.cell_of(read["cells"]["x"], read["cells"]["y"])
    np.testing.assert_array_equal(found, read["cells"]["cell"])
    assert set(read["cells"]["band"]) <= {b.name for b in terrain.bands}
    variables = read["variables"]
    assert len(variables) == terrain.design.n_generated
    assert (variables["status"] == "in the model").sum() == len(terrain.model.variables)
    dropped = variables[variables["status"] == "dropped"]
    assert dropped["reason"].str.contains("at least 20").all()
    assert len(dropped) == 1
    assert {"(intercept)", "(log dispersion)"} < set(read["model"]["factor"])
    hits = read["validity"].query("figure == 'hit_rate' and kind == 'holdout'")
    assert len(hits) == 3 * 4
    assert (hits["lowest"] <= hits["expected"]).all()
    assert (hits["expected"] <= hits["highest"]).all()
    assert set(read["selection_trace"]["family"]) == {"poisson", "nbii"}
    provenance = json.loads((tmp_path / "tables" / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["provenance"]["study_id"] == "0123456789abcdef"


@each_writer
@pytest.mark.parametrize(
    "options", [{"rows": 1, "cols": 40}, {"selected": False, "holdout": False}, {"family": "poisson"}]
)
def test_odd_terrains(name: str, write: Writer, options: dict[str, Any], tmp_path: Path) -> None:
    write(make_terrain(**options), tmp_path / name)
    assert (tmp_path / name).exists()


def test_an_empty_model_is_an_empty_table(tmp_path: Path) -> None:
    nothing_found().to_geopackage(tmp_path / "a.gpkg")
    model = gpd.read_file(tmp_path / "a.gpkg", layer="model")
    assert len(model) == 0
    assert "rrv" in model.columns


@each_writer
def test_refuses_to_overwrite_unless_told(name: str, write: Writer, terrain: RiskTerrain, tmp_path: Path) -> None:
    path = tmp_path / name
    write(terrain, path)
    with pytest.raises(OutputError, match=r"exists already.*overwrite=True"):
        write(terrain, path)
    write(terrain, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@each_writer
def test_missing_folder_is_named(name: str, write: Writer, terrain: RiskTerrain, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"folder .*nowhere does not exist"):
        write(terrain, tmp_path / "nowhere" / name)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"folder .*file is no folder"):
        write(terrain, tmp_path / "file" / name)


@each_writer
def test_file_and_folder_never_replace_each_other(
    name: str, write: Writer, terrain: RiskTerrain, tmp_path: Path
) -> None:
    path = tmp_path / name
    if write in (export.write_zarr, export.write_tables):
        path.write_text("mine")
    else:
        path.mkdir()
    with pytest.raises(OutputError, match="one never replaces the other"):
        write(terrain, path, overwrite=True)
    assert path.exists()


@pytest.mark.parametrize(("name", "write"), [WRITERS["zarr"], WRITERS["tables"]], ids=["zarr", "tables"])
def test_a_folder_of_other_files_is_never_replaced(
    name: str, write: Writer, terrain: RiskTerrain, tmp_path: Path
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"other files \(thesis.txt\)"):
        write(terrain, tmp_path / name, overwrite=True)
    assert (tmp_path / name / "thesis.txt").read_text() == "mine"


def _fail_midway(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Make the writer fail after part of its output is on disk."""
    if name == "a.zarr":
        monkeypatch.setattr(export, "consolidate", _raising(error))
    elif name == "a.tif":
        monkeypatch.setattr(rasterio.io.BufferedDatasetWriter, "update_tags", _raising(error))
    elif name == "a.gpkg":
        real = pyogrio.write_dataframe

        def write(frame: Any, path: Any, **options: Any) -> None:
            if options["layer"] == "factors":
                raise error
            real(frame, path, **options)

        monkeypatch.setattr(pyogrio, "write_dataframe", write)
    else:
        monkeypatch.setattr(export, "provenance_json", _raising(error))


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@each_writer
@pytest.mark.parametrize("before", [False, True], ids=["new", "overwriting"])
def test_a_failed_write_leaves_nothing(
    name: str, write: Writer, before: bool, terrain: RiskTerrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    if before:
        write(terrain, path)
    had = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    content = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    _fail_midway(monkeypatch, name, OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match=f"{name}: cannot be written: No space left on device"):
        write(terrain, path, overwrite=before)
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == had
    assert all(p.read_bytes() == data for p, data in content.items())


@each_writer
def test_a_defect_midway_leaves_nothing_either(
    name: str, write: Writer, terrain: RiskTerrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_midway(monkeypatch, name, ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        write(terrain, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_under_gdal_is_an_output_error(
    terrain: RiskTerrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyogrio.errors import DataSourceError
    from rasterio.errors import RasterioIOError

    monkeypatch.setattr(pyogrio, "write_dataframe", _raising(DataSourceError("disk full")))
    with pytest.raises(OutputError, match="disk full"):
        terrain.to_geopackage(tmp_path / "a.gpkg")
    monkeypatch.setattr(rasterio, "open", _raising(RasterioIOError("disk full")))
    with pytest.raises(OutputError, match="disk full"):
        terrain.to_geotiff(tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(
    terrain: RiskTerrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", _raising(PermissionError(13, "Permission denied")))
    with pytest.raises(OutputError, match="folder cannot be written: Permission denied"):
        terrain.to_geotiff(tmp_path / "a.tif")


def test_missing_rasterio_names_the_extra(
    terrain: RiskTerrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "rasterio":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pip install 'rtmdx\[raster\]'"):
        terrain.to_geotiff(tmp_path / "a.tif")
