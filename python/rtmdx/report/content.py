"""What the report says of the model: sentences, key figures and the model's rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.report.charts import log_ticks
from rtmdx.report.numbers import count, length, number, p_value, percent, plural, span, tidy
from rtmdx.report.terminal import FAMILIES

if TYPE_CHECKING:
    from rtmdx.model.design import Variable
    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.model.validity import Validity

__all__ = [
    "blocks",
    "dispersion",
    "families",
    "forest",
    "key_figures",
    "model_rows",
    "outlook",
    "percent_bounds",
    "period_of",
    "reach",
    "score_interval",
    "summary",
    "where",
]

Float = NDArray[np.float64]


def in_sentence(label: str) -> str:
    """Return a label for the middle of a sentence; names keep their capitals."""
    return label[:1].lower() + label[1:] if label[1:] == label[1:].lower() else label


def blocks(terrain: RiskTerrain, distance: float) -> str:
    """Return a distance in blocks: "1.5 blocks"."""
    n = distance / terrain.block_length
    return f"{n:.3g} block{'' if math.isclose(n, 1) else 's'}" if math.isfinite(n) else ""


def reach(terrain: RiskTerrain, distance: float) -> str:
    """Return a distance in CRS units and in blocks."""
    extra = blocks(terrain, distance)
    return length(distance, terrain.grid.symbol) + (f" ({extra})" if extra else "")


def where(terrain: RiskTerrain, v: Variable) -> str:
    """Say in words where a variable is 1."""
    label = in_sentence(terrain.factors[v.factor].label)
    if v.operationalization == "proximity":
        return f"within {reach(terrain, v.distance)} of {label}"
    if v.operationalization == "cost":
        return f"within {reach(terrain, v.distance)} of {label} by the cheapest way around what is in the way"
    return f"in a concentration of {label}, bandwidth {reach(terrain, v.distance)}"


def presence(terrain: RiskTerrain) -> list[dict[str, Any]]:
    """Return, per row of ``terrain.table``, the change where the factor is present, and its counts."""
    out = []
    columns = {v.name: (c, v) for c, v in zip(terrain.model.columns, terrain.model.variables, strict=True)}
    for row in terrain.table.to_dict(orient="records"):
        column, v = columns[row["variable"]]
        inside = terrain.design.indicator(column) == 1
        ratio, low, high = row["rrv"], row["rrv_low"], row["rrv_high"]
        if v.sign < 0:
            ratio, low, high = 1 / ratio, 1 / high, 1 / low
        out.append(
            {
                "row": row,
                "v": v,
                "inside": inside,
                "ratio": ratio,
                "low": low,
                "high": high,
                "cells": int(inside.sum()),
                "events": int(terrain.counts[inside].sum()),
            }
        )
    return out


def score_interval(terrain: RiskTerrain) -> tuple[float, float]:
    """Return 95 % Wald limits of the highest relative risk score against the lowest cell."""
    model = terrain.model
    k = len(model.variables)
    if not k:
        return 1.0, 1.0
    top, bottom = int(terrain.score_cells.argmax()), int(terrain.score_cells.argmin())
    contrast = np.array(
        [
            v.sign * (float(x[top]) - float(x[bottom]))
            for v, x in ((v, terrain.design.indicator(c)) for c, v in zip(model.columns, model.variables, strict=True))
        ]
    )
    variance = float(contrast @ np.asarray(model.covariance)[1 : k + 1, 1 : k + 1] @ contrast)
    margin = 1.959964 * math.sqrt(max(0.0, variance))
    middle = math.log(float(terrain.score_cells.max()))
    return math.exp(middle - margin), math.exp(middle + margin)


def key_figures(terrain: RiskTerrain) -> list[dict[str, str]]:
    """Return the few figures a reader should leave with."""
    grid, top = terrain.grid, terrain.bands[0]
    low, high = score_interval(terrain)
    out = [
        {"value": count(terrain.counts.sum()), "label": f"{terrain.events.name}, {terrain.events.period}"},
        {
            "value": count(grid.n_cells),
            "label": f"cells of {length(grid.cell_size, grid.symbol)}, "
            f"{count((terrain.counts > 0).sum())} with at least one event",
        },
        {
            "value": f"{len(terrain.model.variables)} of {len(terrain.factors)}",
            "label": "risk factors tried are in the model",
        },
    ]
    if terrain.model.variables:
        out.append(
            {
                "value": f"1 to {number(float(terrain.score_cells.max()))}",
                "label": f"relative risk scores (95 % interval of the highest: {span(low, high)})",
            }
        )
    if top.n_cells:
        out.append(
            {
                "value": percent(top.event_share),
                "label": f"of the fitted events ({count(top.n_events)}) lie in the highest-risk "
                f"{percent(top.area_share)} of the area ({count(top.n_cells)} cells)",
            }
        )
    return out


def summary(terrain: RiskTerrain) -> list[str]:
    """Return the summary, sentence by sentence."""
    grid, n = terrain.grid, int(terrain.counts.sum())
    out = [
        f"{plural(n, 'event')} of “{terrain.events.name}” ({terrain.events.period}) were counted in "
        f"{plural(grid.n_cells, 'cell')} of {length(grid.cell_size, grid.symbol)}."
    ]
    present = presence(terrain)
    if not present:
        out.append(
            f"None of the {plural(len(terrain.factors), 'risk factor')} tried explains where they happened well enough "
            "to enter the model: every cell has the same relative risk."
        )
        return out
    k, m = len(present), len(terrain.factors)
    out.append(
        f"{k} of {plural(m, 'risk factor')} tried {'goes' if k == 1 else 'go'} with where they happened"
        + (", each beside the others." if k > 1 else ".")
    )
    aggravating = [p for p in present if p["v"].sign > 0]
    protective = [p for p in present if p["v"].sign < 0]
    if aggravating:
        out.append(f"The strongest: {_effect(terrain, max(aggravating, key=lambda p: float(p['ratio'])))}.")
    if protective:
        name = "The strongest protective factor" if aggravating else "The strongest, which protects"
        out.append(f"{name}: {_effect(terrain, min(protective, key=lambda p: float(p['ratio'])))}.")
    low, high = score_interval(terrain)
    top = number(float(terrain.score_cells.max()))
    out.append(
        f"Relative risk scores run from 1 to {top}: the riskiest place is expected to have {top} times "
        f"(95 % interval {span(low, high)}) the events of the least risky one"
        + (f", {for_same(terrain)}." if terrain.exposure is not None else ".")
    )
    return out


def for_same(terrain: RiskTerrain) -> str:
    """Say that a comparison holds exposure equal; empty without an exposure."""
    return "" if terrain.exposure is None else f"for the same exposure ({in_sentence(terrain.exposure.name)})"


def _effect(terrain: RiskTerrain, p: dict[str, Any]) -> str:
    alike = ", ".join(filter(None, ["a place otherwise alike", for_same(terrain)]))
    return (
        f"a place {where(terrain, p['v'])} is expected to have {number(p['ratio'])} times "
        f"(95 % interval {span(p['low'], p['high'])}) the events of {alike}; "
        f"{plural(p['events'], 'event')} fell in {plural(p['cells'], 'such cell')}"
    )


def outlook(terrain: RiskTerrain) -> str:
    """Say how the terrain did on events held out, beside the baselines; empty without a hold-out."""
    judged = terrain.holdout
    if not judged or not judged[0].n_events or not judged[0].top:
        return ""
    i = min(range(len(judged[0].top)), key=lambda k: abs(judged[0].top[k].share - 0.1))
    share = f"{100 * judged[0].top[i].share:g} %"

    def held(v: Validity, why: str = "") -> str:
        hit = v.top[i].hit_rate
        return percent_bounds(hit.lowest, hit.expected, hit.highest, why)

    text = (
        f"Of {count(judged[0].n_events)} held-out events ({period_of(judged[0])}), the {share} of cells with the "
        f"highest scores hold {held(judged[0], 'by the order of equal scores')}"
    )
    others = [f"{in_sentence(v.name)} {held(v)}" for v in judged[1:]]
    listed = " and ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))
    return text + (f"; for comparison, {listed}." if others else ".")


def period_of(v: Validity) -> str:
    """Return the period of a validity without its kind."""
    return v.period.split(": ", 1)[-1]


def model_rows(terrain: RiskTerrain) -> list[dict[str, Any]]:
    """Return the rows of the model's table, strongest value first."""
    rows = []
    for p in presence(terrain):
        row, v = p["row"], p["v"]
        rows.append(
            {
                "label": row["label"],
                "effect": row["effect"],
                "protective": v.sign < 0,
                "operationalization": row["operationalization"],
                "influence": length(v.distance, terrain.grid.symbol),
                "blocks": blocks(terrain, v.distance),
                "where": where(terrain, v),
                "coefficient": number(row["coefficient"], 4),
                "std_error": number(row["std_error"]),
                "p": p_value(row["p"]),
                "rrv": number(row["rrv"]),
                "interval": span(row["rrv_low"], row["rrv_high"]),
                "ratio": number(p["ratio"]),
                "ratio_interval": span(p["low"], p["high"]),
                "cells": count(p["cells"]),
                "cell_share": percent(p["cells"] / terrain.grid.n_cells),
                "events": count(p["events"]),
                "event_share": percent(p["events"] / max(1, int(terrain.counts.sum()))),
                "variable": v.name,
                "factor": v.factor,
                "inside": p["inside"],
            }
        )
    return rows


