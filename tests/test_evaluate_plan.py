"""A plan log evaluated: counts the slow way, the plain difference, exact rings, coverage, what is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from evaluate_city import CORNER, FIRST, LAST, SIZE, counted, events, places
from rtmdx.errors import CRSError, InputError
from rtmdx.evaluate import PlanLog, PlanRecord, evaluate_plan, wdd

DAY = dt.timedelta(days=1)
COVER = {"coverage": (FIRST, LAST)}


def record(place: str, start: str, end: str | None = None, action: str = "lighting") -> PlanRecord:
    return PlanRecord(
        place, "", action, dt.date.fromisoformat(start), None if end is None else dt.date.fromisoformat(end)
    )


def log(*records: PlanRecord) -> PlanLog:
    return PlanLog(records or [record("r1c1", "2018-01-01", "2018-12-31"), record("r4c4", "2018-01-01", "2018-12-31")])


def test_one_window_is_the_plain_difference() -> None:
    e = events()
    treated, controls = ["r1c1", "r4c4"], ["r2c4", "r4c0", "r0c5"]
    found = evaluate_plan(log(), places(), e, controls=controls, weighting="none", **COVER).effects
    assert len(found) == 1
    c, t = (
        (counted(e, names, "2017-01-01", "2017-12-31"), counted(e, names, "2018-01-01", "2018-12-31"))
        for names in (controls, treated)
    )
    plain = wdd(c, t)
    same = found[0]
    assert (same.estimate, same.variance, same.low) == pytest.approx((plain.estimate, plain.variance, plain.low))
    assert [(r.role, r.events_before, r.events_after) for r in same.roles] == [("treated", *t), ("control", *c)]
    by_area = evaluate_plan(log(), places(), e, controls=controls, weighting="area", **COVER).effects[0]
    weighed = wdd(c, t, areas=(3, 2))
    assert by_area.estimate == pytest.approx(2 * weighed.estimate)
    assert by_area.variance == pytest.approx(4 * weighed.variance)
    assert by_area.percent == pytest.approx(by_area.local[0] / (t[0] + (c[1] - c[0]) * 2 / 3))


def test_all_four_areas_are_the_plain_difference() -> None:
    """Rings cut by hand from buffers, events counted by Shapely."""
    e, p = events(), places()
    control = "r4c1"
    found = evaluate_plan(
        log(record("r1c4", "2018-03-01", "2018-08-31")), p, e, controls=[control], displacement=150.0,
        displacement_controls="ring", before=100, weighting="none", **COVER,
    )  # fmt: skip
    shapes = dict(zip(p["name"], p.geometry, strict=True))
    city = shapely.union_all(p.geometry.to_numpy())
    rings = {n: shapes[n].buffer(150, quad_segs=64).difference(shapes[n]).intersection(city) for n in ("r1c4", control)}
    day = e["date"].to_numpy(dtype="datetime64[D]")
    before = (day >= np.datetime64("2017-11-21")) & (day <= np.datetime64("2018-02-28"))
    after = (day >= np.datetime64("2018-03-01")) & (day <= np.datetime64("2018-08-31"))

    def pair(shape: Any) -> tuple[int, int]:
        inside = shapely.intersects(shape, e.geometry.to_numpy())
        return int((inside & before).sum()), int((inside & after).sum())

    plain = wdd(
        pair(shapes[control]), pair(shapes["r1c4"]), pair(rings[control]), pair(rings["r1c4"]), times=(100, 184),
        areas=(1, 1, 1, 1),
    )  # fmt: skip
    assert found.effects[0].estimate == pytest.approx(184 * plain.estimate)
    assert found.effects[0].variance == pytest.approx(184**2 * plain.variance)
    assert found.effects[0].local[0] == pytest.approx(184 * plain.local[0])
    assert "unequal-times" in found.effects[0].flags
    areas = found.areas.set_index("role")["geometry"]
    assert areas["displacement"].symmetric_difference(rings["r1c4"]).area < 1e-6
    assert areas["displacement control"].symmetric_difference(rings[control]).area < 1e-6


def test_controls_weighed_by_events_are_the_ratio_of_ratios() -> None:
    """Equal proportional trends make no difference; the variance is the delta method's."""
    e = events(20_000, seed=2)
    r = log(record("r1c1", "2018-01-01", "2018-12-31"))
    found = evaluate_plan(r, places(), e, controls=["r2c4", "r4c0", "r0c5"], **COVER).effects[0]
    (t0, t1), (c0, c1) = ((x.events_before, x.events_after) for x in found.roles)
    assert found.estimate == pytest.approx(t1 - t0 * c1 / c0)
    variance = t1 + (c1 / c0) ** 2 * t0 + (t0 / c0) ** 2 * c1 + (c1 * t0 / c0**2) ** 2 * c0
    assert found.variance == pytest.approx(variance)
    assert found.percent == pytest.approx(wdd((c0, c1), (t0, t1)).ratio[0] - 1)
    assert found.roles[1].before == pytest.approx(t0)
    thinned = e[(e["date"] < "2018-01-01") | (np.arange(len(e)) % 2 == 0)]  # half of everything, everywhere
    half = evaluate_plan(r, places(), thinned, **COVER).effects[0]
    assert half.covers_zero
    assert not evaluate_plan(log(), places(), thinned, weighting="none", **COVER).effects[0].covers_zero
    nothing = e[e.geometry.within(places().geometry.iloc[7])]
    with pytest.raises(InputError, match="weighting 'events': .* has no events in 2017-01-01 to 2017-12-31"):
        evaluate_plan(r, places(), nothing, **COVER)


