"""What each control counts for beside each record of a plan, and what random controls in the treated's place show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import FitError, InputError
from rtmdx.evaluate.calibration import weights_for
from rtmdx.evaluate.contrasts import EventDays, Sum, contrast_pair
from rtmdx.evaluate.plan_results import PlanCheck
from rtmdx.evaluate.roles import Roles
from rtmdx.evaluate.windows import Window
from rtmdx.space.values import reals

__all__ = ["Weighting", "control_shares", "permute"]

Float = NDArray[np.float64]
Weighting = Literal["events", "area", "none", "calibrated"]


def control_shares(
    place: NDArray[np.int64],
    windows: Sequence[Window],
    roles: Roles,
    days: EventDays,
    places: Any,
    *,
    weighting: Weighting,
    match: Sequence[str],
    periods: int,
    relax: bool,
) -> tuple[Float | None, tuple[str, ...]]:
    """Return what a control's change counts for beside each record, shape (n_records, n_controls), and flags.

    None where that hangs on the window: by events.

    Raises
    ------
    InputError
        The calibrated totals cannot be met.
    """
    n, c = len(place), roles.controls
    if weighting == "events":
        return None, ()
    if weighting == "none":
        return np.full((n, c.size), 1.0 / n), ()
    if weighting == "area":
        return np.repeat((roles.areas[place] / roles.areas[c].sum())[:, None], c.size, axis=1), ()
    x, names = _matched(windows, roles, days, places, match, periods)
    rows = np.array([*dict.fromkeys(place.tolist()), *c])
    treated = np.arange(rows.size) < rows.size - c.size
    found = weights_for(x[rows], treated, names, np.zeros(len(names), dtype=np.bool_), relax=relax)
    return np.repeat(found.weights[None, ~treated] / treated.sum(), n, axis=0), (*found.flags, "weights-fixed")


def permute(
    place: NDArray[np.int64],
    windows: Sequence[Window],
    roles: Roles,
    days: EventDays,
    places: Any,
    found: Sum,
    *,
    weighting: Weighting,
    match: Sequence[str],
    periods: int,
    relax: bool,
    n: int,
    seed: int,
    level: float,
    dispersion: float,
) -> PlanCheck:
    """Give random controls the treated places' part, n times, and judge the local difference by theirs.

    Differences are compared as multiples of their Poisson standard errors, since places differ in size.

    Raises
    ------
    InputError
        There are fewer than twice as many controls as treated places.
    FitError
        Fewer than half of the random sets could be matched.
    """
    own = list(dict.fromkeys(place.tolist()))
    c = roles.controls
    if c.size < 2 * len(own):
        raise InputError(
            f"permutations: found {c.size} controls for {len(own)} treated places, expected at least twice as many."
        )
    rng = np.random.default_rng(seed)
    x, names = None, [""]
    if weighting == "calibrated":
        x, names = _matched(windows, roles, days, places, match, periods)
    exact = np.zeros(len(names), dtype=np.bool_)
    scores = []
    for _ in range(n):
        chosen = rng.choice(c.size, size=len(own), replace=False)
        stand_in = dict(zip(own, c[chosen].tolist(), strict=True))
        units = np.array([stand_in[p] for p in place.tolist()])
        rest = np.delete(c, chosen)
        shares: Float | None = None
        try:
            if x is not None:
                rows = np.concatenate([c[chosen], rest])
                solved = weights_for(x[rows], np.arange(rows.size) < len(own), names, exact, relax=relax)
                shares = np.repeat(solved.weights[None, len(own) :] / len(own), units.size, axis=0)
            elif weighting == "area":
                shares = np.repeat((roles.areas[units] / roles.areas[rest].sum())[:, None], rest.size, axis=1)
            elif weighting == "none":
                shares = np.full((units.size, rest.size), 1.0 / units.size)
            a, b = contrast_pair(units, rest, windows, shares, days)
        except (InputError, FitError):  # this set cannot be matched; how many could is said
            continue
        scores.append(abs((a - b).sum(days).z) / math.sqrt(dispersion))
    if len(scores) < n / 2:
        raise FitError(f"permutations: only {len(scores)} of {n} random sets of controls could be matched.",
                       hint="Match fewer parts of the time before.")  # fmt: skip
    values = np.sort(np.append(scores, np.inf))
    q = float(values[math.ceil(level * values.size) - 1])
    share = (1 + int((np.array(scores) >= abs(found.z) - 1e-12).sum())) / (len(scores) + 1)
    reach, name = q * found.se, f"{len(scores)} random sets of controls"
    return PlanCheck(name, found.value, found.value - reach, found.value + reach, share)


def _matched(
    windows: Sequence[Window], roles: Roles, days: EventDays, places: Any, match: Sequence[str], periods: int
) -> tuple[Float, list[str]]:
    """Number of places, events of each part of the time before, and columns of the places; a row per place."""
    start = np.datetime64(min(w.before_start for w in windows)).astype("datetime64[D]").astype(np.int64)
    end = np.datetime64(min(w.before_end for w in windows)).astype("datetime64[D]").astype(np.int64) + 1
    if end - start < periods:
        raise InputError(
            f"match_periods: found {periods}, but there are only {int(end - start)} days before the first start."
        )
    edges = start + np.round(np.arange(periods + 1) * (end - start) / periods).astype(np.int64)
    inside = days.inside[:, : roles.n_places]
    columns, names = [np.ones(roles.n_places)], ["places"]
    for a, b in pairwise(edges):
        columns.append(np.asarray(inside.T @ ((days.day >= a) & (days.day < b)).astype(np.float64)))
        names.append(f"events {np.datetime64(int(a), 'D')} to {np.datetime64(int(b) - 1, 'D')}")
    for name in match:
        if name not in places.columns:
            raise InputError(f"match: places have no column {name!r}; they have {', '.join(map(str, places.columns))}.")
        values = reals(places[name].to_numpy(), f"places, column {name!r}", "numbers")
        if not np.isfinite(values).all():
            i = int(np.argmax(~np.isfinite(values)))
            raise InputError(f"places, {roles.names[i]!r}, {name}: found {values[i]}, expected a finite number.")
        columns.append(values)
        names.append(str(name))
    return np.stack(columns, axis=1), names
