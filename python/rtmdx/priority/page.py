"""A prioritization as a page that stands alone, and as a section of the report."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd

from rtmdx.model.validity import Bounds
from rtmdx.priority.edited_result import WhatIf
from rtmdx.priority.prioritization import Capture, Prioritization
from rtmdx.report.maps import RISK, Canvas, class_breaks, ramp
from rtmdx.report.numbers import number

__all__ = ["prioritization_page", "section_markup"]

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 980px; margin: 32px auto; padding: 0 16px; color: #2b3038; }
h1 { margin-bottom: 4px; } h2 { margin-top: 40px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid #e3e5e8; text-align: left; vertical-align: top; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 0; }
.keys { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; }
.box { background: #fbf4e4; border-left: 4px solid #e0a93b; padding: 8px 14px; }
.scroll { overflow-x: auto; } .caption, figcaption { color: #55606e; font-size: 14px; }
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
<p class="caption">{under}</p>
{body}
</body></html>
"""
_EDGE, _MARK = "#2b3038", "#12665a"
_CELLS = 15


def prioritization_page(found: Prioritization) -> str:
    """Return a page that stands alone."""
    title = escape(f"{found.title}: which places first")
    under = escape(
        f"{found.outcome}, modelled on {found.fitted}. Places, never people: a rank says where risk is, not what to do."
    )
    return _PAGE.format(title=title, style=_STYLE, under=under, body=section_markup(found, heading="h2"))


def section_markup(found: Prioritization, *, heading: str = "h3") -> str:
    """Return the content without a page around it; headings are of the level given."""
    parts: list[str] = []

    def add(title: str, *content: str) -> None:
        parts.extend([f"<{heading}>{escape(title)}</{heading}>", *content])

    enforcement = [f.message for f in found.terrain.findings if f.code == "enforcement"]
    parts += [f'<p class="box warn">{escape(m)}</p>' for m in enforcement]
    if found.places is not None:
        add(f"The first {found.spec.k:,} places", _map(found), _places(found))
    add(f"The first {found.spec.cells:,} cells", _cells(found))
    if found.places is None:
        parts.append(_map(found))
    add("What they capture", _captures(found))
    asked = found.choices()
    if asked:
        add("Choices", *(f"<p>{escape(s)}</p>" for s in asked))
    if found.frontier is not None:
        parts.append(_frontier(found))
    for w in found.what_ifs:
        add(f"What if: {w.title}", _what_if(w, found.places is not None))
    notes = [n for n in found.notes if n not in enforcement]
    if notes:
        add("Notes", "<ul>" + "".join(f"<li>{escape(n)}</li>" for n in notes) + "</ul>")
    return "\n".join(parts)


def _map(found: Prioritization) -> str:
    """The terrain, the top places outlined with their rank, the top cells framed."""
    terrain = found.terrain
    canvas = Canvas(terrain.grid)
    score = terrain.score_cells
    lower, _ = class_breaks(score)
    colors = ramp(RISK, len(lower)) if len(lower) > 1 else [RISK[1]]
    drawing = [canvas.image(canvas.classes(score, lower, peak=True), colors)]
    drawing.append(f'<path d="{canvas.outline}" fill="none" stroke="#9aa0a8" stroke-width="1"/>')
    top = found.top_places()
    if found.places is not None and len(top):
        frame = found.places.frame
        every = canvas.features(frame.geometry.to_numpy()).get("polygons", "")
        drawing.append(f'<path d="{every}" fill="none" stroke="#ffffff" stroke-width="1.4" stroke-opacity="0.9"/>')
        first = frame.loc[top.index]
        shapes = canvas.features(first.geometry.to_numpy()).get("polygons", "")
        drawing.append(f'<path d="{shapes}" fill="none" stroke="{_EDGE}" stroke-width="2.6"/>')
        inside = first.geometry.representative_point()
        xy = canvas.drawn(np.column_stack([inside.x, inside.y]))
        for (x, y), rank in zip(xy.tolist(), top["rank_best"].tolist(), strict=True):
            drawing.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="15" fill="#ffffff" fill-opacity="0.92" stroke="{_EDGE}"/>'
                f'<text x="{x:.1f}" y="{y + 6.5:.1f}" text-anchor="middle" font-family="sans-serif" font-size="19" '
                f'fill="{_EDGE}">{rank}</text>'
            )
    cells = found.top_cells()
    xy = canvas.drawn(cells[["x", "y"]].to_numpy())
    side = max(canvas.unit, 5.0)
    marks = "".join(
        f"M{x - side / 2:.1f} {y - side / 2:.1f}h{side:.1f}v{side:.1f}h{-side:.1f}z" for x, y in xy.tolist()
    )
    drawing.append(f'<path d="{marks}" fill="none" stroke="{_MARK}" stroke-width="2"/>')
    keys = [_key(f"background:{c}", f"from {number(v)}") for c, v in zip(colors, lower, strict=True)]
    keys.append(_key(f"border:2px solid {_MARK}", f"the first {found.spec.cells:,} cells"))
    if len(top):
        keys.append(_key(f"border:2px solid {_EDGE}", f"the first {found.spec.k:,} places, by rank"))
    what = escape(f"Map of the relative risk score of {found.title}, darker where higher")
    return (
        f'<figure style="max-width:620px"><svg style="width:100%;height:auto;display:block" role="img" '
        f'viewBox="{canvas.view_box}" aria-label="{what}">{"".join(drawing)}</svg>'
        f'<figcaption>Relative risk score, 1 the lowest.</figcaption><ul class="keys">{"".join(keys)}</ul></figure>'
    )


