"""Distance to a raster mask against brute force and SciPy, and properties that must hold exactly."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

import rtmdx
from rtmdx.errors import Cancelled, InputError
from rtmdx.space.frame import Frame
from rtmdx.space.grid import Grid
from rtmdx.space.mask import mask_distance, mask_distance_array

CRS = pyproj.CRS("EPSG:32615")
SIZES = [(1.0, 1.0), (3.3, 3.3), (20.0, 30.0), (0.7, 0.01)]


def frame(shape, dx=1.0, dy=1.0):
    return Frame(CRS, 500_000.0, 4_000_000.0, dx, dy, shape)


def brute(mask, dx, dy, max_distance=np.inf):
    """The smallest value of the one expression, over all features: the very bits the engine must give."""
    rows, cols = np.nonzero(mask)
    r, c = np.indices(mask.shape).astype(np.float64)
    wx, wy, scale = (1.0, 1.0, dx) if dx == dy else (dx * dx, dy * dy, 1.0)
    best = np.full(mask.shape, np.inf)
    for fr, fc in zip(rows, cols, strict=True):
        best = np.minimum(best, ((c - fc) * (c - fc)) * wx + ((r - fr) * (r - fr)) * wy)
    d = scale * np.sqrt(best)
    d[d > max_distance] = np.inf
    return d


def scipy_distance(mask, dx, dy):
    return distance_transform_edt(~mask, sampling=(dy, dx))


def assert_close_single(single, double):
    np.testing.assert_array_equal(np.isinf(single), np.isinf(double))
    held = np.isfinite(double)
    assert np.all(np.abs(single[held] - double[held]) <= 2.0**-23 * double[held])


def check(mask, dx, dy, **options):
    f = frame(mask.shape, dx, dy)
    want = brute(mask, dx, dy, options.get("max_distance", np.inf))
    got = mask_distance_array(mask, f, dtype="float64", threads=1, **options)
    np.testing.assert_array_equal(got, want)
    assert_close_single(mask_distance_array(mask, f, threads=2, **options), want)


def noise(shape, share, seed=0):
    return np.random.default_rng(seed).random(shape) < share


def disc(shape, row, col, radius):
    r, c = np.indices(shape)
    return (r - row) ** 2 + (c - col) ** 2 <= radius**2


def shapes_of(shape):
    """Masks that lead down every path: few and many features, far and near, blobs, lines, halves."""
    rows, cols = shape
    one = np.zeros(shape, dtype=bool)
    one[rows // 3, cols // 4] = True
    full_row, full_col = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    full_row[rows - 1] = True
    full_col[:, 0] = True
    half = noise(shape, 0.3, 1)
    half[:, cols // 2 :] = False
    return {
        "one": one,
        "sparse": noise(shape, 8 / (rows * cols)),
        "some": noise(shape, 0.01),
        "noise": noise(shape, 0.3),
        "row": full_row,
        "column": full_col,
        "half": half,
        "half turned": np.ascontiguousarray(half[::-1, ::-1]),
        "disc": disc(shape, rows // 2, cols // 3, min(shape) // 3),
        "outside": ~disc(shape, rows // 2, cols // 3, min(shape) // 3),
        "all": np.ones(shape, dtype=bool),
        "all but one": ~one,
        "none": np.zeros(shape, dtype=bool),
        "checks": np.indices(shape).sum(axis=0) % 2 == 0,
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (13, 21), (67, 131)])
def test_every_kind_of_mask_bit_for_bit(shape, size):
    for name, mask in shapes_of(shape).items():
        try:
            check(mask, *size)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("size", [(2.5, 2.5), (20.0, 30.0)])
@pytest.mark.parametrize("name", list(shapes_of((5, 5))))
def test_large_masks_against_scipy(name, size):
    mask = shapes_of((411, 523))[name]
    got = mask_distance_array(mask, frame(mask.shape, *size), dtype="float64")
    if not mask.any():
        assert np.all(np.isinf(got))
        return
    np.testing.assert_allclose(got, scipy_distance(mask, *size), rtol=1e-14)


@pytest.mark.parametrize("shape", [(3, 9000), (9000, 3)])
@pytest.mark.parametrize("count", [1, 40])
def test_distances_beyond_4096_cells(shape, count):
    """Squares of distances leave float32's whole numbers, rows and columns the short search."""
    mask = np.zeros(shape, dtype=bool)
    mask.ravel()[np.arange(count) * 7] = True
    for size in ((3.3, 3.3), (1.5, 2.0)):
        check(mask, *size)


@pytest.mark.parametrize("size", [(3.3, 3.3), (20.0, 30.0)])
def test_distances_along_columns_beyond_the_short_search(size):
    mask = np.zeros((700, 90), dtype=bool)
    mask[:3] = noise((3, 90), 0.5)
    mask[690, ::2] = True
    check(mask, *size)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    share=st.sampled_from([0.002, 0.02, 0.2, 0.9]),
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([*SIZES, (1e-3, 1e3)]),
    limit=st.sampled_from([np.inf, 0.0, 3.0, 20.0, 60.0]),
)
def test_random_masks(shape, share, seed, size, limit):
    check(noise(shape, share, seed), *size, max_distance=limit)


