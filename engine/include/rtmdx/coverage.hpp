// How much of every zone lies in every cell: area shares of polygons, lengths of lines, numbers of points.
//
// Polygons by signed area: an edge that runs through a row adds, to the cells it crosses, the area between itself and
// the cell's right side, and its height to all cells farther right; a running sum along the row does the rest. The
// work is the cells crossed and the cells covered, whatever the size of the raster.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx {

// What of the features makes the zones.
enum class Kind { points, lines, polygons };

// Zone z consists of the features offsets[z] .. offsets[z + 1] of one kind. Polygons should be valid and those of one
// zone should not overlap one another; different zones may.
struct Zones {
  Features features;
  Kind kind = Kind::polygons;
  Span<std::int64_t> offsets;

  std::size_t size() const { return offsets.empty() ? 0 : offsets.size() - 1; }
};

// Throws InvalidArgument unless the offsets cut the features of the kind.
void check(const Zones& zones);

// Cells [col0, col1) of a row and what each holds of a zone: the share of the cell's area (0 .. 1], the length in map
// units, or the number of points.
struct CellRun {
  std::int64_t row, col0, col1;
  double amount;
};

// A zone's rows [row0, row1), at most band_rows of them: what one block of work does.
struct ZoneBand {
  std::size_t zone;
  std::int64_t row0, row1;
};

class ZoneScan {
 public:
  // Keeps views of the zones; `run` paces the preparation.
  ZoneScan(const Zones& zones, const Grid& grid, const Run& run);

  // Every zone's rows within the raster, in bands of rows counted from the raster's top; zones in order.
  std::vector<ZoneBand> bands() const;

  // Fills `runs` with the band's cells that hold something of the zone, by row, then column; no cell twice.
  void scan(const ZoneBand& band, Poll& poll, std::vector<CellRun>& runs) const;

  // Area, length or number of the whole zone, in map units.
  double measure(std::size_t zone) const { return measure_[zone]; }
  // Share of the zone that lies off the raster, given the sum of its amounts; exactly 0 where its extent lies within.
  double outside(std::size_t zone, double covered) const;

 private:
  struct Entry;
  struct Place {
    double u, v;  // columns from the left edge, rows from the top edge
  };

  void survey(std::size_t zone);
  void scan_points(const ZoneBand& band, std::vector<Entry>& entries) const;
  void scan_lines(const ZoneBand& band, Poll& poll, std::vector<Entry>& entries) const;
  void scan_polygons(const ZoneBand& band, Poll& poll, std::vector<Entry>& entries) const;
  template <class Iterator>
  static void sort_by_col(Iterator begin, Iterator end);
  template <class Visit>
  void each_chain(std::size_t zone, const Visit& visit) const;

  Zones zones_;
  Grid grid_;
  std::vector<Place> places_;         // every vertex
  std::vector<signed char> turn_;     // of every ring: what its signed area counts
  std::vector<double> measure_;
  std::vector<unsigned char> within_;
  std::vector<std::int64_t> row0_, row1_;
};

// Triples (zone, cell, amount) by zone, then cell; cell = row * cols + col.
struct ZoneCells {
  std::vector<std::int64_t> zone, cell;
  std::vector<double> amount;
  std::vector<double> measure, outside;  // per zone: its area, length or number in map units; the share off the raster
};

// Throws OutOfMemory, before they are made, when there are more than `limit` triples.
ZoneCells coverage(const Zones& zones, const Grid& grid, std::int64_t limit, const Run& run);

}  // namespace rtmdx
