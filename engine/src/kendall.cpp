#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "rtmdx/parallel.hpp"
#include "rtmdx/scenario_ranks.hpp"

namespace rtmdx {
namespace {

double pairs_of(double n) { return 0.5 * n * (n - 1.0); }

// Sorts, and returns how many pairs were out of order.
double exchanges(std::uint32_t* y, std::uint32_t* spare, std::size_t n) {
  constexpr std::size_t run = 16;
  double swaps = 0.0;
  for (std::size_t from = 0; from < n; from += run) {
    const std::size_t to = std::min(n, from + run);
    for (std::size_t i = from + 1; i < to; ++i) {
      const std::uint32_t moved = y[i];
      std::size_t j = i;
      for (; j > from && y[j - 1] > moved; --j) y[j] = y[j - 1];
      y[j] = moved;
      swaps += static_cast<double>(i - j);
    }
  }
  for (std::size_t width = run; width < n; width *= 2) {
    for (std::size_t from = 0; from < n; from += 2 * width) {
      const std::size_t middle = std::min(n, from + width), to = std::min(n, from + 2 * width);
      std::size_t a = from, b = middle, out = from;
      while (a < middle && b < to) {
        if (y[b] < y[a]) {
          swaps += static_cast<double>(middle - a);
          spare[out++] = y[b++];
        } else {
          spare[out++] = y[a++];
        }
      }
      std::copy(y + a, y + middle, spare + out);
      std::copy(y + b, y + to, spare + out + (middle - a));
    }
    std::copy(spare, spare + n, y);
  }
  return swaps;
}

}  // namespace

void kendall_tau(const std::uint32_t* ranks, std::size_t columns, const std::int32_t* first, const std::int32_t* second,
                 std::size_t pairs, double* tau, const Run& run) {
  parallel_for(pairs, run, [&](std::size_t p, Poll& asks) {
    PacedPoll poll(asks);
    const std::uint32_t* x = ranks + static_cast<std::size_t>(first[p]) * columns;
    const std::uint32_t* y = ranks + static_cast<std::size_t>(second[p]) * columns;
    std::vector<std::uint64_t> both;
    both.reserve(columns);
    for (std::size_t c = 0; c < columns; ++c) {
      if (x[c] != 0U && y[c] != 0U) both.push_back((static_cast<std::uint64_t>(x[c]) << 32U) | y[c]);
    }
    std::sort(both.begin(), both.end());
    poll(columns * 64);
    const std::size_t n = both.size();
    double tied_x = 0.0, tied_both = 0.0, tied_y = 0.0;
    std::vector<std::uint32_t> later(n), spare(n);
    for (std::size_t i = 0; i < n;) {
      std::size_t end = i;
      while (end < n && both[end] >> 32U == both[i] >> 32U) {
        std::size_t same = end;
        while (same < n && both[same] == both[end]) ++same;
        tied_both += pairs_of(static_cast<double>(same - end));
        end = same;
      }
      tied_x += pairs_of(static_cast<double>(end - i));
      i = end;
    }
    for (std::size_t i = 0; i < n; ++i) later[i] = static_cast<std::uint32_t>(both[i]);
    const double discordant = exchanges(later.data(), spare.data(), n);
    for (std::size_t i = 0; i < n;) {
      std::size_t end = i;
      while (end < n && later[end] == later[i]) ++end;
      tied_y += pairs_of(static_cast<double>(end - i));
      i = end;
    }
    const double all = pairs_of(static_cast<double>(n));
    const double scale = std::sqrt(all - tied_x) * std::sqrt(all - tied_y);
    const double difference = all - tied_x - tied_y + tied_both - 2.0 * discordant;
    tau[p] = scale > 0.0 ? std::clamp(difference / scale, -1.0, 1.0) : std::numeric_limits<double>::quiet_NaN();
  });
}

}  // namespace rtmdx
