"""The synthetic control of one unit: a weighted mean of other units that went the same way before the start.

Weights are not negative and sum to 1; they minimise sum_m v_m (x1_m - sum_j w_j x_jm)^2 over the predictors m. The
predictors' own weights v are chosen so that the outcome before the start is missed least, or are all equal, or given
(Abadie & Gardeazabal 2003; Abadie, Diamond & Hainmueller 2010). Each control in turn takes the treated unit's place:
how its miss grows after the start is what the treated unit's is held against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from rtmdx.errors import InputError
from rtmdx.evaluate.periods import start_in
from rtmdx.evaluate.quadratic import simplex_weights
from rtmdx.evaluate.results import Result
from rtmdx.report.numbers import number, p_value
from rtmdx.space.values import flag, named, reals

__all__ = ["SyntheticControl", "synthetic_control"]

Float = NDArray[np.float64]
_SHOWN = 0.001


@dataclass(frozen=True, kw_only=True)
class SyntheticControl(Result):
    """A unit beside its synthetic control.

    Attributes
    ----------
    treated : str
    weights : dict of float
        By unit.
    importance : dict of float
        Weights of the predictors, sum 1.
    periods : tuple
    start : int
        Index of the first period after.
    observed, synthetic : float64 arrays, shape (n_periods,)
    gap : float
        Mean of observed less synthetic over the periods after.
    error_before, error_after : float
        Root mean square of observed less synthetic.
    ratio : float
        error_after / error_before.
    p : float
        Share of units, the treated counted in, whose ratio is as large; NaN without placebos. It can be no less than
        1 / number of units.
    placebo_ratios : dict of float
        By unit.
    balance : dict of (float, float, float)
        Of each predictor: treated, synthetic, mean of the controls.
    """

    treated: str
    weights: dict[str, float]
    importance: dict[str, float]
    periods: tuple[Any, ...]
    start: int
    observed: Float = field(compare=False)
    synthetic: Float = field(compare=False)
    gap: float
    error_before: float
    error_after: float
    ratio: float
    p: float
    placebo_ratios: dict[str, float]
    balance: dict[str, tuple[float, float, float]]

    def to_frame(self) -> Any:
        """Return a row per period."""
        import pandas as pd

        return pd.DataFrame(
            {"period": list(self.periods), "observed": self.observed, "synthetic": self.synthetic,
             "gap": self.observed - self.synthetic, "after": np.arange(len(self.periods)) >= self.start}
        )  # fmt: skip

    def sentence(self) -> str:
        """Say it in one sentence."""
        made = ", ".join(
            f"{name} {w:.3f}" for name, w in sorted(self.weights.items(), key=lambda i: -i[1]) if w >= _SHOWN
        )
        placebos = f"; p {p_value(self.p)} among {len(self.placebo_ratios) + 1} units" if math.isfinite(self.p) else ""
        return (
            f"{self.treated} beside {made}: on average {number(self.gap)} apart after the start (root mean square "
            f"{number(self.error_after)} after, {number(self.error_before)} before{placebos}).{self._notes}"
        )


def synthetic_control(
    outcome: Any,
    treated: str,
    start: Any,
    *,
    predictors: Any = None,
    fit_periods: Sequence[Any] | None = None,
    importance: Literal["equal", "fitted"] | Mapping[str, float] | None = None,
    controls: Sequence[str] | None = None,
    placebos: bool = True,
) -> SyntheticControl:
    """Make a synthetic control of one unit.

    Parameters
    ----------
    outcome : DataFrame
        A row per period (ascending index), a column per unit.
    treated : str
    start : label
        First period after.
    predictors : DataFrame, optional
        A row per predictor, a column per unit: means before the start. By default the outcomes of all periods before.
    fit_periods : sequence, optional
        Periods over which "fitted" looks for the least miss; all before the start by default.
    importance : {"equal", "fitted"} or mapping, optional
        Weights of the predictors, each first divided by its standard deviation over the units. "fitted" by default
        where predictors are given, "equal" where they are the outcomes themselves.
    controls : sequence of str, optional
        Units to take from; all others by default. Leave out those that the action could have reached.
    placebos : bool
        Give every control the treated unit's place.

    Returns
    -------
    SyntheticControl
    """
    flag(placebos, "placebos")
    units = list(map(str, outcome.columns))
    if len(set(units)) != len(units):
        raise InputError("outcome: two units have the same name.")
    if treated not in units:
        raise InputError(f"treated: no unit {treated!r}; the units are {', '.join(units[:12])}.")
    pool = [u for u in units if u != treated] if controls is None else list(map(str, controls))
    for u in pool:
        if u not in units or u == treated:
            raise InputError(f"controls: {u!r} is {'the treated unit' if u == treated else 'no unit of the outcome'}.")
    if len(pool) < 2:
        raise InputError(f"controls: found {len(pool)}, expected at least 2.")
    chosen = [units.index(u) for u in (treated, *pool)]
    y = reals(outcome.to_numpy()[:, chosen], "outcome", "numbers")
    if not np.isfinite(y).all():
        i, j = np.argwhere(~np.isfinite(y))[0]
        raise InputError(f"outcome: found {y[i, j]} for {(treated, *pool)[j]!r} in {outcome.index[i]!r}.")
    labels = tuple(outcome.index)
    first = start_in(start, labels, len(labels))
    fitted = _fit_periods(fit_periods, labels, first)
    names, x = _predictors(predictors, y, labels, first, (treated, *pool))
    scale = x.std(axis=1, ddof=1)
    if (scale == 0).any():
        raise InputError(f"predictors: {names[int(np.argmax(scale == 0))]!r} is the same for all units.")
    z = x / scale[:, None]
    rule = importance if importance is not None else ("equal" if predictors is None else "fitted")
    given = _importance(rule, names)

    def fit(j: int, others: list[int]) -> tuple[Float, Float]:
        v = given if given is not None else _fitted(z[:, j], z[:, others], y[fitted][:, j], y[fitted][:, others])
        root = np.sqrt(v)
        return simplex_weights(root[:, None] * z[:, others], root * z[:, j]), v

    def errors(j: int, others: list[int], w: Float) -> tuple[Float, float, float]:
        made = y[:, others] @ w
        gap = (y[:, j] - made) ** 2
        return made, math.sqrt(gap[:first].mean()), math.sqrt(gap[first:].mean())

    everyone = list(range(1, y.shape[1]))
    w, v = fit(0, everyone)
    made, before, after = errors(0, everyone, w)
    ratios, misses = {}, []
    for j in everyone if placebos and len(everyone) > 2 else ():
        others = [k for k in everyone if k != j]
        _, b, a = errors(j, others, fit(j, others)[0])
        ratios[pool[j - 1]] = a / b if b > 0 else math.inf
        misses.append(b)
    own = after / before if before > 0 else math.inf
    flags: tuple[str, ...] = ("poor-fit",) if misses and before > np.median(misses) else ()
    return SyntheticControl(
        treated=treated, weights={u: float(k) for u, k in zip(pool, w, strict=True)},
        importance={n: float(k) for n, k in zip(names, v, strict=True)}, periods=labels, start=first,
        observed=y[:, 0], synthetic=made, gap=float((y[first:, 0] - made[first:]).mean()), error_before=before,
        error_after=after, ratio=own,
        p=(1 + sum(r >= own for r in ratios.values())) / (len(ratios) + 1) if ratios else math.nan,
        placebo_ratios=ratios,
        balance={n: (float(x[i, 0]), float(x[i, 1:] @ w), float(x[i, 1:].mean())) for i, n in enumerate(names)},
        flags=(*flags, "association"),
    )  # fmt: skip


def _fitted(target: Float, controls: Float, own: Float, others: Float) -> Float:
    """Return the predictors' weights whose synthetic control misses the outcome least, from several starts."""
    k = target.size
    if k == 1:
        return np.ones(1)

    def normal(raw: Float) -> Float:
        v = np.abs(raw)
        return v / v.sum() if v.sum() > 0 else np.full(k, 1 / k)

    def loss(raw: Float) -> float:
        root = np.sqrt(normal(raw))
        w = simplex_weights(root[:, None] * controls, root * target)
        return float(((own - others @ w) ** 2).mean())

    # starts: equal weights, and those of a regression of the outcome on the predictors (as Synth does)
    everyone = np.column_stack([target, controls])
    design = np.column_stack([np.ones(everyone.shape[1]), everyone.T])
    slopes = np.linalg.lstsq(design, np.column_stack([own, others]).T, rcond=None)[0][1:]
    starts = [np.full(k, 1 / k), normal((slopes**2).sum(axis=1))]
    scale = float(own.var()) or 1.0
    best = min(
        (
            optimize.minimize(lambda r: loss(r) / scale, s, method="Nelder-Mead",
                              options={"maxiter": 200 * k, "xatol": 1e-5, "fatol": 1e-9, "adaptive": True})
            for s in starts
        ),
        key=lambda found: float(found.fun),
    )  # fmt: skip
    return normal(best.x)


