"""Location quotients: how many times a place's, or a factor's surroundings', share of events is its share of the whole.

    LQ = (e / E) / (x / X)

with events e of E in the place and exposure x of X (area, street length, residents). Given all E events, e is binomial
with the share p; the interval of p (Clopper & Pearson 1934, or mid-P) over x / X is that of LQ (Brantingham &
Brantingham 1998; around factors: Caplan & Kennedy 2016).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from rtmdx.errors import InputError
from rtmdx.evaluate.results import FEW_EVENTS, Result, level_in
from rtmdx.report.numbers import number, p_value, percent, span
from rtmdx.space.values import choice, reals
from rtmdx.space.values import number as plain_number

__all__ = ["LocationQuotient", "LocationQuotients", "location_quotient", "quotient_near"]

Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LocationQuotient(Result):
    """One quotient.

    Attributes
    ----------
    name : str
    estimate, low, high, level, p : float
        p is of a quotient of 1, exact binomial, two-sided (twice the smaller tail).
    events, total_events, exposure, total_exposure : float
    unit : str
        What the exposure counts.
    method : str
    """

    name: str
    estimate: float
    low: float
    high: float
    level: float
    p: float
    events: float
    total_events: float
    exposure: float
    total_exposure: float
    unit: str
    method: str

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"{self.name}: location quotient {number(self.estimate)} ({100 * self.level:g} % interval "
            f"{span(self.low, self.high)}, p {p_value(self.p)}): {self.events:,.0f} of {self.total_events:,.0f} "
            f"events on {percent(self.exposure / self.total_exposure)} of {self.unit}.{self._notes}"
        )


class LocationQuotients(Sequence[LocationQuotient]):
    """Quotients of several places, in their order."""

    def __init__(self, results: Sequence[LocationQuotient]) -> None:
        self.results = tuple(results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        """Return one, or some as a table."""
        return LocationQuotients(self.results[index]) if isinstance(index, slice) else self.results[index]

    def __iter__(self) -> Iterator[LocationQuotient]:
        return iter(self.results)

    def to_frame(self) -> Any:
        """Return a row per place."""
        import pandas as pd

        return pd.concat([r.to_frame() for r in self.results], ignore_index=True)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain data."""
        return [r.to_dict() for r in self.results]

    def sentences(self) -> list[str]:
        """Say each in one sentence."""
        return [r.sentence() for r in self.results]


