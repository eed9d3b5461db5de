"""The stepwise search of one family: moves, their fits, the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx import _counts
from rtmdx.errors import FitError
from rtmdx.model.design import Design
from rtmdx.model.families import CountModel, as_model, unusable
from rtmdx.model.likelihood import Family, TableFit, fit_table
from rtmdx.model.tables import CellTable, CountTable

__all__ = ["Action", "Attempt", "Rules", "Search", "Step"]

Float = NDArray[np.float64]
Action = Literal["add", "drop", "exchange", "force"]

TIE = 1e-9  # BICs closer than this share of their size are equal
SHOWN = 5  # alternatives kept per step
NOT_POSITIVE = "a coefficient is not positive"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A move that was tried or ruled out in a step.

    Attributes
    ----------
    action : {"add", "drop", "exchange", "force"}
    variable : str
        The variable added or dropped.
    bic : float or None
        BIC after the move; None if it could not be fitted.
    reason : str or None
        Why the move is not admissible; None if it is.
    replaced : str or None
        Exchanges: the variable that leaves.
    """

    action: Action
    variable: str
    bic: float | None
    reason: str | None
    replaced: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the search.

    Attributes
    ----------
    family : {"poisson", "nbii", "nb2"}
    number : int
        From 1, within the family.
    action : {"add", "drop", "exchange", "force", "stop"}
    variable : str or None
        The variable added or dropped; None at the stop.
    bic_before, bic_after : float
    n_tried : int
        Models fitted in this step.
    alternatives : tuple of Attempt
        The best admissible moves by BIC, the chosen one first; at most 5.
    ruled_out : tuple of Attempt
        Moves that could not be fitted (separation, constant, collinear), and moves that would have
        lowered BIC but leave a coefficient that is not positive.
    replaced : str or None
        Exchanges: the variable that left.
    """

    family: Family
    number: int
    action: Action | Literal["stop"]
    variable: str | None
    bic_before: float
    bic_after: float
    n_tried: int
    alternatives: tuple[Attempt, ...]
    ruled_out: tuple[Attempt, ...]
    replaced: str | None = None


@dataclass(frozen=True)
class Rules:
    """What may enter, and what is in whatever BIC says.

    Attributes
    ----------
    candidates : tuple of int
        Rising; none of a factor that has a forced column.
    forced : tuple of int
    forced_factors : frozenset of int
    forced_sign : bool
    exchange : bool
    """

    candidates: tuple[int, ...]
    forced: tuple[int, ...]
    forced_factors: frozenset[int]
    forced_sign: bool
    exchange: bool


@dataclass(frozen=True, slots=True)
class _Move:
    action: Action
    column: int
    leaves: int | None = None  # exchanges


@dataclass(frozen=True, slots=True)
class _Tried:
    move: _Move
    columns: tuple[int, ...]
    fit: TableFit | None
    bic: float
    reason: str | None


class Search:
    """The search of one family, from its null model on.

    Parameters
    ----------
    design : Design
        Its variables are read.
    cells : CellTable
    family
    rules : Rules
    threads : int
    poll : callable
        Raises to stop.
    """

    def __init__(
        self, design: Design, cells: CellTable, family: Family, rules: Rules, threads: int, poll: Callable[[], None]
    ) -> None:
        self.design, self.cells, self.family, self.rules = design, cells, family, rules
        self.threads, self.poll = threads, poll
        self.columns: tuple[int, ...] = ()
        self.fit = fit_table(cells.table(cells.node(())), family)
        self.bic = self._bic(self.fit)
        self.factor = [v.factor for v in design.variables]
        self.number = 0

    def _bic(self, fit: TableFit) -> float:
        return -2.0 * fit.log_likelihood + len(fit.parameters) * float(np.log(self.cells.n_cells))

    def _name(self, j: int | None) -> str:
        return "" if j is None else self.design.variables[j].name

    def _is_forced(self, j: int) -> bool:
        return j in self.rules.forced or self.factor[j] in self.rules.forced_factors

    def _preference(self, move: _Move) -> tuple[int, float, int, int, int]:
        """Order among equal BICs: drop, exchange, add; smaller distance, proximity (then cost), factor order."""
        v = self.design.variables[move.column]
        action = ("drop", "exchange", "add", "force").index(move.action)
        kind = ("proximity", "cost", "density").index(v.operationalization)
        return (action, v.distance, kind, v.factor, move.column)

    # ------------------------------------------------------------------------------------- one move

    def _start(self, columns: Sequence[int], j: int | None, value: float) -> Float | None:
        """The current parameters for another set of columns, with `value` for column j."""
        now = self.fit.parameters
        if not np.isfinite(now).all():
            return None
        of = dict(zip(self.columns, now[1:], strict=False))
        middle = [value if c == j else of[c] for c in columns]
        return np.concatenate([now[:1], middle, now[1 + len(self.columns) :]])

    def _table(self, move: _Move) -> tuple[CountTable | None, tuple[int, ...], float, str | None]:
        """The table after a move, its columns, a start for the new coefficient, or why there is none."""
        cells, now = self.cells, self.columns
        node = cells.node(now)
        out = move.column if move.action == "drop" else move.leaves
        rest = tuple(c for c in now if c != out)
        if move.action == "drop":
            return cells.without(node, move.column), rest, 0.0, None
        j = move.column
        reason = unusable(*cells.support(node, j), cells.n_events)
        if reason:
            return None, rest, 0.0, reason
        columns = (*rest, j)
        table = cells.with_variable(node, j, move.leaves)
        if move.leaves is not None:
            return table, columns, float(self.fit.parameters[1 + now.index(move.leaves)]), None
        # The coefficient that makes the expected events where it is 1 equal the events there.
        k = table.x.shape[1] - 1
        eta = np.empty(len(table.x))
        _counts.linear_predictor(table.x[:, :k].copy(), self.fit.parameters[:k].copy(), eta)
        on = table.x[:, k][table.pattern] != 0.0
        mu = np.sum((table.cells * table.exposure * np.exp(eta)[table.pattern])[on])
        events = np.sum((table.cells * table.y)[on])
        ratio = float(np.log(events / mu)) if mu > 0.0 else 0.0
        return table, columns, self.design.variables[j].sign * min(max(ratio, -3.0), 3.0), None

    def _try(self, move: _Move) -> _Tried:
        self.poll()
        table, columns, value, reason = self._table(move)
        if table is None:
            return _Tried(move, columns, None, np.inf, reason)
        entering = None if move.action == "drop" else move.column
        try:
            fit = fit_table(table, self.family, self._start(columns, entering, value))
        except FitError as error:
            return _Tried(move, columns, None, np.inf, error.message)
        wrong = any(
            b <= 0.0 and (self.rules.forced_sign or not self._is_forced(c))
            for c, b in zip(columns, fit.parameters[1:], strict=False)
        )
        return _Tried(move, columns, fit, self._bic(fit), NOT_POSITIVE if wrong else None)

    def _try_all(self, moves: Sequence[_Move]) -> list[_Tried]:
        """Fit every move; on several threads at once, each on its own tables, in the order given."""
        self.cells.node(self.columns)  # made here, so that threads only read it
        if self.threads == 1 or len(moves) < 2:
            return [self._try(m) for m in moves]
        with ThreadPoolExecutor(self.threads) as pool:
            futures = [pool.submit(self._try, m) for m in moves]
            try:
                return [f.result() for f in futures]
            except BaseException:
                for f in futures:
                    f.cancel()
                raise

    # ------------------------------------------------------------------------------------- one step

    def _moves(self) -> list[_Move]:
        taken = {self.factor[c] for c in self.columns}
        moves = [_Move("drop", j) for j in self.columns if not self._is_forced(j)]
        moves += self._exchange_moves(everything=self.rules.exchange)
        return moves + [_Move("add", j) for j in self.rules.candidates if self.factor[j] not in taken]

    def _exchange_moves(self, *, everything: bool) -> list[_Move]:
        """Exchanges within the factors in the model; of forced factors only, unless `everything`."""
        return [
            _Move("exchange", j, c)
            for c in self.columns
            if c not in self.rules.forced and (everything or self.factor[c] in self.rules.forced_factors)
            for j in self.rules.candidates
            if j != c and self.factor[j] == self.factor[c]
        ]

    def _best(self, tried: Sequence[_Tried]) -> list[_Tried]:
        """Admissible moves by BIC; among those that tie with the first, the preferred one goes first."""
        good = sorted(
            (t for t in tried if t.fit is not None and t.reason is None),
            key=lambda t: (t.bic, *self._preference(t.move)),
        )
        if good:
            limit = good[0].bic + TIE * abs(good[0].bic)
            first = min((t for t in good if t.bic <= limit), key=lambda t: self._preference(t.move))
            good.remove(first)
            good.insert(0, first)
        return good

    def _attempt(self, t: _Tried) -> Attempt:
        replaced = None if t.move.leaves is None else self._name(t.move.leaves)
        bic = None if t.fit is None else t.bic
        return Attempt(t.move.action, self._name(t.move.column), bic, t.reason, replaced)

    def _ruled_out(self, tried: Sequence[_Tried]) -> tuple[Attempt, ...]:
        return tuple(self._attempt(t) for t in tried if t.fit is None or (t.reason is not None and t.bic < self.bic))

    def _take(self, chosen: _Tried, tried: Sequence[_Tried], shown: Sequence[_Tried]) -> Step:
        assert chosen.fit is not None
        before, move = self.bic, chosen.move
        ruled_out = self._ruled_out(tried)
        self.columns, self.fit, self.bic = chosen.columns, chosen.fit, chosen.bic
        self.number += 1
        return Step(
            self.family,
            self.number,
            move.action,
            self._name(move.column),
            before,
            chosen.bic,
            sum(t.fit is not None for t in tried),
            tuple(self._attempt(t) for t in shown[:SHOWN]),
            ruled_out,
            None if move.leaves is None else self._name(move.leaves),
        )

    def enter_forced(self) -> list[Step]:
        """Enter the forced columns in their order, then the forced factors, the best variable first.

        Raises
        ------
        FitError
            If one of them cannot be estimated, or has the wrong sign where signs are held.
        """
        steps = []
        for j in self.rules.forced:
            tried = self._try(_Move("force", j))
            if tried.fit is None or (tried.reason is not None and j == self.rules.forced[-1]):
                raise FitError(f"{self._name(j)} is forced into the {self.family} model, but {tried.reason}.")
            steps.append(self._take(tried, [tried], [tried]))
        waiting = set(self.rules.forced_factors)
        while waiting:
            tried_all = self._try_all([_Move("force", j) for j in self.rules.candidates if self.factor[j] in waiting])
            good = self._best(tried_all)
            if not good:
                reasons = "; ".join(f"{self._name(t.move.column)}: {t.reason}" for t in tried_all)
                raise FitError(
                    f"A factor is forced into the {self.family} model, but none of its variables can be ({reasons}).",
                    hint="Do not force the factor, or lower the minimum support.",
                )
            steps.append(self._take(good[0], tried_all, good))
            waiting.discard(self.factor[good[0].move.column])
        return steps

    def step(self) -> Step:
        """Try every move and take the best; returns the step, `stop` if none lowers BIC."""
        tried = self._try_all(self._moves())
        good = self._best(tried)
        if good and good[0].bic < self.bic - TIE * abs(self.bic):
            return self._take(good[0], tried, good)
        self.number += 1
        shown = tuple(self._attempt(t) for t in good[:SHOWN])
        n_tried = sum(t.fit is not None for t in tried)
        return Step(self.family, self.number, "stop", None, self.bic, self.bic, n_tried, shown, self._ruled_out(tried))

    def exchanges(self) -> tuple[Attempt, ...]:
        """Exchanges of one variable that would lower BIC, the best first."""
        good = self._best(self._try_all(self._exchange_moves(everything=True)))
        return tuple(self._attempt(t) for t in good if t.bic < self.bic - TIE * abs(self.bic))[:SHOWN]

    def model(self, *, has_exposure: bool) -> CountModel:
        """The current model, its variables in column order."""
        columns = tuple(sorted(self.columns))
        order = np.array([self.columns.index(j) for j in columns], dtype=np.intp)
        k = len(columns)
        index = np.concatenate([[0], 1 + order, np.arange(1 + k, len(self.fit.parameters))]).astype(np.intp)
        inner = index[: len(self.fit.information)]
        fit = TableFit(
            self.fit.parameters[index],
            self.fit.information[np.ix_(inner, inner)],
            self.fit.log_likelihood,
            self.fit.at_boundary,
            self.fit.n_iterations,
        )
        table = self.cells.table(self.cells.node(columns))
        return as_model(fit, self.family, table, self.design, columns, has_exposure=has_exposure)
