"""A hundred thousand cells a side: ten thousand million, streamed in bounded memory. Minutes: `pytest -m long`."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import rtmdx
from rtmdx import Features, Frame

pytestmark = pytest.mark.long
SIDE = 100_000


def places() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, SIDE, (1_000_000, 2))


def test_ten_thousand_million_cells_stream_within_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    code = f"""
    import resource, sys
    import numpy as np, rtmdx
    frame = rtmdx.Frame("EPSG:26915", 0.0, {SIDE}.0, 1.0, 1.0, ({SIDE}, {SIDE}))
    features = rtmdx.Features.from_points(np.random.default_rng(0).uniform(0, {SIDE}, (1_000_000, 2)))
    limits = [10.0, 20.0, 40.0]
    rtmdx.stream_to_zarr(
        lambda window: rtmdx.distance_bands_array(features, frame, limits, window=window),
        frame, sys.argv[1], name="band", dtype="uint8",
    )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    """
    store = tmp_path / "bands.zarr"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(store)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1.5e9
    frame = Frame("EPSG:26915", 0.0, float(SIDE), 1.0, 1.0, (SIDE, SIDE))
    features = Features.from_points(places())
    with xr.open_zarr(store) as opened:
        assert opened["band"].shape == (SIDE, SIDE)
        rng = np.random.default_rng(1)
        for row, col in rng.integers(0, SIDE - 700, (20, 2)):  # windows across the tiles of the stream
            part = (int(row), int(col), 700, 600)
            want = np.searchsorted(
                [10.0, 20.0, 40.0], rtmdx.distance_array(features, frame, window=part, dtype="float64")
            )
            np.testing.assert_array_equal(opened["band"][row : row + 700, col : col + 600].values, want)
