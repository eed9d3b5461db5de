"""Scenarios ranked one after another, their ranks kept in a few bytes each, and summed up by cell or place.

Three passes. The first reads every scenario once, ranks it and keeps its ranks: one or two bytes a cell where scores
are few, four where not. The second takes all scenarios' ranks of some cells at a time. The third looks at the cells
chosen.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtmdx import _priority
from rtmdx.errors import Cancelled, InputError
from rtmdx.priority.scenario_sources import ScenarioScores
from rtmdx.priority.scratch import Scratch
from rtmdx.space.memory import available_memory

__all__ = ["Kept", "RankFigures", "Row", "Runner", "kendall", "rank_all", "summarise"]

Float = NDArray[np.float64]
U32 = NDArray[np.uint32]
_T = TypeVar("_T")
_R = TypeVar("_R")

_TABLES = 32e6  # bytes for the scores of all scenarios with few
_SLAB = 64e6  # bytes of ranks that are summed up at once
_STEP = 512  # cells that the engine takes at a time


class Runner:
    """Runs work in threads; asks for a cancel meanwhile and, however it ends, leaves no thread behind."""

    def __init__(self, threads: int, cancel: Callable[[], Any] | None) -> None:
        self.threads, self._cancel = threads, cancel
        self.stop = np.zeros(1, dtype=np.uint8)  # compiled loops look at it

    def ask(self) -> None:
        """Raise Cancelled where the caller wants to stop."""
        if self._cancel is not None and self._cancel():
            raise Cancelled("cancelled by the caller's check")

    def each(
        self, work: Callable[[_T], _R], items: Sequence[_T], tell: Callable[[int], None], workers: int
    ) -> list[_R]:
        """Return ``work(item)`` for each item, in their order; the first error ends all."""
        with ThreadPoolExecutor(max(1, workers), thread_name_prefix="rtmdx-ranks") as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for done, future in enumerate(futures):
                    tell(done)
                    self.ask()
                    while not self._over(future):
                        self.ask()
            except BaseException:
                self.stop[0] = 1
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        tell(len(futures))
        return [f.result() for f in futures]

    @staticmethod
    def _over(future: Future[Any]) -> bool:
        """Wait a moment; raise what the work raised."""
        try:
            future.result(timeout=0.1)
        except FutureTimeout:
            if future.done():
                raise  # the work's own
            return False
        return True


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of a scenario beside its ranks.

    Attributes
    ----------
    position : int
        In the source.
    width : int
        Bytes of a cell's number: 1 or 2, one of `table`; 4, twice the mean rank itself.
    table : uint32 array
        Twice the mean rank of each number; 0 for that of cells without a score.
    levels : float64 array or None
        The score of each number, 0 for none; None where they are many.
    ordered : float64 array or None
        The scores, highest first.
    counts : int64 array or None
        Cells of each of these.
    ranked, n_levels, k : int
    first, last : int
        Ranks of the cells that share the score of rank k.
    edge : int
        Twice their mean rank.
    share : float
        Of them there is room for in the first k.
    best : float
        Sum of the k highest scores.
    """

    position: int
    width: int
    table: U32
    levels: Float | None
    ordered: Float | None
    counts: NDArray[np.int64] | None
    ranked: int
    n_levels: int
    k: int
    first: int
    last: int
    edge: int
    share: float
    best: float

    def members(self, twice: U32) -> Float:
        """How far cells are among the first k, from twice their mean ranks: 1, 0, or the share of a tie at the edge."""
        inside = ((twice > 0) & (twice < self.edge)).astype(np.float64)
        inside[twice == self.edge] = self.share
        return inside

    def best_of(self, k: int, scores: Callable[[], NDArray[Any]]) -> float:
        """Sum of the k highest scores."""
        k = min(k, self.ranked)
        if k == 0:
            return 0.0
        if self.ordered is not None and self.counts is not None:
            ends = np.cumsum(self.counts)
            j = int(np.searchsorted(ends, k))
            above = float((self.ordered[:j] * self.counts[:j]).sum())
            return above + float(self.ordered[j]) * (k - (int(ends[j - 1]) if j else 0))
        values = scores()
        values = values[~np.isnan(values)]
        top = np.partition(values, values.size - k)[values.size - k :]
        return float(np.sort(top)[::-1].sum(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class RankFigures:
    """By cell or place: ranks over scenarios; probabilities are in shares of the scenarios."""

    ranked: NDArray[np.int32]
    lowest: Float
    highest: Float
    mean: Float
    sd: Float
    quantiles: Float
    certain: Float
    expected: Float
    possible: Float


def rank_all(
    source: ScenarioScores, k: int | None, share: float | None, kept: Scratch, runner: Runner,
    tell: Callable[[int], None],
) -> list[Kept]:  # fmt: skip
    """Rank every scenario and keep its ranks; those without any score are not in the list."""
    n, size = source.n, source.dtype.itemsize
    most = int(np.clip(_TABLES / (12 * max(1, len(source.numbers))), 255, 4096))
    deepest = max(stop - start for start, stop in source.batches)
    each = n * (deepest * size + 4 * size + 6)
    workers = int(min(runner.threads, max(1, available_memory() // max(1, each))))

    own = threading.local()  # gone with the threads

    def one(batch: tuple[int, int]) -> list[Kept | None]:
        if not hasattr(own, "work"):
            own.work = _Work(n, most, source.dtype)
        block = source.read(*batch)
        return [_rank(source, p, row, k, share, own.work, kept, runner) for p, row in enumerate(block, batch[0])]

    found = runner.each(one, source.batches, tell, workers)
    return [kept_one for part in found for kept_one in part if kept_one is not None]


class _Work:
    """A thread's memory for ranking, used again for every scenario: fresh memory would cost as much as the work."""

    def __init__(self, n: int, most: int, dtype: np.dtype[Any]) -> None:
        self.number = np.empty(n, dtype=np.uint16)
        self.level, self.count = np.empty(most, dtype=dtype), np.empty(most, dtype=np.int64)
        self.twice = np.empty(n, dtype=np.uint32)
        self.entries = np.empty(n * dtype.itemsize // 2 + 1, dtype=np.int64)


def _rank(
    source: ScenarioScores, position: int, score: NDArray[Any], k: int | None, share: float | None, work: _Work,
    kept: Scratch, runner: Runner,
) -> Kept | None:  # fmt: skip
    found = _priority.levels(score, work.number, work.level, work.count, runner.stop)
    if found >= 0:
        levels = work.level[:found].astype(np.float64)
        _require_finite(source, position, levels)
        order = np.argsort(-levels)  # NaN last
        order = order[: np.count_nonzero(~np.isnan(levels))]
        if not order.size:
            return None
        ordered, counts = levels[order], work.count[order]
        ends = np.cumsum(counts)
        ranked = int(ends[-1])
        top = _top(source, position, k, share, ranked)
        j = int(np.searchsorted(ends, top))
        first, last = int(ends[j] - counts[j]) + 1, int(ends[j])
        best = float((ordered[:j] * counts[:j]).sum()) + float(ordered[j]) * (top - first + 1)
        table = np.zeros(found, dtype=np.uint32)
        table[order] = 2 * ends - counts + 1
        width = 1 if found <= 256 else 2
        kept.write(position, work.number.astype(np.uint8) if width == 1 else work.number)
        found = order.size
    else:
        levels, ordered, counts = None, None, None
        _require_finite(source, position, score)
        ranked = int(np.count_nonzero(~np.isnan(score)))
        top = _top(source, position, k, share, ranked)
        found, first, last, edge, above = _priority.mean_ranks(score, top, work.twice, work.entries, runner.stop)
        best = above + edge * (top - first + 1)
        table, width = np.zeros(1, dtype=np.uint32), 4
        kept.write(position, work.twice)
    if runner.stop[0]:
        raise Cancelled("stopped with the others")
    return Kept(
        position=position,
        width=width,
        table=table,
        levels=None if levels is None else np.nan_to_num(levels, nan=0.0),
        ordered=ordered,
        counts=counts,
        ranked=ranked,
        n_levels=found,
        k=top,
        first=first,
        last=last,
        edge=first + last,
        share=(top - first + 1) / (last - first + 1),
        best=best,
    )


def _require_finite(source: ScenarioScores, position: int, values: NDArray[Any]) -> None:
    if np.isinf(values).any():
        raise InputError(
            f"store: scenario {source.numbers[position]} ({source.labels[position]}) has infinite scores; expected "
            "numbers, or NaN where there is none."
        )


def _top(source: ScenarioScores, position: int, k: int | None, share: float | None, ranked: int) -> int:
    if k is None:
        assert share is not None
        return min(ranked, max(1, round(share * ranked)))
    if k > ranked:
        raise InputError(
            f"k: found {k:,}, but scenario {source.numbers[position]} ({source.labels[position]}) has only "
            f"{ranked:,} {source.unit}s with a score."
        )
    return k


def summarise(
    n: int, scenarios: Sequence[Kept], quantiles: Sequence[float], kept: Scratch, runner: Runner,
    tell: Callable[[int], None],
) -> RankFigures:  # fmt: skip
    """Sum ranks up, some cells at a time."""
    width = np.array([s.width for s in scenarios], dtype=np.uint8)
    tables = [s.table for s in scenarios]
    table_at = np.concatenate([[0], np.cumsum([t.size for t in tables])[:-1]]).astype(np.int64)
    table = np.concatenate(tables)
    edge = np.array([s.edge for s in scenarios], dtype=np.uint32)
    share = np.array([s.share for s in scenarios])
    q = np.array(quantiles, dtype=np.float64)
    step = max(1, int(_SLAB // (int(width.sum()) * _STEP))) * _STEP
    ranked, figures, over = np.empty(n, dtype=np.int32), np.empty((7, n)), np.empty((len(q), n))
    for start in range(0, n, step):
        runner.ask()
        tell(start)
        cells = min(step, n - start)
        at = np.concatenate([[0], np.cumsum(-(-cells * width.astype(np.int64) // 8) * 8)])
        rows = np.empty(int(at[-1]), dtype=np.uint8)
        for i, s in enumerate(scenarios):
            kept.read(s.position, rows[at[i] : at[i] + cells * s.width], start * s.width)
        part = np.empty(cells, dtype=np.int32), np.empty((7, cells)), np.empty((len(q), cells))
        _priority.summarise(rows, at[:-1], width, table, table_at, edge, share, q, *part, runner.threads)
        ranked[start : start + cells], figures[:, start : start + cells], over[:, start : start + cells] = part
    tell(n)
    count = len(scenarios)
    lowest, highest, mean, sd, certain, expected, possible = figures
    return RankFigures(ranked, lowest, highest, mean, sd, over, certain / count, expected / count, possible / count)


class Row:
    """A scenario's ranks as they are kept, with its scores.

    Parameters
    ----------
    s : Kept
    n : int
        Cells or places.
    kept : Scratch
    scores : float array, shape (n,), optional
        Needed where the scenario's scores are many and so not kept.
    """

    def __init__(self, s: Kept, n: int, kept: Scratch, scores: NDArray[Any] | None = None) -> None:
        raw = np.empty(n * s.width, dtype=np.uint8)
        kept.read(s.position, raw)
        self._numbers: NDArray[Any] = raw.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[s.width])
        self._s, self._scores = s, scores

    def twice(self, cells: NDArray[np.intp]) -> U32:
        """Twice the mean ranks of some cells."""
        numbers = self._numbers[cells]
        return numbers if self._s.width == 4 else self._s.table[numbers]

    def values(self, cells: NDArray[np.intp]) -> Float:
        """The scores of some cells, 0 where there is none."""
        if self._s.levels is not None:
            return np.asarray(self._s.levels[self._numbers[cells]])
        return np.nan_to_num(self.whole()[cells].astype(np.float64), nan=0.0)

    def whole(self) -> NDArray[Any]:
        """All scores, where they were given."""
        assert self._scores is not None
        return self._scores

    def top(self) -> NDArray[np.intp]:
        """The cells that are among the first k, or may be."""
        s = self._s
        if s.width == 4:
            return np.flatnonzero((self._numbers > 0) & (self._numbers <= s.edge))
        return np.flatnonzero(((s.table > 0) & (s.table <= s.edge))[self._numbers])


def kendall(first: U32, second: U32) -> float:
    """Kendall's tau-b of two rows of ranks, 0 where there is none; NaN where one does not vary."""
    tau = np.full(1, math.nan)
    pair = np.ascontiguousarray(np.stack([first, second]))
    _priority.kendall(pair, np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.int32), tau, 1)
    return float(tau[0])
