"""Reading layers: whatever GDAL reads, GeoParquet, and CSV with coordinate columns."""

from __future__ import annotations

import glob
import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdx.errors import CRSError, FileError, InputError, MissingDependencyError
from rtmdx.space.values import named, text

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["apply_filter", "file_digest", "read_layer"]


def read_layer(
    path: str | os.PathLike[str],
    *,
    what: str,
    layer: str | None = None,
    crs: str | None = None,
    x: str | None = None,
    y: str | None = None,
    where: str | None = None,
) -> tuple[gpd.GeoDataFrame, int]:
    """Read one layer.

    Parameters
    ----------
    path : path
        GeoPackage, Shapefile, GeoJSON or any other format of GDAL; ``.parquet`` as GeoParquet;
        ``.csv``, ``.csv.gz`` and ``.txt`` as a table with columns `x` and `y`.
    what : str
        What the layer is for, to begin messages with.
    layer : str, optional
        Needed when the file holds several.
    crs : str, optional
        CRS of the coordinates where the file names none. A different one in the file is an error.
    x, y : str, optional
        Coordinate columns of a CSV.
    where : str, optional
        OGR SQL filter, for files read through GDAL.

    Returns
    -------
    frame : GeoDataFrame
        With a CRS; rows may have missing geometry.
    total : int
        Rows in the layer before `where`.

    Raises
    ------
    FileError, InputError, CRSError, MissingDependencyError
        One line that names the file, the value found and the fix.
    """
    text(what, "what")
    if not isinstance(path, (str, os.PathLike)) or "\0" in str(path):
        raise InputError(f"{what}: found {named(path)}, expected a path.")
    path = Path(path)
    if not path.exists():
        raise FileError(f"{what}: {path} does not exist.", hint="Check the path and the data folder.")
    if path.is_file() and not os.access(path, os.R_OK):
        raise FileError(f"{what}: {path} cannot be read (permission denied).")
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz", ".txt", ".txt.gz")):
        _refuse(what, path, where=where, layer=layer)
        frame = _read_csv(path, what, x, y, crs)
        total = len(frame)
    else:
        if x is not None:
            raise InputError(f"{what}: {path.name} has geometries; x and y are for CSV files only.")
        if name.endswith((".parquet", ".geoparquet")):
            _refuse(what, path, where=where, layer=layer)
            frame = _read_parquet(path, what)
            total = len(frame)
        else:
            frame, total = _read_ogr(path, what, layer, where)
    return _with_crs(frame, crs, f"{what}: {path.name}{f', layer {layer}' if layer else ''}"), total


def apply_filter(frame: gpd.GeoDataFrame, filters: Mapping[str, Any], what: str) -> gpd.GeoDataFrame:
    """Keep the rows that match every entry of `filters` (a value, or a list of allowed values).

    Raises
    ------
    InputError
        A field does not exist, or its type cannot hold the value.
    """
    for field, wanted in filters.items():
        require_field(frame, field, what)
        values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        column = frame[field]
        numeric = column.dtype.kind in "iufb"
        for value in values:
            if numeric == isinstance(value, str):
                kind = "numbers" if numeric else "text"
                raise InputError(
                    f"{what}: filter {field} = {value!r}, but the field holds {kind} (for example "
                    f"{column.dropna().iloc[0] if column.notna().any() else 'nothing'!r}).",
                    hint="Write numbers without quotes and text with quotes.",
                )
        frame = frame[column.isin(values)]
    return frame


