// Cost distance: shortest paths from many cells at once, by buckets.
//
// A cell's cost is the minimum over all ways of the rounded sum along the way. Rounded addition never falls when an
// operand rises, so any order of relaxing steps that goes on until none gains ends in the same bits. Buckets of about
// the smallest step's cost keep the order near to Dijkstra's, where a cell is relaxed once.
#include "rtmdx/cost_distance.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "rtmdx/cost_parts.hpp"
#include "rtmdx/inside.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace cost {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// A step to a neighbour. A knight's move passes two cells between its ends and lies in each of the four for a quarter
// of its length; the others lie half in either end. So every step costs exactly the integral of friction along it.
struct Step {
  std::ptrdiff_t to;
  std::ptrdiff_t first, second;  // the cells passed, for a knight's move
  std::ptrdiff_t barred;         // the cell whose bit bars this step: here, or the other end
  double share;                  // of the sum of frictions: length / 2, or length / 4
  double length;
  int bit;
  bool knight;
};

std::vector<Step> steps_of(const Grid& grid, std::int64_t stride, int connectivity) {
  std::vector<Step> steps;
  for (int k = 0; k < connectivity / 2; ++k) {
    for (const int sign : {1, -1}) {
      const int dc = moves[k].dc, dr = moves[k].dr;
      const auto index = [&](int c, int r) { return static_cast<std::ptrdiff_t>(sign * (r * stride + c)); };
      const double x = dc * grid.dx, y = dr * grid.dy;
      Step s{};
      s.to = index(dc, dr);
      s.length = std::sqrt(x * x + y * y);
      s.knight = std::abs(dc) + std::abs(dr) == 3;
      if (s.knight) {
        const int side = dc > 0 ? 1 : -1;
        s.first = std::abs(dc) == 2 ? index(side, 0) : index(0, 1);
        s.second = index(side, 1);
      }
      s.share = s.knight ? 0.25 * s.length : 0.5 * s.length;
      s.bit = k;
      s.barred = sign > 0 ? 0 : s.to;
      steps.push_back(s);
    }
  }
  return steps;
}

// A width of buckets about the cost of a short step over cheap ground: any is right, this one is quick.
template <class F>
double bucket_width(const Field<F>& field) {
  const double side = std::min(field.grid.dx, field.grid.dy);
  if (field.friction.empty()) return side;
  std::vector<double> sample;
  const std::size_t n = field.friction.size(), stride = std::max<std::size_t>(1, n / 4099);
  for (std::size_t i = 0; i < n; i += stride) {
    const double f = static_cast<double>(field.friction[i]);
    if (f < infinity) sample.push_back(f);
  }
  if (sample.empty()) return side;
  const auto tenth = sample.begin() + static_cast<std::ptrdiff_t>(sample.size() / 10);
  std::nth_element(sample.begin(), tenth, sample.end());
  return std::max(side * *tenth, 1e-280);
}

// Makes n equal elements, as `assign` does, in steps: fresh memory costs time.
template <class V>
void make(std::vector<V>& v, std::size_t n, V value, Poll& poll) {
  v.reserve(n);
  while (v.size() < n) {
    poll();
    v.insert(v.end(), std::min<std::size_t>(n - v.size(), std::size_t{1} << 22U), value);
  }
}

template <class F>
void spread(Field<F>& field, Queue& queue, int connectivity, double max_cost, const Run& run, Poll& poll) {
  const std::vector<Step> steps = steps_of(field.grid, field.stride, connectivity);
  double* cost = field.cost.data();
  const F* friction = field.friction.empty() ? nullptr : field.friction.data();
  const std::uint8_t* blocked = field.blocked.empty() ? nullptr : field.blocked.data();
  const std::size_t cells = static_cast<std::size_t>(field.grid.rows) * static_cast<std::size_t>(field.grid.cols);
  std::size_t relaxed = 0;
  auto told = Poll::Clock::now();
  PacedPoll pace(poll);
  while (std::vector<Entry>* bucket = queue.next(pace)) {
    for (std::size_t i = 0; i < bucket->size(); ++i) {
      const Entry e = (*bucket)[i];
      const std::ptrdiff_t at = e.cell;
      pace(4);
      if (e.cost > cost[at]) continue;  // improved since
      if ((relaxed++ & 8191U) == 0) {
        poll();
        if (run.progress && Poll::Clock::now() - told > Poll::interval) {
          told = Poll::Clock::now();
          run.progress(std::min(relaxed, cells), cells);
        }
      }
      for (const Step& s : steps) {
        const std::ptrdiff_t to = at + s.to;
        const double known = cost[to];
        if (known <= e.cost) continue;  // also the border and closed cells
        double price = s.length;
        if (friction != nullptr) {
          const double ends = static_cast<double>(friction[at]) + static_cast<double>(friction[to]);
          const double passed = s.knight ? static_cast<double>(friction[at + s.first]) +
                                               static_cast<double>(friction[at + s.second])
                                         : 0.0;
          price = s.share * (ends + passed);
        }
        const double reached = e.cost + price;
        if (!(reached < known) || reached > max_cost) continue;
        if (blocked != nullptr && (blocked[at + s.barred] >> s.bit & 1) != 0) continue;
        cost[to] = reached;
        queue.push({reached, static_cast<std::uint32_t>(to)});
      }
    }
    bucket->clear();
  }
}