@pytest.mark.parametrize("share", [0.0004, 0.01, 0.3])
@pytest.mark.parametrize("size", [(3.3, 3.3), (20.0, 30.0)])
def test_windows_and_threads_give_the_whole_run_s_bits(share, size):
    mask = noise((300, 260), share, 3)
    mask[40:150, 60:190] |= disc((110, 130), 50, 60, 40) if share < 0.2 else False
    mask[:, 200:] &= share < 0.2
    f = frame(mask.shape, *size)
    whole = mask_distance_array(mask, f, threads=1)
    for threads in (2, 7):
        np.testing.assert_array_equal(mask_distance_array(mask, f, threads=threads), whole)
    for side in (37, 64, 150):
        joined = np.full_like(whole, -1)
        for r, c, h, w in f.windows(side):
            joined[r : r + h, c : c + w] = mask_distance_array(mask, f, window=(r, c, h, w), threads=1)
        np.testing.assert_array_equal(joined, whole)
    assert mask_distance_array(mask, f, window=(5, 5, 0, 9)).shape == (0, 9)


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.4])
def test_mirrors_turns_and_units_commute(share):
    mask = noise((131, 203), share, 5)
    mask[20:60, 30:90] = True
    dx, dy = 20.0, 30.0
    want = mask_distance_array(mask, frame(mask.shape, dx, dy), dtype="float64")
    for flip in (np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1]):
        got = mask_distance_array(mask[flip], frame(mask.shape, dx, dy), dtype="float64")
        np.testing.assert_array_equal(got, want[flip])
    turned = mask_distance_array(mask.T, frame(mask.T.shape, dy, dx), dtype="float64")
    np.testing.assert_array_equal(turned, want.T)
    doubled = mask_distance_array(mask, frame(mask.shape, 2 * dx, 2 * dy), dtype="float64")
    np.testing.assert_array_equal(doubled, 2 * want)


def test_max_distance_includes_its_own_value():
    mask = np.zeros((9, 9), dtype=bool)
    mask[0, 0] = True
    d = mask_distance_array(mask, frame((9, 9), 20.0, 20.0), max_distance=100.0)
    assert d[3, 4] == 100.0
    assert d[0, 5] == 100.0
    assert np.isinf(d[4, 4])
    filled = np.ones((300, 300), dtype=bool)
    filled[0, 0] = False
    assert np.count_nonzero(mask_distance_array(filled, frame((300, 300)), max_distance=0.5)) == 1


def test_the_layout_of_the_mask_does_not_matter():
    mask = noise((80, 120), 0.02)
    f = frame(mask.shape)
    want = mask_distance_array(mask, f)
    wide = np.zeros((80, 300), dtype=np.uint8)
    wide[:, 100:220] = mask * 7
    frozen = mask.copy()
    frozen.setflags(write=False)
    for same in (wide[:, 100:220], np.asfortranarray(mask), frozen, mask[::-1].copy()[::-1]):
        np.testing.assert_array_equal(mask_distance_array(same, f), want)
    out = np.full((80, 200), -1.0)
    assert mask_distance_array(mask, f, out=out[:, 40:160]).base is out
    assert_close_single(want, out[:, 40:160])
    assert np.all(out[:, :40] == -1)


def test_a_grid_s_mask_decides_what_is_kept():
    kept = noise((40, 50), 0.7, 8)
    grid = Grid(CRS, 0.0, 400.0, 10.0, kept)
    features = noise((40, 50), 0.01, 9)
    d = rtmdx.mask_distance(features, grid)
    assert np.array_equal(np.isnan(d.values), ~kept)
    np.testing.assert_array_equal(d.values[kept], mask_distance_array(features, grid)[kept])
    assert d.attrs["units"] == "m"
    part = mask_distance(features, grid, window=(3, 4, 20, 30), max_distance=50)
    assert part.attrs["max_distance"] == 50.0
    assert part.shape == (20, 30)
    assert float(part.x[0]) == grid.x[4]


