// The best k cells under one linear constraint, with a proven bound.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtmdx {

struct FairChoice {
  bool feasible = false;
  double least = 0.0;       // smallest weight k cells can have
  double value = 0.0;       // of the cells chosen
  double weight = 0.0;      // of the cells chosen
  double bound = 0.0;       // no k cells within the cap have more value
  double multiplier = 0.0;  // value given up for a unit of weight at the optimum
};

// Chooses k of n cells, 1 <= k <= n, that have most value while their weights sum to at most `cap`; `chosen` gets their
// indices, ascending. Values and weights are finite; the cap is met to 1e-12 of k times the weights' mean size. Lagrangian
// relaxation, its multiplier found by bisection; the choice is the relaxation's, mended by exchanges, and the bound is
// the dual function's value.
FairChoice choose_fair(const double* value, const double* weight, std::size_t n, std::size_t k, double cap,
                       std::int32_t* chosen);

}  // namespace rtmdx
