// The one tree of engine errors. The bindings map every class here to one Python class.
#pragma once

#include <stdexcept>
#include <string>

namespace rtmdx {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// An argument cannot be what the caller meant (layout of arrays, window outside the grid).
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

// An allocation failed; nothing was written that the caller may use.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// The caller's cancel check asked to stop.
class Cancelled : public Error {
 public:
  using Error::Error;
};

}  // namespace rtmdx
