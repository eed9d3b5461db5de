"""Culling where numbers are extreme: far solutions, huge counts, tolerances below rounding; and where it is stopped."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdx.errors import Cancelled
from rtmdx.model.culling import CullingResult, cull
from rtmdx.model.tabulate import tabulate
from stats_designs import binary_design, dense, random_design, simulate


def violation(result: CullingResult, x: np.ndarray, y: np.ndarray, exposure: np.ndarray | float = 1.0) -> float:
    """Largest violation of the optimality conditions, from the dense matrix, as a share of the first penalty."""
    mu = exposure * np.exp(result.intercept + x @ result.coefficients)
    g = x.T @ (mu - y) / len(y) + result.ridge * result.coefficients
    on = result.coefficients > 0
    off = np.where(on, np.abs(g + result.penalty), np.maximum(0.0, -g - result.penalty))
    return float(max(off.max(), abs((mu - y).sum()) / len(y)) / result.lambda_max)


def test_a_solution_far_from_the_start_is_reached() -> None:
    """Nearly all events in few cells: the first Newton step is far too long, and the predictor overflows."""
    n = 1_000_000
    x = np.zeros((n, 1), np.int64)
    x[:500] = 1
    y = np.zeros(n)
    y[:400] = 5.0
    y[600_000] = 1.0
    folds = np.arange(n) % 3
    design = binary_design(x)
    result = cull(design, y, folds, ridge=(0.0,), n_penalties=2, min_ratio=1e-3)
    assert result.selected == (0,)
    assert violation(result, dense(design), y) <= 1e-6


@pytest.mark.parametrize("tolerance", [1e-9, 1e-12, 1e-15])
def test_a_tolerance_below_rounding_is_answered_with_what_rounding_allows(tolerance: float) -> None:
    rng = np.random.default_rng(3)
    design = random_design(rng, 3000, 5, bands=3)
    y = simulate(rng, design, {2: 0.8, 9: 0.5, 13: 0.7}, base=0.3, dispersion=0.4).astype(float)
    result = cull(design, y, np.arange(3000) % 4, tolerance=tolerance, n_penalties=20)
    assert violation(result, dense(design), y) <= 1e-9


@pytest.mark.parametrize("size", [1e5, 1e9])
def test_huge_counts_in_every_cell(size: float) -> None:
    rng = np.random.default_rng(4)
    design = random_design(rng, 1500, 4, bands=3)
    x = dense(design)
    y = rng.poisson(size * np.exp(0.3 * x[:, 1] + 0.2 * x[:, 7])).astype(float)
    result = cull(design, y, np.arange(1500) % 5, n_penalties=20)
    assert {1, 7} <= set(result.selected)
    assert violation(result, x, y) <= 1e-6


def test_exposures_over_seven_orders_of_magnitude_are_fitted_as_they_are() -> None:
    rng = np.random.default_rng(5)
    design = random_design(rng, 4000, 4, bands=3)
    x = dense(design)
    exposure = 10.0 ** rng.uniform(-5, 2, 4000)
    y = rng.poisson(exposure * np.exp(0.8 * x[:, 1])).astype(float)
    y[np.argsort(exposure)[:300]] += rng.integers(0, 2, 300)
    result = cull(design, y, np.arange(4000) % 4, exposure=exposure, n_penalties=20)
    assert violation(result, x, y, exposure) <= 2e-6
    assert not any("exposure" in note for note in result.notes)
    exposure[np.argmax(exposure)] = 1e17
    result = cull(design, y, np.arange(4000) % 4, exposure=exposure, n_penalties=5)
    assert any("cells have so little exposure" in note for note in result.notes)


class Stop(Exception):
    """What a caller's check may raise."""


def test_every_stage_can_be_stopped() -> None:
    """However late the check says stop, culling ends with it: while tabulating, in the path, in the last fit."""
    rng = np.random.default_rng(6)
    design = random_design(rng, 70_000, 4, bands=3)
    y = simulate(rng, design, {2: 0.8}, base=0.1, dispersion=0.4).astype(float)
    folds = np.arange(len(y)) % 3
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    cull(design, y, folds, n_penalties=5, cancel=count)
    for last in {1, 2, 3, asked // 2, asked}:
        left = last

        def stop() -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        with pytest.raises(Cancelled):
            cull(design, y, folds, n_penalties=5, cancel=stop)


def test_polls_between_chunks_of_cells() -> None:
    rng = np.random.default_rng(7)
    design = random_design(rng, 200_000, 2, bands=2)

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        tabulate(design, np.zeros(200_000), poll=stop)
    polled = []
    tabulate(design, np.zeros(200_000), poll=lambda: polled.append(1))
    assert len(polled) >= 4
