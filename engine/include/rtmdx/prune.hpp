// Which candidates can be nearest to a cell of a tile.
//
// Distance to a feature is 1-Lipschitz: over a tile of cell centres with middle c and radius r, only a feature with
// d(c, f) <= min d(c, .) + 2 r can be nearest to one of them. Where many pass (a cluster seen from afar), a second rule
// prunes exactly: let g be a place on some feature and q any place of another. Over the tile d(c, q) - d(c, g), for the
// Euclidean metric of the squares, is least at a corner: squares differ by a linear function, and |x - q| - |x - g| is
// monotone in x, so a sum over the axes is least at an end of each. A feature farther than g from all four corners is
// never nearest. Both rules leave a margin far above rounding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/pairs.hpp"

namespace rtmdx {

// A rectangle of places, its edges included.
struct Box {
  double x0, y0, x1, y1;

  pairs::Place middle() const { return {0.5 * (x0 + x1), 0.5 * (y0 + y1)}; }
};

// Candidates that a search collects or hands on.
struct Gathered {
  std::vector<double> data;
  std::size_t size = 0;
  std::size_t stride = 0;  // from one array to the next

  pairs::Candidates view(bool points) const { return {data.data(), stride, size, points}; }
};

// The rules for one tile, from the distance `best` of its middle to the nearest feature.
struct Rule {
  Metric metric;
  double radius;   // distance from the middle to a corner
  double within;   // candidates whose value from the middle is larger are never nearest
  bool empty;      // every feature is farther than `limit` from all of the tile
  double slack;
  pairs::Place corner[4];
  double allowed[4];  // values

  Rule(Metric metric, const Box& box, double best, double limit, double slack);
  // Sets the corners and what is allowed there, for the place g on a feature.
  void see(pairs::Place g);

 private:
  Box box_;
};

// What pruning a tile tells about it.
struct Seen {
  double best = 0.0;  // distance from the middle to the nearest feature
  double radius = 0.0;
};

// Room for pruning, reused from tile to tile.
struct Room {
  std::vector<double> value;
  std::vector<std::uint32_t> list;

  void fit(std::size_t n) {
    if (value.size() >= n) return;
    value.resize(n);
    list.resize(n);
  }
};

// Copies to `to` the candidates, of `arrays` arrays each, that can be nearest to, and within `limit` of, a place in the
// box. So few as `few` are not worth the second rule.
Seen prune(Metric metric, const Box& box, double limit, double slack, const pairs::Candidates& from,
           std::size_t arrays, std::size_t few, Room& room, Gathered& to);

}  // namespace rtmdx
