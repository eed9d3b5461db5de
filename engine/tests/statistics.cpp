// Coverage, zonal and focal statistics against brute force; windows and threads.
#include "brute.hpp"
#include "check.hpp"
#include "rtmdx/coverage.hpp"
#include "rtmdx/focal.hpp"
#include "rtmdx/zonal.hpp"

using namespace tests;

namespace {

Run with(int threads) {
  Run run;
  run.threads = threads;
  return run;
}

Grid grid_of(Random& random) {
  Grid g;
  g.rows = random.whole(1, 40);
  g.cols = random.whole(1, 40);
  g.dx = random.uniform(0.3, 3.0);
  g.dy = random.whole(0, 1) != 0 ? g.dx : random.uniform(0.3, 3.0);
  return g;
}

Zones zones_of(const Made& made, Kind kind, const std::vector<std::int64_t>& offsets) {
  Zones z;
  z.features = made.view();
  z.kind = kind;
  z.offsets = span(offsets);
  return z;
}

std::vector<double> values_on(Random& random, const Grid& g, double gaps) {
  std::vector<double> out(static_cast<std::size_t>(g.rows * g.cols));
  for (double& v : out) v = random.uniform(0, 1) < gaps ? missing : random.uniform(-5, 5);
  return out;
}

struct Cell {
  double x0, y0, x1, y1;
};

Cell box_of(const Grid& g, std::int64_t cell) {
  const auto r = static_cast<double>(cell / g.cols), c = static_cast<double>(cell % g.cols);
  return {g.x_min + c * g.dx, g.y_max - (r + 1.0) * g.dy, g.x_min + (c + 1.0) * g.dx, g.y_max - r * g.dy};
}

bool same(double a, double b) { return a == b || (a != a && b != b); }

}  // namespace

TEST(coverage_is_the_area_in_each_cell) {
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    const Grid g = grid_of(random);
    const double width = static_cast<double>(g.cols) * g.dx, height = static_cast<double>(g.rows) * g.dy;
    Made made;
    for (int i = random.whole(0, 6); i > 0; --i) {
      star(made, random, random.uniform(-0.2, 1.2) * width, -random.uniform(-0.2, 1.2) * height,
           random.uniform(0.01, 0.6) * width, true);
    }
    if (round % 3 == 0) {  // along the cells' edges
      const double x0 = 0.0, x1 = g.dx * random.whole(1, 5), y0 = -g.dy * random.whole(1, 5);
      made.ring({x0, 0.0, x1, 0.0, x1, y0, x0, y0});
      made.end_polygon();
    }
    std::vector<std::int64_t> offsets;  // one polygon a zone
    for (std::size_t i = 0; i < made.polygon_offsets.size(); ++i) offsets.push_back(static_cast<std::int64_t>(i));
    const Zones zones = zones_of(made, Kind::polygons, offsets);
    const ZoneCells got = coverage(zones, g, 1 << 30, with(1));
    std::vector<double> dense(zones.size() * static_cast<std::size_t>(g.rows * g.cols), 0.0);
    for (std::size_t i = 0; i < got.zone.size(); ++i) {
      CHECK(got.amount[i] > 0.0 && got.amount[i] <= 1.0);
      dense[static_cast<std::size_t>(got.zone[i] * g.rows * g.cols + got.cell[i])] += got.amount[i];
      if (i > 0) CHECK(got.zone[i - 1] < got.zone[i] || (got.zone[i - 1] == got.zone[i] && got.cell[i - 1] < got.cell[i]));
    }
    for (std::size_t z = 0; z < zones.size(); ++z) {
      CHECK_NEAR(got.measure[z], area_in_box(zones.features.polygons, z, -1e9, -1e9, 1e9, 1e9), 1e-9, 1e-12);
      for (std::int64_t cell = 0; cell < g.rows * g.cols; ++cell) {
        const Cell b = box_of(g, cell);
        const double want = area_in_box(zones.features.polygons, z, b.x0, b.y0, b.x1, b.y1) / (g.dx * g.dy);
        CHECK_NEAR(dense[z * static_cast<std::size_t>(g.rows * g.cols) + static_cast<std::size_t>(cell)], want, 1e-9, 1e-11);
      }
    }
    for (const int threads : {2, 7}) {
      const ZoneCells again = coverage(zones, g, 1 << 30, with(threads));
      CHECK(again.zone == got.zone && again.cell == got.cell && again.amount == got.amount);
    }
    if (got.zone.size() > 1) CHECK_THROWS(coverage(zones, g, 1, with(1)), OutOfMemory);
  }
}

