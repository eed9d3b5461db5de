#include "rtmdx/inside.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

constexpr std::int64_t band_rows = 64;

// First index in [low, high] whose cell centre (index + 0.5) * size is >= value.
std::int64_t first_at_or_after(double value, double size, std::int64_t low, std::int64_t high) {
  const double guess = std::ceil(value / size - 0.5);
  std::int64_t i = guess <= static_cast<double>(low)    ? low
                   : guess >= static_cast<double>(high) ? high
                                                        : static_cast<std::int64_t>(guess);
  while (i > low && (static_cast<double>(i - 1) + 0.5) * size >= value) --i;
  while (i < high && (static_cast<double>(i) + 0.5) * size < value) ++i;
  return i;
}

struct Crossing {
  std::int64_t row;
  double x;
};

}  // namespace

std::vector<std::uint8_t> inside(const Polygons& polygons, const Grid& grid, const Window& window, const Run& run) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(window.nrows) * static_cast<std::size_t>(window.ncols), 0);
  if (polygons.size() == 0 || mask.empty()) return mask;

  // Rows [first, last) each polygon spans, then the polygons of every band of rows.
  const std::size_t bands = static_cast<std::size_t>((window.nrows + band_rows - 1) / band_rows);
  std::vector<std::int64_t> first(polygons.size()), last(polygons.size());
  std::vector<std::size_t> start(bands + 1, 0);
  for (std::size_t p = 0; p < polygons.size(); ++p) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    const std::int64_t v0 = polygons.ring_offsets[static_cast<std::size_t>(polygons.polygon_offsets[p])];
    const std::int64_t v1 = polygons.ring_offsets[static_cast<std::size_t>(polygons.polygon_offsets[p + 1])];
    for (std::int64_t v = v0; v < v1; ++v) {
      const double y = grid.local_y(polygons.xy[static_cast<std::size_t>(2 * v + 1)]);
      low = std::min(low, y);
      high = std::max(high, y);
    }
    first[p] = v0 == v1 ? window.row1() : first_at_or_after(low, grid.dy, window.row0, window.row1());
    last[p] = v0 == v1 ? window.row1() : first_at_or_after(high, grid.dy, window.row0, window.row1());
    if (first[p] >= last[p]) continue;
    const auto b0 = static_cast<std::size_t>((first[p] - window.row0) / band_rows);
    const auto b1 = static_cast<std::size_t>((last[p] - 1 - window.row0) / band_rows);
    for (std::size_t b = b0; b <= b1; ++b) ++start[b + 1];
  }
  for (std::size_t b = 0; b < bands; ++b) start[b + 1] += start[b];
  std::vector<std::size_t> members(start[bands]);
  std::vector<std::size_t> fill(start.begin(), start.end() - 1);
  for (std::size_t p = 0; p < polygons.size(); ++p) {
    if (first[p] >= last[p]) continue;
    const auto b0 = static_cast<std::size_t>((first[p] - window.row0) / band_rows);
    const auto b1 = static_cast<std::size_t>((last[p] - 1 - window.row0) / band_rows);
    for (std::size_t b = b0; b <= b1; ++b) members[fill[b]++] = p;
  }

  parallel_for(bands, run, [&](std::size_t band, Poll& poll) {
    std::vector<Crossing> crossings;
    const std::int64_t row0 = window.row0 + static_cast<std::int64_t>(band) * band_rows;
    const std::int64_t row1 = std::min(row0 + band_rows, window.row1());
    for (std::size_t m = start[band]; m < start[band + 1]; ++m) {
      poll();
      const std::size_t p = members[m];
      crossings.clear();
      for (auto ring = polygons.polygon_offsets[p]; ring < polygons.polygon_offsets[p + 1]; ++ring) {
        const auto v0 = static_cast<std::size_t>(polygons.ring_offsets[static_cast<std::size_t>(ring)]);
        const auto v1 = static_cast<std::size_t>(polygons.ring_offsets[static_cast<std::size_t>(ring) + 1]);
        for (std::size_t v = v0; v < v1; ++v) {
          const std::size_t w = v + 1 < v1 ? v + 1 : v0;
          double ax = grid.local_x(polygons.xy[2 * v]), ay = grid.local_y(polygons.xy[2 * v + 1]);
          double bx = grid.local_x(polygons.xy[2 * w]), by = grid.local_y(polygons.xy[2 * w + 1]);
          if (ay > by) {  // the same crossing whichever way the ring runs
            std::swap(ax, bx);
            std::swap(ay, by);
          }
          if (by < grid.centre_y(row0) || ay > grid.centre_y(row1 - 1)) continue;
          // Half open: a vertex on a row counts for the edge below it only.
          const std::int64_t r1 = first_at_or_after(by, grid.dy, row0, row1);
          for (std::int64_t r = first_at_or_after(ay, grid.dy, row0, row1); r < r1; ++r) {
            crossings.push_back({r, ax + (grid.centre_y(r) - ay) * ((bx - ax) / (by - ay))});
          }
        }
      }
      std::sort(crossings.begin(), crossings.end(), [](const Crossing& a, const Crossing& b) {
        return a.row != b.row ? a.row < b.row : a.x < b.x;
      });
      for (std::size_t i = 0; i + 1 < crossings.size(); i += 2) {
        const std::int64_t c0 = first_at_or_after(crossings[i].x, grid.dx, window.col0, window.col1());
        const std::int64_t c1 = first_at_or_after(crossings[i + 1].x, grid.dx, c0, window.col1());
        if (c1 > c0) {
          std::memset(mask.data() + (crossings[i].row - window.row0) * window.ncols + (c0 - window.col0), 1,
                      static_cast<std::size_t>(c1 - c0));
        }
      }
    }
  });
  return mask;
}

}  // namespace rtmdx
