"""A run's stability, where the study asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rtmdx.model.folds import Folds, TimeFolds
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.study import Study

__all__ = ["resampled"]


def resampled(
    terrain: RiskTerrain,
    study: Study,
    folds: Folds,
    *,
    threads: int,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> RiskTerrain:
    """Return the terrain with its stability; the fit stays as it is."""
    spec = study.stability
    if spec.replicates == 0:
        return terrain
    found = terrain.stability(
        spec.replicates,
        block=None if spec.block is None else spec.block * study.grid.block_length,
        scheme=spec.scheme,
        seed=study.seed,
        recull=spec.recull,
        folds=folds if spec.recull and not isinstance(folds, TimeFolds) else None,
        level=spec.level,
        threads=threads,
        progress=progress,
        cancel=cancel,
    )
    return replace(terrain, resampled=found)
