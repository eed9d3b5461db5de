#include "rtmdx/barriers.hpp"

#include <algorithm>
#include <cmath>

namespace rtmdx {
namespace {

// Which side of the line a-b the place p is on: -1, 1, or 0 where rounding cannot tell. Counting 0 as a touch, a
// barrier never leaks.
int side(Spot a, Spot b, Spot p) {
  const double left = (a.x - p.x) * (b.y - p.y);
  const double right = (a.y - p.y) * (b.x - p.x);
  const double det = left - right;
  const double doubt = 4e-16 * (std::fabs(left) + std::fabs(right));
  if (det > doubt) return 1;
  return det < -doubt ? -1 : 0;
}

bool overlap(double a0, double a1, double b0, double b1) {
  return std::max(std::min(a0, a1), std::min(b0, b1)) <= std::min(std::max(a0, a1), std::max(b0, b1));
}

bool meet(Spot a, Spot b, Spot p, Spot q) {
  if (!overlap(a.x, b.x, p.x, q.x) || !overlap(a.y, b.y, p.y, q.y)) return false;
  return side(a, b, p) * side(a, b, q) <= 0 && side(p, q, a) * side(p, q, b) <= 0;
}

std::int64_t clip(double v, std::int64_t low, std::int64_t high) {
  if (!(v > static_cast<double>(low))) return low;
  return v < static_cast<double>(high) ? static_cast<std::int64_t>(std::floor(v)) : high;
}

// Calls visit(r, x0, x1) for every row of slabs [r, r + 1) * height that the segment meets, with the stretch of x it
// has there; slabs and stretches are a little wide.
template <class Visit>
void each_slab(const Segment& s, double height, std::int64_t low, std::int64_t high, const Visit& visit) {
  const double y0 = std::min(s.a.y, s.b.y), y1 = std::max(s.a.y, s.b.y);
  if (high < low || y1 / height < static_cast<double>(low) - 1.0 || y0 / height > static_cast<double>(high) + 2.0) return;
  const double slope = (s.b.x - s.a.x) / (s.b.y - s.a.y);  // used only where the segment leaves a slab
  const double xmin = std::min(s.a.x, s.b.x), xmax = std::max(s.a.x, s.b.x);
  const std::int64_t r1 = clip(y1 / height + 1e-6, low, high);
  for (std::int64_t r = clip(y0 / height - 1e-6, low, high); r <= r1; ++r) {
    const double top = (static_cast<double>(r) - 1e-6) * height, bottom = (static_cast<double>(r) + 1.0 + 1e-6) * height;
    double x0 = xmin, x1 = xmax;
    if (y0 < top || y1 > bottom) {
      const double at_top = y0 < top ? s.a.x + (top - s.a.y) * slope : (s.a.y < s.b.y ? s.a.x : s.b.x);
      const double at_bottom = y1 > bottom ? s.a.x + (bottom - s.a.y) * slope : (s.a.y < s.b.y ? s.b.x : s.a.x);
      x0 = std::max(xmin, std::min(at_top, at_bottom));
      x1 = std::min(xmax, std::max(at_top, at_bottom));
    }
    visit(r, x0, x1);
  }
}

}  // namespace

Barriers::Barriers(const Features& features, const Grid& grid, Poll& poll) : grid_(grid) {
  PacedPoll pace(poll);
  // Only what lies within two cells of the raster can matter; what has no length is in nobody's way, like a point.
  const double west = -2.0 * grid.dx, east = (static_cast<double>(grid.cols) + 2.0) * grid.dx;
  const double north = -2.0 * grid.dy, south = (static_cast<double>(grid.rows) + 2.0) * grid.dy;
  double wide = 0.0, high = 0.0;  // of all boxes together, in cells
  each_segment(features, grid, [&](Spot a, Spot b) {
    pace(8);
    if (a.x == b.x && a.y == b.y) return;
    if (!overlap(a.x, b.x, west, east) || !overlap(a.y, b.y, north, south)) return;
    segments_.push_back({a, b});
    wide += (std::min(std::max(a.x, b.x), east) - std::max(std::min(a.x, b.x), west)) / grid.dx;
    high += (std::min(std::max(a.y, b.y), south) - std::max(std::min(a.y, b.y), north)) / grid.dy;
  });
  if (segments_.empty()) return;
  const double room = 4194304.0 + 16.0 * static_cast<double>(segments_.size());
  while ((wide + high) / bin_cells_ > room) bin_cells_ *= 2.0;
  const double width = bin_cells_ * grid.dx, height = bin_cells_ * grid.dy;
  across_ = static_cast<std::size_t>(std::ceil(static_cast<double>(grid.cols) / bin_cells_)) + 1;
  down_ = static_cast<std::size_t>(std::ceil(static_cast<double>(grid.rows) / bin_cells_)) + 1;
  start_.assign(across_ * down_ + 1, 0);
  const auto each_bin = [&](const Segment& s, const auto& visit) {
    each_slab(s, height, 0, static_cast<std::int64_t>(down_) - 1, [&](std::int64_t r, double x0, double x1) {
      const std::size_t c0 = bin(x0 - 1e-6 * width, width, across_), c1 = bin(x1 + 1e-6 * width, width, across_);
      pace(8 + (c1 - c0));
      for (std::size_t c = c0; c <= c1; ++c) visit(static_cast<std::size_t>(r) * across_ + c);
    });
  };
  for (const Segment& s : segments_) each_bin(s, [&](std::size_t b) { ++start_[b + 1]; });
  for (std::size_t b = 0; b < across_ * down_; ++b) start_[b + 1] += start_[b];
  members_.resize(start_.back());
  std::vector<std::size_t> at(start_.begin(), start_.end() - 1);
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    each_bin(segments_[i], [&](std::size_t b) { members_[at[b]++] = static_cast<std::uint32_t>(i); });
  }
}

