"""Charts as inline SVG, drawn by hand: they stay sharp, print well and can be read aloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rtmdx.report.numbers import count, number, percent

if TYPE_CHECKING:
    from rtmdx.model.culling import CullingResult
    from rtmdx.model.validity import Validity

__all__ = ["STYLES", "Chart", "Series", "capture_chart", "culling_chart", "log_ticks", "nice_ticks", "style_of"]

Float = NDArray[np.float64]

# colour, dashes: told apart without colour too
STYLES = (
    ("#8a2457", ""), ("#174c77", "7 4"), ("#23694a", "2 4"),
    ("#6b5a13", "10 3 2 3"), ("#a8621b", "1 3"), ("#555b63", "5 2"),
)  # fmt: skip


def style_of(name: str, position: int) -> tuple[str, str]:
    """Return colour and dashes of a score; the usual ones keep theirs in every chart."""
    usual = {"Risk": 0, "Past": 1, "Kernel": 2, "Posterior": 3, "Score": 4, "Exposure": 5}
    return STYLES[usual.get(name.split(" ")[0], position % len(STYLES))]


def nice_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return about `n` round values from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / n
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(m * base for m in (1, 2, 2.5, 5, 10) if m * base >= raw * (1 - 1e-9))
    return [float(round(k * step, 12)) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, n: int = 6) -> list[float]:
    """Return at most about `n` round values of a logarithmic axis from `low` to `high`."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 1.2, 1.5, 2, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**e for e in range(first, last + 1) for m in steps if low <= m * 10.0**e <= high]
        if len(ticks) <= n:
            return ticks
    return [10.0**e for e in range(first, last + 1, math.ceil((last - first) / n)) if low <= 10.0**e <= high]


@dataclass(frozen=True)
class Series:
    """A line, with a shaded range where given."""

    name: str
    x: Float
    y: Float
    color: str
    dashes: str = ""
    low: Float | None = None
    high: Float | None = None


@dataclass
class Chart:
    """Axes, grid lines and the SVG built up on them."""

    title: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str
    y_label: str
    log_x: bool = False
    width: float = 460
    height: float = 300
    left: float = 66
    right: float = 24
    top: float = 12
    bottom: float = 46
    body: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        low, high = self.x_range
        if self.log_x:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        low, high = self.y_range
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)

    def axes(self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]) -> None:
        """Draw ticks with labels, grid lines and axis titles."""
        x0, x1, y0, y1 = self.left, self.width - self.right, self.height - self.bottom, self.top
        for value, label in y_ticks:
            y = self.y(value)
            self.body.append(f'<path class="grid" d="M{x0:.1f} {y:.1f}H{x1:.1f}"/>')
            self.text(x0 - 6, y + 4, label, "end")
        for value, label in x_ticks:
            x = self.x(value)
            self.body.append(f'<path class="grid" d="M{x:.1f} {y0:.1f}V{y1:.1f}"/>')
            self.text(x, y0 + 16, label, "middle")
        self.body.append(f'<path class="axis" d="M{x0:.1f} {y1:.1f}V{y0:.1f}H{x1:.1f}"/>')
        self.text((x0 + x1) / 2, self.height - 8, self.x_label, "middle", "label")
        y = (y0 + y1) / 2
        self.body.append(
            f'<text class="label" text-anchor="middle" transform="translate(14 {y:.1f}) rotate(-90)">'
            f"{_escape(self.y_label)}</text>"
        )

    def text(self, x: float, y: float, text: str, anchor: str = "start", css: str = "tick") -> None:
        """Write a line of text."""
        self.body.append(f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_escape(text)}</text>')

    def line(self, series: Series, stroke: float = 2.2) -> None:
        """Draw a series and its range."""
        if series.low is not None and series.high is not None:
            there = zip(series.x, series.high, strict=True)
            back = zip(series.x[::-1], series.low[::-1], strict=True)
            path = "L".join(f"{self.x(a):.1f} {self.y(b):.1f}" for a, b in [*there, *back])
            self.body.append(f'<path d="M{path}z" fill="{series.color}" fill-opacity="0.22"/>')
        path = "L".join(f"{self.x(a):.1f} {self.y(b):.1f}" for a, b in zip(series.x, series.y, strict=True))
        dashes = f' stroke-dasharray="{series.dashes}"' if series.dashes else ""
        self.body.append(
            f'<path d="M{path}" fill="none" stroke="{series.color}" stroke-width="{stroke:g}"{dashes}'
            ' stroke-linejoin="round"/>'
        )

    def svg(self, description: str) -> str:
        """Return the whole chart; `description` is what a screen reader says."""
        return (
            f'<svg class="chart" viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{_escape(self.title + ". " + description)}">{"".join(self.body)}</svg>'
        )


