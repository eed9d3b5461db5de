"""A study's options for the search: a forced factor, exchanges, district-robust standard errors."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from rich.console import Console

import rtmdx
import small_city
from conftest import CRS, ORIGIN
from rtmdx.errors import InputError, StudyError
from rtmdx.model.export_tables import tables
from rtmdx.model.stepwise import stepwise
from rtmdx.report.terminal import print_summary
from rtmdx.runs.outputs import summary
from rtmdx.runs.study import Study


def run(layers: dict[str, gpd.GeoDataFrame] | None = None, **changes: Any):
    frames = small_city.frames()
    given = {"area": frames["boundary"], "outcome": frames["events"], "holdout": frames["events"]}
    given |= {name: frames[name] for name in ("bars", "roads", "parks")}
    return rtmdx.run(Study.from_dict(small_city.study(**changes)), layers={**given, **(layers or {})}, threads=1)


def quarters() -> gpd.GeoDataFrame:
    x, y = ORIGIN
    step = small_city.SIDE / 4
    places = [(x + i * step, y + j * step) for i in range(4) for j in range(4)]
    boxes = [shapely.box(left, low, left + step, low + step) for left, low in places]
    return gpd.GeoDataFrame({"name": [f"d{i}" for i in range(16)]}, geometry=boxes, crs=CRS)


def printed(terrain) -> str:
    out = io.StringIO()
    print_summary(Console(file=out, width=200), summary(terrain))
    return out.getvalue()


def test_a_forced_factor_is_in_the_model() -> None:
    plain = run()
    inside = {v.factor_name for v in plain.model.variables}
    factors = [{**f, "force": f["name"] not in inside} for f in small_city.study()["factors"]]
    assert any(f["force"] for f in factors), "the small city must leave a factor out"
    terrain = run(factors=factors)
    assert {v.factor_name for v in terrain.model.variables} >= {f["name"] for f in factors}
    assert any(s.action == "force" for s in terrain.selection.trace)
    names = {f["name"] for f in factors if f["force"]}
    candidates = {*terrain.culling.selected}
    candidates |= {j for j, v in enumerate(terrain.design.variables) if v.factor_name in names}
    forced = [i for i, f in enumerate(factors) if f["force"]]
    again = stepwise(terrain.design, terrain.counts, sorted(candidates), forced_factors=forced)
    assert again.model.parameters.tobytes() == terrain.model.parameters.tobytes()
    assert "!" + next(iter(names)) in printed(terrain)


def test_a_forced_factor_without_variables_is_named() -> None:
    factors = [{**f, "force": f["name"] == "bars"} for f in small_city.study()["factors"]]
    far = gpd.GeoDataFrame({"kind": ["a"]}, geometry=[shapely.Point(ORIGIN[0] - 9e3, ORIGIN[1])], crs=CRS)
    with pytest.raises(InputError, match="'bars' is forced in, but the support rule"):
        run({"bars": far}, factors=factors)


def test_robust_errors_by_district_are_beside_the_plain_ones(tmp_path: Path) -> None:
    model = {"n_penalties": 30, "robust": True, "districts": {"field": "name"}}
    plain, terrain = run(), run({"districts": quarters()}, model=model)
    assert terrain.model.parameters.tobytes() == plain.model.parameters.tobytes()
    assert terrain.model.covariance.tobytes() == plain.model.covariance.tobytes()
    assert {m.n_clusters for m in terrain.selection.models.values()} == {16}
    table = terrain.table
    errors = dict(
        zip((v.name for v in terrain.model.variables), terrain.model.robust_standard_errors[1:], strict=False)
    )
    assert table["robust_std_error"].tolist() == [errors[v] for v in table["variable"]]
    z = np.log(table["robust_rrv_high"] / table["rrv"]) / table["robust_std_error"]
    assert z.to_numpy() == pytest.approx(1.959964, abs=1e-5)
    assert "robust_std_error" not in plain.table
    text = printed(terrain)
    assert "within 16 districts" in text
    assert "within 16 districts" not in printed(plain)
    terrain.report(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "Robust by district" in html
    assert "each of 16 districts" in html
    assert "Profile likelihood" in html
    plain.report(tmp_path / "plain.html")
    html = (tmp_path / "plain.html").read_text()
    assert "Robust by district" not in html
    assert "Profile likelihood" in html


def test_robust_needs_districts() -> None:
    with pytest.raises(StudyError, match="robust = true needs"):
        Study.from_dict(small_city.study(model={"robust": True}))


def test_exchanges_are_taken_or_told() -> None:
    plain = run()
    swapped = run(model={"n_penalties": 30, "exchange": True})
    told = summary(plain)["model"]
    for gain in told["exchanges"]:
        assert gain["bic"] < plain.model.bic
        assert gain["out"] in {v.name for v in plain.model.variables}
    assert swapped.model.bic <= plain.model.bic
    assert summary(swapped)["model"]["exchanges"] == []
    assert ("in place of" in printed(plain)) == bool(told["exchanges"])


def test_every_step_and_what_was_tried_is_exported() -> None:
    terrain = run()
    frames = tables(terrain)
    trace, tried = frames["selection_trace"], frames["selection_attempts"]
    assert len(trace) == len(terrain.selection.trace)
    for step in terrain.selection.trace:
        mine = tried[(tried["family"] == step.family) & (tried["number"] == step.number)]
        assert len(mine) == len(step.alternatives) + len(step.ruled_out)
        if step.action != "stop":
            assert mine["variable"].iloc[0] == step.variable
            assert mine["bic"].iloc[0] == step.bic_after
    steps = summary(terrain)["model"]["steps"]
    assert steps[-1]["bic_after"] == terrain.model.bic
    assert "Search: +" in printed(terrain)


def test_options_left_alone_do_not_change_a_study_s_id() -> None:
    base = Study.from_dict(small_city.study())
    named = small_city.study(model={"n_penalties": 30, "exchange": False, "robust": False})
    named["factors"] = [{**f, "force": False} for f in named["factors"]]
    assert Study.from_dict(named).id == base.id
    for change in ({"exchange": True}, {"robust": True, "districts": {"path": "a.gpkg"}}):
        assert Study.from_dict(small_city.study(model={"n_penalties": 30, **change})).id != base.id
    forced = small_city.study()
    forced["factors"] = [{**forced["factors"][0], "force": True}, *forced["factors"][1:]]
    assert Study.from_dict(forced).id != base.id
