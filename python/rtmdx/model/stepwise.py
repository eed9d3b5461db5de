"""Stage 2: the stepwise search for the risk terrain model.

From the null model, both directions, each step the one add or drop that lowers BIC most; once per
family; the lowest final BIC wins. At most one variable per factor, all coefficients positive. The
procedure is RTMDx's as RTMR re-implements it (Heffner 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _stats
from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.design import Design
from rtmdx.model.families import CountModel, as_model, check_columns, check_counts, unusable
from rtmdx.model.likelihood import FAMILIES, Family, TableFit, fit_table
from rtmdx.model.tables import CellTable, CountTable

__all__ = ["Attempt", "Step", "StepwiseResult", "stepwise"]

Float = NDArray[np.float64]

TIE = 1e-9  # BICs closer than this share of their size are equal
SHOWN = 5  # alternatives kept per step


@dataclass(frozen=True, slots=True)
class Attempt:
    """A move that was tried or ruled out in a step.

    Attributes
    ----------
    action : {"add", "drop"}
    variable : str
    bic : float or None
        BIC after the move; None if it could not be fitted.
    reason : str or None
        Why the move is not admissible; None if it is.
    """

    action: Literal["add", "drop"]
    variable: str
    bic: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the search.

    Attributes
    ----------
    family : {"poisson", "nbii", "nb2"}
    number : int
        From 1, within the family.
    action : {"add", "drop", "stop"}
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
    """

    family: Family
    number: int
    action: Literal["add", "drop", "stop"]
    variable: str | None
    bic_before: float
    bic_after: float
    n_tried: int
    alternatives: tuple[Attempt, ...]
    ruled_out: tuple[Attempt, ...]


