"""Which places first: ranks and how sure they are, selection under a budget, fair selection, overlays, districts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdx.priority.assessment import prioritize
    from rtmdx.priority.comparison import compare
    from rtmdx.priority.comparison_result import FactorChange, TerrainComparison
    from rtmdx.priority.confidence import RankConfidence, rank_confidence
    from rtmdx.priority.covering import Cover, MinSet, cover, min_set
    from rtmdx.priority.edited import what_if
    from rtmdx.priority.edited_result import Change, EditedFactor, WhatIf
    from rtmdx.priority.explanation import contributions
    from rtmdx.priority.frontier import FairPoint, Frontier, fair_frontier, siting_objective
    from rtmdx.priority.hot_spots import CombinedClass, HotSpotOverlay, combine
    from rtmdx.priority.outcomes import LayerShare, OutcomeOverlay, overlay
    from rtmdx.priority.pmedian import DistrictPlan, districts
    from rtmdx.priority.prioritization import Capture, Prioritization
    from rtmdx.priority.ranking import Ranking, Tier, Top, rank
    from rtmdx.priority.scenario_choices import Agreement, Choice, ScenarioFigures
    from rtmdx.priority.scenario_result import RankStability
    from rtmdx.priority.scenarios import stability
    from rtmdx.priority.selection import Selection, select

_HOMES = {
    "Capture": "prioritization",
    "Change": "edited_result",
    "Cover": "covering",
    "DistrictPlan": "pmedian",
    "EditedFactor": "edited_result",
    "Agreement": "scenario_choices",
    "Choice": "scenario_choices",
    "CombinedClass": "hot_spots",
    "Cover": "covering",
    "DistrictPlan": "pmedian",
    "FactorChange": "comparison_result",
    "FairPoint": "frontier",
    "Frontier": "frontier",
    "HotSpotOverlay": "hot_spots",
    "LayerShare": "outcomes",
    "MinSet": "covering",
    "Prioritization": "prioritization",
    "OutcomeOverlay": "outcomes",
    "RankConfidence": "confidence",
    "RankStability": "scenario_result",
    "Ranking": "ranking",
    "ScenarioFigures": "scenario_choices",
    "Selection": "selection",
    "TerrainComparison": "comparison_result",
    "Tier": "ranking",
    "Top": "ranking",
    "WhatIf": "edited_result",
    "contributions": "explanation",
    "combine": "overlay",
    "combine": "hot_spots",
    "compare": "comparison",
    "cover": "covering",
    "districts": "pmedian",
    "fair_frontier": "frontier",
    "min_set": "covering",
    "prioritize": "assessment",
    "overlay": "outcomes",
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
    "Agreement",
    "Choice",
    "CombinedClass",
    "Cover",
    "DistrictPlan",
    "FactorChange",
    "FairPoint",
    "Frontier",
    "HotSpotOverlay",
    "LayerShare",
    "MinSet",
    "Prioritization",
    "OutcomeOverlay",
    "RankConfidence",
    "RankStability",
    "Ranking",
    "ScenarioFigures",
    "Selection",
    "TerrainComparison",
    "Tier",
    "Top",
    "WhatIf",
    "contributions",
    "combine",
    "compare",
    "cover",
    "districts",
    "fair_frontier",
    "min_set",
    "prioritize",
    "overlay",
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
