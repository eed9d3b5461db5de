// Weighted points sorted into bins of cells: what the density of points reads, for any bandwidth.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {

// Bins of 16 x 16 cells, aligned to the whole grid and going on outside it. Within a bin points keep their order; in a
// crowded bin they are sorted by coordinates and coincident points become one with the sum of their weights. So the
// order depends on the points and the grid alone, and sums that follow it have the same bits in any window.
class PointIndex {
 public:
  static constexpr std::int64_t bin_side = 16;
  static constexpr std::size_t crowded = 1024;

  // Takes the points at most `reach` (a length) outside the window; others are left out.
  PointIndex(const Points& points, const Grid& grid, const Window& window, double reach, const Run& run);

  // Local coordinates (the grid's corner as origin, y down) and weights.
  const std::vector<double>& x() const { return x_; }
  const std::vector<double>& y() const { return y_; }
  const std::vector<double>& weight() const { return weight_; }
  std::size_t size() const { return x_.size(); }
  bool has_negative() const { return has_negative_; }

  // visit(first, last) for the points of every bin that touches rows [r0, r1) x columns [c0, c1): by columns of bins
  // from west to east, so that what a sweep writes to stays in the cache.
  template <class Visit>
  void each(std::int64_t r0, std::int64_t r1, std::int64_t c0, std::int64_t c1, const Visit& visit) const {
    const std::int64_t from = std::max(bin(c0) - col0_, std::int64_t{0}), to = std::min(bin(c1 - 1) + 1 - col0_, across_);
    const std::int64_t top = bin(r0), bottom = bin(r1 - 1);
    for (std::int64_t c = from; c < to; ++c) {
      const auto begin = bins_.begin() + static_cast<std::ptrdiff_t>(column_[static_cast<std::size_t>(c)]);
      const auto end = bins_.begin() + static_cast<std::ptrdiff_t>(column_[static_cast<std::size_t>(c) + 1]);
      auto b = std::lower_bound(begin, end, top, [](const Bin& x, std::int64_t row) { return x.row < row; });
      for (; b != end && b->row <= bottom; ++b) visit(b->first, b->last);
    }
  }

 private:
  struct Bin {
    std::int64_t row;
    std::size_t first, last;
  };

  static std::int64_t bin(std::int64_t cell) { return cell >= 0 ? cell / bin_side : -((bin_side - 1 - cell) / bin_side); }

  void merge(Bin& bin);

  std::int64_t col0_ = 0, across_ = 0;  // columns of bins
  bool has_negative_ = false;
  std::vector<double> x_, y_, weight_;
  std::vector<Bin> bins_;            // those with points, column by column, from north to south
  std::vector<std::size_t> column_;  // column c has the bins column_[c] .. column_[c + 1]
};

}  // namespace rtmdx
