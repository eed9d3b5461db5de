#include "rtmdx/features.hpp"

#include <string>

#include "rtmdx/error.hpp"

namespace rtmdx {
namespace {

void check_offsets(const char* what, Span<std::int64_t> offsets, std::size_t length) {
  if (offsets.empty()) {
    if (length == 0) return;
    throw InvalidArgument(std::string(what) + " are empty, but there are " + std::to_string(length) +
                          " items to cut");
  }
  if (offsets[0] != 0) {
    throw InvalidArgument(std::string(what) + " start at " + std::to_string(offsets[0]) + ", expected 0");
  }
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] < offsets[i - 1]) {
      throw InvalidArgument(std::string(what) + " fall from " + std::to_string(offsets[i - 1]) + " to " +
                            std::to_string(offsets[i]) + " at position " + std::to_string(i));
    }
  }
  const std::int64_t last = offsets[offsets.size() - 1];
  if (last != static_cast<std::int64_t>(length)) {
    throw InvalidArgument(std::string(what) + " end at " + std::to_string(last) + ", expected " +
                          std::to_string(length));
  }
}

void check_weights(const char* what, Span<double> weights, std::size_t expected) {
  if (!weights.empty() && weights.size() != expected) {
    throw InvalidArgument(std::string(what) + " weights number " + std::to_string(weights.size()) + ", expected " +
                          std::to_string(expected));
  }
}

}  // namespace

void check(const Features& f) {
  check_offsets("line offsets", f.lines.offsets, f.lines.xy.size() / 2);
  check_offsets("ring offsets", f.polygons.ring_offsets, f.polygons.xy.size() / 2);
  check_offsets("polygon offsets", f.polygons.polygon_offsets, f.polygons.rings());
  check_weights("point", f.points.weights, f.points.size());
  check_weights("line", f.lines.weights, f.lines.size());
  check_weights("polygon", f.polygons.weights, f.polygons.size());
}

}  // namespace rtmdx
