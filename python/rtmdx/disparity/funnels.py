"""Which areas differ from the rest by more than chance: funnel plots.

Sources: Spiegelhalter 2005 (limits of counts around a target, winsorised overdispersion); Breslow & Day 1987 (Byar).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from rtmdx.disparity.intervals import checked_counts, checked_exposures, rate_interval
from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CLASSES", "Funnel", "funnel", "funnel_limits"]

Float = NDArray[np.float64]

CLASSES = ("low, beyond 99.8 %", "low, beyond 95 %", "as expected", "high, beyond 95 %", "high, beyond 99.8 %")
_LEVELS = (0.95, 0.998)
_WINSOR = 0.1


@dataclass(frozen=True)
class Funnel:
    """Areas beside a target rate.

    Attributes
    ----------
    target : float
        Rate per unit of exposure that the areas are held against.
    ratio, events, expected : float64 arrays, shape (n,)
        Observed over expected at the target.
    classes : int array, shape (n,)
        -2 to 2; `CLASSES` (from -2 on) says what each means.
    dispersion : float
        Mean square of the areas' winsorised z values: well above 1, areas differ beyond chance as a rule, and classes
        point at far too many of them.
    adjusted : bool
        Whether the classes allow for it.
    names : tuple of str
    """

    target: float
    ratio: Float
    events: Float
    expected: Float
    classes: NDArray[np.int64]
    dispersion: float
    adjusted: bool
    names: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per area."""
        import pandas as pd

        said = [CLASSES[c + 2] for c in self.classes]
        return pd.DataFrame(
            {
                "area": list(self.names),
                "events": self.events,
                "expected": self.expected,
                "ratio": self.ratio,
                "class": said,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        rows = self.to_frame().to_dict("records")
        return {"target": self.target, "dispersion": self.dispersion, "adjusted": self.adjusted, "areas": rows}

    def sentence(self) -> str:
        """Say it in one sentence."""
        n = {c: int((self.classes == c).sum()) for c in range(-2, 3)}
        allowed = "allowed for" if self.adjusted else "not allowed for"
        return (
            f"Of {len(self.ratio):,} areas {n[1] + n[2]:,} are above the target beyond the 95 % limits ({n[2]:,} "
            f"beyond 99.8 %) and {n[-1] + n[-2]:,} below ({n[-2]:,}); by chance alone "
            f"{0.05 * len(self.ratio):.0f} would be outside. The dispersion is {self.dispersion:.2f}, {allowed}."
        )


def funnel(
    events: ArrayLike,
    exposure: ArrayLike,
    *,
    target: float | None = None,
    names: Sequence[str] | None = None,
    overdispersion: bool = False,
) -> Funnel:
    """Class areas by whether their counts are what a target rate gives.

    Parameters
    ----------
    events : array of whole numbers, shape (n,)
    exposure : array of numbers > 0, shape (n,)
        Or the events expected, with ``target=1``.
    target : float, optional
        Rate per unit of exposure; that of all areas together by default.
    names : sequence of str, optional
    overdispersion : bool
        Divide z values by the root of the dispersion, where that is above 1. Otherwise limits are exact below 10
        events and Byar's from there.

    Returns
    -------
    Funnel

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    x, n = checked_counts("events", events), checked_exposures("exposure", exposure)
    if x.ndim != 1 or x.shape != n.shape or not len(x):
        raise InputError(f"events of shape {x.shape} and exposure of shape {n.shape}: expected one of each per area.")
    labels = tuple(map(str, range(len(x)))) if names is None else tuple(map(str, names))
    if len(labels) != len(x):
        raise InputError(f"names: found {len(labels)}, expected {len(x)}.")
    rate = float(x.sum() / n.sum()) if target is None else float(target)
    if not (np.isfinite(rate) and rate > 0):
        raise InputError(f"target: found {rate:g}, expected a number > 0.", hint="Without any events name a target.")
    expected = rate * n
    z = 2.0 * (np.sqrt(x + 0.375) - np.sqrt(expected + 0.375))
    inner = np.clip(z, *np.quantile(z, [_WINSOR, 1.0 - _WINSOR]))
    dispersion = float((inner**2).mean())
    classes = np.zeros(len(x), np.int64)
    for level in _LEVELS:
        if overdispersion:
            limit = float(special.ndtri(0.5 + 0.5 * level)) * np.sqrt(max(dispersion, 1.0))
            classes += (z > limit).astype(np.int64) - (z < -limit)
        else:
            low, high = rate_interval(x, expected, level=level, method="phe")
            classes += (low > 1.0).astype(np.int64) - (high < 1.0)
    return Funnel(rate, x / expected, x, expected, classes, dispersion, overdispersion, labels)


def funnel_limits(expected: ArrayLike, *, level: float = 0.95) -> tuple[Float, Float]:
    """Limits of observed over expected, for the curves of a funnel plot.

    Parameters
    ----------
    expected : array of numbers > 0
    level : float

    Returns
    -------
    low, high : float64 arrays
        Poisson quantiles, interpolated between counts as Spiegelhalter 2005 does so that the curves are smooth.

    Raises
    ------
    InputError
        If an argument is out of its range.
    """
    mean = checked_exposures("expected", expected)
    if not 0.0 < level < 1.0:
        raise InputError(f"level: found {level}, expected a probability such as 0.95.")
    out = []
    for p in (0.5 - 0.5 * level, 0.5 + 0.5 * level):
        count = stats.poisson.ppf(p, mean)
        above, at = stats.poisson.cdf(count, mean) - p, stats.poisson.pmf(count, mean)
        out.append(np.maximum(count - above / at, 0.0) / mean)
    return out[0], out[1]
