"""A small made-up study on disk: enough to run whole in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from conftest import CRS, ORIGIN

SIDE = 3000.0
BLOCK = 100.0


def frames(seed: int = 0) -> dict[str, gpd.GeoDataFrame]:
    """Boundary, bars (points), roads (lines), parks (polygons) and two years of events near bars."""
    rng = np.random.default_rng(seed)
    x, y = ORIGIN
    bars = rng.uniform(0, SIDE, (60, 2)) + ORIGIN
    near = bars[rng.integers(0, len(bars), 900)] + rng.uniform(-90, 90, (900, 2))
    events = np.vstack([near, rng.uniform(0, SIDE, (600, 2)) + ORIGIN])
    events = events[(events > ORIGIN).all(axis=1) & (events < np.add(ORIGIN, SIDE)).all(axis=1)]
    days = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 730, len(events)), unit="D")
    roads = [
        shapely.LineString([(x, y + 900), (x + SIDE, y + 1100)]),
        shapely.LineString([(x + 1500, y), (x + 1500, y + SIDE)]),
    ]
    parks = [shapely.Point(x + 700, y + 2200).buffer(250), shapely.box(x + 2000, y + 300, x + 2300, y + 700)]
    return {
        "boundary": gpd.GeoDataFrame(geometry=[shapely.box(x, y, x + SIDE, y + SIDE)], crs=CRS),
        "bars": gpd.GeoDataFrame({"kind": ["a", "b"] * 30}, geometry=shapely.points(bars), crs=CRS),
        "roads": gpd.GeoDataFrame(geometry=roads, crs=CRS),
        "parks": gpd.GeoDataFrame(geometry=parks, crs=CRS),
        "events": gpd.GeoDataFrame({"date": days.strftime("%Y-%m-%d %H:%M")}, geometry=shapely.points(events), crs=CRS),
    }


def study(**changes: Any) -> dict[str, Any]:
    """The study as plain data; `changes` replace top-level keys."""
    return {
        "name": "Small city",
        "path": "city.gpkg",
        "area": {"layer": "boundary"},
        "grid": {"block_length": BLOCK},
        "outcome": {"layer": "events", "date_field": "date", "start": "2022-01-01", "end": "2022-12-31"},
        "holdout": {"start": "2023-01-01", "end": "2023-12-31"},
        "factors": [
            {"name": "bars", "max_influence": 2},
            {"name": "roads", "operationalization": "proximity", "max_influence": 1},
            {"name": "parks", "effect": "protective", "max_influence": 1},
        ],
        "model": {"n_penalties": 30},
        **changes,
    }


def write(folder: Path, layers: dict[str, gpd.GeoDataFrame] | None = None) -> None:
    """Write the layers as city.gpkg into `folder`."""
    for name, frame in (layers or frames()).items():
        frame.to_file(folder / "city.gpkg", layer=name)


def toml(data: dict[str, Any]) -> str:
    """Plain study data as TOML (values, tables of values, and lists of tables)."""

    def value(v: Any) -> str:
        if isinstance(v, bool):
            return str(v).lower()
        if isinstance(v, str):
            return '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(v, list):
            return "[" + ", ".join(map(value, v)) + "]"
        if isinstance(v, dict):
            return "{ " + ", ".join(f"{k} = {value(w)}" for k, w in v.items()) + " }"
        return repr(v)

    top = [f"{k} = {value(v)}" for k, v in data.items() if not isinstance(v, dict | list)]
    tables = [
        "\n".join([f"[{k}]", *(f"{a} = {value(b)}" for a, b in v.items())])
        for k, v in data.items()
        if isinstance(v, dict)
    ]
    rows = [
        "\n".join([f"[[{k}]]", *(f"{a} = {value(b)}" for a, b in item.items())])
        for k, v in data.items()
        if isinstance(v, list)
        for item in v
    ]
    return "\n\n".join(["\n".join(top), *tables, *rows]) + "\n"
