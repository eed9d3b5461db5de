#include "rtmdx/point_density.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/kernel.hpp"
#include "rtmdx/lanes.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

// Kernels that jump at the edge keep cells that lie exactly on it, whichever way the division by R rounds.
constexpr double edge2 = 1.0 + 1e-9;

constexpr double reach2(Kernel k) { return k == Kernel::uniform || k == Kernel::gaussian ? edge2 : 1.0; }

RTMDX_INLINE double square(double v) { return v * v; }

// One tile: a strip of rows x a stretch of columns, both aligned to the whole grid. Lengths in units of the support
// radius, relative to the grid's corner.
struct Tile {
  std::int64_t row0, col0;  // its first cell; rows start at the window's, columns at the tile's own first
  std::size_t rows, cols;
  const double* x;  // cell centres, cols + 4
  const double* y;
  double middle;    // origin of the polynomials
  double* events;   // rows x (cols + 1) x lanes
  double* sums;     // rows x (cols + 4)
  double cells;     // columns per support radius
};

// Chords of one point: for row k of the tile the cells [from[k], to[k]) and what ey leaves, q2 = 1 - ey^2.
struct Chords {
  double* q2;
  std::int32_t* from;
  std::int32_t* to;
};

struct Weighted {
  double x, y, w;
};

// A chord covers the centres with (x - px)^2 <= edge - ey^2, by half-open truncation: a centre exactly on the left end
// is left out, where continuous kernels are 0.
RTMDX_INLINE void make_chords(const Tile& t, const Chords& h, std::size_t k0, std::size_t k1, const Weighted& p, double edge) {
  const double centre = p.x * t.cells + 0.5 - static_cast<double>(t.col0);
  const double cells = t.cells, width = static_cast<double>(t.cols), py = p.y;
  const double* y = t.y;
  double* q2 = h.q2;
  std::int32_t* from = h.from;
  std::int32_t* to = h.to;
  for (std::size_t k = k0; k < k1; ++k) {
    const double ey = y[k] - py;
    const double q = edge - ey * ey;
    const double half = std::sqrt(q > 0.0 ? q : 0.0) * cells;
    double a = centre - half, b = centre + half;
    a = a > 0.0 ? a : 0.0;
    b = b > 0.0 ? b : 0.0;
    a = a < width ? a : width;
    b = b < width ? b : width;
    q2[k] = q;
    from[k] = static_cast<std::int32_t>(a);
    to[k] = static_cast<std::int32_t>(b);
  }
}

// ---------------------------------------------------------------- scatter: one row of one point

template <Kernel K>
RTMDX_INLINE void scatter_row(double* sums, const double* x, std::int32_t from, std::int32_t to, double px, double q2,
                              double w) {
  if constexpr (K == Kernel::uniform) {
    for (std::int32_t c = from; c < to; ++c) sums[c] += w;
  } else {
    const double ey2 = 1.0 - q2;
    for (std::int32_t c = from; c < to; c += 4) {  // up to three cells beyond the chord get 0
      for (std::int32_t l = c; l < c + 4; ++l) {
        const double d = x[l] - px;
        if constexpr (K == Kernel::triangular) {
          const double v = 1.0 - std::sqrt(d * d + ey2);
          sums[l] += w * (v > 0.0 ? v : 0.0);
        } else {
          const double v = q2 - d * d;
          const double in = v > 0.0 ? v : 0.0;
          sums[l] += w * (K == Kernel::quartic ? in * in : in);
        }
      }
    }
  }
}

// ---------------------------------------------------------------- sweep: events and running sums

template <Kernel K>
struct Polynomial;

template <>
struct Polynomial<Kernel::uniform> {
  static constexpr std::size_t lanes = 2;
  static constexpr double scattered = 0.0;  // rows with q2 below are scattered
  RTMDX_INLINE static void events(double* v, double, double, double w) {
    v[0] = w;
    v[1] = 1.0;
  }
  RTMDX_INLINE static double value(const double* s, double) { return s[0]; }
};

