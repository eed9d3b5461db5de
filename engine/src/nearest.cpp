#include "rtmdx/nearest.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "rtmdx/curve_order.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/prune_points.hpp"

namespace rtmdx {
namespace {

using pairs::Place;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t poll_every = 4096;

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
    std::vector<Placed> raw;
    raw.reserve(count);
    each(features, sources, grid, [&](Place a, Place b, std::int64_t source) {
      if (raw.size() % poll_every == 0) poll();
      scale_ = std::max({scale_, std::fabs(a.x), std::fabs(a.y), std::fabs(b.x), std::fabs(b.y)});
      // One direction for each segment: what two polygons share is one candidate, and reversing a line changes nothing.
      const bool turned = b.x != a.x ? b.x < a.x : b.y < a.y;
      raw.push_back(turned ? Placed{b, a, source} : Placed{a, b, source});
    });
    const std::vector<std::size_t> order = along_curve(raw, grid, run);
    size_ = order.size();
    data_.resize(size_ * arrays(true));
    const auto put = [&](std::size_t array, std::size_t i, double v) { data_[array * size_ + i] = v; };
    parallel_for((size_ + poll_every - 1) / poll_every, run, [&](std::size_t block, Poll&) {
      for (std::size_t i = block * poll_every; i < std::min((block + 1) * poll_every, size_); ++i) {
        const Placed& s = raw[order[i]];
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
    });
    index_boxes(run);
    polygons_ = PolygonRows(features.polygons, sources.polygons,
                            static_cast<std::int64_t>(features.points.size() + features.lines.size()), grid, poll);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left to prepare " + std::to_string(count) + " points and segments for distance, about " +
                      std::to_string(count * 135 / 1000000 + 1) + " MB");
  }
}

// The nearest candidate to one place.
struct Nearest::Search {
  const Nearest& of;
  Metric metric;
  bool with_index;
  Place place;
  double best = infinity;  // value
  double within = infinity;  // boxes farther than this hold nothing as near as `best`
  double index = infinity;   // smallest source at `best`, where it is asked for
  std::size_t champion = nobody;

  pairs::Candidates candidates(std::size_t first, std::size_t last) const {
    return {of.data_.data() + first, of.size_, last - first, of.points_};
  }

  void look(std::size_t first, std::size_t last) {
    double value[group];
    pairs::each_value(metric, candidates(first, last), place, value);
    const double before = best;
    for (std::size_t i = first; i < last; ++i) {
      if (!(value[i - first] < best)) continue;
      best = value[i - first];
      champion = i;
    }
    if (best < before) {
      index = infinity;
      // 2 d slack <= 1e-9 d d + 1e9 slack slack: a margin on d without taking the root.
      within = metric == Metric::euclidean ? best * (1.0 + 4e-9) + 2e9 * of.slack() * of.slack()
                                           : best * (1.0 + 1e-9) + of.slack();
    }
    if (!with_index) return;
    const double* sources = of.data_.data() + of.arrays(false) * of.size_;
    for (std::size_t i = first; i < last; ++i) {
      if (value[i - first] == best) index = std::min(index, sources[i]);
    }
  }

  void look_around(std::size_t candidate) {
    const std::size_t first = candidate / group * group;
    look(first, std::min(first + group, of.size_));
  }

  // Looks at what a box holds, nearest box first.
  void down(std::size_t level, std::size_t node) {
    if (level == 0) return look_around(node * group);
    const Level& below = of.levels_[level - 1];
    const std::size_t first = node * fan, last = std::min(first + fan, below.size);
    double value[fan];
    pairs::each_value(metric, below.view(metric, first, last), place, value);
    std::size_t nearest = 0;
    for (std::size_t k = 1; k < last - first; ++k) nearest = value[k] < value[nearest] ? k : nearest;
    if (value[nearest] > within) return;
    down(level - 1, first + nearest);
    for (std::size_t k = 0; k < last - first; ++k) {
      if (value[k] <= within && k != nearest) down(level - 1, first + k);
    }
  }

  // Looks at what the boxes of a frontier hold.
  void among(Frontier& frontier) {
    const std::size_t n = frontier.nodes.size();
    if (frontier.test.size() < n) frontier.test.resize(n);
    double* value = frontier.test.data();
    pairs::each_value(metric, frontier.view(), place, value);
    for (std::size_t i = 0; i < n; ++i) {
      if (value[i] <= within) down(frontier.level, frontier.nodes[i]);
    }
  }

  void among_nearest_first(Frontier& frontier) {
    const std::size_t n = frontier.nodes.size();
    if (frontier.test.size() < n) frontier.test.resize(n);
    double* value = frontier.test.data();
    const double least = pairs::values(metric, frontier.view(), place, value);
    down(frontier.level, frontier.nodes[static_cast<std::size_t>(std::find(value, value + n, least) - value)]);
    among(frontier);
  }
};

void Nearest::all(Metric metric, Frontier& to) const {
  to.nodes.clear();
  to.boxes.clear();
  if (size_ == 0) return;
  to.level = levels_.size() - 1;
  const Level& top = levels_.back();
  for (std::size_t i = 0; i < top.size; ++i) to.nodes.push_back(i);
  to.boxes = top.boxes(metric);
}

