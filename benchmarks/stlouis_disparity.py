"""Exposure of Black and White residents of St. Louis to two risk terrains, by cell size and allocation method.

    python benchmarks/stlouis_disparity.py DATA [--sizes 46 91 182] [--draws 200]

DATA is the folder that holds stlouis/stlouis.gpkg. Prints the table that docs/disparity.md shows.

Counts are of the ACS 2013-2017 by neighbourhood. Its layer has margins of error for the total only: a group is given
the total's times the root of its share, so that the groups' margins add up to the total's by their squares, and a
group's count varies as the total does. Allocation "areal" spreads a neighbourhood's
residents over its area; "dasymetric" over cells of which parks and water cover less than half; "weighted" over those by
the density of residents in the census tracts, whose table has no groups.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from rtmdx import Study, coverage, run
from rtmdx.disparity.exposure import exposure
from rtmdx.disparity.exposure_results import ExposureIndex, TopShare
from rtmdx.disparity.population import Population, allocate
from rtmdx.model.terrain import RiskTerrain

ROOT = Path(__file__).parents[1]
OUTCOMES = {"Aggravated assault": "ev_agg_assault_2017_18", "Homicide": "ev_homicide_2017_18"}


def terrain(data: Path, outcome: str, size: float) -> RiskTerrain:
    changes = {"outcome.layer": OUTCOMES[outcome], "outcome.name": outcome, "grid.cell_size": size}
    return run(Study.from_toml(ROOT / "examples" / "stlouis.toml", overrides=changes), data=data)


def neighbourhoods(data: Path) -> gpd.GeoDataFrame:
    zones = gpd.read_file(data / "stlouis" / "stlouis.gpkg", layer="neighborhoods")
    for group in ("black17", "white17"):
        zones[f"{group}_m"] = zones["pop17_m"] * np.sqrt(zones[group] / zones["pop17"])
    rest = (zones["pop17"] - zones["black17"] - zones["white17"]) / zones["pop17"]
    zones["rest17_m"] = zones["pop17_m"] * np.sqrt(rest)
    return zones


def inhabited(data: Path, grid: Any) -> np.ndarray:
    """Whether parks and water cover less than half of a cell."""
    path = data / "stlouis" / "stlouis.gpkg"
    layers = [gpd.read_file(path, layer=name).geometry for name in ("parks", "water")]
    empty = gpd.GeoSeries([pd.concat(layers).make_valid().union_all()], crs=layers[0].crs)
    cover = coverage(empty, grid)
    share = np.bincount(cover.cell, cover.fraction, minlength=grid.size)
    return (share < 0.5).astype(np.float64).reshape(grid.shape)


def populations(data: Path, grid: Any) -> dict[str, Population]:
    zones, homes = neighbourhoods(data), inhabited(data, grid)
    tracts = gpd.read_file(data / "stlouis" / "stlouis.gpkg", layer="tracts")
    by_tract = allocate(tracts, ["POP_E"], grid, method="dasymetric", weights=homes)
    density = grid.to_raster(by_tract.cells[0])
    common: dict[str, Any] = {
        "groups": {"Black": "black17", "White": "white17"},
        "frame": grid,
        "total": "pop17",
        "key": "NHD_NAME",
        "margins": {"Black": "black17_m", "White": "white17_m", "other": "rest17_m"},
    }
    return {
        "areal": allocate(zones, **common),
        "dasymetric": allocate(zones, method="dasymetric", weights=homes, **common),
        "weighted": allocate(zones, method="weighted", weights=density, **common),
    }


def in_top(share: TopShare) -> str:
    return f"{100 * share.estimate:.1f} ({100 * share.least:.1f}-{100 * share.most:.1f})"


def rows_of(outcome: str, size: float, t: RiskTerrain, data: Path, draws: int) -> list[dict[str, Any]]:
    rows = []
    for method, population in populations(data, t.grid).items():
        census = exposure(t, population, reference="White", margins="delta")
        both = exposure(t, population, reference="White", margins="simulation", model_draws=True, draws=draws, seed=1)
        ratio, wide, rest = census.ratio("Black", "White"), both.ratio("Black", "White"), census.ratio("Black")
        top = {s.group: s for s in both.top if isinstance(s, TopShare) and s.top == 0.05}
        indices = {(e.index, e.group): e.estimate for e in census.indices if isinstance(e, ExposureIndex)}
        rows.append(
            {
                "outcome": outcome,
                "cell (m)": f"{size:g}",
                "factors": len(t.model.variables),
                "allocation": method,
                "Black": f"{census.means[0].estimate:.3f}",
                "White": f"{census.means[1].estimate:.3f}",
                "Black/White": f"{ratio.estimate:.3f}",
                "census": f"{ratio.low:.3f}-{ratio.high:.3f}",
                "census, model": f"{wide.low:.3f}-{wide.high:.3f}",
                "Black/else": f"{rest.estimate:.3f}",
                "top 5 % Black": in_top(top["Black"]),
                "top 5 % White": in_top(top["White"]),
                "concentration": f"{indices['concentration', 'Black']:.3f}",
                "between groups": f"{100 * indices['theil-between-groups', ''] / indices['theil', '']:.1f} %",
                "between zones": f"{100 * indices['theil-between-places', ''] / indices['theil', '']:.1f} %",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=float, nargs="+", default=[46.0, 91.0, 182.0])
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for outcome in OUTCOMES:
        for size in options.sizes:
            found = rows_of(outcome, size, terrain(options.data, outcome, size), options.data, options.draws)
            if not rows:
                print("| " + " | ".join(found[0]) + " |\n|" + "---|" * len(found[0]))
            for row in found:
                print("| " + " | ".join(str(v) for v in row.values()) + " |", flush=True)
            rows += found
    for outcome in OUTCOMES:
        ratios = [float(r["Black/White"]) for r in rows if r["outcome"] == outcome]
        print(f"\n{outcome}: Black/White from {min(ratios):.3f} to {max(ratios):.3f} over cell sizes and allocations.")


if __name__ == "__main__":
    main()
