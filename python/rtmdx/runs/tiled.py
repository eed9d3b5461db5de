"""A run whose grid is too large to hold: tile by tile, to the bits of the whole.

Three passes over the tiles. The first takes the moments of every density, for its threshold; the second makes the
codes of a tile's cells and collapses them to distinct rows with their cells and events, which is all that selection
and fit need; the third scores each tile by the model and writes it. No pass holds more than the tiles at work.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.columns import BLOCK, Moments, block_moments, density_threshold
from rtmdx.model.culling import CullingOptions, CullingResult, cull_table
from rtmdx.model.design import Block, Design
from rtmdx.model.export import plain
from rtmdx.model.folds import BlockFolds
from rtmdx.model.jobs import job_pool, run_jobs
from rtmdx.model.rows import RowTable
from rtmdx.model.stepwise import StepwiseResult, stepwise_entries
from rtmdx.model.stepwise_options import StepwiseOptions
from rtmdx.model.tabulate import merge_tables, tabulate
from rtmdx.model.tiles import RawBlock, RawLayout, coded_anew
from rtmdx.runs.folds import block_size
from rtmdx.runs.inputs import Inputs, load_inputs
from rtmdx.runs.provenance import provenance
from rtmdx.runs.run import require_types
from rtmdx.runs.study import Study
from rtmdx.space.density import density_array
from rtmdx.space.distance import distance_bands_array
from rtmdx.space.features import Features
from rtmdx.space.frame import Window
from rtmdx.space.memory import require_bytes
from rtmdx.space.staging import replacing, require_own
from rtmdx.space.values import whole
from rtmdx.space.zarr_store import consolidate, create_rasters

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
    workers: int | None = None,
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
    workers : int, optional
        Tiles at a time; as many as there are cores by default. The result is the same for any number.
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
    StudyError, FitError, OutputError, MemoryLimitError, Cancelled
        As `rtmdx.run`.
    """
    require_types(study, layers, None, progress, cancel)
    _require_tileable(study)
    n_workers = (os.cpu_count() or 1) if workers is None else whole(workers, "workers", least=1)
    tile = whole(tile, "tile", least=1, what="a whole number of cells")
    inputs = load_inputs(study, data=data, layers=layers, progress=progress, cancel=cancel)
    work = _Work(study, inputs, math.ceil(tile / BLOCK) * BLOCK, n_workers, progress, cancel)
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


