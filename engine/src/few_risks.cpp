// Exposure where cells have few distinct risks, as those of a model of a few 0/1 variables do: no sorting, sums risk by
// risk.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "rtmdx/clones.hpp"
#include "rtmdx/exposure_sums.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx::exposures {

namespace {

using Size = std::size_t;

constexpr std::int64_t least_chunk = std::int64_t{1} << 16U;
constexpr std::int64_t most_chunks = 64;  // each has its own sums, added in order at the end
constexpr std::int64_t strip = 256;       // cells whose residents, and sums, stay in the first-level cache
constexpr std::int64_t sampled = 16384;

// Codes of values, in the order in which they come.
class Dictionary {
 public:
  Dictionary() : keys_(slots, empty), codes_(slots) {}

  const std::vector<double>& values() const { return values_; }

  // Returns no_code where there is no room for another value. Not for NaN.
  std::uint16_t code(double value) {
    value += 0.0;  // one zero
    std::uint64_t key;
    std::memcpy(&key, &value, sizeof key);
    for (Size slot = (key * 0x9e3779b97f4a7c15U) >> (64U - bits);; slot = (slot + 1) % slots) {
      if (keys_[slot] == key) return codes_[slot];
      if (keys_[slot] != empty) continue;
      if (values_.size() == most_distinct) return no_code;
      keys_[slot] = key;
      codes_[slot] = static_cast<std::uint16_t>(values_.size());
      values_.push_back(value);
      return codes_[slot];
    }
  }

 private:
  static constexpr unsigned bits = 13;
  static constexpr Size slots = Size{1} << bits;
  static constexpr std::uint64_t empty = ~std::uint64_t{0};  // a NaN
  static_assert(slots >= 2 * most_distinct);

  std::vector<std::uint64_t> keys_;
  std::vector<std::uint16_t> codes_;
  std::vector<double> values_;
};

bool sample_is_few(const GroupCells& cells) {
  Dictionary seen;
  const std::int64_t step = std::max<std::int64_t>(1, cells.n_cells / sampled);
  for (std::int64_t i = 0; i < cells.n_cells; i += step) {
    const double r = cells.risk[i];
    if (r == r && seen.code(r) == no_code) return false;
  }
  return true;
}

// One chunk of cells: its values, and per value its cells and the residents of each group, W columns.
template <int W>
struct Chunk {
  std::vector<double> values;
  std::vector<std::int64_t> cells;
  std::vector<double> residents;
  std::vector<std::uint16_t> place;  // of its values among those of all chunks
  Columns<W> total{}, missing{}, unlike_rest{}, unlike_other{};
  std::vector<std::uint16_t> slot;   // of its values among those whose cells are kept, no_code for the others
  std::vector<std::uint16_t> kept;   // its values whose cells are kept
  std::vector<std::int64_t> next;    // where the next cell of each slot goes
  bool valid = true, gaps = false;
};

// Sums over strips, place by place within a strip: the loops vectorise, and the order of adding is fixed.
RTMDX_CLONES
void add_to(const double* p, std::int64_t n, double* sum) {
  for (std::int64_t i = 0; i < n; ++i) sum[i] += p[i];
}

RTMDX_CLONES
void add_two(const double* p, const double* q, std::int64_t n, double* sum) {
  for (std::int64_t i = 0; i < n; ++i) sum[i] += p[i] + q[i];
}

// n is up to `rows` strips, one after another.
constexpr std::int64_t rows = 4;

RTMDX_CLONES
void add_and_check(const double* p, std::int64_t n, double* sum, double* lowest) {
  if (n == rows * strip) {
    for (std::int64_t i = 0; i < strip; ++i) {
      const double a = p[i], b = p[i + strip], c = p[i + 2 * strip], d = p[i + 3 * strip];
      const double x = a < b ? a : b, y = c < d ? c : d;
      const double low = x < y ? x : y;
      sum[i] += (a + b) + (c + d);
      lowest[i] = low < lowest[i] ? low : lowest[i];
    }
    return;
  }
  for (std::int64_t start = 0; start < n; start += strip) {
    const double* q = p + start;
    const std::int64_t m = n - start < strip ? n - start : strip;
    for (std::int64_t i = 0; i < m; ++i) {
      sum[i] += q[i];
      lowest[i] = q[i] < lowest[i] ? q[i] : lowest[i];
    }
  }
}

RTMDX_CLONES
void scale(const double* p, std::int64_t n, double by, double* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = p[i] * by;
}

constexpr std::int64_t pair = 2 * strip;

// How unlike a group's distribution is to everyone else's, and to another group's; up to two strips.
RTMDX_CLONES
void add_unlike(const double* p, const double* all, const double* other, std::int64_t n, double own, double rest,
                double* to_rest, double* to_other) {
  if (n == pair) {
    for (std::int64_t i = 0; i < strip; ++i) {
      const std::int64_t j = i + strip;
      const double a = p[i] * own, b = p[j] * own;
      to_rest[i] += std::fabs(a - (all[i] - p[i]) * rest) + std::fabs(b - (all[j] - p[j]) * rest);
      to_other[i] += std::fabs(a - other[i]) + std::fabs(b - other[j]);
    }
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const double mine = p[i] * own;
    to_rest[i % strip] += std::fabs(mine - (all[i] - p[i]) * rest);
    to_other[i % strip] += std::fabs(mine - other[i]);
  }
}

// Which cells have one of the codes: all bits of `hit`.
RTMDX_CLONES
void mark(const std::uint16_t* code, std::int64_t n, const std::uint16_t* wanted, std::size_t n_wanted,
          std::uint16_t* hit) {
  for (std::int64_t i = 0; i < n; ++i) hit[i] = code[i] == wanted[0] ? 0xffff : 0;
  for (std::size_t w = 1; w < n_wanted; ++w) {
    const std::uint16_t c = wanted[w];
    for (std::int64_t i = 0; i < n; ++i) hit[i] = static_cast<std::uint16_t>(hit[i] | (code[i] == c ? 0xffff : 0));
  }
}

double sum_of(const double* values) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < strip; ++i) sum += values[i];
  return sum;
}

