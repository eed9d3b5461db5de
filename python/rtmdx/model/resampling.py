"""Resampling by spatial blocks: which blocks a replicate holds, and how often.

Neighbouring cells resemble each other, so cells drawn one by one would make a replicate look as informative as
independent cells. Whole blocks keep what neighbours share (the moving-block idea of Kuensch 1989, doi:10.1214/aos/
1176347265, on a fixed lattice in the plane; Lahiri 2003, chapter 12). Each replicate has a seed of its own, so
it is the same whoever computes it, and when.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError

__all__ = ["BlockLattice", "Scheme", "check_draw", "draw_blocks", "spatial_blocks"]

Scheme = Literal["bootstrap", "half"]


@dataclass(frozen=True, eq=False)
class BlockLattice:
    """Cells by block.

    Attributes
    ----------
    block : int32 array, shape (n_cells,)
        Block of each cell, from 0 in row-major order of the blocks.
    n_blocks : int
        Blocks with a kept cell.
    side : int
        Cells along a side.
    """

    block: NDArray[np.int32]
    n_blocks: int
    side: int


def spatial_blocks(rows: ArrayLike, cols: ArrayLike, side: int) -> BlockLattice:
    """Number the square blocks of ``side x side`` cells, aligned to the raster's origin.

    Parameters
    ----------
    rows, cols : int arrays, shape (n_cells,)
        Raster row and column of each kept cell.
    side : int

    Returns
    -------
    BlockLattice

    Raises
    ------
    InputError
        If the arrays disagree, `side` is below 1, or there is one block only.
    """
    r, c = np.asarray(rows, dtype=np.int64), np.asarray(cols, dtype=np.int64)
    if r.ndim != 1 or r.shape != c.shape or not r.size:
        raise InputError(f"rows and cols must be 1-D, of one length and not empty; found {r.shape} and {c.shape}.")
    if side < 1:
        raise InputError(f"the blocks' side is {side} cells, expected at least 1.")
    down, right = r // side, c // side
    key = (down - down.min()) * (int(np.ptp(right)) + 1) + (right - right.min())
    seen, block = np.unique(key, return_inverse=True)
    if len(seen) < 2:
        raise InputError(
            f"all {r.size:,} cells lie in one block of {side} x {side} cells; resampling blocks needs at least 2.",
            hint="Use smaller blocks.",
        )
    return BlockLattice(block.astype(np.int32), len(seen), side)


def check_draw(seed: int, scheme: Scheme) -> None:
    """Raise InputError unless the scheme is known and the seed a whole number >= 0."""
    if scheme not in get_args(Scheme):
        raise InputError(f"scheme is {scheme!r}, expected 'bootstrap' or 'half'.")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a whole number >= 0.")


def draw_blocks(n_blocks: int, replicate: int, seed: int, scheme: Scheme = "bootstrap") -> NDArray[np.int64]:
    """Return how often a replicate holds each block, shape (n_blocks,).

    Parameters
    ----------
    n_blocks : int
    replicate : int
        From 0.
    seed : int
    scheme : {"bootstrap", "half"}
        As many blocks as there are, with replacement; or half of them, without (the subsamples of stability
        selection: Meinshausen & Buehlmann 2010, doi:10.1111/j.1467-9868.2010.00740.x).

    Raises
    ------
    InputError
        As `check_draw`.
    """
    check_draw(seed, scheme)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(replicate,)))
    if scheme == "half":
        times = np.zeros(n_blocks, np.int64)
        times[rng.permutation(n_blocks)[: max(1, n_blocks // 2)]] = 1
        return times
    return np.bincount(rng.integers(0, n_blocks, n_blocks), minlength=n_blocks).astype(np.int64)
