#include "rtmdx/coverage.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>

#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

constexpr std::int64_t band_rows = 256;
constexpr std::size_t vertex_block = 1 << 16;
constexpr std::size_t zone_block = 64;
constexpr double far = 1e15;  // cells; beyond it a coordinate has no digit left for a cell
constexpr double ulp = std::numeric_limits<double>::epsilon();

double limited(double v) { return v > far ? far : v < -far ? -far : v; }

// Map coordinates are rounded: what lies on a cell's edge to within that rounding is put on it, so that a zone drawn
// along cell edges leaves no slivers in their neighbours.
double on_edge(double v, double rounding) {
  const double whole = std::nearbyint(v);
  return std::fabs(v - whole) <= rounding ? whole : v;
}

std::int64_t index_in(double v, std::int64_t count) {
  if (!(v > 0.0)) return 0;
  if (v >= static_cast<double>(count)) return count;
  return static_cast<std::int64_t>(v);
}

double between(double v, double a, double b) { return std::min(std::max(v, std::min(a, b)), std::max(a, b)); }

// Cuts the segment at the rows' edges: visit(row, x, y, x', y') for its pieces in rows [row0, row1), y <= y'. The
// places of the cuts do not depend on row0 and row1. Needs ay < by.
template <class Visit>
void each_row(double ax, double ay, double bx, double by, std::int64_t row0, std::int64_t row1, const Visit& visit) {
  const double top = std::max(ay, static_cast<double>(row0)), bottom = std::min(by, static_cast<double>(row1));
  if (!(top < bottom)) return;
  const double slope = (bx - ax) / (by - ay);
  const auto x_at = [&](double y) { return y == ay ? ax : y == by ? bx : between(ax + (y - ay) * slope, ax, bx); };
  double y = top, x = x_at(top);
  for (auto row = static_cast<std::int64_t>(top); row < row1 && y < bottom; ++row) {
    const double next_y = std::min(static_cast<double>(row + 1), bottom);
    const double next_x = x_at(next_y);
    visit(row, x, y, next_x, next_y);
    y = next_y;
    x = next_x;
  }
}

// Cuts a piece at the columns' edges: visit(col, x, y, x', y') with x <= x', for the columns [0, cols) it runs through.
template <class Visit>
void each_column(double ax, double ay, double bx, double by, std::int64_t cols, const Visit& visit) {
  if (ax > bx) {
    std::swap(ax, bx);
    std::swap(ay, by);
  }
  const double left = std::max(ax, 0.0), right = std::min(bx, static_cast<double>(cols));
  const double slope = bx > ax ? (by - ay) / (bx - ax) : 0.0;
  const auto y_at = [&](double x) { return x == bx ? by : x == ax ? ay : between(ay + (x - ax) * slope, ay, by); };
  double x = left, y = x == ax ? ay : y_at(x);
  for (std::int64_t col = index_in(left, cols); col < cols; ++col) {
    const double next_x = std::min(static_cast<double>(col + 1), right);
    const double next_y = y_at(next_x);
    visit(col, x, y, next_x, next_y);
    if (!(next_x < right)) break;
    x = next_x;
    y = next_y;
  }
}

}  // namespace

// What one piece adds to its cell and, for polygons, to all cells right of it.
struct ZoneScan::Entry {
  std::int64_t row, col;
  double amount;  // polygons: signed area between the piece and the cell's right side
  double cover;   // polygons: signed height
};

void check(const Zones& zones) {
  check(zones.features);
  const std::size_t n = zones.kind == Kind::points  ? zones.features.points.size()
                        : zones.kind == Kind::lines ? zones.features.lines.size()
                                                    : zones.features.polygons.size();
  const Span<std::int64_t>& o = zones.offsets;
  if (o.empty() && n == 0) return;
  if (o.empty() || o[0] != 0 || o[o.size() - 1] != static_cast<std::int64_t>(n)) {
    throw InvalidArgument("zone offsets must run from 0 to the number of features, " + std::to_string(n));
  }
  for (std::size_t i = 1; i < o.size(); ++i) {
    if (o[i] < o[i - 1]) throw InvalidArgument("zone offsets fall at position " + std::to_string(i));
  }
}

