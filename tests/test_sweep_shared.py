"""What scenarios share: results are those of separate runs to the bit, and nothing is computed twice."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import rtmdx
import small_city
from conftest import CRS, ORIGIN
from rtmdx.errors import InputError, StudyError, SweepError
from rtmdx.runs.edits import Edit, apply_edits
from rtmdx.runs.run import fit
from rtmdx.sweep.axes import SweepSpec
from rtmdx.sweep.kept import Kept
from rtmdx.sweep.plan import make_plan
from rtmdx.sweep.prepare import Workshop
from rtmdx.sweep.scenarios import Expansion, expand

BASE = rtmdx.Study.from_dict(small_city.study())


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    small_city.write(folder)
    return folder


def expansion(**axes: Any) -> Expansion:
    return expand(SweepSpec.build(BASE, axes={k.replace("__", "."): v for k, v in axes.items()}))


def test_scenarios_are_separate_runs_to_the_bit(city: Path) -> None:
    made = expansion(
        grid__cell_size=[50, 80], model__folds=["stratified", "spatial"], factors=[["bars", "parks"], ["bars", "roads"]]
    )
    workshop = Workshop(data=city)
    for scenario in made:
        prepared = workshop.prepare(scenario, threads=1)
        one = fit(scenario.study, prepared.inputs, design=prepared.design, model_only=True, threads=1)
        other = rtmdx.run(scenario.study, data=city, threads=2)
        np.testing.assert_array_equal(one.score_cells, other.score_cells)
        np.testing.assert_array_equal(one.expected_cells, other.expected_cells)
        assert one.table.equals(other.table)
        assert [v.to_dict() for v in one.fitted] == [v.to_dict() for v in other.fitted]
        assert {f.code for f in one.findings} <= {f.code for f in other.findings}
        assert not one.design.blocks[0].codes.flags.writeable  # as a worker of Ray sees it


def test_what_a_change_of_outcome_folds_or_seed_costs(city: Path) -> None:
    made = expansion(seed=[1, 2, 3], model__folds=["stratified", "spatial"], outcome__end=["2022-06-30", "2022-12-31"])
    workshop = Workshop(data=city)
    prepared = [workshop.prepare(s, threads=1) for s in made]
    assert len({id(p.design) for p in prepared}) == 1
    assert len({id(p.inputs) for p in prepared}) == 2  # one per period
    count = workshop.count
    assert count.computed == 4 + 1 + 1 + 2 + 1  # bars, roads, parks: densities and proximities
    assert count.asked == 12 * count.computed
    assert count.hit_rate == pytest.approx(11 / 12)


def test_reaches_share_the_bandwidths_they_have_in_common(city: Path) -> None:
    made = expansion(factors__bars__max_influence=[1, 2, 3], factors=[["bars"]])
    workshop = Workshop(data=city)
    for scenario in made:
        workshop.prepare(scenario, threads=1)
    assert workshop.count.computed == 6 + 3  # six bandwidths, three sets of nested bands
    plan = make_plan(made.spec, Workshop(data=city))
    assert plan.n_surfaces == 9
    assert plan.n_surfaces_asked == (2 + 4 + 6) + 3


def test_a_cache_folder_serves_other_sweeps_and_heals(city: Path, tmp_path: Path) -> None:
    (scenario,) = expansion(seed=[1])
    first = Workshop(data=city, cache_folder=tmp_path)
    a = first.prepare(scenario, threads=1)
    files = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    assert len(files) == first.count.computed == 9
    second = Workshop(data=city, cache_folder=tmp_path)
    b = second.prepare(scenario, threads=1)
    assert (second.count.computed, second.count.from_disk) == (0, 9)
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 1
    files[0].write_bytes(data)
    files[1].write_bytes(b"short")
    third = Workshop(data=city, cache_folder=tmp_path)
    c = third.prepare(scenario, threads=1)
    assert (third.count.computed, third.count.from_disk) == (2, 7)
    for other in (b, c):
        assert other.design.variables == a.design.variables
        for x, y in zip(a.design.blocks, other.design.blocks, strict=True):
            np.testing.assert_array_equal(x.codes, y.codes)
    with pytest.raises(rtmdx.errors.OutputError, match="cannot be made"):
        Workshop(data=city, cache_folder=files[0])


def test_a_small_bound_changes_nothing_but_the_work(city: Path) -> None:
    made = expansion(seed=[1, 2], grid__cell_size=[50, 80])
    tight, loose = Workshop(data=city, cache_bytes=20_000), Workshop(data=city)
    for scenario in made:
        a, b = tight.prepare(scenario, threads=1), loose.prepare(scenario, threads=1)
        for x, y in zip(a.design.blocks, b.design.blocks, strict=True):
            np.testing.assert_array_equal(x.codes, y.codes)
    assert tight.count.computed > loose.count.computed
    assert tight.count.asked == loose.count.asked


def test_many_threads_lay_many_grids_over_one_area(tmp_path: Path) -> None:
    """GEOS prepares geometries for all who hold them: this crashed before loading was one thread's at a time."""
    frames = small_city.frames()
    x, y = ORIGIN
    ragged = shapely.Point(x + 1500, y + 1500).buffer(1499, quad_segs=2000)
    frames["boundary"] = gpd.GeoDataFrame(geometry=[ragged], crs=CRS)
    small_city.write(tmp_path, frames)
    made = expansion(grid__cell_size=[40 + i for i in range(24)], factors=[["roads"]])
    workshop = Workshop(data=tmp_path)
    grids: dict[int, Any] = {}

    def work(first: int) -> None:
        for i in range(first, 24, 4):
            grids[i] = workshop.prepare(made[i], threads=1).inputs.grid

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [grids[i].cell_size for i in range(24)] == [40 + i for i in range(24)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=40), st.integers(0, 100))
def test_kept_holds_no_more_than_its_limit(asked: list[tuple[int, int]], limit: int) -> None:
    kept = Kept(limit)
    for key, size in asked:
        value = kept.get((key, size), lambda key=key: key * 2, lambda _, size=size: size)  # type: ignore[misc]
        assert value == key * 2
        assert 0 <= kept.held <= limit
    assert kept.hits + kept.misses == len(asked)


