"""The priority section of a study, worked out: top places and cells, what they capture, choices, and what if."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import Cancelled, InputError
from rtmdx.priority.edited import what_if
from rtmdx.priority.explanation import contributions
from rtmdx.priority.frontier import Frontier, fair_frontier
from rtmdx.priority.inputs import cell_values
from rtmdx.priority.prioritization import Capture, Prioritization
from rtmdx.priority.ranking import Ranking, rank
from rtmdx.priority.selection import select
from rtmdx.priority.weights import place_weights
from rtmdx.runs.inputs import Inputs, LayerReader
from rtmdx.runs.places import Places, events_in_places, read_places
from rtmdx.runs.run import fit, kernel_density, load
from rtmdx.runs.study_priority import FairSpec, PrioritySpec, WhatIfSpec
from rtmdx.space.readers import require_field

if TYPE_CHECKING:
    import geopandas as gpd

    from rtmdx.model.terrain import RiskTerrain
    from rtmdx.runs.study import Study
    from rtmdx.space.layers import Events

__all__ = ["Begun", "begin", "prioritize"]

Layers = Mapping[str, "gpd.GeoDataFrame"]
_PAST = "Past counts"
_OWN = ("places", "zones")  # layers in memory that a run does not know


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
        As `begin`, `rank`, `select`, `fair_frontier` and `what_if`.
    StudyError, MemoryLimitError, FitError, Cancelled
        As `rtmdx.run`.
    """
    own = {k: v for k, v in (layers or {}).items() if k not in _OWN}
    inputs, _ = load(study, data=data, layers=own, memory_limit=memory_limit, progress=progress, cancel=cancel)
    begun = begin(study, inputs, data=data, layers=layers)
    terrain = fit(study, inputs, threads=threads, progress=progress, cancel=cancel)
    return begun.finish(terrain, threads=threads, progress=progress, cancel=cancel)


def begin(study: Study, inputs: Inputs, *, data: str | Path | None = None, layers: Layers | None = None) -> Begun:
    """Read what a study's [priority] names, and check what can be checked before a model is fitted.

    Raises
    ------
    InputError
        A layer does not hold polygons, a field is missing, a place has no name or another's, a top exceeds the number
        of places or cells, a what-if edits a layer that is no factor, or asks for places where there are none.
    FileError, CRSError
        A layer cannot be read.
    """
    spec, grid = study.priority or PrioritySpec(), inputs.grid
    reader = LayerReader(None if data is None else Path(data), layers or {})
    places = None if spec.places is None else read_places(spec.places, "places", "priority.places", reader, grid)
    if places is not None and spec.k > len(places.frame):
        raise InputError(
            f"priority.k: found {spec.k:,}, but there are {len(places.frame):,} places.", hint="Ask for fewer."
        )
    asked = {"priority.cells": spec.cells}
    asked |= {} if spec.budget is None else {"priority.budget.cells": spec.budget.cells}
    asked |= {} if spec.fair is None else {"priority.fair.cells": spec.fair.cells}
    for name, cells in asked.items():
        if cells > grid.n_cells:
            raise InputError(f"{name}: found {cells:,}, but there are {grid.n_cells:,} cells.", hint="Ask for fewer.")
    zones = None
    if spec.fair is not None:
        zones = read_places(spec.fair.zones, "zones", "priority.fair.zones", reader, grid)
        columns = (spec.fair.group, spec.fair.population, *([spec.fair.reference] if spec.fair.reference else []))
        for column in columns:
            require_field(zones.frame, column, "priority.fair.zones")
    known = [f.name for f in study.factors]
    for one in spec.what_if:
        if one.within_top is not None and places is None:
            raise InputError(f"what_if {one.label!r}: within_top needs places.", hint="Name priority.places.")
        for edit in one.edits:
            if edit.layer not in known:
                raise InputError(
                    f"what_if {one.label!r}: layer {edit.layer!r} is no factor of the study.",
                    hint=f"Its factors are {', '.join(known)}.",
                )
    rest = {k: v for k, v in (layers or {}).items() if k not in _OWN}
    return Begun(spec, inputs, places, zones, data, rest)


