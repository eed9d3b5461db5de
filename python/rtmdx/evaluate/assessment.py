"""An evaluation file, worked out: layers read, plan log checked, plan evaluated, outputs written."""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtmdx.errors import InputError, OutputError
from rtmdx.evaluate.plan import evaluate_plan
from rtmdx.evaluate.plan_log import PlanLog
from rtmdx.evaluate.plan_results import PlanEvaluation
from rtmdx.evaluate.results import plain
from rtmdx.evaluate.series import interrupted_series
from rtmdx.evaluate.series_results import InterruptedSeries
from rtmdx.runs.enforcement import made_by_enforcement
from rtmdx.space.readers import file_digest, read_layer
from rtmdx.space.selection import Finding, Selection, count_dropped, local_times, select_rows
from rtmdx.space.staging import new_folder

if TYPE_CHECKING:
    from rtmdx.evaluate.spec import EvaluationSpec
    from rtmdx.runs.study_layers import OutcomeSpec, Source

__all__ = ["Assessment", "assess", "write_assessment"]

FILES = {
    "evaluation.json": "every figure, with its words and settings",
    "evaluation.csv": "a row per action",
    "roles.csv": "counts before and after of each action's areas",
    "evaluation.html": "figures, map, charts and caveats on one page",
    "areas.gpkg": "places and rings with their roles, and the plan log",
}


@dataclass(frozen=True, eq=False)
class Assessment:
    """What an evaluation file asks for.

    Attributes
    ----------
    name : str
    evaluation : PlanEvaluation
    series : InterruptedSeries or None
        Of the treated places' monthly counts, where asked for and the plan has one start.
    series_note : str
        Why there is none, though asked for.
    dropped : dict of int
        Rows of the events that take no part, by reason.
    findings : tuple of Finding
    inputs : dict of str
        SHA-256 of each file.
    spec : dict
    """

    name: str
    evaluation: PlanEvaluation
    series: InterruptedSeries | None
    series_note: str
    dropped: dict[str, int]
    findings: tuple[Finding, ...]
    inputs: dict[str, str]
    spec: dict[str, Any]

    def sentences(self) -> list[str]:
        """Say all of it."""
        more = self.series.sentences() if self.series is not None else [self.series_note] if self.series_note else []
        return [*self.evaluation.sentences(), *more]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        from importlib.metadata import version

        return {
            **self.evaluation.to_dict(),
            "name": self.name,
            "sentences": self.sentences(),
            "series": None if self.series is None else self.series.to_dict(),
            "dropped": self.dropped,
            "findings": [{"code": f.code, "where": f.where, "message": f.message} for f in self.findings],
            "inputs": self.inputs,
            "spec": plain(self.spec),
            "version": version("rtmdx"),
        }

    def to_html(self) -> str:
        """Return one self-contained page."""
        from rtmdx.evaluate.page import render

        return render(self)


def assess(spec: EvaluationSpec, *, data: str | Path = ".", folder: str | Path | None = None) -> Assessment:
    """Work out an evaluation.

    Parameters
    ----------
    spec : EvaluationSpec
    data : path
        Folder relative paths of layers start from.
    folder : path, optional
        Folder the plan log's path starts from, where it is there; else `data`.

    Returns
    -------
    Assessment

    Raises
    ------
    FileError, InputError, CRSError
        A layer or the log cannot be read, or does not fit, see `evaluate_plan`.
    MissingDependencyError
        A series is asked for and statsmodels is not installed.
    """
    data = Path(data)
    path = Path(folder) / spec.log.path if folder is not None else data / spec.log.path
    path = path if path.exists() else data / spec.log.path
    log = PlanLog.read(path, layer=spec.log.layer).require(factors=spec.factors or None)
    places, _ = _read(spec.places, data, "places")
    places = select_rows(places, spec.places.selection, "places").frame
    events, total = _read(spec.events, data, "events")
    since = spec.events.selection
    if (
        since.start is None and since.end is None
    ):  # so that every date is read, and what has none is dropped and counted
        since = Selection(since.filters, since.date_field, dt.date(1, 1, 1), None, since.bad_dates, since.time_zone)
    chosen = select_rows(events, since, "events", total)
    dropped = dict(chosen.dropped)
    nowhere = (chosen.frame.geometry.isna() | chosen.frame.geometry.is_empty).to_numpy()
    count_dropped(dropped, "no geometry", nowhere)
    frame = chosen.frame[~nowhere]
    if not len(frame):
        raise InputError(f"events: none is left of {chosen.read:,} read.", hint="Check the filter and the dates.")
    stamps = frame[spec.events.date_field].to_numpy(dtype=object)
    frame = frame[[frame.geometry.name]].assign(day=local_times(stamps, spec.events.time_zone))
    area = (
        None if spec.area is None else select_rows(_read(spec.area, data, "area")[0], spec.area.selection, "area").frame
    )
    ring = spec.displacement
    found = evaluate_plan(
        log, places, frame, date="day", key=spec.places.key, area=area, outcome=spec.events.name,
        controls=spec.controls.places, weighting=spec.controls.weighting, match=spec.controls.match,
        match_periods=spec.controls.match_periods, relax=spec.controls.relax,
        displacement=None if ring is None else ring.distance,
        displacement_controls=None if ring is None else ring.controls,
        before=spec.windows.before, after=spec.windows.after, lag=spec.windows.lag, coverage=_coverage(spec, frame),
        chosen_by_counts=spec.chosen_by_counts, enforcement=_enforced(spec.events), permutations=spec.permutations,
        dispersion=spec.dispersion, seed=spec.seed, level=spec.level,
    )  # fmt: skip
    series, note = (None, "") if spec.series is None else _series(spec, log, places, frame, found)
    files = {str(s.path): data / str(s.path) for s in (spec.events, spec.places, spec.area) if s is not None}
    files[spec.log.path] = path
    return Assessment(
        spec.name, found, series, note, dropped, chosen.findings,
        {name: file_digest(p) for name, p in files.items()}, spec.to_dict(),
    )  # fmt: skip


