// Geometry as flat arrays, in map coordinates, interleaved x0, y0, x1, y1, ...
#pragma once

#include <cstdint>

#include "rtmdx/view.hpp"

namespace rtmdx {

// One weight per point, or none for 1.
struct Points {
  Span<double> xy;
  Span<double> weights;

  std::size_t size() const { return xy.size() / 2; }
};

// Part i has the vertices offsets[i] .. offsets[i + 1]. One weight per part, or none for 1.
struct Lines {
  Span<double> xy;
  Span<std::int64_t> offsets;
  Span<double> weights;

  std::size_t size() const { return offsets.empty() ? 0 : offsets.size() - 1; }
};

// Ring i has the vertices ring_offsets[i] .. ring_offsets[i + 1], closed or not, in either direction; polygon j
// has the rings polygon_offsets[j] .. polygon_offsets[j + 1], its outline first. One weight per polygon, or none.
struct Polygons {
  Span<double> xy;
  Span<std::int64_t> ring_offsets;
  Span<std::int64_t> polygon_offsets;
  Span<double> weights;

  std::size_t rings() const { return ring_offsets.empty() ? 0 : ring_offsets.size() - 1; }
  std::size_t size() const { return polygon_offsets.empty() ? 0 : polygon_offsets.size() - 1; }
};

struct Features {
  Points points;
  Lines lines;
  Polygons polygons;
};

// Throws InvalidArgument unless offsets start at 0, never fall and end where the array they cut ends, and weights
// match what they weigh. Reads offsets only.
void check(const Features& features);

}  // namespace rtmdx
