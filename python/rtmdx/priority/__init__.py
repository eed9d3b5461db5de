"""Which places first: ranks with their ties, selection under a budget, fair selection, districts and cover."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdx.priority.assessment import prioritize
    from rtmdx.priority.confidence import RankConfidence, rank_confidence
    from rtmdx.priority.covering import Cover, MinSet, cover, min_set
    from rtmdx.priority.edited import what_if
    from rtmdx.priority.edited_result import Change, EditedFactor, WhatIf
    from rtmdx.priority.explanation import contributions
    from rtmdx.priority.frontier import FairPoint, Frontier, fair_frontier, siting_objective
    from rtmdx.priority.pmedian import DistrictPlan, districts
    from rtmdx.priority.prioritization import Capture, Prioritization
    from rtmdx.priority.ranking import Ranking, Tier, Top, rank
    from rtmdx.priority.scenario_result import RankStability
    from rtmdx.priority.scenarios import stability
    from rtmdx.priority.selection import Selection, select

_HOMES = {
    "Capture": "prioritization",
    "Change": "edited_result",
    "Cover": "covering",
    "DistrictPlan": "pmedian",
    "EditedFactor": "edited_result",
    "FairPoint": "frontier",
    "Frontier": "frontier",
    "MinSet": "covering",
    "Prioritization": "prioritization",
    "RankConfidence": "confidence",
    "RankStability": "scenario_result",
    "Ranking": "ranking",
    "Selection": "selection",
    "Tier": "ranking",
    "Top": "ranking",
    "WhatIf": "edited_result",
    "contributions": "explanation",
    "cover": "covering",
    "districts": "pmedian",
    "fair_frontier": "frontier",
    "min_set": "covering",
    "prioritize": "assessment",
    "rank": "ranking",
    "rank_confidence": "confidence",
    "select": "selection",
    "siting_objective": "frontier",
    "what_if": "edited",
    "stability": "scenarios",
}

__all__ = [
    "Capture",
    "Change",
    "Cover",
    "DistrictPlan",
    "EditedFactor",
    "FairPoint",
    "Frontier",
    "MinSet",
    "Prioritization",
    "RankConfidence",
    "RankStability",
    "Ranking",
    "Selection",
    "Tier",
    "Top",
    "WhatIf",
    "contributions",
    "cover",
    "districts",
    "fair_frontier",
    "min_set",
    "prioritize",
    "rank",
    "rank_confidence",
    "select",
    "siting_objective",
    "what_if",
    "stability",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"rtmdx.priority.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rtmdx.priority' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