template <class F, class T>
void compute(const Features& features, const Grid& grid, const F* given, std::int64_t stride, const Features& barriers,
             int connectivity, double max_cost, const Run& run, RasterView<T> out) {
  Field<F> field(grid);
  const bool closed = barriers.polygons.size() > 0;
  // One block: on the caller's thread, polled like any loop.
  parallel_for(1, run, [&](std::size_t, Poll& poll) {
    make(field.cost, field.size(), -infinity, poll);
    if (given != nullptr || closed) make(field.friction, field.size(), std::numeric_limits<F>::infinity(), poll);
    std::vector<std::uint8_t> in;
    if (closed) in = inside(barriers.polygons, grid, {0, 0, grid.rows, grid.cols}, run);
    for (std::int64_t r = 0; r < grid.rows; ++r) {
      poll();
      for (std::int64_t c = 0; c < grid.cols; ++c) {
        const F f = given != nullptr ? given[r * stride + c] : F{1};
        const bool open = f < std::numeric_limits<F>::infinity() &&
                          (!closed || in[static_cast<std::size_t>(r * grid.cols + c)] == 0);
        if (!open) continue;
        field.cost[field.at(r, c)] = infinity;
        if (!field.friction.empty()) field.friction[field.at(r, c)] = f;
      }
    }
    const Barriers lines(barriers, grid, poll);
    if (!lines.empty()) {
      make(field.blocked, field.size(), std::uint8_t{0}, poll);
      lines.mark(connectivity / 2, field.blocked.data() + field.at(0, 0), field.stride, poll);
    }
    Queue queue(bucket_width(field));
    start(features, lines, max_cost, field, queue, run, poll);
    spread(field, queue, connectivity, max_cost, run, poll);
    for (std::int64_t r = 0; r < grid.rows; ++r) {
      poll();
      const double* from = field.cost.data() + field.at(r, 0);
      T* to = out.row(r);
      for (std::int64_t c = 0; c < grid.cols; ++c) to[c] = static_cast<T>(from[c] < 0.0 ? infinity : from[c]);
    }
  });
  const std::size_t cells = static_cast<std::size_t>(grid.rows) * static_cast<std::size_t>(grid.cols);
  if (run.progress) run.progress(cells, cells);
}

}  // namespace
}  // namespace cost

template <class T>
void cost_distance(const Features& features, const Grid& grid, const Friction& friction, const Features& barriers,
                   int connectivity, double max_cost, const Run& run, RasterView<T> out) {
  const Window whole{0, 0, grid.rows, grid.cols};
  check(grid, whole);
  check(features);
  check(barriers);
  if (connectivity != 8 && connectivity != 16) {
    throw InvalidArgument("connectivity is " + std::to_string(connectivity) + ", expected 8 or 16");
  }
  if (whole.empty()) return;
  if (static_cast<double>(grid.rows + 4) * static_cast<double>(grid.cols + 4) > 4294967295.0) {
    throw InvalidArgument("cost distance takes up to 2^32 cells, found " + std::to_string(grid.rows) + " x " +
                          std::to_string(grid.cols));
  }
  try {
    if (friction.twice != nullptr) {
      cost::compute(features, grid, friction.twice, friction.stride, barriers, connectivity, max_cost, run, out);
    } else {
      cost::compute(features, grid, friction.single, friction.stride, barriers, connectivity, max_cost, run, out);
    }
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the cost distance of " + std::to_string(grid.rows) + " x " +
                      std::to_string(grid.cols) + " cells, about 20 bytes each");
  }
}

template void cost_distance<float>(const Features&, const Grid&, const Friction&, const Features&, int, double,
                                   const Run&, RasterView<float>);
template void cost_distance<double>(const Features&, const Grid&, const Friction&, const Features&, int, double,
                                    const Run&, RasterView<double>);

}  // namespace rtmdx
