// Non-owning views: the engine never owns its inputs or outputs.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

namespace rtmdx {

// A read-only run of values.
template <class T>
class Span {
 public:
  Span() = default;
  Span(const T* data, std::size_t size) : data_(data), size_(size) {}

  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const T& operator[](std::size_t i) const {
#ifdef RTMDX_DEBUG
    assert(i < size_);
#endif
    return data_[i];
  }

 private:
  const T* data_ = nullptr;
  std::size_t size_ = 0;
};

// A writable raster, row-major, rows `stride` values apart. Row 0 is the first row of the *window*.
template <class T>
class RasterView {
 public:
  RasterView(T* data, std::int64_t rows, std::int64_t cols, std::int64_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}
  RasterView(T* data, std::int64_t rows, std::int64_t cols) : RasterView(data, rows, cols, cols) {}

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  T* row(std::int64_t r) const {
#ifdef RTMDX_DEBUG
    assert(r >= 0 && r < rows_);
#endif
    return data_ + r * stride_;
  }

 private:
  T* data_;
  std::int64_t rows_;
  std::int64_t cols_;
  std::int64_t stride_;
};

}  // namespace rtmdx
