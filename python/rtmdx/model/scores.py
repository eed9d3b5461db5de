"""Relative risk scores of the cells, and their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.design import Design

if TYPE_CHECKING:
    from rtmdx.model.families import CountModel

__all__ = ["Band", "relative_risk_score", "risk_bands"]


@dataclass(frozen=True, slots=True)
class Band:
    """A class of relative risk: ``lower <= RRS`` (and below the next band's lower).

    Attributes
    ----------
    name : {"highest", "above average", "below average"}
    lower : float
        Smallest RRS of the band; 1 for the lowest.
    n_cells, n_events : int
    area_share, event_share : float
        Shares of the kept cells and of the events; each sums to 1 over the bands (event shares
        are NaN when there is no event).
    """

    name: str
    lower: float
    n_cells: int
    n_events: int
    area_share: float
    event_share: float


def relative_risk_score(model: CountModel, design: Design) -> NDArray[np.float64]:
    """Return the relative risk score of each cell.

    RRS = product of the RRVs present, that is exp(sum of sign x indicator x coefficient), divided
    by its minimum over the cells so that the lowest cell is 1 (Caplan & Kennedy 2016; the scaling
    when no cell is free of factors is ours). Where the model has an exposure it is risk per unit of exposure, so
    exposure is not in it; a cell without exposure has the score its landscape gives.

    Returns
    -------
    float64 array, shape (n_cells,)
    """
    eta = np.asarray(model.linear_predictor(design), dtype=np.float64)
    score: NDArray[np.float64] = np.exp(eta - eta.min())
    return score


def risk_bands(score: NDArray[np.float64], counts: NDArray[np.integer[Any]]) -> tuple[tuple[Band, ...], str]:
    """Classify cells as highest (RRS >= mean + 2 SD), above average (>= mean) and below average.

    Where mean + 2 SD exceeds the maximum, the highest band falls back to the top 5 % of cells
    (all cells tied with the last one included), and the note says so.

    Returns
    -------
    bands : tuple of Band
        Highest first. Shares of area sum to 1; so do shares of events.
    note : str
        How the highest band was set.
    """
    mean = float(score.mean())
    sd = float(score.std(ddof=1)) if score.size > 1 else 0.0
    cut = mean + 2 * sd
    note = f"Highest: RRS >= mean + 2 SD = {cut:.3g}."
    if sd == 0.0:
        cut, note = np.inf, "All cells have the same score; no band is highest."
    elif cut > score.max():
        k = max(1, round(0.05 * score.size))
        top = float(np.partition(score, score.size - k)[score.size - k])
        note = (
            f"Highest: mean + 2 SD = {cut:.3g} exceeds the maximum RRS {score.max():.3g}, so the top 5 % "
            f"of cells with their ties: RRS >= {top:.3g}."
        )
        cut = top
    middle = min(mean, cut)
    members = [score >= cut, (score >= middle) & (score < cut), score < middle]
    total = int(counts.sum())
    bands = []
    for name, lower, inside in zip(
        ("highest", "above average", "below average"), (cut, middle, float(score.min())), members, strict=True
    ):
        n, events = int(inside.sum()), int(counts[inside].sum())
        bands.append(Band(name, lower, n, events, n / score.size, events / total if total else np.nan))
    return tuple(bands), note
