"""The fits of a cross-validated penalty path, and the deviance they leave on the cells held out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.lanes import LANES, Lanes
from rtmdx.model.penalized import LaneSolver
from rtmdx.model.rows import RowTable
from rtmdx.model.words import EVERY_CODES, Words

__all__ = ["PATIENCE", "STAGE", "Fits", "PathTask", "fold_deviance", "has_turned", "mean_and_error"]

Float = NDArray[np.float64]

STAGE = 10  # penalties per stage: the stopping rule is looked at only between stages
PATIENCE = 10  # penalties beyond the best one before the path may stop
AHEAD = 2  # penalties ahead for which variables are gathered when the working set is rebuilt


class Fits:
    """All fits of one penalty path on a table: one without each group, and last the one to all cells."""

    def __init__(self, table: RowTable, poll: Callable[[], None] = lambda: None) -> None:
        poll()
        self.table = table
        self.amounts = table.amounts()
        self.every = Words(table, np.arange(table.layout.n_variables), EVERY_CODES)
        self.n_groups = table.n_groups
        groups: list[int | None] = [*range(self.n_groups), None]
        sums: list[Float] = []
        for start in range(0, len(groups), LANES):
            poll()
            sums += self._xty(groups[start : start + LANES])
        self.held_xty, self.whole = sums[:-1], sums[-1]
        self.held_events = table.group_events()
        self.saturated = [table.saturated(g) for g in range(self.n_groups)]

    def _xty(self, groups: list[int | None]) -> list[Float]:
        """X'y, exact, for the events of up to four groups (None: all)."""
        weight = np.zeros((self.table.n_rows, LANES))
        for f, group in enumerate(groups):
            weight[:, f] = self.table.events_by_row(group)
        sums = np.empty((self.table.layout.n_variables, LANES))
        sums[self.every.columns] = self.every.sums(weight)
        return [np.ascontiguousarray(sums[:, f]) for f in range(len(groups))]

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
        return Lanes(len(bundle), self.amounts, t.unit, t.groups, of, share, xty, events, n)

    def bundles(self) -> list[tuple[int | None, ...]]:
        """The fits dealt to as few solvers as their lanes allow, evenly: the same for any number of threads."""
        fits: list[int | None] = [None, *range(self.n_groups)]
        n = -(-len(fits) // LANES)
        return [tuple(fits[i * len(fits) // n : (i + 1) * len(fits) // n]) for i in range(n)]

    def solver(
        self, bundle: tuple[int | None, ...], nonnegative: bool, poll: Callable[[], None] = lambda: None
    ) -> LaneSolver:
        """A solver of some of the fits."""
        return LaneSolver(self.table, self.every, self.lanes(bundle), nonnegative=nonnegative, poll=poll)

    def deviance(self, solver: LaneSolver, lane: int, group: int) -> float:
        """2 sum(y log(y / mu) - (y - mu)) over the cells of a group, under the solver's fit without them."""
        beta, intercept = solver.beta[:, lane], float(solver.intercept[lane])
        eta_y = float((beta * self.held_xty[group]).sum()) + intercept * float(self.held_events[group])
        mu = float(np.exp(intercept)) * float(solver.everywhere[lane] - solver.total[lane])
        return 2.0 * (self.saturated[group] - eta_y + mu)


class PathTask:
    """Some fits along the path of one ridge, or mixing, value."""

    def __init__(self, fits: Fits, bundle: tuple[int | None, ...], solver: LaneSolver, l1: Float, l2: Float) -> None:
        self.fits, self.bundle, self.l1, self.l2 = fits, bundle, l1, l2
        self.solver: LaneSolver | None = solver
        self.deviance: dict[int, list[float]] = {g: [] for g in bundle if g is not None}
        self.coefficients: list[Float] = []
        self.intercepts: list[float] = []
        self.residuals: list[float] = []
        self.done = 0

    def run(self, start: int, stop: int, tolerance: float) -> None:
        """Solve penalties start .. stop - 1, each from the solution before."""
        solver, l1 = self.solver, self.l1
        if solver is None:
            raise RuntimeError("the task's solver was released")
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

    def release(self) -> None:
        """Give back the solver's memory; no penalty can be solved after it."""
        self.solver = None


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
