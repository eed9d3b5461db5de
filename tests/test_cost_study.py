"""Cost distance as a study's third operationalization: barriers, friction, and what is said when they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

import rtmdx
import small_city
from conftest import CRS, ORIGIN
from rtmdx.errors import FileError, InputError, StudyError
from rtmdx.space.frame import Frame
from rtmdx.space.impedance import read_friction

X, Y = ORIGIN
SIDE = small_city.SIDE


def river(gap: float | None = None) -> gpd.GeoDataFrame:
    """A river from south to north through the middle; a bridge of 60 m at `gap` metres from the south."""
    x = X + 1525.0
    if gap is None:
        lines = [shapely.LineString([(x, Y - 900), (x, Y + SIDE + 900)])]
    else:
        lines = [
            shapely.LineString([(x, Y - 900), (x, Y + gap - 30)]),
            shapely.LineString([(x, Y + gap + 30), (x, Y + SIDE + 900)]),
        ]
    return gpd.GeoDataFrame(geometry=lines, crs=CRS)


def bars_west() -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=shapely.points(X + 1500.0, Y + np.arange(50.0, SIDE, 100.0)), crs=CRS)


def layers(**changes: gpd.GeoDataFrame) -> dict[str, gpd.GeoDataFrame]:
    city = small_city.frames()
    return {
        "area": city["boundary"],
        "outcome": city["events"],
        "bars": bars_west(),
        "river": river(),
        **changes,
    }


def dry() -> dict[str, gpd.GeoDataFrame]:
    return {k: v for k, v in layers().items() if k != "river"}


def study(**changes: Any) -> rtmdx.Study:
    factor = {"name": "bars", "operationalization": "cost", "max_influence": 3, "increment": "whole"}
    data = small_city.study(factors=[factor], impedance={"barriers": [{"name": "river"}]}, **changes)
    data.pop("holdout")
    data.pop("path")
    return rtmdx.Study.from_dict(data)


def test_a_river_keeps_the_far_bank_out_of_reach() -> None:
    terrain = rtmdx.run(study(), layers=layers())
    grid, design = terrain.grid, terrain.design
    names = [v.name for v in design.variables]
    assert names == ["r01c01_bars_cost_100", "r01c02_bars_cost_200", "r01c03_bars_cost_300"]
    x = grid.x[grid.rows_cols[1]]
    for j in range(3):
        near = design.indicator(j) == 1
        assert (x[near] < X + 1525).all()
        assert near.any()
    provenance = terrain.provenance["inputs"]["barrier river"]
    assert (provenance["source"], provenance["rows"]) == ("memory", 1)


def test_a_bridge_lets_through_and_proximity_does_not_care() -> None:
    def beyond(layer: gpd.GeoDataFrame) -> int:
        terrain = rtmdx.run(study(), layers=layers(river=layer))
        x = terrain.grid.x[terrain.grid.rows_cols[1]]
        return int(((terrain.design.indicator(2) == 1) & (x > X + 1525)).sum())

    assert beyond(river()) == 0
    with_bridge = beyond(river(gap=1500.0))
    assert with_bridge > 0
    data = study().to_dict()
    data["factors"][0]["operationalization"] = "proximity"
    near = rtmdx.run(rtmdx.Study.from_dict(data), layers=layers())
    x = near.grid.x[near.grid.rows_cols[1]]
    assert ((near.design.indicator(2) == 1) & (x > X + 1525)).sum() > 3 * with_bridge


def test_all_three_operationalizations() -> None:
    data = study().to_dict()
    data["factors"][0]["operationalization"] = "all"
    whole = rtmdx.Study.from_dict(data)
    assert whole.n_variables == 9
    assert whole.factors[0].operationalizations == ("proximity", "density", "cost")
    terrain = rtmdx.run(whole, layers=layers())
    assert {v.operationalization for v in terrain.design.variables} == {"proximity", "density", "cost"}
    html = terrain.report
    assert html is not None


def test_ways_may_leave_the_area() -> None:
    """A wall that ends just outside the boundary is walked around."""
    wall = gpd.GeoDataFrame(geometry=[shapely.LineString([(X + 1525, Y - 60), (X + 1525, Y + SIDE + 900)])], crs=CRS)
    terrain = rtmdx.run(study(), layers=layers(river=wall))
    x = terrain.grid.x[terrain.grid.rows_cols[1]]
    y = terrain.grid.y[terrain.grid.rows_cols[0]]
    through = (terrain.design.indicator(2) == 1) & (x > X + 1525)
    assert through.any()
    assert y[through].max() < Y + 300


def test_friction_from_a_raster(tmp_path: Path) -> None:
    """Friction 2 halves the reach; no data is impassable."""
    values = np.full((80, 80), 2.0, dtype=np.float32)
    values[:, 60:] = -9999.0
    path = tmp_path / "friction.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=80,
        width=80,
        count=1,
        dtype="float32",
        crs=CRS,
        transform=Affine(50.0, 0.0, X - 500, 0.0, -50.0, Y + 3500),
        nodata=-9999.0,
    ) as out:
        out.write(values, 1)
    data = study().to_dict()
    data["impedance"] = {"friction": "friction.tif"}
    slow = rtmdx.run(rtmdx.Study.from_dict(data), layers=dry(), data=tmp_path)
    assert slow.provenance["inputs"]["friction"]["source"] == "friction.tif"
    assert len(slow.provenance["inputs"]["friction"]["sha256"]) == 64
    x = slow.grid.x[slow.grid.rows_cols[1]]
    near = slow.design.indicator(len(slow.design.variables) - 1) == 1
    assert np.abs(x[near] - (X + 1500)).max() <= 150
    frame = Frame(CRS, X, Y + 1000.0, 100.0, 100.0, (5, 30))
    read = read_friction(path, frame)
    assert (read[:, :25] == 2).all()
    assert np.isnan(read[:, 25:]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"impedance": None}, r"no \[impedance\]"),
        ({"impedance": {}}, "neither barriers nor friction"),
        ({"impedance": {"barriers": [{"name": "river"}, {"name": "river"}]}}, "two barriers are named 'river'"),
        ({"impedance": {"barriers": [{"name": "bars"}]}}, "names another layer"),
        ({"impedance": {"barriers": [{"name": "river"}], "connectivity": 4}}, "connectivity"),
    ],
)
def test_a_study_that_does_not_say_what_is_in_the_way(change: dict[str, Any], said: str) -> None:
    data = {**study().to_dict(), **change}
    with pytest.raises(StudyError, match=said):
        rtmdx.Study.from_dict(data)


def test_unusable_barriers_and_friction_are_named(tmp_path: Path) -> None:
    points = gpd.GeoDataFrame(geometry=shapely.points([X + 5.0], [Y + 5.0]), crs=CRS)
    with pytest.raises(StudyError, match="barrier 'river'.*holds points, expected lines or polygons"):
        rtmdx.run(study(), layers=layers(river=points))
    empty = gpd.GeoDataFrame(geometry=[None], crs=CRS)
    with pytest.raises(StudyError, match="barrier 'river'.*no feature is left"):
        rtmdx.run(study(), layers=layers(river=empty))
    data = study().to_dict()
    data["impedance"] = {"friction": "none.tif"}
    with pytest.raises(StudyError, match=r"friction .*none\.tif: no such file"):
        rtmdx.run(rtmdx.Study.from_dict(data), layers=dry(), data=tmp_path)
    frame = Frame(CRS, X, Y + 1000.0, 100.0, 100.0, (5, 5))
    (tmp_path / "bad.tif").write_text("no raster")
    with pytest.raises(FileError, match="cannot be read as a raster"):
        read_friction(tmp_path / "bad.tif", frame)
    zero = tmp_path / "zero.tif"
    options = {"driver": "GTiff", "height": 9, "width": 9, "count": 1, "dtype": "float32", "crs": CRS}
    with rasterio.open(zero, "w", **options, transform=Affine(100.0, 0.0, X, 0.0, -100.0, Y + 1000)) as out:
        out.write(np.zeros((9, 9), dtype=np.float32), 1)
    with pytest.raises(InputError, match="friction of 0 or less"):
        read_friction(zero, frame)
    with rasterio.open(zero, "w", **options, nodata=-1, transform=Affine(100.0, 0.0, 0.0, 0.0, -100.0, 9e6)) as out:
        out.write(np.ones((9, 9), dtype=np.float32), 1)
    with pytest.raises(InputError, match="has no value on the study's grid"):
        read_friction(zero, frame)


def test_studies_without_impedance_keep_their_id() -> None:
    data = small_city.study()
    assert rtmdx.Study.from_dict(data).id == rtmdx.Study.from_dict({**data, "impedance": None}).id
    assert rtmdx.Study.from_dict(data).id != study().id
