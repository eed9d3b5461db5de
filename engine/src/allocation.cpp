#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <vector>

#include "rtmdx/cells.hpp"
#include "rtmdx/descent.hpp"
#include "rtmdx/distance.hpp"

namespace rtmdx {
namespace {

constexpr std::int64_t nobody = std::numeric_limits<std::int64_t>::max();

// Distances as `distance` writes them; sources from the candidates alone. Polygons around a cell come in afterwards.
template <class T>
struct AllocationOutput {
  static constexpr bool indexed = true;

  descent::DistanceOutput<T> distance;
  RasterView<std::int64_t> source;

  void nothing(const descent::Tile& tile) const {
    distance.nothing(tile);
    descent::fill(source, distance.window, tile, nobody);
  }
  // A point in the same place as the cell's centre may come before the polygon, so a tile inside one is looked at too.
  bool settle(const descent::Tile&, const Seen&, descent::Enclosed) const { return false; }
  void enclosed(const descent::Tile& tile) const { nothing(tile); }

  void cells(std::int64_t r, std::int64_t c, std::int64_t n, const double* value, const double* index,
             const std::uint8_t* in) const {
    distance.cells(r, c, n, value, index, in);
    std::int64_t* to = source.row(r - distance.window.row0) + (c - distance.window.col0);
    for (std::int64_t k = 0; k < n; ++k) {
      const bool near = value[k] <= distance.most && value[k] < std::numeric_limits<double>::infinity();
      to[k] = near ? static_cast<std::int64_t>(index[k]) : nobody;
    }
  }
};

template <class Body>
void each_row(const Window& window, const Run& run, const Body& body) {
  constexpr std::int64_t rows = 64;
  parallel_for(static_cast<std::size_t>((window.nrows + rows - 1) / rows), run, [&](std::size_t block, Poll&) {
    const std::int64_t first = static_cast<std::int64_t>(block) * rows;
    for (std::int64_t r = first; r < std::min(first + rows, window.nrows); ++r) body(r);
  });
}

}  // namespace

template <class T>
void allocation(const Nearest& features, Metric metric, const Window& window, double max_distance, const Run& run,
                RasterView<T> out, RasterView<std::int64_t> source) {
  check(features.grid(), window);
  if (window.empty()) return;
  try {
    const std::vector<std::uint8_t> none;
    const double most = descent::largest_value(metric, max_distance);
    const AllocationOutput<T> output{{metric, window, most, out}, source};
    const descent::Question question{features, metric, window, max_distance, none};
    descent::Descent<AllocationOutput<T>>(question, output).run(run);
    if (!features.polygons().empty()) {
      // Inside a polygon only features at distance 0 are as near as it is.
      const std::vector<std::uint8_t> inside = features.polygons().inside(window, run);
      each_row(window, run, [&](std::int64_t r) {
        const std::uint8_t* in = inside.data() + r * window.ncols;
        T* d = out.row(r);
        std::int64_t* s = source.row(r);
        for (std::int64_t c = 0; c < window.ncols; ++c) {
          if (!in[c]) continue;
          if (d[c] > T{0}) s[c] = nobody;
          d[c] = T{0};
        }
      });
      features.polygons().enclosing(window, run, source);
    }
    each_row(window, run, [&](std::int64_t r) {
      std::int64_t* s = source.row(r);
      for (std::int64_t c = 0; c < window.ncols; ++c) s[c] = s[c] == nobody ? -1 : s[c];
    });
  } catch (const std::bad_alloc&) {
    throw descent::no_memory("the allocation", features, window);
  }
}

template void allocation<float>(const Nearest&, Metric, const Window&, double, const Run&, RasterView<float>,
                                RasterView<std::int64_t>);
template void allocation<double>(const Nearest&, Metric, const Window&, double, const Run&, RasterView<double>,
                                 RasterView<std::int64_t>);

}  // namespace rtmdx
