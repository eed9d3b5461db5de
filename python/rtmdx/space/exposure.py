"""Exposure: how much of what an event can happen to lies in each cell - street length, land, addresses, residents.

All of it is clipped to the study area first, as the events are, so that a cell on the boundary has the exposure of its
part inside. Lengths and areas are exact: lines and polygons are cut at the cells' edges, nothing is rasterised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.amounts import areas, counts, covered, lengths, spread, touching
from rtmdx.space.arguments import Cancel, run_arguments
from rtmdx.space.cleaning import Cleaning
from rtmdx.space.exposure_rows import clean_rows, require_amounts
from rtmdx.space.layers import StudyArea
from rtmdx.space.pixels import pixel_blocks
from rtmdx.space.selection import ALL_ROWS, Finding, Selection
from rtmdx.space.values import choice

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from rtmdx.space.grid import Grid

__all__ = ["Exposure", "Measure"]

Float = NDArray[np.float64]
Shapes = NDArray[np.object_]
Measure = Literal["length", "area", "count", "polygons", "raster"]
"""What of a layer makes the exposure."""

_FLOOR_SHARE = 0.1  # of the median exposure: the floor where none is given


@dataclass(frozen=True, eq=False)
class Exposure:
    """Exposure of every kept cell.

    Attributes
    ----------
    name : str
        What it is, for people: "Street length".
    measure : {"length", "area", "count", "polygons", "raster"}
    unit : str
        Of one unit of it: "m", "square m", "residents".
    cells : float64 array, shape (n_cells,)
        Not negative. Cells of 0 take no part in a fit.
    outside : float
        What of the layer lies beyond the study area or in cells not kept; NaN where it does not add up (means).
    method : str
        How it came from the layer to the cells, in a sentence.
    cleaning : Cleaning
    findings : tuple of Finding
    floor : float
        Smallest exposure of a cell, where one was set; 0 otherwise.
    raised : int
        Cells that had less than the floor and got it.
    added : float
        What that added in all.
    """

    name: str
    measure: Measure
    unit: str
    cells: Float
    outside: float
    method: str
    cleaning: Cleaning
    findings: tuple[Finding, ...] = ()
    floor: float = 0.0
    raised: int = 0
    added: float = 0.0

    @property
    def total(self) -> float:
        """Sum over the kept cells, as measured: without what the floor added."""
        return math.fsum([*self.cells, -self.added])

    @property
    def n_without(self) -> int:
        """Kept cells of exposure 0."""
        return int(np.count_nonzero(self.cells == 0))

    @property
    def median(self) -> float:
        """Median of the cells that have some."""
        return float(np.median(self.cells[self.cells > 0]))

    def raster(self, grid: Grid) -> xr.DataArray:
        """Exposure on the grid it was made for, dims (y, x), NaN outside the study area."""
        attrs = {"long_name": f"exposure: {self.name}", "units": self.unit, "comment": self.method}
        return grid.dataarray(grid.to_raster(self.cells), "exposure", attrs)

    def floored(self, floor: float | None = None) -> Exposure:
        """Return the exposure with every cell raised to at least `floor`; a tenth of the median by default.

        All cells are treated alike, whether they hold events or not: raising only those with events would choose
        cells by their outcome, and the smallest positive value is a sliver of a cell that meets the layer by chance.

        Raises
        ------
        InputError
            The floor is above the median: it would replace the exposure rather than complete it.
        """
        at = _FLOOR_SHARE * self.median if floor is None else floor
        if not 0 < at <= self.median:
            raise InputError(
                f"exposure {self.name!r}: a floor of {at:g} {self.unit} is above the median of the cells that have "
                f"any, {self.median:g}.",
                hint="Give a smaller one, or leave it out: a tenth of the median is used.",
            )
        low = self.cells < at
        added = math.fsum(at - self.cells[low])
        return replace(self, cells=np.where(low, at, self.cells), floor=at, raised=int(low.sum()), added=added)

    def to_dict(self) -> dict[str, Any]:
        """Return what it is, without the cells, as plain data."""
        return {
            "name": self.name,
            "measure": self.measure,
            "unit": self.unit,
            "method": self.method,
            "total": self.total,
            "outside": self.outside if math.isfinite(self.outside) else None,
            "median": self.median,
            "cells_without": self.n_without,
            "floor": self.floor or None,
            "raised": self.raised,
            "added": self.added,
            "read": self.cleaning.read,
            "dropped": dict(self.cleaning.dropped),
        }

    @classmethod
    def from_frame(
        cls,
        frame: gpd.GeoDataFrame,
        grid: Grid,
        area: StudyArea,
        *,
        measure: Measure,
        field: str | None = None,
        name: str | None = None,
        unit: str | None = None,
        selection: Selection = ALL_ROWS,
        source: str = "memory",
        digest: str = "",
        total: int | None = None,
        threads: int | None = None,
        cancel: Cancel | None = None,
    ) -> Exposure:
        """Measure a layer, in any CRS, in every cell.

        Parameters
        ----------
        frame : GeoDataFrame
            Lines ("length"), polygons ("area", "polygons") or points ("count").
        grid : Grid
        area : StudyArea
            The layer is clipped to it.
        measure : {"length", "area", "count", "polygons"}
            Length of the lines in the cell; area the polygons cover, overlaps once; number of the points; or an
            amount each polygon holds, spread evenly over its area (areal interpolation): the shares of a zone inside
            the study area sum to its amount.
        field : str, optional
            Amount of each row: a point's weight, or what a polygon holds (needed for "polygons").
        name, unit : str, optional
        selection, source, digest, total
            As for `Events.from_frame`.
        threads : int, optional
            The result does not depend on it.
        cancel : callable, optional
            Asked often; a true value stops the work.

        Raises
        ------
        InputError
            Another kind of geometry, an unknown field, an amount that is missing, negative or no finite number in the
            study area, or nothing there.
        CRSError
            The layer has no CRS.
        Cancelled
            `cancel` returned a true value.
        """
        how = run_arguments(threads, cancel, None)
        choice(measure, "measure", ("length", "area", "count", "polygons"))
        if field is None and measure == "polygons":
            raise InputError("exposure: polygons need a field that says what each holds.", hint="Give field=...")
        if field is not None and measure not in ("polygons", "count"):
            raise InputError(f"exposure: a {measure} takes no field, found {field!r}.", hint="Leave it out.")
        what = f"exposure ({source})"
        rows = clean_rows(frame, grid, measure, field, selection, what, total)
        shapes, values = rows.shapes, rows.values
        inside = touching(area, shapes)
        if values is not None:
            require_amounts(values[inside], rows.index[inside], field, what)
            values = np.where(np.isfinite(values) & (values >= 0), values, 0.0)  # codes far away stand for no amount
        if measure == "length":
            cells, outside = lengths(shapes, inside, grid, area, how)
        elif measure == "area":
            cells, outside = areas(shapes, inside, grid, area, how)
        elif measure == "count" or values is None:
            cells, outside = counts(shapes, values, grid, area)
        else:
            cells, outside = spread(shapes, values, inside, grid, area, how)
        unit = unit or {"length": grid.symbol, "area": f"square {grid.symbol}"}.get(measure, field or "points")
        made = cls(
            name or {"length": "Length of lines", "area": "Area", "count": "Number of points"}.get(measure, str(field)),
            measure,
            unit,
            cells,
            outside,
            _METHODS[measure],
            Cleaning(source, digest, rows.read, len(shapes), rows.dropped, rows.mended),
            rows.findings,
        )
        return _some(made, what)

    @classmethod
    def from_raster(
        cls,
        path: Path,
        grid: Grid,
        area: StudyArea,
        *,
        statistic: Literal["sum", "mean"] = "sum",
        name: str | None = None,
        unit: str | None = None,
        digest: str = "",
        threads: int | None = None,
        cancel: Cancel | None = None,
    ) -> Exposure:
        """Measure the first band of a raster file, in any CRS, in every cell.

        Nothing is resampled: each pixel is the polygon of its corners in the grid's CRS, and its value is spread
        evenly over it ("sum": a count per pixel; the sums of pixels inside the study area are kept), or weighs by the
        area it shares with the cell ("mean": a density or a rate; over the pixels that have a value).

        Raises
        ------
        MissingDependencyError
            rasterio is not installed.
        FileError
            The file cannot be read, or has no CRS.
        InputError
            A value in the study area is negative or infinite, or there is none.
        Cancelled
            `cancel` returned a true value.
        """
        how = run_arguments(threads, cancel, None)
        choice(statistic, "statistic", ("sum", "mean"))
        what = f"exposure ({path.name})"
        top, share = np.zeros(grid.n_cells), np.zeros(grid.n_cells)
        outside, read, kept = 0.0, 0, 0
        for polygons, values, n in pixel_blocks(path, grid, what):
            read += n
            inside = touching(area, polygons)
            polygons, values = polygons[inside], values[inside]
            _require_pixels(values, what)
            kept += len(values)
            if statistic == "sum":
                some = values > 0
                cells, beyond = spread(polygons[some], values[some], np.ones(some.sum(), bool), grid, area, how)
                top, outside = top + cells, outside + beyond
                continue
            zone, cell, fraction, _ = covered(polygons, np.ones(len(polygons), bool), grid, area, how)
            top += np.bincount(cell, weights=fraction * values[zone], minlength=grid.n_cells)
            share += np.bincount(cell, weights=fraction, minlength=grid.n_cells)
        if statistic == "mean":
            top, outside = np.divide(top, share, out=np.zeros_like(top), where=share > 0), math.nan
        made = cls(
            name or path.stem,
            "raster",
            unit or ("units" if statistic == "sum" else "units of the raster"),
            top,
            outside,
            _METHODS[f"raster {statistic}"],
            Cleaning(path.name, digest, read, kept, {"no value, or outside the study area": read - kept}),
        )
        return _some(made, what)


_METHODS = {
    "length": "length of the lines within the cell and the study area, by exact clipping",
    "area": "area the polygons cover within the cell and the study area, exact, overlaps counted once",
    "count": "points in the cell, within the study area",
    "polygons": "areal interpolation: each polygon's amount spread evenly over its area",
    "raster sum": "each pixel's value spread evenly over its outline, by exact coverage",
    "raster mean": "mean of the pixels that have a value, weighted by the area they share with the cell",
}


def _require_pixels(values: Float, what: str) -> None:
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise InputError(
            f"{what}: {int(bad.sum()):,} pixels in the study area are negative or infinite; the first is "
            f"{values[int(np.argmax(bad))]:g}.",
            hint="If that stands for no data, say so in the file (gdal_edit -a_nodata).",
        )


def _some(exposure: Exposure, what: str) -> Exposure:
    if not (exposure.cells > 0).any():
        raise InputError(
            f"{what}: is 0 in every cell of the study area; {exposure.cleaning.read:,} rows were read.",
            hint="Check the layer's extent, its filter and its CRS.",
        )
    return exposure
