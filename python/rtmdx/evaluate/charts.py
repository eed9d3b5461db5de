"""Differences with their intervals, differences as they grew, series with their counterfactual, and a map of roles."""

from __future__ import annotations

import html
import math
from typing import Any

import numpy as np
import shapely

from rtmdx.evaluate.plan_results import PlanEffect
from rtmdx.evaluate.results import signed, tick
from rtmdx.evaluate.series_results import InterruptedSeries
from rtmdx.report.charts import STYLES, Chart, Series, nice_ticks
from rtmdx.report.numbers import tidy

__all__ = ["ROLE_COLORS", "area_map", "effects_chart", "series_chart", "steps_chart"]

ROLE_COLORS = {
    "treated": "#8a2457",
    "displacement": "#f0a45e",
    "control": "#a9c3d6",
    "displacement control": "#dbe6c9",
    "excluded (near a treated place)": "#e3e0d8",
    "not used": "#f4f2ec",
}
_ROW = 24.0


def effects_chart(effects: tuple[PlanEffect, ...]) -> str:
    """Draw each action's difference, its parts and its placebo, on one axis with a line at no change."""
    rows: list[tuple[str, tuple[float, float, float], int]] = []
    for e in effects:
        rows.append((e.action, (e.estimate, e.low, e.high), 0))
        if e.role("displacement") is not None:
            rows.append(("within the places", e.local, 1))
            rows.append(("in their rings", e.displaced, 1))
        if e.permutation is not None:
            p = e.permutation
            rows.append(("within, by random controls", (p.estimate, p.low, p.high), 1))
        if e.pretrend is not None:
            t = e.pretrend
            rows.append(("one period earlier (placebo)", (t.estimate, t.low, t.high), 2))
    ends = [v for _, values, _ in rows for v in values if math.isfinite(v)] + [0.0]
    low, high = min(ends), max(ends)
    pad = 0.06 * (high - low) or 1.0
    low, high = low - pad, high + pad
    left = min(330.0, 34 + 6.6 * max(len(name) + 2 * (kind > 0) for name, _, kind in rows))
    chart = Chart(
        "Weighted displacement differences", (low, high), (len(rows) - 0.5, -0.5),
        "events, beside the controls' change", "", width=left + 560, height=_ROW * len(rows) + 62, left=left, right=165,
    )  # fmt: skip
    ticks = [(t, tick(t)) for t in nice_ticks(low, high, 6)]
    chart.axes(ticks, [(float(i), name) for i, (name, _, _) in enumerate(rows)])
    x = chart.x(0.0)
    chart.body.append(f'<path class="zero" d="M{x:.1f} {chart.top:.1f}V{chart.height - chart.bottom:.1f}"/>')
    said = []
    for i, (name, (value, bottom, top), kind) in enumerate(rows):
        color = STYLES[(0, 1, 5)[kind]][0]
        y = chart.y(float(i))
        a, b = (chart.x(min(max(v, low), high)) for v in (bottom, top))
        chart.body.append(
            f'<path d="M{a:.1f} {y:.1f}H{b:.1f}" stroke="{color}" stroke-width="{3 if kind == 0 else 2}"/>'
        )
        fill = color if kind == 0 else "#fff"
        chart.body.append(
            f'<circle cx="{chart.x(value):.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{color}" stroke-width="2"/>'
        )
        figure = f"{signed(value)} ({signed(bottom)} to {signed(top)})"
        chart.text(chart.width - chart.right + 8, y + 4, figure)
        said.append(f"{name}: {figure}")
    return chart.svg("; ".join(said) + ".")


def steps_chart(effect: PlanEffect) -> str:
    """Draw the difference as it grew with the days since the start."""
    x = np.array([0.0, *(s.days for s in effect.steps)])
    y, low, high = (np.array([0.0, *(getattr(s, name) for s in effect.steps)]) for name in ("estimate", "low", "high"))
    chart = _frame(f"{effect.action}: cumulative difference", x, low, high, "days after the start", "events")
    chart.line(Series(effect.action, x, y, STYLES[0][0], "", low, high))
    return chart.svg(f"After {x[-1]:.0f} days {signed(y[-1])} ({signed(low[-1])} to {signed(high[-1])}).")


