"""Count models with exposure: mu = exposure * exp(x beta)."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from rtmdx.errors import InputError
from rtmdx.model.families import fit_count_model
from rtmdx.model.stepwise import stepwise
from rtmdx.model.tables import CellTable
from stats_designs import binary_design, dense, random_design

COLUMNS = (2, 9, 14, 20)
FAMILIES = ("poisson", "nbii", "nb2")


def sample(seed: int, n: int = 1500, levels: int | None = None, empty: float = 0.0):
    """A design, an exposure (of few levels or all distinct, some 0) and NBII counts."""
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 4)
    exposure = rng.gamma(2.0, 0.5, n) if levels is None else rng.integers(1, levels + 1, n) * 0.3
    exposure[rng.random(n) < empty] = 0.0
    mu = exposure * 0.5 * np.exp(dense(design, (2, 9, 20)) @ [0.7, 0.6, 0.5])
    return design, rng.poisson(rng.gamma(mu / 0.9, 0.9)), exposure


@pytest.mark.parametrize("empty", [0.0, 0.2])
@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_statsmodels(family: str, levels: int | None, empty: float) -> None:
    design, y, exposure = sample(1, levels=levels, empty=empty)
    model = fit_count_model(design, y, COLUMNS, family=family, exposure=exposure)
    on = exposure > 0
    x = sm.add_constant(dense(design, COLUMNS))[on]
    with warnings.catch_warnings():  # the reference stops at its own tolerance, and says so
        warnings.simplefilter("ignore")
        if family == "poisson":
            ref = sm.Poisson(y[on], x, exposure=exposure[on]).fit(disp=0, method="newton", tol=1e-12)
        else:
            kind = {"nbii": "nb1", "nb2": "nb2"}[family]
            ref = sm.NegativeBinomial(y[on], x, loglike_method=kind, exposure=exposure[on])
            ref = ref.fit(disp=0, method="bfgs", gtol=1e-9, maxiter=1000)
    k = 1 + len(COLUMNS)
    assert model.log_likelihood == pytest.approx(ref.llf, abs=1e-6)
    assert model.parameters[:k] == pytest.approx(ref.params[:k], abs=1e-5)
    assert model.standard_errors[:k] == pytest.approx(ref.bse[:k], rel=1e-4)
    assert model.n_cells == on.sum()
    assert model.bic == pytest.approx(-2 * ref.llf + model.df * np.log(on.sum()), abs=1e-5)
    expected = model.expected(design, exposure)
    assert (expected[~on] == 0.0).all()
    if family != "nb2":
        assert expected.sum() == pytest.approx(y.sum(), rel=1e-6)
    assert model.linear_predictor(design) + np.log(np.maximum(exposure, 1e-300)) == pytest.approx(
        np.log(np.maximum(expected, 1e-300)), abs=700 if empty else 1e-9
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_constant_exposure_moves_the_intercept_only(family: str) -> None:
    design, y, _ = sample(2)
    plain = fit_count_model(design, y, COLUMNS, family=family)
    exposed = fit_count_model(design, y, COLUMNS, family=family, exposure=np.full(len(y), 37.0))
    assert exposed.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-12)
    assert exposed.coefficients == pytest.approx(plain.coefficients, abs=1e-8)
    assert exposed.intercept == pytest.approx(plain.intercept - np.log(37.0), abs=1e-8)
    assert exposed.covariance == pytest.approx(plain.covariance, rel=1e-6, abs=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.floats(-280.0, 280.0), st.sampled_from(FAMILIES))
def test_unit_of_exposure_does_not_matter(power: float, family: str) -> None:
    design, y, exposure = sample(3, n=300)
    columns = (2, 9)
    unit = 10.0**power
    a = fit_count_model(design, y, columns, family=family, exposure=exposure)
    b = fit_count_model(design, y, columns, family=family, exposure=exposure * unit)
    assert b.log_likelihood == pytest.approx(a.log_likelihood, rel=1e-10)
    assert b.coefficients == pytest.approx(a.coefficients, abs=1e-6)
    assert b.intercept == pytest.approx(a.intercept - power * np.log(10.0), abs=1e-6)


def test_cells_without_events_are_merged_exactly() -> None:
    design, y, exposure = sample(4)
    merged = CellTable.from_design(design, y.astype(float), exposure, COLUMNS, distinct="events")
    apart = CellTable.from_design(design, y.astype(float), exposure, COLUMNS)
    a, b = (t.table(t.node(COLUMNS)) for t in (merged, apart))
    assert len(b.y) == 1500
    assert len(a.y) <= (y > 0).sum() + 16
    assert a.total_exposure == pytest.approx(b.total_exposure, rel=1e-13)
    assert a.n_events == b.n_events == y.sum()
    assert a.constant == pytest.approx(b.constant, rel=1e-13)
    sums = CellTable.from_design(design, y.astype(float), exposure, COLUMNS, distinct="none")
    c = sums.table(sums.node(COLUMNS))
    assert len(c.y) <= 32
    for table in (a, b):
        other, own = table.collapsed(), c.collapsed()
        assert (own.x == other.x).all()
        assert own.cells == pytest.approx(other.cells, rel=1e-13)
        assert own.cells * own.y == pytest.approx(other.cells * other.y, rel=1e-13)
    assert c.constant == a.constant


def oracle(x, y, exposure, family: str):
    def loss(p) -> float:
        mu = exposure * np.exp(np.clip(p[0] + x @ p[1 : 1 + x.shape[1]], -30, 30))
        if family == "poisson":
            return -float(stats.poisson.logpmf(y, mu).sum())
        d = np.exp(np.clip(p[-1], -20, 20))
        if family == "nbii":
            return -float(stats.nbinom.logpmf(y, mu / d, 1 / (1 + d)).sum())
        return -float(stats.nbinom.logpmf(y, 1 / d, 1 / (1 + d * mu)).sum())

    start = np.zeros(1 + x.shape[1] + (family != "poisson"))
    best = optimize.minimize(loss, start, method="L-BFGS-B", options={"ftol": 1e-13, "gtol": 1e-7})
    return 2 * best.fun + len(start) * np.log(len(y)), best.x[1 : 1 + x.shape[1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_search_equals_brute_force(family: str) -> None:
    design, y, exposure = sample(5, n=500, empty=0.1)
    candidates = (2, 5, 9, 14, 20)
    on = exposure > 0
    factor = [v.factor for v in design.variables]
    columns: list[int] = []
    bic = oracle(dense(design, [])[on], y[on], exposure[on], family)[0]
    while True:
        best = None
        moves = [[c for c in columns if c != j] for j in columns]
        taken = {factor[c] for c in columns}
        for new in moves + [[*columns, j] for j in candidates if factor[j] not in taken]:
            value, b = oracle(dense(design, new)[on], y[on], exposure[on], family)
            if (b > 0).all() and (best is None or value < best[0]):
                best = (value, new)
        if best is None or best[0] >= bic:
            break
        bic, columns = best
    found = stepwise(design, y, candidates, families=(family,), exposure=exposure).model
    assert list(found.columns) == sorted(columns)
    assert found.bic == pytest.approx(bic, abs=1e-3)
    assert found.has_exposure


def test_cells_of_exposure_zero_take_no_part() -> None:
    design, y, exposure = sample(6, empty=0.3)
    on = exposure > 0
    from rtmdx.model.design import Block, Design

    fewer = Design(tuple(Block(b.codes[on], b.decode, b.variables) for b in design.blocks), int(on.sum()))
    for family in FAMILIES:
        a = stepwise(design, y, range(24), families=(family,), exposure=exposure)
        b = stepwise(fewer, y[on], range(24), families=(family,), exposure=exposure[on])
        assert a.model.parameters.tobytes() == b.model.parameters.tobytes()
        assert a.trace == b.trace


def test_a_column_constant_where_exposed_is_named() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (400, 2))
    exposure = x[:, 0].astype(float)
    y = np.where(exposure > 0, rng.poisson(1.0, 400), 0)
    step = stepwise(binary_design(x), y, (0, 1), exposure=exposure).trace[0]
    assert {a.variable[:6]: a.reason for a in step.ruled_out}["r01d01"] == "constant"


def test_unusable_exposure_is_named() -> None:
    design, y, exposure = sample(7)
    y[5] = 2

    def changed(i: int, value: float):
        e = exposure.copy()
        e[i] = value
        return e

    for fit in (
        lambda e: fit_count_model(design, y, COLUMNS, exposure=e),
        lambda e: stepwise(design, y, (), exposure=e),
    ):
        for value in (np.nan, np.inf, -1.0):
            with pytest.raises(InputError, match="of cell 5 is not"):
                fit(changed(5, value))
        with pytest.raises(InputError, match="cell 5 has 2 events but exposure 0"):
            fit(changed(5, 0.0))
        with pytest.raises(InputError, match="shape"):
            fit(exposure[:-1])
    with pytest.raises(InputError, match="in every cell"):
        fit_count_model(design, np.zeros(1500), COLUMNS, exposure=np.zeros(1500))
    model = fit_count_model(design, y, COLUMNS, exposure=exposure)
    with pytest.raises(InputError, match="needs? one|need one"):
        model.expected(design)
