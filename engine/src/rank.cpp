#include "rtmdx/rank.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "rtmdx/parallel.hpp"

// Scores become integers that ascend as they descend; their range is cut evenly into bins, entries are dealt to bins
// once, and each bin, now in cache, is dealt again until a bin holds a few entries or one value. Equal scores never
// part, so ties, ranks and sums are settled bin by bin.

namespace rtmdx {
namespace {

constexpr std::size_t max_bins = 4096;
constexpr std::size_t small = 24;          // entries that are sorted by insertion
constexpr std::size_t max_chunks = 256;
constexpr std::size_t min_chunk = 1 << 16;
constexpr std::size_t bins_a_block = 16;

struct Entry {
  std::uint64_t key;
  std::uint32_t cell;
  std::uint32_t count;  // the amount, where all are whole and small
};

std::uint64_t key_of(double score) {
  score += 0.0;  // -0 and 0 are equal
  std::uint64_t bits;
  std::memcpy(&bits, &score, sizeof bits);
  constexpr std::uint64_t sign = std::uint64_t{1} << 63U;
  return (bits & sign) != 0 ? bits : ~(bits | sign);
}

struct Extent {
  std::uint64_t least = ~std::uint64_t{0};
  std::uint64_t most = 0;
  bool counts = true;
};

// How far keys are shifted so that they fall into so many bins.
unsigned shift_for(std::uint64_t range, std::size_t bins) {
  unsigned shift = 0;
  while ((range >> shift) >= bins) ++shift;
  return shift;
}

std::size_t bins_for(std::size_t n, std::size_t a_bin) {
  std::size_t bins = 16;
  while (bins < max_bins && bins * a_bin < n) bins *= 2;
  return bins;
}

// Stable, so that entries of one key keep the order of their cells.
void sort_entries(Entry* e, std::size_t n, std::vector<Entry>& spare, PacedPoll& poll) {
  if (n <= small) {
    for (std::size_t i = 1; i < n; ++i) {
      const Entry moved = e[i];
      std::size_t j = i;
      for (; j > 0 && e[j - 1].key > moved.key; --j) e[j] = e[j - 1];
      e[j] = moved;
    }
    return;
  }
  std::uint64_t least = e[0].key, most = e[0].key;
  for (std::size_t i = 1; i < n; ++i) {
    least = std::min(least, e[i].key);
    most = std::max(most, e[i].key);
  }
  poll(n * 8);
  if (least == most) return;
  const std::size_t bins = bins_for(n, 2);
  const unsigned shift = shift_for(most - least, bins);
  std::uint32_t ends[max_bins + 1];
  std::fill(ends, ends + bins + 1, 0U);
  for (std::size_t i = 0; i < n; ++i) ++ends[((e[i].key - least) >> shift) + 1];
  for (std::size_t b = 0; b < bins; ++b) ends[b + 1] += ends[b];
  if (spare.size() < n) spare.resize(n);
  for (std::size_t i = 0; i < n; ++i) spare[ends[(e[i].key - least) >> shift]++] = e[i];
  std::copy_n(spare.data(), n, e);
  std::size_t from = 0;
  for (std::size_t b = 0; b < bins; ++b) {
    const std::size_t to = ends[b];
    if (to - from > 1 && shift > 0) sort_entries(e + from, to - from, spare, poll);
    from = to;
  }
}

class Ranking {
 public:
  Ranking(const double* score, const double* amount, std::size_t n, const Run& run)
      : score_(score), amount_(amount), n_(n), run_(run) {
    chunk_ = std::max(min_chunk, (n + max_chunks - 1) / max_chunks);
    chunks_ = (n + chunk_ - 1) / chunk_;
    survey();
    deal();
  }

  std::int64_t settle(std::int32_t* best, std::int32_t* worst) {
    const std::size_t bins = starts_.size() - 1;
    sums_.assign(bins, 0.0);
    std::vector<std::int64_t> levels(bins, 0);
    const std::size_t blocks = (bins + bins_a_block - 1) / bins_a_block;
    parallel_for(blocks, run_, [&](std::size_t block, Poll& asks) {
      PacedPoll poll(asks);
      std::vector<Entry> spare;
      const std::size_t last = std::min(bins, (block + 1) * bins_a_block);
      for (std::size_t b = block * bins_a_block; b < last; ++b) {
        const std::size_t from = starts_[b], to = starts_[b + 1];
        sort_entries(entries_.get() + from, to - from, spare, poll);
        for (std::size_t i = from; i < to;) {
          const std::size_t end = tied(i, to);
          if (best != nullptr) {
            const auto first = static_cast<std::int32_t>(i + 1), final = static_cast<std::int32_t>(end);
            for (std::size_t j = i; j < end; ++j) {
              best[entries_[j].cell] = first;
              worst[entries_[j].cell] = final;
            }
          }
          poll((end - i) * 4);
          ++levels[b];
          i = end;
        }
        if (amount_ != nullptr) sums_[b] = sum(from, to);
      }
    });
    std::int64_t all = 0;
    for (const std::int64_t l : levels) all += l;
    return all;
  }

