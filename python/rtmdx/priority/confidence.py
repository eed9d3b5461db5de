"""How sure a terrain's own ranks are, given that its coefficients are estimates."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.draws import risk_draws
from rtmdx.model.terrain import RiskTerrain
from rtmdx.priority.inputs import cell_values, one_top
from rtmdx.priority.places import PlaceScores
from rtmdx.priority.saving import save_units
from rtmdx.priority.scenario_ranks import Runner, rank_all, summarise
from rtmdx.priority.scenario_sources import ScenarioScores
from rtmdx.priority.scratch import Scratch
from rtmdx.space.arguments import function, thread_count
from rtmdx.space.values import choice, flag, named, number, whole

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.space.grid import Grid

__all__ = ["RankConfidence", "rank_confidence"]

Float = NDArray[np.float64]
_SURE = 1e-9
_MAPS = {
    "rank": "rank by the fitted model, 1 the highest score",
    "rank_low": "lower limit of the rank",
    "rank_median": "median rank over the draws",
    "rank_high": "upper limit of the rank",
    "p_lowest": "share of draws in which it is among the first k however ties break",
    "p_top": "share of draws in which it is among the first k, over ties",
    "p_highest": "share of draws in which it may be among the first k",
}


@dataclass(frozen=True, eq=False)
class RankConfidence:
    """Ranks of cells or places over models drawn from a terrain's own uncertainty; ties have their mean rank.

    Attributes
    ----------
    unit : {"cell", "place"}
    by : {"score", "expected"}
    k : int
        How many are the top.
    draws : int
    level : float
        Probability of the rank's limits.
    method : str
        What was drawn.
    rank, in_top : float64 arrays, shape (n,)
        By the fitted model: the rank, and how far it is among the first k (the share of a tie at the edge that fits).
    rank_low, rank_median, rank_high : float64 arrays, shape (n,)
        Percentiles of the rank over the draws; NaN for a place without a score.
    p_lowest, p_top, p_highest : float64 arrays, shape (n,)
        Share of draws in which it is among the first k: for certain; with the share of a tie that fits; possibly.
    notes : tuple of str
    """

    unit: Literal["cell", "place"]
    by: str
    k: int
    draws: int
    level: float
    method: str
    rank: Float = field(repr=False)
    in_top: Float = field(repr=False)
    rank_low: Float = field(repr=False)
    rank_median: Float = field(repr=False)
    rank_high: Float = field(repr=False)
    p_lowest: Float = field(repr=False)
    p_top: Float = field(repr=False)
    p_highest: Float = field(repr=False)
    notes: tuple[str, ...] = ()
    grid: Grid | None = field(default=None, repr=False)
    shapes: Any = field(default=None, repr=False)

    def sure(self, probability: float = 0.9) -> NDArray[np.intp]:
        """Return the positions whose probability to be among the first k is at least so much."""
        if not 0 < number(probability, "probability") <= 1:
            raise InputError(f"probability: found {probability:g}, expected a number above 0, at most 1.")
        return np.flatnonzero(self.p_top >= probability - _SURE)

    @property
    def kept(self) -> float:
        """How much of the fitted model's top k a drawn model's top k shares, on average over the draws.

        Ties at the edge are broken at random in each by itself: where scores are few, even a certain model keeps less
        than all.
        """
        return float((self.in_top * self.p_top).sum() / self.k)

    def _columns(self) -> pd.DataFrame:
        import pandas as pd

        columns = {name: getattr(self, name) for name in (*_MAPS, "in_top")}
        return pd.DataFrame(columns, index=None if self.shapes is None else self.shapes.index)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cell or place, by the fitted model's rank."""
        order = np.lexsort((np.arange(self.rank.size), np.nan_to_num(self.rank, nan=np.inf)))
        return self._columns().iloc[order]

    def to_dataset(self) -> xr.Dataset:
        """Return the maps, dims (y, x), NaN outside the study area; raises InputError for places."""
        import xarray as xr

        if self.grid is None:
            raise InputError("maps: places were ranked, not cells.", hint="Use to_frame(), or save them as .gpkg.")
        maps = {
            name: self.grid.dataarray(self.grid.to_raster(getattr(self, name)), name, {"long_name": text, "units": "1"})
            for name, text in _MAPS.items()
        }
        return xr.Dataset(maps, attrs={"draws": self.draws, "level": self.level, "k": self.k, "by": self.by})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the cells or places as ``.csv``, or as ``.gpkg`` with their shapes.

        Raises
        ------
        InputError
            `path` ends in neither.
        OutputError
            `path` exists (and not `overwrite`), or cannot be written.
        """
        return save_units(
            path, self.unit, self._columns(), grid=self.grid, shapes=self.shapes, title="Confidence of ranks",
            overwrite=overwrite,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return everything but cells as plain data."""
        return {
            "unit": self.unit,
            "by": self.by,
            "n": int(self.rank.size),
            "k": self.k,
            "draws": self.draws,
            "level": self.level,
            "method": self.method,
            "sure": int(self.sure(0.9).size),
            "ever": int(np.count_nonzero(self.p_highest > 0)),
            "kept": self.kept,
            "notes": list(self.notes),
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """Say it in a few plain sentences."""
        return (
            f"Over {self.draws:,} models drawn from the fitted one's uncertainty ({self.method}), "
            f"{self.sure(0.9).size:,} {self.unit}s are in the top {self.k:,} with a probability of at least 90 %, "
            f"{np.count_nonzero(self.p_highest > 0):,} come into it at all, and a drawn top {self.k:,} shares "
            f"{100 * self.kept:.3g} % of the fitted one on average, ties broken at random. The choice of "
            "variables is taken as given."
        )


def rank_confidence(
    terrain: RiskTerrain,
    *,
    k: int | None = None,
    share: float | None = None,
    by: Literal["score", "expected"] = "score",
    places: Any = None,
    statistic: Literal["mean", "max", "sum"] = "mean",
    draws: int = 500,
    robust: bool = False,
    level: float = 0.9,
    seed: int = 0,
    memory: float = 512e6,
    scratch: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], Any] | None = None,
    cancel: Callable[[], Any] | None = None,
) -> RankConfidence:
    """Draw models from a terrain's uncertainty: how sure is each cell's or place's rank?

    Intercept and coefficients are drawn from a normal distribution about the fitted ones, with the model's covariance,
    and every draw is ranked. That is the uncertainty of an analysis whose variables were fixed beforehand.
    `RiskTerrain.stability` repeats the selection too, on resampled neighbourhoods, and is wider; neither knows whether
    the next period will be like this one.

    Parameters
    ----------
    terrain : RiskTerrain
    k : int, optional
        How many are the top. Either this or `share` is given.
    share : float, optional
        Their share of the cells or places with a score, rounded, at least one.
    by : {"score", "expected"}
    places : GeoSeries, GeoDataFrame or geometries, optional
        Rank these polygons or lines, as `rank` does, by the `statistic` of their cells.
    statistic : {"mean", "max", "sum"}
    draws : int
        At least 20; a probability p has a standard error of (p (1 - p) / draws)**0.5.
    robust : bool
        Draw from the district-robust covariance, which allows for likeness within districts.
    level : float
        Probability of the rank's limits.
    seed : int
        Each draw has a seed of its own, spawned from it.
    memory, scratch
        As in `stability`.
    threads : int, optional
        The result does not depend on it.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; stages "ranks" and "summary".
    cancel : callable, optional
        Asked several times a second; true stops.

    Returns
    -------
    RankConfidence

    Raises
    ------
    InputError
        An argument is out of range, `terrain` is none, k exceeds what there is, or the model has no robust covariance.
    CRSError
        The places are in another CRS than the grid.
    Cancelled
        `cancel` returned true.
    """
    if not isinstance(terrain, RiskTerrain):
        raise InputError(f"terrain: found {named(terrain)}, expected a RiskTerrain, whose model can be drawn anew.")
    choice(by, "by", ("score", "expected"))
    k, share = one_top(k, share)
    draws = whole(draws, "draws", least=20)
    level = number(level, "level")
    if not 0 < level < 1:
        raise InputError(f"level: found {level:g}, expected a probability between 0 and 1.")
    robust = flag(robust, "robust")
    tell = function(progress, "progress", "of (stage, done, total)") or (lambda *_: None)
    runner = Runner(thread_count(threads), function(cancel, "cancel", "without arguments"))
    drawn = risk_draws(terrain, by, robust)
    seeds = np.random.SeedSequence(whole(seed, "seed", least=0)).spawn(draws)
    fitted, grid = cell_values(terrain, by, None)
    assert grid is not None
    score = None if places is None else PlaceScores(grid, places, statistic)

    def read(start: int, _: int) -> Float:
        # the first is the fitted model itself
        cells = fitted if start == 0 else drawn(np.random.default_rng(seeds[start - 1]))
        return (cells if score is None else score(cells))[None]

    n = grid.n_cells if score is None else len(score.index)
    source = ScenarioScores(
        unit="cell" if score is None else "place",
        n=n,
        dtype=np.dtype(np.float64),
        numbers=tuple(range(draws + 1)),
        labels=("fitted", *(f"draw {i}" for i in range(draws))),
        batches=tuple((i, i + 1) for i in range(draws + 1)),
        read=read,
        left_out={},
    )
    low = (1 - level) / 2
    with Scratch(draws + 1, 4 * n, memory, scratch) as kept:
        ranks = rank_all(source, k, share, kept, runner, lambda done: tell("ranks", done, draws + 1))
        if not ranks:
            raise InputError("places: none has a cell with a score.", hint="Do they lie in the study area?")
        whole_model = summarise(n, ranks[:1], (0.5,), kept, runner, lambda _: None)
        figures = summarise(n, ranks[1:], (low, 0.5, 1 - low), kept, runner, lambda done: tell("summary", done, n))
    return RankConfidence(
        unit=source.unit,
        by=by,
        k=ranks[0].k,
        draws=draws,
        level=level,
        method=f"coefficients normal, {'district-robust' if robust else 'inverse information'} covariance",
        rank=whole_model.mean,
        in_top=whole_model.expected,
        rank_low=figures.quantiles[0],
        rank_median=figures.quantiles[1],
        rank_high=figures.quantiles[2],
        p_lowest=figures.certain,
        p_top=figures.expected,
        p_highest=figures.possible,
        notes=_notes(terrain, () if score is None else score.notes),
        grid=grid if score is None else None,
        shapes=None if score is None else score.shapes,
    )


def _notes(terrain: RiskTerrain, notes: Sequence[str]) -> tuple[str, ...]:
    if len(terrain.model.coefficients):
        return tuple(notes)
    return (*notes, "The model has no variable: all draws rank alike, and every cell ties.")
