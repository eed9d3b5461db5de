"""What prioritization takes: scores and amounts by cell or place, checked once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.space.values import choice, named, number, reals, whole, whole_numbers

if TYPE_CHECKING:
    from rtmdx.space.grid import Grid

__all__ = ["By"]

By = Literal["score", "expected", "posterior"]
Float = NDArray[np.float64]


def values_in(values: Any, name: str, n: int | None = None, *, least: float | None = None) -> Float:
    """Return one finite number per cell or place, in C order."""
    expected = "one number per cell or place" if n is None else f"{n:,} numbers, one per cell or place"
    array = np.ascontiguousarray(reals(values, name, expected))
    if array.ndim != 1 or not array.size or (n is not None and array.size != n):
        raise InputError(f"{name}: found an array of shape {array.shape}, expected {expected}.")
    bad = ~np.isfinite(array) if least is None else ~(np.isfinite(array) & (array >= least))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        what = "finite numbers" if least is None else f"finite numbers from {least:g}"
        raise InputError(
            f"{name}: {np.count_nonzero(bad):,} of {array.size:,} are not usable (the first, at {i}, is {array[i]:g}); "
            f"expected {what}."
        )
    return array


def cell_values(of: Any, by: By, grid: Grid | None, name: str = "score") -> tuple[Float, Grid | None]:
    """Return the score of each cell of a terrain, or the user's own, and the grid if there is one."""
    from rtmdx.model.terrain import RiskTerrain

    if not isinstance(of, RiskTerrain):
        if by != "score":
            raise InputError(f"by: {by!r} is of a RiskTerrain; {name} is {named(of)}, which is ranked as it stands.")
        array = np.asarray(getattr(of, "values", of))
        if grid is not None and array.shape == grid.shape and array.ndim == 2:
            array = grid.to_cells(array)
        return values_in(array, name, None if grid is None else grid.n_cells), grid
    choice(by, "by", ("score", "expected", "posterior"))
    if by == "posterior":
        if of.posterior_risk is None:
            raise InputError("by: the terrain has no posterior.", hint="Ask for it in the study, or give its cells.")
        return values_in(of.posterior_risk.expected_cells, by), of.grid
    return values_in(of.score_cells if by == "score" else of.expected_cells, by), of.grid


def members_in(cells: Any, n: int, name: str) -> NDArray[np.bool_]:
    """Return which of n cells or places are meant: from their indices, or from n booleans."""
    chosen = np.zeros(n, dtype=np.bool_)
    if cells is None:
        return chosen
    array = np.asarray(cells)
    if array.dtype == np.bool_:
        if array.shape != (n,):
            raise InputError(f"{name}: found {array.size:,} booleans, expected {n:,}.")
        return array.copy()
    if not array.size:
        return chosen
    index = whole_numbers(array, name, "indices of cells or places")
    if index.ndim != 1 or index.min() < 0 or index.max() >= n:
        raise InputError(f"{name}: found indices from {index.min()} to {index.max()}, expected 0 to {n - 1:,}.")
    chosen[index] = True
    return chosen


def tops_in(k: int | Sequence[int] | None, shares: Sequence[float], n: int) -> list[tuple[float, int]]:
    """Return (share, number) of each top asked for, by its number; a number asked for has the share it makes."""
    found = [k] if k is not None and np.ndim(k) == 0 else ([] if k is None else list(k))  # type: ignore[arg-type]
    out = []
    for value in found:
        top = whole(value, "k", least=1)
        if top > n:
            raise InputError(f"k: found {top:,}, but there are only {n:,} to rank.")
        out.append((top / n, top))
    for share in reals(list(shares), "shares", "numbers above 0, at most 1").ravel():
        if not 0 < share <= 1:
            raise InputError(f"shares: found {share:g}, expected numbers above 0, at most 1.")
        out.append((float(share), min(n, max(1, round(share * n)))))
    return sorted(out, key=lambda t: t[1])


def one_top(k: Any, share: Any) -> tuple[int | None, float | None]:
    """Return how many are the top: a number or a share, one of which is given."""
    if (k is None) == (share is None):
        found = "neither" if k is None else "both"
        raise InputError(f"k, share: found {found}, expected one of them.", hint="For example k=100 or share=0.01.")
    if k is not None:
        return whole(k, "k", least=1), None
    value = number(share, "share")
    if not (math.isfinite(value) and 0 < value <= 1):
        raise InputError(f"share: found {value:g}, expected a number above 0, at most 1.")
    return None, value
