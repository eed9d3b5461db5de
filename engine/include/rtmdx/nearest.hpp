// Features prepared for nearest-feature search on one grid: made once, asked for any number of windows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/inside.hpp"
#include "rtmdx/pairs.hpp"
#include "rtmdx/prune.hpp"

namespace rtmdx {

// Which input geometry each point, line and polygon came from. Empty spans: they are numbered in this order.
struct Sources {
  Span<std::int64_t> points;
  Span<std::int64_t> lines;
  Span<std::int64_t> polygons;
};

// Points, or segments where there are lines or polygons, in the grid's local coordinates, sorted along a space-filling
// curve and packed into a tree of bounding boxes. Immutable: any number of threads may search it at once.
class Nearest {
 public:
  // Keeps the view of the polygons: their arrays must outlive the object.
  Nearest(const Features& features, const Sources& sources, const Grid& grid, const Run& run);

  const Grid& grid() const { return grid_; }
  const PolygonRows& polygons() const { return polygons_; }
  bool points() const { return points_; }
  std::size_t size() const { return size_; }
  std::size_t arrays(bool with_index) const {
    return (points_ ? pairs::point_arrays : pairs::segment_arrays) + (with_index ? 1 : 0);
  }

  // Far above the rounding of any distance here, far below any distance that matters.
  double slack() const { return 1e-12 * scale_; }

  // What a search starts from: some candidate, as near as can be guessed.
  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);

  struct Found {
    std::size_t champion = nobody;  // nearest to the box's middle
    Seen seen;
    bool complete = true;
  };

  // Copies to `to` every candidate that can be nearest to, and within `reach` of, a place in the box; few others. Gives
  // up (not complete) beyond `most` candidates. `guess` is the champion of a box nearby, or nobody.
  Found around(Metric metric, const Box& box, double reach, bool with_index, std::size_t most, std::size_t guess,
               std::vector<std::size_t>& runs, Gathered& to) const;

 private:
  static constexpr std::size_t group = 8;   // candidates in a lowest box
  static constexpr std::size_t fan = 8;     // boxes in a box

  struct Search;
  void index_boxes(Poll& poll);

  Grid grid_;
  PolygonRows polygons_;
  bool points_ = true;
  std::size_t size_ = 0;
  double scale_ = 0.0;
  std::vector<double> data_;              // arrays with the index, each of size_ values
  std::vector<std::vector<Box>> levels_;  // lowest first; the last has at most `fan` boxes
};

}  // namespace rtmdx
