"""The engine's own test program, plain and under sanitizers: `engine/tests/run`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[1] / "engine" / "tests" / "run"
CANNOT = 77  # the script's word for a compiler without the sanitizer


@pytest.mark.skipif(sys.platform == "win32", reason="the script is for bash")
@pytest.mark.skipif(not RUN.exists(), reason="the engine's sources are not beside the tests")
@pytest.mark.parametrize("kind", ["plain", "address", "thread"])
def test_engine_program(kind: str, tmp_path: Path) -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    done = subprocess.run(
        ["bash", str(RUN), kind],
        env={**os.environ, "RTMDX_TEST_BUILD": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode == CANNOT:
        pytest.skip(f"{compiler} has no runtime for {kind}: {done.stdout.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    cases, failures = re.search(r"(\d+) cases, \d+ checks, (\d+) failures", done.stdout).groups()
    assert int(cases) > 10
    assert int(failures) == 0
