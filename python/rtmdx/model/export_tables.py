"""A risk terrain as plain tables: cells, factors, model, variables, validity and the search."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rtmdx.model.terrain_tables import place_columns, risk_columns

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.model.terrain import RiskTerrain

__all__ = ["TABLES", "factor_table", "tables"]

TABLES = ("cells", "factors", "model", "variables", "validity", "selection_trace", "selection_attempts")


def tables(terrain: RiskTerrain) -> dict[str, pd.DataFrame]:
    """Return the tables of `TABLES` as data frames.

    ``cells`` (one row per kept cell), ``factors``, ``model`` (as ``terrain.table``, with intercept and
    log dispersion), ``variables`` (every generated variable and what became of it), ``validity`` (long
    form: figure by share, with lowest, expected and highest over the ties) ``selection_trace`` and
    ``selection_attempts`` (the best moves of each step, and those ruled out).
    """
    return {
        "cells": _cells(terrain),
        "factors": factor_table(terrain),
        "model": _model(terrain),
        "variables": _variables(terrain),
        "validity": _validity(terrain),
        "selection_trace": _trace(terrain),
        "selection_attempts": _attempts(terrain),
    }


def _cells(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(place_columns(terrain.grid) | risk_columns(terrain))


def factor_table(terrain: RiskTerrain) -> pd.DataFrame:
    """Return one row per factor tried, in the study's order, with what its cleaning dropped."""
    import pandas as pd

    rows = [
        {
            "name": f.name,
            "label": f.label,
            "features": len(f),
            "geometry": f.geometry_type,
            "effect": f.effect,
            "operationalization": " and ".join(f.operationalizations),
            "influence": " ".join(f"{d:g}" for d in f.distances),
            "increment": f.increment,
            "read": f.cleaning.read,
            "kept": f.cleaning.kept,
            "dropped": "; ".join(f"{n} {reason}" for reason, n in f.cleaning.dropped.items()),
            "mended": f.cleaning.mended,
            "source": f.cleaning.source,
            "sha256": f.cleaning.digest,
        }
        for f in terrain.factors
    ]
    return pd.DataFrame(rows)


def _model(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    model, table = terrain.model, terrain.table
    errors = model.standard_errors
    rest = [{"factor": "(intercept)", "coefficient": model.intercept, "std_error": float(errors[0])}]
    if model.log_dispersion is not None:
        rest.append({"factor": "(log dispersion)", "coefficient": model.log_dispersion, "std_error": float(errors[-1])})
    rows = [*table.to_dict(orient="records"), *rest]
    frame = pd.DataFrame(rows, columns=table.columns)
    frame["cells"] = frame["cells"].astype("Int64")
    return frame


def _variables(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    design, culling = terrain.design, terrain.culling
    selected, final = set(culling.selected), set(terrain.model.columns)
    rows = []
    for j, v in enumerate(design.variables):
        status = "in the model" if j in final else "selected by culling" if j in selected else "culled"
        rows.append((v, status, "", float(culling.coefficients[j])))
    rows += [(d.variable, "dropped", d.reason, math.nan) for d in design.dropped]
    rows.sort(key=lambda row: row[0].name)
    return pd.DataFrame(
        [
            {
                "variable": v.name,
                "factor": v.factor_name,
                "operationalization": v.operationalization,
                "distance": v.distance,
                "threshold": math.nan if v.threshold is None else v.threshold,
                "cells": v.support,
                "status": status,
                "reason": reason,
                "culling_coefficient": coefficient,
            }
            for v, status, reason, coefficient in rows
        ]
    )


def _validity(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    columns = [
        "kind", "score", "period", "n_cells", "n_events", "n_levels", "figure", "share", "cells",
        "lowest", "expected", "highest",
    ]  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    for kind, judged in (("fitted", terrain.fitted), ("holdout", terrain.holdout)):
        for v in judged:
            head = (kind, v.name, v.period, v.n_cells, v.n_events, v.n_levels)
            rows.append((*head, "auc", math.nan, None, math.nan, v.auc, math.nan))
            for t in v.top:
                for figure in ("events", "hit_rate", "pai", "pei"):
                    b = getattr(t, figure)
                    rows.append((*head, figure, t.share, t.n_cells, b.lowest, b.expected, b.highest))
                rows.append((*head, "rri", t.share, t.n_cells, math.nan, t.rri, math.nan))
    return pd.DataFrame(rows, columns=columns).astype({"cells": "Int64"})


def _trace(terrain: RiskTerrain) -> pd.DataFrame:
    import pandas as pd

    columns = ["family", "number", "action", "variable", "replaced", "bic_before", "bic_after", "n_tried"]
    rows = [[getattr(step, c) for c in columns] for step in terrain.selection.trace]
    return pd.DataFrame(rows, columns=columns)


def _attempts(terrain: RiskTerrain) -> pd.DataFrame:
    """The best moves of each step, and those ruled out, with the reason."""
    import pandas as pd

    columns = ["family", "number", "action", "variable", "replaced", "bic", "reason"]
    rows = [
        [step.family, step.number, a.action, a.variable, a.replaced, a.bic, a.reason]
        for step in terrain.selection.trace
        for a in (*step.alternatives, *step.ruled_out)
    ]
    return pd.DataFrame(rows, columns=columns).astype({"bic": "float64"})
