"""Which cells or places touch, and which are closer than a distance, as offsets and targets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.values import whole_numbers

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = ["Contiguity", "Graph"]

Contiguity = Literal["queen", "rook"]
Graph = tuple[NDArray[np.int64], NDArray[np.int32]]


def graph_of(first: NDArray[Any], second: NDArray[Any], n: int) -> Graph:
    """Return the symmetric graph of these pairs, each once, without loops."""
    from scipy.sparse import coo_array

    apart = first != second
    a, b = first[apart], second[apart]
    both = (np.concatenate([a, b]), np.concatenate([b, a]))
    links = coo_array((np.ones(both[0].size, dtype=np.int8), both), shape=(n, n)).tocsr()
    links.sum_duplicates()
    return links.indptr.astype(np.int64), links.indices.astype(np.int32)


def cell_pairs(grid: Grid, steps: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of kept cells that are these (rows down, columns right) apart; rows down >= 0."""
    index = np.full(grid.shape, -1, dtype=np.int64)
    index[grid.mask] = np.arange(grid.n_cells)
    rows, cols = grid.shape
    first, second = [], []
    for down, right in steps:
        if down >= rows or abs(right) >= cols:
            continue
        here = index[: rows - down, max(0, -right) : cols - max(0, right)]
        there = index[down:, max(0, right) : cols - max(0, -right)]
        both = (here >= 0) & (there >= 0)
        first.append(here[both])
        second.append(there[both])
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *first]), np.concatenate([empty, *second])


def contiguity_steps(kind: Contiguity) -> list[tuple[int, int]]:
    """Half of the steps to a cell's neighbours; the other half are their opposites."""
    return [(0, 1), (1, 0)] if kind == "rook" else [(0, 1), (1, 0), (1, 1), (1, -1)]


def spacing_steps(grid: Grid, spacing: float) -> list[tuple[int, int]]:
    """Half of the steps between cells whose centres are closer than `spacing`."""
    down = math.ceil(spacing / grid.dy)
    right = math.ceil(spacing / grid.dx)
    if (2 * down + 1) * (2 * right + 1) > 10_000:
        raise InputError(f"spacing: {spacing:g} spans {max(down, right)} cells, expected at most about 50.")
    return [
        (i, j)
        for i in range(down + 1)
        for j in range(-right, right + 1)
        if (i > 0 or j > 0) and math.hypot(i * grid.dy, j * grid.dx) < spacing * (1 - 1e-12)
    ]


def place_pairs(places: Any, contiguity: Contiguity, spacing: float) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return the pairs of places that touch, and those closer than `spacing`."""
    import shapely

    shapes = np.array(list(getattr(places, "geometry", places)), dtype=object)
    tree = shapely.STRtree(shapes)
    first, second = tree.query(shapes, predicate="intersects")
    keep = first < second
    first, second = first[keep], second[keep]
    if contiguity == "rook":  # more than a point in common
        common = shapely.intersection(shapes[first], shapes[second])
        along = (shapely.length(common) > 0) | (shapely.area(common) > 0)
        first, second = first[along], second[along]
    if not spacing:
        return [(first, second)]
    a, b = tree.query(shapes, predicate="dwithin", distance=spacing)
    return [(first, second), (a, b)]


def given_pairs(pairs: Any, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of neighbours the user names."""
    array = whole_numbers(pairs, "neighbours", "pairs of positions, shape (m, 2)")
    if array.ndim != 2 or array.shape[1] != 2 or (array.size and (array.min() < 0 or array.max() >= n)):
        raise InputError(f"neighbours: found an array of shape {array.shape}, expected pairs of positions below {n:,}.")
    return array[:, 0], array[:, 1]
