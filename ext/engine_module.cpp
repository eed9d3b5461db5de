// rtmdx._engine: the module lists its parts and does nothing else.
#include "bindings.hpp"

PYBIND11_MODULE(_engine, m) {
  m.doc() = "Compiled rasters of rtmdx: distance and density. Use rtmdx.space.surfaces, which checks its arguments.";
  rtmdx::bind::register_errors(m);
  rtmdx::bind::register_features(m);
  rtmdx::bind::register_distance(m);
  rtmdx::bind::register_density(m);
  rtmdx::bind::register_build_info(m);
}
