"""The selection repeated on weighted cells: culling at one penalty and the stepwise search, many times cheaply.

All replicates share the design, its distinct rows and their packed words; a replicate is a whole number per cell, how
often it holds the cell. Four replicates ride in the lanes of one penalised solve, which starts from the
solution for all cells, so it takes few Newton steps; and the table a search needs is collapsed from distinct lines
(row of codes, count, exposure) with their weights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _rows
from rtmdx.errors import FitError, InputError
from rtmdx.model.design import Design
from rtmdx.model.entries import Entries
from rtmdx.model.lanes import LANES, Lanes
from rtmdx.model.likelihood import DISTINCT, MAX_COEFFICIENT, Family
from rtmdx.model.outcome import check_counts, check_exposure
from rtmdx.model.penalized import LaneSolver
from rtmdx.model.search import Rules, Search
from rtmdx.model.tables import CellTable
from rtmdx.model.tabulate import tabulate
from rtmdx.model.words import LOOKUP_CODES, Words

__all__ = ["Culled", "Penalty", "Refit", "Refitter", "SearchOptions"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

NO_EVENTS = "the replicate has no events"


@dataclass(frozen=True, eq=False)
class Penalty:
    """Where culling stands in every replicate: the penalties of the whole, and its solution to start from.

    Attributes
    ----------
    l1, l2 : float
    lambda_max : float
        The smallest L1 penalty that empties the whole's model; 0 where nothing has anything to say.
    coefficients : float64 array, shape (n_variables,)
    """

    l1: float
    l2: float
    lambda_max: float
    coefficients: Float


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What the stepwise search of a replicate does, as in `rtmdx.model.stepwise.stepwise`."""

    families: tuple[Family, ...] = ("poisson", "nbii")
    forced_factors: tuple[int, ...] = ()
    exchange: bool = False
    max_steps: int = 200


@dataclass(frozen=True, eq=False)
class Refit:
    """The model of a replicate.

    Attributes
    ----------
    culled : tuple of int
        Columns that culling kept.
    columns : tuple of int
        Columns of the model, rising.
    coefficients : float64 array, shape (k,)
    intercept : float
    family : {"poisson", "nbii", "nb2"}, or None without a model
    penalty : float
        The L1 penalty; NaN without a model.
    error : str or None
        Why there is no model.
    """

    culled: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    coefficients: Float = field(default_factory=lambda: np.zeros(0))
    intercept: float = float("nan")
    family: Family | None = None
    penalty: float = float("nan")
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Culled:
    """What culling kept of a replicate.

    Attributes
    ----------
    columns : tuple of int
    ceiling : float
        No Poisson model of these columns with coefficients >= 0, one per factor, has a log likelihood above it, but
        for the constants.
    """

    columns: tuple[int, ...] = ()
    ceiling: float = float("inf")


