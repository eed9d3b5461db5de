"""What came of a plan: a displacement difference per action and for all of them, with counts, checks and caveats."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rtmdx.evaluate.plan_log import PlanLog
from rtmdx.evaluate.results import CAVEATS, Effect, amount, plain, signed
from rtmdx.report.numbers import count, number, p_value, plural

__all__ = ["PlanCheck", "PlanEffect", "PlanEvaluation", "PlanStep", "RoleCounts"]


@dataclass(frozen=True)
class RoleCounts:
    """Counts of one role.

    Attributes
    ----------
    role : {"treated", "control", "displacement", "displacement control"}
    n_places : int
        0 for rings.
    area : float
    events_before, events_after : int
        Events behind the figures; one that several records use is counted once.
    before, after : float
        As the difference takes them: weighted, and before scaled to the days after.
    """

    role: str
    n_places: int
    area: float
    events_before: int
    events_after: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """After less before."""
        return self.after - self.before


@dataclass(frozen=True)
class PlanCheck:
    """A difference that should be near 0 if the comparison is sound.

    Attributes
    ----------
    name : str
    estimate, low, high, p : float
    """

    name: str
    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class PlanStep:
    """The difference over the first part of each period after: to `days` days after the start (of the longest)."""

    days: float
    estimate: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PlanEffect(Effect):
    """The weighted displacement difference of an action, in events of the period after.

    Attributes
    ----------
    action : str
    places : tuple of str
    n_records : int
    n_controls : int
    variance, z : float
    roles : tuple of RoleCounts
    local, displaced : (float, float, float)
        Parts of the difference within the places and in their rings, with intervals.
    percent : float
        The difference within the places over what they were expected to have, treated before + the controls' change;
        its interval is that of the difference over the same number.
    percent_low, percent_high : float
    pretrend : PlanCheck or None
        The same comparison moved back by one period, when nothing had begun; None where there are no events of then.
    permutation : PlanCheck or None
        The local difference with the interval and p that random sets of control places give.
    steps : tuple of PlanStep
        The difference as it grew.
    first, last : str
        First and last day used.
    """

    action: str
    places: tuple[str, ...]
    n_records: int
    n_controls: int
    variance: float
    z: float
    roles: tuple[RoleCounts, ...]
    local: tuple[float, float, float]
    displaced: tuple[float, float, float]
    percent: float
    percent_low: float
    percent_high: float
    pretrend: PlanCheck | None
    permutation: PlanCheck | None
    steps: tuple[PlanStep, ...] = field(compare=False)
    first: str
    last: str

    def role(self, name: str) -> RoleCounts | None:
        """Return the counts of a role."""
        return next((r for r in self.roles if r.role == name), None)

    def to_frame(self) -> Any:
        """Return one row."""
        import pandas as pd

        row: dict[str, Any] = {
            "action": self.action, "places": len(self.places), "records": self.n_records, "controls": self.n_controls,
            "first": self.first, "last": self.last,
        }  # fmt: skip
        for r in self.roles:
            name = r.role.replace(" ", "_")
            row |= {
                f"{name}_before": r.before,
                f"{name}_after": r.after,
                f"{name}_events": r.events_before + r.events_after,
            }
        row |= {
            "wdd": self.estimate, "low": self.low, "high": self.high, "level": self.level,
            "se": math.sqrt(self.variance), "z": self.z, "p": self.p, "local": self.local[0],
            "local_low": self.local[1], "local_high": self.local[2], "displaced": self.displaced[0],
            "displaced_low": self.displaced[1], "displaced_high": self.displaced[2], "percent": 100 * self.percent,
        }  # fmt: skip
        for name, check in (("pretrend", self.pretrend), ("permutation", self.permutation)):
            if check is not None:
                row |= {
                    name: check.estimate,
                    f"{name}_low": check.low,
                    f"{name}_high": check.high,
                    f"{name}_p": check.p,
                }
        return pd.DataFrame([{**row, "method": self.method, "flags": ", ".join(self.flags)}])

    def roles_frame(self) -> Any:
        """Return a row per role."""
        import pandas as pd

        return pd.DataFrame([{"action": self.action, **plain(r), "change": r.change} for r in self.roles])

    def sentence(self) -> str:
        """Say it in one sentence."""
        counts = ", ".join(f"{r.role} {amount(r.before)} to {amount(r.after)}" for r in self.roles)
        beside = ""
        if math.isfinite(self.percent):
            beside = f", {number(100 * self.percent)} % of those expected in the places"
        return (
            f"{self.action[:1].upper()}{self.action[1:]} in {plural(len(self.places), 'place')}: weighted displacement "
            f"difference {signed(self.estimate)} events ({self.interval}, p {p_value(self.p)}; {counts}; local part "
            f"{signed(self.local[0])}{beside}).{self._notes}"
        )

    def verdict(self) -> str:
        """Say what it amounts to, in plain words."""
        if self.covers_zero:
            return (
                f"The data do not tell whether {self.action!r} went with fewer or more events: anything from "
                f"{signed(self.low)} to {signed(self.high)} is compatible with them."
            )
        word = "fewer" if self.estimate < 0 else "more"
        said = (
            f"{count(abs(self.estimate))} events {word} than the controls' change would have brought went with "
            f"{self.action!r}; from {signed(self.low)} to {signed(self.high)} is compatible with Poisson counts"
        )
        check = self.permutation
        if check is not None and check.low <= 0 <= check.high:
            return (
                f"{said}. But places where nothing was done often differ as much (p {p_value(check.p)} among "
                f"{check.name}), so the data do not tell."
            )
        return f"{said}."


@dataclass(frozen=True, eq=False)
class PlanEvaluation:
    """A plan log, evaluated.

    Attributes
    ----------
    effects : tuple of PlanEffect
        All actions together first, if there are several; then each.
    areas : GeoDataFrame
        Places and rings with their roles, events before and after (of all actions together) and control weights.
    log : PlanLog
    outcome : str
    settings : dict
        What was asked for.
    coverage : (str, str)
        First and last day of the events.
    n_events : int
    """

    effects: tuple[PlanEffect, ...]
    areas: Any
    log: PlanLog
    outcome: str
    settings: dict[str, Any]
    coverage: tuple[str, str]
    n_events: int

    @property
    def caveats(self) -> tuple[str, ...]:
        """What every reader of the figures has to know, each once."""
        return tuple(CAVEATS.get(f, f) for f in dict.fromkeys(f for e in self.effects for f in e.flags))

    def effect(self, action: str) -> PlanEffect:
        """Return the effect of an action."""
        from rtmdx.errors import InputError

        for e in self.effects:
            if e.action == action:
                return e
        raise InputError(f"no action {action!r}; there are {', '.join(e.action for e in self.effects)}.")

    def to_frame(self) -> Any:
        """Return a row per action."""
        import pandas as pd

        return pd.concat([e.to_frame() for e in self.effects], ignore_index=True)

    def roles_frame(self) -> Any:
        """Return a row per action and role."""
        import pandas as pd

        return pd.concat([e.roles_frame() for e in self.effects], ignore_index=True)

    def sentences(self) -> list[str]:
        """Say all of it."""
        return [e.sentence() for e in self.effects]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; geometry is left to `areas`."""
        return {
            "schema_version": 1,
            "status": "ok",
            "outcome": self.outcome,
            "events": self.n_events,
            "coverage": list(self.coverage),
            "settings": plain(self.settings),
            "log": self.log.to_dict(),
            "effects": [{**e.to_dict(), "warnings": list(e.warnings), "verdict": e.verdict()} for e in self.effects],
            "caveats": list(self.caveats),
            "areas": plain(self.areas.drop(columns="geometry").to_dict(orient="records")),
        }
