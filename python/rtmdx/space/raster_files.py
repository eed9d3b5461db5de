"""Raster files: opened by rasterio, with what can go wrong said as an error of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rtmdx.errors import FileError, MissingDependencyError

if TYPE_CHECKING:
    import rasterio

__all__ = ["open_raster"]


@contextmanager
def open_raster(path: str | os.PathLike[str], named: str, kind: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster file that has a CRS, to read from within the block.

    Parameters
    ----------
    path : path
    named : str
        The file in messages: "friction costs.tif:".
    kind : str
        What is read: "a friction raster".

    Raises
    ------
    MissingDependencyError
        rasterio is not installed.
    FileError
        The file cannot be read, here or within the block, or has no CRS.
    """
    try:
        import rasterio
        from rasterio.errors import RasterioError
    except ImportError:
        raise MissingDependencyError(f"reading {kind} needs rasterio.", hint="pip install 'rtmdx[raster]'") from None
    try:
        with rasterio.open(path) as source:
            if source.crs is None:
                raise FileError(f"{named} names no CRS.", hint="Assign one, for example with gdal_edit.")
            yield source
    except FileError:  # an OSError too
        raise
    except (RasterioError, OSError) as error:
        raise FileError(f"{named} cannot be read as a raster: {error}.", hint="Check the path.") from None
