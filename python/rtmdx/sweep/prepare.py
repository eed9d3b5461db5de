"""What a scenario is fitted to, shared with every other scenario that needs the same."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rtmdx.errors import SweepError
from rtmdx.model.design import Design, build_design
from rtmdx.model.tabulate import distinct_rows
from rtmdx.runs.edits import Edit
from rtmdx.runs.estimate import available_memory, estimate_run, require_memory
from rtmdx.runs.inputs import Inputs, load_inputs
from rtmdx.runs.study import Study
from rtmdx.space.grid import Grid
from rtmdx.sweep.kept import Kept
from rtmdx.sweep.layers import EditedReader, SharedLayers, edits_key, edits_of, sources
from rtmdx.sweep.scenarios import Scenario
from rtmdx.sweep.surfaces import SurfaceCount, Surfaces

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Prepared", "Workshop", "design_key", "grid_key", "inputs_key"]

_T = TypeVar("_T")
_SHARE = 0.25  # of the memory available, by default
_EVENTS = ("outcome", "holdout", "exposure", "districts")  # layers no surface depends on


@dataclass(frozen=True, eq=False)
class Prepared:
    """Inputs and design of a scenario, read-only, without the geometry they were made from.

    Attributes
    ----------
    inputs : Inputs
    design : Design
    inputs_key, design_key : str
        Equal keys are equal content.
    """

    inputs: Inputs
    design: Design
    inputs_key: str
    design_key: str


class Workshop:
    """Prepares scenarios: layers read, cleaned and laid on grids, surfaces and designs made, each once.

    Parameters
    ----------
    data : path, optional
        Folder relative paths start from.
    layers : mapping of str to GeoDataFrame, optional
        Layers in memory, as for `rtmdx.run`.
    cache_bytes : float, optional
        Bytes of shared work held in memory at most; a quarter of what is available by default.
    cache_folder : path, optional
        Keeps surfaces across sweeps.
    memory_limit : float, optional
        Bytes a run may need.

    Raises
    ------
    FileError, OutputError
        The data folder is not there, or the cache folder cannot be made.
    """

    def __init__(
        self,
        *,
        data: Path | None = None,
        layers: Mapping[str, gpd.GeoDataFrame] | None = None,
        cache_bytes: float | None = None,
        cache_folder: str | Path | None = None,
        memory_limit: float | None = None,
    ) -> None:
        room = _SHARE * available_memory() if cache_bytes is None else cache_bytes
        self.layers = SharedLayers(data, layers or {}, room / 4)
        self.surfaces = Surfaces(room / 4, cache_folder)
        self.memory_limit = memory_limit
        self._cleaned = Kept(room / 4)
        self._inputs = Kept(room / 8)
        self._designs = Kept(room / 8)
        # GEOS prepares a geometry when it is first asked, for all who hold it: two threads that lay two grids over one
        # study area would do so at once. Surfaces need no geometry of Shapely's and are made side by side.
        self._geometry = threading.RLock()

    @property
    def count(self) -> SurfaceCount:
        """Surfaces asked for so far, and where they came from."""
        return self.surfaces.count

    def grid(self, scenario: Scenario) -> Grid:
        """Lay a scenario's grid; reads nothing but its study area."""
        from rtmdx.runs.inputs import _area, _grid

        study = scenario.study
        reader = EditedReader(self.layers, study.area)

        def make() -> Grid:
            return _grid(study, _area(study, reader), self._check_size(study))

        with self._geometry:
            return self._cleaned.get(("grid alone", grid_key(study)), make, _size_of_grid)

    def prepare(
        self, scenario: Scenario, *, threads: int | None = None, cancel: Callable[[], bool] | None = None
    ) -> Prepared:
        """Return what a scenario is fitted to.

        Parameters
        ----------
        scenario : Scenario
        threads : int, optional
            Of the engine, where a surface must be computed.
        cancel : callable, optional

        Raises
        ------
        StudyError, MemoryLimitError, Cancelled
            As `rtmdx.run`.
        SweepError
            An edit names a layer that the scenario does not have.
        """
        study, edits = scenario.study, scenario.edits
        of_inputs, of_design = inputs_key(study, edits), design_key(study, edits)
        full: list[Inputs] = []

        def load() -> Inputs:
            full.append(self._load(study, edits, cancel))
            return _lean(full[0])

        inputs = self._inputs.get(of_inputs, load, _size_of_inputs)
        made = False

        def design() -> Design:
            nonlocal made
            made = True
            whole = full[0] if full else self._load(study, edits, cancel)
            built = build_design(
                whole.factors,
                whole.grid,
                kernel=study.model.kernel,
                min_support=study.model.min_support,
                min_support_share=study.model.min_support_share,
                impedance=whole.impedance,
                columns=self.surfaces,
                threads=threads,
                cancel=cancel,
            )
            for block in built.blocks:
                block.codes.setflags(write=False)
            rows, row = distinct_rows(built)
            rows.setflags(write=False)
            row.setflags(write=False)
            return built

        found = self._designs.get(of_design, design, _size_of_design)
        if not made:
            self.surfaces.asked_again(n_surfaces(study))
        return Prepared(inputs, found, of_inputs, of_design)

    def _load(self, study: Study, edits: tuple[Edit, ...], cancel: Callable[[], bool] | None) -> Inputs:
        known = sources(study)
        for edit in edits:
            if edit.layer not in known:
                raise SweepError(
                    f"edit {edit.title!r}: the scenario has no layer {edit.layer!r}; it has "
                    f"{', '.join(sorted(set(known) - {'area'}))}.",
                    hint="Mend the name, or leave the edit out where its factor is left out.",
                )

        def memo(key: tuple[str, ...], make: Callable[[], _T]) -> _T:
            value: _T = self._cleaned.get((*key, edits_key(edits_of(edits, key[1]))), make, _size_of)
            return value

        named = {"area", "outcome", *known}
        reader = EditedReader(self.layers, study.area, edits)
        reader.layers = {k: v for k, v in reader.layers.items() if k in named}
        with self._geometry:
            return load_inputs(study, check_size=self._check_size(study), cancel=cancel, reader=reader, memo=memo)

    def _check_size(self, study: Study) -> Callable[[int, int, int], None]:
        limit = available_memory() if self.memory_limit is None else self.memory_limit

        def check(rows: int, cols: int, kept: int) -> None:
            require_memory(estimate_run(study, rows, cols, kept), limit, "grid")

        return check


