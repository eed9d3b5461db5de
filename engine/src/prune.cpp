#include "rtmdx/prune.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rtmdx/clones.hpp"

namespace rtmdx {

using pairs::Candidates;
using pairs::Place;

Rule::Rule(Metric m, const Box& box, double best, double limit, double far_above_rounding)
    : metric(m), slack(far_above_rounding), box_(box) {
  const double width = box.x1 - box.x0, height = box.y1 - box.y0;
  radius = 0.5 * (m == Metric::euclidean ? std::sqrt(width * width + height * height) : width + height);
  empty = best - radius > limit + slack;
  const double reach = std::min(best + 2.0 * radius, limit + radius) * (1.0 + 1e-9) + slack;
  within = pairs::value_of(m, reach);
}

void Rule::see(Place g) {
  corner[0] = {box_.x0, box_.y0};
  corner[1] = {box_.x1, box_.y0};
  corner[2] = {box_.x0, box_.y1};
  corner[3] = {box_.x1, box_.y1};
  double most = 0.0;
  for (int k = 0; k < 4; ++k) {
    const double ex = corner[k].x - g.x, ey = corner[k].y - g.y;
    allowed[k] = metric == Metric::euclidean ? ex * ex + ey * ey : std::fabs(ex) + std::fabs(ey);
    most = std::max(most, allowed[k]);
  }
  // The difference is least at a corner, so one margin at the corners is a margin everywhere.
  const double margin = metric == Metric::euclidean
                            ? 1e-9 * most + 2.0 * std::sqrt(most) * slack + slack * slack
                            : 1e-9 * most + slack;
  for (double& a : allowed) a += margin;
}

namespace {

// Moves the columns of the candidates with test[i] <= limit from `from` to `to`; returns how many. Without branches.
template <std::size_t N>
std::size_t move_kept(const double* from, std::size_t from_stride, double* to, std::size_t to_stride, std::size_t n,
                      const double* test, double limit) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < N; ++k) to[k * to_stride + kept] = from[k * from_stride + i];
    kept += test[i] <= limit ? 1 : 0;
  }
  return kept;
}

std::size_t move_kept(std::size_t arrays, const double* from, std::size_t from_stride, double* to,
                      std::size_t to_stride, std::size_t n, const double* test, double limit) {
  switch (arrays) {
    case 2: return move_kept<2>(from, from_stride, to, to_stride, n, test, limit);
    case 3: return move_kept<3>(from, from_stride, to, to_stride, n, test, limit);
    case 5: return move_kept<5>(from, from_stride, to, to_stride, n, test, limit);
    default: return move_kept<6>(from, from_stride, to, to_stride, n, test, limit);
  }
}

}  // namespace

Seen prune(Metric metric, const Box& box, double limit, double slack, const Candidates& from, std::size_t arrays,
           std::size_t few, Room& room, Gathered& to) {
  to.size = 0;
  to.stride = 0;
  const std::size_t n = from.size;
  if (n == 0) return {std::numeric_limits<double>::infinity(), 0.0};
  if (room.size() < n) room.resize(n);
  if (to.data.size() < n * arrays) to.data.resize(n * arrays);
  const Place middle = box.middle();
  const double value = pairs::values(metric, from, middle, room.data());
  Rule rule(metric, box, pairs::distance_of(metric, value), limit, slack);
  const Seen seen{pairs::distance_of(metric, value), rule.radius};
  if (rule.empty) return seen;
  to.stride = n;
  std::size_t kept = move_kept(arrays, from.data, from.stride, to.data.data(), n, n, room.data(), rule.within);
  if (kept > few) {
    const std::size_t champion = static_cast<std::size_t>(std::find(room.data(), room.data() + n, value) - room.data());
    rule.see(pairs::foot(metric, from, champion, middle));
    const Candidates ball{to.data.data(), n, kept, from.points};
    pairs::near_any_corner(metric, ball, rule.corner, rule.allowed, room.data());
    kept = move_kept(arrays, to.data.data(), n, to.data.data(), n, kept, room.data(), 0.0);
  }
  to.size = kept;
  return seen;
}

}  // namespace rtmdx
