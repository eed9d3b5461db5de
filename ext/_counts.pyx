# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
"""Loops of the count models: likelihoods of tables of cells, Newton's method.

Every function here is serial, releases the GIL around its loop, trusts its arguments (Python
validates them once) and sums in a fixed order, so equal inputs give equal bits. The likelihood of
one cell is in _count_terms.pxd.
"""

import numpy as np

cimport cython
from libc.math cimport exp, fabs, isfinite, log, log1p, sqrt
from libc.stdint cimport int32_t

from _count_terms cimport LARGE, Rising, Terms, forget, one_cell


@cython.final
@cython.auto_pickle(False)
cdef class Rows:
    """The rows of a collapsed table, ready for the loops.

    Parameters
    ----------
    pattern, y, cells, exposure : arrays, shape (n_rows,)
        Covariate pattern, count, number of cells and exposure of each row.
    """

    cdef const int32_t[::1] pattern
    cdef const double[::1] y, cells, exposure
    cdef double[::1] saturated  # log(y / exposure): the linear predictor that would be exact

    def __init__(
        self,
        const int32_t[::1] pattern,
        const double[::1] y,
        const double[::1] cells,
        const double[::1] exposure,
    ):
        cdef Py_ssize_t t
        cdef double[::1] saturated = np.zeros(y.shape[0])
        with nogil:
            for t in range(y.shape[0]):
                if y[t] > 0.0 and exposure[t] > 0.0:
                    saturated[t] = log(y[t]) - log(exposure[t])
        self.pattern, self.y, self.cells, self.exposure, self.saturated = pattern, y, cells, exposure, saturated


cdef struct Sums:
    double value
    double noise  # what rounding, of the linear predictor above all, may do to the value


cdef Sums table_likelihood(
    int family, Rows rows, const double[::1] eta, double[::1] rate, double theta, double[:, ::1] sums
) noexcept nogil:
    cdef Py_ssize_t t, i
    cdef double w, s = exp(theta) if family else 0.0
    cdef double log1p_s = log1p(s)
    cdef Sums total
    cdef Terms one
    cdef Rising at
    forget(&at)
    total.value = total.noise = 0.0
    sums[:, :] = 0.0
    for i in range(eta.shape[0]):
        rate[i] = exp(eta[i])
    for t in range(rows.y.shape[0]):
        i = rows.pattern[t]
        w = rows.cells[t]
        one = one_cell(
            family, rows.y[t], rows.exposure[t] * rate[i], eta[i], rows.saturated[t], s, log1p_s, &at
        )
        total.value += w * one.value
        total.noise += w * fabs(one.g) * (1.0 + fabs(eta[i]))
        if family and rows.y[t] < LARGE:
            total.noise += w * rows.y[t]
        sums[i, 0] += w * one.g
        sums[i, 1] += w * one.h
        sums[i, 2] += w * one.c
        sums[i, 3] += w * one.gt
        sums[i, 4] += w * one.ht
    total.noise *= 4.4e-16
    return total


def count_likelihood(int family, Rows rows, const double[::1] eta, double theta, double[:, ::1] sums):
    """Log likelihood of a collapsed table, and its derivatives summed within each pattern.

    Parameters
    ----------
    family : int
        0 Poisson, 1 NBII (Var = mu (1 + s)), 2 NB2 (Var = mu + a mu^2).
    rows : Rows
    eta : float64 array, shape (n_patterns,)
        Linear predictor: ``mu = exposure * exp(eta)``.
    theta : float
        log s or log a; not read for Poisson.
    sums : float64 array, shape (n_patterns, 5)
        Output: sums of dl/d(eta), d2l/d(eta)2, d2l/d(eta)d(theta), dl/d(theta), d2l/d(theta)2.

    Returns
    -------
    float
        log L plus the sum of cells * (lgamma(y + 1) - y log(y) + y), which no parameter changes: of the size of the
        deviance, so that no digits are lost where counts are large.
    """
    cdef double[::1] rate = np.empty(eta.shape[0])
    cdef Sums total
    with nogil:
        total = table_likelihood(family, rows, eta, rate, theta, sums)
    return total.value


def cell_scores(int family, Rows rows, const double[::1] eta, double theta, double[:, ::1] scores):
    """Fill ``scores[t] = (dl/d(eta), dl/d(theta))`` of one cell of each row."""
    cdef Py_ssize_t t, i
    cdef double s = exp(theta) if family else 0.0
    cdef double log1p_s = log1p(s)
    cdef Terms one
    cdef Rising at
    forget(&at)
    with nogil:
        for t in range(rows.y.shape[0]):
            i = rows.pattern[t]
            one = one_cell(
                family, rows.y[t], rows.exposure[t] * exp(eta[i]), eta[i], rows.saturated[t], s, log1p_s, &at
            )
            scores[t, 0] = one.g
            scores[t, 1] = one.gt


