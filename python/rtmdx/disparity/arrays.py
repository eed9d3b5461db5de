"""Rates and ratios of many areas, years and groups at once, with intervals, counts and flags beside every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtmdx.disparity.intervals import (
    RateMethod,
    RatioMethod,
    checked_counts,
    checked_exposures,
    one_of,
    rate_interval,
    ratio_interval,
)
from rtmdx.disparity.results import FEW_EVENTS, WIDE, PersonRatio, PlaceRatio, Rate, enforcement_flags

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rates", "Ratios", "rate_ratio", "rates"]

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Figures:
    """Arrays of one shape; `figures[place]` is one of them with all its words.

    Attributes
    ----------
    estimate, low, high : float64 arrays
        NaN where there are no events at all, infinite where one end is not known; `no_events` is set there.
    few_events, no_events, wide_interval : bool arrays
        The flags, one by one.
    level : float
    method : str
    flags : tuple of str
        Those of every figure, such as "enforcement".
    """

    estimate: Float
    low: Float
    high: Float
    few_events: Bool
    no_events: Bool
    wide_interval: Bool
    level: float
    method: str
    flags: tuple[str, ...]

    @property
    def unreliable(self) -> Bool:
        """Where there are too few events, or the interval is too wide, to say much."""
        return self.few_events | self.no_events | self.wide_interval

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}

    def to_frame(self) -> pd.DataFrame:
        """Return one row per figure, in the order of the arrays' memory (C)."""
        import pandas as pd

        return pd.DataFrame({k: v.ravel() for k, v in self._arrays().items()})

    def _common(self, place: Any) -> dict[str, Any]:
        at = {k: v[place] for k, v in self._arrays().items()}
        found = [f"{k.replace('_', '-')}" for k in ("no_events", "few_events", "wide_interval") if bool(at[k])]
        out = {k: float(v) for k, v in at.items() if v.dtype != np.bool_}
        return {**out, "level": self.level, "method": self.method, "flags": (*found, *self.flags)}


@dataclass(frozen=True, eq=False)
class Rates(_Figures):
    """Rates with their counts, see `rates`; the limits too are per `per` units of exposure."""

    events: Float
    exposure: Float
    unit: str
    per: float

    def __getitem__(self, place: Any) -> Rate:
        """Return one of them."""
        return Rate(**self._common(place), group=f"Place {place}", unit=self.unit, per=self.per)


@dataclass(frozen=True, eq=False)
class Ratios(_Figures):
    """Ratios with the counts of both groups, see `rate_ratio`."""

    events: Float
    exposure: Float
    reference_events: Float
    reference_exposure: Float
    group: str
    reference: str
    benchmark: str
    kind: str

    def __getitem__(self, place: Any) -> PersonRatio | PlaceRatio:
        """Return one of them."""
        about: dict[str, Any] = {"group": self.group, "reference": self.reference, "benchmark": self.benchmark}
        return (PersonRatio if self.kind == "person" else PlaceRatio)(**self._common(place), **about)


def rates(
    events: ArrayLike,
    exposure: ArrayLike,
    *,
    per: float = 1.0,
    unit: str = "residents",
    level: float = 0.95,
    method: RateMethod = "exact",
    outcome: str = "",
    enforcement: bool | None = None,
) -> Rates:
    """Rates of any number of areas, years and groups.

    Parameters
    ----------
    events : array of whole numbers >= 0
    exposure : array of numbers > 0
        Broadcast against `events`.
    per : float
        Rates are per so many units of exposure.
    unit : str
        What the exposure counts.
    level, method
        As for `rtmdx.disparity.rate_interval`.
    outcome, enforcement
        As for `rtmdx.disparity.compare`.

    Returns
    -------
    Rates
        Without events a rate is 0, its lower limit 0, and it is flagged.

    Raises
    ------
    InputError
        If an argument is out of its range, naming the place.
    """
    x, n = checked_counts("events", events), checked_exposures("exposure", exposure)
    scale = float(checked_exposures("per", per))
    low, high = rate_interval(x, n, level=level, method=method)
    x, n = np.broadcast_arrays(x, n)
    value = np.asarray(scale * x / n)
    low, high = np.asarray(scale * low), np.asarray(scale * high)
    return Rates(
        value, low, high, *_flags(value, low, high, x), level, method, enforcement_flags(outcome, enforcement),
        x, n, unit, scale,
    )  # fmt: skip


def rate_ratio(
    a: ArrayLike,
    na: ArrayLike,
    b: ArrayLike,
    nb: ArrayLike,
    *,
    group: str = "the group",
    reference: str = "the reference",
    benchmark: str = "residents",
    kind: Literal["person", "place"] = "person",
    level: float = 0.95,
    method: RatioMethod = "midp",
    threads: int = 1,
    outcome: str = "",
    enforcement: bool | None = None,
) -> Ratios:
    """Ratios of two rates, (a / na) / (b / nb), of any number of areas and years.

    Parameters
    ----------
    a, na, b, nb, level, method, threads
        As for `rtmdx.disparity.ratio_interval`.
    group, reference, benchmark, kind, outcome, enforcement
        As for `rtmdx.disparity.compare`.

    Returns
    -------
    Ratios
        Infinite where only the reference has no events, NaN where neither has any; both are flagged.

    Raises
    ------
    InputError
        If an argument is out of its range, or "wald-log" meets a count of 0, naming the place.
    """
    one_of("kind", kind, ("person", "place"))
    limits = ratio_interval(a, na, b, nb, level=level, method=method, threads=threads)
    low, high = (np.asarray(v) for v in limits)
    x, n, y, m = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (a, na, b, nb)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.asarray(x / n / (y / m))
    return Ratios(
        value, low, high, *_flags(value, low, high, np.minimum(x, y)), level, method,
        enforcement_flags(outcome, enforcement), x, n, y, m, group, reference, benchmark, kind,
    )  # fmt: skip


def _flags(value: Float, low: Float, high: Float, events: Float) -> tuple[Bool, Bool, Bool]:
    """Few events, none, wide interval: as `flags_of` has it of one figure."""
    none = events == 0
    with np.errstate(invalid="ignore"):
        wide = ~(np.isfinite(low) & np.isfinite(high)) | (high - low > WIDE * value)
    return np.asarray((events < FEW_EVENTS) & ~none), np.asarray(none), np.asarray(wide)
