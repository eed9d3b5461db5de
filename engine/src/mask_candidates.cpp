#include "rtmdx/mask_candidates.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "rtmdx/clones.hpp"

namespace rtmdx::mask {
namespace {

inline float least(float a, float b) { return a < b ? a : b; }

// Up to `few` candidates, the last repeated: one loop serves all numbers.
struct Few {
  float q[few], py[few];

  Few(const float* px, const float* rows, std::size_t m, float x) {
    for (std::size_t i = 0; i < few; ++i) {
      q[i] = x - px[i < m ? i : 0];
      py[i] = rows[i < m ? i : 0];
    }
  }
};

}  // namespace

RTMDX_CLONES float squared(const float* px, const float* py, std::size_t n, float x, float y, float wx, float wy,
                           float* d2) {
  float best[lanes];
  for (float& b : best) b = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) {
      const float v = pair(x, y, px[i + k], py[i + k], wx, wy);
      d2[i + k] = v;
      best[k] = least(v, best[k]);
    }
  }
  for (std::size_t k = 1; k < lanes; ++k) best[0] = least(best[k], best[0]);
  return best[0];
}

// The difference of squares is
//   (g - f) (2 corner - g - f), along either axis,
// whose factors are whole numbers and exact, so the margin is a few roundings of its terms, however far g is.
RTMDX_CLONES void near_any_corner(const float* px, const float* py, std::size_t n, const Corners& c, float gx, float gy,
                                  float wx, float wy, float margin, std::uint8_t* keep) {
  const float ax0 = 2.0F * c.x0 - gx, ax1 = 2.0F * c.x1 - gx, ay0 = 2.0F * c.y0 - gy, ay1 = 2.0F * c.y1 - gy;
  for (std::size_t i = 0; i < n; ++i) {
    const float ex = (gx - px[i]) * wx, ey = (gy - py[i]) * wy;
    const float tx = least(ex * (ax0 - px[i]), ex * (ax1 - px[i]));
    const float ty = least(ey * (ay0 - py[i]), ey * (ay1 - py[i]));
    keep[i] = static_cast<std::uint8_t>(tx + ty <= 1e-6F * (std::fabs(tx) + std::fabs(ty)) + margin);
  }
}

RTMDX_CLONES float evaluate_leaf(const float* px, const float* py, std::size_t n, float x, float y, float* d2) {
  float best[lanes * leaf_cells];
  for (float& b : best) b = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    float ex[lanes], ey[leaf_cells];
    for (std::size_t k = 0; k < lanes; ++k) {
      const float e = x + static_cast<float>(k) - px[i];
      ex[k] = e * e;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      const float e = y + static_cast<float>(r) - py[i];
      ey[r] = e * e;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      for (std::size_t k = 0; k < lanes; ++k) best[r * lanes + k] = least(ex[k] + ey[r], best[r * lanes + k]);
    }
  }
  float most[lanes] = {};
  for (std::size_t r = 0; r < leaf_cells; ++r) {
    for (std::size_t k = 0; k < lanes; ++k) {
      most[k] = best[r * lanes + k] > most[k] ? best[r * lanes + k] : most[k];
      d2[r * lanes + k] = best[r * lanes + k];
    }
  }
  for (std::size_t k = 1; k < lanes; ++k) most[0] = most[k] > most[0] ? most[k] : most[0];
  return most[0];
}

RTMDX_CLONES void evaluate_leaf(const float* px, const float* py, std::size_t n, double x, double y, double wx, double wy,
                       double* d2) {
  double best[lanes * leaf_cells];
  for (double& b : best) b = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    double ex[lanes], ey[leaf_cells];
    for (std::size_t k = 0; k < lanes; ++k) {
      const double e = x + static_cast<double>(k) - static_cast<double>(px[i]);
      ex[k] = (e * e) * wx;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      const double e = y + static_cast<double>(r) - static_cast<double>(py[i]);
      ey[r] = (e * e) * wy;
    }
    for (std::size_t r = 0; r < leaf_cells; ++r) {
      for (std::size_t k = 0; k < lanes; ++k) {
        const double v = ex[k] + ey[r];
        best[r * lanes + k] = v < best[r * lanes + k] ? v : best[r * lanes + k];
      }
    }
  }
  std::memcpy(d2, best, sizeof best);
}

RTMDX_CLONES void evaluate_run(const float* px, const float* py, std::size_t m, float x, float y, std::size_t n,
                               float* d2) {
  const Few from(px, py, m, x);
  const float q0 = from.q[0], q1 = from.q[1], q2 = from.q[2];
  const float e0 = y - from.py[0], e1 = y - from.py[1], e2 = y - from.py[2];
  const float s0 = e0 * e0, s1 = e1 * e1, s2 = e2 * e2;
  const int count = static_cast<int>(n);
  for (int k = 0; k < count; ++k) {
    const auto at = static_cast<float>(k);
    const float a = (at + q0) * (at + q0) + s0;
    const float b = (at + q1) * (at + q1) + s1;
    const float c = (at + q2) * (at + q2) + s2;
    const float ab = least(a, b);
    d2[k] = least(ab, c);
  }
}

// Where the scale is a float, the product of two floats rounded once is the double product rounded to float.
RTMDX_CLONES void evaluate_roots(const float* px, const float* py, std::size_t m, float x, float y, std::size_t rows,
                                 std::size_t n, double scale, float* out, std::int64_t stride) {
  const Few from(px, py, m, x);
  const float q0 = from.q[0], q1 = from.q[1], q2 = from.q[2];
  const auto single = static_cast<float>(scale);
  const bool is_single = static_cast<double>(single) == scale;
  const int count = static_cast<int>(n);
  for (std::size_t r = 0; r < rows; ++r, out += stride) {
    const float at_y = y + static_cast<float>(r);
    const float e0 = at_y - from.py[0], e1 = at_y - from.py[1], e2 = at_y - from.py[2];
    const float s0 = e0 * e0, s1 = e1 * e1, s2 = e2 * e2;
    const float times = is_single ? single : 1.0F;
    for (int k = 0; k < count; ++k) {
      const auto at = static_cast<float>(k);
      const float a = (at + q0) * (at + q0) + s0;
      const float b = (at + q1) * (at + q1) + s1;
      const float c = (at + q2) * (at + q2) + s2;
      const float ab = least(a, b);
      out[k] = times * std::sqrt(least(ab, c));
    }
    if (is_single) continue;
    for (int k = 0; k < count; ++k) out[k] = static_cast<float>(scale * static_cast<double>(out[k]));
  }
}

}  // namespace rtmdx::mask
