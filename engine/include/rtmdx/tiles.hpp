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

// Which features reach which tiles of a window, a range of tiles at a time, so that what is held does not grow as tiles
// times features.
class TileMembers {
 public:
  TileMembers(const Scaled& scaled, const Window& window, const std::vector<Box>& boxes, std::int64_t side)
      : scaled_(scaled), boxes_(boxes), side_(side) {
    all_ = {window.row0, window.row1(), window.col0, window.col1()};
    tr0_ = all_.r0 / side;
    tc0_ = all_.c0 / side;
    down_ = (all_.r1 - 1) / side - tr0_ + 1;
    across_ = (all_.c1 - 1) / side - tc0_ + 1;
  }

  std::size_t tiles() const { return static_cast<std::size_t>(down_ * across_); }

  Cells cells(std::size_t tile) const {
    const std::int64_t r0 = (tr0_ + static_cast<std::int64_t>(tile) / across_) * side_;
    const std::int64_t c0 = (tc0_ + static_cast<std::int64_t>(tile) % across_) * side_;
    return {std::max(r0, all_.r0), std::min(r0 + side_, all_.r1), std::max(c0, all_.c0), std::min(c0 + side_, all_.c1)};
  }

  // Counts every tile's members: the corners of each feature's rectangle of tiles, then sums over them.
  void count(Poll& poll) {
    const std::int64_t pitch = across_ + 1;
    std::vector<std::int64_t> corners(static_cast<std::size_t>((down_ + 1) * pitch), 0);
    for (std::size_t i = 0; i < boxes_.size(); ++i) {
      if (i % 4096 == 0) poll();
      const Cells t = reached(i);
      if (t.empty()) continue;
      ++corners[static_cast<std::size_t>(t.r0 * pitch + t.c0)];
      --corners[static_cast<std::size_t>(t.r0 * pitch + t.c1)];
      --corners[static_cast<std::size_t>(t.r1 * pitch + t.c0)];
      ++corners[static_cast<std::size_t>(t.r1 * pitch + t.c1)];
    }
    count_.resize(tiles());
    for (std::int64_t r = 0; r < down_; ++r) {
      poll();
      std::int64_t row = 0;
      for (std::int64_t c = 0; c < across_; ++c) {
        row += corners[static_cast<std::size_t>(r * pitch + c)];
        const auto at = static_cast<std::size_t>(r * across_ + c);
        count_[at] = static_cast<std::size_t>(row) + (r > 0 ? count_[at - static_cast<std::size_t>(across_)] : 0);
      }
    }
  }

  // Lists the members of tiles from `first` on, as many as there is room for; returns the tile behind the last.
  std::size_t list(std::size_t first, Poll& poll) {
    const std::size_t room = std::max(least_room, 2 * boxes_.size());
    first_ = first;
    start_.assign(1, 0);
    std::size_t last = first;
    for (; last < tiles(); ++last) {
      const std::size_t more = listed(last) ? count_[last] : 0;
      if (start_.back() + more > room && last > first) break;
      start_.push_back(start_.back() + more);
    }
    members_.resize(start_.back());
    if (members_.empty()) return last;
    std::vector<std::size_t> at(start_.begin(), start_.end() - 1);
    std::size_t work = 0;
    for (std::size_t i = 0; i < boxes_.size(); ++i) {
      Cells t = reached(i);
      t.r0 = std::max(t.r0, static_cast<std::int64_t>(first) / across_);
      t.r1 = std::min(t.r1, static_cast<std::int64_t>(last - 1) / across_ + 1);
      for (std::int64_t r = t.r0; r < t.r1; ++r) {
        const std::int64_t row = r * across_;
        const std::int64_t c1 = std::min(t.c1, static_cast<std::int64_t>(last) - row);
        for (std::int64_t c = std::max(t.c0, static_cast<std::int64_t>(first) - row); c < c1; ++c) {
          const auto tile = static_cast<std::size_t>(row + c);
          if (listed(tile)) members_[at[tile - first]++] = i;
        }
        if (c1 > t.c0) work += static_cast<std::size_t>(c1 - t.c0);
      }
      if (++work >= 4096) {
        poll();
        work = 0;
      }
    }
    return last;
  }

