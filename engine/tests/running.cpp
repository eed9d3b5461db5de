// The thread loop: every block once, exceptions out, cancelling, progress.
#include <atomic>
#include <stdexcept>
#include <thread>

#include "brute.hpp"
#include "check.hpp"
#include "rtmdx/density.hpp"
#include "rtmdx/distance.hpp"
#include "rtmdx/focal.hpp"
#include "rtmdx/parallel.hpp"
#include "rtmdx/zonal.hpp"

using namespace tests;

TEST(every_block_once) {
  for (const int threads : {1, 2, 7}) {
    Run run;
    run.threads = threads;
    for (const std::size_t blocks : {0, 1, 3, 1000}) {
      std::vector<int> seen(blocks, 0);
      parallel_for(blocks, run, [&](std::size_t block, Poll& poll) {
        poll();
        ++seen[block];
      });
      for (const int n : seen) CHECK(n == 1);
    }
  }
}

TEST(an_exception_in_a_worker_comes_out) {
  for (const int threads : {1, 2, 7}) {
    Run run;
    run.threads = threads;
    for (const std::size_t bad : {0, 17, 199}) {
      CHECK_THROWS(parallel_for(200, run,
                                [&](std::size_t block, Poll& poll) {
                                  poll();
                                  if (block == bad) throw std::domain_error("block");
                                }),
                   std::domain_error);
    }
    std::atomic<int> after{0};
    CHECK_THROWS(parallel_for(64, run, [&](std::size_t, Poll&) -> void { throw std::bad_alloc(); }), std::bad_alloc);
    parallel_for(64, run, [&](std::size_t, Poll&) { ++after; });
    CHECK(after == 64);
  }
}

TEST(progress_and_cancel_run_on_the_caller_s_thread) {
  const std::thread::id caller = std::this_thread::get_id();
  for (const int threads : {1, 2, 7}) {
    std::size_t last = 0, of = 0;
    bool here = true, rising = true;
    Run run;
    run.threads = threads;
    run.cancel = [&] {
      here = here && std::this_thread::get_id() == caller;
      return false;
    };
    run.progress = [&](std::size_t done, std::size_t total) {
      here = here && std::this_thread::get_id() == caller;
      rising = rising && done >= last && done <= total;
      last = done;
      of = total;
    };
    parallel_for(300, run, [&](std::size_t, Poll& poll) {
      poll();
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }, Loop::main);
    CHECK(here && rising && last == 300 && of == 300);

    run.progress = [](std::size_t, std::size_t) { throw std::range_error("progress"); };
    CHECK_THROWS(parallel_for(300, run, [](std::size_t, Poll& poll) { poll(); }, Loop::main), std::range_error);
  }
}

// Every entry answers a cancel, and an exception thrown by the check, with any number of threads.
TEST(every_entry_can_be_stopped) {
  const Grid g{0.0, 300.0, 1.0, 1.0, 300, 300};
  const Window w{0, 0, 300, 300};
  Random random(21);
  Made points, polygons;
  for (int i = 0; i < 20000; ++i) points.point(random.uniform(0, 300), random.uniform(0, 300));
  for (int i = 0; i < 500; ++i) star(polygons, random, random.uniform(0, 300), random.uniform(0, 300), 90.0, true);
  std::vector<std::int64_t> offsets;
  for (int i = 0; i <= 500; ++i) offsets.push_back(i);
  Zones zones;
  zones.features = polygons.view();
  zones.offsets = span(offsets);
  std::vector<double> values(90000, 1.0), out(90000);
  const RasterView<const double> in(values.data(), 300, 300);
  const RasterView<double> to(out.data(), 300, 300);
  const std::function<void(const Run&)> entries[] = {
      [&](const Run& run) { distance(points.view(), g, w, inf, run, to); },
      [&](const Run& run) { distance(polygons.view(), g, w, inf, run, to); },
      [&](const Run& run) { density(points.view(), g, w, Kernel::triangular, 200.0, run, to); },
      [&](const Run& run) { density(polygons.view(), g, w, Kernel::gaussian, 50.0, run, to); },
      [&](const Run& run) { zonal<double>(zones, g, in, nullptr, run); },
      [&](const Run& run) { coverage(zones, g, 1 << 30, run); },
      [&](const Run& run) { focal<double, double>(in, g, w, 120.0, Neighbourhood::circle, FocalStatistic::mean, run, to); },
      [&](const Run& run) { focal<double, double>(in, g, w, 40.0, Neighbourhood::square, FocalStatistic::sum, run, to); },
  };
  for (const auto& entry : entries) {
    for (const int threads : {1, 2, 7}) {
      Run run;
      run.threads = threads;
      run.cancel = [] { return true; };
      CHECK_THROWS(entry(run), Cancelled);
      run.cancel = []() -> bool { throw std::logic_error("check"); };
      CHECK_THROWS(entry(run), std::logic_error);
      int asked = 0;
      run.cancel = [&] { return ++asked == 2; };  // in the midst of it, if it takes that long
      try {
        entry(run);
      } catch (const Cancelled&) {
        CHECK(asked == 2);
      }
    }
  }
}
