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
#include <memory>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/mask_parts.hpp"
#include "rtmdx/mask_rows.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx::mask {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t band_rows = 64;
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
    Pieces pieces(poll);
    for (std::int64_t r = r0; r < std::min(r0 + band_rows, mask.rows); ++r) {
      pieces(cols, [&](std::size_t a, std::size_t b) {
        ends(mask.row(r) + a, b - a, static_cast<std::uint8_t>(r - r0), first.data() + band * cols + a,
             last.data() + band * cols + a);
      });
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

// Not initialised: clearing gigabytes for a band of a wide raster would be one long step.
template <class V>
using Plain = std::unique_ptr<V[]>;

struct Scratch {
  Plain<std::uint8_t> up, down;  // vertical distance to the nearest feature above and below, saturated
  std::vector<std::uint16_t> g16;
  std::vector<double> g64;
  Plain<std::int32_t> row_above, row_below;  // exact, per row of the band, made only where needed
  std::vector<double> far_g2, far_d2;
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
  void row(std::int64_t r, std::int64_t r0, Scratch& s, Pieces& pieces, Poll& poll) const;
  bool search_block(std::int64_t r, std::int64_t c0, std::int64_t from, std::int64_t to, const Scratch& s) const;
  void finish_run(std::int64_t r, std::int64_t r0, std::int64_t a, std::int64_t b, Scratch& s, Poll& poll) const;
  void exact_rows(std::int64_t r0, Scratch& s, Poll& poll) const;

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
  s.up.reset(new std::uint8_t[(n + 1) * cols_]);
  s.down.reset(new std::uint8_t[(n + 1) * cols_]);
  Pieces pieces(poll);
  const std::size_t base = static_cast<std::size_t>(r0 / band_rows) * cols_;
  pieces(cols_, [&](std::size_t from, std::size_t to) {
    for (std::size_t c = from; c < to; ++c) {  // row r0 - 1, and row r1
      const std::int64_t above = columns_.above[base + c], below = columns_.below[base + c];
      s.up[c] = static_cast<std::uint8_t>(std::min<std::int64_t>(r0 - 1 - above, far));
      s.down[n * cols_ + c] = static_cast<std::uint8_t>(std::min<std::int64_t>(below - r1, far));
    }
  });
  const auto walk = [&](std::size_t i, std::uint8_t* before, std::uint8_t* now) {
    const std::uint8_t* cells = mask.row(r0 + static_cast<std::int64_t>(i));
    pieces(cols_, [&](std::size_t a, std::size_t b) { step(cells + a, before + a, b - a, now + a); });
  };
  for (std::size_t i = 0; i < n; ++i) walk(i, s.up.get() + i * cols_, s.up.get() + (i + 1) * cols_);
  for (std::size_t i = n; i-- > 0;) walk(i, s.down.get() + (i + 1) * cols_, s.down.get() + i * cols_);
  const std::size_t padded = cols_ + 2 * nearby + block;
  if (m_.square()) {
    s.g16.assign(padded, static_cast<std::uint16_t>(far * far));
  } else {
    s.g64.assign(padded, infinity);
  }
  const std::int64_t first = std::max(r0, p_.window.row0), last = std::min(r1, p_.window.row1());
  for (std::int64_t r = first; r < last; ++r) row(r, r0, s, pieces, poll);
}

template <class T>
void Sweep<T>::row(std::int64_t r, std::int64_t r0, Scratch& s, Pieces& pieces, Poll& poll) const {
  const auto i = static_cast<std::size_t>(r - r0);
  const std::uint8_t* up = s.up.get() + (i + 1) * cols_;
  const std::uint8_t* down = s.down.get() + i * cols_;
  pieces(cols_, [&](std::size_t a, std::size_t b) {
    if (m_.square()) {
      squares(up + a, down + a, b - a, s.g16.data() + nearby + a);
    } else {
      squares(up + a, down + a, b - a, m_.wy, s.g64.data() + nearby + a);
    }
  });
  const std::int64_t c0 = p_.window.col0, c1 = p_.window.col1();
  std::int64_t open = none;  // first column of a run of blocks that the search left open
  const auto blocks = [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t c = from; c < to; c += static_cast<std::int64_t>(block)) {
      const std::int64_t end = std::min(c + static_cast<std::int64_t>(block), to);
      // The last block of a row starts early, so that it is whole.
      const std::int64_t start = std::min(c, static_cast<std::int64_t>(cols_) - static_cast<std::int64_t>(block));
      if (start >= 0 && search_block(r, start, c, end, s)) {
        if (open != none) finish_run(r, r0, open, c, s, poll);
        open = none;
      } else if (open == none) {
        open = c;
      }
    }
  };
  pieces(static_cast<std::size_t>(c1 - c0), [&](std::size_t from, std::size_t to) {
    blocks(c0 + static_cast<std::int64_t>(from), c0 + static_cast<std::int64_t>(to));
  });
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
void Sweep<T>::exact_rows(std::int64_t r0, Scratch& s, Poll& poll) const {
  const MaskView& mask = p_.mask;
  const auto n = static_cast<std::size_t>(std::min(r0 + band_rows, mask.rows) - r0);
  const std::size_t base = static_cast<std::size_t>(r0 / band_rows) * cols_;
  s.row_above.reset(new std::int32_t[n * cols_]);
  s.row_below.reset(new std::int32_t[n * cols_]);
  Pieces pieces(poll);
  const std::int32_t* before = columns_.above.data() + base;
  const auto pass = [&](std::size_t i, std::int32_t* now) {
    const std::int64_t r = r0 + static_cast<std::int64_t>(i);
    const std::uint8_t* cells = mask.row(r);
    pieces(cols_, [&](std::size_t a, std::size_t b) {
      carry(cells + a, before + a, b - a, static_cast<std::int32_t>(r), now + a);
    });
    before = now;
  };
  for (std::size_t i = 0; i < n; ++i) pass(i, s.row_above.get() + i * cols_);
  before = columns_.below.data() + base;
  for (std::size_t i = n; i-- > 0;) pass(i, s.row_below.get() + i * cols_);
  s.far_g2.resize(cols_);
  s.far_d2.resize(cols_ + leaf);
}

// Columns [a, b) of row r by divide and conquer.
template <class T>
void Sweep<T>::finish_run(std::int64_t r, std::int64_t r0, std::int64_t a, std::int64_t b, Scratch& s,
                          Poll& poll) const {
  poll();
  if (!s.row_above) exact_rows(r0, s, poll);
  const std::int32_t* above = s.row_above.get() + static_cast<std::size_t>(r - r0) * cols_;
  const std::int32_t* below = s.row_below.get() + static_cast<std::size_t>(r - r0) * cols_;
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
