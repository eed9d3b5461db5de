"""What calibrated controls show: treated beside synthetic totals, with intervals by jackknife or permutation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rtmdx.errors import FitError, InputError
from rtmdx.evaluate.calibration import CLOSE, ControlWeights
from rtmdx.evaluate.quadratic import calibrate
from rtmdx.evaluate.results import FEW_EVENTS, Effect, level_in
from rtmdx.report.numbers import number, p_value
from rtmdx.space.values import choice, reals, whole

__all__ = ["CalibratedEffect", "CalibratedEffects", "calibrated_effects"]

Float = NDArray[np.float64]
Method = Literal["jackknife", "permutation"]


@dataclass(frozen=True, kw_only=True)
class CalibratedEffect(Effect):
    """One outcome: the proportional change of the treated beside their synthetic control.

    Attributes
    ----------
    estimate, low, high : float
        Treated / synthetic - 1: -0.2 is 20 % fewer events. NaN where a total is 0.
    name : str
    treated, synthetic : float
        Totals.
    difference : float
        Treated - synthetic, in events.
    replicates, failed : int
        Jackknife groups or permutations that were worked out, and those whose totals could not be matched.
    """

    name: str
    treated: float
    synthetic: float
    difference: float
    replicates: int
    failed: int

    def sentence(self) -> str:
        """Say it in one sentence."""
        limits = (
            f"{100 * self.level:g} % interval {number(100 * self.low)} to {number(100 * self.high)} %, "
            f"p {p_value(self.p)}"
            if math.isfinite(self.low)
            else "no interval"
        )
        return (
            f"{self.name}: {number(self.treated, 4)} beside {number(self.synthetic, 4)} of the synthetic control, "
            f"{number(100 * self.estimate)} % ({limits}; {self.method}).{self._notes}"
        )


@dataclass(frozen=True)
class CalibratedEffects:
    """Effects on several outcomes, from one set of weights.

    Attributes
    ----------
    weights : ControlWeights
    effects : tuple of CalibratedEffect
    """

    weights: ControlWeights
    effects: tuple[CalibratedEffect, ...]

    def to_frame(self) -> Any:
        """Return a row per outcome."""
        import pandas as pd

        return pd.concat([e.to_frame() for e in self.effects], ignore_index=True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"weights": self.weights.to_dict(), "effects": [e.to_dict() for e in self.effects]}

    def sentences(self) -> list[str]:
        """Say all of it."""
        return [self.weights.sentence(), *(e.sentence() for e in self.effects)]


def calibrated_effects(
    weights: ControlWeights,
    outcomes: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    method: Method = "jackknife",
    groups: int = 10,
    permutations: int = 199,
    seed: int = 0,
    level: float = 0.95,
) -> CalibratedEffects:
    """Compare treated areas with their synthetic control after the start.

    Parameters
    ----------
    weights : ControlWeights
    outcomes : array, shape (n_areas,) or (n_areas, n_outcomes)
        Totals after the start, in the order of the weights' areas; a DataFrame brings its names.
    names : sequence of str, optional
    method : {"jackknife", "permutation"}
        "jackknife" leaves out one group of areas at a time, calibrates anew, and takes the variance of the log ratio
        between groups, with Student's t on groups - 1. It needs a treated area in every group.
        "permutation" gives random sets of as many controls the treated ones' place; the interval is the log ratio plus
        and minus the quantile of theirs (a constant proportional effect), p the share as far from 0 (Phipson & Smyth:
        with the treated counted in).
    groups : int
        Of the jackknife, at random; no more than treated areas.
    permutations : int
    seed : int
    level : float

    Returns
    -------
    CalibratedEffects

    Raises
    ------
    InputError
    FitError
        Fewer than half of the replicates could be matched.
    """
    level = level_in(level)
    choice(method, "method", ("jackknife", "permutation"))
    y = reals(np.asarray(outcomes), "outcomes", "numbers, one row per area")
    labels = list(map(str, getattr(outcomes, "columns", []))) if names is None else list(map(str, names))
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != weights.weights.size or not np.isfinite(y).all() or (y < 0).any():
        raise InputError(
            f"outcomes: found shape {y.shape}, expected {weights.weights.size:,} rows of finite numbers from 0, one "
            "per area."
        )
    labels = labels or [f"outcome {j + 1}" for j in range(y.shape[1])]
    if len(labels) != y.shape[1]:
        raise InputError(f"names: found {len(labels)}, expected {y.shape[1]}, one per outcome.")
    rng = np.random.default_rng(whole(seed, "seed", least=0))
    treated, synthetic = weights.totals(y)
    theta = np.array([log_ratio(t, s) for t, s in zip(treated, synthetic, strict=True)])
    if method == "jackknife":
        n = min(whole(groups, "groups", least=2), weights.n_treated)
        if n < 2:
            raise InputError(
                "method 'jackknife' needs at least two treated areas.", hint="Use method='permutation' for one."
            )
        others, failed = _jackknife(weights, y, n, rng)
        said = f"jackknife, {n} groups"
    else:
        n = whole(permutations, "permutations", least=19)
        others, failed = _placebos(weights, y, n, rng)
        said = f"permutation of {n} random sets of controls"
    if len(others) < max(2, n / 2):
        raise FitError(
            f"calibrated effects: {failed} of {n} replicates could not be matched.", hint="Match fewer columns."
        )
    effects = []
    for j, name in enumerate(labels):
        values = others[:, j][np.isfinite(others[:, j])]
        low = high = p = math.nan
        if math.isfinite(theta[j]) and len(values) >= max(2, n / 2):
            low, high, p = (_jackknife_limits if method == "jackknife" else _placebo_limits)(theta[j], values, level)
        flags = ("few-events",) if min(treated[j], synthetic[j]) < FEW_EVENTS else ()
        effects.append(
            CalibratedEffect(
                estimate=math.expm1(theta[j]), low=low, high=high, level=level, p=p, method=said, name=name,
                treated=float(treated[j]), synthetic=float(synthetic[j]), difference=float(treated[j] - synthetic[j]),
                replicates=len(others), failed=failed,
                flags=(*flags, *(() if math.isfinite(low) else ("no-limits",)), "association"),
            )
        )  # fmt: skip
    return CalibratedEffects(weights, tuple(effects))


def _jackknife(weights: ControlWeights, y: Float, n: int, rng: np.random.Generator) -> tuple[Float, int]:
    group = np.empty(y.shape[0], dtype=np.int64)
    for mask in (weights.treated, ~weights.treated):
        group[mask] = rng.permutation(np.arange(mask.sum()) % n)
    keep = [np.flatnonzero(group != g) for g in range(n)]
    return _repeat([(rows, weights.treated[rows]) for rows in keep], weights, y)


def _placebos(weights: ControlWeights, y: Float, n: int, rng: np.random.Generator) -> tuple[Float, int]:
    controls = np.flatnonzero(~weights.treated)
    k = weights.n_treated
    if controls.size < 2 * k:
        raise InputError(
            f"method 'permutation': found {controls.size} controls for {k} treated areas, expected at least {2 * k}."
        )
    sets = []
    for _ in range(n):
        chosen = np.zeros(controls.size, dtype=np.bool_)
        chosen[rng.choice(controls.size, size=k, replace=False)] = True
        sets.append((controls, chosen))
    return _repeat(sets, weights, y)


def _repeat(sets: Any, weights: ControlWeights, y: Float) -> tuple[Float, int]:
    found, failed = [], 0
    slack = np.where(weights.loose, CLOSE, 0.0)
    for rows, treated in sets:
        x, part = weights.matched[rows], y[rows]
        base = np.full(int((~treated).sum()), treated.sum() / (~treated).sum())
        w = calibrate(x[~treated], x[treated].sum(axis=0), base, slack)
        if w is None:
            failed += 1
            continue
        pairs = zip(part[treated].sum(axis=0), w @ part[~treated], strict=True)
        found.append([log_ratio(float(a), float(b)) for a, b in pairs])
    return np.array(found).reshape(-1, y.shape[1]), failed


def log_ratio(treated: float, synthetic: float) -> float:
    """Return log(treated / synthetic), NaN where either is 0."""
    return math.log(treated / synthetic) if treated > 0 and synthetic > 0 else math.nan


def _jackknife_limits(theta: float, values: Float, level: float) -> tuple[float, float, float]:
    n = values.size
    se = math.sqrt((n - 1) / n * float(((values - values.mean()) ** 2).sum()))
    t = float(special.stdtrit(n - 1, 0.5 + level / 2))
    p = float(2 * special.stdtr(n - 1, -abs(theta) / se)) if se > 0 else math.nan
    return math.expm1(theta - t * se), math.expm1(theta + t * se), p


def _placebo_limits(theta: float, values: Float, level: float) -> tuple[float, float, float]:
    p = (1 + int((np.abs(values) >= abs(theta) - 1e-12).sum())) / (values.size + 1)
    sizes = np.sort(np.append(np.abs(values), np.inf))  # the treated one's own is not known: the largest
    q = float(sizes[math.ceil(level * sizes.size) - 1])
    return math.expm1(theta - q), math.expm1(theta + q) if math.isfinite(q) else math.inf, p
