"""Reading a sweep back: the table of scenarios, lazy rasters, one scenario, two compared, factors that stand."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError, StoreError
from rtmdx.sweep.contract import GridEntry, Manifest, ScenarioEntry, State
from rtmdx.sweep.store import SweepStore, grid_of
from rtmdx.sweep.terrain import RASTERS, ScenarioTerrain

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["SweepResults", "open_sweep"]

_MAPS = {
    "mean": "mean rank over scenarios, 1 the highest risk",
    "sd": "standard deviation of the rank over scenarios",
    "best": "smallest rank over scenarios",
    "worst": "largest rank over scenarios",
}


class SweepResults:
    """The results of a sweep; made by `open_sweep`. What is read is what is in the store at that moment."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store
        self._by_name: dict[str | int, ScenarioEntry] = {
            **{e.id: e for e in store.manifest.scenarios},
            **{e.index: e for e in store.manifest.scenarios},
        }

    @property
    def manifest(self) -> Manifest:
        """What the store was made for."""
        return self._store.manifest

    @property
    def ids(self) -> frozenset[str]:
        """The scenarios' ids."""
        return frozenset(e.id for e in self.manifest.scenarios)

    def states(self) -> dict[int, State]:
        """The state of each scenario, by its place in the sweep."""
        return self._store.states()

    @property
    def scenarios(self) -> pd.DataFrame:
        """One row per scenario, by its place: id, label, state, place on each axis, figures, error.

        A scenario whose record is damaged has the state "damaged" and no figures.
        """
        import pandas as pd

        damaged: dict[int, str] = {}
        figures = self._store.records.summaries(damaged)
        states = self._store.states() | dict.fromkeys(damaged, "damaged")
        failed = [i for i, state in states.items() if state == "failed"]
        records = [r for r in self._store.records.failures(failed) if r is not None]
        errors = damaged | {r.index: (r.error or {}).get("message") for r in records}
        rows = [
            {
                "index": entry.index, "id": entry.id, "label": entry.label, "grid": entry.grid,
                "state": states[entry.index], **entry.parameters, **figures.get(entry.index, {}),
                "error": errors.get(entry.index),
            }
            for entry in self.manifest.scenarios
        ]  # fmt: skip
        return pd.DataFrame(rows).set_index("index")

    def rasters(self, grid: str | None = None) -> xr.Dataset:
        """Scores and expected counts of all scenarios of a grid, read when asked for; dims (scenario, y, x).

        Parameters
        ----------
        grid : str, optional
            Its key; needed where the sweep has several.

        Raises
        ------
        InputError
            There is no such grid, or there are several.
        """
        import xarray as xr

        key = self._grid(grid).key
        opened: xr.Dataset = xr.open_zarr(self._store.objects.zarr(), group=key, chunks=None, decode_coords="all")
        return opened

    def _grid(self, grid: str | None) -> GridEntry:
        grids = {g.key: g for g in self.manifest.grids}
        if grid is None and len(grids) != 1:
            raise InputError(f"the sweep has {len(grids)} grids: {', '.join(grids)}.", hint="Name one.")
        if grid is not None and grid not in grids:
            raise InputError(f"grid: found {grid!r}, expected one of {', '.join(grids)}.")
        return next(iter(grids.values())) if grid is None else grids[grid]

    def terrain(self, scenario: str | int) -> ScenarioTerrain:
        """Return one scenario by its id or its place.

        Raises
        ------
        InputError
            There is no such scenario, or it is not complete.
        StoreError
            What it has in the store is damaged.
        """
        import pandas as pd

        entry = self._by_name.get(scenario)
        if entry is None:
            raise InputError(f"scenario: the sweep has no {scenario!r}.", hint="`scenarios` lists them.")
        name = self._store.records.done().get(entry.index)
        if name is None:
            raise InputError(f"scenario {entry.index} ({entry.label}): is not complete.", hint="Resume the sweep.")
        record, tables = self._store.records.read(name)
        entry_grid = self._grid(entry.grid)
        grid = grid_of(entry_grid)
        found = {}
        for which, (description, units) in RASTERS.items():
            raster = self._raster(entry, which, grid.mask)
            found[which] = grid.dataarray(raster, which, {"long_name": description, "units": units})
        provenance = {
            "title": self.manifest.title, "sweep_id": self.manifest.sweep_id, "scenario": entry.index, "id": entry.id,
            "label": entry.label, "parameters": entry.parameters, "versions": self.manifest.versions,
            "digests": record.digests,
        }  # fmt: skip
        frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
        return ScenarioTerrain(
            entry.id, entry.label, grid, found["score"], found["expected"], record.summary, frames, provenance
        )

    def cell_reader(self, name: str, grid: str | None = None) -> Callable[[int], NDArray[np.float32]]:
        """Return a function that reads one scenario's kept cells, for many of them: the array is opened once.

        Parameters
        ----------
        name : {"score", "expected"}
        grid : str, optional
            Its key; needed where the sweep has several.

        Returns
        -------
        callable
            Takes the place in the sweep of a complete scenario of this grid, from any thread; raises StoreError
            where its chunks are damaged or missing.
        """
        import zarr

        key = self._grid(grid).key
        mask = grid_of(self._grid(grid)).mask
        entries = self.manifest.scenarios
        hint = "`rtmdx sweep verify` names every damaged chunk."
        try:
            array: Any = zarr.open_array(self._store.objects.zarr(), path=f"{key}/{name}", mode="r")
        except Exception as error:
            raise StoreError(f"store {self._store.url}: {key}/{name} cannot be read ({error}).", hint=hint) from None
        whole = bool(mask.all())

        def read(index: int) -> NDArray[np.float32]:
            where = f"store {self._store.url}: {name} of scenario {index} ({entries[index].label})"
            try:
                raster = np.asarray(array[self._store.place(index)], dtype=np.float32)
            except Exception as error:
                raise StoreError(f"{where} cannot be read ({error}).", hint=hint) from None
            cells = raster.reshape(-1) if whole else raster[mask]
            if np.isnan(cells).any():  # a chunk that is not there reads as fill
                raise StoreError(f"{where} is missing, in whole or in part.", hint=hint)
            return cells

        return read

    def _raster(self, entry: ScenarioEntry, name: str, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        import zarr

        where = f"store {self._store.url}: {name} of scenario {entry.index} ({entry.label})"
        hint = "`rtmdx sweep verify` names every damaged chunk."
        try:
            array = zarr.open_array(self._store.objects.zarr(), path=f"{entry.grid}/{name}", mode="r")
            raster = np.asarray(array[self._store.place(entry.index)], dtype=np.float32)
        except Exception as error:
            raise StoreError(f"{where} cannot be read ({error}).", hint=hint) from None
        if np.isnan(raster[mask]).any():  # a chunk that is not there reads as fill
            raise StoreError(f"{where} is missing, in whole or in part.", hint=hint)
        return raster

    def compare(self, a: str | int, b: str | int) -> pd.DataFrame:
        """Set two scenarios' models side by side, one row per variable in either.

        Returns
        -------
        DataFrame
            variable, factor, and relative risk value, standard error and p of each (suffixes ``_a``, ``_b``).
        """
        columns = ["variable", "factor", "rrv", "std_error", "p"]
        one, two = (self.terrain(s).table.reindex(columns=columns) for s in (a, b))
        return one.merge(two, on=["variable", "factor"], how="outer", suffixes=("_a", "_b"))

    def rank_maps(
        self,
        grid: str | None = None,
        *,
        scenarios: list[str | int] | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> xr.Dataset:
        """Map each cell's rank by score over the complete scenarios of a grid; one of them is in memory at a time.

        Parameters
        ----------
        grid : str, optional
            Its key; needed where the sweep has several.
        scenarios : list of str or int, optional
            Ids or places, of this grid; all complete ones by default.
        progress : callable, optional
            Called as ``progress("ranks", done, total)``.
        cancel : callable, optional

        Returns
        -------
        Dataset
            Dims (y, x), float64, NaN outside: ``mean``, ``sd`` (divisor n - 1), ``best`` and ``worst`` rank, 1 being
            the highest risk; ties have their mean rank. The attribute ``n_scenarios`` says how many there were.

        Raises
        ------
        InputError
            No scenario is complete, or one that is named is not, or is of another grid.
        Cancelled
            `cancel` returned true.
        """
        import xarray as xr

        from rtmdx.sweep.maps import mean_ranks, read_ahead

        entry = self._grid(grid)
        done = self._store.records.done()
        own = [e.index for e in self.manifest.scenarios if e.grid == entry.key and e.index in done]
        if scenarios is not None:
            named = [self._by_name[s].index if s in self._by_name else s for s in scenarios]
            for name, index in zip(scenarios, named, strict=True):
                if index not in own:
                    raise InputError(f"scenarios: {name!r} is no complete scenario of grid {entry.key}.")
            own = [i for i in own if i in set(named)]
        if not own:
            raise InputError(f"no scenario of grid {entry.key} is complete.", hint="Resume the sweep.")
        frame = grid_of(entry)

        read = self.cell_reader("score", entry.key)

        def tell(n: int) -> None:
            if progress is not None:
                progress("ranks", n, len(own))

        n, maps = mean_ranks(read_ahead(read, own, cancel), frame.n_cells, tell)
        arrays = {
            name: frame.dataarray(frame.to_raster(values), name, {"long_name": _MAPS[name], "units": "1"})
            for name, values in maps.items()
        }
        return xr.Dataset(arrays, attrs={"n_scenarios": n, "n_cells": frame.n_cells})

    def robust_factors(self) -> pd.DataFrame:
        """How often each factor is in the model, over the complete scenarios that had it.

        Returns
        -------
        DataFrame
            factor, tried, selected, share, rrv_median, rrv_low, rrv_high (smallest and largest), operationalization and
            influence chosen most often; the most frequent first.

        Raises
        ------
        InputError
            No scenario is complete.
        StoreError
            A record is damaged.
        """
        import pandas as pd

        from rtmdx.sweep.axes import SweepSpec
        from rtmdx.sweep.scenarios import Expansion

        expansion = Expansion(SweepSpec.from_dict(self.manifest.config["sweep"]))
        done = self._store.records.done()
        tried: dict[str, int] = {}
        for scenario in expansion:
            if scenario.index in done:
                for factor in scenario.study.factors:
                    tried[factor.name] = tried.get(factor.name, 0) + 1
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in tried}
        for read in self._store.records.several(done.values()):
            if isinstance(read, StoreError):
                raise read
            for row in read[1]["model"]:
                found[row["factor"]].append(row)
        rows: list[dict[str, Any]] = []
        for name, n in tried.items():
            own = found[name]
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
        columns = [
            "factor",
            "tried",
            "selected",
            "share",
            "rrv_median",
            "rrv_low",
            "rrv_high",
            "operationalization",
            "influence",
        ]
        frame = pd.DataFrame(rows, columns=columns)
        return frame.sort_values(["share", "rrv_median"], ascending=False, ignore_index=True)


def open_sweep(store: str | os.PathLike[str]) -> SweepResults:
    """Open the store of a sweep, running, finished or left.

    Parameters
    ----------
    store : path or URL

    Raises
    ------
    StoreError
        There is none, it is damaged, or of another version.
    """
    return SweepResults(SweepStore.open(str(store)))
