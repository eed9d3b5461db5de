# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
# distutils: language = c++
"""Statistical loops of rtmdx: penalised Poisson regression on codes.

Every function here is serial, releases the GIL around its loop, trusts its arguments (Python
validates them once) and sums in a fixed order, so equal inputs give equal bits.

Words
-----
Codes come packed into words (ext/_rows.pyx): ``words[w, i]`` is the value of word ``w`` in row ``i`` and
``offsets[w]`` the place of its value 0 in a table over all words. A linear predictor is then one
table look-up per word, and a gradient one histogram per word.

Lanes
-----
Four fits (the folds of a cross-validation) ride in one pass: a row, a table entry and a histogram
entry hold four numbers. The loops over rows are C++ (engine/src/code_sums.cpp), where the compiler keeps
four doubles in a register.
"""

import numpy as np

from libc.math cimport fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint16_t


cdef extern from "rtmdx/code_sums.hpp" namespace "rtmdx" nogil:
    cdef struct PackedRows:
        const uint16_t *words
        const int32_t *offsets
        int64_t n_words
        int64_t n_rows

    void c_lane_means "rtmdx::lane_means"(
        const PackedRows &rows, const double *table, const double *weight, const double *exposure,
        double *mean, double *total, double *everywhere) except +
    void c_lane_ratios "rtmdx::lane_ratios"(int64_t n, const double *weight, double *mean) except +
    void c_lane_histogram "rtmdx::lane_histogram"(
        const PackedRows &rows, const double *weight, double *hist) except +

    cdef cppclass LaneExposure[Amount]:
        const double *exposure
        const Amount *group[4]
        double share[4]

    void c_lane_exposures "rtmdx::lane_exposures"[Amount](
        const LaneExposure[Amount] &of, const int32_t *pattern, int64_t n_rows, int64_t n_patterns,
        double *out, double *whole) except +
    void c_lane_histogram_of "rtmdx::lane_histogram_of"[Amount](
        const PackedRows &rows, const int32_t *pattern, const double *value, const LaneExposure[Amount] &of,
        double *hist) except +

    cdef struct Unpacking:
        const int32_t *place
        const int64_t *start
        const int32_t *width
        const int32_t *codes

    void c_lane_joint "rtmdx::lane_joint"(
        const PackedRows &rows, const Unpacking &unpacking, const double *weight, int64_t word,
        int64_t largest, double *scratch, double *joint) except +


# ------------------------------------------------------------------------------------------- lanes


def lane_means(
    const uint16_t[:, ::1] words,
    const int32_t[::1] offsets,
    const double[:, ::1] table,
    const double[:, ::1] weight,
    const double[::1] exposure,
    double[:, ::1] mean,
    double[::1] total,
    double[::1] everywhere,
):
    """Fill ``mean = weight * exp(eta)``, eta the sum over words of `table`, and the totals, by lane.

    Parameters
    ----------
    words : uint16 array, shape (n_words, n_rows)
    table : float64 array, shape (n_entries, 4)
    weight : float64 array, shape (n_rows, 4)
        Exposure of the cells each lane is fitted to.
    exposure : float64 array, shape (n_rows,)
        Exposure of all cells.
    mean : float64 array, shape (n_rows, 4)
    total, everywhere : float64 arrays, shape (4,)
        Sums of ``weight * exp(eta)`` and of ``exposure * exp(eta)``.
    """
    cdef PackedRows rows
    rows.n_words, rows.n_rows = words.shape[0], words.shape[1]
    if rows.n_rows == 0:
        total[:] = 0.0
        everywhere[:] = 0.0
        return
    rows.words = &words[0, 0] if rows.n_words else NULL
    rows.offsets = &offsets[0]
    cdef const double *t = &table[0, 0] if table.shape[0] else NULL
    with nogil:
        c_lane_means(rows, t, &weight[0, 0], &exposure[0], &mean[0, 0], &total[0], &everywhere[0])


def lane_ratios(const double[:, ::1] weight, double[:, ::1] mean):
    """Divide `mean` by `weight`, both (n_rows, 4), in place: 0 where there is no weight."""
    if mean.shape[0] > 0:
        with nogil:
            c_lane_ratios(4 * mean.shape[0], &weight[0, 0], &mean[0, 0])