def test_roles_do_not_overlap_and_rings_are_exact() -> None:
    records = [record("r1c1", "2018-01-01", "2018-06-30"), record("r1c2", "2018-01-01", "2018-06-30")]
    found = evaluate_plan(log(*records), places(), events(), displacement=600.0, **COVER)
    frame = found.areas
    used = frame[frame["role"].isin(["treated", "control", "displacement"])]
    assert shapely.union_all(used.geometry.to_numpy()).area == pytest.approx(used.area.sum(), rel=1e-9)
    ring = shapely.union_all(frame.loc[frame["role"] == "displacement", "geometry"].to_numpy())
    core = shapely.union_all(frame.loc[frame["role"] == "treated", "geometry"].to_numpy())
    city = shapely.union_all(places().geometry.to_numpy())
    wanted = core.buffer(600, quad_segs=64).difference(core).intersection(city)
    assert ring.symmetric_difference(wanted).area / wanted.area < 1e-3
    near = frame[frame["role"].str.startswith("excluded")]
    assert (near.distance(core) < 600).all()
    control = frame[frame["role"] == "control"]
    assert (control.distance(core) >= 600 - 1e-6).all()
    assert len(near) + len(control) + 2 == 36
    assert found.effects[0].roles[3].role == "displacement control"
    assert found.effects[0].n_controls == len(control)


def test_staggered_starts_and_shared_controls() -> None:
    """Each record has its own windows; a control event used twice counts twice, in the variance too."""
    e = events()
    records = [record("r1c1", "2018-01-01", "2018-06-30"), record("r4c4", "2018-04-01", "2018-09-28")]
    found = evaluate_plan(log(*records), places(), e, controls=["r0c5"], weighting="none", **COVER).effects[0]
    day = e["date"].to_numpy(dtype="datetime64[D]")
    a = np.zeros(len(e))
    for r in records:
        assert r.end is not None
        n = (r.end - r.start).days + 1
        sign = ((day >= np.datetime64(r.start)) & (day <= np.datetime64(r.end))) * 1.0
        sign -= (day >= np.datetime64(r.start - n * DAY)) & (day < np.datetime64(r.start))
        for name, weight in ((r.place, 1.0), ("r0c5", -0.5)):
            shape = places().set_index("name").geometry[name]
            a += weight * sign * shapely.intersects(shape, e.geometry.to_numpy())
    assert found.estimate == pytest.approx(a.sum())
    assert found.variance == pytest.approx((a**2).sum())
    assert found.first == str(records[0].start - 181 * DAY)


