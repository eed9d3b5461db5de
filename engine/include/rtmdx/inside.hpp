// Which cell centres lie inside polygons.
#pragma once

#include <cstdint>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// Polygons and the rows of a grid that each of them spans. Each polygon is even-odd over its own rings, so holes are
// outside and overlapping polygons stay inside. Keeps views: the arrays must outlive it.
class PolygonRows {
 public:
  PolygonRows() = default;
  // Polygon i comes from the input geometry sources[i], or before + i without sources.
  PolygonRows(const Polygons& polygons, Span<std::int64_t> sources, std::int64_t before, const Grid& grid, Poll& poll);

  bool empty() const { return polygons_.size() == 0; }

  // One byte per cell of the window, row-major: 1 where the centre is inside at least one polygon. No byte at all if
  // there are no polygons.
  std::vector<std::uint8_t> inside(const Window& window, const Run& run) const;

  // Lowers each cell to the smallest source of the polygons its centre is inside; leaves the others as they are.
  void enclosing(const Window& window, const Run& run, RasterView<std::int64_t> source) const;

 private:
  template <class Visit>
  void spans(const Window& window, const Run& run, const Visit& visit) const;

  Polygons polygons_;
  Span<std::int64_t> sources_;
  std::int64_t before_ = 0;
  Grid grid_;
  std::vector<std::int64_t> first_, last_;  // rows of the grid
};

std::vector<std::uint8_t> inside(const Polygons& polygons, const Grid& grid, const Window& window, const Run& run);

}  // namespace rtmdx
