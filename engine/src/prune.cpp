#include "rtmdx/prune.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rtmdx/prune_points.hpp"

namespace rtmdx {

using pairs::Candidates;
using pairs::Place;

namespace {

// What rounding may add to the difference of two values, of which one is `most`: far more than it does.
double margin(Metric metric, double most, double slack) {
  return metric == Metric::euclidean ? 1e-9 * most + 2.0 * std::sqrt(most) * slack + slack * slack
                                     : 1e-9 * most + slack;
}

}  // namespace

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
  const double more = margin(metric, most, slack);
  for (double& a : allowed) a += more;
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

// The second rule tells all that the first one does. Euclidean, it needs no corners: the difference of the squares is
// linear, least at a corner by half the sides times its slopes.
Seen prune_all_points(Metric metric, const Box& box, double limit, double slack, const Candidates& from,
                      std::size_t arrays, Room& room, Gathered& to) {
  const Place middle = box.middle();
  double* value = room.value.data();
  const std::size_t champion = prune_points::champion(metric, from, middle, value);
  const double best = pairs::distance_of(metric, value[champion]);
  Rule rule(metric, box, best, limit, slack);
  const Seen seen{best, rule.radius};
  if (rule.empty) return seen;
  const Place g{from.array(0)[champion], from.array(1)[champion]};
  prune_points::Bounds bounds{rule.within, g, box.x1 - box.x0, box.y1 - box.y0, 0.0, rule.corner, rule.allowed};
  if (metric == Metric::euclidean) {
    const double ex = std::fabs(middle.x - g.x) + 0.5 * bounds.across, ey = std::fabs(middle.y - g.y) + 0.5 * bounds.down;
    bounds.level = value[champion] + margin(metric, ex * ex + ey * ey, slack);
  } else {
    rule.see(g);
  }
  to.size = prune_points::keep(metric, from, arrays, value, bounds, room.list.data(), to.data.data(), to.stride);
  return seen;
}

}  // namespace

Seen prune(Metric metric, const Box& box, double limit, double slack, const Candidates& from, std::size_t arrays,
           std::size_t few, Room& room, Gathered& to) {
  to.size = 0;
  to.stride = 0;
  const std::size_t n = from.size;
  if (n == 0) return {std::numeric_limits<double>::infinity(), 0.0};
  const std::size_t stride = n + prune_points::padding;
  room.fit(stride);
  if (to.data.size() < stride * arrays) to.data.resize(stride * arrays);
  if (from.points) {
    to.stride = stride;
    return prune_all_points(metric, box, limit, slack, from, arrays, room, to);
  }
  const Place middle = box.middle();
  double* test = room.value.data();
  const double value = pairs::values(metric, from, middle, test);
  Rule rule(metric, box, pairs::distance_of(metric, value), limit, slack);
  const Seen seen{pairs::distance_of(metric, value), rule.radius};
  if (rule.empty) return seen;
  to.stride = n;
  std::size_t kept = move_kept(arrays, from.data, from.stride, to.data.data(), n, n, test, rule.within);
  if (kept > few) {
    const std::size_t champion = static_cast<std::size_t>(std::find(test, test + n, value) - test);
    rule.see(pairs::foot(metric, from, champion, middle));
    const Candidates ball{to.data.data(), n, kept, from.points};
    pairs::near_any_corner(metric, ball, rule.corner, rule.allowed, test);
    kept = move_kept(arrays, to.data.data(), n, to.data.data(), n, kept, test, 0.0);
  }
  to.size = kept;
  return seen;
}

}  // namespace rtmdx
