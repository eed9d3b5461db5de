"""Indices of inequality: generalised Gini, Theil with its parts, Atkinson, Kolm-Pollak.

Sources: Bernasco & Steenbeek 2017 (a Gini coefficient for fewer events than places); Theil 1967; Atkinson 1970;
Kolm 1976 and Sheriff & Maguire 2020 (environmental burdens).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rtmdx.errors import InputError

__all__ = ["Gini", "Theil", "atkinson", "gini_generalised", "kolm_pollak", "theil"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Gini:
    """Gini coefficients of counts over places.

    Attributes
    ----------
    standard : float
        0 where all places have the same count.
    generalised : float
        0 where events are spread over as many places as there can be with one each: below the standard one if there
        are fewer events than places, the same otherwise.
    events, places : float
    """

    standard: float
    generalised: float
    events: float
    places: float


@dataclass(frozen=True)
class Theil:
    """Theil's index; `between` and `within` sum to it.

    Attributes
    ----------
    total, between, within : float
    share_between : float
        NaN where the total is 0.
    """

    total: float
    between: float
    within: float

    @property
    def share_between(self) -> float:
        """Part of the total between groups."""
        return self.between / self.total if self.total > 0 else float("nan")


def gini_generalised(events: ArrayLike, *, frequency: ArrayLike | None = None, unbiased: bool = False) -> Gini:
    """Gini coefficients of events over places, as Bernasco & Steenbeek (2017) generalise them.

    With n events in N places, G' = max(N / n, 1) (G - 1) + 1.

    Parameters
    ----------
    events : array of numbers >= 0
        Events of each place.
    frequency : array of numbers >= 0, optional
        How many places have so many.
    unbiased : bool
        Multiply the standard coefficient by N / (N - 1), and G' by m / (m - 1), m the smaller of N and n.

    Returns
    -------
    Gini

    Raises
    ------
    InputError
        Values are negative, shapes differ, or there are no events.
    """
    x = _amounts("events", events)
    f = np.ones_like(x) if frequency is None else _amounts("frequency", frequency)
    if x.shape != f.shape:
        raise InputError(f"frequency: has {f.size} values, events {x.size}.")
    order = np.argsort(x, kind="stable")
    x, f = x[order], f[order]
    places, total = float(f.sum()), float((f * x).sum())
    if total <= 0:
        raise InputError("events: there are none, so that they are not distributed in any way.")
    y = f * x
    area = float((f * (np.cumsum(y) - 0.5 * y)).sum()) / (places * total)
    standard = 1.0 - 2.0 * area
    generalised = max(places / total, 1.0) * (standard - 1.0) + 1.0
    if unbiased:
        fewer = min(places, total)
        if fewer <= 1:
            raise InputError("unbiased: one place or one event has no spread.")
        standard *= places / (places - 1.0)
        generalised *= fewer / (fewer - 1.0)
    return Gini(standard, generalised, total, places)


def theil(values: ArrayLike, groups: ArrayLike | None = None, *, weights: ArrayLike | None = None) -> Theil:
    """Theil's T, and its parts between and within groups.

    Parameters
    ----------
    values : array of numbers >= 0
    groups : array, optional
        Which group each is of; without it all is within.
    weights : array of numbers >= 0, optional
        Persons with each value; 1 by default.

    Raises
    ------
    InputError
        Values are negative or all 0, or shapes differ.
    """
    y = _amounts("values", values)
    w = np.ones_like(y) if weights is None else _amounts("weights", weights)
    if w.shape != y.shape:
        raise InputError(f"weights: has {w.size} values, values {y.size}.")
    people, sum_y = float(w.sum()), float((w * y).sum())
    if people <= 0 or sum_y <= 0:
        raise InputError("values: their mean is 0 or there are none; the index is not defined.")
    mean = sum_y / people
    total = float(special.xlogy(w * y / sum_y, y / mean).sum())
    if groups is None:
        return Theil(total, 0.0, total)
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    if which.shape != y.shape:
        raise InputError(f"groups: has {which.size} values, values {y.size}.")
    n = np.bincount(which, w, minlength=len(names))
    s = np.bincount(which, w * y, minlength=len(names))
    some = n > 0
    between = float(special.xlogy(s[some] / sum_y, s[some] / n[some] / mean).sum())
    own = np.where(some, s / np.where(some, n, 1.0), 1.0)
    own = np.where(own > 0, own, 1.0)
    within = float(special.xlogy(w * y / sum_y, y / own[which]).sum())
    return Theil(total, between, within)


def atkinson(values: ArrayLike, aversion: ArrayLike, *, weights: ArrayLike | None = None) -> Float:
    """Atkinson's index, 1 less the equally distributed equivalent over the mean.

    Parameters
    ----------
    values : array of numbers >= 0
    aversion : array of numbers >= 0
        Aversion to inequality; the result has its shape.
    weights : array of numbers >= 0, optional

    Raises
    ------
    InputError
        A value is out of range, or the mean is 0.
    """
    y, e = _amounts("values", values), np.asarray(aversion, dtype=np.float64)
    w = np.ones_like(y) if weights is None else _amounts("weights", weights)
    if w.shape != y.shape:
        raise InputError(f"weights: has {w.size} values, values {y.size}.")
    if not (np.isfinite(e) & (e >= 0)).all():
        raise InputError("aversion: expected numbers >= 0.")
    y, w = y[w > 0], w[w > 0]
    if not y.size or y.sum() <= 0:
        raise InputError("values: their mean is 0 or there are none; the index is not defined.")
    w = w / w.sum()
    r = y / (w * y).sum()
    out = np.empty(e.shape)
    for i, a in np.ndenumerate(e):
        with np.errstate(divide="ignore"):
            if a == 1.0:
                equal = np.exp((w * np.log(r)).sum())
            elif a > 1.0 and (r == 0).any():
                equal = 0.0
            else:
                equal = float((w * r ** (1.0 - a)).sum()) ** (1.0 / (1.0 - a))
        out[i] = 1.0 - equal
    return out


def kolm_pollak(values: ArrayLike, aversion: float = 1.0, *, weights: ArrayLike | None = None) -> Float:
    """Kolm-Pollak's index, log(mean exp(a (mean - x))) / a: an amount, unchanged when all values rise alike.

    Parameters
    ----------
    values : array, shape (..., n)
        Of something good; for a burden give a negative aversion, the index is then of opposite sign.
    aversion : float
        Not 0.
    weights : array of numbers >= 0, shape (n,), optional

    Returns
    -------
    float64 array, shape (...)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim == 0 or not x.size or not np.isfinite(x).all():
        raise InputError("values: expected one or more finite numbers.")
    if not np.isfinite(aversion) or aversion == 0:
        raise InputError(f"aversion: found {aversion}, expected a number other than 0.")
    w = np.ones(x.shape[-1]) if weights is None else _amounts("weights", weights)
    if w.shape != x.shape[-1:] or w.sum() <= 0:
        raise InputError(f"weights: expected {x.shape[-1]} numbers >= 0, not all 0.")
    w = w / w.sum()
    mean = (x * w).sum(axis=-1, keepdims=True)
    return np.asarray(special.logsumexp(aversion * (mean - x), axis=-1, b=w) / aversion)


def _amounts(name: str, values: ArrayLike) -> Float:
    try:
        out = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers.") from None
    if out.ndim != 1 or not out.size:
        raise InputError(f"{name}: found shape {out.shape}, expected one or more numbers in a row.")
    bad = ~(np.isfinite(out) & (out >= 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(f"{name}, {i}: found {out[i]:g}, expected a number >= 0.")
    return out
