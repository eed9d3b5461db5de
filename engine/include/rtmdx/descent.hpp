// The descent over tiles that distance, bands and allocation share.
//
// Every task tile asks the prepared features for the candidates that can be nearest to one of its cells; a tile's
// survivors are handed to its four quarters, until few candidates or few cells are left, and those are evaluated one by
// one. A cell's value is the least of one expression over all features, whatever the tiling and the window.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "rtmdx/nearest.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/point_cells.hpp"
#include "rtmdx/prune.hpp"
#include "rtmdx/strand.hpp"

namespace rtmdx::descent {

constexpr std::int64_t leaf_cells = 8;    // side of the smallest tile
constexpr std::int64_t task_cells = 128;  // side of the tile that one thread finishes alone
constexpr std::int64_t thin_task_cells = 1024;  // the same where the window is thin
constexpr std::int64_t thin = 8;                // rows or columns, at most

// A rectangle of cells, inside its power-of-two tile of the whole grid.
struct Tile {
  std::int64_t row0, col0;  // of the aligned tile
  std::int64_t side;
  std::int64_t r0, r1, c0, c1;  // its cells inside the window

  // The k-th quarter; false if it has no cell inside the window.
  bool quarter(int k, Tile& child) const {
    const std::int64_t half = side / 2;
    child.side = half;
    child.row0 = row0 + (k / 2) * half;
    child.col0 = col0 + (k % 2) * half;
    child.r0 = std::max(r0, child.row0);
    child.r1 = std::min(r1, child.row0 + half);
    child.c0 = std::max(c0, child.col0);
    child.c1 = std::min(c1, child.col0 + half);
    return child.r0 < child.r1 && child.c0 < child.c1;
  }

