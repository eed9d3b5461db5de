"""Residents: counts by group and block, segregated as cities are. No persons, only counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from rtmdx.demo.land import Land
from rtmdx.demo.streets import Town

__all__ = ["GROUPS", "People", "make_people"]

GROUPS = ("black", "white", "other")


@dataclass(frozen=True, eq=False)
class People:
    """Residents of each block.

    Attributes
    ----------
    groups : int64 array, shape (n_blocks, 3)
        In the order of `GROUPS`.
    decline : float array, shape (n_blocks,)
        0 to 1: how far a block's neighbourhood has lost residents.
    decline_sites : float array, shape (n, 2)
    """

    groups: NDArray[np.int64]
    decline: NDArray[np.float64]
    decline_sites: NDArray[np.float64]


def make_people(land: Land, town: Town, rng: np.random.Generator) -> People:
    """Settle the blocks."""
    centre = shapely.get_coordinates(shapely.centroid(town.blocks))
    hectares = shapely.area(town.blocks) / 10_000
    sites = _decline_sites(land, rng)
    decline = bumps(centre, sites, 330.0).clip(0, 1)
    from_core = np.hypot(*(centre - land.downtown).T)
    density = 22 + 75 * np.exp(-((from_core / 1900) ** 2))
    density *= 1 - 0.75 * np.exp(-((from_core / 380) ** 2))  # offices
    density *= 1 - 0.5 * decline
    density *= np.where(shapely.distance(town.blocks, land.motorway) < 60, 0.4, 1.0)
    density *= rng.gamma(4.0, 1 / 4.0, centre.shape[0])
    density *= rng.uniform(size=centre.shape[0]) > 0.06  # works, offices, empty lots
    total = rng.poisson(density * hectares)

    # a dividing line north of downtown, one enclave in the east, mixed blocks between
    x, y = centre[:, 0], centre[:, 1]
    enclave = np.array([[1500.0 + rng.uniform(-150, 150), -1150.0 + rng.uniform(-150, 150)]])
    slope = rng.uniform(-0.1, 0.1)
    lean = np.tanh((y - land.downtown[1] - 430 - slope * x) / 260) * np.where(x > land.bank(y), 0.45, 1.0)
    lean += 1.7 * bumps(centre, enclave, 480.0) + 1.1 * decline - 0.45 + rng.normal(0, 0.35, total.size)
    black = 1 / (1 + np.exp(-2.2 * lean))
    arrivals = np.array([[-1400.0, -1500.0], [600.0, -1700.0]]) + rng.uniform(-200, 200, (2, 2))
    other = 0.08 + 0.38 * bumps(centre, arrivals, 420.0).clip(0, 1)
    share = np.column_stack([(1 - other) * black, (1 - other) * (1 - black), other])
    share = rng.gamma(12.0 * share)
    share /= share.sum(axis=1, keepdims=True)
    return People(rng.multinomial(total, share).astype(np.int64), decline, sites)


def bumps(at: NDArray[np.float64], sites: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Sum of bell shapes of height 1 around `sites`, shape (n,)."""
    squared = ((at[:, None, :] - sites[None, :, :]) ** 2).sum(axis=2)
    out: NDArray[np.float64] = np.exp(-squared / (2 * spread**2)).sum(axis=1)
    return out


def _decline_sites(land: Land, rng: np.random.Generator) -> NDArray[np.float64]:
    """Neighbourhoods in decline: two in the north, one on the east bank, one in the south-west."""
    sites = np.array([[-1500.0, 1500.0], [-100.0, 1750.0], [1450.0, -1050.0], [-1500.0, -1450.0]])
    sites += rng.uniform(-180, 180, sites.shape)
    sites[1, 0] = min(sites[1, 0], float(land.bank(sites[1, 1])) - 450.0)
    return sites