def forest(terrain: RiskTerrain) -> dict[str, Any] | None:
    """Place each factor's change where present, with its interval, on a logarithmic axis (in per cent)."""
    present = [p for p in presence(terrain) if math.isfinite(p["ratio"])]
    if not present:
        return None
    present.sort(key=lambda p: -p["ratio"])
    finite = [x for p in present for x in (p["low"], p["ratio"], p["high"]) if math.isfinite(x) and x > 0]
    low, high = min(1.0, *finite), max(1.0, *finite)
    pad = 0.04 * math.log(high / low) or 0.1
    left, right = math.log(low) - pad, math.log(high) + pad

    def place(value: float) -> float:
        value = min(max(math.log(value) if value > 0 else left, left), right)
        return round(100 * (value - left) / (right - left), 2)

    return {
        "ticks": [(place(t), tidy(t)) for t in log_ticks(math.exp(left), math.exp(right), 6)],
        "one": place(1.0),
        "rows": [
            {
                "label": p["row"]["label"],
                "where": where(terrain, p["v"]),
                "protective": p["v"].sign < 0,
                "low": place(p["low"]),
                "width": round(place(p["high"]) - place(p["low"]), 2),
                "middle": place(p["ratio"]),
                "text": f"{number(p['ratio'])} ({span(p['low'], p['high'])})",
            }
            for p in present
        ],
    }


