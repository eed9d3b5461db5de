"""The lie of the land: city limits, the river, the motorway and the main streets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["ORIGIN", "Land", "make_land"]

ORIGIN = (500_000.0, 1_000_000.0)
"""Centre of the city in EPSG:32615: open sea, for the place is invented."""

_REACH = 3600.0  # lines are drawn this far from the centre, then clipped to the city limits


@dataclass(frozen=True, eq=False)
class Land:
    """The frame every other part of the city is laid into; metres from the centre.

    Attributes
    ----------
    limits : Polygon
        City limits, the river included.
    river : Polygon
    area : MultiPolygon
        The study area: the limits without the river.
    drives, arterials : lists of LineString
        Streets along the banks; cross-town and north-south main streets.
    avenue, motorway : LineString
        The diagonal avenue, and the motorway.
    downtown, park_site : float arrays, shape (2,)
        Centre of downtown; centre of the large park.
    bank : callable
        ``bank(y)`` is the x of the river's middle.
    """

    limits: Any
    river: Any
    area: Any
    drives: tuple[Any, ...]
    arterials: tuple[Any, ...]
    avenue: Any
    motorway: Any
    downtown: NDArray[np.float64]
    park_site: NDArray[np.float64]
    bank: Any


def make_land(rng: np.random.Generator) -> Land:
    """Draw the city's frame."""
    limits = _limits(rng)
    y = np.linspace(-_REACH, _REACH, 241)
    bank = _meander(rng)
    x = bank(y)
    half = 58 + 10 * np.sin(2 * np.pi * y / 2300 + rng.uniform(0, 2 * np.pi))
    left, right = _offset(x, y, -half), _offset(x, y, half)
    river = shapely.polygons(np.round(np.concatenate([left, right[::-1]]), 1))
    river = shapely.intersection(river, limits, grid_size=0.1)
    drives = tuple(shapely.linestrings(_offset(x, y, side * (half + 38))) for side in (-1, 1))

    down_y = rng.uniform(-150, 150)
    downtown = np.array([bank(down_y) - 520.0, down_y])
    tilt = rng.uniform(-0.04, 0.04)
    across = [_wavy(rng, level + rng.uniform(-60, 60), 55, tilt) for level in (-1650, -560, 480, 1500)]
    levels = (-2050, -1080, 2050)
    along = [_wavy(rng, level + rng.uniform(-70, 70), 45, -tilt, upright=True) for level in levels]
    corner = np.array([-3300.0, 2350.0 + rng.uniform(-150, 150)])
    avenue = shapely.linestrings([downtown, downtown + 0.45 * (corner - downtown) + [40, -60], corner])

    bend = np.array(
        [
            [-_REACH, -1150.0],
            [-1700.0, -1020.0 + rng.uniform(-60, 60)],
            [-300.0, -1120.0 + rng.uniform(-60, 60)],
            [900.0, -980.0 + rng.uniform(-60, 60)],
            [1700.0, -250.0 + rng.uniform(-80, 80)],
            [2500.0, 700.0],
            [_REACH, 1050.0],
        ]
    )
    motorway = shapely.intersection(_smooth(bend), limits)
    park_site = np.array([-480.0, 1010.0]) + rng.uniform(-50, 50, 2)
    area = shapely.difference(limits, river, grid_size=0.1)
    return Land(
        limits,
        river,
        area,
        drives,
        (*across, *along),
        avenue,
        motorway,
        downtown,
        park_site,
        bank,
    )


def _limits(rng: np.random.Generator) -> Any:
    """Draw city limits: long straight runs, with square jogs where land was annexed."""
    n = 20
    angle = 2 * np.pi * (np.arange(n) + rng.uniform(-0.2, 0.2, n)) / n
    c, s = np.cos(angle), np.sin(angle)
    radius = (np.abs(c / 2950) ** 2.7 + np.abs(s / 2450) ** 2.7) ** (-1 / 2.7)
    radius *= 1 + 0.05 * np.sin(2 * angle + rng.uniform(0, 6.3)) + rng.uniform(-0.05, 0.04, n)
    x, y = np.clip(radius * c, -3050, 3050), np.clip(radius * s, -2550, 2550)
    ring = []
    stepped = rng.uniform(size=n) < 0.6
    for i in range(n):
        j = (i + 1) % n
        ring.append((x[i], y[i]))
        # a jog goes by its inner corner: the ring cannot cross itself
        if stepped[i] and abs(np.sin(angle[i] + angle[j])) > 0.5:
            ring.append((x[i], y[j]) if x[i] ** 2 + y[j] ** 2 < x[j] ** 2 + y[i] ** 2 else (x[j], y[i]))
    limits = shapely.set_precision(shapely.make_valid(shapely.polygons(np.round(_blunt(ring)))), 1.0)
    parts = shapely.get_parts(limits)
    return parts[np.argmax(shapely.area(parts))]


def _blunt(ring: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Drop the corners of a ring that are sharper than 65 degrees."""
    at = np.array(ring)
    while True:
        back, ahead = np.roll(at, 1, axis=0) - at, np.roll(at, -1, axis=0) - at
        cosine = (back * ahead).sum(axis=1) / np.maximum(np.hypot(*back.T) * np.hypot(*ahead.T), 1e-9)
        if cosine.max() < np.cos(np.radians(65)):
            return at
        at = np.delete(at, np.argmax(cosine), axis=0)


def _meander(rng: np.random.Generator) -> Any:
    middle, phase1, phase2 = rng.uniform(500, 700), rng.uniform(-0.6, 0.6), rng.uniform(0, 2 * np.pi)
    wide, long = rng.uniform(300, 380), rng.uniform(3200, 3700)

    def bank(y: Any) -> Any:
        bends = wide * np.sin(2 * np.pi * y / long + phase1)
        return middle + bends + 75 * np.sin(2 * np.pi * y / 1500 + phase2)

    return bank


def _offset(x: NDArray[np.float64], y: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift a south-to-north curve sideways (east is positive)."""
    dx, dy = np.gradient(x), np.gradient(y)
    length = np.hypot(dx, dy)
    return np.column_stack([x + by * dy / length, y - by * dx / length])


def _wavy(rng: np.random.Generator, level: float, sway: float, tilt: float, *, upright: bool = False) -> Any:
    """Draw a main street that sways a little."""
    t = np.linspace(-_REACH, _REACH, 73)
    v = level + tilt * t + sway * np.sin(2 * np.pi * t / rng.uniform(3600, 5200) + rng.uniform(0, 2 * np.pi))
    return shapely.linestrings(np.column_stack([v, t] if upright else [t, v]))


def _smooth(corners: NDArray[np.float64]) -> Any:
    """Round a polyline by cutting its corners (Chaikin)."""
    for _ in range(4):
        a, b = corners[:-1], corners[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 2)
        corners = np.concatenate([corners[:1], cut, corners[-1:]])
    return shapely.linestrings(corners)
