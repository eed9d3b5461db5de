#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings.hpp"
#include "rtmdx/density.hpp"
#include "rtmdx/polygon_mass.hpp"

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

Method method_named(const std::string& name) {
  if (name == "automatic") return Method::automatic;
  if (name == "scatter") return Method::scatter;
  if (name == "sweep") return Method::sweep;
  throw InvalidArgument("no method is called " + name + "; there are automatic, scatter and sweep");
}

template <class T>
void run(const std::vector<RasterView<T>>& out, const FeatureArrays& features, const Grid& grid, const Window& window,
         const std::string& kernel, const std::vector<double>& bandwidths, const Call& way, const std::string& method) {
  const Kernel which = kernel_named(kernel);
  const Method how = method_named(method);
  // Safe: the callers hold `features` and the arrays behind `out`; the engine touches no Python object, and the user's
  // functions take the GIL themselves.
  const py::gil_scoped_release release;
  density(features.view, grid, window, which, Span<double>(bandwidths.data(), bandwidths.size()), way, out, how);
  way.finish();
}

template <class T>
void one(py::array_t<T, 0> out, const FeatureArrays& features, const Grid& grid, const Window& window,
         const std::string& kernel, double bandwidth, int threads, const py::object& cancel, const py::object& progress,
         const std::string& method) {
  run<T>({raster_view(out, window)}, features, grid, window, kernel, {bandwidth}, Call(threads, cancel, progress), method);
}

template <class T>
void several(const py::array_t<T, 0>& out, const FeatureArrays& features, const Grid& grid, const Window& window,
             const std::string& kernel, const std::vector<double>& bandwidths, int threads, const py::object& cancel,
             const py::object& progress, const std::string& method) {
  if (out.ndim() != 3 || out.shape(0) != static_cast<py::ssize_t>(bandwidths.size())) {
    throw InvalidArgument("output array must have three dimensions, the first of " + std::to_string(bandwidths.size()) +
                          ", one raster per bandwidth");
  }
  std::vector<py::array_t<T, 0>> rasters;
  std::vector<RasterView<T>> views;
  for (std::size_t i = 0; i < bandwidths.size(); ++i) {
    rasters.push_back(py::array_t<T, 0>(py::object(out[py::int_(i)])));
    views.push_back(raster_view(rasters.back(), window));
  }
  run<T>(views, features, grid, window, kernel, bandwidths, Call(threads, cancel, progress), method);
}

template <class T>
void define(py::module_& m) {
  m.def("density", &one<T>, py::arg("out").noconvert(), py::arg("features"), py::arg("grid"), py::arg("window"),
        py::kw_only(), py::arg("kernel"), py::arg("bandwidth"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(), py::arg("method") = "automatic",
        "Write the kernel density of the features at every cell centre of the window into out.");
  m.def("densities", &several<T>, py::arg("out").noconvert(), py::arg("features"), py::arg("grid"), py::arg("window"),
        py::kw_only(), py::arg("kernel"), py::arg("bandwidths"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(), py::arg("method") = "automatic",
        "Write the kernel density for each bandwidth into out[i]: the bits of single calls, preparation shared.");
}

void mass(py::array_t<double, py::array::c_style> out, const FeatureArrays& polygons, const Doubles& points,
          const Grid& grid, const std::string& kernel, double bandwidth, int threads, const py::object& cancel,
          const py::object& progress) {
  if (points.ndim() != 2 || points.shape(1) != 2 || out.ndim() != 1 || out.shape(0) != points.shape(0)) {
    throw InvalidArgument("points must have the shape (n, 2) and out the shape (n,)");
  }
  const Kernel which = kernel_named(kernel);
  const Call way(threads, cancel, progress);
  double* to = out.mutable_data();
  const Span<double> xy(points.data(), static_cast<std::size_t>(points.size()));
  // Safe: the arrays are held by this call's arguments; the engine touches no Python object.
  const py::gil_scoped_release release;
  kernel_mass(polygons.view.polygons, grid, which, bandwidth, xy, way, to);
  way.finish();
}

}  // namespace

void register_density(py::module_& m) {
  py::tuple names(std::size(kernels));
  for (std::size_t i = 0; i < std::size(kernels); ++i) names[i] = kernels[i].name;
  m.attr("KERNELS") = names;
  define<float>(m);
  define<double>(m);
  m.def("kernel_mass", &mass, py::arg("out").noconvert(), py::arg("polygons"), py::arg("points").noconvert(),
        py::arg("grid"), py::kw_only(), py::arg("kernel"), py::arg("bandwidth"), py::arg("threads"),
        py::arg("cancel") = py::none(), py::arg("progress") = py::none(),
        "Write the mass of the kernel around each point that lies in the polygons into out.");
}

}  // namespace rtmdx::bind