cdef void x_beta(const double[:, ::1] x, const double[::1] beta, double[::1] eta) noexcept nogil:
    cdef Py_ssize_t i, a
    cdef double s
    for i in range(x.shape[0]):
        s = 0.0
        for a in range(x.shape[1]):
            s += x[i, a] * beta[a]
        eta[i] = s


def linear_predictor(const double[:, ::1] x, const double[::1] beta, double[::1] eta):
    """Fill ``eta = x beta``, serially: a threaded BLAS would not give the same bits everywhere."""
    with nogil:
        x_beta(x, beta, eta)


# ----------------------------------------------------------------------------------- Newton's method

cdef enum:
    CONVERGED = 0
    NOT_FINITE = 1
    STALLED = 2
    INFINITE = 3
    TOO_MANY_STEPS = 4
    NO_DISPERSION = 5


cdef void derivatives(
    const double[:, ::1] x, const double[:, ::1] sums, bint dispersed,
    double[::1] gradient, double[:, ::1] information,
) noexcept nogil:
    """Gradient and information (minus the Hessian) in all parameters from the sums by pattern."""
    cdef Py_ssize_t i, a, b, k = x.shape[1], n = gradient.shape[0]
    cdef double t
    gradient[:] = 0.0
    information[:, :] = 0.0
    for i in range(x.shape[0]):
        for a in range(k):
            if x[i, a] == 0.0:
                continue
            gradient[a] += sums[i, 0] * x[i, a]
            t = sums[i, 1] * x[i, a]
            for b in range(a, k):
                information[a, b] -= t * x[i, b]
            if dispersed:
                information[a, k] -= sums[i, 2] * x[i, a]
        if dispersed:
            gradient[k] += sums[i, 3]
            information[k, k] -= sums[i, 4]
    for a in range(n):
        for b in range(a):
            information[a, b] = information[b, a]


cdef bint solve(
    const double[:, ::1] information, const double[::1] gradient, double[:, ::1] lower, double[::1] scale,
    double[::1] step, int *bent,
) noexcept nogil:
    """Solve for Newton's step; where the information is not positive definite, bend it until it is."""
    cdef Py_ssize_t n = gradient.shape[0], i, j, l
    cdef double bend = 0.0, t
    cdef bint good
    bent[0] = 0
    for i in range(n):
        t = fabs(information[i, i])
        if not isfinite(t):
            return False
        scale[i] = sqrt(t) if t > 1e-300 else 1e-150
    while True:
        good = True
        for i in range(n):
            for j in range(i + 1):
                t = information[i, j] / (scale[i] * scale[j])
                if i == j:
                    t += bend
                for l in range(j):
                    t -= lower[i, l] * lower[j, l]
                if i == j:
                    if not t > 0.0:
                        good = False
                        break
                    lower[i, i] = sqrt(t)
                else:
                    lower[i, j] = t / lower[j, j]
            if not good:
                break
        if good:
            break
        bent[0] = 1
        bend = 4.0 * bend if bend > 0.0 else 1e-3
        if not bend < 1e12:
            return False
    for i in range(n):
        t = gradient[i] / scale[i]
        for l in range(i):
            t -= lower[i, l] * step[l]
        step[i] = t / lower[i, i]
    for i in range(n - 1, -1, -1):
        t = step[i]
        for l in range(i + 1, n):
            t -= lower[l, i] * step[l]
        step[i] = t / lower[i, i]
    for i in range(n):
        step[i] /= scale[i]
        if not isfinite(step[i]):
            return False
    return True


