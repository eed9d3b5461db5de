"""Stage 1, culling: which of hundreds of 0/1 variables go on to the stepwise search.

An elastic-net penalised Poisson regression with coefficients >= 0, its penalty chosen by
cross-validated deviance for each of two small fixed ridge values; the better of the two wins and its
nonzero variables are selected. The procedure is RTMDx's as RTMR re-implements it (Heffner 2013); the
ridge values are not published, ours are an option.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.crossvalidation import (
    PATIENCE,
    STAGE,
    Fits,
    PathTask,
    fold_deviance,
    has_turned,
    mean_and_error,
)
from rtmdx.model.culling_options import CullingOptions
from rtmdx.model.culling_result import CullingPath, CullingResult, FoldSummary, PeriodFolds, Rule
from rtmdx.model.design import Design
from rtmdx.model.jobs import job_pool, run_jobs
from rtmdx.model.lanes import LANES
from rtmdx.model.outcome import check_counts, check_exposure
from rtmdx.model.rows import RowTable
from rtmdx.model.tabulate import tabulate

__all__ = ["CullingOptions", "CullingPath", "CullingResult", "FoldSummary", "PeriodFolds", "cull", "cull_table"]

Float = NDArray[np.float64]


def _check_periods(folds: PeriodFolds, counts: Float) -> tuple[Float, Float]:
    parts, share = np.asarray(folds.counts, dtype=np.float64), np.asarray(folds.share, dtype=np.float64)
    if parts.ndim != 2 or len(parts) < 2 or parts.shape[1:] != counts.shape or share.shape != parts.shape[:1]:
        raise InputError(
            f"counts by part of the period have shape {parts.shape}, shares {share.shape}; expected (k, {len(counts)}) "
            "and (k,) with k >= 2."
        )
    if not ((share > 0).all() and abs(float(share.sum()) - 1.0) < 1e-9):
        raise InputError(f"shares of the period are {share.tolist()}, expected positive numbers that sum to 1.")
    off = parts.sum(axis=0) != counts
    if off.any():
        i = int(np.argmax(off))
        raise InputError(f"cell {i}: the parts of the period have {parts[:, i].sum():g} events, counts {counts[i]:g}.")
    return parts, share


def cull(
    design: Design,
    counts: ArrayLike,
    folds: ArrayLike | PeriodFolds,
    *,
    exposure: ArrayLike | None = None,
    ridge: Sequence[float] = (1e-6, 1e-4),
    mixing: Sequence[float] | None = None,
    n_penalties: int = 100,
    min_ratio: float = 1e-3,
    rule: Rule = "min",
    patience: int | None = PATIENCE,
    tolerance: float = 1e-6,
    nonnegative: bool = True,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> CullingResult:
    r"""Select variables by cross-validated elastic-net Poisson regression with coefficients >= 0.

    The objective, over n cells, is

    .. math::
        \frac1n \sum_i (\mu_i - y_i \eta_i) + \lambda_1 \sum_j \beta_j
        + \frac{\lambda_2}{2} \sum_j \beta_j^2,
        \qquad \mu_i = e_i \exp(\eta_i), \quad \eta_i = \beta_0 + \sum_j s_j x_{ij} \beta_j,
        \quad \beta_j \ge 0,

    with 0/1 variables x, signs s (-1 protective), exposure e, a free, unpenalised intercept and columns **not**
    standardised (a variable of few cells is held to more evidence than one of many).

    Two parametrisations of the penalties: with `ridge`, lambda_2 is fixed and lambda_1 runs down the
    path (RTMDx); with `mixing`, lambda runs down and lambda_1 = a lambda, lambda_2 = (1 - a) lambda (glmnet's alpha).

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
        Events per kept cell.
    folds : int array, shape (n_cells,) or (n_repeats, n_cells), or PeriodFolds
        Fold of each cell, from 0, none empty, for one or several repeats; or parts of the period,
        in which every cell takes part in every fold. See `rtmdx.model.folds`.
    exposure : array, shape (n_cells,), optional
        Multiplies each cell's expected count (offset: its logarithm): street length, population, area; 1 by default.
        Cells of exposure 0 take no part. Rounded to a step (`rtmdx.model.rows.exposure_unit`; at a million cells a
        millionth of a millionth of the largest), so that sums are exact.
    ridge : sequence of float
        The fixed lambda_2 values. In units of the objective: lambda_2 competes with a variable's
        Fisher information per cell, about mean count x share of cells.
    mixing : sequence of float, optional
        Values of a, above 0 and at most 1, in place of `ridge`.
    n_penalties : int
        Penalties per path, log-spaced from the smallest that empties the model.
    min_ratio : float
        Last penalty as a share of the first.
    rule : {"min", "1se", "1se-paired"}
        Take the penalty of the smallest cross-validated deviance; or the largest whose deviance is within one
        standard error of it (fewer variables): "1se" takes the error of the deviance's level, as glmnet does, which is
        large where folds differ (spatial ones: it may leave nothing), "1se-paired" the error of the difference from
        the smallest, fold by fold. The ridge or mixing value is that of the smallest deviance each time.
    patience : int, optional
        Penalties beyond the best before a path may stop; None runs every path to its end.
    tolerance : float
        Largest violation of the optimality conditions allowed along the path, as a share of `lambda_max`; the chosen
        fit is solved to a ten-thousandth of it. Neither goes below what rounding leaves, some 1e-14 events per cell.
    nonnegative : bool
        False leaves the signs of the coefficients free.
    threads : int
        Python threads over folds x ridges. The result has the same bits for any number.
    progress : callable, optional
        Called in the caller's thread as ``progress("culling", done, total)``, in penalised fits.
    cancel : callable, optional
        Polled in the caller's thread at least every 0.2 s; true stops the run.

    Returns
    -------
    CullingResult

    Raises
    ------
    InputError
        If an argument does not fit the design or its range.
    FitError
        If there are no events, one fold has them all, or a fit does not converge.
    Cancelled
        If `cancel` returned true.

    Notes
    -----
    All fits of all folds share one penalty sequence, that of all cells. Paths are run in stages of
    10 penalties. After a stage the path of a ridge value stops if its best penalty lies at least `patience`
    penalties back and the last one's deviance exceeds the best one's by more than one standard error of
    their difference between folds. Ties go to the larger penalty, then to the earlier ridge value.

    The method is a proximal Newton method with warm starts, screened by the sequential strong rule
    (Tibshirani et al. 2012, doi:10.1111/j.1467-9868.2011.01004.x) and verified over all variables.
    """
    options = CullingOptions(ridge, mixing, n_penalties, min_ratio, rule, patience, tolerance, nonnegative)
    y = check_counts(design.n_cells, counts)
    e = check_exposure(design.n_cells, exposure, y)
    if y.sum() == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")

    def poll() -> None:
        if cancel is not None and cancel():
            raise Cancelled("Culling was cancelled.")

    if isinstance(folds, PeriodFolds):
        table = tabulate(design, y, periods=_check_periods(folds, y), exposure=e, poll=poll)
    else:
        table = tabulate(design, y, folds, exposure=e, poll=poll)
    return cull_table(table, options, threads=threads, progress=progress, cancel=cancel)


def cull_table(
    table: RowTable,
    options: CullingOptions | None = None,
    *,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> CullingResult:
    """Select variables from a table of distinct rows, such as one merged from tiles; as `cull`, to the same bits.

    Parameters
    ----------
    table : RowTable
        From `rtmdx.model.tabulate.tabulate`, with folds, or merged from such tables by `merge_tables`.
    options : CullingOptions, optional
    threads, progress, cancel
        As for `cull`.

    Returns
    -------
    CullingResult

    Raises
    ------
    InputError, FitError, Cancelled
        As for `cull`.
    """
    options = CullingOptions() if options is None else options
    if threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1.")
    summary = _check_groups(table)
    total = options.n_penalties * len(options.paths) * (len(summary) + 1)
    groups: list[list[PathTask]] = []
    stop = threading.Event()

    def poll(_: int = 0) -> None:
        if cancel is not None and cancel():
            raise Cancelled("Culling was cancelled.")
        if progress is not None:
            progress("culling", sum(task.done * len(task.bundle) for group in groups for task in group), total)

    def heed() -> None:  # in the jobs
        if stop.is_set():
            raise Cancelled("Culling was cancelled.")

    poll()
    with job_pool(threads, "cull", stop) as pool:
        fits = run_jobs(pool, [lambda: Fits(table, heed)], poll)[0]
        null = run_jobs(pool, [lambda: fits.solver((None,), options.nonnegative, heed)], poll)[0]
        lambda_max, rounding = null.largest_slope(0), null.rounding
        if lambda_max <= max(1e-12 * table.n_events / table.n_cells, rounding):
            return _nothing(table, options, float(null.intercept[0]), summary)
        del null
        scale = max(options.tolerance * lambda_max, rounding)
        tasks = _tasks(pool, fits, options, lambda_max, heed, poll)
        groups.extend(tasks)
        _run_stages(pool, groups, options, scale, table, poll)
        paths = [_summarise(v, g, table, lambda_max) for v, g in zip(options.paths, groups, strict=True)]
        p, best, chosen = _choose(paths, table, options.rule)
        task = groups[p][0]
        at, ridge_at = float(task.l1[chosen]), float(task.l2[chosen])
        for other in (t for group in groups for t in group):
            other.release()
        start = np.zeros((table.layout.n_variables, LANES))
        start[:, 0] = paths[p].coefficients[chosen]

        def last() -> tuple[Float, float, float]:
            whole = fits.solver((None,), options.nonnegative, heed)
            whole.restart(start)
            residual = whole.solve(at, ridge_at, at, at, 1e-4 * scale)
            return whole.beta[:, 0].copy(), float(whole.intercept[0]), residual

        coefficients, intercept, residual = run_jobs(pool, [last], poll)[0]
    if residual > scale:
        raise FitError(f"The chosen fit has a KKT residual of {residual:.3g}, above {scale:.3g}.")
    if progress is not None:
        progress("culling", total, total)
    return CullingResult(
        selected=tuple(np.flatnonzero(coefficients).tolist()),
        coefficients=coefficients,
        intercept=intercept,
        penalty=at,
        ridge=ridge_at,
        mixing=options.paths[p][1],
        rule=options.rule,
        best_penalty=float(task.l1[best]),
        kkt_residual=residual / lambda_max,
        lambda_max=lambda_max,
        paths=tuple(paths),
        folds=summary,
        n_rows=table.n_rows,
        notes=_notes(options, table, at, float(task.l1[best]), best),
    )


def _tasks(
    pool: ThreadPoolExecutor,
    fits: Fits,
    options: CullingOptions,
    lambda_max: float,
    heed: Callable[[], None],
    poll: Callable[[int], None],
) -> list[list[PathTask]]:
    """The fits of every path, ready to start."""
    bundles, shape = fits.bundles(), np.geomspace(1.0, options.min_ratio, options.n_penalties)
    todo: list[tuple[tuple[int | None, ...], Float, Float]] = []
    for r, a in options.paths:
        l1 = lambda_max * shape
        l2 = np.full(len(shape), r) if a is None else l1 * ((1.0 - a) / a)
        todo += [(bundle, l1, l2) for bundle in bundles]
    jobs = [
        lambda b=b, l1=l1, l2=l2: PathTask(fits, b, fits.solver(b, options.nonnegative, heed), l1, l2)
        for b, l1, l2 in todo
    ]
    made = run_jobs(pool, jobs, poll)
    return [made[i : i + len(bundles)] for i in range(0, len(made), len(bundles))]


def _choose(paths: list[CullingPath], table: RowTable, rule: Rule) -> tuple[int, int, int]:
    """The path, its best penalty, and the one the rule takes."""
    p = min(range(len(paths)), key=lambda i: (float(paths[i].cv_deviance.min()), i))
    best = int(np.argmin(paths[p].cv_deviance))
    if rule == "min":
        return p, best, best
    error = np.full(len(paths[p].cv_deviance), paths[p].cv_standard_error[best])
    if rule == "1se-paired":
        beyond = paths[p].fold_deviance - paths[p].fold_deviance[:, [best]]
        error = mean_and_error(beyond, table.group_cells, table.n_folds)[1]
    return p, best, int(np.argmax(paths[p].cv_deviance <= paths[p].cv_deviance[best] + error))


def _notes(options: CullingOptions, table: RowTable, at: float, best_at: float, best: int) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if best == options.n_penalties - 1:
        notes = ("The best penalty is the last one tried: lower min_ratio to look further.",)
    if options.rule != "min":
        notes += (
            f"One-standard-error rule ({options.rule}): penalty {at:.3g} in place of {best_at:.3g}, whose "
            "cross-validated deviance is the smallest.",
        )
    if table.n_rounded:
        notes += (
            f"{table.n_rounded:,} cells have so little exposure beside the largest that it was changed by more than a "
            f"millionth: exposures are multiples of {table.unit:.3g}, so that they add exactly.",
        )
    return notes


def _check_groups(table: RowTable) -> tuple[FoldSummary, ...]:
    """Check that every fold has cells, and events outside it."""
    k, total = table.n_folds, table.n_events
    if k < 2:
        raise InputError("the table has no folds: give them to tabulate().")
    if total == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    out = []
    for g, (cells, y) in enumerate(zip(table.group_cells, table.group_events(), strict=True)):
        of = f"fold {g % k} of repeat {g // k}" if table.n_groups > k else f"fold {g % k}"
        if cells == 0:
            what = "no cells" if table.amount is None else "no cells with exposure"
            raise InputError(f"{of} has {what}: there is nothing to judge the fit without it by.")
        if y == total:
            raise FitError(
                f"All {total:.0f} events lie in {of}.",
                hint="Without it there is nothing to fit: use stratified folds, or smaller blocks.",
            )
        out.append(FoldSummary(g % k, round(float(cells)), int(y), g // k))
    return tuple(out)


def _nothing(
    table: RowTable, options: CullingOptions, intercept: float, folds: tuple[FoldSummary, ...]
) -> CullingResult:
    """The result where no variable has anything to say."""
    none, p = np.zeros(0), table.layout.n_variables

    def path(r: float | None, a: float | None) -> CullingPath:
        no_fold = np.zeros((len(folds), 0))
        return CullingPath(r, a, none, none, none, np.zeros(0, np.int64), np.zeros((0, p)), none, none, no_fold, False)

    return CullingResult(
        selected=(),
        coefficients=np.zeros(p),
        intercept=intercept,
        penalty=0.0,
        ridge=options.paths[0][0] or 0.0,
        mixing=options.paths[0][1],
        rule=options.rule,
        best_penalty=0.0,
        kkt_residual=0.0,
        lambda_max=0.0,
        paths=tuple(path(r, a) for r, a in options.paths),
        folds=folds,
        n_rows=table.n_rows,
        notes=("No variable is more frequent where there are more events: nothing is selected.",),
    )


def _run_stages(
    pool: ThreadPoolExecutor,
    groups: list[list[PathTask]],
    options: CullingOptions,
    tolerance: float,
    table: RowTable,
    poll: Callable[[int], None],
) -> None:
    """Run all paths stage by stage; a ridge whose deviance has turned leaves after its stage.

    The stages, and what is decided after them, are the same for any number of threads.
    """
    running, n = groups, options.n_penalties
    stage = STAGE if options.patience is not None else n
    for start in range(0, n, stage):
        end = min(start + stage, n)
        jobs = [lambda t=task: t.run(start, end, tolerance) for group in running for task in group]  # noqa: B023
        run_jobs(pool, jobs, poll)
        running = [
            group
            for group in running
            if not has_turned(fold_deviance(group), table.group_cells, table.n_folds, options.patience)
        ]
        if not running:
            return


def _summarise(
    value: tuple[float | None, float | None],
    group: list[PathTask],
    table: RowTable,
    lambda_max: float,
) -> CullingPath:
    deviance = fold_deviance(group)
    mean, error = mean_and_error(deviance, table.group_cells, table.n_folds)
    first = group[0]
    coefficients = np.array(first.coefficients)
    m = len(mean)
    penalties = first.l1[:m] / (1.0 if value[1] is None else value[1])
    return CullingPath(
        ridge=value[0],
        mixing=value[1],
        penalties=penalties,
        cv_deviance=mean,
        cv_standard_error=error,
        n_nonzero=np.count_nonzero(coefficients, axis=1).astype(np.int64),
        coefficients=coefficients,
        intercepts=np.array(first.intercepts),
        kkt_residuals=np.array(first.residuals) / lambda_max,
        fold_deviance=deviance,
        stopped_early=m < len(first.l1),
    )
