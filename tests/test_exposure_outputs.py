"""An exposure in every output and in the report."""

from __future__ import annotations

import html
import re
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import xarray as xr

from exposure_city import layers, make_dropped, make_floored, streets, study
from rtmdx.model.terrain import RiskTerrain
from rtmdx.report import write_report
from rtmdx.runs.outputs import summary
from rtmdx.runs.run import run


@pytest.fixture(scope="module")
def dropped() -> RiskTerrain:
    return make_dropped()


@pytest.fixture(scope="module")
def floored() -> RiskTerrain:
    return make_floored()


def test_outputs_carry_the_exposure(dropped: RiskTerrain, tmp_path: Path) -> None:
    assert dropped.exposure is not None
    cells = dropped.exposure.cells
    dropped.to_zarr(tmp_path / "t.zarr")
    with xr.open_zarr(tmp_path / "t.zarr") as store:
        assert (dropped.grid.to_cells(store["exposure"].values) == cells).all()
        assert store["exposure"].attrs["units"] == "m"
        assert "Street length" in store["exposure"].attrs["long_name"]
    dropped.to_geopackage(tmp_path / "t.gpkg")
    table = gpd.read_file(tmp_path / "t.gpkg", layer="cells")
    assert (table["exposure"].to_numpy() == cells).all()
    from rtmdx.model.export import write_tables

    write_tables(dropped, tmp_path / "tables")
    assert pd.read_csv(tmp_path / "tables" / "cells.csv")["exposure"].to_numpy() == pytest.approx(cells, rel=1e-12)
    result = summary(dropped)
    assert result["exposure"]["total"] == pytest.approx(dropped.exposure.total)
    assert result["exposure"]["cells_without"] == dropped.exposure.n_without
    assert dropped.provenance["inputs"]["exposure"]["rows"] == len(streets())


def test_outputs_without_exposure_are_as_before(tmp_path: Path) -> None:
    plain = run(study(None), layers=layers(exposure=None))
    assert "exposure" not in plain.cells.columns
    assert "exposure" not in plain.provenance["inputs"]
    assert summary(plain)["exposure"] is None
    write_report(plain, tmp_path / "r.html")
    assert "xposure" not in re.sub(r"<details.*?</details>", "", (tmp_path / "r.html").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("which", ["dropped", "floored"])
def test_the_report_shows_it(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    terrain: RiskTerrain = request.getfixturevalue(which)
    write_report(terrain, tmp_path / "r.html")
    text = html.unescape(re.sub(r"<[^>]+>", " ", (tmp_path / "r.html").read_text(encoding="utf-8")))
    text = re.sub(r"\s+", " ", text)
    assert terrain.exposure is not None
    assert f"Street length: {terrain.exposure.total:,.0f} m in all" in text
    assert "Exposure and expected events" in text
    assert "Exposure alone" in text
    assert "for the same exposure (street length)" in text
    if which == "dropped":
        assert f"{terrain.exposure.n_without:,} of {terrain.grid.n_cells:,} cells" in text
    else:
        assert f"{terrain.exposure.raised:,} cells raised to 5.00 m" in text
