// Distance, density and inside against brute force; windows and threads.
#include "brute.hpp"
#include "check.hpp"
#include "rtmdx/density.hpp"
#include "rtmdx/distance.hpp"
#include "rtmdx/inside.hpp"

using namespace tests;

namespace {

const Kernel kernels[] = {Kernel::uniform, Kernel::triangular, Kernel::epanechnikov, Kernel::quartic, Kernel::gaussian};

Run with(int threads) {
  Run run;
  run.threads = threads;
  return run;
}

// Grids with large corners, and cells that are no squares.
Grid grid_of(Random& random) {
  Grid g;
  g.rows = random.whole(1, 60);
  g.cols = random.whole(1, 60);
  g.dx = random.uniform(0.3, 3.0);
  g.dy = random.whole(0, 1) != 0 ? g.dx : random.uniform(0.3, 3.0);
  g.x_min = random.whole(0, 1) != 0 ? 0.0 : 6.0e5 + random.uniform(0.0, 1.0);
  g.y_max = random.whole(0, 1) != 0 ? 0.0 : 4.2e6 + random.uniform(0.0, 1.0);
  return g;
}

double map_x(const Grid& g, double share) { return g.x_min + share * static_cast<double>(g.cols) * g.dx; }
double map_y(const Grid& g, double share) { return g.y_max - share * static_cast<double>(g.rows) * g.dy; }

Made some(Random& random, const Grid& g, int kind) {
  Made made;
  const int n = random.whole(0, 25);
  for (int i = 0; i < n; ++i) {
    const double x = map_x(g, random.uniform(-0.3, 1.3)), y = map_y(g, random.uniform(-0.3, 1.3));
    const int which = kind == 3 ? random.whole(0, 2) : kind;
    if (which == 0) {
      made.point(x, y);
      if (random.whole(0, 4) == 0) made.point(x, y);  // twice
    } else if (which == 1) {
      std::vector<double> xy{x, y};
      for (int k = random.whole(0, 4); k > 0; --k) {
        const double from_x = xy[xy.size() - 2], from_y = xy.back();
        xy.insert(xy.end(), {from_x + random.uniform(-9, 9), from_y + random.uniform(-9, 9)});
      }
      made.line(xy);
    } else {
      star(made, random, x, y, random.uniform(0.1, 12.0), random.whole(0, 1) != 0);
    }
  }
  return made;
}

template <class Call>
void windows_and_threads(Random& random, const Grid& g, const std::vector<double>& whole, const Call& call) {
  for (const int threads : {1, 2, 7}) {
    Window w;
    w.row0 = random.whole(0, static_cast<int>(g.rows) - 1);
    w.col0 = random.whole(0, static_cast<int>(g.cols) - 1);
    w.nrows = random.whole(0, static_cast<int>(g.rows - w.row0));
    w.ncols = random.whole(0, static_cast<int>(g.cols - w.col0));
    std::vector<double> part(static_cast<std::size_t>(w.nrows * (w.ncols + 3)) + 1, -7.0);
    call(w, with(threads), RasterView<double>(part.data(), w.nrows, w.ncols, w.ncols + 3));
    bool same = true, kept = true;
    for (std::int64_t r = 0; r < w.nrows; ++r) {
      for (std::int64_t c = 0; c < w.ncols; ++c) {
        const double a = part[static_cast<std::size_t>(r * (w.ncols + 3) + c)];
        const double b = whole[static_cast<std::size_t>((w.row0 + r) * g.cols + w.col0 + c)];
        same = same && (a == b || (a != a && b != b));
      }
      for (std::int64_t c = w.ncols; c < w.ncols + 3; ++c) {
        kept = kept && part[static_cast<std::size_t>(r * (w.ncols + 3) + c)] == -7.0;
      }
    }
    CHECK(same);
    CHECK(kept);
  }
}

Window all(const Grid& g) { return {0, 0, g.rows, g.cols}; }

}  // namespace

