"""From a study to cleaned inputs; every problem is collected, not only the first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from rtmdx.errors import Cancelled, FileError, InputError, MemoryLimitError, RtmdxError, StudyError
from rtmdx.runs.exposure import load_exposure, settle_exposure
from rtmdx.runs.findings import enforcement_findings, holdout_findings, unit_findings
from rtmdx.runs.study import BarrierSpec, DistrictSpec, FactorSpec, ImpedanceSpec, OutcomeSpec, Source, Study
from rtmdx.space.districts import Districts
from rtmdx.space.exposure import Exposure
from rtmdx.space.frame import require_projected
from rtmdx.space.grid import Grid
from rtmdx.space.impedance import Barrier, Impedance
from rtmdx.space.layers import Events, Finding, RiskFactor, StudyArea, frame_digest
from rtmdx.space.readers import file_digest, read_layer
from rtmdx.space.selection import select_rows

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Inputs", "LayerReader", "Memo", "load_inputs", "read_factor", "read_impedance"]

Layers = Mapping[str, "gpd.GeoDataFrame"]
_T = TypeVar("_T")


class Memo(Protocol):
    """Keeps what was made: ``memo(key, make)`` returns the value of an equal key, or makes it."""

    def __call__(self, key: tuple[str, ...], make: Callable[[], _T]) -> _T:
        """Return the value of `key`."""


def _anew(key: tuple[str, ...], make: Callable[[], _T]) -> _T:  # noqa: ARG001
    return make()


@dataclass(frozen=True, eq=False)
class Inputs:
    """Cleaned layers of one study, on its grid."""

    area: StudyArea
    grid: Grid
    events: Events
    holdout: Events | None
    factors: tuple[RiskFactor, ...]
    findings: tuple[Finding, ...]
    impedance: Impedance | None = None
    districts: Districts | None = None
    exposure: Exposure | None = None


class LayerReader:
    """Reads each file once, whoever asks for it."""

    def __init__(self, data: Path | None, layers: Layers) -> None:
        self.data, self.layers = data, layers
        self._digests: dict[Path, str] = {}

    def resolve(self, name: str) -> Path:
        """Return a path; a relative one starts from the data folder."""
        path = Path(name)
        return path if path.is_absolute() or self.data is None else self.data / path

    def read(self, source: Source, key: str, what: str) -> tuple[gpd.GeoDataFrame, int, str, str]:
        """Return the frame, rows in the layer, the source's name for people, and its digest."""
        if key in self.layers:
            frame = self.layers[key]
            if frame.crs is None:
                raise InputError(f"{what}: the frame given has no CRS.", hint="Set it with frame.set_crs(...).")
            return frame, len(frame), "memory", frame_digest(frame)
        if source.path is None:
            raise InputError(f"{what}: has no path, and no layer {key!r} was passed.", hint="Add path = ...")
        path = self.resolve(source.path)
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
    cancel: Callable[[], bool] | None = None,
    reader: LayerReader | None = None,
    memo: Memo = _anew,
) -> Inputs:
    """Read and clean every layer of `study`.

    Parameters
    ----------
    study : Study
    data : path, optional
        Folder relative paths start from; the working folder by default.
    layers : mapping of str to GeoDataFrame, optional
        Layers held in memory, by the name "area", "outcome", "holdout", "districts", "exposure", a factor's or a
        barrier's;
        they take the place of the study's paths.
    check_size : callable, optional
        Called with (rows, cols, cells kept, about) before the grid is allocated; raises to refuse.
    progress : callable, optional
        Called as ``progress("layers", done, total)``.
    cancel : callable, optional
        Asked before each layer; when it returns True, `rtmdx.errors.Cancelled` is raised.
    reader : LayerReader, optional
        Reads the layers, in place of one made from `data` and `layers`: so that several studies share what is read.
    memo : Memo, optional
        Keeps cleaned layers and grids for several studies of one reader. A key holds all that a value is made from:
        what it is, the name of its layer, its part of the study, and the key of its grid.

    Raises
    ------
    StudyError
        Lists every problem found in every layer.
    """
    folder = None if data is None else Path(data)
    if folder is not None and not folder.is_dir():
        raise FileError(f"data folder {folder} does not exist.", hint="Give the folder that holds the layers.")
    reader = LayerReader(folder, layers or {}) if reader is None else reader
    _known_names(study, reader.layers)
    barriers = study.impedance.barriers if study.impedance is not None else ()
    parts = study.model.districts if study.model.folds == "district" or study.model.robust else None
    total = 2 + (study.holdout is not None) + len(study.factors) + len(barriers) + (parts is not None)
    total += study.exposure is not None
    problems: list[RtmdxError] = []
    done = 0

    def attempt(load: Callable[[], _T]) -> _T | None:
        nonlocal done
        if cancel is not None and cancel():
            raise Cancelled("cancelled by the caller's check.")
        try:
            return load()
        except (Cancelled, MemoryLimitError):  # about the run as a whole, not one layer among others
            raise
        except RtmdxError as error:
            problems.extend(error.problems if isinstance(error, StudyError) else [error])
            return None
        finally:
            done += 1
            if progress is not None:
                progress("layers", done, total)

    if progress is not None:
        progress("layers", 0, total)
    where = study.area.model_dump_json()
    area = attempt(lambda: memo(("area", "area", where), lambda: _area(study, reader)))
    grid = None
    if area is not None:
        laid = area
        done -= 1
        lattice = repr((study.grid.size, study.grid.cells, study.grid.origin))
        grid = attempt(lambda: memo(("grid", "area", where, lattice), lambda: _grid(study, laid, check_size)))
    on = "" if grid is None else grid.digest

    def events(spec: OutcomeSpec, key: str, role: str) -> Events | None:
        made_of = ("events", key, spec.model_dump_json(), role, where, on)
        return attempt(lambda: memo(made_of, lambda: _outcome(spec, key, reader, area, grid, role)))

    outcome = events(study.outcome, "outcome", "outcome")
    holdout = None
    source = study.holdout_source
    if source is not None:
        own = study.holdout is not None and study.holdout.names_a_layer
        key = "holdout" if own or "holdout" in reader.layers else "outcome"
        holdout = events(source, key, "hold-out")

    def factor(spec: FactorSpec) -> RiskFactor | None:
        made_of = ("factor", spec.name, spec.model_dump_json(), repr(study.grid.block_length), on)
        return attempt(lambda: memo(made_of, lambda: read_factor(spec, study, reader, grid)))

    def barrier(spec: BarrierSpec) -> Barrier | None:
        made_of = ("barrier", spec.name, spec.model_dump_json(), on)
        return attempt(lambda: memo(made_of, lambda: _barrier(spec, reader, grid)))

    factors = [factor(spec) for spec in study.factors]
    walls = [barrier(spec) for spec in barriers]
    impedance = None
    if study.impedance is not None:
        way, there = study.impedance, tuple(w for w in walls if w is not None)
        done -= 1
        impedance = attempt(lambda: _impedance(way, there, reader))
    districts = None
    if parts is not None:
        made_of = ("districts", "districts", parts.model_dump_json(), on)
        districts = attempt(lambda: memo(made_of, lambda: _districts(parts, reader, grid)))
    exposure = None
    if study.exposure is not None:
        amount = study.exposure

        def read() -> tuple[gpd.GeoDataFrame, int, str, str]:
            return reader.read(amount, "exposure", "exposure")

        key_of = ("exposure", "exposure", amount.model_dump_json(), where, on)
        exposure = attempt(
            lambda: memo(key_of, lambda: load_exposure(amount, read, reader.resolve, area, grid, cancel))
        )
        if (
            exposure is not None
            and grid is not None
            and outcome is not None
            and (source is None or holdout is not None)
        ):
            measured, laid_on, fitted, later_events = exposure, grid, outcome, holdout
            done -= 1
            settled = attempt(lambda: settle_exposure(amount, measured, laid_on, fitted, later_events))
            if settled is not None:
                exposure, outcome, holdout = settled
    if problems:
        raise StudyError(problems, source=study.name)
    assert area is not None
    assert grid is not None
    assert outcome is not None
    cleaned = tuple(f for f in factors if f is not None)
    findings = [*enforcement_findings(study), *unit_findings(study, grid), *outcome.findings]
    if holdout is not None:
        findings += [*holdout_findings(outcome, holdout), *holdout.findings]
    findings += [f for factor in cleaned for f in factor.findings]
    findings += [f for barrier in (impedance.barriers if impedance else ()) for f in barrier.findings]
    findings += districts.findings if districts is not None else ()
    findings += exposure.findings if exposure is not None else ()
    return Inputs(area, grid, outcome, holdout, cleaned, tuple(findings), impedance, districts, exposure)


