"""Districts: a layer of named polygons, and which of them each cell's centre lies in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.cleaning import Cleaning, select_polygons, usable_shapes
from rtmdx.space.readers import require_field
from rtmdx.space.selection import ALL_ROWS, Finding, Selection

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.space.grid import Grid

__all__ = ["Districts"]


@dataclass(frozen=True, eq=False)
class Districts:
    """Named districts and the cells in them.

    Attributes
    ----------
    names : tuple of str
        In the order of the layer; rows of one name are one district.
    labels : int32 array, shape (n_cells,)
        Position in `names` of the district of each kept cell, -1 outside every district.
    cleaning : Cleaning
    findings : tuple of Finding
    """

    names: tuple[str, ...]
    labels: NDArray[np.int32]
    cleaning: Cleaning
    findings: tuple[Finding, ...] = ()

    @classmethod
    def from_frame(
        cls,
        frame: gpd.GeoDataFrame,
        grid: Grid,
        *,
        field: str | None = None,
        selection: Selection = ALL_ROWS,
        source: str = "memory",
        digest: str = "",
        total: int | None = None,
    ) -> Districts:
        """Assign every kept cell to the district that holds its centre.

        A centre on a border, or in two districts that overlap, belongs to the first of the layer. Cells kept
        along the boundary of the study area often have their centre just outside: a cell whose centre is in no
        district joins the nearest one that comes within half a diagonal of it. The rest are outside.

        Parameters
        ----------
        frame : GeoDataFrame
            Polygons in any CRS.
        grid : Grid
        field : str, optional
            Field with the district's name; each row is a district of its own without it.
        selection, source, digest, total
            As for `Events.from_frame`.

        Raises
        ------
        InputError
            Not polygons, an unknown field, a district without a name, or no cell in any district.
        """
        what = f"districts ({source})"
        hint = "Give the polygons of two or more districts."
        selected = select_polygons(frame, selection, what, total, hint=hint)
        dropped = selected.dropped
        titles = _titles(selected.frame, field, what)
        shapes, kept, mended = usable_shapes(selected.frame, grid.crs, what, dropped)
        titles = [t for t, good in zip(titles, kept, strict=True) if good]
        names = tuple(dict.fromkeys(titles))
        if len(names) < 2:
            found = f"one district ({names[0]!r})" if names else "no usable polygon"
            raise InputError(f"{what}: holds {found}.", hint="Folds by district need two or more.")
        place = {name: i for i, name in enumerate(names)}
        of_row = np.array([place[t] for t in titles], dtype=np.int32)
        row, twice = _rows_of_cells(shapes, of_row, grid)
        labels = np.where(row < 0, -1, of_row[row]).astype(np.int32)
        outside = int(np.count_nonzero(labels < 0))
        if outside == grid.n_cells:
            raise InputError(f"{what}: no cell of the study area lies in any district.", hint="Check layer and CRS.")
        findings = list(selected.findings)
        if outside:
            message = (
                f"{outside:,} of {grid.n_cells:,} cells ({outside / grid.n_cells:.1%}) lie in none of the {len(names)} "
                "districts; they count as a district of their own."
            )
            findings.append(Finding("outside-districts", what, message))
        if twice:
            message = f"Districts overlap: {twice:,} cells lie in two or more and belong to the first of the layer."
            findings.append(Finding("overlapping-districts", what, message))
        cleaning = Cleaning(source, digest, selected.read, len(shapes), dropped, mended)
        return cls(names, labels, cleaning, tuple(findings))


def _titles(frame: gpd.GeoDataFrame, field: str | None, what: str) -> list[str]:
    if field is None:
        return [f"row {i + 1}" for i in frame.index]
    require_field(frame, field, what)
    column = frame[field]
    bare = (column.isna() | (column.astype("string").str.strip() == "").fillna(value=False)).to_numpy(dtype=bool)
    if bare.any():
        i = int(bare.argmax())
        raise InputError(
            f"{what}: {int(bare.sum())} of {len(bare)} districts have no {field!r}; "
            f"the first is row {frame.index[i] + 1}.",
            hint="Name them, or leave them out with a filter.",
        )
    return [str(v).strip() for v in column]


def _rows_of_cells(shapes: NDArray[np.object_], of_row: NDArray[np.int32], grid: Grid) -> tuple[NDArray[np.intp], int]:
    """Return the polygon of each kept cell (-1: none), and how many cells lie in two districts."""
    import shapely

    rows, cols = grid.shape
    size = grid.cell_size
    found = np.full(grid.shape, -1, dtype=np.int32)
    twice = np.zeros(grid.shape, dtype=np.bool_)
    for i, (shape, (west, south, east, north)) in enumerate(zip(shapes, shapely.bounds(shapes), strict=True)):
        top, bottom = max(0, math.floor((grid.y_max - north) / size)), min(rows, math.ceil((grid.y_max - south) / size))
        left, right = max(0, math.floor((west - grid.x_min) / size)), min(cols, math.ceil((east - grid.x_min) / size))
        if top >= bottom or left >= right:
            continue
        shapely.prepare(shape)
        r, c = np.nonzero(grid.mask[top:bottom, left:right])
        r, c = r + top, c + left
        inside = shapely.intersects_xy(shape, grid.x_min + (c + 0.5) * size, grid.y_max - (r + 0.5) * size)
        r, c = r[inside], c[inside]
        free = found[r, c] < 0
        twice[r[~free], c[~free]] |= of_row[found[r[~free], c[~free]]] != of_row[i]
        found[r[free], c[free]] = i
    row = grid.to_cells(found).astype(np.intp)
    bare = np.flatnonzero(row < 0)
    if bare.size:
        r, c = (a[bare] for a in grid.rows_cols)
        centre = shapely.points(grid.x_min + (c + 0.5) * size, grid.y_max - (r + 0.5) * size)
        tree = shapely.STRtree(shapes)
        cell, near = tree.query_nearest(centre, max_distance=size * math.sqrt(0.5), all_matches=True)
        order = np.lexsort((near, cell))  # of equally near ones the first of the layer
        cell, near = cell[order], near[order]
        first = np.ones(cell.size, dtype=np.bool_)
        first[1:] = cell[1:] != cell[:-1]
        row[bare[cell[first]]] = near[first]
    return row, int(np.count_nonzero(twice))
