#include "rtmdx/code_sums.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "rtmdx/clones.hpp"

namespace rtmdx {

namespace {

constexpr std::int64_t lanes = 4;
constexpr std::int64_t block_rows = 256;  // a block's predictors stay in the first-level cache

#if defined(__GNUC__)
typedef double Four __attribute__((vector_size(32)));
[[gnu::always_inline]] inline Four load4(const double* p) {
  Four v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
[[gnu::always_inline]] inline void store4(double* p, const Four& v) { std::memcpy(p, &v, sizeof v); }
#else
struct Four {
  double a[4];
};
inline Four operator+(Four x, const Four& y) {
  for (int k = 0; k < 4; ++k) x.a[k] += y.a[k];
  return x;
}
inline Four& operator+=(Four& x, const Four& y) { return x = x + y; }
inline Four load4(const double* p) {
  Four v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store4(double* p, const Four& v) { std::memcpy(p, &v, sizeof v); }
#endif

constexpr double largest_predictor = 700.0;

// exp by reduction to |r| <= log(2) / 2 and its Taylor polynomial of degree 13 (next term below 5e-18): within 1.5 units in the
// last place, and the same bits wherever it runs. Beyond +-700 it stays at its last value.
[[gnu::always_inline]] inline double exponential(double x) {
  constexpr double log2e = 1.4426950408889634074, ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number in the low bits
  x = x < -largest_predictor ? -largest_predictor : x;
  x = x > largest_predictor ? largest_predictor : x;
  const double shifted = x * log2e + magic;
  const double whole = shifted - magic;
  const double r = (x - whole * ln2_high) - whole * ln2_low;
  // By pairs (Estrin), so that the multiplications need not wait for each other.
  const double r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
  const double p01 = 1.0 + r, p23 = 0.5 + r * (1.0 / 6.0), p45 = 1.0 / 24.0 + r * (1.0 / 120.0);
  const double p67 = 1.0 / 720.0 + r * (1.0 / 5040.0), p89 = 1.0 / 40320.0 + r * (1.0 / 362880.0);
  const double pab = 1.0 / 3628800.0 + r * (1.0 / 39916800.0), pcd = 1.0 / 479001600.0 + r * (1.0 / 6227020800.0);
  const double low = (p01 + r2 * p23) + r4 * (p45 + r2 * p67), high = (p89 + r2 * pab) + r4 * pcd;
  const double p = low + r8 * high;
  std::uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 52) + 0x3ff0000000000000ull;  // 2^whole: the low bits of `shifted` hold the whole number
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

}  // namespace

RTMDX_CLONES
void lane_means(const PackedRows& rows, const double* table, const double* weight, const double* exposure, double* mean,
                double* total, double* everywhere) {
  alignas(32) double eta[block_rows * lanes];
  double sum[lanes] = {0, 0, 0, 0}, every_sum[lanes] = {0, 0, 0, 0};
  bool beyond[lanes] = {false, false, false, false};
  for (std::int64_t start = 0; start < rows.n_rows; start += block_rows) {
    const std::int64_t n = std::min(block_rows, rows.n_rows - start);
    std::memset(eta, 0, sizeof eta);
    std::int64_t w = 0;
    for (; w + 2 <= rows.n_words; w += 2) {
      const std::uint16_t* c0 = rows.words + w * rows.n_rows + start;
      const std::uint16_t* c1 = c0 + rows.n_rows;
      const double* t0 = table + lanes * rows.offsets[w];
      const double* t1 = table + lanes * rows.offsets[w + 1];
      for (std::int64_t i = 0; i < n; ++i) {
        store4(eta + lanes * i, load4(eta + lanes * i) + (load4(t0 + lanes * c0[i]) + load4(t1 + lanes * c1[i])));
      }
    }
    if (w < rows.n_words) {
      const std::uint16_t* c0 = rows.words + w * rows.n_rows + start;
      const double* t0 = table + lanes * rows.offsets[w];
      for (std::int64_t i = 0; i < n; ++i) store4(eta + lanes * i, load4(eta + lanes * i) + load4(t0 + lanes * c0[i]));
    }
    std::int64_t n_beyond = 0;  // seldom any, so that which ones is asked only then
    for (std::int64_t i = 0; i < n * lanes; ++i) n_beyond += (eta[i] < -largest_predictor) | (eta[i] > largest_predictor);
    if (n_beyond > 0) {
      for (std::int64_t i = 0; i < n * lanes; ++i) {
        if (weight[lanes * start + i] > 0.0 && std::fabs(eta[i]) > largest_predictor) beyond[i % lanes] = true;
      }
    }
    for (std::int64_t i = 0; i < n * lanes; ++i) eta[i] = exponential(eta[i]);
    double part[lanes] = {0, 0, 0, 0}, every_part[lanes] = {0, 0, 0, 0};
    const double *in = weight + lanes * start, *all = exposure + start;
    double* to = mean + lanes * start;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t f = 0; f < lanes; ++f) {
        const double m = in[lanes * i + f] * eta[lanes * i + f];
        to[lanes * i + f] = m;
        part[f] += m;
        every_part[f] += all[i] * eta[lanes * i + f];
      }
    }
    for (std::int64_t f = 0; f < lanes; ++f) {
      sum[f] += part[f];
      every_sum[f] += every_part[f];
    }
  }
  for (std::int64_t f = 0; f < lanes; ++f) {
    total[f] = beyond[f] ? std::numeric_limits<double>::infinity() : sum[f];
    everywhere[f] = every_sum[f];
  }
}

namespace {

// Add the weights of n rows, whose first is `start`, to the words' entries. Four tables at a time: one waits for its sum
// while the others add.
[[gnu::always_inline]] inline void add_rows(const PackedRows& rows, std::int64_t start, std::int64_t n,
                                            const double* weight, double* hist) {
  std::int64_t w = 0;
  for (; w + 4 <= rows.n_words; w += 4) {
    const std::uint16_t* c = rows.words + w * rows.n_rows + start;
    double* h0 = hist + lanes * rows.offsets[w];
    double* h1 = hist + lanes * rows.offsets[w + 1];
    double* h2 = hist + lanes * rows.offsets[w + 2];
    double* h3 = hist + lanes * rows.offsets[w + 3];
    for (std::int64_t i = 0; i < n; ++i) {
      const Four x = load4(weight + lanes * i);
      double* a = h0 + lanes * c[i];
      double* b = h1 + lanes * c[i + rows.n_rows];
      double* d = h2 + lanes * c[i + 2 * rows.n_rows];
      double* e = h3 + lanes * c[i + 3 * rows.n_rows];
      store4(a, load4(a) + x);
      store4(b, load4(b) + x);
      store4(d, load4(d) + x);
      store4(e, load4(e) + x);
    }
  }
  for (; w < rows.n_words; ++w) {
    const std::uint16_t* c = rows.words + w * rows.n_rows + start;
    double* h = hist + lanes * rows.offsets[w];
    for (std::int64_t i = 0; i < n; ++i) {
      double* a = h + lanes * c[i];
      store4(a, load4(a) + load4(weight + lanes * i));
    }
  }
}

}  // namespace

RTMDX_CLONES
void lane_ratios(std::int64_t n, const double* weight, double* mean) {
  for (std::int64_t i = 0; i < n; ++i) mean[i] = weight[i] > 0.0 ? mean[i] / weight[i] : 0.0;
}

RTMDX_CLONES
void lane_histogram(const PackedRows& rows, const double* weight, double* hist) {
  std::memset(hist, 0, static_cast<std::size_t>(rows.offsets[rows.n_words]) * lanes * sizeof *hist);
  add_rows(rows, 0, rows.n_rows, weight, hist);
}

namespace {

// The exposures of n rows, whose first is `start`, by lane.
template <class Amount>
[[gnu::always_inline]] inline void exposures(const LaneExposure<Amount>& of, std::int64_t start, std::int64_t n, double* out) {
  for (std::int64_t f = 0; f < lanes; ++f) {
    const double* all = of.exposure + start;
    if (of.group[f]) {
      const Amount* less = of.group[f] + start;
      for (std::int64_t i = 0; i < n; ++i) out[lanes * i + f] = of.share[f] * all[i] - static_cast<double>(less[i]);
    } else {
      for (std::int64_t i = 0; i < n; ++i) out[lanes * i + f] = of.share[f] * all[i];
    }
  }
}

template <class Amount>
[[gnu::always_inline]] inline void sum_exposures(const LaneExposure<Amount>& of, const std::int32_t* pattern,
                                                 std::int64_t n_rows, std::int64_t n_patterns, double* out,
                                                 double* whole) {
  alignas(32) double block[block_rows * lanes];
  std::memset(out, 0, static_cast<std::size_t>(n_patterns) * lanes * sizeof *out);
  std::memset(whole, 0, static_cast<std::size_t>(n_patterns) * sizeof *whole);
  for (std::int64_t start = 0; start < n_rows; start += block_rows) {
    const std::int64_t n = std::min(block_rows, n_rows - start);
    exposures(of, start, n, block);
    for (std::int64_t i = 0; i < n; ++i) {
      double* to = out + lanes * pattern[start + i];
      store4(to, load4(to) + load4(block + lanes * i));
      whole[pattern[start + i]] += of.exposure[start + i];
    }
  }
}

template <class Amount>
[[gnu::always_inline]] inline void add_products(const PackedRows& rows, const std::int32_t* pattern, const double* value,
                                                const LaneExposure<Amount>& of, double* hist) {
  alignas(32) double block[block_rows * lanes];
  std::memset(hist, 0, static_cast<std::size_t>(rows.offsets[rows.n_words]) * lanes * sizeof *hist);
  for (std::int64_t start = 0; start < rows.n_rows; start += block_rows) {
    const std::int64_t n = std::min(block_rows, rows.n_rows - start);
    exposures(of, start, n, block);
    for (std::int64_t i = 0; i < n; ++i) {
      const double* by = value + lanes * pattern[start + i];
      for (std::int64_t f = 0; f < lanes; ++f) block[lanes * i + f] *= by[f];
    }
    add_rows(rows, start, n, block, hist);
  }
}

}  // namespace

// A template cannot be cloned: one function of each width.
#define RTMDX_OF_WIDTH(Amount)                                                                                           \
  template <>                                                                                                            \
  RTMDX_CLONES void lane_exposures(const LaneExposure<Amount>& of, const std::int32_t* pattern, std::int64_t n_rows,     \
                                   std::int64_t n_patterns, double* out, double* whole) {                                \
    sum_exposures(of, pattern, n_rows, n_patterns, out, whole);                                                          \
  }                                                                                                                      \
  template <>                                                                                                            \
  RTMDX_CLONES void lane_histogram_of(const PackedRows& rows, const std::int32_t* pattern, const double* value,          \
                                      const LaneExposure<Amount>& of, double* hist) {                                    \
    add_products(rows, pattern, value, of, hist);                                                                        \
  }

RTMDX_OF_WIDTH(std::uint16_t)
RTMDX_OF_WIDTH(std::int32_t)
RTMDX_OF_WIDTH(std::int64_t)

#undef RTMDX_OF_WIDTH

namespace {

// Spread the sums by pair of entries of words a and b over the pairs of their blocks' codes.
[[gnu::always_inline]] inline void spread(const PackedRows& rows, const Unpacking& u, std::int64_t a, std::int64_t b,
                                          const double* pairs, double* line, double* joint) {
  const std::int64_t n_a = rows.offsets[a + 1] - rows.offsets[a], n_b = rows.offsets[b + 1] - rows.offsets[b];
  const std::int64_t n_codes = u.codes[rows.n_words], first = u.codes[b], count = u.codes[b + 1] - u.codes[b];
  const std::int32_t *place_a = u.place + u.start[a], *place_b = u.place + u.start[b];
  const std::int64_t width_a = u.width[a], width_b = u.width[b];
  for (std::int64_t ca = 0; ca < n_a; ++ca) {
    std::memset(line, 0, static_cast<std::size_t>(count) * lanes * sizeof *line);
    const double* row = pairs + ca * n_b * lanes;
    for (std::int64_t cb = 0; cb < n_b; ++cb) {
      const Four x = load4(row + lanes * cb);
      for (std::int64_t k = 0; k < width_b; ++k) {
        double* to = line + lanes * (place_b[cb * width_b + k] - first);
        store4(to, load4(to) + x);
      }
    }
    for (std::int64_t k = 0; k < width_a; ++k) {
      double* to = joint + lanes * (place_a[ca * width_a + k] * n_codes + first);
      for (std::int64_t c = 0; c < count; ++c) store4(to + lanes * c, load4(to + lanes * c) + load4(line + lanes * c));
    }
  }
}

}  // namespace

RTMDX_CLONES
void lane_joint(const PackedRows& rows, const Unpacking& u, const double* weight, std::int64_t a, std::int64_t largest,
                double* scratch, double* joint) {
  const std::int64_t n = rows.n_rows, n_codes = u.codes[rows.n_words];
  double *pairs = scratch, *line = scratch + largest * largest * lanes;
  const std::int64_t n_a = rows.offsets[a + 1] - rows.offsets[a];
  const std::uint16_t* word_a = rows.words + a * n;
  // The word with itself: every row lies on the diagonal.
  std::memset(pairs, 0, static_cast<std::size_t>(n_a) * lanes * sizeof *pairs);
  for (std::int64_t i = 0; i < n; ++i) {
    double* to = pairs + lanes * word_a[i];
    store4(to, load4(to) + load4(weight + lanes * i));
  }
  const std::int32_t* place = u.place + u.start[a];
  for (std::int64_t c = 0; c < n_a; ++c) {
    const Four x = load4(pairs + lanes * c);
    for (std::int64_t k = 0; k < u.width[a]; ++k) {
      for (std::int64_t l = 0; l < u.width[a]; ++l) {
        double* to = joint + lanes * (place[c * u.width[a] + k] * n_codes + place[c * u.width[a] + l]);
        store4(to, load4(to) + x);
      }
    }
  }
  for (std::int64_t b = a + 1; b < rows.n_words; ++b) {
    const std::int64_t n_b = rows.offsets[b + 1] - rows.offsets[b];
    const std::uint16_t* word_b = rows.words + b * n;
    std::memset(pairs, 0, static_cast<std::size_t>(n_a * n_b) * lanes * sizeof *pairs);
    for (std::int64_t i = 0; i < n; ++i) {
      double* to = pairs + lanes * (word_a[i] * n_b + word_b[i]);
      store4(to, load4(to) + load4(weight + lanes * i));
    }
    spread(rows, u, a, b, pairs, line, joint);
  }
}

}  // namespace rtmdx
