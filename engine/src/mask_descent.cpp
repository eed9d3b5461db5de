// Distance to few feature cells by candidate-pruning descent, as distance.cpp does it for geometry, in whole cells.
//
// Over a tile with middle m and half diagonal r only a candidate with d(m, f) <= min d(m, .) + 2 r can be nearest to one
// of its cells; and where a candidate g is nearer than f to all four corners it is nearer everywhere between them (a
// half plane is convex). Pruning runs in float32 with margins a hundred times its rounding. Square cells are evaluated
// in float32 where the answer is below 2^24, hence exact; everything else in double.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "rtmdx/mask_candidates.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/streaming.hpp"

namespace rtmdx::mask {
namespace {

constexpr std::int64_t task_cells = 128;

struct Tile {
  std::int64_t row0, col0, side;
  std::int64_t r0, r1, c0, c1;  // its cells inside the window
};

// Where a task writes: the output itself, or a tile that goes there once it is done.
template <class T>
struct Sheet {
  T* data;
  std::int64_t stride, row0, col0;

  T* row(std::int64_t r, std::int64_t c) const { return data + (r - row0) * stride + (c - col0); }
};

struct Scratch {
  std::vector<float> d2;
  std::vector<std::uint8_t> keep;
  std::array<Level, 4> levels;  // sides 64, 32, 16, 8
};

template <class T>
class Descent {
 public:
  Descent(const Problem<T>& p, Boundary boundary) : p_(p), m_(p.metric), boundary_(std::move(boundary)) {
    interior_ = boundary_.size < boundary_.features;
    // Pruning measures in units of the larger cell side.
    const double most = std::max(m_.wx, m_.wy);
    wx_ = static_cast<float>(m_.wx / most);
    wy_ = static_cast<float>(m_.wy / most);
    const double reach = std::sqrt(std::max(m_.limit, 0.0) / most) * (1.0 + 1e-5) + 1e-4;
    max_ = reach < 1e15 ? static_cast<float>(reach) : 1e15F;
    square_ = m_.square();
  }

  void compute(const Run& run);

 private:
  struct Task {
    Tile tile;
    Level level;
    bool open = true;
  };

  Level candidates();
  void prune(const Tile& tile, const Level& from, Scratch& s, Level& to) const;
  bool quarter(const Tile& t, int k, Tile& child) const;
  bool all_features(const Tile& tile) const;
  bool exact_in_float(const Tile& tile, const Level& level) const;
  Sheet<T> output() const {
    const std::int64_t stride = p_.out.rows() > 1 ? p_.out.row(1) - p_.out.row(0) : p_.out.cols();
    return {p_.out.row(0), stride, p_.window.row0, p_.window.col0};
  }
  void fill(const Tile& tile, bool beyond, const Sheet<T>& out) const;
  void features_are_zero(std::int64_t r, std::int64_t c, std::size_t n, T* out) const;
  void evaluate(const Tile& tile, const Level& level, const Sheet<T>& out) const;
  void evaluate_block(std::int64_t r, std::int64_t c, const Tile& tile, const Level& level, const Sheet<T>& out) const;
  void descend(const Tile& tile, const Level& level, std::size_t depth, const Sheet<T>& out, Scratch& s,
               Poll& poll) const;
  void task(const Task& task, bool streamed, Poll& poll) const;

