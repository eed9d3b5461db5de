"""The residents of a study's [disparity.exposure]: read from its zones, and put into the terrain's cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.disparity.exposure_results import ExposureResult
from rtmdx.disparity.group_exposure import exposure
from rtmdx.disparity.population import Population, allocate
from rtmdx.disparity.population_table import counts_in
from rtmdx.errors import FileError, InputError
from rtmdx.runs.inputs import LayerReader
from rtmdx.runs.study_disparity import DisparitySpec, GroupExposureSpec
from rtmdx.space.selection import select_rows
from rtmdx.space.zonal import coverage

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.runs.study_layers import Source
    from rtmdx.space.grid import Grid

__all__ = ["Residents", "expose", "read_residents", "settle"]

_HABITABLE = 0.5  # of a cell, for it to have residents by dasymetric allocation


@dataclass(frozen=True, eq=False)
class Residents:
    """Zones with their counts, as read.

    Attributes
    ----------
    zones : GeoDataFrame
    table : DataFrame or None
        The counts, where they are not with the zones.
    masks : tuple of GeoDataFrame
    margins : dict of str to str or None
        Groups and columns of their margins of error.
    notes : tuple of str
    """

    zones: gpd.GeoDataFrame
    table: pd.DataFrame | None
    masks: tuple[gpd.GeoDataFrame, ...]
    margins: dict[str, str] | None
    notes: tuple[str, ...]


def read_residents(spec: GroupExposureSpec, data: Path) -> Residents:
    """Read the zones, their table and the mask.

    Raises
    ------
    InputError, FileError, CRSError
        A file or a column is missing, a count is negative, a zone has no polygon; it is said before anything is
        computed.
    """
    reader = LayerReader(data, {})
    what = "disparity.exposure"
    zones, mended = _polygons(spec, reader, what)
    table = None if spec.table is None else _table(data / spec.table, str(spec.key))
    if spec.key is not None and table is not None and spec.key in zones.columns:
        zones = zones.astype({spec.key: "string"})
    rows = zones if table is None else table
    with _named(what):
        names, counts = counts_in(rows, spec.groups, spec.total, spec.rest, whole=False)
    notes = [f"{mended:,} zones had an outline that crosses itself, and were mended."] if mended else []
    margins: dict[str, str] | None = dict(spec.margins) or None
    if spec.total_margin is not None:
        if spec.total_margin not in rows.columns:
            raise InputError(f"{what}.total_margin: no column {spec.total_margin!r}; there are {_columns(rows)}.")
        everyone = np.maximum(counts.sum(axis=0), 1e-300)
        margins = {g: f"{g} (margin)" for g in names}
        own = {
            margins[g]: rows[spec.total_margin].to_numpy(float) * np.sqrt(n / everyone)
            for g, n in zip(names, counts, strict=True)
        }
        rows = rows.assign(**own)
        zones, table = (rows, None) if table is None else (zones, rows)
        notes.append("Each group is given the margin of the total times the root of its share: an assumption.")
    masks = tuple(_polygons(m, reader, f"{what}.mask")[0] for m in spec.mask)
    return Residents(zones, table, masks, margins, tuple(notes))


def settle(spec: GroupExposureSpec, residents: Residents, grid: Grid, *, threads: int | None = None) -> Population:
    """Put the residents into the cells of a grid.

    Raises
    ------
    InputError
        As `rtmdx.disparity.allocate`.
    """
    zones = residents.zones.to_crs(grid.crs)
    weights = None
    if residents.masks:
        habitable = _covered(residents.masks, grid, threads)
        if spec.mask[0].says == "nobody":
            habitable = 1.0 - habitable
        weights = (habitable > _HABITABLE).astype(np.float64) if spec.allocation == "dasymetric" else habitable
    with _named("disparity.exposure"):
        return allocate(
            zones, spec.groups, grid, table=residents.table, key=spec.key, total=spec.total, rest=spec.rest,
            margins=residents.margins, margin_level=spec.margin_level, method=spec.allocation, weights=weights,
            threads=threads,
        )  # fmt: skip


def expose(
    spec: DisparitySpec,
    residents: Residents,
    terrain: RiskTerrain,
    *,
    seed: int = 0,
    threads: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> ExposureResult:
    """Measure the exposure of a study's groups to its terrain; see `rtmdx.disparity.exposure`."""
    own = spec.exposure
    if own is None:
        raise InputError("the study has no [disparity.exposure].")
    people = settle(own, residents, terrain.grid, threads=threads)
    margins: Any = None if own.margins_by == "none" else own.margins_by
    found = exposure(
        terrain, people, reference=spec.exposure_reference, top=own.top, measure=own.measure, margins=margins,
        model_draws=own.model_draws, draws=own.draws, level=spec.level, seed=seed, threads=threads, cancel=cancel,
    )  # fmt: skip
    notes = [*residents.notes, *found.notes]
    if any(f.code == "enforcement" for f in terrain.findings):
        notes.append(
            "The terrain is of an outcome that enforcement itself makes at least in part: exposure to it is exposure "
            "to where police acted, not to offending."
        )
    return replace(found, notes=tuple(notes))


def _polygons(source: Source, reader: LayerReader, what: str) -> tuple[gpd.GeoDataFrame, int]:
    """The polygons of a layer, and how many had to be mended."""
    import shapely

    frame, *_ = reader.read(source, what, what)
    frame = select_rows(frame, source.selection, what).frame
    shapes = frame.geometry.to_numpy()
    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    if empty.any():
        raise InputError(f"{what}, row {int(np.argmax(empty))}: has no polygon.", hint="Leave the row out, or mend it.")
    other = shapely.get_dimensions(shapes) != 2
    if other.any():
        i = int(np.argmax(other))
        raise InputError(f"{what}, row {i}: found a {shapes[i].geom_type}, expected a polygon.")
    bad = ~shapely.is_valid(shapes)
    if bad.any():
        shapes = shapes.copy()
        shapes[bad] = shapely.make_valid(shapes[bad], method="structure", keep_collapsed=False)
        frame = frame.set_geometry(shapes, crs=frame.crs)
    return frame, int(bad.sum())


def _covered(masks: Sequence[gpd.GeoDataFrame], grid: Grid, threads: int | None) -> NDArray[np.float64]:
    """Share of each cell that polygons cover, together."""
    import geopandas as gpd
    import shapely

    shapes = [shape for mask in masks for shape in mask.to_crs(grid.crs).geometry]
    union = gpd.GeoSeries([shapely.union_all(shapes)])
    if union.is_empty.any():
        return np.zeros(grid.shape)
    cover = coverage(union.set_crs(grid.crs), grid, threads=threads)
    share = np.bincount(cover.cell, cover.fraction, minlength=grid.size)
    return np.clip(share.astype(np.float64), 0.0, 1.0).reshape(grid.shape)


def _table(path: Path, key: str) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise FileError(
            f"disparity.exposure.table: {path} does not exist.", hint="Relative paths start at the data folder."
        )
    try:
        return pd.read_csv(path, dtype={key: "string"})
    except (ValueError, OSError) as error:
        raise FileError(f"disparity.exposure.table: {path} cannot be read as a table: {error}.") from None


def _columns(rows: Any) -> str:
    return ", ".join(map(str, rows.columns))


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say in an input's error which part of the study it is of."""
    try:
        yield
    except InputError as error:
        if type(error) is not InputError:
            raise
        raise InputError(f"{what}: {error.message}", hint=error.hint) from None
