// Writing distances: from the values of a block's cells to a row of the output.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "rtmdx/descent.hpp"
#include "rtmdx/roots.hpp"
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
    if (n == static_cast<std::int64_t>(pairs::lanes)) {
      row<pairs::lanes>(r, c, value, in);
    } else {  // at the raster's edge, or all of it in a narrow one: no work for lanes that hold no cell
      for (std::int64_t k = 0; k < n; ++k) row<1>(r, c + k, value + k, in == nullptr ? in : in + k);
    }
  }

  void rows(std::int64_t r, std::int64_t c, std::int64_t n_rows, std::int64_t n_cols, const double* value,
            std::size_t stride) const {
    T* to = out.row(r - window.row0) + (c - window.col0);
    write(value, stride, n_rows, n_cols, to, n_rows > 1 ? out.row(r + 1 - window.row0) - out.row(r - window.row0) : 0);
  }

  void columns(std::int64_t r, std::int64_t c, std::int64_t n_rows, std::int64_t n_cols, const double* value,
               std::size_t stride) const {
    T d[pairs::Rectangle::longest];
    for (std::int64_t k = 0; k < n_cols; ++k) {
      write(value + static_cast<std::size_t>(k) * stride, stride, 1, n_rows, d, 0);
      for (std::int64_t i = 0; i < n_rows; ++i) out.row(r + i - window.row0)[c + k - window.col0] = d[i];
    }
  }

 private:
  void write(const double* value, std::size_t stride, std::int64_t n_rows, std::int64_t n_cols, T* to,
             std::int64_t pitch) const {
    const auto down = static_cast<std::size_t>(n_rows), across = static_cast<std::size_t>(n_cols);
    if (metric == Metric::euclidean) roots(value, stride, down, across, to, pitch);
    if (metric == Metric::euclidean && !(most < std::numeric_limits<double>::infinity())) return;
    for (std::size_t i = 0; i < down; ++i, value += stride, to += pitch) {
      if (metric != Metric::euclidean) {
        for (std::size_t k = 0; k < across; ++k) to[k] = static_cast<T>(value[k]);
      }
      for (std::size_t k = 0; k < across; ++k) to[k] = value[k] > most ? std::numeric_limits<T>::infinity() : to[k];
    }
  }

  template <std::size_t N>
  void row(std::int64_t r, std::int64_t c, const double* value, const std::uint8_t* in) const {
    T d[N];
    distances<N>(value, d);
    if (most < std::numeric_limits<double>::infinity()) {
      for (std::size_t k = 0; k < N; ++k) d[k] = value[k] > most ? std::numeric_limits<T>::infinity() : d[k];
    }
    if (in != nullptr) {
      for (std::size_t k = 0; k < N; ++k) d[k] = in[k] ? T{0} : d[k];
    }
    std::copy_n(d, N, out.row(r - window.row0) + (c - window.col0));
  }

  template <std::size_t N>
  void distances(const double* value, double* d) const {
    if (metric == Metric::euclidean) {
      for (std::size_t k = 0; k < N; ++k) d[k] = std::sqrt(value[k]);
    } else {
      std::copy_n(value, N, d);
    }
  }

  // The root of the rounded square is as near as the rounded root, to one unit in the last place, unless the square
  // leaves single precision's range.
  template <std::size_t N>
  void distances(const double* value, float* d) const {
    if (metric != Metric::euclidean) {
      for (std::size_t k = 0; k < N; ++k) d[k] = static_cast<float>(value[k]);
      return;
    }
    bool odd = false;
    for (std::size_t k = 0; k < N; ++k) {
      odd |= !(value[k] >= 1e-30) | !(value[k] <= 1e30);
      d[k] = std::sqrt(static_cast<float>(value[k]));
    }
    if (!odd) return;
    for (std::size_t k = 0; k < N; ++k) {
      if (!(value[k] >= 1e-30 && value[k] <= 1e30)) d[k] = static_cast<float>(std::sqrt(value[k]));
    }
  }
};

}  // namespace rtmdx::descent
