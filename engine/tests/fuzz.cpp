// libFuzzer target: bytes become a grid and features of every kind, valid or not, and all operations must give sound
// answers. The first byte after the grid chooses the operation. How to run it: README.md.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "brute.hpp"
#include "check.hpp"
#include "rtmdx/coverage.hpp"
#include "rtmdx/density.hpp"
#include "rtmdx/distance.hpp"
#include "rtmdx/focal.hpp"
#include "rtmdx/inside.hpp"
#include "rtmdx/zonal.hpp"

using namespace tests;

namespace {

[[noreturn]] void fail(const char* what, double a, double b, int line) {
  std::printf("fuzz.cpp:%d: %s (%.17g, %.17g)\n", line, what, a, b);
  std::fflush(stdout);
  std::abort();
}

#define REQUIRE(condition, a, b) \
  if (!(condition)) fail(#condition, static_cast<double>(a), static_cast<double>(b), __LINE__)

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  int byte() { return at_ < size_ ? data_[at_++] : 0; }
  int below(int n) { return n <= 1 ? 0 : byte() % n; }
  double unit() { return (byte() * 256 + byte()) / 65535.0; }
  bool done() const { return at_ >= size_; }

 private:
  const std::uint8_t* data_;
  std::size_t size_, at_ = 0;
};

Grid grid_of(Bytes& in) {
  static const double sizes[] = {1.0, 0.1, 1.0 / 3.0, 100.0, 1e-3, 37.7, 1e5, 2.5};
  static const double corners[] = {0.0, 1e7 + 0.1, -5e5 - 1.0 / 3.0, 4.2e6, 123.456, -1.0};
  Grid g;
  g.rows = in.below(65);
  g.cols = in.below(65);
  g.dx = sizes[in.below(8)];
  g.dy = in.below(2) != 0 ? g.dx : sizes[in.below(8)];
  g.x_min = corners[in.below(6)];
  g.y_max = corners[in.below(6)];
  return g;
}

// A place on, beside or far from the grid; `wild` when it is too far for brute force to agree with.
struct Place {
  double x, y;
};

Place place_of(Bytes& in, const Grid& g, const Place& before, bool& wild) {
  const double width = static_cast<double>(g.cols) * g.dx, height = static_cast<double>(g.rows) * g.dy;
  switch (in.below(10)) {
    case 0:  // again
      return before;
    case 1:  // on a corner of cells
      return {g.x_min + in.below(66) * g.dx, g.y_max - in.below(66) * g.dy};
    case 2:  // on a centre
      return {g.x_min + (in.below(65) + 0.5) * g.dx, g.y_max - (in.below(65) + 0.5) * g.dy};
    case 3:  // level with the last
      return {g.x_min + width * in.unit(), before.y};
    case 4:
      return {before.x, g.y_max - height * in.unit()};
    case 5:  // next to nothing away
      return {before.x + std::ldexp(g.dx, -in.below(60)), before.y - std::ldexp(g.dy, -in.below(60))};
    case 6: {
      const int power = in.below(100);
      wild = wild || power > 12;
      return {std::ldexp(in.unit() - 0.5, 3 * power), std::ldexp(in.unit() - 0.5, 3 * power)};
    }
    default:
      return {g.x_min + width * (1.6 * in.unit() - 0.3), g.y_max - height * (1.6 * in.unit() - 0.3)};
  }
}

Made features_of(Bytes& in, const Grid& g, int kind, bool& wild) {
  Made made;
  Place at{g.x_min, g.y_max};
  const int n = in.below(12);
  for (int i = 0; i < n && !in.done(); ++i) {
    const int which = kind == 3 ? in.below(3) : kind;
    if (which == 0) {
      at = place_of(in, g, at, wild);
      made.point(at.x, at.y);
      continue;
    }
    const int chains = which == 1 ? 1 : in.below(4);
    for (int k = 0; k < chains; ++k) {
      std::vector<double> xy;
      for (int v = in.below(9); v > 0; --v) {
        at = place_of(in, g, at, wild);
        xy.insert(xy.end(), {at.x, at.y});
      }
      if (which == 1) {
        made.line(xy);
      } else {
        made.ring(xy);
      }
    }
    if (which == 2) made.end_polygon();
  }
  return made;
}

double largest(const Made& made, const Grid& g) {
  double most = std::fabs(g.x_min) + std::fabs(g.y_max) + 65.0 * (g.dx + g.dy);
  for (const auto* xy : {&made.points, &made.lines, &made.rings}) {
    for (const double v : *xy) most = std::max(most, std::fabs(v));
  }
  return most;
}

Run with(Bytes& in) {
  Run run;
  run.threads = in.below(8) == 0 ? 2 : 1;
  return run;
}

Window window_of(Bytes& in, const Grid& g) {
  Window w;
  w.row0 = in.below(static_cast<int>(g.rows) + 1);
  w.col0 = in.below(static_cast<int>(g.cols) + 1);
  w.nrows = in.below(static_cast<int>(g.rows - w.row0) + 1);
  w.ncols = in.below(static_cast<int>(g.cols - w.col0) + 1);
  return w;
}

template <class Call>
std::vector<double> whole_and_part(Bytes& in, const Grid& g, const Call& call) {
  std::vector<double> whole(static_cast<std::size_t>(g.rows * g.cols), -3.0);
  call(Window{0, 0, g.rows, g.cols}, with(in), RasterView<double>(whole.data(), g.rows, g.cols));
  const Window w = window_of(in, g);
  std::vector<double> part(static_cast<std::size_t>(w.nrows * w.ncols), -3.0);
  call(w, with(in), RasterView<double>(part.data(), w.nrows, w.ncols));
  for (std::size_t i = 0; i < part.size(); ++i) {
    const auto k = static_cast<std::int64_t>(i);
    const double a = whole[static_cast<std::size_t>((w.row0 + k / w.ncols) * g.cols + w.col0 + k % w.ncols)];
    REQUIRE(a == part[i] || (a != a && part[i] != part[i]), a, part[i]);
  }
  return whole;
}

void try_distance(Bytes& in, const Grid& g) {
  bool wild = false;
  const double most = in.below(3) == 0 ? in.unit() * 40.0 * g.dx : inf;
  const Made made = features_of(in, g, in.below(4), wild);
  const std::vector<double> got = whole_and_part(in, g, [&](const Window& w, const Run& run, RasterView<double> out) {
    distance(made.view(), g, w, most, run, out);
  });
  const double rounding = 1e-13 * largest(made, g);
  for (std::size_t i = 0; i < got.size(); ++i) {
    REQUIRE(got[i] >= 0.0, got[i], 0.0);
    REQUIRE(got[i] <= most || got[i] == inf, got[i], most);
    if (wild || i % 3 != 0) continue;
    const auto k = static_cast<std::int64_t>(i);
    const double want = distance_to(made.view(), g.x_min + g.centre_x(k % g.cols), g.y_max - g.centre_y(k / g.cols));
    if (want > most - 10 * rounding && want < most + 10 * rounding) continue;
    // A flat ring may hold a centre or not; its boundary is then within rounding anyway.
    REQUIRE(near(got[i], want > most ? inf : want, 1e-8, 10.0 * rounding), got[i], want);
  }
}

void try_density(Bytes& in, const Grid& g) {
  static const Kernel kernels[] = {Kernel::uniform, Kernel::triangular, Kernel::epanechnikov, Kernel::quartic,
                                   Kernel::gaussian};
  bool wild = false;
  const Kernel kernel = kernels[in.below(5)];
  const double h = g.dx * (0.05 + 30.0 * in.unit() * in.unit()), radius = support_radius(kernel, h);
  const int kind = in.below(3);
  const Made made = features_of(in, g, kind, wild);
  const Features f = made.view();
  const std::vector<double> got = whole_and_part(in, g, [&](const Window& w, const Run& run, RasterView<double> out) {
    density(f, g, w, kernel, h, run, out);
  });
  const double rounding = 1e-15 * largest(made, g);
  double bound = static_cast<double>(f.points.size());
  for (std::size_t i = 0; i < f.lines.size(); ++i) {  // a segment's chord is at most the support's diameter
    edges(f.lines.xy, f.lines.offsets[i], f.lines.offsets[i + 1], false, [&](double ax, double ay, double bx, double by) {
      bound += std::min(std::hypot(bx - ax, by - ay) + rounding, 2.0 * radius);
    });
  }
  bound *= kernel_constant(kernel) / (radius * radius);
  bound += static_cast<double>(f.polygons.size());
  for (const double v : got) REQUIRE(v >= 0.0 && v <= bound * (1.0 + 1e-9), v, bound);
  if (kind != 0 || wild || kernel == Kernel::uniform) return;
  for (std::size_t i = 0; i < got.size(); i += 3) {
    const auto k = static_cast<std::int64_t>(i);
    double want = 0.0;
    for (std::size_t p = 0; p < f.points.size(); ++p) {
      const double u = std::hypot(g.centre_x(k % g.cols) - g.local_x(f.points.xy[2 * p]),
                                  g.centre_y(k / g.cols) - g.local_y(f.points.xy[2 * p + 1])) / radius;
      if (std::fabs(u - 1.0) > 1e-8) want += kernel_at(kernel, u) / (radius * radius);
      if (std::fabs(u - 1.0) <= 1e-8 && kernel == Kernel::gaussian) return;
    }
    REQUIRE(near(got[i], want, 1e-7, 1e-7 * bound), got[i], want);
  }
}

void try_inside(Bytes& in, const Grid& g) {
  bool wild = false;
  const Made made = features_of(in, g, 2, wild);
  const Features f = made.view();
  const Window w = window_of(in, g);
  const std::vector<std::uint8_t> got = inside(f.polygons, g, w, with(in));
  if (wild) return;
  const double rounding = 1e-12 * largest(made, g);
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto k = static_cast<std::int64_t>(i);
    const double x = g.x_min + g.centre_x(w.col0 + k % w.ncols), y = g.y_max - g.centre_y(w.row0 + k / w.ncols);
    bool want = false, boundary = false;
    for (std::size_t p = 0; p < f.polygons.size(); ++p) want = want || inside_polygon(f.polygons, p, x, y);
    for (std::size_t r = 0; r < f.polygons.rings(); ++r) {
      edges(f.polygons.xy, f.polygons.ring_offsets[r], f.polygons.ring_offsets[r + 1], true,
            [&](double ax, double ay, double bx, double by) {
        boundary = boundary || segment_distance(x, y, ax, ay, bx, by) <= rounding;
      });
    }
    if (!boundary) REQUIRE((got[i] != 0) == want, got[i], want);
  }
}

