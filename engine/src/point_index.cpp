#include "rtmdx/point_index.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace rtmdx {
namespace {

constexpr std::size_t chunk = 1U << 16U;  // points per block of preparation

// Windows and reaches stay far below; casts of clamped doubles stay defined.
constexpr double farthest = 1e15;

struct Placed {
  double x, y, weight;
  std::int64_t row, col;  // of bins
};

struct KeyRange {
  std::int64_t low = std::numeric_limits<std::int64_t>::max(), high = std::numeric_limits<std::int64_t>::min();

  void hold(std::int64_t v) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
};

// A run of equal keys in sorted order, and where it ends.
struct KeyRun {
  std::int64_t key;
  std::size_t end;
};

// Sorts n points by an integer key within `span`, stably; counts where keys are dense enough.
template <class Key>
std::vector<KeyRun> sort_by(const Placed* from, std::size_t n, Placed* to, const KeyRange& span, const Key& key,
                            Poll& poll) {
  std::vector<KeyRun> runs;
  if (span.high - span.low <= static_cast<std::int64_t>(4 * n) + 65536) {
    std::vector<std::size_t> at(static_cast<std::size_t>(span.high - span.low) + 2, 0);
    for (std::size_t i = 0; i < n; ++i) ++at[static_cast<std::size_t>(key(from[i]) - span.low) + 1];
    for (std::size_t k = 0; k + 1 < at.size(); ++k) {
      if (at[k + 1] > 0) runs.push_back({span.low + static_cast<std::int64_t>(k), at[k] + at[k + 1]});
      at[k + 1] += at[k];
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (i % chunk == 0) poll();
      to[at[static_cast<std::size_t>(key(from[i]) - span.low)]++] = from[i];
    }
  } else {
    std::copy(from, from + n, to);
    std::stable_sort(to, to + n, [&](const Placed& a, const Placed& b) { return key(a) < key(b); });
    for (std::size_t i = 0; i < n; ++i) {
      if (runs.empty() || runs.back().key != key(to[i])) runs.push_back({key(to[i]), i});
      runs.back().end = i + 1;
    }
  }
  return runs;
}

}  // namespace

PointIndex::PointIndex(const Points& points, const Grid& grid, const Window& window, double reach, const Run& run) {
  const auto pad_rows = static_cast<std::int64_t>(std::min(std::ceil(reach / grid.dy), farthest)) + 1;
  const auto pad_cols = static_cast<std::int64_t>(std::min(std::ceil(reach / grid.dx), farthest)) + 1;
  const auto row0 = static_cast<double>(bin(window.row0 - pad_rows));
  const auto row1 = static_cast<double>(bin(window.row1() + pad_rows));
  const auto col0 = static_cast<double>(bin(window.col0 - pad_cols));
  const auto col1 = static_cast<double>(bin(window.col1() + pad_cols));

  for (std::size_t i = 0; i < points.weights.size(); ++i) has_negative_ = has_negative_ || points.weights[i] < 0.0;

  // The points in reach. Bins are taken whole: what is crowded does not depend on the window.
  std::vector<Placed> sorted;
  std::vector<KeyRun> columns;
  parallel_for(1, run, [&](std::size_t, Poll& poll) {
    constexpr double side = static_cast<double>(bin_side);
    const std::size_t n = points.size();
    std::vector<Placed> placed;
    placed.reserve(n);
    KeyRange span;
    for (std::size_t i = 0; i < n; ++i) {
      if (i % chunk == 0) poll();
      const double x = grid.local_x(points.xy[2 * i]), y = grid.local_y(points.xy[2 * i + 1]);
      const double col = std::floor(std::floor(x / grid.dx) / side), row = std::floor(std::floor(y / grid.dy) / side);
      if (!(col >= col0 && col <= col1 && row >= row0 && row <= row1)) continue;
      const double weight = points.weights.empty() ? 1.0 : points.weights[i];
      placed.push_back({x, y, weight, static_cast<std::int64_t>(row), static_cast<std::int64_t>(col)});
      span.hold(placed.back().col);
    }
    sorted.resize(placed.size());
    if (placed.empty()) return;
    columns = sort_by(placed.data(), placed.size(), sorted.data(), span, [](const Placed& p) { return p.col; }, poll);
  });

  // Each column of bins by rows.
  x_.resize(sorted.size());
  y_.resize(sorted.size());
  weight_.resize(sorted.size());
  columns_.resize(columns.size());
  parallel_for(columns.size(), run, [&](std::size_t c, Poll& poll) {
    const std::size_t first = c == 0 ? 0 : columns[c - 1].end, n = columns[c].end - first;
    const Placed* mine = sorted.data() + first;
    std::vector<Placed> by_row(n);
    KeyRange span;
    for (std::size_t i = 0; i < n; ++i) span.hold(mine[i].row);
    const auto rows = sort_by(mine, n, by_row.data(), span, [](const Placed& p) { return p.row; }, poll);
    for (std::size_t i = 0; i < n; ++i) {
      x_[first + i] = by_row[i].x;
      y_[first + i] = by_row[i].y;
      weight_[first + i] = by_row[i].weight;
    }
    columns_[c].col = columns[c].key;
    std::size_t at = first;
    for (const KeyRun& row : rows) {
      Bin bin{row.key, at, first + row.end};
      at = bin.last;
      if (bin.last - bin.first >= crowded) {
        poll();
        merge(bin);
      }
      columns_[c].bins.push_back(bin);
    }
  });
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
