// Writing distances: from the values of a block's cells to a row of the output.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "rtmdx/descent.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx::descent {

// Sets a tile of a window's raster to one value.
template <class T>
void fill(const RasterView<T>& out, const Window& window, const Tile& tile, T value) {
  for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
    T* row = out.row(r - window.row0) - window.col0;
    std::fill(row + tile.c0, row + tile.c1, value);
  }
}

template <class T>
struct DistanceOutput {
  static constexpr bool indexed = false;

  Metric metric;
  Window window;
  double most;  // the largest value within reach
  RasterView<T> out;

  void nothing(const Tile& tile) const { fill(out, window, tile, std::numeric_limits<T>::infinity()); }
  void enclosed(const Tile& tile) const { fill(out, window, tile, T{0}); }
  bool settle(const Tile&, const Seen&, Enclosed) const { return false; }

  void cells(std::int64_t r, std::int64_t c, std::int64_t n, const double* value, const double*,
             const std::uint8_t* in) const {
    constexpr std::size_t lanes = pairs::lanes;
    T d[lanes];
    distances(value, d);
    if (most < std::numeric_limits<double>::infinity()) {
      for (std::size_t k = 0; k < lanes; ++k) d[k] = value[k] > most ? std::numeric_limits<T>::infinity() : d[k];
    }
    if (in != nullptr) {
      for (std::int64_t k = 0; k < n; ++k) d[k] = in[k] ? T{0} : d[k];
    }
    T* to = out.row(r - window.row0) + (c - window.col0);
    if (n == static_cast<std::int64_t>(lanes)) {
      std::copy_n(d, lanes, to);
    } else {
      std::copy_n(d, n, to);
    }
  }

 private:
  void distances(const double* value, double* d) const {
    if (metric == Metric::euclidean) {
      for (std::size_t k = 0; k < pairs::lanes; ++k) d[k] = std::sqrt(value[k]);
    } else {
      std::copy_n(value, pairs::lanes, d);
    }
  }

  // The root of the rounded square is as near as the rounded root, to one unit in the last place, unless the square
  // leaves single precision's range.
  void distances(const double* value, float* d) const {
    if (metric != Metric::euclidean) {
      for (std::size_t k = 0; k < pairs::lanes; ++k) d[k] = static_cast<float>(value[k]);
      return;
    }
    bool odd = false;
    for (std::size_t k = 0; k < pairs::lanes; ++k) {
      odd |= !(value[k] >= 1e-30) | !(value[k] <= 1e30);
      d[k] = std::sqrt(static_cast<float>(value[k]));
    }
    if (!odd) return;
    for (std::size_t k = 0; k < pairs::lanes; ++k) {
      if (!(value[k] >= 1e-30 && value[k] <= 1e30)) d[k] = static_cast<float>(std::sqrt(value[k]));
    }
  }
};

}  // namespace rtmdx::descent
