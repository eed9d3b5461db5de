"""The fits of a cross-validated penalty path, and the deviance they leave on the cells held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtmdx import _stats
from rtmdx.model.penalized import CodedRows, PathSolver

__all__ = ["PATIENCE", "STAGE", "HeldOut", "PathTask", "fold_deviance", "has_turned", "mean_and_error"]

Float = NDArray[np.float64]

STAGE = 10  # penalties per stage: the stopping rule is looked at only between stages
PATIENCE = 10  # penalties beyond the best one before the path may stop


class HeldOut:
    """The cells of one fold, by row, and their Poisson deviance under a fit."""

    def __init__(self, rows: CodedRows, counts: Float, where: NDArray[np.bool_]) -> None:
        cells = rows.sum_cells(None, where)
        events = rows.sum_cells(counts, where)
        self.rows = np.flatnonzero(cells).astype(np.int32)
        self.cells = cells[self.rows]
        self.events = events[self.rows]
        self.n = float(cells.sum())
        y = counts[where]
        y = y[y > 0]
        self.saturated = float(np.sum(y * np.log(y)) - y.sum())

    def deviance(self, solver: PathSolver) -> float:
        """2 sum(y log(y / mu) - (y - mu)) over the held-out cells."""
        words = solver.words
        if words is None:
            raise AssertionError("the solver has not been run")
        loss = _stats.held_out_loss(
            words.words,
            words.offsets,
            words.table(solver.beta[words.columns]),
            solver.intercept,
            self.rows,
            self.cells,
            self.events,
        )
        return 2.0 * (self.saturated + loss)


class PathTask:
    """One penalised fit along the path: the cells outside one fold (or all cells) at one ridge."""

    def __init__(self, solver: PathSolver, held_out: HeldOut | None) -> None:
        self.solver = solver
        self.held_out = held_out
        self.deviance: list[float] = []
        self.coefficients: list[Float] = []
        self.done = 0

    def run(self, penalties: Float, start: int, stop: int, tolerance: float) -> None:
        """Solve penalties start .. stop - 1, each from the solution before."""
        solver = self.solver
        last = len(penalties) - 1
        for m in range(start, stop):
            previous = penalties[m - 1] if m else max(penalties[0], solver.lambda_max)
            solver.solve(penalties[m], previous, penalties[min(m + 2, last)], tolerance)
            if self.held_out is None:
                self.coefficients.append(solver.beta.copy())
            else:
                self.deviance.append(self.held_out.deviance(solver))
            self.done = m + 1


def fold_deviance(group: list[PathTask]) -> Float:
    """Held-out deviance, shape (k, penalties done)."""
    return np.array([task.deviance for task in group if task.held_out is not None])


def mean_and_error(deviance: Float, cells: NDArray[np.int64]) -> tuple[Float, Float]:
    """Mean per cell over folds weighted by their cells, and its standard error between folds."""
    share = (cells / cells.sum())[:, None]
    per_cell = deviance / cells[:, None]
    mean = (share * per_cell).sum(axis=0)
    error = np.sqrt((share * (per_cell - mean) ** 2).sum(axis=0) / (len(cells) - 1))
    return mean, error


def has_turned(deviance: Float, cells: NDArray[np.int64]) -> bool:
    """The stopping rule of `cull`."""
    mean, _ = mean_and_error(deviance, cells)
    best, last = int(np.argmin(mean)), len(mean) - 1
    if last - best < PATIENCE:
        return False
    rise, error = mean_and_error((deviance[:, last] - deviance[:, best])[:, None], cells)
    return bool(rise[0] > error[0])
