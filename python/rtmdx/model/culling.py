"""Stage 1, culling: which of hundreds of 0/1 variables go on to the stepwise search.

An elastic-net penalised Poisson regression with coefficients >= 0, its L1 penalty chosen by
cross-validated deviance for each of two small fixed ridge values; the better of the two wins and its
nonzero variables are selected. The procedure is RTMDx's as RTMR re-implements it (Heffner 2013); the
ridge values are not published, ours are an option.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.crossvalidation import STAGE, HeldOut, PathTask, fold_deviance, has_turned, mean_and_error
from rtmdx.model.design import Design
from rtmdx.model.families import check_counts
from rtmdx.model.penalized import GRADIENT_CODES, CodedRows, PathSolver, Words

__all__ = ["CullingPath", "CullingResult", "FoldSummary", "cull"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoldSummary:
    """One fold: its number, cells and events."""

    fold: int
    cells: int
    events: int


@dataclass(frozen=True)
class CullingPath:
    """The penalty path of one ridge value.

    Attributes
    ----------
    ridge : float
    penalties : float64 array, shape (m,)
        L1 penalties tried, decreasing; shorter than asked for if the path stopped early.
    cv_deviance : float64 array, shape (m,)
        Held-out Poisson deviance per cell, over all folds.
    cv_standard_error : float64 array, shape (m,)
        Standard error of it between folds.
    n_nonzero : int array, shape (m,)
        Nonzero coefficients of the fit to all cells.
    stopped_early : bool
    """

    ridge: float
    penalties: Float
    cv_deviance: Float
    cv_standard_error: Float
    n_nonzero: NDArray[np.int64]
    stopped_early: bool


@dataclass(frozen=True)
class CullingResult:
    """What culling chose, and how.

    Attributes
    ----------
    selected : tuple of int
        Columns with a nonzero coefficient, ascending.
    coefficients : float64 array, shape (p,)
    intercept : float
    penalty, ridge : float
        The winning L1 and L2 penalty.
    kkt_residual : float
        Largest violation of the optimality conditions over all variables at the chosen penalty, as a
        share of `lambda_max`.
    lambda_max : float
        The smallest L1 penalty at which every coefficient is zero.
    paths : tuple of CullingPath
        One per ridge value, in the order given.
    folds : tuple of FoldSummary
    n_rows : int
        Distinct rows of the design: what the cells collapsed to.
    notes : tuple of str
    """

    selected: tuple[int, ...]
    coefficients: Float
    intercept: float
    penalty: float
    ridge: float
    kkt_residual: float
    lambda_max: float
    paths: tuple[CullingPath, ...]
    folds: tuple[FoldSummary, ...]
    n_rows: int
    notes: tuple[str, ...] = ()


def _check_folds(folds: ArrayLike, n_cells: int) -> NDArray[np.int64]:
    fold = np.asarray(folds)
    if fold.shape != (n_cells,) or fold.dtype.kind not in "iu":
        raise InputError(f"folds are {fold.dtype} of shape {fold.shape}, expected integers of shape ({n_cells},).")
    fold = fold.astype(np.int64)
    if fold.min(initial=0) < 0 or fold.max(initial=0) < 1:
        raise InputError("folds must be numbered from 0, at least two of them.")
    return fold


def _check_options(ridge: Sequence[float], n_penalties: int, min_ratio: float, tolerance: float, threads: int) -> None:
    if not len(ridge) or not all(np.isfinite(r) and r >= 0 for r in ridge):
        raise InputError(f"ridge is {tuple(ridge)}, expected one or more finite values >= 0.")
    if n_penalties < 2:
        raise InputError(f"n_penalties is {n_penalties}, expected at least 2.")
    if not 0.0 < min_ratio < 1.0:
        raise InputError(f"min_ratio is {min_ratio}, expected between 0 and 1.")
    if not 0.0 < tolerance <= 1e-3:
        raise InputError(f"tolerance is {tolerance}, expected above 0 and at most 1e-3.")
    if threads < 1:
        raise InputError(f"threads is {threads}, expected at least 1.")


def cull(
    design: Design,
    counts: ArrayLike,
    folds: ArrayLike,
    *,
    ridge: Sequence[float] = (1e-6, 1e-4),
    n_penalties: int = 100,
    min_ratio: float = 1e-3,
    tolerance: float = 1e-7,
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
        \qquad \eta_i = \log \mu_i = \beta_0 + \sum_j s_j x_{ij} \beta_j, \quad \beta_j \ge 0,

    with 0/1 variables x, signs s (-1 protective), a free, unpenalised intercept and columns **not**
    standardised (a variable of few cells is held to more evidence than one of many).

    Parameters
    ----------
    design : Design
    counts : array of whole numbers, shape (n_cells,)
        Events per kept cell.
    folds : int array, shape (n_cells,)
        Fold of each cell, from 0, none empty; see `rtmdx.model.folds`.
    ridge : sequence of float
        The fixed lambda_2 values. In units of the objective: lambda_2 competes with a variable's
        Fisher information per cell, about mean count x share of cells.
    n_penalties : int
        Values of lambda_1 per path, log-spaced from `lambda_max` down.
    min_ratio : float
        Last lambda_1 as a share of `lambda_max`.
    tolerance : float
        Largest violation of the optimality conditions allowed, as a share of `lambda_max`.
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
    10 penalties. After a stage the path of a ridge value stops if its best penalty lies at least 10
    penalties back and the last one's deviance exceeds the best one's by more than one standard error of
    their difference between folds. Ties go to the larger penalty, then to the earlier ridge value.

    The method is a proximal Newton method with warm starts, screened by the sequential strong rule
    (Tibshirani et al. 2012, doi:10.1111/j.1467-9868.2011.01004.x) and verified over all variables.
    """
    y = check_counts(design, counts)
    fold = _check_folds(folds, design.n_cells)
    ridges = tuple(float(r) for r in ridge)
    _check_options(ridges, n_penalties, min_ratio, tolerance, threads)
    k = int(fold.max()) + 1
    fold_cells = np.bincount(fold, minlength=k)
    fold_events = np.bincount(fold, weights=y, minlength=k)
    total = float(y.sum())
    if (fold_cells == 0).any():
        raise InputError(f"fold {int(np.flatnonzero(fold_cells == 0)[0])} has no cells.")
    if total == 0:
        raise FitError("There are no events in the study area: nothing can be estimated.")
    if (fold_events == total).any():
        raise FitError(
            f"All {total:.0f} events lie in fold {int(np.argmax(fold_events))}.",
            hint="Without it there is nothing to fit: use stratified folds, or smaller blocks.",
        )
    summary = tuple(FoldSummary(f, int(fold_cells[f]), int(fold_events[f])) for f in range(k))

    if progress is not None:
        progress("culling", 0, n_penalties * len(ridges) * (k + 1))
    stop = threading.Event()
    problem = _Problem(design, y, fold, k, nonnegative, stop)
    whole = problem.solver(None, 0.0)
    lambda_max = whole.lambda_max
    if lambda_max <= 1e-12 * total / len(y):  # nothing but rounding
        none = np.zeros(0)
        return CullingResult(
            selected=(),
            coefficients=np.zeros(len(design.variables)),
            intercept=whole.intercept,
            penalty=0.0,
            ridge=ridges[0],
            kkt_residual=0.0,
            lambda_max=0.0,
            paths=tuple(CullingPath(r, none, none, none, np.zeros(0, np.int64), False) for r in ridges),
            folds=summary,
            n_rows=problem.rows.n_rows,
            notes=("No variable is more frequent where there are more events: nothing is selected.",),
        )
    penalties = np.geomspace(lambda_max, min_ratio * lambda_max, n_penalties)
    penalties[0] = lambda_max
    scale = tolerance * lambda_max
    groups = [[PathTask(problem.solver(f, l2), held) for f, held in problem.fits] for l2 in ridges]

    def poll() -> None:
        if cancel is not None and cancel():
            raise Cancelled("Culling was cancelled.")
        if progress is not None:
            fits = sum(task.done for group in groups for task in group)
            progress("culling", fits, n_penalties * len(ridges) * (k + 1))

    _run_stages(groups, penalties, scale, fold_cells, threads, poll, stop)
    paths = [
        _summarise(l2, group, penalties, fold_cells, n_penalties) for l2, group in zip(ridges, groups, strict=True)
    ]
    r = min(range(len(ridges)), key=lambda i: (float(paths[i].cv_deviance.min()), i))
    best = int(np.argmin(paths[r].cv_deviance))
    final = problem.solver(None, ridges[r])
    final.restart(groups[r][-1].coefficients[best])
    residual = final.solve(penalties[best], penalties[best], penalties[best], 1e-4 * scale)
    if residual > scale:
        raise FitError(f"The chosen fit has a KKT residual of {residual:.3g}, above {scale:.3g}.")
    if progress is not None:
        fits = n_penalties * len(ridges) * (k + 1)
        progress("culling", fits, fits)
    notes: tuple[str, ...] = ()
    if best == n_penalties - 1:
        notes = ("The best penalty is the last one tried: lower min_ratio to look further.",)
    return CullingResult(
        selected=tuple(np.flatnonzero(final.beta).tolist()),
        coefficients=final.beta,
        intercept=final.intercept,
        penalty=float(penalties[best]),
        ridge=ridges[r],
        kkt_residual=residual / lambda_max,
        lambda_max=lambda_max,
        paths=tuple(paths),
        folds=summary,
        n_rows=problem.rows.n_rows,
        notes=notes,
    )


