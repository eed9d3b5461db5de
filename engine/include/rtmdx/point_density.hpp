// Kernel density of points: scatter and sweep.
//
// The support of a kernel cuts a row of cells in a chord. Scatter adds the kernel cell by cell along every chord. Sweep
// uses that the uniform, Epanechnikov and quartic kernels are polynomials in x along a row: it adds the coefficients
// where the chord begins, subtracts them where it ends, and one running sum along the row evaluates the polynomial: the
// cost of a chord does not depend on its length.
//
// Precision of the sweep. Where the polynomial would be a small difference of large terms (rows where the chord is
// short against the support, the ends of a quartic's chords) cells are scattered all the same, the basis is local to a
// tile a few supports wide, and a running sum that covers no chord is set to 0. What is left is rounding: each value is
// off by less than 1e-11 of the largest value in its row within the tile. (Weights many orders of magnitude apart: that
// is the bound; a small weight beside a huge one keeps fewer digits of its own than a plain sum would.)
#pragma once

#include "rtmdx/density.hpp"
#include "rtmdx/point_index.hpp"

namespace rtmdx {

// The window whose points `point_density` reads: a sweep starts where its tiles do. `count` is the number of points of
// the whole problem: with grid and bandwidth it decides between scatter and sweep.
Window reading_window(std::size_t count, const Grid& grid, const Window& window, Kernel kernel, double bandwidth,
                      Method method);

// Writes sum of weight x kernel, scaled by 1 / radius^2, for every cell centre of `window`. The index
// holds all points within reach of the reading window.
template <class T>
void point_density(const PointIndex& index, std::size_t count, const Grid& grid, const Window& window, Kernel kernel,
                   double bandwidth, Method method, const Run& run, RasterView<T> out);

}  // namespace rtmdx
