"""Ranks with ties: mean ranks, how far cells are in a top, and what two tops can have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtmdx import _priority
from rtmdx.model.validity import Bounds

__all__ = ["Ranks", "common", "jaccard_of", "ranks_of", "tau_of"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranks:
    """First and last possible rank of each cell or place, 1 the highest score; 0 where there is no score.

    Attributes
    ----------
    best, worst : int32 arrays, shape (n,)
    """

    best: NDArray[np.int32]
    worst: NDArray[np.int32]

    @property
    def mean(self) -> Float:
        """Mean rank; NaN where there is none."""
        return np.where(self.best > 0, 0.5 * (self.best.astype(np.float64) + self.worst), np.nan)

    @property
    def n(self) -> int:
        """How many have a rank."""
        return int(np.count_nonzero(self.best))

    def inside(self, k: int) -> Float:
        """How far each is among the first k: 1, 0, or the share of a tie at the edge that fits."""
        share: Float = (self.best > 0) * np.clip((k - self.best + 1.0) / (self.worst - self.best + 1.0), 0.0, 1.0)
        return share


def ranks_of(score: Float, threads: int) -> Ranks:
    """Rank scores from the highest down; NaN has no rank."""
    best, worst = np.zeros((2, score.size), dtype=np.int32)
    some = np.flatnonzero(~np.isnan(score))
    own = np.ascontiguousarray(score[some])
    found = np.empty((2, some.size), dtype=np.int32)
    _priority.rank(own, None, np.empty(0, dtype=np.int64), found[0], found[1], np.empty((3, 1)), threads)
    best[some], worst[some] = found
    return Ranks(best, worst)


def common(a: Ranks, b: Ranks, k_a: int, k_b: int) -> Bounds:
    """How many the first `k_a` of one and the first `k_b` of another have in common, over all ways to break ties.

    The lowest and the highest are reached by some breaking of ties; expected is for ties that break at random,
    independently.
    """
    in_a, in_b = a.inside(k_a), b.inside(k_b)
    sure_a, sure_b = in_a == 1.0, in_b == 1.0
    tied_a, tied_b = (in_a > 0) & ~sure_a, (in_b > 0) & ~sure_b
    both = int(np.count_nonzero(sure_a & sure_b))
    x, y = int(np.count_nonzero(tied_a & sure_b)), int(np.count_nonzero(sure_a & tied_b))
    z = int(np.count_nonzero(tied_a & tied_b))
    free_a, free_b = k_a - int(np.count_nonzero(sure_a)), k_b - int(np.count_nonzero(sure_b))
    rest_a, rest_b = int(np.count_nonzero(tied_a)) - x - z, int(np.count_nonzero(tied_b)) - y - z
    # most: what is tied here and certain there first, then what is tied in both
    most_x, most_y = min(free_a, x), min(free_b, y)
    highest = both + most_x + most_y + min(free_a - most_x, free_b - most_y, z)
    # least: what is in neither first, then what is tied in both, as long as the other leaves it
    left_a, left_b = max(0, free_a - rest_a), max(0, free_b - rest_b)
    in_z_a, in_z_b = min(left_a, z), min(left_b, z)
    lowest = both + (left_a - in_z_a) + (left_b - in_z_b) + max(0, in_z_a + in_z_b - z)
    return Bounds(float(lowest), float((in_a * in_b).sum()), float(highest))


def jaccard_of(overlap: Bounds, k_a: int, k_b: int) -> Bounds:
    """Overlap over union, from what two tops have in common; expected is at the expected overlap."""
    low, mean, high = (v / (k_a + k_b - v) for v in (overlap.lowest, overlap.expected, overlap.highest))
    return Bounds(low, mean, high)


def tau_of(a: Ranks, b: Ranks, threads: int) -> float:
    """Kendall's tau-b over what has a rank in both; NaN where either does not vary."""
    tau = np.full(1, np.nan)
    twice = np.ascontiguousarray(np.stack([r.best.astype(np.int64) + r.worst for r in (a, b)]).astype(np.uint32))
    _priority.kendall(twice, np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.int32), tau, threads)
    return float(tau[0])
