"""Concentration curves of an exposure as SVG: share of each group against share of everyone, lowest risk first."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtmdx.disparity.exposure_results import ExposureResult
from rtmdx.report.charts import STYLES, Chart, Series

__all__ = ["concentration_chart", "fifths", "group_styles"]

_STYLE = (
    "<style>.grid{stroke:#dfe3e8}.axis{stroke:#555b63;fill:none}.tick,.label{font:12px sans-serif;fill:#2b3038}</style>"
)
_TICKS = [(v / 5, f"{20 * v} %") for v in range(6)]


def group_styles(found: ExposureResult) -> list[tuple[str, str, str]]:
    """Return name, colour and dashes of every group with residents."""
    drawn = [
        g for g, name in enumerate(found.groups) if found.curve_residents.size and found.curve_residents[-1, g] > 0
    ]
    return [(found.groups[g], *STYLES[i % len(STYLES)]) for i, g in enumerate(drawn)]


def fifths(found: ExposureResult) -> dict[str, list[float]]:
    """Return of each group the share that lives in each fifth of all residents, lowest risk first.

    It is the concentration curve's rise over the fifth; residents at one risk come together, so that the curve is
    straight between its points.
    """
    table = found.curve()
    out = {}
    for name, *_ in group_styles(found):
        rows = table[table["group"] == name]
        at = np.interp(np.linspace(0.0, 1.0, 6), rows["share_of_all"], rows["share_of_group"])
        out[name] = [float(v) for v in np.diff(at)]
    return out


def concentration_chart(found: ExposureResult) -> str:
    """Draw the curves, with the diagonal of equal exposure; a group below it lives at higher risks than everyone does.

    Returns
    -------
    str
        An SVG that stands alone. The legend is in it, so that it does not depend on a page.
    """
    chart = Chart(
        "Concentration curves", (0.0, 1.0), (0.0, 1.0), "share of all residents, lowest risk first",
        "share of the group", width=560, height=380, right=150,
    )  # fmt: skip
    chart.axes(_TICKS, _TICKS)
    x0, x1, y0, y1 = chart.x(0), chart.x(1), chart.y(0), chart.y(1)
    chart.body.append(f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="#9aa1aa" stroke-width="1.2"/>')
    table = found.curve()
    said: list[str] = []
    for i, (name, color, dashes) in enumerate(group_styles(found)):
        rows: Any = table[table["group"] == name]
        chart.line(Series(name, rows["share_of_all"].to_numpy(), rows["share_of_group"].to_numpy(), color, dashes))
        y = chart.top + 12 + 20 * i
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        chart.body.append(f'<path d="M{x1 + 14:.1f} {y:.1f}h26" stroke="{color}" stroke-width="3"{dash}/>')
        chart.text(x1 + 46, y + 4, name if len(name) <= 15 else name[:14] + "…")
        index = next(e for e in found.indices if getattr(e, "index", "") == "concentration" and e.group == name)  # type: ignore[attr-defined]
        said.append(f"{name}: concentration index {index.estimate:.3f}")
    chart.body.insert(0, _STYLE)
    return chart.svg("; ".join(said) + ".").replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
