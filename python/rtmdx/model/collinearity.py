"""Variables that say the same: variance inflation in the model, and correlated factors among the candidates.

Everything follows from joint histograms of the blocks' codes, two blocks at a time: how many cells (or how much
weight) have each pair of codes. No matrix of cells by variables is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.design import Block, Design
from rtmdx.model.families import check_columns

__all__ = ["Collinearity", "FactorGroup", "Inflation", "collinearity", "correlations", "variance_inflation"]

Float = NDArray[np.float64]

_MOST_CODES = 256  # combinations of codes counted as one


@dataclass(frozen=True, slots=True)
class Inflation:
    """Variance inflation of one variable of the model.

    Attributes
    ----------
    variable : str
    factor : int
    vif : float
        1 / (1 - R^2) of the variable on the model's others, every cell counting the same; inf where the others
        give it exactly.
    vif_weighted : float
        The same with the weights of the fit (mu^2 / variance): what the standard errors feel.
    """

    variable: str
    factor: int
    vif: float
    vif_weighted: float


@dataclass(frozen=True, slots=True)
class FactorGroup:
    """Factors linked by variables with |phi| at or above the threshold.

    Attributes
    ----------
    factors : tuple of int
        Positions in the study.
    names : tuple of str
    variables : tuple of str
        The variables that link them.
    phi : float
        The strongest correlation, with its sign, of `strongest`.
    strongest : tuple of str
        The two variables most alike, of different factors.
    in_model : tuple of str
        Names of the group's factors that are in the model.
    """

    factors: tuple[int, ...]
    names: tuple[str, ...]
    variables: tuple[str, ...]
    phi: float
    strongest: tuple[str, str]
    in_model: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collinearity:
    """What `collinearity` found.

    Attributes
    ----------
    inflation : tuple of Inflation
        One per variable of the model, in column order.
    groups : tuple of FactorGroup
        Strongest first.
    threshold : float
    """

    inflation: tuple[Inflation, ...]
    groups: tuple[FactorGroup, ...]
    threshold: float

    @property
    def worst(self) -> Inflation | None:
        """The variable of the model most inflated in the weights of the fit; None if none varies."""
        known = [v for v in self.inflation if not math.isnan(v.vif_weighted)]
        return max(known, key=lambda v: v.vif_weighted, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; an infinite VIF is None."""

        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return {
            "threshold": self.threshold,
            "inflation": [
                {"variable": v.variable, "vif": number(v.vif), "vif_weighted": number(v.vif_weighted)}
                for v in self.inflation
            ],
            "groups": [
                {
                    "factors": list(g.names),
                    "variables": list(g.variables),
                    "phi": g.phi,
                    "strongest": list(g.strongest),
                    "in_model": list(g.in_model),
                }
                for g in self.groups
            ],
        }


