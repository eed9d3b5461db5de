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
#include <utility>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/mask_parts.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx::mask {
namespace {

constexpr std::size_t lanes = 8;
constexpr std::int64_t leaf_cells = 8;
constexpr std::int64_t task_cells = 128;
constexpr std::size_t few = 3;           // so few candidates cost less to evaluate than to prune
constexpr float nowhere = 1e15F;         // fills the last vector of candidates
constexpr float exact_below = 16777216;  // 2^24

// Candidates' columns, then their rows, each padded to whole vectors.
struct Level {
  std::vector<float> data;
  std::size_t size = 0;
  std::size_t stride = 0;

  const float* col() const { return data.data(); }
  const float* row() const { return data.data() + stride; }
  void reserve(std::size_t n) {
    stride = (n + lanes - 1) / lanes * lanes;
    if (data.size() < 2 * stride) data.resize(2 * stride);
  }
  void pad() {
    for (std::size_t i = size; i % lanes != 0; ++i) data[i] = data[stride + i] = nowhere;
  }
};

struct Tile {
  std::int64_t row0, col0, side;
  std::int64_t r0, r1, c0, c1;  // its cells inside the window
};

struct Scratch {
  std::vector<float> d2;
  std::vector<std::uint8_t> keep;
  std::array<Level, 4> levels;  // sides 64, 32, 16, 8
};

inline float least(float a, float b) { return a < b ? a : b; }

inline float pair(float x, float y, float px, float py, float wx, float wy) {
  const float ex = x - px, ey = y - py;
  return (ex * ex) * wx + (ey * ey) * wy;
}

RTMDX_CLONES float squared(const float* px, const float* py, std::size_t n, float x, float y, float wx, float wy,
                           float* d2) {
  float best[lanes];
  for (float& b : best) b = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) {
      const float v = pair(x, y, px[i + k], py[i + k], wx, wy);
      d2[i + k] = v;
      best[k] = least(v, best[k]);
    }
  }
  for (std::size_t k = 1; k < lanes; ++k) best[0] = least(best[k], best[0]);
  return best[0];
}

struct Corners {
  float x0, y0, x1, y1;
};

// keep[i] = 1 if candidate i may be as near as g to at least one corner. The difference of squares is
//   (g - f) (2 corner - g - f), along either axis,
// whose factors are whole numbers and exact, so the margin is a few roundings of its terms, however far g is.
RTMDX_CLONES void near_any_corner(const float* px, const float* py, std::size_t n, const Corners& c, float gx, float gy,
                                  float wx, float wy, float margin, std::uint8_t* keep) {
  const float ax0 = 2.0F * c.x0 - gx, ax1 = 2.0F * c.x1 - gx, ay0 = 2.0F * c.y0 - gy, ay1 = 2.0F * c.y1 - gy;
  for (std::size_t i = 0; i < n; ++i) {
    const float ex = (gx - px[i]) * wx, ey = (gy - py[i]) * wy;
    const float tx = least(ex * (ax0 - px[i]), ex * (ax1 - px[i]));
    const float ty = least(ey * (ay0 - py[i]), ey * (ay1 - py[i]));
    keep[i] = static_cast<std::uint8_t>(tx + ty <= 1e-6F * (std::fabs(tx) + std::fabs(ty)) + margin);
  }
}

// d2[r * lanes + k] for the cells of a leaf, exact below 2^24; returns the largest.
RTMDX_CLONES float leaf(const float* px, const float* py, std::size_t n, float x, float y, float* d2) {
  float best[lanes * leaf_cells];
  for (float& b : best) b = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    float ex[lanes], ey[leaf_cells];
    for (std::size_t k = 0; k < lanes; ++k) {
      const float e = x + static_cast<float>(k) - px[i];
      ex[k] = e * e;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      const float e = y + static_cast<float>(r) - py[i];
      ey[r] = e * e;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      for (std::size_t k = 0; k < lanes; ++k) best[r * lanes + k] = least(ex[k] + ey[r], best[r * lanes + k]);
    }
  }
  float most[lanes] = {};
  for (std::size_t r = 0; r < leaf_cells; ++r) {
    for (std::size_t k = 0; k < lanes; ++k) {
      most[k] = best[r * lanes + k] > most[k] ? best[r * lanes + k] : most[k];
      d2[r * lanes + k] = best[r * lanes + k];
    }
  }
  for (std::size_t k = 1; k < lanes; ++k) most[0] = most[k] > most[0] ? most[k] : most[0];
  return most[0];
}

RTMDX_CLONES void leaf(const float* px, const float* py, std::size_t n, double x, double y, double wx, double wy,
                       double* d2) {
  double best[lanes * leaf_cells];
  for (double& b : best) b = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    double ex[lanes], ey[leaf_cells];
    for (std::size_t k = 0; k < lanes; ++k) {
      const double e = x + static_cast<double>(k) - static_cast<double>(px[i]);
      ex[k] = (e * e) * wx;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      const double e = y + static_cast<double>(r) - static_cast<double>(py[i]);
      ey[r] = (e * e) * wy;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      for (std::size_t k = 0; k < lanes; ++k) {
        const double v = ex[k] + ey[r];
        best[r * lanes + k] = v < best[r * lanes + k] ? v : best[r * lanes + k];
      }
    }
  }
  std::memcpy(d2, best, sizeof best);
}

