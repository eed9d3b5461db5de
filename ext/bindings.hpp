// What the binding files share: registration functions and the conversions at the door.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "rtmdx/cancel.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/grid.hpp"
#include "rtmdx/view.hpp"

namespace rtmdx::bind {

namespace py = pybind11;

void register_errors(py::module_& m);
void register_features(py::module_& m);
void register_distance(py::module_& m);
void register_density(py::module_& m);
void register_zonal(py::module_& m);
void register_focal(py::module_& m);
void register_mask(py::module_& m);
void register_cost(py::module_& m);
void register_group_exposure(py::module_& m);
void register_build_info(py::module_& m);

// Read-only arrays: float64 or int64, C order, never copied (bound with noconvert).
using Doubles = py::array_t<double, py::array::c_style>;
using Offsets = py::array_t<std::int64_t, py::array::c_style>;

// Owns references to the arrays, so the views stay valid for as long as the Python object lives.
struct FeatureArrays {
  Doubles points, point_weights, line_xy, line_weights, ring_xy, polygon_weights;
  Offsets line_offsets, ring_offsets, polygon_offsets;
  Features view;
};

// How a call runs. Both functions run on the calling thread, between blocks of work: signals first (Ctrl-C), then the
// caller's own check and progress. They take the GIL themselves.
class Call : public Run {
 public:
  Call(int threads_, const py::object& cancel_, const py::object& progress_ = py::none()) {
    threads = threads_;
    cancel = [&cancel_] {
      const py::gil_scoped_acquire gil;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      return !cancel_.is_none() && py::bool_(cancel_());
    };
    if (!progress_.is_none()) {
      progress = [this, &progress_](std::size_t done, std::size_t total) {
        if (total == 0) return;  // nothing is no number of blocks
        const py::gil_scoped_acquire gil;
        progress_(done, total);
        whole_ = done == total;
      };
    }
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Tells that all is done, where the engine did not: an empty window has no loop to tell of.
  void finish() const {
    if (progress && !whole_) progress(1, 1);
  }

 private:
  bool whole_ = false;
};

// A writable raster of the window's shape, its rows contiguous. Throws InvalidArgument otherwise.
template <class T>
RasterView<T> raster_view(py::array_t<T, 0>& out, const Window& window) {
  const auto size = static_cast<py::ssize_t>(sizeof(T));
  if (out.ndim() != 2 || out.shape(0) != window.nrows || out.shape(1) != window.ncols) {
    throw InvalidArgument("output array does not have the window's shape (" + std::to_string(window.nrows) + ", " +
                          std::to_string(window.ncols) + ")");
  }
  if (window.empty()) return {nullptr, window.nrows, window.ncols};
  if (!out.writeable() || (out.shape(1) > 1 && out.strides(1) != size) || out.strides(0) % size != 0) {
    throw InvalidArgument("output array must be writable with contiguous rows");
  }
  if (out.shape(0) > 1 && std::abs(out.strides(0)) < out.shape(1) * size) {
    throw InvalidArgument("output array has rows that overlap in memory");
  }
  return {out.mutable_data(), window.nrows, window.ncols, static_cast<std::int64_t>(out.strides(0) / size)};
}

// A raster to read, of whatever shape, its rows contiguous. Throws InvalidArgument otherwise.
template <class T>
RasterView<const T> raster_in(const py::array_t<T, 0>& in) {
  const auto size = static_cast<py::ssize_t>(sizeof(T));
  if (in.ndim() == 2 && in.size() == 0) return {nullptr, in.shape(0), in.shape(1)};
  if (in.ndim() != 2 || (in.shape(1) > 1 && in.strides(1) != size) || in.strides(0) % size != 0) {
    throw InvalidArgument("input raster must have two dimensions and contiguous rows");
  }
  return {in.data(), in.shape(0), in.shape(1), static_cast<std::int64_t>(in.strides(0) / size)};
}

}  // namespace rtmdx::bind