bool all_counts(const double* p, std::int64_t n) {
  return std::all_of(p, p + n, [](double v) { return v >= 0.0 && v <= std::numeric_limits<double>::max(); });
}

template <int W, int G>
void add_rows(const double* const* p, const std::uint16_t* code, std::int64_t n, double* sums) {
  for (std::int64_t i = 0; i < n; ++i) {
    double* row = sums + static_cast<Size>(code[i]) * W;
    for (int g = 0; g < G; ++g) row[g] += p[g][i];
  }
}

// A loop of its own for each number of groups up to 7.
template <int W>
void add_rows(std::int64_t n_groups, const double* const* p, const std::uint16_t* code, std::int64_t n, double* sums) {
  switch (n_groups) {
    case 1: return add_rows<W, 1>(p, code, n, sums);
    case 2: return add_rows<W, 2>(p, code, n, sums);
    case 3: return add_rows<W, 3>(p, code, n, sums);
    case 4: return add_rows<W, std::min(4, W - 1)>(p, code, n, sums);
    case 5: return add_rows<W, std::min(5, W - 1)>(p, code, n, sums);
    case 6: return add_rows<W, std::min(6, W - 1)>(p, code, n, sums);
    case 7: return add_rows<W, std::min(7, W - 1)>(p, code, n, sums);
    default: break;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    double* row = sums + static_cast<Size>(code[i]) * W;
    for (std::int64_t g = 0; g < n_groups; ++g) row[g] += p[g][i];
  }
}

