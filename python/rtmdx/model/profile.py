"""Profile-likelihood limits of one coefficient of a count model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from rtmdx.errors import FitError
from rtmdx.model.likelihood import MAX_COEFFICIENT, Family, constrained
from rtmdx.model.tables import CountTable

__all__ = ["profile_limits"]

Float = NDArray[np.float64]

TOLERANCE = 1e-10  # of the signed root of the deviance
MAX_TRIALS = 100


def profile_limits(
    table: CountTable,
    family: Family,
    parameters: Float,
    covariance: Float,
    log_likelihood: float,
    index: int,
    level: float,
) -> tuple[float, float]:
    """Limits of a coefficient at which twice the profile log likelihood has fallen by the chi-squared quantile.

    The square root of that fall, with the sign of the distance from the estimate, is nearly linear in the
    coefficient; Newton's method, bracketed, finds where it equals the normal quantile. Its slope is the score of
    the coefficient at the constrained maximum, so each trial costs one constrained fit.

    Parameters
    ----------
    table, family
    parameters, covariance, log_likelihood
        Of the maximum: intercept (in the table's unit of exposure), coefficients, log dispersion.
    index : int
        Place of the coefficient among the parameters.
    level : float

    Returns
    -------
    lower, upper : float
        Infinite where the likelihood never falls so far.
    """
    z = float(ndtri(0.5 + level / 2.0))
    k = table.x.shape[1]
    error = math.sqrt(covariance[index, index])
    lean = np.where(np.isfinite(covariance[index]), covariance[index], 0.0) / covariance[index, index]

    def one_side(side: int) -> float:
        inside, outside = 0.0, math.inf  # distances from the estimate known to fall short, or too far
        away = z * error
        near, near_away = parameters, 0.0
        for _ in range(MAX_TRIALS):
            if away > MAX_COEFFICIENT:
                return side * math.inf
            start = near.copy()
            start[:k] += side * (away - near_away) * lean[:k]
            start[index] = parameters[index] + side * away
            try:
                at, value, slope = constrained(table, family, start, index)
            except FitError:
                if near_away == away or away - inside < 1e-6 * away:
                    raise
                outside, away = min(outside, away), 0.5 * (inside + away)
                continue
            near, near_away = at, away
            root = math.sqrt(max(2.0 * (log_likelihood - value), 0.0))
            if abs(root - z) <= TOLERANCE * z:
                break
            if root < z:
                inside = max(inside, away)
            else:
                outside = min(outside, away)
            rate = -side * slope / root if root > 0.0 else 0.0
            new = away + (z - root) / rate if rate > 0.0 else 2.0 * away
            if not inside < new < outside:
                new = 2.0 * away if math.isinf(outside) else 0.5 * (inside + outside)
            new = min(new, 4.0 * away)
            if new == away or (outside < math.inf and outside - inside <= 1e-13 * outside):
                break
            away = new
        else:
            raise FitError(f"The profile limit was not found in {MAX_TRIALS} constrained fits.")
        return float(parameters[index]) + side * away

    return one_side(-1), one_side(1)
