# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
"""Loops of the count models: likelihoods and Newton's method on a collapsed table.

Every function here is serial, releases the GIL around its loop, trusts its arguments (Python
validates them once) and sums in a fixed order, so equal inputs give equal bits.
"""

import numpy as np

from libc.math cimport exp, fabs, isfinite, log, log1p, sqrt
from libc.stdint cimport int32_t


# -------------------------------------------------------------------------------------- likelihoods
#
# lgamma, digamma and trigamma enter only as differences between y + r and r with y a whole number.
# The differences are summed term by term until r >= 12 and then taken from the asymptotic series,
# whose differences are written without cancellation: exact to ~1e-15 from r = 1e-150 to 1e300.

cdef struct Gammas:
    double log_gamma   # lgamma(y + r) - lgamma(r) - y log(r)
    double psi         # digamma(y + r) - digamma(r)
    double psi1        # trigamma(y + r) - trigamma(r)


cdef struct Rising:    # the terms of one r summed so far: rows of a pattern come by rising y
    double start
    double r
    double done
    double product
    double logs
    double psi
    double psi1


cdef inline void forget(Rising *at) noexcept nogil:
    at.start = -1.0
    at.r = at.done = at.logs = at.psi = at.psi1 = 0.0
    at.product = 1.0


cdef inline Gammas gamma_differences(double y, double start, Rising *at) noexcept nogil:
    cdef Gammas out
    cdef double r, left, x, u, v, u2, v2
    if at.start != start or y < at.done:
        forget(at)
        at.start = at.r = start
    while at.done < y and at.r < 12.0:
        at.product *= at.r / start
        at.psi += 1.0 / at.r
        at.psi1 -= 1.0 / (at.r * at.r)
        if at.product > 1e120:
            at.logs += log(at.product)
            at.product = 1.0
        at.r += 1.0
        at.done += 1.0
    out.log_gamma = at.logs + log(at.product)
    out.psi = at.psi
    out.psi1 = at.psi1
    r = at.r
    left = y - at.done
    if left > 0.0:
        x = r + left
        u = 1.0 / x
        v = 1.0 / r
        u2 = u * u
        v2 = v * v
        # x log x - r log r with x = r + left, then the series in 1/x - 1/r
        out.log_gamma += (
            left * log(r / start) + (x - 0.5) * log1p(left / r) - left
            + (u - v) / 12.0
            - (u * u2 - v * v2) / 360.0
            + (u * u2 * u2 - v * v2 * v2) / 1260.0
            - (u * u2 * u2 * u2 - v * v2 * v2 * v2) / 1680.0
            + (u * u2 * u2 * u2 * u2 - v * v2 * v2 * v2 * v2) / 1188.0
        )
        out.psi += (
            log1p(left / r) + 0.5 * left * u * v
            - (u2 - v2) / 12.0
            + (u2 * u2 - v2 * v2) / 120.0
            - (u2 * u2 * u2 - v2 * v2 * v2) / 252.0
            + (u2 * u2 * u2 * u2 - v2 * v2 * v2 * v2) / 240.0
            - (u2 * u2 * u2 * u2 * u2 - v2 * v2 * v2 * v2 * v2) / 132.0
        )
        out.psi1 += (
            -left * u * v
            + 0.5 * (u2 - v2)
            + (u * u2 - v * v2) / 6.0
            - (u * u2 * u2 - v * v2 * v2) / 30.0
            + (u * u2 * u2 * u2 - v * v2 * v2 * v2) / 42.0
            - (u * u2 * u2 * u2 * u2 - v * v2 * v2 * v2 * v2) / 30.0
            + (u * u2 * u2 * u2 * u2 * u2 - v * v2 * v2 * v2 * v2 * v2) * (5.0 / 66.0)
        )
    return out


cdef struct Terms:  # log likelihood of one cell and its derivatives
    double value
    double g        # d / d eta
    double h        # d2 / d eta2
    double c        # d2 / d eta d theta
    double gt       # d / d theta
    double ht       # d2 / d theta2


