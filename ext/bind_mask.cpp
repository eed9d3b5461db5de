#include "bindings.hpp"
#include "rtmdx/mask_distance.hpp"

namespace rtmdx::bind {
namespace {

using Bytes = py::array_t<std::uint8_t, 0>;

MaskView mask_view(const Bytes& mask) {
  if (mask.ndim() != 2) throw InvalidArgument("mask has " + std::to_string(mask.ndim()) + " dimensions, expected 2");
  if (mask.size() > 0 && mask.shape(1) > 1 && mask.strides(1) != 1) throw InvalidArgument("mask must have contiguous rows");
  return {mask.data(), mask.shape(0), mask.shape(1), static_cast<std::int64_t>(mask.strides(0))};
}

template <class T>
void run(py::array_t<T, 0> out, const Bytes& mask, const Grid& grid, const Window& window, double max_distance,
         int threads, const py::object& cancel, const py::object& progress) {
  const RasterView<T> view = raster_view(out, window);
  const MaskView cells = mask_view(mask);
  const Call how(threads, cancel, progress);
  // Safe: `mask` and `out` are referenced by this call; the engine touches no Python object, and the cancel check takes
  // the GIL itself.
  const py::gil_scoped_release release;
  mask_distance(cells, grid, window, max_distance, how, view);
  how.finish();
}

template <class T>
void define(py::module_& m) {
  m.def("mask_distance", &run<T>, py::arg("out").noconvert(), py::arg("mask").noconvert(), py::arg("grid"),
        py::arg("window"), py::kw_only(), py::arg("max_distance"), py::arg("threads"), py::arg("cancel") = py::none(),
        py::arg("progress") = py::none(),
        "Write the distance from every cell centre of the window to the nearest feature cell of the mask into out.");
}

}  // namespace

void register_mask(py::module_& m) {
  define<float>(m);
  define<double>(m);
}

}  // namespace rtmdx::bind
