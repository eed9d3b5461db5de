// Where the cost is known without steps: cells around a feature start with the integral of friction along the straight
// way from their centre to the nearest place on it, if no barrier and no closed cell is in the way. With a ring of four
// cells the step metric's error against a free straight line is that of its directions alone, not of the first cell.
#include <algorithm>
#include <cmath>
#include <limits>

#include "rtmdx/cost_parts.hpp"
#include "rtmdx/inside.hpp"

namespace rtmdx::cost {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double ring_cells = 4.0;

std::int64_t clip(double v, std::int64_t low, std::int64_t high) {
  if (!(v > static_cast<double>(low))) return low;
  return v < static_cast<double>(high) ? static_cast<std::int64_t>(std::floor(v)) : high;
}

Spot foot(Spot a, Spot b, Spot p) {
  const double ux = b.x - a.x, uy = b.y - a.y;
  const double length2 = ux * ux + uy * uy;
  if (!(length2 > 0.0)) return a;
  const double t = ((p.x - a.x) * ux + (p.y - a.y) * uy) / length2;
  if (t <= 0.0) return a;
  if (t >= 1.0) return b;
  return {a.x + t * ux, a.y + t * uy};
}

// The mean friction along the way from the centre of (r, c) to `to`: crossings of cell edges in order.
template <class F>
double mean_friction(const Field<F>& field, std::int64_t r, std::int64_t c, Spot from, Spot to) {
  const Grid& g = field.grid;
  const double ux = to.x - from.x, uy = to.y - from.y;
  const int sx = ux > 0.0 ? 1 : -1, sy = uy > 0.0 ? 1 : -1;
  double t = 0.0, sum = 0.0;
  for (;;) {
    const double ex = (static_cast<double>(sx > 0 ? c + 1 : c)) * g.dx, ey = (static_cast<double>(sy > 0 ? r + 1 : r)) * g.dy;
    const double tx = ux != 0.0 ? (ex - from.x) / ux : infinity, ty = uy != 0.0 ? (ey - from.y) / uy : infinity;
    const double end = std::min(std::min(tx, ty), 1.0);
    // A stretch that is rounding alone does not count: it would close a way along a closed cell's corner.
    if (end - t > 1e-9) sum += (end - t) * static_cast<double>(field.friction[field.at(r, c)]);
    t = std::max(t, end);
    if (end >= 1.0) return sum;
    if (tx <= ty) c += sx;
    if (ty <= tx) r += sy;
    if (r < 0 || c < 0 || r >= g.rows || c >= g.cols) return sum;  // on the raster's very edge
  }
}

template <class F>
class Starts {
 public:
  Starts(const Barriers& barriers, double max_cost, Field<F>& field, Queue& queue, Poll& poll)
      : barriers_(barriers), max_cost_(max_cost), field_(field), queue_(queue), pace_(poll) {
    const Grid& g = field.grid;
    radius_ = std::max(ring_cells * std::min(g.dx, g.dy), 0.501 * std::hypot(g.dx, g.dy));
  }

  void offer(std::int64_t r, std::int64_t c, double cost) {
    const std::size_t cell = field_.at(r, c);
    if (!(cost < field_.cost[cell]) || cost > max_cost_) return;
    field_.cost[cell] = cost;
    queue_.push({cost, static_cast<std::uint32_t>(cell)});
  }

  void around(Spot a, Spot b) {
    const Grid& g = field_.grid;
    pace_(16);
    if (!cut(a, b)) return;
    const double y0 = std::min(a.y, b.y) - radius_, y1 = std::max(a.y, b.y) + radius_;
    const std::int64_t r1 = clip(y1 / g.dy, 0, g.rows - 1);
    for (std::int64_t r = clip(y0 / g.dy - 0.5, 0, g.rows - 1); r <= r1; ++r) {
      // The stretch of the segment within the radius of this row.
      double x0 = std::min(a.x, b.x), x1 = std::max(a.x, b.x);
      const double top = g.centre_y(r) - radius_, bottom = g.centre_y(r) + radius_;
      if (a.y != b.y) {
        const double t0 = std::clamp((top - a.y) / (b.y - a.y), 0.0, 1.0);
        const double t1 = std::clamp((bottom - a.y) / (b.y - a.y), 0.0, 1.0);
        const double xa = a.x + t0 * (b.x - a.x), xb = a.x + t1 * (b.x - a.x);
        x0 = std::max(x0, std::min(xa, xb));
        x1 = std::min(x1, std::max(xa, xb));
      }
      const std::int64_t c1 = clip((x1 + radius_) / g.dx, 0, g.cols - 1);
      std::int64_t c = clip((x0 - radius_) / g.dx - 0.5, 0, g.cols - 1);
      pace_(static_cast<std::size_t>(16 * (c1 - c + 2)));
      for (; c <= c1; ++c) cell(r, c, a, b);
    }
  }

