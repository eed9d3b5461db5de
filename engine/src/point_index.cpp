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

constexpr std::int64_t nowhere = std::numeric_limits<std::int64_t>::min();  // the key of what is left out

// A run of equal keys in sorted order, and where it ends.
struct KeyRun {
  std::int64_t key;
  std::size_t end;
};

// Sorts, asking to stop now and then: pieces first, then merges of ever longer ones. `less` must be a total order, so
// that the way does not show.
template <class Less>
void sort_polled(std::vector<std::size_t>& items, PacedPoll& poll, const Less& less) {
  const std::size_t n = items.size();
  for (std::size_t first = 0; first < n; first += chunk) {
    std::sort(items.begin() + static_cast<std::ptrdiff_t>(first),
              items.begin() + static_cast<std::ptrdiff_t>(std::min(first + chunk, n)), less);
    poll(64 * chunk);
  }
  if (n <= chunk) return;
  std::vector<std::size_t> merged(n);
  for (std::size_t length = chunk; length < n; length *= 2) {
    for (std::size_t first = 0; first < n; first += 2 * length) {
      const std::size_t middle = std::min(first + length, n), last = std::min(first + 2 * length, n);
      for (std::size_t a = first, b = middle, to = first; to < last; ++to) {
        poll(8);
        merged[to] = b == last || (a < middle && !less(items[b], items[a])) ? items[a++] : items[b++];
      }
    }
    items.swap(merged);
  }
}

// A stable sort of items by integer keys: calls place(item, where) for each that is not left out. Counts where keys are
// dense enough.
template <class Place>
std::vector<KeyRun> sort_by(const std::vector<std::int64_t>& keys, Poll& poll, const Place& place) {
  std::int64_t low = std::numeric_limits<std::int64_t>::max(), high = nowhere;
  for (const std::int64_t key : keys) {
    if (key == nowhere) continue;
    low = std::min(low, key);
    high = std::max(high, key);
  }
  std::vector<KeyRun> runs;
  if (high == nowhere) return runs;
  if (high - low <= static_cast<std::int64_t>(4 * keys.size()) + 65536) {
    std::vector<std::size_t> at(static_cast<std::size_t>(high - low) + 2, 0);
    for (const std::int64_t key : keys) {
      if (key != nowhere) ++at[static_cast<std::size_t>(key - low) + 1];
    }
    for (std::size_t k = 0; k + 1 < at.size(); ++k) {
      if (at[k + 1] > 0) runs.push_back({low + static_cast<std::int64_t>(k), at[k] + at[k + 1]});
      at[k + 1] += at[k];
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i % chunk == 0) poll();
      if (keys[i] != nowhere) place(i, at[static_cast<std::size_t>(keys[i] - low)]++);
    }
    return runs;
  }
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] != nowhere) order.push_back(i);
  }
  PacedPoll pace(poll);
  sort_polled(order, pace, [&](std::size_t x, std::size_t y) { return keys[x] != keys[y] ? keys[x] < keys[y] : x < y; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i % chunk == 0) poll();
    if (runs.empty() || runs.back().key != keys[order[i]]) runs.push_back({keys[order[i]], i});
    runs.back().end = i + 1;
    place(order[i], i);
  }
  return runs;
}

struct Placed {
  double x, y, weight;
};

}  // namespace

PointIndex::PointIndex(const Points& points, const Grid& grid, const Window& window, double reach, const Run& run) {
  const auto pad_rows = static_cast<std::int64_t>(std::min(std::ceil(reach / grid.dy), farthest)) + 1;
  const auto pad_cols = static_cast<std::int64_t>(std::min(std::ceil(reach / grid.dx), farthest)) + 1;
  const auto row0 = static_cast<double>(bin(window.row0 - pad_rows));
  const auto row1 = static_cast<double>(bin(window.row1() + pad_rows));
  const auto col0 = static_cast<double>(bin(window.col0 - pad_cols));
  const auto col1 = static_cast<double>(bin(window.col1() + pad_cols));

  for (std::size_t i = 0; i < points.weights.size(); ++i) has_negative_ = has_negative_ || points.weights[i] < 0.0;

  // By columns of bins, those in reach. Bins are taken whole: what is crowded does not depend on the window.
  constexpr double side = static_cast<double>(bin_side);
  const std::size_t n = points.size();
  std::vector<std::int64_t> col_of(n);
  parallel_for((n + chunk - 1) / chunk, run, [&](std::size_t block, Poll&) {
    for (std::size_t i = block * chunk; i < std::min(n, (block + 1) * chunk); ++i) {
      const double col = std::floor(std::floor(grid.local_x(points.xy[2 * i]) / grid.dx) / side);
      const double row = std::floor(std::floor(grid.local_y(points.xy[2 * i + 1]) / grid.dy) / side);
      const bool near = col >= col0 && col <= col1 && row >= row0 && row <= row1;
      col_of[i] = near ? static_cast<std::int64_t>(col) : nowhere;
    }
  });
  std::vector<Placed> sorted;
  std::vector<KeyRun> columns;
  parallel_for(1, run, [&](std::size_t, Poll& poll) {
    sorted.resize(n);
    columns = sort_by(col_of, poll, [&](std::size_t i, std::size_t at) {
      sorted[at] = {grid.local_x(points.xy[2 * i]), grid.local_y(points.xy[2 * i + 1]),
                    points.weights.empty() ? 1.0 : points.weights[i]};
    });
  });

  // Each column by rows of bins.
  const std::size_t kept = columns.empty() ? 0 : columns.back().end;
  x_.resize(kept);
  y_.resize(kept);
  weight_.resize(kept);
  columns_.resize(columns.size());
  parallel_for(columns.size(), run, [&](std::size_t c, Poll& poll) {
    const std::size_t first = c == 0 ? 0 : columns[c - 1].end, count = columns[c].end - first;
    const Placed* mine = sorted.data() + first;
    std::vector<std::int64_t> row_of(count);
    for (std::size_t i = 0; i < count; ++i) {
      row_of[i] = static_cast<std::int64_t>(std::floor(std::floor(mine[i].y / grid.dy) / side));
    }
    const std::vector<KeyRun> rows = sort_by(row_of, poll, [&](std::size_t i, std::size_t at) {
      x_[first + at] = mine[i].x;
      y_[first + at] = mine[i].y;
      weight_[first + at] = mine[i].weight;
    });
    columns_[c].col = columns[c].key;
    std::size_t at = first;
    for (const KeyRun& row : rows) {
      Bin bin{row.key, at, first + row.end};
      at = bin.last;
      if (bin.last - bin.first >= crowded) {
        merge(bin, poll);
      }
      columns_[c].bins.push_back(bin);
    }
  });
}

void PointIndex::merge(Bin& bin, Poll& poll) {
  const std::size_t first = bin.first, n = bin.last - first;
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), first);
  PacedPoll pace(poll);
  sort_polled(order, pace, [&](std::size_t a, std::size_t b) {
    if (x_[a] != x_[b]) return x_[a] < x_[b];
    return y_[a] != y_[b] ? y_[a] < y_[b] : a < b;
  });
  std::vector<double> x, y, weight;
  for (const std::size_t i : order) {
    pace(8);
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