def lane_histogram(
    const uint16_t[:, ::1] words, const int32_t[::1] offsets, const double[:, ::1] weight, double[:, ::1] hist
):
    """Fill `hist` (n_entries, 4) with the sums of `weight` (n_rows, 4) by word and value."""
    cdef PackedRows rows
    rows.n_words, rows.n_rows = words.shape[0], words.shape[1]
    if rows.n_words == 0 or rows.n_rows == 0:
        hist[:, :] = 0.0
        return
    rows.words, rows.offsets = &words[0, 0], &offsets[0]
    with nogil:
        c_lane_histogram(rows, &weight[0, 0], &hist[0, 0])


ctypedef fused Amount:
    uint16_t
    int32_t
    int64_t


cdef LaneExposure[Amount] lane_exposure_of(
    const double[::1] exposure, const Amount[:, ::1] groups, const int32_t[::1] group, const double[::1] share
):
    """Point at what the lanes are fitted to: ``share * exposure - groups[group]``, without the last where group < 0."""
    cdef LaneExposure[Amount] of
    cdef int f
    of.exposure = &exposure[0]
    for f in range(4):
        of.group[f] = &groups[group[f], 0] if group[f] >= 0 else NULL
        of.share[f] = share[f]
    return of


def lane_exposures(
    const double[::1] exposure, const Amount[:, ::1] groups, const int32_t[::1] group, const double[::1] share,
    const int32_t[::1] pattern, double[:, ::1] out, double[::1] whole,
):
    """Sum what the lanes are fitted to by pattern: fill `out` (n_patterns, 4), and `whole` with all exposure."""
    cdef LaneExposure[Amount] of
    if exposure.shape[0] == 0:
        out[:, :] = 0.0
        whole[:] = 0.0
        return
    of = lane_exposure_of(exposure, groups, group, share)
    with nogil:
        c_lane_exposures(of, &pattern[0], exposure.shape[0], out.shape[0], &out[0, 0], &whole[0])


def lane_histogram_of(
    const uint16_t[:, ::1] words, const int32_t[::1] offsets, const int32_t[::1] pattern, const double[:, ::1] value,
    const double[::1] exposure, const Amount[:, ::1] groups, const int32_t[::1] group, const double[::1] share,
    double[:, ::1] hist,
):
    """Fill `hist` (n_entries, 4) with sums of the lanes' exposure times ``value[pattern[i]]``, by word and value."""
    cdef PackedRows rows
    cdef LaneExposure[Amount] of
    rows.n_words, rows.n_rows = words.shape[0], words.shape[1]
    if rows.n_words == 0 or rows.n_rows == 0:
        hist[:, :] = 0.0
        return
    rows.words, rows.offsets = &words[0, 0], &offsets[0]
    of = lane_exposure_of(exposure, groups, group, share)
    with nogil:
        c_lane_histogram_of(rows, &pattern[0], &value[0, 0], of, &hist[0, 0])


def lane_table(
    const int32_t[::1] place, const int32_t[::1] first, const int32_t[::1] width,
    const double[:, ::1] block_table, double[:, ::1] table,
):
    """Fill `table` (n_entries, 4): the sum of `block_table` over the blocks of each entry of each word.

    Word w has the entries ``first[w] .. first[w + 1] - 1``, each with ``width[w]`` places in the block
    table, one per block, at ``place`` in order.
    """
    cdef Py_ssize_t w, c, k, at = 0, f
    cdef double s[4]
    with nogil:
        for w in range(width.shape[0]):
            for c in range(first[w], first[w + 1]):
                for f in range(4):
                    s[f] = 0.0
                for k in range(width[w]):
                    for f in range(4):
                        s[f] += block_table[place[at], f]
                    at += 1
                for f in range(4):
                    table[c, f] = s[f]


def lane_marginals(
    const int32_t[::1] place, const int32_t[::1] first, const int32_t[::1] width,
    const double[:, ::1] hist, double[:, ::1] block_hist,
):
    """Fill `block_hist` with the sums of `hist` by block and code: the reverse of `lane_table`."""
    cdef Py_ssize_t w, c, k, at = 0, f
    with nogil:
        block_hist[:, :] = 0.0
        for w in range(width.shape[0]):
            for c in range(first[w], first[w + 1]):
                for k in range(width[w]):
                    for f in range(4):
                        block_hist[place[at], f] += hist[c, f]
                    at += 1


