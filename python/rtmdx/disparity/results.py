"""What a disparity is told with: a figure is never without its interval, counts, benchmark and flags.

A comparison of persons (events per resident of a group) and one of places (events per resident of the areas a group
lives in) answer different questions, so they are different types and cannot be put in one table by accident.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from rtmdx.errors import InputError
from rtmdx.runs.enforcement import made_by_enforcement

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Estimate", "PersonRatio", "PlaceRatio", "Rate", "Ratio", "ResultTable", "enforcement_flags", "flags_of"]

FEW_EVENTS = 10
WIDE = 1.6  # width of the interval beside the estimate

FLAGS = {
    "few-events": f"fewer than {FEW_EVENTS} events",
    "wide-interval": "the interval is wider than 160 % of the estimate",
    "no-events": "no events: only one end of the interval is known",
    "enforcement": "the outcome is made by enforcement itself: it shows where police act as well as what they meet",
    "few-clusters": "fewer than 30 places: the interval is too narrow",
    "infra-marginality": "hit rates are of the average search, decisions of the marginal one: groups held to one "
    "standard can differ in them, and groups held to different standards agree",
    "crude": "unadjusted: groups may differ in more than what is compared",
    "no-interval": "no source of uncertainty was given, so there is no interval",
    "no-risk": "some residents live where there is no risk figure, and are left out",
    "no-residents": "the group has no residents here, so the figure is not defined",
    "negative-risk": "the risk has values below 0, for which the figure is not defined",
}
"""Codes of the flags, and what each says."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval.

    Attributes
    ----------
    estimate, low, high : float
        NaN where it is not defined, which a flag then says; infinite where one end is not known.
    level : float
        Probability of the interval.
    method : str
        Of the interval.
    flags : tuple of str
        Codes; `FLAGS` has the sentences.
    """

    estimate: float
    low: float
    high: float
    level: float
    method: str
    flags: tuple[str, ...] = ()

    @property
    def unreliable(self) -> bool:
        """Whether there are too few events, or the interval is too wide, to say much."""
        return bool({"few-events", "wide-interval", "no-events"} & set(self.flags))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The flags as sentences."""
        return tuple(FLAGS.get(f, f) for f in self.flags)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; what is not finite is None, or "inf"."""
        out: dict[str, Any] = {"type": type(self).__name__}
        for f in fields(self):
            value = getattr(self, f.name)
            out[f.name] = _plain(value)
        return out

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_frame(self) -> pd.DataFrame:
        """Return one row."""
        import pandas as pd

        row = {f.name: getattr(self, f.name) for f in fields(self)}
        return pd.DataFrame([{**row, "flags": ", ".join(self.flags)}])

    def sentence(self) -> str:
        """Say it in one sentence."""
        return f"{_number(self.estimate)} ({_interval(self)}){_said(self)}"

    def chart(self) -> str:
        """Draw it with its interval, as an SVG that stands alone."""
        return ResultTable([self]).chart()


@dataclass(frozen=True, kw_only=True)
class Rate(Estimate):
    """Events per unit of exposure.

    Attributes
    ----------
    group : str
    events, exposure : float
    unit : str
        What the exposure counts, such as "residents".
    per : float
        The rate and its interval are per so many units.
    """

    group: str
    events: float
    exposure: float
    unit: str
    per: float = 1.0

    def sentence(self) -> str:
        """Say it in one sentence."""
        return (
            f"{self.group}: {_number(self.estimate)} per {self.per:,.0f} {self.unit} ({_interval(self)}), "
            f"{self.events:,.0f} events over {self.exposure:,.0f} {self.unit}{_said(self)}"
        )


@dataclass(frozen=True, kw_only=True)
class Ratio(Estimate):
    """How many times the rate of a group is that of the reference.

    Attributes
    ----------
    group, reference : str
    events, reference_events, exposure, reference_exposure : float
        What it is made of, summed over areas and periods.
    benchmark : str
        What the exposure counts: residents, stops, arrests, calls.
    pooling : {"pooled", "mean_of_ratios", "ratio_of_mean_rates"}
        How areas and periods were put together; with one of each there is no difference.
    adjusted : str
        What it is adjusted for; empty for a crude ratio.
    """

    kind: ClassVar[str] = ""
    _subject: ClassVar[str] = ""  # how a sentence about it begins; {} is the group

    group: str
    reference: str
    events: float
    reference_events: float
    exposure: float
    reference_exposure: float
    benchmark: str
    pooling: str = "pooled"
    adjusted: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            raise InputError("a Ratio is either a PersonRatio or a PlaceRatio.")

    def sentence(self) -> str:
        """Say it in one sentence."""
        adjusted = f", adjusted for {self.adjusted}" if self.adjusted else ", unadjusted"
        subject = self._subject.format(self.group)
        return (
            f"{subject} {_number(self.estimate)} times that of {self.reference} ({_interval(self)}; "
            f"{self.events:,.0f} events over {self.exposure:,.0f} {self.benchmark}, against "
            f"{self.reference_events:,.0f} over {self.reference_exposure:,.0f}; "
            f"{self.pooling.replace('_', ' ')}{adjusted}){_said(self)}"
        )


@dataclass(frozen=True, kw_only=True)
class PersonRatio(Ratio):
    """Events that happened to persons of a group, per person of it, beside those of the reference group."""

    kind: ClassVar[str] = "person"
    _subject: ClassVar[str] = "The rate of {} is"


@dataclass(frozen=True, kw_only=True)
class PlaceRatio(Ratio):
    """Events in the places of a group, whoever they happened to, beside those in the reference's places."""

    kind: ClassVar[str] = "place"
    _subject: ClassVar[str] = "The rate in the places of {} is"