def series_chart(found: InterruptedSeries) -> str:
    """Draw counts, the fit, and what was expected without the change."""
    n = len(found.periods)
    x = np.arange(n, dtype=np.float64)
    after = x >= found.start
    top = np.concatenate([found.counts, found.fitted, found.counterfactual_high[after]])
    chart = Chart(
        "Interrupted series", (-0.5, n - 0.5), (0.0, 1.06 * float(top.max())), "", "events", width=760, height=300
    )
    step = max(1, n // 6)
    years = [i for i, p in enumerate(found.periods) if getattr(p, "month", 0) == 1]
    shown = [(i, str(found.periods[i].year)) for i in years] or [(i, str(found.periods[i])) for i in range(0, n, step)]
    chart.axes([(float(i), text) for i, text in shown], [(t, tidy(t)) for t in nice_ticks(*chart.y_range, 5)])
    line = chart.x(found.start - 0.5)
    chart.body.append(f'<path class="zero" d="M{line:.1f} {chart.top:.1f}V{chart.height - chart.bottom:.1f}"/>')
    color, dashes = STYLES[1]
    chart.line(
        Series("expected without the change", x[after], found.counterfactual[after], color, dashes,
               found.counterfactual_low[after], found.counterfactual_high[after])
    )  # fmt: skip
    for part in (~after, after):
        chart.line(Series("fit", x[part], found.fitted[part], STYLES[0][0]))
    for i in range(n):
        fill = "#2b3038" if found.used[i] else "#fff"
        chart.body.append(
            f'<circle cx="{chart.x(float(i)):.1f}" cy="{chart.y(float(found.counts[i])):.1f}" r="2.6" fill="{fill}" '
            'stroke="#2b3038"/>'
        )
    return chart.svg(found.sentence())


def area_map(areas: Any, side: float = 620.0) -> str:
    """Draw places and rings in the colours of their roles, as an SVG."""
    west, south, east, north = areas.total_bounds
    width, height = max(east - west, 1e-9), max(north - south, 1e-9)
    scale = side / max(width, height)
    order = [*reversed(list(ROLE_COLORS))]
    parts = []
    for role in order:
        for name, shape, before, after in zip(
            *(areas.loc[areas["role"] == role, c] for c in ("name", "geometry", "events_before", "events_after")),
            strict=True,
        ):
            simple = shapely.simplify(shape, 0.6 / scale)
            path = "".join(_path(p, west, north, scale) for p in shapely.get_parts(simple) if not p.is_empty)
            if not path:
                continue
            title = html.escape(
                f"{name}: {role}" + (f", {before} events before, {after} after" if before + after else "")
            )
            parts.append(f'<path d="{path}" fill="{ROLE_COLORS[role]}"><title>{title}</title></path>')
    said = ", ".join(f"{int((areas['role'] == r).sum())} {r}" for r in ROLE_COLORS if (areas["role"] == r).any())
    return (
        f'<svg class="map" viewBox="-2 -2 {width * scale + 4:.0f} {height * scale + 4:.0f}" role="img" '
        f'aria-label="Places and rings by role: {html.escape(said)}.">{"".join(parts)}</svg>'
    )


def _path(polygon: Any, west: float, north: float, scale: float) -> str:
    out = []
    for line in (polygon.exterior, *polygon.interiors):
        xy = shapely.get_coordinates(line)[:-1]
        out.append("M" + "L".join(f"{(x - west) * scale:.1f} {(north - y) * scale:.1f}" for x, y in xy) + "z")
    return "".join(out)


def _frame(title: str, x: Any, low: Any, high: Any, x_label: str, y_label: str) -> Chart:
    bottom, top = min(0.0, float(low.min())), max(0.0, float(high.max()))
    pad = 0.06 * (top - bottom) or 1.0
    chart = Chart(title, (0.0, float(x[-1])), (bottom - pad, top + pad), x_label, y_label, width=560, height=300)
    chart.axes(
        [(t, tidy(t)) for t in nice_ticks(0.0, float(x[-1]), 6)],
        [(t, tick(t)) for t in nice_ticks(bottom - pad, top + pad, 5)],
    )
    y = chart.y(0.0)
    chart.body.append(f'<path class="zero" d="M{chart.left:.1f} {y:.1f}H{chart.width - chart.right:.1f}"/>')
    return chart
