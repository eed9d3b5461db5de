// One Python class of rtmdx.errors for every class of rtmdx/error.hpp.
#include <exception>
#include <string>

#include "bindings.hpp"
#include "rtmdx/error.hpp"

namespace rtmdx::bind {
namespace {

struct Pair {
  const char* native;
  const char* python;
  bool (*is)(const Error*);
  void (*raise)(const std::string&);
};

template <class E>
constexpr Pair pair(const char* native, const char* python) {
  return {native, python, [](const Error* e) { return dynamic_cast<const E*>(e) != nullptr; },
          [](const std::string& message) { throw E(message); }};
}

// Derived classes before their base.
constexpr Pair pairs[] = {
    pair<InvalidArgument>("InvalidArgument", "InputError"),
    pair<OutOfMemory>("OutOfMemory", "MemoryLimitError"),
    pair<Cancelled>("Cancelled", "Cancelled"),
    pair<Error>("Error", "EngineError"),
};

void translate(std::exception_ptr pointer) {
  if (!pointer) return;
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& error) {
    for (const Pair& p : pairs) {
      if (!p.is(&error)) continue;
      const py::object type = py::module_::import("rtmdx.errors").attr(p.python);
      py::set_error(type, error.what());
      return;
    }
  }
}

}  // namespace

void register_errors(py::module_& m) {
  py::register_local_exception_translator(translate);
  m.def(
      "native_errors",
      [] {
        py::dict names;
        for (const Pair& p : pairs) names[p.native] = p.python;
        return names;
      },
      "Native error class -> class of rtmdx.errors.");
  m.def(
      "raise_native",
      [](const std::string& native, const std::string& message) {
        for (const Pair& p : pairs) {
          if (native == p.native) p.raise(message);
        }
        throw InvalidArgument("no native error is called " + native);
      },
      py::arg("native"), py::arg("message"), "Throw a native error, to see what it becomes.");
}

}  // namespace rtmdx::bind
