"""Data of the benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cities() -> Path:
    """Folder of the real cities; the benchmark is skipped where it is absent."""
    for c in (os.environ.get("RTMDX_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if c and Path(c).is_dir():
            return Path(c)
    pytest.skip("the real cities are not here: set RTMDX_DATA to their folder")
