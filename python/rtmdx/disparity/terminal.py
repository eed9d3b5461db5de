"""A study's disparity on the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtmdx.disparity.assessment import Assessment
from rtmdx.disparity.results import FLAGS

__all__ = ["print_assessment"]


def print_assessment(console: Console, found: Assessment) -> None:
    """Print rates, ratios, adjusted ratios and the spread over denominators, then what the flags mean."""
    rates: list[Any] = list(found.comparison.rates)
    ratios: list[Any] = list(found.comparison.ratios)
    first = rates[0]
    console.print(f"[bold]{escape(found.name)}[/]: {escape(found.outcome)} by group", highlight=False)
    unit = f"{first.per:,.0f} {first.unit}"
    table = _table(f"Rate per {unit}", ">Events", f">{first.unit.capitalize()}", ">Rate", f">{100 * first.level:g} %")
    for r in rates:
        table.add_row(
            escape(r.group), f"{r.events:,.0f}", f"{r.exposure:,.0f}", f"{r.estimate:,.2f}", _interval(r) + _marks(r)
        )
    console.print(table)
    console.print()
    table = _table(
        f"Ratio to {ratios[0].reference}" if ratios else "Ratio", ">Crude", ">Interval", ">Adjusted", ">Interval"
    )
    fits: list[Any] = list(found.adjusted.adjusted) if found.adjusted is not None else [None] * len(ratios)
    for r, a in zip(ratios, fits, strict=True):
        more = ("", "") if a is None else (f"{a.estimate:,.2f}", _interval(a) + _marks(a))
        table.add_row(escape(r.group), f"{r.estimate:,.2f}", _interval(r) + _marks(r), *more)
    console.print(table)
    if ratios:
        how = ratios[0].pooling.replace("_", " ")
        console.print(f"[dim]{how.capitalize()}, {escape(ratios[0].method)} interval.[/]", highlight=False)
    if found.adjusted is not None and fits:
        console.print(
            f"[dim]Adjusted for {escape(fits[0].adjusted)}: {escape(fits[0].method)}, {found.adjusted.n_clusters:,} "
            "places.[/]",
            highlight=False,
        )
        for said in found.adjusted.sentences()[2 * len(fits) :]:
            console.print(escape(said), highlight=False)
    for s in found.sensitivity:
        console.print()
        console.print(escape(s.sentence()), highlight=False)
    flags = dict.fromkeys(f for r in [*rates, *ratios, *(a for a in fits if a is not None)] for f in r.flags)
    for flag in flags:
        console.print(f"[yellow]{_mark(flag)}[/] {escape(FLAGS.get(flag, flag))}", highlight=False)


def _interval(r: Any) -> str:
    return f"{r.low:,.2f} to {r.high:,.2f}"


def _mark(flag: str) -> str:
    known = list(FLAGS)
    return "*" * (1 + known.index(flag)) if flag in known[:2] else "†" if flag == "enforcement" else "‡"


def _marks(r: Any) -> str:
    return "".join(f" {_mark(f)}" for f in r.flags)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
