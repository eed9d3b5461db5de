"""Selection under a budget: the cells or places that hold most, in patches large enough to work in.

Without patches and spacing this is a knapsack, taken by value per cost. With them it is region growing: what is best
per cost next, a unit beside a patch or a new patch grown from a seed, then rounds of trimming and growing anew. The
bound is the knapsack's with parts of units allowed and contiguity and spacing ignored (Dantzig 1957): the gap says at
most how much more a better selection could hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _priority
from rtmdx.errors import InputError
from rtmdx.priority.graphs import (
    Contiguity,
    Graph,
    cell_pairs,
    contiguity_steps,
    given_pairs,
    graph_of,
    place_pairs,
    spacing_steps,
)
from rtmdx.priority.inputs import By, cell_values, members_in, values_in
from rtmdx.space.values import choice, number, whole

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.space.grid import Grid

__all__ = ["Selection", "select"]

Float = NDArray[np.float64]
_PASSES = 12


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen.

    Attributes
    ----------
    chosen : bool array, shape (n,)
    patch : int32 array, shape (n,)
        Number of the patch, the one that holds most first; -1 where not chosen. Units of a patch are contiguous
        (without neighbours to tell by, every unit is a patch).
    value, coverage : float
        Sum of the score over what is chosen, and its share of all (NaN where all sums to 0).
    cost, budget : float
        In cells, area or cost, as `unit` says.
    unit : {"cells", "area", "cost"}
    bound, gap : float
        No selection holds more than `bound`; ``gap = (bound - value) / value``, 0 where both are 0.
    n_patches : int
    notes : tuple of str
    """

    chosen: NDArray[np.bool_] = field(repr=False)
    patch: NDArray[np.int32] = field(repr=False)
    value: float
    coverage: float
    cost: float
    budget: float
    unit: Literal["cells", "area", "cost"]
    bound: float
    gap: float
    n_patches: int
    notes: tuple[str, ...] = ()
    _score: Float = field(repr=False, default_factory=lambda: np.empty(0))
    _cost: Float = field(repr=False, default_factory=lambda: np.empty(0))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per patch: units, value, cost; the one that holds most first."""
        import pandas as pd

        own = self.patch[self.chosen]
        m = self.n_patches
        return pd.DataFrame(
            {
                "units": np.bincount(own, minlength=m),
                "value": np.bincount(own, weights=self._score[self.chosen], minlength=m),
                "cost": np.bincount(own, weights=self._cost[self.chosen], minlength=m),
            },
            index=pd.RangeIndex(m, name="patch"),
        )


def select(
    score: Any,
    budget: float,
    *,
    unit: Literal["cells", "area", "cost"] = "cells",
    cost: ArrayLike | None = None,
    min_patch: int = 1,
    contiguity: Contiguity = "queen",
    spacing: float = 0.0,
    locked_in: ArrayLike | None = None,
    locked_out: ArrayLike | None = None,
    grid: Grid | None = None,
    places: Any = None,
    neighbours: ArrayLike | None = None,
    by: By = "expected",
) -> Selection:
    """Choose cells or places that hold most, within a budget.

    Parameters
    ----------
    score : RiskTerrain, or float array of shape (n,)
        What is to be held; where it is not above 0, nothing is chosen but to join a patch.
    budget : float
        Number of cells or places, area in square CRS units, or cost.
    unit : {"cells", "area", "cost"}
        What the budget is in.
    cost : float array > 0, shape (n,), optional
        Of each unit, for "cost"; for "area" where neither a grid nor places tell it.
    min_patch : int
        Units that a contiguous patch has at least. Patches that meet are one, unless `spacing` keeps them apart.
    contiguity : {"queen", "rook"}
        Cells meet at edges and corners, or at edges; places at any point, or along a line.
    spacing : float
        Distance, CRS units, that units of different patches keep at least: between centres of cells, or between
        places' outlines. With `min_patch` 1 all units keep it.
    locked_in, locked_out : indices or bool array, optional
        What must, and what may not, be chosen. Locked units that are too few for a patch are grown to one.
    grid : Grid, optional
        Where your own scores lie.
    places : GeoSeries, GeoDataFrame or geometries, optional
        What the scores are of, in place of cells; their overlaps are contiguity.
    neighbours : int array, shape (m, 2), optional
        Pairs that touch, in place of geometry.
    by : {"expected", "score", "posterior"}
        Which figure of a terrain.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        The budget exceeds what there is, locks contradict each other or the budget, a locked patch cannot reach its
        size, or an argument is not usable.
    """
    values, own = cell_values(score, by if hasattr(score, "grid") else "score", None if places is not None else grid)
    n = values.size
    ground = own
    costs = _costs(n, choice(unit, "unit", ("cells", "area", "cost")), cost, ground, places)
    limit, size, apart = number(budget, "budget"), whole(min_patch, "min_patch", least=1), number(spacing, "spacing")
    choice(contiguity, "contiguity", ("queen", "rook"))
    if not (math.isfinite(apart) and apart >= 0):
        raise InputError(f"spacing: found {apart:g}, expected a distance of 0 or more.")
    inside, outside = members_in(locked_in, n, "locked_in"), members_in(locked_out, n, "locked_out")
    if (inside & outside).any():
        i = int(np.argmax(inside & outside))
        raise InputError(f"locked_in, locked_out: {np.count_nonzero(inside & outside):,} are in both, the first {i}.")
    available = math.fsum(costs[~outside])
    if not limit > 0:
        raise InputError(f"budget: found {limit:g}, expected a number above 0.")
    if limit > available * (1 + 1e-12):
        less = " that are not locked out" if outside.any() else ""
        raise InputError(
            f"budget: found {limit:g}, but all{less} come to {available:g} in {unit}.",
            hint=f"Give at most {available:g}.",
        )
    graph, near = _graphs(n, ground, places, neighbours, contiguity, apart, size)
    owner = np.empty(n, dtype=np.int32)
    lock = (inside + 2 * outside.astype(np.uint8)).astype(np.uint8)
    near_arrays: tuple[Any, Any] = (None, None) if near is None else near
    ended, at, _, spent = _priority.grow(values, costs, limit, *graph, *near_arrays, lock, size, _PASSES, owner)
    if ended:
        told = {
            1: f"locked_in: the patch at {at} cannot be grown to {size} units: too few that are free are in reach.",
            2: f"locked_in: the patch at {at} is closer than {apart:g} to another.",
            3: f"budget: {limit:g} does not pay for what is locked in, with patches grown to {size}: {spent:g} {unit}.",
        }
        raise InputError(told[ended], hint="Lock fewer in, raise the budget or take smaller patches.")
    chosen = owner >= 0
    patch, count = _numbered(chosen, graph, values)
    value, total = math.fsum(values[chosen]), math.fsum(values)
    bound = max(value, _bound(values, costs, limit, inside, outside))
    notes: tuple[str, ...] = ()
    if not chosen.any():
        notes = (f"Nothing fits: no patch of {size} with a score above 0 is within the budget of {limit:g}.",)
    gap = 0.0 if bound <= value else (bound - value) / abs(value) if value else math.inf
    coverage = value / total if total else math.nan
    return Selection(
        chosen, patch, value, coverage, math.fsum(costs[chosen]), limit, unit, bound, gap, count, notes, values, costs
    )


def _costs(n: int, unit: str, cost: Any, grid: Grid | None, places: Any) -> Float:
    if unit == "cells":
        if cost is not None:
            raise InputError('cost: is of unit="cost".')
        return np.ones(n)
    if cost is not None:
        array = values_in(cost, "cost", n)
        if not (array > 0).all():
            raise InputError(f"cost: found {array.min():g}, expected numbers above 0.")
        return array
    if unit == "cost":
        raise InputError('cost: unit="cost" needs the cost of each.')
    if places is not None:
        import shapely

        shapes = np.array(list(getattr(places, "geometry", places)), dtype=object)
        areas = np.asarray(shapely.area(shapes), dtype=np.float64)
        if areas.size != n or not (areas > 0).all():
            flat = np.count_nonzero(~(areas > 0))
            raise InputError(f"places: found {areas.size:,}, {flat:,} without an area; expected {n:,} polygons.")
        return areas
    if grid is None:
        raise InputError("area: needs a grid, places or cost=....")
    return np.full(n, grid.cell_area)


def _graphs(
    n: int, grid: Grid | None, places: Any, neighbours: Any, contiguity: Contiguity, spacing: float, size: int
) -> tuple[Graph, Graph | None]:
    """Return the graph of contiguity, and that of units too close to be of different patches."""
    empty = np.empty(0, dtype=np.int64)
    near = (empty, empty)
    if places is not None and len(places) != n:
        raise InputError(f"places: found {len(places):,}, expected {n:,}, one per score.")
    if neighbours is not None:
        touch = given_pairs(neighbours, n)
        if spacing and places is None:
            raise InputError("spacing: needs a grid or places.")
        if spacing:
            near = place_pairs(places, contiguity, spacing)[1]
    elif places is not None:
        touch, *more = place_pairs(places, contiguity, spacing)
        near = more[0] if more else near
    elif grid is not None:
        touch = cell_pairs(grid, contiguity_steps(contiguity))
        near = cell_pairs(grid, spacing_steps(grid, spacing)) if spacing else near
    else:
        if size > 1 or spacing:
            raise InputError("min_patch, spacing: need a grid, places or neighbours to tell what touches.")
        touch = (empty, empty)
    graph = graph_of(*touch, n)
    if not spacing:
        return graph, None
    if size == 1:  # every unit is a patch of its own
        return graph, graph_of(*near, n)
    return graph, graph_of(np.concatenate([touch[0], near[0]]), np.concatenate([touch[1], near[1]]), n)


def _numbered(chosen: NDArray[np.bool_], graph: Graph, values: Float) -> tuple[NDArray[np.int32], int]:
    """Number the contiguous patches by what they hold."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    n = chosen.size
    patch = np.full(n, -1, dtype=np.int32)
    if not chosen.any():
        return patch, 0
    offsets, targets = graph
    first = np.repeat(np.arange(n), np.diff(offsets))
    keep = chosen[first] & chosen[targets]
    links = csr_array((np.ones(np.count_nonzero(keep), dtype=np.int8), (first[keep], targets[keep])), shape=(n, n))
    label = connected_components(links, directed=False)[1][chosen]
    _, label = np.unique(label, return_inverse=True)
    held = np.bincount(label, weights=values[chosen])
    order = np.empty(held.size, dtype=np.int32)
    order[np.argsort(-held, kind="stable")] = np.arange(held.size)
    patch[chosen] = order[label]
    return patch, held.size


def _bound(values: Float, costs: Float, budget: float, inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    """Most that any selection could hold: parts of units allowed, contiguity and spacing ignored."""
    free = ~inside & ~outside & (values > 0)
    v, c = values[free], costs[free]
    order = np.argsort(-(v / c), kind="stable")
    room = budget * (1 + 1e-12) - math.fsum(costs[inside])
    spent = np.cumsum(c[order])
    whole = int(np.searchsorted(spent, room, side="right"))
    held = math.fsum(v[order[:whole]])
    if whole < order.size:
        left = room - (spent[whole - 1] if whole else 0.0)
        held += float(v[order[whole]] * max(0.0, left) / c[order[whole]])
    return (math.fsum(values[inside]) + held) * (1 + 1e-12)