// Codes of a chunk's cells, its values and totals. Returns false when there are too many values.
template <int W>
bool code_cells(const GroupCells& cells, std::int64_t first, std::int64_t last, std::uint16_t* code, Chunk<W>& chunk,
                Poll& poll) {
  Dictionary dictionary;
  PacedPoll paced(poll);
  const auto n_groups = static_cast<Size>(cells.n_groups());
  std::vector<std::int64_t> count(most_distinct, 0);
  std::vector<double> sum(n_groups * strip, 0.0), lowest(strip, 0.0), known(rows * strip);
  for (std::int64_t at = first; at < last; at += rows * strip) {
    const std::int64_t n = std::min(rows * strip, last - at);
    bool gaps = false;
    for (std::int64_t i = 0; i < n; ++i) {
      const double r = cells.risk[at + i];
      if (!(r == r)) {
        code[at + i] = no_code;
        gaps = true;
        continue;
      }
      const std::uint16_t c = dictionary.code(r);
      if (c == no_code) return false;
      code[at + i] = c;
      ++count[c];
    }
    chunk.gaps |= gaps;
    for (Size g = 0; g < n_groups; ++g) {
      const double* p = cells.residents[g] + at;
      if (gaps) {
        for (std::int64_t i = 0; i < n; ++i) {
          const bool none = code[at + i] == no_code;
          known[static_cast<Size>(i)] = none ? 0.0 : p[i];
          chunk.missing[g] += none ? p[i] : 0.0;
          lowest[0] = std::min(lowest[0], p[i]);
        }
        p = known.data();
      }
      add_and_check(p, n, sum.data() + g * strip, lowest.data());
    }
    paced(static_cast<Size>(n) * (2 + n_groups));
  }
  chunk.values = dictionary.values();
  count.resize(chunk.values.size());
  chunk.cells = std::move(count);
  for (const double r : chunk.values) chunk.valid &= std::fabs(r) <= std::numeric_limits<double>::max();
  chunk.valid &= *std::min_element(lowest.begin(), lowest.end()) >= 0.0;
  for (Size g = 0; g < n_groups; ++g) {
    chunk.total[g] = sum_of(sum.data() + g * strip);
    if (!(chunk.total[g] + chunk.missing[g] <= std::numeric_limits<double>::max())) {  // NaN, infinite, or too large to add
      chunk.valid &= all_counts(cells.residents[g] + first, last - first);
    }
    chunk.total[W - 1] += chunk.total[g];
    chunk.missing[W - 1] += chunk.missing[g];
  }
  return true;
}

// Residents by value, how unlike the groups' distributions over cells are, and the residents of tied cells.
template <int W>
void sum_cells(const GroupCells& cells, std::int64_t first, std::int64_t last, const std::uint16_t* code,
               const Scales<W>& scales, std::vector<TiedCells>& tied, Chunk<W>& chunk, Poll& poll) {
  const auto n_groups = static_cast<Size>(cells.n_groups());
  const auto other_group = static_cast<Size>(scales.reference);
  PacedPoll paced(poll);
  std::vector<double> sums((chunk.values.size() + 1) * W, 0.0);  // the last for cells without a risk
  const auto none = static_cast<std::uint16_t>(chunk.values.size());
  std::vector<double> known(chunk.gaps ? n_groups * static_cast<Size>(pair) : 0);
  std::uint16_t known_code[pair], hit[pair];
  std::vector<double> unlike(2 * n_groups * strip, 0.0);
  double all[pair], other[pair];
  const double* p[most_groups];
  for (std::int64_t at = first; at < last; at += pair) {
    const std::int64_t n = std::min(pair, last - at);
    const std::uint16_t* here = code + at;
    for (Size g = 0; g < n_groups; ++g) p[g] = cells.residents[g] + at;
    if (chunk.gaps) {  // nobody lives in a cell without a risk
      for (std::int64_t i = 0; i < n; ++i) known_code[i] = here[i] == no_code ? none : here[i];
      for (Size g = 0; g < n_groups; ++g) {
        double* column = known.data() + g * static_cast<Size>(pair);
        for (std::int64_t i = 0; i < n; ++i) column[i] = here[i] == no_code ? 0.0 : p[g][i];
        p[g] = column;
      }
      here = known_code;
    }
    add_rows<W>(cells.n_groups(), p, here, n, sums.data());
    if (!chunk.kept.empty()) {
      mark(here, n, chunk.kept.data(), chunk.kept.size(), hit);
      std::fill(hit + n, hit + (n + 3) / 4 * 4, std::uint16_t{0});
      for (std::int64_t four = 0; four < n; four += 4) {
        std::uint64_t any;
        std::memcpy(&any, hit + four, sizeof any);
        if (any == 0) continue;
        for (std::int64_t i = four; i < four + 4; ++i) {
          if (hit[i] == 0) continue;
          const Size slot = chunk.slot[here[i]];
          double* to = tied[slot].residents.get() + chunk.next[slot]++;
          for (Size g = 0; g < n_groups; ++g) to[static_cast<std::int64_t>(g) * tied[slot].n] = p[g][i];
        }
      }
    }
    std::fill(all, all + n, 0.0);
    for (Size g = 0; g + 1 < n_groups; g += 2) add_two(p[g], p[g + 1], n, all);
    if (n_groups % 2 != 0) add_to(p[n_groups - 1], n, all);
    scale(p[other_group], n, scales.own[other_group], other);
    for (Size g = 0; g < n_groups; ++g) {
      double* to = unlike.data() + 2 * g * strip;
      add_unlike(p[g], all, other, n, scales.own[g], scales.rest[g], to, to + strip);
    }
    paced(static_cast<Size>(n) * (4 + 2 * n_groups));
  }
  for (Size g = 0; g < n_groups; ++g) {
    chunk.unlike_rest[g] = sum_of(unlike.data() + 2 * g * strip);
    chunk.unlike_other[g] = sum_of(unlike.data() + (2 * g + 1) * strip);
  }
  sums.resize(chunk.values.size() * W);
  for (Size v = 0; v < chunk.values.size(); ++v) {
    double* row = sums.data() + v * W;
    for (Size g = 0; g < n_groups; ++g) row[W - 1] += row[g];
  }
  chunk.residents = std::move(sums);
}

}  // namespace

