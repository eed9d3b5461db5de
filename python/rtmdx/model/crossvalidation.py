"""The fits of a cross-validated penalty path, and the deviance they leave on the cells held out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.penalized import LaneSolver
from rtmdx.model.rows import LANES, Lanes, RowTable
from rtmdx.model.words import EVERY_CODES, Words

__all__ = ["PATIENCE", "STAGE", "Fits", "PathTask", "fold_deviance", "has_turned", "mean_and_error"]

Float = NDArray[np.float64]

STAGE = 10  # penalties per stage: the stopping rule is looked at only between stages
PATIENCE = 10  # penalties beyond the best one before the path may stop
AHEAD = 2  # penalties ahead for which variables are gathered when the working set is rebuilt


class Fits:
    """All fits of one penalty path on a table: one without each group, and last the one to all cells."""

    def __init__(self, table: RowTable) -> None:
        self.table = table
        self.every = Words(table, np.arange(table.layout.n_variables), EVERY_CODES)
        self.n_groups = len(table.group_cells)
        sums = self._xty([table.events_by_row(g) for g in range(self.n_groups)])
        self.whole = self._xty([table.events_by_row()])[0]
        self.held_xty = sums
        self.held_events = table.event_group_count.sum(axis=1)
        self.saturated = [table.saturated(g) for g in range(self.n_groups)]

    def _xty(self, by_row: list[Float]) -> list[Float]:
        """X'y, exact, for events by row."""
        out: list[Float] = []
        for start in range(0, len(by_row), LANES):
            part = by_row[start : start + LANES]
            weight = np.zeros((self.table.n_rows, LANES))
            for f, y in enumerate(part):
                weight[:, f] = y
            sums = np.empty((self.table.layout.n_variables, LANES))
            sums[self.every.columns] = self.every.sums(weight)
            out += [np.ascontiguousarray(sums[:, f]) for f in range(len(part))]
        return out

    def lanes(self, bundle: tuple[int | None, ...]) -> Lanes:
        """The fits to all cells (None), or outside a group. Sums of counts are whole, so differences are exact."""
        t = self.table
        xty, events, n = np.zeros((t.layout.n_variables, LANES)), np.ones(LANES), np.ones(LANES)
        of, share = np.full(LANES, -1, np.int32), np.zeros(LANES)
        for f, group in enumerate(bundle):
            xty[:, f], events[f], n[f], share[f] = self.whole, t.n_events, t.n_cells, 1.0
            if group is not None:
                if t.share is None:
                    of[f] = group
                else:
                    share[f] = 1.0 - t.share[group]
                xty[:, f] -= self.held_xty[group]
                events[f] -= self.held_events[group]
                n[f] -= t.group_cells[group]
        return Lanes(len(bundle), t.exposure, t.group_exposure, of, share, xty, events, n)

    def bundles(self) -> list[tuple[int | None, ...]]:
        """The fits dealt to as few solvers as their lanes allow, evenly: the same for any number of threads."""
        fits: list[int | None] = [None, *range(self.n_groups)]
        n = -(-len(fits) // LANES)
        return [tuple(fits[i * len(fits) // n : (i + 1) * len(fits) // n]) for i in range(n)]

    def solver(self, bundle: tuple[int | None, ...], nonnegative: bool, cancelled: Callable[[], bool]) -> LaneSolver:
        """A solver of some of the fits."""
        lanes = self.lanes(bundle)
        return LaneSolver(self.table, self.every, lanes, nonnegative=nonnegative, cancelled=cancelled)

    def deviance(self, solver: LaneSolver, lane: int, group: int) -> float:
        """2 sum(y log(y / mu) - (y - mu)) over the cells of a group, under the solver's fit without them."""
        beta, intercept = solver.beta[:, lane], float(solver.intercept[lane])
        eta_y = float((beta * self.held_xty[group]).sum()) + intercept * float(self.held_events[group])
        mu = float(np.exp(intercept)) * float(solver.everywhere[lane] - solver.total[lane])
        return 2.0 * (self.saturated[group] - eta_y + mu)


class PathTask:
    """Some fits along the path of one ridge, or mixing, value."""

    def __init__(self, fits: Fits, bundle: tuple[int | None, ...], solver: LaneSolver, l1: Float, l2: Float) -> None:
        self.fits, self.bundle, self.solver, self.l1, self.l2 = fits, bundle, solver, l1, l2
        self.deviance: dict[int, list[float]] = {g: [] for g in bundle if g is not None}
        self.coefficients: list[Float] = []
        self.intercepts: list[float] = []
        self.residuals: list[float] = []
        self.done = 0

    def run(self, start: int, stop: int, tolerance: float) -> None:
        """Solve penalties start .. stop - 1, each from the solution before."""
        solver, l1 = self.solver, self.l1
        last = len(l1) - 1
        for m in range(start, stop):
            steepest = max(solver.largest_slope(f) for f in range(solver.k)) if m == 0 else 0.0
            previous = l1[m - 1] if m else max(l1[0], steepest)
            residual = solver.solve(l1[m], self.l2[m], previous, l1[min(m + AHEAD, last)], tolerance)
            for f, group in enumerate(self.bundle):
                if group is None:
                    self.coefficients.append(solver.beta[:, f].copy())
                    self.intercepts.append(float(solver.intercept[f]))
                    self.residuals.append(residual)
                else:
                    self.deviance[group].append(self.fits.deviance(solver, f, group))
            self.done = m + 1


def fold_deviance(tasks: list[PathTask]) -> Float:
    """Held-out deviance, shape (n_groups, penalties done)."""
    merged: dict[int, list[float]] = {}
    for task in tasks:
        merged.update(task.deviance)
    return np.array([merged[g] for g in sorted(merged)])


def mean_and_error(deviance: Float, cells: Float, n_folds: int) -> tuple[Float, Float]:
    """Mean per cell over folds weighted by their cells, and its standard error between folds.

    Both are averaged over repeats: repeats deal the same cells anew, so they do not make the error smaller.
    """
    means, errors = [], []
    for start in range(0, len(cells), n_folds):
        own = cells[start : start + n_folds]
        share = (own / own.sum())[:, None]
        per_cell = deviance[start : start + n_folds] / own[:, None]
        mean = (share * per_cell).sum(axis=0)
        means.append(mean)
        errors.append(np.sqrt((share * (per_cell - mean) ** 2).sum(axis=0) / (len(own) - 1)))
    return np.mean(means, axis=0), np.mean(errors, axis=0)


def has_turned(deviance: Float, cells: Float, n_folds: int, patience: int | None) -> bool:
    """The stopping rule of `cull`."""
    if patience is None:
        return False
    mean, _ = mean_and_error(deviance, cells, n_folds)
    best, last = int(np.argmin(mean)), len(mean) - 1
    if last - best < patience:
        return False
    rise, error = mean_and_error((deviance[:, last] - deviance[:, best])[:, None], cells, n_folds)
    return bool(rise[0] > error[0])
