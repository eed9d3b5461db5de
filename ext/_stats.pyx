# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
"""Statistical loops of rtmdx: penalised Poisson regression on codes, count-model likelihoods.

Every function here is serial, releases the GIL around its loop, trusts its arguments (Python
validates them once) and sums in a fixed order, so equal inputs give equal bits.

Words
-----
A *row* is a set of cells whose codes agree in every block. The effective codes of several blocks
are packed, mixed-radix, into one *word*; ``words[w, i]`` is the value of word ``w`` in row ``i`` and
``offsets[w]`` the place of its value 0 in a table over all words. A linear predictor is then one
table look-up per word, and a gradient one histogram per word.
"""

import numpy as np

from libc.math cimport exp, fabs, log, log1p
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp


# ---------------------------------------------------------------------------------- rows and words


def collapse_rows(const uint8_t[:, ::1] codes):
    """Number the distinct rows of `codes` in order of first appearance.

    Parameters
    ----------
    codes : uint8 array, shape (n_cells, n_blocks)

    Returns
    -------
    row : int32 array, shape (n_cells,)
        The number of each cell's row.
    first : int32 array, shape (n_rows,)
        The first cell of each row.
    """
    cdef Py_ssize_t n = codes.shape[0], n_blocks = codes.shape[1], i, b
    cdef int32_t n_rows = 0, other
    cdef uint64_t capacity = 16, slot, h
    row_array = np.zeros(n, np.int32)
    if n == 0 or n_blocks == 0:
        return row_array, np.zeros(min(n, 1), np.int32)
    while capacity < <uint64_t>(2 * n):
        capacity *= 2
    first_array = np.empty(n, np.int32)
    table_array = np.full(capacity, -1, np.int32)
    cdef int32_t[::1] row = row_array, first = first_array, table = table_array
    with nogil:
        for i in range(n):
            h = <uint64_t>1469598103934665603
            for b in range(n_blocks):
                h = (h ^ codes[i, b]) * <uint64_t>1099511628211
            h ^= h >> 29
            slot = h & (capacity - 1)
            while True:
                other = table[slot]
                if other < 0:
                    table[slot] = n_rows
                    first[n_rows] = <int32_t>i
                    row[i] = n_rows
                    n_rows += 1
                    break
                if memcmp(&codes[i, 0], &codes[first[other], 0], n_blocks) == 0:
                    row[i] = other
                    break
                slot = (slot + 1) & (capacity - 1)
    return row_array, first_array[:n_rows].copy()


def build_words(
    const uint8_t[:, ::1] codes,
    const int32_t[::1] blocks,
    const int32_t[::1] word_of,
    const uint16_t[:, ::1] digits,
    uint16_t[:, ::1] words,
):
    """Fill `words` (n_words, n_rows): the sum of the packed digits of each word's blocks.

    Parameters
    ----------
    codes : uint8 array, shape (n_blocks, n_rows)
    blocks, word_of : int32 arrays, shape (n_used,)
        The blocks used, in order, and the word each goes to (never decreasing).
    digits : uint16 array, shape (n_used, 256)
        Effective code times the block's stride in its word.
    words : uint16 array, shape (n_words, n_rows)
        Output.
    """
    cdef Py_ssize_t n = codes.shape[1], u, i, b, w
    with nogil:
        words[:, :] = 0
        for u in range(blocks.shape[0]):
            b = blocks[u]
            w = word_of[u]
            for i in range(n):
                words[w, i] += digits[u, codes[b, i]]


def histogram(
    const uint16_t[:, ::1] words, const int32_t[::1] offsets, const double[::1] weight, double[::1] hist
):
    """Fill `hist` with the sum of `weight` over the rows that have each value of each word."""
    cdef Py_ssize_t n = words.shape[1], n_words = words.shape[0], w = 0, i
    cdef double x
    cdef double *a
    cdef double *b
    cdef double *c
    cdef double *d
    with nogil:
        hist[:] = 0.0
        # Four words per sweep: neighbouring rows often share a bin, and the additions to the other
        # words' bins fill the wait for it.
        while w + 4 <= n_words:
            a = &hist[offsets[w]]
            b = &hist[offsets[w + 1]]
            c = &hist[offsets[w + 2]]
            d = &hist[offsets[w + 3]]
            for i in range(n):
                x = weight[i]
                a[words[w, i]] += x
                b[words[w + 1, i]] += x
                c[words[w + 2, i]] += x
                d[words[w + 3, i]] += x
            w += 4
        while w < n_words:
            a = &hist[offsets[w]]
            for i in range(n):
                a[words[w, i]] += weight[i]
            w += 1


