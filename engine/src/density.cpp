#include "rtmdx/density.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/kernel.hpp"
#include "rtmdx/polygon_mass.hpp"
#include "rtmdx/tiles.hpp"

namespace rtmdx {
namespace {

// ---------------------------------------------------------------- points
// sums[c] += w * shape(u) along a row, u^2 = (x[c] - px)^2 + ey2. Cells out of reach get exactly 0.

// Kernels that jump at the edge keep cells that lie exactly on it, whichever way the division by R rounds.
constexpr double edge2 = 1.0 + 1e-9;

inline double square(double v) { return v * v; }

RTMDX_CLONES void row_uniform(double* sums, const double* x, std::size_t n, double px, double ey2, double w) {
  for (std::size_t c = 0; c < n; ++c) sums[c] += square(x[c] - px) + ey2 <= edge2 ? w : 0.0;
}

RTMDX_CLONES void row_epanechnikov(double* sums, const double* x, std::size_t n, double px, double ey2, double w) {
  for (std::size_t c = 0; c < n; ++c) {
    const double v = 1.0 - (square(x[c] - px) + ey2);
    sums[c] += w * (v > 0.0 ? v : 0.0);
  }
}

RTMDX_CLONES void row_quartic(double* sums, const double* x, std::size_t n, double px, double ey2, double w) {
  for (std::size_t c = 0; c < n; ++c) {
    const double v = 1.0 - (square(x[c] - px) + ey2);
    const double in = v > 0.0 ? v : 0.0;
    sums[c] += w * (in * in);
  }
}

RTMDX_CLONES void row_triangular(double* sums, const double* x, std::size_t n, double px, double ey2, double w) {
  for (std::size_t c = 0; c < n; ++c) {
    const double v = 1.0 - std::sqrt(square(x[c] - px) + ey2);
    sums[c] += w * (v > 0.0 ? v : 0.0);
  }
}

// The Gaussian is a product: gx[c] = exp(-(c (x - px))^2 / 2) is made once per point, w carries the row's factor.
RTMDX_CLONES void row_gaussian(double* sums, const double* x, const double* gx, std::size_t n, double px, double ey2,
                               double w) {
  for (std::size_t c = 0; c < n; ++c) sums[c] += square(x[c] - px) + ey2 <= edge2 ? w * gx[c] : 0.0;
}

inline double gaussian_factor(double distance) { return std::exp(-0.5 * square(gaussian_cut * distance)); }

void add_point(Kernel kernel, const Scaled& scaled, const TileSums& tile, double px, double py, double w) {
  const Cells reach = scaled.reached({px, py, px, py}, tile.cells);
  if (reach.empty()) return;
  const auto n = static_cast<std::size_t>(reach.c1 - reach.c0);
  const double* x = tile.x + (reach.c0 - tile.cells.c0);
  std::vector<double> gx;
  if (kernel == Kernel::gaussian) {
    gx.resize(n);
    for (std::size_t c = 0; c < n; ++c) gx[c] = gaussian_factor(x[c] - px);
  }
  for (std::int64_t r = reach.r0; r < reach.r1; ++r) {
    double* sums = tile.sums + (r - tile.cells.r0) * tile.stride + (reach.c0 - tile.cells.c0);
    const double ey = tile.y[r - tile.cells.r0] - py;
    const double ey2 = ey * ey;
    if (ey2 > edge2) continue;
    switch (kernel) {
      case Kernel::uniform:
        row_uniform(sums, x, n, px, ey2, w);
        break;
      case Kernel::triangular:
        row_triangular(sums, x, n, px, ey2, w);
        break;
      case Kernel::epanechnikov:
        row_epanechnikov(sums, x, n, px, ey2, w);
        break;
      case Kernel::quartic:
        row_quartic(sums, x, n, px, ey2, w);
        break;
      case Kernel::gaussian:
        row_gaussian(sums, x, gx.data(), n, px, ey2, w * gaussian_factor(ey));
        break;
    }
  }
}

// ---------------------------------------------------------------- lines
// A segment seen from a cell centre: its line passes at distance p; s runs along it from the foot of the
// perpendicular; the support cuts it to |s| <= sqrt(1 - p^2). The kernel's integral is then that of a function of
// p^2 + s^2 over [a, b].

struct Segment {
  double ax, ay, ex, ey, length;
};

struct Chord {
  double a, b, p2;
};

// A mean of the kernel, without the negative trace that rounding leaves at the support's edge or on a tiny segment.
inline double positive(double v) { return v > 0.0 ? v : 0.0; }

inline Chord chord(const Segment& g, double x, double y) {
  const double rx = x - g.ax, ry = y - g.ay;
  const double s0 = rx * g.ex + ry * g.ey;
  const double p = rx * g.ey - ry * g.ex;
  const double a2 = 1.0 - p * p;
  const double q = std::sqrt(a2 > 0.0 ? a2 : 0.0);
  const double a = -s0, b = g.length - s0;
  const double a_low = a > -q ? a : -q, b_low = b > -q ? b : -q;
  return {a_low < q ? a_low : q, b_low < q ? b_low : q, p * p};
}

RTMDX_CLONES void line_uniform(double* sums, const double* x, std::size_t n, double y, const Segment& segment, double w) {
  const Segment g = segment;
  for (std::size_t c = 0; c < n; ++c) {
    const Chord h = chord(g, x[c], y);
    sums[c] += w * (h.b - h.a);
  }
}

RTMDX_CLONES void line_epanechnikov(double* sums, const double* x, std::size_t n, double y, const Segment& segment,
                                    double w) {
  const Segment g = segment;
  for (std::size_t c = 0; c < n; ++c) {
    const Chord h = chord(g, x[c], y);
    const double m2 = (h.a * h.a + h.a * h.b + h.b * h.b) / 3.0;
    sums[c] += w * ((h.b - h.a) * positive(1.0 - h.p2 - m2));
  }
}

RTMDX_CLONES void line_quartic(double* sums, const double* x, std::size_t n, double y, const Segment& segment, double w) {
  const Segment g = segment;
  for (std::size_t c = 0; c < n; ++c) {
    const Chord h = chord(g, x[c], y);
    const double aa = h.a * h.a, ab = h.a * h.b, bb = h.b * h.b;
    const double m2 = (aa + ab + bb) / 3.0;
    const double m4 = (aa * aa + aa * ab + aa * bb + ab * bb + bb * bb) / 5.0;
    const double top = 1.0 - h.p2;
    sums[c] += w * ((h.b - h.a) * positive(top * top - 2.0 * top * m2 + m4));
  }
}

void line_triangular(double* sums, const double* x, std::size_t n, double y, const Segment& g, double w) {
  for (std::size_t c = 0; c < n; ++c) {
    const Chord h = chord(g, x[c], y);
    if (!(h.a < h.b)) continue;
    double twice = h.b * std::sqrt(h.p2 + h.b * h.b) - h.a * std::sqrt(h.p2 + h.a * h.a);
    if (h.p2 > 1e-300) {
      const double p = std::sqrt(h.p2);
      twice += h.p2 * (std::asinh(h.b / p) - std::asinh(h.a / p));
    }
    sums[c] += w * positive(h.b - h.a - 0.5 * twice);
  }
}

void line_gaussian(double* sums, const double* x, std::size_t n, double y, const Segment& g, double w) {
  const double root = gaussian_cut / std::sqrt(2.0);
  const double front = std::sqrt(pi) / (2.0 * root);
  for (std::size_t c = 0; c < n; ++c) {
    const Chord h = chord(g, x[c], y);
    if (!(h.a < h.b)) continue;
    // erfc keeps the digits where both ends lie in one tail
    const double mass = h.a > 0.0   ? std::erfc(root * h.a) - std::erfc(root * h.b)
                        : h.b < 0.0 ? std::erfc(-root * h.b) - std::erfc(-root * h.a)
                                    : std::erf(root * h.b) - std::erf(root * h.a);
    sums[c] += w * (front * std::exp(-root * root * h.p2) * mass);
  }
}

// `box` is the one that chose the tiles: a box from the rounded end of a very long segment would reach beyond them.
void add_segment(Kernel kernel, const Scaled& scaled, const TileSums& tile, const Box& box, const Segment& g, double w) {
  const Cells rows = scaled.reached(box, tile.cells);
  for (std::int64_t r = rows.r0; r < rows.r1; ++r) {
    // Only the part of the segment within 1 of the row can reach its cells.
    const double y = tile.y[r - tile.cells.r0];
    double x0 = box.x0, x1 = box.x1;
    if (std::fabs(g.ey) > 1e-9) {
      const double s0 = (y - 1.0 - g.ay) / g.ey, s1 = (y + 1.0 - g.ay) / g.ey;
      const double from = std::max(std::min(s0, s1), 0.0), to = std::min(std::max(s0, s1), g.length);
      x0 = std::max(x0, std::min(g.ax + from * g.ex, g.ax + to * g.ex));
      x1 = std::min(x1, std::max(g.ax + from * g.ex, g.ax + to * g.ex));
    }
    const Cells reach = scaled.reached({x0, y, x1, y}, tile.cells);
    if (reach.empty()) continue;
    double* sums = tile.sums + (r - tile.cells.r0) * tile.stride + (reach.c0 - tile.cells.c0);
    const double* x = tile.x + (reach.c0 - tile.cells.c0);
    const auto n = static_cast<std::size_t>(reach.c1 - reach.c0);
    switch (kernel) {
      case Kernel::uniform:
        line_uniform(sums, x, n, y, g, w);
        break;
      case Kernel::triangular:
        line_triangular(sums, x, n, y, g, w);
        break;
      case Kernel::epanechnikov:
        line_epanechnikov(sums, x, n, y, g, w);
        break;
      case Kernel::quartic:
        line_quartic(sums, x, n, y, g, w);
        break;
      case Kernel::gaussian:
        line_gaussian(sums, x, n, y, g, w);
        break;
    }
  }
}

// ---------------------------------------------------------------- all together

template <class T>
void compute(const Features& f, const Scaled& scaled, const Window& window, Kernel kernel, const Run& run,
             RasterView<T> out) {
  // Features in order: points, then segments of lines, then polygons.
  std::vector<Box> boxes;
  std::vector<double> px(f.points.size()), py(f.points.size());
  boxes.reserve(px.size());
  for (std::size_t i = 0; i < px.size(); ++i) {
    px[i] = scaled.local_x(f.points.xy[2 * i]);
    py[i] = scaled.local_y(f.points.xy[2 * i + 1]);
    boxes.push_back({px[i], py[i], px[i], py[i]});
  }
  std::vector<Segment> segments;
  std::vector<double> segment_weight;
  for (std::size_t i = 0; i < f.lines.size(); ++i) {
    const auto v0 = static_cast<std::size_t>(f.lines.offsets[i]), v1 = static_cast<std::size_t>(f.lines.offsets[i + 1]);
    for (std::size_t v = v0; v + 1 < v1; ++v) {
      const double ax = scaled.local_x(f.lines.xy[2 * v]), ay = scaled.local_y(f.lines.xy[2 * v + 1]);
      const double bx = scaled.local_x(f.lines.xy[2 * v + 2]), by = scaled.local_y(f.lines.xy[2 * v + 3]);
      const double length = std::hypot(bx - ax, by - ay);
      if (!(length > 0.0)) continue;  // no length, no density
      segments.push_back({ax, ay, (bx - ax) / length, (by - ay) / length, length});
      segment_weight.push_back(f.lines.weights.empty() ? 1.0 : f.lines.weights[i]);
      boxes.push_back({std::min(ax, bx), std::min(ay, by), std::max(ax, bx), std::max(ay, by)});
    }
  }
  const PolygonMass polygons(f.polygons, scaled, kernel);
  boxes.insert(boxes.end(), polygons.boxes().begin(), polygons.boxes().end());

  const std::size_t first_segment = px.size();
  const std::size_t first_polygon = first_segment + segments.size();
  // In units of the radius R a point's kernel is K / R^2, a line's integral gains R, a polygon's R^2.
  const double constant = kernel_constant(kernel);
  const double point_scale = constant / (scaled.radius * scaled.radius);
  const double line_scale = constant / scaled.radius;
  const auto add = [&](std::size_t i, const TileSums& tile, Poll& poll) {
    if (i < first_segment) {
      const double w = f.points.weights.empty() ? 1.0 : f.points.weights[i];
      add_point(kernel, scaled, tile, px[i], py[i], w * point_scale);
    } else if (i < first_polygon) {
      const std::size_t k = i - first_segment;
      add_segment(kernel, scaled, tile, boxes[i], segments[k], segment_weight[k] * line_scale);
    } else {
      const std::size_t k = i - first_polygon;
      const double w = f.polygons.weights.empty() ? 1.0 : f.polygons.weights[k];
      const bool intricate = polygons.intricate(k);
      const Cells reach = scaled.reached(polygons.boxes()[k], tile.cells);
      for (std::int64_t r = reach.r0; r < reach.r1; ++r) {
        poll();
        double* sums = tile.sums + (r - tile.cells.r0) * tile.stride - tile.cells.c0;
        const double y = tile.y[r - tile.cells.r0];
        for (std::int64_t c = reach.c0; c < reach.c1; ++c) {
          if (intricate) poll();
          sums[c] += w * polygons.mass(k, tile.x[c - tile.cells.c0], y);
        }
      }
    }
  };
  sum_over_tiles(scaled, window, boxes, 1.0, run, out, add);
}

}  // namespace

template <class T>
void density(const Features& features, const Grid& grid, const Window& window, Kernel kernel, double bandwidth,
             const Run& run, RasterView<T> out) {
  check(grid, window);
  check(features);
  if (!(bandwidth > 0.0) || !std::isfinite(bandwidth)) {
    throw InvalidArgument("bandwidth is " + std::to_string(bandwidth) + "; it must be a positive length");
  }
  if (window.empty()) return;
  try {
    compute(features, Scaled{grid, support_radius(kernel, bandwidth)}, window, kernel, run, out);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the density of " + std::to_string(window.nrows) + " x " +
                      std::to_string(window.ncols) + " cells");
  }
}

template void density<float>(const Features&, const Grid&, const Window&, Kernel, double, const Run&,
                             RasterView<float>);
template void density<double>(const Features&, const Grid&, const Window&, Kernel, double, const Run&,
                              RasterView<double>);

}  // namespace rtmdx
