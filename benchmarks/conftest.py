"""Data of the benchmarks: the layers of St. Louis where they are, else made ones of the same size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import shapely

from rtmdx.space.grid import Grid

CRS = "EPSG:26915"


@pytest.fixture(scope="session")
def grid() -> Grid:
    """1000 x 1000 cells of 20 m."""
    return Grid.from_area(shapely.box(0, 0, 20_000, 20_000), CRS, 20)


@pytest.fixture(scope="session")
def places() -> np.ndarray:
    """10,000 points, half of them clustered; shape (n, 2)."""
    rng = np.random.default_rng(0)
    hubs = rng.uniform(0, 20_000, (50, 2))
    return np.vstack(
        [rng.uniform(0, 20_000, (5000, 2)), hubs[rng.integers(0, 50, 5000)] + rng.normal(0, 300, (5000, 2))]
    )


@pytest.fixture(scope="session")
def streets() -> np.ndarray:
    """18,000 short segments."""
    rng = np.random.default_rng(1)
    a = rng.uniform(0, 20_000, (18_000, 2))
    return shapely.linestrings(np.stack([a, a + rng.uniform(-120, 120, a.shape)], axis=1))


@pytest.fixture(scope="session")
def cities() -> Path:
    """Folder of the real cities; the benchmark is skipped where it is absent."""
    for c in (os.environ.get("RTMDX_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if c and Path(c).is_dir():
            return Path(c)
    pytest.skip("the real cities are not here: set RTMDX_DATA to their folder")
