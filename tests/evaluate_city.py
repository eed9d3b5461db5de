"""A small city for evaluations: a grid of square places, dated events, an evaluation file."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

CRS = "EPSG:26915"
CORNER = np.array([700_000.0, 4_200_000.0])
SIDE, SIZE = 6, 500.0
FIRST, LAST = dt.date(2016, 1, 1), dt.date(2019, 12, 31)


def places() -> gpd.GeoDataFrame:
    """36 squares of 500 m, named r0c0 to r5c5."""
    names, shapes = [], []
    for r in range(SIDE):
        for c in range(SIDE):
            x, y = CORNER + SIZE * np.array([c, r])
            names.append(f"r{r}c{c}")
            shapes.append(shapely.box(x, y, x + SIZE, y + SIZE))
    return gpd.GeoDataFrame({"name": names, "homes": np.arange(36) % 5 + 10}, geometry=shapes, crs=CRS)


def events(n: int = 6000, seed: int = 0, spare: dict[str, tuple[str, float]] | None = None) -> gpd.GeoDataFrame:
    """Events uniform in place and time; `spare` removes a share of a place's from a day on."""
    rng = np.random.default_rng(seed)
    xy = CORNER + rng.uniform(0, SIDE * SIZE, (n, 2))
    day = np.datetime64(FIRST) + rng.integers(0, (LAST - FIRST).days + 1, n)
    keep = np.ones(n, dtype=bool)
    for place, (start, share) in (spare or {}).items():
        r, c = int(place[1]), int(place[3])
        cell = np.floor((xy - CORNER) / SIZE)
        inside = (cell == [c, r]).all(axis=1)
        keep &= ~(inside & (day >= np.datetime64(start)) & (rng.random(n) < share))
    frame = pd.DataFrame({"date": day.astype(str)})[keep].reset_index(drop=True)
    return gpd.GeoDataFrame(frame, geometry=shapely.points(xy[keep]), crs=CRS)


def counted(found: gpd.GeoDataFrame, names: Any, start: Any, end: Any) -> int:
    """Events in some places from one day to another, both included, counted the slow way."""
    xy = shapely.get_coordinates(found.geometry.to_numpy())
    cell = np.floor((xy - CORNER) / SIZE).astype(int)
    own = np.array([f"r{r}c{c}" for c, r in cell])
    day = found["date"].to_numpy(dtype="datetime64[D]")
    return int((np.isin(own, list(names)) & (day >= np.datetime64(start)) & (day <= np.datetime64(end))).sum())


def write(folder: Path, text: str = "", log: str | None = None) -> Path:
    """Write layers, a plan log and an evaluation file; return the file."""
    places().to_file(folder / "city.gpkg", layer="places")
    events(spare={"r1c1": ("2018-01-01", 0.7), "r4c4": ("2018-01-01", 0.7)}).to_file(
        folder / "city.gpkg", layer="events", mode="a"
    )
    log = log or (
        "place,factor,action,start,end,note\n"
        "r1c1,vacant,board-ups,2018-01-01,2018-12-31,\n"
        "r4c4,bars,lighting,2018-01-01,2018-12-31,two streets\n"
    )
    (folder / "log.csv").write_text(log)
    (folder / "plan.toml").write_text(
        'name = "Small city"\npath = "city.gpkg"\npermutations = 39\n'
        + text
        + '\n[events]\nlayer = "events"\ndate_field = "date"\nname = "burglaries"\n[places]\nlayer = "places"\n'
        '[log]\npath = "log.csv"\n'
    )
    return folder / "plan.toml"
