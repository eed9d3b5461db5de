"""The published RTMDx report on burglary in Leeds, 2011: its arithmetic, and its parameters recovered."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdx.model.design import Design
from rtmdx.model.families import CountModel, fit_count_model
from rtmdx.model.stepwise import stepwise
from stats_designs import bits_block, dense

INTERCEPT, BUS, DETACHED, LOG_S = -3.3565, 3.0617, 2.1578, 1.6985
CELLS, EVENTS = 9199, 13857


def leeds_design() -> Design:
    """Shares of the four classes of cells such that the expected total is the report's.

    A fifth of the cells have neither, 8 % a detached point only; the share with both is solved for.
    """
    base = np.exp(INTERCEPT)
    bus, detached = np.exp(BUS), np.exp(DETACHED)
    f00, f01 = 0.20, 0.08
    # mean = base (f00 + bus f10 + detached f01 + bus detached f11), and the shares sum to 1
    rest = 1.0 - f00 - f01
    f11 = (EVENTS / CELLS / base - f00 - detached * f01 - bus * rest) / (bus * detached - bus)
    n = np.round(np.array([f00, rest - f11, f01]) * CELLS).astype(int)
    a = np.repeat([0, 1, 0, 1], [*n, CELLS - n.sum()])
    b = np.repeat([0, 0, 1, 1], [*n, CELLS - n.sum()])
    return Design((bits_block(a[:, None], 0, kind="proximity"), bits_block(b[:, None], 1)), CELLS)


def reported() -> CountModel:
    design = leeds_design()
    return CountModel(
        family="nbii",
        variables=design.variables,
        columns=(0, 1),
        intercept=INTERCEPT,
        coefficients=np.array([BUS, DETACHED]),
        log_dispersion=LOG_S,
        covariance=np.eye(4),
        log_likelihood=-18288.17 / 2,
        n_cells=CELLS,
        n_events=EVENTS,
        at_boundary=False,
        converged=True,
        n_iterations=1,
    )


def test_arithmetic_of_the_report() -> None:
    model = reported()
    assert model.rrv == pytest.approx([21.3638, 8.6521], abs=3e-3)
    assert model.rrv.prod() == pytest.approx(184.8, abs=0.1)
    assert model.dispersion == pytest.approx(5.466, abs=1e-3)
    assert model.df == 4
    assert model.deviance == pytest.approx(18288.17)
    assert model.aic == pytest.approx(18296.17, abs=0.005)
    assert model.bic == pytest.approx(18324.68, abs=0.005)


def test_score_of_the_report() -> None:
    model, design = reported(), leeds_design()
    mu = model.expected(design)
    assert mu.max() / mu.min() == pytest.approx(184.8, abs=0.1)
    assert mu.sum() == pytest.approx(EVENTS, rel=1e-3)


def simulated(design: Design, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    s = np.exp(LOG_S)
    mu = np.exp(INTERCEPT + dense(design) @ [BUS, DETACHED])
    return rng.poisson(rng.gamma(mu / s, s))


TRUTH = np.array([INTERCEPT, BUS, DETACHED, LOG_S])


@pytest.mark.parametrize("seed", range(100, 106))
def test_parameters_are_recovered(seed: int) -> None:
    design = leeds_design()
    y = simulated(design, seed)
    model = fit_count_model(design, y, (0, 1), family="nbii")
    assert (np.abs(model.parameters - TRUTH) < 3 * model.standard_errors).all()
    assert (model.standard_errors < 0.3).all()
    assert model.expected(design).sum() == pytest.approx(y.sum(), rel=1e-6)
    search = stepwise(design, y, (0, 1))
    assert search.model.family == "nbii"
    assert search.model.columns == (0, 1)
    assert search.model.bic == pytest.approx(model.bic, rel=1e-10)


def test_standard_errors_are_calibrated() -> None:
    """Over 100 simulations the errors have mean 0 and SD 1 in standard errors, and few exceed 3."""
    design = leeds_design()
    models = [fit_count_model(design, simulated(design, seed), (0, 1)) for seed in range(100)]
    z = np.array([(m.parameters - TRUTH) / m.standard_errors for m in models])
    assert (np.abs(z.mean(axis=0)) < 0.3).all()
    assert (np.abs(z.std(axis=0) - 1.0) < 0.25).all()
    assert np.mean(np.abs(z) > 3.0) < 0.02
