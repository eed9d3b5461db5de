"""Penalised Poisson regression on a design's codes: the solver beneath `culling`.

Nothing here has a dense cells x variables matrix. Cells whose codes agree in every block are one
weighted *row* (`CodedRows`). The codes of the blocks of a working set of variables are reduced to
what that set can tell apart and packed into *words* (`Words`); one look-up per word gives a linear
predictor, one histogram per word the gradient of all its variables, one joint histogram per pair of
words their part of the Gram matrix.

The intercept has a closed form given the coefficients, b0 = log(Y / S), S = sum_i n_i exp(x_i'b), so
it is profiled out and `PathSolver` minimises over b alone

    f(b) = (Y log S(b) - b'X'y) / n + l2/2 |b|^2 + l1 sum|b|

(a constant apart from the objective in `culling`) by proximal Newton steps: the quadratic model on
the working set is minimised by coordinate descent with covariance updates. The gradient is always
exact; the Gram matrix is renewed only when a step with the old one gained too little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from rtmdx import _stats
from rtmdx.errors import Cancelled, FitError
from rtmdx.model.design import Design

__all__ = ["CodedRows", "PathSolver", "Words"]

Float = NDArray[np.float64]

# Values of one word: joint tables of two words must stay in the second-level cache (128^2 doubles),
# tables of one word in the first.
GRAM_CODES = 128
GRADIENT_CODES = 1024


class CodedRows:
    """The distinct code-rows of a design.

    Attributes
    ----------
    codes : uint8 array, shape (n_blocks, n_rows)
    row : int32 array, shape (n_cells,)
        Row of each cell.
    n_rows, n_variables : int
    """

    def __init__(self, design: Design) -> None:
        n_blocks = len(design.blocks)
        cells = np.empty((design.n_cells, n_blocks), dtype=np.uint8)
        self._keys: list[list[int]] = []  # per block and code: the bits of its variables
        self._first: list[int] = []  # first column of each block
        self.signs = np.array([v.sign for v in design.variables], dtype=np.float64)
        self.n_variables = len(self.signs)
        start = 0
        for b, block in enumerate(design.blocks):
            cells[:, b] = block.codes
            self._keys.append([sum(1 << k for k, on in enumerate(line) if on) for line in block.decode])
            self._first.append(start)
            start += len(block.variables)
        self._first.append(start)
        self.row, first = _stats.collapse_rows(cells)
        self.n_rows = len(first)
        self.codes = np.ascontiguousarray(cells[first].T)
        self._present = [np.unique(line).tolist() for line in self.codes]

    def sum_cells(self, values: NDArray[np.generic] | None, where: NDArray[np.bool_] | None = None) -> Float:
        """Sum a value of the cells (or count them) by row, in cell order."""
        row = self.row if where is None else self.row[where]
        if values is None:
            return np.bincount(row, minlength=self.n_rows).astype(np.float64)
        weights = values if where is None else values[where]
        return np.bincount(row, weights=weights, minlength=self.n_rows).astype(np.float64)

    def effective_codes(self, block: int, mask: int) -> tuple[list[int], list[int]]:
        """Renumber a block's codes by the variables in `mask`: (bits of each new code, new code of each)."""
        numbers: dict[int, int] = {}
        lut = [0] * len(self._keys[block])
        for code in self._present[block]:
            lut[code] = numbers.setdefault(self._keys[block][code] & mask, len(numbers))
        return list(numbers), lut

    def block_columns(self, block: int) -> range:
        """Return the columns of a block."""
        return range(self._first[block], self._first[block + 1])


