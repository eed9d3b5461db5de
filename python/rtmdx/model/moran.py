"""Moran's I of values on a grid's kept cells, and how it falls with distance.

With deviations z from the mean, I = (n / S0) sum_ij w_ij z_i z_j / sum_i z_i^2: about -1/(n - 1) where neighbours
are unrelated, towards 1 where they are alike (Moran 1950; variances of Cliff & Ord 1981).

Neighbours on a grid are shifts of the raster, so no list of pairs is made: a few neighbours are summed shift by
shift, many by one Fourier transform of the raster, which gives the products at every shift at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft
from scipy.special import ndtr

from rtmdx.errors import Cancelled, InputError
from rtmdx.space.grid import Grid

__all__ = ["Contiguity", "Correlogram", "DistanceClass", "Moran", "correlogram", "moran"]

Float = NDArray[np.float64]
Contiguity = Literal["queen", "rook"]
Weights = Literal["binary", "row"]

_FEW_SHIFTS = 40  # up to so many, shifting is quicker than a Fourier transform


@dataclass(frozen=True, slots=True)
class Moran:
    """Moran's I with its tests.

    Attributes
    ----------
    i : float
        NaN where undefined: fewer than four cells, no two neighbours, or all values equal (see `note`).
    expected : float
        -1 / (n - 1), its mean under randomisation.
    variance : float
        Under randomisation: the values stay, their places are shuffled.
    z, p : float
        (I - expected) / sd, and the two-sided normal p-value.
    p_permutation : float or None
        (1 + permutations at least as far from `expected`) / (1 + permutations); None without permutations.
    permutations : int
    n_cells, n_pairs, n_islands : int
        Cells; pairs of neighbours, each counted once; cells without a neighbour.
    weights : str
        What neighbours are, and how they are weighted.
    note : str
        Why I is undefined, if so.
    """

    i: float
    expected: float
    variance: float
    z: float
    p: float
    p_permutation: float | None
    permutations: int
    n_cells: int
    n_pairs: int
    n_islands: int
    weights: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; what is undefined is None."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


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
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


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
            for a, b in zip(known, known[1:], strict=False):
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


def moran(
    values: ArrayLike,
    grid: Grid,
    *,
    contiguity: Contiguity = "queen",
    distance: float | None = None,
    weights: Weights = "binary",
    permutations: int = 99,
    seed: int = 0,
    include: NDArray[np.bool_] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Moran:
    """Measure how alike the values of neighbouring cells are.

    Parameters
    ----------
    values : float array, shape (n_cells,)
        One per kept cell, for example the residuals of a model.
    grid : Grid
    contiguity : {"queen", "rook"}
        Neighbours share a corner, or an edge. Not used with `distance`.
    distance : float, optional
        Neighbours are the cells whose centres are at most this far apart (CRS units).
    weights : {"binary", "row"}
        Every pair counts once, or every cell's neighbours count one together.
    permutations : int
        Random orders of the values for the permutation p; 0 for none.
    seed : int
    include : bool array, shape (n_cells,), optional
        Cells that take part; all by default.
    cancel : callable, optional

    Returns
    -------
    Moran
        A cell without neighbours counts in n, and in nothing else.

    Raises
    ------
    InputError
        Values of another shape or not finite, or a distance below the cell size.
    Cancelled
        `cancel` returned True.

    Notes
    -----
    The tests take the values as given. Residuals of a model with k variables have mean I of about -(1 + k)/n, which
    matters for small grids only.
    """
    z, mask = _deviations(values, grid, include)
    if weights not in ("binary", "row"):
        raise InputError(f"weights: found {weights!r}, expected 'binary' or 'row'.")
    if permutations < 0:
        raise InputError(f"permutations: found {permutations}, expected at least 0.")
    if distance is None:
        if contiguity not in ("queen", "rook"):
            raise InputError(f"contiguity: found {contiguity!r}, expected 'queen' or 'rook'.")
        shifts = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if contiguity == "queen" else [])
        name = contiguity
    else:
        if not (math.isfinite(distance) and distance >= grid.cell_size * (1 - 1e-9)):
            raise InputError(
                f"distance: found {distance}, expected at least the cell size, {grid.cell_size:g} {grid.symbol}."
            )
        shifts = _half_plane(0.0, distance / grid.cell_size, mask.shape)
        name = f"within {distance:g} {grid.symbol}"
    name += ", row-standardised" if weights == "row" else ", binary"
    _poll(cancel)
    products = _Products(mask, shifts)
    neighbours = np.rint(products.neighbours(mask.astype(np.float64))[mask])
    n = len(z)
    n_pairs, n_islands = int(round(float(neighbours.sum()))) // 2, int(np.count_nonzero(neighbours == 0))
    if weights == "row":
        share = np.divide(1.0, neighbours, out=np.zeros(n), where=neighbours > 0)
        products.scale = share
        back = products.neighbours(_spread(share, mask))[mask]  # sum over neighbours j of 1 / d_j
        s0 = float(np.count_nonzero(neighbours))
        # (1/2) sum (1/d_i + 1/d_j)^2 over ordered pairs
        s1 = float((neighbours * share**2 + share * back).sum())
        s2 = float((((neighbours > 0) + back) ** 2).sum())
    else:
        s0, s1, s2 = float(neighbours.sum()), 2.0 * float(neighbours.sum()), 4.0 * float((neighbours**2).sum())
    note = _undefined(z, n_pairs)
    if note:
        nan = math.nan
        return Moran(nan, nan, nan, nan, nan, None, 0, n, n_pairs, n_islands, name, note)
    total = float((z * z).sum())
    i = n / s0 * products.product(z) / total
    expected, variance, score, p = _randomisation(i, z, s0, s1, s2)
    p_permutation = None
    if permutations:
        rng = np.random.default_rng(seed)
        far = abs(i - expected) * (1 - 1e-12)
        beyond = 0
        for _ in range(permutations):
            _poll(cancel)
            beyond += abs(n / s0 * products.product(rng.permutation(z)) / total - expected) >= far
        p_permutation = (1 + beyond) / (1 + permutations)
    return Moran(i, expected, variance, score, p, p_permutation, permutations, n, n_pairs, n_islands, name)


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
    z, mask = _deviations(values, grid, include)
    upper = _default_edges(mask.shape) if edges is None else np.asarray(edges, dtype=np.float64) / grid.cell_size
    if upper.ndim != 1 or not len(upper) or not np.isfinite(upper).all() or not (np.diff(upper, prepend=0.0) > 0).all():
        raise InputError("edges: expected rising distances above 0.", hint="For example [100, 200, 400].")
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha: found {alpha}, expected between 0 and 1, such as 0.05.")
    rows, cols = mask.shape
    reach = math.floor(float(upper[-1]) + 1e-9)
    down, right = min(reach, rows - 1), min(reach, cols - 1)
    shape = fft.next_fast_len(rows + down, True), fft.next_fast_len(cols + right, True)
    _poll(cancel)
    of_mask = fft.rfft2(mask.astype(np.float64), shape)
    pairs = fft.irfft2(np.abs(of_mask) ** 2, shape)
    of_z = fft.rfft2(_spread(z, mask), shape)
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
        _poll(cancel)
        inside = half & (which == k)
        n_pairs = int(counts[inside].sum())
        low, high = (float(upper[k - 1]) if k else 0.0) * grid.cell_size, float(top) * grid.cell_size
        if _undefined(z, n_pairs):
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
        expected, _, score, p = _randomisation(i, z, s0, 2.0 * s0, 4.0 * float((near**2).sum()))
        classes.append(DistanceClass(low, high, mean, n_pairs, i, expected, score, p))
    return Correlogram(tuple(classes), alpha)


class _Products:
    """Sums over pairs of neighbours; a pair is two cells of the mask one of the shifts apart."""

    def __init__(self, mask: NDArray[np.bool_], shifts: list[tuple[int, int]]) -> None:
        self.mask = mask
        self.scale: Float | None = None  # weight of each cell's neighbours, if not 1
        rows, cols = mask.shape
        self.shifts = [(r, c) for r, c in shifts if r < rows and abs(c) < cols]
        # one flat array with a margin, where every shift is a step along it
        self.margin = max((abs(c) for _, c in self.shifts), default=0)
        self.width = cols + self.margin
        r, c = np.nonzero(mask)
        self.place = r * self.width + c
        self.flat = np.zeros(rows * self.width + self.margin)
        self.shape = (rows, cols)
        self.kernel: NDArray[np.complex128] | None = None
        if len(self.shifts) > _FEW_SHIFTS:
            down = max(r for r, _ in self.shifts)
            self.padded = (fft.next_fast_len(rows + down, True), fft.next_fast_len(cols + self.margin, True))
            kernel = np.zeros(self.padded)
            for dr, dc in self.shifts:
                kernel[dr, dc] = kernel[-dr, -dc] = 1.0
            self.kernel = fft.rfft2(kernel)

    def neighbours(self, raster: Float) -> Float:
        """Sum of the neighbours' values, at every cell of the raster."""
        rows, cols = self.shape
        if self.kernel is not None:
            out: Float = fft.irfft2(fft.rfft2(raster, self.padded) * self.kernel, self.padded)[:rows, :cols]
            return out
        out = np.zeros(self.shape)
        for dr, dc in self.shifts:
            a = raster[: rows - dr, max(0, -dc) : cols - max(0, dc)]
            b = raster[dr:, max(0, dc) : cols + min(0, dc)]
            out[: rows - dr, max(0, -dc) : cols - max(0, dc)] += b
            out[dr:, max(0, dc) : cols + min(0, dc)] += a
        return out

    def product(self, z: Float) -> float:
        """Sum over ordered pairs of w_ij z_i z_j."""
        if self.scale is not None or self.kernel is not None:
            scaled = z if self.scale is None else z * self.scale
            return float((scaled * self.neighbours(_spread(z, self.mask))[self.mask]).sum())
        flat = self.flat
        flat[self.place] = z
        total = 0.0
        for dr, dc in self.shifts:
            k = dr * self.width + dc
            total += float(np.einsum("i,i->", flat[: len(flat) - k], flat[k:]))
        return 2.0 * total