  void capture(const Capture& c) const {
    std::vector<double> before(sums_.size() + 1, 0.0);
    for (std::size_t b = 0; b < sums_.size(); ++b) before[b + 1] = before[b] + sums_[b];
    struct Job {
      std::size_t bin, from, to;
    };
    std::vector<Job> jobs;
    for (std::size_t i = 0; i < c.n; ++i) {
      const auto k = static_cast<std::size_t>(c.k[i]);
      if (k == 0) {
        c.lowest[i] = c.expected[i] = c.highest[i] = 0.0;
        continue;
      }
      const auto at = std::lower_bound(starts_.begin() + 1, starts_.end(), k) - starts_.begin() - 1;
      const auto bin = static_cast<std::size_t>(at);
      if (jobs.empty() || jobs.back().bin != bin) jobs.push_back({bin, i, i});
      jobs.back().to = i + 1;
    }
    parallel_for(jobs.size(), run_, [&](std::size_t j, Poll& asks) {
      PacedPoll poll(asks);
      const Job& job = jobs[j];
      std::size_t at = job.from;
      double sofar = before[job.bin];
      for (std::size_t i = starts_[job.bin]; i < starts_[job.bin + 1] && at < job.to;) {
        const std::size_t end = tied(i, starts_[job.bin + 1]);
        std::size_t wanted = at;
        while (wanted < job.to && static_cast<std::size_t>(c.k[wanted]) <= end) ++wanted;
        const double whole = sum(i, end);
        poll((end - i) * 4);
        if (wanted > at) within(c, at, wanted, i, end, sofar, whole);
        at = wanted;
        sofar += whole;
        i = end;
      }
    });
  }

 private:
  void survey() {
    std::vector<Extent> extents(chunks_);
    parallel_for(chunks_, run_, [&](std::size_t c, Poll&) {
      Extent e;
      for (std::size_t i = c * chunk_; i < end_of(c); ++i) {
        const std::uint64_t key = key_of(score_[i]);
        e.least = std::min(e.least, key);
        e.most = std::max(e.most, key);
      }
      if (amount_ != nullptr) {
        for (std::size_t i = c * chunk_; i < end_of(c); ++i) {
          const double a = amount_[i];
          const bool fits = a >= 0.0 && a < 4294967296.0;
          e.counts = e.counts && fits && static_cast<double>(static_cast<std::int64_t>(fits ? a : 0.0)) == a;
        }
      }
      extents[c] = e;
    });
    for (const Extent& e : extents) {
      all_.least = std::min(all_.least, e.least);
      all_.most = std::max(all_.most, e.most);
      all_.counts = all_.counts && e.counts;
    }
  }

  void deal() {
    const std::size_t bins = bins_for(n_, 2048);
    const unsigned shift = shift_for(all_.most - all_.least, bins);
    std::vector<std::uint32_t> places(chunks_ * bins, 0);
    parallel_for(chunks_, run_, [&](std::size_t c, Poll&) {
      std::uint32_t* mine = places.data() + c * bins;
      for (std::size_t i = c * chunk_; i < end_of(c); ++i) ++mine[(key_of(score_[i]) - all_.least) >> shift];
    });
    starts_.assign(bins + 1, 0);
    std::size_t at = 0;
    for (std::size_t b = 0; b < bins; ++b) {
      starts_[b] = at;
      for (std::size_t c = 0; c < chunks_; ++c) {
        const std::uint32_t here = places[c * bins + b];
        places[c * bins + b] = static_cast<std::uint32_t>(at);
        at += here;
      }
    }
    starts_[bins] = at;
    entries_.reset(new Entry[n_]);  // not initialised: every entry is written below
    const bool counts = amount_ != nullptr && all_.counts;
    parallel_for(chunks_, run_, [&](std::size_t c, Poll&) {
      std::uint32_t* mine = places.data() + c * bins;
      for (std::size_t i = c * chunk_; i < end_of(c); ++i) {
        const std::uint64_t key = key_of(score_[i]);
        entries_[mine[(key - all_.least) >> shift]++] = {key, static_cast<std::uint32_t>(i),
                                                         counts ? static_cast<std::uint32_t>(amount_[i]) : 0U};
      }
    });
  }

