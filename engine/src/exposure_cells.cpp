#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
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

// Sums of the k least of n values, and of the others; the values are reordered.
Split split_sorted(double* first, double* last, std::int64_t k) {
  Split out{0.0, 0.0};
  std::nth_element(first, first + k, last);
  for (const double* v = first; v != first + k; ++v) out.least += *v;
  for (const double* v = first + k; v != last; ++v) out.rest += *v;
  return out;
}

// The same without a change. A sample tells a window that the k-th value is likely to be in, so that few are looked at
// in order.
Split split(const double* values, std::int64_t n, std::int64_t k) {
  constexpr std::int64_t sampled = 1024, margin = 64;
  if (n > 16 * sampled) {
    std::vector<double> sample;
    for (std::int64_t i = 0; i < sampled; ++i) sample.push_back(values[i * (n / sampled)]);
    std::sort(sample.begin(), sample.end());
    const std::int64_t at = k * sampled / n;
    const double low = at < margin ? -1.0 : sample[static_cast<std::size_t>(at - margin)];
    const double high = at + margin >= sampled ? std::numeric_limits<double>::infinity()
                                               : sample[static_cast<std::size_t>(at + margin)];
    double below[strip] = {}, above[strip] = {}, count[strip] = {};
    const std::int64_t room = n / 4;
    const std::unique_ptr<double[]> window(new double[static_cast<std::size_t>(room)]);
    std::int64_t inside = 0, seen = 0;
    for (; seen < n && inside + strip <= room; seen += strip) {
      const std::int64_t m = std::min(strip, n - seen);
      const double* v = values + seen;
      add_outside(v, m, low, high, below, above, count);
      for (std::int64_t i = 0; i < m; ++i) {
        window[static_cast<std::size_t>(inside)] = v[i];
        inside += static_cast<std::int64_t>(v[i] >= low) & static_cast<std::int64_t>(v[i] <= high);
      }
    }
    const std::int64_t left = k - static_cast<std::int64_t>(std::accumulate(count, count + strip, 0.0));
    if (seen >= n && left >= 0 && left <= inside) {
      Split out = split_sorted(window.get(), window.get() + inside, left);
      out.least += std::accumulate(below, below + strip, 0.0);
      out.rest += std::accumulate(above, above + strip, 0.0);
      return out;
    }
  }
  const std::unique_ptr<double[]> all(new double[static_cast<std::size_t>(n)]);
  std::copy(values, values + n, all.get());
  return split_sorted(all.get(), all.get() + n, k);
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
    for (TopCells& t : top) {
      if (!is_open(t) || t.threshold != from.risk) continue;
      const std::int64_t taken = t.cells - t.above;
      poll();
      t.least[g] += split(values, from.n, taken).least;
      poll();
      t.most[g] += split(values, from.n, from.n - taken).rest;
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