def _known_names(study: Study, layers: Layers) -> None:
    known = {"area", "outcome", *(f.name for f in study.factors)} | ({"holdout"} if study.holdout else set())
    known |= {b.name for b in study.impedance.barriers} if study.impedance else set()
    known |= {"districts"} if study.model.districts else set()
    known |= {"exposure"} if study.exposure and study.exposure.measure != "raster" else set()
    for name, frame in layers.items():
        if name not in known:
            raise InputError(f"layers: {name!r} is no layer of the study; it has {', '.join(sorted(known))}.")
        if not hasattr(frame, "to_crs") or not hasattr(frame, "columns"):
            raise InputError(f"layers: {name!r} is a {type(frame).__name__}, expected a GeoDataFrame.")


def _area(study: Study, reader: LayerReader) -> StudyArea:
    frame, total, source, digest = reader.read(study.area, "area", "study area")
    require_projected(frame.crs, f"study area ({source})", tuple(frame.total_bounds))
    return StudyArea.from_frame(frame, selection=study.area.selection, source=source, digest=digest, total=total)


def _grid(study: Study, area: StudyArea, check_size: Callable[[int, int, int], None] | None) -> Grid:
    size = study.grid.size
    west, south, east, north = area.geometry.bounds
    if check_size is not None:
        kept = math.ceil(area.geometry.area / size**2 + area.geometry.length / size)
        check_size(math.ceil((north - south) / size) + 1, math.ceil((east - west) / size) + 1, kept)
    return Grid.from_area(area.geometry, area.crs, size, cells=study.grid.cells, origin=study.grid.origin)


