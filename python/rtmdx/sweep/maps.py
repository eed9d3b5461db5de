"""Maps over scenarios: where cells rank on average and how far that spreads, one scenario in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled

__all__ = ["mean_ranks", "rank_of", "read_ahead"]

Float = NDArray[np.float64]


def rank_of(score: NDArray[Any]) -> Float:
    """Return the rank of each value, 1 the highest; ties have their mean rank."""
    levels, place, count = np.unique(score, return_inverse=True, return_counts=True)
    above = score.size - np.cumsum(count)
    rank: Float = (above + (count + 1) / 2)[place.reshape(score.shape)]
    assert levels.size == count.size
    return rank


def mean_ranks(
    scores: Iterator[NDArray[np.float32]], n_cells: int, check: Callable[[int], None] = lambda _: None
) -> tuple[int, dict[str, Float]]:
    """Return how many scenarios there were, and per cell the mean, standard deviation and extremes of its rank.

    Parameters
    ----------
    scores : iterator of float32 arrays, shape (n_cells,)
    n_cells : int
    check : callable, optional
        Called with the number of scenarios done; raises to stop.

    Returns
    -------
    n : int
    maps : mapping of str to float64 array, shape (n_cells,)
        "mean", "sd" (with n - 1; NaN for one scenario), "best", "worst".

    Notes
    -----
    Welford's update, in the order of the scenarios.
    """
    n = 0
    mean, square = np.zeros(n_cells), np.zeros(n_cells)
    best, worst = np.full(n_cells, np.inf), np.full(n_cells, -np.inf)
    for score in scores:
        rank = rank_of(score)
        n += 1
        step = rank - mean
        mean += step / n
        square += step * (rank - mean)
        np.minimum(best, rank, out=best)
        np.maximum(worst, rank, out=worst)
        check(n)
    sd = np.sqrt(square / (n - 1)) if n > 1 else np.full(n_cells, np.nan)
    return n, {"mean": mean, "sd": sd, "best": best, "worst": worst}


def read_ahead(read: Callable[[int], Any], items: list[int], cancel: Callable[[], bool] | None = None) -> Iterator[Any]:
    """Yield ``read(item)`` for each item in order, the next one being read meanwhile.

    Raises
    ------
    Cancelled
        `cancel` returned true.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="rtmdx-read") as pool:
        waiting = [pool.submit(read, items[0])] if items else []
        for following in [*items[1:], None][: len(items)]:
            if cancel is not None and cancel():
                raise Cancelled("cancelled by the caller's check")
            value = waiting.pop().result()
            if following is not None:
                waiting.append(pool.submit(read, following))
            yield value
