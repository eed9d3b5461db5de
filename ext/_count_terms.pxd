# cython: language_level=3, cdivision=True
"""The log likelihood of one cell and its derivatives, without cancellation at any size of count.

A value is ``log f(y) + c(y)`` with ``c(y) = log y! - y log y + y``, so that a cell whose mean is its count is worth
about 0: it has the size of what is said about the fit, never that of y log y. With Loader's deviance part
``D(x, m) = x log(x / m) - x + m`` the Poisson's is ``-D(y, mu)``, and for a negative binomial of size r >= 12, with
N = y + r and t the relative excess of its variance (s for NBII, alpha mu for NB2),

    -D(y, N t/(1+t)) - D(r, N/(1+t)) - log(1 + y/r)/2 + S(N) - S(r),

S being the tail of Stirling's series (Loader 2000, Fast and accurate computation of binomial probabilities). Both
differences x - m are +-(y - mu)/(1+t), which is how they are computed.

lgamma, digamma and trigamma enter the rest only as differences between y + r and r with y a whole number.
The differences are summed term by term until r >= 12 and then taken from the asymptotic series, whose
differences are written without cancellation: exact to ~1e-15 from r = 1e-150 to 1e300.
"""

from libc.math cimport fabs, log, log1p


cdef enum:
    LARGE = 64  # counts from here on take the deviance form; below it y log y is of no size


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


cdef struct Terms:  # log likelihood of one cell and its derivatives
    double value
    double g        # d / d eta
    double h        # d2 / d eta2
    double c        # d2 / d eta d theta
    double gt       # d / d theta
    double ht       # d2 / d theta2


cdef inline void forget(Rising *at) noexcept nogil:
    at.start = -1.0
    at.r = at.done = at.logs = at.psi = at.psi1 = 0.0
    at.product = 1.0


cdef inline void rise(double y, double start, Rising *at) noexcept nogil:
    """Take in the terms from start on until r is 12 or they are y."""
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


cdef inline double log_gamma_tail(double u) noexcept nogil:
    """S(1/u): lgamma(x) - (x - 1/2) log x + x - log(2 pi)/2 at x = 1/u."""
    cdef double u2 = u * u
    return u * (1.0 / 12.0 - u2 * (1.0 / 360.0 - u2 * (1.0 / 1260.0 - u2 * (1.0 / 1680.0 - u2 / 1188.0))))


cdef inline double psi_tail(double u, double v) noexcept nogil:
    """digamma(1/u) - digamma(1/v) less log(v/u) and (v - u)/2."""
    cdef double u2 = u * u, v2 = v * v
    return (
        -(u2 - v2) / 12.0
        + (u2 * u2 - v2 * v2) / 120.0
        - (u2 * u2 * u2 - v2 * v2 * v2) / 252.0
        + (u2 * u2 * u2 * u2 - v2 * v2 * v2 * v2) / 240.0
        - (u2 * u2 * u2 * u2 * u2 - v2 * v2 * v2 * v2 * v2) / 132.0
    )


cdef inline double psi1_tail(double u, double v) noexcept nogil:
    """trigamma(1/u) - trigamma(1/v) less u - v."""
    cdef double u2 = u * u, v2 = v * v
    return (
        0.5 * (u2 - v2)
        + (u * u2 - v * v2) / 6.0
        - (u * u2 * u2 - v * v2 * v2) / 30.0
        + (u * u2 * u2 * u2 - v * v2 * v2 * v2) / 42.0
        - (u * u2 * u2 * u2 * u2 - v * v2 * v2 * v2 * v2) / 30.0
        + (u * u2 * u2 * u2 * u2 * u2 - v * v2 * v2 * v2 * v2 * v2) * (5.0 / 66.0)
    )


cdef inline Gammas gamma_differences(double y, double start, Rising *at) noexcept nogil:
    cdef Gammas out
    cdef double left, x, u, v
    rise(y, start, at)
    out.log_gamma = at.logs + log(at.product)
    out.psi = at.psi
    out.psi1 = at.psi1
    left = y - at.done
    if left > 0.0:
        x = at.r + left
        u = 1.0 / x
        v = 1.0 / at.r
        # x log x - r log r with x = r + left, then the series in 1/x - 1/r
        out.log_gamma += (
            left * log(at.r / start) + (x - 0.5) * log1p(left / at.r) - left + log_gamma_tail(u) - log_gamma_tail(v)
        )
        out.psi += log1p(left / at.r) + 0.5 * left * u * v + psi_tail(u, v)
        out.psi1 += -left * u * v + psi1_tail(u, v)
    return out