def test_kept_makes_a_value_once_for_many_threads_and_forgets_errors() -> None:
    kept = Kept(100)
    made: list[int] = []
    gate = threading.Barrier(8)

    def make() -> int:
        made.append(1)
        return 7

    def ask() -> None:
        gate.wait()
        assert kept.get("a", make, lambda _: 1) == 7

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert made == [1]

    def fails() -> int:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            kept.get("b", fails, lambda _: 1)
    assert kept.get("b", lambda: 3, lambda _: 1) == 3


@pytest.fixture
def points() -> gpd.GeoDataFrame:
    x, y = ORIGIN
    shapes = [shapely.Point(x + 10 * i, y) for i in range(6)]
    return gpd.GeoDataFrame({"kind": list("aabbcc"), "n": range(6)}, geometry=shapes, crs=CRS)


def edit(**data: Any) -> Edit:
    return Edit.model_validate({"layer": "bars", **data})


def test_edits_of_a_layer(points: gpd.GeoDataFrame) -> None:
    x, y = ORIGIN
    box = shapely.box(x + 15, y - 1, x + 45, y + 1).wkt
    before = points.copy()

    def made(*edits: Edit) -> tuple[gpd.GeoDataFrame, int]:
        return apply_edits(points, edits, points.crs, "bars", {"kind": ["z", "q"]})

    gone, n = made(edit(action="remove", filter={"kind": ["a", "c"]}))
    assert (gone["kind"].tolist(), n) == (["b", "b"], -4)
    inside, _ = made(edit(action="remove", within=box))
    assert inside["n"].tolist() == [0, 1, 5]
    both, _ = made(edit(action="remove", within=box, filter={"kind": "b"}))
    assert both["n"].tolist() == [0, 1, 4, 5]
    moved, n = made(edit(action="move", filter={"kind": "c"}, by=[5, -7]))
    np.testing.assert_allclose(shapely.get_coordinates(moved.geometry) - shapely.get_coordinates(points.geometry),
                               [[0, 0]] * 4 + [[5, -7]] * 2, atol=1e-6)  # fmt: skip
    assert n == 0
    more, n = made(edit(action="add", geometries=[f"POINT ({x} {y + 3})"], filter={"n": 9}))
    assert n == 1
    assert more.iloc[-1][["kind", "n"]].tolist() == ["z", 9]  # what the layer's filter asks for
    assert more.crs == points.crs
    in_turn, n = made(edit(action="remove", filter={"kind": "a"}), edit(action="add", geometries=[f"POINT ({x} {y})"]))
    assert (len(in_turn), n) == (5, -1)
    assert before.equals(points)  # left as it was


