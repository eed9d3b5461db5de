"""Shared fixtures: where the real cities are, and a small square study area."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely

CRS = "EPSG:26915"
ORIGIN = (700_000.0, 4_200_000.0)


def heed_interrupts() -> None:
    """For `preexec_fn`: a shell's background job ignores Ctrl-C, and so would the processes a test starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _data_folder() -> Path | None:
    candidates = [os.environ.get("RTMDX_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


@pytest.fixture(scope="session")
def cities() -> Path:
    """Folder of the real cities; the test is skipped where it is absent."""
    folder = _data_folder()
    if folder is None:
        pytest.skip("the real cities are not here: set RTMDX_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """One Ray of two cores for all tests; executors use the session there is and leave it running."""
    ray = pytest.importorskip("ray")
    from rtmdx.sweep.ray_executor import _quiet

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([before] if before else [])])
    with _quiet():
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket on a server of moto."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("obstore")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    settings = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }  # fmt: skip
    before = {k: os.environ.get(k) for k in settings}
    os.environ.update(settings)
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/sweeps", method="PUT")).close()
    yield "s3://sweeps"
    server.stop()
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture
def square() -> gpd.GeoDataFrame:
    """A 1000 x 1000 m study area whose corners are multiples of 100."""
    x, y = ORIGIN
    return gpd.GeoDataFrame(geometry=[shapely.box(x, y, x + 1000, y + 1000)], crs=CRS)


def points(*offsets: tuple[float, float], crs: str = CRS) -> gpd.GeoDataFrame:
    """Points given as offsets from the square's lower-left corner."""
    x, y = ORIGIN
    return gpd.GeoDataFrame(geometry=[shapely.Point(x + a, y + b) for a, b in offsets], crs=crs)
