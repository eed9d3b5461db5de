// Sums over runs of cells by doubling: with P_0 = v and P_(k+1)[c] = P_k[c] + P_k[c + 2^k], the sum of L cells from c
// on is put together from one P_k for every binary digit of L. Every sum is one fixed tree over its cells, wherever
// the tile begins, and all loops run along rows.
//
// A circle is a stack of chords, one run of cells per row; a square is a run of runs. Cells beyond the raster and NaN
// count as 0; how many cells are left is counted in integers, where it is not all of them.
#include "rtmdx/focal.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "rtmdx/clones.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

RTMDX_CLONES void add(double* to, const double* a, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += a[i];
}

RTMDX_CLONES void add(double* to, const double* a, const double* b, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = a[i] + b[i];
}

RTMDX_CLONES void add_difference(std::int64_t* to, const std::int64_t* more, const std::int64_t* less, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] += more[i] - less[i];
}

template <class T>
[[gnu::always_inline]] inline void load_numbers(double* to, const T* from, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double v = static_cast<double>(from[i]);
    to[i] = v == v ? v : 0.0;
  }
}

RTMDX_CLONES void numbers(double* to, const float* from, std::size_t n) { load_numbers(to, from, n); }
RTMDX_CLONES void numbers(double* to, const double* from, std::size_t n) { load_numbers(to, from, n); }

RTMDX_CLONES void quotients(float* to, const double* sums, double by, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<float>(sums[i] / by);
}

RTMDX_CLONES void quotients(double* to, const double* sums, double by, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = sums[i] / by;
}

// The pieces of the table that make up a run of cells, longest first.
struct Pieces {
  const double* from[64];
  int count = 0;
};

// Adds the sums of K pieces to one row or to two; the sum is one expression, whichever it goes to.
template <int K>
[[gnu::always_inline]] inline void add_sums(double* __restrict__ a, double* __restrict__ b, const Pieces& pieces,
                                            std::size_t n) {
  const double* p[K];
  for (int k = 0; k < K; ++k) p[k] = pieces.from[k];
  if (b == nullptr) {
    for (std::size_t i = 0; i < n; ++i) {
      double v = p[0][i];
      for (int k = 1; k < K; ++k) v += p[k][i];
      a[i] += v;
    }
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    double v = p[0][i];
    for (int k = 1; k < K; ++k) v += p[k][i];
    a[i] += v;
    b[i] += v;
  }
}

RTMDX_CLONES void add_few(double* a, double* b, const Pieces& pieces, std::size_t n) {
  switch (pieces.count) {
    case 1:
      return add_sums<1>(a, b, pieces, n);
    case 2:
      return add_sums<2>(a, b, pieces, n);
    case 3:
      return add_sums<3>(a, b, pieces, n);
    case 4:
      return add_sums<4>(a, b, pieces, n);
    case 5:
      return add_sums<5>(a, b, pieces, n);
    default:
      return add_sums<6>(a, b, pieces, n);
  }
}

constexpr int few = 6;

// Rows of the neighbourhood whose chords have one length: offsets -up .. -down and down .. up.
struct Chords {
  std::int64_t half;      // columns to either side
  std::int64_t low, high;  // |row offset| in [low, high]
};

struct Shape {
  std::vector<Chords> chords;  // offsets rise
  std::int64_t up = 0;         // largest row offset
  std::int64_t side = 0;       // largest column offset

  std::int64_t cells() const {
    std::int64_t n = 0;
    for (const Chords& c : chords) {
      n += (2 * c.half + 1) * (2 * (c.high - c.low + 1) - (c.low == 0 ? 1 : 0));
    }
    return n;
  }
};

// Neighbourhoods end where the raster must have ended: at most rows - 1 and cols - 1 cells away.
Shape shape_of(const Grid& grid, double radius, Neighbourhood kind) {
  const double r = radius * (1.0 + 1e-9);  // a centre at the radius counts, whichever way its distance rounds
  const auto cells = [](double length, double size, std::int64_t most) {
    const double n = std::floor(length / size);
    return n >= static_cast<double>(most) ? most : static_cast<std::int64_t>(n);
  };
  Shape s;
  const std::int64_t rows = std::max<std::int64_t>(grid.rows - 1, 0), cols = std::max<std::int64_t>(grid.cols - 1, 0);
  s.up = cells(r, grid.dy, rows);
  s.side = cells(r, grid.dx, cols);
  if (kind == Neighbourhood::square) {
    s.chords.push_back({s.side, 0, s.up});
    return s;
  }
  for (std::int64_t j = 0; j <= s.up; ++j) {
    const double y = static_cast<double>(j) * grid.dy / r;
    const double width = r * std::sqrt(std::max(0.0, (1.0 - y) * (1.0 + y)));
    const std::int64_t half = cells(width, grid.dx, cols);
    if (s.chords.empty() || s.chords.back().half != half) s.chords.push_back({half, j, j});
    s.chords.back().high = j;
  }
  return s;
}

