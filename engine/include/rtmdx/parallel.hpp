// The engine's only thread loop.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "rtmdx/cancel.hpp"

namespace rtmdx {

// Calls body(block, poll) once for each block in [0, blocks), on up to run.threads threads.
//
// Blocks are fixed by the caller and handed out by a counter, so which thread computes a block changes nothing;
// a body that writes only what its block owns gives bit-identical results for any thread count. The first
// exception stops the loop and is rethrown here after every thread has been joined. An operation's main loop tells
// its progress; loops that prepare it don't.
enum class Loop { preparation, main };

template <class Body>
void parallel_for(std::size_t blocks, const Run& run, const Body& body, Loop loop = Loop::preparation) {
  std::atomic<std::size_t> next{0};
  Pace pace;
  pace.total = blocks;
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable finished;
  std::exception_ptr first;
  std::size_t working = 0;

  const auto fail = [&](std::exception_ptr error) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!first) first = error;
    stop.store(true, std::memory_order_relaxed);
  };
  const auto work = [&](Poll& poll) {
    try {
      for (;;) {
        poll();
        const std::size_t block = next.fetch_add(1, std::memory_order_relaxed);
        if (block >= blocks) return;
        body(block, poll);
        pace.done.fetch_add(1, std::memory_order_relaxed);
      }
    } catch (const Stopped&) {
    } catch (...) {
      fail(std::current_exception());
    }
  };

  std::vector<std::thread> threads;
  const std::size_t wanted = std::min<std::size_t>(std::max(run.threads, 1), std::max<std::size_t>(blocks, 1));
  threads.reserve(wanted - 1);
  for (std::size_t i = 1; i < wanted; ++i) {
    try {
      {
        const std::lock_guard<std::mutex> lock(mutex);
        ++working;
      }
      threads.emplace_back([&] {
        Poll poll(stop, nullptr);
        work(poll);
        const std::lock_guard<std::mutex> lock(mutex);
        --working;
        finished.notify_one();
      });
    } catch (const std::system_error&) {  // the system has no thread to give: fewer do the same work
      const std::lock_guard<std::mutex> lock(mutex);
      --working;
      break;
    }
  }

  Poll poll(stop, &run, loop == Loop::main ? &pace : nullptr);
  work(poll);
  // The caller keeps asking while the others finish their last block.
  for (std::unique_lock<std::mutex> lock(mutex); working > 0;) {
    finished.wait_for(lock, Poll::interval);
    if (working == 0 || stop.load(std::memory_order_relaxed)) continue;
    lock.unlock();
    try {
      poll();
    } catch (const Stopped&) {
    } catch (...) {
      fail(std::current_exception());
    }
    lock.lock();
  }
  for (auto& thread : threads) thread.join();
  if (first) std::rethrow_exception(first);
  if (loop == Loop::main && run.progress) run.progress(blocks, blocks);
}

}  // namespace rtmdx