void try_zonal(Bytes& in, const Grid& g) {
  bool wild = false;
  const Kind kind = static_cast<Kind>(in.below(3));
  const Made made = features_of(in, g, static_cast<int>(kind), wild);
  const Features f = made.view();
  const std::size_t n = kind == Kind::points ? f.points.size() : kind == Kind::lines ? f.lines.size() : f.polygons.size();
  std::vector<std::int64_t> offsets{0};
  while (offsets.back() < static_cast<std::int64_t>(n)) {
    offsets.push_back(std::min<std::int64_t>(static_cast<std::int64_t>(n), offsets.back() + in.below(3)));
    if (offsets.size() > 100) offsets.back() = static_cast<std::int64_t>(n);
  }
  Zones zones;
  zones.features = f;
  zones.kind = kind;
  zones.offsets = span(offsets);
  const ZoneCells cells = coverage(zones, g, 1 << 30, with(in));
  std::vector<double> covered(zones.size(), 0.0);
  for (std::size_t i = 0; i < cells.zone.size(); ++i) {
    REQUIRE(cells.amount[i] > 0.0, cells.amount[i], 0.0);
    if (kind == Kind::polygons) REQUIRE(cells.amount[i] <= 1.0, cells.amount[i], 1.0);
    REQUIRE(cells.cell[i] >= 0 && cells.cell[i] < g.rows * g.cols, cells.cell[i], g.rows * g.cols);
    if (i > 0 && cells.zone[i] == cells.zone[i - 1]) REQUIRE(cells.cell[i] > cells.cell[i - 1], cells.cell[i], i);
    covered[static_cast<std::size_t>(cells.zone[i])] += cells.amount[i];
  }
  std::vector<double> values(static_cast<std::size_t>(g.rows * g.cols));
  for (double& v : values) v = in.below(7) == 0 ? missing : in.below(100) - 50.0;
  const RasterView<const double> raster(values.data(), g.rows, g.cols);
  const std::vector<ZoneSums> got = zonal<double>(zones, g, raster, in.below(2) != 0 ? &raster : nullptr, with(in));
  for (std::size_t z = 0; z < got.size(); ++z) {
    REQUIRE(near(got[z].covered, covered[z], 1e-9, 1e-12), got[z].covered, covered[z]);
    REQUIRE(got[z].count >= 0.0 && got[z].count <= got[z].covered * (1 + 1e-9), got[z].count, got[z].covered);
    if (got[z].count > 0.0) {
      const double mean = got[z].sum / got[z].count;
      REQUIRE(mean >= got[z].min - 1e-7 && mean <= got[z].max + 1e-7, mean, got[z].min);
    }
    if (kind != Kind::polygons && !wild) {
      REQUIRE(got[z].covered <= got[z].measure * (1 + 1e-7) + 1e-12 * largest(made, g), got[z].covered, got[z].measure);
    }
  }
  if (kind != Kind::polygons || wild) return;
  for (std::size_t z = 0; z < zones.size(); ++z) {  // triangles are always valid
    if (offsets[z + 1] - offsets[z] != 1) continue;
    const auto p = static_cast<std::size_t>(offsets[z]);
    const auto ring = static_cast<std::size_t>(f.polygons.polygon_offsets[p]);
    if (f.polygons.polygon_offsets[p + 1] - f.polygons.polygon_offsets[p] != 1) continue;
    if (f.polygons.ring_offsets[ring + 1] - f.polygons.ring_offsets[ring] != 3) continue;
    const double west = g.x_min, north = g.y_max;
    const double want = area_in_box(f.polygons, p, west, north - static_cast<double>(g.rows) * g.dy,
                                    west + static_cast<double>(g.cols) * g.dx, north) / (g.dx * g.dy);
    const double big = largest(made, g);  // what its coordinates' rounding does to an area
    const double cells_across = 65.0 * 65.0 + 65.0 * big * 1e-3 / std::min(g.dx, g.dy);
    REQUIRE(near(got[z].covered, want, 1e-7, 1e-13 * big / std::min(g.dx, g.dy) * cells_across), got[z].covered, want);
  }
}