cdef inline Terms one_cell(
    int family, double y, double m, double eta, double s, double log1p_s, Rising *at
) noexcept nogil:
    """Of a count y with mean m. `value` has y eta where y log(m) belongs, and lacks lgamma(y + 1)."""
    cdef Terms out
    cdef Gammas e
    cdef double d = y - m, r, k, am
    if family == 0:
        out.value = y * eta - m
        out.g = d
        out.h = -m
        out.c = out.gt = out.ht = 0.0
        return out
    if family == 1:
        # r = mu / s: l = lgamma(y+r) - lgamma(r) + y log(s/(1+s)) - r log(1+s), y log r + y log s = y log mu
        r = m / s
        if y == 0.0:
            k = -r * log1p_s
            out.value = out.g = out.h = k
        else:
            e = gamma_differences(y, r, at)
            k = r * (e.psi - log1p_s)
            out.value = e.log_gamma + y * (eta - log1p_s) - r * log1p_s
            out.g = k
            out.h = k + r * r * e.psi1
        out.c = -out.h - m / (1.0 + s)
        out.gt = -k + d / (1.0 + s)
        out.ht = out.h + m / (1.0 + s) - d * s / ((1.0 + s) * (1.0 + s))
        return out
    # r = 1 / a: l = lgamma(y+r) - lgamma(r) + y log(a mu) - (y + r) log(1 + a mu)
    r = 1.0 / s
    am = s * m
    e = gamma_differences(y, r, at)
    k = log1p(am)
    out.value = e.log_gamma + y * (eta - k) - r * k
    out.g = d / (1.0 + am)
    out.h = -m * (1.0 + s * y) / ((1.0 + am) * (1.0 + am))
    out.c = -d * am / ((1.0 + am) * (1.0 + am))
    out.gt = -r * e.psi + r * k + out.g
    out.ht = r * e.psi + r * r * e.psi1 - r * k + m / (1.0 + am) + out.c
    return out


cdef double table_likelihood(
    int family,
    const int32_t[::1] pattern,
    const double[::1] y,
    const double[::1] cells,
    const double[::1] exposure,
    const double[::1] eta,
    double[::1] rate,
    double theta,
    double[:, ::1] sums,
) noexcept nogil:
    cdef Py_ssize_t t, i
    cdef double w, total = 0.0, s = exp(theta) if family else 0.0
    cdef double log1p_s = log1p(s)
    cdef Terms one
    cdef Rising at
    forget(&at)
    sums[:, :] = 0.0
    for i in range(eta.shape[0]):
        rate[i] = exp(eta[i])
    for t in range(y.shape[0]):
        i = pattern[t]
        w = cells[t]
        one = one_cell(family, y[t], exposure[t] * rate[i], eta[i], s, log1p_s, &at)
        total += w * one.value
        sums[i, 0] += w * one.g
        sums[i, 1] += w * one.h
        sums[i, 2] += w * one.c
        sums[i, 3] += w * one.gt
        sums[i, 4] += w * one.ht
    return total


def count_likelihood(
    int family,
    const int32_t[::1] pattern,
    const double[::1] y,
    const double[::1] cells,
    const double[::1] exposure,
    const double[::1] eta,
    double theta,
    double[:, ::1] sums,
):
    """Log likelihood of a collapsed table, and its derivatives summed within each pattern.

    Parameters
    ----------
    family : int
        0 Poisson, 1 NBII (Var = mu (1 + s)), 2 NB2 (Var = mu + a mu^2).
    pattern, y, cells, exposure : arrays, shape (n_rows,)
        Covariate pattern, count, number of cells and exposure of each row of the table.
    eta : float64 array, shape (n_patterns,)
        Linear predictor: ``mu = exposure * exp(eta)``.
    theta : float
        log s or log a; not read for Poisson.
    sums : float64 array, shape (n_patterns, 5)
        Output: sums of dl/d(eta), d2l/d(eta)2, d2l/d(eta)d(theta), dl/d(theta), d2l/d(theta)2.

    Returns
    -------
    float
        log L without the sum of cells * (lgamma(y + 1) - y log(exposure)), which no parameter changes.
    """
    cdef double[::1] rate = np.empty(eta.shape[0])
    cdef double total
    with nogil:
        total = table_likelihood(family, pattern, y, cells, exposure, eta, rate, theta, sums)
    return total


