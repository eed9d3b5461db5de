#include "rtmdx/polygon_mass.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>

#include "rtmdx/kernel.hpp"

namespace rtmdx {
namespace {

constexpr std::size_t leaf_edges = 4;
constexpr double infinity = std::numeric_limits<double>::infinity();

void grow(Box& box, double x, double y) {
  box.x0 = std::min(box.x0, x);
  box.y0 = std::min(box.y0, y);
  box.x1 = std::max(box.x1, x);
  box.y1 = std::max(box.y1, y);
}

// 8-point Gauss-Legendre nodes and weights on [-1, 1], the positive half.
constexpr double gauss_node[4] = {0.18343464249564980, 0.52553240991632899, 0.79666647741362674, 0.96028985649753623};
constexpr double gauss_weight[4] = {0.36268378337836198, 0.31370664587788729, 0.22238103445337447,
                                    0.10122853629037626};

// (1 - exp(-z)) / z
double decay(double z) { return z < 1e-8 ? 1.0 - 0.5 * z : -std::expm1(-z) / z; }

// int G(r) ds along an edge inside the support, from s = a to s = b; p2 is the squared distance of its line.
template <Kernel K>
double inner(double p2, double a, double b) {
  const double length = b - a;
  const double m2 = (a * a + a * b + b * b) / 3.0;  // mean of s^2
  if constexpr (K == Kernel::uniform) {
    return length * (1.0 / (2.0 * pi));
  } else if constexpr (K == Kernel::epanechnikov) {
    return length * (1.0 / pi) * (1.0 - 0.5 * (p2 + m2));
  } else if constexpr (K == Kernel::quartic) {
    const double a2 = a * a, b2 = b * b;
    const double m4 = (a2 * a2 + a2 * a * b + a2 * b2 + a * b * b2 + b2 * b2) / 5.0;  // mean of s^4
    return length * (3.0 / pi) * (0.5 - 0.5 * (p2 + m2) + (p2 * p2 + 2.0 * p2 * m2 + m4) / 6.0);
  } else if constexpr (K == Kernel::triangular) {
    // int r ds = (s r + p^2 asinh(s / p)) / 2
    const double p = std::sqrt(p2);
    double mean_r = b * std::sqrt(p2 + b * b) - a * std::sqrt(p2 + a * a);
    if (p2 > 1e-300) mean_r += p2 * (std::asinh(b / p) - std::asinh(a / p));
    return (3.0 / pi) * (0.5 * length - mean_r / 6.0);
  } else {
    // G = (1 - exp(-z)) / (2 pi Z r^2), z = c^2 r^2 / 2: entire in s, so panels of at most 1/4 (one standard
    // deviation) leave nothing to the eighth node.
    const double c2 = 0.5 * gaussian_cut * gaussian_cut;
    const int panels = std::max(1, static_cast<int>(std::ceil(length * gaussian_cut)));
    const double half = 0.5 * length / panels;
    double sum = 0.0;
    for (int i = 0; i < panels; ++i) {
      const double mid = a + (2 * i + 1) * half;
      for (int k = 0; k < 4; ++k) {
        const double s0 = mid - half * gauss_node[k], s1 = mid + half * gauss_node[k];
        sum += gauss_weight[k] * (decay(c2 * (p2 + s0 * s0)) + decay(c2 * (p2 + s1 * s1)));
      }
    }
    return sum * half * (c2 / (2.0 * pi * -std::expm1(-c2)));
  }
}

inline double angle(double ax, double ay, double bx, double by) { return std::atan2(ax * by - ay * bx, ax * bx + ay * by); }

struct Flux {
  double inside = 0.0;   // flux of the edge pieces inside the support
  double subtended = 0.0;  // signed angle of the others
  bool met = false;      // an edge crosses the support
};

// Adds the edge from (ax, ay) along the unit vector (ex, ey), relative to the kernel's centre.
template <Kernel K>
void add_edge(double ax, double ay, double bx, double by, double ex, double ey, double length, Flux& flux) {
  const double p = ax * ey - ay * ex;
  const double p2 = p * p;
  const double a2 = 1.0 - p2;
  const double s1 = ax * ex + ay * ey;
  const double s2 = s1 + length;
  const double q = a2 > 0.0 ? std::sqrt(a2) : 0.0;
  const double from = std::max(s1, -q), to = std::min(s2, q);
  if (!(a2 > 0.0) || !(from < to)) {
    flux.subtended += angle(ax, ay, bx, by);
    return;
  }
  flux.met = true;
  flux.inside += p * inner<K>(p2, from, to);
  // Pieces before and after the support: the angle between (p, s) and (p, s').
  if (s1 < from) flux.subtended += std::atan2(p * (from - s1), p2 + s1 * from);
  if (s2 > to) flux.subtended += std::atan2(p * (s2 - to), p2 + s2 * to);
}

}  // namespace

PolygonMass::PolygonMass(const Polygons& polygons, const Scaled& scaled, Kernel kernel, const Run& run)
    : kernel_(kernel) {
  tree_start_.assign(1, 0);
  parallel_for(1, run, [&](std::size_t, Poll& now) {
    PacedPoll poll(now);
    for (std::size_t i = 0; i < polygons.size(); ++i) {
      const std::size_t node0 = nodes_.size();
      for (auto ring = polygons.polygon_offsets[i]; ring < polygons.polygon_offsets[i + 1]; ++ring) {
        add_ring(polygons, scaled, static_cast<std::size_t>(polygons.ring_offsets[static_cast<std::size_t>(ring)]),
                 static_cast<std::size_t>(polygons.ring_offsets[static_cast<std::size_t>(ring) + 1]),
                 ring > polygons.polygon_offsets[i], poll);
      }
      Box box{infinity, infinity, -infinity, -infinity};
      for (std::size_t n = node0; n < nodes_.size(); n = nodes_[n].skip) {
        grow(box, nodes_[n].box.x0, nodes_[n].box.y0);
        grow(box, nodes_[n].box.x1, nodes_[n].box.y1);
      }
      boxes_.push_back(box);
      tree_start_.push_back(nodes_.size());
    }
  });
}

void PolygonMass::add_ring(const Polygons& polygons, const Scaled& scaled, std::size_t v0, std::size_t v1, bool hole,
                           PacedPoll& poll) {
  const std::size_t begin = vx_.size();
  const auto put = [&](double x, double y) {
    if (vx_.size() > begin && vx_.back() == x && vy_.back() == y) return;
    vx_.push_back(x);
    vy_.push_back(y);
  };
  poll(64);
  for (std::size_t v = v0; v < v1; ++v) {
    poll(16);  // and for what follows
    put(scaled.local_x(polygons.xy[2 * v]), scaled.local_y(polygons.xy[2 * v + 1]));
  }
  if (vx_.size() > begin) put(vx_[begin], vy_[begin]);
  if (vx_.size() < begin + 4) {  // fewer than three corners enclose nothing
    vx_.resize(begin);
    vy_.resize(begin);
  } else {
    double twice_area = 0.0;
    for (std::size_t v = begin; v + 1 < vx_.size(); ++v) {
      twice_area += (vx_[v] - vx_[begin]) * (vy_[v + 1] - vy_[begin]) - (vx_[v + 1] - vx_[begin]) * (vy_[v] - vy_[begin]);
    }
    if ((twice_area < 0.0) != hole) {
      std::reverse(vx_.begin() + static_cast<std::ptrdiff_t>(begin), vx_.end());
      std::reverse(vy_.begin() + static_cast<std::ptrdiff_t>(begin), vy_.end());
    }
  }
  const std::size_t end = vx_.size();
  ex_.resize(end, 0.0);
  ey_.resize(end, 0.0);
  length_.resize(end, 0.0);
  for (std::size_t v = begin; v + 1 < end; ++v) {
    poll(16);
    const double ux = vx_[v + 1] - vx_[v], uy = vy_[v + 1] - vy_[v];
    length_[v] = std::hypot(ux, uy);
    ex_[v] = ux / length_[v];
    ey_[v] = uy / length_[v];
  }
  if (end > begin) build(begin, end - 1, poll);
}

Box PolygonMass::build(std::size_t first, std::size_t last, PacedPoll& poll) {
  const std::size_t at = nodes_.size();
  Box box{infinity, infinity, -infinity, -infinity};
  nodes_.push_back({box, first, last, 0});
  if (last - first > leaf_edges) {
    const std::size_t middle = first + (last - first) / 2;
    for (const Box& half : {build(first, middle, poll), build(middle, last, poll)}) {
      grow(box, half.x0, half.y0);
      grow(box, half.x1, half.y1);
    }
  } else {
    poll(64);
    for (std::size_t v = first; v <= last; ++v) grow(box, vx_[v], vy_[v]);
  }
  nodes_[at].box = box;
  nodes_[at].skip = nodes_.size();
  return box;
}

double PolygonMass::mass(std::size_t polygon, double x, double y) const {
  Flux flux;
  const auto walk = [&](auto edge) {
    for (std::size_t n = tree_start_[polygon]; n < tree_start_[polygon + 1];) {
      const Node& node = nodes_[n];
      const double gx = std::max({node.box.x0 - x, x - node.box.x1, 0.0});
      const double gy = std::max({node.box.y0 - y, y - node.box.y1, 0.0});
      if (gx * gx + gy * gy >= 1.0) {
        flux.subtended += angle(vx_[node.first] - x, vy_[node.first] - y, vx_[node.last] - x, vy_[node.last] - y);
        n = node.skip;
      } else if (node.last - node.first <= leaf_edges) {
        for (std::size_t e = node.first; e < node.last; ++e) {
          edge(vx_[e] - x, vy_[e] - y, vx_[e + 1] - x, vy_[e + 1] - y, ex_[e], ey_[e], length_[e], flux);
        }
        n = node.skip;
      } else {
        ++n;
      }
    }
  };
  switch (kernel_) {
    case Kernel::uniform:
      walk(add_edge<Kernel::uniform>);
      break;
    case Kernel::triangular:
      walk(add_edge<Kernel::triangular>);
      break;
    case Kernel::epanechnikov:
      walk(add_edge<Kernel::epanechnikov>);
      break;
    case Kernel::quartic:
      walk(add_edge<Kernel::quartic>);
      break;
    case Kernel::gaussian:
      walk(add_edge<Kernel::gaussian>);
      break;
  }
  const double turns = flux.subtended / (2.0 * pi);
  if (!flux.met) return std::clamp(std::round(turns), 0.0, 1.0);  // all of the support or nothing of it, exactly
  return std::clamp(flux.inside + turns, 0.0, 1.0);
}

void kernel_mass(const Polygons& polygons, const Grid& grid, Kernel kernel, double bandwidth, Span<double> points,
                 const Run& run, double* out) {
  check(Features{{}, {}, polygons});
  const std::size_t n = points.size() / 2;
  try {
    const Scaled scaled{grid, support_radius(kernel, bandwidth)};
    const PolygonMass masses(polygons, scaled, kernel, run);
    constexpr std::size_t per_block = 1024;
    parallel_for(
        (n + per_block - 1) / per_block, run,
        [&](std::size_t block, Poll& poll) {
          PacedPoll pace(poll);
          for (std::size_t i = block * per_block; i < std::min(n, (block + 1) * per_block); ++i) {
            const double x = scaled.local_x(points[2 * i]), y = scaled.local_y(points[2 * i + 1]);
            double sum = 0.0;
            for (std::size_t j = 0; j < polygons.size(); ++j) {
              pace(2);
              const Box& box = masses.boxes()[j];
              if (x < box.x0 - 1.0 || x > box.x1 + 1.0 || y < box.y0 - 1.0 || y > box.y1 + 1.0) continue;
              if (masses.intricate(j)) poll();
              sum += masses.mass(j, x, y);
            }
            out[i] = sum;
          }
        },
        Loop::main);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the kernel mass at " + std::to_string(n) + " points in polygons of " +
                      std::to_string(polygons.xy.size() / 2) + " vertices, about " +
                      std::to_string(polygons.xy.size() * 48 / 1000000 + 1) + " MB");
  }
}

}  // namespace rtmdx