def test_coverage_of_the_interval_with_staggered_starts() -> None:
    records = [record("r1c1", "2018-01-01", "2018-06-30"), record("r4c4", "2018-03-01", "2018-12-31")]
    p, r = places(), log(*records)
    found = []
    for seed in range(40):
        e = events(4000, seed=seed)
        found.append(evaluate_plan(r, p, e.assign(date=e["date"].to_numpy(dtype="datetime64[s]")), **COVER).effects[0])
    assert 0.88 <= np.mean([x.covers_zero for x in found]) <= 1.0
    assert np.std([x.z for x in found]) == pytest.approx(1, abs=0.3)


def test_a_planted_effect_is_found_and_each_action_told_apart() -> None:
    e = events(40_000, seed=3, spare={"r1c1": ("2018-01-01", 0.4)})
    records = [
        record("r1c1", "2018-01-01", "2018-12-31", "board-ups"),
        record("r4c4", "2018-01-01", "2018-12-31", "lighting"),
    ]
    found = evaluate_plan(log(*records), places(), e, permutations=99, **COVER)
    assert [x.action for x in found.effects] == ["all actions", "board-ups", "lighting"]
    own, other = found.effect("board-ups"), found.effect("lighting")
    assert own.high < 0
    assert own.percent == pytest.approx(-0.4, abs=0.12)
    assert other.covers_zero
    assert own.permutation is not None
    assert own.permutation.high < 0
    assert own.permutation.p <= 0.05
    assert own.pretrend is not None
    assert own.pretrend.low <= 0 <= own.pretrend.high
    assert found.effects[0].estimate == pytest.approx(own.estimate + other.estimate)
    assert own.steps[-1].estimate == pytest.approx(own.estimate)
    assert own.steps[-1].low == pytest.approx(own.low)
    assert "fewer" in own.verdict()
    assert "do not tell" in other.verdict()
    assert found.to_frame().shape[0] == 3
    assert found.roles_frame().shape[0] == 6
    assert found.to_dict()["effects"][1]["warnings"]
    assert len(found.sentences()) == 3
    again = evaluate_plan(log(*records), places(), e, permutations=99, **COVER)
    assert again.to_dict() == found.to_dict()


def test_windows_of_the_year_before_and_lag() -> None:
    e = events()
    r = log(record("r1c1", "2018-02-01", "2018-05-31"))
    found = evaluate_plan(r, places(), e, controls=["r5c5"], before="year", lag=10, **COVER).effects[0]
    t = found.roles[0]
    assert t.events_before == counted(e, ["r1c1"], "2017-02-11", "2017-05-31")
    assert t.events_after == counted(e, ["r1c1"], "2018-02-11", "2018-05-31")
    assert "season" not in found.flags
    assert "season" in evaluate_plan(r, places(), e, controls=["r5c5"], **COVER).effects[0].flags
    open_end = evaluate_plan(log(record("r1c1", "2018-06-01")), places(), e, after=90, **COVER).effects[0]
    assert open_end.last == "2018-08-29"
    assert evaluate_plan(log(record("r1c1", "2018-06-01")), places(), e, **COVER).effects[0].last == str(LAST)
    years = evaluate_plan(log(record("r1c1", "2018-01-01")), places(), e, before="year", **COVER).effects[0]
    assert (years.first, years.roles[0].events_before) == (
        "2016-01-01",
        counted(e, ["r1c1"], "2016-01-01", "2017-12-31"),
    )


def test_calibrated_controls_have_the_treated_places_history() -> None:
    e = events(20_000, seed=5)
    found = evaluate_plan(log(), places(), e, weighting="calibrated", match=["homes"], match_periods=3, **COVER)
    x = found.effects[0]
    t, c = x.roles[0], x.roles[1]
    assert c.before == pytest.approx(t.before, rel=1e-6)
    weights = found.areas.set_index("name")["control_weight"].dropna()
    assert weights.sum() == pytest.approx(2)
    homes = places().set_index("name")["homes"]
    assert (weights * homes[weights.index]).sum() == pytest.approx(homes[["r1c1", "r4c4"]].sum())
    assert "weights-fixed" in x.flags
    assert x.covers_zero
    once = evaluate_plan(log(), places(), e, weighting="calibrated", match_periods=1, permutations=19, **COVER).effects[
        0
    ]
    check = once.permutation
    assert check is not None
    assert check.low <= 0 <= check.high
    assert check.name.endswith("random sets of controls")
    with pytest.raises(InputError, match="off by at least: .*treated"):
        evaluate_plan(log(), places(), e, weighting="calibrated", match_periods=40, **COVER)
    loose = evaluate_plan(log(), places(), e, weighting="calibrated", match_periods=40, relax=True, **COVER).effects[0]
    assert "relaxed" in loose.flags


