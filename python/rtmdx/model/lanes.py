"""What the fits of one pass are fitted to: four of them ride in the lanes of a register."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["LANES", "Amounts", "Lanes"]

Amounts: TypeAlias = NDArray[np.uint16] | NDArray[np.int32] | NDArray[np.int64]

LANES = 4  # as many doubles as a register holds


@dataclass(frozen=True, eq=False)
class Lanes:
    """What up to four fits of one pass are fitted to. Lanes beyond `k` are empty.

    Lane f is fitted to the exposure ``share[f] * amount - groups[group[f]]``, without the last where ``group[f] < 0``,
    in multiples of `unit`.

    Attributes
    ----------
    k : int
    amount : float64 array of whole numbers, shape (n_rows,)
    unit : float
        A power of two.
    groups : uint16, int32 or int64 array, shape (n_groups, n_rows)
    group : int32 array, shape (4,)
    share : float64 array, shape (4,)
    xty : float64 array, shape (p, 4)
        X'y over the cells fitted to.
    events, n : float64 arrays, shape (4,)
        Events and cells fitted to; events > 0.
    """

    k: int
    amount: NDArray[np.float64]
    unit: float
    groups: Amounts
    group: NDArray[np.int32]
    share: NDArray[np.float64]
    xty: NDArray[np.float64]
    events: NDArray[np.float64]
    n: NDArray[np.float64]
