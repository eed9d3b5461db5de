"""Evaluate a plan log: treated places and times, controls, rings, counts before and after, the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.evaluate.contrasts import Contrast, EventDays, Sum, contrast_pair
from rtmdx.evaluate.ground import shapes_of
from rtmdx.evaluate.plan_controls import Weighting, control_shares, permute
from rtmdx.evaluate.plan_log import PlanLog
from rtmdx.evaluate.plan_results import PlanCheck, PlanEffect, PlanEvaluation, PlanStep, RoleCounts
from rtmdx.evaluate.results import FEW_EVENTS, level_in, normal_interval
from rtmdx.evaluate.roles import DisplacementControls, Roles, assign_roles
from rtmdx.evaluate.windows import Before, Window, before_in, coverage_in, merged, windows_of
from rtmdx.runs.enforcement import made_by_enforcement
from rtmdx.space.selection import parse_days
from rtmdx.space.values import choice, flag, named, number, whole

__all__ = ["evaluate_plan"]

Float = NDArray[np.float64]
_STEPS = 12
_UNLIKE = 2.0


@dataclass(frozen=True)
class _Options:
    before: Before
    after: int | None
    lag: int
    weighting: Weighting
    match: tuple[str, ...]
    match_periods: int
    relax: bool
    permutations: int
    seed: int
    dispersion: float
    level: float
    flags: tuple[str, ...]


def evaluate_plan(
    log: PlanLog,
    places: Any,
    events: Any,
    *,
    date: str = "date",
    key: str = "name",
    area: Any = None,
    outcome: str = "events",
    controls: Literal["rest"] | Sequence[str] = "rest",
    weighting: Weighting = "events",
    match: Sequence[str] = (),
    match_periods: int = 4,
    relax: bool = False,
    displacement: float | None = None,
    displacement_controls: DisplacementControls | None = None,
    before: Before | None = None,
    after: int | None = None,
    lag: int = 0,
    coverage: tuple[Any, Any] | None = None,
    chosen_by_counts: bool = False,
    enforcement: bool | None = None,
    permutations: int = 0,
    dispersion: float = 1.0,
    seed: int = 0,
    level: float = 0.95,
) -> PlanEvaluation:
    """Compare places where something was done with places where it was not.

    Parameters
    ----------
    log : PlanLog
    places : GeoDataFrame
        Polygons in a projected CRS, every place of the log among them.
    events : GeoDataFrame
        Points with a date, in any CRS.
    date, key : str
        Columns of the events' dates and the places' names.
    area : GeoDataFrame or geometry, optional
        Study area that rings are clipped to; the places' union by default.
    outcome : str
        What the events are, for people.
    controls : "rest" or sequence of str
        Places without any record in the log, less those that a ring reaches into; or places by name.
    weighting : {"events", "area", "none", "calibrated"}
        Controls' counts scaled to as many events before as each treated place has, so that equal proportional trends
        make no difference; scaled by treated over control area; taken as they are (all controls once); or weighted so
        that they equal the treated places in number and in events of each part of the time before (`control_weights`).
        Rings likewise, by events, area or not at all.
    match : sequence of str
        With "calibrated": columns of the places whose totals are matched besides.
    match_periods : int
        With "calibrated": parts of the time before, the same for all records: from the first day of the earliest
        record's window to the day before its start.
    relax : bool
        With "calibrated": bring totals that cannot be matched as close as they come, instead of an error.
    displacement : float, optional
        Distance of rings around treated places that events may have moved to, in CRS units.
    displacement_controls : {"ring", "scaled"}, optional
        What rings are held against: a ring around the controls (by default where controls are named), or the controls,
        scaled by area (where they are the rest of the city).
    before : int, "equal" or "year", optional
        Days before the start: as many as after (by default), a number, or the same days of the year before.
    after : int, optional
        Days after the start; to the record's end by default, or to the events' last day.
    lag : int
        Days from the start on that are left out.
    coverage : (date, date), optional
        First and last day the events cover; the first and last event's by default.
    chosen_by_counts : bool
        Whether places were chosen by their past counts; flags regression to the mean.
    enforcement : bool, optional
        Whether the outcome is made by enforcement (stops, drug arrests); by its name if not said. Flags it.
    permutations : int
        Random sets of controls that take the treated places' part, for an interval that does not lean on Poisson's law.
    dispersion : float
        Factor of the Poisson variance.
    seed : int
        Of permutations.
    level : float

    Returns
    -------
    PlanEvaluation
        Per action, and for all together where there are several: then each place counts once, from its first start to
        its last end.

    Raises
    ------
    InputError, CRSError
        The message names the record, place, column or argument, what was found and what was expected.
    """
    if not isinstance(log, PlanLog):
        raise InputError(
            f"log: found {named(log)}, expected a PlanLog.", hint="Use PlanLog.read or PlanLog.from_frame."
        )
    choice(weighting, "weighting", ("events", "area", "none", "calibrated"))
    if displacement_controls is not None:
        choice(displacement_controls, "displacement_controls", ("ring", "scaled"))
        if displacement is None:
            raise InputError("displacement_controls: there are no rings.", hint="Give displacement, a distance.")
    if match and weighting != "calibrated":
        raise InputError("match: columns are only matched with weighting='calibrated'.")
    scale = number(dispersion, "dispersion")
    if not 0 < scale < math.inf:
        raise InputError(f"dispersion: found {scale:g}, expected a positive number; 1 for Poisson counts.")
    general: tuple[str, ...] = ("association",)
    general += ("regression-to-the-mean",) if flag(chosen_by_counts, "chosen_by_counts") else ()
    if enforcement is None:
        enforcement = made_by_enforcement(outcome) is not None
    general += ("enforcement",) if flag(enforcement, "enforcement") else ()
    options = _Options(
        before_in(before), None if after is None else whole(after, "after", least=1), whole(lag, "lag", least=0),
        weighting, tuple(match), whole(match_periods, "match_periods", least=1),
        flag(relax, "relax"),
        whole(permutations, "permutations", least=0), whole(seed, "seed", least=0), scale, level_in(level), general,
    )  # fmt: skip
    if 0 < options.permutations < 19:
        raise InputError(f"permutations: found {permutations}, expected 0, or at least 19.")
    roles = assign_roles(log, places, key, area=area, controls=controls, displacement=displacement,
                         displacement_controls=displacement_controls)  # fmt: skip
    points, day = _events(events, date, places)
    first, last = (np.datetime64(int(d), "D").item() for d in (day.min(), day.max()))
    span = coverage_in(coverage, first, last)
    days = EventDays(roles.inside(points), day)
    logs = [log.of(a) for a in log.actions]
    if len(logs) > 1:
        logs = [merged(log), *logs]
    effects, main = [], None
    for part in logs:
        effect, made = _effect(part, log, places, roles, days, span, options)
        effects.append(effect)
        main = made if main is None else main
    settings = {
        "controls": "rest" if isinstance(controls, str) else list(controls), "weighting": weighting,
        "match": list(match), "relax": relax,
        "match_periods": options.match_periods if weighting == "calibrated" else None,
        "displacement": roles.distance,
        "displacement_controls": roles.displacement_controls if roles.distance is not None else None,
        "before": options.before, "after": after, "lag": lag, "permutations": permutations, "dispersion": scale,
        "seed": seed, "level": options.level, "chosen_by_counts": chosen_by_counts,
    }  # fmt: skip
    return PlanEvaluation(
        tuple(effects), _areas(roles, days, main), log, outcome, settings, (str(span[0]), str(span[1])), int(day.size)
    )


def _effect(
    part: PlanLog, log: PlanLog, places: Any, roles: Roles, days: EventDays, span: Any, o: _Options
) -> tuple[PlanEffect, Any]:
    windows = windows_of(part.records, span, before=o.before, after=o.after, lag=o.lag, source=log.source)
    place = np.array([roles.names.index(r.place) for r in part])
    shares, weight_flags = control_shares(
        place, windows, roles, days, places, weighting=o.weighting, match=o.match, periods=o.match_periods,
        relax=o.relax,
    )  # fmt: skip
    parts = _parts(place, windows, shares, roles, days, o)
    local, moved, total = _sums(parts)
    found = _scaled(total.sum(days), o)
    low, high, p = normal_interval(found.value, found.se, o.level)
    counts = tuple(_counts(name, c, roles, days) for name, c in parts.items())
    own = _interval(_scaled(local.sum(days), o), o.level)
    expected = counts[0].before + counts[1].change
    shown = expected if expected > 0 else math.nan
    earlier = [w.earlier(o.before) for w in windows]
    known = min(w.before_start for w in earlier) >= span[0]
    pretrend, rise = None, 0.0
    if known:
        past = _parts(place, earlier, shares, roles, days, o)
        pretrend = _check("one period earlier", _scaled(_sums(past)[2].sum(days), o), o.level)
        alone = past["treated"]
        rise = Contrast(alone.windows, tuple(w.scale for w in alone.windows), alone.weights).sum(days).z
    permutation = None
    if o.permutations:
        permutation = permute(
            place, windows, roles, days, places, _scaled(local.sum(days), o), weighting=o.weighting, match=o.match,
            periods=o.match_periods, relax=o.relax, n=o.permutations, seed=o.seed, level=o.level,
            dispersion=o.dispersion,
        )  # fmt: skip
    flags = _flags(part, log, windows, counts, rise, o, pretrend, permutation, own)
    effect = PlanEffect(
        estimate=found.value, low=low, high=high, level=o.level, p=p,
        method="normal, Poisson events" + (f" times {o.dispersion:g}" if o.dispersion != 1 else ""),
        action=part.records[0].action, places=part.places, n_records=len(part), n_controls=roles.controls.size,
        variance=found.variance, z=found.z, roles=counts, local=own,
        displaced=(0.0, 0.0, 0.0) if moved is None else _interval(_scaled(moved.sum(days), o), o.level),
        percent=own[0] / shown, percent_low=own[1] / shown, percent_high=own[2] / shown, pretrend=pretrend,
        permutation=permutation, steps=_steps(total, days, o),
        first=str(min(w.before_start for w in windows)), last=str(max(w.after_end for w in windows)),
        flags=(*o.flags, *weight_flags, *flags),
    )  # fmt: skip
    weight = parts["control"].weights[:, roles.controls].sum(axis=0)
    return effect, (parts, weight)


def _parts(
    place: NDArray[np.int64], windows: list[Window], shares: Float | None, roles: Roles, days: EventDays, o: _Options
) -> dict[str, Contrast]:
    """What treated places, controls and rings count for in these windows."""
    parts = dict(zip(("treated", "control"), contrast_pair(place, roles.controls, windows, shares, days), strict=True))
    if roles.distance is None:
        return parts
    rings = np.array([roles.ring_of(int(p)) for p in place])
    ringed = np.array([roles.control_ring]) if roles.displacement_controls == "ring" else roles.controls
    size: Float | None = None
    if o.weighting != "events":
        even = np.full(rings.size, 1.0 / rings.size)
        each = even if o.weighting == "none" else roles.areas[rings] / roles.areas[ringed].sum()
        size = np.repeat(each[:, None], ringed.size, axis=1)
    pair = contrast_pair(rings, ringed, windows, size, days)
    return parts | dict(zip(("displacement", "displacement control"), pair, strict=True))


def _sums(parts: dict[str, Contrast]) -> tuple[Contrast, Contrast | None, Contrast]:
    """The differences of places, of rings, and of both."""
    local = parts["treated"] - parts["control"]
    if "displacement" not in parts:
        return local, None, local
    moved = parts["displacement"] - parts["displacement control"]
    return local, moved, local + moved


def _flags(
    part: PlanLog, log: PlanLog, windows: list[Window], counts: tuple[RoleCounts, ...], rise: float, o: _Options,
    pretrend: PlanCheck | None, permutation: PlanCheck | None, own: Any,
) -> tuple[str, ...]:  # fmt: skip
    found = []
    if min(min(c.events_before, c.events_after) for c in counts) < FEW_EVENTS:
        found.append("few-events")
    a, b = counts[0].before, counts[1].before
    if o.weighting != "events" and max(a, b) > _UNLIKE * min(a, b):
        found.append("baseline-unlike")
    if rise > 1.96:
        found.append("before-peak")
    if pretrend is not None and not pretrend.low <= 0 <= pretrend.high:
        found.append("pretrend")
    if any(a.place in part.places for a, _ in log.overlaps()):
        found.append("overlapping-actions")
    if any(
        r.place == s.place and s is not r and s.start < r.start and (s.end or r.start) >= w.before_start
        for r, w in zip(part, windows, strict=True)
        for s in log
    ):
        found.append("before-treated")
    if any(w.days[0] != w.days[1] for w in windows) and o.before != "year":
        found.append("unequal-times")
    if o.before != "year" and any(abs(n - 365.25 * max(1, round(n / 365.25))) > 20 for w in windows for n in w.days):
        found.append("season")
    if permutation is not None and permutation.high - permutation.low > 1.1 * (own[2] - own[1]):
        found.append("overdispersed")
    return tuple(found)


def _check(name: str, found: Sum, level: float) -> PlanCheck:
    return PlanCheck(name, found.value, *normal_interval(found.value, found.se, level))


def _steps(total: Contrast, days: EventDays, o: _Options) -> tuple[PlanStep, ...]:
    longest = max(w.days[1] for w in total.windows)
    n = min(_STEPS, longest)
    out = []
    for i in range(1, n + 1):
        out.append(PlanStep(longest * i / n, *_interval(_scaled(total.sum(days, i / n), o), o.level)))
    return tuple(out)


def _counts(name: str, contrast: Contrast, roles: Roles, days: EventDays) -> RoleCounts:
    before, after, n_before, n_after = contrast.sides(days)
    units = np.flatnonzero((contrast.weights != 0).any(axis=0))
    places = units[units < roles.n_places]
    return RoleCounts(name, places.size, float(roles.areas[units].sum()), n_before, n_after, before, after)


def _areas(roles: Roles, days: EventDays, main: Any) -> Any:
    """Places and rings, with the events before and after that the first effect takes from each."""
    contrasts, shares = main
    frame = roles.frame()
    before, after = np.zeros(roles.shapes.size), np.zeros(roles.shapes.size)
    windows = next(iter(contrasts.values())).windows
    used = np.max([np.abs(c.weights) for c in contrasts.values()], axis=0) > 0
    for i, window in enumerate(windows):
        for total, side in zip((before, after), days.sides(window), strict=True):
            total += used[i].astype(np.float64) * (days.inside.T @ side.astype(np.float64))
    weight = np.full(roles.shapes.size, np.nan)
    weight[roles.controls] = shares
    return frame.assign(events_before=before.astype(int), events_after=after.astype(int), control_weight=weight)


def _events(events: Any, date: str, places: Any) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    import shapely

    if not hasattr(events, "columns") or not hasattr(events, "geometry"):
        raise InputError(f"events: found {named(events)}, expected a GeoDataFrame of points.")
    if date not in events.columns:
        raise InputError(f"events: no column {date!r}; it has {', '.join(map(str, events.columns))}.")
    shapes = events.geometry.to_numpy()
    kept = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    stamps = events[date].to_numpy()[kept]
    day = stamps.astype("datetime64[D]") if stamps.dtype.kind == "M" else parse_days(stamps.astype(object))
    bad = np.isnat(day)
    if bad.any():
        i = int(np.flatnonzero(kept)[int(np.argmax(bad))])
        raise InputError(
            f"events, row {i}, {date}: found {named(events[date].iloc[i])}, expected a date ({int(bad.sum()):,} rows "
            "are none).",
            hint="Drop the rows without a date, or mend them.",
        )
    points = shapes_of(events, "events", like=places)
    if (shapely.get_type_id(points) != 0).any():
        raise InputError("events: expected points.", hint="Use their centroids.")
    return points, day.astype(np.int64)


def _scaled(found: Sum, o: _Options) -> Sum:
    return Sum(found.value, o.dispersion * found.variance)


def _interval(found: Sum, level: float) -> tuple[float, float, float]:
    low, high, _ = normal_interval(found.value, found.se, level)
    return found.value, low, high
