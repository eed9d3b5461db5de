// The integral of a kernel over a polygon, by the divergence theorem.
//
// With G(r) = (1 / r^2) int_0^r K(s) s ds, the field V = G(r) (x, y) has div V = K, so the mass is the flux of V
// through the boundary: for each edge p int G(r) ds, where p is the signed distance of the kernel's centre from the
// edge's line. Outside the support G = 1 / (2 pi r^2) and the flux is the signed angle the edge subtends / (2 pi).
// A run of edges whose bounding box the support does not touch subtends the angle between its ends, so a tree of
// boxes over each ring visits only the edges near the circle.
#pragma once

#include <cstddef>
#include <vector>

#include "rtmdx/cancel.hpp"
#include "rtmdx/density.hpp"
#include "rtmdx/features.hpp"
#include "rtmdx/tiles.hpp"

namespace rtmdx {

class PolygonMass {
 public:
  // Coordinates are kept in units of the support radius; rings are turned so that outlines run positively and holes
  // negatively.
  PolygonMass(const Polygons& polygons, const Scaled& scaled, Kernel kernel, const Run& run);

  const std::vector<Box>& boxes() const { return boxes_; }

  // Whether one mass may take long enough to ask for cancelling after each.
  bool intricate(std::size_t polygon) const { return tree_start_[polygon + 1] - tree_start_[polygon] > 64; }

  // Mass of the kernel centred at (x, y) over polygon i: 0 .. 1.
  double mass(std::size_t polygon, double x, double y) const;

 private:
  struct Node {
    Box box;
    std::size_t first, last;  // edges; edge e runs from vertex e to vertex e + 1
    std::size_t skip;         // the next node that is not below this one
  };

  void add_ring(const Polygons& polygons, const Scaled& scaled, std::size_t v0, std::size_t v1, bool hole,
                PacedPoll& poll);
  Box build(std::size_t first, std::size_t last, PacedPoll& poll);

  Kernel kernel_;
  std::vector<double> vx_, vy_;
  std::vector<double> ex_, ey_, length_;  // unit direction and length of edge e
  std::vector<Node> nodes_;               // every ring's tree, parents before children
  std::vector<std::size_t> tree_start_;   // nodes of polygon i: tree_start_[i] .. tree_start_[i + 1]
  std::vector<Box> boxes_;
};

// Writes the mass of the kernel centred at each point (map coordinates, interleaved x, y) over all polygons together:
// 0 .. their number. `grid` gives the corner that coordinates are taken relative to.
void kernel_mass(const Polygons& polygons, const Grid& grid, Kernel kernel, double bandwidth, Span<double> points,
                 const Run& run, double* out);

}  // namespace rtmdx