def families(terrain: RiskTerrain) -> list[dict[str, Any]]:
    """Return the best model of each family."""
    return [
        {
            "name": FAMILIES.get(family, family),
            "variables": len(m.variables),
            "df": m.df,
            "log_likelihood": f"{m.log_likelihood:,.1f}".replace("-", "−"),
            "bic": f"{m.bic:,.1f}",
            "chosen": m is terrain.model or family == terrain.model.family,
        }
        for family, m in terrain.selection.models.items()
    ]


def dispersion(terrain: RiskTerrain) -> dict[str, str] | None:
    """Return the overdispersion, in words and figures; None for Poisson."""
    model = terrain.model
    if model.log_dispersion is None:
        return None
    error = float(model.standard_errors[-1])
    s = math.exp(model.log_dispersion)
    symbol = "s" if model.family == "nbii" else "α"
    law = "variance = mean × (1 + s)" if model.family == "nbii" else "variance = mean + α × mean²"
    interval = ""
    if math.isfinite(error):
        z = 1.959964 * error
        interval = f"95 % interval {span(math.exp(model.log_dispersion - z), math.exp(model.log_dispersion + z))}"
    return {
        "symbol": symbol,
        "law": law,
        "value": number(s),
        "log": number(model.log_dispersion, 4),
        "std_error": number(error),
        "interval": interval,
    }


def percent_bounds(low: float, expected: float, high: float, why: str = "") -> str:
    """Return a share with its limits over the ties, or one figure where ties change nothing."""
    if not math.isfinite(expected):
        return "–"
    if math.isclose(low, high, rel_tol=1e-9):
        return percent(expected)
    return f"{percent(expected)} ({percent(low)} to {percent(high)}{' ' + why if why else ''})"
