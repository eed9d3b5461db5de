"""Cross-validation folds: which cells, or which part of the period, are left out together.

`stratified_folds` spreads the counts evenly, as RTMDx does; `spatial_folds` holds out whole
neighbourhoods and `district_folds` whole districts, the honest tests where neighbouring cells resemble each
other; `time_folds` leaves out a part of the period. `repeated_folds` draws several assignments.
docs/folds.md says which to choose.

Three forms go to culling: int32, shape (n_cells,): one assignment; int32, shape (repeats, n_cells); `TimeFolds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.time_folds import TimeFolds, time_folds

__all__ = [
    "BlockFolds",
    "BlockSize",
    "Folds",
    "Seed",
    "TimeFolds",
    "district_folds",
    "repeated_folds",
    "spatial_folds",
    "stratified_folds",
    "suggest_block",
    "time_folds",
]

Folds = NDArray[np.int32] | TimeFolds
Seed = int | np.random.SeedSequence
MAX_FOLDS = 20  # districts are merged beyond it
OUTSIDE = "outside every district"


def _check_k(k: int, n: int, what: str, fix: str) -> None:
    if k < 2:
        raise InputError(f"k is {k}, at least 2 folds are needed.", hint="Use k=5.")
    if k > n:
        raise InputError(
            f"k is {k} but there {'is' if n == 1 else 'are'} only {n} {what}{'' if n == 1 else 's'}: "
            "some folds would be empty.",
            hint=f"Use {f'fewer folds (k <= {n}) or ' if n > 1 else ''}{fix}.",
        )


def _deal(n: int, k: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Deal n ordered items in blocks of k, the k folds in a new random order in each block."""
    rounds = -(-n // k)
    order = np.tile(np.arange(k, dtype=np.int32), (rounds, 1))
    dealt: NDArray[np.int32] = rng.permuted(order, axis=1).ravel()[:n]
    return dealt


def stratified_folds(counts: ArrayLike, k: int = 5, *, seed: Seed) -> NDArray[np.int32]:
    """Deal cells, sorted by count, to k folds in random blocks of k.

    Every fold gets the same share of every count to within one cell, so rare high counts
    cannot gather in one fold. Equal counts are sorted at random.

    Parameters
    ----------
    counts : array of numbers, shape (n_cells,)
        Events per kept cell.
    k : int
        Number of folds, 2 <= k <= n_cells.
    seed : int or SeedSequence
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
    _check_k(k, len(y), "cell", "smaller cells")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(y))
    order = shuffled[np.argsort(-y[shuffled], kind="stable")]
    folds = np.empty(len(y), dtype=np.int32)
    folds[order] = _deal(len(y), k, rng)
    return folds


@dataclass(frozen=True, slots=True)
class BlockSize:
    """Side of a spatial block.

    Attributes
    ----------
    cells : int
    length : float
        CRS units.
    influence : float
        The largest influence of the study, CRS units: what the side is judged by.
    """

    cells: int
    length: float
    influence: float

    def describe(self, unit: str) -> str:
        """Say it in words: "26 x 26 cells = 1,196 m, twice the largest influence (598 m)"."""
        times = self.length / self.influence
        words = {1.0: "as long as", 2.0: "twice"}.get(round(times, 1), f"{times:.1f} times")
        return (
            f"{self.cells} x {self.cells} cells = {self.length:,.6g} {unit}, {words} the largest influence "
            f"({self.influence:,.6g} {unit})"
        )


def suggest_block(largest_influence: float, cell_size: float, *, times: float = 2.0) -> BlockSize:
    """Suggest the side of a spatial block: the whole cells that reach `times` the largest influence.

    A feature's influence reaches `largest_influence` to either side, so two cells twice that far apart share
    no feature; blocks of that side put most pairs of cells with common causes on one side of the cut.

    Parameters
    ----------
    largest_influence : float
        Largest band distance of the study, CRS units.
    cell_size : float
        CRS units.
    times : float
        Side in largest influences. Where a correlogram of the residuals reaches farther, take more.

    Raises
    ------
    InputError
        If an argument is not positive and finite.
    """
    for name, value in (("largest_influence", largest_influence), ("cell_size", cell_size), ("times", times)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value!r}, expected a positive number.")
    cells = max(1, math.ceil(times * largest_influence / cell_size - 1e-9))
    return BlockSize(cells, cells * cell_size, largest_influence)


def spatial_folds(
    rows: ArrayLike, cols: ArrayLike, block_cells: int, k: int = 5, *, seed: Seed, offset: bool = False
) -> NDArray[np.int32]:
    """Deal square blocks of ``block_cells x block_cells`` cells to k folds.

    Blocks are aligned to the raster's origin (or shifted at random), sorted by their number of kept cells (ties at
    random) and dealt in random blocks of k, so that the folds are of similar size.

    Parameters
    ----------
    rows, cols : int arrays, shape (n_cells,)
        Raster row and column of each kept cell.
    block_cells : int
        Side of a block, in cells. Take it beyond the range of spatial dependence; see `suggest_block`.
    k : int
        Number of folds, 2 <= k <= number of blocks that have a kept cell.
    seed : int or SeedSequence
        Seed of the NumPy generator.
    offset : bool
        Shift the lattice by a random number of rows and columns, so that repeats cut the city elsewhere.

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
    _check_k(k, len(r), "cell", "smaller cells")
    extent = f"smaller blocks (now {block_cells} cells wide; the area has {np.ptp(r) + 1} x {np.ptp(c) + 1})"
    rng = np.random.default_rng(seed)
    if offset:
        down, right = rng.integers(0, block_cells, 2)
        r, c = r + down, c + right
    block_row = r // block_cells
    block_col = c // block_cells
    key = (block_row - block_row.min()) * (np.ptp(block_col) + 1) + (block_col - block_col.min())
    _, block, size = np.unique(key, return_inverse=True, return_counts=True)
    _check_k(k, len(size), "block", extent)
    folds: NDArray[np.int32] = _deal_blocks(size, k, rng)[block]
    return folds