@dataclass(frozen=True, eq=False)
class Begun:
    """A [priority] whose layers have been read; `finish` works it out."""

    spec: PrioritySpec
    inputs: Inputs
    places: Places | None
    zones: Places | None
    data: str | Path | None
    layers: Layers

    def finish(
        self,
        terrain: RiskTerrain,
        *,
        threads: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Prioritization:
        """Work it out for the terrain of the same inputs; parameters and errors as for `prioritize`."""
        spec, inputs = self.spec, self.inputs
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
        held_out = inputs.holdout is not None
        judged = inputs.holdout if inputs.holdout is not None else inputs.events
        events = judged.counts(terrain.grid).astype(np.float64)
        scores = self._scores(terrain, threads)
        notes = [n for layer in (self.places, self.zones) if layer is not None for n in _dropped(layer)]
        place_events, beyond, place_ranking, place_captures = self._ranked_places(terrain, scores, judged, threads)
        cell_ranking, captures = self._ranked_cells(terrain, scores, events, threads)
        if place_ranking is not None:
            notes += place_ranking.notes
        if beyond:
            notes.append(f"{beyond:,} of {len(judged):,} events judged by lie in no place.")
        step()
        place_reasons = None
        if self.places is not None and place_ranking is not None:
            first = place_ranking.to_frame()
            chosen = first[(first["rank_best"] > 0) & (first["rank_best"] <= spec.k)].index
            place_reasons = contributions(terrain, places=self.places.frame.loc[chosen], threads=threads)
        cell_reasons = contributions(terrain, cells=cell_ranking.to_frame().head(spec.cells).index.to_numpy())
        budget, selection, frontier = spec.budget, None, None
        if budget is not None:
            selection = select(terrain, budget.cells, min_patch=budget.min_patch, spacing=budget.spacing, by=spec.by)
            notes += selection.notes
        if spec.fair is not None and self.zones is not None:
            step()
            frontier, said = _fair(spec, spec.fair, self.zones, terrain, threads, cancel)
            notes += said
        edited = []
        for one in spec.what_if:
            step()
            ground = None if self.places is None else self.places.frame
            edits = _within_top(one, ground, place_ranking)
            edited.append(
                what_if(
                    terrain, edits, data=self.data, layers=self.layers, places=ground, title=one.label,
                    threads=threads, cancel=cancel,
                )
            )  # fmt: skip
        notes += [f.message for f in terrain.findings if f.code == "enforcement"]
        if progress is not None:
            progress("priority", steps, steps)
        return Prioritization(
            title=terrain.title, outcome=terrain.events.name, fitted=inputs.events.period, judged=judged.period,
            held_out=held_out, spec=spec, terrain=terrain, events=events, places=self.places,
            place_events=place_events, place_ranking=place_ranking, cell_ranking=cell_ranking,
            captures=(*place_captures, *captures), place_reasons=place_reasons,
            cell_reasons=cell_reasons, selection=selection, frontier=frontier, what_ifs=tuple(edited),
            notes=tuple(dict.fromkeys(notes)),
        )  # fmt: skip

    def _scores(self, terrain: RiskTerrain, threads: int | None) -> dict[str, NDArray[np.float64]]:
        """The terrain and its baselines, by name."""
        scores = {"Risk terrain": cell_values(terrain, self.spec.by, None)[0]}
        if self.inputs.holdout is not None:  # ranks by the very events they are judged by say nothing
            scores[_PAST] = terrain.counts.astype(np.float64)
            scores |= [kernel_density(self.inputs, threads)]
        posterior = terrain.posterior_risk
        if posterior is not None and posterior.updated and self.spec.by != "posterior":
            scores["Posterior risk"] = posterior.expected_cells
        return scores

    def _ranked_places(
        self, terrain: RiskTerrain, scores: dict[str, NDArray[np.float64]], judged: Events, threads: int | None
    ) -> tuple[NDArray[np.float64] | None, int, Ranking | None, tuple[Capture, ...]]:
        """Events of each place, and of none; the terrain's ranking, and what every ranking captures."""
        if self.places is None:
            return None, 0, None, ()
        frame, spec = self.places.frame, self.spec
        counts, beyond = events_in_places(self.places, judged.x, judged.y)
        held = counts.astype(np.float64)
        past = events_in_places(self.places, terrain.events.x, terrain.events.y)[0].astype(np.float64)
        options: dict[str, Any] = {"k": spec.k, "shares": (), "threads": threads}
        found = {}
        for name, score in scores.items():
            if name == _PAST:  # events are points: no need to share out those of a cell
                area = place_weights(frame, terrain.grid, threads).sum(np.ones(terrain.grid.n_cells))
                found[name] = rank(past, events=held, area=area, **options)
            else:
                found[name] = rank(
                    score, places=frame, statistic=spec.place_statistic, grid=terrain.grid, events=held, **options
                )
        captures = tuple(Capture("place", name, t) for name, ranking in found.items() for t in ranking.top)
        return held, beyond, next(iter(found.values())), captures

    def _ranked_cells(
        self, terrain: RiskTerrain, scores: dict[str, NDArray[np.float64]], events: NDArray[np.float64],
        threads: int | None,
    ) -> tuple[Ranking, tuple[Capture, ...]]:  # fmt: skip
        """The terrain's ranking, and what every ranking captures, by the number of cells."""
        spec = self.spec
        found = {
            name: rank(score, k=spec.cells, shares=spec.shares, grid=terrain.grid, events=events, threads=threads)
            for name, score in scores.items()
        }
        captures = [Capture("cell", name, t) for name, ranking in found.items() for t in ranking.top]
        order = list(scores)
        captures.sort(key=lambda c: (c.top.k, order.index(c.method)))
        return next(iter(found.values())), tuple(captures)


def _dropped(layer: Places) -> list[str]:
    """Say which rows of a layer are not used."""
    lost = layer.cleaning.dropped
    if not lost:
        return []
    told = ", ".join(f"{n:,} {reason}" for reason, n in lost.items())
    return [f"{layer.cleaning.source}: {layer.cleaning.kept:,} of {layer.cleaning.read:,} rows are used ({told})."]


def _fair(
    spec: PrioritySpec, fair: FairSpec, zones: Places, terrain: RiskTerrain, threads: int | None,
    cancel: Callable[[], bool] | None,
) -> tuple[Frontier, list[str]]:  # fmt: skip
    from rtmdx.disparity.population import allocate

    named = fair.label or fair.group
    groups = {named: fair.group} | ({} if fair.reference is None else {fair.reference: fair.reference})
    people = allocate(zones.frame, groups, terrain.grid, total=fair.population, threads=threads)
    frontier = fair_frontier(
        terrain, fair.cells, group=people.cells[0], population=people.cells.sum(axis=0),
        reference=people.cells[1] if fair.reference is not None else None, measure=fair.measure, points=fair.points,
        name=named, by=spec.by, threads=threads, cancel=cancel,
    )  # fmt: skip
    return frontier, people.notes()


def _within_top(one: WhatIfSpec, places: gpd.GeoDataFrame | None, ranking: Ranking | None) -> list[Any]:
    """Give the edits that name no polygon of their own the ground of the highest places."""
    if one.within_top is None or places is None or ranking is None:
        return list(one.edits)
    table = ranking.to_frame()
    ranked = table[(table["rank_best"] > 0) & (table["rank_best"] <= one.within_top)]
    ground = places.loc[ranked.index].geometry.buffer(one.around).union_all()
    return [
        e.model_copy(update={"within": ground.wkt}) if e.within is None and e.action != "add" else e for e in one.edits
    ]
