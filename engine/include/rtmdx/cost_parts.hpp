// What the parts of cost distance share: the rasters they work on, and the queue.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "rtmdx/barriers.hpp"
#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"

namespace rtmdx::cost {

// Rasters with a border of two cells, so that a step never leaves them.
constexpr std::int64_t border = 2;

template <class F>
struct Field {
  Grid grid;
  std::int64_t stride;
  std::vector<F> friction;            // +inf where no step may enter; empty for 1 everywhere
  std::vector<std::uint8_t> blocked;  // bit k: the step moves[k] from here is barred; empty for none
  std::vector<double> cost;           // -inf in the border and where no step may enter

  explicit Field(const Grid& g) : grid(g), stride(g.cols + 2 * border) {}
  std::size_t size() const { return static_cast<std::size_t>(stride * (grid.rows + 2 * border)); }
  std::size_t at(std::int64_t r, std::int64_t c) const {
    return static_cast<std::size_t>((r + border) * stride + c + border);
  }
};

struct Entry {
  double cost;
  std::uint32_t cell;
};

// Entries by cost, in buckets of one width: pages of 1024 buckets, books of 1024 pages, and the rest. An entry moves
// twice at most until its bucket's turn, or once more for each book. Costs pushed never fall below the current bucket.
class Queue {
 public:
  explicit Queue(double width) : per_cost_(1.0 / width), fine_(pages), coarse_(pages) {}

  void push(Entry e) {
    const std::uint64_t b = bucket(e.cost);
    if (b >> 10 == now_ >> 10) {
      fine_[b & 1023].push_back(e);
    } else if (b >> 20 == now_ >> 20) {
      coarse_[b >> 10 & 1023].push_back(e);
    } else {
      far_.push_back(e);
    }
  }

  // The first bucket that holds entries, or null. Entries pushed into it while it is read are part of it.
  std::vector<Entry>* next(PacedPoll& poll) {
    for (;;) {
      for (std::uint64_t b = now_ & 1023; b < pages; ++b) {
        if (fine_[b].empty()) continue;
        now_ = (now_ >> 10 << 10) + b;
        return &fine_[b];
      }
      if (!turn_page(poll) && !turn_book(poll)) return nullptr;
    }
  }

 private:
  static constexpr std::uint64_t pages = 1024;

  std::uint64_t bucket(double cost) const {
    const double b = cost * per_cost_;
    return b < 9e15 ? static_cast<std::uint64_t>(b) : std::uint64_t{9000000000000000};
  }

  bool turn_page(PacedPoll& poll) {
    for (std::uint64_t p = (now_ >> 10 & 1023) + 1; p < pages; ++p) {
      if (coarse_[p].empty()) continue;
      now_ = (now_ >> 20 << 20) + (p << 10);
      for (const Entry& e : coarse_[p]) {
        poll(8);
        fine_[bucket(e.cost) & 1023].push_back(e);
      }
      std::vector<Entry>().swap(coarse_[p]);
      return true;
    }
    return false;
  }

  bool turn_book(PacedPoll& poll) {
    if (far_.empty()) return false;
    std::uint64_t first = std::numeric_limits<std::uint64_t>::max();
    for (const Entry& e : far_) {
      poll(4);
      first = std::min(first, bucket(e.cost));
    }
    now_ = first;
    std::vector<Entry> rest;
    rest.swap(far_);
    for (const Entry& e : rest) {
      poll(8);
      push(e);
    }
    return true;
  }

  double per_cost_;
  std::uint64_t now_ = 0;
  std::vector<std::vector<Entry>> fine_, coarse_;
  std::vector<Entry> far_;
};

// Gives the cells around the features their first costs and queues them.
template <class F>
void start(const Features& features, const Barriers& barriers, double max_cost, Field<F>& field, Queue& queue,
           const Run& run, Poll& poll);

}  // namespace rtmdx::cost
