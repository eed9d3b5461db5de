"""How scenarios agree: what a choice made over all of them holds in each, and what each one's own holds in others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx import _priority
from rtmdx.priority.scenario_ranks import Kept, RankFigures, Row, Runner, kendall
from rtmdx.priority.scenario_sources import ScenarioScores
from rtmdx.priority.scratch import Scratch
from rtmdx.space.memory import require_bytes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Agreement", "Choice", "ScenarioFigures", "agreement", "choice_of", "figures_by_scenario"]

Float = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Choice:
    """Cells or places chosen: their positions, and how far each is in (below 1 only where a tie decides)."""

    cells: Index
    share: Float


@dataclass(frozen=True, eq=False)
class ScenarioFigures:
    """One number per scenario that was ranked.

    Attributes
    ----------
    number : int array
        Its place in the sweep or array.
    label : tuple of str
    ranked, levels, k : int arrays
        Cells or places with a score; distinct scores; how many are the top.
    certain, tied : int arrays
        Of the top k: in however ties break; and how many share the score of the last of them where ties decide (0
        where none do).
    best : float array
        Sum of the k highest scores: what the scenario's own choice holds.
    regret, core_regret : float arrays
        Share of the scenario's best that the choice over all scenarios, and the core, fall short of: 1 - held / best,
        best being that of as many cells. NaN where the best is not above 0, or there is no core.
    jaccard : float array
        Overlap of the scenario's top k with the choice: the sum of the lesser over the sum of the greater shares.
    tau : float array
        Kendall's tau-b of its ranks with the mean ranks.
    """

    number: NDArray[np.int64]
    label: tuple[str, ...]
    ranked: NDArray[np.int64]
    levels: NDArray[np.int64]
    k: NDArray[np.int64]
    certain: NDArray[np.int64]
    tied: NDArray[np.int64]
    best: Float
    regret: Float
    core_regret: Float
    jaccard: Float
    tau: Float

    def to_frame(self) -> pd.DataFrame:
        """Return one row per scenario."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "number"}
        return pd.DataFrame(columns, index=pd.Index(self.number, name="scenario"))