def _deal_blocks(size: NDArray[np.int64], k: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Deal blocks of so many cells to k folds of similar size."""
    shuffled = rng.permutation(len(size))
    order = shuffled[np.argsort(-size[shuffled], kind="stable")]
    out = np.empty(len(size), dtype=np.int32)
    out[order] = _deal(len(size), k, rng)
    return out


@dataclass(frozen=True, eq=False)
class BlockFolds:
    """Spatial folds by block, for grids too large to hold a fold per cell: those of `spatial_folds`.

    Attributes
    ----------
    block_cells : int
    down, right : int
        By how many cells the lattice is shifted up and left of the raster's first cell.
    fold : int32 array, shape (n_block_rows, n_block_cols)
        -1 where a block has no kept cell.
    """

    block_cells: int
    down: int
    right: int
    fold: NDArray[np.int32]

    @classmethod
    def deal(
        cls, mask: NDArray[np.bool_], block_cells: int, k: int = 5, *, seed: Seed, offset: bool = False
    ) -> BlockFolds:
        """Deal the blocks of a raster's kept cells, shape (rows, cols); parameters and errors as `spatial_folds`."""
        if block_cells < 1:
            raise InputError(f"block_cells is {block_cells}, expected at least 1.")
        rng = np.random.default_rng(seed)
        down, right = (int(v) for v in rng.integers(0, block_cells, 2)) if offset else (0, 0)
        rows, cols = mask.shape
        starts = np.unique(np.maximum(np.arange(0, cols + right, block_cells) - right, 0))
        size = np.zeros((-(-(rows + down) // block_cells), len(starts)), np.int64)
        for i in range(len(size)):
            strip = mask[max(0, i * block_cells - down) : (i + 1) * block_cells - down]
            size[i] = np.add.reduceat(np.count_nonzero(strip, axis=0), starts)
        kept = size > 0
        _check_k(
            k,
            int(kept.sum()),
            "block",
            f"smaller blocks (now {block_cells} cells wide; the raster has {rows} x {cols})",
        )
        fold = np.full(size.shape, -1, np.int32)
        fold[kept] = _deal_blocks(size[kept], k, rng)
        return cls(block_cells, down, right, fold)

    def of(self, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> NDArray[np.int32]:
        """Return the folds of cells by raster row and column."""
        out: NDArray[np.int32] = self.fold[
            (rows + self.down) // self.block_cells, (cols + self.right) // self.block_cells
        ]
        return out


def district_folds(
    labels: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    counts: ArrayLike | None = None,
    max_folds: int = MAX_FOLDS,
    outside: Literal["error", "fold"] = "error",
) -> tuple[NDArray[np.int32], tuple[tuple[str, ...], ...]]:
    """Leave one district out: one fold per district, merged where there are too many. Nothing is random.

    More than `max_folds` districts are merged: the largest first, each to the fold with the fewest cells
    so far. Districts without events, on which nothing can be scored, join other folds in the same way.

    Parameters
    ----------
    labels : array, shape (n_cells,)
        District of each cell: names, or whole numbers. None, NaN and "" are no district; with `names`, -1 is.
    names : sequence of str, optional
        `labels` are then positions in it.
    counts : array of numbers, shape (n_cells,), optional
        Events per kept cell. Without it every district is taken to have some.
    max_folds : int
        Most folds, at least 2: each costs a path of fits.
    outside : {"error", "fold"}
        Cells in no district are an error, or a district of their own.

    Returns
    -------
    folds : int32 array, shape (n_cells,)
        Fold of each cell, 0 .. k - 1.
    districts : tuple of tuple of str
        Names of the districts in each fold.

    Raises
    ------
    InputError
        If a cell has no district, or fewer than two districts have events.
    """
    code, known = _district_codes(labels, names)
    if max_folds < 2:
        raise InputError(f"max_folds is {max_folds}, at least 2 are needed.", hint=f"Use max_folds={MAX_FOLDS}.")
    away = code < 0
    if away.any():
        if outside == "error":
            raise InputError(
                f"{int(away.sum()):,} of {len(code):,} cells have no district; the first is cell {int(away.argmax())}.",
                hint='Give them one, or make them a fold of their own with outside="fold".',
            )
        code, known = np.where(away, len(known), code), [*known, OUTSIDE]
    cells = np.bincount(code, minlength=len(known))
    events = cells
    if counts is not None:
        y = np.asarray(counts, dtype=np.float64)
        if y.shape != code.shape or not np.isfinite(y).all():
            raise InputError(f"counts must be finite, one per cell, found shape {y.shape} for {len(code)} cells.")
        events = np.bincount(code, weights=(y > 0), minlength=len(known)).astype(np.int64)  # cells with some
    scored = np.flatnonzero(events > 0)
    if len(scored) < 2:
        found = f"only {known[scored[0]]!r}" if len(scored) else "none"
        raise InputError(
            f"Of {np.count_nonzero(cells)} districts with cells {found} has events: "
            "leaving one district out needs at least two.",
            hint="Use more or smaller districts, or spatial blocks.",
        )
    k = min(max_folds, len(scored))
    weight = np.zeros(k, dtype=np.int64)
    fold_of = np.full(len(known), -1, dtype=np.int32)
    bare = np.flatnonzero((events <= 0) & (cells > 0))
    by_size = [group[np.argsort(-cells[group], kind="stable")] for group in (scored, bare)]
    if k == len(scored):  # each its own fold, in the districts' order
        by_size[0] = scored
        fold_of[scored] = np.arange(k)
        np.add.at(weight, fold_of[scored], cells[scored])
    for d in [d for group in by_size for d in group if fold_of[d] < 0]:
        fold_of[d] = int(np.argmin(weight))
        weight[fold_of[d]] += cells[d]
    districts = tuple(tuple(known[d] for d in np.flatnonzero(fold_of == f)) for f in range(k))
    return fold_of[code], districts


def _district_codes(labels: ArrayLike, names: Sequence[str] | None) -> tuple[NDArray[np.int64], list[str]]:
    """Number the districts from 0, in the order of their first cell; -1 where there is none."""
    found = np.asarray(labels)
    if found.dtype.kind == "U" and not isinstance(labels, np.ndarray):
        found = np.asarray(labels, dtype=object)  # else a NaN among names becomes the text "nan"
    if found.ndim != 1 or not found.size:
        raise InputError(f"labels have shape {found.shape}, expected one per cell.")
    if names is not None:
        if found.dtype.kind not in "iu" or found.min() < -1 or found.max() >= len(names):
            raise InputError(f"labels must be whole numbers from -1 to {len(names) - 1}, positions in names.")
        return found.astype(np.int64), [str(n) for n in names]
    import pandas as pd

    if found.dtype.kind in "OUST":
        text = pd.Series(found, dtype=object)
        found = text.where(text.astype("string").str.strip().fillna("") != "", None).to_numpy()
    code, known = pd.factorize(found, use_na_sentinel=True)
    return code.astype(np.int64), [str(n) for n in known]


def repeated_folds(make: Callable[[Seed], NDArray[np.int32]], repeats: int, *, seed: int) -> NDArray[np.int32]:
    """Draw several independent assignments, for repeated cross-validation.

    Parameters
    ----------
    make : callable
        Takes a seed and returns an assignment: ``lambda s: spatial_folds(rows, cols, 26, seed=s, offset=True)``.
    repeats : int
        Number of assignments.
    seed : int
        The first assignment is ``make(seed)``, so that one repeat is plain cross-validation; the others' seeds
        are spawned from it.

    Returns
    -------
    int32 array, shape (repeats, n_cells)

    Raises
    ------
    InputError
        If `repeats` is below 1.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}, expected at least 1.")
    seeds: list[Seed] = [seed, *np.random.SeedSequence(seed).spawn(repeats - 1)]
    return np.stack([make(s) for s in seeds])