  // visit(feature) for the features that may reach a tile of the last list, in their order.
  template <class Visit>
  void each(std::size_t tile, Poll& poll, const Visit& visit) const {
    if (listed(tile)) {
      for (std::size_t m = start_[tile - first_]; m < start_[tile - first_ + 1]; ++m) visit(members_[m]);
      return;
    }
    const Cells here = cells(tile);
    for (std::size_t i = 0; i < boxes_.size(); ++i) {
      if (i % 4096 == 0) poll();
      if (!scaled_.reached(boxes_[i], here).empty()) visit(i);
    }
  }

 private:
  static constexpr std::size_t least_room = std::size_t{1} << 20U;

  // A tile that one feature in sixteen reaches needs no list: looking at all of them costs little beside adding those.
  bool listed(std::size_t tile) const { return count_[tile] <= boxes_.size() / 16 + 64; }

  // The rectangle of tiles, counted from the window's first, that a feature may reach.
  Cells reached(std::size_t feature) const {
    const Cells c = scaled_.reached(boxes_[feature], all_);
    if (c.empty()) return {0, 0, 0, 0};
    return {c.r0 / side_ - tr0_, (c.r1 - 1) / side_ - tr0_ + 1, c.c0 / side_ - tc0_, (c.c1 - 1) / side_ - tc0_ + 1};
  }

  const Scaled& scaled_;
  const std::vector<Box>& boxes_;
  std::int64_t side_, tr0_, tc0_, down_, across_;
  Cells all_;
  std::vector<std::size_t> count_;
  std::size_t first_ = 0;
  std::vector<std::size_t> start_, members_;
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
  TileMembers members(scaled, window, boxes, side);
  const std::size_t tiles = members.tiles();
  parallel_for(1, run, [&](std::size_t, Poll& poll) { members.count(poll); });

  for (std::size_t first = 0; first < tiles;) {
    std::size_t last = first;
    parallel_for(1, run, [&](std::size_t, Poll& poll) { last = members.list(first, poll); });
    Run range = run;
    if (run.progress) {
      range.progress = [&run, first, tiles](std::size_t done, std::size_t) { run.progress(first + done, tiles); };
    }
    parallel_for(last - first, range, [&](std::size_t block, Poll& poll) {
      const Cells cells = members.cells(first + block);
      const auto rows = static_cast<std::size_t>(cells.r1 - cells.r0);
      const auto cols = static_cast<std::size_t>(cells.c1 - cells.c0);
      std::vector<double> x(cols), y(rows), sums(rows * cols, 0.0);
      for (std::size_t c = 0; c < cols; ++c) x[c] = scaled.x(cells.c0 + static_cast<std::int64_t>(c));
      for (std::size_t r = 0; r < rows; ++r) y[r] = scaled.y(cells.r0 + static_cast<std::int64_t>(r));
      const TileSums tile{cells, static_cast<std::int64_t>(cols), x.data(), y.data(), sums.data()};
      std::size_t seen = 0;
      members.each(first + block, poll, [&](std::size_t feature) {
        if ((seen++ & 15U) == 0) poll();
        add(feature, tile, poll);
      });
      for (std::size_t r = 0; r < rows; ++r) {
        T* row = out.row(cells.r0 - window.row0 + static_cast<std::int64_t>(r)) + (cells.c0 - window.col0);
        for (std::size_t c = 0; c < cols; ++c) row[c] = static_cast<T>(scale * sums[r * cols + c]);
      }
    }, Loop::main);
    first = last;
  }
}

}  // namespace rtmdx