TEST(zonal_sums_are_the_coverage_s) {
  Random random(12);
  for (int round = 0; round < 60; ++round) {
    Grid g = grid_of(random);
    if (round % 5 == 0) g.rows = 600;  // several bands of rows
    const double width = static_cast<double>(g.cols) * g.dx, height = static_cast<double>(g.rows) * g.dy;
    const Kind kind = round % 3 == 0 ? Kind::lines : round % 3 == 1 ? Kind::polygons : Kind::points;
    Made made;
    const int n = random.whole(0, 9);
    for (int i = 0; i < n; ++i) {
      const double x = random.uniform(-0.2, 1.2) * width, y = -random.uniform(-0.2, 1.2) * height;
      if (kind == Kind::points) made.point(x, y);
      if (kind == Kind::polygons) star(made, random, x, y, random.uniform(0.01, 0.9) * height, true);
      if (kind == Kind::lines) made.line({x, y, x, -random.uniform(0, 1) * height, random.uniform(0, 1) * width, y});
    }
    // Zones of none, one and several features.
    std::vector<std::int64_t> offsets{0};
    while (offsets.back() < n) offsets.push_back(std::min<std::int64_t>(n, offsets.back() + random.whole(0, 3)));
    if (kind == Kind::polygons) {  // parts of a zone must not overlap: one each
      offsets.clear();
      for (int i = 0; i <= n; ++i) offsets.push_back(i);
    }
    const std::vector<double> values = values_on(random, g, 0.2), weights = values_on(random, g, 0.1);
    const RasterView<const double> v(values.data(), g.rows, g.cols), w(weights.data(), g.rows, g.cols);
    const Zones zones = zones_of(made, kind, offsets);
    const std::vector<ZoneSums> got = zonal<double>(zones, g, v, &w, with(1));
    const ZoneCells cells = coverage(zones, g, 1 << 30, with(1));
    CHECK(got.size() == zones.size());
    for (std::size_t z = 0; z < got.size(); ++z) {
      ZoneSums want;
      want.min = inf;
      want.max = -inf;
      for (std::size_t i = 0; i < cells.zone.size(); ++i) {
        if (cells.zone[i] != static_cast<std::int64_t>(z)) continue;
        const double a = cells.amount[i], x = values[static_cast<std::size_t>(cells.cell[i])];
        const double weight = weights[static_cast<std::size_t>(cells.cell[i])];
        want.covered += a;
        if (x != x) continue;
        want.count += a;
        want.sum += a * x;
        want.min = std::min(want.min, x);
        want.max = std::max(want.max, x);
        if (weight != weight) continue;
        want.weight += a * weight;
        want.weighted += a * weight * x;
      }
      CHECK_NEAR(got[z].covered, want.covered, 1e-11, 1e-11);
      CHECK_NEAR(got[z].count, want.count, 1e-11, 1e-11);
      CHECK_NEAR(got[z].sum, want.sum, 1e-10, 1e-9);
      CHECK_NEAR(got[z].weight, want.weight, 1e-10, 1e-9);
      CHECK_NEAR(got[z].weighted, want.weighted, 1e-10, 1e-9);
      CHECK(got[z].min == want.min && got[z].max == want.max);
      CHECK(got[z].measure == cells.measure[z]);
      CHECK(!(got[z].measure > 0.0) ? got[z].outside != got[z].outside : got[z].outside >= 0.0 && got[z].outside <= 1.0);
    }
    for (const int threads : {2, 7}) {
      const std::vector<ZoneSums> again = zonal<double>(zones, g, v, &w, with(threads));
      for (std::size_t z = 0; z < got.size(); ++z) {
        CHECK(same(got[z].sum, again[z].sum) && same(got[z].weighted, again[z].weighted) &&
              same(got[z].count, again[z].count) && same(got[z].outside, again[z].outside));
      }
    }
  }
}

