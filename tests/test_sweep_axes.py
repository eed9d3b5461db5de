"""Axes to scenarios: which there are, their ids, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import small_city
from rtmdx import Study
from rtmdx.errors import SweepError
from rtmdx.sweep.axes import Axis, Point, SweepSpec, read_sweep
from rtmdx.sweep.scenarios import expand

BASE = Study.from_dict(small_city.study())
EDIT = {"layer": "bars", "action": "remove", "filter": {"kind": "a"}}


def spec(axes: Any = None, **options: Any) -> SweepSpec:
    return SweepSpec.build(BASE, axes=axes, **options)


AXES: dict[str, st.SearchStrategy[list[Any]]] = {
    "seed": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    "grid.cell_size": st.lists(st.sampled_from([40, 50, 60, 80.5]), min_size=1, max_size=3, unique=True),
    "model.kernel": st.lists(
        st.sampled_from(["epanechnikov", "quartic", "gaussian"]), min_size=1, max_size=3, unique=True
    ),
    "factors.bars.max_influence": st.lists(st.sampled_from([1, 1.5, 2, 3]), min_size=1, max_size=3, unique=True),
    "outcome.start": st.lists(
        st.sampled_from([dt.date(2022, m, 1) for m in (1, 2, 3)]), min_size=1, max_size=3, unique=True
    ),
}


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(AXES)), st.none(), min_size=1).flatmap(
    lambda names: st.fixed_dictionaries({n: AXES[n] for n in names})))  # fmt: skip
def test_a_product_is_every_combination_once(axes: dict[str, list[Any]]) -> None:
    made = expand(spec(axes))
    assert len(made) == math.prod(map(len, axes.values())) == len(set(made.ids))
    last = list(axes)[-1]
    assert [s.overrides[last] for s in list(made)[: len(axes[last])]] == axes[last]  # the last axis runs fastest
    for scenario in made:
        data = small_city.study()
        study = Study.from_dict(data)
        plain = study.to_dict()
        for name, value in scenario.overrides.items():
            if name.startswith("factors."):
                plain["factors"][0]["max_influence"] = value
            elif "." in name:
                table, field = name.split(".")
                plain[table][field] = value
            else:
                plain[name] = value
        expected = Study.from_dict(plain)
        assert scenario.study == expected
        assert scenario.id == expected.id  # the id of a run by itself


@settings(max_examples=30, deadline=None)
@given(st.permutations(["seed", "grid.cell_size", "model.kernel"]))
def test_ids_depend_on_content_and_not_on_the_order_of_axes(order: list[str]) -> None:
    values: dict[str, list[Any]] = {"seed": [1, 2], "grid.cell_size": [50, 75], "model.kernel": ["quartic", "gaussian"]}
    ids = set(expand(spec({name: values[name] for name in order})).ids)
    assert ids == set(expand(spec(values)).ids)


def test_a_spec_survives_json_and_toml(tmp_path: Path) -> None:
    axes = {
        "windows": [(dt.date(2022, 1, 1), dt.date(2022, 6, 30)), (dt.date(2022, 7, 1), dt.date(2022, 12, 31))],
        "factors": {"all": ["bars", "roads", "parks"], "bars alone": ["bars"]},
        "edits": {"as is": None, "half": EDIT},
        "seeds": 3,
    }
    one = spec(axes, title="What if")
    again = SweepSpec.from_dict(json.loads(json.dumps(one.to_dict())))
    assert expand(again).ids == expand(one).ids
    small_city.write(tmp_path)
    (tmp_path / "study.toml").write_text(small_city.toml(small_city.study()))
    (tmp_path / "sweep.toml").write_text(
        """
        schema_version = 1
        title = "What if"
        study = "study.toml"
        [[axes]]
        windows = [[2022-01-01, 2022-06-30], [2022-07-01, 2022-12-31]]
        [[axes]]
        [axes.subsets]
        all = ["bars", "roads", "parks"]
        "bars alone" = ["bars"]
        [[axes]]
        name = "what-if"
        points = [{label = "as is"},
                  {label = "half", edits = [{layer = "bars", action = "remove", filter = {kind = "a"}}]}]
        [[axes]]
        seeds = 3
        """
    )
    read, folder = read_sweep(tmp_path / "sweep.toml")
    assert folder == tmp_path
    assert expand(read).ids == expand(one).ids
    assert [s.label for s in expand(read)] == [s.label for s in expand(one)]
    assert expand(read)[23].parameters == {
        "window": "2022-07-01 to 2022-12-31", "factors": "bars alone", "what-if": "half",
        "seed": expand(one)[23].overrides["seed"],
    }  # fmt: skip


def test_a_title_or_a_label_makes_no_other_scenario() -> None:
    plain = expand(spec({"seed": [1, 2]}))
    named = expand(spec([Axis(field="seed", values=(1, 2), labels=("one", "two"))], title="Other"))
    assert named.ids == plain.ids
    assert [s.parameters["seed"] for s in named] == ["one", "two"]
    other = SweepSpec.build(BASE.model_copy(update={"name": "Other name"}), axes={"seed": [1, 2]})
    assert expand(other).ids == plain.ids
    with pytest.raises(SweepError, match=r"scenarios 0 .*and 1 .*are the same"):
        expand(spec({"report.title": ["A", "B"]}))


def test_more_seeds_leave_the_first_ones() -> None:
    few, many = expand(spec({"seeds": 3})), expand(spec({"seeds": 7}))
    assert many.ids[:3] == few.ids
    assert len(set(many.ids)) == 7


def test_zip_goes_together_and_needs_equal_lengths() -> None:
    made = expand(spec({"seed": [1, 2], "grid.cell_size": [50, 60]}, combine="zip"))
    assert [(s.study.seed, s.study.grid.cell_size) for s in made] == [(1, 50), (2, 60)]
    with pytest.raises(SweepError, match=r"different numbers of values: seed 2, cell_size 1"):
        expand(spec({"seed": [1, 2], "grid.cell_size": [50]}, combine="zip"))


def test_an_explicit_list() -> None:
    points = [Point(label="base"), Point(set={"seed": 4}, factors=("bars", "parks")), {"edits": [EDIT]}]
    made = expand(spec(scenarios=points))
    assert [s.label for s in made] == ["base", "seed=4, factors=bars+parks", "remove bars"]
    assert made[0].id == BASE.id
    assert [f.name for f in made[1].study.factors] == ["bars", "parks"]
    assert made[2].study == BASE
    assert made[2].id != BASE.id  # an edit is another run


def test_factors_keep_the_study_s_order() -> None:
    (one,) = expand(spec({"factors": [["parks", "bars"]]}))
    assert [f.name for f in one.study.factors] == ["bars", "parks"]


def test_a_study_s_file_is_followed_by_the_layers_that_name_none() -> None:
    one, two = expand(spec({"path": ["city.gpkg", "other.gpkg"]}))
    assert one.study.outcome.path == "city.gpkg"
    assert {two.study.outcome.path, two.study.area.path, *(f.path for f in two.study.factors)} == {"other.gpkg"}


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"grid.cel_size": [50]}, r"axis 'cel_size' names no field of a study: grid.cel_size"),
        ({"nothing.there": [1]}, r"axis 'there' names no field of a study: nothing.there"),
        ({"factors.pubs.effect": ["protective"]}, r"no factor 'pubs'"),
        ({"factors": [["bars", "pubs"]]}, r"axis 'factors': no factor 'pubs' in the study; it has bars, parks, roads"),
        ({"factors": {"none": []}}, r"set of factors 'none' is empty"),
        ({"seed": []}, r"axis 'seed' has no values, so the sweep has no scenario"),
        ({}, r"no axes and no scenarios"),
        ({"seed": [1, 2, 1]}, r"scenarios 0 \(seed=1\) and 2 \(seed=1\) are the same"),
        ({"grid.cell_size": [50, 100.0], "seed": [0]}, None),
        ({"grid.cell_size": [-5]}, r"axis 'cell_size': grid.cell_size: found -5"),
        ({"seed": 5}, r"axis 'seed': found 5, expected a list of values"),
        ({"outcome.end": [dt.date(2021, 1, 1)]}, r"scenario 0 .*end 2021-01-01 is before start"),
        ({"seed": [1], "seeds": 2}, r"two axes are named 'seed'"),
        ({"seed": range(2000), "grid.cell_size": range(10, 1010)}, r"2,000,000 scenarios; at most 1,000,000"),
        ({"edits": {"a": {**EDIT, "layer": "area"}}}, r"study area lays the grid"),
        ({"edits": {"a": {**EDIT, "within": "nowhere"}}}, r"'nowhere' is no geometry in WKT"),
        ({"edits": {"a": {"layer": "bars", "action": "move"}}}, r"by = \[east, north\] goes with move"),
    ],
)
def test_bad_axes_are_one_clear_message(axes: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert len(expand(spec(axes))) == 2
        return
    with pytest.raises(SweepError, match=message) as caught:
        expand(spec(axes))
    assert "Traceback" not in str(caught.value)


def test_bad_specs() -> None:
    with pytest.raises(SweepError, match="found axes and scenarios"):
        SweepSpec.build(BASE, axes={"seed": [1]}, scenarios=[Point(set={"seed": 1})])
    with pytest.raises(SweepError, match="both set seed"):
        expand(
            SweepSpec.build(
                BASE, axes=[Axis(field="seed", values=(1,)), Axis(name="b", fields=("seed",), values=((2,),))]
            )
        )
    for bad in (
        {"field": "seed"},
        {"values": [1]},
        {"field": "seed", "values": [1], "seeds": 2},
        {"fields": ["seed", "name"], "values": [1]},
    ):
        with pytest.raises(SweepError, match="axes"):
            SweepSpec.from_dict({"study": BASE, "axes": [bad]})
    with pytest.raises(SweepError, match="1 labels for 2 values"):
        SweepSpec.from_dict({"study": BASE, "axes": [{"field": "seed", "values": [1, 2], "labels": ["a"]}]})


def test_a_sweep_file_without_a_study(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text("schema_version = 1\n")
    with pytest.raises(SweepError, match="names no base study"):
        read_sweep(tmp_path / "sweep.toml")