  // The side of a square of about as many cells: what is worth its while in a tile depends on how many it has.
  std::int64_t extent() const {
    const std::int64_t cells = (r1 - r0) * (c1 - c0);
    std::int64_t s = side;
    while (s > leaf_cells && s * s >= 4 * cells) s /= 2;
    return s;
  }
};

// So few candidates cost less to evaluate in all cells of a tile than to prune for its quarters; points, whose terms are
// shared by rows and columns, the least.
inline std::size_t few(bool shared, std::int64_t side) {
  if (shared) return side <= 16 ? 16 : side <= 32 ? 8 : 5;
  return side <= 16 ? 8 : side <= 32 ? 5 : 3;
}

// Beyond so many candidates it is cheaper to narrow the boxes for each quarter than to prune the tile's candidates; in
// the smallest tiles, to search for each cell than to evaluate all candidates in all cells.
inline std::size_t many(bool points, std::int64_t side) {
  if (side <= leaf_cells) return points ? 1000 : 400;
  return (points ? 600 : 200) * static_cast<std::size_t>(std::max<std::int64_t>(1, side / 32));
}

// From so many candidates on it is worth looking whether they are strung along a line; and up to so many.
inline std::size_t strung(std::int64_t side) { return 5 * static_cast<std::size_t>(side); }
inline std::size_t strung_at_most(std::int64_t side) { return 2 * static_cast<std::size_t>(side * side); }

// While no more boxes are left, narrowing opens them.
inline std::size_t wide(std::int64_t side) { return static_cast<std::size_t>(std::max<std::int64_t>(side, 32)); }

// Memory of one thread, kept from task to task.
struct Scratch {
  Room room;
  std::array<Nearest::Frontier, 9> frontiers;  // the whole tree's, then narrowed for sides from 1024 to 8
  std::array<Gathered, 9> levels;              // as gathered, then pruned for sides from 1024 to 8
  Strand strand;
};

class Scratches {
 public:
  std::unique_ptr<Scratch> take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> last = std::move(free_.back());
    free_.pop_back();
    return last;
  }
  void give(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

// What is asked: cells farther than `reach` hold nothing.
struct Question {
  const Nearest& features;
  Metric metric;
  Window window;
  double reach;
  const std::vector<std::uint8_t>& inside;  // of the window's cells; empty if none is
};

enum class Enclosed { none, some, all };

// Output has
//   static constexpr bool indexed                    whether cells() wants the nearest candidate's index
//   void nothing(tile)                               every cell is beyond reach
//   void enclosed(tile)                              every cell is inside a polygon
//   bool settle(tile, seen, enclosed)                writes the tile if what pruning has seen decides it
//   void cells(row, col, n, value, index, inside)    n cells of a row, at most pairs::lanes; inside may be null
// and unless it is indexed
//   void rows(row, col, rows, cols, value, stride)       cells of a rectangle, none of them inside a polygon; behind each
//                                                        row of values are others, up to a multiple of pairs::lanes
//   void columns(row, col, rows, cols, value, stride)    the same with values by columns
template <class Output>
class Descent {
 public:
  Descent(const Question& question, const Output& out) : q_(question), out_(out) {}

  void run(const Run& how) {
    const Window& w = q_.window;
    const std::int64_t side = std::min(w.nrows, w.ncols) <= thin ? thin_task_cells : task_cells;
    const std::int64_t top = w.row0 / side, left = w.col0 / side;
    const std::int64_t down = (w.row1() - 1) / side - top + 1, across = (w.col1() - 1) / side - left + 1;
    parallel_for(static_cast<std::size_t>(down * across), how, [&](std::size_t block, Poll& poll) {
      // Down the columns: threads at work together don't meet the same fresh pages of the output.
      const std::int64_t row0 = (top + static_cast<std::int64_t>(block) % down) * side;
      const std::int64_t col0 = (left + static_cast<std::int64_t>(block) / down) * side;
      const Tile tile{row0, col0, side, std::max(row0, w.row0), std::min(row0 + side, w.row1()),
                      std::max(col0, w.col0), std::min(col0 + side, w.col1())};
      std::unique_ptr<Scratch> scratch = scratches_.take();
      q_.features.all(q_.metric, scratch->frontiers[0]);
      ask(tile, Nearest::nobody, 0, *scratch, poll);
      scratches_.give(std::move(scratch));
    }, Loop::main);
  }

 private:
  // Narrows the boxes that hold the candidates, tile by tile, until there are few candidates.
  void ask(const Tile& tile, std::size_t guess, std::size_t depth, Scratch& s, Poll& poll) {
    const Enclosed in = enclosed(tile);
    if (in == Enclosed::all) return out_.enclosed(tile);
    Nearest::Frontier& frontier = s.frontiers[depth + 1];
    const Nearest::Found found =
        q_.features.narrow(q_.metric, box(tile), q_.reach, wide(tile.extent()),
                           many(q_.features.points(), tile.extent()), guess, s.frontiers[depth], frontier);
    poll();
    if (!found.complete) {
      if (out_.settle(tile, found.seen, in)) return;
      if (tile.side > leaf_cells) {
        if (alongside(tile, frontier, s, poll)) return;
        Tile child;
        for (int k = 0; k < 4; ++k) {
          if (tile.quarter(k, child)) ask(child, found.champion, depth + 1, s, poll);
        }
        return;
      }
      if (found.search) return search(tile, found.champion, frontier, poll);
    }
    Gathered& asked = s.levels[0];
    q_.features.gather(frontier, Output::indexed, asked);
    Gathered& level = s.levels[1];
    const Seen seen = prune(q_.metric, box(tile), q_.reach, q_.features.slack(), asked.view(q_.features.points()),
                            q_.features.arrays(Output::indexed), few(shared(), tile.extent()), s.room, level);
    finish(tile, level.view(q_.features.points()), seen, in, 2, s, poll);
  }

  // As below, for candidates that are still in their boxes.
  bool alongside(const Tile& tile, const Nearest::Frontier& frontier, Scratch& s, Poll& poll) {
    if (q_.metric != Metric::euclidean || tile.side > task_cells ||
        q_.features.count(frontier) > strung_at_most(tile.side)) {
      return false;
    }
    q_.features.gather(frontier, Output::indexed, s.levels[0]);
    Gathered& level = s.levels[1];
    prune(q_.metric, box(tile), q_.reach, q_.features.slack(), s.levels[0].view(q_.features.points()),
          q_.features.arrays(Output::indexed), few(shared(), tile.extent()), s.room, level);
    return alongside(tile, level.view(q_.features.points()), s, poll);
  }

  // A tile beside one line of many candidates.
  bool alongside(const Tile& tile, const pairs::Candidates& candidates, Scratch& s, Poll& poll) {
    if (q_.metric != Metric::euclidean || tile.side > task_cells || candidates.size < strung(tile.side) ||
        candidates.size > strung_at_most(tile.side) ||
        !s.strand.lay(candidates, Output::indexed, box(tile), q_.features.scale())) {
      return false;
    }
    static_assert(Strand::longest_row == task_cells);
    constexpr auto wide = static_cast<std::int64_t>(pairs::lanes);
    const Grid& grid = q_.features.grid();
    double x[task_cells], value[task_cells + pairs::lanes] = {}, index[task_cells + pairs::lanes] = {};
    const std::int64_t cols = tile.c1 - tile.c0;
    for (std::int64_t k = 0; k < cols; ++k) x[k] = grid.centre_x(tile.c0 + k);
    for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
      poll();
      s.strand.row(x, static_cast<std::size_t>(cols), grid.centre_y(r), value, Output::indexed ? index : nullptr);
      const std::uint8_t* in = q_.inside.empty() ? nullptr : inside_row(r) + tile.c0;
      for (std::int64_t k = 0; k < cols; k += wide) {
        out_.cells(r, tile.c0 + k, std::min(wide, cols - k), value + k, index + k, in == nullptr ? in : in + k);
      }
    }
    return true;
  }

  // A smallest tile with many candidates.
  void search(const Tile& tile, std::size_t champion, Nearest::Frontier& frontier, Poll& poll) {
    const Grid& grid = q_.features.grid();
    double x[leaf_cells], value[pairs::lanes] = {}, index[pairs::lanes] = {};
    const std::int64_t cols = tile.c1 - tile.c0;
    std::size_t champions[leaf_cells];
    std::fill_n(champions, leaf_cells, champion);
    for (std::int64_t k = 0; k < cols; ++k) x[k] = grid.centre_x(tile.c0 + k);
    for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
      poll();
      q_.features.search(q_.metric, frontier, x, static_cast<std::size_t>(cols), grid.centre_y(r), champions, value,
                         Output::indexed ? index : nullptr);
      const std::uint8_t* in = q_.inside.empty() ? nullptr : inside_row(r) + tile.c0;
      out_.cells(r, tile.c0, cols, value, index, in);
    }
  }

