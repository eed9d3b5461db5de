"""The priority section of a study, worked out: top places and cells, what they capture, choices, and what if."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.errors import Cancelled, InputError
from rtmdx.priority.edited import what_if
from rtmdx.priority.explanation import contributions
from rtmdx.priority.frontier import Frontier, fair_frontier
from rtmdx.priority.inputs import cell_values
from rtmdx.priority.prioritization import Capture, Prioritization
from rtmdx.priority.ranking import Ranking, rank
from rtmdx.priority.selection import select
from rtmdx.runs.inputs import Inputs, LayerReader
from rtmdx.runs.places import read_places
from rtmdx.runs.run import fit, kernel_density, load
from rtmdx.runs.study_priority import FairSpec, PrioritySpec, WhatIfSpec

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.runs.study import Study

__all__ = ["prioritize", "prioritize_terrain"]

Layers = Mapping[str, "gpd.GeoDataFrame"]


def prioritize(
    study: Study,
    *,
    data: str | Path | None = None,
    layers: Layers | None = None,
    threads: int | None = None,
    memory_limit: float | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Prioritization:
    """Run a study, and work out its [priority].

    Parameters
    ----------
    study : Study
        With a [priority] section; without one, cells alone are ranked.
    data, layers, threads, memory_limit, progress, cancel
        As for `rtmdx.run`; `layers` may also hold "places" and "zones".

    Returns
    -------
    Prioritization

    Raises
    ------
    InputError
        As `rank`, `select`, `fair_frontier` and `what_if`; a top beyond the number of places or cells.
    StudyError, MemoryLimitError, FitError, Cancelled
        As `rtmdx.run`.
    """
    own = {k: v for k, v in (layers or {}).items() if k not in ("places", "zones")}
    inputs, _ = load(study, data=data, layers=own, memory_limit=memory_limit, progress=progress, cancel=cancel)
    terrain = fit(study, inputs, threads=threads, progress=progress, cancel=cancel)
    return prioritize_terrain(
        study, inputs, terrain, data=data, layers=layers, threads=threads, progress=progress, cancel=cancel
    )


def prioritize_terrain(
    study: Study,
    inputs: Inputs,
    terrain: RiskTerrain,
    *,
    data: str | Path | None = None,
    layers: Layers | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Prioritization:
    """Work out the [priority] of a study that has been run; parameters and errors as for `prioritize`."""
    spec = study.priority or PrioritySpec()
    grid = terrain.grid
    steps = 2 + (spec.fair is not None) + len(spec.what_if)
    done = 0

    def step() -> None:
        nonlocal done
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller's check.")
        if progress is not None:
            progress("priority", done, steps)
        done += 1

    step()
    reader = LayerReader(None if data is None else Path(data), layers or {})
    places = None if spec.places is None else read_places(spec.places, "places", "places", reader, grid)
    if places is not None and spec.k > len(places.frame):
        raise InputError(
            f"priority.k: found {spec.k:,}, but there are {len(places.frame):,} places.", hint="Ask for fewer."
        )
    if spec.cells > grid.n_cells:
        raise InputError(f"priority.cells: found {spec.cells:,}, but there are {grid.n_cells:,} cells.")
    held_out = inputs.holdout is not None
    judged = inputs.holdout if inputs.holdout is not None else inputs.events
    events = judged.counts(grid).astype(np.float64)
    scores = {"Risk terrain": cell_values(terrain, spec.by, None)[0]}
    if held_out:  # ranks by the very events they are judged by say nothing
        scores["Past counts"] = terrain.counts.astype(np.float64)
        scores |= [kernel_density(inputs, threads)]
    if terrain.posterior_risk is not None and terrain.posterior_risk.updated and spec.by != "posterior":
        scores["Posterior risk"] = terrain.posterior_risk.expected_cells
    captures: list[Capture] = []  # by unit and number, then by ranking
    notes: list[str] = []
    place_ranking = None
    shared: dict[str, Any] = {"grid": grid, "events": events, "threads": threads}
    for name, score in scores.items() if places is not None else ():
        assert places is not None
        found = rank(score, places=places.frame, statistic=spec.place_statistic, k=spec.k, shares=(), **shared)
        if place_ranking is None:
            place_ranking = found
            notes += found.notes
        captures += [Capture("place", name, t) for t in found.top]
    cell_ranking = None
    for name, score in scores.items():
        found = rank(score, k=spec.cells, shares=spec.shares, **shared)
        cell_ranking = found if cell_ranking is None else cell_ranking
        captures += [Capture("cell", name, t) for t in found.top]
    assert cell_ranking is not None
    captures.sort(key=lambda c: (c.unit == "cell", c.top.k, list(scores).index(c.method)))
    step()
    place_reasons = None
    if places is not None and place_ranking is not None:
        first = place_ranking.to_frame()
        chosen = first[(first["rank_best"] > 0) & (first["rank_best"] <= spec.k)].index
        place_reasons = contributions(terrain, places=places.frame.loc[chosen], threads=threads)
    listed = cell_ranking.to_frame().head(spec.cells).index.to_numpy()
    cell_reasons = contributions(terrain, cells=listed)
    budget = spec.budget
    selection = None
    if budget is not None:
        selection = select(terrain, budget.cells, min_patch=budget.min_patch, spacing=budget.spacing, by=spec.by)
        notes += selection.notes
    frontier = None
    if spec.fair is not None:
        step()
        frontier, said = _fair(spec, spec.fair, terrain, reader, threads, cancel)
        notes += said
    edited = []
    for one in spec.what_if:
        step()
        ground = None if places is None else places.frame
        edits = _within_top(one, ground, place_ranking)
        edited.append(
            what_if(
                terrain, edits, data=data, layers=_without(layers), places=ground, title=one.label, threads=threads,
                cancel=cancel,
            )
        )  # fmt: skip
    notes += [f.message for f in terrain.findings if f.code == "enforcement"]
    if progress is not None:
        progress("priority", steps, steps)
    return Prioritization(
        title=terrain.title, outcome=terrain.events.name, fitted=inputs.events.period, judged=judged.period,
        held_out=held_out, spec=spec, terrain=terrain, events=events, places=places, place_ranking=place_ranking,
        cell_ranking=cell_ranking, captures=tuple(captures), place_reasons=place_reasons, cell_reasons=cell_reasons,
        selection=selection, frontier=frontier, what_ifs=tuple(edited), notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _without(layers: Layers | None) -> Layers:
    return {k: v for k, v in (layers or {}).items() if k not in ("places", "zones")}


def _fair(
    spec: PrioritySpec, fair: FairSpec, terrain: RiskTerrain, reader: LayerReader, threads: int | None,
    cancel: Callable[[], bool] | None,
) -> tuple[Frontier, list[str]]:  # fmt: skip
    from rtmdx.disparity.population import allocate
    from rtmdx.space.readers import require_field

    zones = read_places(fair.zones, "zones", "priority.fair.zones", reader, terrain.grid)
    named = fair.label or fair.group
    groups = {named: fair.group} | ({} if fair.reference is None else {fair.reference: fair.reference})
    for column in (*groups.values(), fair.population):
        require_field(zones.frame, column, "priority.fair.zones")
    people = allocate(zones.frame, groups, terrain.grid, total=fair.population, threads=threads)
    frontier = fair_frontier(
        terrain, fair.cells, group=people.cells[0], population=people.cells.sum(axis=0),
        reference=people.cells[1] if fair.reference is not None else None, measure=fair.measure, points=fair.points,
        name=named, by=spec.by, threads=threads, cancel=cancel,
    )  # fmt: skip
    return frontier, people.notes()


def _within_top(one: WhatIfSpec, places: gpd.GeoDataFrame | None, ranking: Ranking | None) -> list[Any]:
    """Give the edits that name no polygon of their own the ground of the highest places."""
    if one.within_top is None:
        return list(one.edits)
    if places is None or ranking is None:
        raise InputError(f"what_if {one.label!r}: within_top needs places.", hint="Name priority.places.")
    table = ranking.to_frame()
    ranked = table[(table["rank_best"] > 0) & (table["rank_best"] <= one.within_top)]
    ground = places.loc[ranked.index].geometry.union_all()
    return [
        e.model_copy(update={"within": ground.wkt}) if e.within is None and e.action != "add" else e for e in one.edits
    ]