  [[nodiscard]] std::size_t end_of(std::size_t chunk) const { return std::min(n_, (chunk + 1) * chunk_); }

  [[nodiscard]] std::size_t tied(std::size_t i, std::size_t to) const {
    const std::uint64_t key = entries_[i].key;
    do ++i;
    while (i < to && entries_[i].key == key);
    return i;
  }

  [[nodiscard]] double amount(std::size_t i) const {
    return all_.counts ? static_cast<double>(entries_[i].count) : amount_[entries_[i].cell];
  }

  [[nodiscard]] double sum(std::size_t from, std::size_t to) const {
    if (all_.counts) {
      std::uint64_t whole = 0;
      for (std::size_t i = from; i < to; ++i) whole += entries_[i].count;
      return static_cast<double>(whole);
    }
    double s = 0.0;
    for (std::size_t i = from; i < to; ++i) s += amount_[entries_[i].cell];
    return s;
  }

  // The points of the curve that fall among cells [from, end), all of one score.
  void within(const Capture& c, std::size_t at, std::size_t wanted, std::size_t from, std::size_t end, double sofar,
              double whole) const {
    const std::size_t size = end - from;
    std::vector<double> some;  // amounts that are not 0, ascending
    if (static_cast<std::size_t>(c.k[at]) != end) {
      for (std::size_t i = from; i < end; ++i) {
        const double a = amount(i);
        if (a != 0.0) some.push_back(a);
      }
      std::sort(some.begin(), some.end());
      const auto negative = static_cast<std::size_t>(std::lower_bound(some.begin(), some.end(), 0.0) - some.begin());
      some.insert(some.begin() + static_cast<std::ptrdiff_t>(negative), 0.0);  // stands for all the zeros
      zeros_at(c, at, wanted, from, size, sofar, whole, some, negative);
      return;
    }
    c.lowest[at] = c.expected[at] = c.highest[at] = sofar + whole;
    for (std::size_t i = at + 1; i < wanted; ++i) {
      c.lowest[i] = c.expected[i] = c.highest[i] = sofar + whole;
    }
  }

  static void zeros_at(const Capture& c, std::size_t at, std::size_t wanted, std::size_t from, std::size_t size,
                       double sofar, double whole, const std::vector<double>& some, std::size_t zero) {
    const std::size_t zeros = size - (some.size() - 1);
    // What the t smallest, or largest, of the amounts sum to.
    std::vector<double> up{0.0}, down{0.0};
    for (std::size_t i = 0; i < some.size(); ++i) up.push_back(up.back() + some[i]);
    for (std::size_t i = some.size(); i-- > 0;) down.push_back(down.back() + some[i]);
    const auto first = [zeros](const std::vector<double>& sums, std::size_t before, std::size_t t) {
      if (t <= before) return sums[t];
      if (t <= before + zeros) return sums[before];
      return sums[t - zeros + 1];
    };
    for (std::size_t i = at; i < wanted; ++i) {
      const std::size_t t = static_cast<std::size_t>(c.k[i]) - from;
      if (t == size) {
        c.lowest[i] = c.expected[i] = c.highest[i] = sofar + whole;
        continue;
      }
      c.lowest[i] = sofar + first(up, zero, t);
      c.highest[i] = sofar + first(down, some.size() - 1 - zero, t);
      c.expected[i] = sofar + whole * (static_cast<double>(t) / static_cast<double>(size));
    }
  }

  const double* score_;
  const double* amount_;
  std::size_t n_;
  const Run& run_;
  std::size_t chunk_ = 0, chunks_ = 0;
  Extent all_;
  std::vector<std::size_t> starts_;
  std::unique_ptr<Entry[]> entries_;
  std::vector<double> sums_;
};

}  // namespace

std::int64_t rank_cells(const double* score, const double* amount, std::size_t cells, std::int32_t* best,
                        std::int32_t* worst, const Capture& capture, const Run& run) {
  if (cells == 0) return 0;
  Ranking ranking(score, amount, cells, run);
  const std::int64_t levels = ranking.settle(best, worst);
  if (amount != nullptr) ranking.capture(capture);
  return levels;
}

}  // namespace rtmdx
