"""A whole run on a small city: invariants, determinism, findings, callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

import small_city
from conftest import CRS, ORIGIN
from rtmdx.errors import Cancelled, InputError, MemoryLimitError, MissingDependencyError, StudyError
from rtmdx.model.terrain import RiskTerrain, risk_bands
from rtmdx.runs.findings import enforcement_findings
from rtmdx.runs.run import run
from rtmdx.runs.study import Study

Frames = dict[str, gpd.GeoDataFrame]


def layers(frames: Frames) -> Frames:
    names = {"area": "boundary", "outcome": "events"}
    return {key: frames[names.get(key, key)] for key in ("area", "outcome", "bars", "roads", "parks")}


def small(frames: Frames | None = None, *, study: dict[str, Any] | None = None, **kwargs: Any) -> RiskTerrain:
    return run(Study.from_dict(study or small_city.study()), layers=layers(frames or small_city.frames()), **kwargs)


@pytest.fixture(scope="module")
def terrain() -> RiskTerrain:
    return small()


def test_the_planted_factor_is_found(terrain: RiskTerrain) -> None:
    assert terrain.table["factor"][0] == "bars"
    assert terrain.table["rrv"][0] > 2


@pytest.mark.parametrize("family", ["poisson", "nbii"])
def test_expected_counts_sum_to_the_events(family: str) -> None:
    found = small(study=small_city.study(model={"families": [family]}))
    assert found.expected_cells.sum() == pytest.approx(found.counts.sum(), rel=1e-6)


def test_events_in_are_counted_or_dropped(terrain: RiskTerrain) -> None:
    for cleaning in (terrain.events.cleaning, terrain.holdout_cleaning, *(f.cleaning for f in terrain.factors)):
        assert cleaning is not None
        assert cleaning.read == cleaning.kept + sum(cleaning.dropped.values())
    assert terrain.counts.sum() == len(terrain.events)


def test_score_is_the_product_of_the_values_present(terrain: RiskTerrain) -> None:
    product = np.ones(terrain.grid.n_cells)
    for column, v, rrv in zip(terrain.model.columns, terrain.model.variables, terrain.model.rrv, strict=True):
        product *= np.where(terrain.design.indicator(column) == 1, rrv**v.sign, 1.0)
    np.testing.assert_allclose(terrain.score_cells, product / product.min(), rtol=1e-12)
    assert terrain.score_cells.min() == 1.0
    mu = np.exp(terrain.model.intercept) * product
    np.testing.assert_allclose(terrain.expected_cells, mu, rtol=1e-12)


def test_bands_add_up(terrain: RiskTerrain) -> None:
    assert sum(b.area_share for b in terrain.bands) == pytest.approx(1)
    assert sum(b.event_share for b in terrain.bands) == pytest.approx(1)
    assert sum(b.n_cells for b in terrain.bands) == terrain.grid.n_cells
    assert sum(b.n_events for b in terrain.bands) == terrain.counts.sum()


def test_bands_fall_back_where_two_sd_exceed_the_maximum() -> None:
    score = np.repeat([1.0, 2.0], [50, 50])
    bands, note = risk_bands(score, np.ones(100, dtype=np.int64))
    assert "top 5 %" in note
    assert bands[0].lower == 2.0
    assert bands[0].n_cells == 50  # all that tie
    flat, note = risk_bands(np.ones(10), np.zeros(10, dtype=np.int64))
    assert "No band is highest" in note or "no band is highest" in note
    assert sum(b.n_cells for b in flat) == 10


def test_same_seed_any_threads_same_bytes(terrain: RiskTerrain) -> None:
    for threads in (1, 2, 5):
        other = small(threads=threads)
        assert other.score_cells.tobytes() == terrain.score_cells.tobytes()
        assert other.expected_cells.tobytes() == terrain.expected_cells.tobytes()
        assert other.table.equals(terrain.table)


def test_order_of_factors_does_not_matter(terrain: RiskTerrain) -> None:
    study = small_city.study()
    study["factors"] = study["factors"][::-1]
    other = small(study=study)
    np.testing.assert_allclose(other.score_cells, terrain.score_cells, rtol=1e-9)


def test_holdout_is_scored_beside_baselines(terrain: RiskTerrain) -> None:
    assert [v.name for v in terrain.holdout] == [
        "Risk terrain",
        "Past counts",
        "Kernel density (200 m)",
        "Posterior risk",
    ]
    frames = small_city.frames()
    later = frames["events"]["date"] >= "2023"
    assert terrain.holdout[0].n_events == int(later.sum())
    top = {v.name: v.top[-1].hit_rate.expected for v in terrain.holdout}
    assert top["Risk terrain"] > 0.3


def test_arrays_and_table(terrain: RiskTerrain) -> None:
    score = terrain.score
    assert score.dims == ("y", "x")
    assert score.shape == terrain.grid.shape
    assert float(score.min()) == 1.0
    table = terrain.table
    assert (table["rrv_low"] <= table["rrv"]).all()
    assert (table["rrv"] <= table["rrv_high"]).all()
    assert (table["coefficient"] > 0).all()
    cells = terrain.cells
    assert cells["count"].sum() == terrain.counts.sum()
    assert cells.geometry.area.iloc[0] == pytest.approx(terrain.grid.cell_area)
    assert "Exp(" in terrain.formula
    assert "RRS 1 to" in repr(terrain)


def test_provenance_names_every_input(terrain: RiskTerrain) -> None:
    p = terrain.provenance
    assert set(p["inputs"]) == {"area", "outcome", "holdout", "factor bars", "factor roads", "factor parks"}
    assert all(len(i["sha256"]) == 64 for i in p["inputs"].values())
    assert p["seed"] == 0
    assert p["versions"]["numpy"] == np.__version__
    assert p["build"]["compiler"]


def test_nothing_to_find_is_a_flat_terrain() -> None:
    rng = np.random.default_rng(3)
    frames = small_city.frames()
    uniform = shapely.points(rng.uniform(0, small_city.SIDE, (300, 2)) + ORIGIN)
    frames["events"] = gpd.GeoDataFrame({"date": ["2022-06-01"] * 300}, geometry=uniform, crs=CRS)
    study = small_city.study()
    del study["holdout"]
    found = small(frames, study=study)
    if found.model.variables:  # a chance finding is weak
        assert found.score_cells.max() < 5
    else:
        assert set(found.score_cells) == {1.0}
    assert found.expected_cells.sum() == pytest.approx(300, rel=1e-6)


def test_findings() -> None:
    study = small_city.study(grid={"block_length": 100, "cell_size": 120})
    study["outcome"] |= {"name": "Drug arrests"}
    study["holdout"] = {"start": "2022-06-01"}
    codes = {f.code for f in small(study=study).findings}
    assert {"enforcement", "bandwidth-below-cell", "holdout-overlap", "holdout-not-later"} <= codes
    study = small_city.study()
    study["outcome"] |= {"enforcement": True, "end": "2022-01-20"}
    codes = {f.code for f in small(study=study).findings}
    assert {"enforcement", "few-events"} <= codes


def test_feet_taken_for_metres_is_found() -> None:
    frames = {k: v.to_crs("EPSG:2276") for k, v in small_city.frames().items()}  # US survey feet
    findings = {f.code: f for f in small(frames).findings}
    assert "The block length 100 ft is 30 m" in findings["block-length-unit"].message


def test_any_crs_is_reprojected(terrain: RiskTerrain) -> None:
    frames = small_city.frames()
    frames["bars"] = frames["bars"].to_crs("EPSG:4326")
    frames["events"] = frames["events"].to_crs("EPSG:3857")
    other = small(frames)
    assert other.counts.sum() == terrain.counts.sum()
    assert other.table["factor"].tolist() == terrain.table["factor"].tolist()


def test_progress_names_every_stage() -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    small(progress=lambda stage, done, total: seen.setdefault(stage, []).append((done, total)))
    assert list(seen) == ["layers", "surfaces", "culling", "stepwise", "terrain"]
    for stage, calls in seen.items():
        done = [d for d, _ in calls]
        assert done == sorted(done), stage
        assert calls[-1][0] == calls[-1][1], stage


@pytest.mark.parametrize("after", [0, 1, 5, 20])
def test_cancel_at_any_time(after: int) -> None:
    asked = 0

    def cancel() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with pytest.raises(Cancelled):
        small(cancel=cancel)
    assert small().counts.sum() > 0  # the next call works


def test_layers_in_memory_are_checked() -> None:
    study, frames = Study.from_dict(small_city.study()), layers(small_city.frames())
    with pytest.raises(InputError, match="'pubs' is no layer of the study"):
        run(study, layers={**frames, "pubs": frames["bars"]})
    bare = frames["bars"].set_crs(None, allow_override=True)
    with pytest.raises(StudyError, match="the frame given has no CRS"):
        run(study, layers={**frames, "bars": bare})
    with pytest.raises(InputError, match="threads: found 0"):
        run(study, layers=frames, threads=0)


def test_duplicate_features_do_not_change_distances() -> None:
    frames = small_city.frames()
    study = small_city.study(factors=[{"name": "bars", "operationalization": "proximity"}])
    frames["parks"], frames["roads"] = frames["bars"], frames["bars"]
    once = run(Study.from_dict(study), layers={k: v for k, v in layers(frames).items() if k not in ("roads", "parks")})
    frames["bars"] = pd.concat([frames["bars"], frames["bars"]], ignore_index=True)
    twice = run(Study.from_dict(study), layers={k: v for k, v in layers(frames).items() if k not in ("roads", "parks")})
    np.testing.assert_array_equal(once.score_cells, twice.score_cells)


def test_enforcement_is_seen_in_name_layer_or_filter() -> None:
    base = small_city.study()["outcome"]
    for change in (
        {"name": "Use of force reports"},
        {"name": "UOF"},
        {"name": "traffic_stops"},
        {"layer": "ev_drugs_2017"},
        {"filter": {"cat": ["drug arrest"]}},
    ):
        study = Study.from_dict(small_city.study(outcome={**base, **change}))
        assert [f.code for f in enforcement_findings(study)] == ["enforcement"]
    assert enforcement_findings(Study.from_dict(small_city.study())) == []


def test_a_holdout_of_the_same_events_through_another_file_is_found(tmp_path: Path) -> None:
    frames = small_city.frames()
    frames["events"].to_file(tmp_path / "copy.gpkg")
    study = small_city.study(holdout={"path": str(tmp_path / "copy.gpkg"), "layer": "copy"})
    found = small(frames, study=study)
    assert found.holdout[0].n_events == found.counts.sum()
    assert "holdout-overlap" in {f.code for f in found.findings}


def test_a_holdout_with_its_own_file_is_read_from_it(tmp_path: Path) -> None:
    frames = small_city.frames()
    later = frames["events"][frames["events"]["date"] >= "2023"].head(50)
    later.to_file(tmp_path / "later.gpkg")
    study = small_city.study(holdout={"path": str(tmp_path / "later.gpkg"), "layer": "later", "start": "2023-01-01"})
    assert small(frames, study=study).holdout[0].n_events == 50
    del study["holdout"]
    with pytest.raises(InputError, match="'holdout' is no layer of the study"):
        run(Study.from_dict(study), layers={**layers(frames), "holdout": later})


def test_a_stretching_projection_is_found() -> None:
    frames = {k: v.to_crs("EPSG:3857") for k, v in small_city.frames().items()}
    findings = {f.code: f for f in small(frames).findings}
    assert "1 m on the map is 0.79 m on the ground" in findings["map-scale"].message
    assert "map-scale" not in {f.code for f in small().findings}


def test_misuse_is_said_in_one_sentence() -> None:
    study, frames = Study.from_dict(small_city.study()), layers(small_city.frames())
    for kwargs, match in (
        ({"study": "study.toml"}, "study: found str, expected a Study"),
        ({"layers": list(frames)}, "layers: found list"),
        ({"layers": {**frames, "bars": frames["bars"].geometry}}, "'bars' is a GeoSeries, expected a GeoDataFrame"),
        ({"memory_limit": "2GB"}, "memory_limit: found '2GB', expected a number of bytes"),
        ({"progress": 3}, "progress: found int"),
    ):
        with pytest.raises(InputError, match=match):
            run(**{"study": study, "layers": frames, **kwargs})  # type: ignore[arg-type]
    with pytest.raises(MemoryLimitError, match="the limit is 0.0 GB"):
        run(study, layers=frames, memory_limit=1000)
    with pytest.raises(Cancelled):
        run(study, layers=frames, cancel=lambda: True)


def test_a_run_diagnoses_its_model_and_leaves_it_alone(terrain: RiskTerrain) -> None:
    found = terrain.diagnosed
    assert found is not None
    assert found.regions is not None
    assert found.holdout_calibration is not None
    assert found.skipped == {}
    assert set(found.findings) <= set(terrain.findings)
    assert found.moran.n_cells == terrain.grid.n_cells
    again = small(threads=1).diagnosed
    assert again is not None
    assert again.to_dict() == found.to_dict()


def test_a_large_run_leaves_out_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtmdx.runs.diagnose.THOROUGH_CELLS", 100)
    found = small(study=small_city.study(holdout=None)).diagnosed
    assert found is not None
    assert found.correlogram is None
    assert "terrain.diagnostics()" in found.skipped["thorough"]


def test_a_run_compares_with_gradient_boosting_on_request() -> None:
    pytest.importorskip("sklearn")
    plain = small_city.study()
    terrain = small(study=small_city.study(report={"boosted": True}))
    assert terrain.diagnosed is not None
    space, time = terrain.diagnosed.comparisons
    assert (space.kind, time.kind) == ("space", "time")
    names = [s.name for s in time.scores]
    assert names == ["Risk terrain", "Past counts", "Kernel density (200 m)", "Gradient boosting"]
    judged = {v.name: v.top for v in terrain.holdout}
    for mine in time.scores[:3]:
        for a, b in zip(mine.validity.top, judged[mine.name], strict=True):  # the same events, the same scores
            assert (a.share, a.n_cells, a.events, a.pai, a.pei) == (b.share, b.n_cells, b.events, b.pai, b.pei)
            assert a.rri == pytest.approx(b.rri, rel=1e-12)  # expected counts and scores, each scaled to the total
    assert Study.from_dict(plain).id == Study.from_dict(small_city.study(report={"boosted": True})).id


def test_boosting_without_scikit_learn_is_said_first_and_too_few_cells_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sklearn")
    wanted = small_city.study(report={"boosted": True})
    monkeypatch.setattr("rtmdx.model.boosted._MIN_CELLS", 10**6)
    found = small(study=wanted).diagnosed
    assert found is not None
    assert "Gradient boosting" not in {s.name for c in found.comparisons for s in c.scores}
    assert "needs at least 1000000" in found.skipped["boosted"]

    def missing() -> None:
        raise MissingDependencyError("The gradient-boosted comparison needs scikit-learn.")

    monkeypatch.setattr("rtmdx.runs.diagnose.require_scikit_learn", missing)
    seen: list[str] = []
    with pytest.raises(MissingDependencyError):
        small(study=wanted, progress=lambda stage, *_: seen.append(stage))
    assert seen == []
