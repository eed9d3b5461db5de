"""Selection under a budget: valid by SciPy's labelling, within its gap of HiGHS, locks and spacing kept."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.spatial import cKDTree
from shapely import box

from rtmdx import Grid, priority
from rtmdx.errors import InputError
from terrain_fixture import make_terrain
from worked_examples import example

QUEEN, ROOK = np.ones((3, 3)), ndimage.generate_binary_structure(2, 1)


def grid(rows, cols, mask=None):
    return Grid("EPSG:32615", 0.0, 10.0 * rows, 10.0, np.ones((rows, cols), dtype=bool) if mask is None else mask)


def field(rows, cols, smooth, seed=0):
    z = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(rows, cols)), smooth)
    return np.exp(2 * z / z.std())


def check(s, g, size, structure=QUEEN):
    raster = np.zeros(g.shape, dtype=bool)
    raster[g.mask] = s.chosen
    labels, count = ndimage.label(raster, structure)
    assert count == s.n_patches
    if count:
        assert np.bincount(labels.ravel())[1:].min() >= size
    assert s.cost <= s.budget * (1 + 1e-9)
    assert s.value <= s.bound
    patch = g.to_raster(s.patch.astype(float))
    for one in range(count):
        assert len(np.unique(labels[patch == one])) == 1


@pytest.mark.parametrize(("smooth", "most"), [(4, 0.01), (2, 0.02)])
def test_100_000_cells_in_patches_of_ten(smooth, most):
    g = grid(320, 313)
    s = priority.select(field(320, 313, smooth).ravel(), 5000, grid=g, min_patch=10)
    check(s, g, 10)
    assert s.cost == 5000
    assert s.gap <= most
    assert s.to_frame()["units"].min() >= 10
    assert s.to_frame()["value"].sum() == pytest.approx(s.value)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from(["queen", "rook"]), st.sampled_from([0.0, 15.0, 25.0]))
def test_small_grids_are_valid(seed, size, contiguity, spacing):
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 11)) < 0.85
    g = grid(9, 11, mask)
    n = g.n_cells
    cost = rng.uniform(0.5, 2, n)
    out = rng.random(n) < 0.1
    locked = np.flatnonzero(~out)[:1]
    free = np.zeros(g.shape, dtype=bool)
    free[g.mask] = ~out
    structure = QUEEN if contiguity == "queen" else ROOK
    labels = ndimage.label(free, structure)[0]
    reach = np.count_nonzero(labels == labels[g.mask][locked[0]])
    options = {"unit": "cost", "cost": cost, "min_patch": size, "contiguity": contiguity, "spacing": spacing}
    options |= {"grid": g, "locked_in": locked, "locked_out": out}
    budget, value = 0.4 * cost[~out].sum(), rng.normal(1, 1, n)
    if reach < size:
        with pytest.raises(InputError, match="cannot be grown"):
            priority.select(value, budget, **options)
        return
    s = priority.select(value, budget, **options)
    check(s, g, size, structure)
    assert s.chosen[locked].all()
    assert not (s.chosen & out).any()
    if spacing:
        rows, cols = g.rows_cols
        xy = np.column_stack([rows, cols]) * 10.0
        for a, b in cKDTree(xy).query_pairs(spacing - 1e-6):
            if s.chosen[a] and s.chosen[b]:
                assert size > 1
                assert s.patch[a] == s.patch[b]


def test_a_knapsack_is_within_its_gap_of_highs():
    rng = np.random.default_rng(3)
    value, cost = rng.gamma(1, 1, 60), rng.uniform(1, 3, 60)
    s = priority.select(value, 20, unit="cost", cost=cost)
    best = milp(
        -value, constraints=LinearConstraint(cost[None], -np.inf, 20), integrality=np.ones(60), bounds=Bounds(0, 1)
    )
    assert s.value <= -best.fun * (1 + 1e-6)
    assert -best.fun <= s.bound * (1 + 1e-6)
    assert s.gap < 0.05


def test_cells_without_patches_are_the_best():
    value = np.random.default_rng(0).random(1000)
    s = priority.select(value, 100)
    assert set(np.flatnonzero(s.chosen)) == set(np.argsort(-value)[:100])
    assert s.gap == pytest.approx(0, abs=1e-9)


def test_published_budgeted_cover():
    e = example("P6")
    given = e["inputs"]
    value, budget = np.sum(given["features"], axis=0), given["budget"]
    s = priority.select(value, budget, unit="cost", cost=given["cost"], locked_out=given["locked_out"])
    assert s.chosen.astype(int).tolist() == e["expected"]


def test_area_of_a_terrain_and_of_places():
    terrain = make_terrain()
    area = 20 * terrain.grid.cell_area
    s = priority.select(terrain, area, unit="area", min_patch=4)
    assert s.chosen.sum() <= 20
    check(s, terrain.grid, 4)
    zones = gpd.GeoSeries([box(i, 0, i + 1 + (i == 3), 1) for i in (0, 1, 3, 5, 6, 9)], crs="EPSG:32615")
    s = priority.select([1.0, 1, 5, 2, 2, 9], 3, places=zones, min_patch=2)
    assert s.chosen.tolist() == [False, False, True, True, True, False]
    s = priority.select([1.0, 1, 5, 2, 2, 9], 2, places=zones, unit="area")
    assert s.chosen.tolist() == [False, False, False, True, False, True]
    s = priority.select([4.0, 3, 5], 2, neighbours=[[0, 1]], min_patch=2)
    assert s.chosen.tolist() == [True, True, False]


def test_nothing_fits_and_ties_and_one_cell():
    s = priority.select(np.ones(9), 4, grid=grid(3, 3), min_patch=5)
    assert not s.chosen.any()
    assert "Nothing fits" in s.notes[0]
    assert s.gap == np.inf
    check(priority.select(np.ones(9), 4, grid=grid(3, 3), min_patch=4), grid(3, 3), 4)
    assert priority.select([2.0], 1, grid=grid(1, 1)).value == 2
    s = priority.select(np.zeros(4), 2)
    assert (s.value, s.gap) == (0, 0)


def test_a_locked_cell_grows_to_a_patch():
    g = grid(5, 5)
    value = np.zeros(25)
    value[[6, 7]] = 5
    s = priority.select(value, 6, grid=g, min_patch=3, locked_in=[24])
    check(s, g, 3)
    assert s.chosen[24]
    assert s.chosen[[6, 7]].all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"budget": 10}, "found 10, but all come to 9 in cells"),
        ({"budget": 9, "locked_out": [0]}, "all that are not locked out come to 8"),
        ({"budget": 0}, "above 0"),
        ({"locked_in": [1], "locked_out": [1]}, "in both, the first 1"),
        ({"locked_in": [9]}, "found indices from 9 to 9, expected 0 to 8"),
        ({"locked_in": [True]}, "1 booleans, expected 9"),
        ({"locked_in": [0, 1, 2, 3], "budget": 3}, "does not pay"),
        ({"locked_in": [0], "locked_out": [1, 3, 4], "min_patch": 2}, "patch at 0 cannot be grown to 2"),
        ({"locked_in": [0, 2], "spacing": 25}, "closer than 25"),
        ({"unit": "cost"}, "needs the cost"),
        ({"cost": np.ones(9)}, 'of unit="cost"'),
        ({"unit": "cost", "cost": np.zeros(9)}, "above 0"),
        ({"grid": None, "min_patch": 2}, "need a grid"),
        ({"grid": None, "unit": "area"}, "needs a grid"),
        ({"spacing": -1}, "0 or more"),
        ({"spacing": 10_000}, "expected at most about 50"),
        ({"neighbours": [[0, 9]]}, "pairs of positions below 9"),
    ],
)
def test_bad_input_is_told(arguments, says):
    given = {"score": np.arange(9.0), "budget": 4, "grid": grid(3, 3)} | arguments
    with pytest.raises(InputError, match=says):
        priority.select(given.pop("score"), given.pop("budget"), **given)
