"""Fair selection: the most expected events that k cells can cover while a group's burden stays under a cap.

Maximise sum c_i x_i with sum x_i = k and sum (a_i - cap b_i) x_i <= 0, x_i 0 or 1. The constraint goes into the
objective with a multiplier (Lagrangian relaxation; Fisher 1981), so that a choice is the k best of
c_i - multiplier (a_i - cap b_i); bisection finds the multiplier, and the dual function bounds what any choice could
reach. The price of fairness is that of Bertsimas, Farias & Trichakis (2011). `siting_objective` is Wheeler's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx import _priority
from rtmdx.errors import Cancelled, InputError
from rtmdx.priority.inputs import By, cell_values, values_in
from rtmdx.space.arguments import Cancel, Progress, function, thread_count
from rtmdx.space.values import choice, number, reals, whole

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.space.grid import Grid

__all__ = ["FairPoint", "Frontier", "fair_frontier", "siting_objective"]

Float = NDArray[np.float64]
Measure = Literal["share", "ratio"]


@dataclass(frozen=True, eq=False)
class FairPoint:
    """One point of the trade-off.

    Attributes
    ----------
    cap : float
        On the measure; infinite for the choice without a cap.
    reached : float
        The measure among the cells chosen.
    value, coverage : float
        Sum of the score over the cells chosen, and its share of all (NaN where all sums to 0).
    bound, gap : float
        No choice under the cap has more value than `bound`; ``gap = (bound - value) / value``, 0 where both are 0.
    price, price_least : float
        Share of the value without a cap that this choice gives up, and the least that any choice under the cap must.
    multiplier : float
        Value that a unit of the constraint's weight would gain.
    cells : int32 array, shape (k,)
        Positions chosen, ascending.
    """

    cap: float
    reached: float
    value: float
    coverage: float
    bound: float
    gap: float
    price: float
    price_least: float
    multiplier: float
    cells: NDArray[np.int32] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Frontier:
    """The trade-off between coverage and a group's burden.

    Attributes
    ----------
    measure : {"share", "ratio"}
    group : str
    k, n : int
        Cells chosen, of how many.
    lowest : float
        The smallest measure any k cells have: no cap below it can be met.
    unconstrained : FairPoint
        Without a cap; where scores tie, the choice that burdens the group least.
    points : tuple of FairPoint
        By ascending cap.
    """

    measure: Measure
    group: str
    k: int
    n: int
    lowest: float
    unconstrained: FairPoint
    points: tuple[FairPoint, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per point, without the cells."""
        import pandas as pd

        names = [f.name for f in fields(FairPoint) if f.name != "cells"]
        return pd.DataFrame([{name: getattr(p, name) for name in names} for p in self.points])

    def sentences(self) -> list[str]:
        """Say what each point costs."""
        what = f"the share of {self.group}" if self.measure == "share" else f"the contact rate ratio of {self.group}"
        return [
            f"With {what} at most {p.cap:.3g} (reached {p.reached:.3g}), {self.k:,} cells cover {100 * p.coverage:.2f} "
            f"% of what is expected, {100 * p.price:.2f} % less than without a cap; no choice could cover more than "
            f"{100 * p.gap:.3g} % beyond that."
            for p in self.points
        ]


def fair_frontier(
    score: Any,
    k: int,
    *,
    group: ArrayLike,
    population: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    measure: Measure = "share",
    caps: float | Sequence[float] | None = None,
    points: int = 50,
    name: str = "the group",
    by: By = "expected",
    grid: Grid | None = None,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Progress | None = None,
) -> Frontier:
    """Trade expected coverage of k cells against the burden on a group.

    Parameters
    ----------
    score : RiskTerrain, or float array of shape (n,)
        What is to be covered; the sum over the cells chosen is the value. Places serve as well as cells.
    k : int
        Number of cells chosen.
    group : float array >= 0, shape (n,)
        Residents of the group in each cell; without `population`, the group's share of each cell.
    population : float array >= 0, shape (n,), optional
        All residents of each cell. Needed for a share of residents: without it, the share is the mean of the cells'.
    reference : float array >= 0, shape (n,), optional
        Residents of the reference group, for "ratio".
    measure : {"share", "ratio"}
        "share": the group's share of the residents of the cells chosen. "ratio": the share of the group that lives in
        the cells chosen, over that of the reference group (the ratio of contact rates, where contact is being chosen).
        Where nobody lives in the cells chosen it is 0.
    caps : float or sequence of float, optional
        By default `points` caps, evenly from the lowest that can be met to what the choice without a cap reaches.
    name : str
        Of the group, for people.
    by : {"expected", "score", "posterior"}
        Which figure of a terrain.
    threads : int, optional
        Points are solved at the same time; the result does not depend on it.
    cancel, progress : callable, optional
        As in `rtmdx.distance`; progress is told in points.

    Returns
    -------
    Frontier

    Raises
    ------
    InputError
        An argument is not usable, or a cap cannot be met: the message gives the cap, the lowest that k cells can reach
        and the difference.
    Cancelled
        `cancel` returned a true value.
    """
    values, _ = cell_values(score, by if hasattr(score, "grid") else "score", grid)
    n = values.size
    k = whole(k, "k", least=1)
    if k > n:
        raise InputError(f"k: found {k:,}, but there are only {n:,} cells to choose from.")
    over, under = _burden(group, population, reference, measure, n)
    lowest = _lowest(over, under, k)
    solver = _Solver(values, over, under, k)
    free = solver.point(math.inf, math.nan)
    solver.free = free.value
    asked = _caps(caps, points, lowest, free.reached)
    short = [c for c in asked if c < lowest - 1e-9 * max(abs(lowest), 1e-3)]
    if short:
        what = f"share of {name}" if measure == "share" else f"contact rate ratio of {name}"
        raise InputError(
            f"caps: the cap {short[0]:.6g} on the {what} cannot be met with k = {k:,} of {n:,} cells: the lowest they "
            f"can reach is {lowest:.6g}, {lowest - short[0]:.3g} above it.",
            hint=f"Allow at least {lowest:.6g}, or choose another k.",
        )
    found = _solve(solver, [max(c, lowest) for c in asked], asked, thread_count(threads), cancel, progress)
    return Frontier(measure, name, k, n, lowest, free, tuple(found))


