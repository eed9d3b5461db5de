"""A store of many scenarios: size, files, and how long it takes to open it and to read.

    python benchmarks/sweep_store.py FOLDER [--scenarios 10000] [--rows 316] [--cols 317]

Terrains are made up (products of relative risk values over twelve discs around random points), so that they compress
as real ones do; what is measured is the store alone. Reading times are of new processes, the smallest of three.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyproj

from rtmdx.sweep.contract import GridEntry, Manifest, ScenarioEntry, ScenarioResult
from rtmdx.sweep.store import SweepStore


def manifest_of(n: int, rows: int, cols: int) -> Manifest:
    """A sweep of `n` scenarios on one grid."""
    crs = pyproj.CRS.from_epsg(26915).to_wkt()
    scenarios = tuple(
        ScenarioEntry(
            i, hashlib.sha256(str(i).encode()).hexdigest()[:16], f"cell 50, seed {i}, all factors",
            {"grid.cell_size": 50, "seed": i, "factors": "all"}, "grid0",
        )
        for i in range(n)
    )  # fmt: skip
    config = {"sweep": {"study": {"name": "benchmark", "factors": [{"name": f"factor {k}"} for k in range(12)]}}}
    grid = GridEntry("grid0", crs, 7e5, 4.2e6, 50.0, 50.0, rows, cols)
    return Manifest("benchmark", "Benchmark", config, {"rtmdx": "benchmark"}, scenarios, (grid,))


class Terrains:
    """Gives results."""

    def __init__(self, rows: int, cols: int) -> None:
        rng = np.random.default_rng(1)
        y, x = np.mgrid[:rows, :cols].astype(np.float32)
        near = []
        for _ in range(12):
            nearest = np.full((rows, cols), np.inf, dtype=np.float32)
            for py, px in rng.random((60, 2)) * (rows, cols):
                np.minimum(nearest, (y - py) ** 2 + (x - px) ** 2, out=nearest)
            near.append((nearest.ravel() < rng.uniform(2, 12) ** 2).astype(np.float64))
        self.near = np.array(near)

    def __call__(self, index: int) -> ScenarioResult:
        """One scenario's result: half of the factors, each with its value."""
        rng = np.random.default_rng([2, index])
        chosen = rng.permutation(12)[:6]
        coefficients = rng.uniform(0.1, 1.2, 6)
        score = np.exp(coefficients @ self.near[chosen]).astype(np.float32)
        model = [
            {
                "factor": f"factor {k}", "label": f"Factor {k}", "effect": "aggravating",
                "operationalization": "proximity", "influence": 300.0, "influence_blocks": 3.0, "coefficient": c,
                "rrv": math.exp(c), "rrv_low": math.exp(c - 0.1), "rrv_high": math.exp(c + 0.1),
                "presence_ratio": math.exp(c), "std_error": 0.05, "t": c / 0.05, "p": 0.001, "cells": 4000,
                "variable": f"factor {k} within 300",
            }
            for k, c in zip(chosen.tolist(), coefficients.tolist(), strict=True)
        ]  # fmt: skip
        validity = [{"on": "fitted", "auc": 0.8}] * 2
        tables = {"model": model, "variables": model * 3, "validity": validity, "findings": []}
        summary = {f"figure_{k}": float(v) for k, v in enumerate(rng.random(16))} | {"family": "nb2"}
        return ScenarioResult(score, score * np.float32(0.01), tables, summary)


READ = """
import sys, time
import rtmdx, xarray, pandas, zarr
from rtmdx.sweep.store import SweepStore
url = sys.argv[1]
told = {}
def timed(name, f):
    start = time.perf_counter(); value = f(); told[name] = time.perf_counter() - start
    return value
results = timed("open", lambda: rtmdx.open_sweep(url))
n = len(results.manifest.scenarios)
timed("read one scenario", lambda: results.terrain(n // 2))
timed("read another scenario", lambda: results.terrain(n // 3))
timed("states", results._store.states)
timed("pending", results._store.pending)
timed("table of scenarios", lambda: results.scenarios)
opened = timed("xarray.open_zarr", lambda: xarray.open_zarr(url, group="grid0", chunks=None))
timed("xarray, one scenario", lambda: opened["score"].sel(scenario=n // 4).load())
import json; print(json.dumps(told))
"""


def main() -> None:
    """Make the store and measure."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--scenarios", type=int, default=10_000)
    arguments.add_argument("--rows", type=int, default=316)
    arguments.add_argument("--cols", type=int, default=317)
    arguments.add_argument("--workers", type=int, default=2)
    asked = arguments.parse_args()
    terrains, manifest = Terrains(asked.rows, asked.cols), manifest_of(asked.scenarios, asked.rows, asked.cols)
    start = time.perf_counter()
    there = SweepStore.exists(str(asked.folder))  # a run that was ended goes on
    store = SweepStore.open(str(asked.folder), "a") if there else SweepStore.create(str(asked.folder), manifest)
    print(f"{'opened' if there else 'created'} in {time.perf_counter() - start:.2f} s")
    left = store.pending()
    start = time.perf_counter()
    seconds = [0.0, 0.0]

    def run(index: int) -> None:
        began = time.perf_counter()
        result = terrains(index)
        made = time.perf_counter()
        store.write(index, result)
        seconds[0] += made - began
        seconds[1] += time.perf_counter() - made

    with ThreadPoolExecutor(asked.workers) as pool:
        list(pool.map(run, left))
    written = time.perf_counter() - start
    cells = asked.rows * asked.cols
    print(f"{len(left):,} scenarios of {cells:,} cells in {written:.0f} s with {asked.workers} workers")
    making, writing = (1e3 * t / max(1, len(left)) for t in seconds)
    print(f"a write: {writing:.1f} ms, after {making:.1f} ms to make the result")
    start = time.perf_counter()
    store.close()
    print(f"closed (figures gathered) in {time.perf_counter() - start:.2f} s")
    sizes = [(Path(folder) / name).stat().st_size for folder, _, names in os.walk(asked.folder) for name in names]
    raw = 2 * 4 * asked.scenarios * asked.rows * asked.cols
    print(f"{sum(sizes) / 1e9:.2f} GB (float32 alone: {raw / 1e9:.2f} GB), {len(sizes):,} files")
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", READ, str(asked.folder)], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout))
    for name in runs[0]:
        print(f"{name}: {min(r[name] for r in runs):.3f} s")
    print(f"peak memory of the writer: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
