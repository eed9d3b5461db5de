# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
# distutils: language = c++
"""Statistical loops of rtmdx: penalised Poisson regression on codes.

Every function here is serial, releases the GIL around its loop, trusts its arguments (Python
validates them once) and sums in a fixed order, so equal inputs give equal bits.

Words
-----
A *row* is a set of cells whose codes agree in every block. The effective codes of several blocks
are packed, mixed-radix, into one *word*; ``words[w, i]`` is the value of word ``w`` in row ``i`` and
``offsets[w]`` the place of its value 0 in a table over all words. A linear predictor is then one
table look-up per word, and a gradient one histogram per word.

Lanes
-----
Four fits (the folds of a cross-validation) ride in one pass: a row, a table entry and a histogram
entry hold four numbers. The two loops over all rows, `lane_means` and `lane_histogram`, are C++
(engine/src/code_sums.cpp), where the compiler keeps four doubles in a register.
"""

import numpy as np

cimport cython
from libc.math cimport exp, fabs, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp, memcpy


cdef extern from "rtmdx/code_sums.hpp" namespace "rtmdx" nogil:
    cdef struct PackedRows:
        const uint16_t *words
        const int32_t *offsets
        int64_t n_words
        int64_t n_rows

    void c_lane_means "rtmdx::lane_means"(
        const PackedRows &rows, const double *table, const double *weight, const double *exposure,
        double *mean, double *total, double *everywhere) except +
    void c_lane_histogram "rtmdx::lane_histogram"(
        const PackedRows &rows, const double *weight, double *hist) except +

    cdef cppclass LaneExposure[Real]:
        const double *exposure
        const Real *group[4]
        double share[4]

    void c_lane_exposures "rtmdx::lane_exposures"[Real](
        const LaneExposure[Real] &of, const int32_t *pattern, int64_t n_rows, int64_t n_patterns,
        double *out, double *whole) except +
    void c_lane_histogram_of "rtmdx::lane_histogram_of"[Real](
        const PackedRows &rows, const int32_t *pattern, const double *value, const LaneExposure[Real] &of,
        double *hist) except +

    cdef struct Unpacking:
        const int32_t *place
        const int64_t *start
        const int32_t *width
        const int32_t *codes

    void c_lane_joint "rtmdx::lane_joint"(
        const PackedRows &rows, const Unpacking &unpacking, const double *weight, int64_t largest,
        double *scratch, double *joint) except +


# ---------------------------------------------------------------------------------- rows and words


@cython.final
@cython.auto_pickle(False)
cdef class RowIndex:
    """Numbers distinct rows of codes in order of first appearance, chunk by chunk."""

    cdef readonly Py_ssize_t n_blocks
    cdef Py_ssize_t n_rows, capacity
    cdef object rows_array, hash_array, table_array

    def __init__(self, Py_ssize_t n_blocks):
        self.n_blocks = n_blocks
        self.n_rows = 0
        self.capacity = 1024
        self.rows_array = np.empty((512, n_blocks), np.uint8)
        self.hash_array = np.empty(512, np.uint64)
        self.table_array = np.full(self.capacity, -1, np.int32)

    def add(self, const uint8_t[:, ::1] codes):
        """Return the number of each line of `codes` (n, n_blocks), int32."""
        cdef Py_ssize_t n = codes.shape[0], n_blocks = self.n_blocks, i, b, start = 0, room
        cdef int32_t other
        cdef uint64_t slot, h, mask
        out = np.empty(n, np.int32)
        cdef int32_t[::1] row = out
        cdef int32_t[::1] table
        cdef uint8_t[:, ::1] rows
        cdef uint64_t[::1] hashes
        cdef Py_ssize_t n_rows
        while start < n:
            if 2 * (self.n_rows + 1) > self.capacity:
                self._grow()
            table, rows, hashes = self.table_array, self.rows_array, self.hash_array
            n_rows, mask, room = self.n_rows, self.capacity - 1, self.capacity // 2
            with nogil:
                for i in range(start, n):
                    h = hash_row(&codes[i, 0], n_blocks)
                    slot = h & mask
                    while True:
                        other = table[slot]
                        if other < 0 or (
                            hashes[other] == h and memcmp(&codes[i, 0], &rows[other, 0], n_blocks) == 0
                        ):
                            break
                        slot = (slot + 1) & mask
                    if other < 0:
                        if n_rows == room:
                            break
                        other = <int32_t>n_rows
                        table[slot] = other
                        memcpy(&rows[other, 0], &codes[i, 0], n_blocks)
                        hashes[other] = h
                        n_rows += 1
                    row[i] = other
                else:
                    i = n
            self.n_rows = n_rows
            start = i
        return out

    def _grow(self):
        cdef Py_ssize_t i
        cdef uint64_t slot, mask = 2 * self.capacity - 1
        rows = np.empty((self.capacity, self.n_blocks), np.uint8)
        rows[:self.n_rows] = self.rows_array[:self.n_rows]
        hashes = np.empty(self.capacity, np.uint64)
        hashes[:self.n_rows] = self.hash_array[:self.n_rows]
        self.rows_array, self.hash_array, self.capacity = rows, hashes, 2 * self.capacity
        self.table_array = np.full(self.capacity, -1, np.int32)
        cdef int32_t[::1] table = self.table_array
        cdef uint64_t[::1] h = hashes
        with nogil:
            for i in range(self.n_rows):
                slot = h[i] & mask
                while table[slot] >= 0:
                    slot = (slot + 1) & mask
                table[slot] = <int32_t>i

    def finish(self):
        """Return the distinct rows (n_rows, n_blocks) and their hashes, which depend on the codes alone."""
        return self.rows_array[:self.n_rows], self.hash_array[:self.n_rows]


