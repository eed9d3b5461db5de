// What a cell is: grid geometry and windows of it.
#pragma once

#include <cstdint>
#include <string>

#include "rtmdx/error.hpp"

namespace rtmdx {

// North-up raster: row 0 is the northernmost, column 0 the westernmost.
//
// All engine arithmetic runs in *local* coordinates with the grid's top-left corner as origin and y pointing
// south (down the rows): large map coordinates lose no digits, and a window gives the same bits as the whole.
struct Grid {
  double x_min = 0.0;  // left edge
  double y_max = 0.0;  // top edge
  double dx = 1.0;     // cell width, > 0
  double dy = 1.0;     // cell height, > 0
  std::int64_t rows = 0;
  std::int64_t cols = 0;

  double local_x(double x) const { return x - x_min; }
  double local_y(double y) const { return y_max - y; }
  // Local coordinates of cell centres.
  double centre_x(std::int64_t col) const { return (static_cast<double>(col) + 0.5) * dx; }
  double centre_y(std::int64_t row) const { return (static_cast<double>(row) + 0.5) * dy; }
};

// A rectangle of cells of a grid.
struct Window {
  std::int64_t row0 = 0;
  std::int64_t col0 = 0;
  std::int64_t nrows = 0;
  std::int64_t ncols = 0;

  std::int64_t row1() const { return row0 + nrows; }
  std::int64_t col1() const { return col0 + ncols; }
  bool empty() const { return nrows <= 0 || ncols <= 0; }
};

// Throws InvalidArgument unless the cells have a size and the window lies in the grid.
inline void check(const Grid& grid, const Window& window) {
  if (!(grid.dx > 0.0) || !(grid.dy > 0.0)) {
    throw InvalidArgument("cell size is " + std::to_string(grid.dx) + " x " + std::to_string(grid.dy) +
                          "; both must be positive");
  }
  if (window.row0 < 0 || window.col0 < 0 || window.nrows < 0 || window.ncols < 0 ||
      window.row1() > grid.rows || window.col1() > grid.cols) {
    throw InvalidArgument("window rows " + std::to_string(window.row0) + ":" + std::to_string(window.row1()) +
                          ", columns " + std::to_string(window.col0) + ":" + std::to_string(window.col1()) +
                          " does not lie in the grid of " + std::to_string(grid.rows) + " x " +
                          std::to_string(grid.cols) + " cells");
  }
}

}  // namespace rtmdx