def decode_lanes(
    const double[:, ::1] decode, const int32_t[::1] codes, const int32_t[::1] starts,
    const double[:, ::1] beta, double[:, ::1] block_table,
):
    """Fill `block_table`: the linear predictor of each code of each block, by lane.

    Block b has the table places ``codes[b] .. codes[b + 1] - 1`` and the variables
    ``starts[b] .. starts[b + 1] - 1``; ``decode[c, v]`` is the signed 0/1 value of its v-th variable.
    """
    cdef Py_ssize_t b, c, v, f
    cdef double t
    with nogil:
        block_table[:, :] = 0.0
        for b in range(starts.shape[0] - 1):
            for c in range(codes[b], codes[b + 1]):
                for v in range(starts[b + 1] - starts[b]):
                    t = decode[c, v]
                    if t != 0.0:
                        for f in range(4):
                            block_table[c, f] += t * beta[starts[b] + v, f]


def encode_lanes(
    const double[:, ::1] decode, const int32_t[::1] codes, const int32_t[::1] starts,
    const double[:, ::1] block_hist, double[:, ::1] out,
):
    """Fill ``out[j] = sum over rows of x_ij * weight_i``, by lane, from the blocks' histograms."""
    cdef Py_ssize_t b, c, v, f
    cdef double t
    with nogil:
        out[:, :] = 0.0
        for b in range(starts.shape[0] - 1):
            for c in range(codes[b], codes[b + 1]):
                for v in range(starts[b + 1] - starts[b]):
                    t = decode[c, v]
                    if t != 0.0:
                        for f in range(4):
                            out[starts[b] + v, f] += t * block_hist[c, f]


def lane_joint(
    const uint16_t[:, ::1] words,
    const int32_t[::1] offsets,
    const int32_t[::1] place,
    const int64_t[::1] start,
    const int32_t[::1] width,
    const int32_t[::1] codes,
    const double[:, ::1] weight,
    Py_ssize_t word,
    double[:, :, ::1] joint,
):
    """Add to ``joint[a, b]`` (n_codes, n_codes, 4) the sums of `weight` over the rows that have codes a and b.

    a are the codes of `word`, b those of it and of the words after it, so that all words together fill what is
    above the diagonal. Word w's values unpack to the codes at ``place[start[w] + value * width[w]]`` and the
    ``width[w] - 1`` after it; its blocks' codes are ``codes[w] .. codes[w + 1] - 1``.
    """
    cdef PackedRows rows
    cdef Unpacking unpacking
    cdef int64_t largest = 0
    cdef Py_ssize_t w
    rows.n_words, rows.n_rows = words.shape[0], words.shape[1]
    if rows.n_rows == 0:
        return
    for w in range(words.shape[0]):
        largest = max(largest, offsets[w + 1] - offsets[w])
    cdef double[::1] scratch = np.empty(4 * (largest * largest + joint.shape[0]))
    rows.words, rows.offsets = &words[0, 0], &offsets[0]
    unpacking.place, unpacking.start = &place[0], &start[0]
    unpacking.width, unpacking.codes = &width[0], &codes[0]
    with nogil:
        c_lane_joint(rows, unpacking, &weight[0, 0], word, largest, &scratch[0], &joint[0, 0, 0])


def decode_joint(
    const double[:, ::1] decode, const int32_t[::1] codes, const int32_t[::1] starts, Py_ssize_t lane,
    const double[:, :, ::1] joint, double[:, ::1] out,
):
    """Fill ``out[j, k] = sum over rows of weight_i x_ij x_ik`` of one lane from the joint sums by codes.

    Only what is above the diagonal of `joint` is read. Block b has the codes ``codes[b] .. codes[b + 1] - 1`` and
    the variables ``starts[b] .. starts[b + 1] - 1``.
    """
    cdef Py_ssize_t n_blocks = starts.shape[0] - 1, a, b, c, d, v, u
    cdef double t
    cdef double[::1] line = np.empty(max(1, decode.shape[1]))
    with nogil:
        out[:, :] = 0.0
        for a in range(n_blocks):
            for b in range(a, n_blocks):
                for c in range(codes[a], codes[a + 1]):
                    for v in range(starts[b + 1] - starts[b]):
                        line[v] = 0.0
                    for d in range(codes[b], codes[b + 1]):
                        t = joint[c, d, lane]
                        if t != 0.0:
                            for v in range(starts[b + 1] - starts[b]):
                                line[v] += t * decode[d, v]
                    for u in range(starts[a + 1] - starts[a]):
                        t = decode[c, u]
                        if t != 0.0:
                            for v in range(starts[b + 1] - starts[b]):
                                out[starts[a] + u, starts[b] + v] += t * line[v]
        for u in range(out.shape[0]):
            for v in range(u):
                out[u, v] = out[v, u]


