"""A run whose grid is too large to hold: tile by tile, to the bits of the whole.

Three passes over the tiles. The first takes the moments of every density, for its threshold; the second makes the
codes of a tile's cells and collapses them to distinct rows with their cells and events, which is all that selection
and fit need; the third scores each tile by the model and writes it. No pass holds more than the tiles at work.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.columns import BLOCK, Moments, density_threshold
from rtmdx.model.culling import CullingOptions, CullingResult, cull_table
from rtmdx.model.design import Design
from rtmdx.model.export import plain
from rtmdx.model.folds import BlockFolds
from rtmdx.model.rows import RowTable
from rtmdx.model.stepwise import StepwiseResult, stepwise_entries
from rtmdx.model.stepwise_options import StepwiseOptions
from rtmdx.model.tabulate import merge_tables
from rtmdx.model.tiles import RawBlock, RawLayout, coded_anew
from rtmdx.runs.folds import block_size
from rtmdx.runs.inputs import Inputs, load_inputs
from rtmdx.runs.provenance import provenance
from rtmdx.runs.run import require_types
from rtmdx.runs.study import Study
from rtmdx.space.features import Features
from rtmdx.space.frame import Window
from rtmdx.space.memory import require_bytes
from rtmdx.space.staging import replacing, require_own
from rtmdx.space.values import whole
from rtmdx.space.zarr_store import consolidate, create_rasters
from rtmdx.sweep.tile_executors import Tiles, make_tiles
from rtmdx.sweep.tile_work import TileWork

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

__all__ = ["TiledTerrain", "run_tiled"]

_RASTERS = {
    "score": {"long_name": "relative risk score", "units": "1"},
    "expected": {"long_name": "expected events per cell", "units": "1"},
}
_TOGETHER = 8  # tables merged at a time: bounds what waits


@dataclass(frozen=True, eq=False)
class TiledTerrain:
    """What a tiled run leaves: the model, and where the scores are.

    Attributes
    ----------
    title : str
    path : Path
        Zarr group with `score` and `expected`, dims (y, x), float64, NaN outside the area.
    shape : (rows, cols)
    n_cells, n_events, n_rows, n_tiles : int
        Kept cells, events, distinct rows of codes, tiles.
    variables : tuple of str
        Variables that passed the support rule.
    culling : CullingResult
    selection : StepwiseResult
    lowest : float
        The smallest log of a product of relative risk values, which has score 1.
    """

    title: str
    path: Path
    shape: tuple[int, int]
    n_cells: int
    n_events: int
    n_rows: int
    n_tiles: int
    variables: tuple[str, ...]
    culling: CullingResult
    selection: StepwiseResult
    lowest: float

    def to_dict(self) -> dict[str, Any]:
        """Return the run as plain data: what ``--json`` prints, and the store's attribute ``rtmdx`` holds."""
        model = self.selection.model
        low, high = model.rrv_interval()[:, 0], model.rrv_interval()[:, 1]
        errors = model.standard_errors[1 : 1 + len(model.variables)]
        found: dict[str, Any] = plain(
            {
                "schema_version": 1,
                "status": "ok",
                "title": self.title,
                "rows": self.shape[0],
                "cols": self.shape[1],
                "n_cells": self.n_cells,
                "n_events": self.n_events,
                "n_distinct_rows": self.n_rows,
                "tiles": self.n_tiles,
                "family": model.family,
                "bic": model.bic,
                "intercept": model.intercept,
                "variables": [
                    {"variable": v.name, "factor": v.factor_name, "coefficient": b, "rrv": math.exp(b), "rrv_low": lo,
                     "rrv_high": hi, "std_error": s}
                    for v, b, s, lo, hi in zip(
                        model.variables, model.coefficients, errors, low, high, strict=True
                    )
                ],
            }
        )  # fmt: skip
        return found

    def open(self) -> xr.Dataset:
        """Return the rasters, read from disk when they are looked at."""
        import xarray as xr

        dataset: xr.Dataset = xr.open_zarr(self.path, chunks=None)
        return dataset


