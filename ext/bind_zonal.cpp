#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "rtmdx/coverage.hpp"
#include "rtmdx/zonal.hpp"

namespace rtmdx::bind {
namespace {

struct Named {
  const char* name;
  Kind kind;
};

constexpr Named kinds[] = {{"points", Kind::points}, {"lines", Kind::lines}, {"polygons", Kind::polygons}};

Zones zones_of(const FeatureArrays& features, const std::string& kind, const Offsets& offsets) {
  for (const Named& k : kinds) {
    if (kind == k.name) {
      return {features.view, k.kind, {offsets.data(), static_cast<std::size_t>(offsets.size())}};
    }
  }
  throw InvalidArgument("no kind of feature is called " + kind);
}

// An array that owns the vector's memory.
template <class T>
py::array_t<T> array_of(std::vector<T>&& values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  const py::capsule owner(owned.get(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  const std::vector<T>& kept = *owned.release();
  return py::array_t<T>(static_cast<py::ssize_t>(kept.size()), kept.data(), owner);
}

template <class T>
py::dict run_zonal(const py::array_t<T, 0>& values, const py::object& weights, const FeatureArrays& features,
                   const Offsets& offsets, const Grid& grid, const std::string& kind, int threads,
                   const py::object& cancel, const py::object& progress) {
  const Zones zones = zones_of(features, kind, offsets);
  const RasterView<const T> view = raster_in(values);
  py::array_t<T, 0> weight_array;
  RasterView<const T> weight_view{nullptr, 0, 0};
  if (!weights.is_none()) {
    if (!py::isinstance<py::array_t<T, 0>>(weights)) throw InvalidArgument("weights must have the raster's dtype");
    weight_array = py::reinterpret_borrow<py::array_t<T, 0>>(weights);
    weight_view = raster_in(weight_array);
  }
  const RasterView<const T>* weighing = weights.is_none() ? nullptr : &weight_view;
  const Call how(threads, cancel, progress);
  std::vector<ZoneSums> sums;
  {
    // Safe: all arrays are held by references of this call; the engine touches no Python object, and the cancel check
    // takes the GIL itself.
    const py::gil_scoped_release release;
    sums = zonal(zones, grid, view, weighing, how);
    how.finish();
  }
  constexpr std::pair<const char*, double ZoneSums::*> columns[] = {
      {"measure", &ZoneSums::measure}, {"outside", &ZoneSums::outside}, {"covered", &ZoneSums::covered},
      {"count", &ZoneSums::count},     {"sum", &ZoneSums::sum},         {"min", &ZoneSums::min},
      {"max", &ZoneSums::max},         {"weight", &ZoneSums::weight},   {"weighted", &ZoneSums::weighted},
  };
  py::dict out;
  for (const auto& [name, member] : columns) {
    std::vector<double> column;
    column.reserve(sums.size());
    for (const ZoneSums& s : sums) column.push_back(s.*member);
    out[name] = array_of(std::move(column));
  }
  return out;
}

py::tuple run_coverage(const FeatureArrays& features, const Offsets& offsets, const Grid& grid, const std::string& kind,
                       std::int64_t limit, int threads, const py::object& cancel, const py::object& progress) {
  const Zones zones = zones_of(features, kind, offsets);
  const Call how(threads, cancel, progress);
  ZoneCells cells;
  {
    // Safe: `features` and `offsets` hold their arrays through references of this call; the engine touches no Python
    // object, and the cancel check takes the GIL itself.
    const py::gil_scoped_release release;
    cells = coverage(zones, grid, limit, how);
    how.finish();
  }
  return py::make_tuple(array_of(std::move(cells.zone)), array_of(std::move(cells.cell)),
                        array_of(std::move(cells.amount)), array_of(std::move(cells.measure)),
                        array_of(std::move(cells.outside)));
}

template <class T>
void define(py::module_& m) {
  m.def("zonal", &run_zonal<T>, py::arg("values").noconvert(), py::arg("weights"), py::arg("features"),
        py::arg("offsets").noconvert(), py::arg("grid"), py::kw_only(), py::arg("kind"), py::arg("threads"),
        py::arg("cancel") = py::none(), py::arg("progress") = py::none(),
        "Sums of a raster over zones, one array per figure, shape (zones,).");
}

}  // namespace

void register_zonal(py::module_& m) {
  define<float>(m);
  define<double>(m);
  m.def("coverage", &run_coverage, py::arg("features"), py::arg("offsets").noconvert(), py::arg("grid"), py::kw_only(),
        py::arg("kind"), py::arg("limit"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(),
        "Zone, cell and amount of every pair that meets; every zone's measure and share outside.");
}

}  // namespace rtmdx::bind
