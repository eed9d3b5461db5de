"""Hit rates: how often a search finds what it was made for, by group.

Source: Becker 1957; Knowles, Persico & Todd 2001; its limit, infra-marginality: Ayres 2002; Simoiu, Corbett-Davies &
Goel 2017. Intervals: Wilson 1927; of a difference, Newcombe 1998 (method 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from rtmdx.disparity.intervals import checked_counts, tail_of
from rtmdx.disparity.results import Estimate, ResultTable, flags_of
from rtmdx.errors import InputError

__all__ = ["HitDifference", "HitRate", "OutcomeTest", "outcome_test"]


@dataclass(frozen=True, kw_only=True)
class HitRate(Estimate):
    """Share of searches that found something."""

    group: str
    hits: float
    searches: float

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"{self.group}: {100 * self.estimate:.1f} % of {self.searches:,.0f} searches found something "
            f"({100 * self.level:g} % interval {100 * self.low:.1f} to {100 * self.high:.1f} %)."
        )


@dataclass(frozen=True, kw_only=True)
class HitDifference(Estimate):
    """Hit rate of a group less that of the reference.

    Attributes
    ----------
    p : float
        Of Fisher's exact test of equal hit rates.
    """

    group: str
    reference: str
    hits: float
    searches: float
    reference_hits: float
    reference_searches: float
    p: float

    def sentence(self) -> str:
        """Say it in one sentence."""
        way = "lower" if self.estimate < 0 else "higher"
        return (
            f"The hit rate of {self.group} is {100 * abs(self.estimate):.1f} points {way} than that of "
            f"{self.reference} ({100 * self.level:g} % interval of the difference "
            f"{100 * self.low:.1f} to {100 * self.high:.1f} points; "
            f"Fisher's exact p = {self.p:.2g}; {self.hits:,.0f} of {self.searches:,.0f} against "
            f"{self.reference_hits:,.0f} of {self.reference_searches:,.0f}). Note: {'; '.join(self.warnings)}."
        )


@dataclass(frozen=True)
class OutcomeTest:
    """Hit rates of all groups, and their differences from the reference's."""

    rates: ResultTable
    differences: ResultTable

    def sentences(self) -> list[str]:
        """Say all of it."""
        return [*self.rates.sentences(), *self.differences.sentences()]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"rates": self.rates.to_dict(), "differences": self.differences.to_dict()}


def outcome_test(
    hits: ArrayLike, searches: ArrayLike, groups: list[str], *, reference: str, level: float = 0.95
) -> OutcomeTest:
    """Compare the hit rates of groups with that of a reference.

    Parameters
    ----------
    hits, searches : arrays of whole numbers, shape (n_groups,)
    groups : list of str
    reference : str
    level : float

    Returns
    -------
    OutcomeTest
        Every difference is flagged: equal hit rates do not show equal thresholds, nor unequal ones unequal thresholds,
        as the average search is not the marginal one.

    Raises
    ------
    InputError
        A count is negative or no whole number, more hits than searches, a group without searches, or an unknown
        reference.
    """
    x, n = checked_counts("hits", hits), checked_counts("searches", searches)
    if x.ndim != 1 or not x.shape == n.shape == (len(groups),):
        raise InputError(
            f"expected one value per group, found {x.shape} hits, {n.shape} searches, {len(groups)} groups."
        )
    if reference not in groups:
        raise InputError(f"reference: found {reference!r}, expected one of {', '.join(map(repr, groups))}.")
    if len(set(groups)) < len(groups):
        raise InputError(f"groups: found {', '.join(groups)}, expected each once.")
    for group, a, b in zip(groups, x, n, strict=True):
        if b == 0 or a > b:
            raise InputError(f"{group}: found {a:.0f} hits of {b:.0f} searches, expected searches, and no more hits.")
    z = float(special.ndtri(1.0 - tail_of(level)))
    p = x / n
    low, high = _wilson(x, n, z)
    r = groups.index(reference)
    rates = [
        HitRate(
            estimate=float(p[i]), low=float(low[i]), high=float(high[i]), level=level, method="Wilson",
            flags=flags_of(float(p[i]), float(low[i]), float(high[i]), float(x[i])), group=group,
            hits=float(x[i]), searches=float(n[i]),
        )
        for i, group in enumerate(groups)
    ]  # fmt: skip
    differences = []
    for i, group in enumerate(groups):
        if i == r:
            continue
        d = float(p[i] - p[r])
        exact = stats.fisher_exact([[int(x[i]), int(n[i] - x[i])], [int(x[r]), int(n[r] - x[r])]])
        few = ("few-events",) if min(x[i], x[r]) < 10 else ()
        differences.append(
            HitDifference(
                estimate=d,
                low=d - float(np.hypot(p[i] - low[i], high[r] - p[r])),
                high=d + float(np.hypot(high[i] - p[i], p[r] - low[r])),
                level=level, method="Newcombe", flags=(*few, "infra-marginality"), group=group, reference=reference,
                hits=float(x[i]), searches=float(n[i]), reference_hits=float(x[r]), reference_searches=float(n[r]),
                p=float(exact.pvalue),
            )
        )  # fmt: skip
    return OutcomeTest(ResultTable(rates), ResultTable(differences))


def _wilson(
    x: NDArray[np.float64], n: NDArray[np.float64], z: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    middle = (x + 0.5 * z * z) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(x * (n - x) / n + 0.25 * z * z)
    return np.where(x == 0, 0.0, middle - half), np.where(x == n, 1.0, middle + half)
