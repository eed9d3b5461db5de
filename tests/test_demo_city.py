"""The invented city: sound geometry, the planted risks as declared, and the same city every time."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from rtmdx.demo import City, PlantedRisk, make_city, recovery
from rtmdx.demo.events import FIT, HOLDOUT, draw_counts, draw_dates, indicator, place_events
from rtmdx.errors import InputError
from rtmdx.runs.study import Study
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Events, StudyArea

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def cities() -> dict[int, City]:
    return {seed: make_city(seed) for seed in SEEDS}


@pytest.fixture(params=SEEDS)
def city(request: pytest.FixtureRequest, cities: dict[int, City]) -> City:
    return cities[request.param]


def frames(city: City) -> dict[str, gpd.GeoDataFrame]:
    return {"area": city.area, "events": city.events, **city.layers}


def grid_of(city: City) -> Grid:
    return Grid.from_area(city.area.geometry.iloc[0], city.crs, city.cell_size)


def test_same_seed_same_city(cities: dict[int, City]) -> None:
    again = frames(make_city())
    for name, frame in frames(cities[0]).items():
        assert frame.geometry.to_wkb().tolist() == again[name].geometry.to_wkb().tolist(), name
        pd.testing.assert_frame_equal(frame.drop(columns="geometry"), again[name].drop(columns="geometry"))


def test_other_seed_other_city(cities: dict[int, City]) -> None:
    one, two = frames(cities[0]), frames(cities[1])
    for name, frame in one.items():
        assert frame.geometry.to_wkb().tolist() != two[name].geometry.to_wkb().tolist(), name


def test_negative_seed() -> None:
    with pytest.raises(InputError, match="seed is -1"):
        make_city(-1)


def test_geometry_is_sound(city: City) -> None:
    for name, frame in frames(city).items():
        assert frame.crs == city.crs, name
        assert len(frame), name
        assert frame.geometry.notna().all(), name
        assert not frame.geometry.is_empty.any(), name
        assert frame.geometry.is_valid.all(), name
        assert len({kind.removeprefix("Multi") for kind in frame.geom_type}) == 1, name


def test_everything_lies_within_the_city(city: City) -> None:
    river = city.layers["river"].geometry
    limits = shapely.union_all([city.area.geometry.iloc[0], *river]).buffer(0.1)
    for name, frame in frames(city).items():
        assert frame.within(limits).all(), name
    west, south, east, north = limits.bounds
    assert 4500 < east - west < 6300
    assert 4000 < north - south < 5300
    assert 0.6 < limits.area / ((east - west) * (north - south)) < 0.95  # no rectangle


def test_the_river_is_free(city: City) -> None:
    river = shapely.union_all(city.layers["river"].geometry.to_numpy()).buffer(-0.1)
    streets = city.layers["streets"]
    assert (streets.kind == "bridge").sum() >= 3
    factors = {*city.unplanted, *(p.factor for p in city.planted)} - {"motorway"}  # it has a bridge
    dry = {name: city.layers[name] for name in factors}
    dry |= {
        "streets": streets[streets.kind != "bridge"],
        "blocks": city.layers["blocks"],
        "events": city.events,
    }
    for name, frame in dry.items():
        assert not frame.intersects(river).any(), name
    assert city.area.geometry.iloc[0].intersection(river).area < 1.0


def test_blocks_do_not_overlap(city: City) -> None:
    blocks = city.layers["blocks"].geometry.to_numpy()
    parks = city.layers["parks"].geometry.to_numpy()
    a, b = shapely.STRtree(blocks).query(blocks, predicate="intersects")
    shared = shapely.area(shapely.intersection(blocks[a[a < b]], blocks[b[a < b]]))
    assert shared.sum() < 1.0
    assert shapely.area(shapely.intersection(shapely.union_all(blocks), shapely.union_all(parks))) < 1.0
    assert np.median(shapely.area(blocks)) < 2 * city.block_length**2
    covered = shapely.area(blocks).sum() / city.area.geometry.iloc[0].area
    assert 0.55 < covered < 0.9  # the rest is streets, parks, banks and the motorway


def test_streets_do_not_cross_blocks(city: City) -> None:
    streets = city.layers["streets"].geometry.to_numpy()
    blocks = shapely.buffer(city.layers["blocks"].geometry.to_numpy(), -1.0)
    assert shapely.STRtree(blocks).query(streets, predicate="intersects").size == 0


def test_residents(city: City) -> None:
    blocks = city.layers["blocks"]
    groups = blocks[["black", "white", "other"]]
    assert all(kind.kind == "i" for kind in (blocks.population.dtype, *groups.dtypes))
    assert (groups >= 0).all(axis=None)
    assert (groups.sum(axis=1) == blocks.population).all()
    assert 40_000 < blocks.population.sum() < 120_000
    assert (groups.sum() > 2000).all()
    black, others = groups.black, blocks.population - groups.black
    assert 0.2 < black.sum() / blocks.population.sum() < 0.5
    dissimilarity = 0.5 * np.abs(black / black.sum() - others / others.sum()).sum()
    assert 0.4 < dissimilarity < 0.85  # as in segregated cities


def test_planted_risks_have_support(city: City) -> None:
    grid = grid_of(city)
    present = []
    for risk in city.planted:
        shapes = city.layers[risk.factor].geometry.to_numpy()
        present.append(indicator(risk, shapes, grid, city.block_length))
        assert 0.02 < present[-1].mean() < 0.25, risk
        assert 1.5 <= risk.rrv <= 4.5
    apart = np.corrcoef(np.array(present, dtype=float)) - np.eye(len(present))
    assert np.abs(apart).max() < 0.5


def test_planted_kinds(city: City) -> None:
    planted = {(city.layers[p.factor].geom_type.iloc[0], p.operationalization) for p in city.planted}
    assert {("Point", "density"), ("Point", "proximity"), ("LineString", "proximity")} <= planted
    assert any(p.effect == "protective" for p in city.planted)
    assert not {p.factor for p in city.planted} & set(city.unplanted)


def test_drawn_counts_follow_the_planted_risk() -> None:
    here = np.arange(6000) % 4 == 0
    less = np.arange(6000) % 5 == 0
    planted = {
        PlantedRisk("a", "aggravating", "proximity", 1.0, 3.0): here,
        PlantedRisk("b", "protective", "proximity", 1.0, 2.0): less,
    }
    drawn = [draw_counts(planted, np.random.default_rng(seed)) for seed in range(200)]
    fit, later = (np.array(years) for years in zip(*drawn, strict=True))
    assert fit[:, here].mean() / fit[:, ~here].mean() == pytest.approx(3.0, rel=0.03)
    assert fit[:, ~less].mean() / fit[:, less].mean() == pytest.approx(2.0, rel=0.03)
    assert fit.sum() / 200 == pytest.approx(6000, rel=0.02)
    assert later.sum() / fit.sum() == pytest.approx(0.5, rel=0.02)
    base = fit[:, ~here & ~less]
    assert base.var() / base.mean() == pytest.approx(2.0, rel=0.03)  # NBII with s = 1
    # the third year continues each cell's own rate: cov = var(rate) / 2 = s mu / 2
    covariance = np.cov(base.ravel(), later[:, ~here & ~less].ravel())[0, 1]
    assert covariance / base.mean() == pytest.approx(0.5, rel=0.05)


def test_events_are_counted_where_they_were_drawn(city: City) -> None:
    grid, area = grid_of(city), city.area.geometry.iloc[0]
    cell = np.arange(grid.n_cells)
    streets = city.layers["streets"].geometry.to_numpy()
    at = place_events(cell, grid, area, streets, np.random.default_rng(3))
    assert (grid.cell_of(*at.T) == cell).all()
    assert shapely.intersects_xy(area, *at.T).all()


def test_no_event_is_lost(city: City) -> None:
    grid = grid_of(city)
    events = Events.from_frame(city.events, grid, StudyArea.from_frame(city.area))
    assert 8000 < len(city.events) < 10_000
    assert len(events) == len(city.events)
    assert events.counts(grid).sum() == len(city.events)
    assert not events.cleaning.dropped
    assert not events.findings


def test_dates(city: City) -> None:
    day = city.events.date.to_numpy().astype("datetime64[D]")
    assert city.events.date.is_monotonic_increasing
    assert day.min() >= FIT[0]
    assert day.max() <= HOLDOUT[1]
    assert HOLDOUT[0] == FIT[1] + 1
    fit = (day <= FIT[1]).sum()
    assert 5500 < fit < 6500
    assert 2600 < day.size - fit < 3400
    hours = city.events.date.dt.hour.value_counts()
    assert len(hours) == 24
    assert hours[[20, 21, 22]].sum() > 3 * hours[[6, 7, 8]].sum()


def test_draw_dates_covers_the_span() -> None:
    days = draw_dates(20_000, FIT, np.random.default_rng(0)).astype("datetime64[D]")
    assert days.min() == FIT[0]
    assert days.max() == FIT[1]
    assert np.unique(days).size == 730


def test_study(city: City) -> None:
    study = Study.from_dict(city.study())
    by_name = {factor.name: factor for factor in study.factors}
    assert set(by_name) == {*city.unplanted, *(risk.factor for risk in city.planted)}
    for risk in city.planted:
        factor = by_name[risk.factor]
        assert factor.effect == risk.effect
        assert risk.operationalization in factor.operationalizations
        assert risk.blocks * city.block_length in factor.distances(study.grid.block_length)
    assert study.n_variables == 108
    assert study.grid.size == city.cell_size
    assert (study.outcome.start, study.outcome.end) == (FIT[0].item(), FIT[1].item())
    assert study.holdout is not None
    assert (study.holdout.start, study.holdout.end) == (HOLDOUT[0].item(), HOLDOUT[1].item())


def test_write(cities: dict[int, City], tmp_path: Path) -> None:
    city = cities[0]
    path = city.write(tmp_path / "new" / "demo")
    assert path == tmp_path / "new" / "demo" / "study.toml"
    assert Study.from_toml(path) == Study.from_dict(city.study())
    assert tomllib.loads(path.read_text(encoding="utf-8")) == city.study()
    file = path.parent / "city.gpkg"
    for name, frame in frames(city).items():
        back = gpd.read_file(file, layer=name)
        assert back.crs == city.crs
        assert back.geometry.to_wkb().tolist() == frame.geometry.to_wkb().tolist(), name
        for column in frame.columns.drop("geometry"):
            assert back[column].tolist() == frame[column].tolist(), (name, column)
    first = file.read_bytes()
    city.write(path.parent)  # over the old one
    assert file.read_bytes() == first
    assert sorted(p.name for p in path.parent.iterdir()) == ["city.gpkg", "study.toml"]


def test_recovery(cities: dict[int, City]) -> None:
    """Each verdict once: what a terrain's model says against what was planted."""
    city = cities[0]
    selected = {  # factor: operationalization, blocks, rrv; the interval is 10 % either way
        "bars": ("density", 2.5, 1.1),  # half a block off: the RRV is that of another variable
        "vacant_buildings": ("density", 2.5, 9.9),
        "convenience_stores": ("density", 1.0, 2.2),
        "bus_stops": ("proximity", 1.5, 1.8),
        "community_centers": ("proximity", 1.5, 2.1),
        "schools": ("proximity", 3.0, 1.2),
    }
    rrv = np.array([value[2] for value in selected.values()])
    variables = [
        SimpleNamespace(factor_name=name, operationalization=how, distance=blocks * city.block_length)
        for name, (how, blocks, _) in selected.items()
    ]
    model = SimpleNamespace(
        variables=variables, rrv=rrv, rrv_interval=lambda _: np.column_stack([0.9 * rrv, 1.1 * rrv])
    )
    found = recovery(city, SimpleNamespace(model=model)).set_index("factor")  # type: ignore[arg-type]
    assert found.verdict.to_dict() == {
        "bars": "recovered",
        "vacant_buildings": "RRV outside the interval",
        "convenience_stores": "other operationalization",
        "bus_stops": "other reach",
        "dark_streets": "missed",
        "community_centers": "recovered",
        "liquor_stores": "left out",
        "schools": "selected, but not planted",
        "parks": "left out",
        "parking_lots": "left out",
        "motorway": "left out",
    }
    assert found.planted.tolist() == [True] * 6 + [False] * 5
    assert found.selected.sum() == len(selected)
    assert found.loc["bars", ["planted_blocks", "blocks", "rrv"]].tolist() == [2.0, 2.5, 1.1]
    assert found.loc["dark_streets", ["blocks", "rrv"]].isna().all()
