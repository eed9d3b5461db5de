from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from rtmdx.errors import Cancelled, FitError, InputError
from rtmdx.model.design import Block, Design
from rtmdx.model.families import fit_count_model
from rtmdx.model.stepwise import stepwise
from stats_designs import binary_design, bits_block, dense, proximity_block, random_design, simulate, variable


def oracle_fit(x, y, family: str):
    """BIC and coefficients by a general-purpose maximiser on SciPy's mass functions, cell by cell."""
    n, k = x.shape

    def loss(p) -> float:
        mu = np.exp(np.clip(p[0] + x @ p[1 : 1 + k], -30, 30))
        if family == "poisson":
            return -float(stats.poisson.logpmf(y, mu).sum())
        d = np.exp(np.clip(p[-1], -20, 20))
        if family == "nbii":
            return -float(stats.nbinom.logpmf(y, mu / d, 1 / (1 + d)).sum())
        return -float(stats.nbinom.logpmf(y, 1 / d, 1 / (1 + d * mu)).sum())

    start = np.zeros(k + 1 + (family != "poisson"))
    start[0] = np.log(y.mean())
    best = optimize.minimize(loss, start, method="L-BFGS-B", options={"ftol": 1e-13, "gtol": 1e-7})
    return 2 * best.fun + len(start) * np.log(n), best.x[1 : 1 + k]


def oracle_search(design: Design, y, candidates, family: str):
    """The same search, model by model from the dense matrix."""
    factor = [v.factor for v in design.variables]
    columns: list[int] = []
    bic, _ = oracle_fit(dense(design, columns), y, family)
    path = []
    while True:
        moves = [("drop", j, [c for c in columns if c != j]) for j in columns]
        taken = {factor[c] for c in columns}
        moves += [("add", j, [*columns, j]) for j in candidates if factor[j] not in taken]
        best = None
        for action, j, new in moves:
            value, coefficients = oracle_fit(dense(design, new), y, family)
            if (coefficients > 0).all() and (best is None or value < best[0]):
                best = (value, action, j, new)
        if best is None or best[0] >= bic:
            return sorted(columns), bic, path
        bic, columns = best[0], best[3]
        path.append((best[1], design.variables[best[2]].name))


