"""Rates and ratios standardised over strata: Mantel-Haenszel, direct, indirect.

Sources: Mantel & Haenszel 1959 with the variance of Greenland & Robins 1985; Fay & Feuer 1997 (gamma limits of a
directly standardised rate); Dobson, Kuulasmaa, Eberle & Scherer 1991; Breslow & Day 1987 (SMR).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rtmdx.disparity.intervals import checked_counts, checked_exposures, one_of, rate_interval, tail_of
from rtmdx.disparity.results import Estimate, flags_of
from rtmdx.errors import InputError

__all__ = ["direct_rate", "indirect_ratio", "mantel_haenszel"]

Float = NDArray[np.float64]


def _same_length(**arrays: Float) -> None:
    shapes = {name: a.shape for name, a in arrays.items()}
    if len(set(shapes.values())) > 1 or any(a.ndim != 1 or not len(a) for a in arrays.values()):
        raise InputError(f"expected one value per stratum of each, found shapes {shapes}.")


def mantel_haenszel(a: ArrayLike, na: ArrayLike, b: ArrayLike, nb: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Ratio of two rates, common to all strata.

    Parameters
    ----------
    a, b : arrays of whole numbers, shape (n_strata,)
    na, nb : arrays of numbers > 0, shape (n_strata,)
    level : float

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If an argument is out of its range, or no stratum has events that can be compared.
    """
    x, nx, y, ny = (
        checked_counts("a", a),
        checked_exposures("na", na),
        checked_counts("b", b),
        checked_exposures("nb", nb),
    )
    _same_length(a=x, na=nx, b=y, nb=ny)
    z = float(special.ndtri(1.0 - tail_of(level)))
    total = nx + ny
    above, below = float((x * ny / total).sum()), float((y * nx / total).sum())
    if above == 0.0 or below == 0.0:
        raise InputError(
            f"Mantel-Haenszel: found {x.sum():.0f} and {y.sum():.0f} events, expected some of both.",
            hint="Pool the strata and take a mid-P interval.",
        )
    ratio = above / below
    spread = float(np.exp(z * np.sqrt(((x + y) * nx * ny / total**2).sum() / (above * below))))
    low, high = ratio / spread, ratio * spread
    return Estimate(
        estimate=ratio,
        low=low,
        high=high,
        level=level,
        method="Mantel-Haenszel, Greenland-Robins",
        flags=flags_of(ratio, low, high, float(x.sum()), float(y.sum())),
    )


def direct_rate(
    events: ArrayLike,
    exposure: ArrayLike,
    standard: ArrayLike,
    *,
    level: float = 0.95,
    method: Literal["fay-feuer", "dobson"] = "fay-feuer",
) -> Estimate:
    """Directly standardised rate: the rate were the strata as large as in the standard.

    Parameters
    ----------
    events : array of whole numbers, shape (n_strata,)
    exposure, standard : arrays of numbers > 0, shape (n_strata,)
        Exposure, and the standard's.
    level : float
    method : {"fay-feuer", "dobson"}
        Dobson's limits rest on exact ones of the sum of events.

    Returns
    -------
    Estimate
        Per unit of exposure.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    x, n, weight = (
        checked_counts("events", events),
        checked_exposures("exposure", exposure),
        checked_exposures("standard", standard),
    )
    _same_length(events=x, exposure=n, standard=weight)
    one_of("method", method, ("fay-feuer", "dobson"))
    alpha = tail_of(level)
    w = weight / weight.sum() / n
    rate, variance = float((w * x).sum()), float((w * w * x).sum())
    total = float(x.sum())
    if method == "dobson":
        exact_low, exact_high = (float(v) for v in rate_interval(total, 1.0, level=level))
        scale = np.sqrt(variance / total) if total > 0 else float(w.max())
        low, high = rate + scale * (exact_low - total), rate + scale * (exact_high - total)
    else:
        top = float(w.max())
        low = variance / rate * float(special.gammaincinv(rate**2 / variance, alpha)) if total > 0 else 0.0
        r, v = rate + top, variance + top**2
        high = v / r * float(special.gammainccinv(r**2 / v, alpha))
    return Estimate(
        estimate=rate,
        low=low,
        high=high,
        level=level,
        method=f"direct, {method}",
        flags=flags_of(rate, low, high, total),
    )


def indirect_ratio(
    events: ArrayLike,
    exposure: ArrayLike,
    standard_events: ArrayLike,
    standard_exposure: ArrayLike,
    *,
    level: float = 0.95,
    method: Literal["exact", "byar", "phe"] = "exact",
) -> Estimate:
    """Standardised ratio of events: those observed over those expected at the standard's rates (SMR).

    Parameters
    ----------
    events, standard_events : arrays of whole numbers, shape (n_strata,)
    exposure, standard_exposure : arrays of numbers > 0, shape (n_strata,)
    level, method
        As for `rtmdx.disparity.intervals.rate_interval`.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If an argument is out of its range, or the standard has no events.
    """
    x, n = checked_counts("events", events), checked_exposures("exposure", exposure)
    s, m = checked_counts("standard_events", standard_events), checked_exposures("standard_exposure", standard_exposure)
    _same_length(events=x, exposure=n, standard_events=s, standard_exposure=m)
    expected = float((s / m * n).sum())
    if expected == 0.0:
        raise InputError("standard_events: found none in any stratum; there is nothing to expect.")
    total = float(x.sum())
    low, high = (float(v) for v in rate_interval(total, expected, level=level, method=method))
    ratio = total / expected
    return Estimate(
        estimate=ratio,
        low=low,
        high=high,
        level=level,
        method=f"indirect, {method}",
        flags=flags_of(ratio, low, high, total),
    )
