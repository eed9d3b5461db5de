"""All figures of exposure from one pass over the cells, and their spread over simulated populations and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rtmdx import _engine
from rtmdx.disparity.population import Population
from rtmdx.errors import Cancelled, InputError
from rtmdx.space.memory import available_memory

__all__ = ["Figures", "delta_spread", "one_pass", "simulate"]

Float = NDArray[np.float64]

_SMALL = 1 << 26  # bytes that cost less than asking


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures of every group; NaN where one is not defined.

    Attributes
    ----------
    raw : dict
        What the engine found.
    mean, rest_mean, rest_ratio, reference_ratio : float64 arrays, shape (n_groups,)
    top : float64 array, shape (n_top, n_groups)
    concentration, gini, unlike_rest, unlike_reference : float64 arrays, shape (n_groups,)
    theil : float64 array, shape (5,)
        All, between and within groups, between and within zones.
    """

    raw: dict[str, Any]
    mean: Float
    rest_mean: Float
    rest_ratio: Float
    reference_ratio: Float
    top: Float
    concentration: Float
    gini: Float
    unlike_rest: Float
    unlike_reference: Float
    theil: Float

    def flat(self) -> Float:
        """All of them one after another."""
        names = ("mean", "rest_ratio", "reference_ratio", "top", "concentration", "gini")
        rest = ("unlike_rest", "unlike_reference", "theil")
        return np.concatenate([np.ravel(getattr(self, name)) for name in (*names, *rest)])

    def like(self, flat: Float) -> Figures:
        """The same layout with other numbers; `raw` and `rest_mean` stay."""
        parts: dict[str, Any] = {}
        at = 0
        for name in (
            "mean", "rest_ratio", "reference_ratio", "top", "concentration", "gini", "unlike_rest", "unlike_reference",
            "theil",
        ):  # fmt: skip
            shape = getattr(self, name).shape
            size = int(np.prod(shape))
            parts[name] = flat[at : at + size].reshape(shape)
            at += size
        return replace(self, **parts)


def one_pass(
    risk: Float,
    residents: Sequence[Float],
    top: Sequence[float],
    reference: int,
    *,
    names: Sequence[str] = (),
    zones: tuple[Float, Any] | None = None,
    points: int = 1000,
    ties: bool = True,
    threads: int = 1,
    cancel: Callable[[], Any] | None = None,
) -> Figures:
    """Compute all figures.

    Parameters
    ----------
    risk : float64 array, shape (n_cells,)
        NaN where there is none.
    residents : sequence of float64 arrays, shape (n_cells,)
    top : sequence of float
        Shares of the cells.
    reference : int
        Position of the reference group.
    names : sequence of str
        Of the groups, for messages.
    zones : (residents by zone, sparse shares of shape (n_zones, n_cells)), optional
        For the Theil index between and within zones.
    """
    # what sorting needs is compared with the memory there is before it is taken; few distinct risks need far less
    small = 8.0 * risk.size * (len(residents) + 2) < _SMALL
    raw = _engine.group_exposure(
        risk, list(residents), list(top), reference=reference, points=points, ties=ties,
        memory=np.inf if small else available_memory(), threads=threads, cancel=cancel,
    )  # fmt: skip
    if not raw["valid"]:
        raise _refused(risk, residents, names)
    people, burden = raw["residents"], raw["burden"]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = burden / people
        rest = (burden[-1] - burden[:-1]) / (people[-1] - people[:-1])
        rest[people[-1] - people[:-1] <= 0] = np.nan
        rank = raw["rank"] / (people * people[-1])
        borne = burden[-1]
        positive = raw["lowest"] >= 0 and borne > 0
        gini = 1.0 - 2.0 * raw["lorenz"] / (people * burden)
        taken = (raw["top_cells"] - raw["top_above"]) / np.maximum(raw["top_tied"], 1)
        shares = (raw["top_residents"] + taken[:, None] * raw["top_equal"]) / people
        theil = np.full(5, np.nan)
        if positive:
            level = borne / people[-1]
            theil[0] = raw["entropy"][-1] / borne - np.log(level)
            part = burden[:-1] / borne
            theil[1] = np.sum(special.xlogy(part, mean[:-1] / level)[people[:-1] > 0])
            theil[2] = theil[0] - theil[1]
            if zones is not None:
                theil[3] = _between(risk, zones[0], zones[1], level)
                theil[4] = theil[0] - theil[3]
        unlike_reference = 0.5 * raw["unlike_other"][:-1]
        unlike_reference[people[:-1] <= 0] = np.nan
        if people[reference] <= 0:
            unlike_reference[:] = np.nan
        return Figures(
            raw=raw,
            mean=mean[:-1],
            rest_mean=rest,
            rest_ratio=mean[:-1] / rest,
            reference_ratio=mean[:-1] / mean[reference],
            top=shares[:, :-1],
            concentration=2.0 * rank[:-1] - 1.0,
            gini=gini[:-1] if positive else np.full(len(residents), np.nan),
            unlike_rest=np.where(np.isfinite(rest) & (people[:-1] > 0), 0.5 * raw["unlike_rest"][:-1], np.nan),
            unlike_reference=unlike_reference,
            theil=theil,
        )


