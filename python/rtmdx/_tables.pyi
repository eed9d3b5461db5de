"""Types of the compiled loops of tables (ext/_tables.pyx)."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_U8: TypeAlias = NDArray[np.uint8]
_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]

def pack_codes(codes: _U8, digits: _U8, keys: _U8, word: int) -> None: ...
def order_by_level(level: _I32, weight: _I64, order: _I32, begin: _I32, total: _I64) -> None: ...
def partition_rows(
    order: _I32, begin: _I32, end: _I32, words: _U8, word: int, member: _U8, parted: _I32, middle: _I32
) -> None: ...
def sums_by_variable(
    order: _I32,
    begin: _I32,
    end: _I32,
    rows: _I32,
    words: _U8,
    weight: _I64,
    offsets: _I32,
    starts: _I32,
    variables: _I32,
    inside: _I64,
) -> None: ...
def sums_of_variable(
    order: _I32, begin: _I32, end: _I32, words: _U8, weight: _I64, word: int, member: _U8, inside: _I64
) -> None: ...
