#include "rtmdx/point_density.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/kernel.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/point_rows.hpp"

namespace rtmdx {
namespace {

// Templates don't take part in multiversioning, so each kernel has its own hot functions.
#define RTMDX_SCATTER(name, kernel)                                                                     \
  RTMDX_CLONES void name(const Tile& t, const Weighted& p, std::size_t first, std::size_t last) {       \
    scatter_points<Kernel::kernel>(t, p, first, last);                                                  \
  }
#define RTMDX_SWEEP(name, run, run_one, kernel)                                                         \
  RTMDX_CLONES void name(const Tile& t, const Weighted& p, std::size_t first, std::size_t last) {       \
    sweep_points<Kernel::kernel>(t, p, first, last);                                                    \
  }                                                                                                     \
  RTMDX_CLONES void run(const Tile& t, std::size_t row) { run_rows<Kernel::kernel, 4>(t, row); }         \
  RTMDX_CLONES void run_one(const Tile& t, std::size_t row) { run_rows<Kernel::kernel, 1>(t, row); }

RTMDX_SCATTER(scatter_uniform, uniform)
RTMDX_SCATTER(scatter_triangular, triangular)
RTMDX_SCATTER(scatter_epanechnikov, epanechnikov)
RTMDX_SCATTER(scatter_quartic, quartic)
RTMDX_SCATTER(scatter_gaussian, gaussian)
RTMDX_SWEEP(sweep_uniform, run_uniform, run_one_uniform, uniform)
RTMDX_SWEEP(sweep_epanechnikov, run_epanechnikov, run_one_epanechnikov, epanechnikov)
RTMDX_SWEEP(sweep_quartic, run_quartic, run_one_quartic, quartic)

#undef RTMDX_SCATTER
#undef RTMDX_SWEEP

// How the tiles of a problem are done.
struct Plan {
  std::int64_t strip, stretch;  // rows and columns of a tile
  std::size_t lanes;            // of the sweep's events; 0: scatter
  void (*add)(const Tile&, const Weighted&, std::size_t, std::size_t);
  void (*run)(const Tile&, std::size_t);
  void (*run_one)(const Tile&, std::size_t);
};

std::int64_t round_up(double v, std::int64_t to) {
  return static_cast<std::int64_t>(std::ceil(v / static_cast<double>(to))) * to;
}

// Nanoseconds of either way, measured once; only their proportion matters. A scattered chord costs its length, a swept
// one does not, but every cell that a tile of a sweep has pays for the running sum.
bool sweep_is_cheaper(std::size_t count, const Grid& grid, Kernel kernel, double radius) {
  const double across = radius / grid.dx, down = radius / grid.dy;
  if (across > 4096.0) return false;  // tiles would outgrow the cache
  const double chord = 0.5 * pi * across;
  const bool quartic = kernel == Kernel::quartic;
  const double scattered = 2.0 + 0.2 * chord, swept = quartic ? 4.5 : 2.5, per_cell = quartic ? 2.5 : 1.5;
  const double chords = 2.0 * down * static_cast<double>(count);
  const double cells = std::min(static_cast<double>(grid.rows) * static_cast<double>(grid.cols),
                                static_cast<double>(count) * (2.0 * down + 32.0) * (2.0 * across + 256.0));
  return chords * swept + cells * per_cell < chords * scattered;
}

Plan make_plan(std::size_t count, const Grid& grid, Kernel kernel, double radius, Method method) {
  const double across = radius / grid.dx;
  const std::int64_t all = round_up(static_cast<double>(grid.cols), 64);
  const bool polynomial = kernel != Kernel::triangular && kernel != Kernel::gaussian;
  const bool sweep = polynomial && (method == Method::sweep ||
                                    (method == Method::automatic && sweep_is_cheaper(count, grid, kernel, radius)));
  Plan plan{64, 256, 0, nullptr, nullptr, nullptr};
  if (sweep) {
    // Wide stretches share fewer points; the polynomials' origin must stay near, the more so the higher the degree.
    const bool narrow = across < 24.0;
    const double wide = kernel == Kernel::quartic
                            ? 4.0 * across
                            : std::min((narrow ? 24.0 : 12.0) * across, std::max(4.0 * across, 1024.0));
    plan.stretch = round_up(std::max(wide, kernel == Kernel::quartic ? 64.0 : 128.0), 64);
    plan.strip = narrow ? 64 : across > 512.0 ? 32 : 48;
  } else if (across >= 128.0) {
    plan.strip = 128;
    plan.stretch = 512;
  }
  plan.stretch = std::max(std::min(plan.stretch, all), std::int64_t{64});
  const std::size_t four = 4;
  switch (kernel) {
    case Kernel::uniform:
      plan.add = scatter_uniform;
      if (sweep) plan = {plan.strip, plan.stretch, four, sweep_uniform, run_uniform, run_one_uniform};
      break;
    case Kernel::triangular:
      plan.add = scatter_triangular;
      break;
    case Kernel::epanechnikov:
      plan.add = scatter_epanechnikov;
      if (sweep) plan = {plan.strip, plan.stretch, four, sweep_epanechnikov, run_epanechnikov, run_one_epanechnikov};
      break;
    case Kernel::quartic:
      plan.add = scatter_quartic;
      if (sweep) plan = {plan.strip, plan.stretch, 2 * four, sweep_quartic, run_quartic, run_one_quartic};
      break;
    case Kernel::gaussian:
      plan.add = scatter_gaussian;
      break;
  }
  return plan;
}

// What a tile needs while points are added to it; used for one tile after another.
class Work {
 public:
  Work(const Plan& plan, const Grid& grid, double radius) : plan_(plan), grid_(grid), radius_(radius) {
    const auto rows = static_cast<std::size_t>(plan.strip);
    const std::size_t pitch = static_cast<std::size_t>(plan.stretch) + Tile::spare;
    x_.resize(pitch);
    y_.resize(rows + 3);
    sums_.assign(rows * pitch, 0.0);
    events_.assign(rows * pitch * plan.lanes, 0.0);
    q2_.resize(rows + 3);
    from_.resize(rows + 3);
    to_.resize(rows + 3);
    factor_.resize(pitch);
  }

