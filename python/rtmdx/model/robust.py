"""Cluster-robust (sandwich) covariance of a count model: scores summed by district.

A^-1 B A^-1 with A the observed information and B the sum over clusters of the outer product of each
cluster's score, times G / (G - 1) for G clusters (Liang & Zeger 1986; the factor is Stata's for maximum
likelihood). It allows for any resemblance of cells within a cluster and none between clusters; with few
clusters it is too small, and its rank is at most G - 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _counts
from rtmdx.errors import InputError
from rtmdx.model.count_model import CountModel
from rtmdx.model.design import Design
from rtmdx.model.entries import Entries
from rtmdx.model.likelihood import FAMILIES
from rtmdx.space.values import named

__all__ = ["clustered_covariance"]

Float = NDArray[np.float64]


def clustered_covariance(
    model: CountModel, design: Design, counts: Float, exposure: Float | None, cluster: ArrayLike
) -> tuple[Float, int]:
    """Return the robust covariance of a fitted model and the number of clusters.

    Parameters
    ----------
    model : CountModel
    design, counts, exposure
        What it was fitted to.
    cluster : array, shape (n_cells,)
        Whole numbers or names, as any array of them or as objects.

    Raises
    ------
    InputError
        If there is not one cluster per cell, a cell with exposure has none (it is named), or fewer than two clusters
        have exposure.
    """
    family, columns, parameters, covariance = model.family, model.columns, model.parameters, model.covariance
    of_cell, n_clusters = _numbered(design, cluster, exposure)
    codes = [block.codes for block in design.blocks]
    entries = Entries.tabulate(design, codes, counts, None, exposure, columns, group=of_cell)
    order = np.lexsort((*entries.words.T[::-1], entries.level, entries.group))  # any order of cells, one order of sums
    words, level, group = entries.words[order], entries.level[order], entries.group[order]
    x = np.ones((len(order), 1 + len(columns)))
    for a, j in enumerate(columns):
        word, member = entries.member(j)
        x[:, 1 + a] = entries.variables[j].sign * member[words[:, word]].astype(np.float64)
    k = x.shape[1]
    beta = parameters[:k].copy()
    beta[0] += entries.log_unit
    eta = np.empty(len(order))
    _counts.linear_predictor(x, beta, eta)
    dispersed = family != "poisson" and bool(np.isfinite(parameters[k]))
    scores = np.empty((len(order), 2))
    _counts.cell_scores(
        FAMILIES.index(family) if dispersed else 0,
        _counts.Rows(
            np.arange(len(order), dtype=np.int32), entries.y[level], np.ones(len(order)), entries.exposure[level]
        ),
        eta,
        float(parameters[k]) if dispersed else 0.0,
        scores,
    )
    scores *= entries.weight[order][:, None]
    parts = [scores[:, 0] * x[:, a] for a in range(k)]
    if dispersed:
        parts.append(scores[:, 1])
    sums = np.column_stack([np.bincount(group, weights=p, minlength=n_clusters) for p in parts])
    # einsum sums serially: a threaded BLAS would not give the same bits everywhere.
    meat = np.einsum("ga,gb->ab", sums, sums)
    n = len(parts)
    bread = covariance[:n, :n]
    sandwich = np.full(covariance.shape, np.nan)
    sandwich[:n, :n] = np.einsum("ab,bc,cd->ad", bread, meat, bread) * (n_clusters / (n_clusters - 1.0))
    return 0.5 * (sandwich + sandwich.T), n_clusters


def _numbered(design: Design, cluster: ArrayLike, exposure: Float | None) -> tuple[NDArray[np.int32], int]:
    """Number the clusters in the order of their names, whatever the order of the cells; return it and how many."""
    ids = np.asarray(cluster)
    if ids.shape != (design.n_cells,):
        raise InputError(f"cluster has shape {ids.shape}, expected ({design.n_cells},): one district per kept cell.")
    if ids.dtype.kind == "T":  # a missing string would be compared with the others
        ids = ids.astype(object)

    def unlike(i: int) -> InputError:
        value = ids[i].item() if isinstance(ids[i], np.generic) else ids[i]
        found = "masked" if np.ma.is_masked(cluster) else named(value)
        return InputError(
            f"cluster of cell {i} is {found}, expected a whole number or a name.",
            hint="Give cells outside every district a district of their own.",
        )

    taking_part = np.ones(design.n_cells, dtype=bool) if exposure is None else exposure > 0
    missing = np.ma.getmaskarray(cluster) if isinstance(cluster, np.ma.MaskedArray) else np.zeros(len(ids), dtype=bool)
    if ids.dtype.kind in "Of":
        from pandas import isna

        missing = missing | isna(ids)
    if (missing & taking_part).any():
        i = int(np.argmax(missing & taking_part))
        raise unlike(i)
    if ids.dtype.kind == "O":
        from pandas import factorize

        taken = ids[taking_part]
        odd = [not isinstance(value, (str, int, np.integer)) for value in taken.tolist()]
        if any(odd):
            raise unlike(int(np.flatnonzero(taking_part)[odd.index(True)]))
        number, names = factorize(taken)
        rank = sorted(range(len(names)), key=lambda g: (isinstance(names[g], str), names[g]))
        number, n_clusters = np.argsort(rank)[number], len(names)
    elif ids.dtype.kind in "iubUS":
        names, number = np.unique(ids[taking_part], return_inverse=True)
        n_clusters = len(names)
    else:
        raise InputError(f"cluster holds {ids.dtype}, expected whole numbers or names.")
    if n_clusters < 2:
        raise InputError("cluster has one district; robust standard errors need at least two.")
    of_cell = np.zeros(design.n_cells, np.int32)
    of_cell[taking_part] = number.astype(np.int32)
    return of_cell, n_clusters
