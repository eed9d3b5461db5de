"""The folds a study asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.fold_plan import FoldPlan, describe_folds
from rtmdx.model.folds import (
    BlockSize,
    Folds,
    Seed,
    district_folds,
    repeated_folds,
    spatial_folds,
    stratified_folds,
    suggest_block,
    time_folds,
)
from rtmdx.runs.inputs import Inputs
from rtmdx.runs.study import Study
from rtmdx.space.layers import Events
from rtmdx.space.selection import parse_days

__all__ = ["block_size", "make_folds"]


def make_folds(study: Study, inputs: Inputs, counts: NDArray[np.int64]) -> tuple[Folds, FoldPlan]:
    """Make a study's folds, and say what they are.

    Raises
    ------
    InputError
        Too few cells, blocks, districts or days for the folds asked for, or a fold without events.
    """
    spec = study.model
    if spec.folds == "time":
        return _in_time(study, inputs, counts)
    if spec.folds == "district":
        if inputs.districts is None:
            raise InputError("the inputs have no districts.", hint="Load them with the study that names the districts.")
        by_district, districts = district_folds(
            inputs.districts.labels,
            names=inputs.districts.names,
            counts=counts,
            max_folds=spec.districts.max_folds if spec.districts is not None else spec.n_folds,
            outside="fold",
        )
        return by_district, describe_folds(by_district, counts, "district", districts=districts)
    block = block_size(study, inputs.grid.cell_size) if spec.folds == "spatial" else None
    rows, cols = inputs.grid.rows_cols

    def assign(seed: Seed) -> NDArray[np.int32]:
        if block is None:
            return stratified_folds(counts, spec.n_folds, seed=seed)
        return spatial_folds(rows, cols, block.cells, spec.n_folds, seed=seed, offset=spec.fold_offset)

    folds = assign(study.seed)
    if spec.fold_repeats > 1:
        folds = repeated_folds(assign, spec.fold_repeats, seed=study.seed)
    plan = describe_folds(
        folds,
        counts,
        spec.folds,
        seed=study.seed,
        block=block,
        offset=spec.fold_offset,
        unit=inputs.grid.symbol,
    )
    return folds, plan


def block_size(study: Study, cell_size: float) -> BlockSize:
    """Side of a spatial block: as the study says, or twice its largest influence."""
    length = study.grid.block_length
    influence = max(f.max_influence for f in study.factors) * length
    if study.model.fold_blocks is None:
        return suggest_block(influence, cell_size)
    cells = max(1, round(study.model.fold_blocks * length / cell_size))
    return BlockSize(cells, cells * cell_size, influence)


def _in_time(study: Study, inputs: Inputs, counts: NDArray[np.int64]) -> tuple[Folds, FoldPlan]:
    spec, events = study.model, inputs.events
    folds = time_folds(
        inputs.grid.cell_of(events.x, events.y),
        _days(events),
        inputs.grid.n_cells,
        spec.n_folds,
        start=study.outcome.start,
        end=study.outcome.end,
        parts=spec.fold_time,
    )
    return folds, describe_folds(folds, counts, "time")


def _days(events: Events) -> NDArray[np.datetime64]:
    if events.stamps is None:
        raise InputError(
            f"outcome {events.name!r}: its events carry no dates, which folds in time need.",
            hint="Name the outcome's date_field.",
        )
    return parse_days(events.stamps, events.selection.time_zone)
