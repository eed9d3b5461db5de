#include "rtmdx/point_index.hpp"

#include <cmath>
#include <numeric>

namespace rtmdx {
namespace {

constexpr std::size_t chunk = 1U << 16U;  // points per block of preparation

}  // namespace

PointIndex::PointIndex(const Points& points, const Grid& grid, const Window& window, double reach, const Run& run) {
  for (std::size_t i = 0; i < points.weights.size(); ++i) has_negative_ = has_negative_ || points.weights[i] < 0.0;
  const auto pad_rows = static_cast<std::int64_t>(std::ceil(reach / grid.dy)) + 1;
  const auto pad_cols = static_cast<std::int64_t>(std::ceil(reach / grid.dx)) + 1;
  const std::int64_t row0 = bin(window.row0 - pad_rows), row1 = bin(window.row1() + pad_rows) + 1;
  col0_ = bin(window.col0 - pad_cols);
  across_ = bin(window.col1() + pad_cols) + 1 - col0_;

  // First by columns of bins. Bins are taken whole: what is crowded does not depend on the window.
  constexpr double side = static_cast<double>(bin_side);
  const std::size_t n = points.size();
  std::vector<std::int32_t> row_of(n), col_of(n);  // counted from row0, col0_; col_of < 0: out of reach
  parallel_for((n + chunk - 1) / chunk, run, [&](std::size_t block, Poll&) {
    for (std::size_t i = block * chunk; i < std::min(n, (block + 1) * chunk); ++i) {
      const double col = std::floor(std::floor(grid.local_x(points.xy[2 * i]) / grid.dx) / side);
      const double row = std::floor(std::floor(grid.local_y(points.xy[2 * i + 1]) / grid.dy) / side);
      const bool near = col >= static_cast<double>(col0_) && col < static_cast<double>(col0_ + across_) &&
                        row >= static_cast<double>(row0) && row < static_cast<double>(row1);
      row_of[i] = near ? static_cast<std::int32_t>(static_cast<std::int64_t>(row) - row0) : 0;
      col_of[i] = near ? static_cast<std::int32_t>(static_cast<std::int64_t>(col) - col0_) : -1;
    }
  });
  const auto columns = static_cast<std::size_t>(across_);
  std::vector<std::size_t> column(columns + 1, 0);
  struct Placed {
    double x, y, weight;
    std::int32_t row;
  };
  std::vector<Placed> placed;
  parallel_for(1, run, [&](std::size_t, Poll& poll) {
    for (std::size_t i = 0; i < n; ++i) {
      if (col_of[i] >= 0) ++column[static_cast<std::size_t>(col_of[i]) + 1];
    }
    for (std::size_t c = 0; c < columns; ++c) column[c + 1] += column[c];
    placed.resize(column.back());
    std::vector<std::size_t> at = column;
    for (std::size_t i = 0; i < n; ++i) {
      if (i % chunk == 0) poll();
      if (col_of[i] < 0) continue;
      placed[at[static_cast<std::size_t>(col_of[i])]++] = {grid.local_x(points.xy[2 * i]),
                                                           grid.local_y(points.xy[2 * i + 1]),
                                                           points.weights.empty() ? 1.0 : points.weights[i], row_of[i]};
    }
  });

  // Then each column by rows of bins; both sorts are stable.
  x_.resize(placed.size());
  y_.resize(placed.size());
  weight_.resize(placed.size());
  std::vector<std::vector<Bin>> bins(columns);
  parallel_for(columns, run, [&](std::size_t c, Poll& poll) {
    const std::size_t first = column[c], last = column[c + 1];
    if (first == last) return;
    std::int32_t top = placed[first].row, bottom = top;
    for (std::size_t i = first; i < last; ++i) {
      top = std::min(top, placed[i].row);
      bottom = std::max(bottom, placed[i].row);
    }
    const auto rows = static_cast<std::size_t>(bottom - top) + 1;
    std::vector<std::size_t> at(rows + 1, 0);
    for (std::size_t i = first; i < last; ++i) ++at[static_cast<std::size_t>(placed[i].row - top) + 1];
    at[0] = first;
    for (std::size_t r = 0; r < rows; ++r) {
      if (at[r + 1] > 0) bins[c].push_back({row0 + top + static_cast<std::int64_t>(r), at[r], at[r] + at[r + 1]});
      at[r + 1] += at[r];
    }
    for (std::size_t i = first; i < last; ++i) {
      if (i % chunk == 0) poll();
      const std::size_t to = at[static_cast<std::size_t>(placed[i].row - top)]++;
      x_[to] = placed[i].x;
      y_[to] = placed[i].y;
      weight_[to] = placed[i].weight;
    }
    for (Bin& b : bins[c]) {
      if (b.last - b.first < crowded) continue;
      poll();
      merge(b);
    }
  });
  column_.assign(1, 0);
  for (const std::vector<Bin>& of : bins) {
    bins_.insert(bins_.end(), of.begin(), of.end());
    column_.push_back(bins_.size());
  }
}

void PointIndex::merge(Bin& bin) {
  const std::size_t first = bin.first, n = bin.last - first;
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), first);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (x_[a] != x_[b]) return x_[a] < x_[b];
    return y_[a] != y_[b] ? y_[a] < y_[b] : a < b;
  });
  std::vector<double> x, y, weight;
  for (const std::size_t i : order) {
    if (!x.empty() && x.back() == x_[i] && y.back() == y_[i]) {
      weight.back() += weight_[i];
    } else {
      x.push_back(x_[i]);
      y.push_back(y_[i]);
      weight.push_back(weight_[i]);
    }
  }
  std::copy(x.begin(), x.end(), x_.begin() + static_cast<std::ptrdiff_t>(first));
  std::copy(y.begin(), y.end(), y_.begin() + static_cast<std::ptrdiff_t>(first));
  std::copy(weight.begin(), weight.end(), weight_.begin() + static_cast<std::ptrdiff_t>(first));
  bin.last = first + x.size();
}

}  // namespace rtmdx
