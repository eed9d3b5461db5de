"""The files of a prioritization: tables, a GeoPackage, a page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from rtmdx.priority.page import prioritization_page
from rtmdx.priority.prioritization import Prioritization
from rtmdx.space.staging import new_folder

__all__ = ["write_prioritization"]


def write_prioritization(found: Prioritization, out: str | os.PathLike[str]) -> dict[str, str]:
    """Write tables (CSV), a GeoPackage, the page and every figure as JSON into a new folder.

    Returns
    -------
    dict of str to str
        What each file is.

    Raises
    ------
    OutputError
        The folder exists, or cannot be written.
    """
    told = {
        "priority.html": "top places and cells on the map and in words, one file, opens offline",
        "priority.gpkg": "places, top cells, what is chosen and what if (GeoPackage)",
        "top_cells.csv": "the first cells, with the factors that put them there",
        "captures.csv": "what the first capture, beside the simplest rankings",
        "reasons.csv": "contribution of every factor to every top place and cell",
    }
    with new_folder(out) as staging:
        if found.places is not None:
            found.top_places().to_csv(staging / "top_places.csv")
            told["top_places.csv"] = "the first places, with the factors that put them there"
        found.top_cells().to_csv(staging / "top_cells.csv")
        found.capture_frame().to_csv(staging / "captures.csv", index=False)
        _reasons(found).to_csv(staging / "reasons.csv", index=False)
        if found.frontier is not None:
            found.frontier.to_frame().to_csv(staging / "frontier.csv", index=False)
            told["frontier.csv"] = "the trade-off between coverage and the group's burden"
        _geopackage(found, staging / "priority.gpkg")
        (staging / "priority.html").write_text(prioritization_page(found), encoding="utf-8")
        text = json.dumps(found.to_dict(), indent=1, allow_nan=False)
        (staging / "priority.json").write_text(text + "\n", encoding="utf-8")
    return {**told, "priority.json": "every figure, machine-readable"}


def _reasons(found: Prioritization) -> Any:
    import pandas as pd

    parts = [("place", found.place_reasons), ("cell", found.cell_reasons)]
    return pd.concat([t.assign(unit=u) for u, t in parts if t is not None], ignore_index=True)


def _geopackage(found: Prioritization, path: Path) -> None:
    import geopandas as gpd
    import pandas as pd

    from rtmdx.space.geofiles import cell_squares, write_layers

    squares = cell_squares(found.terrain.grid)
    layers: dict[str, Any] = {}
    if found.places is not None and found.place_ranking is not None:
        frame = found.places.frame
        ranked = found.place_ranking.to_frame().loc[frame.index]
        ranked["why"] = pd.Series(found.top_places()["why"]).reindex(ranked.index)
        ranked = ranked.rename_axis("place").reset_index()
        ranked["place"] = ranked["place"].astype(str)
        layers["places"] = gpd.GeoDataFrame(ranked, geometry=frame.geometry.to_numpy(), crs=frame.crs)
    cells = found.top_cells()
    layers["top_cells"] = gpd.GeoDataFrame(
        cells.reset_index(), geometry=squares[cells.index].to_numpy(), crs=squares.crs
    )
    if found.selection is not None:
        at = np.flatnonzero(found.selection.chosen)
        data = {"cell": at, "patch": found.selection.patch[at], "expected": found.terrain.expected_cells[at]}
        layers["chosen"] = gpd.GeoDataFrame(data, geometry=squares[at].to_numpy(), crs=squares.crs)
    for i, w in enumerate(found.what_ifs, 1):
        at = np.flatnonzero(w.change_cells)
        if at.size:
            data = {
                "cell": at,
                "before": w.expected_before[at],
                "after": w.expected_after[at],
                "change": w.change_cells[at],
            }
            layers[f"what_if_{i}"] = gpd.GeoDataFrame(data, geometry=squares[at].to_numpy(), crs=squares.crs)
    said = pd.DataFrame([("sentence", s) for s in found.sentences()], columns=["key", "value"])
    write_layers(path, {**layers, "provenance": said}, title=found.title)
