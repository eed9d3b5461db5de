"""An exposure from its table and its file: the study's id, what is measured, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from typer.testing import CliRunner

import small_city
from conftest import CRS, ORIGIN
from exposure_city import DROP, LENGTH, X, Y, layers, streets, study
from rtmdx.cli import app
from rtmdx.errors import StudyError
from rtmdx.runs.estimate import estimate_run
from rtmdx.runs.inputs import load_inputs
from rtmdx.runs.study import Study


def test_the_id_changes_only_with_what_matters() -> None:
    plain = study(None)
    assert "exposure" not in plain.model_dump(exclude_none=True)
    made = {json.dumps(e): study(e).id for e in (LENGTH, DROP, {"measure": "area"})}
    assert len({plain.id, *made.values()}) == 4
    assert study({"measure": "length", "name": "Other", "unit": "metres"}).id == study(LENGTH).id
    layer = study(LENGTH).exposure
    assert layer is not None
    assert (layer.path, layer.layer) == ("city.gpkg", "exposure")
    assert Study.from_dict(study(DROP).to_dict()) == study(DROP)
    assert estimate_run(study(LENGTH), 60, 60, 3600).memory > estimate_run(plain, 60, 60, 3600).memory


@pytest.mark.parametrize(
    ("exposure", "message"),
    [
        ({}, "exposure.measure: required"),
        ({"measure": "volume"}, "exposure.measure: found 'volume'"),
        ({"measure": "polygons"}, "need field"),
        ({"measure": "length", "field": "n"}, "field is for polygons and count"),
        ({"measure": "length", "statistic": "mean"}, "statistic is for a raster"),
        ({"measure": "length", "floor": 2}, 'zero is "error"'),
        ({"measure": "length", "zero": "floor", "floor": 0}, "exposure.floor"),
        ({"measure": "raster"}, "a raster needs path"),
        ({"measure": "raster", "path": "a.tif", "layer": "b"}, "layer is for layers of features"),
        ({"measure": "length", "unit_": "m"}, "unknown key"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(exposure: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        study(exposure)


def test_a_factor_may_not_take_the_name() -> None:
    with pytest.raises(StudyError, match='a layer is named "exposure"'):
        study(LENGTH, factors=[{"name": "exposure"}])


@pytest.mark.parametrize(
    ("exposure", "layer", "message"),
    [
        (LENGTH, small_city.frames()["bars"], "takes lines, found Point"),
        ({"measure": "polygons", "field": "lanes"}, streets(), "takes polygons, found LineString"),
        ({"measure": "count", "field": "kind"}, small_city.frames()["bars"], "missing, negative or not finite"),
        (LENGTH, streets().set_crs(None, allow_override=True), "has no CRS"),
        (LENGTH, streets().translate(90_000).to_frame("geometry"), "is 0 in every cell"),
        ({**LENGTH, "filter": {"lanes": 3}}, streets(), "no geometry left"),
        ({"measure": "raster", "path": "none.tif"}, None, "no such file"),
        ({"measure": "length", "zero": "floor", "floor": 5000}, streets(), "above the median"),
    ],
)  # fmt: skip
def test_unusable_layers_are_problems_of_the_study(exposure: dict[str, Any], layer: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        load_inputs(study(exposure), layers=layers(exposure=layer))
    assert len(caught.value.problems) == 1


def test_all_layers_problems_come_at_once(tmp_path: Path) -> None:
    """An outcome that cannot be used does not hide what is wrong with the exposure."""
    wrong = small_city.frames()["parks"]
    with pytest.raises(StudyError) as caught:
        load_inputs(study(LENGTH), layers=layers(outcome=wrong, exposure=wrong))
    said = " ".join(map(str, caught.value.problems))
    assert "no field 'date'" in said
    assert "takes lines, found Polygon" in said
    none = small_city.frames()["boundary"].iloc[:0]
    with pytest.raises(StudyError, match="no such file"):
        load_inputs(
            study({"measure": "raster", "path": str(tmp_path / "x.tif")}), layers=layers(area=none, exposure=None)
        )


def test_thin_and_little_exposure_are_said() -> None:
    events = layers()["outcome"]
    xy = events[events["date"] < "2023"].get_coordinates().to_numpy()[0]
    tile = np.floor((xy - ORIGIN) / 50.0) * 50.0 + ORIGIN
    spots = [shapely.box(*tile, *(tile + 0.001))]
    spots += [shapely.box(X + a, Y + b, X + a + 50, Y + b + 50) for a in np.arange(0, 1200, 100) for b in (0, 1000)]
    small = gpd.GeoDataFrame(geometry=spots, crs=CRS)
    inputs = load_inputs(study({"measure": "area", "zero": "drop"}, holdout=None), layers=layers(exposure=small))
    codes = {f.code for f in inputs.findings}
    assert {"thin-exposure", "little-exposure", "exposure-dropped"} <= codes


def test_check_and_run_from_files(tmp_path: Path) -> None:
    frames = {**small_city.frames(), "streets": streets()}
    small_city.write(tmp_path, frames)
    data = small_city.study(exposure={"measure": "length", "layer": "streets", "zero": "drop"})
    (tmp_path / "study.toml").write_text(small_city.toml(data))
    done = CliRunner().invoke(app, ["check", str(tmp_path / "study.toml"), "--data", str(tmp_path)])
    assert done.exit_code == 0, done.output
    text = re.sub(r"\s+", " ", done.output)
    assert "exposure Length of lines" in text
    assert "cells have none" in text
    done = CliRunner().invoke(
        app, ["check", str(tmp_path / "study.toml"), "--data", str(tmp_path), "--set", "exposure.layer=alleys"]
    )
    assert done.exit_code == 2
    assert "alleys" in done.output


@pytest.mark.parametrize("measure", ["polygons", "area"])
def test_st_louis(cities: Path, measure: str) -> None:
    """Residents of the tracts, spread over the cells: they sum back, and each cell has its tracts' densities."""
    data: dict[str, Any] = {
        "name": "St. Louis",
        "path": "stlouis/stlouis.gpkg",
        "area": {"layer": "boundary"},
        "grid": {"block_length": 91, "cell_size": 46},
        "outcome": {"layer": "ev_homicide_2017_18"},
        "factors": [{"name": "taverns"}],
        "exposure": {"measure": "polygons", "layer": "tracts", "field": "POP_E", "zero": "drop"}
        if measure == "polygons"
        else {"measure": "area", "layer": "boundary"},
    }
    inputs = load_inputs(Study.from_dict(data), data=cities)
    exposure, grid = inputs.exposure, inputs.grid
    assert exposure is not None
    if measure == "area":
        assert exposure.total == pytest.approx(inputs.area.geometry.area, rel=1e-12)
        return
    tracts = gpd.read_file(cities / "stlouis" / "stlouis.gpkg", layer="tracts").to_crs(grid.crs)
    assert exposure.total + exposure.outside == pytest.approx(tracts["POP_E"].sum(), rel=1e-9)
    assert exposure.outside < 0.001 * exposure.total
    rows, cols = grid.rows_cols
    shapes = tracts.geometry.to_numpy()
    for i in np.random.default_rng(0).integers(0, grid.n_cells, 60):
        x, y, s = grid.x_min + cols[i] * 46, grid.y_max - rows[i] * 46, 46
        part = shapely.box(x, y - s, x + s, y).intersection(inputs.area.geometry)
        oracle = (tracts["POP_E"] * shapely.area(shapely.intersection(shapes, part)) / shapely.area(shapes)).sum()
        assert exposure.cells[i] == pytest.approx(oracle, rel=1e-6, abs=1e-6)
