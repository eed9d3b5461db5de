"""Calibrated and synthetic controls: SciPy's general solvers and plain loops are the oracle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import worked_examples
from rtmdx.errors import FitError, InputError
from rtmdx.evaluate import calibrated_effects, control_weights, synthetic_control
from rtmdx.evaluate.quadratic import calibrate, simplex_weights
from worked_examples import example


def city(n: int = 120, k: int = 6, seed: int = 0, treated: int = 8) -> tuple[pd.DataFrame, Any]:
    """Areas with quarterly counts before, a population, and two outcomes after."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(2.0, 1.0, n)
    counts = rng.poisson(4 * size[:, None], (n, k))
    table = pd.DataFrame(counts, columns=[f"q{i}" for i in range(k)])
    table["population"] = np.round(300 * size + rng.uniform(50, 100, n))
    mask = np.zeros(n, dtype=bool)
    mask[rng.choice(n, treated, replace=False)] = True
    table["treated"] = mask
    after = pd.DataFrame(
        {"burglary": rng.poisson(16 * size * np.where(mask, 0.6, 1.0)), "other": rng.poisson(30 * size)}
    )
    return table, after


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_weights_are_those_of_a_general_solver(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n = 25
    x = np.column_stack([np.ones(n), rng.poisson(3, (n, k))]).astype(float)
    target = x[rng.choice(n, 5)].sum(axis=0)  # within reach: the sum of five of them
    base = np.full(n, 0.2)
    w = calibrate(x, target, base, np.zeros(k + 1))
    assert w is not None
    np.testing.assert_allclose(x.T @ w, target, rtol=1e-8)
    assert (w >= 0).all()
    found = optimize.minimize(
        lambda v: ((v - base) ** 2 / (2 * base)).sum(), base, jac=lambda v: (v - base) / base, method="SLSQP",
        bounds=[(0, None)] * n, options={"maxiter": 500, "ftol": 1e-13},
        constraints={"type": "eq", "fun": lambda v: x.T @ v - target, "jac": lambda _: x.T},
    )  # fmt: skip
    distance = ((w - base) ** 2 / (2 * base)).sum()
    assert distance <= found.fun + 1e-6 or not found.success


def test_balance_and_totals() -> None:
    table, after = city()
    match = [f"q{i}" for i in range(6)] + ["population"]
    found = control_weights(table, "treated", match)
    mask = table["treated"].to_numpy()
    for column in match:
        assert found.weights @ table[column] == pytest.approx(table.loc[mask, column].sum(), rel=1e-7)
    assert found.weights.sum() == pytest.approx(mask.sum())
    assert (found.weights[mask] == 0).all()
    balance = found.balance()
    assert balance["constraint"].tolist() == ["areas", *match]
    np.testing.assert_allclose(balance["difference_after"][1:], 0, atol=1e-7)
    assert balance["difference_before"].abs().max() > 0.01
    w = found.weights
    assert found.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    treated, synthetic = found.totals(after)
    np.testing.assert_allclose(treated, after[mask].sum())
    np.testing.assert_allclose(synthetic, w @ after.to_numpy())
    assert "totals are matched exactly" in found.sentence()
    assert len(found.to_frame()) == len(table)
    assert found.to_dict()["constraints"][0] == "areas"


def test_what_cannot_be_matched_is_named_and_how_far_off() -> None:
    table, _ = city()
    table["alone"] = np.where(table["treated"], 5.0, 0.0)  # no control has any
    match = ["q0", "q1", "population", "alone"]
    with pytest.raises(InputError) as caught:
        control_weights(table, "treated", match)
    said = str(caught.value)
    assert "alone: treated 40, nearest 0" in said
    assert "relax=True" in said
    relaxed = control_weights(table, "treated", match, relax=True)
    assert "relaxed" in relaxed.flags
    assert relaxed.exact.tolist() == [True, True, True, True, False]
    close = control_weights(table, "treated", match[:3], close=["alone"])
    np.testing.assert_allclose(close.weights, relaxed.weights)


def test_relaxed_totals_are_as_near_as_they_can_be() -> None:
    table, _ = city(n=60, treated=3, seed=4)
    table.loc[table["treated"], "q0"] += 80  # more than any control has
    found = control_weights(table, "treated", ["q0"], relax=True)
    controls = table.loc[~table["treated"], "q0"].to_numpy(dtype=float)
    best = found.treated.sum() * controls.max()  # all weight on the largest, or the number of areas gives way
    k = found.constraints.index("q0")
    assert found.after[k] == pytest.approx(best, rel=1e-3) or not found.exact[0]


def test_close_columns_come_as_near_as_the_exact_ones_allow() -> None:
    table, _ = city(seed=2)
    exact = control_weights(table, "treated", ["q0", "q1"])
    both = control_weights(table, "treated", ["q0", "q1"], close=["population"])
    i = both.constraints.index("population")
    assert abs(both.after[i] / both.target[i] - 1) < 1e-4
    assert (both.weights != exact.weights).any()


def test_jackknife_is_its_loop() -> None:
    table, after = city(seed=3)
    found = control_weights(table, "treated", ["q0", "q1", "q2"])
    effects = calibrated_effects(found, after, groups=5, seed=11)
    rng = np.random.default_rng(11)
    group = np.empty(len(table), dtype=int)
    for mask in (found.treated, ~found.treated):
        group[mask] = rng.permutation(np.arange(mask.sum()) % 5)
    values = []
    for g in range(5):
        part = table[group != g]
        w = control_weights(part, "treated", ["q0", "q1", "q2"])
        t, s = w.totals(after[group != g])
        values.append(np.log(t / s))
    spread = np.sqrt(4 / 5 * ((np.array(values) - np.mean(values, axis=0)) ** 2).sum(axis=0))
    theta = np.log(np.divide(*found.totals(after)))
    q = stats.t.ppf(0.975, 4)
    for e, th, se in zip(effects.effects, theta, spread, strict=True):
        assert (e.estimate, e.low, e.high) == pytest.approx(tuple(np.expm1([th, th - q * se, th + q * se])))
        assert e.p == pytest.approx(2 * stats.t.sf(abs(th) / se, 4))
        assert e.difference == e.treated - e.synthetic
    assert effects.effects[0].high < 0  # 40 % fewer were planted
    assert effects.effects[1].covers_zero
    assert "burglary" in effects.sentences()[1]
    assert effects.to_frame()["name"].tolist() == ["burglary", "other"]


def test_permutation_interval() -> None:
    table, after = city(seed=3)
    found = control_weights(table, "treated", ["q0", "q1", "q2"])
    a, b = (calibrated_effects(found, after, method="permutation", permutations=99, seed=s).effects for s in (0, 0))
    assert a == b
    assert a[0].p <= 0.05
    assert a[0].high < 0
    assert a[1].covers_zero
    assert a[0].replicates + a[0].failed == 99
    one = control_weights(table.assign(treated=np.arange(len(table)) == 5), "treated", ["q0"])
    with pytest.raises(InputError, match="at least two treated areas"):
        calibrated_effects(one, after)


def test_zero_totals_have_no_ratio() -> None:
    table, after = city(seed=3)
    found = control_weights(table, "treated", ["q0"])
    nothing = after.assign(burglary=np.where(found.treated, 0, after["burglary"]))
    e = calibrated_effects(found, nothing).effects[0]
    assert np.isnan(e.estimate)
    assert "no-limits" in e.flags
    assert e.to_dict()["low"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"match": ["none"]}, "no column 'none'"),
        ({"match": []}, "match: found no columns"),
        ({"match": ["q0", "q0"]}, "named twice"),
        ({"treated": np.zeros(120, dtype=bool)}, "treated: found 0 of 120 areas"),
        ({"treated": np.ones(120, dtype=bool)}, "found 120 of 120"),
        ({"treated": [True]}, "expected 120 booleans"),
        ({"treated": "who"}, "no column 'who'"),
        ({"match": ["hole"]}, "table, column 'hole', row 7: found nan"),
    ],
)
def test_refused(change: Any, said: str) -> None:
    table, _ = city()
    table["hole"] = np.where(np.arange(120) == 7, np.nan, 1.0)
    with pytest.raises(InputError) as caught:
        control_weights(table, **({"treated": "treated", "match": ["q0"]} | change))
    assert said in str(caught.value)


