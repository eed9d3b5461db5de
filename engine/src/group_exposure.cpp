#include "rtmdx/group_exposure.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "rtmdx/clones.hpp"
#include "rtmdx/exposure_sums.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {

namespace {

constexpr std::int64_t block_cells = std::int64_t{1} << 16U;
constexpr std::int64_t bucket_cells = 8192;  // a bucket's records stay in the second-level cache
constexpr std::int64_t most_buckets = 4096;
constexpr std::int64_t sampled = 16;  // values looked at for every bucket

using Size = std::size_t;
using namespace exposures;

constexpr std::uint16_t no_bucket = no_code;

// Bounds between buckets, rising and distinct, filled up with infinity to a power of two less one: a value's bucket is
// the number of bounds at most as high.
std::vector<double> bucket_bounds(const GroupCells& cells) {
  const std::int64_t wanted = std::clamp<std::int64_t>(cells.n_cells / bucket_cells, 1, most_buckets);
  std::vector<double> seen;
  const std::int64_t step = std::max<std::int64_t>(1, cells.n_cells / (wanted * sampled));
  if (wanted > 1) {
    for (std::int64_t i = step / 2; i < cells.n_cells; i += step) {
      if (!std::isnan(cells.risk[i])) seen.push_back(cells.risk[i]);
    }
  }
  std::sort(seen.begin(), seen.end());
  std::vector<double> bounds;
  for (std::int64_t b = 1; b < wanted && !seen.empty(); ++b) {
    bounds.push_back(seen[static_cast<Size>(b) * seen.size() / static_cast<Size>(wanted)]);
  }
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  Size full = 1;
  while (full <= bounds.size()) full *= 2;
  bounds.resize(full - 1, std::numeric_limits<double>::infinity());
  return bounds;
}

// Halving without branches, many values at a time. Returns whether all values are finite or NaN.
RTMDX_CLONES
bool find_buckets(const double* risk, std::int64_t n, const double* bounds, std::int32_t n_bounds, std::uint16_t* out) {
  constexpr std::int64_t lanes = 64;
  std::int32_t at[lanes];
  std::int64_t infinite = 0;
  for (std::int64_t start = 0; start < n; start += lanes) {
    const std::int64_t m = std::min(lanes, n - start);
    for (std::int64_t i = 0; i < m; ++i) at[i] = 0;
    for (std::int32_t half = (n_bounds + 1) / 2; half > 0; half /= 2) {
      for (std::int64_t i = 0; i < m; ++i) at[i] += bounds[at[i] + half - 1] <= risk[start + i] ? half : 0;
    }
    for (std::int64_t i = 0; i < m; ++i) {
      const double r = risk[start + i];
      out[start + i] = r == r ? static_cast<std::uint16_t>(at[i]) : no_bucket;
      infinite += std::fabs(r) > std::numeric_limits<double>::max();
    }
  }
  return infinite == 0;
}

// Residents of cells with and without a risk. Returns whether all are numbers >= 0.
RTMDX_CLONES
bool add_residents(const double* residents, const std::uint16_t* bucket, std::int64_t n, double& with, double& without) {
  constexpr std::int64_t lanes = 8;
  double in[lanes] = {}, out[lanes] = {};
  std::int64_t odd = 0;
  const auto take = [&](std::int64_t i, std::int64_t k) {
    const double p = residents[i];
    const bool known = bucket[i] != no_bucket;
    in[k] += known ? p : 0.0;
    out[k] += known ? 0.0 : p;
    odd += !(p >= 0.0 && p <= std::numeric_limits<double>::max());
  };
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::int64_t k = 0; k < lanes; ++k) take(i + k, k);
  }
  for (; i < n; ++i) take(i, 0);
  for (std::int64_t k = 0; k < lanes; ++k) {
    with += in[k];
    without += out[k];
  }
  return odd == 0;
}

struct Point {
  double risk;
  std::int64_t cells;
};

template <int W>
struct Curve {
  std::vector<Point> points;
  std::vector<Columns<W>> residents, burden;
};

// A rank from the top that falls into a bucket, as a place in its order from the lowest risk.
struct Wanted {
  std::int64_t place;
  TopCells* found;
};

using Ordered = std::pair<double, std::uint32_t>;

