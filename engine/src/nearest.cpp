#include "rtmdx/nearest.hpp"

#include <limits>

#include "rtmdx/clones.hpp"

namespace rtmdx::nearest {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// min and max in the operand order that is one instruction and leaves the result free of branches
inline double least(double a, double b) { return a < b ? a : b; }
inline double clamp01(double t) { return least(t > 0.0 ? t : 0.0, 1.0); }

inline double point_d2(double x, double y, double px, double py) {
  const double ex = x - px;
  const double ey = y - py;
  return ex * ex + ey * ey;
}

// Beside the segment the cross product gives the distance, exactly 0 on axis-parallel segments; past an end, that end.
inline double segment_d2(double x, double y, double ax, double ay, double ux, double uy, double inv) {
  const double rx = x - ax;
  const double ry = y - ay;
  const double t = (rx * ux + ry * uy) * inv;
  const double cross = rx * uy - ry * ux;
  const double past = t < 1.0 ? 0.0 : 1.0;
  const double ex = rx - past * ux;
  const double ey = ry - past * uy;
  const double end2 = ex * ex + ey * ey;
  const double side2 = cross * cross * inv;
  const bool beside = (t > 0.0) & (t < 1.0);
  return beside ? side2 : end2;
}

RTMDX_CLONES void squared_points(const double* px, const double* py, std::size_t n, double x, double y, double* d2) {
  for (std::size_t i = 0; i < n; ++i) d2[i] = point_d2(x, y, px[i], py[i]);
}

RTMDX_CLONES void squared_segments(const double* ax, const double* ay, const double* ux, const double* uy,
                                   const double* inv, std::size_t n, double x, double y, double* d2) {
  for (std::size_t i = 0; i < n; ++i) d2[i] = segment_d2(x, y, ax[i], ay[i], ux[i], uy[i], inv[i]);
}

RTMDX_CLONES double minimum(const double* values, std::size_t n) {
  double best[lanes];
  for (std::size_t k = 0; k < lanes; ++k) best[k] = infinity;
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) best[k] = least(values[i + k], best[k]);
  }
  for (; i < n; ++i) best[0] = least(values[i], best[0]);
  for (std::size_t k = 1; k < lanes; ++k) best[0] = least(best[k], best[0]);
  return best[0];
}

RTMDX_CLONES void corners_points(const double* px, const double* py, std::size_t n, const Place* c, const double* limit2,
                                 unsigned char* keep) {
  const double x0 = c[0].x, y0 = c[0].y, x1 = c[3].x, y1 = c[3].y;
  const double l0 = limit2[0], l1 = limit2[1], l2 = limit2[2], l3 = limit2[3];
  for (std::size_t i = 0; i < n; ++i) {
    keep[i] = static_cast<unsigned char>((point_d2(x0, y0, px[i], py[i]) <= l0) | (point_d2(x1, y0, px[i], py[i]) <= l1) |
                                         (point_d2(x0, y1, px[i], py[i]) <= l2) | (point_d2(x1, y1, px[i], py[i]) <= l3));
  }
}

RTMDX_CLONES void corners_segments(const double* ax, const double* ay, const double* ux, const double* uy,
                                   const double* inv, std::size_t n, const Place* c, const double* limit2,
                                   unsigned char* keep) {
  const double x0 = c[0].x, y0 = c[0].y, x1 = c[3].x, y1 = c[3].y;
  const double l0 = limit2[0], l1 = limit2[1], l2 = limit2[2], l3 = limit2[3];
  for (std::size_t i = 0; i < n; ++i) {
    keep[i] = static_cast<unsigned char>((segment_d2(x0, y0, ax[i], ay[i], ux[i], uy[i], inv[i]) <= l0) |
                                         (segment_d2(x1, y0, ax[i], ay[i], ux[i], uy[i], inv[i]) <= l1) |
                                         (segment_d2(x0, y1, ax[i], ay[i], ux[i], uy[i], inv[i]) <= l2) |
                                         (segment_d2(x1, y1, ax[i], ay[i], ux[i], uy[i], inv[i]) <= l3));
  }
}

RTMDX_CLONES void block_points(const double* px, const double* py, std::size_t n, const double* x, const double* y,
                               std::size_t rows, double* d2) {
  for (std::size_t r = 0; r < rows; ++r) {
    double best[lanes];
    for (std::size_t k = 0; k < lanes; ++k) best[k] = infinity;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t k = 0; k < lanes; ++k) best[k] = least(point_d2(x[k], y[r], px[i], py[i]), best[k]);
    }
    for (std::size_t k = 0; k < lanes; ++k) d2[r * lanes + k] = best[k];
  }
}

RTMDX_CLONES void block_segments(const double* ax, const double* ay, const double* ux, const double* uy,
                                 const double* inv, std::size_t n, const double* x, const double* y, std::size_t rows,
                                 double* d2) {
  for (std::size_t r = 0; r < rows; ++r) {
    double best[lanes];
    for (std::size_t k = 0; k < lanes; ++k) best[k] = infinity;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t k = 0; k < lanes; ++k) {
        best[k] = least(segment_d2(x[k], y[r], ax[i], ay[i], ux[i], uy[i], inv[i]), best[k]);
      }
    }
    for (std::size_t k = 0; k < lanes; ++k) d2[r * lanes + k] = best[k];
  }
}

}  // namespace

double squared(const Candidates& c, Place p, double* d2) {
  if (c.points()) {
    squared_points(c.array(0), c.array(1), c.size, p.x, p.y, d2);
  } else {
    squared_segments(c.array(0), c.array(1), c.array(2), c.array(3), c.array(4), c.size, p.x, p.y, d2);
  }
  return minimum(d2, c.size);
}

Place foot(const Candidates& c, std::size_t i, Place p) {
  const double ax = c.array(0)[i];
  const double ay = c.array(1)[i];
  if (c.points()) return {ax, ay};
  const double ux = c.array(2)[i];
  const double uy = c.array(3)[i];
  const double t = clamp01(((p.x - ax) * ux + (p.y - ay) * uy) * c.array(4)[i]);
  return {ax + t * ux, ay + t * uy};
}

void near_any_corner(const Candidates& c, const Place corner[4], const double limit2[4], unsigned char* keep) {
  if (c.points()) {
    corners_points(c.array(0), c.array(1), c.size, corner, limit2, keep);
  } else {
    corners_segments(c.array(0), c.array(1), c.array(2), c.array(3), c.array(4), c.size, corner, limit2, keep);
  }
}

void block(const Candidates& c, const double x[lanes], const double* y, std::size_t rows, double* d2) {
  if (c.points()) {
    block_points(c.array(0), c.array(1), c.size, x, y, rows, d2);
  } else {
    block_segments(c.array(0), c.array(1), c.array(2), c.array(3), c.array(4), c.size, x, y, rows, d2);
  }
}

}  // namespace rtmdx::nearest