cdef inline uint64_t hash_row(const uint8_t *codes, Py_ssize_t n) noexcept nogil:
    cdef uint64_t h = <uint64_t>0x9e3779b97f4a7c15, word
    cdef Py_ssize_t b = 0
    while b + 8 <= n:
        memcpy(&word, codes + b, 8)
        h = (h ^ word) * <uint64_t>0xff51afd7ed558ccd
        h ^= h >> 32
        b += 8
    while b < n:
        h = (h ^ codes[b]) * <uint64_t>0xc4ceb9fe1a85ec53
        h ^= h >> 29
        b += 1
    h *= <uint64_t>0xff51afd7ed558ccd
    return h ^ (h >> 33)


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
    cdef Py_ssize_t n = codes.shape[0], i
    cdef int32_t seen = 0
    if n == 0 or codes.shape[1] == 0:
        return np.zeros(n, np.int32), np.zeros(min(n, 1), np.int32)
    index = RowIndex(codes.shape[1])
    row_array = index.add(codes)
    cdef int32_t[::1] row = row_array
    first_array = np.empty(len(index.finish()[1]), np.int32)
    cdef int32_t[::1] first = first_array
    with nogil:
        for i in range(n):
            if row[i] == seen:
                first[seen] = <int32_t>i
                seen += 1
    return row_array, first_array


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
    cdef Py_ssize_t n = codes.shape[1], u, i
    cdef int32_t last = -1
    cdef const uint8_t *c
    cdef const uint16_t *d
    cdef uint16_t *w
    with nogil:
        for u in range(blocks.shape[0]):
            c = &codes[blocks[u], 0]
            d = &digits[u, 0]
            w = &words[word_of[u], 0]
            if word_of[u] != last:
                last = word_of[u]
                for i in range(n):
                    w[i] = d[c[i]]
            else:
                for i in range(n):
                    w[i] += d[c[i]]


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


ctypedef fused Real:
    float
    double


def lane_exposures(
    const double[::1] exposure, const Real[:, ::1] groups, const int32_t[::1] group, const double[::1] share,
    const int32_t[::1] pattern, double[:, ::1] out, double[::1] whole,
):
    """Sum what the lanes are fitted to by pattern: fill `out` (n_patterns, 4), and `whole` with all exposure.

    Lane f is fitted to ``share[f] * exposure - groups[group[f]]``, without the last where ``group[f] < 0``.
    """
    cdef LaneExposure[Real] of
    cdef int f
    if exposure.shape[0] == 0:
        out[:, :] = 0.0
        whole[:] = 0.0
        return
    of.exposure = &exposure[0]
    for f in range(4):
        of.group[f] = &groups[group[f], 0] if group[f] >= 0 else NULL
        of.share[f] = share[f]
    with nogil:
        c_lane_exposures(of, &pattern[0], exposure.shape[0], out.shape[0], &out[0, 0], &whole[0])


def lane_histogram_of(
    const uint16_t[:, ::1] words, const int32_t[::1] offsets, const int32_t[::1] pattern, const double[:, ::1] value,
    const double[::1] exposure, const Real[:, ::1] groups, const int32_t[::1] group, const double[::1] share,
    double[:, ::1] hist,
):
    """Fill `hist` (n_entries, 4) with sums of the lanes' exposure times ``value[pattern[i]]``, by word and value."""
    cdef PackedRows rows
    cdef LaneExposure[Real] of
    cdef int f
    rows.n_words, rows.n_rows = words.shape[0], words.shape[1]
    if rows.n_words == 0 or rows.n_rows == 0:
        hist[:, :] = 0.0
        return
    rows.words, rows.offsets = &words[0, 0], &offsets[0]
    of.exposure = &exposure[0]
    for f in range(4):
        of.group[f] = &groups[group[f], 0] if group[f] >= 0 else NULL
        of.share[f] = share[f]
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
    double[:, :, ::1] joint,
):
    """Fill ``joint[a, b]`` (n_codes, n_codes, 4): the sums of `weight` over the rows that have codes a and b.

    Word w's values unpack to the codes at ``place[start[w] + value * width[w]]`` and the ``width[w] - 1`` after it;
    its blocks' codes are ``codes[w] .. codes[w + 1] - 1``.
    """
    cdef PackedRows rows
    cdef Unpacking unpacking
    cdef int64_t largest = 0
    cdef Py_ssize_t w
    rows.n_words, rows.n_rows = words.shape[0], words.shape[1]
    if rows.n_words == 0 or rows.n_rows == 0:
        joint[:, :, :] = 0.0
        return
    for w in range(words.shape[0]):
        largest = max(largest, offsets[w + 1] - offsets[w])
    cdef double[::1] scratch = np.empty(4 * (largest * largest + joint.shape[0]))
    rows.words, rows.offsets = &words[0, 0], &offsets[0]
    unpacking.place, unpacking.start = &place[0], &start[0]
    unpacking.width, unpacking.codes = &width[0], &codes[0]
    with nogil:
        c_lane_joint(rows, unpacking, &weight[0, 0], largest, &scratch[0], &joint[0, 0, 0])


def decode_joint(
    const double[:, ::1] decode, const int32_t[::1] codes, const int32_t[::1] starts, Py_ssize_t lane,
    const double[:, :, ::1] joint, double[:, ::1] out,
):
    """Fill ``out[j, k] = sum over rows of weight_i x_ij x_ik`` of one lane from the joint sums by codes.

    Block b has the codes ``codes[b] .. codes[b + 1] - 1`` and the variables ``starts[b] .. starts[b + 1] - 1``.
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