def test_effects_refused() -> None:
    table, after = city()
    found = control_weights(table, "treated", ["q0"])
    with pytest.raises(InputError, match="expected 120 rows"):
        calibrated_effects(found, after[:5])
    with pytest.raises(InputError, match="names: found 1, expected 2"):
        calibrated_effects(found, after, names=["a"])
    few = control_weights(table.assign(treated=np.arange(120) < 70), "treated", ["q0"])
    with pytest.raises((InputError, FitError)):
        calibrated_effects(few, after, method="permutation")


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_simplex_weights_are_those_of_a_general_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(6, 5)), rng.normal(size=6)
    w = simplex_weights(a, b)
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1)
    found = optimize.minimize(
        lambda v: ((a @ v - b) ** 2).sum(), np.full(5, 0.2), method="SLSQP", bounds=[(0, 1)] * 5,
        jac=lambda v: 2 * a.T @ (a @ v - b), options={"ftol": 1e-14, "maxiter": 500},
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1, "jac": lambda _: np.ones(5)},
    )  # fmt: skip
    assert ((a @ w - b) ** 2).sum() <= found.fun + 1e-9


def panel(seed: int = 0, units: int = 9, effect: float = -8.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.normal(0, 1, (30, 7)), axis=0)
    y = 50 + common @ rng.uniform(-1, 1, (7, units)) + rng.normal(0, 0.2, (30, units))
    table = pd.DataFrame(y, columns=[f"u{i}" for i in range(units)], index=range(1990, 2020))
    table["treated"] = 0.6 * table["u1"] + 0.4 * table["u4"] + rng.normal(0, 0.05, 30)
    table.loc[2010:, "treated"] += effect
    return table