def _refused(risk: Float, residents: Sequence[Float], names: Sequence[str]) -> InputError:
    """What is wrong with the first value that is out of range."""
    for g, row in zip(names or range(len(residents)), residents, strict=True):
        bad = ~((row >= 0) & (row < np.inf))
        if bad.any():
            i = int(np.argmax(bad))
            return InputError(f"population, {g}, cell {i}: found {row[i]:g}, expected a number >= 0.")
    return InputError(f"risk, cell {int(np.argmax(np.isinf(risk)))}: is infinite, expected a number or NaN.")


def _between(risk: Float, residents: Float, shares: Any, level: float) -> float:
    """Theil's part between zones."""
    known = ~np.isnan(risk)
    weight = shares @ known.astype(np.float64)
    people = residents * weight
    burden = residents * (shares @ np.where(known, risk, 0.0))
    some = people > 0
    return float(np.sum(special.xlogy(burden[some] / burden.sum(), burden[some] / people[some] / level)))


def delta_spread(risk: Float, population: Population, reference: int) -> tuple[Float, Float, Float]:
    """Standard errors of the means, and of the logs of both ratios, by the margins of error (delta method).

    A mean is a ratio of sums over zones of independent counts, d mean / d count = (zone's mean - mean) / residents.
    Counts of different groups are taken as independent.
    """
    if population.margins is None:
        raise InputError("population: has no margins of error.", hint="Give margins=... to allocate.")
    shares = population.shares()
    known = ~np.isnan(risk)
    weight = shares @ known.astype(np.float64)
    burden = shares @ np.where(known, risk, 0.0)
    counts, sd = population.counts, population.margins / special.ndtri(0.5 + 0.5 * population.margin_level)

    def spread(n: Float, s: Float) -> tuple[Float, Float]:
        people = (n @ weight)[:, None]
        mean = (n @ burden)[:, None] / people
        return mean[:, 0], np.sqrt((((burden - mean * weight) / people * s) ** 2).sum(axis=1))

    with np.errstate(invalid="ignore", divide="ignore"):
        mean, error = spread(counts, sd)
        rest, rest_error = spread(counts.sum(axis=0) - counts, np.sqrt((sd**2).sum(axis=0) - sd**2))
        relative = error / mean
        other = np.hypot(relative, relative[reference])
        other[reference] = 0.0
        return error, np.hypot(relative, rest_error / rest), other


def simulate(
    risk: Float,
    cells: Sequence[Float],
    point: Figures,
    *,
    population: Population | None,
    margins: bool,
    risks: Callable[[np.random.Generator], Float] | None,
    top: Sequence[float],
    reference: int,
    draws: int,
    level: float,
    seed: int,
    threads: int,
    cancel: Callable[[], Any] | None,
) -> tuple[Figures, Figures]:
    """Limits of all figures: percentiles over populations drawn within their margins and models drawn from theirs.

    Counts are normal about the census's figure, not below 0, independent between zones and groups.
    """
    rng = np.random.default_rng(seed)
    shares = None if population is None else population.shares()
    out = np.empty((draws, point.flat().size))
    for i in range(draws):
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller's check")
        here, where, zones = risk, cells, None
        counts = None if population is None else population.counts
        if margins and population is not None and population.margins is not None and shares is not None:
            sd = population.margins / special.ndtri(0.5 + 0.5 * population.margin_level)
            counts = np.maximum(population.counts + sd * rng.standard_normal(sd.shape), 0.0)
            where = [shares.T @ row for row in counts]
        if risks is not None:
            here = risks(rng)
        if counts is not None:
            zones = (counts.sum(axis=0), shares)
        out[i] = one_pass(here, where, top, reference, zones=zones, points=1, ties=False, threads=threads).flat()
    tail = 50.0 * (1.0 - level)
    with np.errstate(invalid="ignore"):
        low, high = np.percentile(out, [tail, 100.0 - tail], axis=0)
    return point.like(low), point.like(high)