  // The tile of these cells; its sums and events are 0, as clear() and the running sums leave them.
  const Tile& begin(std::int64_t row0, std::int64_t row1, std::int64_t col0, std::int64_t col1) {
    const auto rows = static_cast<std::size_t>(row1 - row0), cols = static_cast<std::size_t>(col1 - col0);
    const std::size_t pitch = cols + Tile::spare;
    for (std::size_t c = 0; c < pitch; ++c) x_[c] = grid_.centre_x(col0 + static_cast<std::int64_t>(c)) / radius_;
    for (std::size_t r = 0; r < rows; ++r) y_[r] = grid_.centre_y(row0 + static_cast<std::int64_t>(r)) / radius_;
    std::fill(y_.begin() + static_cast<std::ptrdiff_t>(rows), y_.end(), 1e150);  // nothing reaches these
    // The origin is that of the whole tile, whatever part of it the window shows.
    const double middle = grid_.centre_x(col0 + plan_.stretch / 2) / radius_;
    const auto ends = 4 * static_cast<std::int64_t>(std::ceil(radius_ / grid_.dx / 50.0));
    tile_ = {col0, rows, cols, pitch, radius_ / grid_.dx, y_[0], radius_ / grid_.dy, x_.data(), y_.data(), middle, ends,
             sums_.data(), events_.data(), q2_.data(), from_.data(), to_.data(), factor_.data()};
    return tile_;
  }

  void finish() {
    if (plan_.run == nullptr) return;
    std::size_t r = 0;
    for (; r + 4 <= tile_.rows; r += 4) plan_.run(tile_, r);
    for (; r < tile_.rows; ++r) plan_.run_one(tile_, r);
  }

  void clear() { std::fill_n(sums_.begin(), tile_.rows * tile_.pitch, 0.0); }