def _key(style: str, words: str) -> str:
    box = f"display:inline-block;box-sizing:border-box;width:15px;height:15px;margin-right:6px;{style}"
    return f'<li><i style="{box}"></i>{escape(words)}</li>'


def _places(found: Prioritization) -> str:
    what = "Score" if found.spec.by == "score" else "Expected"
    rows = [
        [_rank(r.rank_best, r.rank_worst), str(r.place), f"{r.score:,.1f}", f"{r.events:,.0f}", r.tier, r.why]
        for r in found.top_places().reset_index().itertuples()
    ]
    head = [">Rank", "Place", f">{what}", f">{_events(found)}", "Tier", "Factors that put it there"]
    told = (
        "Each factor multiplies the score by the figure given where it raises risk; the share of the place in which it "
        "does stands in brackets. Ranks are first and last over all ways to break ties. "
        f"Expected: over the period fitted ({found.fitted}). {_events(found)}: {found.judged}."
    )
    return _table(head, rows) + f'<p class="caption">{escape(told)}</p>'


def _cells(found: Prioritization) -> str:
    table = found.top_cells()
    rows = [
        [_rank(r.rank_best, r.rank_worst), f"{r.x:,.0f}, {r.y:,.0f}", f"{r.expected:,.2f}", f"{r.events:,.0f}", r.why]
        for r in table.head(_CELLS).itertuples()
    ]
    head = [">Rank", ">Centre (x, y)", ">Expected", f">{_events(found)}", "Factors that put it there"]
    more = f'<p class="caption">{len(table) - _CELLS:,} more are in top_cells.csv.</p>' if len(table) > _CELLS else ""
    return _table(head, rows) + more


def _captures(found: Prioritization) -> str:
    rows = [_capture_row(c) for c in found.captures]
    head = ["Ranking", ">First", ">Share of area", ">Events", ">Captured", ">PAI"]
    when = (
        f"Events held out ({found.judged}), none of which the model has seen."
        if found.held_out
        else f"Events the model was fitted to ({found.judged}): the figures flatter. Name a [holdout]."
    )
    ties = (
        "Where ties decide who is among the first, the lowest and highest over all ways to break them are in brackets."
    )
    return _table(head, rows) + f'<p class="caption">{escape(when)} {ties}</p>'


def _capture_row(c: Capture) -> list[str]:
    noun = "places" if c.unit == "place" else "cells"
    t = c.top
    return [
        c.method, f"{t.k:,} {noun}", f"{t.area_share.expected:.1%}", _bounds(t.events, "{:,.0f}"),
        _bounds(t.hit_rate, "{:.1%}"), _bounds(t.pai, "{:.2f}"),
    ]  # fmt: skip


def _frontier(found: Prioritization) -> str:
    assert found.frontier is not None
    what = "Share" if found.frontier.measure == "share" else "Contact ratio"
    rows = [
        [f"{p.cap:.3f}", f"{p.reached:.3f}", f"{p.coverage:.2%}", f"{p.price:.2%}", f"{p.gap:.3%}"]
        for p in found.frontier.points
    ]
    head = [">Cap", f">{what} reached", ">Coverage", ">Price", ">Gap to the bound"]
    told = (
        f"{what} of {found.frontier.group} among the residents of the {found.frontier.k:,} cells chosen. Which burden "
        "to count and which cap is right are for people to decide."
    )
    return _table(head, rows) + f'<p class="caption">{escape(told)}</p>'


def _what_if(w: WhatIf, by_place: bool) -> str:
    said = w.sentences()
    parts = [f"<p>{escape(s)}</p>" for s in said[:-1]]
    parts.append(f'<p class="box warn">{escape(said[-1])}</p>')
    if by_place:
        table = w.to_frame()
        table = table[table["change"] != 0]
        table = table.loc[table["change"].abs().sort_values(ascending=False).index].head(_CELLS)
        rows = [
            [str(p), f"{r.before:,.1f}", f"{r.after:,.1f}", f"{r.change:+,.1f}", f"{r.low:+,.1f} to {r.high:+,.1f}"]
            for p, r in zip(table.index, table.itertuples(index=False), strict=True)
        ]
        if rows:
            head = ["Place", ">Before", ">After", ">Change", f">{w.total.level:.0%} interval"]
            parts.append(_table(head, rows))
    return "\n".join(parts)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    number_ = [h.startswith(">") for h in head]
    kind = [' class="n" style="white-space:nowrap"' if n else "" for n in number_]
    top = "".join(f'<th scope="col"{k}>{escape(h.removeprefix(">"))}</th>' for h, k in zip(head, kind, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{escape(str(v))}</td>" for v, k in zip(row, kind, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _events(found: Prioritization) -> str:
    return "Events held out" if found.held_out else "Events fitted"


def _rank(best: int, worst: int) -> str:
    return f"{best}" if best == worst else f"{best}–{worst}"


def _bounds(b: Bounds, form: str) -> str:
    if pd.isna(b.expected):
        return "–"
    said = form.format(b.expected)
    return said if b.lowest == b.highest else f"{said} ({form.format(b.lowest)} to {form.format(b.highest)})"
