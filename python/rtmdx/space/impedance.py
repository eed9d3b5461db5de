"""What is in the way: barriers nobody crosses and the friction of the ground, for cost distance."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.arguments import frame_in
from rtmdx.space.cleaning import Cleaning, clean_shapes
from rtmdx.space.features import Features
from rtmdx.space.frame import Frame
from rtmdx.space.raster_files import open_raster
from rtmdx.space.selection import ALL_ROWS, Finding, Selection
from rtmdx.space.values import named, text

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.space.grid import Grid

__all__ = ["Barrier", "Impedance", "read_friction"]


@dataclass(frozen=True, eq=False)
class Barrier:
    """A layer of lines or polygons that no step may cross: a river, a motorway, a railway.

    Attributes
    ----------
    name : str
    geometries : object array of shapely geometries, shape (n,)
        In the study area's CRS. A gap in a line is a crossing.
    cleaning : Cleaning
    findings : tuple of Finding
    """

    name: str
    geometries: NDArray[np.object_]
    cleaning: Cleaning
    findings: tuple[Finding, ...] = ()

    @classmethod
    def from_frame(
        cls,
        frame: gpd.GeoDataFrame,
        grid: Grid,
        *,
        name: str,
        selection: Selection = ALL_ROWS,
        source: str = "memory",
        digest: str = "",
        total: int | None = None,
    ) -> Barrier:
        """Clean a layer of lines or polygons in any CRS.

        Raises
        ------
        InputError
            Unknown field, no usable feature left, or points among the features.
        """
        what = f"barrier {text(name, 'barrier: name')!r} ({source})"
        shapes, kind, cleaning, findings = clean_shapes(
            frame, grid, what=what, selection=selection, source=source, digest=digest, total=total
        )
        if kind not in ("lines", "polygons"):
            raise InputError(f"{what}: holds {kind}, expected lines or polygons; a point is in nobody's way.")
        return cls(name, shapes, cleaning, findings)


@dataclass(frozen=True, eq=False)
class Impedance:
    """Barriers and friction of a study: how far a place is for someone who has to get there.

    Attributes
    ----------
    barriers : tuple of Barrier
    friction : path or None
        Raster file of the cost of one unit of length, positive; no data is impassable. 1 everywhere by default.
    friction_digest : str
        SHA-256 of the friction file.
    connectivity : {8, 16}
        Neighbours a step may lead to.
    """

    barriers: tuple[Barrier, ...] = ()
    friction: Path | None = None
    friction_digest: str = ""
    connectivity: Literal[8, 16] = 16

    @cached_property
    def barrier_features(self) -> Features | None:
        """All barriers as one set of features."""
        if not self.barriers:
            return None
        return Features.from_geometries(np.concatenate([b.geometries for b in self.barriers]))

    def friction_on(self, frame: Frame) -> NDArray[np.float64] | None:
        """Friction at the frame's cell centres, NaN where there is none; None for 1 everywhere."""
        return None if self.friction is None else read_friction(self.friction, frame)


def read_friction(path: Path, frame: Frame) -> NDArray[np.float64]:
    """Read a friction raster at the frame's cell centres: the value of the pixel that holds the centre.

    Returns
    -------
    float64 array, shape (rows, cols)
        NaN (impassable) where the raster has no data or does not reach.

    Raises
    ------
    MissingDependencyError
        rasterio is not installed.
    FileError
        The file cannot be read, or has no CRS.
    InputError
        A friction of 0 or less, or no cell of the frame has one.
    """
    rows, cols = frame_in(frame).shape
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"friction: found {named(path)}, expected the path of a raster file.")
    with open_raster(path, f"friction {path}:", "a friction raster") as source:
        from rasterio.enums import Resampling
        from rasterio.vrt import WarpedVRT

        with WarpedVRT(
            source,
            crs=frame.crs.to_wkt(),
            transform=frame.transform,
            width=cols,
            height=rows,
            resampling=Resampling.nearest,
        ) as warped:
            band = warped.read(1, masked=True)
            place = warped.dataset_mask() != 0
    values: NDArray[np.float64] = np.where(place, np.ma.filled(band.astype(np.float64), np.nan), np.nan)
    bad = values <= 0
    if bad.any():
        r, c = (int(i[0]) for i in np.nonzero(bad))
        raise InputError(
            f"friction {path}: {int(bad.sum())} cells have a friction of 0 or less; the first, {values[r, c]:g}, at "
            f"({frame.x[c]:g}, {frame.y[r]:g}).",
            hint="Friction is the cost of one unit of length: positive, or no data where nobody passes.",
        )
    if not np.isfinite(values).any():
        raise InputError(f"friction {path}: has no value on the study's grid.", hint="Check its extent and CRS.")
    return values
