"""What a sweep will do, before it does it: runs, grids, surfaces, memory and time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtmdx.errors import MemoryLimitError, RtmdxError, SweepError
from rtmdx.runs.edits import Edit
from rtmdx.runs.estimate import duration, estimate_run
from rtmdx.runs.provenance import build_info
from rtmdx.runs.study import Study
from rtmdx.space.grid import Grid
from rtmdx.sweep.axes import SweepSpec
from rtmdx.sweep.contract import GridEntry, Manifest, ScenarioEntry
from rtmdx.sweep.layers import edits_key, edits_of, sources
from rtmdx.sweep.prepare import Workshop, design_key, grid_key, inputs_key, n_surfaces
from rtmdx.sweep.scenarios import Expansion

__all__ = ["Plan", "make_plan", "versions_now"]

_BASE_SECONDS = 4.0  # of `estimate_run`: interpreter and outputs, which a sweep pays once
_FIT_SHARE = 0.5  # of a run's time per cell: no posterior, diagnostics or reports


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes
    ----------
    title, sweep_id : str
        The id covers scenarios, the content of every input, and what is kept of a run.
    expansion : Expansion
    grids : tuple of Grid
        The distinct ones.
    grid_of : tuple of int
        Place of each scenario's grid in `grids`.
    n_inputs, n_designs : int
        Distinct sets of cleaned layers, and of variables.
    n_surfaces, n_surfaces_asked : int
        Distinct surfaces, and what separate runs would compute.
    memory : float
        Peak bytes of one scenario at a time.
    seconds : float
        Of work, on one core; good to about a factor of two.
    inputs : mapping
        SHA-256 of each input.
    order : tuple of int
        Scenarios in the order of running: those that share work are neighbours.
    done : int
        Scenarios already in the store.
    """

    title: str
    sweep_id: str
    expansion: Expansion
    grids: tuple[Grid, ...]
    grid_of: tuple[int, ...]
    n_inputs: int
    n_designs: int
    n_surfaces: int
    n_surfaces_asked: int
    memory: float
    seconds: float
    inputs: Mapping[str, str]
    order: tuple[int, ...]
    done: int = 0

    @property
    def n_runs(self) -> int:
        """Number of scenarios."""
        return len(self.expansion)

    def seconds_on(self, workers: int) -> float:
        """Estimated wall time with so many workers, for what is not done yet."""
        return self.seconds * (1 - self.done / self.n_runs) / max(1, workers)

    def manifest(self) -> Manifest:
        """Return what the store is created from."""
        spec = self.expansion.spec
        keys = [grid.digest for grid in self.grids]
        return Manifest(
            sweep_id=self.sweep_id,
            title=self.title,
            config={"sweep": spec.to_dict(), "inputs": dict(self.inputs)},
            versions=versions_now(),
            scenarios=tuple(
                ScenarioEntry(s.index, s.id, s.label, dict(s.parameters), keys[self.grid_of[s.index]])
                for s in self.expansion
            ),
            grids=tuple(_entry(grid) for grid in self.grids),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "schema_version": 1,
            "title": self.title,
            "sweep_id": self.sweep_id,
            "runs": self.n_runs,
            "done": self.done,
            "axes": {name: len(points) for name, points in self.expansion.axes},
            "grids": [
                {"cells": g.n_cells, "rows": g.shape[0], "cols": g.shape[1], "key": g.digest} for g in self.grids
            ],
            "distinct_inputs": self.n_inputs,
            "distinct_designs": self.n_designs,
            "distinct_surfaces": self.n_surfaces,
            "surfaces_of_separate_runs": self.n_surfaces_asked,
            "memory_bytes": round(self.memory),
            "seconds_on_one_core": round(self.seconds, 1),
            "inputs": dict(self.inputs),
        }

    def __str__(self) -> str:
        axes = " x ".join(f"{len(points)} {name}" for name, points in self.expansion.axes)
        grids = ", ".join(f"{g.n_cells:,} cells of {g.cell_size:g} {g.symbol}" for g in self.grids[:4])
        more = f" and {len(self.grids) - 4} more" if len(self.grids) > 4 else ""
        return "\n".join(
            [
                f"{self.title}: {self.n_runs:,} scenarios ({axes}), {self.done:,} done",
                f"grids: {len(self.grids)} ({grids}{more})",
                f"surfaces: {self.n_surfaces:,} to compute in {self.n_designs:,} designs, in place of "
                f"{self.n_surfaces_asked:,} in separate runs",
                f"about {self.memory / 1e9:.1f} GB a worker, {duration(self.seconds_on(1))} of one core's time",
            ]
        )


