"""Made-up sweeps for tests of their stores: known results, without a fit."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyproj

from rtmdx.sweep.contract import GridEntry, Manifest, ScenarioEntry, ScenarioResult
from rtmdx.sweep.objects import CloudObjects, FolderObjects, Objects
from rtmdx.sweep.store import SweepStore

CRS = pyproj.CRS.from_epsg(26915)


def manifest_of(n: int = 6, *, grids: int = 1, rows: int = 30, cols: int = 40, sweep_id: str = "abc") -> Manifest:
    """A sweep of `n` scenarios on grids with holes (the last grid has none)."""
    entries = []
    for k in range(grids):
        kept = np.random.default_rng(k).random((rows, cols)) < 0.7
        entries.append(
            GridEntry(
                f"grid{k}",
                CRS.to_wkt(),
                7e5,
                4.2e6,
                50.0 + k,
                50.0 + k,
                rows,
                cols,
                kept if k < grids - 1 or grids == 1 else None,
            )
        )
    scenarios = tuple(
        ScenarioEntry(i, hashlib.sha256(f"{i}".encode()).hexdigest()[:16], f"seed={i}", {"seed": i}, f"grid{i % grids}")
        for i in range(n)
    )
    return Manifest(sweep_id, "Test sweep", {"sweep": {}}, {"rtmdx": "1"}, scenarios, tuple(entries))


def result_of(manifest: Manifest, index: int) -> ScenarioResult:
    """What scenario `index` gives: the same every time."""
    grid = next(g for g in manifest.grids if g.key == manifest.scenarios[index].grid)
    n = grid.n_rows * grid.n_cols if grid.kept is None else int(grid.kept.sum())
    rng = np.random.default_rng([3, index])
    score = rng.choice(1 + rng.random(20, dtype=np.float32), n)
    model = [{"factor": "bars", "variable": "bars 50", "rrv": float(score[0]), "std_error": 0.1, "p": 0.01}]
    tables = {"model": model, "variables": [], "validity": [{"on": "fitted", "top": [1, 2]}], "findings": []}
    return ScenarioResult(score, score / 3, tables, {"bic": float(index), "family": "poisson"})


def raster_of(manifest: Manifest, index: int, name: str = "score") -> np.ndarray[Any, Any]:
    """The raster the store must hold."""
    grid = next(g for g in manifest.grids if g.key == manifest.scenarios[index].grid)
    kept = np.ones((grid.n_rows, grid.n_cols), bool) if grid.kept is None else grid.kept
    raster = np.full(kept.shape, np.nan, np.float32)
    raster[kept] = getattr(result_of(manifest, index), name)
    return raster


def fill(url: str, manifest: Manifest, indices: Any = None) -> None:
    """Make a store, and run scenarios."""
    with SweepStore.create(url, manifest) as store:
        for i in range(len(manifest.scenarios)) if indices is None else indices:
            store.start(i)
            store.write(i, result_of(manifest, i))
            store.finished(i)


def everything(objects: Objects) -> dict[str, bytes]:
    """Every object but the lock and the log."""
    if isinstance(objects, FolderObjects):
        keys = [p.relative_to(objects.path).as_posix() for p in objects.path.rglob("*") if p.is_file()]
    else:
        assert isinstance(objects, CloudObjects)
        keys = list(objects._all())
    found = {k: objects.read(k) for k in keys if not k.startswith(("state/log/", "state/lock"))}
    return {k: v for k, v in found.items() if v is not None}
