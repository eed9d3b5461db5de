"""A study's disparity on the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtmdx.disparity.assessment import Assessment
from rtmdx.disparity.comparison import Comparison
from rtmdx.disparity.exposure_chart import fifths
from rtmdx.disparity.exposure_results import ExposureResult
from rtmdx.disparity.page import exposure_rows
from rtmdx.disparity.results import FLAGS

__all__ = ["print_assessment"]


def print_assessment(console: Console, found: Assessment) -> None:
    """Print rates, ratios, adjusted ratios, the spread over denominators and exposures, then what the flags mean."""
    console.print(f"[bold]{escape(found.title)}[/]", highlight=False)
    shown: list[Any] = []
    if found.comparison is not None:
        shown += _print_comparison(console, found, found.comparison)
    for sentence in [*(h.sentence() for h in found.heterogeneity), *(s.sentence() for s in found.sensitivity)]:
        console.print()
        console.print(escape(sentence), highlight=False)
    if found.exposure is not None:
        shown += _print_exposure(console, found.exposure)
    flags = dict.fromkeys(f for r in shown for f in r.flags if f != "no-interval")
    for flag in flags:
        console.print(f"[yellow]{_mark(flag)}[/] {escape(FLAGS.get(flag, flag))}", highlight=False)


def _print_comparison(console: Console, found: Assessment, comparison: Comparison) -> list[Any]:
    rates: list[Any] = list(comparison.rates)
    ratios: list[Any] = list(comparison.ratios)
    first = rates[0]
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
    return [*rates, *ratios, *(a for a in fits if a is not None)]


def _print_exposure(console: Console, found: ExposureResult) -> list[Any]:
    """Print a row a group, shares of every group below one another by fifths of everyone, and the notes."""
    first: Any = found.means[0]
    console.print(f"\n[bold]Who lives where the landscape is risky[/] (mean {escape(first.risk)})", highlight=False)
    head, rows = exposure_rows(found)
    cut = len(head) - 1 - len({t.top for t in found.top})  # type: ignore[attr-defined]  # shares, and the index
    for start, stop in ((1, cut), (cut, len(head))):
        titles = [title.replace("In the top", "Top").removesuffix(" of cells") for title in head[start:stop]]
        table = _table(head[0], *(f">{title}" for title in titles))
        for row in rows:
            table.add_row(escape(row[0]), *(escape(v) for v in row[start:stop]))
        console.print(table)
        console.print()
    how = "no intervals" if first.method == "none" else f"intervals {100 * first.level:g} %, {first.method}"
    console.print(
        f"[dim]{found.n_cells:,} cells, allocation {escape(first.allocation)}; {escape(how)}. In brackets after a "
        "share of the top: what cells of equal risk at the border allow.[/]",
        highlight=False,
    )
    console.print()
    table = _table("Residents by risk, lowest first", *(f">{20 * k} to {20 * (k + 1)} %" for k in range(5)))
    for name, shares in fifths(found).items():
        table.add_row(escape(name), *(f"{100 * s:.1f} %" for s in shares))
    console.print(table)
    console.print("[dim]Share of each group among that fifth of all residents; 20 % each is equal exposure.[/]")
    for note in found.notes:
        console.print(escape(note), highlight=False)
    return [e for t in (found.means, found.ratios, found.top, found.indices) for e in t]


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