template <int W>
bool few_risks(const GroupCells& cells, const ExposureQuestion& question, const Run& run, GroupExposure& out) {
  if (!sample_is_few(cells)) return false;
  const std::int64_t n = cells.n_cells, n_groups = cells.n_groups();
  require_memory(2.0 * static_cast<double>(n), cells, question);
  const std::int64_t wanted = std::clamp<std::int64_t>(n / least_chunk, 1, most_chunks);
  const std::int64_t length = ((n + wanted - 1) / wanted + strip - 1) / strip * strip;
  const auto n_chunks = static_cast<Size>(n == 0 ? 0 : (n + length - 1) / length);
  const auto begin = [length](Size chunk) { return static_cast<std::int64_t>(chunk) * length; };
  const auto end = [n, length](Size chunk) { return std::min(n, (static_cast<std::int64_t>(chunk) + 1) * length); };
  std::vector<Chunk<W>> chunks(n_chunks);
  const std::unique_ptr<std::uint16_t[]> code(new std::uint16_t[static_cast<Size>(n)]);
  std::atomic<bool> few{true};
  parallel_for(n_chunks, run, [&](Size k, Poll& poll) {
    if (!few.load(std::memory_order_relaxed)) return;
    if (!code_cells<W>(cells, begin(k), end(k), code.get(), chunks[k], poll)) few.store(false, std::memory_order_relaxed);
  });
  if (!few.load()) return false;

  std::vector<double> values;
  for (const Chunk<W>& chunk : chunks) values.insert(values.end(), chunk.values.begin(), chunk.values.end());
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.size() > most_distinct) return false;

  Columns<W> total{}, missing{};
  out.valid = true;
  std::vector<std::int64_t> upto(values.size() + 1, 0);  // cells at lower risk
  for (Chunk<W>& chunk : chunks) {
    out.valid &= chunk.valid;
    add<W>(total, chunk.total);
    add<W>(missing, chunk.missing);
    for (Size v = 0; v < chunk.values.size(); ++v) {
      const auto found = std::lower_bound(values.begin(), values.end(), chunk.values[v]);
      chunk.place.push_back(static_cast<std::uint16_t>(found - values.begin()));
      upto[Size{chunk.place.back()} + 1] += chunk.cells[v];
    }
  }
  if (!out.valid) return true;
  for (Size v = 0; v < values.size(); ++v) upto[v + 1] += upto[v];
  const std::int64_t known = upto.back();
  out.with_risk = known;
  out.top = ranks_of(question.top, known);
  std::vector<Size> at(out.top.size(), 0), open;  // places of the tops' risks, and of those whose cells are chosen among
  for (Size t = 0; t < out.top.size() && known > 0; ++t) {
    TopCells& top = out.top[t];
    const auto above = std::upper_bound(upto.begin(), upto.end(), known - top.cells);
    const Size v = at[t] = static_cast<Size>(above - upto.begin()) - 1;
    top.threshold = values[v];
    top.above = known - upto[v + 1];
    top.tied = upto[v + 1] - upto[v];
    if (question.ties && is_open(top) && std::find(open.begin(), open.end(), v) == open.end()) open.push_back(v);
  }
  double bytes = 2.0 * static_cast<double>(n);
  for (const Size v : open) bytes += 8.0 * static_cast<double>((upto[v + 1] - upto[v]) * n_groups);
  require_memory(bytes, cells, question);
  std::vector<TiedCells> tied;
  for (const Size v : open) {
    const std::int64_t size = upto[v + 1] - upto[v];
    tied.push_back({values[v], size, std::unique_ptr<double[]>(new double[static_cast<Size>(size * n_groups)])});
  }
  std::vector<std::int64_t> next(open.size(), 0);
  for (Chunk<W>& chunk : chunks) {
    chunk.next = next;
    chunk.slot.assign(chunk.values.size() + 1, no_code);
    for (Size v = 0; v < chunk.values.size(); ++v) {
      const auto s = static_cast<Size>(std::find(open.begin(), open.end(), Size{chunk.place[v]}) - open.begin());
      if (s == open.size()) continue;
      chunk.slot[v] = static_cast<std::uint16_t>(s);
      chunk.kept.push_back(static_cast<std::uint16_t>(v));
      next[s] += chunk.cells[v];
    }
  }

  const Scales<W> scales = scales_of<W>(total, question.reference);
  parallel_for(
      n_chunks, run,
      [&](Size k, Poll& poll) { sum_cells<W>(cells, begin(k), end(k), code.get(), scales, tied, chunks[k], poll); },
      Loop::main);

  Part<W> sum;
  std::vector<Columns<W>> run_of(values.size(), Columns<W>{});
  for (const Chunk<W>& chunk : chunks) {
    for (Size v = 0; v < chunk.values.size(); ++v) {
      for (Size c = 0; c < W; ++c) run_of[chunk.place[v]][c] += chunk.residents[v * W + c];
    }
    add<W>(sum.unlike_rest, chunk.unlike_rest);
    add<W>(sum.unlike_other, chunk.unlike_other);
  }
  out.lowest = values.empty() ? 0.0 : values.front();
  out.highest = values.empty() ? 0.0 : values.back();
  const std::int64_t step = std::max<std::int64_t>(1, known / std::max<std::int64_t>(question.points, 1));
  std::int64_t told = 0;
  for (Size v = 0; v < values.size(); ++v) {
    add_run<W>(sum, run_of[v].data(), values[v], sum.residents[W - 1]);
    if (upto[v + 1] - told < step && v + 1 < values.size()) continue;
    told = upto[v + 1];
    out.curve.risk.push_back(values[v]);
    out.curve.cells.push_back(told);
    push_columns<W>(out.curve.residents, sum.residents, n_groups);
    push_columns<W>(out.curve.burden, sum.burden, n_groups);
  }
  tell_sums<W>(sum, missing, n_groups, out.sums);
  for (Size t = 0; t < out.top.size() && known > 0; ++t) {
    Columns<W> higher{};
    for (Size v = at[t] + 1; v < values.size(); ++v) add<W>(higher, run_of[v]);
    push_columns<W>(out.top[t].residents, higher, n_groups);
    push_columns<W>(out.top[t].equal, run_of[at[t]], n_groups);
  }
  if (question.ties) bound_ties(out.top, tied, n_groups, run);
  return true;
}

template bool few_risks<4>(const GroupCells&, const ExposureQuestion&, const Run&, GroupExposure&);
template bool few_risks<8>(const GroupCells&, const ExposureQuestion&, const Run&, GroupExposure&);
template bool few_risks<16>(const GroupCells&, const ExposureQuestion&, const Run&, GroupExposure&);
template bool few_risks<32>(const GroupCells&, const ExposureQuestion&, const Run&, GroupExposure&);

}  // namespace rtmdx::exposures