 private:
  const Plan& plan_;
  const Grid& grid_;
  double radius_;
  Tile tile_{};
  std::vector<double> x_, y_, sums_, events_, q2_, factor_;
  std::vector<std::int32_t> from_, to_;
};

}  // namespace

Window reading_window(std::size_t count, const Grid& grid, const Window& window, Kernel kernel, double bandwidth,
                      Method method) {
  const Plan plan = make_plan(count, grid, kernel, support_radius(kernel, bandwidth), method);
  if (plan.run == nullptr || window.empty()) return window;
  const std::int64_t col0 = window.col0 / plan.stretch * plan.stretch;
  return {window.row0, col0, window.nrows, window.col1() - col0};
}

template <class T>
void point_density(const PointIndex& index, std::size_t count, const Grid& grid, const Window& window, Kernel kernel,
                   double bandwidth, Method method, const Run& run, RasterView<T> out) {
  const double radius = support_radius(kernel, bandwidth);
  const Plan plan = make_plan(count, grid, kernel, radius, method);
  const double scale = kernel_constant(kernel) / (radius * radius);

  std::vector<double> px(index.size()), py(index.size());
  constexpr std::size_t chunk = 1U << 16U;
  parallel_for((px.size() + chunk - 1) / chunk, run, [&](std::size_t block, Poll&) {
    for (std::size_t i = block * chunk; i < std::min(px.size(), (block + 1) * chunk); ++i) {
      px[i] = index.x()[i] / radius;
      py[i] = index.y()[i] / radius;
    }
  });
  const Weighted points{px.data(), py.data(), index.weight().data()};

  const std::int64_t strip0 = window.row0 / plan.strip, stretch0 = window.col0 / plan.stretch;
  const auto down = static_cast<std::size_t>((window.row1() - 1) / plan.strip + 1 - strip0);
  const auto across = static_cast<std::size_t>((window.col1() - 1) / plan.stretch + 1 - stretch0);
  const auto reach_rows = static_cast<std::int64_t>(std::min(std::ceil(radius / grid.dy), 1e15)) + 1;
  const auto reach_cols = static_cast<std::int64_t>(std::min(std::ceil(radius / grid.dx), 1e15)) + 1;
  // A block of work: some tiles side by side, so that their buffers are allocated once.
  constexpr std::size_t side_by_side = 8;
  const std::size_t per_strip = (across + side_by_side - 1) / side_by_side;
  const double least = index.has_negative() ? -HUGE_VAL : 0.0;  // rounding takes no density below 0
  parallel_for(
      down * per_strip, run,
      [&](std::size_t block, Poll& poll) {
        const std::int64_t top = (strip0 + static_cast<std::int64_t>(block / per_strip)) * plan.strip;
        const std::int64_t row0 = std::max(top, window.row0), row1 = std::min(top + plan.strip, window.row1());
        const std::size_t tile0 = block % per_strip * side_by_side;
        std::vector<Work> work;
        for (std::size_t t = tile0; t < std::min(tile0 + side_by_side, across); ++t) {
          const std::int64_t col0 = (stretch0 + static_cast<std::int64_t>(t)) * plan.stretch;
          // A swept tile has all its columns, whatever the window shows: its running sums start at its first, and where
          // chords end decides what is added how.
          const std::int64_t shown1 = std::min(col0 + plan.stretch, window.col1());
          const std::int64_t col1 = plan.run != nullptr ? col0 + plan.stretch : shown1;
          const Tile* tile = nullptr;
          index.each(row0 - reach_rows, row1 + reach_rows, col0 - reach_cols, col1 + reach_cols,
                     [&](std::size_t first, std::size_t last) {
                       if (tile == nullptr) {
                         if (work.empty()) work.emplace_back(plan, grid, radius);
                         tile = &work.front().begin(row0, row1, col0, col1);
                       }
                       constexpr std::size_t between_polls = 1024;
                       for (; first < last; first += std::min(between_polls, last - first)) {
                         poll();
                         plan.add(*tile, points, first, std::min(first + between_polls, last));
                       }
                     });
          if (tile != nullptr) work.front().finish();
          const std::int64_t shown = std::max(col0, window.col0);
          const auto from = static_cast<std::size_t>(shown - col0), to = static_cast<std::size_t>(shown1 - col0);
          for (std::int64_t r = row0; r < row1; ++r) {
            T* row = out.row(r - window.row0) + (shown - window.col0);
            if (tile == nullptr) {
              std::fill_n(row, to - from, T{0});
              continue;
            }
            const double* sums = tile->sums + static_cast<std::size_t>(r - row0) * tile->pitch;
            for (std::size_t c = from; c < to; ++c) row[c - from] = static_cast<T>(scale * std::max(least, sums[c]));
          }
          if (tile != nullptr) work.front().clear();
        }
      },
      Loop::main);
}

template void point_density<float>(const PointIndex&, std::size_t, const Grid&, const Window&, Kernel, double, Method,
                                   const Run&, RasterView<float>);
template void point_density<double>(const PointIndex&, std::size_t, const Grid&, const Window&, Kernel, double, Method,
                                    const Run&, RasterView<double>);

}  // namespace rtmdx
