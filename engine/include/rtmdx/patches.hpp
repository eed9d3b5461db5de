// Contiguous selection under a budget: patches of at least so many cells, grown from the best ground.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rtmdx {

// A graph over n units as offsets (n + 1) and targets; symmetric, without loops.
struct Graph {
  const std::int64_t* offsets;
  const std::int32_t* targets;
};

struct PatchProblem {
  const double* value;
  const double* cost;  // > 0
  std::size_t n;
  double budget;
  Graph neighbours;        // what makes a patch contiguous
  Graph near;              // units of different patches that are too close; no offsets: no spacing
  const std::uint8_t* lock;  // 0 free, 1 in, 2 out
  std::int32_t patch;      // least number of units in a patch, >= 1
  int passes;              // of trimming and growing anew, at most
};

enum class PatchEnd : std::int32_t { fine, locked_small, locked_near, locked_dear };

struct PatchResult {
  PatchEnd end = PatchEnd::fine;
  std::int32_t unit = -1;  // of the locked patch that cannot be
  double value = 0.0, cost = 0.0;
};

// Writes each unit's patch to `owner`, -1 where it is not chosen.
PatchResult grow_patches(const PatchProblem& problem, std::int32_t* owner);

}  // namespace rtmdx
