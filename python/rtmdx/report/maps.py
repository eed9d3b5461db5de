"""Maps as inline SVG: one image pixel block per cell, outlines and features as vectors.

The raster is a palette PNG with whole pixels per cell, so cells stay crisp at any size; the outline is
traced along cell edges. Nothing here draws text: labels, scale bars and legends are HTML, readable at
any width.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = ["COUNTS", "RISK", "Canvas", "ScaleBar", "class_breaks", "mix", "nice_scale", "palette_png", "ramp"]

# light to dark: their order is visible without colour, and in print
RISK = ("#f1ede3", "#f8d9a0", "#f3ad68", "#e2774f", "#bf4451", "#8a2457", "#4a1147")
COUNTS = ("#eef1f3", "#c3d9e6", "#8dbbd3", "#5496bb", "#2d6f9c", "#174c77", "#0b2d4d")
_IMAGE_SIDE = 1600  # pixels, along the longer side
_VECTOR_SIDE = 1000  # units of the drawing, along the longer side


def mix(a: str, b: str, t: float) -> str:
    """Return the colour at `t` between two hex colours."""
    x, y = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (a, b))
    return "#" + "".join(f"{round(p + (q - p) * t):02x}" for p, q in zip(x, y, strict=True))


def ramp(colors: Sequence[str], n: int) -> list[str]:
    """Return `n` colours along a ramp, its ends included."""
    out = []
    for i in range(n):
        t = i / (n - 1) * (len(colors) - 1) if n > 1 else len(colors) - 1
        k = min(int(t), len(colors) - 2)
        out.append(mix(colors[k], colors[k + 1], t - k))
    return out


def class_breaks(values: NDArray[np.float64], n_max: int = 7, n_exact: int = 10) -> tuple[NDArray[np.float64], bool]:
    """Choose class limits for scores of few levels or of a wide range.

    Returns
    -------
    lower : float array
        Lower limit of each class, ascending; the first is the smallest value.
    exact : bool
        Every class is one value (there are at most `n_exact` different ones).
    """
    levels = np.unique(values)
    if levels.size <= n_exact:
        return levels, True
    low, high = float(levels[0]), float(levels[-1])
    candidates: list[list[float]] = []
    if low > 0 and high / low > 4:
        start, stop = math.floor(math.log10(low)), math.ceil(math.log10(high))
        for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            candidates.append([m * 10.0**e for e in range(start, stop + 1) for m in steps])
        candidates.append([10.0**e for e in range(start, stop + 1, 2)])
    else:
        size = (high - low) / n_max
        for step in (m * 10.0**e for e in range(math.floor(math.log10(size)), 99) for m in (1, 2, 5)):
            if step >= size:
                first = math.floor(low / step) + 1
                candidates.append([step * k for k in range(first, math.ceil(high / step))])
                break
    for inner in candidates:
        limits = np.array([low, *(b for b in inner if low < b <= high)])
        filled = np.histogram(values, [*limits, np.inf])[0] > 0
        filled[0] = True
        limits = limits[filled]
        if limits.size <= n_max:
            return limits, False
    return np.linspace(low, high, n_max + 1)[:-1], False


def palette_png(index: NDArray[np.uint8], colors: Sequence[str | None], scale: int) -> bytes:
    """Encode palette indices, shape (rows, cols), as a PNG with `scale` x `scale` pixels per cell.

    A colour of None is transparent. The bytes depend on the arguments alone.
    """
    pixels = np.repeat(np.repeat(index, scale, axis=1), scale, axis=0)
    height, width = pixels.shape
    bits = 4 if len(colors) <= 16 else 8
    if bits == 4:
        padded = np.pad(pixels, ((0, 0), (0, width % 2)))
        pixels = ((padded[:, ::2] << 4) | padded[:, 1::2]).astype(np.uint8)
    raw = np.concatenate([np.zeros((height, 1), dtype=np.uint8), pixels], axis=1).tobytes()
    rgb = b"".join(bytes.fromhex((c or "#ffffff")[1:]) for c in colors)
    alpha = bytes(0 if c is None else 255 for c in colors)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", rgb)
        + chunk(b"tRNS", alpha)
        + chunk(b"IDAT", zlib.compress(raw, 9))
        + chunk(b"IEND", b"")
    )


@dataclass(frozen=True)
class ScaleBar:
    """A scale bar: its share of the map's width, and its label."""

    share: float
    label: str


def nice_scale(width: float, unit: str) -> ScaleBar:
    """Return the longest round length up to 30 % of a map `width` CRS units wide."""
    per = {"m": (1000.0, "km"), "ft": (5280.0, "mi")}.get(unit)
    target = 0.3 * width
    if per is not None and target >= per[0]:
        length = _round_down(target / per[0])
        return ScaleBar(length * per[0] / width, f"{length:g} {per[1]}")
    length = _round_down(target)
    return ScaleBar(length / width, f"{length:g} {unit}")


def _round_down(value: float) -> float:
    base = 10.0 ** math.floor(math.log10(value))
    return float(next(m for m in (5, 2, 1) if m * base <= value * (1 + 1e-9)) * base)


