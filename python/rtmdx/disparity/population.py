"""Residents of census zones put into cells, by area or by where people can live, with every zone's total kept.

Areal weighting spreads a zone's residents evenly over its area (Goodchild & Lam 1980); a dasymetric mask leaves out
what is not lived in (Wright 1936); weights are any surface of relative density. In all three a zone's residents stay in
the zone, so that its sum comes back: whole numbers by largest remainder to the last one, others to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.disparity.population_table import counts_in, joined, margins_in
from rtmdx.errors import InputError
from rtmdx.space.arguments import Cancel, Progress, frame_in
from rtmdx.space.frame import Frame
from rtmdx.space.rasters import raster_in
from rtmdx.space.zonal import coverage

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

__all__ = ["Population", "allocate"]

Float = NDArray[np.float64]
Method = Literal["areal", "dasymetric", "weighted"]
Edge = Literal["whole", "share"]

_TINY = 1e-9  # share of a cell that is an edge's rounding


@dataclass(frozen=True, eq=False)
class Population:
    """Residents by group in zones and in cells.

    Attributes
    ----------
    frame : Frame or Grid
    groups : tuple of str
    zones : tuple
        Names of the zones, in the order given.
    counts : float64 array, shape (n_groups, n_zones)
        Residents as given.
    margins : float64 array, shape (n_groups, n_zones), or None
        Margins of error as the census prints them, of the probability `margin_level`.
    margin_level : float
    zone, cell : int64 arrays, shape (n,)
        Pairs of a zone and a cell, ordered by zone, then cell. Cells count the kept ones of a grid, all of a frame.
    share : float64 array, shape (n,)
        Part of the zone's residents that is put into the cell; sums to 1 over a zone, less what is outside.
    cells : float64 array, shape (n_groups, n_cells)
        Residents by cell; whole numbers where `whole`.
    method : {"areal", "dasymetric", "weighted"}
    whole : bool
    lost : tuple of int
        Positions of zones with residents that no cell took; they are in no cell.
    fell_back : tuple of int
        Positions of zones without a cell where people can live, which were spread by area instead.
    outside : float64 array, shape (n_groups, n_zones)
        Residents not put into any cell: of lost zones, and beyond the cells with ``edge="share"``.
    overlap : float
        Area covered by more than one zone, in cells: residents there are in it for each of the zones.
    """

    frame: Frame
    groups: tuple[str, ...]
    zones: tuple[Any, ...]
    counts: Float
    margins: Float | None
    margin_level: float
    zone: NDArray[np.int64]
    cell: NDArray[np.int64]
    share: Float
    cells: Float
    method: str
    whole: bool
    lost: tuple[int, ...]
    fell_back: tuple[int, ...]
    outside: Float
    overlap: float

    @property
    def totals(self) -> Float:
        """Residents of every group in all cells, shape (n_groups,)."""
        return np.asarray((self.counts - self.outside).sum(axis=1))

    @property
    def total_margins(self) -> Float | None:
        """Margins of error of the groups' sums over all zones: the root of the summed squares (independent zones)."""
        return None if self.margins is None else np.sqrt((self.margins**2).sum(axis=1))

    @property
    def n_lost(self) -> int:
        """Number of zones with residents that no cell took."""
        return len(self.lost)

    def cell_margins(self) -> Float:
        """Margins of error by cell, shape (n_groups, n_cells).

        A cell's part of a zone has that part of the zone's margin; parts of several zones add by their squares. What
        the spreading itself leaves unknown is not in it, and cells of one zone are not independent.

        Raises
        ------
        InputError
            There are no margins.
        """
        if self.margins is None:
            raise InputError("population: has no margins of error.", hint="Give margins=... to allocate.")
        n = self.cells.shape[1]
        squares = [np.bincount(self.cell, (m[self.zone] * self.share) ** 2, minlength=n) for m in self.margins]
        return np.sqrt(np.array(squares).reshape(len(self.groups), n))

    def zone_sums(self) -> Float:
        """What the cells hold of every zone, shape (n_groups, n_zones): the counts less what is outside."""
        if self.whole:
            return self.counts - self.outside
        given = np.bincount(self.zone, self.share, minlength=len(self.zones))
        return np.asarray(self.counts * given)

    def shares(self) -> sparse.csr_matrix:
        """Part of each zone's residents in each cell, shape (n_zones, n_cells)."""
        from scipy import sparse

        return sparse.csr_matrix((self.share, (self.zone, self.cell)), shape=(len(self.zones), self.cells.shape[1]))

    def notes(self) -> list[str]:
        """What a reader must know, in sentences."""
        out = []
        if self.lost:
            names = ", ".join(str(self.zones[i]) for i in self.lost[:5])
            more = f" and {len(self.lost) - 5} more" if len(self.lost) > 5 else ""
            gone = self.counts[:, list(self.lost)].sum()
            out.append(f"{len(self.lost)} zones with {gone:,.0f} residents overlap no cell: {names}{more}.")
        beyond = self.outside.sum() - self.counts[:, list(self.lost)].sum()
        if beyond > _TINY:
            out.append(f"{beyond:,.0f} residents live beyond the cells and are left out.")
        if self.fell_back:
            out.append(f"{len(self.fell_back)} zones have no cell where people can live, and were spread by area.")
        if self.overlap > 1.0:
            out.append(f"Zones overlap on an area of {self.overlap:,.1f} cells; residents there count for each zone.")
        return out

    def to_frame(self) -> pd.DataFrame:
        """Return one row per zone: counts, margins, and what is outside."""
        import pandas as pd

        out: dict[str, Any] = {"zone": list(self.zones)}
        for g, name in enumerate(self.groups):
            out[name] = self.counts[g]
            if self.margins is not None:
                out[f"{name} margin"] = self.margins[g]
            out[f"{name} outside"] = self.outside[g]
        return pd.DataFrame(out)