TEST(zones_must_fit) {
  const Grid g{0.0, 5.0, 1.0, 1.0, 5, 6};
  Made made;
  made.point(1, 1);
  std::vector<double> values(30, 1.0);
  const RasterView<const double> v(values.data(), 5, 6), small(values.data(), 5, 5);
  const std::vector<std::int64_t> good{0, 1}, longer{0, 2}, falling{0, 1, 0, 1}, none;
  CHECK(zonal<double>(zones_of(made, Kind::points, good), g, v, nullptr, with(1))[0].sum == 1.0);
  CHECK_THROWS(zonal<double>(zones_of(made, Kind::points, longer), g, v, nullptr, with(1)), InvalidArgument);
  CHECK_THROWS(zonal<double>(zones_of(made, Kind::points, falling), g, v, nullptr, with(1)), InvalidArgument);
  CHECK_THROWS(zonal<double>(zones_of(made, Kind::points, none), g, v, nullptr, with(1)), InvalidArgument);
  CHECK_THROWS(zonal<double>(zones_of(made, Kind::points, good), g, small, nullptr, with(1)), InvalidArgument);
}

TEST(focal_is_the_sum_over_the_neighbourhood) {
  Random random(13);
  for (int round = 0; round < 160; ++round) {
    const Grid g = grid_of(random);
    const std::vector<double> values = values_on(random, g, round % 4 == 0 ? 0.9 : 0.1 * (round % 3));
    const RasterView<const double> v(values.data(), g.rows, g.cols);
    const double radius = round % 7 == 0 ? 1000.0 : random.uniform(0.0, 12.0);
    const Neighbourhood shape = round % 2 == 0 ? Neighbourhood::circle : Neighbourhood::square;
    const FocalStatistic statistic = round % 3 == 0 ? FocalStatistic::sum : FocalStatistic::mean;
    std::vector<double> out(values.size());
    focal<double, double>(v, g, {0, 0, g.rows, g.cols}, radius, shape, statistic, with(2),
                          RasterView<double>(out.data(), g.rows, g.cols));
    for (std::int64_t cell = 0; cell < g.rows * g.cols; cell += 5) {
      double sum = 0.0, count = 0.0;
      for (std::int64_t other = 0; other < g.rows * g.cols; ++other) {
        const double x = static_cast<double>(other % g.cols - cell % g.cols) * g.dx;
        const double y = static_cast<double>(other / g.cols - cell / g.cols) * g.dy;
        const bool in = shape == Neighbourhood::circle ? std::hypot(x, y) <= radius * (1 + 1e-9)
                                                       : std::max(std::fabs(x), std::fabs(y)) <= radius * (1 + 1e-9);
        const double value = values[static_cast<std::size_t>(other)];
        if (!in || value != value) continue;
        sum += value;
        count += 1.0;
      }
      const double got = out[static_cast<std::size_t>(cell)];
      if (count == 0.0) {
        CHECK(got != got);
      } else {
        CHECK_NEAR(got, statistic == FocalStatistic::sum ? sum : sum / count, 1e-10, 1e-9);
      }
    }
    for (const int threads : {1, 7}) {
      Window w{random.whole(0, static_cast<int>(g.rows) - 1), random.whole(0, static_cast<int>(g.cols) - 1), 0, 0};
      w.nrows = random.whole(0, static_cast<int>(g.rows - w.row0));
      w.ncols = random.whole(0, static_cast<int>(g.cols - w.col0));
      std::vector<double> part(static_cast<std::size_t>(w.nrows * w.ncols) + 1);
      focal<double, double>(v, g, w, radius, shape, statistic, with(threads),
                            RasterView<double>(part.data(), w.nrows, w.ncols));
      bool equal = true;
      for (std::int64_t i = 0; i < w.nrows * w.ncols; ++i) {
        equal = equal && same(part[static_cast<std::size_t>(i)],
                              out[static_cast<std::size_t>((w.row0 + i / w.ncols) * g.cols + w.col0 + i % w.ncols)]);
      }
      CHECK(equal);
    }
  }
}

// What the fuzzer found, kept.
TEST(a_line_without_length_holds_nothing) {
  const Grid g{0.0, 5.0, 1.0, 1.0, 5, 1};
  Made made;
  made.line({1, 4, 1, 4, 1, 4});  // on the raster's right edge
  made.line({0.5, 4.5, 0.5, 4.5});
  const std::vector<std::int64_t> offsets{0, 1, 2};
  CHECK(coverage(zones_of(made, Kind::lines, offsets), g, 100, with(1)).zone.empty());
}
