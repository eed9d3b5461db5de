"""What a series of counts is: whole counts in order of time, a start among its periods, an exposure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.values import named, reals

__all__ = ["exposure_in", "series_in", "start_in"]

Float = NDArray[np.float64]


def series_in(counts: Any, periods: Any) -> tuple[Float, tuple[Any, ...]]:
    """Return the counts and the labels of their periods."""
    if periods is None and hasattr(counts, "index") and hasattr(counts, "to_numpy"):
        periods = list(counts.index)
    y = reals(counts, "counts", "a series of whole counts from 0")
    if y.ndim != 1 or y.size < 4:
        raise InputError(f"counts: found an array of shape {y.shape}, expected a series of at least 4 periods.")
    bad = ~(np.isfinite(y) & (y >= 0) & (y == np.floor(y)))
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(f"counts: found {y[i]:g} in period {i}, expected whole counts from 0.")
    if periods is None:
        return y, tuple(range(y.size))
    labels = tuple(periods)
    if len(labels) != y.size or len(set(labels)) != y.size:
        raise InputError(f"periods: found {len(labels)} ({len(set(labels))} different), expected {y.size}.")
    try:
        ordered = all(a < b for a, b in pairwise(labels))
    except TypeError:
        raise InputError("periods: found labels that cannot be compared, expected dates or numbers.") from None
    if not ordered:
        raise InputError("periods: expected them in ascending order.", hint="Sort the series first.")
    return y, labels


def start_in(start: Any, labels: tuple[Any, ...], n: int) -> int:
    """Return the index of the first period after."""
    if start in labels:
        i = labels.index(start)
    else:
        try:
            i = sum(1 for v in labels if v < start)  # the first period that does not begin before it
        except TypeError:
            raise InputError(f"start: found {named(start)}, expected a period such as {labels[0]!r}.") from None
    if not 2 <= i < n:
        raise InputError(
            f"start: {named(start)} leaves {i} periods before and {n - i} after, expected at least 2 and 1."
        )
    return i


def exposure_in(exposure: Any, n: int) -> Float:
    """Return the exposure of each period, 1 where none is given."""
    if exposure is None:
        return np.ones(n)
    size = reals(exposure, "exposure", f"{n} positive numbers, one per period")
    if size.shape != (n,) or not np.isfinite(size).all() or (size <= 0).any():
        raise InputError(
            f"exposure: found {named(np.asarray(exposure))}, expected {n} positive numbers, one per period."
        )
    return size