  const Problem<T>& p_;
  Metric m_;
  Boundary boundary_;
  float wx_, wy_, max_;
  bool square_;
  bool interior_;  // there are feature cells with features on all four sides, which no candidate stands for
};

template <class T>
Level Descent<T>::candidates() {
  Level level;
  level.reserve(boundary_.size);
  for (auto& band : boundary_.bands) {
    for (const Cell& cell : band) {
      level.data[level.size] = static_cast<float>(cell.col);
      level.data[level.stride + level.size] = static_cast<float>(cell.row);
      ++level.size;
    }
    std::vector<Cell>().swap(band);
  }
  level.pad();
  return level;
}

template <class T>
void Descent<T>::prune(const Tile& tile, const Level& from, Scratch& s, Level& to) const {
  to.size = 0;
  const std::size_t n = from.size;
  if (n == 0) return;
  const std::size_t padded = (n + lanes - 1) / lanes * lanes;
  if (s.d2.size() < padded) {
    s.d2.resize(padded);
    s.keep.resize(padded);
  }
  const auto x0 = static_cast<float>(tile.c0), x1 = static_cast<float>(tile.c1 - 1);
  const auto y0 = static_cast<float>(tile.r0), y1 = static_cast<float>(tile.r1 - 1);
  const float mx = 0.5F * (x0 + x1), my = 0.5F * (y0 + y1);
  const float best2 = squared(from.col(), from.row(), padded, mx, my, wx_, wy_, s.d2.data());
  const float best = std::sqrt(best2);
  const float r = std::sqrt(pair(x1, y1, mx, my, wx_, wy_));
  if (best * 0.9999F - r * 1.0001F > max_) return;
  const float reach = std::min(best + 2.0F * r, max_ + r) * 1.0001F + 1e-6F;
  const float reach2 = reach * reach;
  to.reserve(n);
  float* col = to.data.data();
  float* row = col + to.stride;
  std::size_t kept = 0, champion = 0;
  for (std::size_t i = 0; i < n; ++i) {  // compact without branches
    col[kept] = from.col()[i];
    row[kept] = from.row()[i];
    champion = s.d2[i] == best2 ? kept : champion;
    kept += s.d2[i] <= reach2 ? 1 : 0;
  }
  if (kept > few) {
    const float gx = col[champion], gy = row[champion];
    // Where answers are rounded, a candidate must lose by more than that to be dropped.
    const float margin = square_ ? 0.0F : 4e-15F * (best + 2.0F * r) * (best + 2.0F * r);
    near_any_corner(col, row, kept, {x0, y0, x1, y1}, gx, gy, wx_, wy_, margin, s.keep.data());
    std::size_t left = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      col[left] = col[i];
      row[left] = row[i];
      left += s.keep[i];
    }
    kept = left;
  }
  to.size = kept;
  to.pad();
}

template <class T>
bool Descent<T>::quarter(const Tile& t, int k, Tile& child) const {
  const std::int64_t half = t.side / 2;
  child = {t.row0 + (k / 2) * half, t.col0 + (k % 2) * half, half, 0, 0, 0, 0};
  child.r0 = std::max(t.r0, child.row0);
  child.r1 = std::min(t.r1, child.row0 + half);
  child.c0 = std::max(t.c0, child.col0);
  child.c1 = std::min(t.c1, child.col0 + half);
  return child.r0 < child.r1 && child.c0 < child.c1;
}

template <class T>
bool Descent<T>::all_features(const Tile& tile) const {
  constexpr std::int64_t largest = 4096;  // it is neither read nor filled in one go beyond
  if (!interior_ || tile.side > largest) return false;
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    const std::uint8_t* row = p_.mask.row(r);
    if (std::find(row + tile.c0, row + tile.c1, std::uint8_t{0}) != row + tile.c1) return false;
  }
  return true;
}

template <class T>
void Descent<T>::fill(const Tile& tile, bool beyond, const Sheet<T>& out) const {
  const T value = beyond ? std::numeric_limits<T>::infinity() : T{0};
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    T* to = out.row(r, tile.c0);
    std::fill_n(to, tile.c1 - tile.c0, value);
    if (beyond) features_are_zero(r, tile.c0, static_cast<std::size_t>(tile.c1 - tile.c0), to);
  }
}

template <class T>
void Descent<T>::features_are_zero(std::int64_t r, std::int64_t c, std::size_t n, T* out) const {
  if (!interior_) return;
  const std::uint8_t* mask = p_.mask.row(r) + c;
  for (std::size_t k = 0; k < n; ++k) out[k] = mask[k] != 0 ? T{0} : out[k];
}

template <class T>
void Descent<T>::evaluate_block(std::int64_t r, std::int64_t c, const Tile& tile, const Level& level,
                                const Sheet<T>& out) const {
  const auto rows = static_cast<std::size_t>(std::min(leaf_cells, tile.r1 - r));
  const auto cols = static_cast<std::size_t>(std::min(leaf_cells, tile.c1 - c));
  float single[lanes * leaf_cells];
  double twice[lanes * leaf_cells];
  bool exact = false;
  if (square_) {
    exact = evaluate_leaf(level.col(), level.row(), level.size, static_cast<float>(c), static_cast<float>(r), single) <
            exact_below;
  }
  T all[lanes * leaf_cells];
  if (exact) {
    roots(single, rows * lanes, m_, all);
  } else {
    evaluate_leaf(level.col(), level.row(), level.size, static_cast<double>(c), static_cast<double>(r), m_.wx, m_.wy,
                  twice);
    roots(twice, rows * lanes, m_, all);
  }
  for (std::size_t i = 0; i < rows; ++i) {
    T* to = out.row(r + static_cast<std::int64_t>(i), c);
    if (cols == lanes) {
      std::memcpy(to, all + i * lanes, lanes * sizeof(T));
    } else {
      std::copy_n(all + i * lanes, cols, to);
    }
    features_are_zero(r + static_cast<std::int64_t>(i), c, cols, to);
  }
}

// Whether every d2 of the tile is below 2^24: the first candidate's at the corners says enough.
template <class T>
bool Descent<T>::exact_in_float(const Tile& tile, const Level& level) const {
  if (!square_) return false;
  const double px = level.col()[0], py = level.row()[0];
  const double x = std::max(std::fabs(static_cast<double>(tile.c0) - px), std::fabs(static_cast<double>(tile.c1) - px));
  const double y = std::max(std::fabs(static_cast<double>(tile.r0) - py), std::fabs(static_cast<double>(tile.r1) - py));
  return x * x + y * y < static_cast<double>(exact_below);
}