cdef inline double deviance_part(double x, double m, double d) noexcept nogil:
    """x log(x / m) - x + m >= 0 for x > 0, m > 0 and d = x - m, which the caller knows better."""
    cdef double v, term, total, before
    cdef int j
    if fabs(d) >= 0.1 * (x + m):
        return x * log(x / m) - d
    v = d / (x + m)
    total = d * v
    term = 2.0 * x * v
    v = v * v
    for j in range(1, 1000):
        term *= v
        before = total
        total += term / (2 * j + 1)
        if total == before:
            break
    return total


cdef inline double less_log1p(double w) noexcept nogil:
    """w - log(1 + w)."""
    cdef double total, before, term, v
    cdef int j
    if fabs(w) >= 0.1:
        return w - log1p(w)
    # log(1 + w) = 2 atanh(v) with v = w / (2 + w), and w - 2 v = w v
    v = w / (2.0 + w)
    total = w * v
    term = 2.0 * v
    v = v * v
    for j in range(1, 1000):
        term *= v
        before = total
        total -= term / (2 * j + 1)
        if total == before:
            break
    return total


cdef inline double large_value(double y, double m, double r, double t, Rising *at) noexcept nogil:
    """The value of a negative binomial of size r and relative excess t = m / r, for y >= 64."""
    cdef double n = y + r, d = (y - m) / (1.0 + t), v, x
    v = deviance_part(y, (y * t + m) / (1.0 + t), d)
    if r >= 12.0:
        x = deviance_part(r, n / (1.0 + t), -d)
        return log_gamma_tail(1.0 / n) - log_gamma_tail(1.0 / r) - v - x - 0.5 * log1p(y / r)
    rise(y, r, at)
    x = n / (1.0 + t)
    return (
        r * log(x) - x - v - 0.5 * log(n) + log_gamma_tail(1.0 / n)
        + at.r - (at.r - 0.5) * log(at.r) - log_gamma_tail(1.0 / at.r)
        + at.logs + log(at.product) + at.done * log(r)
    )


cdef inline Terms one_cell(
    int family, double y, double m, double eta, double saturated, double s, double log1p_s, Rising *at
) noexcept nogil:
    """Of a count y with mean m; `saturated` is the eta that would make m equal y."""
    cdef Terms out
    cdef Gammas e
    cdef double d = y - m, r, k, t, q, x, u, v
    if family == 0:
        if y == 0.0:
            out.value = -m
        else:
            out.value = -deviance_part(y, m, d)
        out.g = d
        out.h = -m
        out.c = out.gt = out.ht = 0.0
        return out
    if family == 1:
        r = m / s
        t = s
    else:
        r = 1.0 / s
        t = s * m
    if y >= LARGE and r >= 12.0:
        # As below, with what cancels taken out: r log((r + y)/(r + m)) = q - r (w - log(1 + w)) for w = d/(r + m)
        x = y + r
        u = 1.0 / x
        v = 1.0 / r
        q = d / (1.0 + t)
        out.value = large_value(y, m, r, t, at)
        out.gt = r * (less_log1p(d / (r + m)) - 0.5 * y * u * v - psi_tail(u, v))
        k = r * r * psi1_tail(u, v) - out.gt
        out.ht = q * q * u + k
        if family == 1:
            out.g = q - out.gt
            out.c = -(q * y * u + k)
            out.h = -out.c - m / (1.0 + s)
        else:
            out.g = q
            out.h = -m * (1.0 + s * y) / ((1.0 + t) * (1.0 + t))
            out.c = -q * t / (1.0 + t)
        return out
    if family == 1:
        # r = mu / s: l = lgamma(y+r) - lgamma(r) + y log(s/(1+s)) - r log(1+s), y log r + y log s = y log mu
        if y == 0.0:
            k = -r * log1p_s
            out.value = out.g = out.h = k
        else:
            e = gamma_differences(y, r, at)
            k = r * (e.psi - log1p_s)
            out.value = e.log_gamma + y * (eta - saturated - log1p_s) + y - r * log1p_s
            out.g = k
            out.h = k + r * r * e.psi1
        out.c = -out.h - m / (1.0 + s)
        out.gt = -k + d / (1.0 + s)
        out.ht = out.h + m / (1.0 + s) - d * s / ((1.0 + s) * (1.0 + s))
    else:
        # r = 1 / a: l = lgamma(y+r) - lgamma(r) + y log(a mu) - (y + r) log(1 + a mu)
        e = gamma_differences(y, r, at)
        k = log1p(t)
        out.value = e.log_gamma + y * (eta - saturated - k) + y - r * k
        out.g = d / (1.0 + t)
        out.h = -m * (1.0 + s * y) / ((1.0 + t) * (1.0 + t))
        out.c = -d * t / ((1.0 + t) * (1.0 + t))
        out.gt = -r * e.psi + r * k + out.g
        out.ht = r * e.psi + r * r * e.psi1 - r * k + m / (1.0 + t) + out.c
    if y >= LARGE:
        out.value = large_value(y, m, r, t, at)
    return out
