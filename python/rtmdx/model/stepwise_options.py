"""The options of the stepwise search, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtmdx.errors import InputError
from rtmdx.model.likelihood import FAMILIES, Family

__all__ = ["StepwiseOptions"]


@dataclass(frozen=True)
class StepwiseOptions:
    """How a model is searched for; see `rtmdx.model.stepwise.stepwise` for what each means.

    Attributes
    ----------
    families : sequence of {"poisson", "nbii", "nb2"}
    forced, forced_factors : sequence of int
    forced_sign, exchange : bool
    alpha : float
    max_steps : int

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    families: Sequence[Family] = ("poisson", "nbii")
    forced: Sequence[int] = ()
    forced_factors: Sequence[int] = ()
    forced_sign: bool = False
    exchange: bool = False
    alpha: float = 0.05
    max_steps: int = 200

    def __post_init__(self) -> None:
        families = tuple(self.families)
        if not families or len(set(families)) < len(families) or not set(families) <= set(FAMILIES):
            raise InputError(f"families is {families}, expected some of {', '.join(FAMILIES)}, each once.")
        if not 0.0 < self.alpha < 1.0:
            raise InputError(f"alpha is {self.alpha}, expected between 0 and 1, such as 0.05.")
        if self.max_steps < 0:
            raise InputError(f"max_steps is {self.max_steps}, expected at least 0.")