def test_synthetic_control_finds_the_mixture() -> None:
    found = synthetic_control(panel(), "treated", 2010)
    assert found.weights["u1"] == pytest.approx(0.6, abs=0.05)
    assert found.weights["u4"] == pytest.approx(0.4, abs=0.05)
    assert found.gap == pytest.approx(-8, abs=0.3)
    assert found.p == pytest.approx(1 / 10)
    assert max(found.placebo_ratios.values()) < found.ratio
    assert found.to_frame().shape == (30, 5)
    assert "u1 0." in found.sentence()
    none = synthetic_control(panel(effect=0.0), "treated", 2010)
    assert abs(none.gap) < 0.3


def test_fitted_importance_misses_the_outcome_no_more_than_equal() -> None:
    table = panel(seed=5)
    predictors = pd.DataFrame(
        {u: [table.loc[:1999, u].mean(), table.loc[2000:2009, u].mean(), (hash(u) % 7) * 1.0 + i] for i, u in
         enumerate(table.columns)}, index=["nineties", "noughties", "noise"]
    )  # fmt: skip
    equal, fitted = (
        synthetic_control(table, "treated", 2010, predictors=predictors, importance=rule, placebos=False)  # type: ignore[arg-type]
        for rule in ("equal", "fitted")
    )
    assert fitted.error_before <= equal.error_before + 1e-9
    assert sum(fitted.importance.values()) == pytest.approx(1)
    given_ = synthetic_control(
        table, "treated", 2010, predictors=predictors, importance={"nineties": 1, "noughties": 1, "noise": 1},
        placebos=False,
    )  # fmt: skip
    assert given_.weights == equal.weights