class Words:
    """Packed codes of the blocks of a set of columns; all sums by word and their decoding.

    Read-only once built, so threads may share one.

    Parameters
    ----------
    rows : CodedRows
    columns : sequence of int
        The columns told apart, ascending.
    max_codes : int
        Most values of one word (a single block may exceed it).
    """

    def __init__(self, rows: CodedRows, columns: NDArray[np.intp], max_codes: int) -> None:
        self.columns = columns
        chosen = set(columns.tolist())
        blocks: list[int] = []
        word_of: list[int] = []
        luts: list[NDArray[np.uint16]] = []
        parts: list[list[tuple[list[int], list[list[int]]]]] = []  # per word, per block: columns, decode
        size = max_codes + 1
        for b in range(rows.codes.shape[0]):
            first = rows.block_columns(b).start
            own = [j for j in rows.block_columns(b) if j in chosen]
            if not own:
                continue
            bits, lut = rows.effective_codes(b, sum(1 << (j - first) for j in own))
            if size * len(bits) > max_codes:
                parts.append([])
                size = 1
            digits = np.zeros(256, dtype=np.uint16)
            digits[: len(lut)] = np.array(lut) * size
            size *= len(bits)
            blocks.append(b)
            word_of.append(len(parts) - 1)
            luts.append(digits)
            parts[-1].append((own, [[key >> (j - first) & 1 for j in own] for key in bits]))
        sizes = [int(np.prod([len(decode) for _, decode in word])) for word in parts]
        widths = [sum(len(own) for own, _ in word) for word in parts]
        self.offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        self.starts = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
        self.decode = np.zeros((int(self.offsets[-1]), max(widths, default=1)))
        for w, word in enumerate(parts):
            code = np.arange(sizes[w])
            left = 0
            for own, decode in word:
                digit = code % len(decode)
                code //= len(decode)
                block = np.array(decode, dtype=np.float64) * rows.signs[own]
                self.decode[self.offsets[w] : self.offsets[w + 1], left : left + len(own)] = block[digit]
                left += len(own)
        self.words = np.empty((len(parts), rows.n_rows), dtype=np.uint16)
        _stats.build_words(
            rows.codes,
            np.array(blocks, dtype=np.int32),
            np.array(word_of, dtype=np.int32),
            np.array(luts, dtype=np.uint16).reshape(-1, 256),
            self.words,
        )

    def table(self, beta: Float) -> Float:
        """Return the linear predictor of each value of each word (no intercept)."""
        out = np.empty(len(self.decode))
        _stats.decode_table(self.decode, self.offsets, self.starts, beta, out)
        return out

    def histogram(self, weight: Float) -> Float:
        """Return the sum of a weight of the rows for each value of each word."""
        hist = np.empty(len(self.decode))
        _stats.histogram(self.words, self.offsets, weight, hist)
        return hist

    def decoded(self, hist: Float) -> Float:
        """Return X'weight for the columns from the histogram of the weight."""
        out = np.empty(len(self.columns))
        _stats.decode_gradient(self.decode, self.offsets, self.starts, hist, out)
        return out

    def sums(self, weight: Float) -> Float:
        """Return X'weight for the columns."""
        return self.decoded(self.histogram(weight))

    def gram(self, weight: Float, hist: Float) -> Float:
        """Return X'diag(weight)X; `hist` is the histogram of the same weight."""
        out = np.empty((len(self.columns), len(self.columns)))
        _stats.gram(self.words, self.offsets, self.decode, self.starts, weight, hist, out)
        return out