// Cells [r0, r1) x [c0, c1) of the window, and the rows their neighbourhoods reach.
struct Tile {
  std::int64_t r0, r1, c0, c1;
  std::int64_t top, bottom;
};

template <class T, class U>
class Focal {
 public:
  Focal(RasterView<const T> values, const Grid& grid, const Window& window, const Shape& shape, bool square, bool mean,
        RasterView<U> out)
      : values_(values), grid_(grid), window_(window), shape_(shape), square_(square), mean_(mean), out_(out) {
    std::int64_t longest = 2 * shape.side + 1;
    if (square) longest = std::max(longest, 2 * shape.up + 1);
    while ((std::int64_t{1} << levels_) <= longest) ++levels_;
    while (side_ < 1024 && side_ < 4 * std::max(shape.side, shape.up)) side_ *= 2;
  }

  std::size_t tiles() const { return static_cast<std::size_t>(down() * across()); }

  void tile(std::size_t block, Poll& poll) const {
    const std::int64_t tr = static_cast<std::int64_t>(block) / across(), tc = static_cast<std::int64_t>(block) % across();
    Tile t{};
    t.r0 = window_.row0 + tr * side_;
    t.r1 = std::min(t.r0 + side_, window_.row1());
    t.c0 = window_.col0 + tc * side_;
    t.c1 = std::min(t.c0 + side_, window_.col1());
    t.top = std::max<std::int64_t>(t.r0 - shape_.up, 0);
    t.bottom = std::min(t.r1 + shape_.up, grid_.rows);
    const auto cells = static_cast<std::size_t>((t.r1 - t.r0) * (t.c1 - t.c0));
    std::vector<double> sums(cells, 0.0);
    if (square_) {
      add_square(t, sums, poll);
    } else {
      add_circle(t, sums, poll);
    }
    std::vector<std::int64_t> counts;
    const bool gaps = has_nan(t);
    const bool inner = t.r0 >= shape_.up && t.r1 + shape_.up <= grid_.rows && t.c0 >= shape_.side &&
                       t.c1 + shape_.side <= grid_.cols;
    if (gaps || (mean_ && !inner)) {
      counts.assign(cells, 0);
      count(t, counts, poll);
    }
    write(t, sums, counts);
  }

 private:
  std::int64_t down() const { return (window_.nrows + side_ - 1) / side_; }
  std::int64_t across() const { return (window_.ncols + side_ - 1) / side_; }
  std::size_t wide(const Tile& t) const { return static_cast<std::size_t>(t.c1 - t.c0 + 2 * shape_.side); }

  // The row's values from column c0 - side on, 0 for what is not there, as level 0 of the table.
  void load(const Tile& t, std::int64_t row, double* to) const {
    const std::int64_t first = t.c0 - shape_.side, last = t.c1 + shape_.side;
    const std::int64_t c0 = std::max<std::int64_t>(first, 0), c1 = std::min(last, grid_.cols);
    std::fill_n(to, c0 - first, 0.0);
    numbers(to + (c0 - first), values_.row(row) + c0, static_cast<std::size_t>(c1 - c0));
    std::fill_n(to + (c1 - first), last - c1, 0.0);
  }

  // Levels 1 .. of the table: level k holds sums of 2^k cells.
  void doubled(double* table, std::size_t n, std::size_t stride) const {
    for (std::size_t k = 0; k + 1 < levels_; ++k) {
      const std::size_t step = std::size_t{1} << k;
      if (n < 2 * step) break;
      add(table + (k + 1) * stride, table + k * stride, table + k * stride + step, n - 2 * step + 1);
    }
  }

  // The pieces whose sum at i is that of `length` cells from `first` + i on.
  Pieces pieces_of(const double* table, std::size_t stride, std::size_t first, std::size_t length) const {
    Pieces out;
    for (std::size_t k = levels_; k-- > 0;) {
      const std::size_t step = std::size_t{1} << k;
      if ((length & step) == 0) continue;
      out.from[out.count++] = table + k * stride + first;
      first += step;
    }
    return out;
  }

  static void sum_of(const Pieces& pieces, std::size_t n, double* to) {
    std::copy_n(pieces.from[0], n, to);
    for (int k = 1; k < pieces.count; ++k) add(to, pieces.from[k], n);
  }

