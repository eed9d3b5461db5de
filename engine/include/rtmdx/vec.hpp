// Four doubles that the compiler keeps in registers, where it has vectors; operations as on one double.
#pragma once

#include <cstddef>
#include <cstring>

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
#else
using Vec = double;
constexpr std::size_t vec_lanes = 1;

inline Vec load(const double* from) { return *from; }
inline void store(double* to, const Vec& v) { *to = v; }
inline Vec all(double v) { return v; }
#endif

}  // namespace rtmdx
