"""Types of the compiled loops of prioritization (ext/_priority.pyx)."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_F64: TypeAlias = NDArray[np.float64]
_I32: TypeAlias = NDArray[np.int32]

def rank(
    score: _F64,
    amount: _F64 | None,
    k: NDArray[np.int64],
    best: _I32 | None,
    worst: _I32 | None,
    curve: _F64,
    threads: int,
) -> int: ...
def choose(value: _F64, weight: _F64, cap: float, chosen: _I32) -> tuple[bool, float, float, float, float, float]: ...
def grow(
    value: _F64,
    cost: _F64,
    budget: float,
    offsets: NDArray[np.int64],
    targets: _I32,
    near_offsets: NDArray[np.int64] | None,
    near_targets: _I32 | None,
    lock: NDArray[np.uint8],
    patch: int,
    passes: int,
    owner: _I32,
) -> tuple[int, int, float, float]: ...
