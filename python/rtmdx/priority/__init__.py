"""Which places first: ranks with their ties, selection under a budget, fair selection, districts and cover."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdx.priority.ranking import Ranking, Tier, Top, rank

_HOMES = {
    "Ranking": "ranking",
    "Tier": "ranking",
    "Top": "ranking",
    "rank": "ranking",
}

__all__ = ["Ranking", "Tier", "Top", "rank"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"rtmdx.priority.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rtmdx.priority' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
