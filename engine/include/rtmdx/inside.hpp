// Which cell centres lie inside polygons.
#pragma once

#include <cstdint>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"

namespace rtmdx {

// One byte per cell of the window, row-major: 1 where the centre is inside at least one polygon. Each polygon is
// even-odd over its own rings, so holes are outside and overlapping polygons stay inside.
std::vector<std::uint8_t> inside(const Polygons& polygons, const Grid& grid, const Window& window, const Run& run);

}  // namespace rtmdx
