"""Which places first: ranks with their ties, selection under a budget, fair selection, districts and cover."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdx.priority.covering import Cover, MinSet, cover, min_set
    from rtmdx.priority.edited import Change, EditedFactor, WhatIf, what_if
    from rtmdx.priority.explanation import contributions
    from rtmdx.priority.frontier import FairPoint, Frontier, fair_frontier, siting_objective
    from rtmdx.priority.pmedian import DistrictPlan, districts
    from rtmdx.priority.ranking import Ranking, Tier, Top, rank
    from rtmdx.priority.selection import Selection, select

_HOMES = {
    "Change": "edited",
    "Cover": "covering",
    "DistrictPlan": "pmedian",
    "EditedFactor": "edited",
    "FairPoint": "frontier",
    "Frontier": "frontier",
    "MinSet": "covering",
    "Ranking": "ranking",
    "Selection": "selection",
    "Tier": "ranking",
    "Top": "ranking",
    "WhatIf": "edited",
    "contributions": "explanation",
    "cover": "covering",
    "districts": "pmedian",
    "fair_frontier": "frontier",
    "min_set": "covering",
    "rank": "ranking",
    "select": "selection",
    "siting_objective": "frontier",
    "what_if": "edited",
}

__all__ = [
    "Change",
    "Cover",
    "DistrictPlan",
    "EditedFactor",
    "FairPoint",
    "Frontier",
    "MinSet",
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
    "rank",
    "select",
    "siting_objective",
    "what_if",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"rtmdx.priority.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rtmdx.priority' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