def poisson_means(
    const uint16_t[:, ::1] words,
    const int32_t[::1] offsets,
    const double[::1] table,
    const double[::1] cells,
    double[::1] mean,
):
    """Fill ``mean[i] = cells[i] * exp(sum over words of table)``; return its sum.

    Rows without training cells (``cells[i] == 0``) have mean 0.
    """
    cdef Py_ssize_t n = words.shape[1], n_words = words.shape[0], w = 0, i
    cdef double total = 0.0
    cdef const double *a
    cdef const double *b
    cdef const double *c
    cdef const double *d
    with nogil:
        for i in range(n):
            mean[i] = 0.0
        while w + 4 <= n_words:
            a = &table[offsets[w]]
            b = &table[offsets[w + 1]]
            c = &table[offsets[w + 2]]
            d = &table[offsets[w + 3]]
            for i in range(n):
                mean[i] += (a[words[w, i]] + b[words[w + 1, i]]) + (c[words[w + 2, i]] + d[words[w + 3, i]])
            w += 4
        while w < n_words:
            a = &table[offsets[w]]
            for i in range(n):
                mean[i] += a[words[w, i]]
            w += 1
        for i in range(n):
            if cells[i] == 0.0:
                mean[i] = 0.0
            else:
                mean[i] = cells[i] * exp(mean[i])
                total += mean[i]
    return total


def held_out_loss(
    const uint16_t[:, ::1] words,
    const int32_t[::1] offsets,
    const double[::1] table,
    double intercept,
    const int32_t[::1] rows,
    const double[::1] cells,
    const double[::1] events,
):
    """Return ``sum(cells * mu - events * eta)`` over the listed rows, ``eta = intercept + table``."""
    cdef Py_ssize_t n_words = words.shape[0], w, i, t
    cdef double eta, total = 0.0
    with nogil:
        for t in range(rows.shape[0]):
            i = rows[t]
            eta = intercept
            for w in range(n_words):
                eta += table[offsets[w] + words[w, i]]
            total += cells[t] * exp(eta) - events[t] * eta
    return total


def decode_table(
    const double[:, ::1] decode, const int32_t[::1] offsets, const int32_t[::1] starts,
    const double[::1] beta, double[::1] table,
):
    """Fill `table`: the linear predictor of each value of each word.

    ``decode[c, v]`` is the signed 0/1 value of the word's v-th variable at table place c; the word's
    variables are ``starts[w] .. starts[w + 1] - 1``.
    """
    cdef Py_ssize_t n_words = starts.shape[0] - 1, w, c, v
    cdef double s
    with nogil:
        for w in range(n_words):
            for c in range(offsets[w], offsets[w + 1]):
                s = 0.0
                for v in range(starts[w + 1] - starts[w]):
                    s += decode[c, v] * beta[starts[w] + v]
                table[c] = s


def decode_gradient(
    const double[:, ::1] decode, const int32_t[::1] offsets, const int32_t[::1] starts,
    const double[::1] hist, double[::1] out,
):
    """Fill ``out[j] = sum over rows of x_ij * weight_i`` from the words' histograms of the weights."""
    cdef Py_ssize_t n_words = starts.shape[0] - 1, w, c, v
    with nogil:
        out[:] = 0.0
        for w in range(n_words):
            for c in range(offsets[w], offsets[w + 1]):
                if hist[c] != 0.0:
                    for v in range(starts[w + 1] - starts[w]):
                        out[starts[w] + v] += decode[c, v] * hist[c]


def gram(
    const uint16_t[:, ::1] words,
    const int32_t[::1] offsets,
    const double[:, ::1] decode,
    const int32_t[::1] starts,
    const double[::1] weight,
    const double[::1] hist,
    double[:, ::1] out,
):
    """Fill ``out[j, k] = sum_i weight_i x_ij x_ik`` from joint histograms of pairs of words.

    `hist` is the single-word histogram of the same weights (the diagonal pairs).
    """
    cdef Py_ssize_t n = words.shape[1], n_words = words.shape[0]
    cdef Py_ssize_t a, b, i, ca, cb, va, vb, n_a, n_b, p_a, p_b, largest = 1, widest = 1
    cdef double t
    for a in range(n_words):
        largest = max(largest, offsets[a + 1] - offsets[a])
        widest = max(widest, starts[a + 1] - starts[a])
    cdef double[::1] joint = np.empty(largest * largest)
    cdef double[::1] line = np.empty(widest)
    with nogil:
        out[:, :] = 0.0
        for a in range(n_words):
            n_a = offsets[a + 1] - offsets[a]
            p_a = starts[a + 1] - starts[a]
            for ca in range(n_a):
                t = hist[offsets[a] + ca]
                if t != 0.0:
                    for va in range(p_a):
                        if decode[offsets[a] + ca, va] != 0.0:
                            for vb in range(p_a):
                                out[starts[a] + va, starts[a] + vb] += (
                                    t * decode[offsets[a] + ca, va] * decode[offsets[a] + ca, vb]
                                )
            for b in range(a + 1, n_words):
                n_b = offsets[b + 1] - offsets[b]
                p_b = starts[b + 1] - starts[b]
                for i in range(n_a * n_b):
                    joint[i] = 0.0
                for i in range(n):
                    joint[words[a, i] * n_b + words[b, i]] += weight[i]
                for ca in range(n_a):
                    for vb in range(p_b):
                        line[vb] = 0.0
                    for cb in range(n_b):
                        t = joint[ca * n_b + cb]
                        if t != 0.0:
                            for vb in range(p_b):
                                line[vb] += t * decode[offsets[b] + cb, vb]
                    for va in range(p_a):
                        t = decode[offsets[a] + ca, va]
                        if t != 0.0:
                            for vb in range(p_b):
                                out[starts[a] + va, starts[b] + vb] += t * line[vb]
        for va in range(out.shape[0]):
            for vb in range(va):
                out[va, vb] = out[vb, va]


