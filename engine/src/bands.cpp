#include <algorithm>
#include <new>
#include <vector>

#include "rtmdx/cells.hpp"
#include "rtmdx/descent.hpp"
#include "rtmdx/distance.hpp"

namespace rtmdx {
namespace {

struct BandsOutput {
  static constexpr bool indexed = false;

  Window window;
  double slack;
  Span<double> limits;
  const std::vector<double>& values;  // the largest value within each limit
  RasterView<std::uint8_t> out;

  std::uint8_t beyond() const { return static_cast<std::uint8_t>(values.size()); }
  void nothing(const descent::Tile& tile) const { descent::fill(out, window, tile, beyond()); }
  void enclosed(const descent::Tile& tile) const { descent::fill(out, window, tile, std::uint8_t{0}); }

  // The distance of every cell lies within the tile's radius of its middle's: no limit there, one band.
  bool settle(const descent::Tile& tile, const Seen& seen, descent::Enclosed in) const {
    if (in != descent::Enclosed::none) return false;
    const double margin = slack + 1e-9 * (seen.best + seen.radius);
    const double* begin = limits.data();
    const double* end = begin + limits.size();
    const double* low = std::lower_bound(begin, end, seen.best - seen.radius - margin);
    if (low != end && *low <= seen.best + seen.radius + margin) return false;
    descent::fill(out, window, tile, static_cast<std::uint8_t>(low - begin));
    return true;
  }

  void cells(std::int64_t r, std::int64_t c, std::int64_t n, const double* value, const double*,
             const std::uint8_t* in) const {
    std::uint8_t code[pairs::lanes];
    codes(value, code);
    if (in != nullptr) {
      for (std::int64_t k = 0; k < n; ++k) code[k] = in[k] ? std::uint8_t{0} : code[k];
    }
    std::copy_n(code, n, out.row(r - window.row0) + (c - window.col0));
  }

  void rows(std::int64_t r, std::int64_t c, std::int64_t n_rows, std::int64_t n_cols, const double* value,
            std::size_t stride) const {
    constexpr auto wide = static_cast<std::int64_t>(pairs::lanes);
    for (std::int64_t i = 0; i < n_rows; ++i, value += stride) {
      for (std::int64_t k = 0; k < n_cols; k += wide) {
        cells(r + i, c + k, std::min(wide, n_cols - k), value + k, nullptr, nullptr);
      }
    }
  }

  void columns(std::int64_t r, std::int64_t c, std::int64_t n_rows, std::int64_t n_cols, const double* value,
               std::size_t stride) const {
    constexpr auto wide = static_cast<std::int64_t>(pairs::lanes);
    for (std::int64_t k = 0; k < n_cols; ++k, value += stride) {
      for (std::int64_t i = 0; i < n_rows; i += wide) {
        std::uint8_t code[pairs::lanes];
        codes(value + i, code);
        for (std::int64_t j = 0; j < std::min(wide, n_rows - i); ++j) {
          out.row(r + i + j - window.row0)[c + k - window.col0] = code[j];
        }
      }
    }
  }

 private:
  void codes(const double* value, std::uint8_t* code) const {
    std::fill_n(code, pairs::lanes, std::uint8_t{0});
    for (const double most : values) {
      for (std::size_t k = 0; k < pairs::lanes; ++k) code[k] = static_cast<std::uint8_t>(code[k] + (value[k] > most));
    }
  }
};

}  // namespace

void distance_bands(const Nearest& features, Metric metric, const Window& window, Span<double> limits, const Run& run,
                    RasterView<std::uint8_t> out) {
  check(features.grid(), window);
  if (limits.empty() || limits.size() > 255) {
    throw InvalidArgument("found " + std::to_string(limits.size()) + " limits; a band code holds 1 to 255");
  }
  for (std::size_t k = 0; k < limits.size(); ++k) {
    if (!(limits[k] >= 0.0) || (k > 0 && !(limits[k] > limits[k - 1]))) {
      throw InvalidArgument("limits must be 0 or more and ascending; limit " + std::to_string(k) + " is " +
                            std::to_string(limits[k]));
    }
  }
  if (window.empty()) return;
  try {
    std::vector<double> values;
    for (std::size_t k = 0; k < limits.size(); ++k) values.push_back(descent::largest_value(metric, limits[k]));
    const std::vector<std::uint8_t> inside = features.polygons().inside(window, run);
    const BandsOutput output{window, features.slack(), limits, values, out};
    const descent::Question question{features, metric, window, limits[limits.size() - 1], inside};
    descent::Descent<BandsOutput>(question, output).run(run);
  } catch (const std::bad_alloc&) {
    throw descent::no_memory("the bands", features, window);
  }
}

}  // namespace rtmdx
