// Four doubles that the compiler keeps in one register where it can. Lane by lane, so the same bits everywhere.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>

#if defined(__GNUC__)
#define RTMDX_INLINE inline __attribute__((always_inline))
#else
#define RTMDX_INLINE inline
#endif

namespace rtmdx {

#if defined(__GNUC__)

using Lanes = double __attribute__((vector_size(32)));

// By memcpy: where they lie is aligned as doubles are, which a type's own attribute does not tell every compiler.
RTMDX_INLINE void load(Lanes& v, const double* p) { std::memcpy(&v, p, sizeof v); }
RTMDX_INLINE void store(double* p, const Lanes& v) { std::memcpy(p, &v, sizeof v); }
RTMDX_INLINE void add(double* p, const Lanes& v) {
  Lanes at;
  load(at, p);
  store(p, at + v);
}
RTMDX_INLINE void subtract(double* p, const Lanes& v) {
  Lanes at;
  load(at, p);
  store(p, at - v);
}
RTMDX_INLINE void clamp_to_zero(Lanes& v) {
  const Lanes zero = {0.0, 0.0, 0.0, 0.0};
  v = v > zero ? v : zero;
}
RTMDX_INLINE void take_root(Lanes& v) { v = Lanes{std::sqrt(v[0]), std::sqrt(v[1]), std::sqrt(v[2]), std::sqrt(v[3])}; }

#else

struct Lanes {
  double lane[4];
  double& operator[](std::size_t i) { return lane[i]; }
  double operator[](std::size_t i) const { return lane[i]; }
};

template <class F>
inline Lanes each_lane(const F& f) {
  return {{f(0), f(1), f(2), f(3)}};
}
inline Lanes operator+(const Lanes& a, const Lanes& b) {
  return each_lane([&](std::size_t i) { return a[i] + b[i]; });
}
inline Lanes operator*(const Lanes& a, const Lanes& b) {
  return each_lane([&](std::size_t i) { return a[i] * b[i]; });
}
inline Lanes operator+(const Lanes& a, double b) {
  return each_lane([&](std::size_t i) { return a[i] + b; });
}
inline Lanes operator-(const Lanes& a, double b) {
  return each_lane([&](std::size_t i) { return a[i] - b; });
}
inline Lanes operator-(double a, const Lanes& b) {
  return each_lane([&](std::size_t i) { return a - b[i]; });
}
inline Lanes operator*(double a, const Lanes& b) {
  return each_lane([&](std::size_t i) { return a * b[i]; });
}
inline Lanes& operator+=(Lanes& a, const Lanes& b) { return a = a + b; }
inline Lanes& operator-=(Lanes& a, double b) { return a = a - b; }
inline Lanes& operator*=(Lanes& a, const Lanes& b) { return a = a * b; }
inline void clamp_to_zero(Lanes& v) {
  for (double& lane : v.lane) lane = lane > 0.0 ? lane : 0.0;
}
inline void take_root(Lanes& v) {
  for (double& lane : v.lane) lane = std::sqrt(lane);
}

inline void load(Lanes& v, const double* p) {
  for (std::size_t i = 0; i < 4; ++i) v.lane[i] = p[i];
}
inline void store(double* p, const Lanes& v) {
  for (std::size_t i = 0; i < 4; ++i) p[i] = v.lane[i];
}
inline void add(double* p, const Lanes& v) {
  for (std::size_t i = 0; i < 4; ++i) p[i] += v.lane[i];
}
inline void subtract(double* p, const Lanes& v) {
  for (std::size_t i = 0; i < 4; ++i) p[i] -= v.lane[i];
}

#endif

}  // namespace rtmdx