def maximise(
    int family,
    const double[:, ::1] x,
    Rows rows,
    double[::1] at,
    double[::1] gradient,
    double[:, ::1] information,
    int fixed,
    double decrement_limit,
    double largest_coefficient,
    double smallest_excess,
    int max_steps,
):
    """Maximise the log likelihood of a table by safeguarded Newton steps with the exact Hessian.

    Parameters
    ----------
    family : int
        0 Poisson, 1 NBII, 2 NB2.
    x : float64 array, shape (n_patterns, k)
    rows : Rows
    at : float64 array, shape (k,) or (k + 1,)
        Start, and where it ended: coefficients of `x` and, except for Poisson, log dispersion.
    gradient, information : float64 arrays
        Output: derivatives at the end (information: minus the Hessian).
    fixed : int
        A parameter that keeps its value; -1 for none.
    decrement_limit : float
        Converged when twice the gain still promised is less, or no more than rounding.
    largest_coefficient : float
        A coefficient (past the first) beyond it is taken to run to infinity.
    smallest_excess : float
        Stop when the relative excess of the variance over Poisson's falls below it: s, or alpha times the mean of a
        cell at an average event (sum of mu^2 over sum of mu).
    max_steps : int

    Returns
    -------
    status : int
        0 converged, 1 not finite, 2 stalled, 3 a coefficient runs to infinity, 4 too many steps,
        5 the dispersion runs to 0.
    value : float
        log L as `count_likelihood` has it.
    steps : int
    """
    cdef Py_ssize_t k = x.shape[1], n = at.shape[0], a, i
    cdef bint dispersed = family != 0
    cdef double[::1] eta = np.empty(x.shape[0]), rate = np.empty(x.shape[0])
    cdef double[:, ::1] sums = np.empty((x.shape[0], 5)), lower = np.empty((n, n))
    cdef double[::1] step = np.empty(n), trial = np.empty(n), scale = np.empty(n), slope = np.empty(n)
    cdef double[:, ::1] curvature = np.empty((n, n))
    cdef double value = 0.0, decrement, floor, size, slack, largest
    cdef Sums here, reached
    cdef int status = TOO_MANY_STEPS, iteration = 0, halving, bent = 0
    with nogil:
        here = point_value(family, x, rows, at, eta, rate, sums)
        value = here.value
        if not isfinite(value):
            status = NOT_FINITE
        else:
            for iteration in range(1, max_steps + 1):
                derivatives(x, sums, dispersed, gradient, information)
                slope[:] = gradient
                curvature[:, :] = information
                if fixed >= 0:
                    slope[fixed] = 0.0
                    curvature[fixed, :] = 0.0
                    curvature[:, fixed] = 0.0
                    curvature[fixed, fixed] = 1.0
                if not solve(curvature, slope, lower, scale, step, &bent):
                    status = NOT_FINITE
                    break
                decrement = 0.0
                largest = 0.0
                floor = decrement_limit
                for i in range(x.shape[0]):  # where counts are huge, what rounding of eta alone makes of it
                    floor += fabs(sums[i, 1]) * (4.4e-16 * (1.0 + fabs(eta[i]))) ** 2
                for a in range(n):
                    decrement += slope[a] * step[a]
                    largest = max(largest, fabs(step[a]))
                if decrement < floor:  # where bent: singular, which the caller sees in the information
                    status = CONVERGED
                    break
                size = min(1.0, 4.0 / largest)
                slack = 1e-13 * (1.0 + fabs(value)) + here.noise
                status = STALLED
                for halving in range(60):
                    for a in range(n):
                        trial[a] = at[a] + size * step[a]
                    reached = point_value(family, x, rows, trial, eta, rate, sums)
                    if reached.value >= value + 1e-4 * size * decrement - slack or (
                        decrement < 1e-9 and not bent and isfinite(reached.value)  # at the maximum, but for rounding
                    ):
                        status = TOO_MANY_STEPS
                        break
                    size *= 0.5
                if status == STALLED:
                    break
                at[:] = trial
                here = reached
                value = here.value
                for a in range(1, k):
                    if a != fixed and fabs(at[a]) > largest_coefficient:
                        status = INFINITE
                if status == INFINITE:
                    break
                if dispersed and exp(at[k]) * (mean_at_event(rows, rate) if family == 2 else 1.0) < smallest_excess:
                    status = NO_DISPERSION
                    break
    return status, value, iteration


cdef double mean_at_event(Rows rows, const double[::1] rate) noexcept nogil:
    """Sum of mu^2 over sum of mu."""
    cdef Py_ssize_t t
    cdef double mu, first = 0.0, second = 0.0
    for t in range(rows.y.shape[0]):
        mu = rows.exposure[t] * rate[rows.pattern[t]]
        first += rows.cells[t] * mu
        second += rows.cells[t] * mu * mu
    return second / first


cdef Sums point_value(
    int family, const double[:, ::1] x, Rows rows, const double[::1] at, double[::1] eta, double[::1] rate,
    double[:, ::1] sums,
) noexcept nogil:
    """Log L at a point; leaves its derivatives by pattern in `sums`. -inf where it would overflow."""
    cdef Py_ssize_t i
    cdef double theta = 0.0
    cdef Sums total
    total.value = -1.0 / 0.0
    total.noise = 0.0
    x_beta(x, at, eta)
    for i in range(eta.shape[0]):
        if not fabs(eta[i]) < 300.0:
            return total
    if family:
        theta = at[x.shape[1]]
        if not fabs(theta) < 60.0:
            return total
    total = table_likelihood(family, rows, eta, rate, theta, sums)
    if not isfinite(total.value):
        total.value = -1.0 / 0.0
    return total
