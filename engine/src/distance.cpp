// Distance by candidate-pruning descent.
//
// Distance to a feature is 1-Lipschitz: over a tile of cell centres with middle c and half diagonal r, only a feature
// with d(c, f) <= min d(c, .) + 2 r can be nearest to one of them. Where many pass (a cluster seen from afar), a
// second rule prunes exactly: for a place g on some feature, the set nearer to g than to another feature is an
// intersection of half planes, hence convex; if it holds the tile's four corners, the other feature is never nearest.
// A tile's survivors are handed to its four quarters, until few candidates or few cells are left; those are evaluated
// one by one. Both rules leave a margin far above rounding, so a cell's value is the minimum of one expression over
// all features, whatever the tiling.
#include "rtmdx/distance.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <utility>
#include <vector>

#include "rtmdx/inside.hpp"
#include "rtmdx/nearest.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

using nearest::Candidates;
using nearest::lanes;
using nearest::Place;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t leaf_cells = 8;    // side of the smallest tile
constexpr std::int64_t task_cells = 128;  // side of the tile that one thread finishes alone
constexpr std::size_t few = 3;            // so few candidates cost less to evaluate than to prune

// A rectangle of cells, inside its power-of-two tile of the whole grid.
struct Tile {
  std::int64_t row0, col0;  // of the aligned tile
  std::int64_t side;
  std::int64_t r0, r1, c0, c1;  // its cells inside the window
};

struct Level {
  std::vector<double> data;
  std::size_t size = 0;
};

struct Scratch {
  std::vector<double> d2;
  std::vector<unsigned char> keep;
  std::array<Level, 4> levels;  // sides 64, 32, 16, 8, below task_cells
};

template <class T>
struct Problem {
  Grid grid;
  Window window;
  double max_distance;
  std::size_t arrays;
  double slack;  // far above the rounding of any distance here, far below any distance that matters
  const std::vector<std::uint8_t>& inside;
  RasterView<T> out;
};

bool quarter(const Tile& t, int k, Tile& child) {
  const std::int64_t half = t.side / 2;
  child.side = half;
  child.row0 = t.row0 + (k / 2) * half;
  child.col0 = t.col0 + (k % 2) * half;
  child.r0 = std::max(t.r0, child.row0);
  child.r1 = std::min(t.r1, child.row0 + half);
  child.c0 = std::max(t.c0, child.col0);
  child.c1 = std::min(t.c1, child.col0 + half);
  return child.r0 < child.r1 && child.c0 < child.c1;
}

