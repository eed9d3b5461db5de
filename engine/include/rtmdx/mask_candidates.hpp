// Candidates of a tile of a mask, and the loops over them that mask_descent.cpp decides between.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "rtmdx/mask_parts.hpp"

namespace rtmdx::mask {

constexpr std::size_t lanes = 8;
constexpr std::size_t few = 3;  // so few candidates cost less to evaluate than to prune
constexpr std::int64_t leaf_cells = 8;
constexpr float nowhere = 1e15F;         // fills the last vector of candidates
constexpr float exact_below = 16777216;  // 2^24

// Candidates' columns, then their rows, each padded to whole vectors.
struct Level {
  std::vector<float> data;
  std::size_t size = 0;
  std::size_t stride = 0;

  const float* col() const { return data.data(); }
  const float* row() const { return data.data() + stride; }
  void reserve(std::size_t n) {
    stride = (n + lanes - 1) / lanes * lanes;
    if (data.size() < 2 * stride) data.resize(2 * stride);
  }
  void pad() {
    for (std::size_t i = size; i % lanes != 0; ++i) data[i] = data[stride + i] = nowhere;
  }
};

struct Corners {
  float x0, y0, x1, y1;
};

inline float pair(float x, float y, float px, float py, float wx, float wy) {
  const float ex = x - px, ey = y - py;
  return (ex * ex) * wx + (ey * ey) * wy;
}

// d2[i] = weighted square of the distance from (x, y) to candidate i, n a whole number of vectors; returns the smallest.
float squared(const float* px, const float* py, std::size_t n, float x, float y, float wx, float wy, float* d2);

// keep[i] = 1 if candidate i may be as near as g to at least one corner.
void near_any_corner(const float* px, const float* py, std::size_t n, const Corners& c, float gx, float gy, float wx,
                     float wy, float margin, std::uint8_t* keep);

// d2[r * lanes + k] for the cells of a leaf at (x, y), exact below 2^24; returns the largest.
float evaluate_leaf(const float* px, const float* py, std::size_t n, float x, float y, float* d2);
void evaluate_leaf(const float* px, const float* py, std::size_t n, double x, double y, double wx, double wy, double* d2);

// d2[k] of columns x + k of a row, from 1 to `few` candidates, every d2 below 2^24.
void evaluate_run(const float* px, const float* py, std::size_t m, float x, float y, std::size_t n, float* d2);

// The same for several rows, with scale * sqrt(d2) as the result.
void evaluate_roots(const float* px, const float* py, std::size_t m, float x, float y, std::size_t rows, std::size_t n,
                    double scale, float* out, std::int64_t stride);

}  // namespace rtmdx::mask
