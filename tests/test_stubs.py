"""The hand-written stubs agree with the compiled modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# pybind11's metaclass is no part of the interface
ALLOWED = "rtmdx._engine.(Features|Grid|Nearest|Window)\nrtmdx._engine.(Features|Grid|Nearest|Window).__(new|init)__\n"


MODULES = ("_counts", "_engine", "_priority", "_rates", "_rows", "_stats", "_tables")


def test_stubtest(tmp_path: Path) -> None:
    (tmp_path / "allow").write_text(ALLOWED)
    modules = [f"rtmdx.{m}" for m in MODULES]  # together: reading the libraries they name takes the time
    command = [sys.executable, "-m", "mypy.stubtest", *modules, "--allowlist", str(tmp_path / "allow")]
    command += ["--ignore-unused-allowlist"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"no issues found in {len(MODULES)} modules" in done.stdout