TEST(distance_is_the_nearest) {
  Random random(1);
  for (int round = 0; round < 120; ++round) {
    const Grid g = grid_of(random);
    const Made made = some(random, g, round % 4);
    const double most = round % 3 == 0 ? random.uniform(0.0, 20.0) : inf;
    std::vector<double> out(static_cast<std::size_t>(g.rows * g.cols));
    distance(made.view(), g, all(g), most, with(1), RasterView<double>(out.data(), g.rows, g.cols));
    for (std::int64_t r = 0; r < g.rows; ++r) {
      for (std::int64_t c = 0; c < g.cols; ++c) {
        const double want = distance_to(made.view(), g.x_min + g.centre_x(c), g.y_max - g.centre_y(r));
        const double got = out[static_cast<std::size_t>(r * g.cols + c)];
        if (std::fabs(want - most) > 1e-6) CHECK_NEAR(got, want > most ? inf : want, 1e-9, 1e-7);
      }
    }
    windows_and_threads(random, g, out, [&](const Window& w, const Run& run, RasterView<double> to) {
      distance(made.view(), g, w, most, run, to);
    });
  }
}

TEST(inside_is_even_odd) {
  Random random(2);
  for (int round = 0; round < 60; ++round) {
    const Grid g = grid_of(random);
    const Made made = some(random, g, 2);
    const Features f = made.view();
    const std::vector<std::uint8_t> got = inside(f.polygons, g, all(g), with(1 + round % 3));
    CHECK(got.size() == static_cast<std::size_t>(g.rows * g.cols));
    for (std::size_t i = 0; i < got.size(); ++i) {
      const auto r = static_cast<std::int64_t>(i) / g.cols, c = static_cast<std::int64_t>(i) % g.cols;
      bool want = false;
      for (std::size_t p = 0; p < f.polygons.size(); ++p) {
        want = want || inside_polygon(f.polygons, p, g.x_min + g.centre_x(c), g.y_max - g.centre_y(r));
      }
      CHECK((got[i] != 0) == want);
    }
  }
}

TEST(density_of_points_is_the_sum) {
  Random random(3);
  for (int round = 0; round < 100; ++round) {
    const Grid g = grid_of(random);
    Made made = some(random, g, 0);
    for (std::size_t i = 0; i < made.points.size() / 2; ++i) made.point_weights.push_back(random.uniform(-1.0, 2.0));
    const Kernel kernel = kernels[round % 5];
    const double h = random.uniform(0.2, 25.0), radius = support_radius(kernel, h);
    std::vector<double> out(static_cast<std::size_t>(g.rows * g.cols));
    density(made.view(), g, all(g), kernel, h, with(2), RasterView<double>(out.data(), g.rows, g.cols));
    for (std::int64_t r = 0; r < g.rows; ++r) {
      for (std::int64_t c = 0; c < g.cols; ++c) {
        double want = 0.0;
        for (std::size_t i = 0; i < made.point_weights.size(); ++i) {
          const double u = std::hypot(g.x_min + g.centre_x(c) - made.points[2 * i],
                                      g.y_max - g.centre_y(r) - made.points[2 * i + 1]) / radius;
          want += made.point_weights[i] * kernel_at(kernel, u) / (radius * radius);
        }
        // The uniform kernel jumps at its edge, where rounding may decide.
        if (kernel != Kernel::uniform) CHECK_NEAR(out[static_cast<std::size_t>(r * g.cols + c)], want, 1e-6, 1e-8);
      }
    }
    windows_and_threads(random, g, out, [&](const Window& w, const Run& run, RasterView<double> to) {
      density(made.view(), g, w, kernel, h, run, to);
    });
  }
}

