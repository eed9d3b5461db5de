from __future__ import annotations

import math
import pickle
import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from rtmdx import _counts
from rtmdx.errors import FitError, InputError
from rtmdx.model.design import Design
from rtmdx.model.families import fit_count_model
from rtmdx.model.likelihood import fit_table
from rtmdx.model.tables import CellTable, CountTable
from stats_designs import binary_design, dense, random_design, simulate


def log_likelihood(family: str, eta, y, theta: float = 0.0) -> float:
    """Slow and obvious: SciPy's mass functions, cell by cell."""
    mu = np.exp(eta)
    if family == "poisson":
        return float(stats.poisson.logpmf(y, mu).sum())
    d = np.exp(theta)
    if family == "nbii":
        return float(stats.nbinom.logpmf(y, mu / d, 1.0 / (1.0 + d)).sum())
    return float(stats.nbinom.logpmf(y, 1.0 / d, 1.0 / (1.0 + d * mu)).sum())


def sample(seed: int, dispersion: float = 0.9):
    rng = np.random.default_rng(seed)
    design = random_design(rng, 1500, 4)
    y = simulate(rng, design, {2: 0.7, 9: 0.6, 20: 0.5}, base=0.5, dispersion=dispersion)
    return design, y, (2, 9, 14, 20)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", ["poisson", "nbii", "nb2"])
def test_equals_statsmodels(family: str, seed: int) -> None:
    design, y, columns = sample(seed)
    model = fit_count_model(design, y, columns, family=family)
    x = sm.add_constant(dense(design, columns))
    with warnings.catch_warnings():  # the reference stops at its own tolerance, and says so
        warnings.simplefilter("ignore")
        if family == "poisson":
            ref = sm.Poisson(y, x).fit(disp=0, method="newton", tol=1e-12)
        else:
            kind = {"nbii": "nb1", "nb2": "nb2"}[family]
            ref = sm.NegativeBinomial(y, x, loglike_method=kind).fit(disp=0, method="bfgs", gtol=1e-9, maxiter=1000)
    assert model.log_likelihood == pytest.approx(ref.llf, abs=1e-6)
    k = 1 + len(columns)
    assert model.parameters[:k] == pytest.approx(ref.params[:k], abs=1e-5)
    assert model.standard_errors[:k] == pytest.approx(ref.bse[:k], rel=1e-4)
    if family != "poisson":
        assert model.dispersion == pytest.approx(ref.params[k], rel=1e-5)
        assert model.standard_errors[k] == pytest.approx(ref.bse[k] / ref.params[k], rel=1e-4)
    assert model.p_values == pytest.approx(ref.pvalues[:k], rel=1e-3, abs=1e-12)
    assert model.aic == pytest.approx(-2 * ref.llf + 2 * model.df, abs=1e-5)
    assert model.bic == pytest.approx(-2 * ref.llf + model.df * np.log(len(y)), abs=1e-5)


