"""How time and memory grow with cells and with features, beside writing the output once; draws docs/scaling.svg.

Run: python benchmarks/scaling.py          (about three minutes, 10 GB of memory; two threads)

Every case runs in a process of its own, so that its peak memory is its own. `write` is the time to fill the
output array at memcpy speed, two threads: no engine that returns a raster can be faster.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time

import numpy as np

from figures import log_panels

CRS = "EPSG:26915"
CELLS = [10**6, 4 * 10**6, 16 * 10**6, 64 * 10**6, 250 * 10**6, 10**9]
POINTS = [10**3, 10**4, 10**5, 10**6, 10**7]


def one(what: str, cells: int, points: int) -> dict[str, float]:
    """Time one operation, preparation included, into an output whose memory is there already."""
    import rtmdx

    side = math.isqrt(cells)
    frame = rtmdx.Frame(CRS, 0.0, float(side), 1.0, 1.0, (side, side))
    xy = np.random.default_rng(0).uniform(0, side, (points, 2))
    out = np.zeros(frame.shape, dtype=np.float32)
    out[:] = 1  # pages are there before anything is timed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(3 if cells < 10**9 and points < 10**7 else 1):
        features = rtmdx.Features.from_points(xy)  # prepared anew each time
        start = time.perf_counter()
        if what == "distance":
            rtmdx.distance_array(features, frame, out=out, threads=2)
        else:
            rtmdx.density_array(features, frame, bandwidth=10.0, out=out, threads=2)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": float(np.median(times)), "extra": 1024.0 * (peak - before), "write": write(out)}


def write(out: np.ndarray) -> float:
    from concurrent.futures import ThreadPoolExecutor

    source = np.ones((256, out.shape[1]), dtype=np.float32)
    halves = np.array_split(np.arange(0, out.shape[0], 256), 2)

    def copy(rows: np.ndarray) -> None:
        for r in rows:
            part = out[r : r + 256]
            np.copyto(part, source[: len(part)])

    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(copy, halves))
        best = min(best, time.perf_counter() - start)
    return best


def measure() -> list[dict[str, float | str]]:
    cases = [(w, c, 10**4) for w in ("distance", "density") for c in CELLS]
    cases += [(w, 16 * 10**6, p) for w in ("distance", "density") for p in POINTS if p != 10**4]
    rows = []
    for what, cells, points in cases:
        done = subprocess.run(
            [sys.executable, __file__, what, str(cells), str(points)], capture_output=True, text=True, check=True
        )
        rows.append({"what": what, "cells": cells, "points": points, **json.loads(done.stdout)})
        r = rows[-1]
        print(
            f"{what:8} {cells:>13,} cells {points:>11,} points: {r['seconds']:8.3f} s = "
            f"{r['seconds'] / r['write']:5.1f} x writing once; {r['extra'] / 1e6:7,.0f} MB beside the output"
        )
    return rows


def draw(rows: list[dict[str, float | str]]) -> None:
    colour = {"distance": "#1b6ca8", "density": "#c2571a"}
    with log_panels("scaling.svg") as (left, right):
        for what in ("distance", "density"):
            mine = [r for r in rows if r["what"] == what]
            by_cells = sorted((r for r in mine if r["points"] == 10**4), key=lambda r: r["cells"])
            by_points = sorted((r for r in mine if r["cells"] == 16 * 10**6), key=lambda r: r["points"])
            for axes, cases, along in ((left, by_cells, "cells"), (right, by_points, "points")):
                axes.plot(
                    [r[along] for r in cases], [r["seconds"] for r in cases], "o-", color=colour[what], label=what
                )
                if what == "distance":
                    grey = {"color": "#777777", "ls": "--", "label": "writing the output once"}
                    axes.plot([r[along] for r in cases], [r["write"] for r in cases], **grey)
        left.set(title="10,000 points", xlabel="cells")
        right.set(title="16 million cells", xlabel="points")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
    else:
        draw(measure())
