#include "rtmdx/strand.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "rtmdx/clones.hpp"
#include "rtmdx/pair_kinds.hpp"

namespace rtmdx {
namespace {

using pairs::Candidates;
using pairs::Place;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double least_m = 0.1;  // nearer to the centre of curvature all are equally near
constexpr double most_looked_at = 16.0;
constexpr std::size_t samples = 12;

}  // namespace

// A parabola through three of some places, and how far others of them are off it.
bool Strand::fit(const double* x, const double* y, std::size_t n, Line& line, double& half, double& off) {
  const std::size_t count = std::min(n, samples);
  if (count < 3) return false;
  Place at[samples];
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t i = k * (n - 1) / (count - 1);
    at[k] = {x[i], y[i]};
  }
  const auto farthest = [&](Place from) {
    std::size_t far = 0;
    double most = -1.0;
    for (std::size_t k = 0; k < count; ++k) {
      const double ex = at[k].x - from.x, ey = at[k].y - from.y, d = ex * ex + ey * ey;
      if (d > most) most = d, far = k;
    }
    return at[far];
  };
  const Place a = farthest(at[0]), b = farthest(a);
  const double ex = b.x - a.x, ey = b.y - a.y, length = std::sqrt(ex * ex + ey * ey);
  if (!(length > 0.0) || !std::isfinite(length)) return false;
  line = {0.5 * (a.x + b.x), 0.5 * (a.y + b.y), ex / length, ey / length, 0.0};
  half = 0.5 * length;
  double middle = infinity, sag = 0.0;
  for (std::size_t k = 0; k < count; ++k) {
    const double t = line.t(at[k].x, at[k].y) / half;
    if (std::fabs(t) < middle) {
      middle = std::fabs(t);
      sag = line.s(at[k].x, at[k].y) / (1.0 - t * t);
    }
  }
  if (middle > 0.5 || std::fabs(sag) > 0.3 * half) return false;
  line.bend = -2.0 * sag / (half * half);
  line.ox -= sag * line.uy;
  line.oy += sag * line.ux;
  off = 0.0;
  for (std::size_t k = 0; k < count; ++k) {
    const double t = line.t(at[k].x, at[k].y);
    off = std::max(off, std::fabs(line.s(at[k].x, at[k].y) - 0.5 * line.bend * t * t));
  }
  return true;
}

Strand::View Strand::view(const Line& line, double half, const Box& box) {
  double low = infinity, high = -infinity;
  for (const Place p : {Place{box.x0, box.y0}, Place{box.x1, box.y0}, Place{box.x0, box.y1}, Place{box.x1, box.y1}}) {
    const double s = line.s(p.x, p.y);
    low = std::min(low, s);
    high = std::max(high, s);
  }
  return {1.0 - std::max(line.bend * low, line.bend * high),
          std::max(-low, high) + 0.5 * std::fabs(line.bend) * half * half};
}

// Candidates off the line by eps widen what must be looked at, to sqrt(4 S eps / m) on either side.
bool Strand::fine(const View& view, double eps, double half, std::size_t n, double allowance) {
  if (!(view.flattest >= least_m)) return false;
  const double reach = most_looked_at * half / static_cast<double>(n);
  return 4.0 * view.farthest * eps <= allowance * view.flattest * reach * reach;
}

bool Strand::likely(const double* x, const double* y, std::size_t n, const Box& box) {
  Line line;
  double half = 0.0, off = 0.0;
  return n >= 16 && fit(x, y, n, line, half, off) && fine(view(line, half, box), off, half, n, 16.0);
}

