#include <memory>
#include <utility>

#include "bindings.hpp"
#include "rtmdx/features.hpp"

namespace rtmdx::bind {
namespace {

Span<double> span(const Doubles& a) { return {a.data(), static_cast<std::size_t>(a.size())}; }
Span<std::int64_t> span(const Offsets& a) { return {a.data(), static_cast<std::size_t>(a.size())}; }

std::unique_ptr<FeatureArrays> make(Doubles points, Doubles point_weights, Doubles line_xy, Offsets line_offsets,
                                    Doubles line_weights, Doubles ring_xy, Offsets ring_offsets,
                                    Offsets polygon_offsets, Doubles polygon_weights) {
  auto f = std::make_unique<FeatureArrays>();
  f->points = std::move(points);
  f->point_weights = std::move(point_weights);
  f->line_xy = std::move(line_xy);
  f->line_offsets = std::move(line_offsets);
  f->line_weights = std::move(line_weights);
  f->ring_xy = std::move(ring_xy);
  f->ring_offsets = std::move(ring_offsets);
  f->polygon_offsets = std::move(polygon_offsets);
  f->polygon_weights = std::move(polygon_weights);
  f->view.points = {span(f->points), span(f->point_weights)};
  f->view.lines = {span(f->line_xy), span(f->line_offsets), span(f->line_weights)};
  f->view.polygons = {span(f->ring_xy), span(f->ring_offsets), span(f->polygon_offsets), span(f->polygon_weights)};
  check(f->view);
  return f;
}

}  // namespace

void register_features(py::module_& m) {
  py::class_<FeatureArrays>(m, "Features", "Geometry as flat arrays, which it keeps alive and never changes.")
      .def(py::init(&make), py::kw_only(), py::arg("points").noconvert(), py::arg("point_weights").noconvert(),
           py::arg("line_xy").noconvert(), py::arg("line_offsets").noconvert(), py::arg("line_weights").noconvert(),
           py::arg("ring_xy").noconvert(), py::arg("ring_offsets").noconvert(),
           py::arg("polygon_offsets").noconvert(), py::arg("polygon_weights").noconvert());
  py::class_<Grid>(m, "Grid", "Grid geometry: upper-left corner, cell size, shape.")
      .def(py::init([](double x_min, double y_max, double dx, double dy, std::int64_t rows, std::int64_t cols) {
             return Grid{x_min, y_max, dx, dy, rows, cols};
           }),
           py::kw_only(), py::arg("x_min"), py::arg("y_max"), py::arg("dx"), py::arg("dy"), py::arg("rows"),
           py::arg("cols"));
  py::class_<Window>(m, "Window", "A rectangle of cells: first row, first column, rows, columns.")
      .def(py::init([](std::int64_t row0, std::int64_t col0, std::int64_t nrows, std::int64_t ncols) {
             return Window{row0, col0, nrows, ncols};
           }),
           py::arg("row0"), py::arg("col0"), py::arg("nrows"), py::arg("ncols"));
}

}  // namespace rtmdx::bind
