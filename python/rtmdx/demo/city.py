"""The synthetic city: one call that draws it, and the study that goes with it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rtmdx.demo.events import (
    FIT,
    HOLDOUT,
    PLANTED,
    PlantedRisk,
    draw_counts,
    draw_dates,
    indicator,
    place_events,
)
from rtmdx.demo.factors import FACTORS, make_factors
from rtmdx.demo.land import ORIGIN, make_land
from rtmdx.demo.population import GROUPS, make_people
from rtmdx.demo.streets import make_town
from rtmdx.demo.writing import study_text, write_layers
from rtmdx.errors import InputError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["City", "make_city"]

_CRS = "EPSG:32615"
_BLOCK = 120.0
_SUBJECTS = ("land", "streets", "people", "counts", "places", "dates", *FACTORS)


@dataclass(frozen=True, eq=False)
class City:
    """An invented city with planted risks. No place, person or event in it is real.

    Attributes
    ----------
    seed : int
    crs : str
        A metric CRS; the place is open sea.
    block_length, cell_size : float
        Metres.
    area : GeoDataFrame
        The study area: the city limits without the river.
    layers : dict of str to GeoDataFrame
        Every factor by its name, and "streets", "blocks" (residents by group), "river".
    events : GeoDataFrame
        ``date`` and point geometry: two years to fit, a third as hold-out.
    planted : tuple of PlantedRisk
        What the events were drawn from.
    unplanted : tuple of str
        Factors that play no part in the events.
    """

    seed: int
    crs: str
    block_length: float
    cell_size: float
    area: gpd.GeoDataFrame
    layers: dict[str, gpd.GeoDataFrame]
    events: gpd.GeoDataFrame
    planted: tuple[PlantedRisk, ...]
    unplanted: tuple[str, ...]

    def study(self) -> dict[str, Any]:
        """Return the study as plain data for `Study.from_dict`; its paths are relative to the data folder."""
        return tomllib.loads(study_text(self))

    def write(self, folder: str | Path) -> Path:
        """Write ``city.gpkg`` and ``study.toml`` into `folder`, made if missing; return the study's path."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_layers(folder / "city.gpkg", {"area": self.area, "events": self.events, **self.layers})
        path = folder / "study.toml"
        path.write_text(study_text(self), encoding="utf-8", newline="\n")
        return path


def make_city(seed: int = 0) -> City:
    """Draw a city of about 6 x 5 km with risks planted in it.

    Two years of events are drawn cell by cell from NBII with the planted log-linear mean over the
    0/1 variables rtmdx computes on the default grid; a third year continues them.

    Parameters
    ----------
    seed : int
        Same seed, same city. 0 or more.

    Raises
    ------
    InputError
        `seed` is negative.
    """
    import geopandas as gpd

    from rtmdx.space.grid import Grid

    if seed < 0:
        raise InputError(f"seed is {seed}, expected a whole number of 0 or more.")
    streams = np.random.SeedSequence(seed).spawn(len(_SUBJECTS))
    rngs = {name: np.random.default_rng(stream) for name, stream in zip(_SUBJECTS, streams, strict=True)}
    land = make_land(rngs["land"])
    town = make_town(land, rngs["streets"])
    people = make_people(land, town, rngs["people"])
    placed = {name: _move(shapes) for name, shapes in make_factors(land, town, people, rngs).items()}

    def frame(shapes: Any, **columns: Any) -> gpd.GeoDataFrame:
        return gpd.GeoDataFrame(columns, geometry=shapes, crs=_CRS)

    area = _move(np.array([land.area]))
    streets = _move(town.streets)
    layers = {name: frame(shapes, id=np.arange(1, shapes.size + 1)) for name, shapes in placed.items()}
    layers["streets"] = frame(streets, kind=town.kind.astype(object))
    layers["river"] = frame(_move(np.array([land.river])), name=["River"])
    residents = {group: people.groups[:, i] for i, group in enumerate(GROUPS)}
    layers["blocks"] = frame(
        _move(town.blocks),
        block=np.arange(1, town.blocks.size + 1),
        district=town.district.astype(object),
        population=people.groups.sum(axis=1),
        **residents,
    )

    grid = Grid.from_area(area[0], _CRS, _BLOCK / 2)
    present = {risk: indicator(risk, placed[risk.factor], grid, _BLOCK) for risk in PLANTED}
    fit, later = draw_counts(present, rngs["counts"])
    cell = np.repeat(np.tile(np.arange(grid.n_cells), 2), np.concatenate([fit, later]))
    at = place_events(cell, grid, area[0], streets, rngs["places"])
    dates = [draw_dates(int(n.sum()), span, rngs["dates"]) for n, span in ((fit, FIT), (later, HOLDOUT))]
    when = np.concatenate(dates)
    order = np.lexsort((at[:, 1], at[:, 0], when))
    events = frame(shapely.points(at[order]), date=when[order].astype("datetime64[ms]"))
    planted = {risk.factor for risk in PLANTED}
    return City(
        seed=seed,
        crs=_CRS,
        block_length=_BLOCK,
        cell_size=_BLOCK / 2,
        area=frame(area, name=["City"]),
        layers=layers,
        events=events,
        planted=PLANTED,
        unplanted=tuple(name for name in FACTORS if name not in planted),
    )


def _move(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Shift from metres around the centre to the CRS."""
    moved: NDArray[np.object_] = shapely.transform(shapes, lambda xy: xy + ORIGIN)
    return moved
