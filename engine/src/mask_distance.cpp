#include "rtmdx/mask_distance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/mask_parts.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace mask {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t cells_per_candidate = 700;  // where both ways cost the same
constexpr std::size_t block = 64;

inline std::uint8_t one(std::uint8_t v) { return v != 0 ? 1 : 0; }

// Adds the counts of one row; above and below may be null (beyond the raster everything counts as a feature).
RTMDX_CLONES void count_row(const std::uint8_t* row, const std::uint8_t* above, const std::uint8_t* below, std::size_t n,
                            std::size_t* features, std::size_t* boundary) {
  const std::uint8_t* up = above != nullptr ? above : row;
  const std::uint8_t* down = below != nullptr ? below : row;
  std::size_t f = 0, b = 0;
  const auto single = [&](std::size_t c) {
    const std::uint8_t left = c > 0 ? one(row[c - 1]) : 1, right = c + 1 < n ? one(row[c + 1]) : 1;
    f += one(row[c]);
    b += one(row[c]) & (1 ^ (left & right & one(up[c]) & one(down[c])));
  };
  if (n > 0) single(0);
  std::size_t c = 1;
  while (c + block < n) {
    std::uint8_t fs[block] = {}, bs[block] = {};
    for (int times = 0; times < 250 && c + block < n; ++times, c += block) {
      for (std::size_t k = 0; k < block; ++k) {
        const std::uint8_t* at = row + c + k;
        const std::uint8_t around = one(at[-1]) & one(at[1]) & one(up[c + k]) & one(down[c + k]);
        const std::uint8_t self = one(at[0]);
        fs[k] = static_cast<std::uint8_t>(fs[k] + self);
        bs[k] = static_cast<std::uint8_t>(bs[k] + (self & (1 ^ around)));
      }
    }
    for (std::size_t k = 0; k < block; ++k) {
      f += fs[k];
      b += bs[k];
    }
  }
  for (; c < n; ++c) single(c);
  *features += f;
  *boundary += b;
}

Counts count(const MaskView& mask, const Run& run) {
  constexpr std::int64_t band = 64;
  const auto bands = static_cast<std::size_t>((mask.rows + band - 1) / band);
  std::vector<Counts> counts(bands);
  parallel_for(bands, run, [&](std::size_t i, Poll& poll) {
    const std::int64_t r0 = static_cast<std::int64_t>(i) * band, r1 = std::min(r0 + band, mask.rows);
    Counts sum;
    for (std::int64_t r = r0; r < r1; ++r) {
      if (mask.cols > 100000) poll();
      count_row(mask.row(r), r > 0 ? mask.row(r - 1) : nullptr, r + 1 < mask.rows ? mask.row(r + 1) : nullptr,
                static_cast<std::size_t>(mask.cols), &sum.features, &sum.boundary);
    }
    counts[i] = sum;
  });
  Counts sum;
  for (const Counts& c : counts) {
    sum.features += c.features;
    sum.boundary += c.boundary;
  }
  return sum;
}

// The largest d2 (a whole number for square cells) with scale * sqrt(d2) <= max_distance.
double limit_of(double max_distance, double scale, bool square) {
  if (!(max_distance < infinity)) return infinity;
  const double reach = max_distance / scale;
  double limit = square ? std::floor(reach * reach) : reach * reach;
  if (!(limit < 1e300)) return infinity;
  const auto next = [&](double v) { return square && v < 9e15 ? v + 1.0 : std::nextafter(v, infinity); };
  const auto before = [&](double v) { return square && v < 9e15 ? v - 1.0 : std::nextafter(v, -1.0); };
  while (limit >= 0.0 && scale * std::sqrt(limit) > max_distance) limit = before(limit);
  while (scale * std::sqrt(next(limit)) <= max_distance) limit = next(limit);
  return limit;
}

template <class T>
void fill(const Problem<T>& p, T value) {
  for (std::int64_t r = 0; r < p.window.nrows; ++r) std::fill_n(p.out.row(r), p.window.ncols, value);
}

