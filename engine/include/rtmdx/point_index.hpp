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
    const auto west_of = [](const Column& x, std::int64_t col) { return x.col < col; };
    const auto north_of = [](const Bin& x, std::int64_t row) { return x.row < row; };
    const std::int64_t top = bin(r0), bottom = bin(r1 - 1), east = bin(c1 - 1);
    auto c = std::lower_bound(columns_.begin(), columns_.end(), bin(c0), west_of);
    for (; c != columns_.end() && c->col <= east; ++c) {
      auto b = std::lower_bound(c->bins.begin(), c->bins.end(), top, north_of);
      for (; b != c->bins.end() && b->row <= bottom; ++b) visit(b->first, b->last);
    }
  }

 private:
  struct Bin {
    std::int64_t row;
    std::size_t first, last;
  };

  struct Column {
    std::int64_t col;
    std::vector<Bin> bins;  // those with points, from north to south
  };

  static std::int64_t bin(std::int64_t cell) {
    return cell >= 0 ? cell / bin_side : -((bin_side - 1 - cell) / bin_side);
  }

  void merge(Bin& bin, Poll& poll);

  bool has_negative_ = false;
  std::vector<double> x_, y_, weight_;
  std::vector<Column> columns_;  // those with points, from west to east
};

}  // namespace rtmdx
