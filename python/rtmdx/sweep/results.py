"""Reading a sweep back: the table of scenarios, lazy rasters, one scenario, two compared, factors that stand."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.errors import InputError
from rtmdx.sweep.contract import Manifest
from rtmdx.sweep.store import SweepStore, grid_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from rtmdx.space.grid import Grid

__all__ = ["ScenarioTerrain", "SweepResults", "open_sweep"]


@dataclass(frozen=True, eq=False)
class ScenarioTerrain:
    """One scenario as the store keeps it.

    Attributes
    ----------
    id, label : str
    grid : Grid
    score, expected : DataArray
        Float32, dims (y, x), NaN outside the study area.
    summary : dict
        Its row of the table of scenarios.
    tables : dict of DataFrame
        "model", "variables", "validity", "findings".
    """

    id: str
    label: str
    grid: Grid
    score: xr.DataArray
    expected: xr.DataArray
    summary: dict[str, Any]
    tables: dict[str, pd.DataFrame]

    @property
    def table(self) -> pd.DataFrame:
        """The final model, one row per variable, as `RiskTerrain.table`."""
        return self.tables["model"]


class SweepResults:
    """The results of a sweep; made by `open_sweep`. What is read is what is in the store at that moment."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store

    @property
    def manifest(self) -> Manifest:
        """What the store was made for."""
        return self._store.manifest

    @property
    def scenarios(self) -> pd.DataFrame:
        """One row per scenario, by its place: id, label, state, place on each axis, figures, error."""
        import pandas as pd

        states = self._store.states()
        rows = []
        for entry in self.manifest.scenarios:
            record = self._store.record(entry.index) if states[entry.index] in ("succeeded", "failed") else None
            error = None if record is None or record.error is None else record.error["message"]
            rows.append(
                {
                    "index": entry.index, "id": entry.id, "label": entry.label, "grid": entry.grid,
                    "state": states[entry.index], **entry.parameters,
                    **({} if record is None else record.summary), "error": error,
                }
            )  # fmt: skip
        return pd.DataFrame(rows).set_index("index")

    def rasters(self, grid: str | None = None) -> xr.Dataset:
        """Scores and expected counts of all scenarios of a grid, read when asked for; dims (scenario, y, x).

        Parameters
        ----------
        grid : str, optional
            Its key; needed where the sweep has several.
        """
        import xarray as xr

        keys = [g.key for g in self.manifest.grids]
        if grid is None and len(keys) > 1:
            raise InputError(f"the sweep has {len(keys)} grids: {', '.join(keys)}.", hint="Name one.")
        key = keys[0] if grid is None else grid
        if key not in keys:
            raise InputError(f"grid: found {key!r}, expected one of {', '.join(keys)}.")
        opened: xr.Dataset = xr.open_zarr(self._store.objects.zarr(), group=key, chunks=None, decode_coords="all")
        return opened

    def terrain(self, scenario: str | int) -> ScenarioTerrain:
        """Return one scenario by its id or its place.

        Raises
        ------
        InputError
            There is no such scenario, or it is not complete.
        """
        import pandas as pd

        entry = next((e for e in self.manifest.scenarios if scenario in (e.id, e.index)), None)
        if entry is None:
            raise InputError(f"scenario: the sweep has no {scenario!r}.", hint="`scenarios` lists them.")
        record = self._store.record(entry.index)
        if record is None or record.state != "succeeded":
            raise InputError(f"scenario {entry.index} ({entry.label}): is not complete.", hint="Resume the sweep.")
        place = self._store.place(entry.index)
        rasters = self.rasters(entry.grid).isel(scenario=place, drop=True).load()
        tables = {name: pd.DataFrame(rows) for name, rows in self._store.tables(entry.index).items()}
        grid = grid_of(next(g for g in self.manifest.grids if g.key == entry.grid))
        return ScenarioTerrain(
            entry.id, entry.label, grid, rasters["score"], rasters["expected"], record.summary, tables
        )

    def compare(self, a: str | int, b: str | int) -> pd.DataFrame:
        """Set two scenarios' models side by side, one row per variable in either."""
        one, two = self.terrain(a).table, self.terrain(b).table
        if one.empty or two.empty:
            one, two = (
                one.reindex(columns=["variable", "factor", "rrv"]),
                two.reindex(columns=["variable", "factor", "rrv"]),
            )
        columns = ["variable", "factor", "rrv"]
        return one[columns].merge(two[columns], on=["variable", "factor"], how="outer", suffixes=("_a", "_b"))

    def robust_factors(self) -> pd.DataFrame:
        """How often each factor is in the model, over the complete scenarios that had it.

        Returns
        -------
        DataFrame
            factor, tried, selected, share, rrv_median, rrv_low, rrv_high (smallest and largest), operationalization and
            influence chosen most often; the most frequent first.
        """
        import pandas as pd

        from rtmdx.sweep.axes import SweepSpec
        from rtmdx.sweep.scenarios import Expansion

        expansion = Expansion(SweepSpec.from_dict(self.manifest.config["sweep"]))
        states = self._store.states()
        tried: dict[str, int] = {}
        found: list[dict[str, Any]] = []
        for scenario in expansion:
            if states[scenario.index] != "succeeded":
                continue
            for factor in scenario.study.factors:
                tried[factor.name] = tried.get(factor.name, 0) + 1
            found += self._store.tables(scenario.index)["model"]
        rows = []
        for name, n in tried.items():
            own = [r for r in found if r["factor"] == name]
            rrv = np.array([r["rrv"] for r in own])
            form = pd.Series([(r["operationalization"], r["influence"]) for r in own]).mode() if own else []
            rows.append(
                {
                    "factor": name, "tried": n, "selected": len(own), "share": len(own) / n,
                    "rrv_median": float(np.median(rrv)) if own else np.nan,
                    "rrv_low": float(rrv.min()) if own else np.nan, "rrv_high": float(rrv.max()) if own else np.nan,
                    "operationalization": form[0][0] if len(form) else None,
                    "influence": form[0][1] if len(form) else np.nan,
                }
            )  # fmt: skip
        frame = pd.DataFrame(rows)
        return frame.sort_values(["share", "rrv_median"], ascending=False, ignore_index=True)


def open_sweep(store: str | os.PathLike[str]) -> SweepResults:
    """Open the store of a sweep, running, finished or left.

    Parameters
    ----------
    store : path

    Raises
    ------
    StoreError
        There is none, it is damaged, or of another version.
    """
    return SweepResults(SweepStore.open(str(store)))