@pytest.mark.parametrize("family", ["poisson", "nbii", "nb2"])
def test_no_better_point_is_found_by_scipy(family: str) -> None:
    design, y, columns = sample(5)
    model = fit_count_model(design, y, columns, family=family)
    x = np.column_stack([np.ones(len(y)), dense(design, columns)])
    k = x.shape[1]

    def loss(p) -> float:
        return -log_likelihood(family, x @ p[:k], y, p[-1])

    assert model.log_likelihood == pytest.approx(-loss(model.parameters), abs=1e-8)
    start = model.parameters + 0.2
    found = optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 20000, "fatol": 1e-9})
    assert -found.fun <= model.log_likelihood + 1e-8
    assert -found.fun == pytest.approx(model.log_likelihood, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_nbii_keeps_the_total_and_nb2_does_not(seed: int) -> None:
    design, y, columns = sample(seed, dispersion=3.0)
    total = float(y.sum())
    for family, kept in (("poisson", True), ("nbii", True), ("nb2", False)):
        model = fit_count_model(design, y, columns, family=family)
        assert model.expected(design).shape == (len(y),)
        missed = abs(model.expected(design).sum() - total) / total
        assert (missed < 1e-6) == kept


def test_null_model_and_properties() -> None:
    design, y, columns = sample(1)
    null = fit_count_model(design, y, (), family="poisson")
    assert null.intercept == pytest.approx(np.log(y.mean()))
    assert null.df == 1
    assert null.log_dispersion is None
    assert null.dispersion is None
    model = fit_count_model(design, y, columns)
    assert model.df == 6
    assert model.n_cells == 1500
    assert model.n_events == y.sum()
    assert model.rrv == pytest.approx(np.exp(model.coefficients))
    low, high = model.rrv_interval(0.9).T
    assert low == pytest.approx(np.exp(model.coefficients - 1.6448536 * model.standard_errors[1:5]))
    assert (low < model.rrv).all()
    assert (model.rrv < high).all()
    eta = model.intercept + dense(design, columns) @ model.coefficients
    assert model.linear_predictor(design) == pytest.approx(eta)
    other = Design(design.blocks[::-1], design.n_cells)
    assert model.linear_predictor(other) == pytest.approx(eta)
    assert pickle.loads(pickle.dumps(model)).parameters.tobytes() == model.parameters.tobytes()
    with pytest.raises(InputError, match="lacks"):
        model.expected(Design(design.blocks[:2], design.n_cells))
    with pytest.raises(InputError, match="level"):
        model.rrv_interval(1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 2]),
    st.lists(st.integers(0, 3000), min_size=1, max_size=5),
    st.floats(-9.0, 9.0),
    st.floats(-14.0, 8.0),
)
def test_derivatives_are_those_of_the_likelihood(number: int, y: list[int], eta: float, theta: float) -> None:
    counts = np.array(y, dtype=float)
    rows = _counts.Rows(np.zeros(len(y), np.int32), counts, np.arange(1.0, len(y) + 1), np.ones(len(y)))

    def at(e: float, t: float):
        sums = np.empty((1, 5))
        value = _counts.count_likelihood(number, rows, np.array([e]), t, sums)
        return value, sums[0].copy()

    h = 1e-4
    value, (g, gg, gt, t, tt) = at(eta, theta)
    up, down = at(eta + h, theta), at(eta - h, theta)
    right, left = at(eta, theta + h), at(eta, theta - h)
    size = 1e-6 * (1.0 + abs(value) + abs(gg) + abs(tt) + abs(g) + abs(t))
    assert g == pytest.approx((up[0] - down[0]) / (2 * h), rel=1e-5, abs=size)
    assert t == pytest.approx((right[0] - left[0]) / (2 * h), rel=1e-5, abs=size)
    assert gg == pytest.approx((up[1][0] - down[1][0]) / (2 * h), rel=1e-5, abs=size)
    assert gt == pytest.approx((right[1][0] - left[1][0]) / (2 * h), rel=1e-5, abs=size)
    assert tt == pytest.approx((right[1][3] - left[1][3]) / (2 * h), rel=1e-5, abs=size)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("theta", [-12.0, -3.0, 0.5, 6.0])
@pytest.mark.parametrize("mu", [1e-4, 0.3, 11.0, 900.0])
def test_likelihood_is_exact(number: int, theta: float, mu: float) -> None:
    """Against log of the rising factorial, term by term (SciPy's own cancels for small dispersions)."""
    d = math.exp(theta)
    for y in (0, 1, 2, 7, 12, 13, 30, 1000):
        r = mu / d if number == 1 else 1.0 / d
        rising = [math.log(r + j) for j in range(y)]
        if number == 1:
            rest = [y * (theta - math.log1p(d)), -r * math.log1p(d)]
        else:
            rest = [y * (theta + math.log(mu) - math.log1p(d * mu)), -r * math.log1p(d * mu)]
        sums = np.empty((1, 5))
        row = _counts.Rows(np.zeros(1, np.int32), np.array([float(y)]), np.ones(1), np.ones(1))
        ours = _counts.count_likelihood(number, row, np.log([mu]), theta, sums)
        free = [y - y * math.log(max(y, 1))]  # what no parameter changes
        assert ours == pytest.approx(math.fsum(rising + rest + free), rel=1e-11, abs=1e-11)


def test_small_dispersion_tends_to_poisson_at_the_right_rate() -> None:
    """d log L / ds at s = 0 is sum((y - mu)^2 - y) / (2 mu); a series that cancels would miss it."""
    y, mu, s = np.arange(12.0), 3.0, 1e-7
    args = (_counts.Rows(np.zeros(12, np.int32), y, np.ones(12), np.ones(12)), np.log([mu]))
    poisson = _counts.count_likelihood(0, *args, 0.0, np.empty((1, 5)))
    nbii = _counts.count_likelihood(1, *args, np.log(s), np.empty((1, 5)))
    assert (nbii - poisson) / s == pytest.approx(np.sum((y - mu) ** 2 - y) / (2 * mu), rel=1e-4)


