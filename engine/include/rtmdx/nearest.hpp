// The arithmetic of nearest-feature search: squared distances from one place to many candidates, and from the cells
// of a small block to the nearest of them. Plain loops that vectorise; every value of a pair (place, candidate) comes
// from one expression, so the minimum over any candidate set that holds the nearest gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtmdx::nearest {

constexpr std::size_t lanes = 8;  // columns evaluated together

// Candidates as a structure of arrays: array k starts at data + k * stride.
//   points    x, y
//   segments  ax, ay, ux, uy, inv     from a along u = b - a; inv = 1 / |u|^2, or 0 for a segment without length
constexpr std::size_t point_arrays = 2;
constexpr std::size_t segment_arrays = 5;

struct Candidates {
  const double* data;
  std::size_t stride;
  std::size_t size;
  std::size_t arrays;

  const double* array(std::size_t k) const { return data + k * stride; }
  bool points() const { return arrays == point_arrays; }
};

struct Place {
  double x;
  double y;
};

// d2[i] = squared distance from p to candidate i; returns the smallest (+inf for none).
double squared(const Candidates& candidates, Place p, double* d2);

// The place on candidate i nearest to p.
Place foot(const Candidates& candidates, std::size_t i, Place p);

// keep[i] = 1 if candidate i is as near as limit2[k] to at least one of the four corners.
void near_any_corner(const Candidates& candidates, const Place corner[4], const double limit2[4],
                     unsigned char* keep);

// d2[r * lanes + k] = squared distance from (x[k], y[r]) to the nearest candidate.
void block(const Candidates& candidates, const double x[lanes], const double* y, std::size_t rows, double* d2);

}  // namespace rtmdx::nearest
