"""Priorities over scenarios: which cells or places come first whatever was assumed, and what a choice may cost.

Every scenario of a sweep ranks the cells anew. Here each one's ranks are found with their ties, and summed up by cell:
how often it is among the first k, how far its rank moves, what a choice made over all scenarios holds in each of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.priority.inputs import one_top
from rtmdx.priority.scenario_choices import (
    Agreement,
    Choice,
    ScenarioFigures,
    agreement,
    choice_of,
    figures_by_scenario,
)
from rtmdx.priority.scenario_ranks import RankFigures, Runner, rank_all, summarise
from rtmdx.priority.scenario_result import SURE, RankStability
from rtmdx.priority.scenario_sources import scenario_scores
from rtmdx.priority.scratch import Scratch
from rtmdx.space.arguments import function, thread_count
from rtmdx.space.memory import require_bytes
from rtmdx.space.values import number, reals, whole

if TYPE_CHECKING:
    pass

__all__ = ["stability"]

Float = NDArray[np.float64]


def stability(
    store: Any,
    *,
    k: int | None = None,
    share: float | None = None,
    by: Literal["score", "expected"] = "score",
    places: Any = None,
    statistic: Literal["mean", "max", "sum"] = "mean",
    grid: Any = None,
    scenarios: Sequence[int | str] | None = None,
    robust: float = 0.95,
    quantiles: Sequence[float] = (),
    sample: int = 10_000,
    compared: int = 50,
    seed: int = 0,
    memory: float = 512e6,
    scratch: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], Any] | None = None,
    cancel: Callable[[], Any] | None = None,
) -> RankStability:
    """Rank cells or places in every scenario: how often is each among the first, and how far does its rank move?

    Scenarios are read one at a time (or as many as a chunk holds) and ranked exactly. Ranks are kept in one or two
    bytes a cell where a scenario has few distinct scores, in four where not: in memory up to `memory` bytes, beyond in
    a file in `scratch` that is gone afterwards. So memory does not grow with the scenarios, and no figure is
    approximate but tau-b (`sample`) and the pairs of scenarios (`compared`).

    Parameters
    ----------
    store : SweepResults, path, URL or array
        A sweep's store, whose complete scenarios are ranked; or a Zarr array, DataArray or array, dims (scenario, y, x)
        or (scenario, cell), NaN where a scenario has no score.
    k : int, optional
        How many are the top. Either this or `share` is given.
    share : float, optional
        Their share of the cells or places that have a score in a scenario, rounded, at least one.
    by : {"score", "expected"}
        Which figure of a sweep's scenarios: relative risk score or expected count.
    places : GeoSeries, GeoDataFrame or geometries, optional
        Rank these polygons or lines, as `rank` does, by the `statistic` of their cells. The scenarios' grids may differ
        then.
    statistic : {"mean", "max", "sum"}
    grid : str or Grid, optional
        The key of one of a sweep's grids; or the Grid of an array's cells, for places, maps and shapes.
    scenarios : list of int or str, optional
        Places, or ids, of the scenarios; all by default.
    robust : float
        Share of the scenarios from which on a cell or place is in the core; 1 is every one.
    quantiles : sequence of float
        Quantiles of the rank beside its median, each in [0, 1].
    sample : int
        Kendall's tau-b is computed on so many cells or places at most, drawn at random (its standard error is then
        below (2 / sample)**0.5: 0.014 for 10,000).
    compared : int
        Scenarios compared pair by pair, drawn at random where there are more.
    seed : int
        Of both draws.
    memory : float
        Bytes of ranks that are held in memory.
    scratch : path, optional
        Folder for what goes beyond; by default that of temporary files. What it takes is 1, 2 or 4 bytes per scenario
        and cell.
    threads : int, optional
        The result does not depend on it.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; stages "ranks", "summary", "choices", "pairs".
    cancel : callable, optional
        Asked several times a second; true stops.

    Returns
    -------
    RankStability

    Raises
    ------
    InputError
        An argument is out of range, the scenarios lie on different grids (and are not ranked by place), k exceeds what
        a scenario has, none has a score, or one has an infinite one.
    CRSError
        The places are in another CRS than the grid.
    StoreError
        There is no such store, or a scenario's chunk is damaged or missing.
    OutputError
        The scratch file cannot be written.
    Cancelled
        `cancel` returned true.

    Notes
    -----
    *Choice*: the k cells or places with the highest `p_top`, ties by mean rank. *Regret* of a choice in a scenario: the
    share of the sum of scores that the scenario's own best k hold which the choice falls short of. Ties at the edge of
    the k count with the share that fits, so all figures are those expected when ties break at random. Scenarios count
    alike: a sweep is no sample of possible truths, and `p_top` no probability that a place is risky.
    """
    k, share = one_top(k, share)
    robust = number(robust, "robust")
    if not 0 < robust <= 1:
        raise InputError(f"robust: found {robust:g}, expected a share above 0, at most 1.")
    extra = reals(list(quantiles), "quantiles", "numbers from 0 to 1").ravel()
    if not ((extra >= 0) & (extra <= 1)).all():
        raise InputError(f"quantiles: found {list(quantiles)}, expected numbers from 0 to 1.")
    sample, compared = whole(sample, "sample", least=2), whole(compared, "compared", least=1)
    memory = number(memory, "memory")
    if not memory >= 0:
        raise InputError(f"memory: found {memory:g}, expected a number of bytes.")
    tell = function(progress, "progress", "of (stage, done, total)") or (lambda *_: None)
    runner = Runner(thread_count(threads), function(cancel, "cancel", "without arguments"))
    rng = np.random.default_rng(whole(seed, "seed", least=0))
    with ExitStack() as held:
        source = scenario_scores(store, by, grid, places, statistic, scenarios, memory, scratch, held)
        total, n = len(source.numbers), source.n
        if n > 2**31 - 1:
            raise InputError(f"store: found {n:,} cells, expected at most {2**31 - 1:,}.")
        require_bytes(8.0 * n * (10 + extra.size), "figures of ranks", (n,))
        runner.ask()
        kept = held.enter_context(Scratch(total, 4 * n, memory, scratch))

        def told(stage: str, of: int) -> Callable[[int], None]:
            return lambda done: tell(stage, done, of)

        ranks = rank_all(source, k, share, kept, runner, told("ranks", len(source.batches)))
        if not ranks:
            raise InputError(f"store: none of {total:,} scenarios has a {source.unit} with a score.")
        qs = np.unique(np.append(extra, 0.5))
        figures = summarise(n, ranks, qs.tolist(), kept, runner, told("summary", n))
        scored = np.flatnonzero(figures.ranked)
        top = k if k is not None else max(1, round((share or 0) * scored.size))
        choice = choice_of(figures, top)
        core = np.flatnonzero(figures.expected >= robust - SURE)
        cells = scored if scored.size <= sample else np.sort(rng.choice(scored, sample, replace=False))
        by_scenario = figures_by_scenario(
            source, ranks, choice, core, cells, figures, kept, runner, told("choices", len(source.batches))
        )
        some = ranks
        if len(ranks) > compared:
            some = [ranks[i] for i in np.sort(rng.choice(len(ranks), compared, replace=False))]
        pairs = agreement(source, some, cells, kept, runner, told("pairs", len(some)))
    left = dict(source.left_out)
    if len(ranks) < total:
        left["without any score"] = total - len(ranks)
    return _result(source, by, k, share, left, robust, extra, qs, figures, choice, core, by_scenario, pairs, cells.size)


def _result(
    source: Any, by: str, k: int | None, share: float | None, left: dict[str, int], robust: float, extra: Float,
    qs: Float, figures: RankFigures, choice: Choice, core: NDArray[np.intp], by_scenario: ScenarioFigures,
    pairs: Agreement, sample: int,
) -> RankStability:  # fmt: skip
    at = {float(q): figures.quantiles[i] for i, q in enumerate(qs)}
    return RankStability(
        unit=source.unit,
        by=by,
        k=k,
        share=share,
        n_scenarios=len(by_scenario.number),
        left_out=left,
        robust=robust,
        ranked=figures.ranked,
        p_lowest=figures.certain,
        p_top=figures.expected,
        p_highest=figures.possible,
        rank_lowest=figures.lowest,
        rank_median=at[0.5],
        rank_highest=figures.highest,
        rank_mean=figures.mean,
        rank_sd=figures.sd,
        quantiles={float(q): at[float(q)] for q in extra},
        choice=choice,
        core=core,
        scenarios=by_scenario,
        agreement=pairs,
        sample=sample,
        notes=source.notes,
        grid=source.grid,
        shapes=source.shapes,
    )
