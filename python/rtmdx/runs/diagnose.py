"""A run's diagnostics: which parts, and on which regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.boosted import require_scikit_learn
from rtmdx.model.diagnostics import THOROUGH_CELLS, Diagnostics, diagnose
from rtmdx.model.folds import spatial_folds
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.inputs import Inputs
from rtmdx.runs.study import Study

__all__ = ["diagnosed", "require_diagnostics"]

_REGIONS = 5


def require_diagnostics(study: Study) -> None:
    """Raise MissingDependencyError where the study asks for what needs a package that is missing."""
    if study.report.boosted:
        require_scikit_learn()


def diagnosed(
    terrain: RiskTerrain,
    study: Study,
    inputs: Inputs,
    *,
    scores: Mapping[str, NDArray[np.float64]] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> RiskTerrain:
    """Return the terrain with its diagnostics and their findings; the fit stays as it is.

    Large grids get the parts that are cheap; see `rtmdx.model.diagnostics.THOROUGH_CELLS`. `scores` of the fitted
    period are compared on the hold-out beside the terrain.
    """
    thorough = terrain.grid.n_cells <= THOROUGH_CELLS
    regions = _regions(study, inputs) if thorough else None
    later = None if inputs.holdout is None else inputs.holdout.counts(inputs.grid)

    def compute(boosted: bool) -> Diagnostics:
        return diagnose(
            terrain,
            regions=regions,
            holdout=later,
            boosted=boosted,
            scores=scores,
            seed=study.seed,
            thorough=thorough,
            cancel=cancel,
        )

    try:
        found = compute(study.report.boosted)
    except InputError as error:  # too little to boost on must not cost the run
        if not study.report.boosted:
            raise
        found = compute(False)
        found = replace(found, skipped={**found.skipped, "boosted": f"gradient boosting ({error.message.rstrip('.')})"})
    return replace(terrain, diagnosed=found, findings=(*terrain.findings, *found.findings))


def _regions(study: Study, inputs: Inputs) -> NDArray[np.int32] | None:
    """Blocks twice as wide as the farthest influence, dealt to five regions; None where the area has too few."""
    influence = max((f.max_influence for f in study.factors), default=1.0)
    side = max(1, round(2 * influence * study.grid.block_length / inputs.grid.cell_size))
    rows, cols = inputs.grid.rows_cols
    try:
        return spatial_folds(rows, cols, side, _REGIONS, seed=study.seed)
    except InputError:
        return None
