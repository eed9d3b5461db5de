#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/scenario_ranks.hpp"

// Cells are taken a block at a time. Neighbours whose numbers agree in every scenario, as is common where terrains are
// made of the same features, are worked out once. The ranks of the others are brought together, a row per cell, and each
// row is summed up and searched for its quantiles in cache.

namespace rtmdx {
namespace {

constexpr std::size_t block_cells = 512;
constexpr std::size_t gathered = 64;  // rows held at a time

struct Sums {
  std::uint64_t ranks = 0;
  std::int64_t ranked = 0, certain = 0, possible = 0;
  std::uint32_t least = ~0U, most = 0;
};

// A missing rank, 0, becomes the largest number by the subtraction, so one comparison tells what is in.
RTMDX_CLONES Sums sums_of(const std::uint32_t* rank, const std::uint32_t* edge, const std::uint32_t* whole,
                          std::size_t n) {
  std::uint64_t ranks = 0;
  std::uint32_t missing = 0, certain = 0, possible = 0, least = ~0U, most = 0;
  for (std::size_t s = 0; s < n; ++s) {
    const std::uint32_t r = rank[s] - 1U;
    ranks += rank[s];
    missing += rank[s] == 0U ? 1U : 0U;
    certain += r < edge[s] - 1U + whole[s] ? 1U : 0U;
    possible += r < edge[s] ? 1U : 0U;
    least = std::min(least, r);
    most = std::max(most, rank[s]);
  }
  return {ranks, static_cast<std::int64_t>(n) - missing, certain, possible, least + 1U, most};
}

// Four sums side by side, in a fixed order.
RTMDX_CLONES double squares_of(const std::uint32_t* rank, std::size_t n, double mean) {
  double sum[4] = {0.0, 0.0, 0.0, 0.0};
  std::size_t s = 0;
  for (; s + 4 <= n; s += 4) {
    for (std::size_t l = 0; l < 4; ++l) {
      const double d = rank[s + l] == 0U ? 0.0 : static_cast<double>(rank[s + l]) - mean;
      sum[l] += d * d;
    }
  }
  for (; s < n; ++s) {
    const double d = rank[s] == 0U ? 0.0 : static_cast<double>(rank[s]) - mean;
    sum[0] += d * d;
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// How many ranks there are up to one.
RTMDX_CLONES std::uint32_t count_up_to(const std::uint32_t* rank, std::size_t n, std::uint32_t limit) {
  std::uint32_t count = 0;
  for (std::size_t s = 0; s < n; ++s) count += rank[s] - 1U < limit ? 1U : 0U;
  return count;
}

// The smallest rank above one; the largest number where there is none.
RTMDX_CLONES std::uint32_t next_above(const std::uint32_t* rank, std::size_t n, std::uint32_t limit) {
  std::uint32_t least = ~0U;
  for (std::size_t s = 0; s < n; ++s) least = std::min(least, rank[s] > limit ? rank[s] : ~0U);
  return least;
}

struct Pair {
  std::uint32_t first, second;
};

// The `at`th smallest rank of a row, from 0, and the one after it if asked for. Bisection: counting is so fast that
// twenty counts cost less than one partition.
Pair order_statistics(const std::uint32_t* rank, std::size_t n, const Sums& sums, std::size_t at, bool both) {
  std::uint32_t low = sums.least, high = sums.most, found = static_cast<std::uint32_t>(sums.ranked);
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    const std::uint32_t count = count_up_to(rank, n, middle);
    if (count > at) {
      high = middle;
      found = count;
    } else {
      low = middle + 1;
    }
  }
  return {low, both && found == at + 1 ? next_above(rank, n, low) : low};
}

template <class Number>
RTMDX_CLONES void note_changes(const Number* row, std::size_t cells, std::uint8_t* differs) {
  for (std::size_t c = 1; c < cells; ++c) differs[c] |= row[c] != row[c - 1] ? 1U : 0U;
}

// Which cells of a block differ from the one before; the first counts as one.
void find_changes(const RankRows& rows, std::size_t from, std::size_t cells, std::uint8_t* differs) {
  std::fill(differs, differs + cells, std::uint8_t{0});
  differs[0] = 1;
  for (std::size_t s = 0; s < rows.scenarios; ++s) {
    const std::uint8_t* row = rows.bytes + rows.at[s];
    if (rows.width[s] == 1) {
      note_changes(row + from, cells, differs);
    } else if (rows.width[s] == 2) {
      note_changes(reinterpret_cast<const std::uint16_t*>(row) + from, cells, differs);
    } else {
      note_changes(reinterpret_cast<const std::uint32_t*>(row) + from, cells, differs);
    }
  }
}

void gather(const RankRows& rows, const std::size_t* cells, std::size_t n, std::size_t stride, std::uint32_t* out) {
  for (std::size_t s = 0; s < rows.scenarios; ++s) {
    const std::uint8_t* row = rows.bytes + rows.at[s];
    const std::uint32_t* table = rows.table + rows.table_at[s];
    std::uint32_t* to = out + s;
    if (rows.width[s] == 1) {
      for (std::size_t i = 0; i < n; ++i, to += stride) *to = table[row[cells[i]]];
    } else if (rows.width[s] == 2) {
      const auto* wide = reinterpret_cast<const std::uint16_t*>(row);
      for (std::size_t i = 0; i < n; ++i, to += stride) *to = table[wide[cells[i]]];
    } else {
      const auto* whole = reinterpret_cast<const std::uint32_t*>(row);
      for (std::size_t i = 0; i < n; ++i, to += stride) *to = whole[cells[i]];
    }
  }
}

class Summary {
 public:
  Summary(const RankRows& rows, std::size_t cells, const double* q, std::size_t n_q, const RankFigures& f)
      : rows_(rows), cells_(cells), q_(q), n_q_(n_q), f_(f), whole_(rows.scenarios) {
    for (std::size_t s = 0; s < rows.scenarios; ++s) whole_[s] = rows.share[s] >= 1.0 ? 1U : 0U;
  }

  void one(const std::uint32_t* own, std::size_t c) const {
    const std::size_t n = rows_.scenarios;
    const Sums sums = sums_of(own, rows_.edge, whole_.data(), n);
    f_.ranked[c] = static_cast<std::int32_t>(sums.ranked);
    if (sums.ranked == 0) {
      constexpr double nan = std::numeric_limits<double>::quiet_NaN();
      f_.lowest[c] = f_.highest[c] = f_.mean[c] = f_.sd[c] = nan;
      f_.certain[c] = f_.expected[c] = f_.possible[c] = 0.0;
      for (std::size_t i = 0; i < n_q_; ++i) f_.quantile[i * cells_ + c] = nan;
      return;
    }
    const auto m = static_cast<double>(sums.ranked);
    const double mean = static_cast<double>(sums.ranks) / m;
    f_.lowest[c] = 0.5 * static_cast<double>(sums.least);
    f_.highest[c] = 0.5 * static_cast<double>(sums.most);
    f_.mean[c] = 0.5 * mean;
    f_.sd[c] = sums.ranked > 1 ? 0.5 * std::sqrt(squares_of(own, n, mean) / (m - 1.0))
                               : std::numeric_limits<double>::quiet_NaN();
    double expected = static_cast<double>(sums.certain);
    if (sums.possible > sums.certain) {
      for (std::size_t s = 0; s < n; ++s) {
        if (own[s] == rows_.edge[s] && whole_[s] == 0U) expected += rows_.share[s];
      }
    }
    f_.certain[c] = static_cast<double>(sums.certain);
    f_.expected[c] = expected;
    f_.possible[c] = static_cast<double>(sums.possible);
    for (std::size_t i = 0; i < n_q_; ++i) {
      const double at = (m - 1.0) * q_[i];
      const double low = std::floor(at);
      const auto first = static_cast<std::size_t>(low);
      const Pair pair = order_statistics(own, n, sums, first, at > low);
      const double below = pair.first, next = pair.second;
      f_.quantile[i * cells_ + c] = 0.5 * (below + (at - low) * (next - below));
    }
  }

  void copy(std::size_t from, std::size_t to) const {
    f_.ranked[to] = f_.ranked[from];
    for (double* row : {f_.lowest, f_.highest, f_.mean, f_.sd, f_.certain, f_.expected, f_.possible}) row[to] = row[from];
    for (std::size_t i = 0; i < n_q_; ++i) f_.quantile[i * cells_ + to] = f_.quantile[i * cells_ + from];
  }

 private:
  const RankRows& rows_;
  std::size_t cells_;
  const double* q_;
  std::size_t n_q_;
  const RankFigures& f_;
  std::vector<std::uint32_t> whole_;
};

}  // namespace

void summarise_ranks(const RankRows& rows, std::size_t cells, const double* q, std::size_t n_q, const RankFigures& f,
                     const Run& run) {
  const std::size_t n = rows.scenarios;
  const std::size_t stride = n + 16 + (n % 2);  // not a power of two: rows would share cache sets
  const Summary summary(rows, cells, q, n_q, f);
  parallel_for((cells + block_cells - 1) / block_cells, run, [&](std::size_t block, Poll& asks) {
    PacedPoll poll(asks);
    std::vector<std::uint32_t> ranks(stride * gathered);
    const std::size_t from = block * block_cells, size = std::min(cells - from, block_cells);
    std::uint8_t differs[block_cells];
    find_changes(rows, from, size, differs);
    poll(n * size / 16);
    std::size_t some[gathered];
    for (std::size_t c = 0; c < size;) {
      std::size_t found = 0;
      for (; c < size && found < gathered; ++c) {
        if (differs[c] != 0) some[found++] = from + c;
      }
      gather(rows, some, found, stride, ranks.data());
      for (std::size_t i = 0; i < found; ++i) {
        summary.one(ranks.data() + i * stride, some[i]);
        poll(n * 8);
      }
    }
    for (std::size_t c = 1; c < size; ++c) {
      if (differs[c] == 0) summary.copy(from + c - 1, from + c);
    }
  });
}

}  // namespace rtmdx
