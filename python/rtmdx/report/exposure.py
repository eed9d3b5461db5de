"""The report's part on exposure: what events can happen to, and what the terrain expects of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.report.maps import COUNTS, RISK, Canvas, class_breaks, ramp
from rtmdx.report.numbers import count, number, percent, tidy

if TYPE_CHECKING:
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["amount", "expected_per_score", "exposure_section"]


def amount(value: float) -> str:
    """Return a total, whole where it is large."""
    return count(value) if value >= 1000 else tidy(value)


def expected_per_score(terrain: RiskTerrain) -> float:
    """Expected events of a cell per unit of its score (log link: a constant); of one of median exposure, with one."""
    exposure = terrain.exposure
    if exposure is None:
        return float(terrain.expected_cells[0] / terrain.score_cells[0])
    i = int(np.argmax(exposure.cells))
    return float(terrain.expected_cells[i] / exposure.cells[i] / terrain.score_cells[i]) * exposure.median


def exposure_section(terrain: RiskTerrain, canvas: Canvas) -> dict[str, Any] | None:
    """Return maps of exposure and expected events, and what they are; None without an exposure."""
    exposure = terrain.exposure
    if exposure is None:
        return None
    bare = exposure.n_without
    return {
        "name": exposure.name,
        "unit": exposure.unit,
        "total": amount(exposure.total),
        "median": f"{number(exposure.median)} {exposure.unit}",
        "method": exposure.method,
        "bare": f"{count(bare)} ({percent(bare / exposure.cells.size)})" if bare else "",
        "floor": f"{number(exposure.floor)} {exposure.unit}" if exposure.floor else "",
        "maps": [
            _map(canvas, exposure.cells, COUNTS, f"Exposure: {exposure.name}", f"{exposure.unit} per cell"),
            _map(canvas, terrain.expected_cells, RISK, "Expected events", "expected events per cell"),
        ],
    }


def _map(canvas: Canvas, values: NDArray[np.float64], colors: tuple[str, ...], title: str, what: str) -> dict[str, Any]:
    """Draw a quantity that may be 0 in many cells: 0 is a class of its own."""
    positive = values[values > 0]
    inner, exact = class_breaks(positive, 9, 6)
    lower = np.concatenate([[0.0], inner]) if (values == 0).any() else inner
    zero = [colors[0]] if lower[0] == 0 else []
    shades = zero + (ramp(colors[1:], len(inner)) if len(inner) > 1 else [colors[3]])
    ends = [*(tidy(float(v)) for v in inner[1:]), number(float(positive.max()))]
    key = [{"color": colors[0], "range": "0"}] if zero else []
    for color, low, high in zip(shades[len(zero) :], inner, ends, strict=True):
        first = number(float(low)) if low == inner[0] else tidy(float(low))
        key.append({"color": color, "range": tidy(float(low)) if exact else f"{first} to {high}"})
    return {"title": title, "what": what, "svg": canvas.image(canvas.classes(values, lower), shades), "key": key}
