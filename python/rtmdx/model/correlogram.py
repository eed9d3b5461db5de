"""Correlogram: Moran's I of the pairs of cells of each class of distance.

The products at every shift of the raster come from one Fourier transform of it, so a class of a hundred million pairs
costs no more than one of a thousand; see `rtmdx.model.moran` for the statistic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from rtmdx.errors import InputError
from rtmdx.model.moran import deviations, plain, poll, randomisation, spread, undefined
from rtmdx.space.grid import Grid

__all__ = ["Correlogram", "DistanceClass", "correlogram"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DistanceClass:
    """Moran's I of the pairs of cells ``lower < distance <= upper`` apart (CRS units)."""

    lower: float
    upper: float
    mean_distance: float
    n_pairs: int
    i: float
    expected: float
    z: float
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; what is undefined is None."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True)
class Correlogram:
    """Moran's I by distance.

    Attributes
    ----------
    classes : tuple of DistanceClass
        Nearest first.
    alpha : float
        Two-sided level at which a class is told from zero.
    range : float or None
        Mean distance of the first class that is no longer above zero (p > alpha, or I below its
        expectation); None if every class with pairs is above zero.
    half_range : float or None
        Distance at which I has fallen to half of its value in the first class, between classes by straight line.
        With many cells the faintest likeness is told from zero: this says where most of it ends.
    """

    classes: tuple[DistanceClass, ...]
    alpha: float
    range: float | None = field(init=False)
    half_range: float | None = field(init=False)

    def __post_init__(self) -> None:
        known = [c for c in self.classes if math.isfinite(c.i)]
        end = next((c for c in known if not (c.i > c.expected and c.p <= self.alpha)), None)
        object.__setattr__(self, "range", None if end is None else end.mean_distance)
        half = None
        if known and known[0].i > 0:
            level = known[0].i / 2
            for a, b in pairwise(known):
                if b.i <= level:
                    share = (a.i - level) / (a.i - b.i)
                    half = a.mean_distance + share * (b.mean_distance - a.mean_distance)
                    break
        object.__setattr__(self, "half_range", half)

    @property
    def max_distance(self) -> float:
        """Upper end of the last class."""
        return self.classes[-1].upper

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; what is undefined is None."""
        return {
            "alpha": self.alpha,
            "range": self.range,
            "half_range": self.half_range,
            "classes": [c.to_dict() for c in self.classes],
        }


def correlogram(
    values: ArrayLike,
    grid: Grid,
    *,
    edges: Sequence[float] | None = None,
    alpha: float = 0.05,
    include: NDArray[np.bool_] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Correlogram:
    """Measure Moran's I (binary weights) by class of distance.

    Parameters
    ----------
    values : float array, shape (n_cells,)
    grid : Grid
    edges : sequence of float, optional
        Upper ends of the classes, rising (CRS units); the first class starts above 0. By default 1.5 cells (the
        queen's neighbours), then 2.5, 3.5, 4.5, 6.5, 8.5, 12.5, ... cells up to half the shorter side of the
        raster.
    alpha : float
        Level of each class's two-sided test by randomisation, for the range. The classes are tested one by one.
    include : bool array, shape (n_cells,), optional
        Cells that take part; all by default.
    cancel : callable, optional

    Returns
    -------
    Correlogram

    Raises
    ------
    InputError
        Values of another shape or not finite, or edges that do not rise.
    Cancelled
        `cancel` returned True.
    """
    z, mask = deviations(values, grid, include)
    upper = _default_edges(mask.shape) if edges is None else np.asarray(edges, dtype=np.float64) / grid.cell_size
    if upper.ndim != 1 or not len(upper) or not np.isfinite(upper).all() or not (np.diff(upper, prepend=0.0) > 0).all():
        raise InputError("edges: expected rising distances above 0.", hint="For example [100, 200, 400].")
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha: found {alpha}, expected between 0 and 1, such as 0.05.")
    rows, cols = mask.shape
    reach = math.floor(float(upper[-1]) + 1e-9)
    down, right = min(reach, rows - 1), min(reach, cols - 1)
    shape = fft.next_fast_len(rows + down, True), fft.next_fast_len(cols + right, True)
    poll(cancel)
    of_mask = fft.rfft2(mask.astype(np.float64), shape)
    pairs = fft.irfft2(np.abs(of_mask) ** 2, shape)
    of_z = fft.rfft2(spread(z, mask), shape)
    products = fft.irfft2(np.abs(of_z) ** 2, shape)
    # shifts (dr, dc), dr = 0 .. down, dc = -right .. right: one of each pair of opposite shifts
    dr, dc = np.arange(down + 1)[:, None], np.arange(-right, right + 1)[None, :]
    half = (dr > 0) | (dc > 0)
    away = np.hypot(dr, dc)
    counts = np.rint(pairs[dr, dc % shape[1]])
    sums = products[dr, dc % shape[1]]
    counts[~half] = 0.0
    which = np.searchsorted(upper + 1e-9, away)
    total = float((z * z).sum())
    classes = []
    for k, top in enumerate(upper):
        poll(cancel)
        inside = half & (which == k)
        n_pairs = int(counts[inside].sum())
        low, high = (float(upper[k - 1]) if k else 0.0) * grid.cell_size, float(top) * grid.cell_size
        if undefined(z, n_pairs):
            classes.append(DistanceClass(low, high, math.nan, n_pairs, *(math.nan,) * 4))
            continue
        mean = float((counts * away)[inside].sum()) / n_pairs * grid.cell_size
        kernel = np.zeros(shape)
        r, c = np.nonzero(inside)
        kernel[r, (c - right) % shape[1]] = 1.0
        kernel[-r, (right - c) % shape[1]] = 1.0
        near = np.rint(fft.irfft2(of_mask * fft.rfft2(kernel), shape)[:rows, :cols][mask])
        s0 = 2.0 * n_pairs
        i = len(z) / s0 * 2.0 * float(sums[inside].sum()) / total
        expected, _, score, p = randomisation(i, z, s0, 2.0 * s0, 4.0 * float((near**2).sum()))
        classes.append(DistanceClass(low, high, mean, n_pairs, i, expected, score, p))
    return Correlogram(tuple(classes), alpha)


def _default_edges(shape: tuple[int, int]) -> Float:
    limit = max(min(shape) / 2.0, min(max(shape), 8) / 2.0, 1.5)
    edges, width = [1.5, 2.5, 3.5, 4.5], 2.0
    while edges[-1] < limit:
        edges += [edges[-1] + width, edges[-1] + 2 * width]
        width *= 2.0
    return np.array([e for e in edges if e <= limit])