def run_tiled(
    study: Study,
    out: str | os.PathLike[str],
    *,
    data: str | Path | None = None,
    layers: Mapping[str, gpd.GeoDataFrame] | None = None,
    tile: int = 2 * BLOCK,
    executor: str = "threads",
    workers: int | None = None,
    address: str | None = None,
    retries: int = 2,
    overwrite: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> TiledTerrain:
    """Run a study tile by tile: model and scores of `rtmdx.run` to the bit, in memory that hardly grows with the grid.

    Parameters
    ----------
    study : Study
        Its factors are operationalized by proximity or density, its folds are spatial, it has no exposure and no
        robust errors: the rest needs all cells at once. Posterior, diagnostics, stability and validity are left out.
    out : path
        Zarr store of the scores; it takes its name when whole.
    data, layers
        As for `rtmdx.run`.
    tile : int
        Cells along a tile, rounded up to a multiple of 1024. What is held is about 50 bytes per cell of a tile and
        worker, the grid's mask (a byte per cell of the raster), and the distinct rows.
    executor : {"threads", "ray"}
        Ray takes tiles to other processes, or to the nodes of a cluster; `out` must then be a folder that all of them
        can write. The layers are read here, and the model is fitted here.
    workers : int, optional
        Tiles at a time; as many as there are cores by default. The result is the same for any number.
    address : str, optional
        Of a running Ray cluster, ``host:port``; Ray is started on this machine by default.
    retries : int
        Of a tile whose Ray worker or node died.
    overwrite : bool
        Replace a Zarr store that is there.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; stages are layers, thresholds, codes, culling, stepwise, scores.
    cancel : callable, optional
        Asked often; when it returns True, `rtmdx.errors.Cancelled` is raised.

    Returns
    -------
    TiledTerrain

    Raises
    ------
    InputError
        The study asks for what cannot be done by tiles, or a value is out of its range.
    SweepError
        Ray cannot be joined, or a tile's worker died more often than `retries`.
    StudyError, FitError, OutputError, MemoryLimitError, Cancelled
        As `rtmdx.run`.
    """
    require_types(study, layers, None, progress, cancel)
    _require_tileable(study)
    tile = whole(tile, "tile", least=1, what="a whole number of cells")
    with make_tiles(executor, workers=workers, address=address, retries=retries) as tiles:
        inputs = load_inputs(study, data=data, layers=layers, progress=progress, cancel=cancel)
        size = math.ceil(tile / BLOCK) * BLOCK
        return _run(study, inputs, out, _Passes(study, inputs, size, tiles, progress, cancel), overwrite=overwrite)


def _run(study: Study, inputs: Inputs, out: str | os.PathLike[str], work: _Passes, *, overwrite: bool) -> TiledTerrain:
    progress, cancel, n_workers = work.progress, work.cancel, os.cpu_count() or 1
    thresholds = work.thresholds()
    table, rows = work.table(thresholds)
    spec = study.model
    culling = cull_table(
        table,
        CullingOptions(ridge=spec.ridge, mixing=spec.mixing, rule=spec.rule, n_penalties=spec.n_penalties),
        threads=n_workers,
        progress=progress,
        cancel=cancel,
    )
    forced = [i for i, factor in enumerate(study.factors) if factor.force]
    candidates = {*culling.selected, *(j for j, v in enumerate(rows.variables) if v.factor in forced)}
    selection = stepwise_entries(
        rows,
        *table.entries(),
        sorted(candidates),
        StepwiseOptions(families=spec.families, forced_factors=forced, exchange=spec.exchange, alpha=spec.alpha),
        threads=n_workers,
        progress=progress,
        cancel=cancel,
    )
    lowest = float(np.asarray(selection.model.linear_predictor(rows)).min())
    terrain = TiledTerrain(
        title=study.report.title or study.name,
        path=Path(out),
        shape=inputs.grid.shape,
        n_cells=inputs.grid.n_cells,
        n_events=int(table.n_events),
        n_rows=table.n_rows,
        n_tiles=len(work.windows),
        variables=tuple(v.name for v in rows.variables),
        culling=culling,
        selection=selection,
        lowest=lowest,
    )
    if overwrite:
        require_own(out, "Zarr store", set())
    with replacing(out, "Zarr store", overwrite=overwrite, folder=True) as new:
        work.write(new, terrain, rows)
        consolidate(new)
    return terrain


def _require_tileable(study: Study) -> None:
    spec = study.model
    wanted = [
        (spec.folds != "spatial", f'model.folds is {spec.folds!r}, expected "spatial"'),
        (spec.fold_repeats > 1, f"model.fold_repeats is {spec.fold_repeats}, expected 1"),
        (study.exposure is not None, "the study has an exposure"),
        (spec.robust, "model.robust is true"),
        (any("cost" in f.operationalizations for f in study.factors), "a factor is operationalized by cost"),
    ]
    for wrong, said in wanted:
        if wrong:
            raise InputError(
                f"a tiled run: {said}; it needs all cells at once.", hint="Change the study, or use rtmdx.run."
            )


class _Passes:
    """The passes over the tiles."""

    def __init__(
        self,
        study: Study,
        inputs: Inputs,
        tile: int,
        tiles: Tiles,
        progress: Callable[[str, int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.study, self.inputs, self.grid, self.tiles = study, inputs, inputs.grid, tiles
        self.progress, self.cancel = progress, cancel
        rows, cols = self.grid.shape
        each = min(tile, rows) * min(tile, cols) * (24.0 + 2 * len(inputs.factors))
        if tiles.here:
            require_bytes(tiles.workers * each, "tiles at work", (tiles.workers, min(tile, rows), min(tile, cols)))
        self.windows: list[Window] = [
            (r, c, min(tile, rows - r), min(tile, cols - c))
            for r in range(0, rows, tile)
            for c in range(0, cols, tile)
            if self.grid.mask[r : r + tile, c : c + tile].any()
        ]
        r, c, inside = self.grid.row_col_of(inputs.events.x, inputs.events.y)
        del inside
        block = block_size(study, self.grid.cell_size)
        self.work = TileWork(
            grid=self.grid,
            features=tuple(Features.from_geometries(f.geometries) for f in inputs.factors),
            distances=tuple(f.distances for f in inputs.factors),
            dense=tuple(i for i, f in enumerate(inputs.factors) if "density" in f.operationalizations),
            kernel=study.model.kernel,
            events=(r, c),
            folds=BlockFolds.deal(
                self.grid.mask, block.cells, study.model.n_folds, seed=study.seed, offset=study.model.fold_offset
            ),
            n_folds=study.model.n_folds,
        )
        tiles.give(self.work, each)

    def thresholds(self) -> dict[int, tuple[float, ...]]:
        """The threshold of each bandwidth of each factor that has densities."""
        if not self.work.dense:
            return {}
        found = list(self._over_tiles("thresholds", "moments"))
        out = {}
        for i in self.work.dense:
            out[i] = tuple(
                density_threshold(self._in_block_order([(w, f[i][k]) for w, f in found]))
                for k in range(len(self.work.distances[i]))
            )
        return out

    def _in_block_order(self, parts: Sequence[tuple[Window, list[Moments]]]) -> list[Moments]:
        """The moments of all tiles' blocks, row by row of blocks over the whole grid."""
        placed = []
        for (row, col, height, width), moments in parts:
            mask = self.grid.mask[row : row + height, col : col + width]
            places = [
                (row + r, col + c)
                for r in range(0, height, BLOCK)
                for c in range(0, width, BLOCK)
                if mask[r : r + BLOCK, c : c + BLOCK].any()
            ]
            placed += list(zip(places, moments, strict=True))
        return [m for _, m in sorted(placed, key=lambda p: p[0])]

    def table(self, thresholds: dict[int, tuple[float, ...]]) -> tuple[RowTable, Design]:
        """The distinct rows of all cells, and the design whose "cells" they are."""
        blocks = []
        for i, factor in enumerate(self.inputs.factors):
            for operationalization in factor.operationalizations:
                of = thresholds[i] if operationalization == "density" else None
                blocks.append(RawBlock(i, operationalization, len(factor.distances), of))
        layout = RawLayout(tuple(blocks))
        waiting: list[RowTable] = []
        for _, made in self._over_tiles("codes", "rows", layout):
            waiting.append(made)
            if len(waiting) >= _TOGETHER:
                waiting = [merge_tables(waiting)]
        need = max(self.study.model.min_support, math.ceil(self.study.model.min_support_share * self.grid.n_cells))
        table, rows, _ = coded_anew(merge_tables(waiting), layout, self.inputs.factors, need)
        return table, rows

    def write(self, path: Path, terrain: TiledTerrain, rows: Design) -> None:
        """Score every tile by the model, and write it."""
        model = terrain.selection.model
        used = {(v.factor, v.operationalization) for v in model.variables}
        blocks = [b for b in rows.blocks if (b.variables[0].factor, b.variables[0].operationalization) in used]
        none = np.empty(0, np.uint8)  # a tile makes its own codes
        light = tuple(replace(b, codes=none) for b in blocks)
        made_by = {"study": self.study.to_dict(), "provenance": dict(provenance(self.study, self.inputs))}
        about = {"rtmdx": {**terrain.to_dict(), **plain(made_by)}}
        create_rasters(path, self.grid, _RASTERS, np.dtype(np.float64), about)
        # the table of cells that a model holds for profile limits is of no use to a tile
        for _ in self._over_tiles("scores", "score", path, replace(model, table=None), light, terrain.lowest):
            pass

    def _over_tiles(self, stage: str, method: str, *arguments: Any) -> Iterator[tuple[Window, Any]]:
        """Do one pass on every tile, several at a time; yields as they are done, in any order."""
        done = 0

        def poll() -> None:
            if self.cancel is not None and self.cancel():
                raise Cancelled("cancelled by the caller's check.")
            if self.progress is not None:
                self.progress(stage, done, len(self.windows))

        poll()
        for window, found in self.tiles.over(self.windows, method, arguments, poll):
            done += 1
            yield window, found
            poll()