@pytest.mark.parametrize("family", ["poisson", "nbii", "nb2"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_brute_force(seed: int, family: str) -> None:
    rng = np.random.default_rng(seed)
    design = random_design(rng, 400, 4)
    y = simulate(rng, design, {2: 0.9, 9: 0.8, 19: 0.8}, base=0.6, dispersion=0.6)
    candidates = (1, 2, 4, 8, 9, 13, 15, 19, 22)
    result = stepwise(design, y, candidates, families=(family,))
    columns, bic, path = oracle_search(design, y, candidates, family)
    assert list(result.model.columns) == columns
    assert result.model.bic == pytest.approx(bic, abs=1e-3)
    moves = [(s.action, s.variable) for s in result.trace]
    assert moves == [*path, ("stop", None)]


def test_a_drop_is_taken() -> None:
    """A stand-in for two variables enters first and must leave once both are in."""
    rng = np.random.default_rng(4)
    a, b = (rng.random((2, 20000)) < 0.3).astype(int)
    stand_in = np.where(rng.random(20000) < 0.06, rng.integers(0, 2, 20000), a | b)
    design = binary_design(np.column_stack([a, b, stand_in]))
    y = rng.poisson(0.5 * np.exp(a + b + 0.03 * stand_in))
    result = stepwise(design, y, (0, 1, 2), families=("poisson",))
    actions = [(s.action, s.variable) for s in result.trace]
    assert result.model.columns == (0, 1)
    assert ("add", design.variables[2].name) in actions
    assert ("drop", design.variables[2].name) in actions


def city(seed: int = 0):
    rng = np.random.default_rng(seed)
    design = random_design(rng, 3000, 6)
    y = simulate(rng, design, {1: 0.6, 10: 0.7, 20: 0.6, 26: 0.5}, base=0.4, dispersion=1.0)
    return design, y, range(len(design.variables))


def test_result_keeps_the_rules() -> None:
    design, y, candidates = city()
    result = stepwise(design, y, candidates, families=("poisson", "nbii", "nb2"))
    assert result.model.bic == min(m.bic for m in result.models.values())
    assert result.model.family == "nbii"
    for family, model in result.models.items():
        factors = [v.factor for v in model.variables]
        assert len(set(factors)) == len(factors)
        assert (model.coefficients > 0).all()
        again = fit_count_model(design, y, model.columns, family=family)
        assert model.bic == pytest.approx(again.bic, rel=1e-12)
        assert model.parameters == pytest.approx(again.parameters, abs=1e-8)
        assert model.covariance == pytest.approx(again.covariance, rel=1e-5, abs=1e-10)
        steps = [s for s in result.trace if s.family == family]
        assert [s.number for s in steps] == list(range(1, len(steps) + 1))
        assert steps[0].bic_before == result.null_bic[family]
        assert steps[-1].action == "stop"
        assert steps[-1].bic_after == model.bic
        for step in steps[:-1]:
            assert step.bic_after < step.bic_before
            assert step.alternatives[0].variable == step.variable
            assert len(step.alternatives) <= 5


def test_order_of_factors_and_candidates_does_not_matter() -> None:
    design, y, candidates = city(1)
    order = np.random.default_rng(1).permutation(len(design.blocks))
    other = Design(tuple(design.blocks[b] for b in order), design.n_cells)
    a = stepwise(design, y, candidates)
    b = stepwise(other, y, list(candidates)[::-1])
    assert {v.name for v in a.model.variables} == {v.name for v in b.model.variables}
    assert a.model.bic == pytest.approx(b.model.bic, rel=1e-12)
    assert [(s.action, s.variable) for s in a.trace] == [(s.action, s.variable) for s in b.trace]


def test_same_input_same_bits() -> None:
    design, y, candidates = city(2)
    a, b = (stepwise(design, y, candidates) for _ in range(2))
    assert a.model.parameters.tobytes() == b.model.parameters.tobytes()
    assert a.trace == b.trace


def test_ties_go_to_smaller_distance_then_proximity_then_factor_order() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 2000).astype(np.uint8)
    y = rng.poisson(0.5 * np.exp(0.8 * x))
    decode = np.array([[0], [1]], dtype=np.uint8)

    def twin(factor: int, kind: str, distance: float) -> Block:
        return Block(x, decode, (variable(factor, kind, 1, 1, int(x.sum()), distance),))

    blocks = [
        twin(0, "proximity", 300),
        twin(1, "density", 200),
        twin(2, "proximity", 200),
        twin(3, "proximity", 200),
    ]
    for expected in ("layer2_proximity_200", "layer3_proximity_200", "layer1_density_200", "layer0"):
        design = Design(tuple(blocks), 2000)
        model = stepwise(design, y, range(len(blocks)), families=("poisson",)).model
        assert len(model.variables) == 1
        assert expected in model.variables[0].name
        blocks = [b for b in blocks if expected not in b.variables[0].name]


def test_separation_is_not_enterable_and_traced() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((1000, 4)) < 0.3).astype(int)
    y = rng.poisson(0.4 * np.exp(0.9 * x[:, 2]))
    y[x[:, 0] == 1] = 0  # never with events
    x[:, 3] = 1  # constant
    result = stepwise(binary_design(x, (1, 1, 1, 1)), y, range(4))
    for step in result.trace:
        reasons = {a.variable[:6]: a.reason for a in step.ruled_out}
        assert "no events where it is 1" in reasons["r01d01"]
        assert reasons["r04d01"] == "constant"
    assert 2 in result.model.columns
    # protective: its coefficient would run to plus infinity, and is no more enterable
    protective = stepwise(binary_design(x, (-1, 1, 1, 1)), y, range(4))
    assert 0 not in protective.model.columns
    # events only inside
    inside = np.where(x[:, 1] == 1, y + 1, 0)
    result = stepwise(binary_design(x), inside, (1, 2))
    assert 1 not in result.model.columns
    assert any("no events where it is 0" in str(a.reason) for a in result.trace[0].ruled_out)


