"""A study with an exposure: run, posterior, validity, diagnostics, kinds of exposure, ways of selecting."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from conftest import CRS, ORIGIN
from exposure_city import DROP, LENGTH, SIDE, X, Y, layers, make_dropped, make_floored, study
from rtmdx.errors import InputError, StudyError
from rtmdx.model.boosted import boosted_out_of_region, fit_boosted
from rtmdx.model.families import fit_count_model
from rtmdx.model.regions import hold_out_regions
from rtmdx.model.terrain import RiskTerrain
from rtmdx.runs.inputs import load_inputs
from rtmdx.runs.outputs import summary
from rtmdx.runs.run import run


@pytest.fixture(scope="module")
def dropped() -> RiskTerrain:
    return make_dropped()


def test_expected_events_are_exposure_times_risk(dropped: RiskTerrain) -> None:
    exposure = dropped.exposure
    assert exposure is not None
    on = exposure.cells > 0
    assert 0.15 < 1 - on.mean() < 0.25
    assert dropped.model.has_exposure
    assert dropped.model.n_cells == on.sum()
    ratio = dropped.expected_cells[on] / exposure.cells[on] / dropped.score_cells[on]
    assert ratio == pytest.approx(ratio[0], rel=1e-9)
    assert (dropped.expected_cells[~on] == 0).all()
    assert dropped.counts[~on].sum() == 0
    assert dropped.expected_cells.sum() == pytest.approx(dropped.counts.sum(), rel=1e-6)
    assert dropped.score_cells.min() == 1.0
    again = fit_count_model(
        dropped.design, dropped.counts, dropped.model.columns, family=dropped.model.family, exposure=exposure.cells
    )
    assert again.log_likelihood == pytest.approx(dropped.model.log_likelihood, rel=1e-9)
    plain = fit_count_model(dropped.design, dropped.counts, dropped.model.columns, family=dropped.model.family)
    assert abs(plain.log_likelihood - dropped.model.log_likelihood) > 1.0


def test_dropped_events_are_counted_and_said(dropped: RiskTerrain) -> None:
    inputs = load_inputs(study(None), layers=layers(exposure=None))
    assert dropped.exposure is not None
    for was, now in ((inputs.events, dropped.events.cleaning), (inputs.holdout, dropped.holdout_cleaning)):
        assert was is not None
        assert now is not None
        bare = (dropped.exposure.cells[dropped.grid.cell_of(was.x, was.y)] == 0).sum()
        assert now.dropped["no exposure in the cell"] == bare > 0
        assert now.read == now.kept + sum(now.dropped.values())
    assert dropped.events.stamps is not None
    assert len(dropped.events.stamps) == len(dropped.events) == dropped.counts.sum()
    assert dropped.holdout[0].n_events == dropped.holdout_cleaning.kept  # type: ignore[union-attr]
    assert "exposure-dropped" in {f.code for f in dropped.findings}


def test_a_floor_lets_every_cell_take_part() -> None:
    floored = make_floored()
    exposure = floored.exposure
    assert exposure is not None
    assert exposure.floor == pytest.approx(0.1 * 50.0)
    assert exposure.cells.min() == exposure.floor
    assert floored.model.n_cells == floored.grid.n_cells
    assert (floored.expected_cells > 0).all()
    said = next(f.message for f in floored.findings if f.code == "exposure-floor")
    bare = load_inputs(study({**LENGTH, "zero": "drop"}), layers=layers()).exposure
    assert bare is not None
    assert f"{exposure.raised:,} of {floored.grid.n_cells:,} cells" in said
    assert f"{bare.n_without:,} of them had none" in said
    assert exposure.total == pytest.approx(bare.total, rel=1e-12)


def test_events_where_there_is_no_exposure_stop_the_run_and_are_counted() -> None:
    with pytest.raises(StudyError) as caught:
        run(study(LENGTH), layers=layers())
    (problem,) = caught.value.problems
    assert isinstance(problem, InputError)
    assert re.search(
        r"\d+ of 7\d\d events .* of the outcome, in \d+ cells and \d+ of 7\d\d events .* hold-out", str(problem)
    )
    assert '"floor"' in str(problem)
    assert '"drop"' in str(problem)


def test_a_constant_exposure_changes_nothing_but_the_intercept() -> None:
    whole = gpd.GeoDataFrame(geometry=[shapely.box(X - 1, Y - 1, X + SIDE + 1, Y + SIDE + 1)], crs=CRS)
    plain = run(study(None), layers=layers(exposure=None))
    made = run(study({"measure": "area"}), layers=layers(exposure=whole))
    assert made.exposure is not None
    assert (made.exposure.cells == 2500.0).all()
    assert [v.name for v in made.model.variables] == [v.name for v in plain.model.variables]
    assert made.model.coefficients == pytest.approx(plain.model.coefficients, abs=1e-6)
    assert made.model.intercept == pytest.approx(plain.model.intercept - np.log(2500.0), abs=1e-6)
    assert made.expected_cells == pytest.approx(plain.expected_cells, rel=1e-6)
    assert made.score_cells == pytest.approx(plain.score_cells, rel=1e-6)
    a, b = made.posterior_risk, plain.posterior_risk
    assert a is not None
    assert b is not None
    assert a.expected_cells == pytest.approx(b.expected_cells, rel=1e-4)
    assert made.diagnosed is not None
    assert plain.diagnosed is not None
    assert made.diagnosed.regions is not None
    assert plain.diagnosed.regions is not None
    assert made.diagnosed.regions.expected_cells == pytest.approx(plain.diagnosed.regions.expected_cells, rel=1e-5)
    assert made.diagnosed.regions.explained == pytest.approx(plain.diagnosed.regions.explained, abs=1e-6)


def test_threads_give_the_same_bits(dropped: RiskTerrain) -> None:
    again = run(study(DROP), layers=layers(), threads=3)
    assert (again.expected_cells == dropped.expected_cells).all()
    assert dropped.posterior_risk is not None
    assert again.posterior_risk is not None
    assert (again.posterior_risk.expected_cells == dropped.posterior_risk.expected_cells).all()


def test_the_posterior_has_the_exposure_in_it(dropped: RiskTerrain) -> None:
    risk, exposure = dropped.posterior_risk, dropped.exposure
    assert risk is not None
    assert exposure is not None
    off = exposure.cells == 0
    assert (risk.terrain_cells == dropped.expected_cells).all()
    assert (risk.expected_cells[off] == 0).all()
    assert (risk.upper_cells[off] == 0).all()
    assert np.isfinite(risk.expected_cells).all()
    assert (risk.expected_cells[~off] > 0).all()


def test_the_terrain_is_judged_by_expected_events(dropped: RiskTerrain) -> None:
    names = [v.name for v in dropped.holdout]
    assert names[:4] == ["Risk terrain", "Score alone", "Exposure alone", "Past counts"]
    assert [v.name for v in dropped.fitted][:3] == names[:3]
    assert dropped.exposure is not None
    by_exposure = dropped.holdout[2]
    assert by_exposure.n_levels == np.unique(dropped.exposure.cells).size
    assert dropped.holdout[0].auc > by_exposure.auc
    plain = run(study(None), layers=layers(exposure=None))
    assert [v.name for v in plain.holdout][:2] == ["Risk terrain", "Past counts"]


def test_diagnostics_leave_out_cells_without_exposure(dropped: RiskTerrain) -> None:
    found, exposure = dropped.diagnosed, dropped.exposure
    assert found is not None
    assert exposure is not None
    off = exposure.cells == 0
    assert found.regions is not None
    assert (found.regions.expected_cells[off] == 0).all()
    assert found.dispersion.df == (~off).sum() - 1 - len(dropped.model.coefficients)
    assert sum(g.n_cells for g in found.calibration.groups) == (~off).sum()
    assert np.isfinite(found.moran.i)
    json.dumps(summary(dropped), allow_nan=False)


# ----------------------------------------------------------------------- held out in space, boosted


def test_regions_are_fitted_and_scored_by_exposure(dropped: RiskTerrain) -> None:
    rng = np.random.default_rng(1)
    exposure = rng.gamma(2.0, 3.0, dropped.grid.n_cells) * (rng.random(dropped.grid.n_cells) > 0.1)
    counts = np.where(exposure > 0, dropped.counts, 0)
    model = fit_count_model(dropped.design, counts, dropped.model.columns, family="poisson", exposure=exposure)
    regions = np.asarray(dropped.grid.rows_cols[0] // 20)
    found = hold_out_regions(model, dropped.design, counts, regions, exposure=exposure)
    inside = regions == 1
    pairs = zip(model.columns, model.variables, strict=True)
    x = np.column_stack([v.sign * dropped.design.indicator(c).astype(float) for c, v in pairs])
    beta = found.regions[1].coefficients
    eta = x @ beta  # the intercept that makes the others' expectation their count
    scale = counts[~inside].sum() / (exposure * np.exp(eta))[~inside].sum()
    assert found.expected_cells[inside] == pytest.approx((scale * exposure * np.exp(eta))[inside], rel=1e-5)
    rate = counts[~inside].sum() / exposure[~inside].sum()
    y, mu = counts[inside], exposure[inside] * rate
    some = y > 0
    null = 2 * ((y[some] * np.log(y[some] / mu[some])).sum() - (y - mu).sum())
    assert found.regions[1].null_deviance == pytest.approx(null, rel=1e-9)
    with pytest.raises(InputError, match="fitted with an exposure"):
        hold_out_regions(model, dropped.design, counts, regions)


def test_a_region_that_holds_all_exposure_is_said_to(dropped: RiskTerrain) -> None:
    regions = (np.asarray(dropped.grid.rows_cols[0]) < 30).astype(int)
    exposure = np.where(regions == 0, 5.0, 0.0)
    counts = np.where(regions == 0, dropped.counts, 0)
    model = fit_count_model(dropped.design, counts, dropped.model.columns, family="poisson", exposure=exposure)
    found = hold_out_regions(model, dropped.design, counts, regions, exposure=exposure)
    assert "no exposure" in found.regions[0].reason
    assert found.regions[1].reason == ""
    assert found.regions[1].expected == 0.0
    assert found.pooled is None


def test_boosting_takes_exposure(dropped: RiskTerrain) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (the ml extra) is not installed")
    design, counts, grid = dropped.design, dropped.counts, dropped.grid
    same = np.full(grid.n_cells, 40.0)
    plain = fit_boosted(design, counts, seed=1).expected(design)
    made = fit_boosted(design, counts, exposure=same, seed=1)
    assert made.expected(design, same) == pytest.approx(plain, rel=1e-6)
    assert made.expected(design, 2 * same) == pytest.approx(2 * plain, rel=1e-6)
    with pytest.raises(InputError, match="fitted with one"):
        made.expected(design)
    assert dropped.exposure is not None
    own = dropped.exposure.cells
    out = boosted_out_of_region(design, counts, np.asarray(grid.rows_cols[0] // 20), exposure=own, seed=1)
    assert (out[own == 0] == 0).all()
    assert out.sum() == pytest.approx(counts.sum(), rel=0.2)
    rate = fit_boosted(design, counts, exposure=own, seed=1)
    fitted = rate.expected(design, own)
    assert np.ptp(fitted[own > 0] / own[own > 0]) > 0
    assert fitted.sum() == pytest.approx(counts.sum(), rel=0.1)


# ------------------------------------------------------------- kinds of exposure, ways of selecting


def test_points_zones_and_rasters_run_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    addresses = gpd.GeoDataFrame(
        {"homes": rng.integers(1, 9, 9000)}, geometry=shapely.points(rng.uniform(0, SIDE, (9000, 2)) + ORIGIN), crs=CRS
    )
    k = 500.0
    corner = [(X + a, Y + b) for a in np.arange(0, SIDE, k) for b in np.arange(0, SIDE, k)]
    zones = gpd.GeoDataFrame(
        {"people": rng.integers(1, 900, len(corner))},
        geometry=[shapely.box(a, b, a + k, b + k) for a, b in corner],
        crs=CRS,
    )
    with rasterio.open(
        tmp_path / "people.tif", "w", driver="GTiff", height=31, width=31, count=1, dtype="float32", crs=CRS,
        transform=Affine(100.0, 0, X - 30, 0, -100.0, Y + SIDE + 40),
    ) as out:  # fmt: skip
        out.write(rng.uniform(0.1, 9, (31, 31)).astype(np.float32), 1)
    short = {"holdout": None, "posterior": {"enabled": False}, "model": {"n_penalties": 10}}
    made = {
        "count": run(
            study({"measure": "count", "field": "homes", "zero": "floor", "unit": "homes"}, **short),
            layers=layers(exposure=addresses),
        ),
        "polygons": run(study({"measure": "polygons", "field": "people"}, **short), layers=layers(exposure=zones)),
        "sum": run(
            study({"measure": "raster", "path": "people.tif", "unit": "people"}, **short),
            layers=layers(exposure=None),
            data=tmp_path,
        ),
        "mean": run(
            study({"measure": "raster", "path": "people.tif", "statistic": "mean"}, **short),
            layers=layers(exposure=None),
            data=tmp_path,
        ),
    }
    totals = {"count": addresses["homes"].sum(), "polygons": zones["people"].sum()}
    for kind, terrain in made.items():
        assert terrain.exposure is not None
        assert terrain.expected_cells.sum() == pytest.approx(terrain.counts.sum(), rel=1e-6)
        if kind in totals:
            assert terrain.exposure.total == pytest.approx(totals[kind], rel=1e-9)
    assert made["sum"].provenance["inputs"]["exposure"]["source"] == "people.tif"
    assert len(made["sum"].provenance["inputs"]["exposure"]["sha256"]) == 64


@pytest.mark.parametrize(
    "options",
    [
        {"folds": "time", "n_folds": 4},
        {"folds": "spatial", "rule": "1se"},
        {"folds": "district", "robust": True, "districts": {"field": "name"}, "families": ["nb2"]},
        {"mixing": [0.5], "exchange": True, "fold_repeats": 2},
    ],
)
def test_every_way_of_selecting_takes_it(options: dict[str, Any]) -> None:
    k = SIDE / 3
    parts = [shapely.box(X + a * k, Y + b * k, X + (a + 1) * k, Y + (b + 1) * k) for a in range(3) for b in range(3)]
    districts = gpd.GeoDataFrame({"name": list("abcdefghi")}, geometry=parts, crs=CRS)
    more = {"districts": districts} if "districts" in options else {}
    terrain = run(study(DROP, model={"n_penalties": 10, **options}, holdout=None), layers=layers(**more))
    assert terrain.exposure is not None
    assert terrain.model.has_exposure
    assert terrain.model.n_cells == (terrain.exposure.cells > 0).sum()
    assert np.isfinite(terrain.model.bic)
    assert len(terrain.model.variables) > 0
    if "districts" in options:
        assert terrain.model.robust_standard_errors is not None
        assert np.isfinite(terrain.model.robust_standard_errors).all()
    assert (terrain.expected_cells[terrain.exposure.cells == 0] == 0).all()