class ResultTable(Sequence[Estimate]):
    """Several results of one type, as a table.

    Parameters
    ----------
    results : sequence of Estimate
    labels : sequence of dict, optional
        What each row is about besides its own fields: area, year, pooling rule.

    Raises
    ------
    InputError
        If the results are not of one type: person-based and place-based ratios do not belong in one table.
    """

    def __init__(self, results: Sequence[Estimate], labels: Sequence[dict[str, Any]] | None = None) -> None:
        kinds = sorted({type(r).__name__ for r in results})
        if len(kinds) > 1:
            raise InputError(f"a table holds results of one type, found {' and '.join(kinds)}.")
        self.results = tuple(results)
        self.labels = tuple({} for _ in results) if labels is None else tuple(dict(label) for label in labels)
        if len(self.labels) != len(self.results):
            raise InputError(f"{len(self.labels)} labels were given for {len(self.results)} results.")

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        """Return one result, or some of them as a table."""
        if isinstance(index, slice):
            return ResultTable(self.results[index], self.labels[index])
        return self.results[index]

    def __iter__(self) -> Iterator[Estimate]:
        return iter(self.results)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per result, labels first."""
        import pandas as pd

        rows = []
        for label, r in zip(self.labels, self.results, strict=True):
            own = {f.name: getattr(r, f.name) for f in fields(r)}
            rows.append({**label, **own, "flags": ", ".join(r.flags)})
        return pd.DataFrame(rows)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain data."""
        return [
            {**{k: _plain(v) for k, v in label.items()}, **r.to_dict()}
            for label, r in zip(self.labels, self.results, strict=True)
        ]

    def chart(self) -> str:
        """Draw every result with its interval, as an SVG that stands alone."""
        from rtmdx.disparity.chart import interval_chart

        labels = [
            ", ".join(map(str, [*label.values(), *([group] if (group := getattr(r, "group", "")) else [])]))
            for label, r in zip(self.labels, self.results, strict=True)
        ]
        ratio = bool(self.results) and isinstance(self.results[0], Ratio)
        return interval_chart(self.results, labels, "Results", "ratio of rates" if ratio else "estimate")

    def sentences(self) -> list[str]:
        """Say each in one sentence."""
        out = []
        for label, r in zip(self.labels, self.results, strict=True):
            head = ", ".join(str(v) for v in label.values())
            out.append(f"{head}: {r.sentence()}" if head else r.sentence())
        return out


def flags_of(estimate: float, low: float, high: float, *events: float) -> tuple[str, ...]:
    """Return the flags that follow from a figure, its interval and the counts it rests on."""
    found = []
    if min(events) == 0:
        found.append("no-events")
    elif min(events) < FEW_EVENTS:
        found.append("few-events")
    if not (math.isfinite(low) and math.isfinite(high)) or high - low > WIDE * estimate:
        found.append("wide-interval")
    return tuple(found)


def enforcement_flags(outcome: str, enforcement: bool | None = None) -> tuple[str, ...]:
    """Return the flag of an outcome that enforcement makes: as told, or by the words in its name."""
    made = made_by_enforcement(outcome) is not None if enforcement is None else enforcement
    return ("enforcement",) if made else ()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    item = getattr(value, "item", None)
    return _plain(item()) if callable(item) and getattr(value, "ndim", 1) == 0 else value


def _number(value: float) -> str:
    if math.isnan(value):
        return "not defined"
    if not math.isfinite(value):
        return "unbounded"
    digits = 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _interval(e: Estimate) -> str:
    return f"{100 * e.level:g} % interval {_number(e.low)} to {_number(e.high)}"


def _said(e: Estimate) -> str:
    return f". Note: {'; '.join(e.warnings)}." if e.flags else "."
