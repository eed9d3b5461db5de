#include "rtmdx/mask_rows.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "rtmdx/clones.hpp"

namespace rtmdx::mask {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

RTMDX_CLONES bool search(const std::uint16_t* g2, std::uint16_t* best) {
  std::memcpy(best, g2, block * sizeof *best);
  for (std::size_t k = 1; k <= nearby; k += 4) {
    std::uint16_t most = 0;
    for (std::size_t i = 0; i < block; ++i) {
      std::uint16_t b = best[i];
      for (std::size_t j = 0; j < 4; ++j) {
        const std::uint16_t left = *(g2 + i - k - j), right = *(g2 + i + k + j);
        const auto v = static_cast<std::uint16_t>((left < right ? left : right) + (k + j) * (k + j));
        b = v < b ? v : b;
      }
      best[i] = b;
      most = b > most ? b : most;
    }
    if (most <= (k + 4) * (k + 4)) return true;
  }
  return false;
}

RTMDX_CLONES bool search(const double* g2, double wx, double known, double* best) {
  std::memcpy(best, g2, block * sizeof *best);
  for (std::size_t k = 1; k <= nearby; k += 4) {
    double most[8] = {};
    const auto k0 = static_cast<double>(k);
    const double w0 = (k0 * k0) * wx, w1 = ((k0 + 1) * (k0 + 1)) * wx, w2 = ((k0 + 2) * (k0 + 2)) * wx,
                 w3 = ((k0 + 3) * (k0 + 3)) * wx;
    const double* l = g2 - k;
    const double* r = g2 + k;
    for (std::size_t i = 0; i < block; i += 8) {
      for (std::size_t m = 0; m < 8; ++m) {
        const std::size_t c = i + m;
        const double a0 = (l[c] < r[c] ? l[c] : r[c]) + w0;
        const double a1 = (*(l + c - 1) < r[c + 1] ? *(l + c - 1) : r[c + 1]) + w1;
        const double a2 = (*(l + c - 2) < r[c + 2] ? *(l + c - 2) : r[c + 2]) + w2;
        const double a3 = (*(l + c - 3) < r[c + 3] ? *(l + c - 3) : r[c + 3]) + w3;
        const double a = a0 < a1 ? a0 : a1, b = a2 < a3 ? a2 : a3;
        const double v = a < b ? a : b;
        best[c] = v < best[c] ? v : best[c];
        most[m] = best[c] > most[m] ? best[c] : most[m];
      }
    }
    const double largest = *std::max_element(most, most + 8);
    const double next = ((k0 + 4) * (k0 + 4)) * wx;
    if (largest <= next && largest < known) return true;
  }
  return false;
}

namespace {

constexpr std::size_t chunk = 32;

// v[i] = (at - (x + i))^2 wx + g2[i]; returns the first index of the smallest.
RTMDX_CLONES std::size_t winner(const double* g2, std::size_t n, double at_minus_x, double wx, double* value) {
  double least = infinity;
  std::size_t where = 0;
  for (std::size_t i = 0; i < n; i += chunk) {
    double v[chunk];
    const std::size_t m = n - i < chunk ? n - i : chunk;
    if (m == chunk) {
      for (std::size_t j = 0; j < chunk; ++j) {
        const double e = at_minus_x - static_cast<double>(static_cast<int>(i + j));
        v[j] = (e * e) * wx + g2[i + j];
      }
    } else {
      for (std::size_t j = 0; j < chunk; ++j) v[j] = infinity;
      for (std::size_t j = 0; j < m; ++j) {
        const double e = at_minus_x - static_cast<double>(static_cast<int>(i + j));
        v[j] = (e * e) * wx + g2[i + j];
      }
    }
    double best[8];
    for (std::size_t j = 0; j < 8; ++j) best[j] = v[j];
    for (std::size_t j = 8; j < chunk; j += 8) {
      for (std::size_t k = 0; k < 8; ++k) best[k] = v[j + k] < best[k] ? v[j + k] : best[k];
    }
    double b = best[0];
    for (std::size_t k = 1; k < 8; ++k) b = best[k] < b ? best[k] : b;
    if (b < least) {
      least = b;
      for (std::size_t j = 0; j < chunk; ++j) {
        if (v[j] == b) {
          where = i + j;
          break;
        }
      }
    }
  }
  *value = least;
  return where;
}

// best[i] = min over the candidates of (x + i - candidate)^2 wx + g2[candidate]
RTMDX_CLONES void all_pairs(const double* g2, std::size_t n, double x_minus_first, double wx, double* best) {
  double b[leaf];
  for (double& v : b) v = infinity;
  for (std::size_t j = 0; j < n; ++j) {
    const double x = x_minus_first - static_cast<double>(static_cast<int>(j));
    for (std::size_t i = 0; i < leaf; ++i) {
      const double e = x + static_cast<double>(i);
      const double v = (e * e) * wx + g2[j];
      b[i] = v < b[i] ? v : b[i];
    }
  }
  std::memcpy(best, b, sizeof b);
}

}  // namespace

void conquer(const Row& row, std::int64_t a, std::int64_t b, std::int64_t low, std::int64_t high, Poll& poll) {
  while (b - a > static_cast<std::int64_t>(leaf)) {
    const std::int64_t middle = a + (b - a) / 2;
    const auto n = static_cast<std::size_t>(high - low + 1);
    if (n * static_cast<std::size_t>(b - a) > 100000) poll();
    const std::int64_t split =
        low + static_cast<std::int64_t>(
                  winner(row.g2 + low, n, static_cast<double>(middle - low), row.wx, row.d2 + middle));
    if (row.ordered) {
      conquer(row, a, middle, low, split, poll);
      low = split;
    } else {
      conquer(row, a, middle, low, high, poll);
    }
    a = middle + 1;
  }
  double best[leaf];
  all_pairs(row.g2 + low, static_cast<std::size_t>(high - low + 1), static_cast<double>(a - low), row.wx, best);
  std::copy_n(best, b - a, row.d2 + a);
}

}  // namespace rtmdx::mask