class Canvas:
    """What all maps of one grid share: size, outline, and the way from cells and features to SVG."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        rows, cols = grid.shape
        self.thin = max(1, math.ceil(max(rows, cols) / _IMAGE_SIDE))  # cells along a side of an image pixel block
        self.unit = _VECTOR_SIDE / max(rows, cols)  # drawing units per cell
        self.width, self.height = cols * self.unit, rows * self.unit

    @cached_property
    def scale_bar(self) -> ScaleBar:
        """Scale bar of the map's width, margins included."""
        west, _, east, _ = self.grid.bounds
        return nice_scale((east - west) * (self.width + 2 * self.margin) / self.width, self.grid.symbol)

    @property
    def margin(self) -> float:
        """White edge around the drawing, so that the outline's stroke is whole."""
        return 6.0

    @property
    def view_box(self) -> str:
        m = self.margin
        return f"{-m:g} {-m:g} {self.width + 2 * m:.1f} {self.height + 2 * m:.1f}"

    @property
    def aspect(self) -> float:
        """Width over height."""
        return (self.width + 2 * self.margin) / (self.height + 2 * self.margin)

    def classes(
        self, values: NDArray[np.float64], lower: NDArray[np.float64], *, peak: bool = False
    ) -> NDArray[np.uint8]:
        """Return the class of each cell as a raster; 0 is outside.

        On a grid too large to draw cell by cell, of blocks of cells: their mean, or with `peak` their maximum.
        """
        raster = self.grid.to_raster(values.astype(np.float64))
        if self.thin > 1:
            raster = _block(raster, self.thin, peak=peak)
        index = np.searchsorted(lower, raster * (1 + 1e-12), side="right")
        index = np.maximum(index, 1)
        return np.where(np.isnan(raster), 0, index).astype(np.uint8)

    def image(self, classes: NDArray[np.uint8], colors: Sequence[str], side: int = _IMAGE_SIDE) -> str:
        """Return an SVG image of class numbers (0 outside, 1 the first colour)."""
        rows, cols = classes.shape
        scale = max(1, side // max(rows, cols))
        png = palette_png(classes, [None, *colors], scale)
        data = base64.b64encode(png).decode()
        width, height = cols * self.thin * self.unit, rows * self.thin * self.unit
        return (
            f'<image width="{width:.2f}" height="{height:.2f}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{data}"/>'
        )

    @cached_property
    def outline(self) -> str:
        """SVG path data along the edges between kept and other cells."""
        mask = self.grid.mask
        thin = max(1, math.ceil(max(mask.shape) / 800))
        if thin > 1:
            mask = _block(np.where(mask, 1.0, 0.0), thin) >= 0.5
        unit = self.unit * thin
        padded = np.pad(mask, 1)
        parts = []
        for axis in (0, 1):
            edge = np.diff(padded.astype(np.int8), axis=axis) != 0
            edge = edge[:, 1:-1] if axis == 0 else edge[1:-1, :].T
            flat = np.pad(edge, ((0, 0), (1, 1))).astype(np.int8)
            line, start = np.nonzero(np.diff(flat, axis=1) == 1)
            stop = np.nonzero(np.diff(flat, axis=1) == -1)[1]
            letter = "h" if axis == 0 else "v"
            for at, a, b in zip(line, start, stop, strict=True):
                x, y = (a, at) if axis == 0 else (at, a)
                parts.append(f"M{x * unit:.4g} {y * unit:.4g}{letter}{(b - a) * unit:.4g}")
        return "".join(parts)

    def features(self, geometries: NDArray[np.object_]) -> dict[str, str]:
        """Return SVG path data of points, lines and polygons near the map, thinned to what can be seen."""
        import shapely

        west, south, east, north = self.grid.bounds
        step = (east - west) / self.width  # CRS units per drawing unit
        parts = shapely.get_parts(np.asarray(geometries, dtype=object))
        kind = shapely.get_dimensions(parts)
        out = {"points": "", "lines": "", "polygons": ""}
        xy = self.drawn(shapely.get_coordinates(parts[kind == 0]))
        inside = (xy >= 0).all(axis=1) & (xy[:, 0] <= self.width) & (xy[:, 1] <= self.height)
        seen = np.unique(np.round(xy[inside] / 2) * 2, axis=0).astype(int)  # dots closer than 2 units merge
        out["points"] = "".join(f"M{x} {y}h0" for x, y in seen.tolist())
        for dimension, name in ((1, "lines"), (2, "polygons")):
            shapes = parts[kind == dimension]
            if not shapes.size:
                continue
            near = shapely.intersects(shapes, shapely.box(west, south, east, north))
            shapes = shapely.clip_by_rect(shapely.simplify(shapes[near], step), west, south, east, north)
            out[name] = "".join(self._path(g) for g in shapely.get_parts(shapes) if not g.is_empty)
        return {name: path for name, path in out.items() if path}

    def _path(self, geometry: Any) -> str:
        import shapely

        if geometry.geom_type == "Polygon":
            return "".join(self._path(ring) + "z" for ring in shapely.get_rings(geometry))
        if geometry.geom_type not in ("LineString", "LinearRing"):
            return ""
        xy = self.drawn(shapely.get_coordinates(geometry)).round(1)
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in xy.tolist())

    def drawn(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return coordinates in the CRS, shape (n, 2), in units of the drawing."""
        west, _, _, north = self.grid.bounds
        scale = self.unit / self.grid.cell_size
        return np.column_stack([(xy[:, 0] - west) * scale, (north - xy[:, 1]) * scale])


def _block(raster: NDArray[np.float64], size: int, *, peak: bool = False) -> NDArray[np.float64]:
    """Return the mean (or maximum) over blocks of `size` x `size` cells, NaN where a block holds no kept cell."""
    rows, cols = raster.shape
    padded = np.pad(raster, ((0, -rows % size), (0, -cols % size)), constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // size, size, padded.shape[1] // size, size)
    kept = ~np.isnan(blocks)
    n = kept.sum(axis=(1, 3))
    if peak:
        top: NDArray[np.float64] = np.where(kept, blocks, -np.inf).max(axis=(1, 3))
        return np.where(n > 0, top, np.nan)
    total = np.where(kept, blocks, 0.0).sum(axis=(1, 3))
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
