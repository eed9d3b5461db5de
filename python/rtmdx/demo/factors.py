"""Risk factors: where bars, vacant buildings, bus stops and the rest stand.

Every factor draws from a generator of its own, so a change in one leaves the others as they were.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rtmdx.demo.land import Land
from rtmdx.demo.population import People, bumps
from rtmdx.demo.streets import Town

__all__ = ["FACTORS", "make_factors"]

Points = NDArray[np.float64]

FACTORS = (
    "bars",
    "vacant_buildings",
    "convenience_stores",
    "bus_stops",
    "dark_streets",
    "community_centers",
    "liquor_stores",
    "schools",
    "parks",
    "parking_lots",
    "motorway",
)


def make_factors(
    land: Land, town: Town, people: People, rngs: dict[str, np.random.Generator]
) -> dict[str, NDArray[np.object_]]:
    """Place the features of every factor; metres from the centre."""
    sites = _Sites(land, town)
    placed: dict[str, Any] = {
        "bars": _bars(sites, rngs["bars"]),
        "vacant_buildings": _vacant(sites, people, rngs["vacant_buildings"]),
        "convenience_stores": _convenience(sites, rngs["convenience_stores"]),
        "bus_stops": _bus_stops(sites, rngs["bus_stops"]),
        "dark_streets": _dark_streets(town, rngs["dark_streets"]),
        "community_centers": _spread(sites, rngs["community_centers"], 30, 560.0, people),
        "liquor_stores": _liquor(sites, rngs["liquor_stores"]),
        "schools": _spread(sites, rngs["schools"], 32, 480.0, people),
        "parks": town.parks,
        "parking_lots": _parking(sites, rngs["parking_lots"]),
        "motorway": shapely.get_parts(land.motorway),
    }
    return {name: _as_shapes(placed[name]) for name in FACTORS}


class _Sites:
    """Where things can stand: along streets, and inside blocks."""

    def __init__(self, land: Land, town: Town) -> None:
        self.land = land
        self.town = town
        self.middle = _middles(town.streets)
        self.length = shapely.length(town.streets)
        self.main = np.isin(town.kind, ["arterial", "avenue"])
        self.local = np.isin(town.kind, ["street", "cul-de-sac"])
        shapely.prepare(land.area)

    def along(self, rng: np.random.Generator, weight: NDArray[np.floating[Any]], n: int) -> Points:
        """Draw `n` building fronts, streets weighted by `weight` per metre."""
        share = weight * self.length * (self.town.kind != "bridge")
        out = np.empty((0, 2))
        while len(out) < n:
            at = self.fronts(rng, rng.choice(share.size, size=2 * n, p=share / share.sum()))
            out = np.concatenate([out, at[shapely.intersects_xy(self.land.area, *at.T)]])
        return out[:n]

    def fronts(self, rng: np.random.Generator, street: NDArray[np.intp]) -> Points:
        """Return one place at the kerb of each street named, on either side."""
        line, length = self.town.streets[street], self.length[street]
        where = rng.uniform(0.05, 0.9, street.size) * length
        a = shapely.get_coordinates(shapely.line_interpolate_point(line, where))
        b = shapely.get_coordinates(shapely.line_interpolate_point(line, where + 0.05 * length))
        normal = np.column_stack([-(b - a)[:, 1], (b - a)[:, 0]]) / np.hypot(*(b - a).T)[:, None]
        side = rng.choice([-1.0, 1.0], street.size) * rng.uniform(8, 15, street.size)
        out: Points = a + side[:, None] * normal
        return out


def _middles(lines: NDArray[np.object_]) -> Points:
    at: Points = shapely.get_coordinates(shapely.line_interpolate_point(lines, 0.5, normalized=True))
    return at


def _thin(at: Points, gap: float, n: int) -> Points:
    """Keep the first `n` places that stand at least `gap` from those kept before."""
    kept: list[int] = []
    for i in range(len(at)):
        if not kept or np.hypot(*(at[kept] - at[i]).T).min() >= gap:
            kept.append(i)
        if len(kept) == n:
            break
    return at[kept]


def _bars(sites: _Sites, rng: np.random.Generator) -> Points:
    """Bars: an entertainment quarter downtown, and a few strips along main streets."""
    strips = _thin(sites.along(rng, sites.main.astype(float), 60), 900.0, 6)
    core = np.exp(-((np.hypot(*(sites.middle - sites.land.downtown).T) / 330) ** 2))
    strip = sites.main * bumps(sites.middle, strips, 130.0)
    return np.concatenate(
        [
            sites.along(rng, core, 42),
            sites.along(rng, strip, 62),
            sites.along(rng, sites.main + 0.05, 16),
        ]
    )


def _vacant(sites: _Sites, people: People, rng: np.random.Generator) -> Points:
    """Vacant buildings: most in the neighbourhoods in decline, some anywhere."""
    weight = sites.local * (bumps(sites.middle, people.decline_sites, 210.0) + 0.012)
    return sites.along(rng, weight, 520)


def _convenience(sites: _Sites, rng: np.random.Generator) -> Points:
    """Convenience stores: main streets and corners, rarely close together."""
    return _thin(sites.along(rng, sites.main + 0.10, 800), 230.0, 85)


def _bus_stops(sites: _Sites, rng: np.random.Generator) -> Points:
    """Bus stops: every two to three blocks along main and riverside streets."""
    land = sites.land
    stops = []
    for route in [*land.arterials, land.avenue, *land.drives]:
        where = np.arange(rng.uniform(0, 280), shapely.length(route), 280.0)
        where += rng.uniform(-30, 30, where.size)
        stops.append(shapely.get_coordinates(shapely.line_interpolate_point(route, where)))
    at = np.concatenate(stops)
    at += rng.choice([-1.0, 1.0], at.shape) * rng.uniform(5, 8, at.shape)
    return _thin(at[shapely.intersects_xy(land.area, *at.T)], 170.0, len(at))


def _liquor(sites: _Sites, rng: np.random.Generator) -> Points:
    """Liquor stores: their own clusters along main streets, and single ones."""
    centres = _thin(sites.along(rng, sites.main.astype(float), 80), 800.0, 7)
    strip = sites.main * bumps(sites.middle, centres, 150.0)
    return np.concatenate([sites.along(rng, strip, 32), sites.along(rng, sites.main + 0.15, 33)])


def _spread(sites: _Sites, rng: np.random.Generator, n: int, gap: float, people: People) -> Points:
    """Schools and centers: where residents are, well apart."""
    residents = people.groups.sum(axis=1).astype(float)
    order = rng.choice(residents.size, size=residents.size // 2, replace=False, p=residents / residents.sum())
    at = shapely.get_coordinates(shapely.point_on_surface(sites.town.blocks[order]))
    return _thin(at, gap, n)


def _dark_streets(town: Town, rng: np.random.Generator) -> NDArray[np.object_]:
    """Poorly lit streets: short runs of neighbouring local streets."""
    local = np.flatnonzero(town.kind == "street")
    middle = _middles(town.streets[local])
    seeds = _thin(middle[rng.permutation(local.size)], 380.0, 48)
    dark = np.zeros(local.size, dtype=bool)
    for seed in seeds:
        turn, reach = rng.uniform(0, np.pi), rng.uniform(90, 210)
        d = middle - seed
        ahead = d[:, 0] * np.cos(turn) + d[:, 1] * np.sin(turn)
        aside = d[:, 1] * np.cos(turn) - d[:, 0] * np.sin(turn)
        dark |= (np.abs(ahead) < reach) & (np.abs(aside) < 38)
    return town.streets[local[dark]]


def _parking(sites: _Sites, rng: np.random.Generator) -> NDArray[np.object_]:
    """Surface parking lots: parts of blocks downtown, along main streets and by the motorway."""
    blocks = sites.town.blocks
    centre = shapely.get_coordinates(shapely.centroid(blocks))
    weight = 1.5 * np.exp(-((np.hypot(*(centre - sites.land.downtown).T) / 650) ** 2))
    main = shapely.union_all(sites.town.streets[sites.main])
    weight += 0.5 * (shapely.distance(blocks, main) < 25)
    weight += 0.6 * (shapely.distance(blocks, sites.land.motorway) < 40) + 0.03
    order = rng.choice(blocks.size, size=75, replace=False, p=weight / weight.sum())
    lots = []
    for block in blocks[order]:
        corner = shapely.get_coordinates(shapely.minimum_rotated_rectangle(block))
        a, b = corner[1] - corner[0], corner[3] - corner[0]
        wide, deep = rng.uniform(0.3, 0.55), rng.uniform(0.5, 0.95)
        start = corner[0] + rng.choice([0.04, 0.96 - wide]) * a + 0.04 * b
        lot = shapely.polygons([start, start + wide * a, start + wide * a + deep * b, start + deep * b])
        lot = shapely.intersection(lot, shapely.buffer(block, -3.0, join_style="mitre"))
        parts = shapely.get_parts(lot)
        parts = parts[shapely.get_type_id(parts) == 3]
        if parts.size and shapely.area(parts).max() > 300:
            lots.append(parts[np.argmax(shapely.area(parts))])
    return np.array(lots, dtype=object)


def _as_shapes(placed: Any) -> NDArray[np.object_]:
    placed = np.asarray(placed)
    shapes: NDArray[np.object_] = placed if placed.dtype == object else shapely.points(np.round(placed, 1))
    return shapes
