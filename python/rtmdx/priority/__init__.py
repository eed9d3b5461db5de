"""Which places first: ranks with their ties, selection under a budget, fair selection, districts and cover."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdx.priority.frontier import FairPoint, Frontier, fair_frontier, siting_objective
    from rtmdx.priority.ranking import Ranking, Tier, Top, rank

_HOMES = {
    "FairPoint": "frontier",
    "Frontier": "frontier",
    "Ranking": "ranking",
    "Tier": "ranking",
    "Top": "ranking",
    "fair_frontier": "frontier",
    "rank": "ranking",
    "siting_objective": "frontier",
}

__all__ = ["FairPoint", "Frontier", "Ranking", "Tier", "Top", "fair_frontier", "rank", "siting_objective"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"rtmdx.priority.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rtmdx.priority' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
