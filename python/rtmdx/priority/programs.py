"""Mixed-integer programs through HiGHS, as SciPy brings it; for hundreds of areas, not for rasters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import FitError, InputError

__all__ = ["Solution", "solve"]

MOST_PAIRS = 250_000


@dataclass(frozen=True)
class Solution:
    """What HiGHS found: the variables, the objective, a bound on it, and the gap between them."""

    x: NDArray[np.float64]
    objective: float
    bound: float
    gap: float


def solve(
    objective: NDArray[np.float64], rows: list[tuple[Any, Any, Any]], *, integral: NDArray[np.bool_], least: Any = 0.0,
    most: Any = 1.0, seconds: float, infeasible: str,
) -> Solution:  # fmt: skip
    """Minimise; `rows` are (matrix, lower, upper). `infeasible` says what could not be met."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    if not seconds > 0:
        raise InputError(f"seconds: found {seconds:g}, expected a number above 0.")
    found = milp(
        objective,
        constraints=[LinearConstraint(*row) for row in rows],
        integrality=integral.astype(np.int8),
        bounds=Bounds(np.broadcast_to(least, objective.shape), np.broadcast_to(most, objective.shape)),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if found.status == 2:
        raise InputError(infeasible)
    if found.x is None:
        raise FitError(f"HiGHS found no solution in {seconds:g} s: {found.message}", hint="Allow more seconds.")
    bound = found.fun if found.mip_dual_bound is None else float(found.mip_dual_bound)
    gap = 0.0 if bound >= found.fun else (found.fun - bound) / abs(found.fun) if found.fun else math.inf
    return Solution(np.asarray(found.x), float(found.fun), bound, gap)


def require_size(pairs: int, what: str) -> None:
    """Refuse what HiGHS would not solve in a useful time."""
    if pairs > MOST_PAIRS:
        raise InputError(
            f"{what}: found {pairs:,} pairs, expected at most {MOST_PAIRS:,}: this is for hundreds of areas.",
            hint="Aggregate cells to places first.",
        )