@dataclass(frozen=True)
class StepwiseResult:
    """The model chosen, the best of each family, and how they were found.

    Attributes
    ----------
    model : CountModel
        The lowest final BIC over the families.
    models : dict of CountModel by family
    null_bic : dict of float by family
        BIC of the model without variables.
    trace : tuple of Step
        All steps, family by family.
    flagged : dict of tuple of str by family
        Variables of the final model with p > alpha. They stay in: BIC decided, the p-value is a check.
    notes : tuple of str
    """

    model: CountModel
    models: dict[Family, CountModel]
    null_bic: dict[Family, float]
    trace: tuple[Step, ...]
    flagged: dict[Family, tuple[str, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Move:
    action: Literal["add", "drop"]
    column: int
    bic: float
    fit: TableFit


class _Search:
    """The search of one family."""

    def __init__(self, design: Design, counts: Float, family: Family, poll: Callable[[], None]) -> None:
        self.design, self.family, self.poll = design, family, poll
        self.cells = CellTable(design, counts)
        self.fit = fit_table(self.cells.table(), family)
        self.bic = self._bic(self.fit)
        self.factors = np.array([v.factor for v in design.variables])

    def _bic(self, fit: TableFit) -> float:
        return -2.0 * fit.log_likelihood + len(fit.parameters) * float(np.log(self.design.n_cells))

    def _name(self, j: int) -> str:
        return self.design.variables[j].name

    def _preference(self, move: _Move) -> tuple[bool, float, int, int, int]:
        """Order among equal BICs: drop first, smaller distance, proximity (then cost), factor order."""
        v = self.design.variables[move.column]
        kind = ("proximity", "cost", "density").index(v.operationalization)
        return (move.action == "add", v.distance, kind, v.factor, move.column)

    def _start(self, place: int | None, value: float) -> Float | None:
        """The current parameters with a coefficient put in (or, place negative, taken out) as a start."""
        now = self.fit.parameters
        if not np.isfinite(now).all():
            return None
        if place is None:
            return np.insert(now, 1 + len(self.cells.columns), value)
        return np.delete(now, 1 + place)

    def _try_add(self, j: int) -> tuple[TableFit | None, str | None]:
        cells = self.cells
        inside = cells.inside(j)
        events = float(np.sum(inside * cells.y))
        reason = unusable(float(inside.sum()), events, float(self.design.n_cells), cells.n_events)
        if reason:
            return None, reason
        k = 1 + len(cells.columns)
        eta = np.empty(len(cells.x))
        _stats.linear_predictor(cells.x, np.ascontiguousarray(self.fit.parameters[:k]), eta)
        ratio = float(np.log(events / np.sum(inside * np.exp(eta)[cells.pattern])))
        start = self._start(None, self.design.variables[j].sign * min(max(ratio, -3.0), 3.0))
        return self._fit(cells.with_variable(j, inside), start)

    def _fit(self, table: CountTable, start: Float | None) -> tuple[TableFit | None, str | None]:
        try:
            return fit_table(table, self.family, start), None
        except FitError as error:
            return None, error.message

    def step(self, number: int, candidates: Sequence[int]) -> Step:
        """Try every move and take the best; returns the step, `stop` if none lowers BIC."""
        moves: list[_Move] = []
        ruled_out: list[Attempt] = []
        n_tried = 0
        current = list(self.cells.columns)
        taken = set(self.factors[current].tolist())
        todo: list[tuple[Literal["add", "drop"], int]] = [("drop", j) for j in current]
        todo += [("add", j) for j in candidates if self.factors[j] not in taken]
        for action, j in todo:
            self.poll()
            if action == "add":
                fit, reason = self._try_add(j)
                k = len(current) + 1
            else:
                fit, reason = self._fit(self.cells.without(j), self._start(current.index(j), 0.0))
                k = len(current) - 1
            if fit is None:
                ruled_out.append(Attempt(action, self._name(j), None, reason))
                continue
            n_tried += 1
            bic = self._bic(fit)
            if (fit.parameters[1 : 1 + k] <= 0.0).any():
                if bic < self.bic:
                    ruled_out.append(Attempt(action, self._name(j), bic, "a coefficient is not positive"))
                continue
            moves.append(_Move(action, j, bic, fit))
        moves.sort(key=lambda m: (m.bic, *self._preference(m)))
        before = self.bic
        chosen: _Move | None = None
        if moves and moves[0].bic < before - TIE * abs(before):
            limit = moves[0].bic + TIE * abs(moves[0].bic)
            chosen = min((m for m in moves if m.bic <= limit), key=self._preference)
            moves.remove(chosen)
            moves.insert(0, chosen)
        shown = tuple(Attempt(m.action, self._name(m.column), m.bic, None) for m in moves[:SHOWN])
        if chosen is None:
            return Step(self.family, number, "stop", None, before, before, n_tried, shown, tuple(ruled_out))
        if chosen.action == "add":
            self.cells.move_to([*current, chosen.column])
        else:
            self.cells.move_to([j for j in current if j != chosen.column])
        self.fit, self.bic = chosen.fit, chosen.bic
        return Step(
            self.family,
            number,
            chosen.action,
            self._name(chosen.column),
            before,
            chosen.bic,
            n_tried,
            shown,
            tuple(ruled_out),
        )

    def model(self) -> CountModel:
        """The current model, its variables in column order."""
        columns = sorted(self.cells.columns)
        order = np.array([self.cells.columns.index(j) for j in columns], dtype=np.intp)
        k = len(columns)
        index = np.concatenate([[0], 1 + order, np.arange(1 + k, len(self.fit.parameters))]).astype(np.intp)
        fit = TableFit(
            self.fit.parameters[index],
            self.fit.covariance[np.ix_(index, index)],
            self.fit.log_likelihood,
            self.fit.at_boundary,
            self.fit.n_iterations,
        )
        return as_model(fit, self.family, self.design, tuple(columns), self.cells.n_events)


def stepwise(
    design: Design,
    counts: ArrayLike,
    candidates: Sequence[int],
    *,
    families: Sequence[Family] = ("poisson", "nbii"),
    alpha: float = 0.05,
    max_steps: int = 200,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> StepwiseResult:
    """Search for the model of lowest BIC by single adds and drops, for each family.

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
        Events per kept cell.
    candidates : sequence of int
        Columns of the design that may enter: those culling selected.
    families : sequence of {"poisson", "nbii", "nb2"}
    alpha : float
        Variables of a final model with p above it are flagged. They are not removed: the search is
        by BIC, and RTMDx uses the p-value as a sanity check only.
    max_steps : int
        Most adds and drops per family.
    progress : callable, optional
        Called as ``progress("stepwise", done, total)``, in steps; the total is a guess (families x
        (factors + 1)) until the end.
    cancel : callable, optional
        Polled before every fit.

    Returns
    -------
    StepwiseResult

    Raises
    ------
    InputError
        If an argument does not fit the design or its range.
    FitError
        If there are no events.
    Cancelled
        If `cancel` returned true.

    Notes
    -----
    BIC = -2 log L + df ln(cells), with all constants in log L and the dispersion counted in df. A move is
    admissible only if all coefficients of the signed columns are positive after it. A variable without
    events where it is 1 (or where it is 0) has an infinite coefficient: it is not enterable, and the trace
    says so, as it does for collinear variables and fits that fail. BICs within 1e-9 of each other are
    equal; then a drop comes before an add, the smaller distance first, proximity before cost before density, and the
    factors in their order. Equal final BICs go to the earlier family.
    """
    y = check_counts(design, counts)
    allowed = sorted(check_columns(design, candidates))
    if not families or len(set(families)) < len(families) or not set(families) <= set(FAMILIES):
        raise InputError(f"families is {tuple(families)}, expected some of {', '.join(FAMILIES)}, each once.")
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha is {alpha}, expected between 0 and 1, such as 0.05.")
    if max_steps < 0:
        raise InputError(f"max_steps is {max_steps}, expected at least 0.")
    if y.sum() == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")

    def poll() -> None:
        if cancel is not None and cancel():
            raise Cancelled("The stepwise search was cancelled.")

    guess = len({design.variables[j].factor for j in allowed}) + 1
    trace: list[Step] = []
    models: dict[Family, CountModel] = {}
    null_bic: dict[Family, float] = {}
    flagged: dict[Family, tuple[str, ...]] = {}
    notes: list[str] = []
    for number, family in enumerate(families):
        search = _Search(design, y, family, poll)
        null_bic[family] = search.bic
        taken = 0
        while True:
            if progress is not None:
                progress("stepwise", number * guess + min(taken, guess - 1), len(families) * guess)
            if taken == max_steps:
                notes.append(f"{family}: stopped after max_steps = {max_steps} steps, BIC could still fall.")
                break
            step = search.step(taken + 1, allowed)
            trace.append(step)
            if step.action == "stop":
                break
            taken += 1
        model = search.model()
        models[family] = model
        if model.at_boundary:
            notes.append(f"{family}: the counts vary no more than Poisson; the dispersion is 0.")
        weak = model.p_values[1:] > alpha
        flagged[family] = tuple(v.name for v, w in zip(model.variables, weak, strict=True) if w)
        notes += [f"{family}: {name} has p > {alpha:g}." for name in flagged[family]]
    if progress is not None:
        progress("stepwise", len(families) * guess, len(families) * guess)
    winner = min(families, key=lambda f: models[f].bic)
    return StepwiseResult(models[winner], models, null_bic, tuple(trace), flagged, tuple(notes))