def test_wrong_signs_never_enter() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (3000, 2))
    y = rng.poisson(np.exp(-0.8 * x[:, 0] + 0.5 * x[:, 1]))
    wrong = stepwise(binary_design(x), y, (0, 1))
    assert wrong.model.columns == (1,)
    assert any(a.reason == "a coefficient is not positive" for a in wrong.trace[0].ruled_out)
    right = stepwise(binary_design(x, (-1, 1)), y, (0, 1))
    assert right.model.columns == (0, 1)
    assert right.model.coefficients == pytest.approx([0.8, 0.5], abs=0.15)


def test_boundary_family_loses_to_poisson_and_is_noted() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (800, 2))
    y = rng.binomial(3, 0.2 + 0.4 * x[:, 0])
    result = stepwise(binary_design(x), y, (0, 1))
    assert result.model.family == "poisson"
    assert result.models["nbii"].at_boundary
    assert result.models["nbii"].columns == (0,)
    assert result.models["nbii"].bic == pytest.approx(result.model.bic + np.log(800))
    assert any("dispersion is 0" in note for note in result.notes)


def test_weak_variables_are_flagged_not_removed() -> None:
    design, y, candidates = city()
    strict = stepwise(design, y, candidates, families=("nbii",), alpha=1e-40)
    loose = stepwise(design, y, candidates, families=("nbii",))
    assert strict.model.columns == loose.model.columns
    weak = [v.name for v, p in zip(strict.model.variables, strict.model.p_values[1:], strict=True) if p > 1e-40]
    assert weak
    assert strict.flagged["nbii"] == tuple(weak)
    assert loose.flagged["nbii"] == ()
    assert any(weak[0] in note for note in strict.notes)


def test_no_candidates_gives_the_null_model() -> None:
    design, y, _ = city()
    result = stepwise(design, y, ())
    assert result.model.columns == ()
    assert result.model.bic == min(result.null_bic.values())


def test_only_candidates_enter_and_steps_are_capped() -> None:
    design, y, _ = city()
    assert set(stepwise(design, y, (1, 10)).model.columns) <= {1, 10}
    capped = stepwise(design, y, range(36), families=("poisson",), max_steps=1)
    assert len(capped.model.columns) == 1
    assert any("max_steps" in note for note in capped.notes)


def test_nested_bands_of_one_factor_do_not_enter_together() -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(0, 5, 4000)
    design = Design((proximity_block(code, 4, 0), bits_block(rng.integers(0, 2, (4000, 2)), 0)), 4000)
    y = rng.poisson(np.exp(1.5 - 0.6 * code))
    assert len(stepwise(design, y, range(6)).model.columns) == 1


def test_progress_cancel_and_bad_input() -> None:
    design, y, candidates = city()
    seen: list[tuple[str, int, int]] = []
    stepwise(design, y, candidates, progress=lambda *a: seen.append(a))
    assert {s for s, _, _ in seen} == {"stepwise"}
    assert [d for _, d, _ in seen] == sorted(d for _, d, _ in seen)
    assert seen[-1][1] == seen[-1][2]
    with pytest.raises(Cancelled):
        stepwise(design, y, candidates, cancel=lambda: True)
    with pytest.raises(FitError, match="no events"):
        stepwise(design, np.zeros(3000), candidates)
    with pytest.raises(InputError, match="families"):
        stepwise(design, y, candidates, families=("gamma",))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="families"):
        stepwise(design, y, candidates, families=())
    with pytest.raises(InputError, match="column 999"):
        stepwise(design, y, (999,))
    with pytest.raises(InputError, match="alpha"):
        stepwise(design, y, candidates, alpha=0.0)
    with pytest.raises(InputError, match="max_steps"):
        stepwise(design, y, candidates, max_steps=-1)
