"""Which factors put a place where it is, against the definition worked out cell by cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

import rtmdx
import small_city
from conftest import CRS, ORIGIN
from rtmdx import priority
from rtmdx.errors import CRSError, InputError
from rtmdx.priority.explanation import reasons

X, Y = ORIGIN


@pytest.fixture(scope="module")
def terrain(tmp_path_factory: pytest.TempPathFactory) -> rtmdx.RiskTerrain:
    folder: Path = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    factors = [
        {"name": "bars", "max_influence": 2, "force": True},
        {"name": "roads", "operationalization": "proximity", "max_influence": 1, "force": True},
        {"name": "parks", "effect": "protective", "max_influence": 1, "force": True},
    ]
    return rtmdx.run(rtmdx.Study.from_dict(small_city.study(factors=factors)), data=folder)


def columns(terrain: rtmdx.RiskTerrain) -> np.ndarray:
    """Signed 0/1 columns of the model, shape (cells, variables)."""
    model = terrain.model
    return np.stack(
        [v.sign * terrain.design.indicator(c).astype(int) for c, v in zip(model.columns, model.variables, strict=True)],
        axis=1,
    )


def test_of_the_whole_area(terrain: rtmdx.RiskTerrain) -> None:
    table = priority.contributions(terrain).set_index("factor")
    model, x = terrain.model, columns(terrain)
    assert set(table.index) == {"bars", "roads", "parks"}
    for i, v in enumerate(model.variables):
        row = table.loc[v.factor_name]
        low = x.copy()
        low[:, i] = 0 if v.sign > 0 else -1
        without = np.exp(model.intercept + low @ model.coefficients).sum()
        assert row["events"] == pytest.approx(terrain.expected_cells.sum() - without, rel=1e-9)
        assert row["events_share"] == pytest.approx(row["events"] / terrain.expected_cells.sum())
        assert row["multiplier"] == model.rrv[i]
        assert row["share"] == pytest.approx(np.mean(x[:, i] == (1 if v.sign > 0 else 0)))
    # the mean log score above the state in which nothing raises risk
    floor = -sum(c for c, v in zip(model.coefficients, model.variables, strict=True) if v.sign < 0)
    assert table["log_points"].sum() == pytest.approx((x @ model.coefficients).mean() - floor)


def test_of_cells_and_of_places_that_are_those_cells(terrain: rtmdx.RiskTerrain) -> None:
    cells = np.array([5, 700, 2011, 3599])
    table = priority.contributions(terrain, cells=cells)
    assert table["place"].tolist() == np.repeat(cells, 3).tolist()
    for cell, own in table.groupby("place"):
        present = own[own["share"] > 0]
        floor = min(terrain.score_cells)
        model = terrain.model
        least = -sum(c for c, v in zip(model.coefficients, model.variables, strict=True) if v.sign < 0)
        top = (columns(terrain) @ model.coefficients).min() - least
        assert np.prod(present["multiplier"]) == pytest.approx(terrain.score_cells[cell] / floor * np.exp(top))
        assert own["log_points"].is_monotonic_decreasing
    rows, cols = terrain.grid.rows_cols
    half = terrain.grid.cell_size / 2
    x, y = terrain.grid.x[cols[cells]], terrain.grid.y[rows[cells]]
    squares = gpd.GeoSeries(shapely.box(x - half, y - half, x + half, y + half), crs=CRS, index=list("abcd"))
    same = priority.contributions(terrain, places=squares)
    assert same["place"].tolist() == np.repeat(list("abcd"), 3).tolist()
    for name in ("multiplier", "share", "log_points", "events", "events_share"):
        np.testing.assert_allclose(same[name], table[name], rtol=1e-9, atol=1e-12)


def test_words(terrain: rtmdx.RiskTerrain) -> None:
    places = gpd.GeoSeries([shapely.box(X, Y, X + 1500, Y + 3000)], index=["west"], crs=CRS)
    table = priority.contributions(terrain, places=places)
    said = reasons(table)["west"]
    bars = table.set_index("factor").loc["bars"]
    assert f"Bars ×{bars['multiplier']:.2g} ({bars['share']:.0%})" in said
    parks = table.set_index("factor").loc["parks"]
    assert (f"no Parks ×{parks['multiplier']:.2g}" in said) == (parks["multiplier"] > 1)
    assert list(reasons(table, most=1)["west"].split(", ")) == [said.split(", ")[0]]


def test_a_model_without_factors(terrain: rtmdx.RiskTerrain) -> None:
    none = replace(terrain.model, variables=(), columns=(), coefficients=np.empty(0))
    empty = replace(terrain, selection=replace(terrain.selection, model=none))
    table = priority.contributions(empty)
    assert table.empty
    assert "log_points" in table.columns


def test_what_it_refuses(terrain: rtmdx.RiskTerrain, square: gpd.GeoDataFrame) -> None:
    with pytest.raises(InputError, match="cells, places: found both"):
        priority.contributions(terrain, cells=[1], places=square)
    with pytest.raises(InputError, match="cells: found indices from 99999 to 99999"):
        priority.contributions(terrain, cells=[99999])
    with pytest.raises(CRSError):
        priority.contributions(terrain, places=square.to_crs(4326))
    lines = gpd.GeoSeries([shapely.LineString([(X, Y), (X + 500, Y + 500)])], crs=CRS)
    with pytest.raises(InputError, match="expected polygons"):
        priority.contributions(terrain, places=lines)
