"""What deserves a second look in a study's settings, its hold-out and its outcome."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from rtmdx.runs.enforcement import made_by_enforcement
from rtmdx.runs.study import Study
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Events
from rtmdx.space.selection import Finding

__all__ = ["enforcement_findings", "holdout_findings", "unit_findings"]


def unit_findings(study: Study, grid: Grid) -> list[Finding]:
    """Lengths that look like another unit, or finer than the cells can show."""
    findings = []
    block, cell = study.grid.block_length, grid.cell_size
    metres = block * grid.metres_per_unit
    if not 45 <= metres <= 400:
        findings.append(
            Finding(
                "block-length-unit",
                "grid.block_length",
                f"The block length {block:g} {grid.symbol} is {metres:,.0f} m; street blocks are mostly 60 to 250 m. "
                "Feet taken for metres, or the other way round?",
            )
        )
    shortest = min(
        (d for f in study.factors for d in f.distances(block)[:1] if "density" in f.operationalizations),
        default=math.inf,
    )
    if shortest < cell * (1 - 1e-9):
        some = " Some features reach no cell centre at all." if shortest < cell / np.sqrt(2) else ""
        findings.append(
            Finding(
                "bandwidth-below-cell",
                "grid.cell_size",
                f"The smallest density bandwidth, {shortest:g} {grid.symbol}, is below the cell size, "
                f"{cell:g} {grid.symbol}.{some} "
                "Use smaller cells or whole-block increments.",
            )
        )
    return [*findings, *_scale_findings(grid)]


def _scale_findings(grid: Grid) -> list[Finding]:
    """A projection that stretches lengths (Web Mercator) makes blocks and influences something else."""
    import pyproj

    west, south, east, north = grid.bounds
    to_degrees = pyproj.Transformer.from_crs(grid.crs, grid.crs.geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform((west + east) / 2, (south + north) / 2)
    if not (math.isfinite(lon) and math.isfinite(lat)):
        return []
    scale = float(pyproj.Proj(grid.crs).get_factors(lon, lat).parallel_scale)
    if not math.isfinite(scale) or abs(scale - 1) <= 0.01:
        return []
    return [
        Finding(
            "map-scale",
            "study area",
            f"In {grid.crs.to_string()} a length of 1 {grid.symbol} on the map is {1 / scale:.2f} {grid.symbol} on the "
            "ground here, so blocks and influences are not what they say. Reproject the area, for example to UTM.",
        )
    ]


def holdout_findings(fitted: Events, later: Events) -> list[Finding]:
    """A hold-out that holds fitted events is none; one that does not follow them is no forecast."""
    findings = []
    shared = (Counter(fitted.keys()) & Counter(later.keys())).total()
    # without a date, events at one address look alike in any year
    dated = fitted.stamps is not None and later.stamps is not None
    if shared >= (0.01 if dated else 0.9) * len(later):
        findings.append(
            Finding(
                "holdout-overlap",
                "hold-out",
                f"{shared:,} of its {len(later):,} events are among the fitted ones, so its figures flatter. "
                "Separate the two by time.",
            )
        )
    first, end = later.selection.start, fitted.selection.end
    if first is not None and end is not None and first <= end:
        findings.append(
            Finding(
                "holdout-not-later",
                "hold-out",
                f"It starts on {first}, not after the fitted period ends ({end}): its figures do not tell how well "
                "the terrain predicts.",
            )
        )
    return findings


def enforcement_findings(study: Study) -> list[Finding]:
    """Outcomes that police activity makes are said to be so: declared in the study, or by their name.

    That is the outcome the terrain is fitted to, and the one that [disparity] compares groups by.
    """
    found = []
    outcome, compared = study.outcome, study.disparity
    values = map(str, outcome.filter.values())
    word = made_by_enforcement(outcome.name, outcome.layer, outcome.path, outcome.where, *values)
    if outcome.enforcement or (word and outcome.enforcement is None):
        why = "" if outcome.enforcement else f" (its name, layer or filter says {word!r})"
        found.append(
            Finding(
                "enforcement",
                f"outcome {outcome.name!r}",
                f"This outcome is made at least in part by enforcement itself{why}: it shows where police acted, not "
                "only where something happened. A terrain fitted to it can send enforcement back to where it already "
                "was. Do not read it as a map of offending.",
            )
        )
    if compared is not None and compared.path is not None:
        name = compared.outcome or compared.events
        word = made_by_enforcement(name)
        if compared.enforcement or (word and compared.enforcement is None):
            why = "" if compared.enforcement else f" (its name says {word!r})"
            found.append(
                Finding(
                    "disparity-enforcement",
                    f"disparity, outcome {name!r}",
                    f"The outcome by which groups are compared is made at least in part by enforcement itself{why}: "
                    "its rates and ratios hold where police were and whom they chose, besides what they met. Do not "
                    "read them as rates of offending.",
                )
            )
    return found
