"""Moran's I of values on a grid's kept cells.

With deviations z from the mean, I = (n / S0) sum_ij w_ij z_i z_j / sum_i z_i^2: about -1/(n - 1) where neighbours
are unrelated, towards 1 where they are alike (Moran 1950; variances of Cliff & Ord 1981).

Neighbours on a grid are shifts of the raster, so no list of pairs is made: a few neighbours are summed shift by
shift, many by one Fourier transform of the raster, which gives the products at every shift at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft
from scipy.special import ndtr

from rtmdx.errors import Cancelled, InputError
from rtmdx.space.grid import Grid

__all__ = ["Contiguity", "Moran", "moran"]

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
        return {name: plain(getattr(self, name)) for name in self.__slots__}


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
    z, mask = deviations(values, grid, include)
    if weights not in ("binary", "row"):
        raise InputError(f"weights: found {weights!r}, expected 'binary' or 'row'.")
    if permutations < 0:
        raise InputError(f"permutations: found {permutations}, expected at least 0.")
    if distance is None:
        if contiguity not in ("queen", "rook"):
            raise InputError(f"contiguity: found {contiguity!r}, expected 'queen' or 'rook'.")
        shifts = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if contiguity == "queen" else [])
        name: str = contiguity
    else:
        if not (math.isfinite(distance) and distance >= grid.cell_size * (1 - 1e-9)):
            raise InputError(
                f"distance: found {distance}, expected at least the cell size, {grid.cell_size:g} {grid.symbol}."
            )
        shifts = _half_plane(0.0, distance / grid.cell_size, mask.shape)
        name = f"within {distance:g} {grid.symbol}"
    name += ", row-standardised" if weights == "row" else ", binary"
    poll(cancel)
    products = _Products(mask, shifts)
    neighbours = np.rint(products.neighbours(mask.astype(np.float64))[mask])
    n = len(z)
    n_pairs, n_islands = int(neighbours.sum()) // 2, int(np.count_nonzero(neighbours == 0))
    if weights == "row":
        share = np.divide(1.0, neighbours, out=np.zeros(n), where=neighbours > 0)
        products.scale = share
        back = products.neighbours(spread(share, mask))[mask]  # sum over neighbours j of 1 / d_j
        s0 = float(np.count_nonzero(neighbours))
        # (1/2) sum (1/d_i + 1/d_j)^2 over ordered pairs
        s1 = float((neighbours * share**2 + share * back).sum())
        s2 = float((((neighbours > 0) + back) ** 2).sum())
    else:
        s0, s1, s2 = float(neighbours.sum()), 2.0 * float(neighbours.sum()), 4.0 * float((neighbours**2).sum())
    note = undefined(z, n_pairs)
    if note:
        nan = math.nan
        return Moran(nan, nan, nan, nan, nan, None, 0, n, n_pairs, n_islands, name, note)
    total = float((z * z).sum())
    i = n / s0 * products.product(z) / total
    expected, variance, score, p = randomisation(i, z, s0, s1, s2)
    p_permutation = None
    if permutations:
        rng = np.random.default_rng(seed)
        far = abs(i - expected) * (1 - 1e-12)
        beyond = 0
        for _ in range(permutations):
            poll(cancel)
            beyond += abs(n / s0 * products.product(rng.permutation(z)) / total - expected) >= far
        p_permutation = (1 + beyond) / (1 + permutations)
    return Moran(i, expected, variance, score, p, p_permutation, permutations, n, n_pairs, n_islands, name)


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
            return float((scaled * self.neighbours(spread(z, self.mask))[self.mask]).sum())
        flat = self.flat
        flat[self.place] = z
        total = 0.0
        for dr, dc in self.shifts:
            k = dr * self.width + dc
            total += float(np.einsum("i,i->", flat[: len(flat) - k], flat[k:]))
        return 2.0 * total


def deviations(values: ArrayLike, grid: Grid, include: NDArray[np.bool_] | None) -> tuple[Float, NDArray[np.bool_]]:
    """Return the deviations from the mean of the cells that take part, and their mask on the raster."""
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


def undefined(z: Float, n_pairs: int) -> str:
    """Say why Moran's I of these deviations is undefined, if so."""
    if len(z) < 4:
        return f"{len(z)} cell{'s' if len(z) != 1 else ''}: at least 4 are needed."
    if not n_pairs:
        return "no two cells are neighbours."
    return "" if z.any() else "all values are equal."


def randomisation(i: float, z: Float, s0: float, s1: float, s2: float) -> tuple[float, float, float, float]:
    """Return mean and variance of I under randomisation (Cliff & Ord 1981, p. 46), z and two-sided p."""
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


def spread(values: Float, mask: NDArray[np.bool_]) -> Float:
    """Return the raster of the mask's values, 0 elsewhere."""
    out = np.zeros(mask.shape)
    out[mask] = values
    return out


def poll(cancel: Callable[[], bool] | None) -> None:
    """Stop if asked to."""
    if cancel is not None and cancel():
        raise Cancelled("Moran's I was cancelled.")


def plain(value: Any) -> Any:
    """Return the value, None for a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
