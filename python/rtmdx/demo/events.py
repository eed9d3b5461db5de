"""Events: drawn cell by cell from the planted risks, then set at building fronts and given dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from rtmdx.space.density import density_array
from rtmdx.space.distance import distance_array

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = [
    "FIT",
    "HOLDOUT",
    "PLANTED",
    "PlantedRisk",
    "draw_counts",
    "draw_dates",
    "indicator",
    "place_events",
]

FIT = (np.datetime64("2022-01-01"), np.datetime64("2023-12-31"))
HOLDOUT = (np.datetime64("2024-01-01"), np.datetime64("2024-12-31"))

_FIT_EVENTS = 6000.0  # expected in the two years of the fit
_OVERDISPERSION = 1.0  # s of NBII: variance mu (1 + s)


@dataclass(frozen=True, slots=True)
class PlantedRisk:
    """One risk the events were drawn from.

    Attributes
    ----------
    factor : str
    effect : {"aggravating", "protective"}
    operationalization : {"proximity", "density"}
    blocks : float
        Reach or bandwidth, in blocks.
    rrv : float
        Relative risk value: what the factor multiplies the expected count by; divides it by, where
        protective.
    """

    factor: str
    effect: Literal["aggravating", "protective"]
    operationalization: Literal["proximity", "density"]
    blocks: float
    rrv: float


PLANTED = (
    PlantedRisk("bars", "aggravating", "density", 2.0, 3.5),
    PlantedRisk("vacant_buildings", "aggravating", "density", 2.5, 2.6),
    PlantedRisk("convenience_stores", "aggravating", "proximity", 1.0, 2.2),
    PlantedRisk("bus_stops", "aggravating", "proximity", 0.5, 1.8),
    PlantedRisk("dark_streets", "aggravating", "proximity", 0.5, 1.7),
    PlantedRisk("community_centers", "protective", "proximity", 1.5, 2.0),
)


def indicator(risk: PlantedRisk, shapes: NDArray[np.object_], grid: Grid, block_length: float) -> NDArray[np.bool_]:
    """Return where the risk is present, shape (n_cells,): the 0/1 variable rtmdx computes."""
    reach = risk.blocks * block_length
    if risk.operationalization == "proximity":
        near: NDArray[np.bool_] = grid.to_cells(distance_array(shapes, grid)) <= reach
        return near
    density = grid.to_cells(density_array(shapes, grid, bandwidth=reach))
    dense: NDArray[np.bool_] = density >= density.mean() + 2 * density.std(ddof=1)
    return dense


def draw_counts(
    present: dict[PlantedRisk, NDArray[np.bool_]], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw each cell's events of the fit's two years and of the hold-out year.

    A cell's own rate is gamma distributed around the planted mean mu with variance s mu, so the two
    years are NBII(mu, s) exactly, and the third year continues the same rate: the terrain explains
    the mean, and the past tells more about each cell.
    """
    log_rate = np.zeros(next(iter(present.values())).size)
    for risk, here in present.items():
        log_rate += np.where(here, np.log(risk.rrv) * (1 if risk.effect == "aggravating" else -1), 0.0)
    mu = np.exp(log_rate)
    mu *= _FIT_EVENTS / mu.sum()
    rate = _OVERDISPERSION * rng.standard_gamma(mu / _OVERDISPERSION)
    return rng.poisson(rate), rng.poisson(rate / 2)


def place_events(
    cell: NDArray[np.intp], grid: Grid, area: Any, streets: NDArray[np.object_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Set one event in each cell named, at a building front where there is one; shape (n, 2).

    Every event is strictly inside its cell and inside the area, so counting gives the drawn counts.
    """
    rows, cols = (index[cell] for index in grid.rows_cols)
    size, margin = grid.cell_size, 0.02 * grid.cell_size
    west, north = grid.x_min + cols * size, grid.y_max - rows * size
    shapely.prepare(area)

    def inside(at: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        x, y = at.T
        off = np.maximum(np.abs(x - west - size / 2), np.abs(north - y - size / 2))
        held: NDArray[np.bool_] = (off < size / 2 - margin) & shapely.intersects_xy(area, x, y)
        return held

    at = np.column_stack([west + 0.5 * size, north - 0.5 * size])
    todo = np.ones(cell.size, dtype=bool)
    for _ in range(30):
        shift = rng.uniform(0.03, 0.97, (cell.size, 2)) * size
        trial = np.round(np.column_stack([west + shift[:, 0], north - shift[:, 1]]), 2)
        todo_here = todo & inside(trial)
        at[todo_here] = trial[todo_here]
        todo &= ~todo_here
    for i in np.flatnonzero(todo):  # the area's share of the cell is a splinter
        box = shapely.box(west[i], north[i] - size, west[i] + size, north[i])
        at[i] = shapely.get_coordinates(shapely.point_on_surface(shapely.intersection(area, box)))[0]

    tree = shapely.STRtree(streets)
    event, street = tree.query_nearest(shapely.points(at), all_matches=False)
    line = streets[street]
    along = shapely.line_locate_point(line, shapely.points(at[event]))
    foot = shapely.get_coordinates(shapely.line_interpolate_point(line, along))
    away = at[event] - foot
    far = np.hypot(*away.T)
    front = rng.uniform(7, 16, event.size)
    moved = at.copy()
    moved[event] = np.round(foot + away * (np.minimum(front, far) / np.maximum(far, 1e-9))[:, None], 2)
    ok = inside(moved) & ~todo
    at[ok] = moved[ok]
    return at


def draw_dates(n: int, span: tuple[np.datetime64, np.datetime64], rng: np.random.Generator) -> NDArray[np.datetime64]:
    """Draw times: more in summer, at weekends and in the evening; whole minutes."""
    days = np.arange(span[0], span[1] + 1)
    season = 1 + 0.15 * np.cos(2 * np.pi * ((days - days.astype("datetime64[Y]")).astype(int) - 200) / 365.25)
    weekday = (days.astype(int) + 3) % 7  # 0 is Monday
    weight = season * np.where(weekday >= 4, 1.15, 1.0)
    day = rng.choice(days, size=n, p=weight / weight.sum())
    hour = np.arange(24)
    by_hour = 1.0 + 0.7 * np.cos(2 * np.pi * (hour - 21) / 24) + 0.25 * np.cos(4 * np.pi * (hour - 0) / 24)
    minute = rng.choice(hour, size=n, p=by_hour / by_hour.sum()) * 60 + rng.integers(0, 60, n)
    when: NDArray[np.datetime64] = day.astype("datetime64[m]") + minute.astype("timedelta64[m]")
    return when