  void add_circle(const Tile& t, std::vector<double>& sums, Poll& poll) const {
    const auto n = static_cast<std::size_t>(t.c1 - t.c0);
    const std::size_t stride = wide(t);
    std::vector<double> table(levels_ * stride), chord(n);
    for (std::int64_t row = t.top; row < t.bottom; ++row) {
      load(t, row, table.data());
      doubled(table.data(), stride, stride);
      for (const Chords& c : shape_.chords) {
        poll();
        // The rows this one is `low` to `high` away from.
        const std::int64_t above0 = std::max(row - c.high, t.r0), above1 = std::min(row - c.low, t.r1 - 1);
        const std::int64_t below0 = std::max(row + std::max<std::int64_t>(c.low, 1), t.r0);
        const std::int64_t below1 = std::min(row + c.high, t.r1 - 1);
        if (above0 > above1 && below0 > below1) continue;
        Pieces pieces = pieces_of(table.data(), stride, static_cast<std::size_t>(shape_.side - c.half),
                                  static_cast<std::size_t>(2 * c.half + 1));
        if (pieces.count > few || above1 - above0 > 0 || below1 - below0 > 0) {  // many pieces or many rows: sum once
          sum_of(pieces, n, chord.data());
          pieces.from[0] = chord.data();
          pieces.count = 1;
        }
        std::int64_t above = above0, below = below0;
        for (; above <= above1 && below <= below1; ++above, ++below) {
          add_few(line(sums, t, above), line(sums, t, below), pieces, n);
        }
        for (; above <= above1; ++above) add_few(line(sums, t, above), nullptr, pieces, n);
        for (; below <= below1; ++below) add_few(line(sums, t, below), nullptr, pieces, n);
      }
    }
  }

  void add_square(const Tile& t, std::vector<double>& sums, Poll& poll) const {
    const auto n = static_cast<std::size_t>(t.c1 - t.c0);
    const std::size_t stride = wide(t);
    // Row sums of all rows within reach, rows beyond the raster as 0; then the same doubling down the columns.
    const auto tall = static_cast<std::size_t>(t.r1 - t.r0 + 2 * shape_.up);
    std::vector<double> table(levels_ * stride), column(tall * n, 0.0);
    const std::int64_t first = t.r0 - shape_.up;
    for (std::int64_t row = t.top; row < t.bottom; ++row) {
      poll();
      load(t, row, table.data());
      doubled(table.data(), stride, stride);
      sum_of(pieces_of(table.data(), stride, 0, static_cast<std::size_t>(2 * shape_.side + 1)), n,
             column.data() + static_cast<std::size_t>(row - first) * n);
    }
    const auto rows = static_cast<std::size_t>(t.r1 - t.r0);
    const auto length = static_cast<std::size_t>(2 * shape_.up + 1);
    std::size_t at = 0;  // rows that the digits so far have taken: lowest digit first, so that levels can be overwritten
    for (std::size_t k = 0; (std::size_t{1} << k) <= length; ++k) {
      poll();
      const std::size_t step = std::size_t{1} << k;
      if ((length & step) != 0) {
        add(sums.data(), column.data() + at * n, rows * n);
        at += step;
      }
      if (2 * step > length) break;
      for (std::size_t r = 0; r + 2 * step <= tall; ++r) {
        poll();
        add(column.data() + r * n, column.data() + (r + step) * n, n);
      }
    }
  }

  bool has_nan(const Tile& t) const {
    const std::int64_t c0 = std::max<std::int64_t>(t.c0 - shape_.side, 0);
    const std::int64_t c1 = std::min(t.c1 + shape_.side, grid_.cols);
    for (std::int64_t row = t.top; row < t.bottom; ++row) {
      const T* from = values_.row(row);
      int found = 0;
      for (std::int64_t c = c0; c < c1; ++c) found |= from[c] != from[c] ? 1 : 0;
      if (found != 0) return true;
    }
    return false;
  }

