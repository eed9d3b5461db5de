# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
"""Loops of disparity: exact intervals and tests of a ratio of two Poisson rates.

Given their sum, one of two Poisson counts is binomial: a | a + b ~ B(a + b, p), with the odds p / (1 - p) the ratio of
the rates times that of the exposures. Everything here is about that p, by its log odds, and keeps its digits for
counts of thousands of millions: probabilities by their saddle-point form, tails by a continued fraction.

Every function is serial, releases the GIL around its loop and trusts its arguments (Python validates them once).
"""

from libc.math cimport INFINITY, M_PI, exp, fabs, lgamma, log, log1p, sqrt
from libc.stdint cimport int32_t, int64_t


cdef double stirling_rest(double n) noexcept nogil:
    """log n! less Stirling's log(sqrt(2 pi n) (n / e)^n), n > 0."""
    cdef double s
    if n < 16.0:
        return lgamma(n + 1.0) - (n + 0.5) * log(n) + n - 0.5 * log(2.0 * M_PI)
    s = 1.0 / (n * n)
    return (1.0 / 12.0 - s * (1.0 / 360.0 - s * (1.0 / 1260.0 - s * (1.0 / 1680.0 - s / 1188.0)))) / n


cdef double deviance_part(double x, double mean) noexcept nogil:
    """x log(x / mean) + mean - x, without cancellation where x is near its mean; x, mean > 0."""
    cdef double d = x - mean, v, s, term, more
    cdef int j
    if fabs(d) > 0.1 * (x + mean):
        return x * log(x / mean) + mean - x
    v = d / (x + mean)
    s, term = d * v, 2.0 * x * v
    v *= v
    for j in range(1, 100):
        term *= v
        more = s + term / (2 * j + 1)
        if more == s:
            break
        s = more
    return s


cdef double log_probability(double k, double n, double p, double q) noexcept nogil:
    """log P(X = k), X ~ B(n, p), q = 1 - p."""
    if k < 0.0 or k > n:
        return -INFINITY
    if p <= 0.0:
        return 0.0 if k == 0.0 else -INFINITY
    if q <= 0.0:
        return 0.0 if k == n else -INFINITY
    if k == 0.0:
        return n * (log(q) if p > 0.1 else log1p(-p))
    if k == n:
        return n * (log(p) if q > 0.1 else log1p(-q))
    return (
        stirling_rest(n) - stirling_rest(k) - stirling_rest(n - k)
        - deviance_part(k, n * p) - deviance_part(n - k, n * q)
        + 0.5 * log(n / (2.0 * M_PI * k * (n - k)))
    )


cdef double far_tail(double k, double n, double p, double q) noexcept nogil:
    """log P(X >= k), X ~ B(n, p), where k is above the mean: the continued fraction of the incomplete beta function."""
    cdef double a = k, b = n - k + 1.0, c = 1.0, d, h, m, numerator, change
    cdef double tiny = 1e-300
    cdef int i
    d = 1.0 - (a + b) * p / (a + 1.0)
    if fabs(d) < tiny:
        d = tiny
    d = 1.0 / d
    h = d
    for i in range(1, 1000000):
        m = i
        numerator = m * (b - m) * p / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        d = 1.0 + numerator * d
        d = tiny if fabs(d) < tiny else d
        c = 1.0 + numerator / c
        c = tiny if fabs(c) < tiny else c
        d = 1.0 / d
        h *= d * c
        numerator = -(a + m) * (a + b + m) * p / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        d = 1.0 + numerator * d
        d = tiny if fabs(d) < tiny else d
        c = 1.0 + numerator / c
        c = tiny if fabs(c) < tiny else c
        d = 1.0 / d
        change = d * c
        h *= change
        if fabs(change - 1.0) < 1e-15:
            break
    return log_probability(k, n, p, q) + log(q * h)


cdef double log_upper(double k, double n, double p, double q) noexcept nogil:
    """log P(X >= k), X ~ B(n, p), q = 1 - p."""
    if k <= 0.0:
        return 0.0
    if k > n or p <= 0.0:
        return -INFINITY
    if q <= 0.0:
        return 0.0
    if p * (n + 2.0) < k + 1.0:
        return far_tail(k, n, p, q)
    return log1p(-exp(far_tail(n - k + 1.0, n, q, p)))


cdef double weighted_upper(double k, double n, double p, double q, double weight) noexcept nogil:
    """log(P(X > k) + weight P(X = k)), 0 < weight <= 1."""
    cdef double whole = log_upper(k, n, p, q)
    if weight == 1.0 or whole == -INFINITY:
        return whole
    return whole + log1p(-(1.0 - weight) * exp(log_probability(k, n, p, q) - whole))


cdef inline void odds(double theta, double *p, double *q) noexcept nogil:
    """The probability of these log odds, and its complement, both to their last digits."""
    cdef double e
    if theta < 0.0:
        e = exp(theta)
        p[0], q[0] = e / (1.0 + e), 1.0 / (1.0 + e)
    else:
        e = exp(-theta)
        p[0], q[0] = 1.0 / (1.0 + e), e / (1.0 + e)


