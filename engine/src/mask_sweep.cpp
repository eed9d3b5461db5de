// Distance to many feature cells: along columns first, then along rows.
//
// With g[k] the vertical distance from (r, k) to the nearest feature of column k, d2 of (r, c) is the minimum over k of
// (c - k)^2 wx + g[k]^2 wy. Columns are scanned in bands of rows that carry the nearest feature above and below in.
// Along a row, blocks of columns try k at growing distance until no further one can win; that is short where features
// are dense. What stays open after `nearby` columns is finished by divide and conquer: the parabolas all have one
// shape, so the winner's column never falls from left to right, and the winner of a run's middle column splits the
// candidates between the halves. O(columns log columns) for a row, whatever the mask.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/mask_parts.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx::mask {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t band_rows = 64;
constexpr std::size_t block = 64;    // columns that share a search
constexpr std::size_t nearby = 48;   // columns either way that the search tries
constexpr std::uint8_t far = 250;    // vertical distances saturate here: far^2 + nearby^2 < 2^16
constexpr std::int32_t longest = 1 << 29;  // more rows than any mask here has
constexpr std::int32_t no_row_above = -longest, no_row_below = 2 * longest - 1;
constexpr std::int64_t none = -1;

// For every column of a band: the first and the last row with a feature, `band_rows` for none.
RTMDX_CLONES void ends(const std::uint8_t* row, std::size_t n, std::uint8_t at, std::uint8_t* first, std::uint8_t* last) {
  for (std::size_t c = 0; c < n; ++c) {
    const std::uint8_t here = row[c] != 0 ? at : static_cast<std::uint8_t>(band_rows);
    first[c] = here < first[c] ? here : first[c];
    last[c] = row[c] != 0 ? at : last[c];
  }
}

// The nearest row with a feature, at or before this one.
RTMDX_CLONES void carry(const std::uint8_t* row, const std::int32_t* before, std::size_t n, std::int32_t at,
                        std::int32_t* now) {
  for (std::size_t c = 0; c < n; ++c) now[c] = row[c] != 0 ? at : before[c];
}

// The same over a whole band whose first row is r0.
RTMDX_CLONES void carry_band(const std::uint8_t* offset, const std::int32_t* before, std::size_t n, std::int32_t r0,
                             std::int32_t* now) {
  for (std::size_t c = 0; c < n; ++c) {
    const std::int32_t at = r0 + offset[c];
    now[c] = offset[c] < band_rows ? at : before[c];
  }
}

// g2[c] = wy * (vertical distance)^2, +inf for a column without features.
RTMDX_CLONES void vertical(const std::int32_t* above, const std::int32_t* below, std::size_t n, std::int32_t at, double wy,
                           double* g2) {
  for (std::size_t c = 0; c < n; ++c) {
    const std::int32_t u = at - above[c], d = below[c] - at;
    const std::int32_t least = u < d ? u : d;
    const double g = least;
    g2[c] = (g * g) * wy;
  }
  const double none2 = (static_cast<double>(longest) * static_cast<double>(longest)) * wy;
  for (std::size_t c = 0; c < n; ++c) g2[c] = g2[c] >= none2 ? infinity : g2[c];
}

// The vertical distance of the next row, down or up.
RTMDX_CLONES void step(const std::uint8_t* row, const std::uint8_t* before, std::size_t n, std::uint8_t* now) {
  for (std::size_t c = 0; c < n; ++c) {
    const auto next = static_cast<std::uint8_t>(before[c] < far ? before[c] + 1 : far);
    now[c] = row[c] != 0 ? std::uint8_t{0} : next;
  }
}

RTMDX_CLONES void squares(const std::uint8_t* up, const std::uint8_t* down, std::size_t n, std::uint16_t* g2) {
  for (std::size_t c = 0; c < n; ++c) {
    const std::uint16_t g = up[c] < down[c] ? up[c] : down[c];
    g2[c] = static_cast<std::uint16_t>(g * g);
  }
}

RTMDX_CLONES void squares(const std::uint8_t* up, const std::uint8_t* down, std::size_t n, double wy, double* g2) {
  for (std::size_t c = 0; c < n; ++c) {
    const double g = up[c] < down[c] ? up[c] : down[c];
    g2[c] = (g * g) * wy;
  }
}

