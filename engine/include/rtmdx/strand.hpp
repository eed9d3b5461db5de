// Many candidates strung along one smooth line: a digitised street, events put on a road, a lattice's only row.
//
// Seen from beside such a line, the cells of a tile have far more nearest candidates than a list can be pruned to, but
// each cell only a few: those about the foot of its perpendicular. In the frame (t, s) along and across the line all
// candidates lie within `eps` of a curve s = h(t), a polynomial. The squared distance g(t) of a place (T, S) to the curve
// has g'' / 2 = 1 + h'^2 - (S - h) h'' >= m, so for any t0, with r = g'(t0) / 2,
//   g(t) >= g(t0) - r^2 / m + m (t - t1)^2,  t1 = t0 - r / m,
// and a candidate at t has at least g(t) - 2 |S - h| eps. Candidates are looked at outward from t1 until this bound, with
// a margin far above rounding, is beyond the least value found: the least over all of them, bit for bit.
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
  // Takes the candidates if they lie so near to a line that few can be nearest to any one place in the box. `scale`
  // is the largest coordinate there is.
  bool lay(const pairs::Candidates& candidates, bool with_index, const Box& box, double scale);

  static constexpr std::size_t longest_row = 128;

  // The least value for each of the places (x[k], y), at most `longest_row`, and with `index` the smallest index among those of that value.
  void row(const double* x, std::size_t n, double y, double* value, double* index) const;

 private:
  struct Line {
    double ox, oy, ux, uy;  // the frame
    double half;            // unit of the polynomial's argument
    double h[5];
    bool straight;          // h is 0 throughout
    double low, high;       // the range of t
    double hollow, bulge;   // the least and the largest h''
    double swing;           // at least |h|

    double t(double x, double y) const { return (x - ox) * ux + (y - oy) * uy; }
    double s(double x, double y) const { return (y - oy) * ux - (x - ox) * uy; }
    double at(double t) const {
      const double v = t / half;
      return h[0] + v * (h[1] + v * (h[2] + v * (h[3] + v * h[4])));
    }
    void bound(double from, double to);
  };
  struct View {
    double flattest;  // the least m of the box
    double farthest;  // the largest |S - h|
    double wide;      // the largest |T|
  };
  struct Feet;
  static bool fit(const double* x, const double* y, std::size_t n, const Box& box, Line& line);
  static View view(const Line& line, const Box& box);
  static bool fine(const Line& line, const View& view, double eps, std::size_t n);
  static void feet(const Strand& strand, const double* x, std::size_t n, double y, Feet& to);
  void sort(const pairs::Candidates& candidates, std::size_t arrays, double last);

  template <class Pair, bool Indexed>
  void scan(const double* x, std::size_t n, double y, double* value, double* index) const;

  Line line_;
  double room_ = 0.0;   // 2 |S - k t^2 / 2| eps and the margin
  double buckets_per_length_ = 0.0;  // of t
  std::size_t size_ = 0;
  bool points_ = true;
  std::vector<double> from_, to_;  // candidates in order of their first t; the largest t of those so far
  std::vector<double> data_;       // their arrays
  std::vector<std::uint32_t> start_, of_, order_;
};

}  // namespace rtmdx