@dataclass(frozen=True, eq=False)
class Agreement:
    """Scenarios compared pair by pair.

    Attributes
    ----------
    number : int array, shape (m,)
        Which scenarios: all, or a random sample of them.
    tau, jaccard : float arrays, shape (m, m)
        Kendall's tau-b of the ranks, and the overlap of the top k.
    regret : float array, shape (m, m)
        Row a, column b: share of b's best that a's own choice falls short of in b.
    """

    number: NDArray[np.int64]
    tau: Float = field(repr=False)
    jaccard: Float = field(repr=False)
    regret: Float = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per ordered pair of different scenarios."""
        import pandas as pd

        a, b = np.nonzero(~np.eye(len(self.number), dtype=np.bool_))
        rows = {"chosen_in": self.number[a], "judged_in": self.number[b]}
        return pd.DataFrame({**rows, **{n: getattr(self, n)[a, b] for n in ("tau", "jaccard", "regret")}})


def choice_of(figures: RankFigures, k: int) -> Choice:
    """The k most often among the first, ties by mean rank; what ties even there shares what room is left."""
    cells = np.flatnonzero(figures.expected > 0)
    p, mean = figures.expected[cells], figures.mean[cells]
    order = np.lexsort((cells, mean, -p))
    cells, p, mean = cells[order], p[order], mean[order]
    k = min(k, cells.size)
    last = np.flatnonzero((p == p[k - 1]) & (mean == mean[k - 1]))
    first, end = int(last[0]), int(last[-1]) + 1
    share = np.ones(end)
    share[first:] = (k - first) / (end - first)
    order = np.argsort(cells[:end])
    return Choice(cells[:end][order], share[order])


def figures_by_scenario(
    source: ScenarioScores, scenarios: Sequence[Kept], choice: Choice, core: Index, sample: Index, figures: RankFigures,
    kept: Scratch, runner: Runner, tell: Callable[[int], None],
) -> ScenarioFigures:  # fmt: skip
    """Look at what the choice and the core hold in every scenario."""
    mean = figures.mean[sample]
    consensus = np.zeros(sample.size, dtype=np.uint32)
    some = np.isfinite(mean)
    consensus[some] = np.unique(mean[some], return_inverse=True)[1] + 1

    def one(s: Kept, scores: NDArray[Any] | None) -> tuple[float, float, float, float]:
        row = Row(s, source.n, kept, scores)
        both = np.minimum(s.members(row.twice(choice.cells)), choice.share).sum()
        jaccard = float(both / (s.k + choice.share.sum() - both))
        tau = kendall(consensus, row.twice(sample))
        regret = _regret(float((choice.share * row.values(choice.cells)).sum()), s.best)
        lost = math.nan
        if core.size:
            lost = _regret(float(row.values(core).sum()), s.best_of(core.size, row.whole))
        return regret, lost, jaccard, tau

    by_position = {s.position: s for s in scenarios}

    def batch(span: tuple[int, int]) -> list[tuple[float, float, float, float]]:
        own = [by_position[p] for p in range(*span) if p in by_position]
        if all(s.levels is not None for s in own):
            return [one(s, None) for s in own]
        block = source.read(*span)
        return [one(s, block[s.position - span[0]]) for s in own]

    found = [row for part in runner.each(batch, source.batches, tell, runner.threads) for row in part]
    regret, lost, jaccard, tau = np.array(found, dtype=np.float64).T
    positions = [s.position for s in scenarios]

    def whole(values: list[int]) -> NDArray[np.int64]:
        return np.array(values, dtype=np.int64)

    return ScenarioFigures(
        number=whole([source.numbers[p] for p in positions]),
        label=tuple(source.labels[p] for p in positions),
        ranked=whole([s.ranked for s in scenarios]),
        levels=whole([s.n_levels for s in scenarios]),
        k=whole([s.k for s in scenarios]),
        certain=whole([s.k if s.last == s.k else s.first - 1 for s in scenarios]),
        tied=whole([0 if s.last == s.k else s.last - s.first + 1 for s in scenarios]),
        best=np.array([s.best for s in scenarios]),
        regret=regret,
        core_regret=lost,
        jaccard=jaccard,
        tau=tau,
    )


def agreement(
    source: ScenarioScores, scenarios: Sequence[Kept], sample: Index, kept: Scratch, runner: Runner,
    tell: Callable[[int], None],
) -> Agreement:  # fmt: skip
    """Compare scenarios pair by pair."""
    m = len(scenarios)
    in_top = sum(s.last for s in scenarios)
    require_bytes(16.0 * in_top + 4.0 * m * sample.size, "the top cells of the scenarios compared")

    def top(s: Kept) -> tuple[Index, Float, NDArray[np.uint32]]:
        row = Row(s, source.n, kept)
        cells = row.top()
        return cells, s.members(row.twice(cells)), row.twice(sample)

    tops = runner.each(top, scenarios, lambda _: None, runner.threads)
    batches = {p: span for span in source.batches for p in range(*span)}

    def judge(t: Kept) -> list[tuple[float, float]]:
        span = batches[t.position]
        row = Row(t, source.n, kept, source.read(*span)[t.position - span[0]] if t.levels is None else None)
        out = []
        for s, (cells, share, _) in zip(scenarios, tops, strict=True):
            both = float(np.minimum(share, t.members(row.twice(cells))).sum())
            lost = 0.0 if s is t and t.best > 0 else _regret(float((share * row.values(cells)).sum()), t.best)
            out.append((both / (s.k + t.k - both), lost))
        return out

    judged = np.array(runner.each(judge, scenarios, tell, runner.threads), dtype=np.float64).reshape(m, m, 2)
    jaccard, regret = np.triu(judged[:, :, 0]), judged[:, :, 1].T.copy()
    jaccard += np.triu(jaccard, 1).T
    a, b = (v.astype(np.int32) for v in np.triu_indices(m, 1))
    pairs = np.empty(a.size)
    _priority.kendall(np.ascontiguousarray(np.stack([t[2] for t in tops])), a, b, pairs, runner.threads)
    tau = np.ones((m, m))
    tau[a, b] = tau[b, a] = pairs
    flat = [s.n_levels == 1 for s in scenarios]
    tau[flat, flat] = np.nan
    numbers = np.array([source.numbers[s.position] for s in scenarios], dtype=np.int64)
    return Agreement(numbers, tau, jaccard, regret)


def _regret(held: float, best: float) -> float:
    return max(0.0, 1.0 - held / best) if best > 0 else math.nan  # below 0 by rounding alone
