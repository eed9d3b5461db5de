"""Types of the compiled statistical loops (ext/_stats.pyx)."""

from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_U8: TypeAlias = NDArray[np.uint8]
_U16: TypeAlias = NDArray[np.uint16]
_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]
_U64: TypeAlias = NDArray[np.uint64]
_F32: TypeAlias = NDArray[np.float32]
_F64: TypeAlias = NDArray[np.float64]

@final
class RowIndex:
    n_blocks: int
    def __init__(self, n_blocks: int) -> None: ...
    def add(self, codes: _U8) -> _I32: ...
    def finish(self) -> tuple[_U8, _U64]: ...

def collapse_rows(codes: _U8) -> tuple[_I32, _I32]: ...
def build_words(codes: _U8, blocks: _I32, word_of: _I32, digits: _U16, words: _U16) -> None: ...
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
def lane_histogram(words: _U16, offsets: _I32, weight: _F64, hist: _F64) -> None: ...
def lane_exposures(
    exposure: _F64, groups: _F32 | _F64, group: _I32, share: _F64, pattern: _I32, out: _F64, whole: _F64
) -> None: ...
def lane_histogram_of(
    words: _U16,
    offsets: _I32,
    pattern: _I32,
    value: _F64,
    exposure: _F64,
    groups: _F32 | _F64,
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
