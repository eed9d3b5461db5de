"""Controls by calibration: weights that make untreated areas add up to the treated ones before the program.

The model of microsynth (Robbins, Saunders & Kilmer 2017, JASA 112): the weighted totals of the controls equal those of
the treated areas in every variable matched on (counts of each period before, population, ...), and weights are as even
as that allows, none below 0. What the weighted controls have after the start is what the treated are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.errors import FitError, InputError
from rtmdx.evaluate.quadratic import calibrate, least_misses
from rtmdx.evaluate.results import Result
from rtmdx.report.numbers import count, number
from rtmdx.space.values import flag, named, reals

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ControlWeights", "control_weights"]

Float = NDArray[np.float64]
CLOSE = 1e-6  # slack of what cannot be met: near enough to the least squares of its misses


@dataclass(frozen=True, kw_only=True)
class ControlWeights(Result):
    """Weights of control areas.

    Attributes
    ----------
    weights : float64 array, shape (n_areas,)
        0 for treated areas, and for controls that no constraint needs.
    treated : bool array, shape (n_areas,)
    constraints : tuple of str
        Names of the totals matched; "areas", the number of areas, is first.
    target, before, after : float64 arrays, shape (n_constraints,)
        Treated totals; those of controls with equal weights; those of the weighted controls.
    exact : bool array, shape (n_constraints,)
        Whether a total is matched exactly.
    spread : float64 array, shape (n_constraints,)
        Standard deviation over all areas, for standardised differences.
    """

    weights: Float = field(compare=False)
    treated: NDArray[np.bool_] = field(compare=False)
    constraints: tuple[str, ...]
    target: Float = field(compare=False)
    before: Float = field(compare=False)
    after: Float = field(compare=False)
    exact: NDArray[np.bool_] = field(compare=False)
    spread: Float = field(compare=False)
    matched: Float = field(compare=False, repr=False)
    loose: NDArray[np.bool_] = field(compare=False, repr=False)

    @property
    def n_treated(self) -> int:
        """Number of treated areas."""
        return int(self.treated.sum())

    @property
    def n_used(self) -> int:
        """Controls with a weight above 0."""
        return int((self.weights > 0).sum())

    @property
    def effective(self) -> float:
        """As many equally weighted controls would tell as much (Kish): (sum w)^2 / sum w^2."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())

    @property
    def largest(self) -> float:
        """Share of the largest weight in their sum."""
        return float(self.weights.max() / self.weights.sum())

    def balance(self) -> pd.DataFrame:
        """Return a row per constraint: totals, and standardised mean differences before and after weighting."""
        import pandas as pd

        unit = np.where(self.spread > 0, self.spread, np.nan) * self.n_treated
        return pd.DataFrame(
            {
                "constraint": self.constraints, "exact": self.exact, "treated": self.target, "controls": self.before,
                "weighted": self.after, "difference_before": (self.target - self.before) / unit,
                "difference_after": (self.target - self.after) / unit,
            }
        )  # fmt: skip

    def totals(self, outcomes: ArrayLike) -> tuple[Any, Any]:
        """Return treated and synthetic totals of outcomes, shape (n_areas, ...)."""
        y = reals(outcomes, "outcomes", f"numbers, {self.weights.size:,} rows, one per area")
        if y.ndim < 1 or len(y) != self.weights.size:
            raise InputError(f"outcomes: found shape {y.shape}, expected {self.weights.size:,} rows, one per area.")
        return y[self.treated].sum(axis=0), np.tensordot(self.weights, y, axes=1)

    def to_frame(self) -> pd.DataFrame:
        """Return a row per area: whether treated, and its weight."""
        import pandas as pd

        return pd.DataFrame({"treated": self.treated, "weight": self.weights})

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"{count(self.n_used)} of {count(self.treated.size - self.n_treated)} controls carry weight, as much as "
            f"{number(self.effective)} equal ones (the largest has {number(100 * self.largest)} % of it); "
            f"{int(self.exact.sum())} of {len(self.constraints)} totals are matched exactly.{self._notes}"
        )