def test_a_dataarray_must_lie_on_the_frame():
    f = frame((6, 8), 10.0, 20.0)
    mask = noise((6, 8), 0.2)
    raster = xr.DataArray(mask, dims=("y", "x"), coords={"y": f.y, "x": f.x})
    np.testing.assert_array_equal(mask_distance_array(raster, f), mask_distance_array(mask, f))
    with pytest.raises(InputError, match=r"mask: its y coordinate 0 .* row 0 is north"):
        mask_distance_array(raster.assign_coords(y=f.y[::-1]), f)
    with pytest.raises(InputError, match="mask: its x coordinate 0"):
        mask_distance_array(raster.assign_coords(x=f.x + 5), f)


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.ones((3, 4), dtype=bool), {}, r"mask: has the shape \(3, 4\), expected the frame's \(4, 4\)"),
        (np.ones((4, 4)), {}, "type float64, expected bool or uint8"),
        (np.ones((4, 4), dtype=bool), {"max_distance": -1}, "max_distance: found -1"),
        (np.ones((4, 4), dtype=bool), {"max_distance": np.nan}, "max_distance: found nan"),
        (np.ones((4, 4), dtype=bool), {"window": (0, 0, 5, 4)}, "window: rows 0 to 5"),
        (np.ones((4, 4), dtype=bool), {"threads": 0}, "threads: found 0"),
        (np.ones((4, 4), dtype=bool), {"dtype": "int32"}, "dtype: found 'int32'"),
    ],
)
def test_wrong_arguments_are_named(mask, options, message):
    with pytest.raises(InputError, match=message):
        mask_distance_array(mask, frame((4, 4)), **options)


@pytest.mark.parametrize("share", [0.0001, 0.1])
def test_cancel_and_progress(share):
    mask = noise((500, 500), share)
    mask[:, 250:] = False
    with pytest.raises(Cancelled):
        mask_distance_array(mask, frame(mask.shape), cancel=lambda: True)
    told = []
    mask_distance_array(mask, frame(mask.shape), progress=lambda done, total: told.append((done, total)))
    assert told
    assert told[-1][0] == told[-1][1] > 0


def told_by(mask, **options):
    told = []
    mask_distance_array(mask, frame(mask.shape), progress=lambda *step: told.append(step), **options)
    return told


@pytest.mark.parametrize("kind", ["none", "all", "one", "noise"])
@pytest.mark.parametrize("window", [None, (3, 4, 0, 5), (3, 4, 5, 0), (0, 0, 1, 1)])
def test_every_run_tells_its_end(kind, window):
    told = told_by(shapes_of((150, 90))[kind], window=window)
    assert told
    assert told[-1][0] == told[-1][1] > 0


@pytest.mark.parametrize("kind", ["none", "all"])
def test_masks_without_a_distance_can_be_cancelled(kind):
    mask = shapes_of((150, 90))[kind]
    with pytest.raises(Cancelled):
        mask_distance_array(mask, frame(mask.shape), cancel=lambda: True)


def test_a_band_of_a_wide_raster_asks_before_it_is_done():
    """One band of rows, searched in double without a row left open: asked again while it is being written."""
    mask = noise((64, 400_000), 0.02)
    out = np.full(mask.shape, np.nan, dtype=np.float32)
    with pytest.raises(Cancelled):
        mask_distance_array(mask, frame(mask.shape, 20.0, 21.0), out=out, threads=1, cancel=lambda: out[0, 0] >= 0)
    assert np.isnan(out[-1]).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [1e-6, 1e-4])
@pytest.mark.parametrize("size", [(20.0, 20.0), (3.3, 3.3)])
def test_large_results_are_written_past_the_caches_with_the_same_bits(dtype, share, size):
    """Above 16 MB tiles are streamed, whole cache lines apart from the ends; a window of few rows is not."""
    mask = noise((2111, 2057), share, 2)
    mask[100:400, 1000:1300] = True
    f = frame(mask.shape, *size)
    wide = np.full((2111, 2080), -1, dtype=dtype)
    got = mask_distance_array(mask, f, out=wide[:, 5:2062], threads=2)
    assert got.nbytes >= 2**24
    assert np.all(wide[:, :5] == -1)
    assert np.all(wide[:, 2062:] == -1)
    for r in range(0, 2111, 300):
        part = (r, 0, min(300, 2111 - r), 2057)
        np.testing.assert_array_equal(got[r : r + 300], mask_distance_array(mask, f, dtype=dtype, window=part))


@pytest.mark.parametrize("more", [-1, 0, 1, 2])
@pytest.mark.parametrize("threads", [1, 3])
def test_one_feature_more_than_the_descent_takes_changes_no_bit(more, threads):
    """The scan gives up above cells / 700 + 16 boundary cells, wherever it meets them."""
    shape = (300, 200)
    count = shape[0] * shape[1] // 700 + 16 + more
    at = np.random.default_rng(4).permutation(shape[0] * shape[1] // 9)[:count]
    mask = np.zeros(shape, dtype=bool)
    mask.ravel()[at * 9] = True
    f = frame(shape, 3.3, 3.3)
    np.testing.assert_array_equal(mask_distance_array(mask, f, dtype="float64", threads=threads), brute(mask, 3.3, 3.3))


@pytest.mark.parametrize("place", [0, 63, 64, 65, 127, 128, 189, 190])
def test_features_at_the_edges_of_the_scan_s_blocks(place):
    for turned in (False, True):
        mask = np.zeros((130, 191), dtype=bool)
        mask[64, place] = mask[0, place] = True
        mask[60:63, max(place - 1, 0) : place + 2] = True
        check(mask.T.copy() if turned else mask, 3.3, 3.3)