// best[i] = min over |k| < nearby of k^2 + g2[i + k]; stops once no k further off can change a cell, that is when the
// largest best is at most `settled`. Returns whether it got there.
RTMDX_CLONES bool search(const std::uint16_t* g2, std::uint16_t* best) {
  std::memcpy(best, g2, block * sizeof *best);
  for (std::size_t k = 1; k <= nearby; k += 4) {
    std::uint16_t most = 0;
    for (std::size_t i = 0; i < block; ++i) {
      std::uint16_t b = best[i];
      for (std::size_t j = 0; j < 4; ++j) {
        const std::uint16_t left = *(g2 + i - k - j), right = *(g2 + i + k + j);
        const auto v = static_cast<std::uint16_t>((left < right ? left : right) + (k + j) * (k + j));
        b = v < b ? v : b;
      }
      best[i] = b;
      most = b > most ? b : most;
    }
    if (most <= (k + 4) * (k + 4)) return true;
  }
  return false;
}

RTMDX_CLONES bool search(const double* g2, double wx, double known, double* best) {
  std::memcpy(best, g2, block * sizeof *best);
  for (std::size_t k = 1; k <= nearby; k += 4) {
    double most[8] = {};
    const auto k0 = static_cast<double>(k);
    const double w0 = (k0 * k0) * wx, w1 = ((k0 + 1) * (k0 + 1)) * wx, w2 = ((k0 + 2) * (k0 + 2)) * wx,
                 w3 = ((k0 + 3) * (k0 + 3)) * wx;
    const double* l = g2 - k;
    const double* r = g2 + k;
    for (std::size_t i = 0; i < block; i += 8) {
      for (std::size_t m = 0; m < 8; ++m) {
        const std::size_t c = i + m;
        const double a0 = (l[c] < r[c] ? l[c] : r[c]) + w0;
        const double a1 = (*(l + c - 1) < r[c + 1] ? *(l + c - 1) : r[c + 1]) + w1;
        const double a2 = (*(l + c - 2) < r[c + 2] ? *(l + c - 2) : r[c + 2]) + w2;
        const double a3 = (*(l + c - 3) < r[c + 3] ? *(l + c - 3) : r[c + 3]) + w3;
        const double a = a0 < a1 ? a0 : a1, b = a2 < a3 ? a2 : a3;
        const double v = a < b ? a : b;
        best[c] = v < best[c] ? v : best[c];
        most[m] = best[c] > most[m] ? best[c] : most[m];
      }
    }
    const double largest = *std::max_element(most, most + 8);
    const double next = ((k0 + 4) * (k0 + 4)) * wx;
    if (largest <= next && largest < known) return true;
  }
  return false;
}

constexpr std::size_t chunk = 32;

// v[i] = (at - (x + i))^2 wx + g2[i]; returns the first index of the smallest.
RTMDX_CLONES std::size_t winner(const double* g2, std::size_t n, double at_minus_x, double wx, double* value) {
  double least = infinity;
  std::size_t where = 0;
  for (std::size_t i = 0; i < n; i += chunk) {
    double v[chunk];
    const std::size_t m = n - i < chunk ? n - i : chunk;
    if (m == chunk) {
      for (std::size_t j = 0; j < chunk; ++j) {
        const double e = at_minus_x - static_cast<double>(static_cast<int>(i + j));
        v[j] = (e * e) * wx + g2[i + j];
      }
    } else {
      for (std::size_t j = 0; j < chunk; ++j) v[j] = infinity;
      for (std::size_t j = 0; j < m; ++j) {
        const double e = at_minus_x - static_cast<double>(static_cast<int>(i + j));
        v[j] = (e * e) * wx + g2[i + j];
      }
    }
    double best[8];
    for (std::size_t j = 0; j < 8; ++j) best[j] = v[j];
    for (std::size_t j = 8; j < chunk; j += 8) {
      for (std::size_t k = 0; k < 8; ++k) best[k] = v[j + k] < best[k] ? v[j + k] : best[k];
    }
    double b = best[0];
    for (std::size_t k = 1; k < 8; ++k) b = best[k] < b ? best[k] : b;
    if (b < least) {
      least = b;
      for (std::size_t j = 0; j < chunk; ++j) {
        if (v[j] == b) {
          where = i + j;
          break;
        }
      }
    }
  }
  *value = least;
  return where;
}

constexpr std::size_t leaf = 8;

