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

  // The largest coordinate of features and grid.
  double scale() const { return scale_; }

  // What a search starts from: some candidate, as near as can be guessed.
  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);

  struct Found {
    std::size_t champion = nobody;  // nearest to the box's middle
    Seen seen;
    bool complete = true;
    bool search = false;  // the boxes tell the candidates of single places well apart
  };

  // Boxes of the tree, all at one level, that hold every candidate that can be nearest to a place in some rectangle.
  struct Frontier {
    std::size_t level = 0;
    std::vector<std::size_t> nodes;
    std::vector<double> boxes;  // their arrays, each of nodes.size() values
    std::vector<double> test;   // room for one value a box

    pairs::Boxes view() const { return {boxes.data(), nodes.size(), nodes.size()}; }
  };

  // The whole tree's.
  void all(Metric metric, Frontier& to) const;

  // Keeps of a frontier what can be nearest to, and within `reach` of, a place in the rectangle, and goes down the tree
  // while at most `wide` boxes are left. `guess` is the champion of a rectangle nearby, or nobody. Complete if at most
  // `most` candidates are left.
  Found narrow(Metric metric, const Box& box, double reach, std::size_t wide, std::size_t most, std::size_t guess,
               Frontier& from, Frontier& to) const;

  // How many candidates a frontier holds, at most.
  std::size_t count(const Frontier& frontier) const {
    std::size_t span = group;  // candidates in a box
    for (std::size_t k = 0; k < frontier.level; ++k) span *= fan;
    return std::min(frontier.nodes.size() * span, size_);
  }

  // Copies the candidates of a frontier.
  void gather(const Frontier& from, bool with_index, Gathered& to) const;

  // The value of the nearest candidate of the frontier for the cells (x[k], y), and with `index` its smallest source.
  // For crowded frontiers: each cell searches the tree, starting from where its neighbours' champions lead. `champions`
  // holds those of the row above, or any, and then this row's.
  void search(Metric metric, Frontier& frontier, const double* x, std::size_t n, double y, std::size_t* champions,
              double* value, double* index) const;

 private:
  static constexpr std::size_t group = 8;   // candidates in a lowest box
  static constexpr std::size_t fan = 8;     // boxes in a box

  struct Level {
    std::size_t size = 0;
    std::vector<double> upright, turned;  // the boxes of either metric, each array of `size` values

    const std::vector<double>& boxes(Metric m) const { return m == Metric::euclidean ? turned : upright; }
    pairs::Boxes view(Metric m, std::size_t first, std::size_t last) const {
      return {boxes(m).data() + first, size, last - first};
    }
  };
  struct Search;
  void pass(const Search& search, const Rule& rule, Frontier& to) const;
  void index_boxes(const Run& run);

  Grid grid_;
  PolygonRows polygons_;
  bool points_ = true;
  std::size_t size_ = 0;
  double scale_ = 0.0;
  std::vector<double> data_;   // arrays with the index, each of size_ values
  std::vector<Level> levels_;  // lowest first; the last has at most `fan` boxes
};

}  // namespace rtmdx
