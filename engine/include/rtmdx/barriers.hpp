// Lines that no step between cell centres may cross or touch. They have no thickness, and gaps in them are passages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"

namespace rtmdx {

// A place, and a segment, in the grid's local coordinates.
struct Spot {
  double x, y;
};

struct Segment {
  Spot a, b;
};

// Calls visit(a, b) for every segment of the lines, then of the polygons' outlines (closed). A line of one vertex is a
// segment without length.
template <class Visit>
void each_segment(const Features& f, const Grid& grid, const Visit& visit) {
  const auto spot = [&](Span<double> xy, std::size_t v) { return Spot{grid.local_x(xy[2 * v]), grid.local_y(xy[2 * v + 1])}; };
  const auto chain = [&](Span<double> xy, std::int64_t first, std::int64_t last, bool closed) {
    const auto v0 = static_cast<std::size_t>(first), v1 = static_cast<std::size_t>(last);
    if (v0 == v1) return;
    const Spot head = spot(xy, v0);
    Spot a = head;
    if (v1 - v0 == 1) visit(a, a);
    for (std::size_t v = v0 + 1; v < v1; ++v) {
      const Spot b = spot(xy, v);
      visit(a, b);
      a = b;
    }
    if (closed && (a.x != head.x || a.y != head.y)) visit(a, head);
  };
  for (std::size_t i = 0; i < f.lines.size(); ++i) {
    chain(f.lines.xy, f.lines.offsets[i], f.lines.offsets[i + 1], false);
  }
  for (std::size_t i = 0; i < f.polygons.rings(); ++i) {
    chain(f.polygons.xy, f.polygons.ring_offsets[i], f.polygons.ring_offsets[i + 1], true);
  }
}

// The steps from a cell: half of the directions, the other half are their reverses.
struct Move {
  int dc, dr;
};
constexpr int half_moves = 8;
constexpr Move moves[half_moves] = {{1, 0}, {0, 1}, {1, 1}, {-1, 1}, {2, 1}, {1, 2}, {-1, 2}, {-2, 1}};

class Barriers {
 public:
  Barriers(const Features& features, const Grid& grid, Poll& poll);

  bool empty() const { return segments_.empty(); }

  // Sets bit k of blocked[row * stride + col] for every cell whose step moves[k], k < directions, crosses or touches a
  // barrier.
  void mark(int directions, std::uint8_t* blocked, std::int64_t stride, Poll& poll) const;

  // Whether the straight way from a to b crosses or touches a barrier; a touch in b alone is none.
  bool between(Spot a, Spot b, PacedPoll& poll) const;

 private:
  std::size_t bin(double v, double size, std::size_t bins) const;

  Grid grid_;
  std::vector<Segment> segments_;
  // Segments by square of cells: larger ones where long segments would be listed in too many.
  double bin_cells_ = 16.0;
  std::size_t across_ = 0, down_ = 0;
  std::vector<std::size_t> start_;
  std::vector<std::uint32_t> members_;
};

}  // namespace rtmdx
