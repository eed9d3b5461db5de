// Runs every case, or those whose names hold the first argument.
#include <cstring>
#include <exception>

#include "check.hpp"

int main(int argc, char** argv) {
  int run = 0;
  for (const tests::Case& c : tests::cases()) {
    if (argc > 1 && std::strstr(c.name, argv[1]) == nullptr) continue;
    const long before = tests::counts().checks, failed = tests::counts().failures;
    try {
      c.run();
    } catch (const std::exception& error) {
      tests::check(false, c.name, __FILE__, __LINE__, std::string("threw ") + error.what());
    }
    std::printf("%-40s %8ld checks%s\n", c.name, tests::counts().checks - before,
                tests::counts().failures > failed ? "  FAILED" : "");
    ++run;
  }
  std::printf("%d cases, %ld checks, %ld failures\n", run, tests::counts().checks, tests::counts().failures);
  return run == 0 || tests::counts().failures > 0 ? 1 : 0;
}
