"""Kernel density beside what a user would otherwise call: Epanechnikov at every size that matters.

Exact peers, all asserted against brute force at 300 cells: a numba scatter along each point's chords and a numba row
sweep (SLAM, the method of LIBKDV: coefficients where a chord begins and ends, one running sum), both parallel over
strips of rows with the points sorted by strips; scikit-learn. (LIBKDV 1.1.20 itself ends with a segmentation fault on
10,000 points and 1000 x 1000 pixels.) Binned peers are not exact: their error against the exact answer, relative to the
largest density, is in `extra_info`.

Run: pytest benchmarks/test_density.py --benchmark-only (two threads each; about 3 minutes)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rtmdx.space.density import density_array
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame

SIZES = [(n, side, width) for n in (10_000, 100_000, 1_000_000) for side in (1000, 4000) for width in (10, 50)]
CRS = "EPSG:26915"
STRIP = 16
sizes = pytest.mark.parametrize(
    ("n", "side", "width"), SIZES, ids=[f"{n:,} points, {side}^2 cells, bandwidth {width}" for n, side, width in SIZES]
)


def points_of(n: int, side: int) -> np.ndarray:
    """Half spread evenly, half in clusters; cell units, y up."""
    rng = np.random.default_rng(0)
    hubs = rng.uniform(0, side, (200, 2))
    clustered = hubs[rng.integers(0, 200, n // 2)] + rng.normal(0, side / 60, (n // 2, 2))
    return np.vstack([rng.uniform(0, side, (n - n // 2, 2)), clustered])


def frame(side: int) -> Frame:
    return Frame(CRS, 0.0, float(side), 1.0, 1.0, (side, side))


def some_exact(points: np.ndarray, side: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """300 cells and the density there, by brute force."""
    at = np.random.default_rng(2).integers(0, side, (300, 2))
    exact = np.empty(300)
    for i, (r, c) in enumerate(at):
        u2 = ((c + 0.5 - points[:, 0]) ** 2 + (side - r - 0.5 - points[:, 1]) ** 2) / width**2
        exact[i] = 2 / np.pi * np.clip(1 - u2, 0, None).sum() / width**2
    return at, exact


def assert_exact(found: np.ndarray, points: np.ndarray, width: float, rtol: float = 1e-6) -> None:
    at, exact = some_exact(points, found.shape[0], width)
    np.testing.assert_allclose(found[at[:, 0], at[:, 1]], exact, rtol=rtol, atol=1e-6 * exact.max())


def once_or_more(benchmark: Any, work: Any, heavy: bool) -> Any:
    return benchmark.pedantic(work, rounds=1 if heavy else 5, warmup_rounds=0 if heavy else 1)


def name_group(benchmark: Any, n: int, side: int, width: int, what: str = "") -> None:
    benchmark.group = f"density{what}: {n:,} points, bandwidth {width} cells -> {side} x {side} cells"


@pytest.fixture(scope="module")
def numba_loops() -> dict[str, Any]:
    nb = pytest.importorskip("numba")
    jit = nb.njit(parallel=True, error_model="numpy")

    @jit
    def scatter(px: Any, py: Any, start: Any, side: int, b: float, out: Any) -> None:
        strips = (side + STRIP - 1) // STRIP
        reach = math.ceil(b / STRIP) + 1
        inv = 1.0 / b
        for s in nb.prange(strips):
            for t in range(max(0, s - reach), min(strips, s + reach + 1)):
                for i in range(start[t], start[t + 1]):
                    x, y = px[i], py[i]
                    first = max(s * STRIP, math.ceil(y - b - 0.5))
                    last = min(min(side, (s + 1) * STRIP) - 1, math.floor(y + b - 0.5))
                    for r in range(first, last + 1):
                        ey = (r + 0.5 - y) * inv
                        q = 1 - ey * ey
                        if q <= 0:
                            continue
                        half = math.sqrt(q) * b
                        c0 = max(0, math.ceil(x - half - 0.5))
                        c1 = min(side, math.floor(x + half - 0.5) + 1)
                        if c0 < c1:
                            row = out[r, c0:c1]  # a slice from 0 vectorises
                            d0 = (c0 + 0.5 - x) * inv
                            for c in range(row.size):
                                d = d0 + c * inv
                                row[c] += q - d * d

    @jit
    def sweep(px: Any, py: Any, start: Any, side: int, b: float, out: Any) -> None:
        strips = (side + STRIP - 1) // STRIP
        reach = math.ceil(b / STRIP) + 1
        for s in nb.prange(strips):
            events = np.zeros((side + 1, 4))
            for r in range(s * STRIP, min(side, (s + 1) * STRIP)):
                events[:] = 0
                for t in range(max(0, s - reach), min(strips, s + reach + 1)):
                    for i in range(start[t], start[t + 1]):
                        ey = r + 0.5 - py[i]
                        q = b * b - ey * ey
                        if q < 0:
                            continue
                        half, x = math.sqrt(q), px[i]
                        c0 = max(0, math.ceil(x - half - 0.5))
                        c1 = min(side - 1, math.floor(x + half - 0.5))
                        if c0 <= c1:
                            a = q - x * x
                            events[c0, 0] += a
                            events[c0, 1] += x
                            events[c0, 2] += 1.0
                            events[c1 + 1, 0] -= a
                            events[c1 + 1, 1] -= x
                            events[c1 + 1, 2] -= 1.0
                k0, k1, k2 = 0.0, 0.0, 0.0
                for c in range(side):
                    k0 += events[c, 0]
                    k1 += events[c, 1]
                    k2 += events[c, 2]
                    x = c + 0.5
                    out[r, c] = max(0.0, k0 + 2 * k1 * x - k2 * x * x) / (b * b)

    nb.set_num_threads(min(2, nb.config.NUMBA_NUM_THREADS))
    small = np.zeros((32, 32))
    for loop in (scatter, sweep):  # compile
        loop(np.ones(1), np.ones(1), np.array([0, 1, 1]), 32, 4.0, small)
    return {"numba scatter": scatter, "numba row sweep (SLAM)": sweep}


@sizes
@pytest.mark.parametrize("who", ["rtmdx", "numba scatter", "numba row sweep (SLAM)"])
def test_exact(benchmark: Any, numba_loops: dict[str, Any], who: str, n: int, side: int, width: int) -> None:
    name_group(benchmark, n, side, width)
    points = points_of(n, side)
    if who == "rtmdx":
        features, cells = Features.from_points(points), frame(side)
        found = once_or_more(benchmark, lambda: density_array(features, cells, bandwidth=width, threads=2), False)
    else:

        def loop() -> np.ndarray:
            strip = np.clip((side - points[:, 1]) // STRIP, 0, -(-side // STRIP) - 1).astype(np.int64)
            order = np.argsort(strip, kind="stable")
            start = np.searchsorted(strip[order], np.arange(-(-side // STRIP) + 1))
            out = np.zeros((side, side), dtype=np.float64)
            px, py = points[order, 0], side - points[order, 1]
            numba_loops[who](px, py, start, side, float(width), out)
            out *= 2 / (np.pi * width**2)
            return out

        found = once_or_more(benchmark, loop, n * width > 10_000_000)
    assert_exact(found, points, width)


@pytest.mark.parametrize("width", [10])
def test_scikit_learn(benchmark: Any, width: int) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    n, side = 10_000, 1000
    name_group(benchmark, n, side, width)
    points = points_of(n, side)
    x, y = np.meshgrid(frame(side).x, frame(side).y)
    centres = np.column_stack([x.ravel(), y.ravel()])

    def scored() -> np.ndarray:
        model = neighbors.KernelDensity(bandwidth=width, kernel="epanechnikov", rtol=0).fit(points)
        return np.exp(model.score_samples(centres)).reshape(side, side) * n

    with np.errstate(divide="ignore"):
        found = benchmark.pedantic(scored, rounds=1)
    assert_exact(found, points, width)


@sizes
@pytest.mark.parametrize("who", ["scipy fftconvolve (binned)", "opencv filter2D (binned)"])
def test_binned(benchmark: Any, who: str, n: int, side: int, width: int) -> None:
    if who.startswith("opencv") and side * width > 50_000:
        pytest.skip("minutes")
    name_group(benchmark, n, side, width)
    points = points_of(n, side)
    offset = np.arange(-width, width + 1)
    kernel = np.clip(1 - (offset**2 + offset[:, None] ** 2) / width**2, 0, None) * 2 / (np.pi * width**2)
    wide = side + 2 * width  # points beyond the grid count too
    bounds = [(-width, side + width)] * 2
    shown = slice(width, width + side)

    def counts(dtype: Any) -> np.ndarray:
        return np.histogram2d(side - points[:, 1], points[:, 0], wide, bounds)[0].astype(dtype)

    if who.startswith("scipy"):
        signal = pytest.importorskip("scipy.signal")
        found = once_or_more(
            benchmark, lambda: signal.fftconvolve(counts(np.float64), kernel, mode="same"), side > 1000
        )
    else:
        cv2 = pytest.importorskip("cv2")
        cv2.setNumThreads(2)
        found = once_or_more(
            benchmark,
            lambda: cv2.filter2D(counts(np.float32), -1, kernel.astype(np.float32), borderType=cv2.BORDER_CONSTANT),
            side > 1000,
        )
    exact = density_array(points, frame(side), bandwidth=width, dtype="float64")
    error = float(np.abs(found[shown, shown] - exact).max() / exact.max())
    benchmark.extra_info["error of the largest density"] = error
    assert error < 0.2  # points moved by up to half a cell


@pytest.mark.parametrize("kernel", ["uniform", "quartic", "triangular", "gaussian"])
@pytest.mark.parametrize("width", [10, 50])
def test_other_kernels(benchmark: Any, kernel: Any, width: int) -> None:
    n, side = (100_000 if kernel != "gaussian" else 10_000), 1000
    name_group(benchmark, n, side, width, ", other kernels")
    points = points_of(n, side)
    features, cells = Features.from_points(points), frame(side)
    found = benchmark.pedantic(
        lambda: density_array(features, cells, bandwidth=width, kernel=kernel, threads=2), rounds=2
    )
    at = np.random.default_rng(2).integers(0, side, (100, 2))
    for r, c in at:
        u = np.hypot(c + 0.5 - points[:, 0], side - r - 0.5 - points[:, 1]) / width
        shape = {
            "uniform": (u <= 1) / np.pi,
            "quartic": 3 / np.pi * np.clip(1 - u**2, 0, None) ** 2,
            "triangular": 3 / np.pi * np.clip(1 - u, 0, None),
            "gaussian": (u <= 4) * np.exp(-(u**2) / 2) / (2 * np.pi * (1 - np.exp(-8))),
        }[kernel]
        assert found[r, c] == pytest.approx(shape.sum() / width**2, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("who", ["one call", "a call each"])
def test_several_bandwidths(benchmark: Any, who: str) -> None:
    benchmark.group = "density: 1,000,000 points, bandwidths 2, 4, 6, 8 cells -> 1000 x 1000 cells"
    points = points_of(1_000_000, 1000)
    features, cells, widths = Features.from_points(points), frame(1000), [2.0, 4.0, 6.0, 8.0]

    def run() -> np.ndarray:
        if who == "one call":
            return density_array(features, cells, bandwidth=widths, threads=2)
        return np.stack([density_array(features, cells, bandwidth=w, threads=2) for w in widths])

    found = benchmark.pedantic(run, rounds=3)
    for raster, width in zip(found, widths, strict=True):
        assert_exact(raster, points, width)
