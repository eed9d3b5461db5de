#include "rtmdx/point_cells.hpp"

#include <algorithm>

#include "rtmdx/clones.hpp"
#include "rtmdx/pair_kinds.hpp"
#include "rtmdx/vec.hpp"

namespace rtmdx::pairs {
namespace {

constexpr std::size_t longest = Rectangle::longest, deepest = Rectangle::deepest;
constexpr std::size_t room = 16 * longest;        // terms along the inner axis
constexpr std::size_t together = room / lanes;    // candidates, at most

struct Euclidean {
  static double term(double e) { return e * e; }
};

struct Manhattan {
  static double term(double e) { return size(e); }
};

// Row o of `rows` rows, `across` vectors from column i: the least of the candidates' sums, and of what is there already.
template <std::size_t rows, std::size_t across>
[[gnu::always_inline]] inline void least_sums(const double* inner, std::size_t pitch, const double* outer,
                                              std::size_t n, bool more, double* value) {
  Vec best[rows][across];
  for (std::size_t k = 0; k < across; ++k) {
    const Vec u = load(inner + k * vec_lanes);
    for (std::size_t j = 0; j < rows; ++j) {
      best[j][k] = u + all(outer[j]);
      if (more) best[j][k] = least(best[j][k], load(value + j * longest + k * vec_lanes));
    }
  }
  for (std::size_t c = 1; c < n; ++c) {
    inner += pitch;
    outer += deepest;
    for (std::size_t k = 0; k < across; ++k) {
      const Vec u = load(inner + k * vec_lanes);
      for (std::size_t j = 0; j < rows; ++j) best[j][k] = least(u + all(outer[j]), best[j][k]);
    }
  }
  for (std::size_t j = 0; j < rows; ++j) {
    for (std::size_t k = 0; k < across; ++k) store(value + j * longest + k * vec_lanes, best[j][k]);
  }
}

[[gnu::always_inline]] inline void centres(const Axis& axis, std::size_t n, double* to) {
  const auto first = static_cast<double>(axis.first);
  const double step = axis.step;
  for (std::size_t k = 0; k < n; ++k) to[k] = (first + static_cast<double>(static_cast<int>(k)) + 0.5) * step;
}

template <class M>
[[gnu::always_inline]] inline void nearest_loop(const double* inner, const double* outer, std::size_t candidates,
                                                const Rectangle& rectangle, double* value) {
  const std::size_t width = (rectangle.inner_size + lanes - 1) / lanes * lanes, depth = rectangle.outer_size;
  const std::size_t most = room / width;
  double x[longest], y[deepest], across[room], down[together * deepest];
  centres(rectangle.inner, width, x);
  centres(rectangle.outer, deepest, y);
  for (std::size_t first = 0; first < candidates; first += most) {
    const std::size_t n = std::min(most, candidates - first);
    for (std::size_t c = 0; c < n; ++c) {
      const double px = inner[first + c], py = outer[first + c];
      double* to = across + c * width;
      for (std::size_t k = 0; k < width; k += lanes) {
        for (std::size_t l = 0; l < lanes; ++l) to[k + l] = M::term(x[k + l] - px);
      }
      for (std::size_t k = 0; k < deepest; ++k) down[c * deepest + k] = M::term(y[k] - py);
    }
    const bool more = first > 0;
    constexpr std::size_t vectors = lanes / vec_lanes;
    std::size_t r = 0;
    for (; r + strip <= depth; r += strip) {
      for (std::size_t k = 0; k < width; k += lanes) {
        least_sums<strip, vectors>(across + k, width, down + r, n, more, value + r * longest + k);
      }
    }
    for (; r < depth; ++r) {
      for (std::size_t k = 0; k < width; k += lanes) {
        least_sums<1, vectors>(across + k, width, down + r, n, more, value + r * longest + k);
      }
    }
  }
}

RTMDX_CLONES void nearest_euclidean(const double* inner, const double* outer, std::size_t candidates,
                                    const Rectangle& rectangle, double* value) {
  nearest_loop<Euclidean>(inner, outer, candidates, rectangle, value);
}

RTMDX_CLONES void nearest_manhattan(const double* inner, const double* outer, std::size_t candidates,
                                    const Rectangle& rectangle, double* value) {
  nearest_loop<Manhattan>(inner, outer, candidates, rectangle, value);
}

}  // namespace

void nearest_point(Metric metric, const double* inner, const double* outer, std::size_t candidates,
                   const Rectangle& rectangle, double* value) {
  metric == Metric::euclidean ? nearest_euclidean(inner, outer, candidates, rectangle, value)
                              : nearest_manhattan(inner, outer, candidates, rectangle, value);
}

}  // namespace rtmdx::pairs
