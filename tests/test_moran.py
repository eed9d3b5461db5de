"""Moran's I and the correlogram against esda, and against sums over all pairs written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.correlogram import correlogram
from rtmdx.model.moran import moran
from rtmdx.space.grid import Grid

SIZE = 50.0
CRS = pyproj.CRS("EPSG:26915")


def grid_of(mask: NDArray[np.bool_]) -> Grid:
    return Grid(CRS, 700_000.0, 4_200_000.0, SIZE, np.ascontiguousarray(mask))


def ragged(seed: int, rows: int = 14, cols: int = 17, share: float = 0.7) -> tuple[Grid, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    grid = grid_of(rng.random((rows, cols)) < share)
    return grid, rng.gamma(0.4, 2.0, grid.n_cells) + 0.05 * grid.rows_cols[0]


def distances(grid: Grid) -> NDArray[np.float64]:
    r, c = grid.rows_cols
    return SIZE * np.hypot(r[:, None] - r[None, :], c[:, None] - c[None, :])


def oracle(values: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[float, float]:
    """I and its variance under randomisation, from the dense matrix."""
    n, z = len(values), values - values.mean()
    s0, s1 = w.sum(), 0.5 * ((w + w.T) ** 2).sum()
    s2 = ((w.sum(axis=0) + w.sum(axis=1)) ** 2).sum()
    i = n / s0 * (z @ w @ z) / (z @ z)
    b2 = n * (z**4).sum() / (z @ z) ** 2
    mean = -1 / (n - 1)
    second = n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * s0**2) - b2 * ((n**2 - n) * s1 - 2 * n * s2 + 6 * s0**2)
    return float(i), float(second / ((n - 1) * (n - 2) * (n - 3) * s0**2) - mean**2)


def neighbours(grid: Grid, kind: str, distance: float | None) -> NDArray[np.float64]:
    limit = distance if distance is not None else SIZE * (1.5 if kind == "queen" else 1.0)
    d = distances(grid)
    return ((d > 0) & (d <= limit + 1e-6)).astype(np.float64)


@pytest.mark.filterwarnings("ignore")  # esda's own, of islands and of numba
@pytest.mark.parametrize("weights", ["binary", "row"])
@pytest.mark.parametrize("kind", ["queen", "rook"])
def test_equals_esda(kind: Any, weights: Any) -> None:
    esda = pytest.importorskip("esda")
    libpysal = pytest.importorskip("libpysal")
    grid, values = ragged(1)
    near = neighbours(grid, kind, None)
    w = libpysal.weights.W(
        {i: np.flatnonzero(row).tolist() for i, row in enumerate(near)}, silence_warnings=True
    )  # islands stay in n
    theirs = esda.Moran(values, w, transformation="B" if weights == "binary" else "R", permutations=0)
    ours = moran(values, grid, contiguity=kind, weights=weights, permutations=0)
    assert ours.i == pytest.approx(theirs.I, rel=1e-12)
    assert ours.expected == pytest.approx(theirs.EI)
    assert ours.variance == pytest.approx(theirs.VI_rand, rel=1e-10)
    assert ours.z == pytest.approx(theirs.z_rand, rel=1e-10)
    assert ours.p == pytest.approx(theirs.p_rand, rel=1e-8)
    assert ours.n_islands == len(w.islands)
    assert ours.n_pairs == near.sum() / 2
    assert ours.p_permutation is None


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 12),
    cols=st.integers(1, 12),
    share=st.sampled_from([0.2, 0.6, 1.0]),
    kind=st.sampled_from(["queen", "rook"]),
    weights=st.sampled_from(["binary", "row"]),
    reach=st.sampled_from([None, 1.0, 2.0, 5.3, 30.0]),
)
def test_equals_the_dense_sums(
    seed: int, rows: int, cols: int, share: float, kind: Any, weights: Any, reach: float | None
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, cols)) < share
    mask[0, 0] = True
    grid = grid_of(mask)
    values = rng.normal(size=grid.n_cells) ** 3
    distance = None if reach is None else reach * SIZE
    ours = moran(values, grid, contiguity=kind, distance=distance, weights=weights, permutations=0)
    w = neighbours(grid, kind, distance)
    assert ours.n_islands == (w.sum(axis=1) == 0).sum()
    assert ours.n_pairs == w.sum() / 2
    if grid.n_cells < 4 or not w.any():
        assert math.isnan(ours.i)
        assert ours.note
        return
    if weights == "row":
        w = w / np.maximum(w.sum(axis=1, keepdims=True), 1)
    i, variance = oracle(values, w)
    assert ours.i == pytest.approx(i, rel=1e-9, abs=1e-12)
    assert ours.variance == pytest.approx(variance, rel=1e-7, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.3, 0.8, 1.0]), own=st.booleans())
def test_correlogram_equals_moran_of_each_class(seed: int, share: float, own: bool) -> None:
    grid, values = ragged(seed, 11, 9, share)
    edges = [1.2 * SIZE, 2.0 * SIZE, 4.5 * SIZE, 40 * SIZE] if own else None
    found = correlogram(values, grid, edges=edges)
    d = distances(grid)
    for c in found.classes:
        w = ((d > c.lower + 1e-6) & (d <= c.upper + 1e-6)).astype(np.float64)
        assert c.n_pairs == w.sum() / 2
        if grid.n_cells < 4 or not w.any():
            assert math.isnan(c.i)
            continue
        i, variance = oracle(values, w)
        assert c.i == pytest.approx(i, rel=1e-8, abs=1e-11)
        assert c.mean_distance == pytest.approx(d[w > 0].mean())
        if variance > 1e-6:
            assert c.z == pytest.approx((i - c.expected) / math.sqrt(variance), rel=1e-5, abs=1e-8)
    if own:
        assert sum(c.n_pairs for c in found.classes) == grid.n_cells * (grid.n_cells - 1) // 2


def test_the_first_class_is_the_queen_s() -> None:
    grid, values = ragged(5)
    near, far = moran(values, grid, permutations=0), correlogram(values, grid).classes[0]
    assert (far.n_pairs, far.upper) == (near.n_pairs, 1.5 * SIZE)
    assert far.i == pytest.approx(near.i, rel=1e-10)
    assert far.z == pytest.approx(near.z, rel=1e-8)


def test_mirror_and_transpose_change_nothing() -> None:
    grid, values = ragged(7)
    raster = grid.to_raster(values)
    for turn in (lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.T):
        other = grid_of(turn(grid.mask))
        turned = other.to_cells(turn(raster))
        for a, b in (
            (moran(values, grid, permutations=0), moran(turned, other, permutations=0)),
            (moran(values, grid, distance=260.0, permutations=0), moran(turned, other, distance=260.0, permutations=0)),
        ):
            assert a.i == pytest.approx(b.i, rel=1e-11)
            assert a.z == pytest.approx(b.z, rel=1e-9)
    assert moran(1e6 + 7 * values, grid, permutations=0).i == pytest.approx(moran(values, grid, permutations=0).i)


def test_permutations_are_seeded_and_agree_with_the_normal() -> None:
    grid, values = ragged(11, 20, 20, 1.0)
    one = moran(values, grid, permutations=499, seed=3)
    assert one == moran(values, grid, permutations=499, seed=3)
    assert one.p_permutation is not None
    assert abs(one.p_permutation - one.p) < 0.1
    trend = grid.rows_cols[0].astype(np.float64)
    for extra in ({}, {"weights": "row"}, {"distance": 5 * SIZE}):
        assert moran(trend, grid, permutations=49, **extra).p_permutation == 1 / 50


def test_rejects_as_often_as_it_should() -> None:
    grid = grid_of(np.ones((16, 16), dtype=bool))
    rng = np.random.default_rng(0)
    p = np.array([moran(rng.gamma(0.5, 1, 256), grid, permutations=0).p for _ in range(600)])
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_range_of_a_field_of_known_reach() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(130, 130))
    field = sum(
        np.roll(noise, (a, b), (0, 1)) for a in range(8) for b in range(8)
    )  # cells 8 or more apart on an axis share nothing
    grid = grid_of(np.ones((100, 100), dtype=bool))
    found = correlogram(field[20:120, 20:120].ravel(), grid)
    assert found.range is not None
    assert found.half_range is not None
    assert 5 * SIZE < found.range < 16 * SIZE
    assert 2 * SIZE < found.half_range < 5 * SIZE  # (1 - h / 8) of one axis is a half at 4 cells
    white = correlogram(noise[:100, :100].ravel(), grid)
    assert white.range == white.classes[0].mean_distance or white.classes[0].p < 0.05


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 1), (1, 40), (40, 1)])
def test_thin_grids(shape: tuple[int, int]) -> None:
    grid = grid_of(np.ones(shape, dtype=bool))
    values = np.random.default_rng(0).normal(size=grid.n_cells)
    ours, far = moran(values, grid), correlogram(values, grid)
    if grid.n_cells < 4:
        assert math.isnan(ours.i)
        assert "at least 4" in ours.note
        assert all(math.isnan(c.i) for c in far.classes)
        assert far.range is None
        assert all(v is None or v == v for v in ours.to_dict().values())
    else:
        i, _ = oracle(values, neighbours(grid, "queen", None))
        assert ours.i == pytest.approx(i)
        assert far.classes[0].n_pairs == 39


def test_islands_only_and_equal_values() -> None:
    board = np.zeros((9, 9), dtype=bool)
    board[::2, ::2] = True
    grid = grid_of(board)
    values = np.arange(25.0)
    lonely = moran(values, grid)
    assert lonely.n_islands == 25
    assert "no two cells are neighbours" in lonely.note
    assert math.isfinite(moran(values, grid, distance=2 * SIZE).i)
    for level in (0.0, 0.1, 1e9):
        flat = moran(np.full(25, level), grid, distance=2 * SIZE)
        assert "all values are equal" in flat.note
        assert flat.to_dict()["i"] is None
        assert correlogram(np.full(25, level), grid).range is None


def test_everybody_neighbours_everybody() -> None:
    grid, values = ragged(1, 4, 4, 1.0)
    ours = moran(values, grid, distance=10 * SIZE, permutations=9)
    assert ours.i == pytest.approx(-1 / 15)
    assert math.isnan(ours.z)


def test_cells_left_out() -> None:
    grid, values = ragged(4)
    keep = np.random.default_rng(1).random(grid.n_cells) < 0.7
    smaller = grid_of(grid.to_raster(keep, False))
    a = moran(np.where(keep, values, 1e9), grid, include=keep, seed=1)
    b = moran(values[keep], smaller, seed=1)
    assert a == b


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.array([1.0, np.nan, 2.0, 3.0])}, "cell 1 has nan"),
        ({"values": np.array([1.0, 2.0, np.inf, 3.0])}, "cell 2 has inf"),
        ({"values": np.ones(3)}, r"shape \(3,\), expected \(4,\)"),
        ({"contiguity": "king"}, "'queen' or 'rook'"),
        ({"weights": "thick"}, "'binary' or 'row'"),
        ({"permutations": -1}, "at least 0"),
        ({"distance": 49.0}, "at least the cell size"),
        ({"distance": math.nan}, "at least the cell size"),
        ({"include": np.ones(4)}, "expected bool"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    grid = grid_of(np.ones((2, 2), dtype=bool))
    given_ = {"values": np.arange(4.0), **change}
    with pytest.raises(InputError, match=message):
        moran(given_.pop("values"), grid, **given_)


@pytest.mark.parametrize("edges", [[], [0.0, 100.0], [100.0, 100.0], [100.0, math.nan], [[100.0]]])
def test_correlogram_refuses_edges(edges: Any) -> None:
    grid = grid_of(np.ones((5, 5), dtype=bool))
    with pytest.raises(InputError, match="rising distances"):
        correlogram(np.arange(25.0), grid, edges=edges)
    with pytest.raises(InputError, match="alpha"):
        correlogram(np.arange(25.0), grid, alpha=1.0)
    with pytest.raises(InputError, match="cell 0 has nan"):
        correlogram(np.full(25, np.nan), grid)


def test_cancel() -> None:
    grid, values = ragged(1)
    with pytest.raises(Cancelled):
        moran(values, grid, cancel=lambda: True)
    with pytest.raises(Cancelled):
        correlogram(values, grid, cancel=lambda: True)
