"""Types of the compiled loops of prioritization (ext/_priority.pyx)."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_F64: TypeAlias = NDArray[np.float64]
_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]
_U32: TypeAlias = NDArray[np.uint32]
_U8: TypeAlias = NDArray[np.uint8]
_Real: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

def rank(
    score: _F64,
    amount: _F64 | None,
    k: NDArray[np.int64],
    best: _I32 | None,
    worst: _I32 | None,
    curve: _F64,
    threads: int,
) -> int: ...
def levels(score: _Real, number: NDArray[np.uint16], level: _Real, count: _I64, stop: _U8) -> int: ...
def mean_ranks(score: _Real, k: int, twice: _U32, work: _I64, stop: _U8) -> tuple[int, int, int, float, float]: ...
def summarise(
    rows: _U8,
    at: _I64,
    width: _U8,
    table: _U32,
    table_at: _I64,
    edge: _U32,
    share: _F64,
    q: _F64,
    ranked: _I32,
    figures: _F64,
    quantile: _F64,
    threads: int,
) -> None: ...
def kendall(ranks: _U32, first: _I32, second: _I32, tau: _F64, threads: int) -> None: ...
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