// A run of a row against up to `few` candidates: d2[k] for columns x + k. Returns the largest.
RTMDX_CLONES float run_of_row(const float* px, const float* py, std::size_t m, float x, float y, std::size_t n,
                              float* d2) {
  float q[few], s[few];
  for (std::size_t i = 0; i < few; ++i) {
    const std::size_t at = i < m ? i : 0;
    q[i] = x - px[at];
    s[i] = (y - py[at]) * (y - py[at]);
  }
  const float q0 = q[0], q1 = q[1], q2 = q[2], s0 = s[0], s1 = s[1], s2 = s[2];
  const int count = static_cast<int>(n);
  for (int k = 0; k < count; ++k) {
    const auto at = static_cast<float>(k);
    const float a = (at + q0) * (at + q0) + s0;
    const float b = (at + q1) * (at + q1) + s1;
    const float c = (at + q2) * (at + q2) + s2;
    const float ab = least(a, b);
    d2[k] = least(ab, c);
  }
  float most[lanes] = {};
  for (std::size_t c = 0; c < n; c += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) most[k] = d2[c + k] > most[k] ? d2[c + k] : most[k];
  }
  for (std::size_t k = 1; k < lanes; ++k) most[0] = most[k] > most[0] ? most[k] : most[0];
  return most[0];
}

template <class T>
class Descent {
 public:
  Descent(const Problem<T>& p, std::size_t boundary) : p_(p), m_(p.metric), boundary_(boundary) {
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

  Level gather(const Run& run) const;
  void prune(const Tile& tile, const Level& from, Scratch& s, Level& to) const;
  bool quarter(const Tile& t, int k, Tile& child) const;
  bool all_features(const Tile& tile) const;
  void fill(const Tile& tile, bool beyond) const;
  void features_are_zero(std::int64_t r, std::int64_t c, std::size_t n) const;
  void evaluate(const Tile& tile, const Level& level) const;
  void evaluate_block(std::int64_t r, std::int64_t c, const Tile& tile, const Level& level) const;
  void descend(const Tile& tile, const Level& level, std::size_t depth, Scratch& s, Poll& poll) const;

  const Problem<T>& p_;
  Metric m_;
  std::size_t boundary_;
  float wx_, wy_, max_;
  bool square_;
};

template <class T>
Level Descent<T>::gather(const Run& run) const {
  const MaskView& mask = p_.mask;
  constexpr std::int64_t band = 64;
  const auto bands = static_cast<std::size_t>((mask.rows + band - 1) / band);
  std::vector<std::vector<std::pair<std::int32_t, std::int32_t>>> found(bands);
  parallel_for(bands, run, [&](std::size_t i, Poll& poll) {
    const std::int64_t r0 = static_cast<std::int64_t>(i) * band, r1 = std::min(r0 + band, mask.rows);
    for (std::int64_t r = r0; r < r1; ++r) {
      if (mask.cols > 100000) poll();
      const std::uint8_t* row = mask.row(r);
      const auto visit = [&](std::int64_t c) {
        if (row[c] == 0) return;
        if ((c == 0 || row[c - 1] != 0) && (c + 1 == mask.cols || row[c + 1] != 0) &&
            (r == 0 || mask.row(r - 1)[c] != 0) && (r + 1 == mask.rows || mask.row(r + 1)[c] != 0)) {
          return;
        }
        found[i].emplace_back(static_cast<std::int32_t>(r), static_cast<std::int32_t>(c));
      };
      std::int64_t c = 0;
      for (; c + 32 <= mask.cols; c += 32) {
        std::uint64_t words[4];
        std::memcpy(words, row + c, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3]) == 0) continue;
        for (std::int64_t k = 0; k < 32; ++k) visit(c + k);
      }
      for (; c < mask.cols; ++c) visit(c);
    }
  });
  Level level;
  level.reserve(boundary_);
  for (const auto& part : found) {
    for (const auto& [r, c] : part) {
      level.data[level.size] = static_cast<float>(c);
      level.data[level.stride + level.size] = static_cast<float>(r);
      ++level.size;
    }
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
  if (!p_.interior) return false;
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    const std::uint8_t* row = p_.mask.row(r);
    if (std::find(row + tile.c0, row + tile.c1, std::uint8_t{0}) != row + tile.c1) return false;
  }
  return true;
}

template <class T>
void Descent<T>::fill(const Tile& tile, bool beyond) const {
  const T value = beyond ? std::numeric_limits<T>::infinity() : T{0};
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    std::fill_n(p_.row(r, tile.c0), tile.c1 - tile.c0, value);
    if (beyond) features_are_zero(r, tile.c0, static_cast<std::size_t>(tile.c1 - tile.c0));
  }
}