// Copies to `to` the candidates that can be nearest to (and within max_distance of) a cell of the tile.
template <class T>
void prune(const Problem<T>& p, const Tile& tile, const Candidates& from, Scratch& s, Level& to) {
  to.size = 0;
  const std::size_t n = from.size;
  if (n == 0) return;
  if (s.d2.size() < n) {
    s.d2.resize(n);
    s.keep.resize(n);
  }
  const double x0 = p.grid.centre_x(tile.c0), x1 = p.grid.centre_x(tile.c1 - 1);
  const double y0 = p.grid.centre_y(tile.r0), y1 = p.grid.centre_y(tile.r1 - 1);
  const Place middle{0.5 * (x0 + x1), 0.5 * (y0 + y1)};
  const double r = 0.5 * std::hypot(x1 - x0, y1 - y0);
  const double best2 = nearest::squared(from, middle, s.d2.data());
  const double best = std::sqrt(best2);
  if (best - r > p.max_distance + p.slack) return;
  double reach = std::min(best + 2.0 * r, p.max_distance + r);
  reach = reach * (1.0 + 1e-9) + p.slack;
  const double reach2 = reach * reach;

  if (to.data.size() < n * from.arrays) to.data.resize(n * from.arrays);
  std::size_t kept = 0;
  std::size_t champion = 0;
  for (std::size_t i = 0; i < n; ++i) {  // compact without branches
    for (std::size_t k = 0; k < from.arrays; ++k) to.data[k * n + kept] = from.array(k)[i];
    if (s.d2[i] == best2) champion = kept;
    kept += s.d2[i] <= reach2 ? 1 : 0;
  }

  if (kept > few) {
    const Candidates ball{to.data.data(), n, kept, from.arrays};
    const Place g = nearest::foot(ball, champion, middle);
    const Place corner[4] = {{x0, y0}, {x1, y0}, {x0, y1}, {x1, y1}};
    double limit2[4];
    double most = 0.0;
    for (int k = 0; k < 4; ++k) {
      limit2[k] = (corner[k].x - g.x) * (corner[k].x - g.x) + (corner[k].y - g.y) * (corner[k].y - g.y);
      most = std::max(most, limit2[k]);
    }
    // The difference of squares is linear over the tile, so one margin at the corners is a margin everywhere.
    const double margin2 = 1e-9 * most + 2.0 * std::sqrt(most) * p.slack + p.slack * p.slack;
    for (double& limit : limit2) limit += margin2;
    nearest::near_any_corner(ball, corner, limit2, s.keep.data());
    std::size_t left = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      for (std::size_t k = 0; k < from.arrays; ++k) to.data[k * n + left] = to.data[k * n + i];
      left += s.keep[i];
    }
    kept = left;
  }
  // Close the gaps between the arrays: the next tile reads them with stride = size.
  for (std::size_t k = 1; k < from.arrays; ++k) {
    std::copy_n(to.data.begin() + static_cast<std::ptrdiff_t>(k * n), kept,
                to.data.begin() + static_cast<std::ptrdiff_t>(k * kept));
  }
  to.size = kept;
}

template <class T>
Candidates view(const Problem<T>& p, const Level& level) {
  return {level.data.data(), level.size, level.size, p.arrays};
}

template <class T>
void fill(const Problem<T>& p, const Tile& tile, T value) {
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    T* row = p.out.row(r - p.window.row0) - p.window.col0;
    std::fill(row + tile.c0, row + tile.c1, value);
  }
}

template <class T>
bool all_inside(const Problem<T>& p, const Tile& tile) {
  if (p.inside.empty()) return false;
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    const std::uint8_t* row = p.inside.data() + (r - p.window.row0) * p.window.ncols - p.window.col0;
    if (std::find(row + tile.c0, row + tile.c1, std::uint8_t{0}) != row + tile.c1) return false;
  }
  return true;
}

template <class T>
void evaluate(const Problem<T>& p, const Tile& tile, const Candidates& candidates) {
  double x[lanes], y[leaf_cells], d2[lanes * leaf_cells];
  for (std::int64_t r = tile.r0; r < tile.r1; r += leaf_cells) {
    const std::int64_t rows = std::min(leaf_cells, tile.r1 - r);
    for (std::int64_t i = 0; i < rows; ++i) y[i] = p.grid.centre_y(r + i);
    for (std::int64_t c = tile.c0; c < tile.c1; c += static_cast<std::int64_t>(lanes)) {
      const std::int64_t cols = std::min(static_cast<std::int64_t>(lanes), tile.c1 - c);
      for (std::size_t k = 0; k < lanes; ++k) x[k] = p.grid.centre_x(c + static_cast<std::int64_t>(k));
      nearest::block(candidates, x, y, static_cast<std::size_t>(rows), d2);
      for (std::int64_t i = 0; i < rows; ++i) {
        double d[lanes];
        for (std::size_t k = 0; k < lanes; ++k) d[k] = std::sqrt(d2[static_cast<std::size_t>(i) * lanes + k]);
        if (p.max_distance < infinity) {
          for (double& v : d) v = v > p.max_distance ? infinity : v;
        }
        T* row = p.out.row(r + i - p.window.row0) + (c - p.window.col0);
        if (!p.inside.empty()) {
          const std::uint8_t* in = p.inside.data() + (r + i - p.window.row0) * p.window.ncols + (c - p.window.col0);
          for (std::int64_t k = 0; k < cols; ++k) d[k] = in[k] ? 0.0 : d[k];
        }
        if (cols == static_cast<std::int64_t>(lanes)) {
          for (std::size_t k = 0; k < lanes; ++k) row[k] = static_cast<T>(d[k]);
        } else {
          for (std::int64_t k = 0; k < cols; ++k) row[k] = static_cast<T>(d[k]);
        }
      }
    }
  }
}

