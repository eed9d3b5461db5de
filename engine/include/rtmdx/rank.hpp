// Ranks of cells by a score, and what the first k of them hold, with bounds over ties.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rtmdx/cancel.hpp"

namespace rtmdx {

// Where the curve is wanted and where it is written: amounts in the first k cells under the least favourable, random
// and most favourable breaking of ties. `k` ascends, each in [0, cells].
struct Capture {
  const std::int64_t* k;
  std::size_t n;
  double* lowest;
  double* expected;
  double* highest;
};

// Ranks cells from the highest score (1) down: `best` and `worst` are a cell's first and last possible rank, which
// differ where scores tie. Scores and amounts are finite; `best`, `worst` may be null together, and `amount` where
// capture.n is 0. Returns the number of distinct scores. Fewer than 2^31 cells. The result does not depend on the
// number of threads.
std::int64_t rank_cells(const double* score, const double* amount, std::size_t cells, std::int32_t* best,
                        std::int32_t* worst, const Capture& capture, const Run& run);

}  // namespace rtmdx
