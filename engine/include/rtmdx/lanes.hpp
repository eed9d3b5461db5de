// Four doubles that the compiler keeps in one register where it can. Lane by lane, so the same bits everywhere.
#pragma once

#include <cstddef>

#if defined(__GNUC__)
#define RTMDX_INLINE inline __attribute__((always_inline))
#else
#define RTMDX_INLINE inline
#endif

namespace rtmdx {

#if defined(__GNUC__)

using Lanes = double __attribute__((vector_size(32), aligned(8), may_alias));

RTMDX_INLINE void load(Lanes& v, const double* p) { v = *reinterpret_cast<const Lanes*>(p); }
RTMDX_INLINE void store(double* p, const Lanes& v) { *reinterpret_cast<Lanes*>(p) = v; }
RTMDX_INLINE void add(double* p, const Lanes& v) { *reinterpret_cast<Lanes*>(p) += v; }
RTMDX_INLINE void subtract(double* p, const Lanes& v) { *reinterpret_cast<Lanes*>(p) -= v; }

#else

struct Lanes {
  double lane[4];
  double& operator[](std::size_t i) { return lane[i]; }
  double operator[](std::size_t i) const { return lane[i]; }
  Lanes& operator+=(const Lanes& v) {
    for (std::size_t i = 0; i < 4; ++i) lane[i] += v.lane[i];
    return *this;
  }
};

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
