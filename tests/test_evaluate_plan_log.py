"""The plan log: what is read, what is refused and how it is said."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest

import evaluate_city
from rtmdx.errors import FileError, InputError, OutputError
from rtmdx.evaluate import PlanLog, PlanRecord

ROWS = [
    ("Downtown", "vacant", "board-ups", "2018-03-01", "2018-08-31", "12 houses"),
    ("Downtown", "bars", "patrol", "2018-06-01", "", ""),
    ("Riverside", "", "board-ups", "2018-04-01", "2018-04-30", ""),
]


def table(**change: Any) -> pd.DataFrame:
    made = pd.DataFrame(ROWS, columns=["place", "factor", "action", "start", "end", "note"])
    for name, values in change.items():
        made[name] = values
    return made


def test_what_a_log_holds() -> None:
    log = PlanLog.from_frame(table())
    assert len(log) == 3
    assert log.places == ("Downtown", "Riverside")
    assert log.actions == ("board-ups", "patrol")
    assert log.factors == ("vacant", "bars")
    assert log.records[1] == PlanRecord("Downtown", "bars", "patrol", dt.date(2018, 6, 1))
    assert log.records[0].span == "2018-03-01 to 2018-08-31"
    assert log.records[1].span == "from 2018-06-01"
    assert [(a.action, b.action) for a, b in log.overlaps()] == [("board-ups", "patrol")]
    assert len(log.of("board-ups")) == 2
    assert PlanLog.from_frame(log.to_frame()).records == log.records
    assert log.to_dict()[1]["end"] == ""


def test_dates_of_any_kind() -> None:
    for values in (
        pd.to_datetime(["2018-03-01", "2018-06-01", "2018-04-01"]),
        ["03/01/2018", "2018-06-01 08:30", "2018/04/01"],
        [dt.date(2018, 3, 1), dt.date(2018, 6, 1), dt.date(2018, 4, 1)],
    ):
        log = PlanLog.from_frame(table(start=values))
        assert [r.start for r in log] == [dt.date(2018, 3, 1), dt.date(2018, 6, 1), dt.date(2018, 4, 1)]


def test_only_place_action_and_start_are_needed() -> None:
    log = PlanLog.from_frame(table()[["place", "action", "start"]])
    assert {(r.factor, r.end, r.note) for r in log} == {("", None, "")}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": ["2018-03-01", "soon", "2018-04-01"]}, "row 2, start: found 'soon', expected a date"),
        ({"start": ["2018-03-01", "", "2018-04-01"]}, "row 2: no start"),
        ({"start": [20180301, 20180601, 20180401]}, "row 1, start: found"),
        ({"end": ["2018-02-01", "", ""]}, "row 1: ends on 2018-02-01, before its start, 2018-03-01"),
        ({"end": ["2018-13-01", "", ""]}, "row 1, end: found '2018-13-01'"),
        ({"place": ["Downtown", None, "Riverside"]}, "row 2: no place"),
        ({"action": ["", "a", "b"]}, "row 1: no action"),
    ],
)
def test_refused(change: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        PlanLog.from_frame(table(**change))
    assert said in str(caught.value)


def test_more_refusals() -> None:
    with pytest.raises(InputError, match="no column 'action'; it has place, start"):
        PlanLog.from_frame(table()[["place", "start"]])
    with pytest.raises(InputError, match="found no records"):
        PlanLog.from_frame(table()[:0])
    with pytest.raises(InputError, match="row 4: 'board-ups' in 'Downtown' from 2018-03-01 is row 1 again"):
        PlanLog.from_frame(pd.concat([table(), table()[:1]]))
    log = PlanLog.from_frame(table(), source="log.csv")
    with pytest.raises(InputError, match="log.csv, row 3: no place 'Riverside'; there are Downtown"):
        log.require(places=["Downtown"])
    with pytest.raises(InputError, match="row 2: no factor 'bars'; there are vacant"):
        log.require(factors=["vacant"])
    assert log.require(factors=["vacant", "bars"]) is log


def test_files(tmp_path: Path) -> None:
    log = PlanLog.from_frame(table(place=["r0c0", "r0c0", "r1c1"]))
    log.write(tmp_path / "log.csv")
    assert PlanLog.read(tmp_path / "log.csv").records == log.records
    with pytest.raises(OutputError):
        log.write(tmp_path / "log.csv")
    log.write(tmp_path / "log.gpkg", places=evaluate_city.places())
    assert PlanLog.read(tmp_path / "log.gpkg").records == log.records
    shapes = gpd.read_file(tmp_path / "log.gpkg")
    assert shapes.geometry.iloc[0].equals(evaluate_city.places().geometry.iloc[0])
    with pytest.raises(InputError, match="needs the places"):
        log.write(tmp_path / "other.gpkg")
    with pytest.raises(FileError, match="does not exist"):
        PlanLog.read(tmp_path / "none.csv")
    (tmp_path / "bad.gpkg").write_text("no")
    with pytest.raises(FileError, match="cannot be read as a table"):
        PlanLog.read(tmp_path / "bad.gpkg")