# ------------------------------------------------------------------------------ coordinate descent


def coordinate_descent(
    const double[:, ::1] hessian,
    double[::1] slope,
    double[::1] beta,
    double l1,
    double l2,
    bint nonnegative,
    double tolerance,
    int max_sweeps,
):
    """Minimise the quadratic model plus penalty over `beta`, in place; return the number of sweeps.

    The model is ``q(b) = slope'(b - beta) + (b - beta)' hessian (b - beta) / 2``, the penalty
    ``l1 * sum|b| + l2 / 2 * sum(b^2)`` with ``b >= 0`` if `nonnegative`. `slope` is kept up to date
    (covariance updates): on return it is the model's gradient, without the penalty's, at the new point.

    A sweep over all variables is followed by sweeps over the nonzero ones until no update moves the
    gradient by more than `tolerance`; it ends when a sweep over all moves nothing beyond it.
    """
    cdef Py_ssize_t p = beta.shape[0], j, k
    cdef double curvature, old, new, target, delta, moved, largest
    cdef bint everything = True
    cdef int sweep = 0
    with nogil:
        largest = 0.0
        for j in range(p):
            if hessian[j, j] > largest:
                largest = hessian[j, j]
        while sweep < max_sweeps:
            sweep += 1
            moved = 0.0
            for j in range(p):
                old = beta[j]
                if not everything and old == 0.0:
                    continue
                curvature = hessian[j, j] + l2
                if hessian[j, j] <= 1e-13 * largest:  # constant in these cells
                    continue
                target = old * hessian[j, j] - slope[j]
                if nonnegative:
                    new = (target - l1) / curvature if target > l1 else 0.0
                elif target > l1:
                    new = (target - l1) / curvature
                elif target < -l1:
                    new = (target + l1) / curvature
                else:
                    new = 0.0
                delta = new - old
                if delta != 0.0:
                    beta[j] = new
                    for k in range(p):
                        slope[k] += delta * hessian[j, k]
                    if fabs(delta) * curvature > moved:
                        moved = fabs(delta) * curvature
            if moved <= tolerance:
                if everything:
                    break
                everything = True
            else:
                everything = False
    return sweep


# -------------------------------------------------------------------------- count-model likelihoods
#
# lgamma, digamma and trigamma enter only as differences between y + r and r with y a whole number.
# The differences are summed term by term until r >= 12 and then taken from the asymptotic series,
# whose differences are written without cancellation: exact to ~1e-15 from r = 1e-300 to 1e300.

cdef struct Gammas:
    double log_gamma   # lgamma(y + r) - lgamma(r) - y log(r)
    double psi         # digamma(y + r) - digamma(r)
    double psi1        # trigamma(y + r) - trigamma(r)


cdef inline Gammas gamma_differences(double y, double r) noexcept nogil:
    cdef Gammas out
    cdef double start = r, product = 1.0, left = y, x, u, v, u2, v2
    out.log_gamma = 0.0
    out.psi = 0.0
    out.psi1 = 0.0
    while left > 0.0 and r < 12.0:
        product *= r / start
        out.psi += 1.0 / r
        out.psi1 -= 1.0 / (r * r)
        if product > 1e200:
            out.log_gamma += log(product)
            product = 1.0
        r += 1.0
        left -= 1.0
    out.log_gamma += log(product)
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


