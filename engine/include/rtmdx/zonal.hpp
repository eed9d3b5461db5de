// What a raster holds in every zone: sums, means and extremes over the cells, by how much of the zone lies in each.
#pragma once

#include <vector>

#include "rtmdx/coverage.hpp"

namespace rtmdx {

// Amounts are those of CellRun: shares of cells, lengths or numbers of points. Cells whose value is NaN are missing.
struct ZoneSums {
  double measure = 0.0;   // area, length or number of the whole zone, in map units
  double outside = 0.0;   // share of it beyond the raster
  double covered = 0.0;   // amount within the raster
  double count = 0.0;     // amount in cells that have a value
  double sum = 0.0;       // of amount x value
  double min = 0.0, max = 0.0;  // over the cells with an amount above 0 and a value; +inf, -inf where there is none
  double weight = 0.0;    // sum of amount x weight over cells that have a value and a weight
  double weighted = 0.0;  // sum of amount x weight x value over the same cells
};

// One ZoneSums per zone, in order. `values` has the grid's shape; `weights` too, or is null.
template <class T>
std::vector<ZoneSums> zonal(const Zones& zones, const Grid& grid, RasterView<const T> values,
                            const RasterView<const T>* weights, const Run& run);

}  // namespace rtmdx