// Finishes a tile if it can be finished without splitting.
template <class T>
bool settle(const Problem<T>& p, const Tile& tile, const Candidates& candidates) {
  if (candidates.size == 0 && p.inside.empty()) {
    fill(p, tile, std::numeric_limits<T>::infinity());
  } else if (candidates.size <= few || tile.side <= leaf_cells) {
    evaluate(p, tile, candidates);
  } else {
    return false;
  }
  return true;
}

template <class T>
void descend(const Problem<T>& p, const Tile& tile, const Candidates& candidates, std::size_t depth, Scratch& s,
             Poll& poll) {
  if (settle(p, tile, candidates)) return;
  if (candidates.size * static_cast<std::size_t>(tile.side) > 4096) poll();
  Tile child;
  for (int k = 0; k < 4; ++k) {
    if (!quarter(tile, k, child)) continue;
    if (all_inside(p, child)) {
      fill(p, child, T{0});
      continue;
    }
    prune(p, child, candidates, s, s.levels[depth]);
    descend(p, child, view(p, s.levels[depth]), depth + 1, s, poll);
  }
}

void sort_unique(std::vector<Place>& points) {
  const auto before = [](const Place& a, const Place& b) { return a.x != b.x ? a.x < b.x : a.y < b.y; };
  const auto same = [](const Place& a, const Place& b) { return a.x == b.x && a.y == b.y; };
  std::sort(points.begin(), points.end(), before);
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
}

// Every feature as candidates in local coordinates: points if there are only points, segments otherwise.
struct Gathered {
  Level level;
  std::size_t arrays;
  double scale;  // largest coordinate
};

Gathered gather(const Features& f, const Grid& grid) {
  std::vector<Place> points(f.points.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    points[i] = {grid.local_x(f.points.xy[2 * i]), grid.local_y(f.points.xy[2 * i + 1])};
  }
  sort_unique(points);  // coincident points are one: thousands of events share an address

  std::size_t segments = 0;
  const auto each_segment = [&](const auto& visit) {
    const auto chain = [&](Span<double> xy, std::size_t v0, std::size_t v1, bool closed) {
      if (v0 == v1) return;
      Place a{grid.local_x(xy[2 * v0]), grid.local_y(xy[2 * v0 + 1])};
      const Place head = a;
      if (v1 - v0 == 1) visit(a, a);
      for (std::size_t v = v0 + 1; v < v1; ++v) {
        const Place b{grid.local_x(xy[2 * v]), grid.local_y(xy[2 * v + 1])};
        visit(a, b);
        a = b;
      }
      if (closed && (a.x != head.x || a.y != head.y)) visit(a, head);
    };
    for (std::size_t i = 0; i < f.lines.size(); ++i) {
      chain(f.lines.xy, static_cast<std::size_t>(f.lines.offsets[i]), static_cast<std::size_t>(f.lines.offsets[i + 1]),
            false);
    }
    for (std::size_t i = 0; i < f.polygons.rings(); ++i) {
      chain(f.polygons.xy, static_cast<std::size_t>(f.polygons.ring_offsets[i]),
            static_cast<std::size_t>(f.polygons.ring_offsets[i + 1]), true);
    }
  };
  each_segment([&](Place, Place) { ++segments; });

  Gathered g;
  g.scale = std::max(static_cast<double>(grid.cols) * grid.dx, static_cast<double>(grid.rows) * grid.dy);
  const auto grow = [&](Place a) { g.scale = std::max({g.scale, std::fabs(a.x), std::fabs(a.y)}); };
  for (const Place& a : points) grow(a);
  if (segments == 0) {
    const std::size_t n = points.size();
    g.arrays = nearest::point_arrays;
    g.level.size = n;
    g.level.data.resize(g.arrays * n);
    for (std::size_t i = 0; i < n; ++i) {
      g.level.data[i] = points[i].x;
      g.level.data[n + i] = points[i].y;
    }
    return g;
  }
  const std::size_t n = points.size() + segments;
  g.arrays = nearest::segment_arrays;
  g.level.size = n;
  g.level.data.resize(g.arrays * n);
  std::size_t i = 0;
  const auto put = [&](Place a, Place b) {
    double* at = g.level.data.data() + i++;
    double ux = b.x - a.x, uy = b.y - a.y;
    double inv = 1.0 / (ux * ux + uy * uy);
    if (!std::isfinite(inv)) ux = uy = inv = 0.0;  // too short to have a direction: a point
    at[0] = a.x;
    at[n] = a.y;
    at[2 * n] = ux;
    at[3 * n] = uy;
    at[4 * n] = inv;
  };
  for (const Place& a : points) put(a, a);
  each_segment([&](Place a, Place b) {
    grow(a);
    grow(b);
    put(a, b);
  });
  return g;
}

