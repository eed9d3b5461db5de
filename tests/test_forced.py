"""Forced variables and factors, and the exchange of one variable for another."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdx.errors import FitError, InputError
from rtmdx.model.design import Design
from rtmdx.model.families import fit_count_model
from rtmdx.model.stepwise import stepwise
from stats_designs import binary_design, proximity_block, random_design, simulate


def city(seed: int = 0):
    rng = np.random.default_rng(seed)
    design = random_design(rng, 3000, 6)
    y = simulate(rng, design, {1: 0.6, 10: 0.7, 20: 0.6, 26: 0.5}, base=0.4, dispersion=1.0)
    return design, y


def test_forced_columns_are_in_from_the_start_and_stay() -> None:
    design, y = city()
    forced = (15, 33)  # noise, of factors 2 and 5
    result = stepwise(design, y, range(36), families=("poisson", "nbii"), forced=forced)
    free = stepwise(design, y, range(36), families=("poisson", "nbii"))
    assert not set(forced) & set(free.model.columns)
    for family, model in result.models.items():
        assert set(forced) <= set(model.columns)
        factors = [v.factor for v in model.variables]
        assert len(set(factors)) == len(factors)
        others = [b for j, b in zip(model.columns, model.coefficients, strict=True) if j not in forced]
        assert (np.array(others) > 0).all()
        again = fit_count_model(design, y, model.columns, family=family)
        assert model.bic == pytest.approx(again.bic, rel=1e-12)
        steps = [s for s in result.trace if s.family == family]
        assert [(s.action, s.variable) for s in steps[:2]] == [("force", design.variables[j].name) for j in forced]
        assert steps[0].bic_before == result.null_bic[family]
        assert not any(
            a.variable in {design.variables[j].name for j in forced} for s in steps[2:] for a in s.alternatives
        )
        assert {1, 10, 20} <= set(model.columns)


def test_the_sign_of_a_forced_column_is_free_unless_held() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (3000, 2))
    y = rng.poisson(np.exp(-0.8 * x[:, 0] + 0.5 * x[:, 1]))
    design = binary_design(x)
    result = stepwise(design, y, (0, 1), forced=(0,))
    assert result.model.columns == (0, 1)
    assert result.model.coefficients == pytest.approx([-0.8, 0.5], abs=0.15)
    assert any("acts against" in note and "r01d01" in note for note in result.notes)
    with pytest.raises(FitError, match=r"r01d01.*forced.*not positive"):
        stepwise(design, y, (0, 1), forced=(0,), forced_sign=True)
    with pytest.raises(FitError, match="none of its variables"):
        stepwise(design, y, (0, 1), forced_factors=(0,), forced_sign=True)


def test_a_forced_factor_stays_with_its_best_variable() -> None:
    """The best band changes once a factor that overlaps it is in: it is exchanged, not dropped."""
    design, y = city(3)
    for factor in range(6):
        result = stepwise(design, y, range(36), families=("nbii",), forced_factors=(factor,))
        inside = [j for j in result.model.columns if design.variables[j].factor == factor]
        assert len(inside) == 1
        assert result.trace[0].action == "force"
        rest = [j for j in result.model.columns if j not in inside]
        bics = {}
        for j in range(36):
            if design.variables[j].factor == factor:
                bics[j] = fit_count_model(design, y, sorted([*rest, j])).bic
        assert inside[0] == min(bics, key=lambda j: bics[j])
    everything = stepwise(design, y, range(36), families=("nbii",), forced_factors=range(6)).model
    assert sorted(v.factor for v in everything.variables) == list(range(6))


def shifted_reach(seed: int = 1):
    """Factor 0 acts within band 2; three factors crowd its band 3, so that the wider one enters first."""
    rng = np.random.default_rng(seed)
    n = 30000
    code = rng.integers(0, 6, n)
    blocks = [proximity_block(code, 5, 0)]
    crowd = np.zeros(n)
    for factor in (1, 2, 3):
        other = np.where(code <= 2, rng.random(n) < 0.7, rng.random(n) < 0.2)
        crowd += other
        blocks.append(proximity_block(1 - other.astype(int), 1, factor))
    return Design(tuple(blocks), n), rng.poisson(0.3 * np.exp(0.4 * (code <= 1) + 0.4 * crowd))


def test_exchange_finds_what_adds_and_drops_cannot() -> None:
    design, y = shifted_reach()
    plain = stepwise(design, y, range(8), families=("poisson",))
    swapped = stepwise(design, y, range(8), families=("poisson",), exchange=True)
    assert plain.model.columns == (2, 5, 6, 7)
    assert swapped.model.columns == (1, 5, 6, 7)
    assert swapped.model.bic < plain.model.bic
    best = plain.exchanges["poisson"][0]
    assert (best.action, best.variable, best.replaced) == (
        "exchange",
        design.variables[1].name,
        design.variables[2].name,
    )
    assert best.bic == pytest.approx(swapped.model.bic, rel=1e-12)
    assert swapped.exchanges["poisson"] == ()
    step = next(s for s in swapped.trace if s.action == "exchange")
    assert (step.variable, step.replaced) == (best.variable, best.replaced)
    assert step.bic_after < step.bic_before


@pytest.mark.parametrize("family", ["poisson", "nbii", "nb2"])
@pytest.mark.parametrize("seed", range(3))
def test_search_with_exchanges_equals_refitting_every_move(seed: int, family: str) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng, 700, 4)
    y = simulate(rng, design, {2: 0.9, 9: 0.8, 19: 0.8}, base=0.5, dispersion=0.6)
    factor = [v.factor for v in design.variables]
    columns: list[int] = []
    bic = fit_count_model(design, y, (), family=family).bic
    while True:
        moves = [[c for c in columns if c != j] for j in columns]
        for j in range(24):
            rest = [c for c in columns if factor[c] != factor[j]]
            if j not in columns:
                moves.append([*rest, j])  # an add, or an exchange where the factor is in
        best = None
        for new in moves:
            try:
                m = fit_count_model(design, y, new, family=family)
            except FitError:
                continue
            if (m.coefficients > 0).all() and (best is None or m.bic < best[0]):
                best = (m.bic, new)
        if best is None or best[0] >= bic - 1e-9 * abs(bic):
            break
        bic, columns = best
    found = stepwise(design, y, range(24), families=(family,), exchange=True).model
    assert list(found.columns) == sorted(columns)
    assert found.bic == pytest.approx(bic, rel=1e-12)


def test_bad_forcing_is_named() -> None:
    design, y = city()
    with pytest.raises(InputError, match="two variables of factor 'layer0'"):
        stepwise(design, y, range(36), forced=(0, 1))
    with pytest.raises(InputError, match="column 99"):
        stepwise(design, y, range(36), forced=(99,))
    with pytest.raises(InputError, match="no candidate"):
        stepwise(design, y, range(6), forced_factors=(3,))
    with pytest.raises(InputError, match="forced twice"):
        stepwise(design, y, range(36), forced=(0,), forced_factors=(0,))
    with pytest.raises(InputError, match="name a factor twice"):
        stepwise(design, y, range(36), forced_factors=(1, 1))
    with pytest.raises(FitError, match="forced.*no events where it is 1"):
        stepwise(design, np.where(design.indicator(0) == 1, 0, y), range(6, 36), forced=(0,))
