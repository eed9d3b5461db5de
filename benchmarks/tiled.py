"""A run by tiles of the embedded city at hundreds of millions of cells: time, memory, and a sample checked.

    python benchmarks/tiled.py [--cell 0.25] [--tile 2048] [--workers 2] [--out scores.zarr]

The city is rtmdx's own (6 x 5 km), its cells so small that there are more than 400 million. Afterwards windows that
lie across the tiles' edges are computed directly, from rasters of distance and density, and must agree with the store.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rtmdx.demo import make_city
from rtmdx.runs.inputs import Inputs, load_inputs
from rtmdx.runs.study import Study
from rtmdx.space.density import density_array
from rtmdx.space.distance import distance_array
from rtmdx.sweep.tiled import TiledTerrain, run_tiled

SIDE = 700  # cells along a window that is checked


def direct(tiled: TiledTerrain, inputs: Inputs, window: tuple[int, int, int, int], kernel: Any) -> np.ndarray:
    """The scores of a window from rasters of distance and density."""
    model = tiled.selection.model
    eta = np.full(window[2:], model.intercept)
    for v, b in zip(model.variables, model.coefficients, strict=True):
        shapes = inputs.factors[v.factor].geometries
        if v.operationalization == "density":
            raster = density_array(
                shapes, inputs.grid, bandwidth=v.distance, kernel=kernel, dtype="float64", window=window
            )
            on = raster >= v.threshold
        else:
            on = distance_array(shapes, inputs.grid, dtype="float64", window=window) <= v.distance
        eta += on * (v.sign * b)
    return np.exp(eta - tiled.lowest)


def check(tiled: TiledTerrain, inputs: Inputs, kernel: Any, tile: int, samples: int = 12) -> int:
    """Compare windows across the edges of tiles; returns the cells compared."""
    data, rng, compared = tiled.open(), np.random.default_rng(0), 0
    while samples:
        rows, cols = tiled.shape
        row = int(rng.integers(1, max(2, rows // tile + 1))) * tile - SIDE // 2
        col = int(rng.integers(0, cols - SIDE))
        row = min(max(0, row), rows - SIDE)
        kept = inputs.grid.mask[row : row + SIDE, col : col + SIDE]
        if not kept.any():
            continue
        samples -= 1
        stored = data.score[row : row + SIDE, col : col + SIDE].values
        expected = direct(tiled, inputs, (row, col, SIDE, SIDE), kernel)
        assert np.isnan(stored[~kept]).all()
        # one product of coefficients may be added in another order: a unit in the last place
        np.testing.assert_allclose(stored[kept], expected[kept], rtol=1e-14)
        compared += int(kept.sum())
    return compared


def main() -> None:
    """Run, and say how it went."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--cell", type=float, default=0.25)
    parser.add_argument("--tile", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    city = make_city(0)
    plain = city.study()
    plain["grid"]["cell_size"] = asked.cell
    plain.setdefault("model", {})["folds"] = "spatial"
    plain.pop("holdout", None)
    study = Study.from_dict(plain)
    with tempfile.TemporaryDirectory() as folder:
        city.write(folder)
        out = Path(folder) / "scores.zarr" if asked.out is None else asked.out
        began, times = time.perf_counter(), {}

        def told(stage: str, done: int, total: int) -> None:
            times.setdefault(stage, time.perf_counter() - began)
            if done == total or done % 10 == 0:
                print(f"{time.perf_counter() - began:7.1f} s  {stage} {done}/{total}", flush=True)

        tiled = run_tiled(
            study, out, data=folder, tile=asked.tile, workers=asked.workers, overwrite=True, progress=told
        )
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 1e9
        print(
            f"{tiled.shape[0]:,} x {tiled.shape[1]:,} = {tiled.shape[0] * tiled.shape[1]:,} cells, "
            f"{tiled.n_cells:,} kept, {tiled.n_tiles} tiles, {len(tiled.variables)} variables, "
            f"{tiled.n_rows:,} distinct rows: {seconds:.0f} s, "
            f"peak {peak:.2f} GB; store {size:.2f} GB"
        )
        print("model:", ", ".join(v.name for v in tiled.selection.model.variables))
        compared = check(tiled, load_inputs(study, data=folder), study.model.kernel, asked.tile)
        print(f"{compared:,} cells of 12 windows computed directly: the same")


if __name__ == "__main__":
    main()
