"""Calibration: whether places expected to have so many events have so many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.model.laws import CountLaw, check_cells

__all__ = ["Calibration", "CalibrationGroup", "calibration"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CalibrationGroup:
    """Cells of similar expected count.

    Attributes
    ----------
    n_cells : int
    mean_low, mean_high : float
        Lowest and highest expected count of a cell in the group.
    observed, expected : float
        Events, summed over the group.
    low, high : float
        Central interval of the observed sum where the model holds, its law's scatter included and its coefficients
        taken as known.
    """

    n_cells: int
    mean_low: float
    mean_high: float
    observed: float
    expected: float
    low: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the observed sum lies in the interval."""
        return self.low <= self.observed <= self.high

    @property
    def ratio(self) -> float:
        """Observed over expected."""
        return self.observed / self.expected if self.expected > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of expected counts.

    Attributes
    ----------
    groups : tuple of CalibrationGroup
        Lowest expected counts first; about as many cells in each as cells of equal expectation allow.
    level : float
        Of the intervals.
    slope, slope_se : float
        Slope of log observed on log expected, by Poisson likelihood with its variance scaled by Pearson's chi2. 1: the
        contrasts are right. Below 1 they are too strong (the model is fitted too closely), above too weak. A
        Poisson model's own events give 1 by construction. NaN where all expected counts are equal or no event
        was observed.
    ratio : float
        All observed over all expected events.
    scale : float
        What the expected counts were multiplied by beforehand.
    """

    groups: tuple[CalibrationGroup, ...]
    level: float
    slope: float
    slope_se: float
    ratio: float
    scale: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; what is undefined is None."""

        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "level": self.level,
            "slope": number(self.slope),
            "slope_se": number(self.slope_se),
            "ratio": number(self.ratio),
            "scale": self.scale,
            "groups": [
                {
                    "n_cells": g.n_cells,
                    "cell_low": g.mean_low,
                    "cell_high": g.mean_high,
                    "observed": g.observed,
                    "expected": g.expected,
                    "low": g.low,
                    "high": g.high,
                }
                for g in self.groups
            ],
        }


def calibration(
    counts: ArrayLike,
    expected: ArrayLike,
    law: CountLaw,
    *,
    n_groups: int = 10,
    level: float = 0.95,
    rescale: bool = False,
) -> Calibration:
    """Compare observed with expected events by groups of rising expectation.

    Parameters
    ----------
    counts, expected : arrays, shape (n_cells,)
        Cells whose expected count is 0 (no exposure) take no part.
    law : CountLaw
    n_groups : int
        Groups of about as many cells; cells of equal expectation stay together, so there may be fewer.
    level : float
        Of the intervals.
    rescale : bool
        Multiply the expected counts so that they sum to the observed first, as for a period of another length.
        (NB2's alpha and NBII's s are kept.)

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        Counts or expected counts that are not usable, or an argument out of range.
    """
    y, mu = check_cells(counts, expected)
    if n_groups < 1:
        raise InputError(f"n_groups: found {n_groups}, expected at least 1.")
    if not 0.0 < level < 1.0:
        raise InputError(f"level: found {level}, expected between 0 and 1, such as 0.95.")
    y, mu = y[mu > 0], mu[mu > 0]
    if not len(y):
        raise InputError("expected counts are 0 everywhere: there is nothing to compare.")
    scale = float(y.sum()) / float(mu.sum()) if rescale and y.any() else 1.0
    mu = mu * scale
    levels, which, cells = np.unique(mu, return_inverse=True, return_counts=True)
    events = np.bincount(which, weights=y, minlength=len(levels)).astype(np.float64)
    middle = (np.cumsum(cells) - cells / 2.0) / len(y)
    group = np.minimum((middle * n_groups).astype(np.intp), n_groups - 1)
    groups = []
    for g in np.unique(group):
        m = group == g
        total = float((cells[m] * levels[m]).sum())
        variance = float((cells[m] * law.variance(levels[m])).sum())
        low, high = law.sum_interval(total, variance, level)
        groups.append(
            CalibrationGroup(
                int(cells[m].sum()), float(levels[m][0]), float(levels[m][-1]), float(events[m].sum()), total, low, high
            )
        )
    slope, error = _slope(levels, cells.astype(np.float64), events, float(((y - mu) ** 2 / mu).sum()))
    return Calibration(tuple(groups), level, slope, error, float(y.sum()) / float(mu.sum()), scale)


def _slope(levels: Float, cells: Float, events: Float, chi2: float) -> tuple[float, float]:
    """Newton for E[events] = cells exp(a + b log level); the standard error by quasi-likelihood."""
    x = np.log(levels)
    total, n = float(events.sum()), float(cells.sum())
    x = x - float((cells * levels * x).sum()) / float((cells * levels).sum())
    if np.ptp(x) < 1e-9 or total == 0.0:
        return math.nan, math.nan
    held = events[np.abs(x - (x.max())) < 1e-12].sum(), events[np.abs(x - x.min()) < 1e-12].sum()
    if total in held:  # all events at one end: no finite slope
        return math.nan, math.nan
    a, b = math.log(total / float((cells * np.exp(x)).sum())), 1.0
    value = -math.inf
    for _ in range(100):
        eta = a + b * x
        mean = cells * np.exp(eta)
        value = float((events * eta).sum() - mean.sum())
        g0, g1 = total - float(mean.sum()), float(((events - mean) * x).sum())
        h00, h01, h11 = float(mean.sum()), float((mean * x).sum()), float((mean * x * x).sum())
        det = h00 * h11 - h01 * h01
        da, db = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
        if g0 * da + g1 * db < 1e-18 * (1.0 + abs(value)):
            break
        size = min(1.0, 2.0 / max(abs(db), 1e-300))
        while size > 1e-12:
            eta = a + size * da + (b + size * db) * x
            if float((events * eta).sum() - (cells * np.exp(eta)).sum()) >= value:
                break
            size /= 2.0
        a, b = a + size * da, b + size * db
    quasi = max(1e-300, chi2 / max(1.0, n - 2.0))
    return b, math.sqrt(quasi * h00 / det)