// best[i] = min over the candidates of (x + i - candidate)^2 wx + g2[candidate]
RTMDX_CLONES void all_pairs(const double* g2, std::size_t n, double x_minus_first, double wx, double* best) {
  double b[leaf];
  for (double& v : b) v = infinity;
  for (std::size_t j = 0; j < n; ++j) {
    const double x = x_minus_first - static_cast<double>(static_cast<int>(j));
    for (std::size_t i = 0; i < leaf; ++i) {
      const double e = x + static_cast<double>(i);
      const double v = (e * e) * wx + g2[j];
      b[i] = v < b[i] ? v : b[i];
    }
  }
  std::memcpy(best, b, sizeof b);
}

struct Row {
  const double* g2;  // of every column, +inf for an empty one
  double wx;
  bool ordered;  // winners never fall from left to right, rounding and all
  double* d2;    // d2[c], with room for `leaf` values past the end
};

// d2 of columns [a, b), with candidates [low, high].
void conquer(const Row& row, std::int64_t a, std::int64_t b, std::int64_t low, std::int64_t high, Poll& poll) {
  while (b - a > static_cast<std::int64_t>(leaf)) {
    const std::int64_t middle = a + (b - a) / 2;
    const auto n = static_cast<std::size_t>(high - low + 1);
    if (n * static_cast<std::size_t>(b - a) > 100000) poll();
    const std::int64_t split =
        low + static_cast<std::int64_t>(
                  winner(row.g2 + low, n, static_cast<double>(middle - low), row.wx, row.d2 + middle));
    if (row.ordered) {
      conquer(row, a, middle, low, split, poll);
      low = split;
    } else {
      conquer(row, a, middle, low, high, poll);
    }
    a = middle + 1;
  }
  double best[leaf];
  all_pairs(row.g2 + low, static_cast<std::size_t>(high - low + 1), static_cast<double>(a - low), row.wx, best);
  std::copy_n(best, b - a, row.d2 + a);
}

// For every band and column: the nearest row with a feature above the band and below it, or none.
struct Columns {
  std::vector<std::int32_t> above, below;
};

Columns scan_columns(const MaskView& mask, const Run& run) {
  const auto bands = static_cast<std::size_t>((mask.rows + band_rows - 1) / band_rows);
  const auto cols = static_cast<std::size_t>(mask.cols);
  std::vector<std::uint8_t> first(bands * cols, static_cast<std::uint8_t>(band_rows));
  std::vector<std::uint8_t> last(bands * cols, static_cast<std::uint8_t>(band_rows));
  parallel_for(bands, run, [&](std::size_t band, Poll& poll) {
    const std::int64_t r0 = static_cast<std::int64_t>(band) * band_rows;
    for (std::int64_t r = r0; r < std::min(r0 + band_rows, mask.rows); ++r) {
      if (cols > 100000) poll();
      ends(mask.row(r), cols, static_cast<std::uint8_t>(r - r0), first.data() + band * cols, last.data() + band * cols);
    }
  });
  Columns columns;
  columns.above.assign(bands * cols, no_row_above);
  columns.below.assign(bands * cols, no_row_below);
  constexpr std::size_t strip = 4096;
  parallel_for((cols + strip - 1) / strip, run, [&](std::size_t s, Poll& poll) {
    const std::size_t c0 = s * strip, c1 = std::min(c0 + strip, cols);
    const auto pass = [&](std::vector<std::int32_t>& nearest, const std::vector<std::uint8_t>& offset, std::size_t from,
                          std::size_t to) {
      carry_band(offset.data() + from * cols + c0, nearest.data() + from * cols + c0, c1 - c0,
                 static_cast<std::int32_t>(from) * static_cast<std::int32_t>(band_rows), nearest.data() + to * cols + c0);
    };
    for (std::size_t b = 1; b < bands; ++b) {
      if ((b & 63U) == 0) poll();
      pass(columns.above, last, b - 1, b);
    }
    for (std::size_t b = bands - 1; b > 0; --b) {
      if ((b & 63U) == 0) poll();
      pass(columns.below, first, b, b - 1);
    }
  });
  return columns;
}

struct Scratch {
  std::vector<std::uint8_t> up, down;  // vertical distance to the nearest feature above and below, saturated
  std::vector<std::uint16_t> g16;
  std::vector<double> g64;
  std::vector<std::int32_t> row_above, row_below;  // exact, per row of the band, made only where needed
  std::vector<double> far_g2, far_d2;
  bool exact_rows = false;
};

