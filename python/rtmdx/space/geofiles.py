"""Files that GIS reads: cloud-optimised GeoTIFF and GeoPackage, whole or absent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import MissingDependencyError
from rtmdx.space.frame import Frame
from rtmdx.space.grid import Grid
from rtmdx.space.staging import replacing

__all__ = ["cell_squares", "write_cog", "write_layers"]


def cell_squares(grid: Grid) -> Any:
    """Return a square polygon per kept cell, in a GeoSeries."""
    import geopandas as gpd
    import shapely

    rows, cols = grid.rows_cols
    size = grid.cell_size
    west, north = grid.x_min + cols * size, grid.y_max - rows * size
    return gpd.GeoSeries(shapely.box(west, north - size, west + size, north), crs=grid.crs)


def write_cog(
    path: str | os.PathLike[str],
    frame: Frame,
    raster: NDArray[np.floating[Any]],
    *,
    title: str,
    description: str,
    units: str,
    provenance: str,
    overwrite: bool = False,
) -> None:
    """Write a raster as a cloud-optimised GeoTIFF: its own float type, NaN outside, tiles of 512, averaged overviews.

    Parameters
    ----------
    path : path
    frame : Frame
    raster : float32 or float64 array, shape (rows, cols)
    title, description, units : str
        Of the image, of its band, of its values.
    provenance : str
        JSON, for the tag ``RTMDX``.
    overwrite : bool

    Raises
    ------
    MissingDependencyError
        rasterio is not installed.
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    try:
        import rasterio
        from rasterio.crs import CRS
        from rasterio.errors import RasterioError
    except ImportError:
        raise MissingDependencyError(
            "GeoTIFF output needs rasterio.", hint="Install it with: pip install 'rtmdx[raster]'"
        ) from None
    rows, cols = raster.shape
    profile = {
        "driver": "COG",
        "dtype": str(raster.dtype),
        "count": 1,
        "height": rows,
        "width": cols,
        "crs": CRS.from_wkt(frame.crs.to_wkt(version="WKT2_2019")),
        "transform": frame.transform,
        "nodata": np.nan,
        "compress": "DEFLATE",
        "predictor": "YES",
        "blocksize": 512,
        "overview_resampling": "AVERAGE",
        "num_threads": 1,
    }
    tags = {"TIFFTAG_IMAGEDESCRIPTION": f"{title}: {description}", "RTMDX": provenance}
    with replacing(path, "GeoTIFF", overwrite=overwrite) as new:
        try:
            with rasterio.open(new, "w", **profile) as out:
                out.write(raster, 1)
                out.set_band_description(1, description)
                out.units = [units]
                out.update_tags(**tags)
        except RasterioError as error:
            raise OSError(str(error)) from error


def write_layers(
    path: str | os.PathLike[str], layers: Mapping[str, Any], *, title: str, overwrite: bool = False
) -> None:
    """Write tables, those with a geometry as polygons, as the layers of a GeoPackage.

    Parameters
    ----------
    path : path
    layers : mapping of str to DataFrame or GeoDataFrame
    title : str
        For the layers' descriptions.
    overwrite : bool

    Raises
    ------
    OutputError
        `path` exists (and not `overwrite`), or cannot be written.
    """
    import geopandas as gpd
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    with replacing(path, "GeoPackage", overwrite=overwrite) as new:
        # GDAL takes the format from the name of the file
        whole = new if new.suffix.lower() == ".gpkg" else new.with_name(f"{new.name}.gpkg")
        try:
            for name, frame in layers.items():
                pyogrio.write_dataframe(
                    frame,
                    whole,
                    layer=name,
                    driver="GPKG",
                    append=whole.exists(),
                    geometry_type=_type_of(frame) if isinstance(frame, gpd.GeoDataFrame) else None,
                    promote_to_multi=isinstance(frame, gpd.GeoDataFrame) and _type_of(frame) == "MultiPolygon",
                    layer_metadata={"description": f"{title}: {name}"},
                )
        except (DataSourceError, DataLayerError) as error:
            raise OSError(str(error)) from error
        if whole != new:
            whole.rename(new)


def _type_of(frame: Any) -> str:
    """One type for a layer: multipolygons where there is one."""
    return "MultiPolygon" if (frame.geometry.geom_type == "MultiPolygon").any() else "Polygon"
