"""Scatter and sweep of points against brute force: random and nasty cases, and what must agree bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rtmdx import _engine, errors
from rtmdx.space.features import Features

SWEPT = ("uniform", "epanechnikov", "quartic")
KERNELS = (*SWEPT, "triangular", "gaussian")
METHODS = ("scatter", "sweep")
swept = pytest.mark.parametrize("kernel", SWEPT)


def shape(kernel, u2):
    v = np.clip(1 - u2, 0, None)
    return {
        "uniform": lambda: (u2 <= 1 + 1e-9) / np.pi,
        "triangular": lambda: 3 / np.pi * np.clip(1 - np.sqrt(u2), 0, None),
        "epanechnikov": lambda: 2 / np.pi * v,
        "quartic": lambda: 3 / np.pi * v**2,
        "gaussian": lambda: (u2 <= 1 + 1e-9) * np.exp(-8 * u2) * 16 / (2 * np.pi * (1 - np.exp(-8))),
    }[kernel]()


def brute(points, weights, kernel, h, rows, cols, size=(1.0, 1.0)):
    """Sum of the kernels at every cell centre of a grid whose lower left corner is the origin."""
    radius = 4 * h if kernel == "gaussian" else h
    x = (np.arange(cols) + 0.5) * size[0]
    y = rows * size[1] - (np.arange(rows) + 0.5) * size[1]
    out = np.zeros((rows, cols))
    for (px, py), w in zip(points, weights, strict=True):
        u2 = ((x - px) ** 2 + (y[:, None] - py) ** 2) / radius**2
        out += w * shape(kernel, u2)
    return out / radius**2


def run(
    points,
    kernel,
    h,
    rows,
    cols,
    *,
    weights=None,
    method="automatic",
    window=None,
    threads=1,
    size=(1.0, 1.0),
    corner=(0.0, 0.0),
    dtype=np.float64,
):
    grid = _engine.Grid(x_min=corner[0], y_max=corner[1] + rows * size[1], dx=size[0], dy=size[1], rows=rows, cols=cols)
    features = Features.from_points(points)
    many = np.ndim(h) == 1
    part = window or (0, 0, rows, cols)
    out = np.full(((len(h),) if many else ()) + part[2:], np.nan, dtype=dtype)
    call = _engine.densities if many else _engine.density
    call(
        out,
        features.native(None if weights is None else np.asarray(weights, dtype=np.float64)),
        grid,
        _engine.Window(*part),
        kernel=kernel,
        threads=threads,
        method=method,
        **{"bandwidths" if many else "bandwidth": h},
    )
    return out


def uniform_points(n, rows, cols, margin=30, seed=0):
    return np.random.default_rng(seed).uniform((-margin, -margin), (cols + margin, rows + margin), (n, 2))


def assert_close(got, want):
    """The bound that is stated: 1e-11 of the largest in the row, and 1e-9 of the value itself."""
    of_row = np.abs(want).max(axis=1, keepdims=True)
    assert np.all(np.abs(got - want) <= 1e-11 * of_row)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-30)
    assert np.all(got[want == 0] == 0)


@swept
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("h", [8.0, 33.3, 50.0, 170.0])
@pytest.mark.parametrize("n", [3, 700])
def test_against_brute_force(kernel, method, h, n):
    points = uniform_points(n, 90, 300)
    assert_close(run(points, kernel, h, 90, 300, method=method), brute(points, np.ones(n), kernel, h, 90, 300))


@swept
def test_weights_of_every_size_none_and_negative(kernel):
    points = uniform_points(400, 70, 200)
    rng = np.random.default_rng(4)
    sizes = 10.0 ** rng.uniform(-4, 4, 400)
    sizes[::7] = 0
    assert_close(
        run(points, kernel, 40, 70, 200, weights=sizes, method="sweep"), brute(points, sizes, kernel, 40, 70, 200)
    )
    signed = rng.normal(0, 1, 400)
    want = brute(points, signed, kernel, 40, 70, 200)
    assert want.min() < 0
    got = run(points, kernel, 40, 70, 200, weights=signed, method="sweep")
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-11 * np.abs(want).max())
    assert np.all(run(points, kernel, 40, 70, 200, weights=np.zeros(400), method="sweep") == 0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 50), (50, 1), (3, 700)])
def test_narrow_grids(kernel, method, rows, cols):
    points = uniform_points(60, rows, cols, margin=8)
    for h in (0.3, 6.0, 1e3, 1e6):
        got = run(points, kernel, h, rows, cols, method=method)
        want = brute(points, np.ones(60), kernel, h, rows, cols)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-13 * want.max())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", METHODS)
def test_cells_that_are_not_square(kernel, method):
    points = np.random.default_rng(2).uniform(0, 200, (80, 2))
    got = run(points, kernel, 21.0, 60, 50, method=method, size=(4.0, 2.5))
    np.testing.assert_allclose(got, brute(points, np.ones(80), kernel, 21.0, 60, 50, (4.0, 2.5)), rtol=1e-9, atol=1e-16)


@swept
@pytest.mark.parametrize("method", METHODS)
def test_points_on_cell_centres_and_on_the_edge_of_the_kernel(kernel, method):
    points = np.array([(5.5, 5.5), (60.5, 20.5), (60.5, 20.5), (61.0, 21.0), (100.0, 0.0)])
    for h in (1.0, 3.0, 5.0, 13.0, 25.0, 65.0):  # Pythagorean: centres lie exactly on circles
        got = run(points, kernel, h, 40, 140, method=method)
        want = brute(points, np.ones(5), kernel, h, 40, 140)
        if kernel == "uniform":
            assert np.array_equal(got > 0, want > 0)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=3e-14 / h**2)  # on the very edge rounding decides


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", METHODS)
def test_everyone_at_one_place(kernel, method):
    rng = np.random.default_rng(0)
    addresses = np.array([(40.25, 30.75), (40.25, 30.25), (41.0, 31.0)])
    which = rng.integers(0, 3, 5000)
    points = np.vstack([addresses[which], uniform_points(50, 60, 90)])
    weights = np.concatenate([rng.uniform(0.5, 2, 5000), np.ones(50)])
    merged = np.vstack([addresses, points[5000:]])
    total = np.concatenate([np.bincount(which, weights[:5000]), np.ones(50)])
    got = run(points, kernel, 25.0, 60, 90, weights=weights, method=method)
    want = brute(merged, total, kernel, 25.0, 60, 90)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11 * want.max())
    apart = np.random.default_rng(1).permutation(len(points))
    shuffled = run(points[apart], kernel, 25.0, 60, 90, weights=weights[apart], method=method)
    np.testing.assert_allclose(shuffled, got, rtol=1e-11, atol=1e-13 * want.max())


def test_a_place_more_crowded_than_one_sort_takes():
    rng = np.random.default_rng(4)
    at = rng.integers(0, 40, (200_000, 2)) / 4 + (20, 30)  # 1600 addresses in one bin or two
    weights = rng.uniform(0.5, 2, len(at))
    got = run(at, "epanechnikov", 12.0, 60, 90, weights=weights)
    places, which = np.unique(at, axis=0, return_inverse=True)
    total = np.bincount(which.ravel(), weights)
    np.testing.assert_allclose(got, brute(places, total, "epanechnikov", 12.0, 60, 90), rtol=1e-9, atol=1e-9)
    # An address' weights are added in the order given, so moving whole addresses about changes no bit.
    order = np.argsort(rng.permutation(len(places))[which.ravel()], kind="stable")
    assert np.array_equal(run(at[order], "epanechnikov", 12.0, 60, 90, weights=weights[order], threads=2), got)


WINDOWS = [(0, 0, 1, 1), (17, 3, 70, 130), (31, 127, 2, 130), (130, 0, 10, 600), (3, 599, 99, 1), (64, 300, 64, 300)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("h", [9.0, 31.0])
def test_windows_threads_and_several_bandwidths_give_the_same_bits(kernel, method, h):
    points = np.vstack(
        [uniform_points(1500, 140, 600), np.full((1500, 2), (200.0, 70.0)) + uniform_points(1500, 9, 9, 0)]
    )
    weights = np.random.default_rng(3).uniform(0, 2, 3000)
    options = {"weights": weights, "method": method}
    whole = run(points, kernel, h, 140, 600, **options)
    for threads in (2, 7):
        assert np.array_equal(run(points, kernel, h, 140, 600, threads=threads, **options), whole)
    for r, c, height, width in WINDOWS:
        part = run(points, kernel, h, 140, 600, window=(r, c, height, width), threads=2, **options)
        assert np.array_equal(part, whole[r : r + height, c : c + width])
    several = run(points, kernel, [2.0, h, 55.0], 140, 600, threads=2, **options)
    assert np.array_equal(several[1], whole)
    assert np.array_equal(several[2], run(points, kernel, 55.0, 140, 600, **options))
    part = run(points, kernel, [2.0, h, 55.0], 140, 600, window=(64, 300, 64, 300), **options)
    assert np.array_equal(part, several[:, 64:128, 300:600])
    single = run(points, kernel, h, 140, 600, dtype=np.float32, **options)
    assert np.array_equal(single, whole.astype(np.float32))


@swept
def test_translation_mirror_rotation_and_units(kernel):
    points = np.round(uniform_points(300, 128, 128) * 16) / 16
    here = run(points, kernel, 30.0, 128, 128, method="sweep")
    far = run(points + np.array([1e7, -2e7]), kernel, 30.0, 128, 128, method="sweep", corner=(1e7, -2e7))
    assert np.array_equal(far, here)
    feet = run(points * 4, kernel, 120.0, 128, 128, method="sweep", size=(4.0, 4.0))
    assert np.array_equal(feet * 16, here)
    close = {"rtol": 1e-9, "atol": 1e-11 * here.max()}
    mirrored = run(np.c_[128 - points[:, 0], points[:, 1]], kernel, 30.0, 128, 128, method="sweep")
    np.testing.assert_allclose(mirrored[:, ::-1], here, **close)
    turned = run(np.c_[128 - points[:, 1], points[:, 0]], kernel, 30.0, 128, 128, method="sweep")
    np.testing.assert_allclose(np.rot90(turned, -1), here, **close)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", METHODS)
def test_the_weight_inside_is_the_integral(kernel, method):
    points = np.random.default_rng(0).uniform(60, 140, (40, 2))
    weights = np.random.default_rng(1).uniform(0, 3, 40)
    h = 40.0 if kernel != "gaussian" else 14.0
    total = run(points, kernel, h, 200, 200, weights=weights, method=method).sum()
    assert total == pytest.approx(weights.sum(), rel=1e-3 if kernel == "uniform" else 1e-4)


lattice = st.integers(-20, 140).map(lambda v: v / 2)


@settings(max_examples=60, deadline=None)
@given(
    points=hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=lattice),
    kernel=st.sampled_from(KERNELS),
    h=st.sampled_from([0.4, 1.0, 2.5, 7.0, 13.0, 29.0, 64.0, 300.0]),
    rows=st.integers(1, 50),
    cols=st.integers(1, 90),
)
def test_scatter_sweep_and_brute_force_agree(points, kernel, h, rows, cols):
    want = brute(points, np.ones(len(points)), kernel, h, rows, cols)
    for method in METHODS:
        got = run(points, kernel, h, rows, cols, method=method)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-13 * max(want.max(), 1 / h**2))


def test_what_the_engine_refuses():
    points = uniform_points(5, 4, 4)
    with pytest.raises(errors.InputError, match="no method is called guess"):
        run(points, "quartic", 2.0, 4, 4, method="guess")
    with pytest.raises(errors.InputError, match="bandwidth is"):
        run(points, "quartic", [2.0, 0.0], 4, 4)
    features = _engine.Features(
        points=points,
        point_weights=np.empty(0),
        line_xy=points,
        line_offsets=np.array([0, 5]),
        line_weights=np.empty(0),
        ring_xy=np.empty((0, 2)),
        ring_offsets=np.zeros(1, dtype=np.int64),
        polygon_offsets=np.zeros(1, dtype=np.int64),
        polygon_weights=np.empty(0),
    )
    grid = _engine.Grid(x_min=0.0, y_max=4.0, dx=1.0, dy=1.0, rows=4, cols=4)
    with pytest.raises(errors.InputError, match="5 points, 1 lines and 0 polygons"):
        _engine.density(
            np.empty((4, 4)), features, grid, _engine.Window(0, 0, 4, 4), kernel="quartic", bandwidth=1.0, threads=1
        )
    with pytest.raises(errors.InputError, match="three dimensions"):
        _engine.densities(
            np.empty((4, 4)),
            Features.from_points(points).native(),
            grid,
            _engine.Window(0, 0, 4, 4),
            kernel="quartic",
            bandwidths=[1.0],
            threads=1,
        )


@pytest.mark.parametrize("method", METHODS)
def test_cancel_is_answered_and_progress_told(method):
    points = uniform_points(200_000, 1000, 1000)
    grid = _engine.Grid(x_min=0.0, y_max=1000.0, dx=1.0, dy=1.0, rows=1000, cols=1000)
    asked = []

    def cancel():
        asked.append(1)
        return len(asked) == 3

    call = {"kernel": "epanechnikov", "threads": 2, "method": method}
    where = (Features.from_points(points).native(), grid, _engine.Window(0, 0, 1000, 1000))
    with pytest.raises(errors.Cancelled):
        _engine.density(np.empty((1000, 1000)), *where, bandwidth=200.0, cancel=cancel, **call)
    told = []
    _engine.densities(
        np.empty((2, 1000, 1000)), *where, bandwidths=[5.0, 9.0], progress=lambda d, t: told.append((d, t)), **call
    )
    assert told[-1] == (2000, 2000)
    assert told == sorted(told)
