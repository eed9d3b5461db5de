"""Types of the compiled loops of the count models (ext/_counts.pyx)."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

_U8: TypeAlias = NDArray[np.uint8]
_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]
_F64: TypeAlias = NDArray[np.float64]

def pack_codes(codes: _U8, digits: _U8, keys: _U8, word: int) -> None: ...
def sum_by_row(row: _I32, weight: _I64, out: _I64) -> None: ...
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
def count_likelihood(
    family: int, pattern: _I32, y: _F64, cells: _F64, exposure: _F64, eta: _F64, theta: float, sums: _F64
) -> float: ...
def cell_scores(family: int, pattern: _I32, y: _F64, exposure: _F64, eta: _F64, theta: float, scores: _F64) -> None: ...
def linear_predictor(x: _F64, beta: _F64, eta: _F64) -> None: ...
def maximise(
    family: int,
    x: _F64,
    pattern: _I32,
    y: _F64,
    cells: _F64,
    exposure: _F64,
    at: _F64,
    gradient: _F64,
    information: _F64,
    fixed: int,
    decrement_limit: float,
    largest_coefficient: float,
    smallest_theta: float,
    max_steps: int,
) -> tuple[int, float, int]: ...