cdef double lower_limit(double a, double b, double tail, double weight) noexcept nogil:
    """The log odds at which P(X > a) + weight P(X = a) is `tail`, X ~ B(a + b, p); -inf where there is none."""
    cdef double n = a + b, theta, low = -INFINITY, high = INFINITY, f, slope, p, q, value, probability, step
    cdef double target = log(tail), z = 1.96
    cdef int i
    if a == 0.0:
        return -INFINITY
    theta = log((a - 0.5 * weight + 1e-3) / (b + 0.5)) - z * sqrt(1.0 / a + 1.0 / (b + 1.0))
    for i in range(200):
        odds(theta, &p, &q)
        value = weighted_upper(a, n, p, q, weight)
        f = value - target
        if f > 0.0:
            high = theta
        else:
            low = theta
        # d tail / d theta = P(a) (a q - (1 - weight) (a - n p))
        probability = log_probability(a, n, p, q)
        slope = exp(probability - value) * (a * q - (1.0 - weight) * (a - n * p))
        step = -f / slope if slope > 0.0 else INFINITY
        if not (low < theta + step < high) or fabs(step) > 20.0:
            if low == -INFINITY:
                step = -3.0 if f > 0.0 else 3.0
            elif high == INFINITY:
                step = 3.0
            else:
                step = 0.5 * (low + high) - theta
        theta += step
        if fabs(step) <= 1e-14 * (1.0 + fabs(theta)):
            break
    return theta


def conditional_limits(
    const double[::1] a, const double[::1] b, double tail, double weight, double[::1] low, double[::1] high
):
    """Fill the log odds between which no tail, with `weight` of P(X = a), has less than `tail`.

    Parameters
    ----------
    a, b : float64 arrays of whole numbers >= 0
    tail : float
        Half of one minus the level.
    weight : float
        1 for the exact (Clopper-Pearson) limits, 0.5 for mid-P.
    low, high : float64 arrays
        Output: log odds; -inf and inf where a, or b, is 0.
    """
    cdef Py_ssize_t i
    with nogil:
        for i in range(a.shape[0]):
            low[i] = lower_limit(a[i], b[i], tail, weight)
            high[i] = -lower_limit(b[i], a[i], tail, weight)


def conditional_tails(
    const double[::1] a, const double[::1] b, const double[::1] theta, double weight, double[::1] upper,
    double[::1] lower,
):
    """Fill P(X > a) + weight P(X = a), and P(X < a) + weight P(X = a), at log odds `theta`."""
    cdef Py_ssize_t i
    cdef double p, q
    with nogil:
        for i in range(a.shape[0]):
            odds(theta[i], &p, &q)
            upper[i] = exp(weighted_upper(a[i], a[i] + b[i], p, q, weight))
            lower[i] = exp(weighted_upper(b[i], a[i] + b[i], q, p, weight))


# ------------------------------------------------------------------------------- minimum likelihood


cdef double farthest_left(double a, double n, double p, double q, double slack) noexcept nogil:
    """The largest x below a whose probability is at most that of a (and `slack`, relative); -1 where there is none."""
    cdef double mode = (n + 1.0) * p, low = -1.0, high, x, bound = log_probability(a, n, p, q) + slack
    high = a if a < mode else mode
    high = <double><long long>high
    while high - low > 1.0:  # probabilities rise up to the mode
        x = <double><long long>(0.5 * (low + high))
        if log_probability(x, n, p, q) <= bound:
            low = x
        else:
            high = x
    return low


cdef double two_sided(double a, double n, double p, double q, double weight) noexcept nogil:
    """The probability of all outcomes at most as likely as a; `weight` of a's own (0.5: mid-P)."""
    cdef double total, x, own, slack = 1e-7
    if a > n * p:
        x = farthest_left(a, n, p, q, slack)
        total = exp(log_upper(a, n, p, q)) + exp(log_upper(n - x, n, q, p))
    elif a < n * p:
        x = n - farthest_left(n - a, n, q, p, slack)
        total = exp(log_upper(n - a, n, q, p)) + exp(log_upper(x, n, p, q))
    else:
        return 1.0
    if weight < 1.0:  # what is exactly as likely as a counts by half too
        own = exp(log_probability(a, n, p, q))
        total -= (1.0 - weight) * own
        if 0.0 <= x <= n and fabs(log_probability(x, n, p, q) - log(own)) <= slack:
            total -= (1.0 - weight) * own
    return total if total < 1.0 else 1.0


def likelihood_tests(
    const double[::1] a, const double[::1] b, const double[::1] theta, double weight, double[::1] out
):
    """Fill the two-sided p value at log odds `theta`: what is at most as likely as a."""
    cdef Py_ssize_t i
    cdef double p, q
    with nogil:
        for i in range(a.shape[0]):
            odds(theta[i], &p, &q)
            out[i] = two_sided(a[i], a[i] + b[i], p, q, weight)


cdef double log_choose_ratio(double n, double x, double a) noexcept nogil:
    """log(C(n, x) / C(n, a))."""
    # of the probabilities at p = 1/2, the powers of p cancel
    return log_probability(x, n, 0.5, 0.5) - log_probability(a, n, 0.5, 0.5)


