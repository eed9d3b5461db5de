// Exact distance from cell centres to the nearest feature; which band it falls in; which feature that is.
#pragma once

#include <cstdint>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/metric.hpp"
#include "rtmdx/nearest.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// Writes the distance of every cell of `window`, in map units: 0 inside a polygon (even-odd over its rings),
// +inf beyond `max_distance` or where there are no features. T is float or double; arithmetic is double.
template <class T>
void distance(const Nearest& features, Metric metric, const Window& window, double max_distance, const Run& run,
              RasterView<T> out);

// The same in one go, Euclidean.
template <class T>
void distance(const Features& features, const Grid& grid, const Window& window, double max_distance, const Run& run,
              RasterView<T> out);

// Writes how many of the limits, ascending and at most 255, lie below the distance: 0 within the first (inclusive), their
// number beyond the last. The decisions are those of comparing the double distance.
void distance_bands(const Nearest& features, Metric metric, const Window& window, Span<double> limits, const Run& run,
                    RasterView<std::uint8_t> out);

// Writes the distance as above and the smallest source of the features that are nearest, -1 where the distance is +inf.
// A polygon around the cell is at distance 0.
template <class T>
void allocation(const Nearest& features, Metric metric, const Window& window, double max_distance, const Run& run,
                RasterView<T> out, RasterView<std::int64_t> source);

}  // namespace rtmdx
