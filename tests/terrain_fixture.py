"""A risk terrain of an invented city by a river, made without fitting: what report and exports are given."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from rtmdx.model.culling import CullingPath, CullingResult, FoldSummary
from rtmdx.model.design import Block, Design, DroppedVariable, Variable
from rtmdx.model.families import CountModel, Family
from rtmdx.model.stepwise import Step, StepwiseResult
from rtmdx.model.terrain import RiskTerrain, relative_risk_score, risk_bands
from rtmdx.model.validity import validity
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Cleaning, Events, Finding, RiskFactor, Selection

__all__ = ["make_terrain", "nothing_found"]

Effect = Literal["aggravating", "protective"]
Op = Literal["proximity", "density"]


def city(rows: int, cols: int, cell: float, crs: str) -> Grid:
    """A rounded city cut by a river, `rows` x `cols` cells at most."""
    x, y = 700_000.0, 4_200_000.0
    width, height = cols * cell, rows * cell
    if min(rows, cols) < 5:
        return Grid.from_area(shapely.box(x, y, x + width, y + height), crs, cell)
    blob = shapely.Point(0.5, 0.5).buffer(0.5).union(shapely.box(0.1, 0.3, 0.8, 0.97))
    along = np.linspace(-0.2, 1.2, 60)
    river = shapely.LineString(np.column_stack([along, 0.42 + 0.13 * np.sin(5 * along)])).buffer(0.018)
    area = shapely.transform(blob.difference(river), lambda p: p * [width, height] + [x, y])
    return Grid.from_area(area, crs, cell)


def _factor(name: str, shapes: Any, kind: str, effect: Effect, ops: tuple[Op, ...], cell: float) -> RiskFactor:
    shapes = np.asarray(shapes, dtype=object)
    cleaning = Cleaning(f"city.gpkg:{name}", name.encode().hex().ljust(64, "0"), len(shapes) + 1, len(shapes),
                        {"no geometry": 1}, mended=1 if kind == "polygons" else 0)  # fmt: skip
    distances = tuple(cell * k for k in (1, 2, 3, 4))
    return RiskFactor(name, name.replace("_", " ").capitalize(), shapes, effect, ops, distances, "half", kind, cleaning)


def _factors(grid: Grid, rng: np.random.Generator, effect: Effect) -> tuple[RiskFactor, ...]:
    west, south, east, north = grid.bounds
    size = np.array([east - west, north - south])
    bars = rng.normal([0.55, 0.6], 0.14, (90, 2)) * size + [west, south]
    stops = [
        (west + size[0] * t, south + size[1] * (f + 0.05 * np.sin(9 * t))) for f in (0.25, 0.55, 0.8)
        for t in np.linspace(0, 1, 30)
    ]  # fmt: skip
    roads = [
        shapely.LineString([(west, south + 0.7 * size[1]), (east, south + 0.6 * size[1])]),
        shapely.LineString([(west + 0.45 * size[0], south), (west + 0.6 * size[0], north)]),
    ]
    parks = [
        shapely.Point(west + a * size[0], south + b * size[1]).buffer(0.06 * max(size))
        for a, b in ((0.3, 0.75), (0.7, 0.3))
    ]
    cell = grid.cell_size
    return (
        _factor("bars", shapely.points(bars), "points", "aggravating", ("proximity", "density"), cell),
        _factor("bus_stops", shapely.points(np.array(stops)), "points", "aggravating", ("proximity",), cell),
        _factor("main_roads", roads, "lines", "aggravating", ("proximity",), cell),
        _factor("parks", parks, "polygons", effect, ("proximity",), cell),
    )


def _design(grid: Grid, factors: tuple[RiskFactor, ...]) -> Design:
    rows, cols = grid.rows_cols
    centres = shapely.points(grid.x[cols], grid.y[rows])
    blocks, dropped = [], []
    for i, f in enumerate(factors):
        tree = shapely.STRtree(f.geometries)
        _, away = tree.query_nearest(centres, all_matches=False, return_distance=True)
        for op in f.operationalizations:
            near = away if op == "proximity" else -_density(f, grid)
            limits = f.distances if op == "proximity" else tuple(np.quantile(near, [0.03, 0.05, 0.07, 0.1]))
            band = np.searchsorted(np.array(limits), near).astype(np.uint8)
            found = []
            for k, d in enumerate(f.distances):
                name = f"r{i + 1:02d}{op[0]}{k + 1:02d}_{f.name}_{op}_{d:g}"
                support = int((band <= k).sum())
                threshold = float(-limits[k]) if op == "density" else None
                found.append(Variable(name, i, f.name, op, k + 1, d, threshold, f.sign, support))
            if i == 0 and op == "proximity":  # as if the smallest band had too little support
                dropped.append(DroppedVariable(found[0], f"1 in only {found[0].support} cells (at least 20 needed)"))
                keep = [1, 2, 3]
            else:
                keep = [0, 1, 2, 3]
            decode = (np.arange(5)[:, None] <= np.array(keep)[None, :]).astype(np.uint8)
            blocks.append(Block(band, decode, tuple(found[k] for k in keep)))
    return Design(tuple(blocks), grid.n_cells, tuple(dropped))


def _density(f: RiskFactor, grid: Grid) -> NDArray[np.float64]:
    rows, cols = grid.rows_cols
    xy = shapely.get_coordinates(f.geometries)
    away = np.hypot(grid.x[cols][:, None] - xy[:, 0], grid.y[rows][:, None] - xy[:, 1])
    total: NDArray[np.float64] = np.maximum(0, 1 - (away / (3 * grid.cell_size)) ** 2).sum(axis=1)
    return total


def _model(design: Design, family: Family, names: dict[str, float], n_events: int, intercept: float) -> CountModel:
    columns = [j for j, v in enumerate(design.variables) if v.name in names]
    variables = tuple(design.variables[j] for j in columns)
    k = 1 + len(columns) + (family != "poisson")
    error = np.linspace(0.04, 0.12, k)
    return CountModel(
        family=family, variables=variables, columns=tuple(columns), intercept=intercept,
        coefficients=np.array([names[v.name] for v in variables]),
        log_dispersion=None if family == "poisson" else 0.41, covariance=np.diag(error**2),
        log_likelihood=-3120.0 if family == "poisson" else -2950.5, n_cells=design.n_cells, n_events=n_events,
        at_boundary=False, converged=True, n_iterations=6,
    )  # fmt: skip


def _culling(design: Design, columns: tuple[int, ...], empty: bool) -> CullingResult:
    penalties = np.geomspace(0.05, 0.0005, 40)
    bend = (np.log(penalties) - np.log(0.004)) ** 2
    paths = tuple(
        CullingPath(
            ridge=ridge, mixing=None, penalties=penalties, cv_deviance=0.51 + shift + 0.004 * bend,
            cv_standard_error=np.full(40, 0.006), n_nonzero=np.arange(40) // 3,
            coefficients=np.zeros((40, len(design.variables))), intercepts=np.full(40, -1.5),
            kkt_residuals=np.full(40, 2e-9), fold_deviance=np.full((5, 40), 0.51), stopped_early=False,
        )
        for ridge, shift in ((1e-4, 0.0), (1e-3, 0.002))
    )  # fmt: skip
    selected = () if empty else tuple(sorted({*columns, 0, 5}))
    coefficients = np.zeros(len(design.variables))
    coefficients[list(selected)] = 0.3
    folds = tuple(FoldSummary(i, design.n_cells // 5, 180) for i in range(5))
    return CullingResult(
        selected=selected, coefficients=coefficients, intercept=-1.5, penalty=0.004, ridge=1e-4, mixing=None,
        rule="min", best_penalty=0.004, kkt_residual=2e-9, lambda_max=0.05, paths=paths, folds=folds, n_rows=230,
    )  # fmt: skip


def make_terrain(
    *,
    rows: int = 60,
    cols: int = 80,
    cell: float = 100.0,
    crs: str = "EPSG:26915",
    effect: Effect = "protective",
    selected: bool = True,
    family: Family = "nbii",
    holdout: bool = True,
    holdout_events: bool = True,
    findings: tuple[Finding, ...] = (),
    title: str = "Riverton, street robbery",
    seed: int = 0,
) -> RiskTerrain:
    """Make the terrain; the options are the edge cases of the tests."""
    rng = np.random.default_rng(seed)
    grid = city(rows, cols, cell, crs)
    factors = _factors(grid, rng, effect)
    design = _design(grid, factors)
    by_name = {v.name: v for v in design.variables}
    wanted = {
        f"r01d02_bars_density_{2 * cell:g}": 1.31,
        f"r02p01_bus_stops_proximity_{cell:g}": 0.62,
        f"r03p02_main_roads_proximity_{2 * cell:g}": 0.24,
        f"r04p01_parks_proximity_{cell:g}": 0.48,
    }
    names = {name: c for name, c in wanted.items() if selected and name in by_name}
    draft = _model(design, family, names, 0, 0.0)
    intercept = float(np.log(900 / draft.expected(design).sum()))
    expected = _model(design, family, names, 0, intercept).expected(design)
    counts = rng.negative_binomial(np.maximum(expected, 1e-9) / 1.5, 0.4).astype(np.int64)
    n = int(counts.sum())
    final = _model(design, family, names, n, intercept)
    both: tuple[Family, ...] = ("poisson", "nbii")
    models = {f: _model(design, f, names, n, intercept) for f in both} | {family: final}
    steps = tuple(
        Step(f, i, "add", name, 6600.0 - 80 * i, 6520.0 - 80 * i, 19 - i, (), ())
        for f in models for i, name in enumerate(names, 1)
    ) + tuple(Step(f, len(names) + 1, "stop", None, 6200.0, 6200.0, 12, (), ()) for f in models)  # fmt: skip
    selection = StepwiseResult(final, models, dict.fromkeys(models, 6700.0), steps, dict.fromkeys(models, ()), ())
    score = relative_risk_score(final, design)
    bands, note = risk_bands(score, counts)
    r, c = grid.rows_cols
    where = np.repeat(np.arange(grid.n_cells), counts)
    events = Events(
        "Street robbery", grid.x[c[where]], grid.y[r[where]],
        Cleaning("city.gpkg:robbery", "ab" * 32, n + 14, n, {"outside the study area": 11, "no date": 3}),
        Selection(date_field="date", start=dt.date(2022, 1, 1), end=dt.date(2022, 12, 31)),
    )  # fmt: skip
    smooth = np.log(score) + rng.normal(0, 0.4, score.size)
    later = rng.poisson(expected) if holdout_events else np.zeros(grid.n_cells, dtype=np.int64)
    n_later = int(later.sum())
    judged = {"Risk terrain": score, "Past counts": counts.astype(float), "Kernel density (400 m)": smooth}
    fitted = tuple(
        validity(judged[name], counts, name=name, period=f"fitted: {events.period}", predicted=expected)
        for name in ("Risk terrain", "Kernel density (400 m)")
    )
    held = tuple(
        validity(s, later, name=name, period="held out: 2023-01-01 to 2023-12-31") for name, s in judged.items()
    )
    cleanings = {"outcome": events.cleaning, **{f"factor {f.name}": f.cleaning for f in factors}}
    return RiskTerrain(
        title=title, grid=grid, events=events, counts=counts, factors=factors, design=design,
        culling=_culling(design, final.columns, not selected), selection=selection, score_cells=score,
        expected_cells=np.asarray(expected, dtype=np.float64), bands=bands, bands_note=note, fitted=fitted,
        holdout=held if holdout else (),
        holdout_cleaning=Cleaning("city.gpkg:robbery", "ab" * 32, n_later, n_later) if holdout else None,
        findings=findings, block_length=2 * cell,
        config={"schema_version": 1, "name": title, "seed": 7, "model": {"folds": "stratified"}},
        provenance={
            "study_id": "0123456789abcdef", "created": "2026-01-02T03:04:05+00:00", "seed": 7,
            "grid_digest": grid.digest, "versions": {"rtmdx": "0.1.0", "numpy": np.__version__},
            "build": {"compiler": "gcc 12.2.0", "cpu": ["avx2"]},
            "inputs": {k: {"source": v.source, "sha256": v.digest, "rows": v.read} for k, v in cleanings.items()},
        },
    )  # fmt: skip


def nothing_found(**options: Any) -> RiskTerrain:
    """A terrain whose model holds no variable."""
    return make_terrain(selected=False, **options)


def with_findings(terrain: RiskTerrain, *findings: Finding) -> RiskTerrain:
    """The same terrain with findings."""
    return replace(terrain, findings=findings)


def cells_frame(terrain: RiskTerrain) -> gpd.GeoDataFrame:
    """Cell centres as points."""
    rows, cols = terrain.grid.rows_cols
    return gpd.GeoDataFrame(geometry=shapely.points(terrain.grid.x[cols], terrain.grid.y[rows]), crs=terrain.grid.crs)
