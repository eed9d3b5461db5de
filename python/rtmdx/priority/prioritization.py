"""Which places come first and why: the figures of a study's [priority], in words and tables."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rtmdx.model.export import plain
from rtmdx.priority.edited_result import WhatIf
from rtmdx.priority.explanation import reasons
from rtmdx.priority.frontier import Frontier
from rtmdx.priority.ranking import Ranking, Top
from rtmdx.priority.selection import Selection
from rtmdx.runs.places import Places
from rtmdx.runs.sections import Section
from rtmdx.runs.study_priority import PrioritySpec

if TYPE_CHECKING:
    import pandas as pd

    from rtmdx.model.terrain import RiskTerrain

__all__ = ["Capture", "Prioritization"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Capture:
    """What the first of one ranking capture.

    Attributes
    ----------
    unit : {"place", "cell"}
    method : str
        What ranked: the terrain, past counts, kernel density, posterior risk.
    top : Top
    """

    unit: str
    method: str
    top: Top


@dataclass(frozen=True, eq=False)
class Prioritization:
    """Which places come first, and why; made by `prioritize`.

    Attributes
    ----------
    title, outcome : str
    fitted, judged : str
        Periods: of the events the model was fitted to, and of those that captures are judged by.
    held_out : bool
        Whether these are other events; figures of the fitted events flatter.
    spec : PrioritySpec
    terrain : RiskTerrain
    events : float64 array, shape (n_cells,)
        Events judged by, per cell.
    places : Places or None
    place_events : float64 array, shape (n_places,), or None
        Events judged by in each place: points within it.
    place_ranking : Ranking or None
    cell_ranking : Ranking
    captures : tuple of Capture
        Of places at ``spec.k``, of cells at ``spec.cells`` and ``spec.shares``; the terrain first.
    place_reasons, cell_reasons : DataFrame
        `contributions` of the top places and cells.
    selection : Selection or None
    frontier : Frontier or None
    what_ifs : tuple of WhatIf
    notes : tuple of str
        What deserves a second look.
    """

    title: str
    outcome: str
    fitted: str
    judged: str
    held_out: bool
    spec: PrioritySpec
    terrain: RiskTerrain = field(repr=False)
    events: Float = field(repr=False)
    places: Places | None = field(repr=False)
    place_events: Float | None = field(repr=False)
    place_ranking: Ranking | None = field(repr=False)
    cell_ranking: Ranking = field(repr=False)
    captures: tuple[Capture, ...]
    place_reasons: pd.DataFrame | None = field(repr=False)
    cell_reasons: pd.DataFrame = field(repr=False)
    selection: Selection | None
    frontier: Frontier | None
    what_ifs: tuple[WhatIf, ...]
    notes: tuple[str, ...]

    def top_places(self, factors: int = 4) -> pd.DataFrame:
        """Return the first ``spec.k`` places: rank_best, rank_worst, score, events, tier, why; empty without places.

        Places that tie with the last one are in it too. At most so many factors are named as the reason why.
        """
        import pandas as pd

        if self.place_ranking is None or self.place_reasons is None:
            return pd.DataFrame(columns=["rank_best", "rank_worst", "score", "events", "area", "tier", "why"])
        table = self.place_ranking.to_frame()
        table = table[(table["rank_best"] > 0) & (table["rank_best"] <= self.spec.k)]
        why = reasons(self.place_reasons, most=factors)
        table["why"] = [why[name] for name in table.index]
        assert self.places is not None
        assert self.place_events is not None
        at = self.places.frame.index.get_indexer(table.index)
        table.insert(3, "events", self.place_events[at])
        table.insert(4, "area", self.places.frame.geometry.area.to_numpy()[at])
        table.index.name = "place"
        return table

    def top_cells(self, factors: int = 4) -> pd.DataFrame:
        """Return the first ``spec.cells`` cells: place in the grid, centre, ranks, score, expected, events, why.

        Where ties decide who is in, those that tie are listed in the order of the cells, as far as there is room.
        """
        terrain, ranking = self.terrain, self.cell_ranking
        table = ranking.to_frame().head(self.spec.cells)
        at = table.index.to_numpy()
        rows, cols = terrain.grid.rows_cols
        why = reasons(self.cell_reasons, most=factors)
        table.insert(0, "row", rows[at])
        table.insert(1, "col", cols[at])
        table.insert(2, "x", terrain.grid.x[cols[at]])
        table.insert(3, "y", terrain.grid.y[rows[at]])
        table["expected"] = terrain.expected_cells[at]
        table["events"] = self.events[at]
        table["why"] = [why[i] for i in at.tolist()]
        table.index.name = "cell"
        return table

    def capture_frame(self) -> pd.DataFrame:
        """Return one row per ranking and top, with the bounds over ties of each figure in columns of their own."""
        import pandas as pd

        rows = []
        for c in self.captures:
            row: dict[str, Any] = {
                "unit": c.unit, "method": c.method, "k": c.top.k, "share": c.top.share, "certain": c.top.certain,
                "tied": c.top.tied,
            }  # fmt: skip
            for name in ("area_share", "events", "hit_rate", "pai"):
                b = getattr(c.top, name)
                row |= {f"{name}_lowest": b.lowest, f"{name}_expected": b.expected, f"{name}_highest": b.highest}
            rows.append(row)
        return pd.DataFrame(rows)

    def captured(self) -> list[str]:
        """Say what the first places and cells capture, beside the simplest rankings."""
        out = []
        when = "held out" if self.held_out else "the model was fitted to"
        for unit, noun in (("place", "places"), ("cell", "cells")):
            own = [c for c in self.captures if c.unit == unit]
            if own:
                k = own[0].top.k
                said = "; ".join(f"{c.method.lower()} {_capture(c.top)}" for c in own if c.top.k == k)
                out.append(f"The first {k:,} {noun} capture, of the events {when} ({self.judged}): {said}.")
        return out

    def choices(self) -> list[str]:
        """Say what the choice under the budget holds, and what caps on the group's burden cost."""
        out = []
        if self.selection is not None:
            s = self.selection
            out.append(
                f"A choice of {int(s.cost):,} cells in {s.n_patches:,} patches holds {s.coverage:.1%} of what is "
                f"expected; no choice of as many could hold more than {s.gap:.2%} beyond that."
            )
        if self.frontier is not None:
            out += _frontier_words(self.frontier)
        return out

    def further(self) -> list[str]:
        """Say the rest: whether figures flatter, choices, what-ifs, notes."""
        out = []
        if not self.held_out:
            out.append("These are the events the model was fitted to, so the figures flatter; name a [holdout].")
        out += self.choices()
        for w in self.what_ifs:
            out += [f"{w.title}. {w.sentences()[0]}", *w.sentences()[1:]]
        return [*out, *self.notes]

    def sentences(self) -> list[str]:
        """Say what comes first, what that captures, and what it does not mean."""
        return [*self.captured(), *self.further()]

    def section(self) -> Section:
        """Return it as a section of a run's report, and of its ``run.json``."""
        from rtmdx.priority.page import section_markup

        return Section("priority", "Which places first", section_markup(self), self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "schema_version": 1,
            "status": "ok",
            "title": self.title,
            "study_id": self.terrain.provenance.get("study_id"),
            "outcome": self.outcome,
            "fitted": self.fitted,
            "judged": self.judged,
            "held_out": self.held_out,
            "by": self.spec.by,
            "statistic": self.spec.place_statistic,
            "places": _records(self.top_places()),
            "cells": _records(self.top_cells()),
            "captures": _records(self.capture_frame(), index=False),
            "selection": None if self.selection is None else _selection(self.selection),
            "frontier": None if self.frontier is None else _frontier(self.frontier),
            "what_if": [w.to_dict() for w in self.what_ifs],
            "findings": [{"code": f.code, "where": f.where, "message": f.message} for f in self.terrain.findings],
            "notes": list(self.notes),
            "sentences": self.sentences(),
        }


