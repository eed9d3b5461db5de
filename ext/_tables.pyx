# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
"""Loops of the tables that count models are fitted to: entries of cells, split by 0/1 variables.

Every function here is serial, releases the GIL around its loop, trusts its arguments (Python validates them
once), and adds whole numbers only, so sums depend on no order.

Words
-----
An *entry* is a set of cells that agree in the codes of every block and in count and exposure. Codes
of several blocks are packed, mixed-radix, into *words* of one byte. A *row* of a table is a set of
entries that agree in count (and exposure) and in the variables of the current model; entries of a
row are consecutive in an order kept beside them, from ``begin[t]`` to ``end[t] - 1``.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t


def pack_codes(const uint8_t[::1] codes, const uint8_t[::1] digits, uint8_t[:, ::1] keys, Py_ssize_t word):
    """Add ``digits[code]`` of each cell's code to its word: ``keys[i, word] += digits[codes[i]]``."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(codes.shape[0]):
            keys[i, word] += digits[codes[i]]


def order_by_level(
    const int32_t[::1] level, const int64_t[::1] weight, int32_t[::1] order, int32_t[::1] begin, int64_t[::1] total
):
    """Order entries by level, and within a level as they came.

    Parameters
    ----------
    level, weight : arrays, shape (n_entries,)
        Levels are from 0.
    order : int32 array, shape (n_entries,)
        Output.
    begin : int32 array, shape (n_levels + 1,)
        Output: the entries of level v are ``order[begin[v]:begin[v + 1]]``.
    total : int64 array, shape (n_levels,)
        Output: weight of each level.
    """
    cdef Py_ssize_t i, v, n_levels = total.shape[0]
    cdef int32_t count, start = 0
    with nogil:
        begin[:] = 0
        total[:] = 0
        for i in range(level.shape[0]):
            begin[level[i]] += 1
            total[level[i]] += weight[i]
        for v in range(n_levels + 1):
            count = begin[v]
            begin[v] = start
            start += count
        for i in range(level.shape[0]):
            order[begin[level[i]]] = <int32_t>i
            begin[level[i]] += 1
        for v in range(n_levels, 0, -1):  # each has moved to where the next begins
            begin[v] = begin[v - 1]
        begin[0] = 0


def partition_rows(
    const int32_t[::1] order,
    const int32_t[::1] begin,
    const int32_t[::1] end,
    const uint8_t[:, ::1] words,
    Py_ssize_t word,
    const uint8_t[::1] member,
    int32_t[::1] parted,
    int32_t[::1] middle,
):
    """Within each row put the entries whose word is no member first, those whose word is one after.

    Fills `parted`, the new order, and `middle`, where the members of each row begin.
    """
    cdef Py_ssize_t t, i, left, right
    cdef int32_t e
    with nogil:
        for t in range(begin.shape[0]):
            left = begin[t]
            right = end[t]
            for i in range(begin[t], end[t]):
                e = order[i]
                if member[words[e, word]]:
                    right -= 1
                    parted[right] = e
                else:
                    parted[left] = e
                    left += 1
            middle[t] = <int32_t>left


def sums_by_variable(
    const int32_t[::1] order,
    const int32_t[::1] begin,
    const int32_t[::1] end,
    const int32_t[::1] rows,
    const uint8_t[:, ::1] words,
    const int64_t[::1] weight,
    const int32_t[::1] offsets,
    const int32_t[::1] starts,
    const int32_t[::1] variables,
    int64_t[:, ::1] inside,
):
    """Fill ``inside[t, v]``, for the listed rows t: the weight of the entries in which variable v is 1.

    Parameters
    ----------
    order, begin, end : int32 arrays
        Order of the entries, and the range of it that each row takes.
    rows : int32 array
        The rows to fill.
    words, weight : arrays, shapes (n_entries, n_words), (n_entries,)
    offsets : int32 array, shape (n_words + 1,)
        Place of each word's value 0 in a table over all words (its *bin*).
    starts, variables : int32 arrays, shapes (n_bins + 1,), (starts[-1],)
        The variables that are 1 where a word has the value of a bin.
    inside : int64 array, shape (n_rows, n_variables)
        Output.
    """
    cdef Py_ssize_t n_words = words.shape[1], u, t, i, w, v, c, n_bins = offsets[words.shape[1]]
    cdef int64_t x
    cdef int32_t e
    cdef int64_t[::1] hist = np.zeros(n_bins, np.int64)
    with nogil:
        for u in range(rows.shape[0]):
            t = rows[u]
            inside[t, :] = 0
            if end[t] - begin[t] < 64:  # few entries: their variables one by one
                for i in range(begin[t], end[t]):
                    e = order[i]
                    x = weight[e]
                    for w in range(n_words):
                        c = offsets[w] + words[e, w]
                        for v in range(starts[c], starts[c + 1]):
                            inside[t, variables[v]] += x
                continue
            hist[:] = 0
            for i in range(begin[t], end[t]):
                e = order[i]
                x = weight[e]
                for w in range(n_words):
                    hist[offsets[w] + words[e, w]] += x
            for c in range(n_bins):
                x = hist[c]
                if x != 0:
                    for v in range(starts[c], starts[c + 1]):
                        inside[t, variables[v]] += x


def sums_of_variable(
    const int32_t[::1] order,
    const int32_t[::1] begin,
    const int32_t[::1] end,
    const uint8_t[:, ::1] words,
    const int64_t[::1] weight,
    Py_ssize_t word,
    const uint8_t[::1] member,
    int64_t[::1] inside,
):
    """Fill ``inside[t]`` for one variable: the weight of each row's entries whose word is a member."""
    cdef Py_ssize_t t, i
    cdef int64_t s
    with nogil:
        for t in range(begin.shape[0]):
            s = 0
            for i in range(begin[t], end[t]):
                if member[words[order[i], word]]:
                    s += weight[order[i]]
            inside[t] = s
