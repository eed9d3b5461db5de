// Ranks of cells in one scenario after another, and what they come to over all of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rtmdx/cancel.hpp"

namespace rtmdx {

// A byte that another thread sets to end a call early; null: never. What is written then is of no use.
using StopFlag = const volatile std::uint8_t*;

constexpr std::int64_t stopped = -2;

// Around rank k: first and last rank of its score, that score, and the sum of all higher ones.
struct Edge {
  std::int64_t best, worst;
  double score, above;
};

// Numbers distinct scores as they come, all NaN as one, if there are at most `most` (up to 65,535): writes each cell's
// number, and each one's score and cells. Returns how many there are, -1 where there are more, or `stopped`.
template <class T>
std::int64_t score_levels(const T* score, std::size_t cells, std::size_t most, std::uint16_t* number, T* level,
                          std::int64_t* count, StopFlag stop);

// Bytes that a cell needs in `work` below.
template <class T>
constexpr std::size_t work_bytes = 4 * sizeof(T);

// Writes twice the mean rank (first + last rank of its score; 1 is the highest score) of each cell, 0 for NaN, and the
// edge of rank k where there are as many. `work` holds work_bytes<T> for each cell, aligned to 8: memory that is used
// again need not be had from the system for every scenario. Returns the number of distinct scores, or `stopped`. Fewer
// than 2^31 cells.
template <class T>
std::int64_t twice_mean_ranks(const T* score, std::size_t cells, std::int64_t k, std::uint32_t* twice, void* work,
                              Edge& edge, StopFlag stop);

// Scenarios' ranks for a range of cells: a row per scenario of numbers, 1 or 2 bytes wide, that stand for an entry of
// its table of twice mean ranks; or, 4 bytes wide, those themselves. 0 is no rank.
struct RankRows {
  const std::uint8_t* bytes;
  const std::int64_t* at;  // where a scenario's row begins
  const std::uint8_t* width;
  const std::uint32_t* table;
  const std::int64_t* table_at;
  const std::uint32_t* edge;  // twice the mean rank of the score of rank k
  const double* share;        // of its cells there is room for in the first k
  std::size_t scenarios;
};

// By cell: scenarios in which it has a rank; extremes, mean and standard deviation (n - 1) of its mean ranks;
// quantiles, a row each, by linear interpolation; and in how many scenarios it is among the first k for certain, on
// average over ties, and possibly. NaN or 0 where it has no rank.
struct RankFigures {
  std::int32_t* ranked;
  double* lowest;
  double* highest;
  double* mean;
  double* sd;
  double* quantile;
  double* certain;
  double* expected;
  double* possible;
};

// Sums run in the order of scenarios. `q` ascends.
void summarise_ranks(const RankRows& rows, std::size_t cells, const double* q, std::size_t n_q,
                     const RankFigures& figures, const Run& run);

// Kendall's tau-b (Knight 1966) of pairs of rows of ranks; a cell without a rank, 0, in either row is left out. NaN
// where either row does not vary.
void kendall_tau(const std::uint32_t* ranks, std::size_t columns, const std::int32_t* first, const std::int32_t* second,
                 std::size_t pairs, double* tau, const Run& run);

}  // namespace rtmdx
