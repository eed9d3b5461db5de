"""What an interrupted series shows: events averted, terms of the model, and what the model leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.evaluate.results import Effect, Result, plain, signed
from rtmdx.report.numbers import count, number, p_value, span

__all__ = ["InterruptedSeries", "SeriesChecks", "SeriesTerm"]

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SeriesTerm(Effect):
    """A coefficient: of a count law a ratio of rates, of least squares a change in rate.

    Attributes
    ----------
    name : str
        "trend" and "slope" are per period, "level" is at the start; with a control series they are the treated's beside
        the control's, whose own are "control trend" and so on.
    scale : {"ratio", "change"}
    beside_control : bool
        Whether it is the treated's beside the control's.
    """

    name: str
    scale: str
    beside_control: bool = False

    def sentence(self) -> str:
        """Say it in one sentence."""
        name = self.name.removeprefix("control ")
        said = {
            "trend": "trend before, per period", "level": "level at the start", "slope": "trend after beside before",
        }[name]  # fmt: skip
        if name != self.name:
            said = f"control's {said}"
        elif self.beside_control:
            said += ", beside the control's"
        return (
            f"{said[:1].upper()}{said[1:]}: {self.scale} {number(self.estimate)} "
            f"({100 * self.level:g} % interval {span(self.low, self.high)}, p {p_value(self.p)})."
        )


@dataclass(frozen=True, kw_only=True)
class SeriesChecks(Result):
    """What the model leaves.

    Attributes
    ----------
    durbin_watson : float
        Near 2 without correlation from period to period; of Pearson residuals.
    ljung_box_p : float
        Of no correlation up to `lags` periods.
    lags : int
    dispersion : float
        Pearson statistic over degrees of freedom; NaN for least squares.
    autocorrelation : float
        At one period.
    """

    durbin_watson: float
    ljung_box_p: float
    lags: int
    dispersion: float
    autocorrelation: float

    def sentence(self) -> str:
        """Say it in one sentence."""
        law = f", dispersion {number(self.dispersion)}" if math.isfinite(self.dispersion) else ""
        return (
            f"Residuals: Durbin-Watson {number(self.durbin_watson)}, Ljung-Box p {p_value(self.ljung_box_p)} over "
            f"{self.lags} lags{law}.{self._notes}"
        )


@dataclass(frozen=True, kw_only=True)
class InterruptedSeries(Effect):
    """Events averted after the start: expected without the change less expected with it; negative where more came.

    Attributes
    ----------
    terms : tuple of SeriesTerm
        Trend, level, slope as far as they are in the model.
    checks : SeriesChecks
    counts, fitted, counterfactual, counterfactual_low, counterfactual_high : float64 arrays, shape (n,)
        The counterfactual is NaN before the start; its limits are those of its mean.
    periods : tuple
    start : int
        Index of the first period after.
    used : bool array, shape (n,)
        False for periods of transition, which are left out of the fit and of the sum.
    observed, expected : float
        Events observed after the start, and those expected without the change.
    share : (float, float, float)
        Averted over expected, with its interval.
    family : str
    alpha : float or None
        Of a negative binomial law: variance = mean + alpha x mean^2.
    lags : int
        Of the HAC errors.
    control : float64 array, shape (n,), or None
        Counts of the control series.
    """

    terms: tuple[SeriesTerm, ...]
    checks: SeriesChecks
    counts: Float = field(compare=False)
    fitted: Float = field(compare=False)
    counterfactual: Float = field(compare=False)
    counterfactual_low: Float = field(compare=False)
    counterfactual_high: Float = field(compare=False)
    periods: tuple[Any, ...]
    start: int
    used: NDArray[np.bool_] = field(compare=False)
    observed: float
    expected: float
    share: tuple[float, float, float]
    family: str
    alpha: float | None
    lags: int
    control: Float | None = field(compare=False)

    def term(self, name: str) -> SeriesTerm:
        """Return a term by its name."""
        for t in self.terms:
            if t.name == name:
                return t
        raise InputError(f"no term {name!r}; the terms are {', '.join(t.name for t in self.terms)}.")

    def to_frame(self) -> Any:
        """Return a row per period."""
        import pandas as pd

        return pd.DataFrame(
            {"period": list(self.periods), "count": self.counts, "fitted": self.fitted,
             "counterfactual": self.counterfactual, "low": self.counterfactual_low, "high": self.counterfactual_high,
             "used": self.used, **({} if self.control is None else {"control": self.control})}
        )  # fmt: skip

    def sentences(self) -> list[str]:
        """Say all of it."""
        return [self.sentence(), *(t.sentence() for t in self.terms), self.checks.sentence()]

    def sentence(self) -> str:
        """Say it in one sentence."""
        n = int(self.used[self.start :].sum())
        on = "gone on" if self.control is None else "changed as its control did"
        return (
            f"In {n} periods from {plain(self.periods[self.start])} on, {count(self.observed)} events were "
            f"observed and {count(self.expected)} expected had the series {on}: {signed(self.estimate)} averted "
            f"({self.interval}; {number(100 * self.share[0])} % of those expected; {self.method}).{self._notes}"
        )
