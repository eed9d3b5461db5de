// Exact Euclidean distance from cell centres to the nearest feature cell of a raster mask.
#pragma once

#include <cstdint>

#include "rtmdx/cancel.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// One byte per cell of the whole grid, rows `stride` bytes apart; anything but 0 is a feature cell.
struct MaskView {
  const std::uint8_t* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  const std::uint8_t* row(std::int64_t r) const { return data + r * stride; }
};

// Writes, for every cell of `window`, the distance from its centre to the nearest feature cell's, in map units: 0 in a
// feature cell, +inf beyond `max_distance` or where the mask has no feature. Needs about a quarter of a byte for each
// cell of the mask beside it, and 10 MB a thread for rows of 10,000 cells.
template <class T>
void mask_distance(const MaskView& mask, const Grid& grid, const Window& window, double max_distance, const Run& run,
                   RasterView<T> out);

}  // namespace rtmdx
