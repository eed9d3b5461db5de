"""Cross-validation folds: one fold number per kept cell.

`stratified_folds` spreads the counts evenly, as RTMDx does; `spatial_folds` holds out whole
neighbourhoods, the honest test where neighbouring cells resemble each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError

__all__ = ["spatial_folds", "stratified_folds"]


def _check_k(k: int, n: int, what: str) -> None:
    if k < 2:
        raise InputError(f"k is {k}, at least 2 folds are needed.", hint="Use k=5.")
    if k > n:
        raise InputError(
            f"k is {k} but there are only {n} {what}: some folds would be empty.",
            hint=f"Use fewer folds (k <= {n}) or smaller {what}.",
        )


def _deal(n: int, k: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Deal n ordered items in blocks of k, the k folds in a new random order in each block."""
    rounds = -(-n // k)
    order = np.tile(np.arange(k, dtype=np.int32), (rounds, 1))
    dealt: NDArray[np.int32] = rng.permuted(order, axis=1).ravel()[:n]
    return dealt


def stratified_folds(counts: ArrayLike, k: int = 5, *, seed: int) -> NDArray[np.int32]:
    """Deal cells, sorted by count, to k folds in random blocks of k.

    Every fold gets the same share of every count to within one cell, so rare high counts
    cannot gather in one fold. Equal counts are sorted at random.

    Parameters
    ----------
    counts : array of numbers, shape (n_cells,)
        Events per kept cell.
    k : int
        Number of folds, 2 <= k <= n_cells.
    seed : int
        Seed of the NumPy generator; the same seed gives the same folds.

    Returns
    -------
    int32 array, shape (n_cells,)
        Fold of each cell, 0 .. k - 1.

    Raises
    ------
    InputError
        If `k` is below 2 or above the number of cells, or `counts` is not one-dimensional and finite.

    Notes
    -----
    The rule is RTMR's, which follows the RTMDx documentation (Heffner 2013).
    """
    y = np.asarray(counts, dtype=np.float64)
    if y.ndim != 1 or not np.isfinite(y).all():
        raise InputError(f"counts must be a finite 1-D array, found shape {y.shape}.")
    _check_k(k, len(y), "cells")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(y))
    order = shuffled[np.argsort(-y[shuffled], kind="stable")]
    folds = np.empty(len(y), dtype=np.int32)
    folds[order] = _deal(len(y), k, rng)
    return folds


def spatial_folds(rows: ArrayLike, cols: ArrayLike, block_cells: int, k: int = 5, *, seed: int) -> NDArray[np.int32]:
    """Deal square blocks of ``block_cells x block_cells`` cells to k folds.

    Blocks are aligned to the raster's origin, sorted by their number of kept cells (ties at
    random) and dealt in random blocks of k, so that the folds are of similar size.

    Parameters
    ----------
    rows, cols : int arrays, shape (n_cells,)
        Raster row and column of each kept cell.
    block_cells : int
        Side of a block, in cells. Take it beyond the range of spatial dependence.
    k : int
        Number of folds, 2 <= k <= number of blocks that have a kept cell.
    seed : int
        Seed of the NumPy generator.

    Returns
    -------
    int32 array, shape (n_cells,)
        Fold of each cell, 0 .. k - 1.

    Raises
    ------
    InputError
        If the arrays disagree, `block_cells` is below 1 or there are fewer blocks than folds.
    """
    r = np.asarray(rows, dtype=np.int64)
    c = np.asarray(cols, dtype=np.int64)
    if r.ndim != 1 or r.shape != c.shape:
        raise InputError(f"rows and cols must be 1-D and of one length, found {r.shape} and {c.shape}.")
    if block_cells < 1:
        raise InputError(f"block_cells is {block_cells}, expected at least 1.")
    _check_k(k, len(r), "cells")
    block_row = r // block_cells
    block_col = c // block_cells
    key = (block_row - block_row.min()) * (np.ptp(block_col) + 1) + (block_col - block_col.min())
    _, block, size = np.unique(key, return_inverse=True, return_counts=True)
    _check_k(k, len(size), "blocks")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(size))
    order = shuffled[np.argsort(-size[shuffled], kind="stable")]
    fold_of_block = np.empty(len(size), dtype=np.int32)
    fold_of_block[order] = _deal(len(size), k, rng)
    folds: NDArray[np.int32] = fold_of_block[block]
    return folds