bool Strand::lay(const Candidates& c, bool with_index, const Box& box, double scale) {
  double half = 0.0, off = 0.0;
  const std::size_t n = size_ = c.size;
  points_ = c.points;
  const double* const ax = c.array(0);
  const double* const ay = c.array(1);
  if (n < 16 || n >= std::numeric_limits<std::uint32_t>::max() || !fit(ax, ay, n, line_, half, off)) return false;
  if (!fine(view(line_, half, box), off, half, n, 16.0)) return false;

  // How far all are off it.
  const double* const bx = c.array(points_ ? 0 : 2);
  const double* const by = c.array(points_ ? 1 : 3);
  if (from_.size() < 2 * n) {
    from_.resize(2 * n);
    to_.resize(2 * n);
  }
  double* const ta = from_.data() + n;
  double* const tb = to_.data() + n;
  double low = infinity, high = -infinity, longest = 0.0, t0 = infinity, t1 = -infinity, end = -infinity;
  for (std::size_t i = 0; i < n; ++i) {
    const double t = line_.t(ax[i], ay[i]), u = line_.t(bx[i], by[i]);
    const double e = line_.s(ax[i], ay[i]) - 0.5 * line_.bend * t * t;
    const double f = line_.s(bx[i], by[i]) - 0.5 * line_.bend * u * u;
    low = std::min(low, std::min(e, f));
    high = std::max(high, std::max(e, f));
    ta[i] = std::min(t, u);
    tb[i] = std::max(t, u);
    longest = std::max(longest, tb[i] - ta[i]);
    t0 = std::min(t0, ta[i]);
    t1 = std::max(t1, ta[i]);
    end = std::max(end, tb[i]);
  }
  const double shift = 0.5 * (low + high);
  line_.ox -= shift * line_.uy;
  line_.oy += shift * line_.ux;
  half = std::max(std::fabs(t0), std::fabs(end));
  const double tiny = 4e-14 * scale;  // above the rounding of t and s
  // A straight segment leaves the parabola by its sagitta.
  const double eps = 0.5 * (high - low) + 0.125 * std::fabs(line_.bend) * longest * longest + tiny;
  const View seen = view(line_, half, box);
  if (!fine(seen, eps, 0.5 * (end - t0), n, 1.0)) return false;
  double wide = 0.0;
  for (const Place p : {Place{box.x0, box.y0}, Place{box.x1, box.y0}, Place{box.x0, box.y1}, Place{box.x1, box.y1}}) {
    wide = std::max(wide, std::fabs(line_.t(p.x, p.y)));
  }
  const double most = seen.farthest + wide + half;
  room_ = 2.0 * seen.farthest * eps + 2.0 * most * tiny + 4e-14 * most * most;

  // Into buckets along the line, sorted.
  first_ = t0;
  last_ = end;
  const auto buckets = static_cast<double>(n);
  buckets_per_length_ = t1 > t0 ? buckets / (t1 - t0) : 0.0;
  if (!std::isfinite(buckets_per_length_)) return false;
  start_.assign(n + 2, 0);
  if (of_.size() < n) of_.resize(n);
  if (order_.size() < n) order_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    of_[i] = static_cast<std::uint32_t>(std::min((ta[i] - t0) * buckets_per_length_, buckets));
    ++start_[of_[i] + 1];
  }
  for (std::size_t b = 0; b <= n; ++b) start_[b + 1] += start_[b];
  for (std::size_t i = 0; i < n; ++i) order_[start_[of_[i]]++] = static_cast<std::uint32_t>(i);
  for (std::size_t b = n + 1; b > 0; --b) start_[b] = start_[b - 1];
  start_[0] = 0;
  for (std::size_t b = 0; b <= n; ++b) {
    if (start_[b + 1] - start_[b] < 2) continue;
    std::sort(order_.begin() + start_[b], order_.begin() + start_[b + 1],
              [&](std::uint32_t p, std::uint32_t q) { return ta[p] < ta[q]; });
  }
  const std::size_t arrays = (points_ ? pairs::point_arrays : pairs::segment_arrays) + (with_index ? 1 : 0);
  if (data_.size() < arrays * n) data_.resize(arrays * n);
  double reached = -infinity;
  for (std::size_t i = 0; i < n; ++i) {
    from_[i] = ta[order_[i]];
    to_[i] = reached = std::max(reached, tb[order_[i]]);
  }
  for (std::size_t a = 0; a < arrays; ++a) {
    const double* const of = c.array(a);
    double* const to = data_.data() + a * n;
    for (std::size_t i = 0; i < n; ++i) to[i] = of[order_[i]];
  }
  return true;
}

template <class Pair, bool Indexed>
void Strand::scan(const double* x, std::size_t n, double y, double* value, double* index) const {
  constexpr std::size_t lanes = pairs::lanes;
  const double* a[6] = {};
  for (std::size_t k = 0; k < (points_ ? pairs::point_arrays : pairs::segment_arrays); ++k) a[k] = data_.data() + k * size_;
  const double* const source = data_.data() + (points_ ? pairs::point_arrays : pairs::segment_arrays) * size_;
  double foot[lanes], m[lanes], floor[lanes];
  std::int32_t bucket[lanes];
  const double k = line_.bend, most = static_cast<double>(size_);
  for (std::size_t i = 0; i < lanes; ++i) {
    const double t = line_.t(x[i], y), s = line_.s(x[i], y);
    m[i] = 1.0 - k * s;
    double t0 = t / m[i];
    t0 = t0 > first_ ? t0 : first_;
    t0 = t0 < last_ ? t0 : last_;
    const double half_square = 0.5 * k * t0 * t0;
    const double r = t0 - t - k * t0 * (s - half_square);
    foot[i] = t0 - r / m[i];
    floor[i] = (t - t0) * (t - t0) + (s - half_square) * (s - half_square) - r * r / m[i] - room_;
    double b = (foot[i] - first_) * buckets_per_length_;
    b = b > 0.0 ? b : 0.0;
    bucket[i] = static_cast<std::int32_t>(b < most ? b : most);
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double t = foot[i];
    // The last candidate that begins before the foot, or the first of all.
    std::size_t low = start_[static_cast<std::size_t>(bucket[i])];
    std::size_t high = start_[static_cast<std::size_t>(bucket[i]) + 1];
    if (high - low > 8) {
      low = static_cast<std::size_t>(std::upper_bound(from_.data() + low, from_.data() + high, t) - from_.data());
    } else {
      while (low < high && from_[low] <= t) ++low;
    }
    double best = infinity, who = infinity;
    const auto look = [&](std::size_t j) {
      const double v = Pair::at(a, j)(x[i], y);
      if (Indexed) who = v < best ? source[j] : v == best ? std::min(who, source[j]) : who;
      best = v < best ? v : best;
    };
    if (low > 0) look(low - 1);
    if (low < size_) look(low);
    for (std::size_t j = low + 1; j < size_; ++j) {
      const double e = from_[j] - t;
      if (e > 0.0 && m[i] * e * e > best - floor[i]) break;
      look(j);
    }
    if (low > 1) {
      for (std::size_t j = low - 1; j-- > 0;) {
        const double e = t - to_[j];
        if (e > 0.0 && m[i] * e * e > best - floor[i]) break;
        look(j);
      }
    }
    value[i] = best;
    if (Indexed) index[i] = who;
  }
}

void Strand::row(const double* x, std::size_t n, double y, double* value, double* index) const {
  if (points_) {
    index == nullptr ? scan<pairs::EuclideanPoint, false>(x, n, y, value, index)
                     : scan<pairs::EuclideanPoint, true>(x, n, y, value, index);
  } else {
    index == nullptr ? scan<pairs::EuclideanSegment, false>(x, n, y, value, index)
                     : scan<pairs::EuclideanSegment, true>(x, n, y, value, index);
  }
}

}  // namespace rtmdx
