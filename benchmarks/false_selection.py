"""What each kind of fold lets through, false and true, under autocorrelated noise; the tables of docs/folds.md.

Run: nice python benchmarks/false_selection.py [--seeds 50] [--ranges 0 300 900 1800] [--planted]     (four minutes)

Each seed draws a demo city: its own layout of eight factors; about 6,700 cells of 60 m, blocks of 120 m, proximity and
density, six bands: 96 variables. Counts are drawn apart from it by a log-Gaussian Cox process: a Gaussian field
with an exponential correlation of the stated range (where it has fallen to 5 %), standard deviation 1 of the log rate,
0.3 events per cell on average. The field knows nothing of the factors, so whatever is selected is selected falsely.
With --planted the rate is also half as high again within a block of a bar, of a convenience store and of a bus stop,
to see what is lost where there is something to find.
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
from rtmdx.model.folds import spatial_folds, stratified_folds, suggest_block
from rtmdx.model.stepwise import stepwise
from rtmdx.runs.inputs import load_inputs
from rtmdx.runs.study import Study
from rtmdx.space.grid import Grid

N_FACTORS = 8
MEAN, SIGMA = 0.3, 1.0
PLANTED, REACH, EFFECT = ("bars", "convenience_stores", "bus_stops"), 120.0, 1.5
HAS_RULE = "rule" in inspect.signature(cull).parameters  # the one-standard-error rule


def layout(seed: int) -> tuple[Design, Grid, float]:
    """Draw a city; return its design, its grid and its largest influence."""
    city = make_city(seed)
    data = city.study()
    data.pop("holdout", None)
    data["factors"] = [
        {**f, "operationalization": "both", "effect": "aggravating"} for f in data["factors"][:N_FACTORS]
    ]
    study = Study.from_dict(data)
    layers = {"area": city.area, "outcome": city.events, **{f.name: city.layers[f.name] for f in study.factors}}
    inputs = load_inputs(study, layers=layers)
    influence = max(d for f in inputs.factors for d in f.distances)
    return build_design(inputs.factors, inputs.grid, threads=1), inputs.grid, influence


def field(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a stationary Gaussian field of mean 0 and variance 1, exponential correlation, by circulant embedding.

    `scale` is in cells; 0 draws independent cells. The torus is several ranges wide, so that what the embedding
    loses (negative eigenvalues, set to 0) is below a thousandth of the variance.
    """
    if scale == 0:
        return rng.standard_normal(shape)
    rows, cols = (2 * n + int(12 * scale) for n in shape)
    dy = np.minimum(np.arange(rows), rows - np.arange(rows))
    dx = np.minimum(np.arange(cols), cols - np.arange(cols))
    power = np.fft.fft2(np.exp(-np.hypot(dy[:, None], dx) / scale)).real
    if power[power < 0].sum() < -1e-3 * power.sum():
        raise AssertionError("the torus is too small for this range")
    noise = rng.standard_normal((rows, cols)) + 1j * rng.standard_normal((rows, cols))
    drawn = np.fft.fft2(np.sqrt(np.maximum(power, 0) / power.size) * noise).real
    return np.asarray(drawn[: shape[0], : shape[1]], dtype=np.float64)


def effects(design: Design) -> NDArray[np.float64]:
    """Log rate ratio of every cell from the planted factors."""
    out = np.zeros(design.n_cells)
    for j, v in enumerate(design.variables):
        if v.factor_name in PLANTED and v.operationalization == "proximity" and v.distance == REACH:
            out += np.log(EFFECT) * design.indicator(j)
    return out