// Sorts by value, then by place: values are first put into as many equal steps between the lowest and the highest, and
// what shares a step is sorted by comparison. Buckets are narrow, so that few do.
void sort_bucket(const double* records, std::int64_t n, std::int64_t width, double low, double high,
                 std::vector<std::uint32_t>& step_of, std::vector<std::uint32_t>& from, std::vector<Ordered>& order) {
  const auto size = static_cast<Size>(n);
  const double scale = static_cast<double>(n - 1) / (high - low);
  if (!(scale < std::numeric_limits<double>::max()) || !(scale > 0.0)) {  // steps too small, or too wide, for a double
    for (Size i = 0; i < size; ++i) order[i] = {records[static_cast<std::int64_t>(i) * width], static_cast<std::uint32_t>(i)};
    std::sort(order.begin(), order.end());
    return;
  }
  step_of.resize(size);
  from.assign(size + 1, 0);
  for (Size i = 0; i < size; ++i) {
    const double at = (records[static_cast<std::int64_t>(i) * width] - low) * scale;
    step_of[i] = std::min(static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(n - 1));
    ++from[step_of[i] + 1];
  }
  for (Size s = 0; s < size; ++s) from[s + 1] += from[s];
  for (Size i = 0; i < size; ++i) {
    order[from[step_of[i]]++] = {records[static_cast<std::int64_t>(i) * width], static_cast<std::uint32_t>(i)};
  }
  for (Size s = 0, first = 0; s < size; first = from[s], ++s) {  // `from` has moved on to each step's end
    const Size last = from[s];
    if (last - first < 2) continue;
    const auto a = order.begin() + static_cast<std::ptrdiff_t>(first);
    const auto b = order.begin() + static_cast<std::ptrdiff_t>(last);
    if (last - first > 12) {
      std::sort(a, b);
      continue;
    }
    for (auto i = a + 1; i != b; ++i) {
      const Ordered value = *i;
      auto j = i;
      for (; j != a && value < *(j - 1); --j) *j = *(j - 1);
      *j = value;
    }
  }
}

// What sorting needs, kept from bucket to bucket.
struct Scratch {
  std::vector<Ordered> order;
  std::vector<std::uint32_t> step_of, from;
};

template <int W>
[[gnu::always_inline]] inline void add_bucket(const double* records, std::int64_t n, std::int64_t n_groups, const Scales<W>& scales,
                std::int64_t step, const std::vector<Wanted>& wanted, Scratch& scratch, Part<W>& part,
                Curve<W>& curve, Poll& poll) {
  const std::int64_t width = n_groups + 1;
  double low = records[0], high = records[0];
  for (std::int64_t i = 0; i < n; ++i) {
    const double r = records[i * width];
    low = std::min(low, r);
    high = std::max(high, r);
  }
  const bool flat = low == high;
  std::vector<Ordered>& order = scratch.order;
  if (!flat) {
    order.resize(static_cast<Size>(n));
    sort_bucket(records, n, width, low, high, scratch.step_of, scratch.from, order);
  }
  PacedPoll paced(poll);
  Part<W> p;
  double before = 0.0;
  std::int64_t told = 0;
  auto next = wanted.begin();
  for (std::int64_t a = 0, b = 0; a < n; a = b) {
    const double r = flat ? low : order[static_cast<Size>(a)].first;
    double run[W] = {};
    for (b = a; b < n && (flat || order[static_cast<Size>(b)].first == r); ++b) {
      const double* record = records + (flat ? b : order[static_cast<Size>(b)].second) * width + 1;
      double s[W] = {};
      double all = 0.0;
      for (std::int64_t g = 0; g < n_groups; ++g) {
        s[g] = record[g];
        all += record[g];
      }
      s[W - 1] = all;
      const double other = s[scales.reference] * scales.own[static_cast<Size>(scales.reference)];
      for (int c = 0; c < W; ++c) {
        const Size k = static_cast<Size>(c);
        const double own = s[c] * scales.own[k];
        p.unlike_rest[k] += std::fabs(own - (all - s[c]) * scales.rest[k]);
        p.unlike_other[k] += std::fabs(own - other);
        run[c] += s[c];
      }
    }
    paced(static_cast<Size>(b - a) * 40);
    add_run<W>(p, run, r, before);
    before += run[W - 1];
    for (; next != wanted.end() && next->place < b; ++next) {
      TopCells& t = *next->found;
      t.threshold = r;
      t.above = n - b;
      t.tied = b - a;
      t.residents.assign(p.residents.begin(), p.residents.end());  // up to the tie; turned round when all are known
      t.equal.assign(run, run + W);
    }
    if (b - told >= step || b == n) {
      told = b;
      curve.points.push_back({r, b});
      curve.residents.push_back(p.residents);
      curve.burden.push_back(p.burden);
    }
  }
  part = p;
}