def write_assessment(found: Assessment, out: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, str]:
    """Write the outputs into a new folder; return what each file is.

    Raises
    ------
    OutputError
        The folder exists (and not `overwrite`), or cannot be written.
    """
    final = Path(out).absolute()
    if overwrite and final.is_dir() and not {p.name for p in final.iterdir()} <= set(FILES):
        raise OutputError(f"output folder {final}: holds files of something else.", hint="Name another folder.")
    with new_folder(final, overwrite=overwrite) as staging:
        text = json.dumps(found.to_dict(), indent=1, allow_nan=False)
        (staging / "evaluation.json").write_text(text, encoding="utf-8")
        found.evaluation.to_frame().to_csv(staging / "evaluation.csv", index=False)
        found.evaluation.roles_frame().to_csv(staging / "roles.csv", index=False)
        (staging / "evaluation.html").write_text(found.to_html(), encoding="utf-8")
        _write_areas(found, staging / "areas.gpkg")
    return FILES


def _write_areas(found: Assessment, path: Path) -> None:
    import pyogrio

    described = {"description": f"{found.name}: places, rings and their roles; rtmdx"}
    pyogrio.write_dataframe(
        found.evaluation.areas, path, layer="areas", driver="GPKG", promote_to_multi=True, geometry_type="MultiPolygon",
        layer_metadata=described,
    )  # fmt: skip
    pyogrio.write_dataframe(found.evaluation.log.to_frame(), path, layer="plan_log", driver="GPKG", append=True)


def _read(source: Source, data: Path, what: str) -> tuple[Any, int]:
    return read_layer(
        data / str(source.path),
        what=what,
        layer=source.layer,
        crs=source.crs,
        x=source.x,
        y=source.y,
        where=source.where,
    )


def _enforced(events: OutcomeSpec) -> bool:
    if events.enforcement is not None:
        return events.enforcement
    names = (events.name, events.layer, events.path, events.where, *map(str, events.filter.values()))
    return made_by_enforcement(*names) is not None


def _coverage(spec: EvaluationSpec, frame: Any) -> tuple[dt.date, dt.date]:
    first, last = spec.coverage
    return first or frame["day"].min().date(), last or frame["day"].max().date()


def _series(
    spec: EvaluationSpec, log: PlanLog, places: Any, frame: Any, found: PlanEvaluation
) -> tuple[InterruptedSeries | None, str]:
    """Fit a segmented regression to the months that are whole, if all records have one start."""
    import pandas as pd
    import shapely

    asked = spec.series
    assert asked is not None
    starts = sorted({r.start for r in log})
    if len(starts) > 1:
        return None, f"No interrupted series: the log has {len(starts)} starts, from {starts[0]} to {starts[-1]}."
    areas = found.areas
    points = frame.geometry.to_crs(places.crs).to_numpy()
    inside = {}
    for role in ("treated", "control"):
        ground = shapely.union_all(areas.loc[areas["role"] == role, "geometry"].to_numpy())
        shapely.prepare(ground)
        inside[role] = shapely.intersects(ground, points)
    first, last = (dt.date.fromisoformat(d) for d in found.coverage)
    ends = [r.end for r in log]
    if None not in ends:
        last = min(last, max(e for e in ends if e is not None))
    opening = pd.Timestamp(first).to_period("M") + (1 if first.day > 1 else 0)
    closing = pd.Timestamp(last).to_period("M") - (0 if (last + dt.timedelta(days=1)).day == 1 else 1)
    months = pd.period_range(opening, closing, freq="M")
    month = frame["day"].dt.to_period("M")
    counts, control = (
        month[inside[r]].value_counts().reindex(months, fill_value=0).to_numpy(np.float64)
        for r in ("treated", "control")
    )
    start = starts[0]
    begun = pd.Timestamp(start).to_period("M")
    labels = [m.start_time.date() for m in months]
    split = int(start.day > 1)  # the month in which it starts belongs to neither side
    before = sum(m < begun for m in months)
    try:
        fit = interrupted_series(
            counts, begun.start_time.date(), periods=labels, family=asked.family,
            exposure=[float(m.days_in_month) for m in months], slope_change=asked.slope_change,
            season=12 if asked.season and before >= 12 else None, harmonics=asked.harmonics, transition=split,
            level=spec.level, control=control if asked.control else None,
            control_exposure=[float(m.days_in_month) for m in months],
        )  # fmt: skip
    except InputError as error:
        return None, f"No interrupted series: {error}"
    return fit, ""
