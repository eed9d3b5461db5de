#include "rtmdx/nearest.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <tuple>
#include <utility>

namespace rtmdx {
namespace {

using pairs::Place;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t poll_every = 4096;

struct Raw {
  Place a, b;
  std::int64_t source;
};

struct Key {
  std::uint64_t code;
  std::size_t at;
};

// Calls visit(a, b, source) for every point and segment, in local coordinates.
template <class Visit>
void each(const Features& f, const Sources& sources, const Grid& grid, const Visit& visit) {
  const auto place = [&](Span<double> xy, std::size_t v) {
    return Place{grid.local_x(xy[2 * v]), grid.local_y(xy[2 * v + 1])};
  };
  std::int64_t before = 0;
  const auto source = [&](Span<std::int64_t> of, std::size_t i) {
    return of.empty() ? before + static_cast<std::int64_t>(i) : of[i];
  };
  const auto chain = [&](Span<double> xy, std::int64_t first, std::int64_t last, bool closed, std::int64_t owner) {
    const auto v0 = static_cast<std::size_t>(first);
    const auto v1 = static_cast<std::size_t>(last);
    if (v0 == v1) return;
    Place a = place(xy, v0);
    const Place head = a;
    if (v1 - v0 == 1) visit(a, a, owner);
    for (std::size_t v = v0 + 1; v < v1; ++v) {
      const Place b = place(xy, v);
      visit(a, b, owner);
      a = b;
    }
    if (closed && (a.x != head.x || a.y != head.y)) visit(a, head, owner);
  };
  for (std::size_t i = 0; i < f.points.size(); ++i) {
    const Place a = place(f.points.xy, i);
    visit(a, a, source(sources.points, i));
  }
  before += static_cast<std::int64_t>(f.points.size());
  for (std::size_t i = 0; i < f.lines.size(); ++i) {
    chain(f.lines.xy, f.lines.offsets[i], f.lines.offsets[i + 1], false, source(sources.lines, i));
  }
  before += static_cast<std::int64_t>(f.lines.size());
  for (std::size_t i = 0; i < f.polygons.size(); ++i) {
    for (auto ring = f.polygons.polygon_offsets[i]; ring < f.polygons.polygon_offsets[i + 1]; ++ring) {
      const auto k = static_cast<std::size_t>(ring);
      chain(f.polygons.xy, f.polygons.ring_offsets[k], f.polygons.ring_offsets[k + 1], true,
            source(sources.polygons, i));
    }
  }
}

constexpr int key_bits = 22;   // of each axis
constexpr int digit_bits = 11;

std::uint64_t spread(std::uint64_t v) {
  v = (v | (v << 16)) & 0x0000FFFF0000FFFFull;
  v = (v | (v << 8)) & 0x00FF00FF00FF00FFull;
  v = (v | (v << 4)) & 0x0F0F0F0F0F0F0F0Full;
  v = (v | (v << 2)) & 0x3333333333333333ull;
  return (v | (v << 1)) & 0x5555555555555555ull;
}

// Sorts by code, digit by digit; equal codes keep their order.
void radix_sort(std::vector<Key>& keys, Poll& poll) {
  constexpr std::size_t buckets = std::size_t{1} << digit_bits;
  std::vector<Key> other(keys.size());
  for (int shift = 0; shift < 2 * key_bits; shift += digit_bits) {
    poll();
    std::vector<std::size_t> start(buckets + 1, 0);
    for (const Key& k : keys) ++start[((k.code >> shift) & (buckets - 1)) + 1];
    if (std::find(start.begin(), start.end(), keys.size()) != start.end()) continue;  // all have this digit
    for (std::size_t b = 0; b < buckets; ++b) start[b + 1] += start[b];
    for (const Key& k : keys) other[start[(k.code >> shift) & (buckets - 1)]++] = k;
    keys.swap(other);
  }
}

std::vector<Key> along_curve(const std::vector<Raw>& raw, Poll& poll) {
  double x0 = infinity, y0 = infinity, x1 = -infinity, y1 = -infinity;
  for (const Raw& s : raw) {
    const double x = 0.5 * s.a.x + 0.5 * s.b.x, y = 0.5 * s.a.y + 0.5 * s.b.y;
    x0 = std::min(x0, x);
    y0 = std::min(y0, y);
    x1 = std::max(x1, x);
    y1 = std::max(y1, y);
  }
  const double extent = std::max(x1 - x0, y1 - y0);
  const double scale = extent > 0.0 ? static_cast<double>((1 << key_bits) - 1) / extent : 0.0;
  std::vector<Key> keys(raw.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (i % poll_every == 0) poll();
    const double x = 0.5 * raw[i].a.x + 0.5 * raw[i].b.x, y = 0.5 * raw[i].a.y + 0.5 * raw[i].b.y;
    keys[i] = {spread(static_cast<std::uint64_t>((x - x0) * scale)) |
                   (spread(static_cast<std::uint64_t>((y - y0) * scale)) << 1),
               i};
  }
  radix_sort(keys, poll);
  return keys;
}

// Candidates in the same place become one, that of the smallest source: thousands of events share an address.
void drop_twins(const std::vector<Raw>& raw, std::vector<Key>& keys, Poll& poll) {
  const auto tie = [&](const Key& k) {
    const Raw& s = raw[k.at];
    return std::make_tuple(s.a.x, s.a.y, s.b.x, s.b.y);
  };
  std::size_t kept = 0;
  for (std::size_t i = 0; i < keys.size();) {
    if (i % 64 == 0) poll();
    std::size_t end = i + 1;
    while (end < keys.size() && keys[end].code == keys[i].code) ++end;
    const auto from = keys.begin() + static_cast<std::ptrdiff_t>(i);
    const auto to = keys.begin() + static_cast<std::ptrdiff_t>(end);
    if (end - i > 1) {
      std::sort(from, to, [&](const Key& p, const Key& q) {
        const auto tp = tie(p), tq = tie(q);
        return tp != tq ? tp < tq : raw[p.at].source < raw[q.at].source;
      });
    }
    for (std::size_t k = i; k < end; ++k) {
      if (k == i || tie(keys[k]) != tie(keys[k - 1])) {
        const Key keep = keys[k];
        keys[kept++] = keep;
      }
    }
    i = end;
  }
  keys.resize(kept);
}

double gap(double v, double low, double high) { return std::max(std::max(low - v, v - high), 0.0); }

// Value of the pair (place, nearest place of the box): at most that of anything in the box.
double value_to(Metric metric, Place p, const Box& box) {
  const double gx = gap(p.x, box.x0, box.x1), gy = gap(p.y, box.y0, box.y1);
  return metric == Metric::euclidean ? gx * gx + gy * gy : gx + gy;
}

}  // namespace

Nearest::Nearest(const Features& features, const Sources& sources, const Grid& grid, const Run& run) : grid_(grid) {
  check(grid, Window{});
  check(features);
  std::size_t count = 0;
  each(features, sources, grid, [&](Place, Place, std::int64_t) { ++count; });
  try {
    std::atomic<bool> stop{false};
    Poll poll(stop, &run);
    points_ = count == features.points.size();
    scale_ = std::max(static_cast<double>(grid.cols) * grid.dx, static_cast<double>(grid.rows) * grid.dy);
    std::vector<Raw> raw;
    raw.reserve(count);
    each(features, sources, grid, [&](Place a, Place b, std::int64_t source) {
      if (raw.size() % poll_every == 0) poll();
      scale_ = std::max({scale_, std::fabs(a.x), std::fabs(a.y), std::fabs(b.x), std::fabs(b.y)});
      // One direction for each segment: what two polygons share is one candidate, and reversing a line changes nothing.
      const bool turned = b.x != a.x ? b.x < a.x : b.y < a.y;
      raw.push_back(turned ? Raw{b, a, source} : Raw{a, b, source});
    });
    std::vector<Key> keys = along_curve(raw, poll);
    drop_twins(raw, keys, poll);
    size_ = keys.size();
    data_.resize(size_ * arrays(true));
    const auto put = [&](std::size_t array, std::size_t i, double v) { data_[array * size_ + i] = v; };
    for (std::size_t i = 0; i < size_; ++i) {
      if (i % poll_every == 0) poll();
      const Raw& s = raw[keys[i].at];
      put(0, i, s.a.x);
      put(1, i, s.a.y);
      put(arrays(false), i, static_cast<double>(s.source));
      if (points_) continue;
      const double ux = s.b.x - s.a.x, uy = s.b.y - s.a.y;
      const double inv = 1.0 / (ux * ux + uy * uy);
      const bool spot = !std::isfinite(inv);  // too short to have a direction: a point
      put(2, i, spot ? s.a.x : s.b.x);
      put(3, i, spot ? s.a.y : s.b.y);
      put(4, i, spot ? 0.0 : inv);
    }
    index_boxes(poll);
    polygons_ = PolygonRows(features.polygons, sources.polygons,
                            static_cast<std::int64_t>(features.points.size() + features.lines.size()), grid, poll);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left to prepare " + std::to_string(count) + " points and segments for distance, about " +
                      std::to_string(count * 120 / 1000000 + 1) + " MB");
  }
}

