"""Rates of groups and their ratios to a reference, from a long table of group x area x period.

The same table gives different ratios by how areas and periods are put together, so the rule is always named: CPE's
figures for St. Louis change from 4.1 to 4.3 with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from rtmdx.disparity.homogeneity import Heterogeneity, heterogeneity
from rtmdx.disparity.intervals import RatioMethod, one_of, rate_interval, ratio_interval, tail_of
from rtmdx.disparity.results import PersonRatio, PlaceRatio, Rate, Ratio, ResultTable, enforcement_flags, flags_of
from rtmdx.disparity.standardise import mantel_haenszel
from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["POOLINGS", "Comparison", "compare"]

Float = NDArray[np.float64]
Pooling = Literal["pooled", "mean_of_ratios", "ratio_of_mean_rates", "mantel_haenszel"]
POOLINGS = ("pooled", "mean_of_ratios", "ratio_of_mean_rates", "mantel_haenszel")


@dataclass(frozen=True)
class Comparison:
    """Rates by group, and ratios to the reference.

    Attributes
    ----------
    rates : ResultTable of Rate
        Of every group, pooled over all strata.
    ratios : ResultTable of PersonRatio or PlaceRatio
        Of every group but the reference.
    n_strata : int
    heterogeneity : tuple of Heterogeneity
        By group, where there are strata that can be compared: do they share one ratio?
    """

    rates: ResultTable
    ratios: ResultTable
    n_strata: int
    heterogeneity: tuple[Heterogeneity, ...] = ()

    def sentences(self) -> list[str]:
        """Say all of it."""
        return [*self.rates.sentences(), *self.ratios.sentences(), *(h.sentence() for h in self.heterogeneity)]


def compare(
    table: pd.DataFrame,
    *,
    by: str = "group",
    reference: str,
    events: str = "events",
    benchmark: str = "residents",
    pooling: Pooling = "pooled",
    strata: Sequence[str] = (),
    kind: Literal["person", "place"] = "person",
    method: RatioMethod = "midp",
    level: float = 0.95,
    per: float = 1000.0,
    outcome: str | None = None,
    enforcement: bool | None = None,
) -> Comparison:
    """Compare the rates of groups with that of a reference group.

    Parameters
    ----------
    table : DataFrame
        Long: one row per group and stratum (area, period), with counts and exposures.
    by, events, benchmark : str
        Columns of the group, of the events, and of what they are held against: residents, stops, arrests, calls.
    reference : str
        The group the others are compared with.
    pooling : {"pooled", "mean_of_ratios", "ratio_of_mean_rates", "mantel_haenszel"}
        Sums over strata compared; the mean of the strata's ratios; the ratio of the strata's mean rates; or the ratio
        common to all strata. All but the first need `strata`.
    strata : sequence of str
        Columns whose combinations are the strata; rows that agree in them and the group are added up.
    kind : {"person", "place"}
        Whether events are of persons of a group, or in the places of a group.
    method : str
        Interval of a pooled ratio, see `rtmdx.disparity.intervals.ratio_interval`; the means have normal limits of
        the log ratio (delta method, Poisson counts).
    level : float
    per : float
        Rates are per so many units of the benchmark.
    outcome : str, optional
        What the events are, the column's name by default; an outcome made by enforcement is flagged.
    enforcement : bool, optional
        Whether it is, in place of what the name says.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        A column or group is missing; a count is negative or no whole number; events without exposure; a row twice; a
        group without a stratum that others have; a ratio of a stratum that is not defined.
    """
    one_of("pooling", pooling, POOLINGS)
    one_of("kind", kind, ("person", "place"))
    if pooling != "pooled" and not strata:
        raise InputError(f"pooling {pooling!r} needs strata.", hint="Name the columns to average over, such as year.")
    counts, exposure, groups, labels = _cube(table, by, events, benchmark, tuple(strata))
    if reference not in groups:
        raise InputError(f"reference: found {reference!r}, expected one of {', '.join(map(repr, groups))}.")
    made = enforcement_flags(outcome or events, enforcement)
    r = groups.index(reference)
    total, size = counts.sum(axis=1), exposure.sum(axis=1)
    _require_exposure(total, size, groups, benchmark)
    low, high = rate_interval(total, size, level=level)
    rates = [
        Rate(
            estimate=per * total[i] / size[i],
            low=per * float(low[i]),
            high=per * float(high[i]),
            level=level,
            method="exact",
            flags=flags_of(per * total[i] / size[i], per * float(low[i]), per * float(high[i]), total[i]) + made,
            group=group,
            events=total[i],
            exposure=size[i],
            unit=benchmark,
            per=per,
        )
        for i, group in enumerate(groups)
    ]
    ratios = []
    for i, group in enumerate(groups):
        if i == r:
            continue
        value, limits, how = _ratio(counts, exposure, i, r, pooling, method, level, group, labels)
        common: dict[str, Any] = {
            "estimate": value,
            "low": limits[0],
            "high": limits[1],
            "level": level,
            "method": how,
            "flags": flags_of(value, *limits, total[i], total[r]) + made,
            "group": group,
            "reference": reference,
            "events": total[i],
            "reference_events": total[r],
            "exposure": size[i],
            "reference_exposure": size[r],
            "benchmark": benchmark,
            "pooling": pooling,
        }
        ratio: Ratio = PersonRatio(**common) if kind == "person" else PlaceRatio(**common)
        ratios.append(ratio)
    tests = [_heterogeneity(counts, exposure, i, r, groups) for i in range(len(groups)) if i != r and len(labels) > 1]
    return Comparison(ResultTable(rates), ResultTable(ratios), len(labels), tuple(t for t in tests if t is not None))


def _heterogeneity(counts: Float, exposure: Float, i: int, r: int, groups: list[str]) -> Heterogeneity | None:
    """The test of one group's strata; None where they leave nothing to compare."""
    try:
        return heterogeneity(counts[i], exposure[i], counts[r], exposure[r], group=groups[i], reference=groups[r])
    except InputError:
        return None