// Lines and polygons: the integral as a sum over many small pieces.
TEST(density_of_lines_and_polygons_is_the_integral) {
  Random random(4);
  for (int round = 0; round < 40; ++round) {
    Grid g = grid_of(random);
    g.rows = std::min<std::int64_t>(g.rows, 12);
    g.cols = std::min<std::int64_t>(g.cols, 12);
    Made made;
    const Kernel kernel = kernels[round % 5];
    const double h = random.uniform(1.0, 4.0), radius = support_radius(kernel, h);
    const bool line = round % 2 == 0;
    const double x = map_x(g, random.uniform(0, 1)), y = map_y(g, random.uniform(0, 1));
    if (line) {
      made.line({x, y, x + random.uniform(-6, 6), y + random.uniform(-6, 6), x, y});
    } else {
      star(made, random, x, y, random.uniform(1.0, 4.0), true);
    }
    std::vector<double> out(static_cast<std::size_t>(g.rows * g.cols));
    density(made.view(), g, all(g), kernel, h, with(1), RasterView<double>(out.data(), g.rows, g.cols));
    for (std::size_t cell = 0; cell < out.size(); cell += 7) {
      const auto r = static_cast<std::int64_t>(cell) / g.cols, c = static_cast<std::int64_t>(cell) % g.cols;
      const double cx = g.x_min + g.centre_x(c), cy = g.y_max - g.centre_y(r);
      double want = 0.0;
      if (line) {
        edges(made.view().lines.xy, 0, 3, false, [&](double ax, double ay, double bx, double by) {
          constexpr int n = 3000;
          const double piece = std::hypot(bx - ax, by - ay) / n;
          for (int i = 0; i < n; ++i) {
            const double t = (i + 0.5) / n;
            want += piece * kernel_at(kernel, std::hypot(cx - ax - t * (bx - ax), cy - ay - t * (by - ay)) / radius);
          }
        });
      } else {
        constexpr int n = 160;
        const double side = 9.0 / n;
        for (int i = 0; i < n * n; ++i) {
          const double px = x - 4.5 + (i % n + 0.5) * side, py = y - 4.5 + (i / n + 0.5) * side;
          const double k = kernel_at(kernel, std::hypot(cx - px, cy - py) / radius);
          if (k > 0.0 && inside_polygon(made.view().polygons, 0, px, py)) want += side * side * k;
        }
      }
      want /= radius * radius;
      CHECK_NEAR(out[cell], want, 0.03, line ? 2e-3 / radius : 6e-3);
    }
    windows_and_threads(random, g, out, [&](const Window& w, const Run& run, RasterView<double> to) {
      density(made.view(), g, w, kernel, h, run, to);
    });
  }
}

TEST(nothing_and_nonsense) {
  const Grid g{0.0, 5.0, 1.0, 1.0, 5, 6};
  const Made none;
  std::vector<double> out(30, -1.0);
  const RasterView<double> view(out.data(), 5, 6);
  distance(none.view(), g, all(g), inf, with(2), view);
  for (const double v : out) CHECK(v == inf);
  density(none.view(), g, all(g), Kernel::quartic, 2.0, with(2), view);
  for (const double v : out) CHECK(v == 0.0);
  distance(none.view(), g, Window{2, 2, 0, 3}, inf, with(2), RasterView<double>(nullptr, 0, 3));
  CHECK_THROWS(distance(none.view(), g, Window{1, 0, 5, 6}, inf, with(1), view), InvalidArgument);
  CHECK_THROWS(density(none.view(), g, all(g), Kernel::uniform, 0.0, with(1), view), InvalidArgument);
  CHECK_THROWS(density(none.view(), g, all(g), Kernel::uniform, missing, with(1), view), InvalidArgument);
  Grid flat = g;
  flat.dy = 0.0;
  CHECK_THROWS(distance(none.view(), flat, all(flat), inf, with(1), view), InvalidArgument);
  Made odd;
  odd.line({1, 1, 2, 2});
  odd.line_offsets.back() = 3;
  CHECK_THROWS(distance(odd.view(), g, all(g), inf, with(1), view), InvalidArgument);
}

// What the fuzzer found, kept.
TEST(a_segment_from_very_far_away) {
  const Grid g{4.2e6, 4.2e6, 0.1, 0.1, 55, 55};
  constexpr double h = 0.27148212226066898;
  Made made;
  made.line({4.7527950096700387e+79, -7.3006216999198974e+79, 4200001.7329007396, 4199997.5871084156});
  std::vector<double> out(55 * 55), part(5 * 7);
  density(made.view(), g, all(g), Kernel::uniform, h, with(1), RasterView<double>(out.data(), 55, 55));
  density(made.view(), g, {0, 0, 5, 7}, Kernel::uniform, h, with(1), RasterView<double>(part.data(), 5, 7));
  for (std::size_t i = 0; i < part.size(); ++i) CHECK(part[i] == out[i / 7 * 55 + i % 7]);
}

TEST(a_tiny_segment_is_not_negative) {
  const Grid g{0.0, -1.0, 2.5, 2.5, 61, 6};
  Made made;
  made.line({3.637978807091713e-11, -3.5, 3.666400516522117e-11, -3.5000000000002842});
  std::vector<double> out(61 * 6);
  for (const Kernel kernel : kernels) {
    density(made.view(), g, all(g), kernel, 45.187031800758596, with(1), RasterView<double>(out.data(), 61, 6));
    CHECK(*std::min_element(out.begin(), out.end()) >= 0.0);
  }
}
