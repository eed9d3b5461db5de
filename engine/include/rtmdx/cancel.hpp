// Stopping a long loop. Only the calling thread runs the caller's check; workers read one atomic flag.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "rtmdx/error.hpp"

namespace rtmdx {

// Returns true when the work should stop; may throw, and the exception reaches the caller. Empty: never stop.
using CancelCheck = std::function<bool()>;

// How a call runs: not what it computes.
struct Run {
  int threads = 1;
  CancelCheck cancel;
};

// Thrown inside a worker when another thread has failed or was cancelled; never leaves the thread loop.
struct Stopped {};

// Handed to every block of work. Cheap enough to call every few thousand cells.
class Poll {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds interval{20};

  Poll(std::atomic<bool>& stop, const CancelCheck* check) : stop_(stop), check_(check) {}

  void operator()() {
    if (stop_.load(std::memory_order_relaxed)) throw Stopped{};
    if (check_ == nullptr || !*check_) return;
    const auto now = Clock::now();
    if (now - last_ < interval) return;
    last_ = now;
    if ((*check_)()) throw Cancelled("cancelled by the caller's check");
  }

 private:
  std::atomic<bool>& stop_;
  const CancelCheck* check_;  // null on worker threads
  Clock::time_point last_{};  // epoch: the first call always asks
};

}  // namespace rtmdx
