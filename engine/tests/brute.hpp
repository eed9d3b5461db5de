// The slow, obvious answers, and made features to ask about.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "rtmdx/coverage.hpp"
#include "rtmdx/density.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/kernel.hpp"

namespace tests {

using namespace rtmdx;

constexpr double inf = std::numeric_limits<double>::infinity();
const double missing = std::numeric_limits<double>::quiet_NaN();

template <class T>
Span<T> span(const std::vector<T>& v) {
  return {v.data(), v.size()};
}

// Features that own their arrays.
struct Made {
  std::vector<double> points, lines, rings;
  std::vector<double> point_weights, line_weights, polygon_weights;
  std::vector<std::int64_t> line_offsets{0}, ring_offsets{0}, polygon_offsets{0};

  Features view() const {
    Features f;
    f.points = {span(points), span(point_weights)};
    f.lines = {span(lines), span(line_offsets), span(line_weights)};
    f.polygons = {span(rings), span(ring_offsets), span(polygon_offsets), span(polygon_weights)};
    return f;
  }
  void point(double x, double y) { points.insert(points.end(), {x, y}); }
  void line(const std::vector<double>& xy) {
    lines.insert(lines.end(), xy.begin(), xy.end());
    line_offsets.push_back(static_cast<std::int64_t>(lines.size() / 2));
  }
  void ring(const std::vector<double>& xy) {
    rings.insert(rings.end(), xy.begin(), xy.end());
    ring_offsets.push_back(static_cast<std::int64_t>(rings.size() / 2));
  }
  void end_polygon() { polygon_offsets.push_back(static_cast<std::int64_t>(ring_offsets.size() - 1)); }
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  double uniform(double low, double high) { return low + (high - low) * (static_cast<double>(engine_()) / 4294967296.0); }
  int whole(int low, int high) { return low + static_cast<int>(engine_() % static_cast<unsigned>(high - low + 1)); }