def grid_key(study: Study) -> str:
    """Digest of what a grid is laid from."""
    return _digest([study.area.model_dump(mode="json"), study.grid.size, study.grid.cells, study.grid.origin])


def design_key(study: Study, edits: tuple[Edit, ...] = ()) -> str:
    """Digest of what a design is made from: equal for scenarios that differ in outcome, folds, seed or search."""
    factors = [f.model_dump(mode="json", exclude={"label", "force"}) for f in study.factors]
    way = None
    if any("cost" in f.operationalizations for f in study.factors) and study.impedance is not None:
        way = study.impedance.model_dump(mode="json")
    model = study.model
    on_surfaces = tuple(e for e in edits if e.layer not in _EVENTS)
    return _digest(
        [
            grid_key(study), study.grid.block_length, factors, way, model.kernel, model.min_support,
            model.min_support_share, edits_key(on_surfaces),
        ]
    )  # fmt: skip


def inputs_key(study: Study, edits: tuple[Edit, ...] = ()) -> str:
    """Digest of what the inputs are made from: equal for scenarios that differ in the model's options or the seed."""
    data = study.model_dump(
        mode="json", include={"area", "grid", "outcome", "factors", "holdout", "impedance", "exposure"}
    )
    needs_districts = study.model.folds == "district" or study.model.robust
    parts = study.model.districts
    data["districts"] = parts.model_dump(mode="json") if parts is not None and needs_districts else None
    return _digest([data, edits_key(edits)])


def n_surfaces(study: Study) -> int:
    """Number of surfaces a study is made from."""
    return sum(f.n_bands if o == "density" else 1 for f in study.factors for o in f.operationalizations)


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:24]


def _lean(inputs: Inputs) -> Inputs:
    """Drop the geometry, which no fit looks at; what is left is shared, so nobody may write into it."""
    for part in (inputs.events, inputs.holdout, inputs.districts, inputs.exposure):
        for value in vars(part).values() if part is not None else ():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
    none = np.empty(0, dtype=object)
    way = inputs.impedance
    if way is not None:
        way = replace(way, barriers=tuple(replace(b, geometries=none) for b in way.barriers))
    return replace(
        inputs,
        area=replace(inputs.area, geometry=None),
        factors=tuple(replace(f, geometries=none) for f in inputs.factors),
        impedance=way,
    )


def _size_of(value: Any) -> float:
    geometries = getattr(value, "geometries", None)
    if geometries is not None:
        import shapely

        return 16.0 * float(shapely.get_num_coordinates(geometries).sum()) + 120.0 * len(geometries)
    if isinstance(value, Grid):
        return _size_of_grid(value)
    total = 1000.0
    for array in vars(value).values() if hasattr(value, "__dict__") else ():
        if isinstance(array, np.ndarray):
            total += array.nbytes + (60.0 * array.size if array.dtype == object else 0.0)
    return total


def _size_of_grid(grid: Grid) -> float:
    return 1000.0 + 6.0 * grid.mask.size  # mask, index of cells


def _size_of_inputs(inputs: Inputs) -> float:
    parts = [inputs.events, inputs.holdout, inputs.districts, inputs.exposure]
    return sum(_size_of(p) for p in parts if p is not None) + 2000.0 * len(inputs.factors)


def _size_of_design(design: Design) -> float:
    rows, row = distinct_rows(design)
    return float(sum(b.codes.nbytes for b in design.blocks) + rows.nbytes + row.nbytes + 1000 * len(design.variables))
