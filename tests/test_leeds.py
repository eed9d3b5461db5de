"""The published RTMDx report on burglary in Leeds, 2011: its arithmetic, and its parameters recovered."""

from __future__ import annotations

import numpy as np
import pytest
from stats_designs import bits_block, dense

from rtmdx.model.design import Design
from rtmdx.model.families import CountModel, fit_count_model
from rtmdx.model.stepwise import stepwise

INTERCEPT, BUS, DETACHED, LOG_S = -3.3565, 3.0617, 2.1578, 1.6985
CELLS, EVENTS = 9199, 13857


def leeds_design() -> Design:
    """Shares of cells chosen so that the expected total is the report's number of events.

    With f_ab the share of cells with bus stop a and detached point b and base mean exp(intercept):
    0.2 + 21.36 x 0.552 + 8.65 x 0.079 + 184.8 x 0.169 = 43.9 base means, 14,060 events; the exact
    share of the fourth class is solved for.
    """
    base = np.exp(INTERCEPT)
    bus, detached = np.exp(BUS), np.exp(DETACHED)
    f00, f01 = 0.20, 0.08
    # f10 + f11 = 1 - f00 - f01, mean = base (f00 + bus f10 + detached f01 + bus detached f11)
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
    assert mu.sum() == pytest.approx(EVENTS, rel=0.005)


@pytest.mark.parametrize("seed", range(8))
def test_parameters_are_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design, s = leeds_design(), np.exp(LOG_S)
    mu = np.exp(INTERCEPT + dense(design) @ [BUS, DETACHED])
    y = rng.poisson(rng.gamma(mu / s, s))
    model = fit_count_model(design, y, (0, 1), family="nbii")
    error = np.abs(model.parameters - [INTERCEPT, BUS, DETACHED, LOG_S])
    assert (error < 3 * model.standard_errors).all()
    assert (model.standard_errors < 0.3).all()
    assert model.expected(design).sum() == pytest.approx(y.sum(), rel=1e-6)
    search = stepwise(design, y, (0, 1))
    assert search.model.family == "nbii"
    assert search.model.columns == (0, 1)
    assert search.model.bic == pytest.approx(model.bic, rel=1e-10)
