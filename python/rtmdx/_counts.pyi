"""Types of the compiled loops of the count models (ext/_counts.pyx)."""

from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_I32: TypeAlias = NDArray[np.int32]
_F64: TypeAlias = NDArray[np.float64]

@final
class Rows:
    def __init__(self, pattern: _I32, y: _F64, cells: _F64, exposure: _F64) -> None: ...

def count_likelihood(family: int, rows: Rows, eta: _F64, theta: float, sums: _F64) -> float: ...
def cell_scores(family: int, rows: Rows, eta: _F64, theta: float, scores: _F64) -> None: ...
def linear_predictor(x: _F64, beta: _F64, eta: _F64) -> None: ...
def maximise(
    family: int,
    x: _F64,
    rows: Rows,
    at: _F64,
    gradient: _F64,
    information: _F64,
    fixed: int,
    decrement_limit: float,
    largest_coefficient: float,
    smallest_excess: float,
    max_steps: int,
) -> tuple[int, float, int]: ...
