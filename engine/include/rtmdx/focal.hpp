// Sums and means of a raster over the neighbourhood of every cell.
#pragma once

#include "rtmdx/cancel.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

enum class Neighbourhood {
  circle,  // cell centres at most the radius away
  square   // cell centres at most the radius away in x and in y
};

enum class FocalStatistic { sum, mean };

// Writes, for every cell of `window`, the sum or mean over the cells of its neighbourhood that lie in the raster and
// are not NaN; NaN where there is none. `values` has the grid's shape. Sums are of double precision and nothing is
// ever subtracted, so a huge value leaves no trace in sums it is no part of.
template <class T, class U>
void focal(RasterView<const T> values, const Grid& grid, const Window& window, double radius, Neighbourhood shape,
           FocalStatistic statistic, const Run& run, RasterView<U> out);

}  // namespace rtmdx