class PathSolver:
    """Warm-started solutions of one penalised problem for decreasing L1 penalties.

    Parameters
    ----------
    rows : CodedRows
    every : Words
        Words over all columns, for the optimality check.
    cells : float64 array, shape (n_rows,)
        Training cells of each row.
    xty : float64 array, shape (p,)
        X'y over the training cells.
    events : float
        Training events, > 0.
    ridge : float
    nonnegative : bool
    cancelled : callable
        Polled before every Newton step.
    """

    max_steps = 500
    max_sweeps = 20_000
    refresh = 0.1  # renew the Gram matrix when a step left more than this share of the residual

    def __init__(
        self,
        rows: CodedRows,
        every: Words,
        cells: Float,
        xty: Float,
        events: float,
        *,
        ridge: float,
        nonnegative: bool = True,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rows, self.every, self.cells, self.xty, self.events = rows, every, cells, xty, events
        self.n = float(cells.sum())
        self.ridge, self.nonnegative, self.cancelled = ridge, nonnegative, cancelled
        self.beta = np.zeros(rows.n_variables)
        self.mean = cells.copy()  # n_i exp(x_i'b), without the intercept
        self.total = self.n
        self.slope = self._steepness(every.sums(self.mean), xty)
        self.words: Words | None = None
        self._hessian: Float | None = None

    def restart(self, beta: Float) -> None:
        """Stand at `beta`, with the nonzero variables as working set."""
        self.beta = beta.copy()
        self._work_on(beta != 0.0)
        words = cast(Words, self.words)
        self.total = _stats.poisson_means(
            words.words, words.offsets, words.table(beta[words.columns]), self.cells, self.mean
        )
        self.slope = self._steepness(self.every.sums(self.mean), self.xty)

    @property
    def intercept(self) -> float:
        """The intercept, log(events / sum n_i exp(x_i'b))."""
        return float(np.log(self.events / self.total))

    @property
    def lambda_max(self) -> float:
        """The smallest L1 penalty at which all coefficients are zero (0 if no slope is positive)."""
        null = self._steepness(self.every.sums(self.cells), self.xty, total=self.n)
        return float((null if self.nonnegative else np.abs(null)).max(initial=0.0))

    def _steepness(self, sums: Float, xty: Float, total: float | None = None) -> Float:
        """Minus the gradient of the unpenalised loss: (X'y - X'mu) / n."""
        scale = self.events / (self.total if total is None else total)
        return (xty - scale * sums) / self.n

    def violations(self, slope: Float, beta: Float, l1: float) -> Float:
        """Distance of each variable from the optimality (KKT) conditions.

        With g = -slope + l2 b: |g + l1| where b > 0 (|g - l1| where b < 0); where b = 0 the amount by which
        -g (or |g| when signs are free) exceeds l1.
        """
        g = self.ridge * beta - slope
        at_zero = -g if self.nonnegative else np.abs(g)
        return np.where(beta != 0.0, np.abs(g + l1 * np.sign(beta)), np.maximum(0.0, at_zero - l1))

    def _screen(self, l1: float, previous: float) -> NDArray[np.bool_]:
        """The sequential strong rule: variables that may be nonzero at l1, given the slopes at `previous`."""
        slope = self.slope if self.nonnegative else np.abs(self.slope)
        keep: NDArray[np.bool_] = (self.beta != 0.0) | (slope >= 2.0 * l1 - previous)
        return keep

    def _work_on(self, keep: NDArray[np.bool_]) -> None:
        self.words = Words(self.rows, np.flatnonzero(keep), GRAM_CODES)
        self._hessian = None

    def _loss(self, beta: Float, xty: Float, l1: float) -> float:
        """The objective at `beta` on the working set; leaves `mean` and `total` there."""
        words = cast(Words, self.words)
        self.total = _stats.poisson_means(words.words, words.offsets, words.table(beta), self.cells, self.mean)
        return self._objective(beta, xty, l1)

    def _objective(self, beta: Float, xty: Float, l1: float) -> float:
        """The objective at `beta`, whose sum of means is `total`."""
        if not 0.0 < self.total < np.inf:
            return float("inf")
        smooth = (self.events * np.log(self.total) - beta @ xty) / self.n
        return float(smooth + 0.5 * self.ridge * (beta @ beta) + l1 * np.abs(beta).sum())

    def solve(self, l1: float, previous: float, ahead: float, tolerance: float) -> float:
        """Move to the solution at `l1`; return the largest KKT violation over all variables.

        Parameters
        ----------
        l1, previous, ahead : float
            This penalty, the one before (where the solver stands) and one further on, for which
            variables are gathered already when the working set must be rebuilt.
        tolerance : float
            Largest violation allowed, absolute.

        Raises
        ------
        FitError
            If the residual stays above 1000 times the tolerance and cannot be lowered.
        Cancelled
            If `cancelled()` is true.
        """
        keep = self._screen(l1, previous)
        if self.words is None or not np.isin(np.flatnonzero(keep), self.words.columns).all():
            self._work_on(keep | self._screen(ahead, previous))
        while True:
            residual = self._newton(l1, tolerance)
            self.slope = self._steepness(self.every.sums(self.mean), self.xty)
            violation = self.violations(self.slope, self.beta, l1)
            outside = np.ones(len(violation), dtype=bool)
            outside[cast(Words, self.words).columns] = False
            missed = outside & (violation > tolerance)
            if not missed.any():
                return max(residual, float(violation.max()))
            keep = np.zeros(len(violation), dtype=bool)
            keep[cast(Words, self.words).columns] = True
            self._work_on(keep | missed)

    def _newton(self, l1: float, tolerance: float) -> float:
        """Proximal Newton on the working set; return its largest violation."""
        words = cast(Words, self.words)
        columns = words.columns
        if len(columns) == 0:
            return 0.0
        xty = self.xty[columns]
        beta = self.beta[columns]
        slope = self.slope[columns]
        hist: Float | None = None  # of the means, by word; made when it is needed
        loss = self._objective(beta, xty, l1)
        before = np.inf
        for _ in range(self.max_steps):
            if self.cancelled():
                raise Cancelled("Culling was cancelled.")
            residual = float(self.violations(slope, beta, l1).max())
            self.beta[columns] = beta
            if residual <= tolerance:
                return residual
            fresh = self._hessian is None or residual > self.refresh * before
            if fresh:
                if hist is None:
                    hist = words.histogram(self.mean)
                scale = self.events / self.total
                centre = scale * words.decoded(hist)
                self._hessian = (scale * words.gram(self.mean, hist) - np.outer(centre, centre) / self.events) / self.n
            before = residual
            new = beta.copy()
            _stats.coordinate_descent(
                cast(Float, self._hessian),
                -slope,
                new,
                l1,
                self.ridge,
                self.nonnegative,
                max(0.01 * residual, 0.1 * tolerance),
                self.max_sweeps,
            )
            step = new - beta
            promised = float(step @ (self.ridge * beta - slope) + l1 * (np.abs(new).sum() - np.abs(beta).sum()))
            size, slack = 1.0, 1e-13 * max(1.0, abs(loss))
            trial = new
            while True:
                reached = self._loss(trial, xty, l1)
                if reached <= loss + 1e-4 * size * promised + slack:
                    break
                size *= 0.5
                if size < 1e-6:
                    break
                trial = beta + size * step
            if size < 1e-6 or not step.any():
                self._loss(beta, xty, l1)
                if not fresh:
                    before = 0.0  # the old Gram matrix was to blame
                    continue
                if residual <= 1000.0 * tolerance:
                    return residual
                break
            if size < 1.0:
                before = 0.0
            beta, loss = trial, reached
            hist = words.histogram(self.mean)
            slope = self._steepness(words.decoded(hist), xty)
        raise FitError(
            f"The penalised regression stopped at a KKT residual of {residual:.3g} (penalty {l1:.3g}).",
            hint="Raise the ridge, or the minimum support of the variables.",
        )
