// What the two ways of a mask's distance share. Both find, for every cell, the minimum over feature cells of
//   d2 = (dc * dc) * wx + (dr * dr) * wy,    distance = scale * sqrt(d2),
// dc and dr whole numbers of columns and rows. Square cells have wx = wy = 1, so that d2 is a whole number and any way
// of adding it up is exact; else wx = dx * dx, wy = dy * dy, and both ways evaluate this one expression in double.
// For square cells and float output the root is rounded to float before it is scaled: within 1 part in 2^23, and the
// bits are the same whether d2 was held in float (exact below 2^24) or in double.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/mask_distance.hpp"

namespace rtmdx::mask {

struct Metric {
  double wx, wy, scale;
  double limit;  // the largest d2 whose distance is not beyond max_distance

  bool square() const { return wx == 1.0 && wy == 1.0; }
};

template <class T>
struct Problem {
  MaskView mask;
  Window window;
  Metric metric;
  RasterView<T> out;

  T* row(std::int64_t r, std::int64_t c) const { return out.row(r - window.row0) + (c - window.col0); }
};

// Cuts long rows in pieces and polls once for every so many cells, however they are spread over calls.
class Pieces {
 public:
  static constexpr std::size_t cells = std::size_t{1} << 18;

  explicit Pieces(Poll& poll) : poll_(poll) {}

  // body(from, to) for every piece of [0, n)
  template <class Body>
  void operator()(std::size_t n, const Body& body) {
    for (std::size_t from = 0; from < n; from += cells) {
      const std::size_t to = std::min(from + cells, n);
      body(from, to);
      done_ += to - from;
      if (done_ < cells) continue;
      done_ = 0;
      poll_();
    }
  }

 private:
  Poll& poll_;
  std::size_t done_ = 0;
};

struct Cell {
  std::int32_t row, col;
};

// Feature cells with a neighbour (of four) that is none: the only ones that can be nearest to another cell.
struct Boundary {
  std::vector<std::vector<Cell>> bands;  // in the order of rows, then columns
  std::size_t size = 0;
  std::size_t features = 0;  // feature cells in all
  bool few = true;           // no more than the limit; else the scan stopped early and the rest says nothing
};

Boundary scan(const MaskView& mask, std::size_t limit, const Run& run);

// Few boundary cells: candidate-pruning descent over tiles. `boundary` is taken.
template <class T>
void descend(const Problem<T>& problem, Boundary boundary, const Run& run);

// Many: distance along columns, then the lower envelope of parabolas along rows.
template <class T>
void sweep(const Problem<T>& problem, const Run& run);

// out[i] = scale * sqrt(d2[i]), +inf beyond the limit. From float: whole numbers below 2^24, of square cells only.
void roots(const float* d2, std::size_t n, const Metric& metric, float* out);
void roots(const float* d2, std::size_t n, const Metric& metric, double* out);
void roots(const double* d2, std::size_t n, const Metric& metric, float* out);
void roots(const double* d2, std::size_t n, const Metric& metric, double* out);

}  // namespace rtmdx::mask
