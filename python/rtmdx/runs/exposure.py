"""A study's exposure: read from its layer, and settled with the events that lie where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import FileError, InputError
from rtmdx.runs.study import ExposureSpec
from rtmdx.space.exposure import Exposure
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Cleaning, Events, Finding, StudyArea
from rtmdx.space.readers import file_digest
from rtmdx.space.selection import select_rows

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Settled", "load_exposure", "settle_exposure"]

_THIN = 0.01  # of the median exposure

Read = Callable[[], tuple["gpd.GeoDataFrame", int, str, str]]
Settled = tuple[Exposure, Events, Events | None]


def load_exposure(
    spec: ExposureSpec,
    read: Read,
    resolve: Callable[[str], Path],
    area: StudyArea | None,
    grid: Grid | None,
    cancel: Callable[[], bool] | None = None,
) -> Exposure | None:
    """Measure the exposure of each cell; without a grid only look at the layer.

    Parameters
    ----------
    spec : ExposureSpec
    read : callable
        Returns the layer's frame, rows, name for people and digest.
    resolve : callable
        Turns the path of a raster into one that opens.
    area : StudyArea or None
    grid : Grid or None
    cancel : callable, optional

    Raises
    ------
    InputError, FileError, CRSError
        As `Exposure.from_frame` and `Exposure.from_raster`.
    """
    if spec.measure == "raster":
        path = resolve(str(spec.path))
        if not path.is_file():
            raise FileError(f"exposure {path}: no such file.", hint="Check exposure.path and the data folder.")
        if area is None or grid is None:
            return None
        return Exposure.from_raster(
            path, grid, area, statistic=spec.statistic, name=spec.name, unit=spec.unit,
            digest=file_digest(path), cancel=cancel,
        )  # fmt: skip
    frame, total, source, digest = read()
    if area is None or grid is None:
        select_rows(frame, spec.selection, f"exposure ({source})", total)
        return None
    return Exposure.from_frame(
        frame,
        grid,
        area,
        measure=spec.measure,
        field=spec.field,
        name=spec.name,
        unit=spec.unit,
        selection=spec.selection,
        source=source,
        digest=digest,
        total=total,
        cancel=cancel,
    )


def settle_exposure(
    spec: ExposureSpec, exposure: Exposure, grid: Grid, events: Events, holdout: Events | None
) -> Settled:
    """Do what the study says about events in cells without exposure, and say what deserves a look.

    Returns
    -------
    exposure, events, holdout
        With ``zero = "floor"`` the exposure is raised, with ``"drop"`` the events are fewer, as their cleaning says.

    Raises
    ------
    InputError
        Events lie in cells without exposure, and the study does not say what to do; or none is left.
    """
    if spec.zero == "floor":
        bare = exposure.n_without
        n = _lost(exposure, grid, events).sum()
        exposure = exposure.floored(spec.floor)
        message = (
            f"Every cell has at least {exposure.floor:.6g} {exposure.unit}: {exposure.raised:,} of {grid.n_cells:,} "
            f"cells had less and were raised to it, {bare:,} of them had none and held {n:,} of {len(events):,} events."
        )
        return _looked_at(_with(exposure, "exposure-floor", message), grid, events, holdout)
    periods = [("outcome", events)] + ([("hold-out", holdout)] if holdout is not None else [])
    lost = [(role, e, _lost(exposure, grid, e)) for role, e in periods]
    if not any(out.any() for _, _, out in lost):
        return _looked_at(exposure, grid, events, holdout)
    said = []
    for role, e, out in lost:
        if out.any():
            cells = np.unique(grid.cell_of(e.x[out], e.y[out])).size
            said.append(
                f"{int(out.sum()):,} of {len(e):,} events ({out.mean():.1%}) of the {role}, in {cells:,} "
                f"cell{'s' if cells != 1 else ''}"
            )
    where = " and ".join(said)
    if spec.zero == "error":
        raise InputError(
            f"exposure {exposure.name!r}: {where}, lie where it is 0, so that none could be expected there.",
            hint='Check that its layer is whole; then say what to do: exposure.zero = "floor" gives every cell a small '
            'exposure, "drop" leaves these events out.',
        )
    kept = [_without(e, out, role, exposure) for role, e, out in lost]
    exposure = _with(exposure, "exposure-dropped", f"Left out because there is no exposure where they lie: {where}.")
    return _looked_at(exposure, grid, kept[0], kept[1] if len(kept) > 1 else None)


def _lost(exposure: Exposure, grid: Grid, events: Events) -> NDArray[np.bool_]:
    """Which events lie in cells without exposure."""
    out: NDArray[np.bool_] = exposure.cells[grid.cell_of(events.x, events.y)] == 0
    return out


def _without(events: Events, out: NDArray[np.bool_], role: str, exposure: Exposure) -> Events:
    if out.all():
        raise InputError(
            f"exposure {exposure.name!r}: is 0 where all {len(events):,} events of the {role} lie.",
            hint="Check the exposure's layer: it seems to be of another place.",
        )
    if not out.any():
        return events
    c = events.cleaning
    cleaning = Cleaning(
        c.source, c.digest, c.read, c.kept - int(out.sum()), {**c.dropped, "no exposure in the cell": int(out.sum())},
        c.mended,
    )  # fmt: skip
    stamps = None if events.stamps is None else events.stamps[~out]
    return replace(events, x=events.x[~out], y=events.y[~out], stamps=stamps, cleaning=cleaning)


def _looked_at(exposure: Exposure, grid: Grid, events: Events, holdout: Events | None) -> Settled:
    """Add what deserves a second look: cells with next to no exposure that hold events, and an area mostly without."""
    of = exposure.cells[grid.cell_of(events.x, events.y)]
    thin = (of > 0) & (of < _THIN * exposure.median)
    if thin.any():
        n = int(thin.sum())
        cells = np.unique(grid.cell_of(events.x[thin], events.y[thin])).size
        message = (
            f"{n:,} of {len(events):,} events ({n / len(events):.1%}), in {cells:,} cells, lie where the exposure is "
            f"below a hundredth of its median, {exposure.median:.6g} {exposure.unit}: such rates are extreme and may "
            'sway the fit. zero = "floor" raises them.'
        )
        exposure = _with(exposure, "thin-exposure", message)
    bare = exposure.n_without
    if bare > 0.5 * grid.n_cells:
        message = (
            f"{bare:,} of {grid.n_cells:,} cells ({bare / grid.n_cells:.1%}) have none and take no part in the fit."
        )
        exposure = _with(exposure, "little-exposure", message)
    return exposure, events, holdout


def _with(exposure: Exposure, code: str, message: str) -> Exposure:
    finding = Finding(code, f"exposure {exposure.name!r}", message)
    return replace(exposure, findings=(*exposure.findings, finding))
