#include "bindings.hpp"
#include "rtmdx/cost_distance.hpp"

namespace rtmdx::bind {
namespace {

template <class F>
std::int64_t stride_of(const py::array_t<F, 0>& a, const Grid& grid) {
  const auto size = static_cast<py::ssize_t>(sizeof(F));
  if (a.ndim() != 2 || a.shape(0) != grid.rows || a.shape(1) != grid.cols) {
    throw InvalidArgument("friction does not have the grid's shape (" + std::to_string(grid.rows) + ", " +
                          std::to_string(grid.cols) + ")");
  }
  if (a.size() > 0 && ((a.shape(1) > 1 && a.strides(1) != size) || a.strides(0) % size != 0)) {
    throw InvalidArgument("friction must have contiguous rows");
  }
  return static_cast<std::int64_t>(a.strides(0) / size);
}

Friction friction_view(const py::object& given, const Grid& grid) {
  Friction friction;
  if (given.is_none()) return friction;
  if (py::isinstance<py::array_t<float, 0>>(given)) {
    const auto a = given.cast<py::array_t<float, 0>>();
    friction.stride = stride_of(a, grid);
    friction.single = a.data();
  } else if (py::isinstance<py::array_t<double, 0>>(given)) {
    const auto a = given.cast<py::array_t<double, 0>>();
    friction.stride = stride_of(a, grid);
    friction.twice = a.data();
  } else {
    throw InvalidArgument("friction must be a float32 or float64 array, or None");
  }
  return friction;
}

template <class T>
void run(py::array_t<T, 0> out, const FeatureArrays& features, const Grid& grid, const py::object& friction,
         const FeatureArrays& barriers, int connectivity, double max_cost, int threads, const py::object& cancel,
         const py::object& progress) {
  const RasterView<T> view = raster_view(out, Window{0, 0, grid.rows, grid.cols});
  const Friction cells = friction_view(friction, grid);
  const Call how(threads, cancel, progress);
  // Safe: features, barriers, friction and out are referenced by this call; the engine touches no Python object, and
  // the cancel check and progress take the GIL themselves.
  const py::gil_scoped_release release;
  cost_distance(features.view, grid, cells, barriers.view, connectivity, max_cost, how, view);
  how.finish();
}

template <class T>
void define(py::module_& m) {
  m.def("cost_distance", &run<T>, py::arg("out").noconvert(), py::arg("features"), py::arg("grid"), py::arg("friction"),
        py::arg("barriers"), py::kw_only(), py::arg("connectivity"), py::arg("max_cost"), py::arg("threads"),
        py::arg("cancel") = py::none(), py::arg("progress") = py::none(),
        "Write the least accumulated cost from the features to every cell of the grid into out.");
}

}  // namespace

void register_cost(py::module_& m) {
  define<float>(m);
  define<double>(m);
}

}  // namespace rtmdx::bind
