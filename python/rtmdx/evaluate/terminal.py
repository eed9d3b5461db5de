"""An evaluation on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtmdx.evaluate.assessment import Assessment
from rtmdx.evaluate.results import amount, signed
from rtmdx.report.numbers import count, number, p_value, plural

__all__ = ["print_assessment"]


def print_assessment(console: Console, found: Assessment) -> None:
    """Print differences, counts before and after, checks, verdicts and caveats."""
    e = found.evaluation
    first = e.effects[0]
    console.print(f"[bold]{escape(found.name)}[/]: {escape(e.outcome)}", highlight=False)
    console.print(
        f"[dim]{count(e.n_events)} events, {e.coverage[0]} to {e.coverage[1]}; {plural(len(e.log), 'record')} in "
        f"{plural(len(e.log.places), 'place')}; {plural(first.n_controls, 'control')}.[/]",
        highlight=False,
    )
    console.print()
    table = _table(
        "Action", ">Places", ">WDD", f">{100 * first.level:g} % interval", ">z", ">p", ">Within, of expected"
    )
    for x in e.effects:
        share = f"{number(100 * x.percent)} %" if x.percent == x.percent else "–"
        table.add_row(
            escape(x.action), count(len(x.places)), signed(x.estimate), f"{signed(x.low)} to {signed(x.high)}",
            number(x.z), p_value(x.p), share,
        )  # fmt: skip
    console.print(table)
    console.print()
    table = _table("Action", "Areas", ">Before", ">After", ">Change", ">Events")
    for x in e.effects:
        for i, r in enumerate(x.roles):
            table.add_row(
                escape(x.action) if i == 0 else "", r.role, amount(r.before), amount(r.after), signed(r.change),
                count(r.events_before + r.events_after),
            )  # fmt: skip
    console.print(table)
    console.print("[dim]Before is scaled to the days after, controls by their weights.[/]", highlight=False)
    console.print()
    for x in e.effects:
        console.print(escape(x.verdict()), highlight=False)
        if x.permutation is not None:
            p = x.permutation
            console.print(
                f"  [dim]Within the places, by {p.name}: {signed(p.low)} to {signed(p.high)}, p {p_value(p.p)}.[/]",
                highlight=False,
            )
        if x.pretrend is not None:
            t = x.pretrend
            console.print(
                f"  [dim]Placebo, {t.name}: {signed(t.estimate)} ({signed(t.low)} to {signed(t.high)}).[/]",
                highlight=False,
            )
    if found.series is not None:
        console.print()
        for line in found.series.sentences():
            console.print(escape(line), highlight=False)
    elif found.series_note:
        console.print(escape(found.series_note), highlight=False)
    console.print()
    for caveat in e.caveats:
        console.print(f"[yellow]![/] {escape(caveat[:1].upper() + caveat[1:])}.", highlight=False)
    for finding in found.findings:
        console.print(f"[yellow]![/] {escape(finding.message)}", highlight=False)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