template <class T>
class Sweep {
 public:
  Sweep(const Problem<T>& p, const Columns& columns)
      : p_(p), m_(p.metric), columns_(columns), cols_(static_cast<std::size_t>(p.mask.cols)) {
    const double ratio = std::sqrt(m_.wy / m_.wx);
    const auto rows = static_cast<double>(p.mask.rows);
    const auto cols = static_cast<double>(p.mask.cols);
    // The winner of the middle column beats the others' rounding as long as a column's step is above it.
    ordered_ = cols * cols + (ratio * rows) * (ratio * rows) < 1e15;
    if (m_.square()) {  // every answer of the search, ready made
      constexpr std::size_t top = (nearby + 1) * (nearby + 1) + 1;
      std::vector<float> d2(top);
      for (std::size_t i = 0; i < top; ++i) d2[i] = static_cast<float>(i);
      table_.resize(top);
      roots(d2.data(), top, m_, table_.data());
    }
  }

  void band(std::int64_t r0, Poll& poll) const;

 private:
  void row(std::int64_t r, std::int64_t r0, Scratch& s, Poll& poll) const;
  bool search_block(std::int64_t r, std::int64_t c0, std::int64_t from, std::int64_t to, const Scratch& s) const;
  void finish_run(std::int64_t r, std::int64_t r0, std::int64_t a, std::int64_t b, Scratch& s, Poll& poll) const;
  void exact_rows(std::int64_t r0, Scratch& s) const;

  const Problem<T>& p_;
  Metric m_;
  const Columns& columns_;
  std::size_t cols_;
  bool ordered_;
  std::vector<T> table_;
};

template <class T>
void Sweep<T>::band(std::int64_t r0, Poll& poll) const {
  const MaskView& mask = p_.mask;
  const std::int64_t r1 = std::min(r0 + band_rows, mask.rows);
  const auto n = static_cast<std::size_t>(r1 - r0);
  Scratch s;
  s.up.resize((n + 1) * cols_);
  s.down.resize((n + 1) * cols_);
  const std::size_t base = static_cast<std::size_t>(r0 / band_rows) * cols_;
  for (std::size_t c = 0; c < cols_; ++c) {  // row r0 - 1, and row r1
    const std::int64_t above = columns_.above[base + c], below = columns_.below[base + c];
    s.up[c] = static_cast<std::uint8_t>(std::min<std::int64_t>(r0 - 1 - above, far));
    s.down[n * cols_ + c] = static_cast<std::uint8_t>(std::min<std::int64_t>(below - r1, far));
  }
  for (std::size_t i = 0; i < n; ++i) {
    step(mask.row(r0 + static_cast<std::int64_t>(i)), s.up.data() + i * cols_, cols_, s.up.data() + (i + 1) * cols_);
  }
  for (std::size_t i = n; i-- > 0;) {
    step(mask.row(r0 + static_cast<std::int64_t>(i)), s.down.data() + (i + 1) * cols_, cols_, s.down.data() + i * cols_);
  }
  const std::size_t padded = cols_ + 2 * nearby + block;
  if (m_.square()) {
    s.g16.assign(padded, static_cast<std::uint16_t>(far * far));
  } else {
    s.g64.assign(padded, infinity);
  }
  const std::int64_t first = std::max(r0, p_.window.row0), last = std::min(r1, p_.window.row1());
  for (std::int64_t r = first; r < last; ++r) row(r, r0, s, poll);
}

template <class T>
void Sweep<T>::row(std::int64_t r, std::int64_t r0, Scratch& s, Poll& poll) const {
  const auto i = static_cast<std::size_t>(r - r0);
  const std::uint8_t* up = s.up.data() + (i + 1) * cols_;
  const std::uint8_t* down = s.down.data() + i * cols_;
  if (m_.square()) {
    squares(up, down, cols_, s.g16.data() + nearby);
  } else {
    squares(up, down, cols_, m_.wy, s.g64.data() + nearby);
  }
  const std::int64_t c0 = p_.window.col0, c1 = p_.window.col1();
  std::int64_t open = none;  // first column of a run of blocks that the search left open
  for (std::int64_t c = c0; c < c1; c += static_cast<std::int64_t>(block)) {
    const std::int64_t end = std::min(c + static_cast<std::int64_t>(block), c1);
    // The last block of a row starts early, so that it is whole.
    const std::int64_t start = std::min(c, static_cast<std::int64_t>(cols_) - static_cast<std::int64_t>(block));
    if (start >= 0 && search_block(r, start, c, end, s)) {
      if (open != none) finish_run(r, r0, open, c, s, poll);
      open = none;
    } else if (open == none) {
      open = c;
    }
  }
  if (open != none) finish_run(r, r0, open, c1, s, poll);
}

