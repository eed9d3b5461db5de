"""Stage 1, culling: which of hundreds of 0/1 variables go on to the stepwise search.

An elastic-net penalised Poisson regression with coefficients >= 0, its penalty chosen by
cross-validated deviance for each of two small fixed ridge values; the better of the two wins and its
nonzero variables are selected. The procedure is RTMDx's as RTMR re-implements it (Heffner 2013); the
ridge values are not published, ours are an option.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

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
from rtmdx.model.culling_result import CullingPath, CullingResult, FoldSummary, PeriodFolds, Rule
from rtmdx.model.design import Design
from rtmdx.model.families import check_counts
from rtmdx.model.rows import RowTable, check_exposure, tabulate

__all__ = ["CullingPath", "CullingResult", "FoldSummary", "PeriodFolds", "cull", "cull_table"]

Float = NDArray[np.float64]


def _check_folds(folds: ArrayLike, n_cells: int) -> NDArray[np.int64]:
    fold = np.asarray(folds)
    if fold.dtype.kind not in "iu" or fold.ndim not in (1, 2) or fold.shape[-1:] != (n_cells,):
        raise InputError(
            f"folds are {fold.dtype} of shape {fold.shape}, expected integers of shape ({n_cells},), or one such line "
            "per repeat."
        )
    fold = np.atleast_2d(fold).astype(np.int64)
    if not len(fold) or fold.min(initial=0) < 0 or fold.max(initial=0) < 1:
        raise InputError("folds must be numbered from 0, at least two of them.")
    return fold


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


def _check_values(name: str, values: Sequence[float], low: float, high: float, what: str) -> tuple[float, ...]:
    try:
        out = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {values!r}, expected {what}.") from None
    if not out or not all(np.isfinite(v) and low <= v <= high for v in out):
        raise InputError(f"{name} is {out}, expected {what}.")
    return out


def _check_options(n_penalties: int, min_ratio: float, tolerance: float, threads: int, rule: str) -> None:
    if n_penalties < 2:
        raise InputError(f"n_penalties is {n_penalties}, expected at least 2.")
    if not 0.0 < min_ratio < 1.0:
        raise InputError(f"min_ratio is {min_ratio}, expected between 0 and 1.")
    if not 0.0 < tolerance <= 1e-3:
        raise InputError(f"tolerance is {tolerance}, expected above 0 and at most 1e-3.")
    if threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1.")
    if rule not in ("min", "1se", "1se-paired"):
        raise InputError(f"rule is {rule!r}, expected 'min', '1se' or '1se-paired'.")


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
        Cells of exposure 0 take no part. Held to 2^-28 of the largest, so that sums are exact.
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
        fit is solved to a ten-thousandth of it.
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
    y = check_counts(design, counts)
    e = check_exposure(exposure, y)
    if y.sum() == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    if isinstance(folds, PeriodFolds):
        table = tabulate(design, y, periods=_check_periods(folds, y), exposure=e)
    else:
        table = tabulate(design, y, _check_folds(folds, design.n_cells), exposure=e)
    return cull_table(
        table,
        ridge=ridge,
        mixing=mixing,
        n_penalties=n_penalties,
        min_ratio=min_ratio,
        rule=rule,
        patience=patience,
        tolerance=tolerance,
        nonnegative=nonnegative,
        threads=threads,
        progress=progress,
        cancel=cancel,
    )


def cull_table(
    table: RowTable,
    *,
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
    """Select variables from a table of distinct rows, such as one merged from tiles; as `cull`, to the same bits.

    Parameters
    ----------
    table : RowTable
        From `rtmdx.model.rows.tabulate`, with folds, or merged from such tables by `merge_tables`.
    ridge, mixing, n_penalties, min_ratio, rule, patience, tolerance, nonnegative, threads, progress, cancel
        As for `cull`.

    Returns
    -------
    CullingResult

    Raises
    ------
    InputError, FitError, Cancelled
        As for `cull`.
    """
    values: tuple[tuple[float | None, float | None], ...]  # (ridge, mixing) of each path
    if mixing is None:
        fixed = _check_values("ridge", ridge, 0.0, np.inf, "one or more finite values >= 0")
        values = tuple((r, None) for r in fixed)
    else:
        values = tuple((None, a) for a in _check_values("mixing", mixing, 1e-3, 1.0, "values from 0.001 to 1"))
    _check_options(n_penalties, min_ratio, tolerance, threads, rule)
    summary = _check_groups(table)
    k = len(summary)
    total_fits = n_penalties * len(values) * (k + 1)

    if progress is not None:
        progress("culling", 0, total_fits)
    stop = threading.Event()
    fits = Fits(table)
    bundles = fits.bundles()
    null = fits.solver(bundles[0], nonnegative, stop.is_set)
    lambda_max = null.largest_slope(0)
    if lambda_max <= 1e-12 * table.n_events / table.n_cells:  # nothing but rounding
        return _nothing(table, values, float(null.intercept[0]), summary, rule)
    shape = np.geomspace(1.0, min_ratio, n_penalties)
    groups: list[list[PathTask]] = []
    for r, a in values:
        l1 = lambda_max * shape
        l2 = np.full(n_penalties, r) if a is None else l1 * ((1.0 - a) / a)
        groups.append([PathTask(fits, b, fits.solver(b, nonnegative, stop.is_set), l1, l2) for b in bundles])
    scale = tolerance * lambda_max

    def poll() -> None:
        if cancel is not None and cancel():
            raise Cancelled("Culling was cancelled.")
        if progress is not None:
            done = sum(task.done * len(task.bundle) for group in groups for task in group)
            progress("culling", done, total_fits)

    _run_stages(groups, n_penalties, scale, table, patience, threads, poll, stop)
    paths = [_summarise(v, group, table, lambda_max, n_penalties) for v, group in zip(values, groups, strict=True)]
    p = min(range(len(paths)), key=lambda i: (float(paths[i].cv_deviance.min()), i))
    best = int(np.argmin(paths[p].cv_deviance))
    chosen = best
    if rule != "min":
        error = np.full(len(paths[p].cv_deviance), paths[p].cv_standard_error[best])
        if rule == "1se-paired":
            beyond = paths[p].fold_deviance - paths[p].fold_deviance[:, [best]]
            error = mean_and_error(beyond, table.group_cells, table.n_folds)[1]
        chosen = int(np.argmax(paths[p].cv_deviance <= paths[p].cv_deviance[best] + error))
    task = groups[p][0]
    at, ridge_at = float(task.l1[chosen]), float(task.l2[chosen])
    start = np.zeros((table.layout.n_variables, 4))
    start[:, 0] = paths[p].coefficients[chosen]
    whole = fits.solver((None,), nonnegative, stop.is_set)
    whole.restart(start)
    residual = whole.solve(at, ridge_at, at, at, 1e-4 * scale)
    if residual > scale:
        raise FitError(f"The chosen fit has a KKT residual of {residual:.3g}, above {scale:.3g}.")
    if progress is not None:
        progress("culling", total_fits, total_fits)
    notes: tuple[str, ...] = ()
    if best == n_penalties - 1:
        notes = ("The best penalty is the last one tried: lower min_ratio to look further.",)
    if rule != "min":
        notes += (
            f"One-standard-error rule ({rule}): penalty {at:.3g} in place of {float(task.l1[best]):.3g}, whose "
            "cross-validated deviance is the smallest.",
        )
    coefficients = whole.beta[:, 0].copy()
    return CullingResult(
        selected=tuple(np.flatnonzero(coefficients).tolist()),
        coefficients=coefficients,
        intercept=float(whole.intercept[0]),
        penalty=at,
        ridge=ridge_at,
        mixing=values[p][1],
        rule=rule,
        best_penalty=float(task.l1[best]),
        kkt_residual=residual / lambda_max,
        lambda_max=lambda_max,
        paths=tuple(paths),
        folds=summary,
        n_rows=table.n_rows,
        notes=notes,
    )


def _check_groups(table: RowTable) -> tuple[FoldSummary, ...]:
    """Check that every fold has cells, and events outside it."""
    k, total = table.n_folds, table.n_events
    if k < 2:
        raise InputError("the table has no folds: give them to tabulate().")
    if total == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    events = table.event_group_count.sum(axis=1)
    out = []
    for g, (cells, y) in enumerate(zip(table.group_cells, events, strict=True)):
        if cells == 0:
            raise InputError(f"fold {g % k} has no cells.")
        if y == total:
            raise FitError(
                f"All {total:.0f} events lie in fold {g % k}.",
                hint="Without it there is nothing to fit: use stratified folds, or smaller blocks.",
            )
        out.append(FoldSummary(g % k, round(float(cells)), int(y), g // k))
    return tuple(out)


def _nothing(
    table: RowTable,
    values: tuple[tuple[float | None, float | None], ...],
    intercept: float,
    folds: tuple[FoldSummary, ...],
    rule: Rule,
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
        ridge=values[0][0] or 0.0,
        mixing=values[0][1],
        rule=rule,
        best_penalty=0.0,
        kkt_residual=0.0,
        lambda_max=0.0,
        paths=tuple(path(r, a) for r, a in values),
        folds=folds,
        n_rows=table.n_rows,
        notes=("No variable is more frequent where there are more events: nothing is selected.",),
    )


def _run_stages(
    groups: list[list[PathTask]],
    n_penalties: int,
    tolerance: float,
    table: RowTable,
    patience: int | None,
    threads: int,
    poll: Callable[[], None],
    stop: threading.Event,
) -> None:
    """Run all paths stage by stage; a ridge whose deviance has turned leaves after its stage.

    The stages, and what is decided after them, are the same for any number of threads.
    """
    running = groups
    stage = STAGE if patience is not None else n_penalties
    with ThreadPoolExecutor(threads, thread_name_prefix="rtmdx-cull") as pool:
        try:
            for start in range(0, n_penalties, stage):
                end = min(start + stage, n_penalties)
                left = {pool.submit(task.run, start, end, tolerance) for group in running for task in group}
                while left:
                    done, left = wait(left, timeout=0.2, return_when=FIRST_EXCEPTION)
                    for job in done:
                        job.result()
                    poll()
                running = [
                    group
                    for group in running
                    if not has_turned(fold_deviance(group), table.group_cells, table.n_folds, patience)
                ]
                if not running:
                    return
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _summarise(
    value: tuple[float | None, float | None],
    group: list[PathTask],
    table: RowTable,
    lambda_max: float,
    asked: int,
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
        stopped_early=m < asked,
    )
