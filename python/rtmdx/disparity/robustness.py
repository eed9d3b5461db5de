"""Which denominator? One ratio under every benchmark, pooling rule, unit and cell size, in one table and one chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rtmdx.disparity.comparison import POOLINGS, compare
from rtmdx.disparity.intervals import RatioMethod, one_of
from rtmdx.disparity.results import Ratio
from rtmdx.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Case", "Sensitivity", "sensitivity"]


_COLUMNS = ("estimate", "low", "high", "method", "events", "reference_events")


@dataclass(frozen=True)
class Case:
    """A way to work the ratio out, and what it gives.

    Attributes
    ----------
    table, unit, benchmark, pooling : str
        Which table it is of, over which strata, against what, by which rule.
    ratio : PersonRatio or PlaceRatio, or None
    why : str
        Why there is no ratio; empty where there is.
    """

    table: str
    unit: str
    benchmark: str
    pooling: str
    ratio: Ratio | None
    why: str = ""

    @property
    def label(self) -> str:
        """Say it in a few words."""
        rule = self.pooling.replace("mantel_haenszel", "Mantel-Haenszel").replace("_", " ") + (
            f" over {self.unit}" if self.unit else ""
        )
        return ", ".join(part for part in (self.table, f"per {self.benchmark}", rule) if part)


@dataclass(frozen=True)
class Sensitivity:
    """A ratio worked out in several ways.

    Attributes
    ----------
    cases : tuple of Case
        Those that are not defined are among them.
    group, reference : str
    """

    cases: tuple[Case, ...]
    group: str
    reference: str

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest estimate of all that are defined and finite."""
        found = [c.ratio.estimate for c in self.cases if c.ratio is not None and math.isfinite(c.ratio.estimate)]
        if not found:
            raise InputError("sensitivity: no way to work the ratio out is defined.", hint=self.cases[0].why or None)
        return min(found), max(found)

    def add(self, ratio: Ratio, *, table: str = "", unit: str = "") -> Sensitivity:
        """Return the same with one more case, such as an adjusted ratio or one of exposures to a terrain.

        Raises
        ------
        InputError
            If it is of other groups, or of places where the others are of persons.
        """
        if (ratio.group, ratio.reference) != (self.group, self.reference):
            raise InputError(
                f"a ratio of {ratio.group} to {ratio.reference} does not belong with those of {self.group} to "
                f"{self.reference}."
            )
        kinds = {c.ratio.kind for c in self.cases if c.ratio is not None}
        if kinds and ratio.kind not in kinds:
            raise InputError(f"a ratio of {ratio.kind}s does not belong with those of {kinds.pop()}s.")
        said = table or (f"adjusted for {ratio.adjusted}" if ratio.adjusted else "")
        case = Case(said, unit, ratio.benchmark, ratio.pooling, ratio)
        return Sensitivity((*self.cases, case), self.group, self.reference)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case."""
        import pandas as pd

        rows = []
        for c in self.cases:
            r: Any = c.ratio
            own = {k: getattr(r, k) for k in _COLUMNS} if r else {}
            flags = {"flags": ", ".join(r.flags) if r else "", "why": c.why}
            rows.append(
                {"table": c.table, "unit": c.unit, "benchmark": c.benchmark, "pooling": c.pooling, **own, **flags}
            )
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        cases = [
            {
                "table": c.table, "unit": c.unit, "benchmark": c.benchmark, "pooling": c.pooling, "why": c.why,
                "ratio": c.ratio.to_dict() if c.ratio is not None else None,
            }
            for c in self.cases
        ]  # fmt: skip
        return {"group": self.group, "reference": self.reference, "spread": list(self.spread), "cases": cases}

    def sentence(self) -> str:
        """Say it in one sentence."""
        low, high = self.spread
        defined = [c for c in self.cases if c.ratio is not None and math.isfinite(c.ratio.estimate)]
        ends = [next(c.label for c in defined if c.ratio is not None and c.ratio.estimate == v) for v in (low, high)]
        sides = (
            sum(c.ratio.low > 1.0 for c in defined if c.ratio is not None),
            sum(c.ratio.high < 1.0 for c in defined if c.ratio is not None),
        )
        missing = len(self.cases) - len(defined)
        return (
            f"The ratio of {self.group} to {self.reference} is {low:.2f} ({ends[0]}) to {high:.2f} ({ends[1]}) in "
            f"{len(defined)} ways to work it out; its interval is above 1 in {sides[0]} of them and below 1 in "
            f"{sides[1]}{f'; {missing} more are not defined' if missing else ''}."
        )

    def chart(self) -> str:
        """Draw every case with its interval on one axis, as an SVG that stands alone."""
        from rtmdx.disparity.chart import interval_chart

        title = f"{self.group} beside {self.reference}"
        return interval_chart([c.ratio for c in self.cases], [c.label for c in self.cases], title, "ratio of rates")


def sensitivity(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    group: str,
    reference: str,
    by: str = "group",
    events: str = "events",
    benchmarks: Sequence[str] = ("residents",),
    poolings: Sequence[str] = POOLINGS,
    units: Sequence[str | Sequence[str]] = (),
    kind: Literal["person", "place"] = "person",
    method: RatioMethod = "midp",
    level: float = 0.95,
    outcome: str | None = None,
    enforcement: bool | None = None,
) -> Sensitivity:
    """Work one ratio out in every way asked for.

    Parameters
    ----------
    tables : DataFrame, or mapping of str to DataFrame
        One table, or several by name: of other cell sizes, allocations or periods.
    group, reference : str
    benchmarks : sequence of str
        Columns the events are held against.
    poolings : sequence of str
    units : sequence of str or of sequences of str
        Strata of the rules that need some: a column, such as tract or year, or several together. Without any, only
        sums are compared.
    by, events, kind, method, level, outcome, enforcement
        As for `rtmdx.disparity.compare`.

    Returns
    -------
    Sensitivity
        Where the data do not define a ratio (a stratum without events), the case says why.

    Raises
    ------
    InputError
        A table, column or group is missing or wrong: what would fail in every way.
    """
    import pandas as pd

    named = {"": tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    if not named or not benchmarks or not poolings:
        raise InputError("sensitivity: expected at least one table, benchmark and pooling rule.")
    for rule in poolings:
        one_of("poolings", rule, POOLINGS)
    if group == reference:
        raise InputError(f"group and reference: found {group!r} twice.")
    strata = [(u,) if isinstance(u, str) else tuple(u) for u in units]
    cases = []
    for name, table in named.items():
        _require(table, name, (by, events, *benchmarks, *(c for s in strata for c in s)), by, (group, reference))
        pair = table[table[by].astype(str).isin((group, reference))]
        for benchmark in benchmarks:
            for rule in poolings:
                for columns in [()] if rule == "pooled" else strata:
                    keys = [by, *columns]
                    sums = pair.groupby(keys, as_index=False, observed=True)[[events, benchmark]].sum()
                    ratio, why = None, ""
                    options: dict[str, Any] = {"kind": kind, "method": method, "level": level, "outcome": outcome}
                    try:
                        ratio = compare(
                            sums, by=by, reference=reference, events=events, benchmark=benchmark, pooling=rule,  # type: ignore[arg-type]
                            strata=columns, enforcement=enforcement, **options,
                        ).ratios[0]  # fmt: skip
                    except InputError as error:
                        if rule == "pooled":
                            raise
                        why = error.message
                    cases.append(Case(name, " x ".join(columns), benchmark, rule, ratio, why))
    return Sensitivity(tuple(cases), group, reference)


def _require(table: pd.DataFrame, name: str, columns: tuple[str, ...], by: str, groups: tuple[str, str]) -> None:
    where = f"table {name!r}" if name else "table"
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise InputError(f"{where}: no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}.")
    have = set(table[by].astype(str))
    for group in groups:
        if group not in have:
            raise InputError(f"{where}: found no {group!r}, expected one of {', '.join(map(repr, sorted(have)))}.")
