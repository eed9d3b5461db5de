// The tests' own little frame: cases that register themselves, checks that count.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace tests {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Counts {
  long checks = 0, failures = 0;
};

inline Counts& counts() {
  static Counts all;
  return all;
}

struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline void check(bool holds, const char* what, const char* file, int line, const std::string& detail = "") {
  ++counts().checks;
  if (holds) return;
  if (++counts().failures <= 50) std::printf("%s:%d: %s %s\n", file, line, what, detail.c_str());
}

inline bool near(double a, double b, double relative, double absolute) {
  return a == b || std::fabs(a - b) <= absolute + relative * std::max(std::fabs(a), std::fabs(b));
}

}  // namespace tests

#define TEST(name)                                            \
  static void name();                                         \
  static const tests::Register register_##name(#name, &name); \
  static void name()
#define CHECK(condition) tests::check((condition), #condition, __FILE__, __LINE__)
#define CHECK_NEAR(a, b, relative, absolute)                                              \
  tests::check(tests::near((a), (b), (relative), (absolute)), #a " ~ " #b, __FILE__, __LINE__, \
               "(" + std::to_string(a) + ", " + std::to_string(b) + ")")
#define CHECK_THROWS(expression, type)                           \
  do {                                                           \
    bool thrown = false;                                         \
    try {                                                        \
      expression;                                                \
    } catch (const type&) {                                      \
      thrown = true;                                             \
    }                                                            \
    tests::check(thrown, #expression " throws " #type, __FILE__, __LINE__); \
  } while (false)
