"""Rows of the report's tables: inputs, factors, variables, search and validity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rtmdx.report.charts import style_of
from rtmdx.report.content import blocks, percent_bounds, period_of, reach
from rtmdx.report.exposure import amount
from rtmdx.report.numbers import bounds, count, length, number, percent, plural
from rtmdx.report.search import next_best
from rtmdx.report.terminal import FAMILIES

if TYPE_CHECKING:
    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.model.validity import Validity
    from rtmdx.space.exposure import Exposure
    from rtmdx.space.layers import Cleaning, RiskFactor

__all__ = ["baseline_warnings", "factor_rows", "input_rows", "trace_rows", "validity_rows", "variable_groups"]


def input_rows(terrain: RiskTerrain) -> list[tuple[str, str]]:
    """Return what went in: events, hold-out, cells, blocks, CRS."""
    grid, cleaning = terrain.grid, terrain.events.cleaning
    counts, symbol = terrain.counts, grid.symbol
    area = grid.n_cells * grid.cell_area
    per = {"m": (1e6, "km²"), "ft": (5280.0**2, "sq mi")}.get(symbol, (1.0, f"square {symbol}"))
    rows = [
        ("Outcome", f"{terrain.events.name}, {terrain.events.period}; source {cleaning.source}"),
        ("Events", _cleaned(cleaning, "event")),
    ]
    if terrain.holdout_cleaning is not None:
        name = f" ({period_of(terrain.holdout[0])})" if terrain.holdout else ""
        rows.append((f"Held-out events{name}", _cleaned(terrain.holdout_cleaning, "event")))
    if terrain.exposure is not None:
        rows.append(("Exposure", _exposure(terrain.exposure, grid.n_cells)))
    epsg = grid.crs.to_epsg()
    return [
        *rows,
        (
            "Cells",
            f"{count(grid.n_cells)} of {length(grid.cell_size, symbol)} × {length(grid.cell_size, symbol)} "
            f"({number(area / per[0])} {per[1]}), on a raster of {grid.shape[0]:,} rows × {grid.shape[1]:,} columns",
        ),
        (
            "Cells with events",
            f"{count((counts > 0).sum())} ({percent(float((counts > 0).mean()))} of the cells); "
            f"at most {plural(int(counts.max()), 'event')} in one cell, on average {number(float(counts.mean()))}",
        ),
        ("Mean block length", length(terrain.block_length, symbol) if math.isfinite(terrain.block_length) else "–"),
        ("Coordinate system", f"{grid.crs.name}{f' (EPSG:{epsg})' if epsg else ''}, unit {grid.unit}"),
    ]


def _exposure(exposure: Exposure, n_cells: int) -> str:
    """Say what the exposure is, its total and unit, and how many cells have none."""
    c, bare = exposure.cleaning, exposure.n_without
    parts = [f"{exposure.name}: {amount(exposure.total)} {exposure.unit} in all ({exposure.method})"]
    parts.append(
        f"{count(bare)} of {plural(n_cells, 'cell')} ({percent(bare / n_cells)}) have none and take no part in the fit"
        if bare
        else "every cell has some"
    )
    if exposure.floor:
        parts.append(f"{plural(exposure.raised, 'cell')} raised to {number(exposure.floor)} {exposure.unit}")
    if math.isfinite(exposure.outside) and exposure.outside > 1e-9 * exposure.total:
        parts.append(f"{amount(exposure.outside)} {exposure.unit} of the layer lie outside and do not count")
    what = _cleaned(c, "pixel" if exposure.measure == "raster" else "row")
    return "; ".join([*parts, f"source {c.source}, {what}"])


def _cleaned(cleaning: Cleaning, noun: str) -> str:
    text = f"{plural(cleaning.read, noun)} read, {count(cleaning.kept)} kept"
    if cleaning.dropped:
        reasons = "; ".join(f"{n:,} {reason}" for reason, n in cleaning.dropped.items())
        text += f", {count(sum(cleaning.dropped.values()))} left out ({reasons})"
    return text + (f", {count(cleaning.mended)} mended" if cleaning.mended else "")


def factor_rows(terrain: RiskTerrain) -> list[dict[str, Any]]:
    """Return every factor tried, in the study's order."""
    chosen = {v.factor for v in terrain.model.variables}
    return [
        {
            "label": f.label,
            "name": f.name,
            "features": count(len(f)),
            "geometry": f.geometry_type,
            "effect": f.effect,
            "operationalization": " and ".join(f.operationalizations),
            "influence": _influence(terrain, f),
            "increment": f"{f.increment} block",
            "cleaning": _factor_cleaning(f),
            "in_model": i in chosen,
        }
        for i, f in enumerate(terrain.factors)
    ]