 private:
  std::mt19937 engine_;
};

// A star polygon around (x, y), with a hole of a third of its size: valid by construction.
inline void star(Made& made, Random& random, double x, double y, double size, bool hole) {
  const int corners = random.whole(3, 12);
  std::vector<double> outline, inner;
  for (int i = 0; i < corners; ++i) {
    const double angle = 2.0 * pi * (i + random.uniform(0.05, 0.95)) / corners;
    const double r = size * random.uniform(0.7, 1.0);
    outline.insert(outline.end(), {x + r * std::cos(angle), y + r * std::sin(angle)});
  }
  for (int i = 0; i < 5; ++i) {
    const double angle = 2.0 * pi * i / 5;
    inner.insert(inner.end(), {x + 0.1 * size * std::cos(angle), y + 0.1 * size * std::sin(angle)});
  }
  if (random.whole(0, 1) != 0) outline.insert(outline.end(), {outline[0], outline[1]});  // closed or not
  made.ring(outline);
  if (hole && corners > 5) made.ring(inner);
  made.end_polygon();
}

inline double segment_distance(double x, double y, double ax, double ay, double bx, double by) {
  const double ux = bx - ax, uy = by - ay, length2 = ux * ux + uy * uy;
  double t = length2 > 0.0 ? ((x - ax) * ux + (y - ay) * uy) / length2 : 0.0;
  t = std::min(1.0, std::max(0.0, std::isfinite(t) ? t : 0.0));
  return std::hypot(x - ax - t * ux, y - ay - t * uy);
}

// Visits (ax, ay, bx, by) of every edge of the vertices [v0, v1).
template <class Visit>
void edges(const Span<double>& xy, std::int64_t v0, std::int64_t v1, bool closed, const Visit& visit) {
  const auto at = [&](std::int64_t i) { return xy[static_cast<std::size_t>(i)]; };
  for (std::int64_t v = v0; v + 1 < v1; ++v) visit(at(2 * v), at(2 * v + 1), at(2 * v + 2), at(2 * v + 3));
  if (closed && v1 > v0) visit(at(2 * v1 - 2), at(2 * v1 - 1), at(2 * v0), at(2 * v0 + 1));
}

// Whether (x, y) is inside polygon p, even-odd.
inline bool inside_polygon(const Polygons& p, std::size_t i, double x, double y) {
  bool in = false;
  for (auto ring = p.polygon_offsets[i]; ring < p.polygon_offsets[i + 1]; ++ring) {
    const auto r = static_cast<std::size_t>(ring);
    edges(p.xy, p.ring_offsets[r], p.ring_offsets[r + 1], true, [&](double ax, double ay, double bx, double by) {
      if ((ay > y) != (by > y) && x < ax + (y - ay) * (bx - ax) / (by - ay)) in = !in;
    });
  }
  return in;
}

inline double distance_to(const Features& f, double x, double y) {
  double best = inf;
  for (std::size_t i = 0; i < f.points.size(); ++i) {
    best = std::min(best, std::hypot(x - f.points.xy[2 * i], y - f.points.xy[2 * i + 1]));
  }
  const auto edge = [&](double ax, double ay, double bx, double by) {
    best = std::min(best, segment_distance(x, y, ax, ay, bx, by));
  };
  for (std::size_t i = 0; i < f.lines.size(); ++i) {
    const auto v0 = f.lines.offsets[i], v1 = f.lines.offsets[i + 1];
    edges(f.lines.xy, v0, v1, v1 - v0 == 1, edge);
  }
  for (std::size_t i = 0; i < f.polygons.rings(); ++i) {
    edges(f.polygons.xy, f.polygons.ring_offsets[i], f.polygons.ring_offsets[i + 1], true, edge);
  }
  for (std::size_t i = 0; i < f.polygons.size(); ++i) {
    if (inside_polygon(f.polygons, i, x, y)) return 0.0;
  }
  return best;
}

// Kernel at u = r / support radius, without the 1 / R^2.
inline double kernel_at(Kernel kernel, double u) {
  if (u > 1.0) return 0.0;
  const double c = kernel_constant(kernel);
  switch (kernel) {
    case Kernel::uniform:
      return c;
    case Kernel::triangular:
      return c * (1.0 - u);
    case Kernel::epanechnikov:
      return c * (1.0 - u * u);
    case Kernel::quartic:
      return c * (1.0 - u * u) * (1.0 - u * u);
    case Kernel::gaussian:
      break;
  }
  return c * std::exp(-0.5 * gaussian_cut * gaussian_cut * u * u);
}

// The part of a polygon's ring on one side of a vertical or horizontal line (Sutherland and Hodgman).
inline std::vector<double> cut(const std::vector<double>& ring, int axis, double at, bool keep_above) {
  std::vector<double> out;
  const std::size_t n = ring.size() / 2;
  for (std::size_t i = 0; i < n; ++i) {
    const double* a = &ring[2 * i];
    const double* b = &ring[2 * ((i + 1) % n)];
    const bool in_a = keep_above ? a[axis] >= at : a[axis] <= at, in_b = keep_above ? b[axis] >= at : b[axis] <= at;
    if (in_a) out.insert(out.end(), {a[0], a[1]});
    if (in_a != in_b) {
      const double t = (at - a[axis]) / (b[axis] - a[axis]);
      out.push_back(axis == 0 ? at : a[0] + t * (b[0] - a[0]));
      out.push_back(axis == 1 ? at : a[1] + t * (b[1] - a[1]));
    }
  }
  return out;
}

inline double signed_area(const std::vector<double>& ring) {
  double twice = 0.0;
  const std::size_t n = ring.size() / 2;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t j = (i + 1) % n;
    twice += (ring[2 * i] - ring[0]) * (ring[2 * j + 1] - ring[1]) - (ring[2 * j] - ring[0]) * (ring[2 * i + 1] - ring[1]);
  }
  return 0.5 * twice;
}

// Area of polygon i in the box; the outline counts, holes are taken off.
inline double area_in_box(const Polygons& p, std::size_t i, double x0, double y0, double x1, double y1) {
  double area = 0.0;
  for (auto ring = p.polygon_offsets[i]; ring < p.polygon_offsets[i + 1]; ++ring) {
    const auto r = static_cast<std::size_t>(ring);
    std::vector<double> xy;
    for (auto v = p.ring_offsets[r]; v < p.ring_offsets[r + 1]; ++v) {
      xy.insert(xy.end(), {p.xy[static_cast<std::size_t>(2 * v)], p.xy[static_cast<std::size_t>(2 * v + 1)]});
    }
    xy = cut(cut(cut(cut(xy, 0, x0, true), 0, x1, false), 1, y0, true), 1, y1, false);
    area += (ring == p.polygon_offsets[i] ? 1.0 : -1.0) * std::fabs(xy.empty() ? 0.0 : signed_area(xy));
  }
  return area;
}

}  // namespace tests