def test_flags() -> None:
    e = events(30_000, seed=6)
    xy = shapely.get_coordinates(e.geometry.to_numpy())
    day = e["date"].to_numpy(dtype="datetime64[D]")
    inside = (np.floor((xy - CORNER) / SIZE) == [1, 1]).all(axis=1)
    peak = inside & (day >= np.datetime64("2017-01-01")) & (day < np.datetime64("2018-01-01"))
    more = pd.concat([e, e[peak]], ignore_index=True)
    r = log(record("r1c1", "2018-01-01", "2018-12-31"))
    found = evaluate_plan(r, places(), more, chosen_by_counts=True, enforcement=True, **COVER).effects[0]
    assert {"association", "regression-to-the-mean", "enforcement", "before-peak", "pretrend"} <= set(found.flags)
    named = {"outcome": "drug arrests", **COVER}
    assert "enforcement" in evaluate_plan(r, places(), e, **named).effects[0].flags
    assert "enforcement" not in evaluate_plan(r, places(), e, enforcement=False, **named).effects[0].flags
    both = [record("r1c1", "2018-01-01", "2018-12-31", "a"), record("r1c1", "2018-06-01", "2018-12-31", "b")]
    two = evaluate_plan(log(*both), places(), e, **COVER)
    assert "overlapping-actions" in two.effect("a").flags
    assert "before-treated" in two.effect("b").flags
    assert "before-treated" not in two.effect("a").flags
    assert two.effects[0].n_records == 1  # the place counts once
    few = evaluate_plan(r, places(), events(300), **COVER).effects[0]
    assert "few-events" in few.flags