def siting_objective(first: float, second: float) -> float:
    """Cost to two groups and the difference between them: first + second + abs(first - second).

    Wheeler's objective for siting fairly: of two sites with the same total it takes the one that treats both alike.
    """
    a, b = number(first, "first"), number(second, "second")
    return a + b + abs(a - b)


def _burden(group: Any, population: Any, reference: Any, measure: Any, n: int) -> tuple[Float, Float]:
    """Numbers whose sums, one over the other, are the measure."""
    choice(measure, "measure", ("share", "ratio"))
    a = values_in(group, "group", n, least=0.0)
    if measure == "share":
        if reference is not None:
            raise InputError('reference: is of measure="ratio".')
        b = np.ones(n) if population is None else values_in(population, "population", n, least=0.0)
        if (a > b * (1 + 1e-9)).any():
            i = int(np.argmax(a - b))
            raise InputError(
                f"group: found {a[i]:g} of {b[i]:g} residents at cell {i}, expected a part of them.",
                hint="Give population=..., or shares from 0 to 1." if population is None else None,
            )
        if not b.sum() > 0:
            raise InputError("population: found nobody in any cell.")
        return a, b
    if reference is None:
        raise InputError('reference: measure="ratio" needs the residents of a reference group.')
    b = values_in(reference, "reference", n, least=0.0)
    for what, v in (("group", a), ("reference", b)):
        if not v.sum() > 0:
            raise InputError(f"{what}: found nobody in any cell; a contact rate needs residents.")
    return a / a.sum(), b / b.sum()


def _quotient(over: float, under: float) -> float:
    return over / under if under > 0 else (math.inf if over > 0 else 0.0)


def _lowest(over: Float, under: Float, k: int) -> float:
    """Smallest sum of `over` over sum of `under` that k cells have (Dinkelbach 1967); 0 over 0 is 0."""
    if np.count_nonzero(over == 0.0) >= k:
        return 0.0
    found = float(over.sum() / under.sum())
    for _ in range(100):
        cells = np.argpartition(over - found * under, k - 1)[:k] if k < over.size else np.arange(k)
        better = _quotient(math.fsum(over[cells]), math.fsum(under[cells]))
        if not better < found:
            break
        found = better
    return found


def _caps(caps: Any, points: Any, lowest: float, free: float) -> list[float]:
    if caps is None:
        m = whole(points, "points", least=1)
        if not math.isfinite(free):
            raise InputError(
                "caps: no one of the reference group lives in the k best cells, so no caps can be laid out.",
                hint="Give caps=....",
            )
        return [free] if m == 1 or free <= lowest else np.linspace(lowest, free, m).tolist()
    given = np.sort(np.atleast_1d(reals(caps, "caps", "a number or a list of numbers >= 0")).ravel())
    if not given.size or not (np.isfinite(given) & (given >= 0)).all():
        raise InputError(f"caps: found {given.tolist()[:5]}, expected numbers >= 0.")
    return [float(c) for c in given]


class _Solver:
    def __init__(self, values: Float, over: Float, under: Float, k: int) -> None:
        self.values, self.over, self.under, self.k = values, over, under, k
        self.total = math.fsum(values)
        self.free = math.nan

    def point(self, cap: float, asked: float) -> FairPoint:
        chosen = np.empty(self.k, dtype=np.int32)
        overall = float(self.over.sum() / self.under.sum())
        weight = self.over - (cap if math.isfinite(cap) else overall) * self.under
        limit = 0.0 if math.isfinite(cap) else float(np.abs(weight).sum()) + 1.0
        _, _, value, _, bound, multiplier = _priority.choose(self.values, weight, limit, chosen)
        gap = 0.0 if bound <= value else (bound - value) / abs(value) if value else math.inf
        reached = _quotient(math.fsum(self.over[chosen]), math.fsum(self.under[chosen]))
        coverage = value / self.total if self.total else math.nan
        free = value if math.isnan(self.free) else self.free
        price, least = (1 - value / free, max(0.0, 1 - bound / free)) if free > 0 else (math.nan, math.nan)
        cap, price = cap if math.isnan(asked) else asked, max(0.0, price)
        return FairPoint(cap, reached, value, coverage, bound, gap, price, least, multiplier, chosen)


def _solve(
    solver: _Solver,
    caps: list[float],
    asked: list[float],
    threads: int,
    cancel: Cancel | None,
    progress: Progress | None,
) -> list[FairPoint]:
    function(cancel, "cancel", "without arguments")
    function(progress, "progress", "of (done, total)")
    stop = False

    def one(i: int) -> FairPoint | None:
        return None if stop else solver.point(caps[i], asked[i])

    with ThreadPoolExecutor(min(threads, len(caps))) as pool:
        jobs: list[Future[FairPoint | None]] = [pool.submit(one, i) for i in range(len(caps))]
        pending = set(jobs)
        try:
            while pending:
                done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                if cancel is not None and cancel():
                    raise Cancelled("cancelled by the caller's check")
                if progress is not None and done:
                    progress(len(jobs) - len(pending), len(jobs))
        except BaseException:
            stop = True
            raise
    return [p for p in (j.result() for j in jobs) if p is not None]
