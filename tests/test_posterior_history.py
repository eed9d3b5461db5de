"""What a history says: the level of the cells around, what lasts, and events cut by date."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from rtmdx.errors import InputError
from rtmdx.model.gamma import posterior_rate
from rtmdx.model.history import History, history_of_events
from rtmdx.model.level import Level, Leveler, choose_level, fit_dispersion, local_ratio
from rtmdx.model.persistence import choose_persistence, period_weights
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Cleaning, Events, Selection
from terrain_fixture import city

Float = NDArray[np.float64]


def square(side: int) -> Grid:
    return Grid.from_area(shapely.box(0, 0, side * 10, side * 10), "EPSG:26915", 10)


# -------------------------------------------------------------------------------------- local level


def test_the_local_ratio_is_its_double_sum_and_leaves_the_own_cell_out() -> None:
    grid = city(14, 18, 50.0, "EPSG:26915")
    rng = np.random.default_rng(1)
    mu = rng.gamma(1, 0.5, grid.n_cells)
    y = rng.poisson(mu).astype(float)
    rows, cols = grid.rows_cols
    for h, k in ((1.5, 2.0), (4.0, 0.5)):
        dr, dc = (np.abs(np.subtract.outer(a, a)) for a in (rows, cols))
        reach = np.arange(-math.ceil(4 * h), math.ceil(4 * h) + 1)
        total = np.exp(-0.5 * (reach / h) ** 2).sum()
        w = np.exp(-0.5 * (dr**2 + dc**2) / h**2) / total**2 * (np.maximum(dr, dc) <= math.ceil(4 * h))
        np.fill_diagonal(w, 0)
        w *= 4 * math.pi * h**2
        expected = (k + w @ y) / (k + w @ mu)
        np.testing.assert_allclose(local_ratio(grid, y, mu, Level(h, k)), expected, rtol=1e-10)
        moved = mu * expected
        np.testing.assert_allclose(Leveler(grid, mu / 2, Level(h, k))(y, 2.0), moved / moved.sum() * y.sum() / 2)
    other = y.copy()
    other[7] += 50
    assert local_ratio(grid, other, mu, Level(2.0, 1.0))[7] == pytest.approx(
        local_ratio(grid, y, mu, Level(2.0, 1.0))[7], rel=1e-12
    )


def test_a_huge_count_leaves_no_negative_surroundings() -> None:
    grid = square(9)
    y = np.zeros(grid.n_cells)
    y[40] = 1e6
    ratio = local_ratio(grid, y, np.full(grid.n_cells, 0.1), Level(1.0, 0.25))
    assert (ratio > 0).all()
    assert np.isfinite(ratio).all()


def planted(side: int, seed: int, *, smooth: float) -> tuple[Grid, Float, Float]:
    grid = square(side)
    rng = np.random.default_rng(seed)
    rows, cols = grid.rows_cols
    wave = np.sin(2 * math.pi * rows / side) * np.cos(2 * math.pi * cols / side)
    mu = rng.choice([0.2, 0.6, 1.5], grid.n_cells)
    true = mu * np.exp(smooth * wave)
    s = 0.3
    return grid, mu, rng.negative_binomial(true / s, 1 / (1 + s)).astype(float)


def test_a_level_is_found_where_there_is_one_and_only_there() -> None:
    grid, mu, y = planted(50, 2, smooth=1.0)
    found, tried = choose_level(grid, y, mu, "nbii", 0.5)
    assert found is not None
    assert tried[0][:2] == (0.0, 0.0)
    best = max(tried, key=lambda row: row[2])
    assert (found.bandwidth, found.strength) == best[:2]
    assert best[2] > tried[0][2] + 100
    after = fit_dispersion(y, Leveler(grid, mu, found)(y, 1.0), "nbii")
    assert after == pytest.approx(0.3, abs=0.12)
    assert fit_dispersion(y, mu, "nbii") > after
    gains = []
    for seed in range(3):
        grid, mu, y = planted(50, seed, smooth=0.0)
        _, tried = choose_level(grid, y, mu, "nbii", 0.3)
        gains.append(max(row[2] for row in tried) - tried[0][2])
    assert max(gains) < 6  # noise buys next to nothing; the planted level brings hundreds


def test_dispersion_of_counts_without_any_is_none() -> None:
    rng = np.random.default_rng(0)
    mu = rng.gamma(2, 1, 5000)
    for family in ("nbii", "nb2"):
        assert fit_dispersion(np.round(mu), mu, family) == 0.0  # less varied than a Poisson
        s = fit_dispersion(rng.negative_binomial(mu / 0.8, 1 / 1.8).astype(float), mu, "nbii")
        assert s == pytest.approx(0.8, abs=0.1)
    assert fit_dispersion(mu, mu, "poisson") == 0.0


def test_one_cell() -> None:
    grid = square(1)
    ratio = local_ratio(grid, np.array([4.0]), np.array([1.0]), Level(2.0, 1.0))
    np.testing.assert_array_equal(ratio, [1.0])
    assert choose_level(grid, np.array([4.0]), np.array([1.0]), "nbii", 1.0)[0] is None
    found = posterior_rate([1.0], [4], "nbii", 1.0)
    assert found.mean[0] == 2.5


# --------------------------------------------------------------------------------------- what lasts


def test_weights_halve_with_age() -> None:
    np.testing.assert_allclose(period_weights(np.ones(3), 1.0), [0.25, 0.5, 1])
    np.testing.assert_allclose(period_weights(np.array([1.0, 2.0]), 1.5), [0.5, 1])
    np.testing.assert_array_equal(period_weights(np.ones(4), math.inf), np.ones(4))


def bursts(n: int, seed: int, *, lasting: float, size: float, parts: int = 8, drift: bool = False) -> tuple[Any, ...]:
    """Counts by part: rates that differ for good (or wander), incidents with 1 + Poisson(size) events."""
    grid = square(n)
    rng = np.random.default_rng(seed)
    mu = rng.choice([0.5, 1.0, 3.0], grid.n_cells)
    rate = rng.gamma(mu / lasting, lasting)
    counts = np.zeros((parts, grid.n_cells))
    for i in range(parts):
        if drift:
            fresh = rng.random(grid.n_cells) < 0.5
            rate = np.where(fresh, rng.gamma(mu / lasting, lasting), rate)
        incidents = rng.poisson(rate / parts / (1 + size))
        counts[i] = incidents + rng.poisson(size * incidents)
    return grid, mu, History(counts, np.full(parts, 1 / parts), "", "")


def test_what_lasts_is_told_from_bursts() -> None:
    grid, mu, history = bursts(70, 0, lasting=1.0, size=1.0)
    found = choose_persistence(Leveler(grid, mu, None), history, "nbii", half_lives=(math.inf,))
    assert found is not None
    f = 1 + 1.0 + 1.0 / 2.0  # E[m^2] / E[m] of m = 1 + Poisson(1)
    assert fit_dispersion(history.total, mu, "nbii") > 2  # one period mixes both
    assert found.dispersion == pytest.approx(1.0 / f, rel=0.2)  # credibility: only what lasts, over the noise
    assert found.scale == pytest.approx(f, rel=0.2)
    grid, mu, calm = bursts(70, 1, lasting=1.0, size=0.0)
    other = choose_persistence(Leveler(grid, mu, None), calm, "nbii", half_lives=(math.inf,))
    assert other is not None
    assert other.dispersion == pytest.approx(1.0, rel=0.2)
    assert other.scale == pytest.approx(1.0, abs=0.05)


def test_a_history_that_wanders_is_forgotten() -> None:
    grid, mu, history = bursts(60, 3, lasting=2.0, size=0.0, drift=True)
    lives = (0.125, 0.5, math.inf)
    found = choose_persistence(Leveler(grid, mu, None), history, "nbii", half_lives=lives)
    assert found is not None
    assert found.half_life < math.inf
    assert [row[0] for row in found.tried] == list(lives)
    assert found.deviance == min(row[2] for row in found.tried)
    for family in ("nbii", "nb2"):
        fixed = choose_persistence(Leveler(grid, mu, None), history, family, half_lives=lives, dispersion=0.7)
        assert fixed is not None
        assert fixed.dispersion == 0.7


def test_counts_that_say_nothing_get_no_weight() -> None:
    grid = square(60)
    rng = np.random.default_rng(4)
    mu = np.full(grid.n_cells, 2.0)
    history = History(rng.poisson(mu / 4, (4, grid.n_cells)).astype(float), np.full(4, 0.25), "", "")
    found = choose_persistence(Leveler(grid, mu, None), history, "nbii", half_lives=(math.inf,))
    assert found is not None
    assert found.dispersion < 0.05
    empty = History(np.zeros((4, grid.n_cells)), np.full(4, 0.25), "", "")
    assert choose_persistence(Leveler(grid, mu, None), empty, "nbii", half_lives=(math.inf,)) is None


# ------------------------------------------------------------------------------------------ history


def dated(grid: Grid, stamps: list[str], **selection: Any) -> Events:
    rows, cols = grid.rows_cols
    n = len(stamps)
    pick = np.arange(n) % grid.n_cells
    return Events("e", grid.x[cols[pick]], grid.y[rows[pick]], Cleaning("m", "", n, n),
                  Selection(date_field="d", **selection), np.array(stamps, dtype=object))  # fmt: skip


def test_events_are_cut_by_date() -> None:
    grid = square(3)
    year = {"start": dt.date(2023, 1, 1), "end": dt.date(2023, 12, 31)}
    stamps = ["2023-01-01", "2023-04-02 05:00", "2023-04-02 07:00", "2023-12-31 23:59:59"]
    h = history_of_events(dated(grid, stamps, **year), grid, parts=4)
    np.testing.assert_array_equal(h.counts.sum(axis=1), [2, 1, 0, 1])  # the first quarter of 365 days ends at 06:00
    np.testing.assert_allclose(h.lengths, 0.25)
    assert "4 parts of 91.25 days" in h.note
    np.testing.assert_array_equal(h.total, dated(grid, stamps).counts(grid))
    later = dated(grid, ["2024-01-01", "2024-06-30"], start=dt.date(2024, 1, 1), end=dt.date(2024, 6, 30))
    longer = history_of_events(later, grid, parts=2, fitted=dated(grid, stamps, **year))
    assert longer.length == pytest.approx(182 / 365)


def test_events_without_dates_are_one_period_and_say_why() -> None:
    grid = square(3)
    undated = replace(dated(grid, ["a"]), stamps=None)
    assert "not dated" in history_of_events(undated, grid, parts=4).note
    some = dated(grid, ["2023-01-01", "2023-02-30", "NaT"])
    h = history_of_events(some, grid, parts=4)
    assert h.counts.shape == (1, 9)
    assert "2 of 3 events have no readable date" in h.note
    with pytest.raises(InputError, match="length cannot be told"):
        history_of_events(undated, grid, parts=1, fitted=some)
    far = replace(undated, x=undated.x + 1e6)
    with pytest.raises(InputError, match="none of its 1 events lies"):
        history_of_events(far, grid, parts=1)