def _capture(top: Top) -> str:
    hit = top.hit_rate
    if not np.isfinite(hit.expected):
        return "nothing, as there are no events"
    said = f"{hit.expected:.1%}"
    if top.tied:
        said += f" ({hit.lowest:.1%} to {hit.highest:.1%} over ties)"
    return f"{said}, PAI {top.pai.expected:.2f}"


def _frontier_words(frontier: Frontier) -> list[str]:
    free, tight = frontier.unconstrained, frontier.points[0]
    what = f"the share of {frontier.group}" if frontier.measure == "share" else f"the contact ratio of {frontier.group}"
    half = min(frontier.points, key=lambda p: abs(p.cap - (tight.cap + free.reached) / 2))
    return [
        f"Of any {frontier.k:,} cells, those with most expected cover {free.coverage:.1%}, and {what} among their "
        f"residents is {free.reached:.3g}. Held to {half.cap:.3g}, {half.coverage:.1%} (price {half.price:.1%}); to "
        f"{tight.cap:.3g}, {tight.coverage:.1%} (price {tight.price:.1%}). Largest gap to what is possible: "
        f"{max(p.gap for p in frontier.points):.2%}."
    ]


def _frontier(frontier: Frontier) -> dict[str, Any]:
    names = ("measure", "group", "k", "n", "lowest")
    free = {
        f.name: getattr(frontier.unconstrained, f.name) for f in fields(frontier.unconstrained) if f.name != "cells"
    }
    free["cap"] = None  # infinite
    told = {n: getattr(frontier, n) for n in names}
    return {**told, "unconstrained": free, "points": _records(frontier.to_frame(), index=False)}


def _selection(found: Selection) -> dict[str, Any]:
    names = ("value", "coverage", "cost", "budget", "unit", "bound", "gap", "n_patches")
    return {**{n: getattr(found, n) for n in names}, "patches": _records(found.to_frame())}


def _records(table: pd.DataFrame, *, index: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plain((table.reset_index() if index else table).to_dict("records"))
    return found
