"""What the report says: the terrain's figures turned into sentences and table rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.report.charts import log_ticks, style_of
from rtmdx.report.numbers import bounds, count, length, number, p_value, percent, plural, span, tidy
from rtmdx.report.terminal import FAMILIES

if TYPE_CHECKING:
    from rtmdx.model.design import Variable
    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.model.validity import Validity
    from rtmdx.space.layers import Cleaning, RiskFactor

__all__ = [
    "baseline_warnings",
    "factor_rows",
    "families",
    "forest",
    "input_rows",
    "key_figures",
    "model_rows",
    "outlook",
    "score_interval",
    "summary",
    "trace_rows",
    "validity_rows",
    "variable_groups",
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
        f"(95 % interval {span(low, high)}) the events of the least risky one."
    )
    return out


def _effect(terrain: RiskTerrain, p: dict[str, Any]) -> str:
    return (
        f"a place {where(terrain, p['v'])} is expected to have {number(p['ratio'])} times "
        f"(95 % interval {span(p['low'], p['high'])}) the events of a place otherwise alike; "
        f"{plural(p['events'], 'event')} fell in {plural(p['cells'], 'such cell')}"
    )


def outlook(terrain: RiskTerrain) -> str:
    """Say how the terrain did on events held out, beside the baselines; empty without a hold-out."""
    judged = terrain.holdout
    if not judged or not judged[0].n_events or not judged[0].top:
        return ""
    i = min(range(len(judged[0].top)), key=lambda k: abs(judged[0].top[k].share - 0.1))
    share, hit = judged[0].top[i].share, judged[0].top[i].hit_rate
    text = (
        f"Of {count(judged[0].n_events)} later events ({_period(judged[0])}), the {100 * share:g} % of cells with the "
        f"highest scores hold {_percent_bounds(hit.lowest, hit.expected, hit.highest, 'by the order of equal scores')}"
    )
    others = [f"{in_sentence(v.name)} {percent(v.top[i].hit_rate.expected)}" for v in judged[1:]]
    return text + (f"; for comparison, {' and '.join(others)}." if others else ".")


def _period(v: Validity) -> str:
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
        name = f" ({_period(terrain.holdout[0])})" if terrain.holdout else ""
        rows.append((f"Held-out events{name}", _cleaned(terrain.holdout_cleaning, "event")))
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


def trace_rows(terrain: RiskTerrain) -> list[dict[str, str]]:
    """Return the steps of the search, family by family."""
    return [
        {
            "family": FAMILIES.get(s.family, s.family),
            "number": str(s.number),
            "action": {"add": "add", "drop": "drop", "stop": "stop: nothing lowers BIC"}.get(s.action, s.action),
            "variable": s.variable or "",
            "before": f"{s.bic_before:,.1f}",
            "after": f"{s.bic_after:,.1f}",
            "change": f"{s.bic_after - s.bic_before:+,.1f}".replace("-", "−") if s.action != "stop" else "",
            "tried": count(s.n_tried),
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
                    "hit": _percent_bounds(t.hit_rate.lowest, t.hit_rate.expected, t.hit_rate.highest),
                    "pai": bounds(t.pai.lowest, t.pai.expected, t.pai.highest),
                    "pei": bounds(t.pei.lowest, t.pei.expected, t.pei.highest),
                }
            )
        out.append({"share": f"{100 * head.share:g} %", "cells": plural(head.n_cells, "cell"), "rows": rows})
    return out


def _percent_bounds(low: float, expected: float, high: float, why: str = "") -> str:
    if not math.isfinite(expected):
        return "–"
    if math.isclose(low, high, rel_tol=1e-9):
        return percent(expected)
    return f"{percent(expected)} ({percent(low)} to {percent(high)}{' ' + why if why else ''})"


def baseline_warnings(judged: Sequence[Validity]) -> list[str]:
    """Say where a baseline captures more events than the terrain."""
    out = []
    for v in judged[1:]:
        pairs = [(t, b) for t, b in zip(judged[0].top, v.top, strict=True) if b.events.expected > t.events.expected]
        if pairs:
            parts = [
                f"{number(b.events.expected, 4)} against {number(t.events.expected, 4)} in the top {100 * t.share:g} %"
                for t, b in pairs
            ]
            out.append(f"{v.name}: {', '.join(parts)} of the cells, of {plural(v.n_events, 'event')}.")
    return out
