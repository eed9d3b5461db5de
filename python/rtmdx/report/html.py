"""The report as one HTML page: figures and rows put into the template."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import MissingDependencyError
from rtmdx.report import content, rows, search
from rtmdx.report.charts import STYLES, capture_chart, culling_chart, style_of
from rtmdx.report.diagnostics import diagnostics_section
from rtmdx.report.exposure import expected_per_score, exposure_section
from rtmdx.report.folds import fold_table
from rtmdx.report.maps import COUNTS, RISK, Canvas, class_breaks, ramp
from rtmdx.report.numbers import count, number, percent, plural, tidy
from rtmdx.report.posterior import posterior_section
from rtmdx.report.stability import stability_section
from rtmdx.report.terminal import FAMILIES

if TYPE_CHECKING:
    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.model.validity import Validity
    from rtmdx.runs.sections import Section

__all__ = ["render"]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_BANDS = ("#8a2457", "#f0a45e", "#ece8dd")  # highest first
_AREA = {1: ("#f4f2ec", "#f0b478"), -1: ("#f4f2ec", "#8fc3b0")}  # outside and inside a factor's reach
_FEATURE = {1: "#7a2d12", -1: "#0f4a3a"}


def render(terrain: RiskTerrain, sections: Sequence[Section] = ()) -> str:
    """Return the report of a terrain as an HTML page, `sections` of other wings in it.

    Raises
    ------
    MissingDependencyError
        Jinja is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError:
        raise MissingDependencyError(
            "The HTML report needs Jinja.", hint="Install it with: pip install 'rtmdx[report]'"
        ) from None
    environment = Environment(
        loader=PackageLoader("rtmdx.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup  # the figures of this package, and nothing else
    environment.filters["dates"] = lambda text: Markup(_DATE.sub(r'<span class="nw">\g<0></span>', str(escape(text))))
    return environment.get_template("report.html.j2").render({**_page(terrain), "sections": sections})


def _page(terrain: RiskTerrain) -> dict[str, Any]:
    canvas = Canvas(terrain.grid)
    model = content.model_rows(terrain)
    enforcement = [f for f in terrain.findings if f.code == "enforcement"]
    return {
        "title": terrain.title,
        "outcome": terrain.events.name,
        "period": terrain.events.period,
        "summary": content.summary(terrain),
        "outlook": content.outlook(terrain),
        "key_figures": content.key_figures(terrain),
        "enforcement": enforcement,
        "findings": [f for f in terrain.findings if f.code != "enforcement"],
        "canvas": canvas,
        "risk": _risk_map(terrain, canvas),
        "bands": _band_map(terrain, canvas),
        "exposure": exposure_section(terrain, canvas),
        "counts": _count_map(terrain, canvas),
        "model": model,
        "any_protective": any(r["protective"] for r in model),
        "forest": content.forest(terrain),
        "factor_maps": [_factor_map(terrain, canvas, row) for row in model],
        "intercept": _intercept(terrain),
        "dispersion": content.dispersion(terrain),
        "family": FAMILIES.get(terrain.model.family, terrain.model.family),
        "families": content.families(terrain),
        "n_cells": count(terrain.model.n_cells),
        "n_events": count(terrain.model.n_events),
        "formula": terrain.formula,
        "notes": [*terrain.culling.notes, *terrain.selection.notes],
        "flagged": list(terrain.selection.flagged.get(terrain.model.family, ())),
        "posterior": posterior_section(terrain, canvas),
        "validity": _validity(terrain),
        "diagnostics": diagnostics_section(terrain),
        "stability": stability_section(terrain),
        "inputs": rows.input_rows(terrain),
        "factors": rows.factor_rows(terrain),
        "variables": rows.variable_groups(terrain),
        "culling": _culling(terrain),
        "trace": rows.trace_rows(terrain),
        "exchanges": search.exchange_sentences(terrain),
        "intervals": search.interval_rows(terrain),
        "provenance": _provenance(terrain),
        "config": json.dumps(dict(terrain.config), indent=2, ensure_ascii=False, default=str),
    }


def _risk_map(terrain: RiskTerrain, canvas: Canvas) -> dict[str, Any]:
    score = terrain.score_cells
    lower, exact = class_breaks(score)
    colors = ramp(RISK, len(lower)) if len(lower) > 1 else [RISK[1]]
    per_score = expected_per_score(terrain)
    legend = _legend(terrain, score, lower, colors, exact)
    for i, row in enumerate(legend):
        low, high = lower[i] * per_score, (lower[i + 1] if i + 1 < len(lower) else score.max()) * per_score
        row["expected"] = number(low) if exact or low == high else f"{number(low)} to {number(high)}"
    return {
        "svg": canvas.image(canvas.classes(score, lower), colors),
        "legend": legend[::-1],
        "exact": exact,
        "levels": plural(np.unique(score).size, "distinct score"),
        "flat": len(lower) == 1,
        "thin": canvas.thin,
    }


def _count_map(terrain: RiskTerrain, canvas: Canvas) -> dict[str, Any]:
    counts = terrain.counts.astype(np.float64)
    positive = counts[counts > 0]
    inner, exact = class_breaks(positive, 6, 6) if positive.size else (np.empty(0), True)
    lower = np.concatenate([[0.0], np.ceil(inner)]) if (counts == 0).any() else np.ceil(inner)
    zero = [COUNTS[0]] if lower[0] == 0 else []
    colors = zero + ramp(COUNTS[2:], len(lower) - len(zero))  # one event in one small cell must be seen
    legend = []
    for i, low in enumerate(lower):
        last = (lower[i + 1] if i + 1 < len(lower) else counts.max() + 1) - 1
        text = count(low) if last <= low else f"{count(low)} to {count(last)}"
        n = int(((counts >= low) & (counts <= last)).sum())
        legend.append({"color": colors[i], "range": text, "cells": count(n), "cell_share": percent(n / counts.size)})
    return {
        "svg": canvas.image(canvas.classes(counts, lower, peak=True), colors),
        "legend": legend[::-1],
        "thin": canvas.thin,
        "exact": exact,
    }


def _legend(
    terrain: RiskTerrain,
    values: NDArray[np.float64],
    lower: NDArray[np.float64],
    colors: Sequence[str],
    exact: bool,
) -> list[dict[str, Any]]:
    which = np.clip(np.searchsorted(lower, values * (1 + 1e-12), side="right") - 1, 0, None)
    cells = np.bincount(which, minlength=len(lower))
    events = np.bincount(which, weights=terrain.counts, minlength=len(lower))
    total = max(1.0, float(events.sum()))
    digits = next((d for d in (3, 4, 5) if len({number(v, d) for v in lower}) == len(lower)), 6)
    out = []
    for i, low in enumerate(lower):
        last = i + 1 == len(lower)
        high = float(values.max() if last else lower[i + 1])
        ends = (number(low) if i == 0 else tidy(low), number(high) if last else tidy(high))
        text = number(low, digits) if exact else " to ".join(ends)
        out.append(
            {
                "color": colors[i],
                "range": text,
                "cells": count(cells[i]),
                "cell_share": percent(cells[i] / values.size),
                "events": count(events[i]),
                "event_share": percent(events[i] / total),
            }
        )
    return out


def _band_map(terrain: RiskTerrain, canvas: Canvas) -> dict[str, Any]:
    n = len(terrain.bands)
    lower = np.sort(np.array([b.lower for b in terrain.bands]))
    colors = [_BANDS[min(i, len(_BANDS) - 1)] for i in range(n)]
    if canvas.thin > 1:
        classes = canvas.classes(terrain.score_cells, lower)
    else:
        classes = terrain.grid.to_raster(n - terrain.band_index, 0).astype(np.uint8)
    bands = [
        {
            "name": b.name,
            "color": colors[i],
            "lower": f"≥ {number(b.lower)}" if np.isfinite(b.lower) else "–",
            "cells": count(b.n_cells),
            "area": percent(b.area_share),
            "events": count(b.n_events),
            "event_share": percent(b.event_share),
            "per_cell": number(b.n_events / b.n_cells) if b.n_cells else "–",
        }
        for i, b in enumerate(terrain.bands)
    ]
    return {"svg": canvas.image(classes, colors[::-1]), "rows": bands, "note": terrain.bands_note.replace(">=", "≥")}


def _factor_map(terrain: RiskTerrain, canvas: Canvas, row: dict[str, Any]) -> dict[str, Any]:
    factor = terrain.factors[row["factor"]]
    inside = row["inside"].astype(np.float64)
    classes = canvas.classes(inside, np.array([0.0, 0.5]))
    return {
        **row,
        "svg": canvas.image(classes, _AREA[factor.sign], side=700),
        "area_color": _AREA[factor.sign][1],
        "feature_color": _FEATURE[factor.sign],
        "features": canvas.features(factor.geometries),
        "n_features": plural(len(factor), "feature"),
        "geometry": factor.geometry_type,
        "dot": 3.0 if len(factor) < 300 else 2.2 if len(factor) < 2000 else 1.4,
    }


def _intercept(terrain: RiskTerrain) -> dict[str, str]:
    model = terrain.model
    return {
        "value": number(model.intercept, 4),
        "std_error": number(float(model.standard_errors[0])),
        "expected": number(float(np.exp(model.intercept))),
    }


def _validity(terrain: RiskTerrain) -> list[dict[str, Any]]:
    out = []
    for kind, judged in (("holdout", terrain.holdout), ("fitted", terrain.fitted)):
        if not judged:
            continue
        out.append(
            {
                "kind": kind,
                "period": judged[0].period.split(": ", 1)[-1],
                "n_events": plural(judged[0].n_events, "event"),
                "empty": judged[0].n_events == 0,
                "charts": [capture_chart(judged), capture_chart(judged, 0.2)] if judged[0].n_events else [],
                "methods": [_method(i, v) for i, v in enumerate(judged)],
                "rows": rows.validity_rows(judged),
                "warnings": rows.baseline_warnings(judged),
            }
        )
    return out


def _method(i: int, v: Validity) -> dict[str, str]:
    color, dashes = style_of(v.name, i)
    return {
        "name": v.name,
        "color": color,
        "dashes": dashes,
        "auc": number(v.auc),
        "levels": plural(v.n_levels, "distinct score"),
    }


def _culling(terrain: RiskTerrain) -> dict[str, Any]:
    culling = terrain.culling
    return {
        "svg": culling_chart(culling),
        "paths": [
            {"name": p.name, "color": STYLES[i % len(STYLES)][0], "dashes": STYLES[i % len(STYLES)][1]}
            for i, p in enumerate(culling.paths)
        ],
        "penalty": number(culling.penalty),
        "ridge": f"{culling.ridge:g}",
        "kkt": number(culling.kkt_residual, 2),
        "folds": len(culling.folds),
        "rule": dict(dict(terrain.config).get("model") or {}).get("folds", ""),
        "plan": fold_table(terrain.fold_plan),
    }


def _provenance(terrain: RiskTerrain) -> dict[str, Any]:
    p = dict(terrain.provenance)
    return {
        "rows": [
            (label, p[key])
            for key, label in (
                ("study_id", "Study"),
                ("created", "Computed at"),
                ("seed", "Seed of the folds"),
                ("grid_digest", "Grid"),
            )
            if key in p
        ],
        "versions": _pairs(p.get("versions")),
        "build": _pairs(p.get("build")),
        "inputs": [
            {"layer": name, "source": item.get("source", ""), "sha256": item.get("sha256", "")}
            for name, item in dict(p.get("inputs") or {}).items()
        ],
    }


def _pairs(mapping: Any) -> str:
    items = dict(mapping or {}).items()
    return ", ".join(f"{k} {', '.join(map(str, v)) if isinstance(v, list | tuple) else v}" for k, v in items)
