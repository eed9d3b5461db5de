#include "rtmdx/strand.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "rtmdx/clones.hpp"
#include "rtmdx/pair_kinds.hpp"

namespace rtmdx {
namespace {

using pairs::Candidates;
using pairs::Place;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double least_m = 0.05;        // nearer to the centre of curvature all are equally near
constexpr double most_looked_at = 6.0;  // candidates on either side of a foot
constexpr std::size_t samples = 24;
constexpr std::size_t terms = 5;

struct Sample {
  double t, s;
};

// The polynomial of least squares; false if the samples do not tell one.
bool least_squares(const Sample* at, std::size_t count, double* h) {
  double a[terms][terms + 1] = {};
  for (std::size_t k = 0; k < count; ++k) {
    double power[terms] = {1.0};
    for (std::size_t i = 1; i < terms; ++i) power[i] = power[i - 1] * at[k].t;
    for (std::size_t i = 0; i < terms; ++i) {
      for (std::size_t j = 0; j < terms; ++j) a[i][j] += power[i] * power[j];
      a[i][terms] += power[i] * at[k].s;
    }
  }
  for (std::size_t i = 0; i < terms; ++i) {
    std::size_t best = i;
    for (std::size_t k = i + 1; k < terms; ++k) best = std::fabs(a[k][i]) > std::fabs(a[best][i]) ? k : best;
    std::swap(a[i], a[best]);
    if (!(std::fabs(a[i][i]) > 1e-6)) return false;
    for (std::size_t k = i + 1; k < terms; ++k) {
      const double f = a[k][i] / a[i][i];
      for (std::size_t j = i; j <= terms; ++j) a[k][j] -= f * a[i][j];
    }
  }
  for (std::size_t i = terms; i-- > 0;) {
    h[i] = a[i][terms];
    for (std::size_t j = i + 1; j < terms; ++j) h[i] -= a[i][j] * h[j];
    h[i] /= a[i][i];
  }
  return true;
}

}  // namespace

void Strand::Line::bound(double from, double to) {
  low = from;
  high = to;
  const double unit = 1.0 / (half * half);
  const auto second = [&](double v) { return (2.0 * h[2] + v * (6.0 * h[3] + v * 12.0 * h[4])) * unit; };
  const double a = low / half, b = high / half, most = std::max(std::fabs(a), std::fabs(b));
  hollow = std::min(second(a), second(b));
  bulge = std::max(second(a), second(b));
  const double turn = h[4] != 0.0 ? -h[3] / (4.0 * h[4]) : 0.0;
  if (turn > a && turn < b) {
    hollow = std::min(hollow, second(turn));
    bulge = std::max(bulge, second(turn));
  }
  swing = 0.0;
  for (std::size_t i = terms; i-- > 0;) swing = swing * most + std::fabs(h[i]);
}

// The curve of some of the places; false if they are off it.
bool Strand::fit(const double* x, const double* y, std::size_t n, const Box& box, Line& line) {
  const std::size_t count = std::min(n, samples);
  Place at[samples] = {};
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
  line = {0.5 * (a.x + b.x), 0.5 * (a.y + b.y), ex / length, ey / length, 0.5 * length, {}, true, 0, 0, 0, 0, 0};
  Sample sample[samples];
  double off = 0.0;
  for (std::size_t k = 0; k < count; ++k) {
    sample[k] = {line.t(at[k].x, at[k].y) / line.half, line.s(at[k].x, at[k].y)};
    off = std::max(off, std::fabs(sample[k].s));
  }
  line.bound(-line.half, line.half);
  if (fine(line, view(line, box), off, n)) return true;
  if (off > 0.5 * line.half || !least_squares(sample, count, line.h)) return false;
  line.straight = false;
  line.bound(-line.half, line.half);
  off = 0.0;
  for (std::size_t k = 0; k < count; ++k) {
    off = std::max(off, std::fabs(sample[k].s - line.at(sample[k].t * line.half)));
  }
  return fine(line, view(line, box), off, n);
}

Strand::View Strand::view(const Line& line, const Box& box) {
  double low = infinity, high = -infinity, wide = 0.0;
  for (const Place p : {Place{box.x0, box.y0}, Place{box.x1, box.y0}, Place{box.x0, box.y1}, Place{box.x1, box.y1}}) {
    const double s = line.s(p.x, p.y);
    low = std::min(low, s);
    high = std::max(high, s);
    wide = std::max(wide, std::fabs(line.t(p.x, p.y)));
  }
  double most = std::max(low * line.hollow, high * line.hollow);
  most = std::max(most, std::max(low * line.bulge, high * line.bulge));
  return {1.0 - most - line.swing * std::max(-line.hollow, line.bulge), std::max(-low, high) + line.swing, wide};
}

// Candidates off the curve by eps widen what must be looked at, to sqrt(4 |S - h| eps / m) on either side.
bool Strand::fine(const Line& line, const View& view, double eps, std::size_t n) {
  if (!(view.flattest >= least_m)) return false;
  const double reach = most_looked_at * (line.high - line.low) / static_cast<double>(n);
  return 4.0 * view.farthest * eps <= view.flattest * reach * reach;
}

bool Strand::lay(const Candidates& c, bool with_index, const Box& box, double scale) {
  const std::size_t n = size_ = c.size;
  points_ = c.points;
  const double* const ax = c.array(0);
  const double* const ay = c.array(1);
  if (n < samples || n >= std::numeric_limits<std::uint32_t>::max() || !fit(ax, ay, n, box, line_)) return false;

  // How far all are off it.
  const double* const bx = c.array(points_ ? 0 : 2);
  const double* const by = c.array(points_ ? 1 : 3);
  if (from_.size() < 2 * n) {
    from_.resize(2 * n);
    to_.resize(2 * n);
  }
  double* const ta = from_.data() + n;
  double* const tb = to_.data() + n;
  double low = infinity, high = -infinity, longest = 0.0, begin = infinity, last = -infinity, end = -infinity;
  const Line line = line_;
  const auto see = [&](double x, double y) {
    const double t = line.t(x, y), e = line.straight ? line.s(x, y) : line.s(x, y) - line.at(t);
    low = std::min(low, e);
    high = std::max(high, e);
    return t;
  };
  for (std::size_t i = 0; i < n; ++i) {
    ta[i] = see(ax[i], ay[i]);
    tb[i] = points_ ? ta[i] : see(bx[i], by[i]);
    if (tb[i] < ta[i]) std::swap(ta[i], tb[i]);
    longest = std::max(longest, tb[i] - ta[i]);
    begin = std::min(begin, ta[i]);
    last = std::max(last, ta[i]);
    end = std::max(end, tb[i]);
  }
  const double shift = 0.5 * (low + high);
  line_.ox -= shift * line_.uy;
  line_.oy += shift * line_.ux;
  line_.bound(begin, end);
  const View seen = view(line_, box);
  const double tiny = 4e-14 * scale;  // above the rounding of t, s and h
  // A straight segment leaves the curve by its sagitta.
  const double eps = 0.5 * (high - low) + 0.125 * std::max(-line_.hollow, line_.bulge) * longest * longest + tiny;
  if (!fine(line_, seen, eps, n)) return false;
  const double most = seen.farthest + seen.wide + std::max(std::fabs(begin), std::fabs(end));
  room_ = 2.0 * seen.farthest * eps + 2.0 * most * tiny + 4e-14 * most * most;
  buckets_per_length_ = last > begin ? static_cast<double>(n) / (last - begin) : 0.0;
  if (!std::isfinite(buckets_per_length_)) return false;
  sort(c, (points_ ? pairs::point_arrays : pairs::segment_arrays) + (with_index ? 1 : 0), last);
  return true;
}

// In order of where they begin, by buckets along the line. Their begins and ends lie behind the first n of from_ and to_.
void Strand::sort(const Candidates& c, std::size_t arrays, double last) {
  const std::size_t n = size_;
  const double* const ta = from_.data() + n;
  const double* const tb = to_.data() + n;
  const double first = line_.low, end = (last - first) * buckets_per_length_;
  start_.assign(n + 2, 0);
  if (of_.size() < n) of_.resize(n);
  if (order_.size() < n) order_.resize(n);
  const double most = std::min(end, static_cast<double>(n));
  for (std::size_t i = 0; i < n; ++i) {
    of_[i] = static_cast<std::uint32_t>(std::min((ta[i] - first) * buckets_per_length_, most));
    ++start_[of_[i] + 1];
  }
  for (std::size_t b = 0; b <= n; ++b) start_[b + 1] += start_[b];
  for (std::size_t i = 0; i < n; ++i) order_[start_[of_[i]]++] = static_cast<std::uint32_t>(i);
  for (std::size_t b = n + 1; b > 0; --b) start_[b] = start_[b - 1];
  start_[0] = 0;
  for (std::size_t b = 0; b <= n; ++b) {
    const std::uint32_t count = start_[b + 1] - start_[b];
    if (count < 2) continue;
    std::uint32_t* const of = order_.data() + start_[b];
    if (count == 2) {
      if (ta[of[1]] < ta[of[0]]) std::swap(of[0], of[1]);
      continue;
    }
    std::sort(order_.begin() + start_[b], order_.begin() + start_[b + 1],
              [&](std::uint32_t p, std::uint32_t q) { return ta[p] < ta[q]; });
  }
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
}

// Of each place in a row: t1, m, what a candidate at t1 has at least, and t1's bucket.
struct Strand::Feet {
  double foot[longest_row], m[longest_row], least[longest_row];
  std::int32_t bucket[longest_row];
};

RTMDX_CLONES void Strand::feet(const Strand& strand, const double* x, std::size_t n, double y, Feet& to) {
  const Line& line = strand.line_;
  const double ox = line.ox, oy = line.oy, ux = line.ux, uy = line.uy, low = line.low;
  const double room = strand.room_, most = static_cast<double>(strand.size_), scale = strand.buckets_per_length_;
  double t[longest_row], s[longest_row];
  for (std::size_t i = 0; i < n; ++i) {
    t[i] = (x[i] - ox) * ux + (y - oy) * uy;
    s[i] = (y - oy) * ux - (x[i] - ox) * uy;
  }
  if (line.straight) {
    for (std::size_t i = 0; i < n; ++i) {
      to.m[i] = 1.0;
      to.foot[i] = t[i];
      to.least[i] = s[i] * s[i] - room;
    }
  } else {
    const double h0 = line.h[0], h1 = line.h[1], h2 = line.h[2], h3 = line.h[3], h4 = line.h[4];
    const double unit = 1.0 / line.half, high = line.high, hollow = line.hollow, bulge = line.bulge;
    const double base = 1.0 - line.swing * (bulge > -hollow ? bulge : -hollow);
    for (std::size_t i = 0; i < n; ++i) {
      const double a = s[i] * hollow, b = s[i] * bulge;
      const double m = base - (a > b ? a : b), w = 1.0 / m;
      double t0 = t[i] * w, r = 0.0, d = 0.0, step = 0.0;
      for (int k = 0; k < 3; ++k) {  // Newton's steps; the last only sees where it is
        t0 -= step;
        t0 = t0 > low ? t0 : low;
        t0 = t0 < high ? t0 : high;
        const double v = t0 * unit;
        d = s[i] - (h0 + v * (h1 + v * (h2 + v * (h3 + v * h4))));
        const double slope = (h1 + v * (2.0 * h2 + v * (3.0 * h3 + v * 4.0 * h4))) * unit;
        r = t0 - t[i] - slope * d;
        const double bend = (2.0 * h2 + v * (6.0 * h3 + v * 12.0 * h4)) * (unit * unit);
        step = r / (1.0 + slope * slope - bend * d);
      }
      to.m[i] = m;
      to.foot[i] = t0 - r * w;
      to.least[i] = (t[i] - t0) * (t[i] - t0) + d * d - r * r * w - room;
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    double b = (to.foot[i] - low) * scale;
    b = b > 0.0 ? b : 0.0;
    to.bucket[i] = static_cast<std::int32_t>(b < most ? b : most);
  }
}

template <class Pair, bool Indexed>
void Strand::scan(const double* x, std::size_t n, double y, double* value, double* index) const {
  const std::size_t arrays = points_ ? pairs::point_arrays : pairs::segment_arrays;
  const double* a[pairs::segment_arrays] = {};
  for (std::size_t k = 0; k < arrays; ++k) a[k] = data_.data() + k * size_;
  const double* const source = data_.data() + arrays * size_;
  const double* const from = from_.data();
  const double* const to = to_.data();
  const std::size_t size = size_;
  Feet feet_of;
  feet(*this, x, n, y, feet_of);
  for (std::size_t i = 0; i < n; ++i) {
    const double t = feet_of.foot[i], m = feet_of.m[i], least = feet_of.least[i], px = x[i];
    // The candidates that begin before the foot end here.
    const auto bucket = static_cast<std::size_t>(feet_of.bucket[i]);
    std::size_t middle = start_[bucket];
    const std::size_t last = start_[bucket + 1];
    if (last - middle > 8) {
      middle = static_cast<std::size_t>(std::upper_bound(from + middle, from + last, t) - from);
    } else {
      while (middle < last && from[middle] <= t) ++middle;
    }
    double best = infinity, who = infinity;
    const auto look = [&](std::size_t j) {
      const double v = Pair::at(a, j)(px, y);
      if (Indexed) who = v < best ? source[j] : v == best ? std::min(who, source[j]) : who;
      best = v < best ? v : best;
    };
    if (middle > 0) look(middle - 1);
    if (middle < size) look(middle);
    for (std::size_t j = middle + 1; j < size; ++j) {
      const double e = from[j] - t;
      if (e > 0.0 && m * e * e > best - least) break;
      look(j);
    }
    for (std::size_t j = middle; j > 1; --j) {
      const double e = t - to[j - 2];
      if (e > 0.0 && m * e * e > best - least) break;
      look(j - 2);
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
