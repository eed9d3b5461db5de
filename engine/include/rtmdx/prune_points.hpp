// The loops of pruning points. There are seldom more than a few dozen: what counts is how few loops there are, and that
// none has an odd end.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rtmdx/pairs.hpp"

namespace rtmdx::prune_points {

// Behind the last point of an array there is room for so many more, at infinity.
constexpr std::size_t padding = 8;

// value[i] = value of the pair (p, point i); returns one with the smallest. At least one point, and their padding.
std::size_t champion(Metric metric, const pairs::Candidates& points, pairs::Place p, double* value);

// What is kept: points whose value is at most `within` and not beyond `level` + across |x - g.x| + down |y - g.y|
// (Euclidean), or at most limit[k] at corner[k] for some k (Manhattan).
struct Bounds {
  double within;
  pairs::Place g;
  double across, down, level;
  const pairs::Place* corner;
  const double* limit;
};

// Copies the points that are kept, of `arrays` arrays each, and pads them; returns how many. `list` has room for all.
std::size_t keep(Metric metric, const pairs::Candidates& points, std::size_t arrays, const double* value,
                 const Bounds& bounds, std::uint32_t* list, double* to, std::size_t stride);

// Sets what follows the first n points to infinity.
void pad(double* data, std::size_t stride, std::size_t n);

}  // namespace rtmdx::prune_points
