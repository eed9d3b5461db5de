// Many candidates strung along one smooth line: a digitised street, events put on a road, a lattice's only row.
//
// Seen from beside such a line, the cells of a tile have far more nearest candidates than a list can be pruned to, but
// each cell only a few: those about the foot of its perpendicular. In the frame (t, s) along and across the line all
// candidates lie within `eps` of a parabola s = k t^2 / 2. The squared distance g(t) of a place (T, S) to the parabola
// has g'' / 2 >= m = 1 - k S, so for any t0, with r = g'(t0) / 2,
//   g(t) >= g(t0) - r^2 / m + m (t - t1)^2,  t1 = t0 - r / m,
// and a candidate at t has at least g(t) - 2 |S - k t^2 / 2| eps. Candidates are looked at outward from t1 until this
// bound, with a margin far above rounding, is beyond the least value found: the least over all of them, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/pairs.hpp"
#include "rtmdx/prune.hpp"

namespace rtmdx {

// For the Euclidean metric.
class Strand {
 public:
  // Whether some of the places (x[i], y[i]) hint that all are strung along a line, finely as seen from the box. Cheap.
  static bool likely(const double* x, const double* y, std::size_t n, const Box& box);

  // Takes the candidates if they lie so near to a line that few can be nearest to any one place in the box. `scale`
  // is the largest coordinate there is.
  bool lay(const pairs::Candidates& candidates, bool with_index, const Box& box, double scale);

  // The least value for each of the places (x[k], y), and with `index` the smallest index among those of that value.
  void row(const double* x, std::size_t n, double y, double* value, double* index) const;

 private:
  struct Line {
    double ox, oy, ux, uy;  // the frame
    double bend;            // k

    double t(double x, double y) const { return (x - ox) * ux + (y - oy) * uy; }
    double s(double x, double y) const { return (y - oy) * ux - (x - ox) * uy; }
  };
  struct View {
    double flattest;  // the least m of the box
    double farthest;  // the largest |S - k t^2 / 2|
  };
  static bool fit(const double* x, const double* y, std::size_t n, Line& line, double& half, double& off);
  static View view(const Line& line, double half, const Box& box);
  static bool fine(const View& view, double eps, double half, std::size_t n, double allowance);

  template <class Pair, bool Indexed>
  void scan(const double* x, std::size_t n, double y, double* value, double* index) const;

  Line line_;
  double room_ = 0.0;   // 2 |S - k t^2 / 2| eps and the margin
  double first_ = 0.0, last_ = 0.0, buckets_per_length_ = 0.0;  // of t
  std::size_t size_ = 0;
  bool points_ = true;
  std::vector<double> from_, to_;  // candidates in order of their first t; the largest t of those so far
  std::vector<double> data_;       // their arrays
  std::vector<std::uint32_t> start_, of_, order_;
};

}  // namespace rtmdx