def test_edits_work_in_the_study_s_crs_whatever_the_layer_s(points: gpd.GeoDataFrame) -> None:
    degrees = points.to_crs(4326)
    x, y = ORIGIN
    moved, _ = apply_edits(degrees, (edit(action="move", by=[100, 50]),), points.crs, "bars")
    assert moved.crs == degrees.crs
    back = shapely.get_coordinates(moved.to_crs(CRS).geometry)
    np.testing.assert_allclose(back - shapely.get_coordinates(points.geometry), [[100, 50]] * 6, atol=1e-4)
    added, _ = apply_edits(degrees, (edit(action="add", geometries=[f"POINT ({x} {y})"]),), points.crs, "bars")
    np.testing.assert_allclose(shapely.get_coordinates(added.to_crs(CRS).geometry)[-1], [x, y], atol=1e-4)


def test_an_edit_that_finds_nothing_is_an_error(points: gpd.GeoDataFrame) -> None:
    with pytest.raises(InputError, match="the edit 'remove bars' chooses none of 6 features"):
        apply_edits(points, (edit(action="remove", filter={"kind": "x"}),), points.crs, "bars")
    with pytest.raises(InputError, match="no field 'colour'"):
        apply_edits(points, (edit(action="remove", filter={"colour": "x"}),), points.crs, "bars")


def test_a_scenario_with_an_edit_is_a_run_with_the_layer_edited(city: Path) -> None:
    gone = {"layer": "bars", "action": "remove", "filter": {"kind": "a"}}
    plain, edited = expansion(edits={"as is": None, "half": gone})
    workshop = Workshop(data=city)
    a, b = workshop.prepare(plain, threads=1), workshop.prepare(edited, threads=1)
    assert b.inputs.factors[0].cleaning.kept == 30
    assert b.inputs.factors[0].cleaning.source.endswith("(edited)")
    assert b.inputs.factors[0].cleaning.digest != a.inputs.factors[0].cleaning.digest
    frames = small_city.frames()
    layers = {"bars": frames["bars"][frames["bars"]["kind"] == "b"]}
    terrain = rtmdx.run(BASE, data=city, layers=layers)
    one = fit(BASE, b.inputs, design=b.design, model_only=True)
    np.testing.assert_array_equal(one.score_cells, terrain.score_cells)
    assert workshop.count.computed == 9 + 5  # only the bars anew


def test_layers_in_memory_and_their_digests(city: Path) -> None:
    made = expansion(seed=[1, 2])
    bars = small_city.frames()["bars"]
    one = make_plan(made.spec, Workshop(data=city, layers={"bars": bars}))
    other = make_plan(made.spec, Workshop(data=city, layers={"bars": bars.iloc[1:]}))
    files = make_plan(made.spec, Workshop(data=city))
    assert len({one.sweep_id, other.sweep_id, files.sweep_id}) == 3
    assert set(one.inputs) == {"city.gpkg", "layer bars"}
    with pytest.raises(SweepError, match="layers: 'pubs' is no layer of any scenario"):
        make_plan(made.spec, Workshop(data=city, layers={"pubs": bars}))


def test_a_plan_says_what_will_be_done(city: Path) -> None:
    made = expansion(grid__cell_size=[50, 100], seeds=3, factors=[["bars", "parks"], ["bars"]])
    plan = make_plan(made.spec, Workshop(data=city))
    assert (plan.n_runs, len(plan.grids), plan.n_inputs, plan.n_designs) == (12, 2, 4, 4)
    assert plan.n_surfaces == 2 * (5 + 3)
    assert sorted(plan.order) == list(range(12))
    shared = [(plan.grid_of[i], len(made[i].study.factors)) for i in plan.order]
    assert sum(a != b for a, b in itertools.pairwise(shared)) == 3  # each design once
    assert "12 scenarios (2 cell_size x 3 seed x 2 factors), 0 done" in str(plan)
    entry = plan.manifest().scenarios[7]
    assert (entry.id, entry.grid) == (made.ids[7], plan.grids[plan.grid_of[7]].digest)


def test_an_edit_of_a_layer_that_is_not_there(city: Path) -> None:
    gone = {"layer": "pubs", "action": "remove"}
    with pytest.raises(SweepError, match=r"scenario 0 .*the edit 'remove pubs' names no layer of it"):
        make_plan(expansion(edits={"x": gone}).spec, Workshop(data=city))


def test_layers_that_fail_fail_alone(city: Path) -> None:
    good, bad = expansion(outcome__layer=["events", "nothing"])
    workshop = Workshop(data=city)
    workshop.prepare(good, threads=1)
    for _ in range(2):
        with pytest.raises(StudyError, match="no layer 'nothing'"):
            workshop.prepare(bad, threads=1)
