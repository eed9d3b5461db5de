"""Which places first: ranks with their ties, selection under a budget, fair selection, districts and cover."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdx.priority.covering import Cover, MinSet, cover, min_set
    from rtmdx.priority.frontier import FairPoint, Frontier, fair_frontier, siting_objective
    from rtmdx.priority.pmedian import DistrictPlan, districts
    from rtmdx.priority.ranking import Ranking, Tier, Top, rank
    from rtmdx.priority.selection import Selection, select

_HOMES = {
    "Cover": "covering",
    "DistrictPlan": "pmedian",
    "FairPoint": "frontier",
    "Frontier": "frontier",
    "MinSet": "covering",
    "Ranking": "ranking",
    "Selection": "selection",
    "Tier": "ranking",
    "Top": "ranking",
    "cover": "covering",
    "districts": "pmedian",
    "fair_frontier": "frontier",
    "min_set": "covering",
    "rank": "ranking",
    "select": "selection",
    "siting_objective": "frontier",
}

__all__ = [
    "Cover",
    "DistrictPlan",
    "FairPoint",
    "Frontier",
    "MinSet",
    "Ranking",
    "Selection",
    "Tier",
    "Top",
    "cover",
    "districts",
    "fair_frontier",
    "min_set",
    "rank",
    "select",
    "siting_objective",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"rtmdx.priority.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rtmdx.priority' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
