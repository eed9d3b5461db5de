#include "rtmdx/pairs.hpp"

#include <limits>

#include "rtmdx/clones.hpp"
#include "rtmdx/pair_kinds.hpp"
#include "rtmdx/vec.hpp"

namespace rtmdx::pairs {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

inline double positive(double v) { return v > 0.0 ? v : 0.0; }

struct EuclideanBox {
  double cx, cy, ux, uy, along, across;
  static EuclideanBox at(const double* const* a, std::size_t i) {
    return {a[0][i], a[1][i], a[2][i], a[3][i], a[4][i], a[5][i]};
  }
  [[gnu::always_inline]] double operator()(double x, double y) const {
    const double ex = x - cx, ey = y - cy;
    const double t = positive(std::fabs(ex * ux + ey * uy) - along);
    const double s = positive(std::fabs(ex * uy - ey * ux) - across);
    return t * t + s * s;
  }
};

struct ManhattanBox {
  double x0, y0, x1, y1;
  static ManhattanBox at(const double* const* a, std::size_t i) { return {a[0][i], a[1][i], a[2][i], a[3][i]}; }
  [[gnu::always_inline]] double operator()(double x, double y) const {
    return positive(x0 - x) + positive(x - x1) + positive(y0 - y) + positive(y - y1);
  }
};

struct Arrays {
  const double* at[6];
};

Arrays arrays(const Candidates& c) {
  Arrays a{};
  for (std::size_t k = 0; k < (c.points ? point_arrays : segment_arrays); ++k) a.at[k] = c.array(k);
  return a;
}

Arrays arrays(Metric metric, const Boxes& b) {
  Arrays a{};
  for (std::size_t k = 0; k < box_arrays(metric); ++k) a.at[k] = b.data + k * b.stride;
  return a;
}

RTMDX_CLONES double minimum(const double* values, std::size_t n) {
  double best[lanes];
  for (std::size_t k = 0; k < lanes; ++k) best[k] = infinity;
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) best[k] = least(values[i + k], best[k]);
  }
  for (; i < n; ++i) best[0] = least(values[i], best[0]);
  for (std::size_t k = 1; k < lanes; ++k) best[0] = least(best[k], best[0]);
  return best[0];
}

// The loops, once for every kind of pair. Clones cannot be templates, so the macro below names each kind's.
template <class Pair>
[[gnu::always_inline]] inline void values_loop(const double* const* a, std::size_t n, double x, double y,
                                                       double* value) {
  for (std::size_t i = 0; i < n; ++i) value[i] = Pair::at(a, i)(x, y);
}

template <class Pair>
[[gnu::always_inline]] inline void corners_loop(const double* const* a, std::size_t n, const Place* c,
                                                        const double* limit, double* over) {
  const double x0 = c[0].x, y0 = c[0].y, x1 = c[3].x, y1 = c[3].y;
  const double l0 = limit[0], l1 = limit[1], l2 = limit[2], l3 = limit[3];
  for (std::size_t i = 0; i < n; ++i) {
    const Pair pair = Pair::at(a, i);
    const double top = least(pair(x0, y0) - l0, pair(x1, y0) - l1);
    const double bottom = least(pair(x0, y1) - l2, pair(x1, y1) - l3);
    over[i] = least(top, bottom);
  }
}

template <class Pair>
[[gnu::always_inline]] inline void block_loop(const double* const* a, std::size_t n, const double* x,
                                                      const double* y, std::size_t rows, double* value) {
  constexpr std::size_t across = lanes / vec_lanes;
  for (std::size_t r = 0; r < rows; r += strip) {
    Vec best[strip][across];
    for (std::size_t j = 0; j < strip; ++j) {
      for (std::size_t k = 0; k < across; ++k) best[j][k] = all(infinity);
    }
    for (std::size_t i = 0; i < n; ++i) {
      const Pair pair = Pair::at(a, i);
      for (std::size_t k = 0; k < across; ++k) {
        const Vec xk = load(x + k * vec_lanes);
        for (std::size_t j = 0; j < strip; ++j) best[j][k] = least(pair(xk, all(y[r + j])), best[j][k]);
      }
    }
    for (std::size_t j = 0; j < strip; ++j) {
      for (std::size_t k = 0; k < across; ++k) store(value + (r + j) * lanes + k * vec_lanes, best[j][k]);
    }
  }
}

template <class Pair>
[[gnu::always_inline]] inline void index_loop(const double* const* a, const double* index, std::size_t n,
                                                      const double* x, const double* y, std::size_t rows,
                                                      const double* value, double* nearest) {
  for (std::size_t k = 0; k < rows * lanes; ++k) nearest[k] = infinity;
  for (std::size_t i = 0; i < n; ++i) {
    const Pair pair = Pair::at(a, i);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t k = 0; k < lanes; k += vec_lanes) {
        double* to = nearest + r * lanes + k;
        const Vec now = load(to);
        const Vec other = least(all(index[i]), now);
        store(to, pair(load(x + k), all(y[r])) <= load(value + r * lanes + k) ? other : now);
      }
    }
  }
}