def test_synthetic_control_refused() -> None:
    table = panel()
    for change, said in (
        ({"treated": "x"}, "no unit 'x'"),
        ({"start": 1990}, "leaves 0 periods before"),
        ({"controls": ["u1"]}, "expected at least 2"),
        ({"controls": ["treated", "u1"]}, "is the treated unit"),
        ({"fit_periods": [2015]}, "expected periods before the start"),
        ({"importance": {"a": 1}}, "importance: found"),
    ):
        with pytest.raises(InputError, match=said):
            synthetic_control(table, **({"treated": "treated", "start": 2010} | change))  # type: ignore[arg-type]
    table.iloc[3, 2] = np.nan
    with pytest.raises(InputError, match="outcome: found nan for 'u2' in 1993"):
        synthetic_control(table, "treated", 2010)


def _beside(name: str) -> Path:
    """A public data set that the published example needs, where someone has put it beside the examples."""
    places = [Path(os.environ[k]) for k in ("RTMDX_EXAMPLE_DATA",) if k in os.environ]
    places += [worked_examples.PATH.parent] if worked_examples.PATH is not None else []
    file = next((p / name for p in places if (p / name).is_file()), None)
    if file is None:
        pytest.skip(f"{name} is not at hand: put it beside worked_examples.json or into RTMDX_EXAMPLE_DATA")
    return file


def test_example_e6() -> None:
    """Blocks of Seattle's drug market intervention: microsynth's data as CSV (ID, time, Intervention, ...)."""
    e = example("E6")
    data = pd.read_csv(_beside("seattledmi.csv"))
    outcomes = ["i_felony", "i_misdemea", "i_drugs", "any_crime"]
    static = ["TotalPop", "BLACK", "HISPANIC", "Males_1521", "HOUSEHOLDS", "FAMILYHOUS", "FEMALE_HOU", "RENTER_HOU",
              "VACANT_HOU"]  # fmt: skip
    wide = data.pivot(index="ID", columns="time", values=outcomes)
    wide.columns = [f"{o}.{t}" for o, t in wide.columns]
    table = wide.join(data.groupby("ID")[[*static, "Intervention"]].max())
    match = [*static, *(f"{o}.{t}" for o in outcomes for t in range(1, 13))]
    found = control_weights(table, table["Intervention"].to_numpy() > 0, match)
    after = np.stack([table[[f"{o}.{t}" for t in range(13, 17)]].sum(axis=1) for o in outcomes], axis=1)
    treated, synthetic = found.totals(after)
    np.testing.assert_allclose(treated, e["expected"]["treated"])
    np.testing.assert_allclose(synthetic, e["expected"]["synthetic"], atol=0.01)


def test_example_e7() -> None:
    """The Basque Country beside Cataluna and Madrid (Abadie & Gardeazabal 2003)."""
    e = example("E7")
    data = pd.read_csv(_beside("basque.csv"))
    data = data[data["regionname"] != "Spain (Espana)"]
    names = data["regionname"].unique()
    outcome = data.pivot(index="year", columns="regionname", values="gdpcap")

    def mean(column: str, years: Any) -> pd.Series:
        return data[data["year"].isin(years)].groupby("regionname")[column].mean()

    school = ["school.illit", "school.prim", "school.med", "school.high"]
    schooling = {c: mean(c, range(1964, 1970)) for c in school}
    high = mean("school.high", range(1964, 1970)) + mean("school.post.high", range(1964, 1970))
    schooling["school.high"] = high
    total = sum(schooling.values())
    sectors = ["sec.agriculture", "sec.energy", "sec.industry", "sec.construction", "sec.services.venta",
               "sec.services.nonventa"]  # fmt: skip
    predictors = pd.DataFrame(
        {
            **{c: 100 * v / total for c, v in schooling.items()},
            "invest": mean("invest", range(1964, 1970)),
            "gdpcap": mean("gdpcap", range(1960, 1970)),
            **{c: mean(c, range(1961, 1970, 2)) for c in sectors},
            "popdens": mean("popdens", [1969]),
        }
    ).T
    treated = next(n for n in names if n.startswith("Basque"))
    found = synthetic_control(
        outcome, treated, 1970, predictors=predictors, fit_periods=range(1960, 1970), placebos=False
    )
    for name, weight in e["expected"].items():
        own = next(n for n in names if n.startswith(name))
        assert found.weights[own] == pytest.approx(weight, abs=1e-4)