class _Problem:
    """The collapsed data, and a solver for the cells outside any fold (or for all cells)."""

    def __init__(
        self,
        design: Design,
        counts: Float,
        fold: NDArray[np.int64],
        k: int,
        nonnegative: bool,
        stop: threading.Event,
    ) -> None:
        self.rows = CodedRows(design)
        self.every = Words(self.rows, np.arange(self.rows.n_variables), GRADIENT_CODES)
        self.cells = self.rows.sum_cells(None)
        self.xty = self.every.sums(self.rows.sum_cells(counts))
        self.events = float(counts.sum())
        self.nonnegative, self.stop = nonnegative, stop
        # one fit per fold, scored on the fold, and last the fit to all cells
        self.fits: list[tuple[int | None, HeldOut | None]] = [
            (f, HeldOut(self.rows, counts, fold == f)) for f in range(k)
        ]
        self.fits.append((None, None))

    def solver(self, fold: int | None, ridge: float) -> PathSolver:
        """A solver for the cells outside `fold`. Sums of counts are whole numbers: differences are exact."""
        cells, xty, events = self.cells, self.xty, self.events
        held = None if fold is None else self.fits[fold][1]
        if held is not None:
            part = np.zeros(self.rows.n_rows)
            part[held.rows] = held.events
            xty, events = xty - self.every.sums(part), events - float(part.sum())
            part[held.rows] = held.cells
            cells = cells - part
        return PathSolver(
            self.rows,
            self.every,
            cells,
            xty,
            events,
            ridge=ridge,
            nonnegative=self.nonnegative,
            cancelled=self.stop.is_set,
        )


