#include "rtmdx/roots.hpp"

#include <cmath>

#include "rtmdx/clones.hpp"
#include "rtmdx/vec.hpp"

namespace rtmdx {
namespace {

constexpr std::size_t lanes = 8;
constexpr double low = 1e-30, high = 1e30;  // squares within stay far inside single precision's range

inline float careful_root(double v) {
  return v >= low && v <= high ? std::sqrt(static_cast<float>(v)) : static_cast<float>(std::sqrt(v));
}

RTMDX_CLONES void all_roots(const double* __restrict value, std::size_t stride, std::size_t rows, std::size_t cols,
                            double* __restrict to, std::int64_t pitch) {
  for (std::size_t r = 0; r < rows; ++r, value += stride, to += pitch) {
    std::size_t c = 0;
    for (; c + lanes <= cols; c += lanes) {
      for (std::size_t k = 0; k < lanes; ++k) to[c + k] = std::sqrt(value[c + k]);
    }
    for (; c < cols; ++c) to[c] = std::sqrt(value[c]);
  }
}

// Whether they all are what they should be: false if a square, 0 apart, leaves single precision's range.
RTMDX_CLONES bool quick_roots(const double* __restrict value, std::size_t stride, std::size_t rows, std::size_t cols,
                              float* __restrict to, std::int64_t pitch) {
  Vec least = all(1.0), most = all(1.0);
  double tail_least = 1.0, tail_most = 1.0;
  for (std::size_t r = 0; r < rows; ++r, value += stride, to += pitch) {
    std::size_t c = 0;
    for (; c + lanes <= cols; c += lanes) {
      for (std::size_t k = 0; k < lanes; ++k) to[c + k] = std::sqrt(static_cast<float>(value[c + k]));
      for (std::size_t k = 0; k < lanes; k += vec_lanes) {
        const Vec v = load(value + c + k);
        const Vec some = v > 0.0 ? v : all(1.0);
        least = some < least ? some : least;
        most = most < v ? v : most;
      }
    }
    for (; c < cols; ++c) {
      const double v = value[c];
      to[c] = std::sqrt(static_cast<float>(v));
      tail_least = v > 0.0 && v < tail_least ? v : tail_least;
      tail_most = tail_most < v ? v : tail_most;
    }
  }
  double lowest[vec_lanes], highest[vec_lanes];
  store(lowest, least);
  store(highest, most);
  bool good = tail_least >= low && tail_most <= high;
  for (std::size_t k = 0; k < vec_lanes; ++k) good = good && lowest[k] >= low && highest[k] <= high;
  return good;
}

}  // namespace

void roots(const double* value, std::size_t stride, std::size_t rows, std::size_t cols, double* to,
           std::int64_t pitch) {
  all_roots(value, stride, rows, cols, to, pitch);
}

void roots(const double* value, std::size_t stride, std::size_t rows, std::size_t cols, float* to, std::int64_t pitch) {
  if (quick_roots(value, stride, rows, cols, to, pitch)) return;
  for (std::size_t r = 0; r < rows; ++r, value += stride, to += pitch) {
    for (std::size_t c = 0; c < cols; ++c) to[c] = careful_root(value[c]);
  }
}

}  // namespace rtmdx