def _outcome(
    spec: OutcomeSpec, key: str, reader: LayerReader, area: StudyArea | None, grid: Grid | None, role: str = "outcome"
) -> Events | None:
    what = f"{role} {spec.name!r}"
    frame, total, source, digest = reader.read(spec, key, what)
    if area is None or grid is None:
        select_rows(frame, spec.selection, f"{what} ({source})", total)  # still says what is wrong with it
        return None
    return Events.from_frame(
        frame,
        grid,
        area,
        name=spec.name,
        role=role,
        selection=spec.selection,
        source=source,
        digest=digest,
        total=total,
    )


def _barrier(spec: BarrierSpec, reader: LayerReader, grid: Grid | None) -> Barrier | None:
    what = f"barrier {spec.name!r}"
    frame, total, source, digest = reader.read(spec, spec.name, what)
    if grid is None:
        select_rows(frame, spec.selection, f"{what} ({source})", total)
        return None
    return Barrier.from_frame(
        frame, grid, name=spec.name, selection=spec.selection, source=source, digest=digest, total=total
    )


def _districts(spec: DistrictSpec, reader: LayerReader, grid: Grid | None) -> Districts | None:
    frame, total, source, digest = reader.read(spec, "districts", "districts")
    if grid is None:
        select_rows(frame, spec.selection, f"districts ({source})", total)
        return None
    return Districts.from_frame(
        frame, grid, field=spec.field, selection=spec.selection, source=source, digest=digest, total=total
    )


def read_impedance(study: Study, reader: LayerReader, grid: Grid) -> Impedance | None:
    """Read what is in the way of a study's cost distances; None where the study has nothing."""
    if study.impedance is None:
        return None
    walls = (_barrier(spec, reader, grid) for spec in study.impedance.barriers)
    return _impedance(study.impedance, tuple(w for w in walls if w is not None), reader)


def _impedance(spec: ImpedanceSpec, barriers: tuple[Barrier, ...], reader: LayerReader) -> Impedance:
    if spec.friction is None:
        return Impedance(barriers, connectivity=spec.connectivity)
    path = reader.resolve(spec.friction)
    if not path.is_file():
        raise FileError(f"friction {path}: no such file.", hint="Check impedance.friction and the data folder.")
    return Impedance(barriers, path, file_digest(path), spec.connectivity)


def read_factor(spec: FactorSpec, study: Study, reader: LayerReader, grid: Grid | None) -> RiskFactor | None:
    """Read and clean one factor's layer; without a grid only what is wrong with its rows is said."""
    frame, total, source, digest = reader.read(spec, spec.name, f"factor {spec.name!r}")
    if grid is None:
        select_rows(frame, spec.selection, f"factor {spec.name!r} ({source})", total)
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
