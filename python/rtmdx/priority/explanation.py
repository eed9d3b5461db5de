"""Which factors put a cell or a place where it is: so that people can talk about causes and not only ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.priority.inputs import members_in
from rtmdx.priority.weights import PlaceWeights, place_weights

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.model.terrain import RiskTerrain

__all__ = ["contributions", "raised", "reasons"]

Float = NDArray[np.float64]
_FEW = 0.1  # a factor that raises risk in less of a place is left out of the words


def raised(terrain: RiskTerrain, i: int) -> NDArray[np.bool_]:
    """Return where variable i of the model raises risk: present if aggravating, absent if protective."""
    model = terrain.model
    found = terrain.design.indicator(model.columns[i]) == (1 if model.variables[i].sign > 0 else 0)
    return np.asarray(found, dtype=np.bool_)


def contributions(
    terrain: RiskTerrain,
    *,
    cells: ArrayLike | None = None,
    places: Any = None,
    threads: int | None = None,
) -> pd.DataFrame:
    """Say what each factor of the model adds to the score and the expected count of cells or places.

    A relative risk score is a product, so what a factor adds depends on the others. Two figures are given: the factor
    by which the score is multiplied where the factor raises risk, with the share of the place in which it does; and
    how many events fewer the model expects if the factor raised risk nowhere in the place and all else stayed as it
    is. The second do not add up over factors, and neither says that a change of the landscape would have this effect
    (see `what_if`).

    Parameters
    ----------
    terrain : RiskTerrain
    cells : indices or booleans, optional
        Cells to describe.
    places : GeoSeries, GeoDataFrame or geometries, optional
        Polygons to describe, in the grid's CRS. Without cells and places, the whole study area is one place, ``"all"``.
    threads : int, optional

    Returns
    -------
    DataFrame
        One row per place (or cell) and factor, the largest contribution first: place, factor, label, effect, variable,
        operationalization, influence, multiplier (relative risk value: what the score is multiplied by where the factor
        raises risk), share (of the place's area in which it does), log_points (mean log of that multiplier over the
        place: these add up to the mean log score above the state in which no factor raises risk), events (expected
        events fewer without it), events_share (of the place's expected events).

    Raises
    ------
    InputError
        Cells and places are both given, cells are out of range, or places are no polygons of the study area.
    CRSError
        The places are in another CRS than the grid.
    """
    import pandas as pd

    if cells is not None and places is not None:
        raise InputError("cells, places: found both, expected one of them.")
    grid, model = terrain.grid, terrain.model
    expected = terrain.expected_cells
    if places is not None:
        weights = place_weights(places, grid, threads)
    elif cells is not None:
        at = np.flatnonzero(members_in(cells, grid.n_cells, "cells"))
        weights = PlaceWeights(np.arange(at.size), at, np.ones(at.size), pd.Index(at))
    else:
        every = np.arange(grid.n_cells)
        weights = PlaceWeights(np.zeros_like(every), every, np.ones(every.size), pd.Index(["all"]))
    held = weights.sum(expected)
    parts = []
    for i, variable in enumerate(model.variables):
        factor = terrain.factors[variable.factor]
        where = raised(terrain, i)
        rrv = float(model.rrv[i])
        share = weights.mean(where.astype(np.float64))
        events = weights.sum(np.where(where, expected * (1.0 - 1.0 / rrv), 0.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(held > 0, events / held, 0.0)
        parts.append(
            pd.DataFrame(
                {
                    "place": weights.index, "factor": factor.name, "label": factor.label, "effect": factor.effect,
                    "variable": variable.name, "operationalization": variable.operationalization,
                    "influence": variable.distance, "multiplier": rrv, "share": share,
                    "log_points": share * float(model.coefficients[i]), "events": events, "events_share": part,
                    "_place": np.arange(len(weights)),
                }
            )
        )  # fmt: skip
    columns = [
        "place", "factor", "label", "effect", "variable", "operationalization", "influence", "multiplier", "share",
        "log_points", "events", "events_share",
    ]  # fmt: skip
    if not parts:
        return pd.DataFrame(columns=columns)
    table = pd.concat(parts, ignore_index=True)
    table = table.sort_values(["_place", "log_points", "factor"], ascending=[True, False, True], ignore_index=True)
    return table[columns]


def reasons(table: pd.DataFrame, *, most: int = 4) -> dict[Any, str]:
    """Put the contributions of each place in words, the largest first: ``Vacant buildings x2.1 (84 %)``.

    Parameters
    ----------
    table : DataFrame
        Of `contributions`.
    most : int
        Factors named at most.
    """
    said: dict[Any, str] = {}
    for place, own in table.groupby("place", sort=False):
        telling = own[(own["share"] >= _FEW) & (own["multiplier"] > 1.0)].head(most)
        words = [
            f"{'no ' if row.effect == 'protective' else ''}{row.label} ×{row.multiplier:.2g}"
            + ("" if row.share > 0.995 else f" ({row.share:.0%})")
            for row in telling.itertuples()
        ]
        said[place] = ", ".join(words) or "no factor of the model"
    return said
