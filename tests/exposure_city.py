"""The small city with streets as its exposure."""

from __future__ import annotations

import functools
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

import small_city
from conftest import CRS, ORIGIN
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.run import run
from rtmdx.runs.study import Study

X, Y = ORIGIN
SIDE = small_city.SIDE
LENGTH = {"measure": "length", "name": "Street length"}
DROP = {**LENGTH, "zero": "drop"}


def streets() -> gpd.GeoDataFrame:
    """A street through every cell's row and, unevenly, through columns; the east fifth has none."""
    east = X + 0.8 * SIDE
    rows = [shapely.LineString([(X - 100, Y + a), (east, Y + a)]) for a in np.arange(25.0, SIDE, 50.0)]
    cols = [shapely.LineString([(X + a, Y - 60), (X + a, Y + SIDE)]) for a in np.arange(30.0, 0.8 * SIDE, 170.0)]
    return gpd.GeoDataFrame(geometry=rows + cols, crs=CRS).assign(lanes=2)


def layers(**changes: Any) -> dict[str, gpd.GeoDataFrame]:
    city = small_city.frames()
    names = {"boundary": "area", "events": "outcome"}
    out = {names.get(k, k): v for k, v in city.items()} | {"exposure": streets()} | changes
    return {k: v for k, v in out.items() if v is not None}


def study(exposure: dict[str, Any] | None, **changes: Any) -> Study:
    return Study.from_dict(small_city.study(**({} if exposure is None else {"exposure": exposure}), **changes))


@functools.cache
def make_dropped() -> RiskTerrain:
    """The small city fitted by street length; events without any are left out."""
    return run(study(DROP), layers=layers())


@functools.cache
def make_floored() -> RiskTerrain:
    """The same with every cell raised to a small length."""
    return run(study({**LENGTH, "zero": "floor"}), layers=layers())