def allocate(
    zones: Any,
    groups: Mapping[str, str] | Sequence[str],
    frame: Frame,
    *,
    table: pd.DataFrame | None = None,
    key: str | None = None,
    total: str | None = None,
    rest: str = "other",
    margins: Mapping[str, str] | None = None,
    margin_level: float = 0.9,
    method: Method = "areal",
    weights: Any = None,
    whole: bool = False,
    edge: Edge = "whole",
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> Population:
    """Put the residents of census zones into cells.

    Parameters
    ----------
    zones : GeoDataFrame
        Polygons in the frame's CRS.
    groups : mapping of group to column, or sequence of columns
        Groups without members in common.
    frame : Grid or Frame
        Only a grid's kept cells take residents.
    table : DataFrame, optional
        Where the columns are, if not with the zones; joined by the column `key`.
    key : str, optional
        Names the zones; needed for `table`.
    total : str, optional
        Column of all residents: what the groups leave of it becomes the group `rest`.
    rest : str
    margins : mapping of group to column, optional
        Margins of error, one for every group; those of `rest` are of the total's if given under that name, else the
        roots of the groups' summed squares.
    margin_level : float
        Probability of the margins; the census prints 90 %.
    method : {"areal", "dasymetric", "weighted"}
        By area; by area where `weights` is above 0; by area times `weights`.
    weights : array, shape (rows, cols), or DataArray
        Numbers >= 0; NaN counts as 0.
    whole : bool
        Put whole residents into cells; the counts must be whole.
    edge : {"whole", "share"}
        Of a zone that reaches beyond the cells all residents are put into its cells, or the part its area has there.
    threads, cancel, progress
        As in `rtmdx.coverage`.

    Returns
    -------
    Population

    Raises
    ------
    InputError
        A column is missing; a count is negative, missing or not whole; the groups exceed the total; a zone stands
        twice in a table, or in one of the two only; weights are negative.
    CRSError
        The zones are in another CRS than the frame.
    """
    frame = frame_in(frame)
    if not hasattr(zones, "geometry") or not hasattr(zones, "columns"):
        raise InputError("zones: expected a GeoDataFrame of polygons with columns of counts.")
    for name, value, allowed in (
        ("method", method, ("areal", "dasymetric", "weighted")),
        ("edge", edge, ("whole", "share")),
    ):
        if value not in allowed:
            raise InputError(f"{name}: found {value!r}, expected one of {', '.join(map(repr, allowed))}.")
    if (weights is None) != (method == "areal"):
        raise InputError(f"method {method!r} {'needs' if weights is None else 'takes no'} weights.")
    if not 0.0 < margin_level < 1.0:
        raise InputError(f"margin_level: found {margin_level}, expected a probability between 0 and 1.")
    rows = joined(zones, table, key)
    names, counts = counts_in(rows, groups, total, rest, whole)
    moe = None if margins is None else margins_in(rows, names, margins, rest if total is not None else None)
    labels = tuple(zones[key] if key is not None else zones.index)

    cover = coverage(zones, frame, threads=threads, cancel=cancel, progress=progress)
    zone, cell, amount = cover.zone, cover.cell, cover.fraction
    n_zones, n_cells = len(zones), frame.size
    crowded = np.bincount(cell, amount, minlength=frame.size) if len(cell) else np.zeros(0)
    overlap = float(np.maximum(crowded - 1.0 - _TINY, 0.0).sum())
    mask = getattr(frame, "mask", None)
    if mask is not None:
        index = np.cumsum(mask.ravel(), dtype=np.int64) - 1
        kept = mask.ravel()[cell]
        n_cells = int(index[-1]) + 1 if index.size else 0
    else:
        index, kept = None, np.ones(len(cell), dtype=bool)
    used = amount
    if weights is not None:
        density = _weights_in(weights, frame)
        used = amount * (density[cell] > 0 if method == "dasymetric" else density[cell])
    within = np.bincount(zone[kept], amount[kept], minlength=n_zones)
    weight = np.bincount(zone[kept], used[kept], minlength=n_zones)
    populated = counts.sum(axis=0) > 0
    fell_back = (weight <= 0) & (within > 0)
    used = np.where(fell_back[zone], amount, used)
    keep = kept & (used > 0)
    zone, cell, used = zone[keep], cell[keep], used[keep]
    if index is not None:
        cell = index[cell]
    base = np.bincount(zone, used, minlength=n_zones)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = used / base[zone]
        part = np.where(within > 0, np.minimum(within * frame.cell_area / cover.area, 1.0), 0.0)
    part[part > 1.0 - _TINY] = 1.0
    if edge == "whole":
        part = (within > 0).astype(np.float64)
    share = share * part[zone]

    if whole:
        cells = np.zeros((len(names), n_cells))
        outside = np.zeros_like(counts)
        for g, n in enumerate(counts):
            inside = np.where(part == 1.0, n, np.rint(n * part))
            outside[g] = n - inside
            cells[g] = np.bincount(cell, _largest_remainder(inside, zone, used / base[zone]), minlength=n_cells)
    else:
        cells = np.array([np.bincount(cell, n[zone] * share, minlength=n_cells) for n in counts])
        cells = cells.reshape(len(names), n_cells)
        outside = counts * (1.0 - part)
    return Population(
        frame=frame,
        groups=names,
        zones=labels,
        counts=counts,
        margins=moe,
        margin_level=margin_level,
        zone=zone,
        cell=cell,
        share=share,
        cells=cells,
        method=method,
        whole=whole,
        lost=tuple(np.flatnonzero((within <= 0) & populated).tolist()),
        fell_back=tuple(np.flatnonzero(fell_back & populated).tolist()),
        outside=outside,
        overlap=overlap,
    )


def _largest_remainder(total: Float, zone: NDArray[np.int64], share: Float) -> Float:
    """Whole parts of whole totals, one per pair; `share` sums to 1 over a zone. Ties go to the first cells."""
    quota = total[zone] * share
    out = np.floor(quota)
    short = np.rint(total - np.bincount(zone, out, minlength=len(total))).astype(np.int64)
    first = np.searchsorted(zone, np.arange(len(total)))
    rank = np.arange(len(zone)) - first[zone]
    order = np.lexsort((np.arange(len(zone)), out - quota, zone))
    out[order] += rank < short[zone]
    if (short < 0).any():  # a quota that rounding lifted onto the next whole number
        order = np.lexsort((np.arange(len(zone)), quota - out, zone))
        order = order[out[order] > 0]
        order = order[short[zone[order]] < 0]
        seen = np.arange(len(order)) - np.searchsorted(zone[order], zone[order])
        out[order] -= seen < -short[zone[order]]
    return out


def _weights_in(weights: Any, frame: Frame) -> Float:
    values, _ = raster_in(weights, frame, "weights")
    flat = np.nan_to_num(values.astype(np.float64).ravel(), nan=0.0)
    bad = ~(np.isfinite(flat) & (flat >= 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(
            f"weights, row {i // frame.shape[1]}, column {i % frame.shape[1]}: found {flat[i]:g}, expected >= 0."
        )
    return flat