def cell_scores(
    int family,
    const int32_t[::1] pattern,
    const double[::1] y,
    const double[::1] exposure,
    const double[::1] eta,
    double theta,
    double[:, ::1] scores,
):
    """Fill ``scores[t] = (dl/d(eta), dl/d(theta))`` of one cell of each row."""
    cdef Py_ssize_t t
    cdef double s = exp(theta) if family else 0.0
    cdef double log1p_s = log1p(s)
    cdef Terms one
    cdef Rising at
    forget(&at)
    with nogil:
        for t in range(y.shape[0]):
            one = one_cell(family, y[t], exposure[t] * exp(eta[pattern[t]]), eta[pattern[t]], s, log1p_s, &at)
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
    const int32_t[::1] pattern,
    const double[::1] y,
    const double[::1] cells,
    const double[::1] exposure,
    double[::1] at,
    double[::1] gradient,
    double[:, ::1] information,
    int fixed,
    double decrement_limit,
    double largest_coefficient,
    double smallest_theta,
    int max_steps,
):
    """Maximise the log likelihood of a table by safeguarded Newton steps with the exact Hessian.

    Parameters
    ----------
    family : int
        0 Poisson, 1 NBII, 2 NB2.
    x : float64 array, shape (n_patterns, k)
    pattern, y, cells, exposure : arrays, shape (n_rows,)
    at : float64 array, shape (k,) or (k + 1,)
        Start, and where it ended: coefficients of `x` and, except for Poisson, log dispersion.
    gradient, information : float64 arrays
        Output: derivatives at the end (information: minus the Hessian).
    fixed : int
        A parameter that keeps its value; -1 for none.
    decrement_limit : float
        Converged when twice the gain still promised is less.
    largest_coefficient : float
        A coefficient (past the first) beyond it is taken to run to infinity.
    smallest_theta : float
        Stop when the log dispersion falls below it.
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
    cdef Py_ssize_t k = x.shape[1], n = at.shape[0], a
    cdef bint dispersed = family != 0
    cdef double[::1] eta = np.empty(x.shape[0]), rate = np.empty(x.shape[0])
    cdef double[:, ::1] sums = np.empty((x.shape[0], 5)), lower = np.empty((n, n))
    cdef double[::1] step = np.empty(n), trial = np.empty(n), scale = np.empty(n), slope = np.empty(n)
    cdef double[:, ::1] curvature = np.empty((n, n))
    cdef double value = 0.0, reached = 0.0, decrement, size, slack, largest
    cdef int status = TOO_MANY_STEPS, iteration = 0, halving, bent = 0
    with nogil:
        value = point_value(family, x, pattern, y, cells, exposure, at, eta, rate, sums)
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
                for a in range(n):
                    decrement += slope[a] * step[a]
                    largest = max(largest, fabs(step[a]))
                if decrement < decrement_limit:  # where bent: singular, which the caller sees in the information
                    status = CONVERGED
                    break
                size = min(1.0, 4.0 / largest)
                slack = 1e-13 * (1.0 + fabs(value))
                status = STALLED
                for halving in range(60):
                    for a in range(n):
                        trial[a] = at[a] + size * step[a]
                    reached = point_value(family, x, pattern, y, cells, exposure, trial, eta, rate, sums)
                    if reached >= value + 1e-4 * size * decrement - slack:
                        status = TOO_MANY_STEPS
                        break
                    size *= 0.5
                if status == STALLED:
                    break
                at[:] = trial
                value = reached
                for a in range(1, k):
                    if a != fixed and fabs(at[a]) > largest_coefficient:
                        status = INFINITE
                if status == INFINITE:
                    break
                if dispersed and at[k] < smallest_theta:
                    status = NO_DISPERSION
                    break
    return status, value, iteration


cdef double point_value(
    int family, const double[:, ::1] x, const int32_t[::1] pattern, const double[::1] y, const double[::1] cells,
    const double[::1] exposure, const double[::1] at, double[::1] eta, double[::1] rate, double[:, ::1] sums,
) noexcept nogil:
    """Log L at a point; leaves its derivatives by pattern in `sums`. -inf where it would overflow."""
    cdef Py_ssize_t i
    cdef double theta = 0.0, total
    x_beta(x, at, eta)
    for i in range(eta.shape[0]):
        if not fabs(eta[i]) < 300.0:
            return -1.0 / 0.0
    if family:
        theta = at[x.shape[1]]
        if not fabs(theta) < 60.0:
            return -1.0 / 0.0
    total = table_likelihood(family, pattern, y, cells, exposure, eta, rate, theta, sums)
    return total if isfinite(total) else -1.0 / 0.0
