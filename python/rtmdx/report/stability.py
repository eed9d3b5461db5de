"""The report's section on stability: would other data like these lead to the same model and places?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtmdx.report.charts import STYLES, Chart
from rtmdx.report.numbers import count, length, number, percent, plural

if TYPE_CHECKING:
    from rtmdx.model.frequencies import FactorFrequency
    from rtmdx.model.stability import Stability
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["frequency_chart", "stability_section"]

_MAIN, _OTHER = STYLES[0][0], "#7b838d"
_WORDS = {"proximity": "within", "density": "density,", "cost": "cost distance within"}


def frequency_chart(found: Stability) -> str:
    """Draw how often each factor was chosen, as bars; empty where none ever was."""
    shown = _shown(found)
    if not shown:
        return ""
    names = [found.labels.get(f.factor, f.factor) for f in shown]
    n = len(shown)
    chart = Chart(
        "How often each factor was chosen",
        (0.0, 1.0),
        (n - 0.5, -0.5),
        "share of the repetitions that chose it",
        "",
        height=22.0 * n + 62,
        left=min(210.0, 20 + 6.6 * max(len(name) for name in names)),
    )
    chart.axes(
        [(t, f"{100 * t:g} %") for t in (0.0, 0.25, 0.5, 0.75, 1.0)],
        [(float(i), name if len(name) <= 30 else name[:29] + "…") for i, name in enumerate(names)],
    )
    for i, f in enumerate(shown):
        top, x0 = chart.y(i - 0.36), chart.x(0.0)
        tall, wide = chart.y(i + 0.36) - top, chart.x(f.frequency) - x0
        fill = f'fill="{_MAIN}"' if f.in_model else f'fill="#fff" stroke="{_OTHER}" stroke-width="1.5"'
        chart.body.append(f'<rect x="{x0:.1f}" y="{top:.1f}" width="{max(wide, 0):.1f}" height="{tall:.1f}" {fill}/>')
    said = "; ".join(f"{name}: {percent(f.frequency)}" for name, f in zip(names, shown, strict=True))
    return chart.svg(said + ".")


def _shown(found: Stability) -> list[FactorFrequency]:
    return [f for f in found.found.factors if f.in_model or f.frequency > 0]


def stability_section(terrain: RiskTerrain) -> dict[str, Any] | None:
    """Return what the report shows; None where the selection was not repeated."""
    s = terrain.resampled
    if s is None:
        return None
    unit = terrain.grid.symbol
    variable = {v.name: v for v in s.found.variables}

    def form(name: str | None, share: float) -> str:
        if name is None:
            return "–"
        v = variable[name]
        return f"{_WORDS[v.operationalization]} {length(v.influence, unit)} ({percent(share)})"

    rows = [
        {
            "label": s.labels.get(f.factor, f.factor),
            "in_model": f.in_model,
            "frequency": percent(f.frequency),
            "usual": form(f.usual, f.usual_frequency),
            "kinds": ", ".join(f"{kind} {percent(c)}" for kind, c in f.operationalizations.items() if c) or "–",
            "rrv": number(f.rrv) if f.in_model else "–",
            "interval": f"{number(f.rrv_low)} to {number(f.rrv_high)}" if f.frequency else "–",
        }
        for f in _shown(s)
    ]
    low, middle, high = s.found.n_variables
    return {
        "sentence": s.sentence,
        "chart": frequency_chart(s),
        "rows": rows,
        "never": [s.labels.get(f.factor, f.factor) for f in s.found.factors if not f.in_model and f.frequency == 0],
        "level": f"{100 * s.level:g} %",
        "n_variables": f"{low} to {high} (median {middle})",
        "same_factors": percent(s.found.same_factors),
        "tops": [_top(share, p) for share, p in zip(s.shares, s.p_top, strict=True)],
        "failed": f"{plural(s.n_failed, 'repetition')} could not be fitted and {'is' if s.n_failed == 1 else 'are'} "
        f"left out: {'; '.join(s.failures)}."
        if s.n_failed
        else "",
        "penalty": "chosen anew in each" if s.recull else "the run's own in all of them",
        "half": s.scheme == "half",
        "replicates": count(s.replicates),
    }


def _top(share: float, p: Any) -> dict[str, str]:
    sure, possible = int((p >= 0.9).sum()), int((p >= 0.1).sum())
    k = max(1, round(share * p.size))
    return {
        "share": f"{100 * share:g} %",
        "cells": count(k),
        "sure": count(sure),
        "sure_share": percent(sure / k),
        "possible": count(possible),
    }
