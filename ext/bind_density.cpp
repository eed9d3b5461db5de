#include <string>

#include "bindings.hpp"
#include "rtmdx/density.hpp"

namespace rtmdx::bind {
namespace {

struct Named {
  const char* name;
  Kernel kernel;
};

constexpr Named kernels[] = {
    {"uniform", Kernel::uniform}, {"triangular", Kernel::triangular}, {"epanechnikov", Kernel::epanechnikov},
    {"quartic", Kernel::quartic}, {"gaussian", Kernel::gaussian},
};

Kernel kernel_named(const std::string& name) {
  for (const Named& k : kernels) {
    if (name == k.name) return k.kernel;
  }
  throw InvalidArgument("no kernel is called " + name);
}

template <class T>
void run(py::array_t<T, 0> out, const FeatureArrays& features, const Grid& grid, const Window& window,
         const std::string& kernel, double bandwidth, int threads, const py::object& cancel, const py::object& progress) {
  const RasterView<T> view = raster_view(out, window);
  const Kernel which = kernel_named(kernel);
  const Run how = run_with(threads, cancel, progress);
  // Safe: `features` and `out` hold their arrays through references of this call; the engine touches no Python
  // object, and the cancel check takes the GIL itself.
  const py::gil_scoped_release release;
  density(features.view, grid, window, which, bandwidth, how, view);
}

template <class T>
void define(py::module_& m) {
  m.def("density", &run<T>, py::arg("out").noconvert(), py::arg("features"), py::arg("grid"), py::arg("window"),
        py::kw_only(), py::arg("kernel"), py::arg("bandwidth"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(),
        "Write the kernel density of the features at every cell centre of the window into out.");
}

}  // namespace

void register_density(py::module_& m) {
  py::tuple names(std::size(kernels));
  for (std::size_t i = 0; i < std::size(kernels); ++i) names[i] = kernels[i].name;
  m.attr("KERNELS") = names;
  define<float>(m);
  define<double>(m);
}

}  // namespace rtmdx::bind
