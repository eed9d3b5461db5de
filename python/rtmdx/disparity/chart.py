"""Figures with their intervals as one chart (SVG): a row each, ratios on a logarithmic axis with a line at 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rtmdx.disparity.results import Estimate, Ratio
from rtmdx.report.charts import STYLES, Chart, log_ticks, nice_ticks
from rtmdx.report.numbers import tidy

__all__ = ["interval_chart"]

_STYLE = (
    "<style>.grid{stroke:#dfe3e8}.axis{stroke:#555b63;fill:none}.tick,.label{font:12px sans-serif;fill:#2b3038}</style>"
)
_DOUBTFUL = "#7b838d"
_ROW = 24.0


def interval_chart(results: Sequence[Estimate | None], labels: Sequence[str], title: str, x_label: str) -> str:
    """Draw estimates and their intervals.

    Parameters
    ----------
    results : sequence of Estimate or None
        None, or an estimate that is not finite, is a row without a mark: it is shown that there is none.
    labels : sequence of str
    title, x_label : str

    Returns
    -------
    str
        An SVG that stands alone. Unreliable figures are hollow and grey.
    """
    shown = [r if r is not None and math.isfinite(r.estimate) else None for r in results]
    marks: list[Any] = [r for r in shown if r is not None]
    ratios = bool(marks) and all(isinstance(r, Ratio) and r.estimate > 0 for r in marks)
    ends = [v for r in marks for v in (r.low, r.estimate, r.high) if math.isfinite(v) and (v > 0 or not ratios)]
    ends += [1.0] if ratios or not ends else []
    low, high = min(ends), max(ends)
    if ratios:
        pad = max(0.06 * math.log(high / low), 0.05)
        low, high = low * math.exp(-pad), high * math.exp(pad)
    else:
        pad = 0.06 * (high - low) or 0.5
        low, high = low - pad, high + pad
    n = len(shown)
    left = min(400.0, 24 + 6.4 * max((len(text) for text in labels), default=0))
    chart = Chart(
        title, (low, high), (n - 0.5, -0.5), x_label, "", log_x=ratios, width=left + 420, height=_ROW * n + 62,
        left=left, right=110,
    )  # fmt: skip
    ticks = log_ticks(low, high, 6) if ratios else nice_ticks(low, high, 5)
    cut = [text if len(text) <= 60 else text[:59] + "…" for text in labels]
    chart.axes([(t, tidy(t)) for t in ticks], [(float(i), text) for i, text in enumerate(cut)])
    if ratios:
        x = chart.x(1.0)
        chart.body.append(
            f'<path d="M{x:.1f} {chart.top:.1f}V{chart.height - chart.bottom:.1f}" stroke="#3b424c" '
            'stroke-dasharray="4 3"/>'
        )
    said = []
    for i, (r, text) in enumerate(zip(shown, labels, strict=True)):
        y = chart.y(float(i))
        if r is None:
            chart.text(chart.width - chart.right + 6, y + 4, "not defined")
            said.append(f"{text}: not defined")
            continue
        color = _DOUBTFUL if r.unreliable else STYLES[0][0]
        a, b = (chart.x(min(max(v, low), high)) for v in (r.low, r.high))
        x = chart.x(r.estimate) if low <= r.estimate <= high else chart.x(low)
        fill = "#fff" if r.unreliable else color
        chart.body.append(f'<path d="M{a:.1f} {y:.1f}H{b:.1f}" stroke="{color}" stroke-width="3"/>')
        chart.body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{color}" stroke-width="2"/>')
        figure = f"{r.estimate:.3g} ({r.low:.3g} to {r.high:.3g})"
        chart.text(chart.width - chart.right + 6, y + 4, figure)
        said.append(f"{text}: {figure}")
    chart.body.insert(0, _STYLE)
    return chart.svg("; ".join(said) + ".").replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
