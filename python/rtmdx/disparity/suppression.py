"""Small cells of a published table held back, with as many others as it takes that subtraction does not give them back.

A table is published with all its totals, so that one missing cell of a row is the total less the others. Which other
cells to hold back is found as Kelly, Golden & Assad 1992 and Fischetti & Salazar 2001 do: a linear programme looks for
the cheapest other table, with the same published figures, in which the cell is larger by the width asked for; what that
table changes is held back. It then stands as a proof that nobody can bound the cell more tightly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, sparse

from rtmdx.disparity.intervals import checked_counts
from rtmdx.errors import FitError, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Suppressed", "suppress"]

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

_TOTAL = 100.0  # holding back a total costs so many times a cell, for each axis it is summed over
_KEPT = 1e-6  # what moving a cell costs that is held back already
_ZERO = 1e-7  # a move smaller than this, relative to the width, is none


@dataclass(frozen=True)
class Suppressed:
    """A table fit to publish.

    Which cells are small and which are held back to protect them is not said: to know it would undo the protection.

    Attributes
    ----------
    published : float64 array, shape (n + 1 for every axis)
        Counts with their totals at the end of every axis; NaN where held back.
    threshold, width : float
        Counts from 1 to below `threshold` were to be hidden; the figures published do not bound any hidden one to an
        interval narrower than `width`.
    names : tuple of tuples of str
        Labels of each axis, without its total.
    """

    published: Float
    threshold: float
    width: float
    names: tuple[tuple[str, ...], ...]

    @property
    def suppressed(self) -> Bool:
        """Where figures are held back, totals included."""
        return np.isnan(self.published)

    def bounds(self) -> tuple[Float, Float]:
        """Attack the table: the lowest and highest value each figure can have, given all that is published.

        Returns
        -------
        low, high : float64 arrays, the shape of `published`
            From two linear programmes a figure (counts are >= 0 and totals are sums); equal where it is published.
        """
        rules = _sums(self.published.shape)
        hidden = self.suppressed.ravel()
        low, high = (self.published.ravel().copy() for _ in range(2))
        limits = np.stack([np.where(hidden, 0.0, low), np.where(hidden, np.inf, high)], axis=1)
        for i in np.flatnonzero(hidden):
            for end, sign in ((low, 1.0), (high, -1.0)):
                cost = np.zeros(hidden.size)
                cost[i] = sign
                found = optimize.linprog(cost, A_eq=rules, b_eq=np.zeros(rules.shape[0]), bounds=limits)
                if found.status not in (0, 3):
                    raise FitError(f"suppression: the linear programme ended with {found.message}")
                end[i] = sign * found.fun if found.status == 0 else np.inf
        shape = self.published.shape
        return low.reshape(shape), high.reshape(shape)

    def to_frame(self) -> pd.DataFrame:
        """Return the table with its totals; long if it has more than two axes."""
        import pandas as pd

        names = [[*axis, "total"] for axis in self.names]
        if len(names) == 1:
            return pd.DataFrame({"count": self.published}, index=names[0])
        if len(names) == 2:
            return pd.DataFrame(self.published, index=names[0], columns=names[1])
        index = pd.MultiIndex.from_product(names)
        return pd.DataFrame({"count": self.published.ravel()}, index=index)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; figures held back are None."""
        values = np.where(self.suppressed, None, self.published.astype(object))  # type: ignore[call-overload]
        return {
            "published": values.tolist(),
            "names": [[*axis, "total"] for axis in self.names],
            "threshold": self.threshold,
            "width": self.width,
        }

    def sentence(self) -> str:
        """Say it in one sentence."""
        hidden = self.suppressed
        inner = int(hidden[tuple(slice(-1) for _ in hidden.shape)].sum())
        cells = int(np.prod([n - 1 for n in hidden.shape]))
        return (
            f"{inner:,} of {cells:,} counts and {int(hidden.sum()) - inner:,} totals are held back, so that no count "
            f"from 1 to {self.threshold - 1:g} is shown and none held back can be told from the rest to within "
            f"{self.width:g}."
        )


