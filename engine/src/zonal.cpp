#include "rtmdx/zonal.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>

#include "rtmdx/clones.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

constexpr std::size_t lanes = 8;
constexpr double infinity = std::numeric_limits<double>::infinity();

struct Span8 {
  double sum = 0.0, count = 0.0, min = infinity, max = -infinity;
};

// Sum, number and extremes of the values that are numbers. Lane k takes every eighth value: one order for any machine.
template <class T>
[[gnu::always_inline]] inline Span8 sums_of(const T* values, std::size_t n) {
  double sum[lanes] = {}, count[lanes] = {}, low[lanes], high[lanes];
  for (std::size_t k = 0; k < lanes; ++k) {
    low[k] = infinity;
    high[k] = -infinity;
  }
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) {
      const double v = static_cast<double>(values[i + k]);
      const bool number = v == v;
      sum[k] += number ? v : 0.0;
      count[k] += number ? 1.0 : 0.0;
      low[k] = v < low[k] ? v : low[k];
      high[k] = v > high[k] ? v : high[k];
    }
  }
  for (std::size_t k = 0; i < n; ++i, ++k) {
    const double v = static_cast<double>(values[i]);
    const bool number = v == v;
    sum[k] += number ? v : 0.0;
    count[k] += number ? 1.0 : 0.0;
    low[k] = v < low[k] ? v : low[k];
    high[k] = v > high[k] ? v : high[k];
  }
  Span8 out;
  for (std::size_t k = 0; k < lanes; ++k) {
    out.sum += sum[k];
    out.count += count[k];
    out.min = std::min(out.min, low[k]);
    out.max = std::max(out.max, high[k]);
  }
  return out;
}

RTMDX_CLONES Span8 span_sums(const float* values, std::size_t n) { return sums_of(values, n); }
RTMDX_CLONES Span8 span_sums(const double* values, std::size_t n) { return sums_of(values, n); }

struct Weighed {
  double weight = 0.0, weighted = 0.0;
};

template <class T>
[[gnu::always_inline]] inline Weighed weighed_of(const T* values, const T* weights, std::size_t n) {
  double weight[lanes] = {}, weighted[lanes] = {};
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) {
      const double v = static_cast<double>(values[i + k]), w = static_cast<double>(weights[i + k]);
      const bool number = v == v && w == w;
      weight[k] += number ? w : 0.0;
      weighted[k] += number ? w * v : 0.0;
    }
  }
  for (std::size_t k = 0; i < n; ++i, ++k) {
    const double v = static_cast<double>(values[i]), w = static_cast<double>(weights[i]);
    const bool number = v == v && w == w;
    weight[k] += number ? w : 0.0;
    weighted[k] += number ? w * v : 0.0;
  }
  Weighed out;
  for (std::size_t k = 0; k < lanes; ++k) {
    out.weight += weight[k];
    out.weighted += weighted[k];
  }
  return out;
}

RTMDX_CLONES Weighed span_weighed(const float* values, const float* weights, std::size_t n) {
  return weighed_of(values, weights, n);
}
RTMDX_CLONES Weighed span_weighed(const double* values, const double* weights, std::size_t n) {
  return weighed_of(values, weights, n);
}

template <class T>
void add_run(const CellRun& cells, const T* values, const T* weights, ZoneSums& s) {
  const auto n = static_cast<std::size_t>(cells.col1 - cells.col0);
  const double a = cells.amount;
  s.covered += a * static_cast<double>(n);
  const Span8 span = n == 1 ? Span8{} : span_sums(values + cells.col0, n);
  if (n == 1) {  // most runs, along the outline
    const double v = static_cast<double>(values[cells.col0]);
    if (v != v) return;
    s.count += a;
    s.sum += a * v;
    s.min = std::min(s.min, v);
    s.max = std::max(s.max, v);
  } else {
    s.count += a * span.count;
    s.sum += a * span.sum;
    s.min = std::min(s.min, span.min);
    s.max = std::max(s.max, span.max);
  }
  if (weights == nullptr) return;
  const Weighed w = span_weighed(values + cells.col0, weights + cells.col0, n);
  s.weight += a * w.weight;
  s.weighted += a * w.weighted;
}

template <class T>
std::vector<ZoneSums> compute(const Zones& zones, const Grid& grid, RasterView<const T> values,
                              const RasterView<const T>* weights, const Run& run) {
  const ZoneScan scan(zones, grid, run);
  const std::vector<ZoneBand> bands = scan.bands();
  ZoneSums nothing;
  nothing.min = infinity;
  nothing.max = -infinity;
  std::vector<ZoneSums> parts(bands.size(), nothing);
  parallel_for(bands.size(), run, [&](std::size_t block, Poll& poll) {
    std::vector<CellRun> runs;
    scan.scan(bands[block], poll, runs);
    ZoneSums part = nothing;
    std::size_t cells = 0;
    for (const CellRun& r : runs) {
      cells += static_cast<std::size_t>(r.col1 - r.col0) + 8;
      if (cells > 1 << 16) {
        poll();
        cells = 0;
      }
      add_run(r, values.row(r.row), weights == nullptr ? nullptr : weights->row(r.row), part);
    }
    parts[block] = part;
  }, Loop::main);

  std::vector<ZoneSums> out(zones.size(), nothing);
  for (std::size_t b = 0; b < bands.size(); ++b) {
    ZoneSums& to = out[bands[b].zone];
    const ZoneSums& part = parts[b];
    to.covered += part.covered;
    to.count += part.count;
    to.sum += part.sum;
    to.min = std::min(to.min, part.min);
    to.max = std::max(to.max, part.max);
    to.weight += part.weight;
    to.weighted += part.weighted;
  }
  for (std::size_t z = 0; z < zones.size(); ++z) {
    out[z].measure = scan.measure(z);
    out[z].outside = scan.outside(z, out[z].covered);
  }
  return out;
}

}  // namespace

template <class T>
std::vector<ZoneSums> zonal(const Zones& zones, const Grid& grid, RasterView<const T> values,
                            const RasterView<const T>* weights, const Run& run) {
  check(grid, Window{});
  check(zones);
  for (const RasterView<const T>* raster : {static_cast<const RasterView<const T>*>(&values), weights}) {
    if (raster != nullptr && (raster->rows() != grid.rows || raster->cols() != grid.cols)) {
      throw InvalidArgument("raster of " + std::to_string(raster->rows()) + " x " + std::to_string(raster->cols()) +
                            " cells, expected the grid's " + std::to_string(grid.rows) + " x " +
                            std::to_string(grid.cols));
    }
  }
  try {
    return compute(zones, grid, values, weights, run);
  } catch (const std::bad_alloc&) {
    throw OutOfMemory("no memory left for the statistics of " + std::to_string(zones.size()) + " zones");
  }
}

template std::vector<ZoneSums> zonal<float>(const Zones&, const Grid&, RasterView<const float>,
                                            const RasterView<const float>*, const Run&);
template std::vector<ZoneSums> zonal<double>(const Zones&, const Grid&, RasterView<const double>,
                                             const RasterView<const double>*, const Run&);

}  // namespace rtmdx