def _cube(
    table: pd.DataFrame, by: str, events: str, benchmark: str, strata: tuple[str, ...]
) -> tuple[Float, Float, list[str], list[tuple[Any, ...]]]:
    """Counts and exposures, (n_groups, n_strata), with the names of both."""
    missing = [c for c in (by, events, benchmark, *strata) if c not in table.columns]
    if missing:
        raise InputError(f"table: no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}.")
    if not len(table):
        raise InputError("table: no rows.")
    for column in (by, *strata):
        if table[column].isna().any():
            i = int(np.argmax(table[column].isna().to_numpy()))
            raise InputError(f"table, row {i}: no {column}.", hint="Name it, or leave the row out.")
    for column in (events, benchmark):
        try:
            values = table[column].to_numpy(dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"table, column {column!r}: expected numbers.") from None
        whole = column == events
        bad = ~(np.isfinite(values) & (values >= 0)) | (whole & (values != np.rint(values)))
        if bad.any():
            i = int(np.argmax(bad))
            what = "a whole number >= 0" if whole else "a number >= 0"
            raise InputError(f"table, row {i}, {column}: found {values[i]:g}, expected {what}.")
    rest = [c for c in table.columns if c not in (events, benchmark)]
    twice = table.duplicated(subset=rest)
    if twice.any():
        i = int(np.argmax(twice.to_numpy()))
        said = ", ".join(f"{c} {table[c].iloc[i]!r}" for c in (by, *strata))
        raise InputError(f"table, row {i}: a second row of {said}.", hint="Add the two up, or drop one.")
    keys = [by, *strata]
    sums = table[[*keys, events, benchmark]].groupby(keys, sort=True, observed=True)[[events, benchmark]].sum()
    groups = [str(g) for g in sorted({str(v) for v in table[by]})]
    by_name: dict[tuple[str, tuple[Any, ...]], tuple[float, float]] = {}
    for index, row in zip(sums.index, sums.to_numpy(dtype=np.float64), strict=True):
        parts = index if isinstance(index, tuple) else (index,)
        by_name[str(parts[0]), tuple(parts[1:])] = (float(row[0]), float(row[1]))
    labels = sorted({s for _, s in by_name}, key=lambda s: tuple(map(str, s)))
    for group in groups:
        for label in labels:
            if (group, label) not in by_name:
                said = ", ".join(f"{c} {v!r}" for c, v in zip(strata, label, strict=True))
                raise InputError(
                    f"table: {group} has no row for {said}, which other groups have.",
                    hint="Add the row (with 0 events if that is what it is), or leave the stratum out for all.",
                )
    cube = np.array([[by_name[g, s] for s in labels] for g in groups])
    return cube[..., 0], cube[..., 1], groups, labels


def _require_exposure(total: Float, size: Float, groups: list[str], benchmark: str) -> None:
    for group, x, n in zip(groups, total, size, strict=True):
        if n <= 0:
            raise InputError(
                f"{group}: {x:.0f} events but no {benchmark}; it has no rate.", hint="Leave the group out."
            )


def _ratio(
    counts: Float,
    exposure: Float,
    i: int,
    r: int,
    pooling: Pooling,
    method: RatioMethod,
    level: float,
    group: str,
    labels: list[tuple[Any, ...]],
) -> tuple[float, tuple[float, float], str]:
    """A ratio, its limits, and how they were found."""
    a, b, na, nb = counts[i], counts[r], exposure[i], exposure[r]
    if pooling == "pooled":
        x, y, n, m = a.sum(), b.sum(), na.sum(), nb.sum()
        low, high = ratio_interval(x, n, y, m, level=level, method=method)
        value = x / n / (y / m) if y > 0 else float("inf") if x > 0 else float("nan")
        return value, (float(low), float(high)), method
    empty = (na <= 0) | (nb <= 0)
    if empty.any():
        raise InputError(
            f"{group}, {_named(labels, empty)}: no exposure, so that the stratum has no rate.",
            hint="Use larger strata, or pooling='pooled'.",
        )
    if pooling == "mantel_haenszel":
        found = mantel_haenszel(a, na, b, nb, level=level)
        return found.estimate, (found.low, found.high), found.method
    z = float(special.ndtri(1.0 - tail_of(level)))
    if pooling == "mean_of_ratios":
        undefined = (b == 0) | (a == 0)
        if undefined.any():
            raise InputError(
                f"{group}, {_named(labels, undefined)}: {a[undefined][0]:.0f} and {b[undefined][0]:.0f} events, so "
                "that its ratio, or its spread, is not defined.",
                hint="Use larger strata, or pooling='pooled' or 'ratio_of_mean_rates'.",
            )
        each = a / na / (b / nb)
        value = float(each.mean())
        spread = float(np.sqrt((each**2 * (1 / a + 1 / b)).sum())) / len(each) / value
    else:
        top, bottom = (a / na).mean(), (b / nb).mean()
        if top == 0 or bottom == 0:
            raise InputError(f"{group}: no events in any stratum of one of the two; the ratio is not defined.")
        value = float(top / bottom)
        k = len(a)
        spread = float(np.sqrt((a / na**2).sum() / (k * top) ** 2 + (b / nb**2).sum() / (k * bottom) ** 2))
    return value, (value * float(np.exp(-z * spread)), value * float(np.exp(z * spread))), "log, delta method"


def _named(labels: list[tuple[Any, ...]], where: NDArray[np.bool_]) -> str:
    return " ".join(str(v) for v in labels[int(np.argmax(where))])
