#include "rtmdx/prune_points.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "rtmdx/clones.hpp"
#include "rtmdx/pair_kinds.hpp"
#include "rtmdx/vec.hpp"

namespace rtmdx::prune_points {
namespace {

using pairs::Candidates;
using pairs::EuclideanPoint;
using pairs::ManhattanPoint;
using pairs::Place;
using pairs::least;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t vectors = padding / vec_lanes;

template <class Pair>
[[gnu::always_inline]] inline Pair pair_of(double x, double y) {
  Pair pair;
  pair.px = x;
  pair.py = y;
  return pair;
}

template <class Pair>
[[gnu::always_inline]] inline std::size_t champion_loop(const double* x, const double* y, std::size_t n, Place p,
                                                        double* value) {
  const Pair pair = pair_of<Pair>(p.x, p.y);  // squares and sizes have no sign: place and point may change sides
  double first[vec_lanes];
  for (std::size_t k = 0; k < vec_lanes; ++k) first[k] = static_cast<double>(k);
  Vec best[vectors], which[vectors], now[vectors];
  for (std::size_t k = 0; k < vectors; ++k) {
    best[k] = all(infinity);
    which[k] = all(0.0);
    now[k] = load(first) + static_cast<double>(k * vec_lanes);
  }
  for (std::size_t i = 0; i < n; i += padding) {
    for (std::size_t k = 0; k < vectors; ++k) {
      const std::size_t j = i + k * vec_lanes;
      const Vec v = pair(load(x + j), load(y + j));
      store(value + j, v);
      which[k] = v < best[k] ? now[k] : which[k];
      best[k] = least(v, best[k]);
      now[k] += static_cast<double>(padding);
    }
  }
  double values[padding], places[padding];
  for (std::size_t k = 0; k < vectors; ++k) {
    store(values + k * vec_lanes, best[k]);
    store(places + k * vec_lanes, which[k]);
  }
  for (std::size_t k = 1; k < padding; ++k) {
    const bool nearer = values[k] < values[0];
    values[0] = nearer ? values[k] : values[0];
    places[0] = nearer ? places[k] : places[0];
  }
  return static_cast<std::size_t>(static_cast<std::int64_t>(places[0]));
}

// Lists what `over` says is not above 0, four at a time: which of four, and how many.
struct Chosen {
  alignas(16) std::uint32_t which[16][4];
  std::uint32_t count[16];
};

constexpr Chosen make_chosen() {
  Chosen c{};
  for (std::uint32_t bits = 0; bits < 16; ++bits) {
    for (std::uint32_t k = 0; k < 4; ++k) {
      if ((bits >> k & 1U) != 0) c.which[bits][c.count[bits]++] = k;
    }
  }
  return c;
}

constexpr Chosen chosen = make_chosen();

[[gnu::always_inline]] inline std::size_t list_four(unsigned bits, std::size_t first, std::uint32_t* list) {
  for (std::size_t k = 0; k < 4; ++k) list[k] = static_cast<std::uint32_t>(first) + chosen.which[bits][k];
  return chosen.count[bits];
}

[[gnu::always_inline]] inline std::size_t euclidean_loop(const double* x, const double* y, std::size_t n,
                                                         const double* value, const Bounds& bounds,
                                                         std::uint32_t* list) {
  const Vec gx = all(bounds.g.x), gy = all(bounds.g.y), across = all(bounds.across), down = all(bounds.down);
  const Vec level = all(bounds.level), within = all(bounds.within);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; i += padding) {
    for (std::size_t j = i; j < i + padding; j += 4) {
      unsigned bits = 0;
      for (std::size_t k = 0; k < 4; k += vec_lanes) {
        const Vec ex = load(x + j + k) - gx, ey = load(y + j + k) - gy, v = load(value + j + k);
        const Vec most = level + (across * pairs::size(ex) + down * pairs::size(ey));
        bits |= not_above(v, least(within, most)) << k;
      }
      kept += list_four(bits, j, list + kept);
    }
  }
  return kept;
}

[[gnu::always_inline]] inline std::size_t manhattan_loop(const double* x, const double* y, std::size_t n,
                                                         const double* value, const Bounds& bounds,
                                                         std::uint32_t* list) {
  const Place* c = bounds.corner;
  const auto p0 = pair_of<ManhattanPoint>(c[0].x, c[0].y), p1 = pair_of<ManhattanPoint>(c[1].x, c[1].y);
  const auto p2 = pair_of<ManhattanPoint>(c[2].x, c[2].y), p3 = pair_of<ManhattanPoint>(c[3].x, c[3].y);
  const double* l = bounds.limit;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; i += padding) {
    for (std::size_t j = i; j < i + padding; j += 4) {
      unsigned bits = 0;
      for (std::size_t k = 0; k < 4; k += vec_lanes) {
        const Vec px = load(x + j + k), py = load(y + j + k);
        const Vec top = least(p0(px, py) - l[0], p1(px, py) - l[1]);
        const Vec bottom = least(p2(px, py) - l[2], p3(px, py) - l[3]);
        bits |= (not_above(least(top, bottom), all(0.0)) & not_above(load(value + j + k), all(bounds.within))) << k;
      }
      kept += list_four(bits, j, list + kept);
    }
  }
  return kept;
}

#define RTMDX_PRUNE_LOOPS(name, Pair)                                                                                \
  RTMDX_CLONES std::size_t champion_##name(const double* x, const double* y, std::size_t n, Place p, double* value) { \
    return champion_loop<Pair>(x, y, n, p, value);                                                                   \
  }                                                                                                                  \
  RTMDX_CLONES std::size_t list_##name(const double* x, const double* y, std::size_t n, const double* value,         \
                                       const Bounds& bounds, std::uint32_t* list) {                                  \
    return name##_loop(x, y, n, value, bounds, list);                                                                \
  }

RTMDX_PRUNE_LOOPS(euclidean, EuclideanPoint)
RTMDX_PRUNE_LOOPS(manhattan, ManhattanPoint)
#undef RTMDX_PRUNE_LOOPS

}  // namespace

std::size_t champion(Metric metric, const Candidates& points, Place p, double* value) {
  const double *x = points.array(0), *y = points.array(1);
  return metric == Metric::euclidean ? champion_euclidean(x, y, points.size, p, value)
                                     : champion_manhattan(x, y, points.size, p, value);
}

std::size_t keep(Metric metric, const Candidates& points, std::size_t arrays, const double* value, const Bounds& bounds,
                 std::uint32_t* list, double* to, std::size_t stride) {
  const double *x = points.array(0), *y = points.array(1);
  const std::size_t n = points.size;
  const std::size_t kept = metric == Metric::euclidean ? list_euclidean(x, y, n, value, bounds, list)
                                                       : list_manhattan(x, y, n, value, bounds, list);
  for (std::size_t i = 0; i < kept; ++i) {
    to[i] = x[list[i]];
    to[stride + i] = y[list[i]];
  }
  if (arrays > pairs::point_arrays) {
    const double* index = points.index();
    for (std::size_t i = 0; i < kept; ++i) to[pairs::point_arrays * stride + i] = index[list[i]];
  }
  pad(to, stride, kept);
  return kept;
}

void pad(double* data, std::size_t stride, std::size_t n) {
  for (std::size_t a = 0; a < pairs::point_arrays; ++a) {
    std::fill_n(data + a * stride + n, padding, infinity);
  }
}

}  // namespace rtmdx::prune_points
