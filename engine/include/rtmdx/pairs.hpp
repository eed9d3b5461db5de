// The arithmetic of nearest-feature search: how far one place is from many candidates, and the cells of a small block
// from the nearest of them. Plain loops that vectorise; every value of a pair (place, candidate) comes from one
// expression, so the minimum over any candidate set that holds the nearest gives the same bits.
//
// A *value* orders candidates: the squared distance for the Euclidean metric, the distance itself for Manhattan.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "rtmdx/metric.hpp"

namespace rtmdx::pairs {

constexpr std::size_t lanes = 8;  // columns evaluated together
constexpr std::size_t strip = 4;  // rows evaluated together

// Candidates as a structure of arrays: array k starts at data + k * stride.
//   points    x, y
//   segments  ax, ay, bx, by, inv     inv = 1 / |b - a|^2, or 0 for a segment without length
// An index of the feature may follow as one more array.
constexpr std::size_t point_arrays = 2;
constexpr std::size_t segment_arrays = 5;

struct Candidates {
  const double* data;
  std::size_t stride;
  std::size_t size;
  bool points;

  const double* array(std::size_t k) const { return data + k * stride; }
  const double* index() const { return array(points ? point_arrays : segment_arrays); }
};

struct Place {
  double x;
  double y;
};

inline double value_of(Metric m, double distance) { return m == Metric::euclidean ? distance * distance : distance; }
inline double distance_of(Metric m, double value) { return m == Metric::euclidean ? std::sqrt(value) : value; }

// value[i] = value of the pair (p, candidate i); returns the smallest (+inf for none).
double values(Metric metric, const Candidates& candidates, Place p, double* value);
void each_value(Metric metric, const Candidates& candidates, Place p, double* value);  // without the smallest

// The place on candidate i nearest to p.
Place foot(Metric metric, const Candidates& candidates, std::size_t i, Place p);

// over[i] <= 0 if the value of candidate i is at most limit[k] at one of the corners (x0, y0), (x1, y0), (x0, y1),
// (x1, y1), which are corner[0] .. corner[3].
void near_any_corner(Metric metric, const Candidates& candidates, const Place corner[4], const double limit[4],
                     double* over);

// value[r * lanes + k] = the smallest value of (x[k], y[r]); rows is a multiple of `strip`.
void block(Metric metric, const Candidates& candidates, const double x[lanes], const double* y, std::size_t rows,
           double* value);

// index[r * lanes + k] = the smallest index among the candidates whose value is value[r * lanes + k], as `block` left it.
void block_index(Metric metric, const Candidates& candidates, const double x[lanes], const double* y, std::size_t rows,
                 const double* value, double* index);

// Bounding boxes as a structure of arrays, one kind for each metric:
//   Manhattan  x0, y0, x1, y1
//   Euclidean  cx, cy, ux, uy, along, across: the middle, the unit vector along the box, half its two sides. Seen from
//              afar, an upright box about an oblique run of points would seem much nearer than they are.
inline std::size_t box_arrays(Metric m) { return m == Metric::euclidean ? 6 : 4; }

struct Boxes {
  const double* data;
  std::size_t stride;
  std::size_t size;
};

// As for candidates, with the value of the pair (p, nearest place of box i): at most that of anything in the box.
double values(Metric metric, const Boxes& boxes, Place p, double* value);
void each_value(Metric metric, const Boxes& boxes, Place p, double* value);
void near_any_corner(Metric metric, const Boxes& boxes, const Place corner[4], const double limit[4], double* over);

}  // namespace rtmdx::pairs
