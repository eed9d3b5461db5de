"""Cluster-robust covariances and profile-likelihood intervals of count models."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from rtmdx.errors import InputError
from rtmdx.model.design import Block, Design
from rtmdx.model.families import fit_count_model, with_clusters
from rtmdx.model.stepwise import stepwise
from stats_designs import binary_design, dense, random_design

COLUMNS = (2, 9, 14)
FAMILIES = ("poisson", "nbii", "nb2")


def sample(seed: int, n: int = 1200):
    """Counts with district effects, and the districts."""
    rng = np.random.default_rng(seed)
    design = random_design(rng, n, 3)
    district = rng.integers(0, 25, n)
    exposure = rng.gamma(3.0, 0.3, n)
    level = rng.normal(0.0, 0.8, 25)[district]
    mu = exposure * 0.6 * np.exp(dense(design, (2, 9)) @ [0.7, 0.6] + level)
    return design, rng.poisson(rng.gamma(mu / 0.9, 0.9)), district, exposure


def test_names_as_pandas_holds_them_are_districts_and_a_missing_one_is_named() -> None:
    design, y, district, _ = sample(3)
    names = np.array([f"district {d}" for d in district], dtype=object)
    by_number = fit_count_model(design, y, COLUMNS, family="poisson", cluster=district)
    by_name = fit_count_model(design, y, COLUMNS, family="poisson", cluster=names)
    assert by_name.robust_covariance == pytest.approx(by_number.robust_covariance, rel=1e-12)
    for missing in (None, float("nan")):
        names[17] = missing
        with pytest.raises(InputError, match="cluster of cell 17 is (None|nan), expected a whole number or a name"):
            fit_count_model(design, y, COLUMNS, family="poisson", cluster=names)


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("family", ["poisson", "nb2"])
def test_sandwich_equals_statsmodels(family: str, exposed: bool) -> None:
    design, y, district, exposure = sample(0)
    given = exposure if exposed else None
    model = fit_count_model(design, y, COLUMNS, family=family, cluster=district, exposure=given)
    x = sm.add_constant(dense(design, COLUMNS))
    kwds = {"groups": district, "use_correction": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if family == "poisson":
            ref = sm.Poisson(y, x, exposure=given).fit(
                disp=0, method="newton", tol=1e-12, cov_type="cluster", cov_kwds=kwds
            )
        else:
            ref = sm.NegativeBinomial(y, x, exposure=given).fit(
                disp=0, method="bfgs", gtol=1e-10, maxiter=1000, cov_type="cluster", cov_kwds=kwds
            )
    k = 1 + len(COLUMNS)
    factor = np.sqrt(25 / 24)
    assert model.n_clusters == 25
    assert model.robust_standard_errors[:k] == pytest.approx(factor * ref.bse[:k], rel=1e-4)
    if family == "nb2":  # ours is of log alpha
        assert model.robust_standard_errors[k] == pytest.approx(factor * ref.bse[k] / ref.params[k], rel=1e-3)
    p = 2 * stats.norm.sf(np.abs(model.parameters[:k]) / (factor * ref.bse[:k]))
    assert model.robust_p_values == pytest.approx(p, rel=1e-2, abs=1e-12)


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_sandwich_equals_numeric_scores(family: str, exposed: bool) -> None:
    design, y, district, exposure = sample(1, 500)
    if not exposed:
        exposure = np.ones(500)
    model = fit_count_model(design, y, COLUMNS, family=family, cluster=district, exposure=exposure if exposed else None)
    x = np.column_stack([np.ones(500), dense(design, COLUMNS)])
    k = x.shape[1]

    def by_cell(p):
        mu = exposure * np.exp(x @ p[:k])
        if family == "poisson":
            return stats.poisson.logpmf(y, mu)
        d = np.exp(p[k])
        return stats.nbinom.logpmf(y, *((mu / d, 1 / (1 + d)) if family == "nbii" else (1 / d, 1 / (1 + d * mu))))

    h = 1e-5
    at = model.parameters
    scores = np.column_stack([(by_cell(at + h * e) - by_cell(at - h * e)) / (2 * h) for e in np.eye(len(at))])
    sums = np.array([scores[district == g].sum(axis=0) for g in range(25)])
    expected = model.covariance @ sums.T @ sums @ model.covariance * 25 / 24
    assert model.robust_covariance == pytest.approx(expected, rel=1e-4, abs=1e-9)
    low, high = model.rrv_interval(robust=True).T
    margin = 1.959964 * np.sqrt(np.diag(expected))[1:k]
    assert np.log(high / low) == pytest.approx(2 * margin, rel=1e-4)


def test_clusters_by_name_order_and_each_cell() -> None:
    design, y, district, _ = sample(2)
    model = fit_count_model(design, y, COLUMNS)
    assert model.robust_standard_errors is None
    assert model.robust_p_values is None
    a = with_clusters(model, design, y, district)
    names = np.array([f"district {chr(97 + i)}" for i in range(25)])
    b = with_clusters(model, design, y, names[district])
    assert a.robust_covariance.tobytes() == b.robust_covariance.tobytes()
    order = np.random.default_rng(0).permutation(len(y))
    other = Design(tuple(Block(b.codes[order], b.decode, b.variables) for b in design.blocks), len(y))
    c = with_clusters(model, other, y[order], district[order])
    assert a.robust_covariance.tobytes() == c.robust_covariance.tobytes()
    # clusters of one cell each give White's covariance: the average score is near the model's own
    alone = with_clusters(model, design, y, np.arange(len(y)))
    assert alone.n_clusters == len(y)
    assert alone.robust_standard_errors == pytest.approx(model.standard_errors, rel=0.25)
    assert (a.robust_standard_errors[:1] > 1.2 * model.standard_errors[:1]).all()  # districts differ in level


def test_at_the_boundary_the_robust_covariance_is_poisson_s() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (500, 1))
    y = rng.binomial(4, 0.3 + 0.3 * x[:, 0])
    district = rng.integers(0, 10, 500)
    p = fit_count_model(binary_design(x), y, (0,), family="poisson", cluster=district)
    n = fit_count_model(binary_design(x), y, (0,), family="nbii", cluster=district)
    assert n.at_boundary
    assert n.robust_standard_errors[:2] == pytest.approx(p.robust_standard_errors)
    assert np.isfinite(n.robust_p_values).all()


def test_unusable_clusters_are_named() -> None:
    design, y, district, exposure = sample(3)
    with pytest.raises(InputError, match="shape"):
        fit_count_model(design, y, COLUMNS, cluster=district[:-1])
    with pytest.raises(InputError, match="float64"):
        fit_count_model(design, y, COLUMNS, cluster=district * 1.5)
    with pytest.raises(InputError, match="at least two"):
        fit_count_model(design, y, COLUMNS, cluster=np.zeros(len(y), int))
    one = np.where(exposure > 0.1, 0, 1)
    with pytest.raises(InputError, match="at least two"):
        fit_count_model(design, np.where(one, 0, y), COLUMNS, cluster=one, exposure=np.where(one, 0.0, exposure))
    with pytest.raises(InputError, match="robust"):
        fit_count_model(design, y, COLUMNS).rrv_interval(robust=True)


def test_clusters_as_objects() -> None:
    """Columns of pandas hold names as objects; order of cells and kind of array change no bit."""
    design, y, district, _ = sample(2)
    model = fit_count_model(design, y, COLUMNS)
    names = np.array([f"district {chr(97 + i)}" for i in range(25)])[district]
    expected = with_clusters(model, design, y, district).robust_covariance.tobytes()
    for labels in (
        names.astype(object),
        names.tolist(),
        pd.Series(names),
        pd.Series(names, dtype="string"),
        pd.Categorical(names),
        district.astype(object),
        pd.array(district, dtype="Int64"),
        np.ma.masked_array(district, np.zeros(len(y), bool)),
    ):
        found = with_clusters(model, design, y, labels)
        assert found.n_clusters == 25
        assert found.robust_covariance.tobytes() == expected
    order = np.random.default_rng(0).permutation(len(y))
    other = Design(tuple(Block(b.codes[order], b.decode, b.variables) for b in design.blocks), len(y))
    assert with_clusters(model, other, y[order], names.astype(object)[order]).robust_covariance.tobytes() == expected
    mixed = np.where(district < 3, district.astype(object), names.astype(object))  # numbers beside names
    assert with_clusters(model, design, y, mixed).robust_covariance == pytest.approx(
        with_clusters(model, design, y, district).robust_covariance, rel=1e-12
    )


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_a_missing_cluster_is_named(missing: object) -> None:
    design, y, district, exposure = sample(2)
    labels = district.astype(object)
    labels[[9, 30]] = missing
    with pytest.raises(InputError, match=r"cluster of cell 9 is .*, expected a whole number or a name"):
        fit_count_model(design, y, COLUMNS, cluster=labels)
    exposure[[9, 30]] = 0.0  # cells that take no part need no district
    counts = np.where(exposure > 0, y, 0)
    a = fit_count_model(design, counts, COLUMNS, cluster=labels, exposure=exposure)
    b = fit_count_model(design, counts, COLUMNS, cluster=district, exposure=exposure)
    assert a.robust_covariance.tobytes() == b.robust_covariance.tobytes()


def test_clusters_that_are_no_labels_are_named() -> None:
    design, y, district, _ = sample(2)
    with pytest.raises(InputError, match=r"cluster of cell 4 is (nan|np.float64.nan.|masked), expected"):
        fit_count_model(design, y, COLUMNS, cluster=np.where(np.arange(len(y)) == 4, np.nan, district))
    with pytest.raises(InputError, match=r"cluster of cell 4 is (nan|np.float64.nan.|masked), expected"):
        fit_count_model(design, y, COLUMNS, cluster=np.ma.masked_array(district, np.arange(len(y)) == 4))
    labels = district.astype(object)
    labels[6] = 2.5
    with pytest.raises(InputError, match=r"cluster of cell 6 is 2.5, expected"):
        fit_count_model(design, y, COLUMNS, cluster=labels)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("family", FAMILIES)
def test_profile_interval_equals_brute_force(family: str, level: float) -> None:
    design, y, _, exposure = sample(4, 300)
    model = fit_count_model(design, y, COLUMNS, family=family, exposure=exposure)
    x = np.column_stack([np.ones(300), dense(design, COLUMNS)])
    i = 2

    def log_likelihood(p) -> float:
        mu = exposure * np.exp(x @ p[:4])
        if family == "poisson":
            return float(stats.poisson.logpmf(y, mu).sum())
        d = np.exp(p[4])
        args = (mu / d, 1 / (1 + d)) if family == "nbii" else (1 / d, 1 / (1 + d * mu))
        return float(stats.nbinom.logpmf(y, *args).sum())

    def fall(b: float) -> float:
        def loss(rest):
            return -log_likelihood(np.insert(rest, i, b))

        start = np.delete(model.parameters, i)
        best = optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-6})
        return 2 * (model.log_likelihood + best.fun) - stats.chi2.ppf(level, 1)

    low, high = np.log(model.profile_interval(level)[i - 1])
    est, se = model.parameters[i], model.standard_errors[i]
    assert low == pytest.approx(optimize.brentq(fall, est - 6 * se, est - 0.1 * se, xtol=1e-9), abs=1e-6)
    assert high == pytest.approx(optimize.brentq(fall, est + 0.1 * se, est + 6 * se, xtol=1e-9), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_profile_interval_is_near_wald_s_where_cells_are_many(family: str) -> None:
    rng = np.random.default_rng(5)
    design = random_design(rng, 40000, 3)
    y = rng.poisson(rng.gamma(np.exp(dense(design, (2, 9)) @ [0.7, 0.6]) / 0.8, 0.8))
    model = stepwise(design, y, (2, 9), families=(family,)).model
    assert np.log(model.profile_interval()) == pytest.approx(np.log(model.rrv_interval()), abs=2e-3)
    assert model.profile_interval(0.5)[:, 0] == pytest.approx(model.rrv_interval(0.5)[:, 0], rel=1e-3)


def test_profile_interval_of_few_events_is_skew_and_finite() -> None:
    """Two events inside, one outside: a binomial, whose limits are known in closed form up to a root."""
    x = np.repeat([0, 1], 200)[:, None]
    y = np.zeros(400, int)
    y[[0, 200, 201]] = 1
    model = fit_count_model(binary_design(x), y, (0,), family="poisson")
    for level in (0.5, 0.99, 0.9999999):

        def fall(b: float, level: float = level) -> float:
            p = 1 / (1 + np.exp(-b))  # share of the events expected inside
            best = 2 * np.log(2 / 3) + np.log(1 / 3)
            return 2 * (best - 2 * np.log(p) - np.log1p(-p)) - stats.chi2.ppf(level, 1)

        low, high = np.log(model.profile_interval(level)[0])
        assert low == pytest.approx(optimize.brentq(fall, -25, np.log(2) - 0.01), abs=1e-7)
        assert high == pytest.approx(optimize.brentq(fall, np.log(2) + 0.01, 29), abs=1e-7)


def test_profile_at_the_boundary_and_bad_arguments() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (500, 1))
    y = rng.binomial(4, 0.3 + 0.3 * x[:, 0])
    a = fit_count_model(binary_design(x), y, (0,), family="poisson")
    b = fit_count_model(binary_design(x), y, (0,), family="nbii")
    assert b.at_boundary
    assert b.profile_interval() == pytest.approx(a.profile_interval(), rel=1e-6)
    with pytest.raises(InputError, match="level"):
        a.profile_interval(1.0)
    from dataclasses import replace

    with pytest.raises(InputError, match="table"):
        replace(a, table=None).profile_interval()
    assert fit_count_model(binary_design(x), y, ()).profile_interval().shape == (0, 2)


def test_labels_that_cannot_be_compared_are_named() -> None:
    design, y, district, _ = sample(3)
    names = np.array([f"district {g}" for g in district])
    labels = names.astype(object)
    labels[6] = [1, 2]  # a list has no hash
    with pytest.raises(InputError, match=r"cluster of cell 6 is \[1, 2\], expected a whole number or a name"):
        fit_count_model(design, y, COLUMNS, cluster=labels)
    missing = names.astype(object)
    missing[6] = None
    strings = np.array(missing, dtype=np.dtypes.StringDType(na_object=None))
    with pytest.raises(InputError, match=r"cluster of cell 6 is None, expected a whole number or a name"):
        fit_count_model(design, y, COLUMNS, cluster=strings)
    whole = fit_count_model(design, y, COLUMNS, cluster=names.astype(np.dtypes.StringDType()))
    expected = fit_count_model(design, y, COLUMNS, cluster=names).robust_covariance
    assert whole.robust_covariance.tobytes() == expected.tobytes()
