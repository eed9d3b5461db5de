"""Figures that cities publish: shares of events over shares of a benchmark, and the Equality Indicators' score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.disparity.intervals import checked_counts, checked_exposures
from rtmdx.errors import InputError

__all__ = ["disparity_index", "equity_score", "share_ratio"]

_SCORES = ((2.0, 40.0), (5.0, 20.0))  # the two points published


def disparity_index(events: ArrayLike, exposure: ArrayLike, *, decimals: int | None = None) -> NDArray[np.float64]:
    """Each group's share of the events over its share of the exposure (Missouri's vehicle stops report).

    Parameters
    ----------
    events : array of whole numbers, shape (n_groups,)
    exposure : array of numbers > 0, shape (n_groups,)
    decimals : int, optional
        Round the percentages first, as the report does (2); the index is then off by as much.

    Returns
    -------
    float64 array

    Raises
    ------
    InputError
        If an argument is out of its range, or there are no events.
    """
    x, n = checked_counts("events", events), checked_exposures("exposure", exposure)
    if x.shape != n.shape or x.ndim != 1 or x.sum() == 0:
        raise InputError(
            f"events of shape {x.shape} and exposure of shape {n.shape}: expected one of each per group, and events."
        )
    shares = 100.0 * x / x.sum(), 100.0 * n / n.sum()
    if decimals is not None:
        shares = np.round(shares[0], decimals), np.round(shares[1], decimals)
        if (shares[1] == 0).any():
            raise InputError("exposure: a group's share rounds to 0.", hint="Give decimals=None.")
    return np.asarray(shares[0] / shares[1])


def share_ratio(event_share: tuple[float, float], exposure_share: tuple[float, float]) -> float:
    """Ratio of two groups' event shares over that of their exposure shares: all that printed percentages allow.

    Percentages carry no counts, so there is no interval; use `rtmdx.disparity.compare` where counts exist.
    """
    (a, b), (p, q) = event_share, exposure_share
    if min(a, b, p, q) <= 0:
        raise InputError(f"shares: found {event_share} and {exposure_share}, expected numbers > 0.")
    return (a / p) / (b / q)


def equity_score(ratio: float) -> int:
    """The Equality Indicators' score of a ratio from 2 (score 40) to 5 (score 20), linear between.

    Only these points of their conversion table are public; a ratio outside them has no score here.

    Raises
    ------
    InputError
        If the ratio is not from 2 to 5.
    """
    (low, _), (high, _) = _SCORES
    if not low <= ratio <= high:
        raise InputError(f"ratio: found {ratio}, expected {low:g} to {high:g}, where the conversion table is public.")
    return round(float(np.interp(ratio, [p for p, _ in _SCORES], [s for _, s in _SCORES])))