def capture_chart(judged: Sequence[Validity], share: float = 1.0) -> str:
    """Draw share of cells flagged against share of events captured, up to `share` of the cells."""
    series = []
    for i, v in enumerate(judged):
        color, dashes = style_of(v.name, i)
        keep = v.curve_share <= share + 1e-9
        curves = [c[keep] for c in (v.curve_share, v.curve_expected, v.curve_lowest, v.curve_highest)]
        if np.isfinite(curves[1]).all():
            # the baselines' ranges would hide the terrain's: they are in the table
            ties = (curves[2], curves[3]) if i == 0 else (None, None)
            series.append(Series(v.name, curves[0], curves[1], color, dashes, *ties))
    top = max([float((s.high if s.high is not None else s.y).max()) for s in series], default=1.0)
    y_high = 1.0 if share == 1.0 else min(1.0, math.ceil(top * 10 + 0.2) / 10)
    area = "all cells" if share == 1.0 else f"the top {100 * share:g} % of cells"
    chart = Chart(
        f"Capture curve over {area}",
        (0.0, share),
        (0.0, y_high),
        "share of the cells flagged, highest scores first",
        "share of events captured",
    )
    chart.axes(
        [(t, f"{100 * t:g} %") for t in nice_ticks(0, share)], [(t, f"{100 * t:g} %") for t in nice_ticks(0, y_high)]
    )
    end = min(share, y_high)
    chart.body.append(
        f'<path class="random" d="M{chart.x(0):.1f} {chart.y(0):.1f}L{chart.x(end):.1f} {chart.y(end):.1f}"/>'
    )
    for s in reversed(series):
        chart.line(s)
    said = "; ".join(
        f"{s.name}: {percent(float(np.interp(0.1, s.x, s.y)))} of events in the top 10 % of cells" for s in series
    )
    return chart.svg(said)


def culling_chart(culling: CullingResult) -> str:
    """Draw the cross-validated deviance along the penalty path of each ridge, with its standard error."""
    paths = [p for p in culling.paths if len(p.penalties)]
    if not paths:
        return ""
    penalties = np.concatenate([p.penalties for p in paths])
    penalties = penalties[penalties > 0]
    low = min(float((p.cv_deviance - p.cv_standard_error).min()) for p in paths)
    high = max(float((p.cv_deviance + p.cv_standard_error).max()) for p in paths)
    pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    left, right = float(penalties.min()), float(penalties.max())
    if right <= left:
        left, right = left / 2, right * 2
    chart = Chart(
        "Cross-validated deviance against the L1 penalty",
        (right, left),  # weak penalties, many variables, to the right
        (low - pad, high + pad),
        "L1 penalty (weaker to the right)",
        "held-out deviance per cell",
        log_x=True,
    )
    chart.axes(
        [(t, f"{t:g}") for t in log_ticks(left, right)],
        [(t, f"{t:g}") for t in nice_ticks(low - pad, high + pad, 4)],
    )
    for i, p in enumerate(paths):
        color, dashes = STYLES[i % len(STYLES)]
        error = p.cv_standard_error
        chart.line(
            Series(p.name, p.penalties, p.cv_deviance, color, dashes, p.cv_deviance - error,
                   p.cv_deviance + error),
        )  # fmt: skip
    if left <= culling.penalty <= right:
        x = chart.x(culling.penalty)
        chart.body.append(f'<path class="chosen" d="M{x:.1f} {chart.top:.1f}V{chart.height - chart.bottom:.1f}"/>')
        near_right = x > chart.width / 2
        chart.text(x - 5 if near_right else x + 5, chart.top + 12, "chosen", "end" if near_right else "start")
    said = "; ".join(f"{p.name}: lowest {number(float(p.cv_deviance.min()), 4)}" for p in paths)
    return chart.svg(f"{said}. Chosen: {count(len(culling.selected))} variables.")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