def location_quotient(
    events: ArrayLike,
    exposure: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    total_events: float | None = None,
    total_exposure: float | None = None,
    unit: str = "the area",
    method: Literal["exact", "midp"] = "exact",
    level: float = 0.95,
) -> LocationQuotients:
    """Compare each place's share of events with its share of exposure.

    Parameters
    ----------
    events : whole counts, shape (n,) or one count
    exposure : numbers, shape (n,) or one
        Area, length, residents of each place.
    names : sequence of str, optional
    total_events, total_exposure : float, optional
        Of the whole city; by default the places are the whole, and are summed.
    unit : str
        What the exposure counts, for sentences.
    method : {"exact", "midp"}
    level : float

    Returns
    -------
    LocationQuotients

    Raises
    ------
    InputError
        Negative or fractional counts, exposure that is not positive, more than the total, no events at all.
    """
    level = level_in(level)
    choice(method, "method", ("exact", "midp"))
    e = np.atleast_1d(reals(events, "events", "whole counts from 0"))
    x = np.atleast_1d(reals(exposure, "exposure", "positive numbers"))
    if e.ndim != 1 or e.shape != x.shape or not e.size:
        raise InputError(
            f"events, exposure: found shapes {e.shape} and {x.shape}, expected one number per place in each."
        )
    labels = [f"place {i + 1}" for i in range(e.size)] if names is None else list(map(str, names))
    if len(labels) != e.size:
        raise InputError(f"names: found {len(labels)}, expected {e.size}, one per place.")
    bad = ~(np.isfinite(e) & (e >= 0) & (e == np.floor(e)))
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(f"events of {labels[i]}: found {e[i]:g}, expected a whole count from 0.")
    bad = ~(np.isfinite(x) & (x > 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise InputError(f"exposure of {labels[i]}: found {x[i]:g}, expected a positive number.",
                         hint="Leave places without exposure out.")  # fmt: skip
    all_e = float(e.sum()) if total_events is None else plain_number(total_events, "total_events")
    all_x = float(x.sum()) if total_exposure is None else plain_number(total_exposure, "total_exposure")
    if not (math.isfinite(all_e) and all_e == math.floor(all_e) and all_e >= e.max()):
        raise InputError(f"total_events: found {all_e:g}, expected a whole count of at least {e.max():g}.")
    if all_e == 0:
        raise InputError("events: found none at all; a share of nothing is not defined.")
    if not (math.isfinite(all_x) and all_x >= x.max() * (1 - 1e-12)):
        raise InputError(f"total_exposure: found {all_x:g}, expected at least {x.max():g}.")
    out = []
    for name, count, size in zip(labels, e.tolist(), x.tolist(), strict=True):
        share = min(1.0, size / all_x)
        low, high = _share_limits(count, all_e, level, method)
        lower, upper = stats.binom.cdf(count, all_e, share), stats.binom.sf(count - 1, all_e, share)
        out.append(
            LocationQuotient(
                name=name, estimate=count / all_e / share, low=low / share, high=high / share, level=level,
                p=float(min(1.0, 2 * min(lower, upper))), events=count, total_events=all_e, exposure=size,
                total_exposure=all_x, unit=unit,
                method="exact binomial (Clopper-Pearson)" if method == "exact" else "binomial, mid-P",
                flags=("few-events",) if count < FEW_EVENTS else (),
            )
        )  # fmt: skip
    return LocationQuotients(out)


def quotient_near(
    events: Any,
    features: Any,
    distances: Sequence[float],
    area: Any,
    *,
    name: str = "factor",
    method: Literal["exact", "midp"] = "exact",
    level: float = 0.95,
) -> LocationQuotients:
    """Compare the share of events near a factor with the share of the area that is near it.

    Parameters
    ----------
    events : GeoDataFrame or GeoSeries of points
    features : GeoDataFrame or GeoSeries
        Of the factor, in the CRS of the area.
    distances : sequence of float
        In CRS units, ascending: within each distance, not between two.
    area : GeoDataFrame, GeoSeries or geometry
        The study area; events beyond it take no part.
    name : str
    method, level
        As for `location_quotient`.

    Returns
    -------
    LocationQuotients
        One per distance. The area near is that of buffers of 64 segments a quarter, within the study area; events are
        counted by exact distance.

    Raises
    ------
    InputError
    """
    import shapely

    from rtmdx.evaluate.ground import polygon_of, shapes_of

    whole = polygon_of(area, "area")
    points, near = shapes_of(events, "events", like=area), shapes_of(features, "features", like=area)
    reach = reals(list(distances), "distances", "positive lengths, ascending")
    if not reach.size or not np.isfinite(reach).all() or (reach <= 0).any() or (np.diff(reach) <= 0).any():
        raise InputError(f"distances: found {list(distances)}, expected positive lengths, ascending.")
    if (shapely.get_type_id(points) != 0).any():
        raise InputError("events: expected points.", hint="Use their centroids.")
    shapely.prepare(whole)
    inside = points[shapely.intersects(whole, points)]
    if not inside.size:
        raise InputError(f"events: none of {points.size:,} is in the area.", hint="Check the CRS.")
    far = shapely.STRtree(near).query_nearest(inside, return_distance=True, all_matches=False)[1]
    counts = [int((far <= d).sum()) for d in reach]
    sizes = [float(shapely.union_all(shapely.buffer(near, d, quad_segs=64)).intersection(whole).area) for d in reach]
    if sizes[0] <= 0:
        raise InputError(f"features: none comes within {reach[0]:g} of the area.")
    return location_quotient(
        counts, sizes, names=[f"within {d:g} of {name}" for d in reach], total_events=inside.size,
        total_exposure=float(whole.area), method=method, level=level,
    )  # fmt: skip


def _share_limits(e: float, n: float, level: float, method: str) -> tuple[float, float]:
    tail = (1 - level) / 2
    low = float(special.betaincinv(e, n - e + 1, tail)) if e > 0 else 0.0
    high = float(special.betaincinv(e + 1, n - e, 1 - tail)) if e < n else 1.0
    if method == "exact":
        return low, high

    def above(p: float) -> float:  # P(X > e) + P(X = e) / 2
        return float(stats.binom.sf(e, n, p) + 0.5 * stats.binom.pmf(e, n, p))

    tops = 1 - 1e-15
    lower = float(optimize.brentq(lambda p: above(p) - tail, 0.0, tops, xtol=1e-14)) if e > 0 else 0.0
    upper = float(optimize.brentq(lambda p: above(p) - (1 - tail), 0.0, tops, xtol=1e-14)) if e < n else 1.0
    return lower, upper