  // Integers don't drift: counts are differences of running counts.
  void count(const Tile& t, std::vector<std::int64_t>& counts, Poll& poll) const {
    const auto n = static_cast<std::size_t>(t.c1 - t.c0);
    const std::int64_t first = t.c0 - shape_.side;
    const std::size_t stride = wide(t);
    std::vector<std::int64_t> running(stride + 1);
    const auto running_of = [&](std::int64_t row) {
      const T* from = values_.row(row);
      running[0] = 0;
      for (std::size_t i = 0; i < stride; ++i) {
        const std::int64_t c = first + static_cast<std::int64_t>(i);
        running[i + 1] = running[i] + (c >= 0 && c < grid_.cols && from[c] == from[c] ? 1 : 0);
      }
    };
    if (square_) {
      const std::vector<std::int64_t> zero(n, 0);
      std::vector<std::int64_t> total(static_cast<std::size_t>(t.bottom - t.top + 1) * n, 0);  // down the columns
      for (std::int64_t row = t.top; row < t.bottom; ++row) {
        poll();
        running_of(row);
        std::int64_t* to = total.data() + static_cast<std::size_t>(row - t.top + 1) * n;
        std::copy_n(to - n, n, to);
        add_difference(to, running.data() + 2 * shape_.side + 1, running.data(), n);
      }
      for (std::int64_t r = t.r0; r < t.r1; ++r) {
        const std::int64_t top = std::max(r - shape_.up, t.top), bottom = std::min(r + shape_.up + 1, t.bottom);
        add_difference(line(counts, t, r), total.data() + static_cast<std::size_t>(bottom - t.top) * n,
                       total.data() + static_cast<std::size_t>(top - t.top) * n, n);
      }
      return;
    }
    for (std::int64_t row = t.top; row < t.bottom; ++row) {
      running_of(row);
      for (const Chords& c : shape_.chords) {
        poll();
        const std::int64_t* more = running.data() + shape_.side + c.half + 1;
        const std::int64_t* less = running.data() + shape_.side - c.half;
        for (std::int64_t r = std::max(row - c.high, t.r0); r <= std::min(row - c.low, t.r1 - 1); ++r) {
          add_difference(line(counts, t, r), more, less, n);
        }
        for (std::int64_t r = std::max(row + std::max<std::int64_t>(c.low, 1), t.r0);
             r <= std::min(row + c.high, t.r1 - 1); ++r) {
          add_difference(line(counts, t, r), more, less, n);
        }
      }
    }
  }

  void write(const Tile& t, const std::vector<double>& sums, const std::vector<std::int64_t>& counts) const {
    const auto n = static_cast<std::size_t>(t.c1 - t.c0);
    for (std::int64_t r = t.r0; r < t.r1; ++r) {
      const std::size_t at = static_cast<std::size_t>(r - t.r0) * n;
      U* to = out_.row(r - window_.row0) + (t.c0 - window_.col0);
      if (counts.empty()) {  // all of the neighbourhood counts
        quotients(to, sums.data() + at, mean_ ? static_cast<double>(shape_.cells()) : 1.0, n);
        continue;
      }
      for (std::size_t i = 0; i < n; ++i) {
        const std::int64_t count = counts[at + i];
        const double v = mean_ ? sums[at + i] / static_cast<double>(count) : sums[at + i];
        to[i] = static_cast<U>(count == 0 ? std::numeric_limits<double>::quiet_NaN() : v);
      }
    }
  }

  template <class V>
  static V* line(std::vector<V>& of, const Tile& t, std::int64_t row) {
    return of.data() + static_cast<std::size_t>((row - t.r0) * (t.c1 - t.c0));
  }

  RasterView<const T> values_;
  Grid grid_;
  Window window_;
  const Shape& shape_;
  bool square_, mean_;
  RasterView<U> out_;
  std::size_t levels_ = 1;
  std::int64_t side_ = 128;
};

}  // namespace

template <class T, class U>
void focal(RasterView<const T> values, const Grid& grid, const Window& window, double radius, Neighbourhood shape,
           FocalStatistic statistic, const Run& run, RasterView<U> out) {
  check(grid, window);
  if (!(radius >= 0.0) || !std::isfinite(radius)) {
    throw InvalidArgument("radius is " + std::to_string(radius) + "; it must be a length of 0 or more");
  }
  if (values.rows() != grid.rows || values.cols() != grid.cols) {
    throw InvalidArgument("raster of " + std::to_string(values.rows()) + " x " + std::to_string(values.cols()) +
                          " cells, expected the grid's " + std::to_string(grid.rows) + " x " +
                          std::to_string(grid.cols));
  }
  if (window.empty()) return;
  try {
    const Shape cells = shape_of(grid, radius, shape);
    const Focal<T, U> work(values, grid, window, cells, shape == Neighbourhood::square,
                           statistic == FocalStatistic::mean, out);
    parallel_for(work.tiles(), run, [&](std::size_t block, Poll& poll) { work.tile(block, poll); }, Loop::main);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the neighbourhoods of " + std::to_string(window.nrows) + " x " +
                      std::to_string(window.ncols) + " cells");
  }
}

#define RTMDX_FOCAL(T, U)                                                                                       \
  template void focal<T, U>(RasterView<const T>, const Grid&, const Window&, double, Neighbourhood,             \
                            FocalStatistic, const Run&, RasterView<U>);
RTMDX_FOCAL(float, float)
RTMDX_FOCAL(float, double)
RTMDX_FOCAL(double, float)
RTMDX_FOCAL(double, double)
#undef RTMDX_FOCAL

}  // namespace rtmdx
