"""From a study to cleaned inputs; every problem is collected, not only the first."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rtmdx.errors import FileError, InputError, RtmdxError, StudyError
from rtmdx.runs.study import FactorSpec, OutcomeSpec, Source, Study
from rtmdx.space.grid import Grid, require_projected
from rtmdx.space.layers import Events, Finding, RiskFactor, StudyArea, frame_digest
from rtmdx.space.readers import apply_filter, file_digest, read_layer

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Inputs", "load_inputs"]

Layers = Mapping[str, "gpd.GeoDataFrame"]
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Inputs:
    """Cleaned layers of one study, on its grid."""

    area: StudyArea
    grid: Grid
    events: Events
    holdout: Events | None
    factors: tuple[RiskFactor, ...]
    findings: tuple[Finding, ...]


class _Reader:
    """Reads each file once, whoever asks for it."""

    def __init__(self, data: Path | None, layers: Layers) -> None:
        self.data, self.layers = data, layers
        self._digests: dict[Path, str] = {}

    def read(self, source: Source, key: str, what: str) -> tuple[gpd.GeoDataFrame, int, str, str]:
        """Return the frame, rows in the layer, the source's name for people, and its digest."""
        if key in self.layers:
            frame = self.layers[key]
            if frame.crs is None:
                raise InputError(f"{what}: the frame given has no CRS.", hint="Set it with frame.set_crs(...).")
            return frame, len(frame), "memory", frame_digest(frame)
        if source.path is None:
            raise InputError(f"{what}: has no path, and no layer {key!r} was passed.", hint="Add path = ...")
        path = Path(source.path)
        if not path.is_absolute() and self.data is not None:
            path = self.data / path
        frame, total = read_layer(
            path, what=what, layer=source.layer, crs=source.crs, x=source.x, y=source.y, where=source.where
        )
        if path not in self._digests:
            self._digests[path] = file_digest(path)
        name = f"{path.name}:{source.layer}" if source.layer else path.name
        return frame, total, name, self._digests[path]


