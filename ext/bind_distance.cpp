#include "bindings.hpp"
#include "rtmdx/distance.hpp"

namespace rtmdx::bind {
namespace {

template <class T>
void run(py::array_t<T, 0> out, const FeatureArrays& features, const Grid& grid, const Window& window,
         double max_distance, int threads, const py::object& cancel, const py::object& progress) {
  const RasterView<T> view = raster_view(out, window);
  const Run how = run_with(threads, cancel, progress);
  // Safe: `features` and `out` hold their arrays through references of this call; the engine touches no Python
  // object, and the cancel check takes the GIL itself.
  const py::gil_scoped_release release;
  distance(features.view, grid, window, max_distance, how, view);
}

template <class T>
void define(py::module_& m) {
  m.def("distance", &run<T>, py::arg("out").noconvert(), py::arg("features"), py::arg("grid"), py::arg("window"),
        py::kw_only(), py::arg("max_distance"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(),
        "Write the distance from every cell centre of the window to the nearest feature into out.");
}

}  // namespace

void register_distance(py::module_& m) {
  define<float>(m);
  define<double>(m);
}

}  // namespace rtmdx::bind