#define RTMDX_ONE_PLACE_LOOPS(Pair)                                                                                   \
  RTMDX_CLONES void values_##Pair(const double* const* a, std::size_t n, double x, double y, double* value) {        \
    values_loop<Pair>(a, n, x, y, value);                                                                             \
  }                                                                                                                   \
  RTMDX_CLONES void corners_##Pair(const double* const* a, std::size_t n, const Place* c, const double* limit,       \
                                   double* over) {                                                                    \
    corners_loop<Pair>(a, n, c, limit, over);                                                                         \
  }

#define RTMDX_BLOCK_LOOPS(Pair)                                                                                       \
  RTMDX_CLONES void block_##Pair(const double* const* a, std::size_t n, const double* x, const double* y,            \
                                 std::size_t rows, double* value) {                                                   \
    block_loop<Pair>(a, n, x, y, rows, value);                                                                        \
  }                                                                                                                   \
  RTMDX_CLONES void index_##Pair(const double* const* a, const double* index, std::size_t n, const double* x,        \
                                 const double* y, std::size_t rows, const double* value, double* nearest) {           \
    index_loop<Pair>(a, index, n, x, y, rows, value, nearest);                                                        \
  }

RTMDX_ONE_PLACE_LOOPS(EuclideanBox)
RTMDX_ONE_PLACE_LOOPS(ManhattanBox)
RTMDX_ONE_PLACE_LOOPS(EuclideanPoint)
RTMDX_ONE_PLACE_LOOPS(EuclideanSegment)
RTMDX_ONE_PLACE_LOOPS(ManhattanPoint)
RTMDX_ONE_PLACE_LOOPS(ManhattanSegment)
RTMDX_BLOCK_LOOPS(EuclideanPoint)
RTMDX_BLOCK_LOOPS(EuclideanSegment)
RTMDX_BLOCK_LOOPS(ManhattanPoint)
RTMDX_BLOCK_LOOPS(ManhattanSegment)
#undef RTMDX_ONE_PLACE_LOOPS
#undef RTMDX_BLOCK_LOOPS

}  // namespace

#define RTMDX_FOR_PAIR(loop, ...)                                           \
  do {                                                                      \
    if (metric == Metric::euclidean) {                                      \
      c.points ? loop##_EuclideanPoint(__VA_ARGS__) : loop##_EuclideanSegment(__VA_ARGS__); \
    } else {                                                                \
      c.points ? loop##_ManhattanPoint(__VA_ARGS__) : loop##_ManhattanSegment(__VA_ARGS__); \
    }                                                                       \
  } while (false)

void each_value(Metric metric, const Candidates& c, Place p, double* value) {
  const Arrays a = arrays(c);
  RTMDX_FOR_PAIR(values, a.at, c.size, p.x, p.y, value);
}

double values(Metric metric, const Candidates& c, Place p, double* value) {
  each_value(metric, c, p, value);
  return minimum(value, c.size);
}

Place foot(Metric metric, const Candidates& c, std::size_t i, Place p) {
  const Arrays a = arrays(c);
  if (c.points) return {a.at[0][i], a.at[1][i]};
  const double t = metric == Metric::euclidean ? EuclideanSegment::at(a.at, i).along(p.x, p.y)
                                               : ManhattanSegment::at(a.at, i).along(p.x, p.y);
  const double s = least(t > 0.0 ? t : 0.0, 1.0);
  return {a.at[0][i] + s * (a.at[2][i] - a.at[0][i]), a.at[1][i] + s * (a.at[3][i] - a.at[1][i])};
}

void near_any_corner(Metric metric, const Candidates& c, const Place corner[4], const double limit[4], double* over) {
  const Arrays a = arrays(c);
  RTMDX_FOR_PAIR(corners, a.at, c.size, corner, limit, over);
}

void block(Metric metric, const Candidates& c, const double x[lanes], const double* y, std::size_t rows,
           double* value) {
  const Arrays a = arrays(c);
  RTMDX_FOR_PAIR(block, a.at, c.size, x, y, rows, value);
}

void block_index(Metric metric, const Candidates& c, const double x[lanes], const double* y, std::size_t rows,
                 const double* value, double* index) {
  const Arrays a = arrays(c);
  RTMDX_FOR_PAIR(index, a.at, c.index(), c.size, x, y, rows, value, index);
}

#undef RTMDX_FOR_PAIR

void each_value(Metric metric, const Boxes& b, Place p, double* value) {
  const Arrays a = arrays(metric, b);
  metric == Metric::euclidean ? values_EuclideanBox(a.at, b.size, p.x, p.y, value)
                              : values_ManhattanBox(a.at, b.size, p.x, p.y, value);
}

double values(Metric metric, const Boxes& b, Place p, double* value) {
  each_value(metric, b, p, value);
  return minimum(value, b.size);
}

void near_any_corner(Metric metric, const Boxes& b, const Place corner[4], const double limit[4], double* over) {
  const Arrays a = arrays(metric, b);
  metric == Metric::euclidean ? corners_EuclideanBox(a.at, b.size, corner, limit, over)
                              : corners_ManhattanBox(a.at, b.size, corner, limit, over);
}

}  // namespace rtmdx::pairs
