"""Stage 2: the stepwise search for the risk terrain model.

From the null model, both directions, each step the one add or drop that lowers BIC most; once per
family; the lowest final BIC wins. At most one variable per factor, all coefficients positive. The
procedure is RTMDx's as RTMR re-implements it (Heffner 2013). Exchanges, forced variables and factors are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.design import Design
from rtmdx.model.entries import Distinct
from rtmdx.model.families import CountModel, check_columns
from rtmdx.model.likelihood import DISTINCT, Family
from rtmdx.model.outcome import check_counts, check_exposure
from rtmdx.model.search import Attempt, Rules, Search, Step
from rtmdx.model.stepwise_options import StepwiseOptions
from rtmdx.model.tables import CellTable

__all__ = ["Attempt", "Step", "StepwiseResult", "stepwise", "stepwise_entries"]

Float = NDArray[np.float64]


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
    exchanges : dict of tuple of Attempt by family
        Exchanges of a variable of the final model for another candidate of its factor that would lower BIC,
        the best first; at most 5. Empty where exchanges were part of the search.
    """

    model: CountModel
    models: dict[Family, CountModel]
    null_bic: dict[Family, float]
    trace: tuple[Step, ...]
    flagged: dict[Family, tuple[str, ...]]
    notes: tuple[str, ...]
    exchanges: dict[Family, tuple[Attempt, ...]] = field(default_factory=dict)