def make_plan(
    spec: SweepSpec,
    workshop: Workshop,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Plan:
    """Expand a sweep, lay its grids and digest its inputs.

    Raises
    ------
    SweepError
        As `Expansion`; a study area that cannot be read; a layer in memory that no scenario has.
    MemoryLimitError
        A scenario needs more than is allowed.
    """
    expansion = Expansion(spec)
    places: dict[str, int] = {}  # grid key -> place
    grids: list[Grid] = []
    by_digest: dict[str, int] = {}
    grid_of: list[int] = []
    designs: dict[str, int] = {}
    of_inputs: set[str] = set()
    surfaces: dict[tuple[str, str], set[tuple[str, float]]] = {}
    digests: dict[str, str] = {}
    names: set[str] = set()
    keys: list[tuple[int, int, str]] = []
    asked = 0
    memory = seconds = 0.0
    costed: dict[tuple[int, str], tuple[float, float]] = {}
    total = len(expansion)
    for scenario in expansion:
        study, edits = scenario.study, scenario.edits
        of_grid = grid_key(study)
        if of_grid not in places:
            try:
                grid = workshop.grid(scenario)
            except MemoryLimitError:
                raise
            except RtmdxError as error:
                raise SweepError(f"scenario {scenario.index} ({scenario.label}): {error}") from None
            places[of_grid] = by_digest.setdefault(grid.digest, len(grids))
            if places[of_grid] == len(grids):
                grids.append(grid)
        at = places[of_grid]
        grid_of.append(at)
        known = sources(study)
        for edit in edits:
            if edit.layer not in known:
                raise SweepError(
                    f"scenario {scenario.index} ({scenario.label}): the edit {edit.title!r} names no layer of it; "
                    f"it has {', '.join(sorted(set(known) - {'area'}))}."
                )
        design, own = design_key(study, edits), inputs_key(study, edits)
        designs.setdefault(design, len(designs))
        if own not in of_inputs:
            of_inputs.add(own)
            names |= set(known)
            digests |= workshop.layers.digests(study)
            _gather(surfaces, study, edits, grids[at].digest)
        asked += n_surfaces(study)
        if (at, design) not in costed:
            made = estimate_run(study, *grids[at].shape, grids[at].n_cells)
            costed[at, design] = (made.memory, max(0.02, _FIT_SHARE * (made.seconds - _BASE_SECONDS)))
        memory = max(memory, costed[at, design][0])
        seconds += costed[at, design][1]
        keys.append((at, designs[design], own))
        if progress is not None:
            progress("plan", scenario.index + 1, total)
    unknown = sorted(set(workshop.layers.layers) - names)
    if unknown:
        raise SweepError(f"layers: {unknown[0]!r} is no layer of any scenario; there are {', '.join(sorted(names))}.")
    return Plan(
        title=spec.name,
        sweep_id=_sweep_id(expansion, digests),
        expansion=expansion,
        grids=tuple(grids),
        grid_of=tuple(grid_of),
        n_inputs=len(of_inputs),
        n_designs=len(designs),
        n_surfaces=sum(map(len, surfaces.values())),
        n_surfaces_asked=asked,
        memory=memory,
        seconds=seconds,
        inputs=digests,
        order=tuple(sorted(range(total), key=lambda i: (*keys[i], i))),
    )


def versions_now() -> dict[str, Any]:
    """Versions and build a result depends on."""
    info = build_info()
    return {"rtmdx": info["rtmdx"], "numpy": info["packages"]["numpy"], "scipy": info["packages"]["scipy"],
            "shapely": info["packages"]["shapely"], "pyproj": info["packages"]["pyproj"],
            "engine": {k: str(v) for k, v in sorted(info["engine"].items())}}  # fmt: skip


def _gather(
    surfaces: dict[tuple[str, str], set[tuple[str, float]]], study: Study, edits: Sequence[Edit], grid: str
) -> None:
    """Add a study's surfaces, told apart by what their layer is read from; content may show that fewer are needed."""
    way = "" if study.impedance is None else study.impedance.model_dump_json()
    for factor in study.factors:
        layer = factor.model_dump_json(
            exclude={"name", "label", "effect", "operationalization", "max_influence", "increment", "force"}
        )
        held = surfaces.setdefault((layer + edits_key(edits_of(tuple(edits), factor.name)), grid), set())
        for o in factor.operationalizations:
            distances = factor.distances(study.grid.block_length)
            if o == "density":
                held |= {(f"density {study.model.kernel}", d) for d in distances}
            else:
                held.add((f"{o} {way if o == 'cost' else ''} {distances}", 0.0))


def _entry(grid: Grid) -> GridEntry:
    rows, cols = grid.shape
    kept = None if grid.mask.all() else grid.mask
    return GridEntry(
        grid.digest, grid.crs.to_wkt(), grid.x_min, grid.y_max, grid.cell_size, grid.cell_size, rows, cols, kept
    )


def _sweep_id(expansion: Expansion, inputs: Mapping[str, str]) -> str:
    """Digest of what a store holds: the scenarios in order, and their inputs' content."""
    text = json.dumps([1, list(expansion.ids), sorted(inputs.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:24]
