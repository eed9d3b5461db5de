"""What a run will need, estimated before anything large is allocated."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rtmdx.errors import InputError, MemoryLimitError
from rtmdx.runs.study import Study
from rtmdx.space.memory import available_memory

__all__ = ["Estimate", "available_memory", "duration", "estimate_run", "parse_memory", "require_memory"]

# Measured on St. Louis at 46 and 20 m (0.46 and 0.88 GB; 11 and 29 s on two cores, posterior and diagnostics with it):
# interpreter and libraries; bytes per raster cell while a surface is made, per kept cell by tables
# and outputs; seconds likewise.
_BASE_BYTES = 330e6
_BYTES_PER_RASTER_CELL = 40
_BYTES_PER_CELL = 1050
_BYTES_PER_CELL_AND_BLOCK = 6
_BYTES_PER_EXPOSED_CELL = 120  # pairs of zone and cell while it is measured
_SECONDS_PER_CELL_AND_SURFACE = 1e-8
_SECONDS_PER_CELL_AND_BLOCK_PAIR = 1e-8
_SECONDS_PER_CELL = 4.5e-5
_BASE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated cost of a run; good to about a factor of two.

    Attributes
    ----------
    rows, cols : int
        Raster shape.
    variables, surfaces : int
    memory : float
        Peak resident memory, bytes.
    seconds : float
        Wall time on two cores.
    """

    rows: int
    cols: int
    variables: int
    surfaces: int
    memory: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.rows:,} x {self.cols:,} raster, {self.variables} variables: about "
            f"{self.memory / 1e9:.1f} GB and {duration(self.seconds)}"
        )


def estimate_run(study: Study, rows: int, cols: int, kept: int) -> Estimate:
    """Estimate memory and time of a run, outputs included, on rows x cols cells, `kept` of them in the area."""
    raster = rows * cols
    cells = min(kept, raster)
    blocks = sum(len(f.operationalizations) for f in study.factors)
    surfaces = sum(f.n_bands if o == "density" else 1 for f in study.factors for o in f.operationalizations)
    memory = (
        _BASE_BYTES + raster * _BYTES_PER_RASTER_CELL + cells * (_BYTES_PER_CELL + _BYTES_PER_CELL_AND_BLOCK * blocks)
    )
    if study.exposure is not None:
        memory += cells * _BYTES_PER_EXPOSED_CELL
    seconds = (
        _BASE_SECONDS
        + raster * surfaces * _SECONDS_PER_CELL_AND_SURFACE
        + cells * (_SECONDS_PER_CELL + blocks * blocks * _SECONDS_PER_CELL_AND_BLOCK_PAIR)
    )
    return Estimate(rows, cols, study.n_variables, surfaces, memory, seconds)


def require_memory(estimate: Estimate, limit: float, what: str) -> None:
    """Raise a MemoryLimitError when the estimate exceeds `limit` bytes."""
    if estimate.memory > limit:
        raise MemoryLimitError(
            f"{what}: {estimate.rows:,} x {estimate.cols:,} cells and {estimate.variables} variables need about "
            f"{estimate.memory / 1e9:,.1f} GB; the limit is {limit / 1e9:,.1f} GB.",
            hint="Use larger cells, check the CRS units, or raise the memory limit (--memory-limit, memory_limit=).",
        )


def parse_memory(text: str) -> float:
    """Return bytes from "2GB", "512 MB", "1.5GiB" or a plain number of bytes."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kMGT]?)(i?)B?\s*", text, flags=re.IGNORECASE)
    if not match or float(match[1]) <= 0:
        raise InputError(f"memory limit: found {text!r}, expected for example 2GB or 512MB.")
    step = 1024.0 if match[3] else 1000.0
    return float(match[1]) * step ** " KMGT".index(match[2].upper() or " ")


def duration(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
