"""Types of the compiled loops over rows of codes (ext/_rows.pyx)."""

from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_U8: TypeAlias = NDArray[np.uint8]
_U16: TypeAlias = NDArray[np.uint16]
_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]
_U64: TypeAlias = NDArray[np.uint64]

@final
class RowIndex:
    n_blocks: int
    def __init__(self, n_blocks: int) -> None: ...
    def add(self, codes: _U8) -> _I32: ...
    def finish(self) -> tuple[_U8, _U64]: ...

def collapse_rows(codes: _U8) -> tuple[_I32, _I32]: ...
def build_words(codes: _U8, blocks: _I32, word_of: _I32, digits: _U16, rows: _I32, words: _U16) -> None: ...
def add_by_row(row: _I32, group: _I32, amount: _I64, out: _I32 | _I64) -> None: ...