  void finish(const Tile& tile, const pairs::Candidates& candidates, const Seen& seen, Enclosed in, std::size_t depth,
              Scratch& s, Poll& poll) {
    if (candidates.size == 0 && in == Enclosed::none) return out_.nothing(tile);
    if (out_.settle(tile, seen, in)) return;
    if (candidates.size <= few(shared(), tile.extent())) return evaluate(tile, candidates, poll);
    if (alongside(tile, candidates, s, poll)) return;
    if (tile.side <= leaf_cells) return evaluate(tile, candidates, poll);
    if (candidates.size * static_cast<std::size_t>(tile.side) > 4096) poll();
    Tile child;
    for (int k = 0; k < 4; ++k) {
      if (!tile.quarter(k, child)) continue;
      const Enclosed here = in == Enclosed::none ? in : enclosed(child);
      if (here == Enclosed::all) {
        out_.enclosed(child);
        continue;
      }
      Gathered& level = s.levels[depth];
      const Seen now = prune(q_.metric, box(child), q_.reach, q_.features.slack(), candidates,
                             q_.features.arrays(Output::indexed), few(shared(), child.extent()), s.room, level);
      finish(child, level.view(candidates.points), now, here, depth + 1, s, poll);
    }
  }

  // Whether points are evaluated by shared terms.
  bool shared() const { return !Output::indexed && q_.features.points() && q_.inside.empty(); }