def _deviations(values: ArrayLike, grid: Grid, include: NDArray[np.bool_] | None) -> tuple[Float, NDArray[np.bool_]]:
    v = np.asarray(values, dtype=np.float64)
    if v.shape != (grid.n_cells,):
        raise InputError(f"values have shape {v.shape}, expected ({grid.n_cells},), one per kept cell.")
    if not np.isfinite(v).all():
        i = int(np.argmin(np.isfinite(v)))
        raise InputError(f"values: cell {i} has {v[i]}; {np.count_nonzero(~np.isfinite(v))} are not finite.")
    mask = grid.mask
    if include is not None:
        if include.shape != v.shape or include.dtype != np.bool_:
            raise InputError(f"include: found {include.dtype} of shape {include.shape}, expected bool {v.shape}.")
        mask, v = grid.to_raster(include, False), v[include]
    if not len(v):
        return v, mask
    z = v - v.mean()
    if np.ptp(v) <= 1e-12 * np.abs(v).max():  # equal up to rounding
        z[:] = 0.0
    return z, mask


def _undefined(z: Float, n_pairs: int) -> str:
    if len(z) < 4:
        return f"{len(z)} cell{'s' if len(z) != 1 else ''}: at least 4 are needed."
    if not n_pairs:
        return "no two cells are neighbours."
    return "" if z.any() else "all values are equal."