@pytest.mark.parametrize(
    ("records", "options", "said"),
    [
        ([record("r9c9", "2018-01-01")], {}, "row 1: no place 'r9c9'"),
        ([record("r1c1", "2016-02-01", "2016-12-31")], {}, "leave those of the events, 2016-01-01 to 2019-12-31"),
        ([record("r1c1", "2021-01-01")], {}, "no day after its start is covered"),
        ([record("r1c1", "2018-01-01", "2018-03-01")], {"lag": 90}, "start and lag of 90 days"),
        ([record("r1c1", "2018-01-01")], {"before": 5000}, "leave those of the events"),
        ([record("r1c1", "2018-01-01")], {"before": "month"}, "before: found 'month'"),
        ([record("r1c1", "2018-01-01")], {"before": 0}, "before: found 0"),
        ([record("r1c1", "2018-01-01")], {"controls": "all"}, "controls: found 'all'"),
        ([record("r1c1", "2018-01-01")], {"controls": ["r1c1"]}, "'r1c1' is treated"),
        ([record("r1c1", "2018-01-01")], {"controls": ["x"]}, "no place 'x'"),
        ([record("r1c1", "2018-01-01")], {"controls": []}, "controls: found no names"),
        ([record("r1c1", "2018-01-01")], {"displacement": -1}, "displacement: found -1"),
        ([record("r1c1", "2018-01-01")], {"displacement": 9000}, "none of 36 places is left"),
        ([record("r1c1", "2018-01-01")], {"displacement_controls": "ring"}, "there are no rings"),
        ([record("r1c1", "2018-01-01")], {"weighting": "even"}, "weighting: found 'even'"),
        ([record("r1c1", "2018-01-01")], {"match": ["homes"]}, "only matched with weighting='calibrated'"),
        ([record("r1c1", "2018-01-01")], {"weighting": "calibrated", "match": ["x"]}, "places have no column 'x'"),
        ([record("r1c1", "2018-01-01")], {"permutations": 5}, "permutations: found 5"),
        ([record("r1c1", "2018-01-01")], {"controls": ["r3c3"], "permutations": 19}, "at least twice as many"),
        ([record("r1c1", "2018-01-01")], {"date": "when"}, "events: no column 'when'"),
        ([record("r1c1", "2018-01-01")], {"key": "label"}, "places: no column 'label'"),
        ([record("r1c1", "2018-01-01")], {"dispersion": 0}, "dispersion: found 0"),
        ([record("r1c1", "2018-01-01")], {"coverage": ("2019", 3)}, "coverage: found"),
        ([record("r1c1", "2018-01-01")], {"coverage": ("2019-01-01", "2018-01-01")}, "a later last day"),
    ],
)
def test_refused(records: Any, options: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate_plan(log(*records), places(), events(), **(COVER | options))
    assert said in str(caught.value)


def test_layers_refused() -> None:
    p, e = places(), events()
    r = log(record("r1c1", "2018-01-01"))
    with pytest.raises(InputError, match="two are named 'r0c0'"):
        evaluate_plan(r, pd.concat([p, p[:1]]), e)
    with pytest.raises(CRSError, match="in degrees"):
        evaluate_plan(r, p.to_crs(4326), e)
    with pytest.raises(InputError, match="events, row 4, date: found 'never'"):
        evaluate_plan(r, p, e.assign(date=["never" if i == 4 else d for i, d in enumerate(e["date"])]))
    with pytest.raises(InputError, match="found Point, expected a polygon"):
        evaluate_plan(r, p.set_geometry(p.centroid), e)
    with pytest.raises(InputError, match="expected points"):
        evaluate_plan(r, p, e.set_geometry(e.buffer(1)))
    with pytest.raises(InputError, match="log: found"):
        evaluate_plan([1], p, e)  # type: ignore[arg-type]
    moved = evaluate_plan(r, p, e.to_crs(4326), **COVER).effects[0]
    assert moved.estimate == pytest.approx(evaluate_plan(r, p, e, **COVER).effects[0].estimate)


def test_named_controls_without_ground_around_them_are_no_control_of_a_ring() -> None:
    names = [n for n in places()["name"] if n != "r1c1"]
    r = log(record("r1c1", "2018-01-01", "2018-12-31"))
    with pytest.raises(InputError, match="no ground within 100"):
        evaluate_plan(r, places(), events(), controls=names, displacement=100, **COVER)
    names.remove("r1c2")  # all of it is within 500 of the treated place
    with pytest.raises(InputError, match="it can be no control of it"):
        evaluate_plan(r, places(), events(), controls=names, displacement=500, **COVER)


@pytest.mark.data
def test_a_made_up_start_in_st_louis_shows_nothing(cities: Path) -> None:
    """No program is claimed: with places and date made up, few intervals may leave zero out."""
    file = cities / "stlouis" / "stlouis.gpkg"
    hoods = gpd.read_file(file, layer="neighborhoods")
    table = pd.read_csv(cities / "stlouis" / "slmpd_events_2015_2019.csv.gz")
    table = table[(table["cat"] == "burglary") & table["x"].notna()]
    points = gpd.GeoDataFrame(table[["date"]], geometry=gpd.points_from_xy(table["x"], table["y"]), crs=26915)
    rng = np.random.default_rng(0)
    poisson, random = 0, 0
    for _ in range(10):
        names = rng.choice(hoods["NHD_NAME"], 4, replace=False)
        made_up = PlanLog([record(n, "2017-07-01", "2018-06-30", "nothing") for n in names])
        found = evaluate_plan(
            made_up, hoods, points, key="NHD_NAME", permutations=39, coverage=("2015-01-01", "2019-12-31")
        ).effects[0]
        poisson += found.covers_zero
        assert found.permutation is not None
        random += found.permutation.low <= 0 <= found.permutation.high
    assert random >= 7  # 9.5 expected
    assert poisson >= 5
