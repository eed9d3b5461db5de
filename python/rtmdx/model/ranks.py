"""Where each cell stands among all cells, over many models: intervals of its rank, and how often it is near the top.

A model's score takes few distinct values, its *levels*, and cells whose codes agree score alike. So a model is kept as
its levels with the ranks they have, and ranks are worked out for a chunk of distinct rows at a time: memory does
not grow as cells times models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.rows import RowTable

__all__ = ["RankSummary", "ScoreModel", "rank_summary"]

Float = NDArray[np.float64]

CHUNK = 1 << 22  # ranks held at a time


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """A model's columns and coefficients: all that its relative scores need."""

    columns: tuple[int, ...]
    coefficients: Float


@dataclass(frozen=True, eq=False)
class RankSummary:
    """Ranks of cells over models; rank 1 is the highest score, ties have their mean rank.

    Attributes
    ----------
    low, median, high : float64 arrays, shape (n_cells,)
        Percentiles over the models.
    top : float64 array, shape (n_shares, n_cells)
        Probability of being among the top share of cells, each model counting alike; where a tie straddles the
        border, the share of its cells that fit.
    """

    low: Float
    median: Float
    high: Float
    top: Float


class _Scores:
    """Scores of distinct rows under a model, the same bits for any choice of rows."""

    def __init__(self, table: RowTable) -> None:
        self.table = table
        self._block = np.repeat(
            np.arange(len(table.layout.keys)), [len(table.layout.block_columns(b)) for b in range(len(table.codes))]
        )

    def of(self, model: ScoreModel, rows: slice) -> Float:
        """The sum of the model's terms in each row."""
        layout = self.table.layout
        out = np.zeros(self.table.codes[:, rows].shape[1] if len(self.table.codes) else self.table.n_rows)
        for j, b in zip(model.columns, model.coefficients.tolist(), strict=True):
            block = int(self._block[j])
            bit = j - layout.first[block]
            value = np.array([(key >> bit & 1) * (layout.signs[j] * b) for key in layout.keys[block]])
            out += value[self.table.codes[block, rows]]
        return out

    def levels(self, model: ScoreModel) -> tuple[Float, Float, Float]:
        """The distinct scores, rising; the number of cells above each, and of those that have it."""
        seen, which = np.unique(self.of(model, slice(None)), return_inverse=True)
        cells = np.bincount(which, weights=self.table.cells, minlength=len(seen)).astype(np.float64)
        return seen, cells.sum() - np.cumsum(cells), cells


def rank_summary(
    table: RowTable,
    models: Sequence[ScoreModel],
    *,
    level: float,
    shares: Sequence[float],
    threads: int = 1,
    poll: Callable[[], None] = lambda: None,
) -> RankSummary:
    """Summarise the ranks of all cells over models.

    Parameters
    ----------
    table : RowTable
        Of all cells, without exposure; with the row of each cell.
    models : sequence of ScoreModel
        At least one.
    level : float
        Probability between `low` and `high`.
    shares : sequence of float
        Shares of the cells that count as the top; each is rounded to whole cells, at least one.
    threads : int
        The result is the same for any number.
    poll : callable
        Raises to stop.

    Returns
    -------
    RankSummary
    """
    assert table.row is not None
    scores = _Scores(table)

    def levels_of(model: ScoreModel) -> tuple[Float, Float, Float]:
        poll()
        return scores.levels(model)

    probabilities = (0.5 - level / 2, 0.5, 0.5 + level / 2)
    tops = [max(1.0, float(np.rint(s * table.n_cells))) for s in shares]
    by_row = np.empty((3 + len(tops), table.n_rows))
    size = max(1, CHUNK // len(models))

    def summarise(start: int) -> None:
        poll()
        rows = slice(start, min(start + size, table.n_rows))
        ranks = np.empty((len(models), rows.stop - start))
        inside = np.zeros((len(tops), rows.stop - start))
        for m, (model, (seen, above, cells)) in enumerate(zip(models, levels, strict=True)):
            at = np.searchsorted(seen, scores.of(model, rows))
            ranks[m] = (above + 0.5 * (cells + 1.0))[at]
            for t, k in enumerate(tops):
                inside[t] += np.clip((k - above) / cells, 0.0, 1.0)[at]
        by_row[:3, rows] = np.quantile(ranks, probabilities, axis=0)
        by_row[3:, rows] = inside / len(models)

    with ThreadPoolExecutor(threads, thread_name_prefix="rtmdx-ranks") as pool:
        levels = list(pool.map(levels_of, models))
        list(pool.map(summarise, range(0, table.n_rows, size)))
    cells = by_row[:, table.row]
    return RankSummary(cells[0], cells[1], cells[2], cells[3:])
