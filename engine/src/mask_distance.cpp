#include "rtmdx/mask_distance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "rtmdx/clones.hpp"
#include "rtmdx/mask_parts.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace mask {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t cells_per_candidate = 700;  // where both ways cost the same

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
void fill(const Problem<T>& p, T value, const Run& run) {
  constexpr std::int64_t band = 64;
  parallel_for(static_cast<std::size_t>((p.window.nrows + band - 1) / band), run, [&](std::size_t i, Poll& poll) {
    Pieces pieces(poll);
    const std::int64_t r0 = static_cast<std::int64_t>(i) * band;
    for (std::int64_t r = r0; r < std::min(r0 + band, p.window.nrows); ++r) {
      pieces(static_cast<std::size_t>(p.window.ncols),
             [&](std::size_t from, std::size_t to) { std::fill(p.out.row(r) + from, p.out.row(r) + to, value); });
    }
  }, Loop::main);
}

template <class T>
void compute(const MaskView& view, const Grid& grid, const Window& window, double max_distance, const Run& run,
             RasterView<T> out) {
  const bool square = grid.dx == grid.dy;
  const Metric metric{square ? 1.0 : grid.dx * grid.dx, square ? 1.0 : grid.dy * grid.dy, square ? grid.dx : 1.0,
                      limit_of(max_distance, square ? grid.dx : 1.0, square)};
  const Problem<T> problem{view, window, metric, out};
  // The descent prunes in float32, which holds whole numbers of cells up to 2^24.
  constexpr std::int64_t longest = 1 << 22;
  const double ratio = std::max(grid.dx / grid.dy, grid.dy / grid.dx);
  const std::size_t cells = static_cast<std::size_t>(view.rows) * static_cast<std::size_t>(view.cols);
  const bool held = view.rows <= longest && view.cols <= longest && ratio < 1e6;
  Boundary boundary = scan(view, held ? cells / cells_per_candidate + 16 : 0, run);
  if (!boundary.few) return sweep(problem, run);
  if (boundary.features == 0) return fill(problem, std::numeric_limits<T>::infinity(), run);
  if (boundary.size == 0) return fill(problem, T{0}, run);  // every cell of the raster is a feature
  descend(problem, std::move(boundary), run);
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
  if (window.empty()) {
    if (run.progress) run.progress(1, 1);
    return;
  }
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