def _randomisation(i: float, z: Float, s0: float, s1: float, s2: float) -> tuple[float, float, float, float]:
    """Mean and variance of I under randomisation (Cliff & Ord 1981, p. 46), z and two-sided p."""
    n = float(len(z))
    kurtosis = n * float((z**4).sum()) / float((z * z).sum()) ** 2
    mean = -1.0 / (n - 1.0)
    a = n * ((n * n - 3.0 * n + 3.0) * s1 - n * s2 + 3.0 * s0 * s0)
    b = kurtosis * ((n * n - n) * s1 - 2.0 * n * s2 + 6.0 * s0 * s0)
    variance = (a - b) / ((n - 1.0) * (n - 2.0) * (n - 3.0) * s0 * s0) - mean * mean
    if variance <= 1e-9 * mean * mean:  # every order gives the same I, as where all cells are each other's neighbours
        return mean, max(variance, 0.0), math.nan, math.nan
    score = (i - mean) / math.sqrt(variance)
    return mean, variance, score, 2.0 * float(ndtr(-abs(score)))


def _half_plane(low: float, high: float, shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Shifts, in cells, one of each opposite pair, with low < length <= high."""
    down = min(math.floor(high + 1e-9), shape[0] - 1)
    right = min(math.floor(high + 1e-9), shape[1] - 1)
    dr, dc = np.arange(down + 1)[:, None], np.arange(-right, right + 1)[None, :]
    away = np.hypot(dr, dc)
    r, c = np.nonzero(((dr > 0) | (dc > 0)) & (away > low + 1e-9) & (away <= high + 1e-9))
    return list(zip(r.tolist(), (c - right).tolist(), strict=True))


def _default_edges(shape: tuple[int, int]) -> Float:
    limit = max(min(shape) / 2.0, min(max(shape), 8) / 2.0, 1.5)
    edges, width = [1.5, 2.5, 3.5, 4.5], 2.0
    while edges[-1] < limit:
        edges += [edges[-1] + width, edges[-1] + 2 * width]
        width *= 2.0
    return np.array([e for e in edges if e <= limit])


def _spread(values: Float, mask: NDArray[np.bool_]) -> Float:
    out = np.zeros(mask.shape)
    out[mask] = values
    return out


def _poll(cancel: Callable[[], bool] | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("Moran's I was cancelled.")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