void Nearest::index_boxes(Poll& poll) {
  if (size_ == 0) return;
  const std::size_t far = points_ ? 0 : 2;  // the arrays of the other end
  std::vector<Box> boxes((size_ + group - 1) / group, Box{infinity, infinity, -infinity, -infinity});
  for (std::size_t i = 0; i < size_; ++i) {
    if (i % poll_every == 0) poll();
    Box& box = boxes[i / group];
    const double ax = data_[i], ay = data_[size_ + i];
    const double bx = data_[far * size_ + i], by = data_[(far + 1) * size_ + i];
    box = {std::min({box.x0, ax, bx}), std::min({box.y0, ay, by}), std::max({box.x1, ax, bx}),
           std::max({box.y1, ay, by})};
  }
  levels_.push_back(std::move(boxes));
  while (levels_.back().size() > fan) {
    const std::vector<Box>& below = levels_.back();
    std::vector<Box> above((below.size() + fan - 1) / fan, Box{infinity, infinity, -infinity, -infinity});
    for (std::size_t i = 0; i < below.size(); ++i) {
      Box& box = above[i / fan];
      box = {std::min(box.x0, below[i].x0), std::min(box.y0, below[i].y0), std::max(box.x1, below[i].x1),
             std::max(box.y1, below[i].y1)};
    }
    levels_.push_back(std::move(above));
  }
}