class _Word:
    """Several blocks' codes as one: the code, in each cell, of the combination found there."""

    def __init__(self, codes: NDArray[np.uint8], columns: list[int], table: Float) -> None:
        self.codes, self.columns, self.table = codes, columns, table  # table: 0/1 by code and column

    def joined(self, other: _Word) -> _Word | None:
        """Both as one word; None if too many combinations occur."""
        n = len(other.table)
        if len(self.table) * n > _MOST_CODES**2:
            return None
        pair = self.codes.astype(np.intp)
        pair *= n
        pair += other.codes
        found = np.flatnonzero(np.bincount(pair, minlength=len(self.table) * n))
        if len(found) > _MOST_CODES:
            return None
        number = np.zeros(len(self.table) * n, dtype=np.uint8)
        number[found] = np.arange(len(found), dtype=np.uint8)
        table = np.concatenate([self.table[found // n], other.table[found % n]], axis=1)
        return _Word(number[pair], self.columns + other.columns, table)


def _words(design: Design, columns: Sequence[int]) -> list[_Word]:
    """The blocks of the columns, neighbours joined while few combinations occur: fewer pairs to count."""
    place = [(b, k) for b, block in enumerate(design.blocks) for k in range(len(block.variables))]
    used: dict[int, list[int]] = {}
    for i, j in enumerate(columns):
        used.setdefault(place[j][0], []).append(i)
    words: list[_Word] = []
    for b, members in sorted(used.items()):
        block: Block = design.blocks[b]
        table = block.decode[:, [place[columns[i]][1] for i in members]].astype(np.float64)
        word = _Word(block.codes, members, table)
        both = words[-1].joined(word) if words else None
        if both is None:
            words.append(word)
        else:
            words[-1] = both
    return words


def _moments(
    design: Design, columns: Sequence[int], weight: Float | None, cancel: Callable[[], bool] | None = None
) -> tuple[Float, Float]:
    """Weighted means of the indicators, and their weighted covariances."""
    both = np.empty((len(columns), len(columns)))
    words = _words(design, columns)
    pair = np.empty(design.n_cells, dtype=np.intp)
    for a, left in enumerate(words):
        ones = np.bincount(left.codes, weight, minlength=len(left.table)).astype(np.float64)
        both[np.ix_(left.columns, left.columns)] = np.einsum("ci,c,cj->ij", left.table, ones, left.table)
        for right in words[a + 1 :]:
            if cancel is not None and cancel():
                raise Cancelled("The correlations were cancelled.")
            n = len(right.table)
            pair[:] = left.codes
            pair *= n
            pair += right.codes
            joint = np.bincount(pair, weight, minlength=len(left.table) * n).reshape(len(left.table), n)
            found = np.einsum("ci,cj->ij", left.table, np.einsum("cd,dj->cj", joint.astype(np.float64), right.table))
            both[np.ix_(left.columns, right.columns)] = found
            both[np.ix_(right.columns, left.columns)] = found.T
    total = float(design.n_cells) if weight is None else float(weight.sum())
    mean = np.diag(both) / total
    return mean, both / total - np.outer(mean, mean)


def _inflation(covariance: Float) -> Float:
    """Diagonal of the inverse correlation matrix; inf for variables that the others give exactly, NaN for constants."""
    k = len(covariance)
    out = np.full(k, np.nan)
    varies = np.flatnonzero(np.diag(covariance) > 1e-14)
    if not len(varies):
        return out
    scale = np.sqrt(np.diag(covariance)[varies])
    r = covariance[np.ix_(varies, varies)] / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(r)
    lost = values < 1e-10
    if lost.any():
        alone = np.ones(len(varies), dtype=bool)
        alone[(vectors[:, lost] ** 2).sum(axis=1) > 1e-8] = False
        inverse = (vectors[:, ~lost] ** 2 / values[~lost]).sum(axis=1)
        out[varies] = np.where(alone, inverse, np.inf)
    else:
        out[varies] = (vectors**2 / values).sum(axis=1)
    return out


def variance_inflation(design: Design, columns: Sequence[int], weight: ArrayLike | None = None) -> Float:
    """Return the variance inflation factor of each column among `columns`.

    Parameters
    ----------
    design : Design
    columns : sequence of int
    weight : float array, shape (n_cells,), optional
        Weight of each cell; all the same by default.

    Returns
    -------
    float64 array, shape (len(columns),)
        1 / (1 - R^2) of the regression, with intercept, on the others; inf for exact collinearity, NaN for a column
        that does not vary.

    Raises
    ------
    InputError
        Columns not in the design or twice, or weights of another shape, negative, not finite or all 0.
    """
    columns = check_columns(design, columns)
    w = None
    if weight is not None:
        w = np.asarray(weight, dtype=np.float64)
        if w.shape != (design.n_cells,):
            raise InputError(f"weight has shape {w.shape}, expected ({design.n_cells},), one per kept cell.")
        if not np.isfinite(w).all() or (w < 0).any() or not w.any():
            raise InputError("weight: expected finite numbers >= 0, not all 0.")
    return _inflation(_moments(design, columns, w)[1])


def correlations(
    design: Design, columns: Sequence[int] | None = None, *, cancel: Callable[[], bool] | None = None
) -> Float:
    """Return phi, the correlation of two 0/1 indicators (sign not applied), for all pairs of columns.

    Parameters
    ----------
    design : Design
    columns : sequence of int, optional
        All by default.
    cancel : callable, optional

    Returns
    -------
    float64 array, shape (len(columns), len(columns))
        1 on the diagonal; NaN in the row and column of a constant.

    Raises
    ------
    InputError
        Columns not in the design, or twice.
    Cancelled
        `cancel` returned True.
    """
    columns = check_columns(design, range(len(design.variables)) if columns is None else columns)
    _, covariance = _moments(design, columns, None, cancel)
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        phi: Float = np.clip(covariance / np.outer(sd, sd), -1.0, 1.0)
    phi[:, sd == 0] = phi[sd == 0] = np.nan
    return phi


def collinearity(
    design: Design,
    columns: Sequence[int],
    weight: ArrayLike | None = None,
    *,
    threshold: float = 0.7,
    candidates: Sequence[int] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Collinearity:
    """Find what makes a model's coefficients hard to tell apart.

    Parameters
    ----------
    design : Design
    columns : sequence of int
        The model's variables.
    weight : float array, shape (n_cells,), optional
        Weights of the fit, such as mu for the Poisson.
    threshold : float
        |phi| at and above which variables of different factors are alike. Bands of one factor resemble each other by
        construction and at most one enters a model, so they are not compared.
    candidates : sequence of int, optional
        Variables compared; all of the design by default.
    cancel : callable, optional

    Returns
    -------
    Collinearity

    Raises
    ------
    InputError
        An argument that does not fit the design or its range.
    Cancelled
        `cancel` returned True.
    """
    if not 0.0 < threshold <= 1.0:
        raise InputError(f"threshold: found {threshold}, expected above 0 and at most 1, such as 0.7.")
    columns = check_columns(design, columns)
    plain = variance_inflation(design, columns)
    weighted = plain if weight is None else variance_inflation(design, columns, weight)
    names = [design.variables[j] for j in columns]
    inflation = tuple(
        Inflation(v.name, v.factor, float(a), float(b)) for v, a, b in zip(names, plain, weighted, strict=True)
    )
    chosen = range(len(design.variables)) if candidates is None else candidates
    chosen = check_columns(design, chosen)
    phi = correlations(design, chosen, cancel=cancel)
    return Collinearity(inflation, _groups(design, chosen, phi, threshold, {v.factor for v in names}), threshold)


def _groups(
    design: Design, columns: Sequence[int], phi: Float, threshold: float, in_model: set[int]
) -> tuple[FactorGroup, ...]:
    variables = [design.variables[j] for j in columns]
    factor = np.array([v.factor for v in variables], dtype=np.intp)
    with np.errstate(invalid="ignore"):
        linked = np.triu(np.abs(phi) >= threshold - 1e-12, 1) & (factor[:, None] != factor[None, :])
    pairs = [(int(i), int(j)) for i, j in np.argwhere(linked)]
    parent = {f: f for f in factor.tolist()}

    def root(f: int) -> int:
        while parent[f] != f:
            f = parent[f]
        return f

    for i, j in pairs:
        a, b = sorted((root(int(factor[i])), root(int(factor[j]))))
        parent[b] = a
    found: dict[int, list[tuple[int, int]]] = {}
    for i, j in pairs:
        found.setdefault(root(int(factor[i])), []).append((i, j))
    groups = []
    for links in found.values():
        members = sorted({i for pair in links for i in pair})
        factors = sorted({int(factor[i]) for i in members})
        label = {int(factor[i]): variables[i].factor_name for i in members}
        best = max(links, key=lambda pair: (abs(float(phi[pair])), -pair[0], -pair[1]))
        groups.append(
            FactorGroup(
                tuple(factors),
                tuple(label[f] for f in factors),
                tuple(variables[i].name for i in members),
                float(phi[best]),
                (variables[best[0]].name, variables[best[1]].name),
                tuple(label[f] for f in factors if f in in_model),
            )
        )
    return tuple(sorted(groups, key=lambda g: (-abs(g.phi), g.factors)))
