"""The study: defaults, variable counts, identity, and every problem named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from rtmdx.errors import FileError, InputError, StudyError
from rtmdx.runs.study import Study

BASE: dict[str, Any] = {
    "name": "Test",
    "area": {"path": "a.gpkg"},
    "grid": {"block_length": 100},
    "outcome": {"path": "events.csv", "x": "x", "y": "y", "crs": "EPSG:26915"},
    "factors": [{"name": "bars", "path": "bars.shp"}],
}


def make(**changes: Any) -> dict[str, Any]:
    """BASE with dotted fields replaced: `make(grid__block_length=5)`."""
    data = copy.deepcopy(BASE)
    for key, value in changes.items():
        *parents, last = key.split("__")
        node: Any = data
        for p in parents:
            node = node[int(p)] if p.isdigit() else node.setdefault(p, {})
        node[last] = value
    return data


def factors(n: int, operationalization: str) -> list[dict[str, str]]:
    return [
        {"name": f"f{operationalization}{i}", "path": "x", "operationalization": operationalization} for i in range(n)
    ]


@pytest.mark.parametrize(
    ("groups", "bands", "expected"),
    [
        ([(2, "proximity"), (1, "density")], 3, 9),  # Leeds
        ([(14, "both"), (1, "proximity")], 6, 174),  # RTMDx manual
        ([(22, "both")], 6, 264),  # St. Louis
        ([(14, "both"), (9, "proximity")], 3, 111),  # Chicago
    ],
)
def test_published_variable_counts(groups: list[tuple[int, str]], bands: int, expected: int) -> None:
    data = make(factors=[f for n, o in groups for f in factors(n, o)])
    for f in data["factors"]:
        f["increment"] = "half" if bands == 6 else "whole"
    assert Study.from_dict(data).n_variables == expected


def test_bands_in_half_and_whole_blocks() -> None:
    study = Study.from_dict(make(factors__0__max_influence=2))
    assert study.factors[0].distances(91) == (45.5, 91, 136.5, 182)
    study = Study.from_dict(make(factors__0__max_influence=2, factors__0__increment="whole"))
    assert study.factors[0].distances(91) == (91, 182)


def test_cell_size_defaults_to_half_a_block() -> None:
    assert Study.from_dict(BASE).grid.size == 50
    assert Study.from_dict(make(grid__cell_size=20)).grid.size == 20


def test_id_follows_what_matters() -> None:
    base = Study.from_dict(BASE).id
    assert Study.from_dict(make(name="Other", report={"title": "T"})).id == base
    assert Study.from_dict(make(factors__0__label="Taverns")).id == base
    for change in ({"seed": 1}, {"grid__cell_size": 20}, {"factors__0__effect": "protective"}):
        assert Study.from_dict(make(**change)).id != base


def test_round_trip_and_immutability() -> None:
    study = Study.from_dict(make(outcome__date_field="d", outcome__start="2017-01-01"))
    assert Study.from_dict(json.loads(json.dumps(study.to_dict()))) == study
    with pytest.raises(ValueError, match="frozen"):
        study.name = "x"  # type: ignore[misc]


def test_holdout_takes_the_outcome_s_fields() -> None:
    study = Study.from_dict(make(outcome__date_field="d", outcome__end="2017-12-31", holdout={"start": "2018-01-01"}))
    later = study.holdout_source
    assert later is not None
    assert (later.path, later.date_field, str(later.start), later.end) == ("events.csv", "d", "2018-01-01", None)
    assert Study.from_dict(BASE).holdout_source is None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seeed": 1}, "seeed: unknown key"),
        ({"grid__block_length": -1}, r"grid.block_length: found -1; .*greater than or equal to 0.001"),
        ({"grid__block_length": float("nan")}, "grid.block_length: found nan"),
        ({"grid__cells": "most"}, "'overlap' or 'center'"),
        ({"factors": []}, "factors: found .*at least 1 item"),
        ({"factors": [BASE["factors"][0]] * 2}, "two factors are named 'bars'"),
        ({"factors__0__name": "two words"}, "factor name 'two words'"),
        ({"factors__0__effect": "bad"}, r"factors.1.effect: found 'bad'; .*'aggravating' or 'protective'"),
        ({"factors__0__max_influence": 0.75}, "no whole number of half-block steps; use a multiple of 0.5"),
        ({"factors__0__max_influence": 1000}, "more than 200 bands"),
        ({"outcome__start": "2017-01-01"}, "need date_field"),
        ({"outcome__date_field": "d", "outcome__start": "May"}, "outcome.start: found 'May'"),
        ({"outcome__date_field": "d", "outcome__start": "2018-01-02", "outcome__end": "2018-01-01"}, "before start"),
        ({"outcome__y": None}, "x and y go together"),
        ({"holdout": {"start": "2018-01-01"}}, "need outcome.date_field"),
        ({"model": {"families": ["gamma"]}}, "'poisson', 'nbii' or 'nb2'"),
        ({"schema_version": 2}, "schema_version: found 2"),
    ],
)
def test_problems_are_named(change: dict[str, Any], match: str) -> None:
    with pytest.raises(StudyError, match=match):
        Study.from_dict(make(**change))


def test_all_problems_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        Study.from_dict(make(seed=-1, grid__block_length="x", factors__0__effect="y"))
    assert len(caught.value.problems) == 3
    assert "3 problems" in str(caught.value)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such study file"):
        Study.from_toml(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("name = \n")
    with pytest.raises(FileError, match=r"not valid TOML: .*line 1"):
        Study.from_toml(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="not UTF-8"):
        Study.from_toml(bad)


def test_schema_is_json_and_describes_its_fields() -> None:
    schema = Study.model_json_schema()
    json.dumps(schema)
    assert "unit of spatial influence" in schema["$defs"]["GridSpec"]["properties"]["block_length"]["description"]


def test_layers_without_a_path_come_from_the_study_s_file() -> None:
    data = make(
        path="city.gpkg", area={"layer": "boundary"}, factors=[{"name": "bars"}, {"name": "clubs", "layer": "c"}]
    )
    study = Study.from_dict(data)
    assert (study.area.path, study.area.layer) == ("city.gpkg", "boundary")
    assert [(f.path, f.layer) for f in study.factors] == [("city.gpkg", "bars"), ("city.gpkg", "c")]
    assert study.outcome.path == "events.csv"
    assert Study.from_dict(study.to_dict()) == study


def test_overrides_by_dotted_name(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        'name = "a"\npath = "c.gpkg"\n[area]\nlayer = "b"\n[grid]\nblock_length = 9\n[outcome]\nlayer = "e"\n'
        '[[factors]]\nname = "bars"\n'
    )
    changes = {"grid.cell_size": 3, "factors.bars.effect": "protective", "factors.1.label": "Pubs", "model.n_folds": 4}
    study = Study.from_toml(file, overrides=changes)
    assert (study.grid.size, study.factors[0].effect, study.factors[0].title) == (3, "protective", "Pubs")
    assert study.model.n_folds == 4
    for field, match in (
        ("factors.clubs.effect", "no factor 'clubs'"),
        ("name.x", "holds a value"),
        ("factors.x", "whole"),
    ):
        with pytest.raises(InputError, match=match):
            Study.from_toml(file, overrides={field: 1})
    with pytest.raises(StudyError, match="grid.nothing: unknown key"):
        Study.from_toml(file, overrides={"grid.nothing": 1})