template <class T>
void compute(const Features& features, const Grid& grid, const Window& window, double max_distance, const Run& run,
             RasterView<T> out) {
  Gathered all = gather(features, grid);
  const std::vector<std::uint8_t> in =
      features.polygons.size() > 0 ? inside(features.polygons, grid, window, run) : std::vector<std::uint8_t>{};
  const Problem<T> problem{grid, window, max_distance, all.arrays, 1e-12 * all.scale, in, out};

  // Breadth first down to task tiles, each holding its own candidates; then every task alone, depth first.
  struct Task {
    Tile tile;
    Level level;
    bool open = true;
  };
  std::int64_t side = task_cells;
  while (window.row0 / side != (window.row1() - 1) / side || window.col0 / side != (window.col1() - 1) / side) {
    side *= 2;
  }
  std::vector<Task> tasks(1);
  tasks[0].tile = {window.row0 / side * side, window.col0 / side * side, side,          window.row0, window.row1(),
                   window.col0,               window.col1()};
  tasks[0].level = std::move(all.level);
  for (; side > task_cells; side /= 2) {
    std::vector<std::array<Task, 4>> split(tasks.size());
    parallel_for(tasks.size() * 4, run, [&](std::size_t block, Poll& poll) {
      Task& task = tasks[block / 4];
      Task& child = split[block / 4][block % 4];
      child.open = quarter(task.tile, static_cast<int>(block % 4), child.tile);
      if (!child.open) return;
      poll();
      if (all_inside(problem, child.tile)) {
        fill(problem, child.tile, T{0});
        child.open = false;
        return;
      }
      Scratch scratch;
      prune(problem, child.tile, view(problem, task.level), scratch, child.level);
      child.level.data.resize(child.level.size * problem.arrays);
      child.level.data.shrink_to_fit();
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
    descend(problem, task.tile, view(problem, task.level), 0, scratch, poll);
    task.level = Level{};
  }, Loop::main);
}

}  // namespace

template <class T>
void distance(const Features& features, const Grid& grid, const Window& window, double max_distance, const Run& run,
              RasterView<T> out) {
  check(grid, window);
  check(features);
  if (window.empty()) return;
  try {
    compute(features, grid, window, max_distance, run, out);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the distance of " + std::to_string(window.nrows) + " x " +
                      std::to_string(window.ncols) + " cells");
  }
}

template void distance<float>(const Features&, const Grid&, const Window&, double, const Run&, RasterView<float>);
template void distance<double>(const Features&, const Grid&, const Window&, double, const Run&, RasterView<double>);

}  // namespace rtmdx