# ------------------------------------------------------------------------------ quadratic programs


cdef bint solve_definite(double[:, ::1] a, double[::1] x, Py_ssize_t n) noexcept nogil:
    """Solve a x = b in place by Cholesky, a (n x n) overwritten, x = b on entry; False if not definite."""
    cdef Py_ssize_t i, j, k
    cdef double pivot, t
    for j in range(n):
        pivot = a[j, j]
        if pivot <= 0.0:
            return False
        pivot = sqrt(pivot)
        a[j, j] = pivot
        for i in range(j + 1, n):
            a[j, i] /= pivot  # row j of the upper factor
        for i in range(j + 1, n):
            t = a[j, i]
            if t != 0.0:
                for k in range(i, n):
                    a[i, k] -= t * a[j, k]
    for i in range(n):
        x[i] /= a[i, i]
        t = x[i]
        for k in range(i + 1, n):
            x[k] -= t * a[i, k]
    for i in range(n - 1, -1, -1):
        t = 0.0
        for k in range(i + 1, n):
            t += a[i, k] * x[k]
        x[i] = (x[i] - t) / a[i, i]
    return True


def minimise_quadratic(
    const double[:, ::1] hessian,
    double[::1] slope,
    double[::1] beta,
    double l1,
    double l2,
    bint nonnegative,
    double tolerance,
    int max_rounds,
):
    """Minimise the quadratic model plus penalty over `beta`, in place; return the rounds taken.

    The model is ``q(b) = slope'(b - beta) + (b - beta)' hessian (b - beta) / 2``, the penalty
    ``l1 * sum|b| + l2 / 2 * sum(b^2)`` with ``b >= 0`` if `nonnegative`. `slope` is kept up to date:
    on return it is the model's gradient, without the penalty's, at the new point.

    A round is one sweep of coordinate descent over all variables, which finds the signs, two over the
    nonzero ones, and then the exact minimum for these signs (a Cholesky solve), or as far towards
    it as no sign changes. It ends with a sweep over all that moves the gradient by at most `tolerance`.
    """
    cdef Py_ssize_t p = beta.shape[0], j, k, n, a, b
    cdef double curvature, old, new, target, delta, moved, largest, size, limit
    cdef int rounds = 0, sweep, direct
    cdef bint definite, hit
    cdef double[:, ::1] part = np.empty((p, p))
    cdef double[::1] step = np.empty(p)
    cdef int32_t[::1] active = np.empty(p, np.int32)
    with nogil:
        largest = 0.0
        for j in range(p):
            if hessian[j, j] > largest:
                largest = hessian[j, j]
        while rounds < max_rounds:
            rounds += 1
            for sweep in range(3):
                moved = 0.0
                for j in range(p):
                    old = beta[j]
                    if sweep > 0 and old == 0.0:
                        continue
                    curvature = hessian[j, j] + l2
                    if hessian[j, j] <= 1e-13 * largest:  # constant in these cells
                        continue
                    target = old * hessian[j, j] - slope[j]
                    if target > l1:
                        new = (target - l1) / curvature
                    elif target < -l1 and not nonnegative:
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
                    break
            if sweep == 0 and moved <= tolerance:
                break
            if moved <= tolerance:
                continue
            for direct in range(8):
                n = 0
                for j in range(p):
                    if beta[j] != 0.0:
                        active[n] = <int32_t>j
                        n += 1
                if n == 0:
                    break
                for a in range(n):
                    j = active[a]
                    for b in range(a, n):
                        part[a, b] = hessian[j, active[b]]
                    part[a, a] += l2 + 1e-13 * largest
                    step[a] = -(slope[j] + l2 * beta[j] + (l1 if beta[j] > 0.0 else -l1))
                definite = solve_definite(part, step, n)
                if not definite:
                    break
                size, hit = 1.0, False
                for a in range(n):
                    old = beta[active[a]]
                    if old * (old + step[a]) < 0.0:
                        limit = -old / step[a]
                        if limit < size:
                            size, hit = limit, True
                for a in range(n):
                    j = active[a]
                    old = beta[j]
                    new = old + size * step[a]
                    if hit and (old * new <= 0.0 or fabs(new) <= 1e-14 * fabs(old)):
                        new = 0.0
                    delta = new - old
                    beta[j] = new
                    if delta != 0.0:
                        for k in range(p):
                            slope[k] += delta * hessian[j, k]
                if not hit:
                    break
    return rounds
