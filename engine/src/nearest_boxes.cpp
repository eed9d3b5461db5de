// The tree of boxes over features that are sorted along a curve.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "rtmdx/nearest.hpp"
#include "rtmdx/parallel.hpp"

namespace rtmdx {
namespace {

using pairs::Place;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t block_nodes = 512;

template <class Each>
Box around(const Each& each) {
  Box box{infinity, infinity, -infinity, -infinity};
  each([&](Place p) {
    box = {std::min(box.x0, p.x), std::min(box.y0, p.y), std::max(box.x1, p.x), std::max(box.y1, p.y)};
  });
  return box;
}

// A rectangle along a direction.
struct Turned {
  double cx, cy, ux, uy, along, across;

  void corners(Place* to) const {
    for (const double t : {-along, along}) {
      for (const double s : {-across, across}) *to++ = {cx + t * ux - s * uy, cy + t * uy + s * ux};
    }
  }
};

// A small rectangle that holds the places: upright, or along the diagonal of their box that they lean to.
template <class Each>
Turned fit(const Box& box, const Each& each) {
  const Place m = box.middle();
  const double width = box.x1 - box.x0, height = box.y1 - box.y0;
  const Turned upright{m.x, m.y, 1.0, 0.0, 0.5 * width, 0.5 * height};
  const double diagonal = std::sqrt(width * width + height * height);
  if (!(width > 0.0) || !(height > 0.0) || !(diagonal > 0.0) || !std::isfinite(diagonal)) return upright;
  double lean = 0.0;
  each([&](Place p) { lean += (p.x - m.x) * (p.y - m.y); });
  const double ux = width / diagonal, uy = (lean < 0.0 ? -height : height) / diagonal;
  double t0 = infinity, t1 = -infinity, s0 = infinity, s1 = -infinity;
  each([&](Place p) {
    const double ex = p.x - m.x, ey = p.y - m.y;
    const double t = ex * ux + ey * uy, s = ey * ux - ex * uy;
    t0 = std::min(t0, t);
    t1 = std::max(t1, t);
    s0 = std::min(s0, s);
    s1 = std::max(s1, s);
  });
  const double t = 0.5 * (t0 + t1), s = 0.5 * (s0 + s1);
  const Turned turned{m.x + t * ux - s * uy, m.y + t * uy + s * ux, ux, uy, 0.5 * (t1 - t0), 0.5 * (s1 - s0)};
  return turned.along * turned.across < upright.along * upright.across ? turned : upright;
}

}  // namespace

void Nearest::index_boxes(const Run& run) {
  if (size_ == 0) return;
  const std::size_t far = points_ ? 0 : 2;  // the arrays of the other end
  const auto ends = [&](std::size_t node, const auto& visit) {
    for (std::size_t i = node * group; i < std::min((node + 1) * group, size_); ++i) {
      visit(Place{data_[i], data_[size_ + i]});
      visit(Place{data_[far * size_ + i], data_[(far + 1) * size_ + i]});
    }
  };
  std::vector<Place> corners;  // of the level below
  const auto below = [&](std::size_t node, const auto& visit) {
    for (std::size_t i = node * 4 * fan; i < std::min((node + 1) * 4 * fan, corners.size()); ++i) visit(corners[i]);
  };
  for (std::size_t size = (size_ + group - 1) / group;; size = (size + fan - 1) / fan) {
    Level level{size, std::vector<double>(pairs::box_arrays(Metric::manhattan) * size),
                std::vector<double>(pairs::box_arrays(Metric::euclidean) * size)};
    std::vector<Place> own(4 * size);
    const auto make = [&](std::size_t i) {
      Box box;
      Turned turned;
      if (levels_.empty()) {
        box = around([&](const auto& visit) { ends(i, visit); });
        turned = fit(box, [&](const auto& visit) { ends(i, visit); });
      } else {
        box = Box{infinity, infinity, -infinity, -infinity};
        const Level& last = levels_.back();
        for (std::size_t k = i * fan; k < std::min((i + 1) * fan, last.size); ++k) {
          box = {std::min(box.x0, last.upright[k]), std::min(box.y0, last.upright[last.size + k]),
                 std::max(box.x1, last.upright[2 * last.size + k]), std::max(box.y1, last.upright[3 * last.size + k])};
        }
        turned = fit(box, [&](const auto& visit) { below(i, visit); });
      }
      const double upright[] = {box.x0, box.y0, box.x1, box.y1};
      for (std::size_t a = 0; a < 4; ++a) level.upright[a * size + i] = upright[a];
      const double values[] = {turned.cx, turned.cy, turned.ux, turned.uy, turned.along, turned.across};
      for (std::size_t a = 0; a < 6; ++a) level.turned[a * size + i] = values[a];
      turned.corners(own.data() + 4 * i);
    };
    parallel_for((size + block_nodes - 1) / block_nodes, run, [&](std::size_t block, Poll&) {
      for (std::size_t i = block * block_nodes; i < std::min((block + 1) * block_nodes, size); ++i) make(i);
    });
    levels_.push_back(std::move(level));
    if (size <= fan) return;
    corners.swap(own);
  }
}

}  // namespace rtmdx
