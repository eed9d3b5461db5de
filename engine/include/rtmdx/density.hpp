// Kernel density of points (per square unit), lines (length per square unit) and polygons (area per square unit).
#pragma once

#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// Radially symmetric kernels that integrate to 1 over the plane. The support radius is the bandwidth h, except for
// the Gaussian, whose h is its standard deviation and whose support is cut at 4 h and scaled to integrate to 1.
enum class Kernel { uniform, triangular, epanechnikov, quartic, gaussian };

// How the density of points is summed; the answers agree to rounding. Automatic chooses the cheaper from grid, number
// of points and bandwidth.
enum class Method { automatic, scatter, sweep };

// Writes sum over features of weight x integral of the kernel over the feature, for every cell centre of `window`, one
// raster per bandwidth. The features are of one kind: all points, all lines or all polygons.
template <class T>
void density(const Features& features, const Grid& grid, const Window& window, Kernel kernel, Span<double> bandwidths,
             const Run& run, const std::vector<RasterView<T>>& out, Method method = Method::automatic);

// For one bandwidth.
template <class T>
void density(const Features& features, const Grid& grid, const Window& window, Kernel kernel, double bandwidth,
             const Run& run, RasterView<T> out, Method method = Method::automatic) {
  density(features, grid, window, kernel, Span<double>(&bandwidth, 1), run, std::vector<RasterView<T>>{out}, method);
}

}  // namespace rtmdx
