"""Types of the compiled statistical loops (ext/_stats.pyx)."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_U16: TypeAlias = NDArray[np.uint16]
_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]
_F64: TypeAlias = NDArray[np.float64]
_Amount: TypeAlias = _U16 | _I32 | _I64

def lane_means(
    words: _U16,
    offsets: _I32,
    table: _F64,
    weight: _F64,
    exposure: _F64,
    mean: _F64,
    total: _F64,
    everywhere: _F64,
) -> None: ...
def lane_ratios(weight: _F64, mean: _F64) -> None: ...
def lane_histogram(words: _U16, offsets: _I32, weight: _F64, hist: _F64) -> None: ...
def lane_exposures(
    exposure: _F64, groups: _Amount, group: _I32, share: _F64, pattern: _I32, out: _F64, whole: _F64
) -> None: ...
def lane_histogram_of(
    words: _U16,
    offsets: _I32,
    pattern: _I32,
    value: _F64,
    exposure: _F64,
    groups: _Amount,
    group: _I32,
    share: _F64,
    hist: _F64,
) -> None: ...
def lane_table(place: _I32, first: _I32, width: _I32, block_table: _F64, table: _F64) -> None: ...
def lane_marginals(place: _I32, first: _I32, width: _I32, hist: _F64, block_hist: _F64) -> None: ...
def decode_lanes(decode: _F64, codes: _I32, starts: _I32, beta: _F64, block_table: _F64) -> None: ...
def encode_lanes(decode: _F64, codes: _I32, starts: _I32, block_hist: _F64, out: _F64) -> None: ...
def lane_joint(
    words: _U16,
    offsets: _I32,
    place: _I32,
    start: _I64,
    width: _I32,
    codes: _I32,
    weight: _F64,
    word: int,
    joint: _F64,
) -> None: ...
def decode_joint(decode: _F64, codes: _I32, starts: _I32, lane: int, joint: _F64, out: _F64) -> None: ...
def minimise_quadratic(
    hessian: _F64,
    slope: _F64,
    beta: _F64,
    l1: float,
    l2: float,
    nonnegative: bool,
    tolerance: float,
    max_rounds: int,
) -> int: ...