class Refitter:
    """Refits of one design to weighted cells.

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
    group : int array, shape (n_cells,)
        Group of each cell, from 0; a replicate says how often it holds each group. ``np.arange(n_cells)``
        weighs cells one by one.
    options : SearchOptions
    exposure : array, shape (n_cells,), optional
    poll : callable
        Raises to stop; called before every Newton step and fit, from any thread.
    """

    def __init__(
        self,
        design: Design,
        counts: ArrayLike,
        group: ArrayLike,
        options: SearchOptions,
        *,
        exposure: ArrayLike | None = None,
        poll: Callable[[], None] = lambda: None,
    ) -> None:
        self.design, self.options, self.poll = design, options, poll
        self._searching = threading.Lock()
        y = check_counts(design.n_cells, counts)
        e = check_exposure(design.n_cells, exposure, y)
        of = np.asarray(group, dtype=np.int64)
        if of.shape != y.shape or of.min(initial=0) < 0:
            raise InputError(
                f"group has shape {of.shape}, expected {y.shape}: the number of each cell's group, from 0."
            )
        self.table = tabulate(design, y, exposure=e)
        self._amounts = self.table.amounts()
        assert self.table.row is not None
        self.has_exposure = e is not None
        self.every = Words(self.table, np.arange(self.table.layout.n_variables), LOOKUP_CODES)
        kept = self.table.row >= 0
        row, y, self._group = self.table.row[kept], y[kept], of[kept]
        own = np.ones(len(y)) if e is None else e[kept]
        order = np.lexsort((own, y, row))
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(row[order]) != 0) | (np.diff(y[order]) != 0) | (np.diff(own[order]) != 0)
        first = order[new]
        self._line = np.empty(len(order), np.int64)
        self._line[order] = np.cumsum(new) - 1
        self._row, self._y, self._exposure = row[first], y[first], own[first]
        # What culling sees: exposures rounded as its table rounds them, so that their sums are exact.
        self._steps = np.maximum(np.rint(self._exposure / self.table.unit), 1.0).astype(np.int64)
        self._raised = max(0.0, float(np.log((self._steps * self.table.unit / self._exposure).max())))
        self._codes = [
            (line[self._row], set(self.table.layout.block_columns(b))) for b, line in enumerate(self.table.codes)
        ]

    def weights(self, times: Int) -> Int:
        """Number of cells of each line in a replicate that holds group g ``times[g]`` times."""
        w = np.bincount(self._line, weights=times[self._group].astype(np.float64), minlength=len(self._y))
        return w.astype(np.int64)

    def run(self, times: Sequence[Int], penalty: Penalty) -> list[Refit]:
        """Refit up to four replicates: cull them in lanes of one solve, then search each.

        Parameters
        ----------
        times : sequence of int64 arrays, shape (n_groups,)
            How often each replicate holds each group.
        penalty : Penalty

        Returns
        -------
        list of Refit
            One without a model says why.
        """
        weights = [self.weights(t) for t in times]
        able = [i for i, w in enumerate(weights) if float(w @ self._y) > 0]
        culled = self.cull([weights[i] for i in able], penalty)
        out = [Refit(error=NO_EVENTS) for _ in weights]
        for i, found in zip(able, culled, strict=True):
            out[i] = Refit(error=found) if isinstance(found, str) else self.search(weights[i], found, penalty.l1)
        return out

    # ------------------------------------------------------------------------------------ culling

    def lanes(self, weights: Sequence[Int]) -> Lanes:
        """What up to four weighted fits are fitted to; each needs events."""
        t, k = self.table, len(weights)
        groups, events_by_row = np.zeros((LANES, t.n_rows), np.int64), np.zeros((t.n_rows, LANES))
        events, n = np.ones(LANES), np.ones(LANES)
        no_group = np.zeros(0, np.int32)
        for f, w in enumerate(weights):
            of = w.astype(np.float64)
            _rows.add_by_row(self._row, no_group, -w * self._steps, groups[f : f + 1])
            events_by_row[:, f] = np.bincount(self._row, weights=of * self._y, minlength=t.n_rows)
            events[f], n[f] = events_by_row[:, f].sum(), of.sum()
        xty = np.zeros((t.layout.n_variables, LANES))
        xty[self.every.columns] = self.every.sums(events_by_row)
        group = np.where(np.arange(LANES) < k, np.arange(LANES), -1).astype(np.int32)
        return Lanes(k, self._amounts, t.unit, groups, group, np.zeros(LANES), xty, events, n)

    def cull(self, weights: Sequence[Int], penalty: Penalty) -> list[Culled | str]:
        """What each of up to four weighted fits keeps at a penalty, or why there is nothing."""
        if not weights:
            return []
        if penalty.lambda_max == 0.0:
            return [Culled() for _ in weights]
        try:
            solver = LaneSolver(self.table, self.every, self.lanes(weights), poll=self.poll)
            solver.restart(np.repeat(penalty.coefficients[:, None], LANES, axis=1) * solver.live)
            solver.solve(penalty.l1, penalty.l2, penalty.l1, penalty.l1, 1e-10 * penalty.lambda_max)
        except FitError as error:
            if len(weights) == 1:
                return [error.message]
            return [found for w in weights for found in self.cull([w], penalty)]
        return [self._kept(solver, f) for f in range(len(weights))]

    def _kept(self, solver: LaneSolver, lane: int) -> Culled:
        """The nonzero columns of a lane, and the bound of `Culled`.

        The log likelihood L is concave, so it lies below its tangent plane at the penalised solution. Coefficients of a
        model are from 0 to `MAX_COEFFICIENT`, at most one per factor, which bounds the plane's height. Exposures that
        culling rounds up by a factor r lower its log likelihood by at most events x log(r).
        """
        columns = np.flatnonzero(solver.beta[:, lane])
        beta, slope = solver.beta[columns, lane], solver.slope[columns, lane] * solver.n[lane]
        events, total = float(solver.events[lane]), float(solver.total[lane])
        here = float(beta @ solver.xty[columns, lane]) + events * (np.log(events / total) - 1.0)
        steepest: dict[int, float] = {}
        for j, s in zip(columns.tolist(), slope.tolist(), strict=True):
            factor = self.design.variables[j].factor
            steepest[factor] = max(steepest.get(factor, 0.0), s)
        gain = MAX_COEFFICIENT * sum(steepest.values()) - float(slope @ beta)
        return Culled(tuple(columns.tolist()), here + gain + events * self._raised)

    # ----------------------------------------------------------------------------------- stepwise

    def search(self, weights: Int, culled: Culled, penalty: float = float("nan")) -> Refit:
        """Search stepwise among the columns kept and those of forced factors.

        The Poisson search is left out where no Poisson model can have the lowest BIC: the model is the same.
        """
        held = set(self.options.forced_factors)
        # A search is thousands of short calls; two at a time would mostly wait for each other's interpreter lock.
        with self._searching:
            return self._search(weights, culled, penalty, held)

    def _search(self, weights: Int, culled: Culled, penalty: float, held: set[int]) -> Refit:
        options = self.options
        forced = {j for j, v in enumerate(self.design.variables) if v.factor in held}
        columns = tuple(sorted({*culled.columns, *forced}))
        rules = Rules(columns, (), frozenset(held), False, options.exchange)
        on = np.flatnonzero(weights)
        y, w = self._y[on], weights[on]
        unread = np.zeros(len(on), np.uint8)
        codes = [line[on] if used.intersection(columns) else unread for line, used in self._codes]
        exposure = self._exposure[on] if self.has_exposure else None
        tables: dict[str, CellTable] = {}
        done: dict[Family, Search] = {}
        try:
            for family in sorted(options.families, key=lambda f: f == "poisson"):
                if family == "poisson" and done and not held:
                    entries = next(iter(tables.values())).entries
                    constant = entries.constant - entries.n_events * entries.log_unit
                    lowest = -2.0 * (culled.ceiling - constant) + np.log(entries.n_cells)
                    if lowest - 1e-6 * abs(lowest) > min(s.bic for s in done.values()):
                        continue
                kind = DISTINCT[family] if self.has_exposure else "all"
                if kind not in tables:
                    entries = Entries.tabulate(self.design, codes, y, w, exposure, columns, distinct=kind)
                    tables[kind] = CellTable(entries)
                search = Search(self.design, tables[kind], family, rules, 1, self.poll)
                search.enter_forced()
                for _ in range(options.max_steps):
                    if search.step().action == "stop":
                        break
                done[family] = search
        except FitError as error:
            return Refit(culled.columns, error=error.message)
        best = min((done[f] for f in options.families if f in done), key=lambda s: s.bic)
        k = len(best.columns)
        order = np.argsort(best.columns)
        unit = best.cells.entries.log_unit
        return Refit(
            culled=culled.columns,
            columns=tuple(sorted(best.columns)),
            coefficients=best.fit.parameters[1 : 1 + k][order].copy(),
            intercept=float(best.fit.parameters[0]) - unit,
            family=best.family,
            penalty=penalty,
        )
