"""Where a result comes from: inputs, versions, build, seed."""

from __future__ import annotations

import copy
import datetime as dt
import importlib.metadata
import platform
from functools import cache
from typing import Any

from rtmdx.runs.inputs import Inputs
from rtmdx.runs.study import Study

__all__ = ["build_info", "provenance"]

_PACKAGES = ("rtmdx", "numpy", "scipy", "pandas", "geopandas", "shapely", "pyproj", "pyogrio", "xarray", "zarr")


def build_info() -> dict[str, Any]:
    """Return versions, compiler and flags of this installation.

    Returns
    -------
    dict
        ``rtmdx``, ``python``, ``platform``, ``packages`` (name to version) and ``engine``
        (compiler, C++ standard, flags, debug).
    """
    return copy.deepcopy(_build_info())


@cache  # reading the metadata of packages takes 10 ms, and it doesn't change while they are loaded
def _build_info() -> dict[str, Any]:
    from rtmdx import _engine

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    return {
        "rtmdx": versions.pop("rtmdx"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "engine": dict(_engine.build_info()),
    }


def provenance(study: Study, inputs: Inputs) -> dict[str, Any]:
    """Return what must stand in every output of a run, as plain data."""
    build = build_info()
    cleanings = {"area": inputs.area.cleaning, "outcome": inputs.events.cleaning}
    if inputs.holdout is not None:
        cleanings["holdout"] = inputs.holdout.cleaning
    cleanings |= {f"factor {f.name}": f.cleaning for f in inputs.factors}
    if inputs.districts is not None:
        cleanings["districts"] = inputs.districts.cleaning
    if inputs.exposure is not None:
        cleanings["exposure"] = inputs.exposure.cleaning
    way = inputs.impedance
    if way is not None:
        cleanings |= {f"barrier {b.name}": b.cleaning for b in way.barriers}
    read: dict[str, dict[str, Any]] = {
        k: {"source": c.source, "sha256": c.digest, "rows": c.read} for k, c in cleanings.items()
    }
    if way is not None and way.friction is not None:
        read["friction"] = {"source": way.friction.name, "sha256": way.friction_digest}
    return {
        "study_id": study.id,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seed": study.seed,
        "grid_digest": inputs.grid.digest,
        "inputs": read,
        "versions": {"rtmdx": build["rtmdx"], "python": build["python"], **build["packages"]},
        "build": build["engine"],
    }
