"""How often an evaluation finds an effect in St. Louis where nothing was done.

    python benchmarks/stlouis_evaluation.py DATA [--repeats 100] [--permutations 99] [--weighting events]

DATA is the folder that holds stlouis/stlouis.gpkg and slmpd_events_2015_2019.csv.gz. Prints the tables that
docs/evaluation.md shows. Every start is made up, so each interval that leaves zero out is a false finding. Places are
four neighbourhoods at random; those whose counts rose most over the year before; those with the highest counts in it.
"""

from __future__ import annotations

import argparse
import datetime as dt
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from rtmdx.evaluate import PlanEffect, PlanLog, PlanRecord, evaluate_plan

OUTCOMES = {"burglary": "Burglary", "robbery": "Robbery", "agg_assault": "Aggravated assault", "larceny": "Larceny"}
YEAR = dt.timedelta(days=365)
N_PLACES = 4


def effect(places: Any, events: Any, names: NDArray[Any], start: dt.date, options: Any) -> PlanEffect:
    log = PlanLog([PlanRecord(str(n), "", "nothing", start, start + YEAR - dt.timedelta(days=1)) for n in names])
    found = evaluate_plan(
        log, places, events, key="NHD_NAME", permutations=options.permutations, weighting=options.weighting,
        coverage=("2015-01-01", "2019-12-31"),
    )  # fmt: skip
    return found.effects[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--permutations", type=int, default=99)
    parser.add_argument("--weighting", default="events")
    options = parser.parse_args()
    folder = options.data / "stlouis"
    places = gpd.read_file(folder / "stlouis.gpkg", layer="neighborhoods")
    table = pd.read_csv(folder / "slmpd_events_2015_2019.csv.gz")
    names = places["NHD_NAME"].to_numpy()
    print(
        "| outcome | places | Poisson interval covers 0 | random controls' covers 0 | 'fewer' | ... by both | flagged |"
    )
    print("|---|---|--:|--:|--:|--:|--:|")
    for code, label in OUTCOMES.items():
        own = table[(table["cat"] == code) & table["x"].notna()]
        events = gpd.GeoDataFrame(
            {"date": pd.to_datetime(own["date"])}, geometry=gpd.points_from_xy(own["x"], own["y"]), crs=26915
        )
        zone, event = shapely.STRtree(events.geometry.to_numpy()).query(
            places.geometry.to_numpy(), predicate="intersects"
        )
        day = events["date"].to_numpy().astype("datetime64[D]")[event]
        rng = np.random.default_rng(0)
        rows: dict[str, list[list[bool]]] = {"random": [], "risen most": [], "highest": []}
        for _ in range(options.repeats):
            start = dt.date(2017, 1, 1) + dt.timedelta(days=int(rng.integers(0, 729)))
            ago = [np.datetime64(start - k * YEAR) for k in (2, 1, 0)]
            spans = [(day >= a) & (day < b) for a, b in pairwise(ago)]
            older, last = (np.bincount(zone[span], minlength=len(names)) for span in spans)
            chosen = {
                "random": rng.choice(names, N_PLACES, replace=False),
                "risen most": names[np.argsort(older - last, kind="stable")[:N_PLACES]],
                "highest": names[np.argsort(-last, kind="stable")[:N_PLACES]],
            }
            for how, some in chosen.items():
                e = effect(places, events, some, start, options)
                assert e.permutation is not None
                check = e.permutation
                rows[how].append(
                    [e.covers_zero, check.low <= 0 <= check.high, e.high < 0, e.high < 0 and check.high < 0,
                     "before-peak" in e.flags or "pretrend" in e.flags]
                )  # fmt: skip
        for how, found in rows.items():
            shares = np.mean(np.array(found, dtype=float), axis=0)
            print(f"| {label} | {how} | " + " | ".join(f"{100 * s:.0f} %" for s in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
