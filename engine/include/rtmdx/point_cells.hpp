// The cells of a rectangle from the nearest of a few points.
//
// Either metric's value is a term of the column plus a term of the row. Both are computed once for every candidate; a
// cell then costs a sum and a comparison for each. The bits are those of pairs::block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rtmdx/pairs.hpp"

namespace rtmdx::pairs {

// Centres of consecutive columns, or rows: (first + k + 0.5) * step.
struct Axis {
  std::int64_t first;
  double step;
};

// A rectangle of values: value[o * stride + i]. The inner axis is the columns', or the rows' where a rectangle is too
// narrow for vectors across it.
struct Rectangle {
  static constexpr std::size_t longest = 128;  // along the inner axis
  static constexpr std::size_t deepest = 16;   // along the outer one

  Axis inner, outer;
  std::size_t inner_size, outer_size;
};

// value[o * Rectangle::longest + i] = the smallest value of the candidates, which are points: `inner[c]` and `outer[c]`
// are their coordinates along either axis. At least one candidate. Values beyond the rectangle, up to a multiple of
// `lanes` along the inner axis, are written too.
void nearest_point(Metric metric, const double* inner, const double* outer, std::size_t candidates,
                   const Rectangle& rectangle, double* value);

}  // namespace rtmdx::pairs
