"""A study's priorities on the terminal."""

from __future__ import annotations

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rtmdx.model.validity import Bounds
from rtmdx.priority.prioritization import Prioritization

__all__ = ["print_first", "print_prioritization"]

_SHORT, _CELLS, _FACTORS = 5, 10, 3  # shown; all are in the files


def print_first(console: Console, found: Prioritization) -> None:
    """Print the first few places, and in a sentence each what the first capture: the short form."""
    console.print("[bold]Which places first[/]", highlight=False)
    places = found.top_places(_FACTORS)
    if len(places):
        table = _table(">Rank", "Place", ">Expected" if found.spec.by != "score" else ">Score", "Why")
        for row in places.head(_SHORT).reset_index().itertuples():
            rank = _rank(row.rank_best, row.rank_worst)
            table.add_row(rank, escape(str(row.place)), f"{row.score:,.1f}", escape(row.why))
        console.print(table)
    for said in found.captured():
        console.print(escape(said), highlight=False)
    console.print("[dim]More in the report; `rtmdx prioritize` writes tables and a GeoPackage.[/]", highlight=False)


def print_prioritization(console: Console, found: Prioritization) -> None:
    """Print the top places and cells with what put them there, what they capture, and what was asked beside."""
    console.print(f"[bold]{escape(found.title)}[/]: which places first", highlight=False)
    events = "Events held out" if found.held_out else "Events fitted"
    places, cells = found.top_places(_FACTORS), found.top_cells(_FACTORS)
    if len(places):
        table = _table(">Rank", "Place", ">Expected" if found.spec.by != "score" else ">Score", f">{events}", "Why")
        for row in places.reset_index().itertuples():
            rank = _rank(row.rank_best, row.rank_worst)
            table.add_row(rank, escape(str(row.place)), f"{row.score:,.1f}", f"{row.events:,.0f}", escape(row.why))
        console.print(table)
        console.print()
    table = _table(">Rank", "Cell", ">Expected", f">{events}", "Why")
    for row in cells.head(_CELLS).reset_index().itertuples():
        at = f"row {row.row}, column {row.col}"
        table.add_row(
            _rank(row.rank_best, row.rank_worst), at, f"{row.expected:,.2f}", f"{row.events:,.0f}", escape(row.why)
        )
    console.print(table)
    if len(cells) > _CELLS:
        console.print(f"[dim]... {len(cells) - _CELLS:,} more cells in the files.[/]", highlight=False)
    console.print()
    table = _table("Ranking", ">First", ">Captured", ">Over ties", ">PAI")
    for c in found.captures:
        noun = "places" if c.unit == "place" else "cells"
        hit = c.top.hit_rate
        table.add_row(
            escape(c.method), f"{c.top.k:,} {noun}", _percent(hit.expected), _spread(hit), f"{c.top.pai.expected:.2f}"
        )
    console.print(table)
    when = "held out" if found.held_out else "the model was fitted to, which flatters"
    console.print(f"[dim]Of the events {when} ({escape(found.judged)}).[/]\n", highlight=False)
    for said in found.further():
        console.print(escape(said), highlight=False)


def _rank(best: int, worst: int) -> str:
    return f"{best}" if best == worst else f"{best}–{worst}"


def _percent(value: float) -> str:
    return f"{value:.1%}" if np.isfinite(value) else "–"


def _spread(hit: Bounds) -> str:
    return "" if hit.lowest == hit.highest else f"{_percent(hit.lowest)} to {_percent(hit.highest)}"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
