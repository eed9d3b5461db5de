"""What an evaluation is told with: a change is never without its counts, interval, method and caveats."""

from __future__ import annotations

import datetime as dt
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from rtmdx.errors import InputError
from rtmdx.report.numbers import count, number
from rtmdx.space.values import named
from rtmdx.space.values import number as plain_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CAVEATS", "FEW_EVENTS", "Effect", "Result"]

FEW_EVENTS = 10

CAVEATS = {
    "association": "a difference that goes with the action is not thereby its effect: whatever else changed in these "
    "places at that time is in it too",
    "few-events": f"a count is below {FEW_EVENTS}: it tells little",
    "regression-to-the-mean": "the places were chosen by their past counts: high counts tend to fall by themselves, "
    "which looks like an effect",
    "before-peak": "the treated places had more events just before than in the same span before that: some of the fall "
    "may be a return to the usual",
    "baseline-unlike": "treated and control areas differ more than twofold in events before: equal changes in numbers "
    "are then not what equal trends would bring",
    "pretrend": "before the action, treated and control places did not change alike: the comparison is in doubt",
    "weights-fixed": "the interval takes the weights of the controls as given, though they follow from counts",
    "overlapping-actions": "places had several actions at one time: what each did cannot be told apart",
    "before-treated": "the period before holds days of another action in the same place",
    "unequal-times": "before and after differ in length: counts are scaled to the period after, and seasons may differ",
    "season": "before and after are different times of the year: what the seasons bring is only taken out as far as "
    "the controls have the same seasons",
    "enforcement": "the outcome is made by enforcement itself: more or less of it may be what police did",
    "overdispersed": "places change more than Poisson counts do: trust the permutation interval, which is wider",
    "autocorrelation": "what the model leaves is correlated in time, which HAC errors allow for only in part",
    "few-periods": "few periods before or after: the trend, and so what would have happened, is poorly known",
    "short-season": "less than one whole season before the start: the season cannot be told from the trend",
    "dispersion": "counts vary more than a Poisson law: errors allow for it, but a negative binomial law fits better",
    "no-limits": "there is no interval: the data hold nothing to take it from",
    "few-controls": "the weights rest on fewer than 10 controls' worth",
    "relaxed": "some totals could not be matched exactly and are only as near as they can be",
    "poor-fit": "before the start the synthetic control misses the treated unit by more than most placebos miss theirs",
}
"""Codes of the caveats and flags, and what each says."""


@dataclass(frozen=True, kw_only=True)
class Result(ABC):
    """Something found, with its flags.

    Attributes
    ----------
    flags : tuple of str
        Codes; `CAVEATS` has the sentences.
    """

    flags: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The flags as sentences."""
        return tuple(CAVEATS.get(f, f) for f in self.flags)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; what is not finite is None, or "inf"."""
        return {"type": type(self).__name__, **{f.name: plain(getattr(self, f.name)) for f in fields(self) if f.repr}}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """Return one row: every field that is a single value."""
        import pandas as pd

        row = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), (str, int, float, type(None)))}
        return pd.DataFrame([{**row, "flags": ", ".join(self.flags)}])

    @abstractmethod
    def sentence(self) -> str:
        """Say it in one sentence."""

    @property
    def _notes(self) -> str:
        return f" Note: {'; '.join(self.warnings)}." if self.flags else ""


@dataclass(frozen=True, kw_only=True)
class Effect(Result):
    """A change with its interval.

    Attributes
    ----------
    estimate, low, high : float
        NaN where not defined, which a flag then says.
    level : float
        Probability of the interval.
    p : float
        Two-sided, of no change.
    method : str
        Of the interval.
    """

    estimate: float
    low: float
    high: float
    level: float
    p: float
    method: str

    @property
    def covers_zero(self) -> bool:
        """Whether no change is within the interval."""
        return bool(self.low <= 0.0 <= self.high)

    @property
    def interval(self) -> str:
        """The interval, for people."""
        return f"{100 * self.level:g} % interval {signed(self.low)} to {signed(self.high)}"


def signed(value: float) -> str:
    """Return a change with its sign, for people."""
    shown = number(value) if abs(value) < 1000 or not math.isfinite(value) else f"{value:,.0f}".replace("-", "−")
    return f"+{shown}" if value > 0 and math.isfinite(value) else shown


def amount(value: float) -> str:
    """Return a count that may be weighted: whole where it is whole."""
    return count(value) if math.isclose(value, round(value), abs_tol=1e-9) else number(value, 4)


def tick(value: float) -> str:
    """Return a round change for an axis."""
    return f"{value:+,.6g}".replace("-", "−") if value else "0"


def plain(value: Any) -> Any:
    """Return JSON-compatible data."""
    if isinstance(value, Result):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.repr}
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    return value


def normal_interval(estimate: float, se: float, level: float) -> tuple[float, float, float]:
    """Return both limits and the two-sided p of a normal estimate."""
    z = float(special.ndtri(0.5 + level / 2))
    p = float(2 * special.ndtr(-abs(estimate) / se)) if se > 0 else (1.0 if estimate == 0 else 0.0)
    return estimate - z * se, estimate + z * se, p


def level_in(level: Any) -> float:
    """Return the probability of an interval."""
    value = plain_number(level, "level")
    if not 0 < value < 1:
        raise InputError(f"level: found {named(level)}, expected a probability between 0 and 1, such as 0.95.")
    return value