def load_inputs(
    study: Study,
    *,
    data: str | Path | None = None,
    layers: Layers | None = None,
    check_size: Callable[[int, int, int], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Inputs:
    """Read and clean every layer of `study`.

    Parameters
    ----------
    study : Study
    data : path, optional
        Folder relative paths start from; the working folder by default.
    layers : mapping of str to GeoDataFrame, optional
        Layers held in memory, by the name "area", "outcome", "holdout" or a factor's name; they
        take the place of the study's paths.
    check_size : callable, optional
        Called with (rows, cols, cells kept, about) before the grid is allocated; raises to refuse.
    progress : callable, optional
        Called as ``progress("layers", done, total)``.

    Raises
    ------
    StudyError
        Lists every problem found in every layer.
    """
    folder = None if data is None else Path(data)
    if folder is not None and not folder.is_dir():
        raise FileError(f"data folder {folder} does not exist.", hint="Give the folder that holds the layers.")
    reader = _Reader(folder, layers or {})
    _known_names(study, reader.layers)
    total = 2 + (study.holdout is not None) + len(study.factors)
    problems: list[RtmdxError] = []
    done = 0

    def attempt(load: Callable[[], _T]) -> _T | None:
        nonlocal done
        try:
            return load()
        except RtmdxError as error:
            problems.extend(error.problems if isinstance(error, StudyError) else [error])
            return None
        finally:
            done += 1
            if progress is not None:
                progress("layers", done, total)

    if progress is not None:
        progress("layers", 0, total)
    area = attempt(lambda: _area(study, reader))
    grid = None
    if area is not None:
        laid = area
        done -= 1
        grid = attempt(lambda: _grid(study, laid, check_size))
    outcome = attempt(lambda: _outcome(study.outcome, "outcome", reader, area, grid))
    holdout = None
    source = study.holdout_source
    if source is not None:
        key = "holdout" if "holdout" in reader.layers else "outcome"
        later = source
        holdout = attempt(lambda: _outcome(later, key, reader, area, grid))
    factors = [attempt(lambda spec=spec: _factor(spec, study, reader, grid)) for spec in study.factors]  # type: ignore[misc]
    if problems:
        raise StudyError(problems, source=study.name)
    assert area is not None
    assert grid is not None
    assert outcome is not None
    cleaned = tuple(f for f in factors if f is not None)
    findings = [*_unit_findings(study, grid), *_overlap_findings(study), *outcome.findings]
    findings += [] if holdout is None else list(holdout.findings)
    findings += [f for factor in cleaned for f in factor.findings]
    return Inputs(area, grid, outcome, holdout, cleaned, tuple(findings))


def _known_names(study: Study, layers: Layers) -> None:
    known = {"area", "outcome", "holdout", *(f.name for f in study.factors)}
    for name in layers:
        if name not in known:
            raise InputError(f"layers: {name!r} is no layer of the study; it has {', '.join(sorted(known))}.")


def _area(study: Study, reader: _Reader) -> StudyArea:
    frame, _, source, digest = reader.read(study.area, "area", "study area")
    require_projected(frame.crs, f"study area ({source})", tuple(frame.total_bounds))
    frame = apply_filter(frame, study.area.filter, f"study area ({source})")
    return StudyArea.from_frame(frame, source=source, digest=digest)


def _grid(study: Study, area: StudyArea, check_size: Callable[[int, int, int], None] | None) -> Grid:
    size = study.grid.size
    west, south, east, north = area.geometry.bounds
    if check_size is not None:
        kept = math.ceil(area.geometry.area / size**2 + area.geometry.length / size)
        check_size(math.ceil((north - south) / size) + 1, math.ceil((east - west) / size) + 1, kept)
    return Grid.from_area(area.geometry, area.crs, size, cells=study.grid.cells, origin=study.grid.origin)


def _outcome(spec: OutcomeSpec, key: str, reader: _Reader, area: StudyArea | None, grid: Grid | None) -> Events | None:
    frame, total, source, digest = reader.read(spec, key, f"outcome {spec.name!r}")
    if area is None or grid is None:
        return None
    return Events.from_frame(
        frame,
        grid,
        area,
        name=spec.name,
        selection=spec.selection,
        source=source,
        digest=digest,
        total=total,
    )


def _factor(spec: FactorSpec, study: Study, reader: _Reader, grid: Grid | None) -> RiskFactor | None:
    frame, total, source, digest = reader.read(spec, spec.name, f"factor {spec.name!r}")
    if grid is None:
        return None
    return RiskFactor.from_frame(
        frame,
        grid,
        name=spec.name,
        distances=spec.distances(study.grid.block_length),
        label=spec.title,
        effect=spec.effect,
        operationalizations=spec.operationalizations,
        increment=spec.increment,
        selection=spec.selection,
        source=source,
        digest=digest,
        total=total,
    )


def _unit_findings(study: Study, grid: Grid) -> list[Finding]:
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
                f"The smallest density bandwidth, {shortest:g}, is below the cell size, {cell:g} {grid.symbol}.{some} "
                "Use smaller cells or whole-block increments.",
            )
        )
    return findings


def _overlap_findings(study: Study) -> list[Finding]:
    """A hold-out that shares days with the fitted period is none."""
    later, fitted = study.holdout_source, study.outcome
    if later is None or (later.path, later.layer, later.filter) != (fitted.path, fitted.layer, fitted.filter):
        return []
    first, last = dt.date.min, dt.date.max
    if (later.start or first) > (fitted.end or last) or (later.end or last) < (fitted.start or first):
        return []
    return [
        Finding(
            "holdout-overlap",
            "holdout",
            f"The hold-out ({later.start or 'first'} to {later.end or 'last'}) shares days with the fitted period "
            f"({fitted.start or 'first'} to {fitted.end or 'last'}), so its figures flatter. Separate the two.",
        )
    ]
