"""The report's diagnostics: charts, tables and sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.report.charts import STYLES, Chart, Series, log_ticks, nice_ticks
from rtmdx.report.numbers import count, length, number, p_value, percent, plural, span

if TYPE_CHECKING:
    from rtmdx.model.calibration import Calibration
    from rtmdx.model.correlogram import Correlogram
    from rtmdx.model.diagnostics import Comparison, Diagnostics
    from rtmdx.model.regions import SpatialHoldout
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["calibration_chart", "correlogram_chart", "diagnostics_section"]

_MAIN, _OTHER = STYLES[0][0], STYLES[1][0]
_RESIDUALS = {"pearson": "Pearson residuals", "quantile": "randomised quantile residuals"}


def correlogram_chart(found: Correlogram, unit: str) -> str:
    """Draw Moran's I against distance, with the limits of chance; empty with fewer than two classes."""
    classes = [c for c in found.classes if math.isfinite(c.i)]
    if len(classes) < 2:
        return ""
    x = np.array([c.mean_distance for c in classes])
    i = np.array([c.i for c in classes])
    expected = np.array([c.expected for c in classes])
    sd = np.array([(c.i - c.expected) / c.z if math.isfinite(c.z) and c.z else 0.0 for c in classes])
    low, high = expected - 1.96 * sd, expected + 1.96 * sd
    bottom, top = min(float(low.min()), float(i.min()), 0.0), max(float(high.max()), float(i.max()))
    pad = 0.08 * (top - bottom) or 0.01
    chart = Chart(
        "Moran's I of the residuals by distance",
        (float(x[0]) * 0.9, float(x[-1]) * 1.1),
        (bottom - pad, top + pad),
        f"distance between cells, {unit}",
        "Moran's I",
        log_x=True,
    )
    chart.axes(
        [(t, f"{t:,g}") for t in log_ticks(*chart.x_range)],
        [(t, f"{t:g}".replace("-", "−")) for t in nice_ticks(*chart.y_range, 5)],
    )
    y = chart.y(0.0)
    chart.body.append(f'<path class="axis" d="M{chart.left:.1f} {y:.1f}H{chart.width - chart.right:.1f}"/>')
    chart.line(Series("chance", x, expected, "#7b838d", "", low, high), 0.0)
    chart.line(Series("Moran's I", x, i, _MAIN))
    _dots(chart, x, i)
    said = "; ".join(f"{number(float(a))} {unit}: {number(float(b), 2)}" for a, b in zip(x, i, strict=True))
    return chart.svg(said + ".")


def calibration_chart(found: Calibration, title: str) -> str:
    """Draw observed over expected events against a cell's expected count; empty with fewer than two groups."""
    groups = [g for g in found.groups if g.expected > 0]
    if len(groups) < 2:
        return ""
    x = np.array([g.expected / g.n_cells for g in groups])
    ratio = np.array([g.ratio for g in groups])
    low, high = (np.array([getattr(g, end) / g.expected for g in groups]) for end in ("low", "high"))
    top = min(max(float(ratio.max()), min(float(high.max()), 4.0)), 10.0)
    top = math.ceil(top * 10.4) / 10
    chart = Chart(
        title,
        (float(x[0]) * 0.9, float(x[-1]) * 1.1),
        (0.0, top),
        "expected events per cell (mean of the group)",
        "observed / expected events",
        log_x=True,
    )
    chart.axes([(t, f"{t:,g}") for t in log_ticks(*chart.x_range)], [(t, f"{t:g}") for t in nice_ticks(0.0, top, 5)])
    y = chart.y(1.0)
    chart.body.append(f'<path class="random" d="M{chart.left:.1f} {y:.1f}H{chart.width - chart.right:.1f}"/>')
    high, shown = np.minimum(high, top), np.minimum(ratio, top)
    chart.line(Series("interval", x, np.ones(len(x)), "#7b838d", "", low, high), 0.0)
    chart.line(Series("observed / expected", x, shown, _MAIN))
    _dots(chart, x, shown)
    inside = sum(g.inside for g in groups)
    return chart.svg(f"{inside} of {len(groups)} groups within the limits.")


def _dots(chart: Chart, x: Any, y: Any) -> None:
    for a, b in zip(x, y, strict=True):
        chart.body.append(f'<circle cx="{chart.x(float(a)):.1f}" cy="{chart.y(float(b)):.1f}" r="3.2" fill="{_MAIN}"/>')


def diagnostics_section(terrain: RiskTerrain) -> dict[str, Any] | None:
    """Return what the report shows; None where the run made no diagnostics."""
    d = terrain.diagnosed
    if d is None:
        return None
    return {
        "statements": [{"text": s.text, "warns": s.warns} for s in d.statements],
        "residuals": _RESIDUALS[d.residual],
        "moran": _moran(d),
        "correlogram": _correlogram(d),
        "calibration": _calibration(d.calibration, "Calibration on the fitted events"),
        "holdout_calibration": None
        if d.holdout_calibration is None
        else _calibration(d.holdout_calibration, "Calibration on the held-out period"),
        "inflation": _inflation(d),
        "groups": _groups(d),
        "threshold": f"{d.collinearity.threshold:g}",
        "dispersion": _dispersion(d),
        "regions": None if d.regions is None else _regions(d.regions),
        "comparisons": [_comparison(c) for c in d.comparisons],
        "skipped": [f"{reason[:1].upper()}{reason[1:]}." for reason in d.skipped.values()],
    }