struct Nearest::Search {
  const Nearest& of;
  Metric metric;
  Place middle;
  double best = infinity;  // value
  std::size_t champion = 0;
  const Rule* rule = nullptr;
  std::size_t most = 0;
  std::size_t collected = 0;
  std::vector<std::size_t>* runs = nullptr;  // first and last candidate of each run collected

  pairs::Candidates candidates(std::size_t first, std::size_t last) const {
    return {of.data_.data() + first, of.size_, last - first, of.points_};
  }

  // Boxes at `level` of the box `node` of the level above.
  template <class Visit>
  void children(std::size_t level, std::size_t node, const Visit& visit) const {
    const std::size_t last = std::min((node + 1) * fan, of.levels_[level].size());
    for (std::size_t i = node * fan; i < last; ++i) visit(i);
  }

  void nearest(std::size_t level, std::size_t node) {
    std::array<std::pair<double, std::size_t>, fan> order;  // nearest box first
    std::size_t n = 0;
    children(level, node, [&](std::size_t i) {
      const double v = value_to(metric, middle, of.levels_[level][i]);
      if (!(v < best)) return;
      std::size_t k = n++;
      for (; k > 0 && order[k - 1].first > v; --k) order[k] = order[k - 1];
      order[k] = {v, i};
    });
    for (std::size_t k = 0; k < n; ++k) {
      if (!(order[k].first < best)) return;
      const std::size_t i = order[k].second;
      if (level > 0) {
        nearest(level - 1, i);
        continue;
      }
      double value[group];
      const std::size_t first = i * group, last = std::min(first + group, of.size_);
      const double least = pairs::values(metric, candidates(first, last), middle, value);
      if (least < best) {
        best = least;
        champion = first + static_cast<std::size_t>(std::find(value, value + (last - first), least) - value);
      }
    }
  }

  void collect(std::size_t level, std::size_t node) {
    children(level, node, [&](std::size_t i) {
      if (collected > most) return;
      const Box& box = of.levels_[level][i];
      if (value_to(metric, middle, box) > rule->within) return;
      bool near = false;
      for (int k = 0; k < 4; ++k) near = near || value_to(metric, rule->corner[k], box) <= rule->allowed[k];
      if (!near) return;
      if (level > 0) return collect(level - 1, i);
      const std::size_t first = i * group, last = std::min(first + group, of.size_);
      collected += last - first;
      if (!runs->empty() && runs->back() == first) {
        runs->back() = last;
      } else {
        runs->push_back(first);
        runs->push_back(last);
      }
    });
  }
};

Nearest::Found Nearest::around(Metric metric, const Box& box, double reach, bool with_index, std::size_t most,
                               std::size_t guess, std::vector<std::size_t>& runs, Gathered& to) const {
  Found found;
  to.size = to.stride = 0;
  found.seen.best = infinity;
  if (size_ == 0) return found;
  Search s{*this, metric, box.middle()};
  if (guess != nobody) {
    double value;
    s.best = pairs::values(metric, s.candidates(guess, guess + 1), s.middle, &value);
    s.champion = guess;
  }
  s.nearest(levels_.size() - 1, 0);
  found.champion = s.champion;
  found.seen.best = pairs::distance_of(metric, s.best);
  Rule rule(metric, box, found.seen.best, reach, slack());
  found.seen.radius = rule.radius;
  if (rule.empty) return found;
  rule.see(pairs::foot(metric, s.candidates(s.champion, s.champion + 1), 0, s.middle));
  s.rule = &rule;
  s.most = most;
  runs.clear();
  s.runs = &runs;
  s.collect(levels_.size() - 1, 0);
  if (s.collected > most) {
    found.complete = false;
    return found;
  }
  to.size = to.stride = s.collected;
  const std::size_t n = arrays(with_index);
  if (to.data.size() < n * to.size) to.data.resize(n * to.size);
  double* at = to.data.data();
  for (std::size_t array = 0; array < n; ++array) {
    for (std::size_t k = 0; k < runs.size(); k += 2) {
      at = std::copy(data_.data() + array * size_ + runs[k], data_.data() + array * size_ + runs[k + 1], at);
    }
  }
  return found;
}

}  // namespace rtmdx