def suppress(
    table: pd.DataFrame | ArrayLike,
    *,
    threshold: float = 10,
    width: float | None = None,
    zeros: bool = False,
    names: Sequence[Sequence[str]] | None = None,
) -> Suppressed:
    """Hold back small counts of a table that is published with all its totals.

    Parameters
    ----------
    table : DataFrame, or array of whole numbers >= 0
        Counts without totals, of any number of axes: group x area, or group x area x period.
    threshold : float
        Counts from 1 to below it are hidden, totals too.
    width : float, optional
        The published figures must leave each hidden one an interval at least this wide; `threshold` by default.
    zeros : bool
        Hide zeros too: that nothing happened can itself say something of a person.
    names : sequence of sequences of str, optional
        Labels of the axes of an array.

    Returns
    -------
    Suppressed

    Raises
    ------
    InputError
        A count is negative or no whole number, the table has no cells, or names do not fit.

    Notes
    -----
    The protection is against whoever has this table alone: a rate or percentage with its exposure gives the count back,
    as does a second table over areas of another cut. Bounds are those of linear programming; with three axes and more,
    knowing that counts are whole can narrow them.
    """
    labels = getattr(table, "columns", None)
    counts = checked_counts("table", table)
    if labels is not None and names is None:
        names = ([str(v) for v in table.index], [str(v) for v in labels])  # type: ignore[union-attr]
    if not counts.ndim or not counts.size:
        raise InputError(f"table: found shape {counts.shape}, expected at least one count.")
    if names is None:
        names = [[str(i) for i in range(n)] for n in counts.shape]
    if [len(axis) for axis in names] != list(counts.shape):
        raise InputError(f"names: found {[len(a) for a in names]}, expected {list(counts.shape)} of each axis.")
    if not (np.isfinite(threshold) and threshold > 1):
        raise InputError(f"threshold: found {threshold}, expected a number > 1.")
    wide = float(threshold if width is None else width)
    if not (np.isfinite(wide) and wide > 0):
        raise InputError(f"width: found {width}, expected a number > 0.")
    full = _with_totals(counts)
    small = (full < threshold) & ((full > 0) | zeros)
    hidden = _protect(full, small.ravel(), wide)
    published = np.where(hidden.reshape(full.shape), np.nan, full)
    return Suppressed(published, float(threshold), wide, tuple(tuple(axis) for axis in names))


def _with_totals(counts: Float) -> Float:
    for axis in range(counts.ndim):
        counts = np.concatenate([counts, counts.sum(axis=axis, keepdims=True)], axis=axis)
    return counts


def _sums(shape: tuple[int, ...]) -> sparse.csr_array:
    """What holds in a table with totals: along every line of every axis, the cells less the total are 0."""
    number = np.arange(int(np.prod(shape))).reshape(shape)
    rows, columns, values, n = [], [], [], 0
    for axis, size in enumerate(shape):
        lines = np.moveaxis(number, axis, -1).reshape(-1, size)
        rows.append(np.repeat(np.arange(n, n + len(lines)), size))
        columns.append(lines.ravel())
        values.append(np.tile(np.r_[np.ones(size - 1), -1.0], len(lines)))
        n += len(lines)
    where = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), where), shape=(n, number.size))


def _protect(full: Float, small: Bool, width: float) -> Bool:
    """Cells to hold back: the small ones, and those whose knowledge would bound any of these."""
    rules = _sums(full.shape)
    moves = sparse.hstack([rules, -rules], format="csr")
    value = full.ravel()
    axes = np.array([sum(i == n - 1 for i, n in zip(at, full.shape, strict=True)) for at in _places(full.shape)])
    price = (1.0 + np.log1p(value)) * _TOTAL**axes
    hidden = small.copy()
    up, down = np.zeros(value.size), np.zeros(value.size)  # moves that are proved possible
    while True:
        open_ = np.flatnonzero(hidden & (up + down < width * (1.0 - _ZERO)))
        if not len(open_):
            return hidden
        i = open_[np.argmin(value[open_])]
        cost = np.where(hidden, _KEPT, price)
        limits = np.zeros((2 * value.size, 2))
        limits[: value.size, 1] = np.inf
        limits[value.size :, 1] = value
        limits[i] = width - down[i]
        limits[value.size + i] = 0.0
        found = optimize.linprog(
            np.concatenate([cost, cost]), A_eq=moves, b_eq=np.zeros(moves.shape[0]), bounds=limits, method="highs"
        )
        if found.status != 0:
            raise FitError(f"suppression: the linear programme ended with {found.message}")
        move = found.x[: value.size] - found.x[value.size :]
        hidden |= np.abs(move) > _ZERO * width
        up, down = np.maximum(up, move), np.maximum(down, -move)


def _places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(product(*(range(n) for n in shape)))