def stepwise(
    design: Design,
    counts: ArrayLike,
    candidates: Sequence[int],
    *,
    families: Sequence[Family] = ("poisson", "nbii"),
    exposure: ArrayLike | None = None,
    forced: Sequence[int] = (),
    forced_factors: Sequence[int] = (),
    forced_sign: bool = False,
    exchange: bool = False,
    alpha: float = 0.05,
    max_steps: int = 200,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> StepwiseResult:
    """Search for the model of lowest BIC by single moves, for each family.

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
        Events per kept cell.
    candidates : sequence of int
        Columns of the design that may enter: those culling selected.
    families : sequence of {"poisson", "nbii", "nb2"}
    exposure : array, shape (n_cells,), optional
        Street length, population, area or time of each cell: mu = exposure * exp(x beta). Cells of exposure 0
        take no part. Under NBII the exposures of cells with events, and under NB2 those of all cells, are
        rows of the table: exact, but slower where they are many.
    forced : sequence of int
        Columns that are in the model from the start and are never dropped or exchanged; at most one per factor.
        They need not be candidates.
    forced_factors : sequence of int
        Factors (``Variable.factor``) that are in the model from the start with their best candidate, and stay
        in it: they enter one by one, each time the move that leaves the lowest BIC, and later their variable may be
        exchanged for another candidate of the factor, but not dropped.
    forced_sign : bool
        Hold the coefficients of forced columns and factors positive too. By default their sign is free, and a
        note says where it is not positive.
    exchange : bool
        Also try to replace a variable by another candidate of its factor, of the same or another
        operationalization, in one move. RTMDx only adds and drops; without it the result still says what
        exchanges would gain.
    alpha : float
        Variables of a final model with p above it are flagged. They are not removed: the search is
        by BIC, and RTMDx uses the p-value as a sanity check only.
    max_steps : int
        Most moves per family, forced ones not counted.
    threads : int
        Moves fitted at the same time; the result is the same for any number.
    progress : callable, optional
        Called as ``progress("stepwise", done, total)``, in steps; the total is a guess (families x
        (factors + 1)) until the end.
    cancel : callable, optional
        Polled between pieces of the tabulation and before every fit, from any of the threads.

    Returns
    -------
    StepwiseResult

    Raises
    ------
    InputError
        If an argument does not fit the design or its range.
    FitError
        If there are no events, or what is forced cannot be estimated.
    Cancelled
        If `cancel` returned true.

    Notes
    -----
    BIC = -2 log L + df ln(cells), with all constants in log L and the dispersion counted in df; cells of
    exposure 0 do not count. A move is admissible only if all coefficients of the signed columns are positive after
    it, forced ones apart. A variable without
    events where it is 1 (or where it is 0) has an infinite coefficient: it is not enterable, and the trace
    says so, as it does for collinear variables and fits that fail. The moves whose BIC exceeds the step's lowest by at
    most 1e-9 of its size are equal: of them a drop comes before an exchange before an add, the smaller distance
    first, proximity before cost before density, and the factors in their order. The search stops where no move lowers
    BIC by more than 1e-9 of its size. Equal final BICs go to the earlier family.

    Cells are first collapsed to the distinct combinations of candidates' codes, count and exposure (the
    *tabulation*, one pass over the cells); the search splits these by one variable after another. All sums over
    cells are of whole numbers, so their order changes no bit.
    """
    y = check_counts(design.n_cells, counts)
    weight = check_exposure(design.n_cells, exposure, y)

    def tabulate(columns: Sequence[int], distinct: Distinct, poll: Callable[[], None]) -> CellTable:
        return CellTable.from_design(design, y, weight, columns, distinct=distinct, poll=poll)

    options = StepwiseOptions(families, forced, forced_factors, forced_sign, exchange, alpha, max_steps)
    return _stepwise(
        design, tabulate, candidates, options, weight is not None, threads=threads, progress=progress, cancel=cancel
    )


def stepwise_entries(
    design: Design,
    codes: NDArray[np.uint8],
    y: ArrayLike,
    cells: ArrayLike,
    candidates: Sequence[int],
    options: StepwiseOptions | None = None,
    *,
    exposure: ArrayLike | None = None,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> StepwiseResult:
    """Search as `stepwise` does, from rows that stand for several cells: those of tiles, put end to end.

    Parameters
    ----------
    design : Design
        Its decode tables and variables are read, its cells' codes are not; any tile's design will do.
    codes : uint8 array, shape (n_blocks, n_rows)
    y, cells : arrays of whole numbers, shape (n_rows,)
        Events in each cell of the row, and the number of cells it stands for.
    candidates : sequence of int
    options : StepwiseOptions, optional
    exposure : array, shape (n_rows,), optional
        Exposure of each cell of the row.
    threads, progress, cancel
        As for `stepwise`.

    Returns
    -------
    StepwiseResult
        The same bits as `stepwise` on the cells, for any order and division of them into rows.

    Raises
    ------
    InputError, FitError, Cancelled
        As `stepwise`.
    """
    codes = np.ascontiguousarray(codes, dtype=np.uint8)
    if codes.ndim != 2 or len(codes) != len(design.blocks):
        raise InputError(f"codes have shape {codes.shape}, expected ({len(design.blocks)}, rows): one line per block.")
    rows = Design(design.blocks, codes.shape[1])
    events = check_counts(rows.n_cells, y)
    number = check_counts(rows.n_cells, cells).astype(np.int64)
    if (number == 0).any():
        raise InputError(f"row {int(np.argmin(number))} stands for 0 cells, expected at least 1.")
    weight = check_exposure(rows.n_cells, exposure, events)

    def tabulate(columns: Sequence[int], distinct: Distinct, poll: Callable[[], None]) -> CellTable:
        return CellTable.from_entries(design, codes, events, number, weight, columns, distinct=distinct, poll=poll)

    return _stepwise(
        design,
        tabulate,
        candidates,
        options or StepwiseOptions(),
        weight is not None,
        threads=threads,
        progress=progress,
        cancel=cancel,
    )


def _stepwise(
    design: Design,
    tabulate: Callable[[Sequence[int], Distinct, Callable[[], None]], CellTable],
    candidates: Sequence[int],
    options: StepwiseOptions,
    has_exposure: bool,
    *,
    threads: int,
    progress: Callable[[str, int, int], None] | None,
    cancel: Callable[[], bool] | None,
) -> StepwiseResult:
    allowed = check_columns(design, candidates)
    families = options.families
    if threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1.")
    rules = _rules(design, allowed, options)

    def poll() -> None:
        if cancel is not None and cancel():
            raise Cancelled("The stepwise search was cancelled.")

    poll()
    columns = sorted({*rules.candidates, *rules.forced})
    kinds: dict[Family, Distinct] = {f: DISTINCT[f] if has_exposure else "all" for f in families}
    tables = {kinds[families[0]]: tabulate(columns, kinds[families[0]], poll)}
    if tables[kinds[families[0]]].n_events == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    guess = len({design.variables[j].factor for j in columns}) + 1
    trace: list[Step] = []
    models: dict[Family, CountModel] = {}
    null_bic: dict[Family, float] = {}
    flagged: dict[Family, tuple[str, ...]] = {}
    exchanges: dict[Family, tuple[Attempt, ...]] = {}
    notes: list[str] = []
    for number, family in enumerate(families):

        def report(taken: int, number: int = number) -> None:
            if progress is not None:
                progress("stepwise", number * guess + min(taken, guess - 1), len(families) * guess)

        kind = kinds[family]
        if kind not in tables:
            tables[kind] = tabulate(columns, kind, poll)
        search = Search(design, tables[kind], family, rules, threads, poll)
        null_bic[family] = search.bic
        report(0)
        trace += search.enter_forced()
        taken = 0
        while True:
            report(taken)
            if taken == options.max_steps:
                notes.append(f"{family}: stopped after max_steps = {taken} steps, BIC could still fall.")
                break
            step = search.step()
            trace.append(step)
            if step.action == "stop":
                break
            taken += 1
        model = search.model(has_exposure=has_exposure)
        models[family] = model
        exchanges[family] = () if options.exchange else search.exchanges()
        flagged[family], more = _checks(model, options.alpha, rules)
        notes += more
    if progress is not None:
        progress("stepwise", len(families) * guess, len(families) * guess)
    winner = min(families, key=lambda f: models[f].bic)
    return StepwiseResult(models[winner], models, null_bic, tuple(trace), flagged, tuple(notes), exchanges)


def _rules(design: Design, candidates: Iterable[int], options: StepwiseOptions) -> Rules:
    """Check what is forced against the design and the candidates."""
    columns, forced_factors = check_columns(design, options.forced), options.forced_factors
    factor = [v.factor for v in design.variables]
    held = [factor[j] for j in columns]
    for f in held:
        if held.count(f) > 1:
            name = next(v.factor_name for v in design.variables if v.factor == f)
            raise InputError(f"forced holds two variables of factor {name!r}; a model has at most one per factor.")
    allowed = [j for j in sorted(candidates) if factor[j] not in held]
    for f in forced_factors:
        if f in held:
            raise InputError(f"factor {f} is forced twice: by a column and as a factor.")
        if not any(factor[j] == f for j in allowed):
            raise InputError(
                f"forced factor {f} has no candidate.",
                hint="Put its variables among the candidates, or do not force it.",
            )
    if len(set(forced_factors)) < len(forced_factors):
        raise InputError(f"forced_factors {tuple(forced_factors)} name a factor twice.")
    return Rules(tuple(allowed), columns, frozenset(forced_factors), options.forced_sign, options.exchange)


def _checks(model: CountModel, alpha: float, rules: Rules) -> tuple[tuple[str, ...], list[str]]:
    """Name the weak variables of a final model; return them and the notes."""
    family = model.family
    notes = []
    if model.at_boundary:
        notes.append(f"{family}: the counts vary no more than Poisson; the dispersion is 0.")
    weak = model.p_values[1:] > alpha
    flagged = tuple(v.name for v, w in zip(model.variables, weak, strict=True) if w)
    notes += [f"{family}: {name} has p > {alpha:g}." for name in flagged]
    for v, j, b in zip(model.variables, model.columns, model.coefficients, strict=True):
        if b <= 0.0 and (j in rules.forced or v.factor in rules.forced_factors):
            notes.append(f"{family}: {v.name} is forced in and acts against its declared effect (RRV {np.exp(b):.3g}).")
    return flagged, notes
