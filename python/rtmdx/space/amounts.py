"""Amounts per cell of lines, polygons and points clipped to a study area: exact, cut at the cells' edges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled
from rtmdx.space.arguments import native_grid
from rtmdx.space.features import Features
from rtmdx.space.memory import available_memory
from rtmdx.space.zonal import zone_offsets

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid
    from rtmdx.space.layers import StudyArea

__all__ = ["areas", "counts", "covered", "lengths", "spread", "touching"]

Float = NDArray[np.float64]
Shapes = NDArray[np.object_]
Bools = NDArray[np.bool_]
How = dict[str, Any]  # threads and cancel, from `run_arguments`

_BYTES = 40  # of a pair of zone and cell, as in zonal
_DUST = 1e-9
_BATCH = 5000  # shapes between two looks at the cancel check


def touching(area: StudyArea, shapes: Shapes) -> Bools:
    """Which shapes meet the study area at all."""
    import shapely

    shapely.prepare(area.geometry)
    out: Bools = shapely.intersects(area.geometry, shapes)
    return out


def _clipped(shapes: Shapes, inside: Bools, area: StudyArea, how: How) -> Shapes:
    """The part of each shape in the study area; None where it has none."""
    import shapely

    out = np.full(len(shapes), None, dtype=object)
    whole = inside.copy()
    whole[inside] = shapely.contains_properly(area.geometry, shapes[inside])
    cut = inside & ~whole
    out[whole] = shapes[whole]
    at = np.flatnonzero(cut)
    for i in _batches(len(at), how):
        some = at[i : i + _BATCH]
        out[some] = shapely.intersection(shapes[some], area.geometry)
    return out


def _engine_cover(
    shapes: Shapes, kind: Literal["lines", "polygons"], grid: Grid, how: How, *, one_zone: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], Float, Float]:
    """Zone, kept cell and amount of all pairs, and the amount of each zone in cells kept or not.

    Parts of another dimension, which clipping may leave, count nothing; nor do a billionth of a cell that is not
    most of its zone: it is rounding, and an exposure of next to nothing is worse than none.
    """
    from rtmdx import _engine

    features = Features.from_geometries(shapes)
    offsets = zone_offsets(features, kind)
    if one_zone:
        offsets = offsets[[0, -1]].copy()
    zone, cell, amount, _, _ = _engine.coverage(
        features.native(),
        offsets,
        native_grid(grid),
        kind=kind,
        limit=int(min(available_memory() / _BYTES, 2**62)),
        **how,
    )
    whole = np.bincount(zone, weights=amount, minlength=len(shapes)).astype(np.float64)
    dust = _DUST * (grid.cell_size if kind == "lines" else 1.0)
    solid = (amount >= dust) | (amount > 0.5 * whole[zone])
    if not solid.all():
        zone, cell, amount = zone[solid], cell[solid], amount[solid]
        whole = np.bincount(zone, weights=amount, minlength=len(shapes)).astype(np.float64)
    index = grid._index.ravel()[cell]
    kept = index >= 0
    return zone[kept], index[kept].astype(np.int64), amount[kept], whole


def _sum(cell: NDArray[np.int64], amount: Float, grid: Grid) -> Float:
    out: Float = np.bincount(cell, weights=amount, minlength=grid.n_cells).astype(np.float64)
    return out


def lengths(shapes: Shapes, inside: Bools, grid: Grid, area: StudyArea, how: How) -> tuple[Float, float]:
    """Length of the lines in each kept cell, and beyond them; lines that repeat count each time."""
    import shapely

    _, cell, amount, _ = _engine_cover(_clipped(shapes, inside, area, how), "lines", grid, how, one_zone=True)
    cells = _sum(cell, amount, grid)
    return cells, max(0.0, math.fsum(shapely.length(shapes)) - math.fsum(cells))


def areas(shapes: Shapes, inside: Bools, grid: Grid, area: StudyArea, how: How) -> tuple[Float, float]:
    """Area in each kept cell that polygons cover, overlaps once, and beyond them."""
    import shapely

    parts = _without_overlaps(shapes[inside], how)
    clipped = _clipped(parts, touching(area, parts), area, how)
    _, cell, fraction, _ = _engine_cover(clipped, "polygons", grid, how, one_zone=False)
    cells = np.minimum(_sum(cell, fraction, grid), 1.0) * grid.cell_area
    everywhere = math.fsum(shapely.area(parts)) + math.fsum(shapely.area(shapes[~inside]))
    return cells, max(0.0, everywhere - math.fsum(cells))


def _without_overlaps(shapes: Shapes, how: How) -> Shapes:
    """The polygons with those united that overlap, one chain of overlaps at a time; most touch at most."""
    import shapely
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shapely.prepare(shapes)
    tree = shapely.STRtree(shapes)
    pairs = []
    for i in _batches(len(shapes), how):
        a, b = tree.query(shapes[i : i + _BATCH], predicate="intersects")
        pairs.append(np.stack([a + i, b]))
    a, b = np.concatenate([np.zeros((2, 0), dtype=np.intp), *pairs], axis=1)
    a, b = a[a < b], b[a < b]
    near = [
        shapely.relate_pattern(shapes[a[i : i + _BATCH]], shapes[b[i : i + _BATCH]], "T********")
        for i in _batches(len(a), how)
    ]
    both = np.concatenate([np.zeros(0, dtype=np.bool_), *near])
    a, b = a[both], b[both]
    if not a.size:
        return shapes
    n, chain = connected_components(coo_array((np.ones(a.size), (a, b)), shape=(len(shapes), len(shapes))), False)
    order = np.argsort(chain, kind="stable")
    ends = np.cumsum(np.bincount(chain, minlength=n))
    out: list[Any] = []
    for first, last in zip(ends - np.bincount(chain, minlength=n), ends, strict=True):
        if len(out) % _BATCH == 0:
            _poll(how)
        members = shapes[order[first:last]]
        out.append(members[0] if len(members) == 1 else shapely.union_all(members))
    made: Shapes = np.array(out, dtype=object)
    return made


def _batches(n: int, how: How) -> Iterator[int]:
    for i in range(0, n, _BATCH):
        _poll(how)
        yield i


def _poll(how: How) -> None:
    if how["cancel"] is not None and how["cancel"]():
        raise Cancelled("cancelled by the caller's check.")


def counts(shapes: Shapes, weights: Float | None, grid: Grid, area: StudyArea) -> tuple[Float, float]:
    """Points in each kept cell, or the sum of their weights, and beyond them."""
    import shapely

    xy, owner = shapely.get_coordinates(shapes, return_index=True)
    weight = np.ones(len(xy)) if weights is None else weights[owner]
    cell = grid.cell_of(xy[:, 0], xy[:, 1])
    here = (cell >= 0) & shapely.intersects_xy(area.geometry, xy[:, 0], xy[:, 1])
    return _sum(cell[here].astype(np.int64), weight[here], grid), math.fsum(weight[~here])


def covered(
    shapes: Shapes, inside: Bools, grid: Grid, area: StudyArea, how: How
) -> tuple[NDArray[np.int64], NDArray[np.int64], Float, Float]:
    """Zone, kept cell and share of the cell of all pairs; and the share of the zone for a share of 1 of a cell."""
    import shapely

    clipped = _clipped(shapes, inside, area, how)
    whole = np.fromiter((a is b for a, b in zip(shapes, clipped, strict=True)), dtype=np.bool_, count=len(shapes))
    share = np.where(whole, 1.0, np.nan_to_num(shapely.area(clipped)) / shapely.area(shapes))
    zone, cell, fraction, found = _engine_cover(clipped, "polygons", grid, how, one_zone=False)
    # areas by the engine and by GEOS differ in their last digits: a zone's shares must sum to its own
    per_cell = np.divide(share, found, out=np.zeros_like(share), where=found > 0)
    return zone, cell, fraction, per_cell


def spread(shapes: Shapes, values: Float, inside: Bools, grid: Grid, area: StudyArea, how: How) -> tuple[Float, float]:
    """Each polygon's value, spread evenly over its area, in each kept cell, and beyond them."""
    zone, cell, fraction, per_cell = covered(shapes, inside, grid, area, how)
    cells = _sum(cell, values[zone] * (fraction * per_cell[zone]), grid)
    return cells, max(0.0, math.fsum(values) - math.fsum(cells))
