"""Planted against recovered: does the model find what the city was made of?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from rtmdx.demo.city import City
    from rtmdx.demo.events import PlantedRisk
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["recovery"]


def recovery(city: City, terrain: RiskTerrain) -> pd.DataFrame:
    """Compare the planted risks with the model of a run on the city.

    Parameters
    ----------
    city : City
    terrain : RiskTerrain
        Of the city's own study.

    Returns
    -------
    DataFrame
        One row per factor, planted ones first: ``factor``, ``planted``, ``planted_effect``,
        ``planted_operationalization``, ``planted_blocks``, ``planted_rrv``; ``selected``,
        ``operationalization``, ``blocks``, ``rrv``, ``rrv_low``, ``rrv_high`` (99 % interval), empty where
        not selected; ``verdict``: "recovered" (right operationalization, reach within half a block and,
        where the reach is exact, the planted RRV inside the interval), "left out" (not planted, not
        selected), or what went wrong.
    """
    model = terrain.model
    limits = model.rrv_interval(0.99)
    found: dict[str, dict[str, Any]] = {
        v.factor_name: {
            "operationalization": v.operationalization,
            "blocks": v.distance / city.block_length,
            "rrv": float(model.rrv[i]),
            "rrv_low": float(limits[i][0]),
            "rrv_high": float(limits[i][1]),
        }
        for i, v in enumerate(model.variables)
    }
    planted = {risk.factor: risk for risk in city.planted}
    rows = []
    for factor in (*planted, *city.unplanted):
        risk, got = planted.get(factor), found.get(factor)
        row: dict[str, Any] = {"factor": factor, "planted": risk is not None}
        if risk is not None:
            row |= {
                "planted_effect": risk.effect,
                "planted_operationalization": risk.operationalization,
                "planted_blocks": risk.blocks,
                "planted_rrv": risk.rrv,
            }
        rows.append({**row, "selected": got is not None, **(got or {}), "verdict": _verdict(risk, got)})
    columns = [
        "factor", "planted", "planted_effect", "planted_operationalization", "planted_blocks", "planted_rrv",
        "selected", "operationalization", "blocks", "rrv", "rrv_low", "rrv_high", "verdict",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _verdict(risk: PlantedRisk | None, got: dict[str, Any] | None) -> str:
    if risk is None:
        return "left out" if got is None else "selected, but not planted"
    if got is None:
        return "missed"
    if got["operationalization"] != risk.operationalization:
        return "other operationalization"
    off = abs(got["blocks"] - risk.blocks)
    if off > 0.5 + 1e-9:
        return "other reach"
    if off < 1e-9 and not got["rrv_low"] <= risk.rrv <= got["rrv_high"]:
        return "RRV outside the interval"
    return "recovered"