def require_field(frame: gpd.GeoDataFrame, field: str, what: str) -> None:
    """Raise an InputError that lists the fields there are when `field` is not one of them."""
    if field not in frame.columns:
        fields = [str(c) for c in frame.columns if c != frame.geometry.name]
        raise InputError(f"{what}: no field {field!r}; the fields are {_listing(fields)}.", hint="Mend the name.")


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a layer's bytes, hexadecimal: of a folder's files, and of a shapefile's or GeoPackage's companions."""
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    elif path.suffix.lower() == ".shp":  # attributes are in the .dbf, the CRS in the .prj
        files = sorted(p for p in path.parent.glob(f"{glob.escape(path.stem)}.*") if p.is_file())
    else:
        files = [path, *(p for p in [path.with_name(f"{path.name}-wal")] if p.exists())]
    h = hashlib.sha256()
    for file in files:
        with file.open("rb") as f:
            while chunk := f.read(1 << 20):
                h.update(chunk)
    return h.hexdigest()


def _read_ogr(path: Path, what: str, layer: str | None, where: str | None) -> tuple[gpd.GeoDataFrame, int]:
    import geopandas as gpd
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        layers = [str(row[0]) for row in pyogrio.list_layers(path)]
    except DataSourceError as error:
        raise FileError(f"{what}: {path} is no vector file GDAL can read ({_first_line(error)}).") from None
    if layer is None and len(layers) > 1:
        raise InputError(
            f"{what}: {path.name} holds {len(layers)} layers: {_listing(layers)}.", hint="Name one with layer = ..."
        )
    if layer is not None and layer not in layers:  # SQL names do not mind case
        layer = next((name for name in layers if name.lower() == layer.lower()), layer)
    if layer is not None and layer not in layers:
        raise InputError(
            f"{what}: {path.name} has no layer {layer!r}; the layers are {_listing(layers)}.", hint="Mend the name."
        )
    try:
        total = int(pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"])
        # as text, so that a time stamp keeps its own offset and with it its local day
        frame = gpd.read_file(path, layer=layer, where=where, engine="pyogrio", datetime_as_string=True)
    except (DataSourceError, DataLayerError, ValueError) as error:
        hint = "Check the filter's field names and quotes." if where else None
        detail = f" with where = {where!r}" if where else ""
        raise FileError(f"{what}: {path.name} cannot be read{detail} ({_first_line(error)}).", hint=hint) from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"{what}: {path.name}, layer {layer or layers[0]}, is a table without geometry.")
    return frame, total


def _read_parquet(path: Path, what: str) -> gpd.GeoDataFrame:
    import geopandas as gpd

    try:
        return gpd.read_parquet(path)
    except ImportError:
        raise MissingDependencyError(
            f"{what}: {path.name} is GeoParquet, which needs pyarrow.", hint="pip install 'rtmdx[parquet]'"
        ) from None
    except (OSError, ValueError) as error:
        raise FileError(f"{what}: {path} is no GeoParquet file ({_first_line(error)}).") from None


def _read_csv(path: Path, what: str, x: str | None, y: str | None, crs: str | None) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pandas as pd

    try:
        table = pd.read_csv(path, low_memory=False)
    except (OSError, EOFError, zlib.error, ValueError) as error:  # pandas' own are ValueErrors
        hint = "Save it as UTF-8." if isinstance(error, UnicodeError) else None
        raise FileError(f"{what}: {path} cannot be read as CSV ({_first_line(error)}).", hint=hint) from None
    if x is None or y is None:
        raise InputError(
            f"{what}: {path.name} is a CSV and needs coordinate columns; it has {_listing(table.columns)}.",
            hint='Name them with x = "..." and y = "...".',
        )
    if crs is None:
        raise CRSError(f"{what}: {path.name} is a CSV and needs a CRS.", hint='Name it with crs = "EPSG:...".')
    coordinates = []
    for column in (x, y):
        if column not in table.columns:
            raise InputError(
                f"{what}: {path.name} has no column {column!r}; the columns are {_listing(table.columns)}.",
                hint="Mend the name.",
            )
        numbers = pd.to_numeric(table[column], errors="coerce")
        bad = numbers.isna() & table[column].notna()
        bad &= ~table[column].astype(str).str.strip().str.lower().isin(["", "nan", "na", "null"])
        if bad.any():
            i = int(bad.to_numpy().argmax())
            raise InputError(
                f"{what}: {path.name}, row {i + 1}, column {column}: found {table[column].iloc[i]!r}, "
                "expected a number."
            )
        coordinates.append(numbers.to_numpy(dtype="float64"))
    points = gpd.points_from_xy(*coordinates)
    frame = gpd.GeoDataFrame(table, geometry=points)
    missing = [bool(a != a or b != b) for a, b in zip(*coordinates, strict=True)]
    if any(missing):
        frame.loc[missing, "geometry"] = None
    return frame


def _with_crs(frame: gpd.GeoDataFrame, crs: str | None, what: str) -> gpd.GeoDataFrame:
    import pyproj
    from pyproj.exceptions import CRSError as ProjError

    given = None
    if crs is not None:
        try:
            given = pyproj.CRS.from_user_input(crs)
        except ProjError:
            raise CRSError(f"{what}: crs {crs!r} is not known.", hint='Use a code such as "EPSG:26915".') from None
    if frame.crs is None:
        if given is None:
            raise CRSError(f"{what}: has no coordinate reference system.", hint='Name it with crs = "EPSG:...".')
        return frame.set_crs(given)
    if given is not None and not frame.crs.equals(given, ignore_axis_order=True):
        raise CRSError(
            f"{what}: the file says {frame.crs.to_string()}, the study says {crs}.",
            hint="Remove crs from the study, or mend the file.",
        )
    return frame


def _refuse(what: str, path: Path, **given: str | None) -> None:
    for key, value in given.items():
        if value is not None:
            hint = "Use filter = { field = value } instead." if key == "where" else "Remove it."
            raise InputError(f"{what}: {key} = {value!r} does not apply to {path.name}.", hint=hint)


def _listing(names: Sequence[Any], most: int = 12) -> str:
    shown = ", ".join(str(n) for n in list(names)[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "") if len(names) else "none"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