def one(seed: int, ranges: list[float], planted: bool) -> list[dict[str, Any]]:
    """Select under every kind of fold, for every range of correlation (metres), in the city of this seed."""
    design, grid, influence = layout(seed)
    rows, cols = grid.rows_cols
    ratio = effects(design) if planted else np.zeros(design.n_cells)
    out: list[dict[str, Any]] = []
    for number, reach in enumerate(ranges):
        rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
        log_rate = SIGMA * grid.to_cells(field(grid.shape, reach / 3 / grid.cell_size, rng)) + ratio
        counts = rng.poisson(MEAN * np.exp(log_rate - SIGMA**2 / 2))
        kinds = {"stratified": stratified_folds(counts, 5, seed=seed)}
        for times in (2, 4):
            block = suggest_block(influence, grid.cell_size, times=times)
            kinds[f"spatial, {block.length:,.0f} m"] = spatial_folds(rows, cols, block.cells, 5, seed=seed)
        for kind, folds in kinds.items():
            for rule in ("min", "1se") if HAS_RULE else ("min",):
                options: dict[str, Any] = {} if rule == "min" else {"rule": rule}
                culled = cull(design, counts, folds, **options)
                final = stepwise(design, counts, culled.selected).model
                path = next(p for p in culled.paths if p.ridge == culled.ridge)
                best = int(np.argmin(path.cv_deviance))
                in_culling = {design.variables[j].factor_name for j in culled.selected}
                out.append(
                    {
                        "seed": seed,
                        "range": reach,
                        "folds": kind if rule == "min" else f"{kind}, {rule}",
                        "events": int(counts.sum()),
                        "variables": sum(
                            design.variables[j].factor_name not in named(planted) for j in culled.selected
                        ),
                        "found_by_culling": len(in_culling & named(planted)),
                        **in_model(final.variables, planted),
                        "penalty": culled.penalty / culled.lambda_max,
                        # how much better than nothing the chosen penalty predicts what was left out
                        "gain": float(1 - path.cv_deviance[best] / path.cv_deviance[0]),
                        "error": float(path.cv_standard_error[best] / path.cv_deviance[0]),
                    }
                )
        every = stepwise(design, counts, range(len(design.variables))).model
        out.append({"seed": seed, "range": reach, "folds": "no culling", **in_model(every.variables, planted)})
    return out


def named(planted: bool) -> set[str]:
    return set(PLANTED) if planted else set()


def in_model(variables: Any, planted: bool) -> dict[str, int]:
    """Count the final model's factors: false ones, and planted ones found."""
    found = sum(v.factor_name in named(planted) for v in variables)
    return {"factors": len(variables) - found, "found": found}


def table(results: list[dict[str, Any]], planted: bool) -> str:
    """Write the results as Markdown: mean, median and 90th percentile over the seeds, and the share without any."""
    head = ["range", "folds", "false variables after culling", "none", "false factors in the model", "none"]
    head += ["planted factors in the model"] if planted else []
    lines = [f"| {' | '.join(head)} |", f"|--:|---|{'--:|' * (len(head) - 2)}"]
    for reach, kind in sorted(dict.fromkeys((r["range"], r["folds"]) for r in results), key=lambda key: key[0]):
        rows = [r for r in results if (r["range"], r["folds"]) == (reach, kind)]
        cells = [f"{reach:,.0f} m" if reach else "independent", kind]
        for what in ("variables", "factors"):
            n = np.array([r.get(what, np.nan) for r in rows])
            known = bool(np.isfinite(n).all())
            cells += [f"{n.mean():.2f} ({np.median(n):g}, {np.quantile(n, 0.9):.0f})" if known else ""]
            cells += [f"{np.mean(n == 0):.0%}" if known else ""]
        cells += [f"{np.mean([r['found'] for r in rows]):.2f} of {len(PLANTED)}"] if planted else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(results: list[dict[str, Any]]) -> str:
    """Compare each kind with stratified folds, seed by seed: fewer, as many or more false variables."""
    lines = []
    for reach, kind in sorted(dict.fromkeys((r["range"], r["folds"]) for r in results), key=lambda key: key[0]):
        mine = {r["seed"]: r for r in results if (r["range"], r["folds"]) == (reach, kind)}
        base = {r["seed"]: r for r in results if (r["range"], r["folds"]) == (reach, "stratified")}
        if kind in ("stratified", "no culling"):
            continue
        d = np.array([mine[s]["variables"] - base[s]["variables"] for s in base])
        error = d.std(ddof=1) / np.sqrt(d.size) if d.size > 1 else np.nan
        lines.append(
            f"range {reach:,.0f} m, {kind} - stratified: {d.mean():+.2f} variables (standard error {error:.2f}); "
            f"fewer in {np.sum(d < 0)}, as many in {np.sum(d == 0)}, more in {np.sum(d > 0)} of {d.size} seeds"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--ranges", type=float, nargs="+", default=[0, 300, 900, 1800])
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--json", type=Path, help="write every run here")
    options = parser.parse_args()
    start = time.perf_counter()
    results = []
    for seed in range(options.seeds):
        results += one(seed, options.ranges, options.planted)
        if options.json:
            options.json.write_text(json.dumps(results))
    print(table(results, options.planted))
    print("\nMean (median, 90 % quantile) over the seeds; none: share of seeds without any.\n")
    print(differences(results))
    print(f"\n{options.seeds} seeds, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