def control_weights(
    table: Any,
    treated: ArrayLike | str,
    match: Sequence[str],
    *,
    close: Sequence[str] = (),
    relax: bool = False,
    count_areas: bool = True,
) -> ControlWeights:
    """Weigh untreated areas so that they add up to the treated ones.

    Parameters
    ----------
    table : DataFrame
        One row per area.
    treated : bool array, or str
        Which areas are treated; or the column that says so.
    match : sequence of str
        Columns whose totals are matched exactly: counts of each period before, population, ...
    close : sequence of str
        Columns whose totals come as near as the exact ones allow (least squares of relative misses).
    relax : bool
        Where the exact totals contradict each other: match those that can hold together, bring the others close, and
        say which. The others are chosen for the least sum of relative misses. Otherwise that is an error.
    count_areas : bool
        Also match the number of areas, so that the weights sum to it.

    Returns
    -------
    ControlWeights

    Raises
    ------
    InputError
        A column is missing or not numbers; none or all areas are treated; the totals cannot be met with weights from 0:
        the message names those that are off, and by how much.
    FitError
        The weights do not converge.
    """
    flag(relax, "relax")
    flag(count_areas, "count_areas")
    columns = [*match, *close]
    if not columns:
        raise InputError("match: found no columns, expected at least one total to match.")
    if len(set(columns)) != len(columns):
        raise InputError("match, close: a column is named twice.")
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise InputError(f"table: no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}.")
    chosen = _treated(table, treated)
    values = np.stack([_column(table, c) for c in columns], axis=1)
    x, names = values, [str(c) for c in columns]
    loose = np.array([False] * len(match) + [True] * len(close))
    if count_areas:
        x, names = np.hstack([np.ones((len(x), 1)), x]), ["areas", *names]
        loose = np.concatenate([[False], loose])
    return weights_for(x, chosen, names, loose, relax=relax)


def weights_for(
    x: Float, treated: NDArray[np.bool_], names: Sequence[str], loose: NDArray[np.bool_], *, relax: bool
) -> ControlWeights:
    """Calibrate to the totals of `x` over the treated rows; parameters as of `control_weights`, checked."""
    controls = x[~treated]
    target = x[treated].sum(axis=0)
    base = np.full(len(controls), treated.sum() / len(controls))
    slack = np.where(loose, CLOSE, 0.0)
    found = calibrate(controls, target, base, slack)
    if found is None:
        hard = np.flatnonzero(~loose)
        misses = least_misses(controls[:, hard], target[hard])
        off = np.flatnonzero(misses)
        if off.size and not relax:
            said = "; ".join(
                f"{names[hard[i]]}: treated {target[hard[i]]:,.6g}, nearest {target[hard[i]] + misses[i]:,.6g}"
                for i in off[:5]
            )
            more = f"; and {off.size - 5} more" if off.size > 5 else ""
            raise InputError(
                f"match: no weights from 0 give the controls all {hard.size} totals of the treated areas; off by at "
                f"least: {said}{more}.",
                hint="Match fewer or coarser columns, name them in close, or use relax=True.",
            )
        loose = loose.copy()
        loose[hard[off]] = True  # the least sum of misses names few; what is left can hold together
        found = calibrate(controls, target, base, np.where(loose, CLOSE, 0.0))
        if found is None:
            raise FitError(
                "control weights: Newton's method did not reach the totals to seven digits.",
                hint="Match fewer columns, or name those nearly alike in close.",
            )
    weights = np.zeros(len(x))
    weights[~treated] = found
    after = found @ controls
    scale = np.maximum(np.abs(target), 1e-12 + np.abs(controls).mean(axis=0))
    exact = np.abs(after - target) <= 1e-6 * scale
    flags: tuple[str, ...] = () if exact.all() else ("relaxed",)
    if found.sum() ** 2 / (found**2).sum() < 10:
        flags += ("few-controls",)
    return ControlWeights(
        weights=weights, treated=treated, constraints=tuple(names), target=target, before=base @ controls, after=after,
        exact=exact, spread=x.std(axis=0), matched=x, loose=loose, flags=flags,
    )  # fmt: skip


def _treated(table: Any, treated: Any) -> NDArray[np.bool_]:
    if isinstance(treated, str):
        if treated not in table.columns:
            raise InputError(f"treated: no column {treated!r}; the table has {', '.join(map(str, table.columns))}.")
        treated = table[treated]
    array = np.asarray(treated)
    if array.dtype.kind in "iuf" and set(np.unique(array)) <= {0, 1}:
        array = array.astype(np.bool_)
    if array.dtype != np.bool_ or array.shape != (len(table),):
        raise InputError(
            f"treated: found {named(array) if array.ndim else named(treated)}, expected {len(table):,} booleans, one "
            "per area."
        )
    if not array.any() or array.all():
        raise InputError(f"treated: found {int(array.sum()):,} of {array.size:,} areas, expected some and not all.")
    return array.copy()


def _column(table: Any, name: str) -> Float:
    values = reals(table[name].to_numpy(), f"table, column {name!r}", "numbers")
    bad = ~np.isfinite(values)
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(f"table, column {name!r}, row {i}: found {values[i]}, expected a finite number.")
    return values
