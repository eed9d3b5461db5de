"""What a sweep and its store tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["GridEntry", "Manifest", "Problem", "Record", "ScenarioEntry", "ScenarioResult", "State"]

State = Literal["pending", "running", "succeeded", "failed", "aborted"]


@dataclass(frozen=True)
class ScenarioEntry:
    """A scenario in the manifest: its place, id, name for people, place on each axis, and the key of its grid."""

    index: int
    id: str
    label: str
    parameters: dict[str, Any]
    grid: str


@dataclass(frozen=True, eq=False)
class GridEntry:
    """A distinct grid: its key (digest), CRS, top-left corner, cell, shape, and the mask of kept cells (None: all)."""

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
    """What a store is made for: written first, never changed."""

    sweep_id: str
    title: str
    config: dict[str, Any]
    versions: dict[str, Any]
    scenarios: tuple[ScenarioEntry, ...]
    grids: tuple[GridEntry, ...]


@dataclass(frozen=True, eq=False)
class ScenarioResult:
    """What a store keeps of a scenario; nothing in it depends on time, host, threads or order.

    Attributes
    ----------
    score, expected : float32 arrays, shape (n_kept,)
    tables : mapping of str to list of dict
        "model", "variables", "validity", "findings"; plain JSON values.
    summary : mapping
        Scalars, one row of the table of scenarios.
    """

    score: NDArray[np.float32]
    expected: NDArray[np.float32]
    tables: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What a store says of a scenario: complete, with its digests and summary; or failed, with its error.

    ``digests`` has those of each chunk of "score" and "expected", in row-major order.
    """

    index: int
    id: str
    state: State
    digests: dict[str, list[str]]
    summary: dict[str, Any]
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class Problem:
    """Something in a store that does not agree with its records; of a scenario, or (index None) of the whole store."""

    index: int | None
    label: str
    message: str

    def __str__(self) -> str:
        return f"{'store' if self.index is None else f'scenario {self.index} ({self.label})'}: {self.message}"
