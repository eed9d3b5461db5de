"""A risk terrain by variable and by cell: the model's table, the cells' columns and polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.space.grid import Grid

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from rtmdx.model.families import CountModel
    from rtmdx.model.terrain import RiskTerrain

__all__ = ["cell_polygons", "model_table", "place_columns", "risk_columns"]


def model_table(terrain: RiskTerrain) -> pd.DataFrame:
    """Return the final model, one row per variable; the columns are those of `RiskTerrain.table`."""
    import pandas as pd

    model = terrain.model
    low, high = np.asarray(model.rrv_interval(0.95)).T
    robust = None if model.robust_standard_errors is None else np.asarray(model.rrv_interval(0.95, robust=True)).T
    rows = []
    k = len(model.variables)
    errors, t, p = model.standard_errors[1 : k + 1], model.t_values[1 : k + 1], model.p_values[1 : k + 1]
    for i, v in enumerate(model.variables):
        factor = terrain.factors[v.factor]
        rows.append(
            {
                "factor": v.factor_name,
                "label": factor.label,
                "effect": factor.effect,
                "operationalization": v.operationalization,
                "influence": v.distance,
                "influence_blocks": v.distance / terrain.block_length,
                "coefficient": float(model.coefficients[i]),
                "rrv": float(model.rrv[i]),
                "rrv_low": float(low[i]),
                "rrv_high": float(high[i]),
                "presence_ratio": float(np.exp(v.sign * model.coefficients[i])),
                "std_error": float(errors[i]),
                "t": float(t[i]),
                "p": float(p[i]),
                "cells": v.support,
                "variable": v.name,
                **({} if robust is None else _robust_columns(model, i, robust)),
            }
        )
    columns = [
        "factor", "label", "effect", "operationalization", "influence", "influence_blocks", "coefficient",
        "rrv", "rrv_low", "rrv_high", "presence_ratio", "std_error", "t", "p", "cells", "variable",
    ]  # fmt: skip
    if robust is not None:
        columns += ["robust_std_error", "robust_p", "robust_rrv_low", "robust_rrv_high"]
    return pd.DataFrame(rows, columns=columns).sort_values("rrv", ascending=False, ignore_index=True)


def _robust_columns(model: CountModel, i: int, limits: NDArray[np.float64]) -> dict[str, float]:
    errors, p = model.robust_standard_errors, model.robust_p_values
    assert errors is not None
    assert p is not None
    return {
        "robust_std_error": float(errors[1 + i]),
        "robust_p": float(p[1 + i]),
        "robust_rrv_low": float(limits[0][i]),
        "robust_rrv_high": float(limits[1][i]),
    }


def place_columns(grid: Grid) -> dict[str, NDArray[Any]]:
    """Return number, row, column and centre of each kept cell, as they begin every table of cells."""
    rows, cols = grid.rows_cols
    return {"cell": np.arange(grid.n_cells), "row": rows, "col": cols, "x": grid.x[cols], "y": grid.y[rows]}


def risk_columns(terrain: RiskTerrain) -> dict[str, NDArray[Any]]:
    """Return count, score, expected, band, what else the run computed, and the model's 0/1 columns, by cell."""
    return {
        "count": terrain.counts,
        "score": terrain.score_cells,
        "expected": terrain.expected_cells,
        "band": np.array([b.name for b in terrain.bands], dtype=object)[terrain.band_index],
        **terrain.exposure_columns,
        **terrain.posterior_columns,
        **terrain.rank_columns,
        **{
            v.name: terrain.design.indicator(c)
            for c, v in zip(terrain.model.columns, terrain.model.variables, strict=True)
        },
    }


def cell_polygons(terrain: RiskTerrain) -> gpd.GeoDataFrame:
    """Return one square polygon per kept cell with the columns of `RiskTerrain.cells`."""
    import geopandas as gpd

    from rtmdx.space.geofiles import cell_squares

    grid = terrain.grid
    data = {k: v for k, v in place_columns(grid).items() if k not in ("x", "y")} | risk_columns(terrain)
    return gpd.GeoDataFrame(data, geometry=cell_squares(grid))
