"""Why two rates differ: the difference split into parts that sum to it exactly.

Sources: Kitagawa 1955; Das Gupta 1993 (a rate that is a product of factors; the average over all orders of change).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial, prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Decomposition", "das_gupta", "kitagawa"]


@dataclass(frozen=True)
class Decomposition:
    """The difference of two rates, B - A, by cause.

    Attributes
    ----------
    rate_a, rate_b : float
    effects : dict of float
        They sum to ``rate_b - rate_a``.
    standardised : dict of (float, float)
        Rates of A and B were all other causes alike; empty where that is not defined.
    """

    rate_a: float
    rate_b: float
    effects: dict[str, float]
    standardised: dict[str, tuple[float, float]]

    @property
    def difference(self) -> float:
        """The difference that is split."""
        return self.rate_b - self.rate_a

    def to_frame(self) -> pd.DataFrame:
        """One row per cause: effect, and share of the difference."""
        import pandas as pd

        d = self.difference
        rows = [(k, v, v / d if d else float("nan")) for k, v in self.effects.items()]
        return pd.DataFrame(rows, columns=["cause", "effect", "share"])


def das_gupta(a: Mapping[str, float] | Sequence[float], b: Mapping[str, float] | Sequence[float]) -> Decomposition:
    """Split the difference of two rates that are products of factors.

    Parameters
    ----------
    a, b : mappings, or sequences, of factors
        The factors of each rate; sequences are named 0, 1, ...

    Returns
    -------
    Decomposition

    Raises
    ------
    InputError
        If the factors differ in name or are not finite.
    """
    first = dict(a) if isinstance(a, Mapping) else {str(i): float(v) for i, v in enumerate(a)}
    second = dict(b) if isinstance(b, Mapping) else {str(i): float(v) for i, v in enumerate(b)}
    if first.keys() != second.keys() or not first:
        raise InputError(f"factors: found {sorted(first)} and {sorted(second)}, expected the same in both.")
    if not np.isfinite([*first.values(), *second.values()]).all():
        raise InputError(f"factors: found {first} and {second}, expected finite numbers.")
    k = len(first)
    effects, standardised = {}, {}
    for name in first:
        others = [n for n in first if n != name]
        mean = 0.0
        for size in range(k):
            weight = factorial(size) * factorial(k - 1 - size) / factorial(k)
            for chosen in combinations(others, size):
                mean += weight * prod(second[n] if n in chosen else first[n] for n in others)
        standardised[name] = (first[name] * mean, second[name] * mean)
        effects[name] = standardised[name][1] - standardised[name][0]
    return Decomposition(prod(first.values()), prod(second.values()), effects, standardised)


def kitagawa(rates_a: ArrayLike, weights_a: ArrayLike, rates_b: ArrayLike, weights_b: ArrayLike) -> Decomposition:
    """Split the difference of two crude rates into that of their strata's rates and that of their make-up.

    Parameters
    ----------
    rates_a, rates_b : arrays, shape (n_strata,)
        Rates by stratum.
    weights_a, weights_b : arrays >= 0, shape (n_strata,)
        Exposure by stratum; only their shares count.

    Returns
    -------
    Decomposition
        Effects "rates" and "composition".

    Raises
    ------
    InputError
        If the shapes differ, or weights are negative or all 0.
    """
    ra, wa, rb, wb = (np.asarray(v, dtype=np.float64) for v in (rates_a, weights_a, rates_b, weights_b))
    if ra.ndim != 1 or not ra.shape == wa.shape == rb.shape == wb.shape:
        raise InputError(
            f"expected one value per stratum, found shapes {ra.shape}, {wa.shape}, {rb.shape}, {wb.shape}."
        )
    for name, w in (("weights_a", wa), ("weights_b", wb)):
        if not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
            raise InputError(f"{name}: expected finite numbers >= 0, not all 0.")
    wa, wb = wa / wa.sum(), wb / wb.sum()
    rates = float(((rb - ra) * 0.5 * (wa + wb)).sum())
    composition = float(((wb - wa) * 0.5 * (ra + rb)).sum())
    effects = {"rates": rates, "composition": composition}
    return Decomposition(float((ra * wa).sum()), float((rb * wb).sum()), effects, {})
