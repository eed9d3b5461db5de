"""The design's 0/1 variables against the obvious computation, and the support rule."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from conftest import CRS, ORIGIN
from rtmdx.errors import Cancelled
from rtmdx.model.design import barely_varying, build_design
from rtmdx.space.grid import Grid
from rtmdx.space.layers import RiskFactor

SIDE = 2000.0
X, Y = ORIGIN
BANDS = (50.0, 100.0, 150.0, 200.0)


@pytest.fixture(scope="module")
def grid() -> Grid:
    area = shapely.box(X, Y, X + SIDE, Y + SIDE).difference(shapely.Point(X + 300, Y + 300).buffer(350))
    return Grid.from_area(area, CRS, 50)


def make(grid: Grid, geometry: list[shapely.Geometry], name: str = "bars", **kwargs: object) -> RiskFactor:
    frame = gpd.GeoDataFrame(geometry=geometry, crs=CRS)
    return RiskFactor.from_frame(frame, grid, name=name, **{"distances": BANDS, **kwargs})  # type: ignore[arg-type]


def scattered(n: int, seed: int = 0) -> list[shapely.Geometry]:
    return list(shapely.points(np.random.default_rng(seed).uniform(-100, SIDE + 100, (n, 2)) + ORIGIN))


def centres(grid: Grid) -> np.ndarray:
    rows, cols = grid.rows_cols
    return np.column_stack([grid.x[cols], grid.y[rows]])


@pytest.mark.parametrize(
    "geometry",
    [
        scattered(40),
        [shapely.LineString([(X - 50, Y + 700), (X + 900, Y + 1100), (X + 2100, Y + 1000)])],
        [shapely.Point(X + 1200, Y + 800).buffer(300).difference(shapely.Point(X + 1200, Y + 800).buffer(200))],
    ],
    ids=["points", "lines", "polygons"],
)
def test_proximity_is_the_true_distance_from_the_cell_centre(grid: Grid, geometry: list[shapely.Geometry]) -> None:
    design = build_design([make(grid, geometry, operationalizations=("proximity",))], grid)
    distance = shapely.distance(shapely.points(centres(grid)), shapely.union_all(geometry))
    assert len(design.variables) == len(BANDS)
    for j, v in enumerate(design.variables):
        np.testing.assert_array_equal(design.indicator(j), distance <= v.distance)
        assert v.support == design.indicator(j).sum()
        assert v.threshold is None


def test_density_is_mean_plus_two_sd_of_the_kernel_density(grid: Grid) -> None:
    points = scattered(40)
    design = build_design([make(grid, points, operationalizations=("density",))], grid)
    xy, c = shapely.get_coordinates(points), centres(grid)
    r2 = ((c[:, None, :] - xy[None, :, :]) ** 2).sum(axis=2)
    for j, v in enumerate(design.variables):
        density = (2 / np.pi * np.clip(1 - r2 / v.distance**2, 0, None) / v.distance**2).sum(axis=1)
        threshold = density.mean() + 2 * density.std(ddof=1)
        assert v.threshold == pytest.approx(threshold, rel=1e-12)
        clear = np.abs(density - threshold) > 1e-12 * threshold
        np.testing.assert_array_equal(design.indicator(j)[clear], (density >= threshold)[clear])


def test_names_are_rtmdx_s(grid: Grid) -> None:
    factors = [make(grid, scattered(40)), make(grid, scattered(40, 1), name="stops", distances=(22.5, 45.0))]
    names = [v.name for v in build_design(factors, grid, min_support=1).variables]
    assert names[0] == "r01p01_bars_proximity_50"
    assert "r01d04_bars_density_200" in names
    assert "r02p01_stops_proximity_22_5" in names


def test_protective_variables_carry_the_sign(grid: Grid) -> None:
    design = build_design([make(grid, scattered(40), effect="protective")], grid)
    assert {v.sign for v in design.variables} == {-1}


def test_more_than_eight_bandwidths_take_several_blocks(grid: Grid) -> None:
    bands = tuple(50.0 * (i + 1) for i in range(11))
    design = build_design([make(grid, scattered(40), distances=bands)], grid, min_support=1)
    density = [b for b in design.blocks if b.variables[0].operationalization == "density"]
    assert [len(b.variables) for b in density] == [8, 3]
    for j, v in enumerate(design.variables):
        assert design.indicator(j).sum() == v.support


def test_support_rule_lists_what_it_drops_and_why(grid: Grid) -> None:
    one = [shapely.Point(X + 1025, Y + 1025)]  # a cell centre
    design = build_design([make(grid, one, distances=(10.0, 20.0, 60.0, 9000.0))], grid, min_support=3)
    proximity = {d.variable.band: d.reason for d in design.dropped if d.variable.operationalization == "proximity"}
    assert proximity == {
        1: "support: fewer than 3 cells",
        2: "same column as band 01",
        4: "constant: every cell",
    }
    assert [v.band for v in design.variables if v.operationalization == "proximity"] == [3]
    assert design.n_generated == 8


def test_share_of_cells_is_the_larger_rule(grid: Grid) -> None:
    few = [shapely.Point(X + 1025, Y + 1025)]
    loose = build_design([make(grid, few)], grid, min_support=1)
    tight = build_design([make(grid, few)], grid, min_support=1, min_support_share=0.02)
    assert len(tight.variables) < len(loose.variables)
    assert all(v.support >= 0.02 * grid.n_cells for v in tight.variables)


def test_a_factor_everywhere_or_nowhere_is_reported(grid: Grid) -> None:
    everywhere = make(grid, scattered(4000), name="stops", distances=(200.0,), operationalizations=("proximity",))
    nowhere = make(grid, [shapely.Point(X - 5000, Y)], name="far")
    wide = make(grid, scattered(700), name="wide", distances=(80.0,), operationalizations=("proximity",))
    factors = [everywhere, nowhere, wide]
    found = {(f.code, f.where) for f in barely_varying(build_design(factors, grid), factors, share=0.9)}
    assert found == {
        ("no-variable", "factor 'stops'"),
        ("no-variable", "factor 'far'"),
        ("barely-varies", "factor 'wide'"),
    }


def test_threads_and_progress(grid: Grid) -> None:
    calls: list[tuple[str, int, int]] = []
    factors = [make(grid, scattered(300))]
    one = build_design(factors, grid, threads=1, progress=lambda *a: calls.append(a))
    two = build_design(factors, grid, threads=2)
    assert one.variables == two.variables
    for a, b in zip(one.blocks, two.blocks, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes)
    assert calls[0] == ("surfaces", 0, 5)
    assert calls[-1] == ("surfaces", 5, 5)


def test_cancel(grid: Grid) -> None:
    with pytest.raises(Cancelled):
        build_design([make(grid, scattered(300))], grid, cancel=lambda: True)
