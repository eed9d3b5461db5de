# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
# distutils: language=c++
"""Loops of prioritization: ranks with ties, fair selection, patches (engine/src/rank.cpp, fair.cpp, patches.cpp).

Every function releases the GIL around its engine call, which touches only the arrays given, and trusts its arguments
(Python validates them once).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "rtmdx/cancel.hpp" namespace "rtmdx" nogil:
    cdef cppclass Run:
        Run() except +
        int threads

cdef extern from "rtmdx/rank.hpp" namespace "rtmdx" nogil:
    cdef struct Capture:
        const int64_t* k
        size_t n
        double* lowest
        double* expected
        double* highest

    int64_t rank_cells(
        const double* score, const double* amount, size_t cells, int32_t* best, int32_t* worst, const Capture& capture,
        const Run& run
    ) except +


def rank(
    const double[::1] score, const double[::1] amount, const int64_t[::1] k, int32_t[::1] best, int32_t[::1] worst,
    double[:, ::1] curve, int threads
):
    """First and last possible rank of each cell, amounts in the first k (lowest, expected, highest); distinct scores.

    `amount`, `best` and `worst` may be None.
    """
    cdef Run run
    cdef Capture capture
    cdef size_t n = score.shape[0]
    cdef int64_t levels
    cdef const double* amounts = NULL
    cdef int32_t* first = NULL
    cdef int32_t* last = NULL
    if n == 0:
        return 0
    run.threads = threads
    capture.n = k.shape[0]
    if amount is not None:
        amounts = &amount[0]
        if capture.n > 0:
            capture.k, capture.lowest, capture.expected, capture.highest = (
                &k[0], &curve[0, 0], &curve[1, 0], &curve[2, 0]
            )
    if best is not None and worst is not None:
        first, last = &best[0], &worst[0]
    with nogil:
        levels = rank_cells(&score[0], amounts, n, first, last, capture, run)
    return levels


cdef extern from "rtmdx/fair.hpp" namespace "rtmdx" nogil:
    cdef struct FairChoice:
        bint feasible
        double least
        double value
        double weight
        double bound
        double multiplier

    FairChoice choose_fair(
        const double* value, const double* weight, size_t n, size_t k, double cap, int32_t* chosen
    ) except +


def choose(const double[::1] value, const double[::1] weight, double cap, int32_t[::1] chosen):
    """The len(chosen) cells of most value whose weights sum to at most `cap`.

    Returns feasible, least weight possible, value, weight, bound, multiplier.
    """
    cdef FairChoice found
    cdef size_t n = value.shape[0], k = chosen.shape[0]
    with nogil:
        found = choose_fair(&value[0], &weight[0], n, k, cap, &chosen[0])
    return found.feasible, found.least, found.value, found.weight, found.bound, found.multiplier


cdef extern from "rtmdx/patches.hpp" namespace "rtmdx" nogil:
    cdef struct Graph:
        const int64_t* offsets
        const int32_t* targets

    cdef struct PatchProblem:
        const double* value
        const double* cost
        size_t n
        double budget
        Graph neighbours
        Graph near
        const uint8_t* lock
        int32_t patch
        int passes

    cdef cppclass PatchEnd:
        pass

    cdef struct PatchResult:
        PatchEnd end
        int32_t unit
        double value
        double cost

    PatchResult grow_patches(const PatchProblem& problem, int32_t* owner) except +


def grow(
    const double[::1] value, const double[::1] cost, double budget, const int64_t[::1] offsets,
    const int32_t[::1] targets, const int64_t[::1] near_offsets, const int32_t[::1] near_targets,
    const uint8_t[::1] lock, int patch, int passes, int32_t[::1] owner
):
    """Contiguous patches under a budget, written to `owner` (-1: not chosen). `near_offsets` may be None.

    Returns how it ended (0 fine; a locked patch is 1 too small, 2 too near another, 3 over the budget), a unit of
    that patch, value and cost.
    """
    cdef PatchProblem p
    cdef PatchResult found
    p.value, p.cost, p.n, p.budget = &value[0], &cost[0], value.shape[0], budget
    p.neighbours.offsets, p.neighbours.targets = &offsets[0], &targets[0] if targets.shape[0] else <const int32_t*> NULL
    p.near.offsets, p.near.targets = <const int64_t*> NULL, <const int32_t*> NULL
    if near_offsets is not None:
        p.near.offsets, p.near.targets = &near_offsets[0], &near_targets[0] if near_targets.shape[0] else <const int32_t*> NULL
    p.lock, p.patch, p.passes = &lock[0], patch, passes
    with nogil:
        found = grow_patches(p, &owner[0])
    return <int> found.end, found.unit, found.value, found.cost
