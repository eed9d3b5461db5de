#include <memory>
#include <string>
#include <utility>

#include "bindings.hpp"
#include "rtmdx/distance.hpp"

namespace rtmdx::bind {
namespace {

constexpr const char* metrics[] = {"euclidean", "manhattan"};

Metric metric_named(const std::string& name) {
  if (name == metrics[0]) return Metric::euclidean;
  if (name == metrics[1]) return Metric::manhattan;
  throw InvalidArgument("no metric is called " + name);
}

// Owns references to what the prepared features view.
struct NearestArrays {
  py::object features;
  Offsets points, lines, polygons;  // input geometry of each
  std::unique_ptr<Nearest> nearest;
};

Span<std::int64_t> span(const Offsets& a) { return {a.data(), static_cast<std::size_t>(a.size())}; }

std::unique_ptr<NearestArrays> prepare(const py::object& features, const Grid& grid, Offsets points, Offsets lines,
                                       Offsets polygons, const py::object& cancel) {
  auto made = std::make_unique<NearestArrays>();
  made->features = features;
  made->points = std::move(points);
  made->lines = std::move(lines);
  made->polygons = std::move(polygons);
  const Features& view = features.cast<const FeatureArrays&>().view;
  const Sources sources{span(made->points), span(made->lines), span(made->polygons)};
  const auto one = [](std::size_t given, std::size_t wanted) {
    if (given != wanted) throw InvalidArgument("each point, line and polygon needs one source");
  };
  one(sources.points.size(), view.points.size());
  one(sources.lines.size(), view.lines.size());
  one(sources.polygons.size(), view.polygons.size());
  const Call how(1, cancel);
  // Safe: `made` holds every array the engine reads; it touches no Python object, and the cancel check takes the GIL.
  const py::gil_scoped_release release;
  made->nearest = std::make_unique<Nearest>(view, sources, grid, how);
  return made;
}

template <class T>
void run_distance(py::array_t<T, 0> out, const NearestArrays& features, const Window& window,
                  const std::string& metric, double max_distance, int threads, const py::object& cancel,
                  const py::object& progress) {
  const RasterView<T> view = raster_view(out, window);
  const Metric which = metric_named(metric);
  const Call how(threads, cancel, progress);
  // Safe: `features` and `out` hold their arrays through references of this call; prepared features are never changed.
  const py::gil_scoped_release release;
  distance(*features.nearest, which, window, max_distance, how, view);
  how.finish();
}

void run_bands(py::array_t<std::uint8_t, 0> out, const NearestArrays& features, const Window& window,
               const Doubles& limits, const std::string& metric, int threads, const py::object& cancel,
               const py::object& progress) {
  const RasterView<std::uint8_t> view = raster_view(out, window);
  const Metric which = metric_named(metric);
  const Span<double> at{limits.data(), static_cast<std::size_t>(limits.size())};
  const Call how(threads, cancel, progress);
  // Safe: as above, and `limits` is held by the caller's frame.
  const py::gil_scoped_release release;
  distance_bands(*features.nearest, which, window, at, how, view);
  how.finish();
}

template <class T>
void run_allocation(py::array_t<T, 0> out, py::array_t<std::int64_t, 0> index, const NearestArrays& features,
                    const Window& window, const std::string& metric, double max_distance, int threads,
                    const py::object& cancel, const py::object& progress) {
  const RasterView<T> view = raster_view(out, window);
  const RasterView<std::int64_t> sources = raster_view(index, window);
  const Metric which = metric_named(metric);
  const Call how(threads, cancel, progress);
  // Safe: as above.
  const py::gil_scoped_release release;
  allocation(*features.nearest, which, window, max_distance, how, view, sources);
  how.finish();
}

template <class T>
void define(py::module_& m) {
  m.def("distance", &run_distance<T>, py::arg("out").noconvert(), py::arg("features"), py::arg("window"), py::kw_only(),
        py::arg("metric"), py::arg("max_distance"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(),
        "Write the distance from every cell centre of the window to the nearest feature into out.");
  m.def("allocation", &run_allocation<T>, py::arg("out").noconvert(), py::arg("index").noconvert(), py::arg("features"),
        py::arg("window"), py::kw_only(), py::arg("metric"), py::arg("max_distance"), py::arg("threads"),
        py::arg("cancel") = py::none(), py::arg("progress") = py::none(),
        "Write the distance into out and the input geometry that is nearest into index.");
}

}  // namespace

void register_distance(py::module_& m) {
  py::tuple names(std::size(metrics));
  for (std::size_t i = 0; i < std::size(metrics); ++i) names[i] = metrics[i];
  m.attr("METRICS") = names;
  py::class_<NearestArrays>(m, "Nearest", "Features prepared for distances on one grid, for any number of windows.")
      .def(py::init(&prepare), py::arg("features"), py::arg("grid"), py::kw_only(), py::arg("points").noconvert(),
           py::arg("lines").noconvert(), py::arg("polygons").noconvert(), py::arg("cancel") = py::none());
  m.def("distance_bands", &run_bands, py::arg("out").noconvert(), py::arg("features"), py::arg("window"), py::kw_only(),
        py::arg("limits").noconvert(), py::arg("metric"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(), "Write how many of the ascending limits each cell's distance exceeds.");
  define<float>(m);
  define<double>(m);
}

}  // namespace rtmdx::bind
