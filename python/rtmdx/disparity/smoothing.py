"""Rates of small areas drawn towards those of all areas, or of their neighbours, as far as their counts are chance.

Sources: Marshall 1991 (moment estimates of the mean and variance of the rates; global, and local over neighbours);
Assuncao & Reis 1999 (rates standardised for maps and for Moran's I). Limits are those of the gamma law whose mean the
smoothed rate is (Clayton & Kaldor 1987), with its two parameters taken as known: they are a little too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special

from rtmdx.disparity.intervals import checked_counts, checked_exposures, tail_of
from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Smoothed", "smooth", "standardised_rates"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothed:
    """Smoothed rates, one per area.

    Attributes
    ----------
    estimate, low, high : float64 arrays, shape (n,)
        Per unit of exposure.
    raw : float64 array, shape (n,)
        Events over exposure.
    weight : float64 array, shape (n,)
        Of the area's own rate; the rest is the mean's.
    mean, variance : float64 arrays, shape (n,)
        Of the rates among all areas, or among an area and its neighbours; the variance beyond chance, >= 0.
    events, exposure : float64 arrays, shape (n,)
    level : float
    method : str
    """

    estimate: Float
    low: Float
    high: Float
    raw: Float
    weight: Float
    mean: Float
    variance: Float
    events: Float
    exposure: Float
    level: float
    method: str

    def to_frame(self) -> pd.DataFrame:
        """Return one row per area."""
        import pandas as pd

        columns = ("estimate", "low", "high", "raw", "weight", "mean", "variance", "events", "exposure")
        return pd.DataFrame({k: getattr(self, k) for k in columns})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**self.to_frame().to_dict("list"), "level": self.level, "method": self.method}

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"Rates of {len(self.raw):,} areas ({self.events.sum():,.0f} events), smoothed by {self.method}: an area's "
            f"own rate counts for {100 * self.weight.min():.0f} to {100 * self.weight.max():.0f} %."
        )


def smooth(
    events: ArrayLike,
    exposure: ArrayLike,
    *,
    neighbours: Sequence[Sequence[int]] | sparse.sparray | sparse.spmatrix | ArrayLike | None = None,
    level: float = 0.95,
) -> Smoothed:
    """Empirical Bayes rates of areas (Marshall 1991).

    Parameters
    ----------
    events : array of whole numbers, shape (n,)
    exposure : array of numbers > 0, shape (n,)
    neighbours : sequence of sequences of int, or matrix (n, n), optional
        Each area's neighbours, by number: its rate is then drawn to theirs. Whether an area is listed with itself does
        not matter, it always counts. Without them, all areas are drawn to the mean of all.
    level : float

    Returns
    -------
    Smoothed

    Raises
    ------
    InputError
        If an argument is out of its range, or there are no events.
    """
    x, n = _areas(events, exposure)
    alpha = tail_of(level)
    raw = x / n
    if neighbours is None:
        mean = np.full(len(x), x.sum() / n.sum())
        spread = (n * (raw - mean) ** 2).sum() / n.sum() - mean / n.mean()
    else:
        w = _matrix(neighbours, len(x))
        total = w @ n
        mean = (w @ x) / total
        # sum over an area's neighbours of n (raw - its mean)^2
        squares = (w @ (n * raw**2)) - 2.0 * mean * (w @ x) + mean**2 * total
        spread = squares / total - mean * (w @ np.ones(len(x))) / total
    variance = np.maximum(spread, 0.0)
    variance[variance <= 1e-12 * mean**2] = 0.0  # what rounding leaves of equal rates
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(variance > 0, variance / (variance + mean / n), 0.0)
        shape, rate = mean**2 / variance + x, mean / variance + n
        low = np.where(variance > 0, special.gammaincinv(shape, alpha) / rate, mean)
        high = np.where(variance > 0, special.gammainccinv(shape, alpha) / rate, mean)
    method = "Marshall's empirical Bayes, " + ("global" if neighbours is None else "local")
    estimate = weight * raw + (1.0 - weight) * mean
    return Smoothed(estimate, low, high, raw, weight, mean, variance, x, n, level, method)


def standardised_rates(events: ArrayLike, exposure: ArrayLike) -> Float:
    """Rates less their mean over their standard deviation, as Moran's I of rates needs (Assuncao & Reis 1999).

    Parameters
    ----------
    events, exposure
        As for `smooth`.

    Returns
    -------
    float64 array, shape (n,)

    Raises
    ------
    InputError
        As `smooth` does.

    Notes
    -----
    The variance of the rates beyond chance is kept where it is negative, as in the article, save in areas whose own
    variance would be negative with it.
    """
    x, n = _areas(events, exposure)
    mean = x.sum() / n.sum()
    beyond = (n * (x / n - mean) ** 2).sum() / n.sum() - mean / n.mean()
    own = mean / n
    return np.asarray((x / n - mean) / np.sqrt(np.where(beyond + own < 0, own, beyond + own)))


def _areas(events: ArrayLike, exposure: ArrayLike) -> tuple[Float, Float]:
    x, n = checked_counts("events", events), checked_exposures("exposure", exposure)
    if x.ndim != 1 or x.shape != n.shape or not len(x):
        raise InputError(f"events of shape {x.shape} and exposure of shape {n.shape}: expected one of each per area.")
    if x.sum() == 0:
        raise InputError("events: found none in any area; there is nothing to smooth.")
    return x, n


def _matrix(neighbours: Any, n: int) -> sparse.csr_array:
    """Which areas count for each: ones, itself included."""
    if sparse.issparse(neighbours) or (isinstance(neighbours, np.ndarray) and neighbours.ndim == 2):
        w = sparse.csr_array(neighbours)
        if w.shape != (n, n):
            raise InputError(f"neighbours: found a matrix of shape {w.shape}, expected {(n, n)}.")
        rows, columns = w.nonzero()
    else:
        if len(neighbours) != n:
            raise InputError(f"neighbours: found those of {len(neighbours)} areas, expected {n}.")
        rows = np.repeat(np.arange(n), [len(own) for own in neighbours])
        columns = np.array([j for own in neighbours for j in own], dtype=np.int64)
        bad = (columns < 0) | (columns >= n)
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(f"neighbours of area {rows[i]}: found {columns[i]}, expected 0 to {n - 1}.")
    at = np.arange(n)
    pairs = sparse.coo_array(
        (np.ones(len(rows) + n), (np.concatenate([rows, at]), np.concatenate([columns, at]))), shape=(n, n)
    ).tocsr()
    pairs.data[:] = 1.0  # an area listed twice counts once
    return pairs