def count_likelihood(
    int family,
    const int32_t[::1] pattern,
    const double[::1] y,
    const double[::1] cells,
    const double[::1] eta,
    double theta,
    double[:, ::1] sums,
):
    """Log likelihood of a collapsed table, and its derivatives summed within each pattern.

    Parameters
    ----------
    family : int
        0 Poisson, 1 NBII (Var = mu (1 + s)), 2 NB2 (Var = mu + a mu^2).
    pattern, y, cells : arrays, shape (n_rows,)
        Covariate pattern, count and number of cells of each row of the table.
    eta : float64 array, shape (n_patterns,)
        Linear predictor: ``mu = exp(eta)``.
    theta : float
        log s or log a; not read for Poisson.
    sums : float64 array, shape (n_patterns, 5)
        Output: sums of dl/d(eta), d2l/d(eta)2, d2l/d(eta)d(theta), dl/d(theta), d2l/d(theta)2.

    Returns
    -------
    float
        log L without the sum of cells * lgamma(y + 1), which no parameter changes.
    """
    cdef Py_ssize_t t, i
    cdef double m, r, w, d, total = 0.0, g, h, c, gt, ht
    cdef double s = exp(theta) if family else 0.0
    cdef double log1p_s = log1p(s), am, k
    cdef Gammas e
    with nogil:
        sums[:, :] = 0.0
        for t in range(y.shape[0]):
            i = pattern[t]
            w = cells[t]
            m = exp(eta[i])
            d = y[t] - m
            if family == 0:
                total += w * (y[t] * eta[i] - m)
                sums[i, 0] += w * d
                sums[i, 1] -= w * m
                continue
            if family == 1:
                # r = mu / s: l = lgamma(y+r) - lgamma(r) + y log(s/(1+s)) - r log(1+s),
                # and y log r + y log s = y eta.
                r = m / s
                e = gamma_differences(y[t], r)
                k = r * (e.psi - log1p_s)
                total += w * (e.log_gamma + y[t] * (eta[i] - log1p_s) - r * log1p_s)
                g = k
                h = k + r * r * e.psi1
                c = -h - m / (1.0 + s)
                gt = -k + d / (1.0 + s)
                ht = h + m / (1.0 + s) - d * s / ((1.0 + s) * (1.0 + s))
            else:
                # r = 1 / a: l = lgamma(y+r) - lgamma(r) + y log(a mu) - (y + r) log(1 + a mu)
                r = 1.0 / s
                am = s * m
                e = gamma_differences(y[t], r)
                k = log1p(am)
                total += w * (e.log_gamma + y[t] * (eta[i] - k) - r * k)
                g = d / (1.0 + am)
                h = -m * (1.0 + s * y[t]) / ((1.0 + am) * (1.0 + am))
                c = -d * am / ((1.0 + am) * (1.0 + am))
                gt = -r * e.psi + r * k + g
                ht = r * e.psi + r * r * e.psi1 - r * k + m / (1.0 + am) + c
            sums[i, 0] += w * g
            sums[i, 1] += w * h
            sums[i, 2] += w * c
            sums[i, 3] += w * gt
            sums[i, 4] += w * ht
    return total


def linear_predictor(const double[:, ::1] x, const double[::1] beta, double[::1] eta):
    """Fill ``eta = x beta``, serially: a threaded BLAS would not give the same bits everywhere."""
    cdef Py_ssize_t i, a
    cdef double s
    with nogil:
        for i in range(x.shape[0]):
            s = 0.0
            for a in range(x.shape[1]):
                s += x[i, a] * beta[a]
            eta[i] = s


def pattern_sums(
    const double[:, ::1] x, const double[:, ::1] sums, double[:, ::1] moments, double[:, ::1] gram
):
    """Sums over patterns of the columns of `sums` times x, and the Gram matrix weighted by the second.

    Fills ``moments[c, a] = sum_i sums[i, c] x[i, a]`` and ``gram = x' diag(sums[:, 1]) x``.
    """
    cdef Py_ssize_t i, a, b, c
    cdef double t
    with nogil:
        gram[:, :] = 0.0
        moments[:, :] = 0.0
        for i in range(x.shape[0]):
            for a in range(x.shape[1]):
                if x[i, a] == 0.0:
                    continue
                for c in range(sums.shape[1]):
                    moments[c, a] += sums[i, c] * x[i, a]
                t = sums[i, 1] * x[i, a]
                for b in range(a, x.shape[1]):
                    gram[a, b] += t * x[i, b]
        for a in range(gram.shape[0]):
            for b in range(a):
                gram[a, b] = gram[b, a]


# ---------------------------------------------------------------------------------------- stepwise


def split_rows(
    const int32_t[::1] row, const uint8_t[::1] codes, const uint8_t[::1] indicator, double[::1] inside
):
    """Fill ``inside[t]`` with the number of cells of table row t in which the variable is 1."""
    cdef Py_ssize_t i
    with nogil:
        inside[:] = 0.0
        for i in range(row.shape[0]):
            inside[row[i]] += indicator[codes[i]]
