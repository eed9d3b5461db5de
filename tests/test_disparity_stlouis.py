"""St. Louis's [disparity.exposure], as examples/stlouis.toml has it, beside the same put together by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from rtmdx.disparity.assessment import begin
from rtmdx.disparity.group_exposure import exposure
from rtmdx.disparity.population import allocate
from rtmdx.runs.run import fit, load
from rtmdx.runs.study import Study
from rtmdx.space.zonal import coverage

EXAMPLE = Path(__file__).parents[1] / "examples" / "stlouis.toml"


def test_exposure_of_the_example(cities: Path) -> None:
    changes = {"grid.cell_size": 182, "disparity.exposure.model_draws": False}
    study = Study.from_toml(EXAMPLE, overrides=changes)
    inputs, _ = load(study, data=cities)
    terrain = fit(study, inputs, model_only=True)
    found = begin(study, data=cities).finish(terrain)
    assert found.exposure is not None
    assert found.comparison is None

    file, grid = cities / "stlouis" / "stlouis.gpkg", terrain.grid
    zones = gpd.read_file(file, layer="neighborhoods")
    rest = zones["pop17"] - zones["black17"] - zones["white17"]
    for column, n in (("b", zones["black17"]), ("w", zones["white17"]), ("o", rest)):
        zones[column] = zones["pop17_m"] * np.sqrt(n / zones["pop17"])
    empty = pd.concat([gpd.read_file(file, layer=name).geometry for name in ("parks", "water")]).make_valid()
    cover = coverage(gpd.GeoSeries([shapely.union_all(empty.to_numpy())], crs=grid.crs), grid)
    homes = np.bincount(cover.cell, cover.fraction, minlength=grid.size).reshape(grid.shape) < 0.5
    people = allocate(
        zones, {"Black": "black17", "White": "white17"}, grid, total="pop17", key="NHD_NAME", method="dasymetric",
        weights=homes.astype(float), margins={"Black": "b", "White": "w", "other": "o"},
    )  # fmt: skip
    expected = exposure(terrain, people, reference="White")
    for mine, other in zip(
        [*found.exposure.means, *found.exposure.ratios, *found.exposure.top, *found.exposure.indices],
        [*expected.means, *expected.ratios, *expected.top, *expected.indices],
        strict=True,
    ):
        for name in ("estimate", "low", "high"):
            assert getattr(mine, name) == pytest.approx(getattr(other, name), rel=1e-9, nan_ok=True)
    ratio: Any = found.exposure.ratio("Black", "White")
    assert ratio.estimate == pytest.approx(1.523, abs=0.005)  # as docs/disparity.md has it
    assert (ratio.low, ratio.high) == pytest.approx((1.493, 1.552), abs=0.005)