template <class T>
void Descent<T>::features_are_zero(std::int64_t r, std::int64_t c, std::size_t n) const {
  if (!p_.interior) return;
  const std::uint8_t* mask = p_.mask.row(r) + c;
  T* out = p_.row(r, c);
  for (std::size_t k = 0; k < n; ++k) out[k] = mask[k] != 0 ? T{0} : out[k];
}

template <class T>
void Descent<T>::evaluate_block(std::int64_t r, std::int64_t c, const Tile& tile, const Level& level) const {
  const auto rows = static_cast<std::size_t>(std::min(leaf_cells, tile.r1 - r));
  const auto cols = static_cast<std::size_t>(std::min(leaf_cells, tile.c1 - c));
  float single[lanes * leaf_cells];
  double twice[lanes * leaf_cells];
  bool exact = false;
  if (square_) {
    exact = leaf(level.col(), level.row(), level.size, static_cast<float>(c), static_cast<float>(r), single) <
            exact_below;
  }
  if (!exact) {
    leaf(level.col(), level.row(), level.size, static_cast<double>(c), static_cast<double>(r), m_.wx, m_.wy, twice);
  }
  T all[lanes * leaf_cells];
  if (exact) {
    roots(single, rows * lanes, m_, all);
  } else {
    roots(twice, rows * lanes, m_, all);
  }
  for (std::size_t i = 0; i < rows; ++i) {
    T* out = p_.row(r + static_cast<std::int64_t>(i), c);
    if (cols == lanes) {
      std::memcpy(out, all + i * lanes, lanes * sizeof(T));
    } else {
      std::copy_n(all + i * lanes, cols, out);
    }
    features_are_zero(r + static_cast<std::int64_t>(i), c, cols);
  }
}

template <class T>
void Descent<T>::evaluate(const Tile& tile, const Level& level) const {
  const auto n = static_cast<std::size_t>(tile.c1 - tile.c0);
  const bool by_rows = square_ && level.size <= few && n > static_cast<std::size_t>(leaf_cells) &&
                       n <= static_cast<std::size_t>(task_cells);
  float d2[task_cells];
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    if (by_rows && run_of_row(level.col(), level.row(), level.size, static_cast<float>(tile.c0), static_cast<float>(r),
                              (n + lanes - 1) / lanes * lanes, d2) < exact_below) {
      roots(d2, n, m_, p_.row(r, tile.c0));
      features_are_zero(r, tile.c0, n);
      continue;
    }
    for (std::int64_t c = tile.c0; c < tile.c1; c += leaf_cells) evaluate_block(r, c, tile, level);
    r = std::min(r + leaf_cells, tile.r1) - 1;
  }
}

template <class T>
void Descent<T>::descend(const Tile& tile, const Level& level, std::size_t depth, Scratch& s, Poll& poll) const {
  if (level.size == 0) return fill(tile, true);
  if (level.size <= few || tile.side <= leaf_cells) return evaluate(tile, level);
  if (level.size * static_cast<std::size_t>(tile.side) > 4096) poll();
  Tile child;
  for (int k = 0; k < 4; ++k) {
    if (!quarter(tile, k, child)) continue;
    if (all_features(child)) {
      fill(child, false);
      continue;
    }
    prune(child, level, s, s.levels[depth]);
    descend(child, s.levels[depth], depth + 1, s, poll);
  }
}

template <class T>
void Descent<T>::compute(const Run& run) {
  const Window& w = p_.window;
  std::int64_t side = task_cells;
  while (w.row0 / side != (w.row1() - 1) / side || w.col0 / side != (w.col1() - 1) / side) side *= 2;
  std::vector<Task> tasks(1);
  tasks[0].tile = {w.row0 / side * side, w.col0 / side * side, side, w.row0, w.row1(), w.col0, w.col1()};
  tasks[0].level = gather(run);
  for (; side > task_cells; side /= 2) {
    std::vector<std::array<Task, 4>> split(tasks.size());
    parallel_for(tasks.size() * 4, run, [&](std::size_t block, Poll& poll) {
      Task& task = tasks[block / 4];
      Task& child = split[block / 4][block % 4];
      child.open = quarter(task.tile, static_cast<int>(block % 4), child.tile);
      if (!child.open) return;
      poll();
      if (all_features(child.tile)) {
        fill(child.tile, false);
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
  parallel_for(tasks.size(), run, [&](std::size_t block, Poll& poll) {
    Scratch scratch;
    Task& task = tasks[block];
    descend(task.tile, task.level, 0, scratch, poll);
    task.level = Level{};
  }, Loop::main);
}

}  // namespace

template <class T>
void descend(const Problem<T>& problem, std::size_t boundary, const Run& run) {
  Descent<T>(problem, boundary).compute(run);
}

template void descend<float>(const Problem<float>&, std::size_t, const Run&);
template void descend<double>(const Problem<double>&, std::size_t, const Run&);

}  // namespace rtmdx::mask
