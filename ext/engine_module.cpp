// rtmdx._engine: the module lists its parts and does nothing else.
#include "bindings.hpp"

PYBIND11_MODULE(_engine, m) {
  m.doc() = "The compiled engine of rtmdx. Use the functions of rtmdx and rtmdx.space, which check their arguments.";
  rtmdx::bind::register_errors(m);
  rtmdx::bind::register_features(m);
  rtmdx::bind::register_distance(m);
  rtmdx::bind::register_density(m);
  rtmdx::bind::register_zonal(m);
  rtmdx::bind::register_focal(m);
  rtmdx::bind::register_mask(m);
  rtmdx::bind::register_cost(m);
  rtmdx::bind::register_group_exposure(m);
  rtmdx::bind::register_build_info(m);
}
