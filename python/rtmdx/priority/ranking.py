"""Ranks of cells and places, the tops and tiers they make, and what these capture; ties are never broken silently.

Sources: Chainey, Tompson & Uhlig (2008) for PAI, Hunt (2016) for PEI, Levine (2008) for RRI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _priority
from rtmdx.errors import InputError
from rtmdx.model.scores import risk_bands
from rtmdx.model.validity import Bounds
from rtmdx.priority.inputs import By, cell_values, tops_in, values_in
from rtmdx.space.arguments import thread_count
from rtmdx.space.values import reals

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.space.grid import Grid

__all__ = ["Ranking", "Tier", "Top", "rank"]

Float = NDArray[np.float64]
_CURVE_POINTS = 201
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Top:
    """The k highest-ranked cells or places.

    Attributes
    ----------
    share : float
        Share of the cells or places asked for.
    k : int
    certain, tied : int
        How many are among them however ties break, and how many share the score of the last of them where ties decide
        who is in (0 where none do).
    area_share : Bounds
        Of the whole area.
    events, hit_rate : Bounds
        Events in them, and their share of all events; NaN without events.
    pai : Bounds
        Predictive accuracy index, hit rate over share of area. Where areas differ the lowest is by the largest area
        and the highest by the smallest, so the bounds hold but need not be reached.
    pei : Bounds
        Events over the most that any choice of as many could have.
    rri : Bounds
        Predicted over observed events; the lowest belongs to the most events. NaN where nothing was predicted.
    """

    share: float
    k: int
    certain: int
    tied: int
    area_share: Bounds
    events: Bounds
    hit_rate: Bounds
    pai: Bounds
    pei: Bounds
    rri: Bounds


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of risk; cells or places with one score are in one tier.

    Attributes
    ----------
    name : str
    lower : float
        Smallest score of the tier.
    n : int
    share, area_share, event_share : float
        Of the cells or places, of the area, of the events (NaN without events); each sums to 1 over the tiers.
    events : float
    """

    name: str
    lower: float
    n: int
    share: float
    area_share: float
    events: float
    event_share: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """Cells or places by score.

    Attributes
    ----------
    unit : {"cell", "place"}
    score : float64 array, shape (n,)
        NaN for a place without a cell that has a score.
    best, worst : int32 arrays, shape (n,)
        First and last rank over all ways to break ties; 1 is the highest score; 0 where there is no score.
    levels : int
        Number of distinct scores.
    top : tuple of Top
    tiers : tuple of Tier
        Highest first.
    tiers_note : str
        How the tiers were cut.
    curve_share, curve_lowest, curve_expected, curve_highest : float64 arrays
        Share of the ranked cells or places against share of the events in them; NaN without events.
    notes : tuple of str
        What deserves a second look: places without a score, places that overlap.
    index : pandas Index or None
        Of places.
    """

    unit: Literal["cell", "place"]
    score: Float = field(repr=False)
    best: NDArray[np.int32] = field(repr=False)
    worst: NDArray[np.int32] = field(repr=False)
    levels: int
    top: tuple[Top, ...]
    tiers: tuple[Tier, ...]
    tiers_note: str
    curve_share: Float = field(repr=False)
    curve_lowest: Float = field(repr=False)
    curve_expected: Float = field(repr=False)
    curve_highest: Float = field(repr=False)
    notes: tuple[str, ...] = ()
    index: Any = field(default=None, repr=False)

    def first(self, k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the positions that are among the first k for certain, and those of which ties decide."""
        if not 1 <= k <= np.count_nonzero(self.best):
            raise InputError(f"k: found {k:,}, expected 1 to {np.count_nonzero(self.best):,}.")
        ranked = self.best > 0
        return np.flatnonzero(ranked & (self.worst <= k)), np.flatnonzero((self.best <= k) & (self.worst > k))

    @property
    def tier_index(self) -> NDArray[np.uint8]:
        """Position in `tiers` of each cell or place; 255 where there is no score."""
        out = np.full(self.score.size, 255, dtype=np.uint8)
        for i in range(len(self.tiers) - 1, -1, -1):
            out[self.score >= self.tiers[i].lower] = i
        return out

    def to_frame(self) -> pd.DataFrame:
        """Return score, rank_best, rank_worst and tier, one row per cell or place, highest first."""
        import pandas as pd

        names = np.array([*(t.name for t in self.tiers), ""], dtype=object)
        tier = names[np.minimum(self.tier_index, len(self.tiers))]
        columns = {"score": self.score, "rank_best": self.best, "rank_worst": self.worst, "tier": tier}
        frame = pd.DataFrame(columns, index=self.index)
        order = np.lexsort((np.arange(self.score.size), np.where(self.best > 0, self.best, _MOST)))
        return frame.iloc[order]

    def top_frame(self) -> pd.DataFrame:
        """Return one row per top, with the bounds of every figure in columns of their own."""
        import pandas as pd

        rows = []
        for t in self.top:
            row: dict[str, float] = {"share": t.share, "k": t.k, "certain": t.certain, "tied": t.tied}
            for name in ("area_share", "events", "hit_rate", "pai", "pei", "rri"):
                b = getattr(t, name)
                row |= {f"{name}_lowest": b.lowest, f"{name}_expected": b.expected, f"{name}_highest": b.highest}
            rows.append(row)
        return pd.DataFrame(rows)


def rank(
    score: Any,
    *,
    by: By = "score",
    places: Any = None,
    statistic: Literal["mean", "max", "sum"] = "mean",
    grid: Grid | None = None,
    events: ArrayLike | None = None,
    predicted: ArrayLike | None = None,
    area: ArrayLike | None = None,
    k: int | Sequence[int] | None = None,
    shares: Sequence[float] = (0.01, 0.05, 0.1, 0.2),
    tiers: Sequence[float] | None = None,
    threads: int | None = None,
) -> Ranking:
    """Rank cells or places from the highest score down, with bounds over ties.

    Parameters
    ----------
    score : RiskTerrain, or float array of shape (n,) or, with a grid, (rows, cols)
        Higher is riskier. Equal values are ties. Your own scores are of cells where `grid` is given, else of whatever
        you like. Without a grid `places` may not be given.
    by : {"score", "expected", "posterior"}
        Which figure of a terrain: relative risk score, expected count, or its posterior.
    places : GeoSeries, GeoDataFrame or geometries, optional
        Polygons or lines, in the grid's CRS: what is ranked, by the `statistic` of the cells they cover, exactly
        weighted by area or length. Where places overlap, each counts all of its ground, and a note says so: ranks are
        right, shares of area and events are of the places' sum, not of their union.
    statistic : {"mean", "max", "sum"}
        Of the cells in a place. "sum" suits expected counts of polygons: the expected count of the place. Lines have
        a mean and a maximum only.
    grid : Grid, optional
        Where your own scores lie.
    events : array of numbers >= 0, optional
        Events of each cell, or of each place where there are as many numbers as places (otherwise cells' events go to
        polygons by share of area).
    predicted : array, optional
        Expected events of each cell or place ranked, on the scale of `events`, for RRI.
    area : array of numbers > 0, optional
        Of each cell or place ranked; by default cells are equal and polygons have their own within the grid (lines:
        their length).
    k : int or sequence of int, optional
        Tops by number.
    shares : sequence of float
        Tops by share of the cells or places that have a score.
    tiers : sequence of float, optional
        Shares at which tiers are cut, ascending; what ties with the last one of a tier belongs to it. By default the
        classes of a terrain: mean + 2 SD and mean.
    threads : int, optional
        The result does not depend on it.

    Returns
    -------
    Ranking

    Raises
    ------
    InputError
        Scores are not finite, lengths differ, k exceeds what there is, or no place has a score.
    CRSError
        The places are in another CRS than the grid.
    """
    values, own = cell_values(score, by, grid)
    grid = own if own is not None else grid
    notes: tuple[str, ...] = ()
    index: Any = None
    given = None if events is None else values_in(events, "events", least=0.0)
    if places is not None:
        if grid is None:
            raise InputError(
                "places: scores of cells need a grid.", hint="Give grid=..., or rank the places' own scores."
            )
        from rtmdx.priority.places import place_values

        found = place_values(values, grid, places, statistic, given, threads)
        values, given, index, notes = found.score, found.events, found.index, found.notes
        area = found.area if area is None else area
    n = values.size
    if n > _MOST:
        raise InputError(f"score: found {n:,} values, expected at most {_MOST:,}.")
    if given is not None and given.size != n:
        what = "score" if places is None else "place"
        raise InputError(f"events: found {given.size:,} numbers, expected {n:,}, one per {what}.")
    weight = None if area is None else values_in(area, "area", n, least=0.0)
    pred = None if predicted is None else values_in(predicted, "predicted", n, least=0.0)
    ranked = np.isfinite(values)
    if ranked.all():
        at: Any = slice(None)
    elif not ranked.any():
        raise InputError("places: none has a cell with a score.", hint="Do they lie in the study area?")
    else:
        at = np.flatnonzero(ranked)
    wanted = tops_in(k, shares, int(np.count_nonzero(ranked)))
    held, ground, forecast = (None if v is None else np.ascontiguousarray(v[at]) for v in (given, weight, pred))
    scored = np.ascontiguousarray(values[at])
    part = _ranked(scored, held, ground, forecast, wanted, thread_count(threads))
    best, worst = part.best, part.worst
    if not ranked.all():
        best, worst = np.zeros((2, n), dtype=np.int32)
        best[at], worst[at] = part.best, part.worst
    cut, note = _tiers(scored, part.best, held, ground, tiers)
    unit: Literal["cell", "place"] = "cell" if places is None else "place"
    return Ranking(
        unit, values, best, worst, part.levels, part.top, cut, note, *part.curve, notes, index,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Ranked:
    best: NDArray[np.int32]
    worst: NDArray[np.int32]
    levels: int
    top: tuple[Top, ...]
    curve: tuple[Float, Float, Float, Float]


def _ranked(
    score: Float, events: Float | None, area: Float | None, predicted: Float | None, wanted: list[tuple[float, int]],
    threads: int,
) -> _Ranked:  # fmt: skip
    n = score.size
    best, worst = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    points = np.unique(np.round(np.linspace(0, n, _CURVE_POINTS)).astype(np.int64))
    ks = np.unique(np.concatenate([points, np.array([t[1] for t in wanted], dtype=np.int64)]))
    curve = np.full((3, ks.size), np.nan)
    levels = _priority.rank(score, events, ks, best, worst, curve, threads)

    def at_ks(amount: Float | None) -> Float:
        if amount is None:
            return np.full((3, ks.size), np.nan)
        out = np.empty((3, ks.size))
        _priority.rank(score, amount, ks, None, None, out, threads)
        return out

    areas = np.tile(ks / n, (3, 1)) if area is None else at_ks(area) / area.sum()
    expected = at_ks(predicted)
    ideal = np.full(ks.size, np.nan)
    if events is not None and wanted:
        ideal = _most_held(events, ks, threads)
    total = math.nan if events is None else float(events.sum()) or math.nan
    top = []
    for share, k in wanted:
        j = int(np.searchsorted(ks, k))
        last = _score_at(best, worst, k)
        tied = last[1] if last[2] > k else 0
        certain = last[0] - 1 if tied else k
        hit = curve[:, j] / total
        with np.errstate(divide="ignore", invalid="ignore"):
            pai = np.array([hit[0] / areas[2, j], hit[1] / areas[1, j], hit[2] / areas[0, j]])
            pei = curve[:, j] / ideal[j]
            rri = expected[1, j] / curve[::-1, j]
        rri[~np.isfinite(rri)] = np.nan
        figures = (areas[:, j], curve[:, j], hit, pai, pei, rri)
        top.append(Top(share, k, certain, tied, *(Bounds(*map(float, f)) for f in figures)))
    shown = np.searchsorted(ks, points)
    low, mean, high = (curve[i, shown] / total for i in range(3))
    return _Ranked(best, worst, levels, tuple(top), (points / n, low, mean, high))


def _most_held(events: Float, ks: NDArray[np.int64], threads: int) -> Float:
    """Return the events in the k cells that hold most."""
    if events.max() < 1e6 and (events == np.floor(events)).all():
        cells = np.bincount(events.astype(np.int64))[::-1]
        ends = np.concatenate([[0], np.cumsum(cells)])
        held = np.concatenate([[0.0], np.cumsum(cells * np.arange(cells.size)[::-1].astype(np.float64))])
        return np.asarray(np.interp(ks, ends, held))
    out = np.empty((3, ks.size))
    _priority.rank(events, events, ks, None, None, out, threads)
    return np.asarray(out[1])


def _score_at(best: NDArray[np.int32], worst: NDArray[np.int32], k: int) -> tuple[int, int, int]:
    """First rank, number and last rank of those that share the score of rank k."""
    i = int(np.argmax((best <= k) & (worst >= k)))
    return int(best[i]), int(worst[i] - best[i] + 1), int(worst[i])


def _tiers(
    score: Float, best: NDArray[np.int32], events: Float | None, area: Float | None, shares: Sequence[float] | None
) -> tuple[tuple[Tier, ...], str]:
    n = score.size
    if shares is None:
        with np.errstate(over="ignore", invalid="ignore"):  # scores beyond 1e150: the classes fall back to the top 5 %
            bands, note = risk_bands(score, np.zeros(n, dtype=np.int8))
        names, lowers = [b.name for b in bands], [b.lower for b in bands]
    else:
        cuts = reals(list(shares), "tiers", "ascending shares between 0 and 1").ravel()
        if not cuts.size or not ((cuts > 0) & (cuts < 1)).all() or (np.diff(cuts) <= 0).any():
            raise InputError(f"tiers: found {list(shares)}, expected ascending shares between 0 and 1.")
        ks = [min(n, max(1, round(c * n))) for c in cuts]
        lowers = [float(score[best <= k].min()) for k in ks] + [float(score.min())]
        names = [f"top {100 * c:g} %" for c in cuts] + ["rest"]
        note = "Cut by share; what ties with the last of a tier belongs to it."
    total = math.nan if events is None else float(events.sum()) or math.nan
    whole = float(n) if area is None else float(area.sum())
    out, above = [], np.inf
    for name, lower in zip(names, lowers, strict=True):
        inside = (score >= lower) & (score < above)
        count = int(np.count_nonzero(inside))
        held = math.nan if events is None else float(events[inside].sum())
        out.append(
            Tier(
                name,
                lower,
                count,
                count / n,
                (count if area is None else float(area[inside].sum())) / whole,
                held,
                held / total,
            )
        )
        above = min(above, lower)
    return tuple(out), note
