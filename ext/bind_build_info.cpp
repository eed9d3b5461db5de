#include <string>

#include "bindings.hpp"
#include "rtmdx/clones.hpp"

#ifndef RTMDX_FLAGS
#define RTMDX_FLAGS "unknown"
#endif

namespace rtmdx::bind {
namespace {

std::string compiler() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("gcc ") + __VERSION__;
#elif defined(_MSC_VER)
  return "msvc " + std::to_string(_MSC_VER);
#else
  return "unknown";
#endif
}

// Instruction sets the running machine gives to the hot loops.
py::tuple cpu() {
#if RTMDX_HAS_CLONES
  if (__builtin_cpu_supports("avx2")) return py::make_tuple("avx2");
#endif
  return py::tuple();
}

}  // namespace

void register_build_info(py::module_& m) {
  m.def(
      "build_info",
      [] {
        py::dict info;
        info["compiler"] = compiler();
        info["cxx_standard"] = static_cast<long>(__cplusplus);
        info["flags"] = RTMDX_FLAGS;
        info["pybind11"] = std::to_string(PYBIND11_VERSION_MAJOR) + "." + std::to_string(PYBIND11_VERSION_MINOR) +
                           "." + PYBIND11_TOSTRING(PYBIND11_VERSION_PATCH);
#ifdef RTMDX_DEBUG
        info["debug"] = true;
#else
        info["debug"] = false;
#endif
        info["cpu"] = cpu();
        return info;
      },
      "How this extension was built and what it uses here.");
}

}  // namespace rtmdx::bind
