"""Whether counts scatter about a model's expectation as its law says: dispersion, zeros, counts of each size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.laws import CountLaw, check_cells

__all__ = ["CountClass", "Dispersion", "dispersion"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CountClass:
    """Cells with so many events: observed, and expected by the model.

    Attributes
    ----------
    low, high : int or None
        Events; `high` is None for "low or more".
    observed : int
    expected : float
    hanging : float
        sqrt(observed) - sqrt(expected), the bar of a hanging rootogram (Kleiber & Zeileis 2016).
    """

    low: int
    high: int | None
    observed: int
    expected: float

    @property
    def hanging(self) -> float:
        """Square root of observed less that of expected."""
        return math.sqrt(self.observed) - math.sqrt(self.expected)


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Scatter about the expectation.

    Attributes
    ----------
    family : {"poisson", "nbii", "nb2"}
    value : float or None
        Dispersion of the model, s or alpha; None for Poisson.
    pearson : float
        Sum of (y - mu)^2 / Var over `df`: about 1 where the law's variance holds.
    pearson_poisson : float
        The same with Var = mu: how many times the Poisson's the variance is.
    df : int
        Cells less fitted parameters of the mean.
    zeros_observed : int
        Cells without events.
    zeros_expected, zeros_sd : float
        By the model; the standard deviation takes the model as known.
    counts : tuple of CountClass
        From 0 events up; rare counts are pooled into the last.
    """

    family: str
    value: float | None
    pearson: float
    pearson_poisson: float
    df: int
    zeros_observed: int
    zeros_expected: float
    zeros_sd: float
    counts: tuple[CountClass, ...]

    @property
    def zeros_ratio(self) -> float:
        """Observed over expected cells without events."""
        return self.zeros_observed / self.zeros_expected if self.zeros_expected > 0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; what is undefined is None."""

        def number(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        return {
            "family": self.family,
            "value": number(self.value),
            "pearson": number(self.pearson),
            "pearson_poisson": number(self.pearson_poisson),
            "df": self.df,
            "zeros": {
                "observed": self.zeros_observed,
                "expected": self.zeros_expected,
                "sd": self.zeros_sd,
                "ratio": number(self.zeros_ratio),
            },
            "counts": [
                {"low": c.low, "high": c.high, "observed": c.observed, "expected": c.expected} for c in self.counts
            ],
        }


def dispersion(
    counts: ArrayLike, expected: ArrayLike, law: CountLaw, *, n_parameters: int = 1, max_classes: int = 12
) -> Dispersion:
    """Compare the scatter of counts with what the model says.

    Parameters
    ----------
    counts, expected : arrays, shape (n_cells,)
        Cells whose expected count is 0 (no exposure) take no part.
    law : CountLaw
    n_parameters : int
        Fitted parameters of the mean: the intercept and the coefficients.
    max_classes : int
        Most rows of the table of counts; a last row pools the rest, and every count from which fewer than one
        cell is observed and expected.

    Returns
    -------
    Dispersion

    Raises
    ------
    InputError
        Counts or expected counts that are not usable, or no cell left.
    """
    y, mu = check_cells(counts, expected)
    y, mu = y[mu > 0], mu[mu > 0]
    if not len(y):
        raise InputError("expected counts are 0 everywhere: there is nothing to compare.")
    if max_classes < 2:
        raise InputError(f"max_classes: found {max_classes}, expected at least 2.")
    df = len(y) - n_parameters
    squared = (y - mu) ** 2
    levels, cells = np.unique(mu, return_counts=True)
    zero = law.pmf(0, levels)
    last = _last(y, levels, cells, law, max_classes)
    observed = np.bincount(np.minimum(y, last).astype(np.intp), minlength=last + 1)
    rows = [CountClass(c, c, int(observed[c]), float((cells * law.pmf(c, levels)).sum())) for c in range(last)]
    tail = float((cells * (1.0 - law.cdf(last - 1, levels))).sum()) if last else float(len(y))
    rows.append(CountClass(last, None, int(observed[last]), max(0.0, tail)))
    return Dispersion(
        family=law.family,
        value=None if law.family == "poisson" else law.dispersion,
        pearson=float((squared / law.variance(mu)).sum()) / df if df > 0 else math.nan,
        pearson_poisson=float((squared / mu).sum()) / df if df > 0 else math.nan,
        df=df,
        zeros_observed=int(np.count_nonzero(y == 0)),
        zeros_expected=float((cells * zero).sum()),
        zeros_sd=math.sqrt(max(0.0, float((cells * zero * (1.0 - zero)).sum()))),
        counts=tuple(rows),
    )


def _last(y: Float, levels: Float, cells: NDArray[np.intp], law: CountLaw, most: int) -> int:
    """First count of the pooled last row: the next would hold less than one cell, observed and expected."""
    for c in range(1, most):
        rest = float((cells * (1.0 - law.cdf(c - 1, levels))).sum())
        if np.count_nonzero(y >= c) <= 1 and rest <= 1.0:
            return c
    return most - 1