// visit(first vertex, end vertex, ring) for every chain of vertices of the zone; ring counts polygons' rings only.
template <class Visit>
void ZoneScan::each_chain(std::size_t zone, const Visit& visit) const {
  const auto f0 = static_cast<std::size_t>(zones_.offsets[zone]), f1 = static_cast<std::size_t>(zones_.offsets[zone + 1]);
  const auto at = [](const Span<std::int64_t>& offsets, std::size_t i) { return static_cast<std::size_t>(offsets[i]); };
  if (zones_.kind == Kind::points) {
    visit(f0, f1, std::size_t{0});
  } else if (zones_.kind == Kind::lines) {
    const Span<std::int64_t>& o = zones_.features.lines.offsets;
    for (std::size_t f = f0; f < f1; ++f) visit(at(o, f), at(o, f + 1), std::size_t{0});
  } else if (f0 < f1) {
    const Polygons& p = zones_.features.polygons;
    for (std::size_t ring = at(p.polygon_offsets, f0); ring < at(p.polygon_offsets, f1); ++ring) {
      visit(at(p.ring_offsets, ring), at(p.ring_offsets, ring + 1), ring);
    }
  }
}

ZoneScan::ZoneScan(const Zones& zones, const Grid& grid, const Run& run) : zones_(zones), grid_(grid) {
  const Features& f = zones.features;
  const Span<double> xy = zones.kind == Kind::points  ? f.points.xy
                          : zones.kind == Kind::lines ? f.lines.xy
                                                      : f.polygons.xy;
  const std::size_t n = xy.size() / 2;
  places_.resize(n);
  parallel_for((n + vertex_block - 1) / vertex_block, run, [&](std::size_t block, Poll&) {
    for (std::size_t i = block * vertex_block; i < std::min(n, (block + 1) * vertex_block); ++i) {
      const double x = xy[2 * i], y = xy[2 * i + 1];
      double u = grid.local_x(x) / grid.dx, v = grid.local_y(y) / grid.dy;
      if (zones.kind != Kind::points) {  // a point belongs to the cell that Grid.cell_of names
        u = on_edge(u, 2.0 * ulp * (std::fabs(x) + std::fabs(grid.x_min)) / grid.dx);
        v = on_edge(v, 2.0 * ulp * (std::fabs(y) + std::fabs(grid.y_max)) / grid.dy);
      }
      places_[i] = {limited(u), limited(v)};
    }
  });

  turn_.assign(zones.kind == Kind::polygons ? f.polygons.rings() : 0, 1);
  if (zones.kind == Kind::polygons) {  // outlines count their area, holes take theirs away
    for (std::size_t p = 0; p < f.polygons.size(); ++p) {
      const auto ring0 = static_cast<std::size_t>(f.polygons.polygon_offsets[p]);
      const auto ring1 = static_cast<std::size_t>(f.polygons.polygon_offsets[p + 1]);
      for (std::size_t ring = ring0 + 1; ring < ring1; ++ring) turn_[ring] = -1;
    }
  }
  measure_.assign(zones.size(), 0.0);
  within_.assign(zones.size(), 0);
  row0_.assign(zones.size(), 0);
  row1_.assign(zones.size(), 0);
  parallel_for((zones.size() + zone_block - 1) / zone_block, run, [&](std::size_t block, Poll& poll) {
    for (std::size_t z = block * zone_block; z < std::min(zones.size(), (block + 1) * zone_block); ++z) {
      poll();
      survey(z);
    }
  });
}

