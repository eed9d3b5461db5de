#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/scenario_ranks.hpp"

// Cells are taken a block at a time: their ranks are brought together, a row per cell, and each row is summed up and
// searched for its quantiles in cache.

namespace rtmdx {
namespace {

constexpr std::size_t block_cells = 32;
constexpr std::size_t bins = 512;

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

// Order statistics of a row: bins tell where one lies, and only its bin is searched.
class Order {
 public:
  void lay(const std::uint32_t* rank, std::size_t n, const Sums& sums) {
    rank_ = rank;
    n_ = n;
    least_ = sums.least;
    range_ = sums.most - sums.least;
    shift_ = 0;
    while ((range_ >> shift_) >= bins) ++shift_;
    ready_ = false;
  }

  // The `at`th smallest, from 0.
  std::uint32_t operator()(std::size_t at) {
    if (range_ == 0) return least_;
    if (!ready_) {
      std::fill(counts_, counts_ + bins, 0U);
      for (std::size_t s = 0; s < n_; ++s) {
        if (rank_[s] != 0U) ++counts_[(rank_[s] - least_) >> shift_];
      }
      ready_ = true;
    }
    std::size_t bin = 0, before = 0;
    while (before + counts_[bin] <= at) before += counts_[bin++];
    if (shift_ == 0) return least_ + static_cast<std::uint32_t>(bin);
    members_.clear();
    for (std::size_t s = 0; s < n_; ++s) {
      if (rank_[s] != 0U && ((rank_[s] - least_) >> shift_) == bin) members_.push_back(rank_[s]);
    }
    const auto wanted = members_.begin() + static_cast<std::ptrdiff_t>(at - before);
    std::nth_element(members_.begin(), wanted, members_.end());
    return *wanted;
  }

 private:
  const std::uint32_t* rank_ = nullptr;
  std::size_t n_ = 0;
  std::uint32_t least_ = 0, range_ = 0;
  unsigned shift_ = 0;
  bool ready_ = false;
  std::uint32_t counts_[bins] = {};
  std::vector<std::uint32_t> members_;
};

void gather(const RankRows& rows, std::size_t from, std::size_t to, std::size_t stride, std::uint32_t* out) {
  for (std::size_t s = 0; s < rows.scenarios; ++s) {
    const std::uint8_t* row = rows.bytes + rows.at[s];
    const std::uint32_t* table = rows.table + rows.table_at[s];
    std::uint32_t* to_cell = out + s;
    if (rows.width[s] == 1) {
      for (std::size_t c = from; c < to; ++c, to_cell += stride) *to_cell = table[row[c]];
    } else if (rows.width[s] == 2) {
      const auto* wide = reinterpret_cast<const std::uint16_t*>(row);
      for (std::size_t c = from; c < to; ++c, to_cell += stride) *to_cell = table[wide[c]];
    } else {
      const auto* whole = reinterpret_cast<const std::uint32_t*>(row);
      for (std::size_t c = from; c < to; ++c, to_cell += stride) *to_cell = whole[c];
    }
  }
}

}  // namespace

void summarise_ranks(const RankRows& rows, std::size_t cells, const double* q, std::size_t n_q, const RankFigures& f,
                     const Run& run) {
  const std::size_t n = rows.scenarios;
  const std::size_t stride = n + 16 + (n % 2);  // not a power of two: rows would share cache sets
  std::vector<std::uint32_t> whole(n);
  for (std::size_t s = 0; s < n; ++s) whole[s] = rows.share[s] >= 1.0 ? 1U : 0U;
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  parallel_for((cells + block_cells - 1) / block_cells, run, [&](std::size_t block, Poll& asks) {
    PacedPoll poll(asks);
    std::vector<std::uint32_t> ranks(stride * block_cells);
    Order order;
    const std::size_t from = block * block_cells, to = std::min(cells, from + block_cells);
    gather(rows, from, to, stride, ranks.data());
    for (std::size_t c = from; c < to; ++c) {
      const std::uint32_t* own = ranks.data() + (c - from) * stride;
      const Sums sums = sums_of(own, rows.edge, whole.data(), n);
      poll(n * 8);
      f.ranked[c] = static_cast<std::int32_t>(sums.ranked);
      if (sums.ranked == 0) {
        f.lowest[c] = f.highest[c] = f.mean[c] = f.sd[c] = nan;
        f.certain[c] = f.expected[c] = f.possible[c] = 0.0;
        for (std::size_t i = 0; i < n_q; ++i) f.quantile[i * cells + c] = nan;
        continue;
      }
      const auto m = static_cast<double>(sums.ranked);
      const double mean = static_cast<double>(sums.ranks) / m;
      f.lowest[c] = 0.5 * static_cast<double>(sums.least);
      f.highest[c] = 0.5 * static_cast<double>(sums.most);
      f.mean[c] = 0.5 * mean;
      f.sd[c] = sums.ranked > 1 ? 0.5 * std::sqrt(squares_of(own, n, mean) / (m - 1.0)) : nan;
      double expected = static_cast<double>(sums.certain);
      if (sums.possible > sums.certain) {
        for (std::size_t s = 0; s < n; ++s) {
          if (own[s] == rows.edge[s] && whole[s] == 0U) expected += rows.share[s];
        }
      }
      f.certain[c] = static_cast<double>(sums.certain);
      f.expected[c] = expected;
      f.possible[c] = static_cast<double>(sums.possible);
      order.lay(own, n, sums);
      for (std::size_t i = 0; i < n_q; ++i) {
        const double at = (m - 1.0) * q[i];
        const double low = std::floor(at);
        const auto first = static_cast<std::size_t>(low);
        const double below = order(first);
        const double next = at > low ? order(first + 1) : below;
        f.quantile[i * cells + c] = 0.5 * (below + (at - low) * (next - below));
      }
    }
  });
}

}  // namespace rtmdx
