"""Many tests at once: p values adjusted so that some of them are not significant by number alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.disparity.intervals import one_of, place_of
from rtmdx.errors import InputError

__all__ = ["adjust_pvalues"]


def adjust_pvalues(p: ArrayLike, *, method: Literal["bh", "by", "holm", "bonferroni"] = "bh") -> NDArray[np.float64]:
    """Adjust p values of tests that are read together.

    Parameters
    ----------
    p : array of probabilities
    method : {"bh", "by", "holm", "bonferroni"}
        Benjamini & Hochberg 1995 (share of false discoveries, tests independent or positively dependent); Benjamini &
        Yekutieli 2001 (under any dependence); Holm 1979 and Bonferroni (chance of any false discovery).

    Returns
    -------
    float64 array, the shape of `p`
        A test is significant at q where the value is at most q.

    Raises
    ------
    InputError
        If a value is no probability, or the method is unknown.
    """
    one_of("method", method, ("bh", "by", "holm", "bonferroni"))
    values = np.asarray(p, dtype=np.float64)
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        raise InputError(f"p{place_of(bad)}: found {float(values[bad].flat[0]):g}, expected a probability.")
    flat = values.ravel()
    n = flat.size
    if method == "bonferroni":
        return np.minimum(values * n, 1.0)
    order = np.argsort(flat, kind="stable")
    rank = np.arange(1, n + 1)
    out = np.empty(n)
    if method == "holm":
        out[order] = np.maximum.accumulate(flat[order] * (n + 1 - rank))
    else:
        scale = float((1.0 / rank).sum()) if method == "by" else 1.0
        out[order] = np.minimum.accumulate((flat[order] * n * scale / rank)[::-1])[::-1]
    return np.minimum(out, 1.0).reshape(values.shape)
