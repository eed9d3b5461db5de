#include "rtmdx/density.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/kernel.hpp"
#include "rtmdx/point_density.hpp"
#include "rtmdx/point_index.hpp"
#include "rtmdx/polygon_mass.hpp"
#include "rtmdx/tiles.hpp"

namespace rtmdx {
namespace {

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

// ---------------------------------------------------------------- lines and polygons

template <class T>
void line_density(const Lines& lines, const Scaled& scaled, const Window& window, Kernel kernel, const Run& run,
                  RasterView<T> out) {
  std::vector<Segment> segments;
  std::vector<double> weights;
  std::vector<Box> boxes;
  parallel_for(1, run, [&](std::size_t, Poll& poll) {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto v0 = static_cast<std::size_t>(lines.offsets[i]), v1 = static_cast<std::size_t>(lines.offsets[i + 1]);
      for (std::size_t v = v0; v + 1 < v1; ++v) {
        if (v % 1024 == 0) poll();
        const double ax = scaled.local_x(lines.xy[2 * v]), ay = scaled.local_y(lines.xy[2 * v + 1]);
        const double bx = scaled.local_x(lines.xy[2 * v + 2]), by = scaled.local_y(lines.xy[2 * v + 3]);
        const double length = std::hypot(bx - ax, by - ay);
        if (!(length > 0.0)) continue;  // no length, no density
        segments.push_back({ax, ay, (bx - ax) / length, (by - ay) / length, length});
        weights.push_back(lines.weights.empty() ? 1.0 : lines.weights[i]);
        boxes.push_back({std::min(ax, bx), std::min(ay, by), std::max(ax, bx), std::max(ay, by)});
      }
    }
  });
  // In units of the radius R a kernel is K / R^2 and a line's integral of it gains R.
  const double scale = kernel_constant(kernel) / scaled.radius;
  sum_over_tiles(scaled, window, boxes, 1.0, run, out, [&](std::size_t i, const TileSums& tile, Poll&) {
    add_segment(kernel, scaled, tile, boxes[i], segments[i], weights[i] * scale);
  });
}

template <class T>
void polygon_density(const Polygons& polygons, const Scaled& scaled, const Window& window, Kernel kernel,
                     const Run& run, RasterView<T> out) {
  const PolygonMass masses(polygons, scaled, kernel, run);
  sum_over_tiles(scaled, window, masses.boxes(), 1.0, run, out, [&](std::size_t i, const TileSums& tile, Poll& poll) {
    const double w = polygons.weights.empty() ? 1.0 : polygons.weights[i];
    const bool intricate = masses.intricate(i);
    const Cells reach = scaled.reached(masses.boxes()[i], tile.cells);
    for (std::int64_t r = reach.r0; r < reach.r1; ++r) {
      poll();
      double* sums = tile.sums + (r - tile.cells.r0) * tile.stride - tile.cells.c0;
      const double y = tile.y[r - tile.cells.r0];
      for (std::int64_t c = reach.c0; c < reach.c1; ++c) {
        if (intricate) poll();
        sums[c] += w * masses.mass(i, tile.x[c - tile.cells.c0], y);
      }
    }
  });
}

// Several main loops told as one: each counts as a thousand.
class Parts {
 public:
  Parts(const Run& run, std::size_t parts) : run_(run), parts_(parts) {}

  Run part(std::size_t i) const {
    Run one = run_;
    if (run_.progress && parts_ > 1) {
      one.progress = [this, i](std::size_t done, std::size_t total) {
        run_.progress(1000 * i + (total == 0 ? 1000 : 1000 * done / total), 1000 * parts_);
      };
    }
    return one;
  }

 private:
  const Run& run_;
  std::size_t parts_;
};

void require_one_kind(const Features& f) {
  const int kinds = (f.points.size() > 0) + (f.lines.size() > 0) + (f.polygons.size() > 0);
  if (kinds > 1) {
    throw InvalidArgument("density of " + std::to_string(f.points.size()) + " points, " +
                          std::to_string(f.lines.size()) + " lines and " + std::to_string(f.polygons.size()) +
                          " polygons; a count, a length and an area do not add up: give one kind");
  }
}

std::string out_of_memory(const Features& f, const Window& window) {
  // What preparation takes; a tile's buffers and the result come on top.
  const std::size_t vertices = f.points.size() + f.lines.xy.size() / 2 + f.polygons.xy.size() / 2;
  return "no memory left for the density of " + std::to_string(window.nrows) + " x " + std::to_string(window.ncols) +
         " cells: preparing " + std::to_string(vertices) + " points or vertices takes about " +
         std::to_string(vertices * 96 / 1000000 + 1) + " MB, and a few MB per thread";
}

}  // namespace

template <class T>
void density(const Features& features, const Grid& grid, const Window& window, Kernel kernel, Span<double> bandwidths,
             const Run& run, const std::vector<RasterView<T>>& out, Method method) {
  check(grid, window);
  check(features);
  require_one_kind(features);
  if (out.size() != bandwidths.size()) {
    throw InvalidArgument("there are " + std::to_string(bandwidths.size()) + " bandwidths and " +
                          std::to_string(out.size()) + " rasters to write; expected one for each");
  }
  double widest = 0.0;
  for (std::size_t i = 0; i < bandwidths.size(); ++i) {
    if (!(bandwidths[i] > 0.0) || !std::isfinite(bandwidths[i])) {
      throw InvalidArgument("bandwidth is " + std::to_string(bandwidths[i]) + "; it must be a positive length");
    }
    widest = std::max(widest, bandwidths[i]);
  }
  if (window.empty()) return;
  try {
    const Parts parts(run, bandwidths.size());
    if (features.lines.size() > 0 || features.polygons.size() > 0) {
      for (std::size_t i = 0; i < bandwidths.size(); ++i) {
        const Scaled scaled{grid, support_radius(kernel, bandwidths[i])};
        if (features.lines.size() > 0) {
          line_density(features.lines, scaled, window, kernel, parts.part(i), out[i]);
        } else {
          polygon_density(features.polygons, scaled, window, kernel, parts.part(i), out[i]);
        }
      }
      return;
    }
    Window read = window;
    for (std::size_t i = 0; i < bandwidths.size(); ++i) {
      const Window one = reading_window(features.points.size(), grid, window, kernel, bandwidths[i], method);
      read.ncols += read.col0 - std::min(read.col0, one.col0);
      read.col0 = std::min(read.col0, one.col0);
    }
    const PointIndex index(features.points, grid, read, support_radius(kernel, widest), run);
    for (std::size_t i = 0; i < bandwidths.size(); ++i) {
      point_density(index, features.points.size(), grid, window, kernel, bandwidths[i], method, parts.part(i), out[i]);
    }
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(out_of_memory(features, window));
  }
}

template void density<float>(const Features&, const Grid&, const Window&, Kernel, Span<double>, const Run&,
                             const std::vector<RasterView<float>>&, Method);
template void density<double>(const Features&, const Grid&, const Window&, Kernel, Span<double>, const Run&,
                              const std::vector<RasterView<double>>&, Method);

}  // namespace rtmdx