 private:
  // Cuts a segment to the raster; false if nothing is left. Friction is unknown outside.
  bool cut(Spot& a, Spot& b) const {
    const Grid& g = field_.grid;
    const Spot u{b.x - a.x, b.y - a.y};
    double t0 = 0.0, t1 = 1.0;
    const auto edge = [&](double from, double step, double low, double high) {
      if (step == 0.0) return from >= low && from <= high;
      const double p = (low - from) / step, q = (high - from) / step;
      t0 = std::max(t0, std::min(p, q));
      t1 = std::min(t1, std::max(p, q));
      return t0 <= t1;
    };
    if (!edge(a.x, u.x, 0.0, static_cast<double>(g.cols) * g.dx)) return false;
    if (!edge(a.y, u.y, 0.0, static_cast<double>(g.rows) * g.dy)) return false;
    if (t1 < 1.0) b = {a.x + t1 * u.x, a.y + t1 * u.y};
    if (t0 > 0.0) a = {a.x + t0 * u.x, a.y + t0 * u.y};
    return true;
  }

  void cell(std::int64_t r, std::int64_t c, Spot a, Spot b) {
    const Grid& g = field_.grid;
    const double known = field_.cost[field_.at(r, c)];
    if (known <= 0.0) return;  // also where no step may enter
    const Spot centre{g.centre_x(c), g.centre_y(r)};
    const Spot to = foot(a, b, centre);
    const double length = std::sqrt((to.x - centre.x) * (to.x - centre.x) + (to.y - centre.y) * (to.y - centre.y));
    if (length > radius_) return;
    double cost = length;
    if (!field_.friction.empty() && length > 0.0) cost *= mean_friction(field_, r, c, centre, to);
    if (!(cost < known) || barriers_.between(centre, to, pace_)) return;
    offer(r, c, cost);
  }

  const Barriers& barriers_;
  double max_cost_;
  Field<F>& field_;
  Queue& queue_;
  PacedPoll pace_;
  double radius_;
};

}  // namespace

template <class F>
void start(const Features& features, const Barriers& barriers, double max_cost, Field<F>& field, Queue& queue,
           const Run& run, Poll& poll) {
  Starts<F> starts(barriers, max_cost, field, queue, poll);
  const Grid& g = field.grid;
  if (features.polygons.size() > 0) {
    const std::vector<std::uint8_t> in = inside(features.polygons, g, {0, 0, g.rows, g.cols}, run);
    for (std::int64_t r = 0; r < g.rows; ++r) {
      poll();
      const std::uint8_t* row = in.data() + r * g.cols;
      for (std::int64_t c = 0; c < g.cols; ++c) {
        if (row[c] != 0) starts.offer(r, c, 0.0);
      }
    }
  }
  const auto visit = [&](Spot a, Spot b) { starts.around(a, b); };
  for (std::size_t i = 0; i < features.points.size(); ++i) {
    const Spot p{g.local_x(features.points.xy[2 * i]), g.local_y(features.points.xy[2 * i + 1])};
    visit(p, p);
  }
  each_segment(features, g, visit);
}

template void start<float>(const Features&, const Barriers&, double, Field<float>&, Queue&, const Run&, Poll&);
template void start<double>(const Features&, const Barriers&, double, Field<double>&, Queue&, const Run&, Poll&);

}  // namespace rtmdx::cost
