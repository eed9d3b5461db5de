// Exact Euclidean distance from cell centres to the nearest feature.
#pragma once

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// Writes the distance of every cell of `window`, in map units: 0 inside a polygon (even-odd over its rings),
// +inf beyond `max_distance` or where there are no features. T is float or double; arithmetic is double.
template <class T>
void distance(const Features& features, const Grid& grid, const Window& window, double max_distance, const Run& run,
              RasterView<T> out);

}  // namespace rtmdx
