"""Stability of priorities over a large store: time beside that of only reading it, and peak memory.

    python benchmarks/priority_stability.py FOLDER [--scenarios 1000] [--rows 1000] [--cols 1000] [--kind terrain]

The store is made in FOLDER unless it is there. "terrain": products of relative risk values over bands around 30 to
3,000 made-up places per factor, half of 24 factors a scenario, as a sweep stores them. "continuous": no two scores
alike, the worst case for ranks and for the file they are kept in. Reading and stability run in new processes; the
figures are seconds of the wall clock, the least of `--rounds`, and the process's largest resident memory.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from rtmdx.sweep.contract import ScenarioResult
from rtmdx.sweep.store import SweepStore
from sweep_store import manifest_of

FACTORS, CHOSEN, BANDS = 24, 12, 6

READ = """
import json, resource, sys, time
from concurrent.futures import ThreadPoolExecutor
from rtmdx import open_sweep
url, threads = sys.argv[1], int(sys.argv[2])
results = open_sweep(url)
start = time.perf_counter()
read = results.cell_reader("score")
with ThreadPoolExecutor(threads) as pool:
    sums = list(pool.map(lambda i: float(read(i)[0]), range(len(results.manifest.scenarios))))
seconds, use = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": seconds, "cpu": use.ru_utime + use.ru_stime}))
"""

STABILITY = """
import json, resource, sys, time
from rtmdx import open_sweep, priority
url, threads, share, scratch = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
results = open_sweep(url)
last, at = None, {}
def tell(stage, done, total):
    global last
    now = time.perf_counter()
    if last is not None:
        at[last[0]] = at.get(last[0], 0.0) + now - last[1]
    last = stage, now
start = time.perf_counter()
found = priority.stability(results, share=share, threads=threads, scratch=scratch, progress=tell)
seconds = time.perf_counter() - start
use = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": seconds, "cpu": use.ru_utime + use.ru_stime, "mb": use.ru_maxrss / 1e3, "stages": at,
                  "sentence": found.sentence()}))
"""


class Terrains:
    """Made-up results."""

    def __init__(self, rows: int, cols: int, kind: str) -> None:
        from scipy import ndimage

        self.cells, self.kind = rows * cols, kind
        if kind == "continuous":
            return
        rng = np.random.default_rng(1)
        self.band = []
        for places in np.geomspace(30, 3000, FACTORS).astype(int):
            empty = np.ones((rows, cols), dtype=bool)
            empty[rng.integers(0, rows, places), rng.integers(0, cols, places)] = False
            away = ndimage.distance_transform_edt(empty)
            self.band.append(np.minimum(np.ceil(away / 3), BANDS).astype(np.uint8).ravel())

    def __call__(self, index: int) -> ScenarioResult:
        """One scenario's result."""
        rng = np.random.default_rng([2, index])
        if self.kind == "continuous":
            score = rng.gamma(2, 1, self.cells).astype(np.float32)
        else:
            log = np.zeros(self.cells, dtype=np.float32)
            for f in rng.permutation(FACTORS)[:CHOSEN]:
                inside = np.zeros(BANDS + 1, dtype=np.float32)
                inside[: rng.integers(1, BANDS)] = rng.uniform(0.1, 1.2)
                log += inside[self.band[f]]
            score = np.exp(log)
        return ScenarioResult(
            score, score, {"model": [], "variables": [], "validity": [], "findings": []}, {"bic": float(index)}
        )


def make(folder: Path, scenarios: int, rows: int, cols: int, kind: str, workers: int) -> None:
    """Write the store, or what is left of it."""
    there = SweepStore.exists(str(folder))
    url = str(folder)
    store = SweepStore.open(url, "a") if there else SweepStore.create(url, manifest_of(scenarios, rows, cols))
    with store:
        left = store.pending()
        if left:
            terrains = Terrains(rows, cols, kind)
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda i: store.write(i, terrains(i)), left))


def measured(code: str, *arguments: object) -> dict[str, Any]:
    """Run a program in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Make the store and measure."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--scenarios", type=int, default=1000)
    arguments.add_argument("--rows", type=int, default=1000)
    arguments.add_argument("--cols", type=int, default=1000)
    arguments.add_argument("--kind", choices=["terrain", "continuous"], default="terrain")
    arguments.add_argument("--share", type=float, default=0.01)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=2)
    asked = arguments.parse_args()
    make(asked.folder, asked.scenarios, asked.rows, asked.cols, asked.kind, asked.threads)
    size = sum(p.stat().st_size for p in asked.folder.rglob("c.*"))
    cells = asked.rows * asked.cols
    print(f"{asked.scenarios:,} scenarios of {cells:,} cells, {size / 2e9:.2f} GB of scores ({asked.kind})")
    scratch = asked.folder.parent
    best: dict[str, Any] = {"read": math.inf, "read_cpu": math.inf, "stability": math.inf}
    for _ in range(asked.rounds):
        read = measured(READ, asked.folder, asked.threads)
        whole = measured(STABILITY, asked.folder, asked.threads, asked.share, scratch)
        best["read"], best["read_cpu"] = min(best["read"], read["seconds"]), min(best["read_cpu"], read["cpu"])
        if whole["seconds"] < best["stability"]:
            best |= {"stability": whole["seconds"], **{k: v for k, v in whole.items() if k != "seconds"}}
    times = best["stability"] / best["read"]
    print(f"reading only: {best['read']:.2f} s ({best['read_cpu']:.1f} s of CPU, with start and imports)")
    print(f"stability: {best['stability']:.2f} s, {times:.2f} times reading ({best['cpu']:.1f} s of CPU)")
    print(f"peak memory: {best['mb']:.0f} MB; stages: {', '.join(f'{k} {v:.2f} s' for k, v in best['stages'].items())}")
    print(best["sentence"])


if __name__ == "__main__":
    main()
