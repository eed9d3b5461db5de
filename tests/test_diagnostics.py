"""Residuals, dispersion, calibration, hold-out in space: against SciPy, statsmodels and refits written out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.calibration import calibration
from rtmdx.model.design import Design
from rtmdx.model.diagnostics import diagnose
from rtmdx.model.dispersion import dispersion
from rtmdx.model.families import fit_count_model
from rtmdx.model.laws import CountLaw, check_cells, residuals
from rtmdx.model.regions import hold_out_regions, poisson_deviance
from rtmdx.report.diagnostics import calibration_chart, correlogram_chart, diagnostics_section
from stats_designs import binary_design, dense, random_design, simulate
from terrain_fixture import make_terrain

LAWS = [CountLaw("poisson"), CountLaw("nbii", 2.2), CountLaw("nb2", 0.7), CountLaw("nbii", 0.0)]


def draw(law: CountLaw, mu: np.ndarray, seed: int = 0) -> np.ndarray:
    """Counts of the law, as gamma-mixed Poisson."""
    rng = np.random.default_rng(seed)
    if law.poisson:
        return rng.poisson(mu)
    if law.family == "nbii":
        return rng.poisson(rng.gamma(mu / law.dispersion, law.dispersion))
    return rng.poisson(rng.gamma(1 / law.dispersion, law.dispersion * mu))


def expectations(n: int = 6000, seed: int = 1) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(-1.5, 1.0, n))


# ------------------------------------------------------------------------------------------- the law


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_probabilities_have_the_law_s_mean_and_variance(law: CountLaw) -> None:
    y = np.arange(3000)
    for mu in (0.01, 0.4, 7.0):
        p = law.pmf(y, np.full(len(y), mu))
        assert p.sum() == pytest.approx(1)
        assert (y * p).sum() == pytest.approx(mu)
        assert ((y - mu) ** 2 * p).sum() == pytest.approx(float(law.variance(np.array(mu))))
        np.testing.assert_allclose(np.cumsum(p), law.cdf(y, np.full(len(y), mu)), atol=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_quantile_residuals_are_standard_normal(law: CountLaw) -> None:
    mu = expectations(4000)
    y = draw(law, mu)
    found = residuals(y, mu, law, kind="quantile", seed=5)
    assert stats.kstest(found, "norm").pvalue > 1e-3
    np.testing.assert_array_equal(found, residuals(y, mu, law, kind="quantile", seed=5))
    assert (found != residuals(y, mu, law, kind="quantile", seed=6)).any()
    pearson = residuals(y, mu, law)
    np.testing.assert_allclose(pearson, (y - mu) / np.sqrt(law.variance(mu)))
    extreme = residuals([0, 10**6], [1e-9, 1e-3], law, kind="quantile")
    assert np.isfinite(extreme).all()


def test_cells_without_exposure_take_no_part() -> None:
    mu, law = expectations(500), CountLaw("nbii", 1.0)
    y = draw(law, mu)
    mu0, y0 = np.concatenate([mu, np.zeros(50)]), np.concatenate([y, np.zeros(50, int)])
    for kind in ("pearson", "quantile"):
        found = residuals(y0, mu0, law, kind=kind, seed=2)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found[:500], residuals(y, mu, law, kind=kind, seed=2))  # type: ignore[arg-type]
        assert not found[500:].any()
    assert dispersion(y0, mu0, law) == dispersion(y, mu, law)
    assert calibration(y0, mu0, law) == calibration(y, mu, law)


@pytest.mark.parametrize(
    ("counts", "expected", "message"),
    [
        ([1, 2], [1.0], "shape"),
        ([], [], "shape"),
        ([1, math.nan], [1.0, 1.0], "cell 1 has count nan"),
        ([1, -1], [1.0, 1.0], "cell 1 has count -1"),
        ([0.5, 1], [1.0, 1.0], "cell 0 has count 0.5"),
        ([1, 1], [1.0, math.nan], "cell 1 has expected count nan"),
        ([1, 1], [math.inf, 1.0], "cell 0 has expected count inf"),
        ([1, 2], [1.0, 0.0], "cell 1 has 2 events where none are possible"),
    ],
)
def test_refuses_cells(counts: Any, expected: Any, message: str) -> None:
    for call in (check_cells, lambda y, m: residuals(y, m, LAWS[0]), lambda y, m: dispersion(y, m, LAWS[0]),
                 lambda y, m: calibration(y, m, LAWS[0])):  # fmt: skip
        with pytest.raises(InputError, match=message):
            call(counts, expected)


def test_nothing_expected_anywhere() -> None:
    for call in (dispersion, calibration):
        with pytest.raises(InputError, match="0 everywhere"):
            call([0, 0], [0.0, 0.0], LAWS[0])  # type: ignore[operator]
    with pytest.raises(InputError, match="'pearson' or 'quantile'"):
        residuals([1], [1.0], LAWS[0], kind="deviance")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- dispersion


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_dispersion_written_out(law: CountLaw) -> None:
    mu = np.round(expectations(), 2) + 0.01
    y = draw(law, mu)
    found = dispersion(y, mu, law, n_parameters=4)
    assert found.df == len(y) - 4
    assert found.pearson == pytest.approx(((y - mu) ** 2 / law.variance(mu)).sum() / found.df)
    assert found.pearson == pytest.approx(1, abs=0.25)
    assert found.zeros_observed == (y == 0).sum()
    assert found.zeros_expected == pytest.approx(law.pmf(0, mu).sum())
    assert abs(found.zeros_observed - found.zeros_expected) < 5 * found.zeros_sd
    assert sum(c.observed for c in found.counts) == len(y)
    assert sum(c.expected for c in found.counts) == pytest.approx(len(y))
    for c in found.counts[:-1]:
        assert c.low == c.high
        assert c.observed == (y == c.low).sum()
        assert c.expected == pytest.approx(law.pmf(c.low, mu).sum())
        assert abs(c.hanging) < 2.5
    assert len(found.counts) <= 12
    json.dumps(found.to_dict(), allow_nan=False)


def test_dispersion_tells_the_wrong_law() -> None:
    mu = expectations() + 0.3
    y = draw(CountLaw("nbii", 2.0), mu)
    assert dispersion(y, mu, CountLaw("poisson")).pearson == pytest.approx(3, abs=0.5)
    assert dispersion(y, mu, CountLaw("poisson")).zeros_ratio > 1.05
    one = dispersion([3], [1.0], CountLaw("poisson"))
    assert math.isnan(one.pearson)
    json.dumps(one.to_dict(), allow_nan=False)
    none = dispersion([0, 0, 0], [1e-3, 1e-3, 1e-3], CountLaw("poisson"))
    assert [c.observed for c in none.counts] == [3, 0]
    huge = dispersion([10**6, 0], [5.0, 5.0], CountLaw("nbii", 2.0))
    assert sum(c.observed for c in huge.counts) == 2
    with pytest.raises(InputError, match="max_classes"):
        dispersion([1], [1.0], CountLaw("poisson"), max_classes=1)


# ------------------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_calibration_written_out(law: CountLaw) -> None:
    mu = expectations(5000)
    y = draw(law, mu, 3)
    found = calibration(y, mu, law)
    order = np.argsort(mu)
    assert len(found.groups) == 10
    for g, cells in zip(found.groups, np.split(order, 10), strict=True):
        assert g.n_cells == 500
        assert g.observed == y[cells].sum()
        assert g.expected == pytest.approx(mu[cells].sum())
        assert (g.mean_low, g.mean_high) == (mu[cells].min(), mu[cells].max())
        sums = np.array([draw(law, mu[cells], 100 + k).sum() for k in range(400)])
        assert 0.88 < ((sums >= g.low) & (sums <= g.high)).mean() <= 1.0
    assert sum(g.inside for g in found.groups) >= 8
    assert found.ratio == pytest.approx(y.sum() / mu.sum())
    json.dumps(found.to_dict(), allow_nan=False)


def test_slope_equals_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    mu = np.round(expectations(800), 2) + 0.01
    y = draw(CountLaw("nb2", 0.5), 0.3 * mu**0.6)
    found = calibration(y, mu, CountLaw("nb2", 0.5))
    fit = api.GLM(y, api.add_constant(np.log(mu)), family=api.families.Poisson()).fit(tol=1e-12)
    assert found.slope == pytest.approx(fit.params[1], rel=1e-8)
    scale = ((y - mu) ** 2 / mu).sum() / (len(y) - 2)
    assert found.slope_se == pytest.approx(fit.bse[1] * math.sqrt(scale), rel=1e-5)
    assert calibration(y, 5 * mu, CountLaw("nb2", 0.5)).slope == pytest.approx(found.slope, rel=1e-9)


def test_a_poisson_fit_has_slope_one_on_its_own_events() -> None:
    rng = np.random.default_rng(4)
    design = random_design(rng, 900, 3)
    y = simulate(rng, design, {1: 0.8, 8: 0.5})
    model = fit_count_model(design, y, [1, 8], family="poisson")
    assert calibration(y, model.expected(design), CountLaw("poisson")).slope == pytest.approx(1.0, abs=1e-7)


def test_calibration_edges() -> None:
    law = CountLaw("poisson")
    flat = calibration([0, 3, 1], [1.0, 1.0, 1.0], law)
    assert len(flat.groups) == 1
    assert math.isnan(flat.slope)
    assert math.isnan(calibration([0, 0], [1.0, 2.0], law).slope)
    assert math.isnan(calibration([0, 0, 4], [1.0, 2.0, 3.0], law).slope)  # runs to infinity
    assert math.isnan(calibration([4, 0, 0], [1.0, 2.0, 3.0], law).slope)
    two = calibration([2, 5], [4.0, 8.0], law, rescale=True)
    assert two.scale == pytest.approx(7 / 12)
    assert two.ratio == pytest.approx(1)
    assert calibration([0, 0], [4.0, 8.0], law, rescale=True).scale == 1.0
    for options in ({"n_groups": 0}, {"level": 1.0}, {"level": math.nan}):
        with pytest.raises(InputError):
            calibration([1, 2], [1.0, 1.0], law, **options)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.1, 0.5, 1.0, 2.0])), min_size=1, max_size=40))
def test_groups_keep_ties_together_and_lose_nothing(cells: list[tuple[int, float]]) -> None:
    y, mu = np.array([c for c, _ in cells]), np.array([m for _, m in cells])
    found = calibration(y, mu, CountLaw("nbii", 1.0))
    assert sum(g.n_cells for g in found.groups) == len(y)
    assert sum(g.observed for g in found.groups) == y.sum()
    assert sum(g.expected for g in found.groups) == pytest.approx(mu.sum())
    assert all(a.mean_high < b.mean_low for a, b in zip(found.groups, found.groups[1:], strict=False))
    json.dumps(found.to_dict(), allow_nan=False)


# ------------------------------------------------------------------------------------------- regions


def regional(n: int = 900, family: Any = "nbii", seed: int = 0) -> tuple[Any, Design, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 4)
    y = simulate(rng, design, {1: 0.9, 8: 0.7}, dispersion=1.0)
    regions = np.arange(n) * 3 // n
    return fit_count_model(design, y, [1, 8], family=family), design, y, regions


@pytest.mark.parametrize("family", ["poisson", "nbii", "nb2"])
def test_regions_equal_refits_written_out(family: Any) -> None:
    api = pytest.importorskip("statsmodels.api")
    model, design, y, regions = regional(family=family)
    found = hold_out_regions(model, design, y, regions, shares=(0.1, 0.3))
    x = np.column_stack([np.ones(len(y)), dense(design, model.columns)])
    for r in found.regions:
        out = regions == r.number
        if family == "poisson":
            beta = api.GLM(y[~out], x[~out], family=api.families.Poisson()).fit(tol=1e-12).params
        elif family == "nb2":
            beta = api.NegativeBinomial(y[~out], x[~out]).fit(disp=0, method="newton", tol=1e-12).params[:3]
        else:
            beta = api.NegativeBinomial(y[~out], x[~out], loglike_method="nb1").fit(
                disp=0, method="bfgs", gtol=1e-9, maxiter=500).params[:3]  # fmt: skip
        mu = np.exp(x[out] @ beta)
        np.testing.assert_allclose(found.expected_cells[out], mu, rtol=1e-4)
        np.testing.assert_allclose(r.coefficients, beta[1:], rtol=1e-3, atol=1e-4)
        assert r.expected == pytest.approx(mu.sum(), rel=1e-4)
        term = np.where(y[out] > 0, y[out] * np.log(np.maximum(y[out], 1) / mu), 0)
        assert r.deviance == pytest.approx(2 * (term - (y[out] - mu)).sum(), rel=1e-4)
        assert r.explained == pytest.approx(1 - r.deviance / poisson_deviance(
            y[out].astype(float), np.full(out.sum(), y[~out].mean())))  # fmt: skip
        assert len(r.capture) == 2
    assert found.pooled is not None
    assert found.pooled.n_events == y.sum()
    assert found.calibration is not None
    assert not any(r.reason for r in found.regions)
    json.dumps(found.to_dict(), allow_nan=False)


def test_numbers_of_regions_are_names_only() -> None:
    model, design, y, regions = regional()
    a = hold_out_regions(model, design, y, regions)
    b = hold_out_regions(model, design, y, np.array([70, -3, 12])[regions].astype(float))
    np.testing.assert_array_equal(a.expected_cells, b.expected_cells)
    assert [r.number for r in b.regions] == [-3, 12, 70]


def test_a_region_without_events() -> None:
    model, design, y, regions = regional()
    y = np.where(regions == 1, 0, y)
    found = hold_out_regions(model, design, y, regions)
    empty = found.regions[1]
    assert empty.n_events == 0
    assert all(math.isnan(c) for c in empty.capture)
    assert empty.deviance == pytest.approx(2 * empty.expected)
    json.dumps(found.to_dict(), allow_nan=False)


def test_all_events_in_one_region_and_a_variable_that_rests_on_one() -> None:
    model, design, y, regions = regional()
    found = hold_out_regions(model, design, np.where(regions == 0, y, 0), regions)
    assert "no events" in found.regions[0].reason
    assert found.pooled is None
    assert np.isnan(found.expected_cells[regions == 0]).all()
    json.dumps(found.to_dict(), allow_nan=False)
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random(900) < 0.5, (regions == 2) & (rng.random(900) < 0.5)]).astype(int)
    only = binary_design(x)
    counts = rng.poisson(0.5 + x[:, 1])
    found = hold_out_regions(fit_count_model(only, counts, [0, 1], family="poisson"), only, counts, regions)
    assert [bool(r.reason) for r in found.regions] == [False, False, True]
    assert "constant" in found.regions[2].reason


def test_regions_without_variables() -> None:
    _, design, y, regions = regional()
    found = hold_out_regions(fit_count_model(design, y, []), design, y, regions)
    for r in found.regions:
        assert r.expected == pytest.approx(y[regions != r.number].mean() * r.n_cells)
        assert r.explained == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (np.zeros(900, int), "all cells are in one region"),
        (np.zeros(899, int), "shape"),
        (np.full(900, 0.5), "whole numbers"),
        (np.full(900, np.nan), "whole numbers"),
        (np.full(900, "a"), "whole numbers"),
    ],
)
def test_refuses_regions(regions: Any, message: str) -> None:
    model, design, y, _ = regional()
    with pytest.raises(InputError, match=message):
        hold_out_regions(model, design, y, regions)


def test_regions_can_be_cancelled() -> None:
    model, design, y, regions = regional()
    with pytest.raises(Cancelled):
        hold_out_regions(model, design, y, regions, cancel=lambda: True)
    other = random_design(np.random.default_rng(0), 900, 1)
    with pytest.raises(InputError, match="lacks"):
        hold_out_regions(model, other, y, regions)


# ------------------------------------------------------------------------------------------- all together


def test_diagnostics_of_a_terrain() -> None:
    terrain = make_terrain()
    regions = terrain.grid.rows_cols[1] // 20
    before = terrain.model.parameters.copy()
    found = terrain.diagnostics(regions=regions, holdout=terrain.counts // 2, permutations=19, seed=3)
    np.testing.assert_array_equal(terrain.model.parameters, before)
    assert found.regions is not None
    assert found.holdout_calibration is not None
    assert len(found.collinearity.inflation) == len(terrain.model.variables)
    assert {s.code for s in found.statements} >= {"calibration", "holdout-slope", "regions"}
    assert [f.message for f in found.findings] == [s.text for s in found.statements if s.warns]
    assert json.dumps(found.to_dict(), allow_nan=False) == json.dumps(
        terrain.diagnostics(regions=regions, holdout=terrain.counts // 2, permutations=19, seed=3).to_dict()
    )
    quick = diagnose(terrain, regions=regions, thorough=False)
    assert quick.correlogram is None
    assert quick.regions is None
    assert quick.moran.p_permutation is None
    assert "terrain.diagnostics()" in quick.skipped["thorough"]


def test_a_likeness_of_neighbours_is_said_and_its_absence_too() -> None:
    terrain = make_terrain(rows=50, cols=50)
    mu = terrain.expected_cells
    quiet = replace(terrain, counts=draw(CountLaw("nbii", terrain.model.dispersion), mu, 1))
    codes = {s.code for s in quiet.diagnostics(permutations=0).statements}
    assert codes & {"residuals-unrelated", "residuals-faint", "residuals-opposed"}
    rows, cols = terrain.grid.rows_cols
    patches = np.random.default_rng(0).gamma(0.5, 2.0, (20, 20))[rows // 5, cols // 5]
    loud = replace(terrain, counts=np.random.default_rng(1).poisson(mu * patches * 3)).diagnostics(permutations=0)
    text = next(s.text for s in loud.statements if s.code == "residual-autocorrelation")
    assert "standard errors are too small" in text
    assert f"z {loud.moran.z:.3g}" in text
    assert any(f.code == "residual-autocorrelation" for f in loud.findings)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rows": 1, "cols": 40},
        {"rows": 1, "cols": 1},
        {"selected": False},
        {"family": "poisson"},
        {"family": "nb2"},
        {"crs": "EPSG:2276", "cell": 330.0},
    ],
    ids=str,
)
def test_report_section(options: dict[str, Any]) -> None:
    pytest.importorskip("jinja2")
    from rtmdx.report.html import render

    terrain = make_terrain(**options)
    n = terrain.grid.n_cells
    regions = np.arange(n) % 3 if n > 3 else None
    found = terrain.diagnostics(regions=regions, permutations=9)
    page = render(replace(terrain, diagnosed=found, findings=found.findings))
    section = page[page.index('<section id="diagnostics">') :]
    section = section[: section.index("</section>")]
    import html
    import re

    said = re.sub(r"<[^>]+>", "", html.unescape(section))
    for nonsense in ("nan", "None", "inf", "Infinity"):
        assert not re.search(rf"\b{nonsense}\b", said), nonsense
    for s in found.statements:
        assert s.text in html.unescape(section)
    if n > 100:
        assert section.count('<svg class="chart"') >= (2 if terrain.model.variables else 1)
    assert "No diagnostics were computed" in render(terrain)


def test_charts_hold_their_figures() -> None:
    found = make_terrain().diagnostics(permutations=0)
    assert found.correlogram is not None
    chart = correlogram_chart(found.correlogram, "m")
    assert chart.count("<circle") == len(found.correlogram.classes)
    assert calibration_chart(found.calibration, "C").count("<circle") == len(found.calibration.groups)
    assert "nan" not in chart
    flat = make_terrain(selected=False).diagnostics(permutations=0)
    assert calibration_chart(flat.calibration, "C") == ""
    assert diagnostics_section(make_terrain()) is None
