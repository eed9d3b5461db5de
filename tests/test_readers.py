"""Every format gives the same layer; what cannot be read says why."""

from __future__ import annotations

import gzip
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest

from conftest import CRS, points
from rtmdx.errors import CRSError, FileError, InputError
from rtmdx.space.readers import file_digest, read_layer


@pytest.fixture
def layer() -> gpd.GeoDataFrame:
    return points((10, 20), (30, 40), (50, 60)).assign(kind=["a", "b", "a"], n=[1, 2, 3])


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".parquet", ".fgb"])
def test_formats(tmp_path: Path, layer: gpd.GeoDataFrame, suffix: str) -> None:
    path = tmp_path / f"bars{suffix}"
    if suffix == ".parquet":
        layer.to_parquet(path)
    else:
        layer.to_file(path)
    frame, total = read_layer(path, what="factor")
    assert total == 3
    assert frame.crs.to_epsg() == 26915
    frame = frame.sort_values("n")
    assert frame["kind"].tolist() == ["a", "b", "a"]
    np.testing.assert_allclose(frame.geometry.x, layer.geometry.x, atol=1e-3)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv_with_coordinates(tmp_path: Path, layer: gpd.GeoDataFrame, suffix: str) -> None:
    path = tmp_path / f"bars{suffix}"
    table = layer.drop(columns="geometry").assign(east=layer.geometry.x, north=layer.geometry.y)
    table.loc[1, "east"] = np.nan
    table.to_csv(path, index=False)
    frame, total = read_layer(path, what="factor", x="east", y="north", crs=CRS)
    assert total == 3
    assert frame.geometry.isna().tolist() == [False, True, False]


def test_sql_filter_counts_the_rows_it_leaves_out(tmp_path: Path, layer: gpd.GeoDataFrame) -> None:
    layer.to_file(tmp_path / "a.gpkg", layer="bars")
    frame, total = read_layer(tmp_path / "a.gpkg", what="factor", layer="bars", where="kind = 'a'")
    assert (len(frame), total) == (2, 3)
    with pytest.raises(FileError, match=r"cannot be read with where = 'nokind = 1'.*field names"):
        read_layer(tmp_path / "a.gpkg", what="factor", layer="bars", where="nokind = 1")


def test_layers_are_listed(tmp_path: Path, layer: gpd.GeoDataFrame) -> None:
    layer.to_file(tmp_path / "a.gpkg", layer="bars")
    layer.to_file(tmp_path / "a.gpkg", layer="clubs")
    with pytest.raises(InputError, match="holds 2 layers: bars, clubs. Name one"):
        read_layer(tmp_path / "a.gpkg", what="factor")
    with pytest.raises(InputError, match="no layer 'pubs'; the layers are bars, clubs"):
        read_layer(tmp_path / "a.gpkg", what="factor", layer="pubs")


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"factor: .*nowhere.gpkg does not exist"):
        read_layer(tmp_path / "nowhere.gpkg", what="factor")
    for name in ("a.gpkg", "a.shp", "a.geojson", "a.parquet"):
        (tmp_path / name).write_bytes(b"this is no map")
        with pytest.raises(FileError, match=name):
            read_layer(tmp_path / name, what="factor")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(FileError, match="empty.csv cannot be read as CSV"):
        read_layer(tmp_path / "empty.csv", what="factor", x="x", y="y", crs=CRS)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"crs": CRS}, InputError, "needs coordinate columns; it has east, north"),
        ({"x": "east", "y": "north"}, CRSError, "needs a CRS"),
        ({"x": "east", "y": "lat", "crs": CRS}, InputError, "no column 'lat'"),
        ({"x": "east", "y": "north", "crs": CRS}, InputError, "row 2, column north: found 'ten', expected a number"),
        ({"x": "east", "y": "east", "crs": "EPSG:nowhere"}, CRSError, "'EPSG:nowhere' is not known"),
        ({"x": "east", "y": "east", "crs": CRS, "where": "a = 1"}, InputError, "does not apply to a.csv. Use filter"),
    ],
)
def test_csv_problems(tmp_path: Path, given: dict[str, str], error: type[Exception], match: str) -> None:
    (tmp_path / "a.csv").write_text("east,north\n1,2\n3,ten\n")
    with pytest.raises(error, match=match):
        read_layer(tmp_path / "a.csv", what="factor", **given)  # type: ignore[arg-type]


def test_crs_must_be_known_and_agree(tmp_path: Path, layer: gpd.GeoDataFrame) -> None:
    layer.to_file(tmp_path / "none.shp")
    (tmp_path / "none.prj").unlink()
    with pytest.raises(CRSError, match=r"none.shp: has no coordinate reference system. Name it with crs"):
        read_layer(tmp_path / "none.shp", what="factor")
    frame, _ = read_layer(tmp_path / "none.shp", what="factor", crs=CRS)
    assert frame.crs.to_epsg() == 26915
    layer.to_file(tmp_path / "some.shp")
    with pytest.raises(CRSError, match="the file says EPSG:26915, the study says EPSG:26916"):
        read_layer(tmp_path / "some.shp", what="factor", crs="EPSG:26916")


def test_digest_follows_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"2")
    assert file_digest(a) != file_digest(b)
    b.write_bytes(b"1")
    assert file_digest(a) == file_digest(b)


def test_digest_of_a_shapefile_covers_its_attributes(tmp_path: Path, layer: gpd.GeoDataFrame) -> None:
    layer.to_file(tmp_path / "bars.shp")
    before = file_digest(tmp_path / "bars.shp")
    layer.assign(n=[7, 8, 9]).to_file(tmp_path / "bars.shp")
    assert file_digest(tmp_path / "bars.shp") != before


def test_layer_names_do_not_mind_case(tmp_path: Path, layer: gpd.GeoDataFrame) -> None:
    layer.to_file(tmp_path / "a.gpkg", layer="bars")
    assert read_layer(tmp_path / "a.gpkg", what="factor", layer="BARS")[1] == 3


def test_damaged_and_oddly_encoded_csv(tmp_path: Path) -> None:
    whole = gzip.compress(b"x,y\n" + b"1,2\n" * 10_000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "latin.csv").write_bytes("x,y,n\n1,2,caf\xe9\n".encode("latin-1"))
    for name, hint in (("cut.csv.gz", "cannot be read"), ("latin.csv", "Save it as UTF-8")):
        with pytest.raises(FileError, match=hint):
            read_layer(tmp_path / name, what="factor", x="x", y="y", crs=CRS)
