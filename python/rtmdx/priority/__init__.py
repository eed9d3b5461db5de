"""Which places first: ranks and how sure they are, selection under a budget, fair selection, overlays, districts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtmdx.space.lazy import lazy_names

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
    "Agreement": "scenario_choices",
    "Capture": "prioritization",
    "Change": "edited_result",
    "Choice": "scenario_choices",
    "CombinedClass": "hot_spots",
    "Cover": "covering",
    "DistrictPlan": "pmedian",
    "EditedFactor": "edited_result",
    "FactorChange": "comparison_result",
    "FairPoint": "frontier",
    "Frontier": "frontier",
    "HotSpotOverlay": "hot_spots",
    "LayerShare": "outcomes",
    "MinSet": "covering",
    "OutcomeOverlay": "outcomes",
    "Prioritization": "prioritization",
    "RankConfidence": "confidence",
    "RankStability": "scenario_result",
    "Ranking": "ranking",
    "ScenarioFigures": "scenario_choices",
    "Selection": "selection",
    "TerrainComparison": "comparison_result",
    "Tier": "ranking",
    "Top": "ranking",
    "WhatIf": "edited_result",
    "combine": "hot_spots",
    "compare": "comparison",
    "contributions": "explanation",
    "cover": "covering",
    "districts": "pmedian",
    "fair_frontier": "frontier",
    "min_set": "covering",
    "overlay": "outcomes",
    "prioritize": "assessment",
    "rank": "ranking",
    "rank_confidence": "confidence",
    "select": "selection",
    "siting_objective": "frontier",
    "stability": "scenarios",
    "what_if": "edited",
}

__all__ = [
    "Agreement",
    "Capture",
    "Change",
    "Choice",
    "CombinedClass",
    "Cover",
    "DistrictPlan",
    "EditedFactor",
    "FactorChange",
    "FairPoint",
    "Frontier",
    "HotSpotOverlay",
    "LayerShare",
    "MinSet",
    "OutcomeOverlay",
    "Prioritization",
    "RankConfidence",
    "RankStability",
    "Ranking",
    "ScenarioFigures",
    "Selection",
    "TerrainComparison",
    "Tier",
    "Top",
    "WhatIf",
    "combine",
    "compare",
    "contributions",
    "cover",
    "districts",
    "fair_frontier",
    "min_set",
    "overlay",
    "prioritize",
    "rank",
    "rank_confidence",
    "select",
    "siting_objective",
    "stability",
    "what_if",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
