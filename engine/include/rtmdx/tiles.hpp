// Which features reach which tile, in feature order, and the loop over tiles that density shares.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// A box in local coordinates divided by the support radius, the unit of all density arithmetic.
struct Box {
  double x0, y0, x1, y1;
};

// Cells [r0, r1) x [c0, c1).
struct Cells {
  std::int64_t r0, r1, c0, c1;

  bool empty() const { return r0 >= r1 || c0 >= c1; }
};

// Cell centres in units of the support radius. One expression for every tile and window.
struct Scaled {
  Grid grid;
  double radius;

  double x(std::int64_t col) const { return grid.centre_x(col) / radius; }
  double y(std::int64_t row) const { return grid.centre_y(row) / radius; }
  double local_x(double map_x) const { return grid.local_x(map_x) / radius; }
  double local_y(double map_y) const { return grid.local_y(map_y) / radius; }

  // All cells of `within` whose centre is within 1 of the box, and perhaps their neighbours.
  Cells reached(const Box& box, const Cells& within) const {
    const double cw = grid.dx / radius, ch = grid.dy / radius;
    Cells c;
    c.c0 = clip((box.x0 - 1.0) / cw - 1.5, within.c0, within.c1);
    c.c1 = clip((box.x1 + 1.0) / cw + 1.5, within.c0, within.c1);
    c.r0 = clip((box.y0 - 1.0) / ch - 1.5, within.r0, within.r1);
    c.r1 = clip((box.y1 + 1.0) / ch + 1.5, within.r0, within.r1);
    return c;
  }

 private:
  static std::int64_t clip(double v, std::int64_t low, std::int64_t high) {
    if (!(v > static_cast<double>(low))) return low;
    if (!(v < static_cast<double>(high))) return high;
    return static_cast<std::int64_t>(std::floor(v));
  }
};

// One tile's cells, its centres, and the sums that grow in it.
struct TileSums {
  Cells cells;
  std::int64_t stride;
  const double* x;  // x[c - cells.c0]
  const double* y;  // y[r - cells.r0]
  double* sums;     // sums[(r - cells.r0) * stride + c - cells.c0]
};

// For every tile of the window, calls add(feature, tile, poll) for each feature that may reach it, in feature order,
// and writes scale * sum. `boxes[i]` is feature i's box. A cell's sum does not depend on the tile's size or place, as
// long as add() contributes exactly 0 to cells out of reach.
template <class T, class Add>
void sum_over_tiles(const Scaled& scaled, const Window& window, const std::vector<Box>& boxes, double scale, const Run& run,
                    RasterView<T> out, const Add& add) {
  const double cells_per_radius = scaled.radius / std::min(scaled.grid.dx, scaled.grid.dy);
  std::int64_t side = 64;  // about the reach of a feature, so that few tiles share it
  while (side < 256 && static_cast<double>(side) < cells_per_radius) side *= 2;
  const Cells all{window.row0, window.row1(), window.col0, window.col1()};
  const std::int64_t tr0 = all.r0 / side, tc0 = all.c0 / side;
  const auto down = static_cast<std::size_t>((all.r1 - 1) / side - tr0 + 1);
  const auto across = static_cast<std::size_t>((all.c1 - 1) / side - tc0 + 1);

  const auto each_tile = [&](const Box& box, const auto& visit) {
    const Cells c = scaled.reached(box, all);
    if (c.empty()) return;
    for (std::int64_t tr = c.r0 / side - tr0; tr <= (c.r1 - 1) / side - tr0; ++tr) {
      for (std::int64_t tc = c.c0 / side - tc0; tc <= (c.c1 - 1) / side - tc0; ++tc) {
        visit(static_cast<std::size_t>(tr) * across + static_cast<std::size_t>(tc));
      }
    }
  };
  std::vector<std::size_t> start(down * across + 1, 0);
  for (const Box& box : boxes) each_tile(box, [&](std::size_t tile) { ++start[tile + 1]; });
  for (std::size_t t = 0; t < down * across; ++t) start[t + 1] += start[t];
  std::vector<std::size_t> members(start.back());
  std::vector<std::size_t> at(start.begin(), start.end() - 1);
  for (std::size_t i = 0; i < boxes.size(); ++i) each_tile(boxes[i], [&](std::size_t tile) { members[at[tile]++] = i; });

  parallel_for(down * across, run, [&](std::size_t block, Poll& poll) {
    const std::int64_t r0 = (tr0 + static_cast<std::int64_t>(block / across)) * side;
    const std::int64_t c0 = (tc0 + static_cast<std::int64_t>(block % across)) * side;
    const Cells cells{std::max(r0, all.r0), std::min(r0 + side, all.r1), std::max(c0, all.c0),
                      std::min(c0 + side, all.c1)};
    const auto rows = static_cast<std::size_t>(cells.r1 - cells.r0);
    const auto cols = static_cast<std::size_t>(cells.c1 - cells.c0);
    std::vector<double> x(cols), y(rows), sums(rows * cols, 0.0);
    for (std::size_t c = 0; c < cols; ++c) x[c] = scaled.x(cells.c0 + static_cast<std::int64_t>(c));
    for (std::size_t r = 0; r < rows; ++r) y[r] = scaled.y(cells.r0 + static_cast<std::int64_t>(r));
    const TileSums tile{cells, static_cast<std::int64_t>(cols), x.data(), y.data(), sums.data()};
    std::size_t seen = 0;
    for (std::size_t m = start[block]; m < start[block + 1]; ++m) {
      if ((seen++ & 15U) == 0) poll();
      add(members[m], tile, poll);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      T* row = out.row(cells.r0 - window.row0 + static_cast<std::int64_t>(r)) + (cells.c0 - window.col0);
      for (std::size_t c = 0; c < cols; ++c) row[c] = static_cast<T>(scale * sums[r * cols + c]);
    }
  }, Loop::main);
}

}  // namespace rtmdx
