// Stopping a long loop, and telling how far it is. Only the calling thread runs the caller's functions; workers read
// one atomic flag.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>

#include "rtmdx/error.hpp"

namespace rtmdx {

// Returns true when the work should stop; may throw, and the exception reaches the caller. Empty: never stop.
using CancelCheck = std::function<bool()>;

// Told how many blocks of the main loop are done, of how many; may throw. Empty: nobody is told.
using Progress = std::function<void(std::size_t done, std::size_t total)>;

// How a call runs: not what it computes.
struct Run {
  int threads = 1;
  CancelCheck cancel;
  Progress progress;
};

// Thrown inside a worker when another thread has failed or was cancelled; never leaves the thread loop.
struct Stopped {};

// How far a loop is.
struct Pace {
  std::atomic<std::size_t> done{0};
  std::size_t total = 0;
};

// Handed to every block of work. Cheap enough to call every few thousand cells.
class Poll {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds interval{20};

  // On a worker thread `run` is null; without `pace` no progress is told.
  Poll(std::atomic<bool>& stop, const Run* run, const Pace* pace = nullptr) : stop_(stop), run_(run), pace_(pace) {}

  void operator()() {
    if (stop_.load(std::memory_order_relaxed)) throw Stopped{};
    if (run_ == nullptr) return;
    const bool tell = pace_ != nullptr && run_->progress;
    if (!run_->cancel && !tell) return;
    const auto now = Clock::now();
    if (now - last_ < interval) return;
    last_ = now;
    if (run_->cancel && run_->cancel()) throw Cancelled("cancelled by the caller's check");
    if (tell) run_->progress(pace_->done.load(std::memory_order_relaxed), pace_->total);
  }

 private:
  std::atomic<bool>& stop_;
  const Run* run_;
  const Pace* pace_;
  Clock::time_point last_{};  // epoch: the first call always asks
};

// Asks once so much work has been done; a unit is about a nanosecond's.
class PacedPoll {
 public:
  explicit PacedPoll(Poll& poll) : poll_(poll) {}

  void operator()(std::size_t work) {
    done_ += work;
    if (done_ < between) return;
    done_ = 0;
    poll_();
  }

 private:
  static constexpr std::size_t between = std::size_t{1} << 18U;

  Poll& poll_;
  std::size_t done_ = 0;
};

}  // namespace rtmdx
