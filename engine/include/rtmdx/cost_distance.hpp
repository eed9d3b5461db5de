// Least accumulated cost from features to cells, over a friction raster, around barriers.
#pragma once

#include <cstdint>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// Cost per map unit of the whole grid, > 0; NaN and infinity cannot be entered. At most one of the two is given: none
// is 1 everywhere.
struct Friction {
  const float* single = nullptr;
  const double* twice = nullptr;
  std::int64_t stride = 0;
};

// Writes the least cost of reaching every cell of the grid by steps between centres: to 8 or 16 neighbours
// (`connectivity`), each costing the integral of friction along it, none crossing or touching the lines and outlines of
// `barriers`; cells with their centre inside a barrier polygon cannot be entered. +inf beyond `max_cost` or where no
// way leads. Needs 9 to 21 bytes a cell beside the output.
template <class T>
void cost_distance(const Features& features, const Grid& grid, const Friction& friction, const Features& barriers,
                   int connectivity, double max_cost, const Run& run, RasterView<T> out);

}  // namespace rtmdx