def _moran(d: Diagnostics) -> dict[str, str]:
    m = d.moran
    return {
        "i": number(m.i),
        "expected": number(m.expected, 2),
        "z": number(m.z),
        "p": p_value(m.p),
        "p_permutation": ""
        if m.p_permutation is None
        else f"{m.p_permutation:.3g} ({plural(m.permutations, 'permutation')})",
        "weights": m.weights,
        "pairs": count(m.n_pairs),
        "islands": count(m.n_islands),
        "note": m.note,
    }


def _correlogram(d: Diagnostics) -> dict[str, Any] | None:
    c = d.correlogram
    if c is None:
        return None
    found = [k for k in c.classes if math.isfinite(k.i)]
    return {
        "svg": correlogram_chart(c, d.unit),
        "range": "" if c.range is None else length(float(f"{c.range:.3g}"), d.unit),
        "half_range": "" if c.half_range is None else length(float(f"{c.half_range:.3g}"), d.unit),
        "any": bool(found),
        "above": bool(found) and found[0].i > found[0].expected and found[0].p <= c.alpha,
        "last": length(float(f"{c.max_distance:.3g}"), d.unit),
        "rows": [
            {
                "to": length(float(f"{k.upper:.6g}"), d.unit),
                "pairs": count(k.n_pairs),
                "i": number(k.i),
                "z": number(k.z),
                "p": p_value(k.p),
            }
            for k in found
        ],
    }


def _calibration(c: Calibration, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "svg": calibration_chart(c, title),
        "slope": number(c.slope),
        "slope_se": number(c.slope_se, 2),
        "level": f"{100 * c.level:g} %",
        "scale": "" if c.scale == 1.0 else number(c.scale),
        "rows": [
            {
                "cell": number(g.mean_low) if g.mean_low == g.mean_high else span(g.mean_low, g.mean_high),
                "cells": count(g.n_cells),
                "observed": count(g.observed),
                "expected": f"{g.expected:,.1f}",
                "interval": f"{count(g.low)} to {count(g.high)}",
                "ratio": number(g.ratio),
                "inside": g.inside,
            }
            for g in c.groups
        ],
    }


def _inflation(d: Diagnostics) -> list[dict[str, str]]:
    worst = sorted(d.collinearity.inflation, key=lambda v: (math.isnan(v.vif_weighted), -v.vif_weighted))
    return [
        {"name": d.labels.get(v.variable, v.variable), "vif": number(v.vif), "weighted": number(v.vif_weighted)}
        for v in worst
    ]


def _groups(d: Diagnostics) -> list[dict[str, str]]:
    return [
        {
            "names": ", ".join(d.labels.get(n, n) for n in g.names),
            "phi": number(g.phi, 2),
            "pair": " and ".join(d.labels.get(n, n) for n in g.strongest),
            "variables": count(len(g.variables)),
            "in_model": ", ".join(d.labels.get(n, n) for n in g.in_model) or "none",
        }
        for g in d.collinearity.groups
    ]


def _dispersion(d: Diagnostics) -> dict[str, Any]:
    p = d.dispersion
    return {
        "pearson": number(p.pearson),
        "poisson": number(p.pearson_poisson),
        "family": p.family,
        "rows": [
            {
                "count": f"{r.low:,}" if r.high is not None else f"{r.low:,} or more" if r.low else "any",
                "observed": count(r.observed),
                "expected": f"{r.expected:,.1f}",
                "ratio": number(r.observed / r.expected) if r.expected >= 0.05 else "–",
                "hanging": f"{r.hanging:+.2f}".replace("-", "−"),
                # half a bar's width at a difference of 5 square roots
                "bar": round(min(abs(r.hanging) / 5.0, 1.0) * 50.0, 1),
                "more": r.hanging >= 0,
            }
            for r in p.counts
        ],
    }


def _regions(held: SpatialHoldout) -> dict[str, Any]:
    shares = [f"{100 * s:g}\u00a0%" for s in held.shares]
    slope = held.calibration
    return {
        "shares": shares,
        "rows": [
            {
                "number": str(r.number),
                "cells": count(r.n_cells),
                "events": count(r.n_events),
                "expected": count(r.expected),
                "explained": percent(r.explained).replace("-", "−"),
                "capture": [percent(c) for c in r.capture],
                "reason": r.reason,
            }
            for r in held.regions
        ],
        "pooled": None
        if held.pooled is None
        else {
            "cells": count(held.pooled.n_cells),
            "events": count(held.pooled.n_events),
            "expected": count(float(held.expected_cells.sum())),
            "explained": percent(held.explained).replace("-", "−"),
            "capture": [percent(t.hit_rate.expected) for t in held.pooled.top],
            "slope": "" if slope is None else f"{number(slope.slope)} (standard error {number(slope.slope_se, 2)})",
        },
    }


def _comparison(c: Comparison) -> dict[str, Any]:
    top = c.scores[0].validity.top
    return {
        "title": "Held out in space" if c.kind == "space" else "Held out in time",
        "space": c.kind == "space",
        "shares": [f"{100 * t.share:g}\u00a0%" for t in top],
        "rows": [
            {
                "name": s.name,
                "deviance": count(s.deviance) if math.isfinite(s.deviance) else "∞",
                "auc": number(s.validity.auc),
                "capture": [percent(t.hit_rate.expected) for t in s.validity.top],
            }
            for s in c.scores
        ],
        "trees": "" if c.boosted is None else plural(c.boosted.n_trees, "tree"),
    }