std::size_t Barriers::bin(double v, double size, std::size_t bins) const {
  return static_cast<std::size_t>(clip(v / size, 0, static_cast<std::int64_t>(bins) - 1));
}

void Barriers::mark(int directions, std::uint8_t* blocked, std::int64_t stride, Poll& poll) const {
  const std::int64_t rows = grid_.rows, cols = grid_.cols;
  PacedPoll pace(poll);
  for (const Segment& s : segments_) {
    pace(16);
    // The slab between the centre rows r and r + 1, for r from -2: shifted by half a cell.
    const Segment shifted{{s.a.x, s.a.y - 0.5 * grid_.dy}, {s.b.x, s.b.y - 0.5 * grid_.dy}};
    each_slab(shifted, grid_.dy, -1, rows - 1, [&](std::int64_t slab, double x0, double x1) {
      // Steps that pass through the slab start in its upper row, or, two rows tall, in the row above that; level steps
      // lie on its edges.
      const std::int64_t first = clip(x0 / grid_.dx - 0.5 - 2.0 - 1e-6, 0, cols - 1);
      const std::int64_t last = clip(x1 / grid_.dx - 0.5 + 2.0 + 1e-6, 0, cols - 1);
      pace(static_cast<std::size_t>(8 * directions * (last - first + 4)));
      for (int k = 0; k < directions; ++k) {
        const Move m = moves[k];
        const std::int64_t from = m.dr == 2 ? slab - 1 : slab;
        const std::int64_t to = m.dr == 0 ? slab + 1 : slab;
        for (std::int64_t r = std::max<std::int64_t>(from, 0); r <= to && r + m.dr < rows; ++r) {
          for (std::int64_t c = std::max<std::int64_t>(first, -m.dc); c <= last && c + std::max(m.dc, 0) < cols; ++c) {
            std::uint8_t& bits = blocked[r * stride + c];
            if ((bits >> k & 1) != 0) continue;
            const Spot p{grid_.centre_x(c), grid_.centre_y(r)}, q{grid_.centre_x(c + m.dc), grid_.centre_y(r + m.dr)};
            if (meet(s.a, s.b, p, q)) bits = static_cast<std::uint8_t>(bits | 1U << k);
          }
        }
      }
    });
  }
}

namespace {

// Whether p lies on the segment, to within the square root of `within2`.
bool on(Spot p, const Segment& s, double within2) {
  const double ux = s.b.x - s.a.x, uy = s.b.y - s.a.y, rx = p.x - s.a.x, ry = p.y - s.a.y;
  const double length2 = ux * ux + uy * uy;
  const double t = length2 > 0.0 ? std::min(std::max((rx * ux + ry * uy) / length2, 0.0), 1.0) : 0.0;
  const double ex = rx - t * ux, ey = ry - t * uy;
  return ex * ex + ey * ey <= within2;
}

}  // namespace

// A source on a barrier, or within a thousand-millionth of the way's length of it, starts on both sides: the way to it ends
// just before. Elsewhere the way itself counts: cut short, it would miss by rounding a corner that it touches.
bool Barriers::between(Spot a, Spot b, PacedPoll& poll) const {
  if (segments_.empty() || (a.x == b.x && a.y == b.y)) return false;
  const double dx = b.x - a.x, dy = b.y - a.y;
  const Spot end{a.x + dx * (1.0 - 1e-9), a.y + dy * (1.0 - 1e-9)};
  const double near2 = 1e-18 * (dx * dx + dy * dy);
  const double width = bin_cells_ * grid_.dx, height = bin_cells_ * grid_.dy;
  const std::size_t c0 = bin(std::min(a.x, b.x), width, across_), c1 = bin(std::max(a.x, b.x), width, across_);
  const std::size_t r0 = bin(std::min(a.y, b.y), height, down_), r1 = bin(std::max(a.y, b.y), height, down_);
  for (std::size_t r = r0; r <= r1; ++r) {
    for (std::size_t c = c0; c <= c1; ++c) {
      poll(8 * (start_[r * across_ + c + 1] - start_[r * across_ + c]));
      for (std::size_t i = start_[r * across_ + c]; i < start_[r * across_ + c + 1]; ++i) {
        const Segment& s = segments_[members_[i]];
        if (meet(s.a, s.b, a, on(b, s, near2) ? end : b)) return true;
      }
    }
  }
  return false;
}

}  // namespace rtmdx