def _influence(terrain: RiskTerrain, f: RiskFactor) -> str:
    symbol = terrain.grid.symbol
    low, high = min(f.distances), max(f.distances)
    if low == high:
        return reach(terrain, high)
    return f"{low:,.6g} to {length(high, symbol)} in {len(f.distances)} steps ({blocks(terrain, high)})"


def _factor_cleaning(f: RiskFactor) -> str:
    c = f.cleaning
    parts = [f"{n:,} {reason}" for reason, n in c.dropped.items()]
    if c.mended:
        parts.append(f"{c.mended:,} mended")
    return "; ".join(parts) if parts else "all kept"


def variable_groups(terrain: RiskTerrain) -> dict[str, Any]:
    """Return how many variables were generated, kept, culled and selected, and why some were dropped."""
    design = terrain.design
    culled = set(terrain.culling.selected)
    final = set(terrain.model.columns)
    symbol = terrain.grid.symbol
    return {
        "generated": count(design.n_generated),
        "kept": count(len(design.variables)),
        "dropped": [
            {
                "name": d.variable.name,
                "label": terrain.factors[d.variable.factor].label,
                "operationalization": d.variable.operationalization,
                "distance": length(d.variable.distance, symbol),
                "cells": count(d.variable.support),
                "reason": d.reason,
            }
            for d in design.dropped
        ],
        "kept_rows": [
            {
                "name": v.name,
                "label": terrain.factors[v.factor].label,
                "operationalization": v.operationalization,
                "distance": length(v.distance, symbol),
                "cells": f"{count(v.support)} ({percent(v.support / terrain.grid.n_cells)})",
                "fate": "in the model" if j in final else "selected by culling" if j in culled else "culled",
            }
            for j, v in enumerate(design.variables)
        ],
        "culled_to": count(len(culled)),
        "selected": count(len(final)),
    }


def trace_rows(terrain: RiskTerrain) -> list[dict[str, Any]]:
    """Return the steps of the search, family by family."""
    return [
        {
            "family": FAMILIES.get(s.family, s.family),
            "number": str(s.number),
            "action": {"force": "forced in", "stop": "stop: nothing lowers BIC"}.get(s.action, s.action),
            "variable": (s.variable or "") + (f" for {s.replaced}" if s.replaced else ""),
            "before": f"{s.bic_before:,.1f}",
            "after": f"{s.bic_after:,.1f}",
            "change": f"{s.bic_after - s.bic_before:+,.1f}".replace("-", "−") if s.action != "stop" else "",
            "tried": count(s.n_tried),
            "next": next_best(s.alternatives, s.bic_after, stopped=s.action == "stop"),
            "ruled_out": [f"{a.variable}: {a.reason}" for a in s.ruled_out],
        }
        for s in terrain.selection.trace
    ]


def validity_rows(judged: Sequence[Validity]) -> list[dict[str, Any]]:
    """Return capture at each share, terrain and baselines together."""
    out = []
    for i, head in enumerate(judged[0].top if judged else ()):
        rows = []
        for k, v in enumerate(judged):
            t = v.top[i]
            rows.append(
                {
                    "name": v.name,
                    "color": style_of(v.name, k)[0],
                    "events": bounds(t.events.lowest, t.events.expected, t.events.highest, whole=True),
                    "hit": percent_bounds(t.hit_rate.lowest, t.hit_rate.expected, t.hit_rate.highest),
                    "pai": bounds(t.pai.lowest, t.pai.expected, t.pai.highest),
                    "rri": number(t.rri),
                    "pei": bounds(t.pei.lowest, t.pei.expected, t.pei.highest),
                }
            )
        out.append({"share": f"{100 * head.share:g} %", "cells": plural(head.n_cells, "cell"), "rows": rows})
    return out


def baseline_warnings(judged: Sequence[Validity]) -> list[str]:
    """Say where a baseline captures more events than the terrain; the posterior is none, it holds the terrain."""
    out = []
    for v in judged[1:]:
        if v.name.startswith("Posterior"):
            continue
        pairs = [(t, b) for t, b in zip(judged[0].top, v.top, strict=True) if b.events.expected > t.events.expected]
        if pairs:
            parts = [
                f"{count(b.events.expected)} against {count(t.events.expected)} in the top {100 * t.share:g} %"
                for t, b in pairs
            ]
            out.append(f"{v.name}: {', '.join(parts)} of the cells, of {plural(v.n_events, 'event')}.")
    return out