template <int W>
GroupExposure compute(const GroupCells& cells, const ExposureQuestion& question, const Run& run) {
  GroupExposure out;
  if (few_risks<W>(cells, question, run, out)) return out;
  const std::int64_t n = cells.n_cells, n_groups = cells.n_groups(), width = n_groups + 1;
  const std::vector<double> bounds = bucket_bounds(cells);
  const Size n_buckets = bounds.size() + 1;
  const Size n_blocks = static_cast<Size>((n + block_cells - 1) / block_cells);
  const auto block_end = [n](std::int64_t first) { return std::min(n, first + block_cells); };

  const auto doubles = static_cast<double>(n) * static_cast<double>(width);
  require_memory(8.0 * (doubles + static_cast<double>(n_blocks * n_buckets)) + 2.0 * static_cast<double>(n), cells, question);

  // Which bucket each cell belongs to, and how many of each block do; the residents besides.
  const std::unique_ptr<std::uint16_t[]> bucket(new std::uint16_t[static_cast<Size>(n)]);
  std::vector<std::int64_t> from(n_blocks * n_buckets, 0);
  std::vector<Columns<W>> block_sums(n_blocks), block_missing(n_blocks);
  std::vector<char> block_valid(n_blocks);
  parallel_for(n_blocks, run, [&](Size block, Poll&) {
    const std::int64_t first = static_cast<std::int64_t>(block) * block_cells, last = block_end(first);
    bool valid = find_buckets(cells.risk + first, last - first, bounds.data(),
                              static_cast<std::int32_t>(bounds.size()), bucket.get() + first);
    std::int64_t* count = from.data() + block * n_buckets;
    for (std::int64_t i = first; i < last; ++i) {
      if (bucket[static_cast<Size>(i)] != no_bucket) ++count[bucket[static_cast<Size>(i)]];
    }
    Columns<W> sum{}, missing{};
    for (std::int64_t g = 0; g < n_groups; ++g) {
      double with = 0.0, without = 0.0;
      valid &= add_residents(cells.residents[static_cast<Size>(g)] + first, bucket.get() + first, last - first, with,
                             without);
      sum[static_cast<Size>(g)] = with;
      missing[static_cast<Size>(g)] = without;
      sum[W - 1] += with;
      missing[W - 1] += without;
    }
    block_sums[block] = sum;
    block_missing[block] = missing;
    block_valid[block] = valid;
  });
  out.valid = std::all_of(block_valid.begin(), block_valid.end(), [](char v) { return v != 0; });
  if (!out.valid) return out;

  std::vector<std::int64_t> start(n_buckets + 1, 0);
  for (Size b = 0, at = 0; b < n_buckets; ++b) {
    for (Size k = 0; k < n_blocks; ++k) {
      std::int64_t& place = from[k * n_buckets + b];
      const auto here = static_cast<std::int64_t>(at);
      at += static_cast<Size>(place);
      place = here;
    }
    start[b + 1] = static_cast<std::int64_t>(at);
  }
  const std::int64_t known = start[n_buckets];
  Columns<W> total{}, missing{};
  for (Size k = 0; k < n_blocks; ++k) {
    add<W>(total, block_sums[k]);
    add<W>(missing, block_missing[k]);
  }

  // Records in order of bucket, then of cell: risk, then the groups.
  const std::unique_ptr<double[]> records(new double[static_cast<Size>(known * width)]);
  const double* const* residents = cells.residents.data();
  parallel_for(n_blocks, run, [&](Size block, Poll&) {
    const std::int64_t first = static_cast<std::int64_t>(block) * block_cells, last = block_end(first);
    std::int64_t* place = from.data() + block * n_buckets;
    for (std::int64_t i = first; i < last; ++i) {
      const std::uint16_t b = bucket[static_cast<Size>(i)];
      if (b == no_bucket) continue;
      double* record = records.get() + place[b]++ * width;
      record[0] = cells.risk[i];
      for (std::int64_t g = 0; g < n_groups; ++g) record[g + 1] = residents[g][i];
    }
  });

  out.with_risk = known;
  out.top = ranks_of(question.top, known);
  std::vector<std::vector<Wanted>> wanted(n_buckets);
  std::vector<Size> top_bucket(out.top.size(), 0);
  for (Size t = 0; t < out.top.size(); ++t) {
    const std::int64_t place = known - out.top[t].cells;
    if (place < 0) continue;
    const auto b = static_cast<Size>(std::upper_bound(start.begin(), start.end(), place) - start.begin()) - 1;
    top_bucket[t] = b;
    wanted[b].push_back({place - start[b], &out.top[t]});
  }
  for (auto& w : wanted) {
    std::sort(w.begin(), w.end(), [](const Wanted& x, const Wanted& y) { return x.place < y.place; });
  }
  const Scales<W> scales = scales_of<W>(total, question.reference);
  const std::int64_t step = std::max<std::int64_t>(1, known / std::max<std::int64_t>(question.points, 1));
  std::vector<Part<W>> parts(n_buckets);
  std::vector<Curve<W>> curves(n_buckets);
  // Several buckets a block of work, each with one list to sort.
  constexpr Size together = 8;
  parallel_for(
      (n_buckets + together - 1) / together, run,
      [&](Size block, Poll& poll) {
        Scratch scratch;
        for (Size b = block * together; b < std::min(n_buckets, (block + 1) * together); ++b) {
          const std::int64_t size = start[b + 1] - start[b];
          if (size == 0) continue;
          add_bucket<W>(records.get() + start[b] * width, size, n_groups, scales, step, wanted[b], scratch, parts[b],
                        curves[b], poll);
          poll();
        }
      },
      Loop::main);

  // What lies below a bucket is known once all are done.
  Part<W> sum;
  std::vector<Columns<W>> below(n_buckets);
  for (Size b = 0; b < n_buckets; ++b) {
    const Part<W>& p = parts[b];
    below[b] = sum.residents;
    for (Size k = 0; k < curves[b].points.size(); ++k) {
      Columns<W> residents = curves[b].residents[k], burden = curves[b].burden[k];
      add<W>(residents, sum.residents);
      add<W>(burden, sum.burden);
      out.curve.risk.push_back(curves[b].points[k].risk);
      out.curve.cells.push_back(start[b] + curves[b].points[k].cells);
      push_columns<W>(out.curve.residents, residents, n_groups);
      push_columns<W>(out.curve.burden, burden, n_groups);
    }
    for (Size c = 0; c < W; ++c) {
      sum.rank[c] += p.rank[c] + p.residents[c] * sum.residents[W - 1];
      sum.lorenz[c] += p.lorenz[c] + p.residents[c] * sum.burden[c];
    }
    add<W>(sum.residents, p.residents);
    add<W>(sum.burden, p.burden);
    add<W>(sum.entropy, p.entropy);
    add<W>(sum.unlike_rest, p.unlike_rest);
    add<W>(sum.unlike_other, p.unlike_other);
  }
  for (Size t = 0; t < out.top.size(); ++t) {
    TopCells& found = out.top[t];
    if (found.tied == 0) continue;
    const Size b = top_bucket[t];
    found.above += known - start[b + 1];
    Columns<W> higher{}, equal{};
    for (Size k = b + 1; k < n_buckets; ++k) add<W>(higher, parts[k].residents);
    for (Size c = 0; c < W; ++c) {
      higher[c] += parts[b].residents[c] - found.residents[c];
      equal[c] = found.equal[c];
    }
    found.residents.clear();
    found.equal.clear();
    push_columns<W>(found.residents, higher, n_groups);
    push_columns<W>(found.equal, equal, n_groups);
  }
  if (question.ties) {
    std::vector<TiedCells> tied;
    for (Size t = 0; t < out.top.size(); ++t) {
      const double risk = out.top[t].threshold;
      if (!is_open(out.top[t])) continue;
      if (std::any_of(tied.begin(), tied.end(), [risk](const TiedCells& c) { return c.risk == risk; })) continue;
      const std::int64_t n_tied = out.top[t].tied;
      tied.push_back({risk, n_tied, std::unique_ptr<double[]>(new double[static_cast<Size>(n_tied * n_groups)])});
      const Size b = top_bucket[t];
      std::int64_t at = 0;
      for (std::int64_t i = start[b]; i < start[b + 1]; ++i) {
        const double* record = records.get() + i * width;
        if (record[0] != risk) continue;
        for (std::int64_t g = 0; g < n_groups; ++g) tied.back().residents[static_cast<Size>(g * n_tied + at)] = record[g + 1];
        ++at;
      }
    }
    bound_ties(out.top, tied, n_groups, run);
  }
  sum.unlike_rest[W - 1] = sum.unlike_other[W - 1] = 0.0;
  tell_sums<W>(sum, missing, n_groups, out.sums);
  out.highest = out.curve.risk.empty() ? 0.0 : out.curve.risk.back();
  out.lowest = out.highest;
  const auto first_end = std::find_if(start.begin(), start.end(), [](std::int64_t s) { return s > 0; });
  for (std::int64_t i = 0; first_end != start.end() && i < *first_end; ++i) {
    out.lowest = std::min(out.lowest, records[static_cast<Size>(i * width)]);
  }
  return out;
}

}  // namespace

GroupExposure group_exposure(const GroupCells& cells, const ExposureQuestion& question, const Run& run) {
  if (cells.n_groups() < 1 || cells.n_groups() > most_groups) throw InvalidArgument("expected 1 to 31 groups");
  try {
    if (cells.n_groups() < 4) return compute<4>(cells, question, run);
    if (cells.n_groups() < 8) return compute<8>(cells, question, run);
    if (cells.n_groups() < 16) return compute<16>(cells, question, run);
    return compute<32>(cells, question, run);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the exposure of " + std::to_string(cells.n_groups()) + " groups over " +
                      std::to_string(cells.n_cells) + " cells");
  }
}

}  // namespace rtmdx
