"""Use of force in Dallas by group, crude and adjusted for poverty, by year, under every pooling rule.

    RTMDX_DATA=../shared/data python benchmarks/dallas_disparity.py [folder]

Reports of force are put in the nearest block group's point; residents are those of the American Community Survey, the
same in every year. Rows are reports, not persons. Written to `folder` as CSV and JSON where one is named.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from rtmdx.disparity.adjustment import adjusted
from rtmdx.disparity.comparison import POOLINGS, compare

GROUPS = {"Black": "black_nh", "Hispanic": "hispanic", "White": "white_nh"}
BANDS = 5


def dallas(data: str | os.PathLike[str]) -> pd.DataFrame:
    """Long table: group x block group x year, with the block group's share of poor residents and its fifth."""
    file = Path(data) / "dallas" / "dallas.gpkg"
    force = gpd.read_file(file, layer="use_of_force_2013_2019")
    places = gpd.read_file(file, layer="block_group_points_acs")
    city = gpd.read_file(file, layer="boundary").geometry.iloc[0]
    places = places[places.within(city)].reset_index(drop=True)
    tree = cKDTree(np.c_[places.geometry.x, places.geometry.y])
    nearest = tree.query(np.c_[force.geometry.x, force.geometry.y])[1]
    years = sorted(set(force["year"]))
    parts = []
    for group, column in GROUPS.items():
        mine = (force["citrace"] == group).to_numpy()
        for year in years:
            rows = nearest[mine & (force["year"] == year).to_numpy()]
            parts.append(
                pd.DataFrame(
                    {
                        "group": group,
                        "block_group": places["geoid"],
                        "year": year,
                        "poverty": places["poverty"],
                        "events": np.bincount(rows, minlength=len(places)),
                        "residents": places[column],
                    }
                )
            )
    table = pd.concat(parts, ignore_index=True)
    table["poverty_fifth"] = pd.qcut(table["poverty"].rank(method="dense"), BANDS, labels=False) + 1
    return table


def figures(table: pd.DataFrame) -> pd.DataFrame:
    """One row for every period, group and way to put it together."""
    rows = []
    periods = [("all", table)] + [(str(y), t) for y, t in table.groupby("year")]
    for period, t in periods:
        strata = {"poverty fifths": ["poverty_fifth"], "years": ["year"], "years x fifths": ["year", "poverty_fifth"]}
        ways = [("pooled", ())] + [
            (f"{rule} over {name}", tuple(columns))
            for name, columns in strata.items()
            for rule in POOLINGS[1:]
            if period == "all" or name == "poverty fifths"
        ]
        for way, columns in ways:
            found = compare(
                _summed(t, columns),
                reference="White",
                pooling=way.split(" ")[0],
                strata=columns,
                outcome="use of force",
            )
            rows += [_row(period, way, r) for r in found.ratios]
        for family in ("poisson", "negative-binomial"):
            fit = adjusted(
                t, reference="White", covariates=["poverty"], factors=["year"] if period == "all" else [],
                cluster="block_group", family=family, without_exposure="drop", outcome="use of force",
            )  # fmt: skip
            if family == "poisson":
                rows += [_row(period, "pooled, block groups where the group lives", r) for r in fit.crude]
            for r in fit.adjusted:
                share = {"explained": fit.explained[r.group], "left_out": fit.left_out[r.group]}
                rows.append({**_row(period, f"{family} regression", r), **share})
    return pd.DataFrame(rows)


def _summed(t: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    return t.groupby(["group", *columns], as_index=False)[["events", "residents"]].sum()


def _row(period: str, way: str, r: object) -> dict[str, object]:
    names = ("group", "estimate", "low", "high", "events", "reference_events", "exposure", "reference_exposure")
    return {"period": period, "way": way, **{n: getattr(r, n) for n in names}, "flags": ", ".join(r.flags)}  # type: ignore[attr-defined]


def main() -> None:
    """Print the tables."""
    table = dallas(os.environ.get("RTMDX_DATA", "../shared/data"))
    found = figures(table)
    shown = found.assign(
        ratio=[
            f"{e:.2f} ({lo:.2f} to {hi:.2f})" for e, lo, hi in zip(found.estimate, found.low, found.high, strict=True)
        ]
    )
    with pd.option_context("display.width", 200, "display.max_columns", 20, "display.max_rows", 200):
        order = list(dict.fromkeys(shown["way"]))
        print(shown[shown["period"] == "all"].pivot(index="way", columns="group", values="ratio").loc[order])
        wide = shown.pivot(index=["group", "period"], columns="way", values="ratio")
        print(
            wide[
                ["pooled", "mantel_haenszel over poverty fifths", "poisson regression", "negative-binomial regression"]
            ]
        )
        print(found[found["way"] == "poisson regression"][["period", "group", "explained", "left_out"]])
    for columns in (("poverty_fifth",), ("year",), ("year", "poverty_fifth")):
        tests = compare(
            _summed(table, columns), reference="White", strata=columns, outcome="use of force"
        ).heterogeneity
        print(*(f"{' x '.join(columns)}: {h.sentence()}" for h in tests), sep="\n")
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        folder.mkdir(parents=True, exist_ok=True)
        found.to_csv(folder / "dallas.csv", index=False)
        (folder / "dallas.json").write_text(json.dumps(json.loads(found.to_json(orient="records")), indent=1))


if __name__ == "__main__":
    main()