template <class T>
bool Sweep<T>::search_block(std::int64_t r, std::int64_t c0, std::int64_t from, std::int64_t to,
                            const Scratch& s) const {
  const auto n = static_cast<std::size_t>(to - from);
  T* out = p_.row(r, from);
  const auto skip = static_cast<std::size_t>(from - c0);
  if (m_.square()) {
    std::uint16_t best[block];
    if (!search(s.g16.data() + nearby + c0, best)) return false;
    for (std::size_t k = 0; k < n; ++k) out[k] = table_[best[skip + k]];
    return true;
  }
  double best[block];
  const double known = (static_cast<double>(far) * static_cast<double>(far)) * m_.wy;
  if (!search(s.g64.data() + nearby + c0, m_.wx, known, best)) return false;
  roots(best + skip, n, m_, out);
  return true;
}

template <class T>
void Sweep<T>::exact_rows(std::int64_t r0, Scratch& s) const {
  const MaskView& mask = p_.mask;
  const auto n = static_cast<std::size_t>(std::min(r0 + band_rows, mask.rows) - r0);
  const std::size_t base = static_cast<std::size_t>(r0 / band_rows) * cols_;
  s.row_above.resize(n * cols_);
  s.row_below.resize(n * cols_);
  const std::int32_t* before = columns_.above.data() + base;
  const auto pass = [&](std::size_t i, std::vector<std::int32_t>& rows) {
    const std::int64_t r = r0 + static_cast<std::int64_t>(i);
    carry(mask.row(r), before, cols_, static_cast<std::int32_t>(r), rows.data() + i * cols_);
    before = rows.data() + i * cols_;
  };
  for (std::size_t i = 0; i < n; ++i) pass(i, s.row_above);
  before = columns_.below.data() + base;
  for (std::size_t i = n; i-- > 0;) pass(i, s.row_below);
  s.far_g2.resize(cols_);
  s.far_d2.resize(cols_ + leaf);
  s.exact_rows = true;
}

// Columns [a, b) of row r by divide and conquer.
template <class T>
void Sweep<T>::finish_run(std::int64_t r, std::int64_t r0, std::int64_t a, std::int64_t b, Scratch& s,
                          Poll& poll) const {
  poll();
  if (!s.exact_rows) exact_rows(r0, s);
  const std::int32_t* above = s.row_above.data() + static_cast<std::size_t>(r - r0) * cols_;
  const std::int32_t* below = s.row_below.data() + static_cast<std::size_t>(r - r0) * cols_;
  const auto at = static_cast<std::int32_t>(r);
  const auto measure = [&](std::int64_t from, std::int64_t to) {
    vertical(above + from, below + from, static_cast<std::size_t>(to - from), at, m_.wy, s.far_g2.data() + from);
  };
  // No column further off than the run's own worst vertical distance can win.
  measure(a, b);
  const double worst = std::min(*std::max_element(s.far_g2.begin() + a, s.far_g2.begin() + b), std::max(m_.limit, 0.0));
  const double reach = std::sqrt(worst / m_.wx) * (1.0 + 1e-9) + 1.0;
  const auto cols = static_cast<std::int64_t>(cols_);
  const std::int64_t away = reach < static_cast<double>(cols) ? static_cast<std::int64_t>(reach) : cols;
  const std::int64_t low = std::max<std::int64_t>(a - away, 0), high = std::min(b + away, cols) - 1;
  measure(low, a);
  measure(b, high + 1);
  conquer({s.far_g2.data(), m_.wx, ordered_, s.far_d2.data()}, a, b, low, high, poll);
  roots(s.far_d2.data() + a, static_cast<std::size_t>(b - a), m_, p_.row(r, a));
}

}  // namespace

template <class T>
void sweep(const Problem<T>& problem, const Run& run) {
  const Columns columns = scan_columns(problem.mask, run);
  const Sweep<T> whole(problem, columns);
  const std::int64_t first = problem.window.row0 / band_rows, last = (problem.window.row1() - 1) / band_rows;
  parallel_for(static_cast<std::size_t>(last - first + 1), run, [&](std::size_t i, Poll& poll) {
    whole.band((first + static_cast<std::int64_t>(i)) * band_rows, poll);
  }, Loop::main);
}

template void sweep<float>(const Problem<float>&, const Run&);
template void sweep<double>(const Problem<double>&, const Run&);

}  // namespace rtmdx::mask
