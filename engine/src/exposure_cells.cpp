#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "rtmdx/clones.hpp"
#include "rtmdx/exposure_sums.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx::exposures {

RTMDX_CLONES
bool add_residents(const double* residents, const std::uint16_t* code, std::int64_t n, double& with, double& without) {
  constexpr std::int64_t lanes = 8;
  double in[lanes] = {}, out[lanes] = {};
  std::int64_t odd = 0;
  const auto take = [&](std::int64_t i, std::int64_t k) {
    const double p = residents[i];
    const bool known = code[i] != no_code;
    in[k] += known ? p : 0.0;
    out[k] += known ? 0.0 : p;
    odd += !(p >= 0.0 && p <= std::numeric_limits<double>::max());
  };
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::int64_t k = 0; k < lanes; ++k) take(i + k, k);
  }
  for (; i < n; ++i) take(i, 0);
  for (std::int64_t k = 0; k < lanes; ++k) {
    with += in[k];
    without += out[k];
  }
  return odd == 0;
}

std::vector<TopCells> ranks_of(const std::vector<double>& top, std::int64_t known) {
  std::vector<TopCells> out(top.size());
  for (std::size_t t = 0; t < top.size(); ++t) {
    const double cells = std::nearbyint(top[t] * static_cast<double>(known));  // halves to even, as Python's round
    out[t].cells = std::clamp<std::int64_t>(static_cast<std::int64_t>(cells), 1, std::max<std::int64_t>(known, 1));
  }
  return out;
}

void bound_ties(std::vector<TopCells>& top, std::vector<TiedCells>& tied, const Run& run) {
  for (TopCells& t : top) {  // where nothing is open
    t.least = t.residents;
    if (!t.least.empty()) t.least.pop_back();
    if (!is_open(t)) {
      for (std::size_t g = 0; g < t.least.size(); ++g) t.least[g] += t.equal[g];
    }
    t.most = t.least;
  }
  std::size_t n_groups = 0;
  for (const TiedCells& cells : tied) n_groups = std::max(n_groups, cells.columns.size());
  parallel_for(tied.size() * n_groups, run, [&](std::size_t block, Poll& poll) {
    const TiedCells& cells = tied[block / n_groups];
    const std::size_t g = block % n_groups;
    std::vector<double>& column = tied[block / n_groups].columns[g];
    for (TopCells& t : top) {
      if (!is_open(t) || t.threshold != cells.risk) continue;
      poll();
      const auto taken = static_cast<std::ptrdiff_t>(t.cells - t.above);
      std::nth_element(column.begin(), column.begin() + taken, column.end());
      for (std::ptrdiff_t i = 0; i < taken; ++i) t.least[g] += column[static_cast<std::size_t>(i)];
      poll();
      const auto rest = static_cast<std::ptrdiff_t>(column.size()) - taken;
      std::nth_element(column.begin(), column.begin() + rest, column.end());
      for (auto i = static_cast<std::size_t>(rest); i < column.size(); ++i) t.most[g] += column[i];
    }
  });
}

void require_memory(double bytes, const GroupCells& cells, const ExposureQuestion& question) {
  if (bytes <= question.memory) return;
  const auto mb = [](double n) { return std::to_string(std::llround(n / 1e6)) + " MB"; };
  throw OutOfMemory("the exposure of " + std::to_string(cells.n_groups()) + " groups over " +
                    std::to_string(cells.n_cells) + " cells needs " + mb(bytes) + "; " + mb(question.memory) +
                    " may be used");
}

}  // namespace rtmdx::exposures
