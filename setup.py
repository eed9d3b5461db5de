"""Build the compiled extensions. All metadata lives in pyproject.toml."""

import os
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, setup

ParallelCompile("RTMDX_BUILD_JOBS", default=0).install()  # all processors unless told otherwise
DEBUG = os.environ.get("RTMDX_DEBUG") == "1"

# -ffp-contract=off: every machine and every function clone must give the same bits.
# Never -ffast-math (it makes NaN tests false) and never -march=native (wheels travel).
# -fno-math-errno and -fno-trapping-math touch no arithmetic: they let sqrt and both sides of a choice vectorise.
FLAGS = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-Wall", "-Wextra"]
FLAGS += ["-O1", "-g", "-D_GLIBCXX_ASSERTIONS", "-DRTMDX_DEBUG=1"] if DEBUG else ["-O3"]
LINK, CXX = ["-pthread"], ["-std=c++17"]
if sys.platform == "win32":
    FLAGS, LINK, CXX = ["/O2", "/fp:precise"], [], ["/std:c++17"]

STATS_SOURCES = ["engine/src/code_sums.cpp"]  # loops over rows of codes, called from Cython alone
PRIORITY_SOURCES = [f"engine/src/{name}.cpp" for name in ("rank", "scenario_ranks", "rank_summary", "kendall", "fair", "patches")]  # likewise
ENGINE_SOURCES = sorted({str(p) for p in Path("engine/src").glob("*.cpp")} - {*STATS_SOURCES, *PRIORITY_SOURCES})
ENGINE_HEADERS = sorted(str(p) for p in Path("engine/include/rtmdx").glob("*.hpp"))
BINDINGS = sorted(str(p) for p in Path("ext").glob("*.cpp"))
BINDING_HEADERS = sorted(str(p) for p in Path("ext").glob("*.hpp"))

engine = Pybind11Extension(
    "rtmdx._engine",
    sources=[*BINDINGS, *ENGINE_SOURCES],
    depends=[*ENGINE_HEADERS, *BINDING_HEADERS],
    include_dirs=["engine/include"],
    define_macros=[("RTMDX_FLAGS", '"' + " ".join(FLAGS) + '"')],
    extra_compile_args=list(FLAGS),
    extra_link_args=LINK,
    cxx_std=17,
)

stats = Extension(
    "rtmdx._stats",
    sources=["ext/_stats.pyx", *STATS_SOURCES],
    depends=["ext/_stats.pyx", *ENGINE_HEADERS],
    include_dirs=[numpy.get_include(), "engine/include"],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    extra_compile_args=[*(f for f in FLAGS if f != "-Wextra"), *CXX],
    language="c++",
)

priority = Extension(
    "rtmdx._priority",
    sources=["ext/_priority.pyx", *PRIORITY_SOURCES],
    depends=["ext/_priority.pyx", *ENGINE_HEADERS],
    include_dirs=[numpy.get_include(), "engine/include"],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    extra_compile_args=[*(f for f in FLAGS if f != "-Wextra"), *CXX],
    extra_link_args=LINK,
    language="c++",
)


def loops(name: str, language: str = "c", depends: list[str] | None = None) -> Extension:
    """A Cython module of its own."""
    return Extension(
        f"rtmdx.{name}",
        sources=[f"ext/{name}.pyx"],
        depends=[f"ext/{name}.pyx", *(depends or [])],
        include_dirs=[numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=[*(f for f in FLAGS if f != "-Wextra"), *(CXX if language == "c++" else [])],
        language=language,
    )


setup(
    ext_modules=[
        engine,
        *cythonize(
            [
                stats,
                priority,
                loops("_rows", "c++"),
                loops("_tables"),
                loops("_counts", depends=["ext/_count_terms.pxd"]),
                loops("_rates"),
            ],
            include_path=["ext"],
            build_dir="build/cython",
            language_level=3,
            compiler_directives={"boundscheck": DEBUG},
        ),
    ]
)
