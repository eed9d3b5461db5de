"""Events whose group was not recorded: what the ratio could be, and how many would have to be whose to undo it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rtmdx.disparity.intervals import RatioMethod, checked_counts, checked_exposures, ratio_interval
from rtmdx.disparity.results import PersonRatio, ResultTable, enforcement_flags, flags_of
from rtmdx.errors import InputError

__all__ = ["MissingGroup", "missing_group"]


@dataclass(frozen=True)
class MissingGroup:
    """Bounds of a ratio under events of unknown group.

    Attributes
    ----------
    ratios : ResultTable of PersonRatio
        Labelled "assumption": none of the unknown (left out), as the known ones, all of the reference, all of the
        group.
    low, high : float
        The widest that chance and the unknown together allow: the lower limit when all are of the reference, the
        upper one when all are of the group.
    missing : float
        Events of unknown group.
    share_as_known : float
        Share of the group among the known events of the two.
    tipping_point : float or None
        Share of the unknown that would have to be of the group (the rest of the reference) for the ratio to be
        `value`; None if no share does.
    tipping_point_limit : float or None
        The same for the interval to reach `value`.
    value : float
    """

    ratios: ResultTable
    low: float
    high: float
    missing: float
    share_as_known: float
    tipping_point: float | None
    tipping_point_limit: float | None
    value: float

    def sentence(self) -> str:
        """Say it in one sentence."""
        known: Any = self.ratios[0]
        if not self.missing:
            return f"The group is known of every event. {known.sentence()}"
        if self.tipping_point is None:
            tip = f"No share of them makes the ratio {self.value:g}."
        else:
            tip = (
                f"The ratio is {self.value:g} if {100 * self.tipping_point:.0f} % of them are of {known.group}, who "
                f"are {100 * self.share_as_known:.0f} % of the known."
            )
        lowest, highest = self.ratios[2], self.ratios[3]
        return (
            f"The ratio of {known.group} to {known.reference} is {known.estimate:.2f} without the {self.missing:,.0f} "
            f"events of unknown group, and {lowest.estimate:.2f} to {highest.estimate:.2f} whoever they are of (with "
            f"chance {self.low:.2f} to {self.high:.2f}). {tip}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        names = ("low", "high", "missing", "share_as_known", "tipping_point", "tipping_point_limit", "value")
        return {"ratios": self.ratios.to_dict(), **{n: getattr(self, n) for n in names}}


def missing_group(
    events: dict[str, float],
    exposure: dict[str, float],
    *,
    group: str,
    reference: str,
    missing: float,
    value: float = 1.0,
    benchmark: str = "residents",
    level: float = 0.95,
    method: RatioMethod = "midp",
    outcome: str = "events",
    enforcement: bool | None = None,
) -> MissingGroup:
    """Bound a ratio of two groups when some events have no group recorded.

    Parameters
    ----------
    events, exposure : dict of float
        By group, of the known events.
    group, reference : str
    missing : float
        Events whose group is not known.
    value : float
        What the tipping point is asked of: 1, no disparity.
    benchmark, level, method, outcome, enforcement
        As for `rtmdx.disparity.compare`.

    Returns
    -------
    MissingGroup

    Raises
    ------
    InputError
        A group is unknown, a count is negative or no whole number, or an exposure is not > 0.
    """
    for role, name in (("group", group), ("reference", reference)):
        for what, table in (("events", events), ("exposure", exposure)):
            if name not in table:
                raise InputError(f"{role}: found {name!r}, expected one of {what}: {', '.join(table)}.")
    if group == reference:
        raise InputError(f"group and reference: found {group!r} twice.")
    a, b = (float(checked_counts(f"events of {g}", events[g])) for g in (group, reference))
    na, nb = (float(checked_exposures(f"exposure of {g}", exposure[g])) for g in (group, reference))
    m, aim = float(checked_counts("missing", missing)), float(checked_exposures("value", value))
    if a + b == 0:
        raise InputError(f"events: found none of {group} and {reference}; there is no ratio to bound.")
    share = a / (a + b)
    made = enforcement_flags(outcome, enforcement)

    def ratio(x: float, y: float) -> PersonRatio:
        low, high = (float(v) for v in ratio_interval(x, na, y, nb, level=level, method=method))
        estimate = x / na / (y / nb) if y > 0 else float("inf")
        return PersonRatio(
            estimate=estimate, low=low, high=high, level=level, method=method,
            flags=flags_of(estimate, low, high, x, y) + made, group=group, reference=reference, events=x,
            reference_events=y, exposure=na, reference_exposure=nb, benchmark=benchmark,
        )  # fmt: skip

    mine = float(round(m * share))
    cases = {
        "left out": ratio(a, b),
        "as the known": ratio(a + mine, b + m - mine),
        f"all of {reference}": ratio(a, b + m),
        f"all of {group}": ratio(a + m, b),
    }
    lowest, highest = cases[f"all of {reference}"], cases[f"all of {group}"]
    exact = (aim * (b + m) * na - a * nb) / (m * (nb + aim * na)) if m else float("nan")
    return MissingGroup(
        ratios=ResultTable(list(cases.values()), [{"assumption": k} for k in cases]),
        low=lowest.low,
        high=highest.high,
        missing=m,
        share_as_known=share,
        tipping_point=exact if 0.0 <= exact <= 1.0 else None,
        tipping_point_limit=_limit(ratio, a, b, m, aim),
        value=aim,
    )


def _limit(ratio: Any, a: float, b: float, m: float, value: float) -> float | None:
    """Share, to one event, at which the interval first holds `value` on the way from what is known."""
    known = ratio(a, b)
    if not m or known.low <= value <= known.high:
        return None
    below = known.high < value  # then the group needs more of the unknown, else fewer
    lo, hi = 0, int(m)  # events of the unknown given to the group

    def reached(k: int) -> bool:
        r = ratio(a + k, b + m - k)
        return bool(r.high >= value) if below else bool(r.low <= value)

    if not reached(hi if below else lo):
        return None
    if reached(lo if below else hi):
        return None  # with any share of them
    while hi - lo > 1:
        middle = (lo + hi) // 2
        lo, hi = (lo, middle) if reached(middle) == below else (middle, hi)
    return (hi if below else lo) / m