cdef double sum_of_tails(double a, double x, double n, double theta) noexcept nogil:
    """P(X >= a) + P(X <= x)."""
    cdef double p, q, total
    odds(theta, &p, &q)
    total = exp(log_upper(a, n, p, q))
    if x >= 0.0:
        total += exp(log_upper(n - x, n, q, p))
    return total


cdef double lower_minlike(double a, double b, double alpha) noexcept nogil:
    """The smallest log odds at which outcomes at most as likely as a have probability `alpha`.

    Between two places where some x < a is as likely as a the sum of both tails has no maximum, so it is looked at
    in these places, and solved for where it first reaches alpha.
    """
    cdef double n = a + b, theta, x, place, low, high, middle
    cdef int i
    if a == 0.0:
        return -INFINITY
    theta = lower_limit(a, b, 1e-3 * alpha, 1.0)  # below it the left tail alone would have to be nearly alpha
    x = -1.0
    while x + 1.0 < a and log_choose_ratio(n, x + 1.0, a) / (a - x - 1.0) <= theta:
        x += 1.0
    while True:
        if sum_of_tails(a, x, n, theta) >= alpha:
            return theta
        if x + 1.0 < a:
            place = log_choose_ratio(n, x + 1.0, a) / (a - x - 1.0)
        else:
            place = INFINITY
        if place == INFINITY:
            high = theta + 1.0
            while sum_of_tails(a, x, n, high) < alpha:
                high += 1.0
        else:
            high = place
        if sum_of_tails(a, x, n, high) >= alpha:
            low = theta
            for i in range(200):
                middle = 0.5 * (low + high)
                if middle <= low or middle >= high:
                    break
                if sum_of_tails(a, x, n, middle) >= alpha:
                    high = middle
                else:
                    low = middle
            return high
        theta = place
        x += 1.0


def minlike_limits(const double[::1] a, const double[::1] b, double alpha, double[::1] low, double[::1] high):
    """Fill the log odds between which outcomes at most as likely as a have probability `alpha` or more."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(a.shape[0]):
            low[i] = lower_minlike(a[i], b[i], alpha)
            high[i] = -lower_minlike(b[i], a[i], alpha)


# ------------------------------------------------------------------------------------------ E test


cdef double poisson_probability(double k, double mean) noexcept nogil:
    if mean <= 0.0:
        return 1.0 if k == 0.0 else 0.0
    if k == 0.0:
        return exp(-mean)
    return exp(-stirling_rest(k) - deviance_part(k, mean)) / sqrt(2.0 * M_PI * k)


cdef double e_value(
    double a, double na, double b, double nb, double value, int32_t side, int64_t most
) noexcept nogil:
    """Krishnamoorthy and Thomson's E test: the statistic's tail under rates estimated by the null hypothesis."""
    cdef double rate = (a + b) / (value * na + nb), ma = value * rate * na, mb = rate * nb, seen, t, spread
    cdef double total = 0.0, pa, pb, variance
    cdef int64_t i, j, a0, a1, b0, b1
    variance = a / (na * na) + value * value * b / (nb * nb)
    if variance <= 0.0:
        return 1.0
    seen = (a / na - value * b / nb) / sqrt(variance)
    spread = 12.0
    a0 = <int64_t>(ma - spread * sqrt(ma) - 30.0)
    a1 = <int64_t>(ma + spread * sqrt(ma) + 30.0)
    b0 = <int64_t>(mb - spread * sqrt(mb) - 30.0)
    b1 = <int64_t>(mb + spread * sqrt(mb) + 30.0)
    a0, b0 = (0 if a0 < 0 else a0), (0 if b0 < 0 else b0)
    if (a1 - a0 + 1) * (b1 - b0 + 1) > most:
        return -1.0
    for i in range(a0, a1 + 1):
        pa = poisson_probability(i, ma)
        if pa < 1e-20:
            continue
        for j in range(b0, b1 + 1):
            variance = i / (na * na) + value * value * j / (nb * nb)
            t = (i / na - value * j / nb) / sqrt(variance) if variance > 0.0 else 0.0
            if side == 0:
                t, pb = fabs(t), fabs(seen)
            elif side > 0:
                pb = seen
            else:
                t, pb = -t, -seen
            if t >= pb - 1e-12 * (1.0 + fabs(pb)) and (variance > 0.0 or pb <= 0.0):
                total += pa * poisson_probability(j, mb)
    return total if total < 1.0 else 1.0


def e_tests(
    const double[::1] a, const double[::1] na, const double[::1] b, const double[::1] nb, const double[::1] value,
    int32_t side, int64_t most, double[::1] out,
):
    """Fill the E test's p values; -1 where its table would have more than `most` entries.

    `side` is 0 for two-sided, 1 where a larger ratio is looked for, -1 a smaller one.
    """
    cdef Py_ssize_t i
    with nogil:
        for i in range(a.shape[0]):
            out[i] = e_value(a[i], na[i], b[i], nb[i], value[i], side, most)
