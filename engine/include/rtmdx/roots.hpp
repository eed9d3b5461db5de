// From squared distances to distances, many cells at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtmdx {

// to[r * pitch + c] = the root of value[r * stride + c].
void roots(const double* value, std::size_t stride, std::size_t rows, std::size_t cols, double* to, std::int64_t pitch);

// The root of the rounded square is as near as the rounded root, to one unit in the last place, unless the square
// leaves single precision's range.
void roots(const double* value, std::size_t stride, std::size_t rows, std::size_t cols, float* to, std::int64_t pitch);

}  // namespace rtmdx
