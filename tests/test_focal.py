"""Focal statistics against brute force and SciPy, and properties that must hold exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rtmdx import Frame, Grid, focal
from rtmdx.errors import Cancelled, InputError
from rtmdx.space.focal import focal_array

CRS = "EPSG:26915"


def frame(rows=40, cols=53, dx=1.0, dy=1.0):
    return Frame(CRS, 1e6, 2e6, dx, dy, (rows, cols))


def values_on(f, seed=0, gaps=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(1, 3, f.shape)
    values[rng.random(f.shape) < gaps] = np.nan
    return values


def by_hand(values, f, radius, shape, statistic):
    out = np.full(values.shape, np.nan)
    rows, cols = np.indices(values.shape)
    reach = radius * (1 + 1e-9)
    for r, c in np.ndindex(values.shape):
        x, y = (cols - c) * f.dx, (rows - r) * f.dy
        near = np.hypot(x, y) <= reach if shape == "circle" else (np.abs(x) <= reach) & (np.abs(y) <= reach)
        some = values[near & ~np.isnan(values)]
        if some.size:
            out[r, c] = some.sum() if statistic == "sum" else some.mean()
    return out


@pytest.mark.parametrize("shape", ["circle", "square"])
@pytest.mark.parametrize("statistic", ["sum", "mean"])
@pytest.mark.parametrize(
    ("radius", "dx", "dy", "gaps"),
    [(0, 1, 1, 0.2), (1, 1, 1, 0), (5, 1, 1, 0.95), (7.3, 1.7, 0.6, 0.4), (0.3, 0.1, 0.1, 0), (300, 1, 1, 0.1)],
)
def test_by_hand(shape, statistic, radius, dx, dy, gaps):
    f = frame(19, 23, dx, dy)
    values = values_on(f, gaps=gaps)
    got = focal_array(values, f, radius=radius, shape=shape, statistic=statistic, dtype="float64")
    np.testing.assert_allclose(got, by_hand(values, f, radius, shape, statistic), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("cells", [1, 4, 9, 40])
def test_scipy_agrees(cells):
    f = frame(150, 170)
    values = values_on(f)
    y, x = np.mgrid[-cells : cells + 1, -cells : cells + 1]
    disc = (x**2 + y**2 <= cells**2).astype(float)
    for shape, footprint in (("circle", disc), ("square", np.ones_like(disc))):
        want = ndimage.convolve(values, footprint, mode="constant")
        got = focal_array(values, f, radius=cells, shape=shape, statistic="sum", dtype="float64")
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("shape", ["circle", "square"])
@pytest.mark.parametrize("statistic", ["sum", "mean"])
def test_windows_and_threads_change_no_bit(shape, statistic):
    f = frame(300, 290, 1.0, 1.5)
    values = values_on(f, gaps=0.01)
    options = {"radius": 17.0, "shape": shape, "statistic": statistic}
    for source in (values, values.astype(np.float32)):
        for dtype in ("float32", "float64"):
            whole = focal_array(source, f, dtype=dtype, threads=1, **options)
            for threads in (2, 7):
                assert np.array_equal(
                    focal_array(source, f, dtype=dtype, threads=threads, **options), whole, equal_nan=True
                )
            for r, c, h, w in [(0, 0, 1, 1), (3, 130, 200, 7), (127, 127, 3, 3), (299, 0, 1, 290), (5, 5, 0, 9)]:
                part = focal_array(source, f, dtype=dtype, window=(r, c, h, w), **options)
                assert np.array_equal(part, whole[r : r + h, c : c + w], equal_nan=True)


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_a_huge_value_leaves_no_trace(shape):
    f = frame(60, 200)
    values = values_on(f)
    spoiled = values.copy()
    spoiled[30, 20] = 1e300
    spoiled[2, 3] = np.inf
    clean = focal_array(values, f, radius=6, shape=shape, statistic="sum", dtype="float64")
    got = focal_array(spoiled, f, radius=6, shape=shape, statistic="sum", dtype="float64")
    assert np.array_equal(got[:, 27:], clean[:, 27:])
    assert np.array_equal(got[40:], clean[40:])
    assert np.isposinf(got[2, 3])


def test_symmetry():
    f = frame(41, 53)
    values = np.round(values_on(f, gaps=0.1) * 64) / 64  # sums of such numbers are exact in any order
    for shape in ("circle", "square"):
        got = focal_array(values, f, radius=6.5, shape=shape, dtype="float64")
        for flip in (np.s_[::-1], np.s_[:, ::-1]):
            other = focal_array(values[flip], f, radius=6.5, shape=shape, dtype="float64")
            assert np.array_equal(other[flip], got, equal_nan=True)


def test_one_cell_one_column_and_nothing():
    assert focal_array([[3.0]], frame(1, 1), radius=99).tolist() == [[3.0]]
    column = focal_array(np.arange(5.0)[:, None], frame(5, 1), radius=1, statistic="sum")
    assert column.ravel().tolist() == [1, 3, 6, 9, 7]
    assert focal_array(np.empty((0, 4)), frame(0, 4), radius=2).shape == (0, 4)
    assert np.isnan(focal_array(np.full((3, 3), np.nan), frame(3, 3), radius=2, statistic="sum")).all()


def test_dataarray_and_mask():
    f = frame()
    values = values_on(f)
    array = f.dataarray(values, "v", {"units": "m"})
    got = focal(array, radius=3, dtype="float64")
    assert got.attrs["units"] == "m"
    assert got.attrs["grid_mapping"] == "spatial_ref"
    assert np.array_equal(got.values, focal_array(values, f, radius=3, dtype="float64"))
    mask = np.zeros(f.shape, dtype=bool)
    mask[5:20, 9:30] = True
    grid = Grid(CRS, 1e6, 2e6, 1.0, mask)
    got = focal(values, grid, radius=3, statistic="sum", dtype="float64")
    want = focal_array(np.where(mask, values, np.nan), f, radius=3, statistic="sum", dtype="float64")
    assert np.array_equal(got.values[mask], want[mask])
    assert np.isnan(got.values[~mask]).all()
    part = focal(values, grid, radius=3, statistic="sum", dtype="float64", window=(6, 10, 9, 11))
    assert np.array_equal(part.values, got.values[6:15, 10:21])
    assert np.array_equal(part.x, got.x[10:21])


def test_wrong_arguments():
    f = frame()
    values = values_on(f)
    for options, message in [
        ({"radius": -1}, "radius"),
        ({"radius": np.nan}, "radius"),
        ({"radius": np.inf}, "radius"),
        ({"radius": "wide"}, "radius"),
        ({"radius": 1, "shape": "hexagon"}, "found 'hexagon'"),
        ({"radius": 1, "statistic": "median"}, "found 'median'"),
        ({"radius": 1, "dtype": "int8"}, "dtype"),
        ({"radius": 1, "out": values}, "shares memory"),
        ({"radius": 1, "window": (0, 0, 99, 1)}, "window"),
    ]:
        with pytest.raises(InputError, match=message):
            focal_array(values, f, **options)
    with pytest.raises(InputError, match="does not say where"):
        focal(values, radius=1)
    with pytest.raises(Cancelled):
        focal(values, f, radius=1, cancel=lambda: True)
    told = []
    focal(values, f, radius=1, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 999),
    rows=st.integers(1, 14),
    cols=st.integers(1, 14),
    radius=st.one_of(st.integers(0, 9), st.floats(0, 20)),
    dx=st.sampled_from([1.0, 0.5, 3.0]),
    shape=st.sampled_from(["circle", "square"]),
    statistic=st.sampled_from(["sum", "mean"]),
)
def test_property(seed, rows, cols, radius, dx, shape, statistic):
    f = frame(rows, cols, dx, 1.0)
    values = values_on(f, seed, gaps=0.3)
    got = focal_array(values, f, radius=radius, shape=shape, statistic=statistic, dtype="float64")
    np.testing.assert_allclose(got, by_hand(values, f, radius, shape, statistic), rtol=1e-11, atol=1e-11)
