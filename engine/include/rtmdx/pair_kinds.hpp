// The kinds of pairs (place, candidate): one expression each, whoever evaluates it.
#pragma once

#include <cmath>
#include <cstddef>

namespace rtmdx::pairs {

// min and max in the operand order that is one instruction and leaves the result free of branches
template <class V>
[[gnu::always_inline]] inline V least(const V& a, const V& b) {
  return a < b ? a : b;
}
template <class V>
[[gnu::always_inline]] inline V size(const V& a) {
  return a < 0.0 ? -a : a;
}

// A candidate, its direction taken once for all the cells of a block.
struct Point {
  double px, py;
};

struct Segment {
  double ax, ay, bx, by, ux, uy, inv, uu;
};

struct EuclideanPoint : Point {
  static EuclideanPoint at(const double* const* a, std::size_t i) { return {{a[0][i], a[1][i]}}; }
  template <class V>
  [[gnu::always_inline]] V operator()(const V& x, const V& y) const {
    const V ex = x - px;
    const V ey = y - py;
    return ex * ex + ey * ey;
  }
};

struct ManhattanPoint : Point {
  static ManhattanPoint at(const double* const* a, std::size_t i) { return {{a[0][i], a[1][i]}}; }
  template <class V>
  [[gnu::always_inline]] V operator()(const V& x, const V& y) const { return size(x - px) + size(y - py); }
};

// Beside the segment the cross product gives the distance, exactly 0 on axis-parallel segments; past an end, that end.
struct EuclideanSegment : Segment {
  static EuclideanSegment at(const double* const* a, std::size_t i) {
    const double ux = a[2][i] - a[0][i];
    const double uy = a[3][i] - a[1][i];
    return {{a[0][i], a[1][i], a[2][i], a[3][i], ux, uy, a[4][i], ux * ux + uy * uy}};
  }
  double along(double x, double y) const { return ((x - ax) * ux + (y - ay) * uy) * inv; }
  template <class V>
  [[gnu::always_inline]] V operator()(const V& x, const V& y) const {
    const V rx = x - ax;
    const V ry = y - ay;
    const V dot = rx * ux + ry * uy;
    const V cross = rx * uy - ry * ux;
    const V side = cross * cross * inv;
    const V sx = x - bx;
    const V sy = y - by;
    const V end_a = rx * rx + ry * ry;
    const V end_b = sx * sx + sy * sy;
    const V beyond_a = dot < uu ? side : end_b;
    return dot > 0.0 ? beyond_a : end_a;
  }
};

// The distance along the segment is convex, with its least value where the segment crosses the place's row or column
// line, whichever the segment runs more across; if it doesn't get there, at the end on that side.
struct ManhattanSegment : Segment {
  double wx, wy;  // 1 / u of the axis the segment runs more along, 0 for the other
  static ManhattanSegment at(const double* const* a, std::size_t i) {
    ManhattanSegment s;
    s.ax = a[0][i], s.ay = a[1][i], s.bx = a[2][i], s.by = a[3][i], s.inv = a[4][i];
    s.ux = s.bx - s.ax;
    s.uy = s.by - s.ay;
    const bool across = std::fabs(s.ux) >= std::fabs(s.uy);
    const double u = across ? s.ux : s.uy;
    const double w = s.inv > 0.0 ? 1.0 / u : 0.0;
    s.wx = across ? w : 0.0;
    s.wy = across ? 0.0 : w;
    return s;
  }
  double along(double x, double y) const { return (x - ax) * wx + (y - ay) * wy; }
  template <class V>
  [[gnu::always_inline]] V operator()(const V& x, const V& y) const {
    const V rx = x - ax;
    const V ry = y - ay;
    const V t = rx * wx + ry * wy;
    const V side = size((rx * uy - ry * ux) * (wx + wy)) + 0.0;
    const V end_a = size(rx) + size(ry);
    const V end_b = size(x - bx) + size(y - by);
    const V beyond_a = t < 1.0 ? side : end_b;
    return t > 0.0 ? beyond_a : end_a;
  }
};

}  // namespace rtmdx::pairs
