"""Levels: the distinct pairs of count and exposure among the cells, and what the likelihood has of them alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from rtmdx import _counts

__all__ = ["PIECE", "count_constant", "levels_of", "reference_rate", "sorted_pairs"]

Float = NDArray[np.float64]
Int = NDArray[np.int32]

PIECE = 1 << 18  # cells collapsed or sorted at a time: bounds the memory of keys, and the wait for a cancel


def levels_of(
    y: Float, exposure: Float | None, *, merge_zeros: bool, poll: Callable[[], None]
) -> tuple[Int, Float, Float]:
    """Number the distinct pairs of count and exposure, in rising order; return (of each cell, y, exposure)."""
    if exposure is None:
        top = float(y.max()) if len(y) else 0.0
        if top < 1 << 22:  # counts small enough to be looked up
            whole = y.astype(np.int64)
            seen = np.flatnonzero(np.bincount(whole, minlength=1))
            lut: Int = np.zeros(int(top) + 1, np.int32)
            lut[seen] = np.arange(len(seen), dtype=np.int32)
            return lut[whole], seen.astype(np.float64), np.ones(len(seen))
        values, number = np.unique(y, return_inverse=True)
        return number.astype(np.int32), values, np.ones(len(values))
    apart = np.flatnonzero(y > 0) if merge_zeros else np.arange(len(y))
    order = apart[sorted_pairs(y[apart], exposure[apart], poll)]
    poll()
    ys, es = y[order], exposure[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(ys) != 0) | (np.diff(es) != 0)
    zeros = int(merge_zeros and len(apart) < len(y))
    level = np.zeros(len(y), np.int32)
    level[order] = np.cumsum(new) - 1 + zeros
    poll()
    first = np.flatnonzero(new)
    head_y, head_e = np.zeros(zeros), np.ones(zeros)
    return level, np.concatenate([head_y, ys[first]]), np.concatenate([head_e, es[first]])


def sorted_pairs(y: Float, exposure: Float, poll: Callable[[], None]) -> NDArray[np.intp]:
    """Order by count, then exposure: a sort in parts, so that a cancel is answered while there are many cells."""
    if len(y) <= PIECE:
        return np.lexsort((exposure, y))
    poll()
    narrow = y.astype(np.uint16) if float(y.max()) < 1 << 16 else y  # NumPy sorts small whole numbers by their digits
    order = np.argsort(narrow, kind="stable")
    poll()
    begin = np.flatnonzero(np.diff(y[order], prepend=-1.0))
    end = np.append(begin[1:], len(y))
    large = np.flatnonzero(end - begin > PIECE)
    done = 0
    for b, e in [*zip(begin[large].tolist(), end[large].tolist(), strict=True), (len(y), len(y))]:
        cuts = begin[(begin >= done) & (begin < b)]
        while done < b:  # counts of few cells each, as many as make a piece
            poll()
            stop = b if b - done <= PIECE else int(cuts[np.searchsorted(cuts, done + PIECE, side="right") - 1])
            part = order[done:stop]
            order[done:stop] = part[np.lexsort((exposure[part], y[part]))]
            done = stop
        if b < e:  # many cells of one count: apart by exposure, then sorted
            part = order[b:e]
            of = exposure[part]
            splitters = np.sort(of[:: max(1, len(of) // 4096)])[::64][1:]
            bucket = np.empty(len(of), np.uint8)
            for i in range(0, len(of), PIECE):
                poll()
                bucket[i : i + PIECE] = np.searchsorted(splitters, of[i : i + PIECE], side="right")
            parted = part[np.argsort(bucket, kind="stable")]
            start = b
            for n in np.bincount(bucket).tolist():
                poll()
                piece = parted[start - b : start - b + n]
                order[start : start + n] = piece[np.argsort(exposure[piece], kind="stable")]
                start += n
            done = e
    return order


def count_constant(y: Float) -> Float:
    """Return ``lgamma(y + 1) - y log(y) + y``, about ``log(2 pi y) / 2``, of whole numbers, to rounding."""
    x = np.maximum(y, 1.0)
    tail = (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / 1680.0 / x**2) / x**2) / x**2) / x
    large = 0.5 * np.log(2.0 * np.pi * x) + tail
    small = np.minimum(x, 64.0)
    out: Float = np.where(
        y >= 64.0, large, np.where(y > 0.0, gammaln(small + 1.0) - small * np.log(small) + small, 0.0)
    )
    return out


def reference_rate(
    y: Float, exposure: Float, cells: NDArray[np.int64], total: int, without: int, unit: float
) -> tuple[float, float]:
    """Rate over all cells, and the cells' Poisson deviance / 2 from it.

    `total` and `without`: exposure of all cells and of those without events, in units; level by level the others.
    """
    events = float(np.sum(cells * y))
    if events == 0.0:
        return 0.0, 0.0
    rate = events / (total * unit)
    some = y > 0.0
    rows = _counts.Rows(np.zeros(int(some.sum()), np.int32), y[some], cells[some].astype(np.float64), exposure[some])
    return rate, without * unit * rate - _counts.count_likelihood(0, rows, np.log([rate]), 0.0, np.empty((1, 5)))
