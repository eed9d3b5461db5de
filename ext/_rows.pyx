# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
# distutils: language = c++
"""Rows of rtmdx: cells whose codes agree in every block are numbered, summed by group, and packed into words.

Every function here is serial, releases the GIL around its loop, and trusts its arguments (Python validates
them once). A *row* is a set of cells whose codes agree in every block. The effective codes of several blocks
are packed, mixed-radix, into one *word*.
"""

import numpy as np

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp, memcpy


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
    const int32_t[::1] rows,
    uint16_t[:, ::1] words,
):
    """Fill `words`: the sum of the packed digits of each word's blocks.

    Parameters
    ----------
    codes : uint8 array, shape (n_blocks, n)
    blocks, word_of : int32 arrays, shape (n_used,)
        The blocks used, in order, and the word each goes to (never decreasing).
    digits : uint16 array, shape (n_used, 256)
        Effective code times the block's stride in its word.
    rows : int32 array, shape (n_rows,)
        Which of the n rows; empty for all of them.
    words : uint16 array, shape (n_words, n_rows)
        Output.
    """
    cdef Py_ssize_t n = words.shape[1], u, i
    cdef bint every = rows.shape[0] == 0
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
                    w[i] = 0
            if every:
                for i in range(n):
                    w[i] += d[c[i]]
            else:
                for i in range(n):
                    w[i] += d[c[rows[i]]]


ctypedef fused Sum:
    int32_t
    int64_t


def add_by_row(const int32_t[::1] row, const int32_t[::1] group, const int64_t[::1] amount, Sum[:, ::1] out):
    """Add ``amount[i]`` (1 where it is empty) to ``out[group[i], row[i]]`` (group 0 where that is empty)."""
    cdef Py_ssize_t i, n = row.shape[0]
    cdef bint by_group = group.shape[0] > 0, ones = amount.shape[0] == 0
    with nogil:
        for i in range(n):
            out[group[i] if by_group else 0, row[i]] += 1 if ones else <Sum>amount[i]
