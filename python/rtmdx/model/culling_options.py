"""The options of culling, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtmdx.errors import InputError
from rtmdx.model.crossvalidation import PATIENCE
from rtmdx.model.culling_result import Rule

__all__ = ["CullingOptions"]


@dataclass(frozen=True)
class CullingOptions:
    """How variables are culled; see `rtmdx.model.culling.cull` for what each means.

    Attributes
    ----------
    ridge : sequence of float
    mixing : sequence of float, optional
    n_penalties : int
    min_ratio : float
    rule : {"min", "1se", "1se-paired"}
    patience : int, optional
    tolerance : float
    nonnegative : bool

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    ridge: Sequence[float] = (1e-6, 1e-4)
    mixing: Sequence[float] | None = None
    n_penalties: int = 100
    min_ratio: float = 1e-3
    rule: Rule = "min"
    patience: int | None = PATIENCE
    tolerance: float = 1e-6
    nonnegative: bool = True

    def __post_init__(self) -> None:
        if self.n_penalties < 2:
            raise InputError(f"n_penalties is {self.n_penalties}, expected at least 2.")
        if not 0.0 < self.min_ratio < 1.0:
            raise InputError(f"min_ratio is {self.min_ratio}, expected between 0 and 1.")
        if not 0.0 < self.tolerance <= 1e-3:
            raise InputError(f"tolerance is {self.tolerance}, expected above 0 and at most 1e-3.")
        if self.rule not in ("min", "1se", "1se-paired"):
            raise InputError(f"rule is {self.rule!r}, expected 'min', '1se' or '1se-paired'.")
        _ = self.paths

    @property
    def paths(self) -> tuple[tuple[float | None, float | None], ...]:
        """Ridge and mixing value of each path; one of the two is None."""
        if self.mixing is None:
            return tuple(
                (r, None) for r in _numbers("ridge", self.ridge, 0.0, np.inf, "one or more finite values >= 0")
            )
        return tuple((None, a) for a in _numbers("mixing", self.mixing, 1e-3, 1.0, "values from 0.001 to 1"))


def _numbers(name: str, values: Sequence[float], low: float, high: float, what: str) -> tuple[float, ...]:
    try:
        out = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {values!r}, expected {what}.") from None
    if not out or not all(np.isfinite(v) and low <= v <= high for v in out):
        raise InputError(f"{name} is {out}, expected {what}.")
    return out