template <class T>
void Descent<T>::evaluate(const Tile& tile, const Level& level, const Sheet<T>& out) const {
  const auto n = static_cast<std::size_t>(tile.c1 - tile.c0);
  if (level.size > few || n > static_cast<std::size_t>(task_cells) || !exact_in_float(tile, level)) {
    for (std::int64_t r = tile.r0; r < tile.r1; r += leaf_cells) {
      for (std::int64_t c = tile.c0; c < tile.c1; c += leaf_cells) evaluate_block(r, c, tile, level, out);
    }
    return;
  }
  const auto x = static_cast<float>(tile.c0), y = static_cast<float>(tile.r0);
  const bool whole = std::is_same_v<T, float> && !(m_.limit < static_cast<double>(exact_below));
  if constexpr (std::is_same_v<T, float>) {
    if (whole) {
      evaluate_roots(level.col(), level.row(), level.size, x, y, static_cast<std::size_t>(tile.r1 - tile.r0), n,
                     m_.scale, out.row(tile.r0, tile.c0), out.stride);
    }
  }
  float d2[task_cells];
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    T* to = out.row(r, tile.c0);
    if (!whole) {
      evaluate_run(level.col(), level.row(), level.size, x, static_cast<float>(r), n, d2);
      roots(d2, n, m_, to);
    }
    features_are_zero(r, tile.c0, n, to);
  }
}

template <class T>
void Descent<T>::descend(const Tile& tile, const Level& level, std::size_t depth, const Sheet<T>& out, Scratch& s,
                         Poll& poll) const {
  if (level.size == 0) return fill(tile, true, out);
  if (level.size <= few || tile.side <= leaf_cells) return evaluate(tile, level, out);
  if (level.size * static_cast<std::size_t>(tile.side) > 4096) poll();
  Tile child;
  for (int k = 0; k < 4; ++k) {
    if (!quarter(tile, k, child)) continue;
    if (all_features(child)) {
      fill(child, false, out);
      continue;
    }
    prune(child, level, s, s.levels[depth]);
    descend(child, s.levels[depth], depth + 1, out, s, poll);
  }
}

template <class T>
void Descent<T>::task(const Task& task, bool streamed, Poll& poll) const {
  const Tile& tile = task.tile;
  Scratch scratch;
  if (!streamed) return descend(tile, task.level, 0, output(), scratch, poll);
  const std::unique_ptr<T[]> cells(new T[task_cells * task_cells]);
  const Sheet<T> sheet{cells.get(), task_cells, tile.r0, tile.c0};
  descend(tile, task.level, 0, sheet, scratch, poll);
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    stream(sheet.row(r, tile.c0), static_cast<std::size_t>(tile.c1 - tile.c0), p_.row(r, tile.c0));
  }
  stream_end();
}

template <class T>
void Descent<T>::compute(const Run& run) {
  const Window& w = p_.window;
  std::int64_t side = task_cells;
  while (w.row0 / side != (w.row1() - 1) / side || w.col0 / side != (w.col1() - 1) / side) side *= 2;
  std::vector<Task> tasks(1);
  tasks[0].tile = {w.row0 / side * side, w.col0 / side * side, side, w.row0, w.row1(), w.col0, w.col1()};
  tasks[0].level = candidates();
  for (; side > task_cells; side /= 2) {
    std::vector<std::array<Task, 4>> split(tasks.size());
    parallel_for(tasks.size() * 4, run, [&](std::size_t block, Poll& poll) {
      Task& task = tasks[block / 4];
      Task& child = split[block / 4][block % 4];
      child.open = quarter(task.tile, static_cast<int>(block % 4), child.tile);
      if (!child.open) return;
      poll();
      if (all_features(child.tile)) {
        fill(child.tile, false, output());
        child.open = false;
        return;
      }
      Scratch scratch;
      Level kept;
      prune(child.tile, task.level, scratch, kept);
      child.level.reserve(kept.size);
      child.level.size = kept.size;
      std::copy_n(kept.col(), child.level.stride, child.level.data.begin());
      std::copy_n(kept.row(), child.level.stride,
                  child.level.data.begin() + static_cast<std::ptrdiff_t>(child.level.stride));
    });
    std::vector<Task> next;
    next.reserve(split.size() * 4);
    for (auto& quarters : split) {
      for (Task& child : quarters) {
        if (child.open) next.push_back(std::move(child));
      }
    }
    tasks = std::move(next);
  }
  const std::size_t bytes = static_cast<std::size_t>(w.nrows) * static_cast<std::size_t>(w.ncols) * sizeof(T);
  const bool streamed = bytes >= streamed_from;
  parallel_for(tasks.size(), run, [&](std::size_t block, Poll& poll) {
    task(tasks[block], streamed, poll);
    tasks[block].level = Level{};
  }, Loop::main);
}

}  // namespace

template <class T>
void descend(const Problem<T>& problem, Boundary boundary, const Run& run) {
  Descent<T>(problem, std::move(boundary)).compute(run);
}

template void descend<float>(const Problem<float>&, Boundary, const Run&);
template void descend<double>(const Problem<double>&, Boundary, const Run&);

}  // namespace rtmdx::mask
