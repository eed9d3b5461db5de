"""Penalised Poisson regression on rows of codes: the solver beneath `culling`.

Nothing here has a dense cells x variables matrix. Four fits, usually the complements of folds, are
solved together: one look-up per word of packed codes gives four linear predictors, one histogram per
word the gradients of all its variables, one joint histogram per pair of words their part of a Gram matrix.
Steps are taken on the *patterns* of the working set, the rows it can tell apart; only the check of all
variables after them goes through every row.

The intercept has a closed form given the coefficients, b0 = log(Y / S), S = sum_i e_i exp(x_i'b), so
it is profiled out and a fit minimises over b alone

    f(b) = (Y log S(b) - b'X'y) / n + l2/2 |b|^2 + l1 sum|b|

(a constant apart from the objective in `culling`) by proximal Newton steps: the quadratic model on
the working set is minimised exactly. The gradient is always exact; the Gram matrix is made when
the working set changes, corrected by what each step did to the gradient (BFGS), and made anew when a step
with it gained too little.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtmdx import _rows, _stats
from rtmdx.errors import FitError
from rtmdx.model.lanes import LANES, Lanes
from rtmdx.model.rows import RowTable
from rtmdx.model.words import GRAM_CODES, LOOKUP_CODES, Words

__all__ = ["LaneSolver"]

Float = NDArray[np.float64]


class LaneSolver:
    """Warm-started solutions of up to four penalised problems for decreasing L1 penalties.

    Parameters
    ----------
    rows : RowTable
    every : Words
        Words over all columns, for the optimality check.
    lanes : Lanes
    nonnegative : bool
    poll : callable
        Called before every pass over the rows; raises to stop.

    Attributes
    ----------
    beta, slope : float64 arrays, shape (p, 4)
        Coefficients, and minus the gradient of the unpenalised loss, by lane.
    total, everywhere : float64 arrays, shape (4,)
        Sums of exposure times exp(x'b) over the cells fitted to, and over all.
    rounding : float
        What rounding alone may leave of a KKT residual.
    """

    max_steps = 500
    max_rounds = 2000
    refresh = 0.5  # renew the Gram matrices when a step left more than this share of the residual
    stalled = 30  # steps without a lower residual after which rounding is to blame
    longest_step = 20.0  # of a coefficient: e^20 is a risk ratio of 500 million
    smallest_size = 1e-12  # of a step, before it is given up

    def __init__(
        self,
        rows: RowTable,
        every: Words,
        lanes: Lanes,
        *,
        nonnegative: bool = True,
        poll: Callable[[], None] = lambda: None,
    ) -> None:
        self.rows, self.every, self.lanes, self.k = rows, every, lanes, lanes.k
        self.nonnegative, self.poll = nonnegative, poll
        self.live = np.arange(LANES) < self.k
        self.xty, self.events, self.n = lanes.xty, lanes.events, lanes.n
        self.rounding = 64.0 * float(np.finfo(float).eps * (self.events / self.n)[self.live].max())
        self.beta = np.zeros_like(self.xty)
        self._work_on(np.zeros(len(self.beta), dtype=bool))
        self._move(np.zeros((0, LANES)))
        self._measure_all()

    @property
    def intercept(self) -> Float:
        """The intercepts, log(events / total), by lane."""
        with np.errstate(divide="ignore"):
            out: Float = np.log(self.events / self.total)
        return out

    def largest_slope(self, lane: int) -> float:
        """The smallest L1 penalty at which all coefficients are zero, while they are (0 if no slope is positive)."""
        slope = self.slope[:, lane]
        return float((slope if self.nonnegative else np.abs(slope)).max(initial=0.0))

    def restart(self, beta: Float) -> None:
        """Stand at `beta` (p, 4), with the nonzero variables as working set."""
        self.beta = beta.copy()
        self._work_on((beta != 0.0).any(axis=1))
        self._move(self.beta[self.words.columns])
        self._measure_all()

    def _steepness(self, sums: Float, xty: Float) -> Float:
        """Minus the gradient of the unpenalised loss: (X'y - X'mu) / n."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(self.live, self.events / self.total, 0.0)
        out: Float = (xty - scale * sums) / self.n
        return out

    def _measure_all(self) -> None:
        """The slopes of all variables at the current means."""
        self.poll()
        self.slope = np.empty_like(self.xty)
        columns = self.every.columns
        # exp(x'b) in place of the means, and back
        _stats.lane_ratios(self.weight, self.mean)
        sums = self.every.sums_of(self.pattern, self.mean, self.lanes)
        self.mean *= self.weight
        self.slope[columns] = self._steepness(sums, self.xty[columns])

    def violations(self, slope: Float, beta: Float, l1: float, l2: float) -> Float:
        """Distance of each variable from the optimality (KKT) conditions, by lane.

        With g = -slope + l2 b: |g + l1| where b > 0 (|g - l1| where b < 0); where b = 0 the amount by which
        -g (or |g| when signs are free) exceeds l1. Lanes without a fit have 0.
        """
        g = l2 * beta - slope
        at_zero = -g if self.nonnegative else np.abs(g)
        out: Float = np.where(beta != 0.0, np.abs(g + l1 * np.sign(beta)), np.maximum(0.0, at_zero - l1))
        return np.where(self.live, out, 0.0)

    def _screen(self, l1: float, previous: float) -> NDArray[np.bool_]:
        """The sequential strong rule: what may be nonzero at l1 in some lane, given the slopes at `previous`."""
        slope = self.slope if self.nonnegative else np.abs(self.slope)
        keep: NDArray[np.bool_] = ((self.beta != 0.0) | (self.live & (slope >= 2.0 * l1 - previous))).any(axis=1)
        return keep

    def _work_on(self, keep: NDArray[np.bool_]) -> None:
        """Take a working set: pack its codes, and collapse the rows to the patterns it can tell apart."""
        self.poll()
        self.weight = self.mean = np.empty((0, LANES))  # the last set's are given back before this one's are made
        self._hessian: list[Float | None] = [None] * LANES
        self._working = keep
        columns, n = np.flatnonzero(keep), self.rows.n_rows
        self.words = Words(self.rows, columns, LOOKUP_CODES)
        self.poll()
        if len(columns):
            self.words.words = np.ascontiguousarray(self.words.words.T)
            self.pattern, self._first = _rows.collapse_rows(self.words.words.view(np.uint8))
        else:
            self.pattern, self._first = np.zeros(n, np.int32), np.zeros(min(n, 1), np.int32)
        self.poll()
        self.words = Words(self.rows, columns, LOOKUP_CODES, self._first)
        self.weight, self.exposure = np.empty((len(self._first), LANES)), np.empty(len(self._first))
        of = self.lanes
        _stats.lane_exposures(of.amount, of.groups, of.group, of.share, self.pattern, self.weight, self.exposure)
        self.weight *= of.unit
        self.exposure *= of.unit
        self.mean = np.empty_like(self.weight)
        self.total, self.everywhere = np.empty(LANES), np.empty(LANES)

    def _move(self, beta: Float) -> None:
        """Compute means and totals for coefficients of the working set."""
        self.poll()
        words = self.words
        _stats.lane_means(
            words.words,
            words.offsets,
            words.table(beta),
            self.weight,
            self.exposure,
            self.mean,
            self.total,
            self.everywhere,
        )

    def _objective(self, beta: Float, xty: Float, l1: float, l2: float) -> Float:
        """The objectives at `beta`, whose sums of means are `total`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            log_total = np.where((self.total > 0.0) & (self.total < np.inf), np.log(self.total), np.inf)
        smooth = (self.events * log_total - (beta * xty).sum(axis=0)) / self.n
        out: Float = smooth + 0.5 * l2 * (beta * beta).sum(axis=0) + l1 * np.abs(beta).sum(axis=0)
        return np.where(self.live, out, 0.0)

    def solve(self, l1: float, l2: float, previous: float, ahead: float, tolerance: float) -> float:
        """Move all lanes to their solutions at `l1`, `l2`; return the largest KKT violation over all variables.

        Parameters
        ----------
        l1, l2, previous, ahead : float
            These penalties, the L1 penalty before (where the solver stands) and one further on, for which
            variables are gathered already when the working set must be rebuilt.
        tolerance : float
            Largest violation allowed, absolute; `rounding` where that is more.

        Raises
        ------
        FitError
            If the residual stays above 1000 times the tolerance and cannot be lowered.
        """
        tolerance = max(tolerance, self.rounding)
        keep = self._screen(l1, previous)
        if (keep & ~self._working).any():
            self._work_on(keep | self._screen(ahead, previous))
            self._move(self.beta[self.words.columns])
        while True:
            residual = self._newton(l1, l2, tolerance)
            self._measure_all()
            violation = self.violations(self.slope, self.beta, l1, l2).max(axis=1, initial=0.0)
            missed = ~self._working & (violation > tolerance)
            if not missed.any():
                return max(residual, float(violation.max(initial=0.0)))
            self._work_on(self._working | missed)
            self._move(self.beta[self.words.columns])

    def _renew(self) -> None:
        """Make the Gram matrices of all lanes at their means."""
        # Made anew each time: cheap beside what they serve for, and they are as large as all else together.
        words = Words(self.rows, self.words.columns, GRAM_CODES, self._first)
        place = np.empty(self.rows.layout.n_variables, np.intp)
        place[words.columns] = np.arange(len(words.columns))
        order = place[self.words.columns]
        grams, centres = words.grams(self.mean, self.k, self.poll)
        for f, gram in enumerate(grams):
            scale = self.events[f] / self.total[f]
            centre = scale * centres[order, f]
            self._hessian[f] = (
                scale * gram[np.ix_(order, order)] - np.outer(centre, centre) / self.events[f]
            ) / self.n[f]

    def _correct(self, step: Float, change: Float) -> None:
        """Correct the Gram matrices by what a step did to the gradients (Broyden-Fletcher-Goldfarb-Shanno)."""
        for f in range(self.k):
            s, y, hessian = step[:, f], change[:, f], self._hessian[f]
            if hessian is None:
                continue
            hs = (hessian * s).sum(axis=1)
            expected, found = float((s * hs).sum()), float((s * y).sum())
            if found > 1e-3 * expected > 0.0:
                hessian += np.outer(y, y / found) - np.outer(hs, hs / expected)

    def _newton(self, l1: float, l2: float, tolerance: float) -> float:
        """Proximal Newton on the working set; return the largest violation over its lanes."""
        columns = self.words.columns
        if len(columns) == 0:
            return 0.0
        xty, beta, slope = self.xty[columns], self.beta[columns], self.slope[columns]
        loss = self._objective(beta, xty, l1, l2)
        before = np.full(LANES, np.inf)
        floor = np.zeros(LANES, dtype=bool)  # cannot be lowered further
        least, since = np.full(LANES, np.inf), np.zeros(LANES, dtype=np.int64)
        for _ in range(self.max_steps):
            residual = self.violations(slope, beta, l1, l2).max(axis=0)
            since = np.where(residual < 0.9 * least, 0, since + 1)
            least = np.minimum(least, residual)
            floor |= (since > self.stalled) & (residual <= 1000.0 * tolerance)
            todo = (residual > tolerance) & ~floor
            if not todo.any():
                self.beta[columns] = beta
                return float(residual.max())
            fresh = self._hessian[0] is None or bool((todo & (residual > self.refresh * before)).any())
            if fresh:
                self._renew()
            trial = beta.copy()
            for f in np.flatnonzero(todo):
                new, minus = beta[:, f].copy(), -slope[:, f]
                _stats.minimise_quadratic(
                    self._hessian[f],  # type: ignore[arg-type]
                    minus,
                    new,
                    l1,
                    l2,
                    self.nonnegative,
                    max(0.003 * residual[f], 0.1 * tolerance),
                    self.max_rounds,
                )
                trial[:, f] = new
            before, new_beta = residual, trial
            step = trial - beta
            promised = (step * (l2 * beta - slope)).sum(axis=0) + l1 * (
                np.abs(trial).sum(axis=0) - np.abs(beta).sum(axis=0)
            )
            slack = 1e-13 * np.maximum(1.0, np.abs(loss))
            moving = step.any(axis=0)
            longest = np.abs(step).max(axis=0)
            size = np.where(longest > self.longest_step, self.longest_step / np.maximum(longest, 1e-300), 1.0)
            if (size < 1.0).any():
                trial = np.where(size == 1.0, new_beta, beta + size * step)
            while True:
                self._move(trial)
                reached = self._objective(trial, xty, l1, l2)
                bad = moving & ~(reached <= loss + 1e-4 * size * promised + slack)
                if not bad.any():
                    break
                size[bad] *= 0.5
                moving &= size >= self.smallest_size
                trial = np.where(size == 1.0, new_beta, np.where(moving, beta + size * step, beta))
            for f in np.flatnonzero(todo & ~moving):
                if not fresh:
                    before[f] = 0.0  # the old Gram matrix was to blame
                elif residual[f] <= 1000.0 * tolerance:
                    floor[f] = True
                else:
                    raise FitError(
                        f"The penalised regression stopped at a KKT residual of {residual[f]:.3g} (penalty {l1:.3g}).",
                        hint="Raise the ridge, or the minimum support of the variables.",
                    )
            before[size < 1.0] = 0.0
            moved, old = trial - beta, slope
            beta, loss = trial, reached
            slope = self._steepness(self.words.sums(self.mean), xty)
            self._correct(moved, old - slope)
        raise FitError(
            f"The penalised regression did not converge in {self.max_steps} steps (penalty {l1:.3g}).",
            hint="Raise the ridge, or the minimum support of the variables.",
        )
