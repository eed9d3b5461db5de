"""Maximal covering and least-cost sets, solved exactly for hundreds of areas.

Sources: Church & ReVelle 1974 (maximal covering); the minimum set problem of reserve selection, as in prioritizr.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import InputError
from rtmdx.priority.inputs import members_in, values_in
from rtmdx.priority.programs import require_size, solve
from rtmdx.space.values import number, reals, whole

__all__ = ["Cover", "MinSet", "cover", "min_set"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cover:
    """Sites, and what they cover.

    Attributes
    ----------
    sites : bool array, shape (m,)
    covered : bool array, shape (n,)
    value, coverage : float
        Weight covered, and its share of all (NaN where all is 0).
    bound, gap : float
        No sites cover more than `bound`; ``gap = (bound - value) / value``, 0 when proven best.
    """

    sites: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    value: float
    coverage: float
    bound: float
    gap: float


@dataclass(frozen=True, eq=False)
class MinSet:
    """The cheapest units that reach every target.

    Attributes
    ----------
    chosen : bool array, shape (n,)
    cost, bound, gap : float
        No units that reach the targets cost less than `bound`; ``gap = (cost - bound) / cost``.
    reached : float array, shape (features,)
    """

    chosen: NDArray[np.bool_]
    cost: float
    bound: float
    gap: float
    reached: NDArray[np.float64]


def cover(
    weight: ArrayLike,
    distance: ArrayLike,
    radius: float,
    k: int,
    *,
    locked_in: ArrayLike | None = None,
    locked_out: ArrayLike | None = None,
    seconds: float = 60.0,
) -> Cover:
    """Choose k sites so that as much weight as possible is within a radius of one.

    Parameters
    ----------
    weight : float array >= 0, shape (n,)
        Expected events of each area.
    distance : float array >= 0, shape (n, m)
        From each area to each possible site.
    radius : float
        Distances up to it are covered.
    k : int
        Number of sites.
    locked_in, locked_out : indices or bool array of sites, optional
    seconds : float
        HiGHS stops there and the gap says how far it is from proven.

    Raises
    ------
    InputError
        An argument is not usable, the problem is too large, or the locks leave no k sites.
    FitError
        Nothing was found in time.
    """
    from scipy.sparse import csr_array, eye_array, hstack

    w = values_in(weight, "weight", least=0.0)
    d = reals(distance, "distance", f"numbers >= 0 of shape ({w.size}, sites)")
    if d.ndim != 2 or len(d) != w.size or not d.shape[1] or np.isnan(d).any() or (d < 0).any():
        raise InputError(
            f"distance: found an array of shape {d.shape}, expected numbers >= 0, shape ({w.size}, sites)."
        )
    n, m = d.shape
    require_size(n * m, "distance")
    reach, k = number(radius, "radius"), whole(k, "k", least=1)
    if not reach >= 0:
        raise InputError(f"radius: found {reach:g}, expected 0 or more.")
    least, most = _locks(locked_in, locked_out, m)
    if not least.sum() <= k <= most.sum():
        inside, free = int(least.sum()), int(most.sum())
        raise InputError(f"k: found {k}, but {inside} of {m} sites are locked in and {free} are not locked out.")
    near = d <= reach
    rows = hstack([csr_array(-near.astype(np.float64)), eye_array(n)], format="csr")
    count = np.concatenate([np.ones(m), np.zeros(n)])[None]
    found = solve(
        np.concatenate([np.zeros(m), -w]), [(rows, -np.inf, 0), (count, k, k)],
        integral=np.arange(m + n) < m, least=np.append(least, np.zeros(n)), most=np.append(most, np.ones(n)),
        seconds=seconds, infeasible="k: no such sites.",
    )  # fmt: skip
    sites = np.asarray(found.x[:m] > 0.5)
    covered = np.asarray(near[:, sites].any(axis=1))
    value, total = math.fsum(w[covered]), math.fsum(w)
    bound = max(value, -found.bound)
    gap = (bound - value) / value if value else (math.inf if bound > 0 else 0.0)
    return Cover(sites, covered, value, value / total if total else math.nan, bound, gap)


def min_set(
    cost: ArrayLike,
    features: ArrayLike,
    targets: ArrayLike,
    *,
    locked_in: ArrayLike | None = None,
    locked_out: ArrayLike | None = None,
    seconds: float = 60.0,
) -> MinSet:
    """Choose the units that reach every target at the least cost.

    Parameters
    ----------
    cost : float array >= 0, shape (n,)
    features : float array >= 0, shape (f, n)
        What each unit holds of each feature: expected events by kind, residents served by group.
    targets : float array, shape (f,)
        Least sum of each feature over the units chosen.
    locked_in, locked_out : indices or bool array, optional
    seconds : float
        As in `cover`.

    Raises
    ------
    InputError
        An argument is not usable, or a target is out of reach: the message says which and by how much.
    FitError
        Nothing was found in time.
    """
    c = values_in(cost, "cost", least=0.0)
    held = reals(features, "features", f"numbers >= 0 of shape (features, {c.size})")
    if held.ndim != 2 or held.shape[1] != c.size or not (np.isfinite(held) & (held >= 0)).all():
        raise InputError(f"features: found an array of shape {held.shape}, expected numbers >= 0, shape (f, {c.size}).")
    wanted = values_in(targets, "targets", len(held))
    require_size(held.size, "features")
    least, most = _locks(locked_in, locked_out, c.size)
    possible = held @ most
    short = wanted > possible * (1 + 1e-12)
    if short.any():
        i = int(np.argmax(short))
        raise InputError(
            f"targets: feature {i} should reach {wanted[i]:g}, but all units that are not locked out hold "
            f"{possible[i]:g}, {wanted[i] - possible[i]:g} less."
        )
    found = solve(
        c, [(held, wanted, np.inf)], integral=np.ones(c.size, dtype=np.bool_), least=least, most=most, seconds=seconds,
        infeasible="targets: they cannot all be reached.",
    )  # fmt: skip
    chosen = found.x > 0.5
    value = math.fsum(c[chosen])
    bound = min(value, found.bound)
    return MinSet(chosen, value, bound, (value - bound) / value if value else 0.0, held[:, chosen].sum(axis=1))


def _locks(locked_in: ArrayLike | None, locked_out: ArrayLike | None, n: int) -> tuple[Float, Float]:
    """Lower and upper limits of the variables."""
    inside, outside = members_in(locked_in, n, "locked_in"), members_in(locked_out, n, "locked_out")
    if (inside & outside).any():
        i = int(np.argmax(inside & outside))
        raise InputError(f"locked_in, locked_out: {np.count_nonzero(inside & outside):,} are in both, the first {i}.")
    return inside.astype(np.float64), (~outside).astype(np.float64)
