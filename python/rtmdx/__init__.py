"""rtmdx: Risk Terrain Modeling, fast and honest.

Names are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdx import disparity, errors, evaluate, priority
    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.model.validity import validity
    from rtmdx.runs.provenance import build_info
    from rtmdx.runs.run import run
    from rtmdx.runs.study import Study
    from rtmdx.space.cost import cost_distance, cost_distance_array
    from rtmdx.space.density import density, density_array
    from rtmdx.space.distance import allocation, allocation_array, distance, distance_array, distance_bands_array
    from rtmdx.space.features import Features
    from rtmdx.space.focal import focal, focal_array
    from rtmdx.space.frame import Frame
    from rtmdx.space.grid import Grid
    from rtmdx.space.layers import Events, RiskFactor, StudyArea
    from rtmdx.space.mask import mask_distance, mask_distance_array
    from rtmdx.space.zarr_store import stream_to_zarr
    from rtmdx.space.zonal import coverage, zonal
    from rtmdx.sweep.axes import SweepSpec
    from rtmdx.sweep.driver import plan_sweep, resume, sweep
    from rtmdx.sweep.results import open_sweep

_HOMES = {
    "Events": "rtmdx.space.layers",
    "Features": "rtmdx.space.features",
    "Frame": "rtmdx.space.frame",
    "Grid": "rtmdx.space.grid",
    "RiskFactor": "rtmdx.space.layers",
    "RiskTerrain": "rtmdx.model.terrain",
    "Study": "rtmdx.runs.study",
    "StudyArea": "rtmdx.space.layers",
    "SweepSpec": "rtmdx.sweep.axes",
    "allocation": "rtmdx.space.distance",
    "allocation_array": "rtmdx.space.distance",
    "build_info": "rtmdx.runs.provenance",
    "cost_distance": "rtmdx.space.cost",
    "cost_distance_array": "rtmdx.space.cost",
    "coverage": "rtmdx.space.zonal",
    "density": "rtmdx.space.density",
    "density_array": "rtmdx.space.density",
    "distance": "rtmdx.space.distance",
    "distance_array": "rtmdx.space.distance",
    "distance_bands_array": "rtmdx.space.distance",
    "focal": "rtmdx.space.focal",
    "focal_array": "rtmdx.space.focal",
    "mask_distance": "rtmdx.space.mask",
    "mask_distance_array": "rtmdx.space.mask",
    "open_sweep": "rtmdx.sweep.results",
    "plan_sweep": "rtmdx.sweep.driver",
    "resume": "rtmdx.sweep.driver",
    "run": "rtmdx.runs.run",
    "run_tiled": "rtmdx.sweep.tiled",
    "stream_to_zarr": "rtmdx.space.zarr_store",
    "validity": "rtmdx.model.validity",
    "zonal": "rtmdx.space.zonal",
}

__all__ = [
    "Events",
    "Features",
    "Frame",
    "Grid",
    "RiskFactor",
    "RiskTerrain",
    "Study",
    "StudyArea",
    "SweepSpec",
    "allocation",
    "allocation_array",
    "build_info",
    "cost_distance",
    "cost_distance_array",
    "coverage",
    "density",
    "density_array",
    "disparity",
    "distance",
    "distance_array",
    "distance_bands_array",
    "errors",
    "evaluate",
    "focal",
    "focal_array",
    "mask_distance",
    "mask_distance_array",
    "open_sweep",
    "plan_sweep",
    "priority",
    "resume",
    "run",
    "run_tiled",
    "stream_to_zarr",
    "sweep",
    "validity",
    "zonal",
]

logging.getLogger("rtmdx").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in ("errors", "demo", "disparity", "evaluate", "priority", "sweep"):  # the wing of sweeps can be called
        return importlib.import_module(f"rtmdx.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("rtmdx")
    raise AttributeError(f"module 'rtmdx' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "demo"])
