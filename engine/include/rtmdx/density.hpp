// Kernel density of points (per square unit), lines (length per square unit) and polygons (area per square unit).
#pragma once

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// Radially symmetric kernels that integrate to 1 over the plane. The support radius is the bandwidth h, except for
// the Gaussian, whose h is its standard deviation and whose support is cut at 4 h and scaled to integrate to 1.
enum class Kernel { uniform, triangular, epanechnikov, quartic, gaussian };

// Writes sum over features of weight x integral of the kernel over the feature, for every cell centre of `window`.
template <class T>
void density(const Features& features, const Grid& grid, const Window& window, Kernel kernel, double bandwidth,
             const Run& run, RasterView<T> out);

}  // namespace rtmdx