// The zone's extent and measure; turns its rings.
void ZoneScan::survey(std::size_t zone) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  double u0 = inf, u1 = -inf, v0 = inf, v1 = -inf, measure = 0.0;
  each_chain(zone, [&](std::size_t first, std::size_t end, std::size_t ring) {
    double part = 0.0;
    for (std::size_t i = first; i < end; ++i) {
      const Place& a = places_[i];
      u0 = std::min(u0, a.u);
      u1 = std::max(u1, a.u);
      v0 = std::min(v0, a.v);
      v1 = std::max(v1, a.v);
      if (zones_.kind == Kind::points) {
        part += 1.0;
      } else if (i + 1 < end) {
        const Place &b = places_[i + 1], &o = places_[first];
        part += zones_.kind == Kind::lines ? std::hypot((b.u - a.u) * grid_.dx, (b.v - a.v) * grid_.dy)
                                           : 0.5 * ((a.u - o.u) * (b.v - o.v) - (b.u - o.u) * (a.v - o.v));
      }
    }
    if (zones_.kind == Kind::polygons) {
      const double area = std::fabs(part) * grid_.dx * grid_.dy;
      measure += turn_[ring] * area;
      if (part < 0.0) turn_[ring] = static_cast<signed char>(-turn_[ring]);
    } else {
      measure += part;
    }
  });
  measure_[zone] = measure;
  const auto rows = static_cast<double>(grid_.rows), cols = static_cast<double>(grid_.cols);
  within_[zone] = u0 >= 0.0 && u1 <= cols && v0 >= 0.0 && v1 <= rows ? 1 : 0;
  if (!(u0 <= cols && v1 >= 0.0 && v0 <= rows && u1 >= 0.0) || grid_.rows == 0 || grid_.cols == 0) return;
  row0_[zone] = std::min(index_in(v0, grid_.rows), grid_.rows - 1);
  row1_[zone] = std::min(index_in(v1, grid_.rows) + 1, grid_.rows);
}

std::vector<ZoneBand> ZoneScan::bands() const {
  std::vector<ZoneBand> out;
  for (std::size_t z = 0; z < row0_.size(); ++z) {
    for (std::int64_t r = row0_[z]; r < row1_[z]; r = (r / band_rows + 1) * band_rows) {
      out.push_back({z, r, std::min((r / band_rows + 1) * band_rows, row1_[z])});
    }
  }
  return out;
}

void ZoneScan::scan_points(const ZoneBand& band, std::vector<Entry>& entries) const {
  const auto rows = static_cast<double>(grid_.rows), cols = static_cast<double>(grid_.cols);
  each_chain(band.zone, [&](std::size_t first, std::size_t end, std::size_t) {
    for (std::size_t i = first; i < end; ++i) {
      const Place& p = places_[i];
      if (!(p.u >= 0.0 && p.u <= cols && p.v >= 0.0 && p.v <= rows)) continue;
      const std::int64_t row = std::min(index_in(p.v, grid_.rows), grid_.rows - 1);
      if (row < band.row0 || row >= band.row1) continue;
      entries.push_back({row, std::min(index_in(p.u, grid_.cols), grid_.cols - 1), 1.0, 0.0});
    }
  });
}

void ZoneScan::scan_lines(const ZoneBand& band, Poll& poll, std::vector<Entry>& entries) const {
  const auto rows = static_cast<double>(grid_.rows), cols = static_cast<double>(grid_.cols);
  std::size_t seen = 0;
  const auto piece = [&](std::int64_t row, double ax, double ay, double bx, double by) {
    if (!(std::max(ax, bx) >= 0.0 && std::min(ax, bx) <= cols)) return;
    if (std::min(ax, bx) == cols) {  // along the raster's right edge
      const double length = std::hypot((bx - ax) * grid_.dx, (by - ay) * grid_.dy);
      if (length > 0.0) entries.push_back({row, grid_.cols - 1, length, 0.0});
      return;
    }
    each_column(ax, ay, bx, by, grid_.cols, [&](std::int64_t col, double x, double y, double x1, double y1) {
      const double length = std::hypot((x1 - x) * grid_.dx, (y1 - y) * grid_.dy);
      if (length > 0.0) entries.push_back({row, col, length, 0.0});
    });
  };
  each_chain(band.zone, [&](std::size_t first, std::size_t end, std::size_t) {
    for (std::size_t i = first; i + 1 < end; ++i) {
      if ((++seen & 1023U) == 0) poll();
      Place a = places_[i], b = places_[i + 1];
      if (a.v > b.v) std::swap(a, b);
      if (a.v < b.v) {
        each_row(a.u, a.v, b.u, b.v, band.row0, band.row1, piece);
      } else if (a.v >= 0.0 && a.v <= rows) {
        const std::int64_t row = std::min(index_in(a.v, grid_.rows), grid_.rows - 1);
        if (row >= band.row0 && row < band.row1) piece(row, a.u, a.v, b.u, b.v);
      }
    }
  });
}