template <class T>
void compute(const MaskView& view, const Grid& grid, const Window& window, double max_distance, const Run& run,
             RasterView<T> out) {
  const bool square = grid.dx == grid.dy;
  const Metric metric{square ? 1.0 : grid.dx * grid.dx, square ? 1.0 : grid.dy * grid.dy, square ? grid.dx : 1.0,
                      limit_of(max_distance, square ? grid.dx : 1.0, square)};
  Problem<T> problem{view, window, metric, false, out};
  const Counts counts = count(view, run);
  problem.interior = counts.boundary < counts.features;
  if (counts.features == 0) return fill(problem, std::numeric_limits<T>::infinity());
  if (counts.boundary == 0) return fill(problem, T{0});  // every cell of the raster is a feature

  // The descent prunes in float32, which holds whole numbers of cells up to 2^24.
  constexpr std::int64_t longest = 1 << 22;
  const double ratio = std::max(grid.dx / grid.dy, grid.dy / grid.dx);
  const std::size_t cells = static_cast<std::size_t>(view.rows) * static_cast<std::size_t>(view.cols);
  if (view.rows <= longest && view.cols <= longest && ratio < 1e6 && counts.boundary <= cells / cells_per_candidate + 16) {
    descend(problem, counts.boundary, run);
  } else {
    sweep(problem, run);
  }
}

}  // namespace

// Two loops each: a select beside the root becomes a branch around it, and branches don't vectorise.
RTMDX_CLONES void roots(const float* d2, std::size_t n, const Metric& m, float* out) {
  const double scale = m.scale;
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(scale * static_cast<double>(std::sqrt(d2[i])));
  if (!(m.limit < 16777216.0)) return;
  const auto limit = static_cast<float>(m.limit);
  for (std::size_t i = 0; i < n; ++i) out[i] = d2[i] > limit ? std::numeric_limits<float>::infinity() : out[i];
}

RTMDX_CLONES void roots(const float* d2, std::size_t n, const Metric& m, double* out) {
  const double scale = m.scale, limit = m.limit;
  for (std::size_t i = 0; i < n; ++i) out[i] = scale * std::sqrt(static_cast<double>(d2[i]));
  if (!(limit < infinity)) return;
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<double>(d2[i]) > limit ? infinity : out[i];
}

RTMDX_CLONES void roots(const double* d2, std::size_t n, const Metric& m, double* out) {
  const double scale = m.scale, limit = m.limit;
  for (std::size_t i = 0; i < n; ++i) out[i] = scale * std::sqrt(d2[i]);
  if (!(limit < infinity)) return;
  for (std::size_t i = 0; i < n; ++i) out[i] = d2[i] > limit ? infinity : out[i];
}

RTMDX_CLONES void roots(const double* d2, std::size_t n, const Metric& m, float* out) {
  const double scale = m.scale, limit = m.limit;
  if (m.square()) {
    for (std::size_t i = 0; i < n; ++i) {
      const auto root = static_cast<float>(std::sqrt(d2[i]));
      out[i] = static_cast<float>(scale * static_cast<double>(root));
    }
  } else {
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(scale * std::sqrt(d2[i]));
  }
  if (!(limit < infinity)) return;
  for (std::size_t i = 0; i < n; ++i) out[i] = d2[i] > limit ? std::numeric_limits<float>::infinity() : out[i];
}

}  // namespace mask

template <class T>
void mask_distance(const MaskView& view, const Grid& grid, const Window& window, double max_distance, const Run& run,
                   RasterView<T> out) {
  check(grid, window);
  if (view.rows != grid.rows || view.cols != grid.cols) {
    throw InvalidArgument("mask has " + std::to_string(view.rows) + " x " + std::to_string(view.cols) +
                          " cells, expected the grid's " + std::to_string(grid.rows) + " x " +
                          std::to_string(grid.cols));
  }
  if (view.rows >= (std::int64_t{1} << 29)) {
    throw InvalidArgument("mask has " + std::to_string(view.rows) + " rows, expected fewer than 2^29");
  }
  if (window.empty()) return;
  try {
    mask::compute(view, grid, window, max_distance, run, out);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the distance to a mask of " + std::to_string(view.rows) + " x " +
                      std::to_string(view.cols) + " cells");
  }
}

template void mask_distance<float>(const MaskView&, const Grid&, const Window&, double, const Run&, RasterView<float>);
template void mask_distance<double>(const MaskView&, const Grid&, const Window&, double, const Run&,
                                    RasterView<double>);

}  // namespace rtmdx
