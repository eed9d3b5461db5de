// Points and segments in local coordinates, sorted along a space-filling curve.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/pairs.hpp"

namespace rtmdx {

// A point (a = b) or a segment, and the feature it came from.
struct Placed {
  pairs::Place a, b;
  std::int64_t source;
};

// The order of the places along the curve, each by its index. Of those in the same place only the one of the smallest
// source stays: thousands of events share an address. The same for any number of threads.
std::vector<std::size_t> along_curve(const std::vector<Placed>& places, const Grid& grid, const Run& run);

}  // namespace rtmdx