template <>
struct Polynomial<Kernel::epanechnikov> {
  static constexpr std::size_t lanes = 4;
  static constexpr double scattered = 1.0 / 256.0;
  RTMDX_INLINE static void events(double* v, double q2, double d, double w) {
    v[0] = w * (q2 - d * d);
    v[1] = w * (2.0 * d);
    v[2] = -w;
    v[3] = 1.0;
  }
  RTMDX_INLINE static double value(const double* s, double x) { return s[0] + x * (s[1] + x * s[2]); }
};

template <>
struct Polynomial<Kernel::quartic> {
  static constexpr std::size_t lanes = 8;
  static constexpr double scattered = 1.0 / 16.0;
  RTMDX_INLINE static void events(double* v, double q2, double d, double w) {
    const double p = q2 - d * d, q = 2.0 * d;  // (p + q x - x^2)^2
    v[0] = w * (p * p);
    v[1] = w * (2.0 * p * q);
    v[2] = w * (q * q - 2.0 * p);
    v[3] = w * (-2.0 * q);
    v[4] = w;
    v[5] = 0.0;
    v[6] = 0.0;
    v[7] = 1.0;
  }
  RTMDX_INLINE static double value(const double* s, double x) {
    return s[0] + x * (s[1] + x * (s[2] + x * (s[3] + x * s[4])));
  }
};

template <Kernel K>
RTMDX_INLINE void add_swept(const Tile& t, const Chords& h, std::size_t k0, std::size_t k1, const Weighted& given) {
  using P = Polynomial<K>;
  const Weighted p = given;
  make_chords(t, h, k0 & ~std::size_t{3}, (k1 + 3) & ~std::size_t{3}, p, reach2(K));
  const double d = p.x - t.middle, d2 = d * d;
  const std::size_t pitch = t.cols + 4, down = 4 * pitch;
  const std::int32_t* from = h.from;
  const std::int32_t* to = h.to;
  const double* q2 = h.q2;
  double* sums = t.sums;
  const double* x = t.x;
  const Lanes base = {0.0, p.w * (2.0 * d), -p.w, 1.0};
  double* row = t.events + k0 * down;
  for (std::size_t k = k0; k < k1; ++k, row += down) {
    const std::int64_t a = from[k], b = to[k];
    if (a >= b) continue;
    const double q = q2[k];
    if (q < P::scattered) {
      scatter_row<K>(sums + k * pitch, x, a, b, p.x, q, p.w);
      continue;
    }
    Lanes v = base;
    v[0] = p.w * (q - d2);
    add(row + a * 4, v);
    subtract(row + b * 4, v);
  }
}

template <Kernel K>
RTMDX_INLINE void run_row(double* events, double* sums, const double* x, double middle, std::size_t n) {
  using P = Polynomial<K>;
  Lanes s = {0.0, 0.0, 0.0, 0.0};
  for (std::size_t c = 0; c < n; ++c) {
    add(events + c * 4, s);
    load(s, events + c * 4);
    if (s[3] == 0.0) s = Lanes{0.0, 0.0, 0.0, 0.0};
    const double X = x[c] - middle;
    sums[c] += s[0] + X * (s[1] + X * s[2]);
  }
}

RTMDX_CLONES void swept_epan(const Tile& t, const Chords& h, std::size_t k0, std::size_t k1, const Weighted& p) {
  add_swept<Kernel::epanechnikov>(t, h, k0, k1, p);
}
RTMDX_CLONES void run_epan(double* events, double* sums, const double* x, double middle, std::size_t n) {
  run_row<Kernel::epanechnikov>(events, sums, x, middle, n);
}

}  // namespace

