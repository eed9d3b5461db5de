// Four doubles that the compiler keeps in registers, where it has vectors; operations as on one double.
#pragma once

#include <cstddef>
#include <cstring>

#if defined(__GNUC__) && defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace rtmdx {

#if defined(__GNUC__)
typedef double Vec __attribute__((vector_size(32)));
constexpr std::size_t vec_lanes = 4;

[[gnu::always_inline]] inline Vec load(const double* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
[[gnu::always_inline]] inline void store(double* to, const Vec& v) { std::memcpy(to, &v, sizeof v); }
[[gnu::always_inline]] inline Vec all(double v) { return Vec{v, v, v, v}; }

// Bit k: whether a[k] <= b[k].
[[gnu::always_inline]] inline unsigned not_above(const Vec& a, const Vec& b) {
  const auto yes = a <= b;
#if defined(__SSE2__)
  __m128d half[2];
  std::memcpy(half, &yes, sizeof half);
  return static_cast<unsigned>(_mm_movemask_pd(half[0]) | _mm_movemask_pd(half[1]) << 2);
#else
  return static_cast<unsigned>((yes[0] & 1) | (yes[1] & 2) | (yes[2] & 4) | (yes[3] & 8));
#endif
}
#else
using Vec = double;
constexpr std::size_t vec_lanes = 1;

inline Vec load(const double* from) { return *from; }
inline void store(double* to, const Vec& v) { *to = v; }
inline Vec all(double v) { return v; }
inline unsigned not_above(Vec a, Vec b) { return a <= b ? 1U : 0U; }
#endif

}  // namespace rtmdx
