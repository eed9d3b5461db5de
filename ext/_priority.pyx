# cython: language_level=3, wraparound=False, cdivision=True, initializedcheck=False, autotestdict=False
# distutils: language=c++
"""Loops of prioritization: ranks with ties, ranks over scenarios, fair selection, patches (engine/src: rank.cpp,
scenario_ranks.cpp, rank_summary.cpp, kendall.cpp, fair.cpp, patches.cpp).

Every function releases the GIL around its engine call, which touches only the arrays given, and trusts its arguments
(Python validates them once).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t


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


cdef extern from "rtmdx/scenario_ranks.hpp" namespace "rtmdx" nogil:
    cdef struct Edge:
        int64_t best
        int64_t worst
        double score
        double above

    cdef struct RankRows:
        const uint8_t* bytes
        const int64_t* at
        const uint8_t* width
        const uint32_t* table
        const int64_t* table_at
        const uint32_t* edge
        const double* share
        size_t scenarios

    cdef struct RankFigures:
        int32_t* ranked
        double* lowest
        double* highest
        double* mean
        double* sd
        double* quantile
        double* certain
        double* expected
        double* possible

    int64_t float_levels "rtmdx::score_levels<float>"(
        const float* score, size_t cells, size_t most, uint16_t* number, float* level, int64_t* count, const uint8_t* stop
    ) except +
    int64_t float_ranks "rtmdx::twice_mean_ranks<float>"(
        const float* score, size_t cells, int64_t k, uint32_t* twice, void* work, Edge& edge, const uint8_t* stop
    ) except +
    int64_t double_levels "rtmdx::score_levels<double>"(
        const double* score, size_t cells, size_t most, uint16_t* number, double* level, int64_t* count, const uint8_t* stop
    ) except +
    int64_t double_ranks "rtmdx::twice_mean_ranks<double>"(
        const double* score, size_t cells, int64_t k, uint32_t* twice, void* work, Edge& edge, const uint8_t* stop
    ) except +
    void summarise_ranks(
        const RankRows& rows, size_t cells, const double* q, size_t n_q, const RankFigures& figures, const Run& run
    ) except +
    void kendall_tau(
        const uint32_t* ranks, size_t columns, const int32_t* first, const int32_t* second, size_t pairs, double* tau,
        const Run& run
    ) except +


ctypedef fused real:
    float
    double


def levels(
    const real[::1] score, uint16_t[::1] number, real[::1] level, int64_t[::1] count, const uint8_t[::1] stop
):
    """Distinct scores, as they come, if len(level) hold them: their number (-1: there are more; -2: stopped).

    All NaN are one. Writes the number of each cell's score to `number`, and each one's score and cells.
    """
    cdef int64_t found
    with nogil:
        if real is float:
            found = float_levels(
                &score[0], score.shape[0], level.shape[0], &number[0], &level[0], &count[0], &stop[0]
            )
        else:
            found = double_levels(
                &score[0], score.shape[0], level.shape[0], &number[0], &level[0], &count[0], &stop[0]
            )
    return found


def mean_ranks(
    const real[::1] score, int64_t k, uint32_t[::1] twice, int64_t[::1] work, const uint8_t[::1] stop
):
    """Twice the mean rank of each cell, 0 for NaN. `work` holds four times the bytes of the scores.

    Returns the number of distinct scores (-2: stopped), and of the score of rank k: first and last rank, the score and
    the sum of all higher ones.
    """
    cdef int64_t found
    cdef Edge edge
    with nogil:
        if real is float:
            found = float_ranks(&score[0], score.shape[0], k, &twice[0], &work[0], edge, &stop[0])
        else:
            found = double_ranks(&score[0], score.shape[0], k, &twice[0], &work[0], edge, &stop[0])
    return found, edge.best, edge.worst, edge.score, edge.above


def summarise(
    const uint8_t[::1] rows, const int64_t[::1] at, const uint8_t[::1] width, const uint32_t[::1] table,
    const int64_t[::1] table_at, const uint32_t[::1] edge, const double[::1] share, const double[::1] q,
    int32_t[::1] ranked, double[:, ::1] figures, double[:, ::1] quantile, int threads
):
    """Figures of cells' ranks over scenarios, a row of `rows` each.

    `figures` has the rows lowest, highest, mean, sd, certain, expected, possible; `quantile` one per entry of `q`.
    """
    cdef Run run
    cdef RankRows given
    cdef RankFigures f
    cdef size_t cells = ranked.shape[0]
    if cells == 0:
        return
    run.threads = threads
    given.bytes, given.at, given.width, given.table = &rows[0], &at[0], &width[0], &table[0]
    given.table_at, given.edge, given.share, given.scenarios = &table_at[0], &edge[0], &share[0], at.shape[0]
    f.ranked, f.lowest, f.highest, f.mean = &ranked[0], &figures[0, 0], &figures[1, 0], &figures[2, 0]
    f.sd, f.certain, f.expected, f.possible = &figures[3, 0], &figures[4, 0], &figures[5, 0], &figures[6, 0]
    f.quantile = &quantile[0, 0]
    with nogil:
        summarise_ranks(given, cells, &q[0], q.shape[0], f, run)


def kendall(
    const uint32_t[:, ::1] ranks, const int32_t[::1] first, const int32_t[::1] second, double[::1] tau, int threads
):
    """Kendall's tau-b of pairs of rows of ranks; a cell of rank 0 in either is left out."""
    cdef Run run
    if first.shape[0] == 0:
        return
    run.threads = threads
    with nogil:
        kendall_tau(&ranks[0, 0], ranks.shape[1], &first[0], &second[0], first.shape[0], &tau[0], run)


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
