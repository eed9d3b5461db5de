"""The report's section on what to expect: terrain, history and posterior side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.report.maps import COUNTS, RISK, Canvas, class_breaks, ramp
from rtmdx.report.numbers import count, length, number, percent, plural, tidy

if TYPE_CHECKING:
    from rtmdx.model.posterior import PosteriorRisk
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["posterior_section"]

_N_PLACES = 10


def posterior_section(terrain: RiskTerrain, canvas: Canvas) -> dict[str, Any] | None:
    """Return maps, method and the places where most is expected; None without a posterior."""
    risk = terrain.posterior_risk
    if risk is None:
        return None
    own, posterior = risk.terrain_cells * risk.horizon, risk.expected_cells
    lower, exact = class_breaks(np.concatenate([own, posterior]), 8)
    colors = ramp(RISK, len(lower)) if len(lower) > 1 else [RISK[1]]
    top = float(max(own.max(), posterior.max()))
    key = [
        {"color": c, "range": number(float(a)) if exact else f"{number(float(a)) if i == 0 else tidy(float(a))} to {b}"}
        for i, (c, a, b) in enumerate(
            zip(colors, lower, [*(tidy(float(v)) for v in lower[1:]), number(top)], strict=True)
        )
    ]
    history, history_key = _history(risk.history.total, canvas)
    same = math.isclose(risk.horizon, 1.0)
    enforced = any(f.code == "enforcement" for f in terrain.findings)
    return {
        "maps": [
            {
                "name": "Terrain",
                "use": "Where the landscape is risky, and why: use it to decide what to change about a place.",
                "svg": canvas.image(canvas.classes(own, lower), colors),
                "key": key,
                "what": "expected events per cell, by the landscape alone",
            },
            {
                "name": "History",
                "use": "Where events were: use it to know what was recorded, chance and gaps in the records included.",
                "svg": history,
                "key": history_key,
                "what": "events counted in the cell",
            },
            {
                "name": "Posterior",
                "use": "What will be recorded next if enforcement goes on where it was: not where offending will be."
                if enforced
                else "What to expect: use it to decide where help and repair are needed first.",
                "svg": canvas.image(canvas.classes(posterior, lower), colors),
                "key": key,
                "what": "expected events per cell, by landscape and history together",
            },
        ],
        "updated": risk.updated,
        "sentence": _sentence(risk),
        "horizon": "a next period as long as the fitted one"
        if same
        else f"a next period of {risk.horizon:g} times the fitted one's length",
        "method": risk.method,
        "chosen": _chosen(risk),
        "split": bool(risk.persistence_tried),
        "places": _places(risk),
        "level": f"{100 * risk.level:g} %",
        "thin": canvas.thin,
        "enforcement": enforced,
    }


def _history(total: NDArray[np.float64], canvas: Canvas) -> tuple[str, list[dict[str, str]]]:
    positive = total[total > 0]
    inner, _ = class_breaks(positive, 5, 5) if positive.size else (np.empty(0), True)
    lower = np.unique(np.ceil(inner))
    if not positive.size or (total == 0).any():
        lower = np.concatenate([[0.0], lower])
    zero = [COUNTS[0]] if lower[0] == 0 else []
    colors = zero + ramp(COUNTS[3:], len(lower) - len(zero))  # single events must be seen on a small map
    ends = [*(lower[1:] - 1), float(total.max())]
    key = [
        {"color": c, "range": count(a) if b <= a else f"{count(a)} to {count(b)}"}
        for c, a, b in zip(colors, lower, ends, strict=True)
    ]
    return canvas.image(canvas.classes(total, lower, peak=True), colors), key


def _sentence(risk: PosteriorRisk) -> str:
    n = risk.expected_cells.size
    k = max(1, round(0.01 * n))
    expected = np.sort(risk.expected_cells)[::-1]
    share = float(expected[:k].sum() / expected.sum()) if expected.sum() > 0 else math.nan
    text = f"{count(expected.sum())} events are expected in all"
    if not math.isfinite(share):
        return text + "."
    return text + f", {percent(share)} of them in the 1 % of cells where most is expected ({plural(k, 'cell')})."


def _chosen(risk: PosteriorRisk) -> list[tuple[str, str]]:
    """Return what was chosen, as terms and descriptions."""
    if not risk.updated:
        return []
    observed = f"{risk.history.period}, {plural(int(risk.history.total.sum()), 'event')}; {risk.history.note}"
    out = [("History", observed)]
    if risk.bandwidth is not None:
        out.append(
            (
                "Level around",
                f"Gaussian of {length(risk.bandwidth, risk.grid.symbol)}, held to 1 by {risk.strength:g} "
                "prior events; the cell's own count left out.",
            )
        )
    weight = f"a cell of average expectation gives {percent(_weight(risk))} weight to them, the rest to the terrain"
    decay = (
        f"half-life {number(risk.half_life)} fitted periods"
        if math.isfinite(risk.half_life)
        else "no decay within the history"
    )
    out.append(("Own counts", f"{weight}; {decay}"))
    symbol = "s" if risk.family == "nbii" else "α"
    total = f"{symbol} = {number(risk.dispersion_total)} in one period, {number(risk.dispersion)} of it lasting"
    if not risk.persistence_tried:
        total = f"{symbol} = {number(risk.dispersion)}"
    elif risk.dispersion > risk.dispersion_total:
        total = f"{symbol} = {number(risk.dispersion_total)} in one period, weighed as {number(risk.dispersion)}"
    out.append(("Dispersion", total))
    if risk.rate.scale > 1.005:
        out.append(("Bursts", f"counts vary {number(risk.rate.scale)} times as much as a Poisson's at the same rate"))
    return out


def _weight(risk: PosteriorRisk) -> float:
    """Weight of the cell's own (discounted) counts in its posterior mean, at the mean expectation."""
    from rtmdx.model.persistence import period_weights

    t = float(period_weights(risk.history.lengths, risk.half_life) @ risk.history.lengths)
    strength = risk.dispersion * t * (1.0 if risk.family == "nbii" else float(risk.level_cells.mean()))
    return strength / (1.0 + strength)


def _places(risk: PosteriorRisk) -> list[dict[str, str]]:
    order = np.argsort(-risk.expected_cells, kind="stable")[:_N_PLACES]
    rows, cols = risk.grid.rows_cols
    low, high = risk.prediction_interval()
    return [
        {
            "rank": count(i + 1),
            "cell": f"{risk.grid.x[cols[c]]:,.0f}, {risk.grid.y[rows[c]]:,.0f}",
            "history": count(risk.history.total[c]),
            "terrain": number(float(risk.terrain_cells[c] * risk.horizon)),
            "posterior": number(float(risk.expected_cells[c])),
            "credible": f"{number(float(risk.lower_cells[c]))} to {number(float(risk.upper_cells[c]))}",
            "counts": f"{count(low[c])} to {count(high[c])}",
        }
        for i, c in enumerate(order)
    ]
