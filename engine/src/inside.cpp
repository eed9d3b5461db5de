#include "rtmdx/inside.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

constexpr std::int64_t band_rows = 64;
constexpr std::size_t poll_every = 4096;

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

PolygonRows::PolygonRows(const Polygons& polygons, Span<std::int64_t> sources, std::int64_t before, const Grid& grid,
                         Poll& poll)
    : polygons_(polygons), sources_(sources), before_(before), grid_(grid) {
  first_.resize(polygons.size());
  last_.resize(polygons.size());
  for (std::size_t p = 0; p < polygons.size(); ++p) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    const std::int64_t v0 = polygons.ring_offsets[static_cast<std::size_t>(polygons.polygon_offsets[p])];
    const std::int64_t v1 = polygons.ring_offsets[static_cast<std::size_t>(polygons.polygon_offsets[p + 1])];
    for (std::int64_t v = v0; v < v1; ++v) {
      if (static_cast<std::size_t>(v) % poll_every == 0) poll();
      const double y = grid.local_y(polygons.xy[static_cast<std::size_t>(2 * v + 1)]);
      low = std::min(low, y);
      high = std::max(high, y);
    }
    first_[p] = v0 == v1 ? grid.rows : first_at_or_after(low, grid.dy, 0, grid.rows);
    last_[p] = v0 == v1 ? grid.rows : first_at_or_after(high, grid.dy, 0, grid.rows);
  }
}

// Calls visit(polygon, row, first column, last column) for every run of cells inside a polygon, rows in parallel.
template <class Visit>
void PolygonRows::spans(const Window& window, const Run& run, const Visit& visit) const {
  const Polygons& polygons = polygons_;
  const Grid& grid = grid_;
  // The polygons of every band of rows.
  const std::size_t bands = static_cast<std::size_t>((window.nrows + band_rows - 1) / band_rows);
  std::vector<std::size_t> start(bands + 1, 0);
  const auto each_band = [&](std::size_t p, const auto& act) {
    const std::int64_t low = std::max(first_[p], window.row0), high = std::min(last_[p], window.row1());
    if (low >= high) return;
    const auto b0 = static_cast<std::size_t>((low - window.row0) / band_rows);
    const auto b1 = static_cast<std::size_t>((high - 1 - window.row0) / band_rows);
    for (std::size_t b = b0; b <= b1; ++b) act(b);
  };
  for (std::size_t p = 0; p < polygons.size(); ++p) each_band(p, [&](std::size_t b) { ++start[b + 1]; });
  for (std::size_t b = 0; b < bands; ++b) start[b + 1] += start[b];
  std::vector<std::size_t> members(start[bands]);
  std::vector<std::size_t> fill(start.begin(), start.end() - 1);
  for (std::size_t p = 0; p < polygons.size(); ++p) each_band(p, [&](std::size_t b) { members[fill[b]++] = p; });

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
          if (v % poll_every == 0) poll();
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
        if (c1 > c0) visit(p, crossings[i].row, c0, c1);
      }
    }
  });
}

std::vector<std::uint8_t> PolygonRows::inside(const Window& window, const Run& run) const {
  std::vector<std::uint8_t> mask;
  if (empty()) return mask;
  mask.resize(static_cast<std::size_t>(window.nrows) * static_cast<std::size_t>(window.ncols), 0);
  if (mask.empty()) return mask;
  spans(window, run, [&](std::size_t, std::int64_t row, std::int64_t c0, std::int64_t c1) {
    std::memset(mask.data() + (row - window.row0) * window.ncols + (c0 - window.col0), 1,
                static_cast<std::size_t>(c1 - c0));
  });
  return mask;
}

void PolygonRows::enclosing(const Window& window, const Run& run, RasterView<std::int64_t> source) const {
  if (empty() || window.empty()) return;
  spans(window, run, [&](std::size_t p, std::int64_t row, std::int64_t c0, std::int64_t c1) {
    const std::int64_t index = sources_.empty() ? before_ + static_cast<std::int64_t>(p) : sources_[p];
    std::int64_t* to = source.row(row - window.row0) - window.col0;
    for (std::int64_t c = c0; c < c1; ++c) to[c] = std::min(to[c], index);
  });
}

std::vector<std::uint8_t> inside(const Polygons& polygons, const Grid& grid, const Window& window, const Run& run) {
  std::atomic<bool> stop{false};
  Poll poll(stop, &run);
  std::vector<std::uint8_t> mask = PolygonRows(polygons, {}, 0, grid, poll).inside(window, run);
  mask.resize(static_cast<std::size_t>(window.nrows) * static_cast<std::size_t>(window.ncols), 0);
  return mask;
}

}  // namespace rtmdx
