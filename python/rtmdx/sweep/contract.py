"""What a sweep and its store tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GridEntry", "Manifest", "ScenarioEntry", "ScenarioResult"]


@dataclass(frozen=True)
class ScenarioEntry:
    index: int
    id: str
    label: str
    parameters: dict[str, Any]
    grid: str


@dataclass(frozen=True)
class GridEntry:
    key: str
    crs_wkt: str
    x0: float
    y0: float
    dx: float
    dy: float
    n_rows: int
    n_cols: int
    kept: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Manifest:
    sweep_id: str
    title: str
    config: dict[str, Any]
    versions: dict[str, Any]
    scenarios: tuple[ScenarioEntry, ...]
    grids: tuple[GridEntry, ...]


@dataclass(frozen=True)
class ScenarioResult:
    score: NDArray[np.float32]
    expected: NDArray[np.float32]
    tables: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]