  void evaluate(const Tile& tile, const pairs::Candidates& candidates, Poll& poll) {
    if constexpr (!Output::indexed) {
      if (shared() && candidates.size > 0) return evaluate_points(tile, candidates, poll);
    }
    constexpr auto wide = static_cast<std::int64_t>(pairs::lanes);
    const Grid& grid = q_.features.grid();
    double x[pairs::lanes], y[leaf_cells], value[pairs::lanes * leaf_cells], index[pairs::lanes * leaf_cells];
    for (std::int64_t r = tile.r0; r < tile.r1; r += leaf_cells) {
      const std::int64_t rows = std::min(leaf_cells, tile.r1 - r);
      const auto strips = (static_cast<std::size_t>(rows) + pairs::strip - 1) / pairs::strip * pairs::strip;
      for (std::size_t i = 0; i < strips; ++i) y[i] = grid.centre_y(r + static_cast<std::int64_t>(i));
      if (candidates.size > 512) poll();
      for (std::int64_t c = tile.c0; c < tile.c1; c += wide) {
        for (std::size_t k = 0; k < pairs::lanes; ++k) x[k] = grid.centre_x(c + static_cast<std::int64_t>(k));
        pairs::block(q_.metric, candidates, x, y, strips, value);
        if (Output::indexed) pairs::block_index(q_.metric, candidates, x, y, strips, value, index);
        const std::int64_t cols = std::min(wide, tile.c1 - c);
        if constexpr (!Output::indexed) {
          if (q_.inside.empty()) {
            out_.rows(r, c, rows, cols, value, pairs::lanes);
            continue;
          }
        }
        for (std::int64_t i = 0; i < rows; ++i) {
          const std::uint8_t* in = q_.inside.empty() ? nullptr : inside_row(r + i) + c;
          out_.cells(r + i, c, cols, value + i * wide, index + i * wide, in);
        }
      }
    }
  }

  // By columns where a tile is too narrow for vectors along its rows.
  void evaluate_points(const Tile& tile, const pairs::Candidates& candidates, Poll& poll) {
    constexpr auto longest = static_cast<std::int64_t>(pairs::Rectangle::longest);
    constexpr auto deepest = static_cast<std::int64_t>(pairs::Rectangle::deepest);
    const Grid& grid = q_.features.grid();
    double value[deepest * longest];
    const bool narrow = tile.c1 - tile.c0 < 4 && tile.r1 - tile.r0 > 1;
    const std::int64_t down = narrow ? longest : deepest, along = narrow ? deepest : longest;
    for (std::int64_t r = tile.r0; r < tile.r1; r += down) {
      const std::int64_t rows = std::min(down, tile.r1 - r);
      for (std::int64_t c = tile.c0; c < tile.c1; c += along) {
        const std::int64_t cols = std::min(along, tile.c1 - c);
        if (candidates.size > 512) poll();
        const pairs::Axis x{c, grid.dx}, y{r, grid.dy};
        const auto n_rows = static_cast<std::size_t>(rows), n_cols = static_cast<std::size_t>(cols);
        if (narrow) {
          pairs::nearest_point(q_.metric, candidates.array(1), candidates.array(0), candidates.size,
                               {y, x, n_rows, n_cols}, value);
          out_.columns(r, c, rows, cols, value, pairs::Rectangle::longest);
        } else {
          pairs::nearest_point(q_.metric, candidates.array(0), candidates.array(1), candidates.size,
                               {x, y, n_cols, n_rows}, value);
          out_.rows(r, c, rows, cols, value, pairs::Rectangle::longest);
        }
      }
    }
  }

  const std::uint8_t* inside_row(std::int64_t r) const {
    return q_.inside.data() + (r - q_.window.row0) * q_.window.ncols - q_.window.col0;
  }

  Enclosed enclosed(const Tile& tile) const {
    if (q_.inside.empty()) return Enclosed::none;
    const std::uint8_t first = inside_row(tile.r0)[tile.c0];
    for (std::int64_t r = tile.r0; r < tile.r1; ++r) {
      const std::uint8_t* row = inside_row(r);
      std::uint8_t differ = 0;
      for (std::int64_t c = tile.c0; c < tile.c1; ++c) differ |= static_cast<std::uint8_t>(row[c] ^ first);
      if (differ != 0) return Enclosed::some;
    }
    return first != 0 ? Enclosed::all : Enclosed::none;
  }

  Box box(const Tile& t) const {
    const Grid& g = q_.features.grid();
    return {g.centre_x(t.c0), g.centre_y(t.r0), g.centre_x(t.c1 - 1), g.centre_y(t.r1 - 1)};
  }

  const Question& q_;
  const Output& out_;
  Scratches scratches_;
};

// The largest value whose distance is at most `limit`: compares values where distances are meant, with the same answer.
double largest_value(Metric metric, double limit);

// The error of an allocation that failed, with what was asked.
OutOfMemory no_memory(const char* what, const Nearest& features, const Window& window);

}  // namespace rtmdx::descent