template <class T>
void point_density(const PointIndex& index, std::size_t, const Grid& grid, const Window& window, Kernel kernel,
                   double bandwidth, Method, const Run& run, RasterView<T> out) {
  const double radius = support_radius(kernel, bandwidth);
  const double cells = radius / grid.dx;
  const std::int64_t S = getenv("SS")?atoi(getenv("SS")):32, W = getenv("WW")?atoi(getenv("WW")):(std::int64_t(std::max(256.0, 12 * cells)) + 63) / 64 * 64;
  const std::int64_t s0 = window.row0 / S, s1 = (window.row1() - 1) / S + 1;
  const std::int64_t b0 = window.col0 / W, b1 = (window.col1() - 1) / W + 1;
  const auto rr = static_cast<std::int64_t>(std::ceil(radius / grid.dy)) + 1, rc = static_cast<std::int64_t>(std::ceil(cells)) + 1;
  const double scale = kernel_constant(kernel) / (radius * radius);
  parallel_for(static_cast<std::size_t>((s1 - s0) * (b1 - b0)), run, [&](std::size_t job, Poll& poll) {
    const std::int64_t s = s0 + std::int64_t(job) / (b1 - b0), b = b0 + std::int64_t(job) % (b1 - b0);
    const std::int64_t r0 = std::max(s * S, window.row0), r1 = std::min(s * S + S, window.row1());
    const std::int64_t c0 = b * W, c1 = std::min(c0 + W, window.col1());
    const std::size_t rows = r1 - r0, cols = c1 - c0, pitch = cols + 4;
    std::vector<double> x(pitch), y(rows + 8, 1e300), ev, sums;
    std::vector<double> q2(rows + 8);
    std::vector<std::int32_t> from(rows + 8), to(rows + 8);
    for (std::size_t c = 0; c < pitch; ++c) x[c] = grid.centre_x(c0 + c) / radius;
    for (std::size_t r = 0; r < rows; ++r) y[r] = grid.centre_y(r0 + r) / radius;
    Tile t{r0, c0, rows, cols, x.data(), y.data(), x[cols / 2], nullptr, nullptr, cells};
    Chords h{q2.data(), from.data(), to.data()};
    const double dyr = grid.dy / radius;
    index.each(r0 - rr, r1 + rr, c0 - rc, c1 + rc, [&](std::size_t first, std::size_t last) {
      if (ev.empty()) {
        ev.assign(rows * pitch * 4, 0.0);
        sums.assign(rows * pitch, 0.0);
        t.events = ev.data();
        t.sums = sums.data();
      }
      poll();
      for (std::size_t i = first; i < last; ++i) {
        const Weighted p{index.x()[i] / radius, index.y()[i] / radius, index.weight()[i]};
        const double a = (p.y - 1.0) / dyr - 0.5 - double(r0), e = (p.y + 1.0) / dyr + 0.5 - double(r0);
        const std::size_t k0 = a > 0 ? std::min(std::size_t(a), rows) : 0, k1 = e > 0 ? std::min(std::size_t(e) + 1, rows) : 0;
        if (k0 < k1) swept_epan(t, h, k0, k1, p);
      }
    });
    for (std::size_t r = 0; r < rows; ++r) {
      T* row = out.row(r0 - window.row0 + r) - window.col0 + c0;
      const std::size_t w0 = std::max(window.col0 - c0, std::int64_t(0));
      if (ev.empty()) { for (std::size_t c = w0; c < cols; ++c) row[c] = 0; continue; }
      run_epan(ev.data() + r * pitch * 4, sums.data() + r * pitch, x.data(), t.middle, cols);
      for (std::size_t c = w0; c < cols; ++c) row[c] = static_cast<T>(scale * std::max(0.0, sums[r * pitch + c]));
    }
  });
}
template void point_density<float>(const PointIndex&, std::size_t, const Grid&, const Window&, Kernel, double, Method, const Run&, RasterView<float>);
template void point_density<double>(const PointIndex&, std::size_t, const Grid&, const Window&, Kernel, double, Method, const Run&, RasterView<double>);
}  // namespace rtmdx
