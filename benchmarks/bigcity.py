"""Culling and stepwise on a generated city of up to 10 million cells; and how their cost grows.

Run, on a quiet machine with two cores:

    python benchmarks/bigcity.py                  one city: 10 million cells, 25 factors, 300 variables, 5 folds
    python benchmarks/bigcity.py --cells 1000000 --factors 50
    python benchmarks/bigcity.py --rows           the distinct rows of the design only
    python benchmarks/bigcity.py --scaling        1e5 .. 1e7 cells x 5 .. 50 factors; draws docs/selection_scaling.svg

The target for the first: culling and stepwise together in at most 120 s, and at most 3 GB of memory in all.

The city is a square of cells of 10 m, blocks are 120 m long, so that half-block bands are 60, 120, .. 360 m. It
grows with the number of cells, at 10 million to 32 x 32 km. Each factor is a layer of clustered points, from 12
to 20,000 of them in the city of 10 million cells (in smaller ones in proportion, never below 12), thickest in
the centre. Events follow a negative binomial (NBII) with effects planted on a third of the factors. Each case
runs in a process of its own, so that the peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from figures import log_panels
from peers.problem import row_keys
from rtmdx.model.culling import cull
from rtmdx.model.design import Design, build_design
from rtmdx.model.folds import stratified_folds
from rtmdx.model.stepwise import stepwise
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Cleaning, RiskFactor

CRS = "EPSG:26915"
CELL, BLOCK, FULL = 10.0, 120.0, 10**7
BANDS = tuple(BLOCK / 2 * (k + 1) for k in range(6))
FEATURES = (12, 20_000)
EVENTS_PER_CELL, OVERDISPERSION = 0.01, 0.5
SUPPORT = 1e-4  # share of cells a variable must be 1 in: the 12 points of the rarest factor pass
CELLS = [10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7]
FACTORS = [5, 10, 25, 50]


def city_grid(cells: int) -> Grid:
    side = math.isqrt(cells - 1) + 1
    return Grid(CRS, 700_000.0, 4_280_000.0 + side * CELL, CELL, np.ones((side, side), dtype=np.bool_))


def clustered(n: int, side: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points about parents that are thickest in the middle of the square: about ten per parent, 250 m apart."""
    parents = rng.normal(0.5, 0.22, (max(4, n // 10), 2)) % 1.0 * side
    return np.clip(parents[rng.integers(len(parents), size=n)] + rng.normal(0, 250.0, (n, 2)), 0, side)


def city_factors(grid: Grid, n_factors: int, seed: int = 0) -> list[RiskFactor]:
    import shapely

    share = grid.n_cells / FULL
    side = grid.shape[0] * CELL
    factors = []
    for i, number in enumerate(np.geomspace(*FEATURES, n_factors)):
        rng = np.random.default_rng([seed, i])
        n = max(FEATURES[0], round(number * share))
        xy = clustered(n, side, rng) + np.array([grid.x_min, grid.y_max - side])
        factors.append(
            RiskFactor(
                name=f"factor_{i + 1:02d}",
                label=f"Factor {i + 1}",
                geometries=shapely.points(xy),
                effect="aggravating",
                operationalizations=("proximity", "density"),
                distances=BANDS,
                increment="half",
                geometry_type="points",
                cleaning=Cleaning("memory", "", n, n),
            )
        )
    return factors


def variable_of(design: Design, factor: int) -> int | None:
    """Column of a factor's third proximity (even factors) or fourth density (odd ones), if it has that many."""
    kind = "density" if factor % 2 else "proximity"
    mine = [j for j, v in enumerate(design.variables) if v.factor == factor and v.operationalization == kind]
    return mine[min(len(mine) - 1, 2 + factor % 2)] if mine else None


def planted_counts(
    design: Design, seed: int = 0, *, events_per_cell: float = EVENTS_PER_CELL
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """NBII counts whose mean is a product of effects of every third factor, each by `variable_of`."""
    rng = np.random.default_rng([seed, 10_000])
    eta = np.zeros(design.n_cells)
    effects: dict[str, float] = {}
    for factor in range(1, 1 + max(v.factor for v in design.variables), 3):
        j = variable_of(design, factor)
        if j is not None:
            effects[design.variables[j].name] = float(rng.uniform(0.4, 1.0))
            eta += effects[design.variables[j].name] * design.indicator(j)
    mu = np.exp(eta)
    mu *= events_per_cell / mu.mean()
    rate = rng.gamma(mu / OVERDISPERSION, OVERDISPERSION)
    return rng.poisson(rate).astype(np.int64), effects


def distinct_rows(design: Design) -> int:
    """Number of different rows of codes."""
    key = row_keys(design)
    key.sort()
    return 1 + int(np.count_nonzero(key[1:] != key[:-1]))


def peak() -> float:
    """Peak resident memory of this process, bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Stages:
    """Wall and CPU time of each stage and the peak memory after it, printed as they come."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.seconds = quiet, dict[str, float]()
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def done(self, name: str, remark: str = "") -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self.start
        if not self.quiet:
            cpu = time.process_time() - self.cpu
            times = f"{now - self.start:8.2f} s  CPU {cpu:8.2f} s"
            print(f"{name:10} {times}  peak {peak() / 1e9:5.2f} GB  {remark}", flush=True)
        self.start, self.cpu = time.perf_counter(), time.process_time()


def one(cells: int, n_factors: int, *, rows_only: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Run one city; returns seconds by stage, rows and peak memory."""
    stages = Stages(quiet)
    grid = city_grid(cells)
    factors = city_factors(grid, n_factors)
    stages.done("generate", f"{grid.n_cells:,} cells, {n_factors} factors, {sum(map(len, factors)):,} points")
    design = build_design(factors, grid, min_support_share=SUPPORT, threads=2)
    stages.done("design", f"{len(design.variables)} variables in {len(design.blocks)} blocks")
    out: dict[str, Any] = {"cells": grid.n_cells, "factors": n_factors, "variables": len(design.variables)}
    if rows_only:
        out["rows"] = distinct_rows(design)
        stages.done("rows", f"{out['rows']:,} distinct rows")
        return out
    counts, effects = planted_counts(design)
    stages.done("events", f"{counts.sum():,} events, {len(effects)} planted effects")

    folds = stratified_folds(counts, 5, seed=0)
    stages.done("folds")
    culling = cull(design, counts, folds, threads=2)
    out["rows"] = culling.n_rows
    stages.done("culling", f"{culling.n_rows:,} rows, {len(culling.selected)} variables selected")
    selection = stepwise(design, counts, culling.selected)
    names = {v.name for v in selection.model.variables}
    found = {name.split("_proximity")[0].split("_density")[0][7:] for name in names}
    planted = {name.split("_proximity")[0].split("_density")[0][7:] for name in effects}
    stages.done(
        "stepwise",
        f"{selection.model.family}, {len(names)} variables; {len(found & planted)} of {len(planted)} planted factors, "
        f"{len(found - planted)} others",
    )
    both = stages.seconds["culling"] + stages.seconds["stepwise"]
    out |= {"seconds": stages.seconds, "peak": peak(), "selection": both}
    if not quiet:
        print(f"culling and stepwise {both:.1f} s (target 120 s); peak {peak() / 1e9:.2f} GB (target 3 GB)")
    if cells >= 10**6:  # enough events for every planted effect to be seen
        assert planted <= found, f"planted factors that were not found: {planted - found}"
    return out


def scaling() -> None:
    cases = [(c, 25) for c in CELLS] + [(10**6, f) for f in FACTORS if f != 25]
    rows = []
    for cells, n_factors in cases:
        done = subprocess.run(
            [sys.executable, __file__, "--cells", str(cells), "--factors", str(n_factors), "--json"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        r = json.loads(done.stdout)
        rows.append(r)
        print(
            f"{r['cells']:>11,} cells {r['factors']:>3} factors {r['variables']:>4} variables {r['rows']:>10,} rows: "
            f"design {r['seconds']['design']:7.2f} s  culling {r['seconds']['culling']:7.2f} s  "
            f"stepwise {r['seconds']['stepwise']:7.2f} s  peak {r['peak'] / 1e9:5.2f} GB",
            flush=True,
        )
    draw(rows)


def draw(rows: list[dict[str, Any]]) -> None:
    colour = {"design": "#777777", "culling": "#1b6ca8", "stepwise": "#c2571a"}
    by_cells = sorted((r for r in rows if r["factors"] == 25), key=lambda r: r["cells"])
    by_factors = sorted((r for r in rows if abs(r["cells"] - 10**6) < 10**4), key=lambda r: r["factors"])
    with log_panels("selection_scaling.svg") as (left, right):
        for stage, c in colour.items():
            for axes, cases, what in ((left, by_cells, "cells"), (right, by_factors, "factors")):
                axes.plot([r[what] for r in cases], [r["seconds"][stage] for r in cases], "o-", color=c, label=stage)
        left.set(title="25 factors", xlabel="cells")
        right.set(title="1 million cells", xlabel="factors, 12 variables each")
        right.set_xticks(FACTORS, [str(f) for f in FACTORS])
        right.minorticks_off()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Culling and stepwise on a generated city.")
    parser.add_argument("--cells", type=int, default=FULL)
    parser.add_argument("--factors", type=int, default=25)
    parser.add_argument("--rows", action="store_true", help="count the distinct rows of the design, no fit")
    parser.add_argument("--json", action="store_true", help="print one line of JSON only")
    parser.add_argument("--scaling", action="store_true", help="run all sizes and draw docs/selection_scaling.svg")
    arguments = parser.parse_args()
    if arguments.scaling:
        scaling()
    else:
        result = one(arguments.cells, arguments.factors, rows_only=arguments.rows, quiet=arguments.json)
        if arguments.json:
            print(json.dumps(result))
