"""How many variables and factors each kind of fold lets through where no factor plays a part; the table of docs/folds.md.

Run: nice python benchmarks/false_selection.py [--seeds 50] [--ranges 0 300 900 1800]

Each seed draws a demo city (its own layout of eight factors; cells of 60 m, about 6,700 of them, blocks of 120 m,
proximity and density, six bands: 96 variables) and, apart from it, counts from a log-Gaussian Cox process: a Gaussian field with an
exponential correlation of the stated range (where it has fallen to 5 %), standard deviation 1 of the log rate, 0.3
events per cell on average. The field knows nothing of the factors, so whatever is selected is selected falsely.
"""

from __future__ import annotations

import argparse
import inspect
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.demo import make_city
from rtmdx.model.culling import cull
from rtmdx.model.design import Design, build_design
from rtmdx.model.folds import spatial_folds, stratified_folds
from rtmdx.model.stepwise import stepwise
from rtmdx.runs.inputs import load_inputs
from rtmdx.runs.study import Study
from rtmdx.space.grid import Grid

N_FACTORS = 8
MEAN, SIGMA = 0.3, 1.0
HAS_RULE = "rule" in inspect.signature(cull).parameters  # the one-standard-error rule


def layout(seed: int) -> tuple[Design, Grid, float]:
    """Draw a city; return its design, its grid and the largest influence in cells."""
    city = make_city(seed)
    data = city.study()
    data.pop("holdout", None)
    data["factors"] = [
        {**f, "operationalization": "both", "effect": "aggravating"} for f in data["factors"][:N_FACTORS]
    ]
    study = Study.from_dict(data)
    layers = {"area": city.area, "outcome": city.events, **{f.name: city.layers[f.name] for f in study.factors}}
    inputs = load_inputs(study, layers=layers)
    reach = max(d for f in inputs.factors for d in f.distances) / inputs.grid.cell_size
    return build_design(inputs.factors, inputs.grid, threads=1), inputs.grid, reach


def field(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a stationary Gaussian field of mean 0 and variance 1, exponential correlation, by circulant embedding.

    `scale` is in cells; 0 draws independent cells. The torus is several ranges wide, so that what the embedding
    loses (negative eigenvalues, set to 0) is far below a thousandth of the variance.
    """
    if scale == 0:
        return rng.standard_normal(shape)
    rows, cols = (2 * n + int(12 * scale) for n in shape)
    dy = np.minimum(np.arange(rows), rows - np.arange(rows))
    dx = np.minimum(np.arange(cols), cols - np.arange(cols))
    power = np.fft.fft2(np.exp(-np.hypot(dy[:, None], dx) / scale)).real
    assert power[power < 0].sum() > -1e-3 * power.sum()
    noise = rng.standard_normal((rows, cols)) + 1j * rng.standard_normal((rows, cols))
    drawn = np.fft.fft2(np.sqrt(np.maximum(power, 0) / power.size) * noise).real
    return np.asarray(drawn[: shape[0], : shape[1]], dtype=np.float64)


def one(seed: int, ranges: list[float]) -> list[dict[str, Any]]:
    """Select under every kind of fold, for every range of correlation (metres), in the city of this seed."""
    design, grid, reach = layout(seed)
    rows, cols = grid.rows_cols
    out = []
    for number, reached in enumerate(ranges):
        rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
        log_rate = SIGMA * grid.to_cells(field(grid.shape, reached / 3 / grid.cell_size, rng))
        counts = rng.poisson(MEAN * np.exp(log_rate - SIGMA**2 / 2))
        kinds = {"stratified": stratified_folds(counts, 5, seed=seed)}
        for times in (2, 4):
            side = round(times * reach)
            kinds[f"spatial, {side * grid.cell_size:,.0f} m"] = spatial_folds(rows, cols, side, 5, seed=seed)
        for kind, folds in kinds.items():
            for rule in ("min", "1se") if HAS_RULE else ("min",):
                options: dict[str, Any] = {} if rule == "min" else {"rule": rule}
                culled = cull(design, counts, folds, **options)
                final = stepwise(design, counts, culled.selected).model
                path = next(p for p in culled.paths if p.ridge == culled.ridge)
                best = int(np.argmin(path.cv_deviance))
                out.append(
                    {
                        "seed": seed,
                        "range": reached,
                        "folds": kind,
                        "rule": rule,
                        "events": int(counts.sum()),
                        "variables": len(culled.selected),
                        "culled_factors": len({design.variables[j].factor for j in culled.selected}),
                        "factors": len(final.variables),
                        "penalty": culled.penalty / culled.lambda_max,
                        # how much better than nothing the chosen penalty predicts what was left out
                        "gain": float(1 - path.cv_deviance[best] / path.cv_deviance[0]),
                        "error": float(path.cv_standard_error[best] / path.cv_deviance[0]),
                    }
                )
        every = stepwise(design, counts, range(len(design.variables))).model
        out.append({"seed": seed, "range": reached, "folds": "no culling", "rule": "", "factors": len(every.variables)})
    return out


def table(results: list[dict[str, Any]]) -> str:
    """Write the results as Markdown: mean, median and 90th percentile over the seeds, and the share with any."""
    lines = [
        "| range of the noise | folds | rule | variables after culling: mean, median, 90 % | none | "
        "factors in the model: mean, median, 90 % | none |",
        "|--:|---|---|--:|--:|--:|--:|",
    ]
    keys = list(dict.fromkeys((r["range"], r["folds"], r["rule"]) for r in results))
    for key in sorted(keys, key=lambda k: k[0]):
        rows = [r for r in results if (r["range"], r["folds"], r["rule"]) == key]
        cells = []
        for what in ("variables", "factors"):
            if what not in rows[0]:
                cells += ["", ""]
                continue
            n = np.array([r[what] for r in rows])
            cells += [f"{n.mean():.1f}, {np.median(n):g}, {np.quantile(n, 0.9):.0f}", f"{np.mean(n == 0):.0%}"]
        where = f"{key[0]:,.0f} m" if key[0] else "independent"
        lines.append(f"| {where} | {key[1]} | {key[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--ranges", type=float, nargs="+", default=[0, 300, 900, 1800])
    parser.add_argument("--json", type=Path, help="write every run here")
    options = parser.parse_args()
    start = time.perf_counter()
    results = []
    for seed in range(options.seeds):
        results += one(seed, options.ranges)
        if options.json:
            options.json.write_text(json.dumps(results))
    print(table(results))
    print(f"\n{options.seeds} seeds, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