def _run_stages(
    groups: list[list[PathTask]],
    penalties: Float,
    tolerance: float,
    fold_cells: NDArray[np.int64],
    threads: int,
    poll: Callable[[], None],
    stop: threading.Event,
) -> None:
    """Run all paths stage by stage; a ridge whose deviance has turned leaves after its stage.

    The stages, and what is decided after them, are the same for any number of threads.
    """
    running = groups
    with ThreadPoolExecutor(threads, thread_name_prefix="rtmdx-cull") as pool:
        try:
            for start in range(0, len(penalties), STAGE):
                end = min(start + STAGE, len(penalties))
                left = {pool.submit(task.run, penalties, start, end, tolerance) for group in running for task in group}
                while left:
                    done, left = wait(left, timeout=0.2, return_when=FIRST_EXCEPTION)
                    for job in done:
                        job.result()
                    poll()
                running = [group for group in running if not has_turned(fold_deviance(group), fold_cells)]
                if not running:
                    return
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _summarise(
    ridge: float, group: list[PathTask], penalties: Float, cells: NDArray[np.int64], asked: int
) -> CullingPath:
    mean, error = mean_and_error(fold_deviance(group), cells)
    nonzero = np.array([np.count_nonzero(b) for b in group[-1].coefficients], dtype=np.int64)
    m = len(mean)
    return CullingPath(ridge, penalties[:m].copy(), mean, error, nonzero, m < asked)
