// The least of the parabolas along a row of a mask: by a short search, or by divide and conquer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rtmdx/cancel.hpp"

namespace rtmdx::mask {

constexpr std::size_t block = 64;   // columns that share a search
constexpr std::size_t nearby = 48;  // columns either way that the search tries
constexpr std::uint8_t far = 250;   // vertical distances saturate here: far^2 + nearby^2 < 2^16
constexpr std::size_t leaf = 8;

// best[i] = min over |k| < nearby of k^2 + g2[i + k]; stops once no k further off can change a cell, that is when the
// largest best is at most `settled`. Returns whether it got there.
bool search(const std::uint16_t* g2, std::uint16_t* best);
bool search(const double* g2, double wx, double known, double* best);

struct Row {
  const double* g2;  // of every column, +inf for an empty one
  double wx;
  bool ordered;  // winners never fall from left to right, rounding and all
  double* d2;    // d2[c], with room for `leaf` values past the end
};

// d2 of columns [a, b), with candidates [low, high].
void conquer(const Row& row, std::int64_t a, std::int64_t b, std::int64_t low, std::int64_t high, Poll& poll);

}  // namespace rtmdx::mask
