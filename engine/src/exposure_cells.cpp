#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "rtmdx/clones.hpp"
#include "rtmdx/exposure_sums.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx::exposures {

std::vector<TopCells> ranks_of(const std::vector<double>& top, std::int64_t known) {
  std::vector<TopCells> out(top.size());
  for (std::size_t t = 0; t < top.size(); ++t) {
    const double cells = std::nearbyint(top[t] * static_cast<double>(known));  // halves to even, as Python's round
    out[t].cells = std::clamp<std::int64_t>(static_cast<std::int64_t>(cells), 1, std::max<std::int64_t>(known, 1));
  }
  return out;
}

namespace {

constexpr std::int64_t strip = 256;

// Adds, place by place, what is below a window and what is above it.
RTMDX_CLONES
void add_outside(const double* v, std::int64_t n, double low, double high, double* below, double* above, double* count) {
  for (std::int64_t i = 0; i < n; ++i) {
    below[i] += v[i] < low ? v[i] : 0.0;
    count[i] += v[i] < low ? 1.0 : 0.0;
    above[i] += v[i] > high ? v[i] : 0.0;
  }
}

struct Split {
  double least, rest;
};

// Sums of the k least of n values, and of the others. A sample tells a window that the k-th value is likely to be in, so
// that few are sorted about it.
Split split(const double* values, std::int64_t n, std::int64_t k, std::vector<double>& window) {
  constexpr std::int64_t sampled = 1024, margin = 64;
  Split out{0.0, 0.0};
  window.resize(static_cast<std::size_t>(n));
  auto first = window.begin(), last = window.end();
  bool narrow = false;
  if (n > 16 * sampled) {
    std::vector<double> sample;
    for (std::int64_t i = 0; i < sampled; ++i) sample.push_back(values[i * (n / sampled)]);
    std::sort(sample.begin(), sample.end());
    const std::int64_t at = k * sampled / n;
    const double low = at < margin ? -1.0 : sample[static_cast<std::size_t>(at - margin)];
    const double high = at + margin >= sampled ? std::numeric_limits<double>::infinity()
                                               : sample[static_cast<std::size_t>(at + margin)];
    double below[strip] = {}, above[strip] = {}, count[strip] = {};
    for (std::int64_t i = 0; i < n; i += strip) {
      add_outside(values + i, std::min(strip, n - i), low, high, below, above, count);
    }
    std::size_t inside = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      window[inside] = values[i];
      inside += static_cast<std::size_t>(values[i] >= low) & static_cast<std::size_t>(values[i] <= high);
    }
    double lower = 0.0;
    for (const double c : count) lower += c;
    const std::int64_t left = k - static_cast<std::int64_t>(lower);
    if (left >= 0 && left <= static_cast<std::int64_t>(inside)) {
      for (const double v : below) out.least += v;
      for (const double v : above) out.rest += v;
      last = first + static_cast<std::ptrdiff_t>(inside);
      k = left;
      narrow = true;
    }
  }
  if (!narrow) std::copy(values, values + n, first);
  const auto middle = first + static_cast<std::ptrdiff_t>(k);
  std::nth_element(first, middle, last);
  for (auto v = first; v != middle; ++v) out.least += *v;
  for (auto v = middle; v != last; ++v) out.rest += *v;
  return out;
}

}  // namespace

void bound_ties(std::vector<TopCells>& top, const std::vector<TiedCells>& tied, std::int64_t n_groups, const Run& run) {
  for (TopCells& t : top) {
    t.least.assign(t.residents.begin(), t.residents.end());
    if (!t.least.empty()) t.least.pop_back();
    for (std::size_t g = 0; g < t.least.size() && !is_open(t); ++g) t.least[g] += t.equal[g];
    t.most = t.least;
  }
  const auto groups = static_cast<std::size_t>(n_groups);
  parallel_for(tied.size() * groups, run, [&](std::size_t block, Poll& poll) {
    const TiedCells& from = tied[block / groups];
    const std::size_t g = block % groups;
    const double* values = from.residents.get() + static_cast<std::int64_t>(g) * from.n;
    std::vector<double> window;
    for (TopCells& t : top) {
      if (!is_open(t) || t.threshold != from.risk) continue;
      const std::int64_t taken = t.cells - t.above;
      poll();
      t.least[g] += split(values, from.n, taken, window).least;
      poll();
      t.most[g] += split(values, from.n, from.n - taken, window).rest;
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