void ZoneScan::scan_polygons(const ZoneBand& band, Poll& poll, std::vector<Entry>& entries) const {
  const auto cols = static_cast<double>(grid_.cols);
  std::size_t seen = 0;
  each_chain(band.zone, [&](std::size_t first, std::size_t end, std::size_t ring) {
    for (std::size_t i = first; i < end; ++i) {
      if ((++seen & 1023U) == 0) poll();
      Place a = places_[i], b = places_[i + 1 < end ? i + 1 : first];
      double sign = -static_cast<double>(turn_[ring]);  // an edge running up bounds its area on the right
      if (a.v > b.v) {
        std::swap(a, b);
        sign = -sign;
      }
      if (!(a.v < b.v)) continue;
      each_row(a.u, a.v, b.u, b.v, band.row0, band.row1,
               [&](std::int64_t row, double ax, double ay, double bx, double by) {
        if (!(std::min(ax, bx) < cols)) return;
        const double height = sign * (by - ay);
        if (!(std::max(ax, bx) > 0.0)) {
          entries.push_back({row, 0, height, height});
          return;
        }
        if (std::min(ax, bx) < 0.0) {  // what lies left of the raster covers all of the row's cells
          const double enters = between(ay + (0.0 - ax) * ((by - ay) / (bx - ax)), ay, by);
          const double before = sign * std::fabs(ax < 0.0 ? enters - ay : by - enters);
          entries.push_back({row, 0, before, before});
        }
        each_column(ax, ay, bx, by, grid_.cols, [&](std::int64_t col, double x, double y, double x1, double y1) {
          const double part = sign * std::fabs(y1 - y);
          const auto c = static_cast<double>(col);
          entries.push_back({row, col, part * (1.0 - 0.5 * ((x - c) + (x1 - c))), part});
        });
      });
    }
  });
}

// Stable; most rows hold a handful of entries.
template <class Iterator>
void ZoneScan::sort_by_col(Iterator begin, Iterator end) {
  if (end - begin > 32) {
    std::stable_sort(begin, end, [](const Entry& a, const Entry& b) { return a.col < b.col; });
    return;
  }
  for (Iterator i = begin; i != end; ++i) {
    const Entry e = *i;
    Iterator to = i;
    for (; to != begin && (to - 1)->col > e.col; --to) *to = *(to - 1);
    *to = e;
  }
}

void ZoneScan::scan(const ZoneBand& band, Poll& poll, std::vector<CellRun>& runs) const {
  runs.clear();
  std::vector<Entry> entries;
  switch (zones_.kind) {
    case Kind::points:
      scan_points(band, entries);
      break;
    case Kind::lines:
      scan_lines(band, poll, entries);
      break;
    case Kind::polygons:
      scan_polygons(band, poll, entries);
      break;
  }
  // By row through counting, then by column; entries of one cell stay in the order of the edges.
  const auto rows = static_cast<std::size_t>(band.row1 - band.row0);
  std::vector<std::size_t> start(rows + 1, 0);
  for (const Entry& e : entries) ++start[static_cast<std::size_t>(e.row - band.row0) + 1];
  for (std::size_t r = 0; r < rows; ++r) start[r + 1] += start[r];
  std::vector<Entry> sorted(entries.size());
  std::vector<std::size_t> at(start.begin(), start.end() - 1);
  for (const Entry& e : entries) sorted[at[static_cast<std::size_t>(e.row - band.row0)]++] = e;
  entries = {};

  for (std::size_t r = 0; r < rows; ++r) {
    poll();
    const auto begin = sorted.begin() + static_cast<std::ptrdiff_t>(start[r]);
    const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(start[r + 1]);
    sort_by_col(begin, end);
    const std::int64_t row = band.row0 + static_cast<std::int64_t>(r);
    double before = 0.0;     // signed height of the edges left of the cell
    double magnitude = 0.0;  // of all that went into a sum: what its rounding is measured by
    for (auto e = begin; e != end;) {
      const std::int64_t col = e->col;
      double amount = 0.0, cover = 0.0;
      for (; e != end && e->col == col; ++e) {
        amount += e->amount;
        cover += e->cover;
        magnitude += std::fabs(e->cover);
      }
      if (zones_.kind != Kind::polygons) {
        runs.push_back({row, col, col + 1, amount});
        continue;
      }
      const double rounding = 4.0 * ulp * magnitude;
      double share = std::fabs(before + amount);
      if (share > 1.0 - rounding) share = 1.0;
      if (share > rounding) runs.push_back({row, col, col + 1, share});
      before += cover;
      const std::int64_t next = e != end ? e->col : grid_.cols;
      if (next > col + 1) {  // no edge but level ones in these cells: all hold the same share, mostly all or nothing
        const double whole = std::nearbyint(before);
        if (std::fabs(before - whole) <= rounding) {
          before = whole;
          magnitude = std::fabs(whole);
        }
        if (before != 0.0) runs.push_back({row, col + 1, next, std::min(std::fabs(before), 1.0)});
      }
    }
  }
}

