// Inside a tile: the chords of a point, scatter along them, and the sweep's events and running sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "rtmdx/density.hpp"
#include "rtmdx/kernel.hpp"
#include "rtmdx/lanes.hpp"

namespace rtmdx {

// Kernels that jump at the edge keep cells that lie exactly on it, whichever way the division by R rounds.
constexpr double edge2 = 1.0 + 1e-9;

constexpr double reach2(Kernel k) { return k == Kernel::uniform || k == Kernel::gaussian ? edge2 : 1.0; }

// A strip of rows x a stretch of columns. Lengths are local coordinates divided by the support radius.
struct Tile {
  static constexpr std::size_t spare = 4;  // columns beyond the last, which vector loops may write

  std::int64_t col0;     // its first column
  std::size_t rows, cols, pitch;
  double cells;          // columns per support radius
  double y0, rows_per_unit;
  const double* x;       // centres of the columns, spare ones included
  const double* y;       // centres of the rows, then up to three that nothing reaches
  double middle;         // origin of the polynomials
  std::int64_t ends;     // columns at either end of a chord that a quartic scatters; a multiple of 4
  double* sums;          // rows x pitch
  double* events;        // rows x pitch x the polynomial's lanes
  double* q2;            // the chords of one point: for every row what ey leaves, q2 = edge - ey^2,
  std::int32_t* from;    // and the columns [from, to) within reach
  std::int32_t* to;
  double* factor;        // Gaussian: its factor along x
};

struct Weighted {
  const double* x;
  const double* y;
  const double* weight;
};

// The rows of the tile that a point may reach, and their chords: centres with -half < x - px <= half. (A centre exactly
// on the left end is left out: there the continuous kernels are 0, and the others' edge is wider by 5e-10.)
struct RowRange {
  std::size_t first, last;
};

RTMDX_INLINE RowRange make_chords(const Tile& t, double px, double py, double edge) {
  const double from_row = (py - 1.0 - t.y0) * t.rows_per_unit - 0.5, to_row = (py + 1.0 - t.y0) * t.rows_per_unit + 1.5;
  const auto count = static_cast<double>(t.rows);
  if (!(to_row > 0.0) || !(from_row < count)) return {0, 0};
  const std::size_t first = from_row > 0.0 ? static_cast<std::size_t>(from_row) : 0;
  const std::size_t last = to_row < count ? static_cast<std::size_t>(to_row) : t.rows;
  const double cells = t.cells, width = static_cast<double>(t.cols) + 0.25;
  const double centre = px * cells + 0.5 - static_cast<double>(t.col0);
  const double* y = t.y;
  double* q2 = t.q2;
  std::int32_t* from = t.from;
  std::int32_t* to = t.to;
  const std::size_t begin = first & ~std::size_t{3}, end = (last + 3) & ~std::size_t{3};
  for (std::size_t k = begin; k < end; ++k) {
    const double ey = y[k] - py;
    const double q = edge - ey * ey;
    // Not against 0, which compilers turn into two instructions.
    const double half = std::sqrt(q > 1e-300 ? q : 1e-300) * cells;
    double a = centre - half, b = centre + half;
    a = a > 0.25 ? a : 0.25;
    b = b > 0.25 ? b : 0.25;
    a = a < width ? a : width;
    b = b < width ? b : width;
    q2[k] = q;
    from[k] = static_cast<std::int32_t>(a);
    to[k] = static_cast<std::int32_t>(b);
  }
  return {first, last};
}

// ---------------------------------------------------------------- scatter

template <Kernel K>
RTMDX_INLINE void scatter_chord(double* sums, const double* x, const double* factor, std::int64_t from, std::int64_t to,
                                double px, double q2, double w) {
  if constexpr (K == Kernel::uniform) {
    for (std::int64_t c = from; c < to; ++c) sums[c] += w;
  } else if constexpr (K == Kernel::gaussian) {
    for (std::int64_t c = from; c < to; ++c) sums[c] += w * factor[c];
  } else {
    for (std::int64_t c = from; c < to; c += 4) {  // up to three columns beyond the chord get 0
      Lanes d, v;
      load(d, x + c);
      d -= px;
      if constexpr (K == Kernel::triangular) {
        v = d * d + (1.0 - q2);
        take_root(v);
        v = 1.0 - v;
      } else {
        v = q2 - d * d;
      }
      clamp_to_zero(v);
      if constexpr (K == Kernel::quartic) v *= v;
      add(sums + c, w * v);
    }
  }
}

inline double gaussian_factor(double distance) {
  const double s = gaussian_cut * distance;
  return std::exp(-0.5 * (s * s));
}

template <Kernel K>
RTMDX_INLINE void scatter_points(const Tile& tile, const Weighted& points, std::size_t first, std::size_t last) {
  const Tile t = tile;
  for (std::size_t i = first; i < last; ++i) {
    const double px = points.x[i], py = points.y[i], w = points.weight[i];
    const RowRange rows = make_chords(t, px, py, reach2(K));
    if constexpr (K == Kernel::gaussian) {  // a product: one exponential per column and one per row
      std::int32_t low = static_cast<std::int32_t>(t.cols), high = 0;
      for (std::size_t k = rows.first; k < rows.last; ++k) {
        if (t.from[k] >= t.to[k]) continue;
        low = std::min(low, t.from[k]);
        high = std::max(high, t.to[k]);
      }
      for (std::int32_t c = low; c < high; ++c) t.factor[c] = gaussian_factor(t.x[c] - px);
    }
    for (std::size_t k = rows.first; k < rows.last; ++k) {
      if (t.from[k] >= t.to[k]) continue;
      const double row_weight = K == Kernel::gaussian ? w * gaussian_factor(t.y[k] - py) : w;
      scatter_chord<K>(t.sums + k * t.pitch, t.x, t.factor, t.from[k], t.to[k], px, t.q2[k], row_weight);
    }
  }
}

// ---------------------------------------------------------------- sweep

// Along a row the kernel is a polynomial on the chord. `blocks` x 4 lanes hold its coefficients and, last, the number
// of chords; `scattered`: rows with a smaller q2 are scattered, where the polynomial would be a small difference of large
// terms.
template <Kernel K>
struct Polynomial;

template <>
struct Polynomial<Kernel::uniform> {
  static constexpr std::size_t blocks = 1;
  static constexpr double scattered = 0.0;
};

template <>
struct Polynomial<Kernel::epanechnikov> {
  static constexpr std::size_t blocks = 1;
  static constexpr double scattered = 1.0 / 256.0;
};

template <>
struct Polynomial<Kernel::quartic> {
  static constexpr std::size_t blocks = 2;
  static constexpr double scattered = 1.0 / 16.0;
};

template <Kernel K>
RTMDX_INLINE void sweep_points(const Tile& tile, const Weighted& points, std::size_t first, std::size_t last) {
  using P = Polynomial<K>;
  const Tile t = tile;
  const std::size_t down = 4 * P::blocks * t.pitch;
  for (std::size_t i = first; i < last; ++i) {
    const double px = points.x[i], w = points.weight[i];
    const RowRange rows = make_chords(t, px, points.y[i], reach2(K));
    const double d = px - t.middle, d2 = d * d, q = 2.0 * d;
    double* row = t.events + rows.first * down;
    for (std::size_t k = rows.first; k < rows.last; ++k, row += down) {
      const std::int64_t from = t.from[k], to = t.to[k];
      if (from >= to) continue;
      if (P::scattered > 0.0 && t.q2[k] < P::scattered) {
        scatter_chord<K>(t.sums + k * t.pitch, t.x, nullptr, from, to, px, t.q2[k], w);
        continue;
      }
      std::int64_t begin = from, end = to;
      if constexpr (K == Kernel::quartic) {  // at the ends it is so flat that rounding would show
        double* sums = t.sums + k * t.pitch;
        if (to - from <= 2 * t.ends + 8) {
          scatter_chord<K>(sums, t.x, nullptr, from, to, px, t.q2[k], w);
          continue;
        }
        scatter_chord<K>(sums, t.x, nullptr, from, begin += t.ends, px, t.q2[k], w);
        scatter_chord<K>(sums, t.x, nullptr, end -= t.ends, to, px, t.q2[k], w);
      }
      double* a = row + 4 * static_cast<std::int64_t>(P::blocks) * begin;
      double* b = row + 4 * static_cast<std::int64_t>(P::blocks) * end;
      const double p = t.q2[k] - d2;
      if constexpr (K == Kernel::uniform) {
        const Lanes v = {w, 0.0, 0.0, 1.0};
        add(a, v);
        subtract(b, v);
      } else if constexpr (K == Kernel::epanechnikov) {  // p + q x - x^2
        const Lanes v = {w * p, w * q, -w, 1.0};
        add(a, v);
        subtract(b, v);
      } else {  // its square
        const Lanes u = {w * (p * p), w * (2.0 * p * q), w * (q * q - 2.0 * p), w * (-2.0 * q)};
        const Lanes v = {w, 0.0, 0.0, 1.0};
        add(a, u);
        add(a + 4, v);
        subtract(b, u);
        subtract(b + 4, v);
      }
    }
  }
}

// Adds the polynomials of `rows` consecutive rows to their sums, and clears the events; several rows at once hide the
// running sums' latency.
template <Kernel K, std::size_t rows>
RTMDX_INLINE void run_rows(const Tile& tile, std::size_t first) {
  using P = Polynomial<K>;
  constexpr std::size_t lanes = 4 * P::blocks;
  const Tile t = tile;
  const Lanes zero = {0.0, 0.0, 0.0, 0.0};
  Lanes s[rows][P::blocks];
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t b = 0; b < P::blocks; ++b) s[r][b] = zero;
  }
  double* events = t.events + first * t.pitch * lanes;
  double* sums = t.sums + first * t.pitch;
  for (std::size_t c = 0; c <= t.cols; ++c) {
    const double x = t.x[c] - t.middle;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t b = 0; b < P::blocks; ++b) {
        Lanes e;
        load(e, events + (r * t.pitch + c) * lanes + 4 * b);
        store(events + (r * t.pitch + c) * lanes + 4 * b, zero);
        s[r][b] += e;
      }
      const Lanes& u = s[r][0];
      if (s[r][P::blocks - 1][3] == 0.0) {  // no chord: rounding leaves nothing behind
        for (std::size_t b = 0; b < P::blocks; ++b) s[r][b] = zero;
      } else if constexpr (K == Kernel::uniform) {
        sums[r * t.pitch + c] += u[0];
      } else if constexpr (K == Kernel::epanechnikov) {
        sums[r * t.pitch + c] += u[0] + x * (u[1] + x * u[2]);
      } else {
        sums[r * t.pitch + c] += u[0] + x * (u[1] + x * (u[2] + x * (u[3] + x * s[r][1][0])));
      }
    }
  }
}

}  // namespace rtmdx
