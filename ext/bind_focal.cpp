#include <string>

#include "bindings.hpp"
#include "rtmdx/focal.hpp"

namespace rtmdx::bind {
namespace {

Neighbourhood shape_named(const std::string& name) {
  if (name == "circle") return Neighbourhood::circle;
  if (name == "square") return Neighbourhood::square;
  throw InvalidArgument("no neighbourhood is called " + name);
}

FocalStatistic statistic_named(const std::string& name) {
  if (name == "sum") return FocalStatistic::sum;
  if (name == "mean") return FocalStatistic::mean;
  throw InvalidArgument("no focal statistic is called " + name);
}

template <class T, class U>
void run(py::array_t<U, 0> out, const py::array_t<T, 0>& values, const Grid& grid, const Window& window, double radius,
         const std::string& shape, const std::string& statistic, int threads, const py::object& cancel,
         const py::object& progress) {
  const RasterView<U> view = raster_view(out, window);
  const RasterView<const T> from = raster_in(values);
  const Neighbourhood around = shape_named(shape);
  const FocalStatistic which = statistic_named(statistic);
  const Call how(threads, cancel, progress);
  // Safe: `values` and `out` are held by references of this call; the engine touches no Python object, and the cancel
  // check takes the GIL itself.
  const py::gil_scoped_release release;
  focal(from, grid, window, radius, around, which, how, view);
  how.finish();
}

template <class T, class U>
void define(py::module_& m) {
  m.def("focal", &run<T, U>, py::arg("out").noconvert(), py::arg("values").noconvert(), py::arg("grid"),
        py::arg("window"), py::kw_only(), py::arg("radius"), py::arg("shape"), py::arg("statistic"), py::arg("threads"),
        py::arg("cancel") = py::none(), py::arg("progress") = py::none(),
        "Write the sum or mean of every cell's neighbourhood into out.");
}

}  // namespace

void register_focal(py::module_& m) {
  define<float, float>(m);
  define<float, double>(m);
  define<double, float>(m);
  define<double, double>(m);
}

}  // namespace rtmdx::bind