def test_collapsed_table_loses_nothing() -> None:
    design, y, columns = sample(2)
    cells = CellTable.from_design(design, y.astype(float))
    table = cells.table(cells.node(columns))
    assert table.n_cells == 1500
    assert table.n_events == y.sum()
    assert len(table.y) < 300
    whole = CountTable.of(
        np.column_stack([np.ones(len(y)), dense(design, columns)]),
        np.arange(len(y), dtype=np.int32),
        y.astype(float),
        np.ones(len(y)),
    )
    a, b = fit_table(table, "nbii"), fit_table(whole, "nbii")
    assert a.parameters == pytest.approx(b.parameters, abs=1e-9)
    assert a.log_likelihood == pytest.approx(b.log_likelihood, rel=1e-12)


@pytest.mark.parametrize("family", ["nbii", "nb2"])
def test_dispersion_zero_is_reported_as_boundary(family: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (500, 1))
    y = rng.binomial(4, 0.3 + 0.3 * x[:, 0])  # less variance than Poisson
    design = binary_design(x)
    poisson = fit_count_model(design, y, (0,), family="poisson")
    model = fit_count_model(design, y, (0,), family=family)
    assert model.at_boundary
    assert model.log_dispersion == -np.inf
    assert model.dispersion == 0.0
    assert model.log_likelihood == poisson.log_likelihood
    assert model.df == poisson.df + 1
    assert model.bic == pytest.approx(poisson.bic + np.log(500))
    assert model.standard_errors[:2] == pytest.approx(poisson.standard_errors)
    assert np.isnan(model.standard_errors[2])
    assert np.isfinite(model.p_values).all()


@pytest.mark.parametrize("family", ["poisson", "nbii", "nb2"])
def test_counts_of_a_million(family: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (400, 2))
    mu = 5e5 * np.exp(0.7 * x[:, 0] + 0.2 * x[:, 1])
    y = rng.poisson(rng.gamma(mu / 1e4, 1e4))
    design = binary_design(x)
    model = fit_count_model(design, y, (0, 1), family=family)
    assert y.max() > 1e6
    full = np.column_stack([np.ones(400), x])
    eta = full @ model.parameters[:3]
    theta = 0.0 if model.log_dispersion is None else model.log_dispersion
    assert model.log_likelihood == pytest.approx(log_likelihood(family, eta, y, theta), rel=1e-9)
    assert model.coefficients == pytest.approx([0.7, 0.2], abs=0.05)
    if family == "nbii":
        assert model.expected(design).sum() == pytest.approx(y.sum(), rel=1e-9)
        assert model.dispersion == pytest.approx(1e4, rel=0.3)


@pytest.mark.parametrize("family", ["poisson", "nbii", "nb2"])
def test_what_cannot_be_estimated_is_named(family: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (300, 3))
    y = rng.poisson(1.0, 300)
    with pytest.raises(FitError, match="no events"):
        fit_count_model(binary_design(x), np.zeros(300), (0,), family=family)
    with pytest.raises(FitError, match=r"r01d01.*no events where it is 1"):
        fit_count_model(binary_design(x), np.where(x[:, 0] == 1, 0, y), (0,), family=family)
    with pytest.raises(FitError, match=r"r02d01.*no events where it is 0"):
        fit_count_model(binary_design(x), np.where(x[:, 1] == 0, 0, y), (0, 1), family=family)
    flat = x.copy()
    flat[:, 2] = 1
    with pytest.raises(FitError, match=r"r03d01.*constant"):
        fit_count_model(binary_design(flat), y, (0, 2), family=family)
    twice = x.copy()
    twice[:, 1] = x[:, 0]
    with pytest.raises(FitError, match="collinear"):
        fit_count_model(binary_design(twice), y, (0, 1), family=family)


def test_joint_separation_is_named() -> None:
    """No events where exactly one of the two is 1, but events where both and where neither are."""
    a = np.repeat([0, 0, 1, 1], 50)
    b = np.tile(np.repeat([0, 1], 50), 2)
    both = a & b
    y = np.where(a == b, 2, 0)
    y[::7] += (a == b)[::7]
    design = binary_design(np.column_stack([a, b, both]))
    for family in ("poisson", "nbii", "nb2"):
        with pytest.raises(FitError, match="infinity"):
            fit_count_model(design, y, (0, 1, 2), family=family)


def test_bad_arguments_are_named() -> None:
    design, y, columns = sample(0)
    with pytest.raises(InputError, match="family is 'gamma'"):
        fit_count_model(design, y, columns, family="gamma")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="column 99"):
        fit_count_model(design, y, (99,))
    with pytest.raises(InputError, match="twice"):
        fit_count_model(design, y, (1, 1))
    with pytest.raises(InputError, match="cell 3"):
        fit_count_model(design, np.where(np.arange(1500) == 3, -1, y), columns)
    with pytest.raises(InputError, match="shape"):
        fit_count_model(design, y[:-1], columns)
