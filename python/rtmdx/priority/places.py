"""Scores, events and areas of places, from those of the cells they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.values import choice
from rtmdx.space.zonal import coverage, zonal

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = ["PlaceScores", "PlaceValues", "place_values"]

_OVERLAP = 1e-6  # share of the smaller place; less is how borders were digitised


@dataclass(frozen=True, eq=False)
class PlaceValues:
    """One figure per place; NaN scores for places without a cell that has one."""

    score: NDArray[np.float64]
    events: NDArray[np.float64] | None
    area: NDArray[np.float64]
    index: Any
    notes: tuple[str, ...]


def place_values(
    cells: NDArray[np.float64],
    grid: Grid,
    places: Any,
    statistic: str,
    events: NDArray[np.float64] | None,
    threads: int | None,
) -> PlaceValues:
    """Return what `rank` ranks, and its notes on empty and overlapping places."""
    from rtmdx.space.features import Features

    choice(statistic, "statistic", ("mean", "max", "sum"))
    features = Features.of(places)
    lines = features.n_lines > 0
    if features.n_points:
        raise InputError("places: found points, expected polygons or lines.", hint="Buffer them, or rank cells.")
    if features.n_input == 0:
        raise InputError("places: found none, expected polygons or lines.")
    if lines and statistic == "sum":
        raise InputError("statistic: the sum of cells along a line is no count.", hint='Use "mean" or "max" for lines.')
    measure = "length" if lines else "area"
    found = zonal(grid.to_raster(cells), places, grid, statistics=("count", statistic, measure), threads=threads)
    covered = found["count"].to_numpy()
    score = np.where(covered > 0, found[statistic].to_numpy(), np.nan)
    n = len(score)
    held = events
    if events is not None and events.size != n:
        if events.size != grid.n_cells:
            raise InputError(
                f"events: found {events.size:,} numbers, expected {grid.n_cells:,}, one per cell, or {n:,}, one per "
                "place."
            )
        if lines:
            raise InputError("events: cells' events have no share on a line.", hint="Give events of each line.")
        held = zonal(grid.to_raster(events), places, grid, statistics=("sum",), threads=threads)["sum"].to_numpy()
    area = covered if lines else covered * grid.cell_area
    notes = []
    empty = np.flatnonzero(~(covered > 0))
    if empty.size:
        shown = ", ".join(str(found.index[i]) for i in empty[:5])
        more = ", ..." if empty.size > 5 else ""
        notes.append(f"{empty.size:,} of {n:,} places have no cell with a score and no rank: {shown}{more}.")
    if not lines and (pairs := _overlaps(places)):
        i, j = pairs[0]
        number = f"{len(pairs):,} {'pair' if len(pairs) == 1 else 'pairs'}"
        notes.append(
            f"{number} of places overlap (first {found.index[i]} and {found.index[j]}): each counts all of its ground, "
            "so shares are of the places' sum, not of their union."
        )
    return PlaceValues(score, held, area, found.index, tuple(notes))


class PlaceScores:
    """Scores of places from those of a grid's cells, as `rank` has them; coverage is worked out once."""

    def __init__(self, grid: Grid, places: Any, statistic: str) -> None:
        import geopandas as gpd
        from scipy import sparse

        first = place_values(np.zeros(grid.n_cells), grid, places, statistic, None, None)
        self.index, self.notes = first.index, first.notes
        self._grid, self._places, self._statistic = grid, places, statistic
        self._shares: Any = None
        given = getattr(places, "geometry", places)
        self.shapes = gpd.GeoSeries(list(given), index=first.index, crs=grid.crs)
        if self.shapes.dropna().geom_type.str.contains("Polygon").all():
            pairs = coverage(places, grid)
            number = np.full(grid.mask.size, -1, dtype=np.int64)
            number[grid.mask.ravel()] = np.arange(grid.n_cells)
            cell = number[pairs.cell]
            kept = cell >= 0
            shape = (len(self.index), grid.n_cells)
            self._shares = sparse.csr_array((pairs.fraction[kept], (pairs.zone[kept], cell[kept])), shape=shape)
            self._shares.sort_indices()
            self._all = self._shares @ np.ones(grid.n_cells)

    def __call__(self, cells: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        values = np.asarray(cells, dtype=np.float64)
        if self._shares is None:
            return place_values(values, self._grid, self._places, self._statistic, None, 1).score
        known = np.isfinite(values)
        weight = self._all if known.all() else self._shares @ known.astype(np.float64)
        if self._statistic == "max":
            out = np.full(len(weight), np.nan)
            some = np.flatnonzero(np.diff(self._shares.indptr))
            own = np.where(known, values, -np.inf)[self._shares.indices]
            if some.size:
                out[some] = np.maximum.reduceat(own, self._shares.indptr[some])
        else:
            total = self._shares @ np.where(known, values, 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                out = total if self._statistic == "sum" else total / weight
        return np.where(weight > 0, out, np.nan)


def _overlaps(places: Any) -> list[tuple[int, int]]:
    """Pairs of polygons that share ground, beyond what a border's digitising makes."""
    import shapely

    shapes = np.array(list(getattr(places, "geometry", places)), dtype=object)
    shapes = np.where(shapely.is_valid(shapes) | shapely.is_missing(shapes), shapes, shapely.make_valid(shapes))
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    keep = first < second
    first, second = first[keep], second[keep]
    areas = shapely.area(shapes)
    common = shapely.area(shapely.intersection(shapes[first], shapes[second]))
    real = common > _OVERLAP * np.minimum(areas[first], areas[second])
    return list(zip(first[real].tolist(), second[real].tolist(), strict=True))
