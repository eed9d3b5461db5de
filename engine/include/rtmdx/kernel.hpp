// The kernels of density estimation, in units of the support radius: u = r / R, K(u) = 0 for u > 1.
//
// Each integrates to 1 over the unit disc, 2 pi int_0^1 K(u) u du = 1:
//   uniform       1 / pi
//   triangular    3 / pi (1 - u)
//   epanechnikov  2 / pi (1 - u^2)
//   quartic       3 / pi (1 - u^2)^2
//   gaussian      exp(-s^2 / 2) s'^2 / (2 pi (1 - exp(-c^2 / 2))), s = c u, s' = c = 4: four standard deviations
#pragma once

#include <cmath>

#include "rtmdx/density.hpp"

namespace rtmdx {

constexpr double pi = 3.14159265358979323846;
constexpr double gaussian_cut = 4.0;  // support radius of the Gaussian in standard deviations

inline double support_radius(Kernel kernel, double bandwidth) {
  return kernel == Kernel::gaussian ? gaussian_cut * bandwidth : bandwidth;
}

// The constant in front of each kernel's shape.
inline double kernel_constant(Kernel kernel) {
  switch (kernel) {
    case Kernel::uniform:
      return 1.0 / pi;
    case Kernel::epanechnikov:
      return 2.0 / pi;
    case Kernel::triangular:
    case Kernel::quartic:
      return 3.0 / pi;
    case Kernel::gaussian:
      break;
  }
  return gaussian_cut * gaussian_cut / (2.0 * pi * -std::expm1(-0.5 * gaussian_cut * gaussian_cut));
}

}  // namespace rtmdx