void try_focal(Bytes& in, const Grid& g) {
  const double radius = g.dx * 70.0 * in.unit() * in.unit();
  const Neighbourhood shape = in.below(2) != 0 ? Neighbourhood::circle : Neighbourhood::square;
  const FocalStatistic statistic = in.below(2) != 0 ? FocalStatistic::sum : FocalStatistic::mean;
  std::vector<double> values(static_cast<std::size_t>(g.rows * g.cols));
  for (double& v : values) v = in.below(4) == 0 ? missing : in.byte() - 100.0;
  const RasterView<const double> raster(values.data(), g.rows, g.cols);
  const std::vector<double> got = whole_and_part(in, g, [&](const Window& w, const Run& run, RasterView<double> out) {
    focal<double, double>(raster, g, w, radius, shape, statistic, run, out);
  });
  for (std::size_t i = 0; i < got.size(); i += 97) {
    double sum = 0.0, count = 0.0;
    bool edge = false;
    const auto k = static_cast<std::int64_t>(i);
    for (std::int64_t o = 0; o < g.rows * g.cols; ++o) {
      const double x = static_cast<double>(o % g.cols - k % g.cols) * g.dx;
      const double y = static_cast<double>(o / g.cols - k / g.cols) * g.dy;
      const double d = shape == Neighbourhood::circle ? std::hypot(x, y) : std::max(std::fabs(x), std::fabs(y));
      edge = edge || std::fabs(d - radius) <= 1e-8 * radius;
      const double v = values[static_cast<std::size_t>(o)];
      if (d > radius || v != v) continue;
      sum += v;
      count += 1.0;
    }
    if (edge && radius > 0.0) continue;
    const double want = count == 0.0 ? missing : statistic == FocalStatistic::sum ? sum : sum / count;
    REQUIRE((want != want && got[i] != got[i]) || near(got[i], want, 1e-12, 1e-9), got[i], want);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes in(data, size);
  const Grid g = grid_of(in);
  switch (in.below(5)) {
    case 0:
      try_distance(in, g);
      break;
    case 1:
      try_density(in, g);
      break;
    case 2:
      try_inside(in, g);
      break;
    case 3:
      try_zonal(in, g);
      break;
    default:
      try_focal(in, g);
  }
  return 0;
}