// Drops the boxes of a frontier that hold nothing to keep.
void Nearest::pass(const Search& search, const Rule& rule, Frontier& to) const {
  const std::size_t n = to.nodes.size();
  if (to.test.size() < 2 * n) to.test.resize(2 * n);
  double* middle = to.test.data();
  double* corners = middle + n;
  pairs::values(search.metric, to.view(), search.place, middle);
  pairs::near_any_corner(search.metric, to.view(), rule.corner, rule.allowed, corners);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < n; ++i) {
    to.nodes[kept] = to.nodes[i];
    kept += static_cast<std::size_t>((middle[i] <= rule.within) & (corners[i] <= 0.0));
  }
  to.nodes.resize(kept);
}

Nearest::Found Nearest::narrow(Metric metric, const Box& box, double reach, std::size_t wide, std::size_t most,
                               std::size_t guess, Frontier& from, Frontier& to) const {
  Found found;
  found.seen.best = infinity;
  to.nodes.clear();
  to.level = 0;
  if (size_ == 0 || from.nodes.empty()) return found;
  Search s{*this, metric, false, box.middle()};
  if (guess != nobody) s.look(guess, guess + 1);
  s.among_nearest_first(from);
  found.champion = s.champion;
  found.seen.best = pairs::distance_of(metric, s.best);
  Rule rule(metric, box, found.seen.best, reach, slack());
  found.seen.radius = rule.radius;
  if (rule.empty) return found;
  rule.see(pairs::foot(metric, s.candidates(s.champion, s.champion + 1), 0, s.place));
  to.level = from.level;
  to.nodes = from.nodes;
  to.boxes = from.boxes;
  const std::size_t box_arrays = pairs::box_arrays(metric);
  for (;;) {
    pass(s, rule, to);
    const std::size_t kept = to.nodes.size();
    const bool open = to.level > 0 && kept <= wide;
    if (open) {
      const std::size_t size = levels_[to.level - 1].size;
      to.nodes.resize(kept * fan);
      std::size_t n = kept * fan;
      for (std::size_t k = kept; k-- > 0;) {
        const std::size_t first = to.nodes[k] * fan;
        for (std::size_t i = fan; i-- > 0;) to.nodes[k * fan + i] = first + i;
      }
      while (n > 0 && to.nodes[n - 1] >= size) --n;  // only the tree's last box has fewer
      to.nodes.resize(n);
      --to.level;
    }
    const std::vector<double>& boxes = levels_[to.level].boxes(metric);
    const std::size_t n = to.nodes.size(), size = levels_[to.level].size;
    to.boxes.resize(box_arrays * n);
    for (std::size_t a = 0; a < box_arrays; ++a) {
      for (std::size_t i = 0; i < n; ++i) to.boxes[a * n + i] = boxes[a * size + to.nodes[i]];
    }
    if (!open) break;
  }
  found.complete = to.level == 0 && to.nodes.size() * group <= most;
  if (!found.complete) {
    std::size_t opened = 0;  // boxes that a search from the middle opens
    pairs::values(metric, to.view(), s.place, to.test.data());
    for (std::size_t i = 0; i < to.nodes.size(); ++i) opened += to.test[i] <= s.within ? 1 : 0;
    found.search = 6 * opened < to.nodes.size();
  }
  return found;
}

void Nearest::gather(const Frontier& from, bool with_index, Gathered& to) const {
  std::size_t span = group;  // candidates in a box
  for (std::size_t k = 0; k < from.level; ++k) span *= fan;
  const std::size_t n = std::min(from.nodes.size() * span, size_), count = arrays(with_index);
  to.size = 0;
  to.stride = n + prune_points::padding;
  if (to.data.size() < count * to.stride) to.data.resize(count * to.stride);
  for (const std::size_t node : from.nodes) {
    const std::size_t first = node * span, last = std::min(first + span, size_);
    for (std::size_t array = 0; array < count; ++array) {
      std::copy(data_.data() + array * size_ + first, data_.data() + array * size_ + last,
                to.data.data() + array * to.stride + to.size);
    }
    to.size += last - first;
  }
  if (points_) prune_points::pad(to.data.data(), to.stride, to.size);
}

void Nearest::search(Metric metric, Frontier& frontier, const double* x, std::size_t n, double y,
                     std::size_t* champions, double* value, double* index) const {
  std::size_t above = champions[0], left = champions[0];
  for (std::size_t k = 0; k < n; ++k) {
    Search s{*this, metric, index != nullptr, {x[k], y}};
    // Along a line of features the champion moves on evenly: as from the cell above to its right one. Differences wrap.
    const std::size_t next = left + (champions[k] - above);
    s.look_around(next < size_ ? next : left);
    s.among(frontier);
    above = champions[k];
    left = champions[k] = s.champion;
    value[k] = s.best;
    if (index != nullptr) index[k] = s.index;
  }
}

}  // namespace rtmdx