def _fit_periods(wanted: Any, labels: tuple[Any, ...], first: int) -> NDArray[np.int64]:
    if wanted is None:
        return np.arange(first)
    missing = [p for p in wanted if p not in labels[:first]]
    if missing or not len(wanted):
        raise InputError(
            f"fit_periods: found {named(missing[0]) if missing else 'none'}, expected periods before the start."
        )
    return np.array([labels.index(p) for p in wanted])


def _predictors(
    predictors: Any, y: Float, labels: tuple[Any, ...], first: int, units: tuple[str, ...]
) -> tuple[list[str], Float]:
    if predictors is None:
        return [str(p) for p in labels[:first]], y[:first]
    columns = list(map(str, predictors.columns))
    missing = [u for u in units if u not in columns]
    if missing:
        raise InputError(f"predictors: no column for unit {missing[0]!r}.")
    x = reals(predictors.to_numpy()[:, [columns.index(u) for u in units]], "predictors", "numbers")
    if not np.isfinite(x).all():
        i, j = np.argwhere(~np.isfinite(x))[0]
        raise InputError(f"predictors: found {x[i, j]} for {units[j]!r} in {predictors.index[i]!r}.")
    return [str(n) for n in predictors.index], x


def _importance(rule: Any, names: list[str]) -> Float | None:
    if rule == "fitted":
        return None
    if rule == "equal":
        return np.full(len(names), 1 / len(names))
    if not isinstance(rule, Mapping) or set(map(str, rule)) != set(names):
        raise InputError(f"importance: found {named(rule)}, expected 'equal', 'fitted' or a weight for each predictor.")
    v = reals([rule[n] for n in names], "importance", "numbers from 0")
    if not np.isfinite(v).all() or (v < 0).any() or v.sum() <= 0:
        raise InputError("importance: expected numbers from 0, not all 0.")
    return np.asarray(v / v.sum())