class _Work:
    """The passes over the tiles."""

    def __init__(
        self,
        study: Study,
        inputs: Inputs,
        tile: int,
        workers: int,
        progress: Callable[[str, int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self.study, self.inputs, self.grid, self.workers = study, inputs, inputs.grid, workers
        self.progress, self.cancel, self.stop = progress, cancel, threading.Event()
        rows, cols = self.grid.shape
        held = workers * min(tile, rows) * min(tile, cols)
        require_bytes(
            held * (24.0 + 2 * len(inputs.factors)), "tiles at work", (workers, min(tile, rows), min(tile, cols))
        )
        self.windows: list[Window] = [
            (r, c, min(tile, rows - r), min(tile, cols - c))
            for r in range(0, rows, tile)
            for c in range(0, cols, tile)
            if self.grid.mask[r : r + tile, c : c + tile].any()
        ]
        self.features = [Features.from_geometries(f.geometries) for f in inputs.factors]
        r, c, inside = self.grid.row_col_of(inputs.events.x, inputs.events.y)
        del inside
        self.events = r, c
        block = block_size(study, self.grid.cell_size)
        self.folds = BlockFolds.deal(
            self.grid.mask, block.cells, study.model.n_folds, seed=study.seed, offset=study.model.fold_offset
        )

    # ------------------------------------------------------------------------------------ thresholds

    def thresholds(self) -> dict[int, tuple[float, ...]]:
        """The threshold of each bandwidth of each factor that has densities."""
        factors = [i for i, f in enumerate(self.inputs.factors) if "density" in f.operationalizations]
        if not factors:
            return {}

        def moments(window: Window) -> dict[int, list[list[Moments]]]:
            mask = self._mask(window)
            return {i: [block_moments(self._density(i, k, window), mask) for k in self._bands(i)] for i in factors}

        found = self._over_tiles("thresholds", moments)
        out = {}
        for i in factors:
            out[i] = tuple(
                density_threshold(self._in_block_order([(w, f[i][k]) for w, f in found])) for k in self._bands(i)
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

    # ----------------------------------------------------------------------------------------- codes

    def table(self, thresholds: dict[int, tuple[float, ...]]) -> tuple[RowTable, Design]:
        """The distinct rows of all cells, and the design whose "cells" they are."""
        blocks = []
        for i, factor in enumerate(self.inputs.factors):
            for operationalization in factor.operationalizations:
                of = thresholds[i] if operationalization == "density" else None
                blocks.append(RawBlock(i, operationalization, len(factor.distances), of))
        layout = RawLayout(tuple(blocks))

        def rows_of(window: Window) -> RowTable:
            mask = self._mask(window)
            codes: list[NDArray[np.uint8]] = []
            for block in layout.blocks:
                codes += self._raw_codes(block, window, mask)
            folds = self.folds.of(*(at + start for at, start in zip(np.nonzero(mask), window[:2], strict=True)))
            made = tabulate(
                layout.design(codes),
                self._counts(window, mask),
                folds,
                n_folds=self.study.model.n_folds,
                poll=self._heed,
            )
            return replace(made, row=None)

        waiting: list[RowTable] = []
        lock = threading.Lock()

        def merged(window: Window) -> None:
            made = rows_of(window)
            with lock:
                waiting.append(made)
                if len(waiting) >= _TOGETHER:
                    together = merge_tables(waiting)
                    waiting[:] = [together]

        self._over_tiles("codes", merged)
        need = max(self.study.model.min_support, math.ceil(self.study.model.min_support_share * self.grid.n_cells))
        table, rows, _ = coded_anew(merge_tables(waiting), layout, self.inputs.factors, need)
        return table, rows

    def _raw_codes(self, block: RawBlock, window: Window, mask: NDArray[np.bool_]) -> list[NDArray[np.uint8]]:
        factor = self.inputs.factors[block.factor]
        if block.thresholds is None:
            codes = distance_bands_array(
                self.features[block.factor], self.grid, factor.distances, window=window, threads=1, cancel=self._stopped
            )
            return [codes[mask]]
        out: list[NDArray[np.uint8]] = []
        for k, threshold in enumerate(block.thresholds):
            if k % 8 == 0:
                out.append(np.zeros(int(np.count_nonzero(mask)), dtype=np.uint8))
            on = self._density(block.factor, k, window)[mask] >= threshold
            np.bitwise_or(out[-1], np.uint8(1 << k % 8), out=out[-1], where=on)
        return out

    def _counts(self, window: Window, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Events per kept cell of a tile."""
        row, col, height, width = window
        r, c = self.events
        on = (r >= row) & (r < row + height) & (c >= col) & (c < col + width)
        counts = np.zeros((height, width), np.float64)
        np.add.at(counts, (r[on] - row, c[on] - col), 1.0)
        kept: NDArray[np.float64] = counts[mask]
        return kept

    # ---------------------------------------------------------------------------------------- scores

    def write(self, path: Path, terrain: TiledTerrain, rows: Design) -> None:
        """Score every tile by the model, and write it."""
        model = terrain.selection.model
        used = {(v.factor, v.operationalization) for v in model.variables}
        blocks = [b for b in rows.blocks if (b.variables[0].factor, b.variables[0].operationalization) in used]
        made_by = {"study": self.study.to_dict(), "provenance": dict(provenance(self.study, self.inputs))}
        about = {"rtmdx": {**terrain.to_dict(), **plain(made_by)}}
        arrays = create_rasters(path, self.grid, _RASTERS, np.dtype(np.float64), about)

        def score(window: Window) -> None:
            row, col, height, width = window
            mask = self._mask(window)
            made = [replace(b, codes=self._codes(b, window, mask)) for b in blocks]
            tile = Design(tuple(made), int(np.count_nonzero(mask)))
            if blocks:
                eta = np.asarray(model.linear_predictor(tile), dtype=np.float64)
            else:
                eta = np.full(tile.n_cells, model.intercept)
            for name, cells in (("score", np.exp(eta - terrain.lowest)), ("expected", np.exp(eta))):
                raster = np.full((height, width), np.nan)
                raster[mask] = cells
                arrays[name][row : row + height, col : col + width] = raster

        self._over_tiles("scores", score)

    def _codes(self, block: Block, window: Window, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The codes of a block of the design, of a tile's kept cells."""
        first = block.variables[0]
        if first.operationalization == "density":
            out = np.zeros(int(np.count_nonzero(mask)), dtype=np.uint8)
            for place, v in enumerate(block.variables):
                assert v.threshold is not None
                on = self._density(v.factor, v.band - 1, window)[mask] >= v.threshold
                np.bitwise_or(out, np.uint8(1 << place), out=out, where=on)
            return out
        ends = [v.distance for v in block.variables]
        return distance_bands_array(
            self.features[first.factor], self.grid, ends, window=window, threads=1, cancel=self._stopped
        )[mask]

    # ----------------------------------------------------------------------------------------- common

    def _bands(self, factor: int) -> range:
        return range(len(self.inputs.factors[factor].distances))

    def _mask(self, window: Window) -> NDArray[np.bool_]:
        row, col, height, width = window
        return self.grid.mask[row : row + height, col : col + width]

    def _density(self, factor: int, band: int, window: Window) -> NDArray[np.float64]:
        raster: NDArray[np.float64] = density_array(
            self.features[factor],
            self.grid,
            bandwidth=self.inputs.factors[factor].distances[band],
            kernel=self.study.model.kernel,
            dtype="float64",
            window=window,
            threads=1,
            cancel=self._stopped,
        )
        return raster

    def _stopped(self) -> bool:
        return self.stop.is_set()

    def _heed(self) -> None:
        if self.stop.is_set():
            raise Cancelled("cancelled by the caller's check.")

    def _over_tiles(self, stage: str, work: Callable[[Window], Any]) -> list[tuple[Window, Any]]:
        """Do `work` on every tile, several at a time."""

        def poll(done: int) -> None:
            if self.cancel is not None and self.cancel():
                raise Cancelled("cancelled by the caller's check.")
            if self.progress is not None:
                self.progress(stage, done, len(self.windows))

        poll(0)
        with job_pool(self.workers, stage, self.stop) as pool:
            found = run_jobs(pool, [lambda w=w: (w, work(w)) for w in self.windows], poll)  # type: ignore[misc]
        poll(len(self.windows))
        return found