double ZoneScan::outside(std::size_t zone, double covered) const {
  if (!(measure_[zone] > 0.0)) return std::numeric_limits<double>::quiet_NaN();
  if (within_[zone] != 0) return 0.0;
  if (zones_.kind == Kind::polygons) covered *= grid_.dx * grid_.dy;
  return std::min(1.0, std::max(0.0, 1.0 - covered / measure_[zone]));
}

ZoneCells coverage(const Zones& zones, const Grid& grid, std::int64_t limit, const Run& run) {
  check(grid, Window{});
  check(zones);
  ZoneCells out;
  try {
    const ZoneScan scan(zones, grid, run);
    const std::vector<ZoneBand> bands = scan.bands();
    std::vector<std::vector<CellRun>> runs(bands.size());
    parallel_for(bands.size(), run, [&](std::size_t block, Poll& poll) {
      scan.scan(bands[block], poll, runs[block]);
      runs[block].shrink_to_fit();
    }, Loop::main);
    std::vector<std::size_t> start(bands.size() + 1, 0);
    for (std::size_t b = 0; b < bands.size(); ++b) {
      start[b + 1] = start[b];
      for (const CellRun& cells : runs[b]) start[b + 1] += static_cast<std::size_t>(cells.col1 - cells.col0);
    }
    if (start.back() > static_cast<std::size_t>(std::max<std::int64_t>(limit, 0))) {
      throw OutOfMemory("the coverage of " + std::to_string(zones.size()) + " zones has " +
                        std::to_string(start.back()) + " cells, more than the " + std::to_string(limit) +
                        " that memory allows");
    }
    out.zone.resize(start.back());
    out.cell.resize(start.back());
    out.amount.resize(start.back());
    parallel_for(bands.size(), run, [&](std::size_t block, Poll&) {
      std::size_t at = start[block];
      for (const CellRun& cells : runs[block]) {
        for (std::int64_t c = cells.col0; c < cells.col1; ++c, ++at) {
          out.zone[at] = static_cast<std::int64_t>(bands[block].zone);
          out.cell[at] = cells.row * grid.cols + c;
          out.amount[at] = cells.amount;
        }
      }
    });
    out.measure.resize(zones.size());
    out.outside.resize(zones.size());
    std::vector<double> covered(zones.size(), 0.0);
    for (std::size_t b = 0; b < bands.size(); ++b) {
      for (const CellRun& cells : runs[b]) {
        covered[bands[b].zone] += cells.amount * static_cast<double>(cells.col1 - cells.col0);
      }
    }
    for (std::size_t z = 0; z < zones.size(); ++z) {
      out.measure[z] = scan.measure(z);
      out.outside[z] = scan.outside(z, covered[z]);
    }
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the coverage of " + std::to_string(zones.size()) + " zones");
  }
  return out;
}

}  // namespace rtmdx
