#include "rtmdx/distance.hpp"

#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "rtmdx/cells.hpp"
#include "rtmdx/descent.hpp"

namespace rtmdx {

double descent::largest_value(Metric metric, double limit) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (metric != Metric::euclidean || limit == infinity) return limit;
  double v = std::min(limit * limit, std::numeric_limits<double>::max());
  while (v > 0.0 && std::sqrt(v) > limit) v = std::nextafter(v, 0.0);
  while (std::sqrt(std::nextafter(v, infinity)) <= limit) v = std::nextafter(v, infinity);
  return v;
}

OutOfMemory descent::no_memory(const char* what, const Nearest& features, const Window& window) {
  return OutOfMemory(std::string("no memory left for ") + what + " of " + std::to_string(window.nrows) + " x " +
                     std::to_string(window.ncols) + " cells to " + std::to_string(features.size()) +
                     " points and segments; ask for smaller windows or use fewer threads");
}

template <class T>
void distance(const Nearest& features, Metric metric, const Window& window, double max_distance, const Run& run,
              RasterView<T> out) {
  check(features.grid(), window);
  if (window.empty()) return;
  try {
    const std::vector<std::uint8_t> inside = features.polygons().inside(window, run);
    const descent::DistanceOutput<T> output{metric, window, descent::largest_value(metric, max_distance), out};
    const descent::Question question{features, metric, window, max_distance, inside};
    descent::Descent<descent::DistanceOutput<T>>(question, output).run(run);
  } catch (const std::bad_alloc&) {
    throw descent::no_memory("the distance", features, window);
  }
}

template <class T>
void distance(const Features& features, const Grid& grid, const Window& window, double max_distance, const Run& run,
              RasterView<T> out) {
  check(grid, window);
  check(features);
  if (window.empty()) return;
  distance(Nearest(features, Sources{}, grid, run), Metric::euclidean, window, max_distance, run, out);
}

template void distance<float>(const Nearest&, Metric, const Window&, double, const Run&, RasterView<float>);
template void distance<double>(const Nearest&, Metric, const Window&, double, const Run&, RasterView<double>);
template void distance<float>(const Features&, const Grid&, const Window&, double, const Run&, RasterView<float>);
template void distance<double>(const Features&, const Grid&, const Window&, double, const Run&, RasterView<double>);

}  // namespace rtmdx
