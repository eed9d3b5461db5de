"""The real cities, where their layers are at hand (RTMDX_DATA): the examples run, distances are true."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.run import run
from rtmdx.runs.study import Study
from rtmdx.space.distance import distance_array
from rtmdx.space.grid import Grid

pytestmark = pytest.mark.data
EXAMPLES = Path(__file__).parents[1] / "examples"
HOLDOUT = {"outcome.end": "2017-12-31", "holdout.start": "2018-01-01"}


@pytest.mark.parametrize(
    ("city", "layer"),
    [
        ("stlouis", "parks"),
        ("stlouis", "primary_roads"),
        ("stlouis", "historic_districts"),
        ("stlouis", "water"),
        ("chicago", "bike_routes"),
        ("chicago", "community_areas"),
        ("stlouis", "bus_stops"),
    ],
)
def test_distances_equal_shapely(cities: Path, city: str, layer: str) -> None:
    file = cities / city / f"{city}.gpkg"
    area = gpd.read_file(file, layer="boundary")
    grid = Grid.from_area(area.geometry.iloc[0], area.crs, 250)
    features = gpd.read_file(file, layer=layer).to_crs(area.crs)
    x, y = np.meshgrid(grid.x, grid.y)
    points = shapely.points(x.ravel(), y.ravel())
    shapes = shapely.make_valid(features.geometry.to_numpy())
    union = shapely.union_all(shapes)
    shapely.prepare(union)
    expected = shapely.distance(points, union).reshape(grid.shape)
    np.testing.assert_allclose(distance_array(features, grid), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(distance_array(features, grid, dtype="float64"), expected, rtol=1e-9, atol=1e-8)


def invariants(terrain: RiskTerrain) -> None:
    assert terrain.expected_cells.sum() == pytest.approx(terrain.counts.sum(), rel=1e-6)
    assert np.isfinite(terrain.score_cells).all()
    assert terrain.score_cells.min() == 1
    assert (terrain.table["rrv"] > 1).all()
    assert not terrain.table["factor"].duplicated().any()
    for cleaning in (terrain.events.cleaning, *(f.cleaning for f in terrain.factors)):
        assert cleaning.read == cleaning.kept + sum(cleaning.dropped.values())


def test_stlouis_fitted_on_2017_scored_on_2018(cities: Path) -> None:
    study = Study.from_toml(EXAMPLES / "stlouis.toml", overrides=HOLDOUT)
    terrain = run(study, data=cities)
    invariants(terrain)
    assert terrain.grid.n_cells == 81_769
    assert terrain.design.n_generated == 228
    assert terrain.events.cleaning.dropped == {"outside the time window": 3568, "outside the study area": 1}
    assert {"vacant_buildings", "bus_stops"} <= set(terrain.table["factor"])
    held = {v.name: v for v in terrain.holdout}
    assert held["Risk terrain"].n_events == 3566
    # a trial elsewhere gave 5.7, 16.6 and 10.6 with fewer factors: the terrain never hides its baselines
    assert 4 < held["Risk terrain"].top[0].pai.expected < 9
    assert held["Past counts"].top[0].pai.expected > held["Risk terrain"].top[0].pai.expected


@pytest.mark.parametrize(("layer", "events"), [("ev_robbery_2017_18", 3438), ("ev_homicide_2017_18", 394)])
def test_stlouis_other_outcomes(cities: Path, layer: str, events: int) -> None:
    terrain = run(Study.from_toml(EXAMPLES / "stlouis.toml", overrides={"outcome.layer": layer}), data=cities)
    invariants(terrain)
    assert terrain.counts.sum() == events


def test_chicago(cities: Path) -> None:
    terrain = run(Study.from_toml(EXAMPLES / "chicago.toml"), data=cities)
    invariants(terrain)
    assert terrain.counts.sum() == 30_283
    assert len(terrain.factors) >= 10
    held = {v.name: v for v in terrain.holdout}
    assert held["Risk terrain"].n_events == 15_397
    assert held["Past counts"].top[0].pai.expected == pytest.approx(14.5, abs=1)


def test_nbii_keeps_the_total_and_nb2_does_not(cities: Path) -> None:
    totals = {}
    for family in ("nbii", "nb2"):
        overrides = {"model.families": [family], "model.n_penalties": 30}
        study = Study.from_toml(EXAMPLES / "stlouis.toml", overrides=overrides)
        terrain = run(study, data=cities)
        totals[family] = terrain.expected_cells.sum() / terrain.counts.sum()
    assert totals["nbii"] == pytest.approx(1, abs=1e-6)
    assert abs(totals["nb2"] - 1) > 1e-3
