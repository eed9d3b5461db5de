"""Posterior risk: formulas against integration, properties, what is chosen, edge cases and errors."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.gamma import RateDistribution, posterior_rate
from rtmdx.model.history import History, history_of_counts, history_of_events
from rtmdx.model.level import Level, Leveler, choose_level, count_log_likelihood, fit_dispersion, local_ratio
from rtmdx.model.persistence import choose_persistence, period_weights
from rtmdx.model.posterior import PosteriorRisk
from rtmdx.model.terrain import RiskTerrain
from rtmdx.space.grid import Grid
from rtmdx.space.layers import Cleaning, Events, Selection
from terrain_fixture import city, make_terrain

Float = NDArray[np.float64]


@pytest.fixture(scope="module")
def terrain() -> RiskTerrain:
    return make_terrain()


def square(side: int) -> Grid:
    return Grid.from_area(shapely.box(0, 0, side * 10, side * 10), "EPSG:26915", 10)


def prior(mu: float, family: str, d: float) -> tuple[float, float]:
    """Shape and rate of the gamma a negative binomial mixes over."""
    return (mu / d, 1 / d) if family == "nbii" else (1 / d, 1 / (d * mu))


# --------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("family", ["nbii", "nb2"])
@pytest.mark.parametrize(
    ("mu", "d", "y", "t"),
    [(0.5, 1.7, 3, 1.0), (2.0, 0.4, 0, 1.0), (0.9, 2.5, 7, 3.0), (4.0, 0.05, 11, 0.5), (1.5, 1.0, 2, 2.25)],
)
def test_the_posterior_is_gamma_times_poisson(family: Any, mu: float, d: float, y: int, t: float) -> None:
    """Mean, variance and limits against direct integration of prior times likelihood."""
    shape, rate = prior(mu, family, d)

    def weight(u: float) -> float:  # u = log of the rate: the integrand is smooth whatever the shape
        x = math.exp(u)
        return math.exp(stats.gamma.logpdf(x, shape, scale=1 / rate) + stats.poisson.logpmf(y, x * t) + u)

    def integral(power: int, high: float = 8.0) -> float:
        return integrate.quad(lambda u: math.exp(power * u) * weight(u), -40, high, limit=500, epsabs=0)[0]

    total = integral(0)
    mean = integral(1) / total
    found = posterior_rate([mu], [y], family, d, periods=t)
    assert found.mean[0] == pytest.approx(mean, rel=1e-7)
    assert found.variance[0] == pytest.approx(integral(2) / total - mean**2, rel=1e-6)
    low, high = found.interval(0.9)
    assert integral(0, math.log(low[0])) / total == pytest.approx(0.05, abs=1e-6)
    assert integral(0, math.log(high[0])) / total == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize("family", ["nbii", "nb2"])
def test_the_prior_is_the_model_s_negative_binomial(family: Any) -> None:
    """The mixture behind the update has the family's likelihood, as `likelihood` writes it."""
    mu, d = 1.3, 0.8
    shape, rate = prior(mu, family, d)
    for y in range(8):
        mixed = stats.nbinom.logpmf(y, shape, rate / (1 + rate))
        assert count_log_likelihood(np.array([float(y)]), np.array([mu]), family, d) == pytest.approx(mixed, abs=1e-10)
    assert count_log_likelihood(np.array([3.0, 0]), np.array([2.0, 1.0]), family, 0.0) == pytest.approx(
        stats.poisson.logpmf([3, 0], [2.0, 1.0]).sum()
    )


def test_the_method_s_formulas() -> None:
    mu, y, s = np.array([0.2, 1.0, 3.0]), np.array([0, 4, 2]), 1.6
    np.testing.assert_allclose(posterior_rate(mu, y, "nbii", s).mean, (mu + s * y) / (1 + s), rtol=1e-14)
    shape, rate = 1 / 0.7 + y, 1 / (0.7 * mu) + 2
    found = posterior_rate(mu, y, "nb2", 0.7, periods=2.0)
    np.testing.assert_allclose(found.mean, shape / rate, rtol=1e-14)
    np.testing.assert_allclose(found.variance, shape / rate**2, rtol=1e-14)
    poisson = posterior_rate(mu, y, "poisson")
    np.testing.assert_array_equal(poisson.mean, mu)
    assert not poisson.variance.any()


def test_periods_add_up_and_weights_discount_both_events_and_time() -> None:
    mu, y = np.array([0.5, 2.0]), np.array([[1, 0], [4, 3], [2, 2]])
    t = np.array([0.5, 1.0, 0.25])
    whole = posterior_rate(mu, y.sum(axis=0), "nbii", 0.9, periods=t.sum())
    np.testing.assert_allclose(posterior_rate(mu, y, "nbii", 0.9, periods=t).mean, whole.mean, rtol=1e-14)
    w = np.array([0.25, 0.5, 1.0])
    shape, rate = mu / 0.9 + w @ y, 1 / 0.9 + w @ t
    found = posterior_rate(mu, y, "nbii", 0.9, periods=t, weights=w)
    np.testing.assert_allclose(found.mean, shape / rate, rtol=1e-14)
    wide = posterior_rate(mu, y, "nbii", 0.9, periods=t, weights=w, scale=2.5)
    np.testing.assert_array_equal(wide.mean, found.mean)
    np.testing.assert_allclose(wide.variance, 2.5 * found.variance, rtol=1e-14)


rates = st.floats(1e-6, 1e4)


@given(st.sampled_from(["nbii", "nb2"]), rates, st.floats(1e-9, 1e9), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_between_prior_and_data_and_rising_with_the_count(family: Any, mu: float, d: float, y: int, t: float) -> None:
    found = posterior_rate([mu, mu], [y, y + 1], family, d, periods=t)
    low, high = sorted((mu, y / t))
    assert low * (1 - 1e-12) <= found.mean[0] <= high * (1 + 1e-12)
    assert found.mean[1] >= found.mean[0]
    assert np.isfinite(found.variance).all()
    a, b = found.interval(0.8)
    assert np.isfinite(a).all()
    assert (a <= found.mean * (1 + 1e-9)).all() or found.variance[0] > found.mean[0] ** 2  # a skewed one may not
    assert (a <= b).all()


@given(st.sampled_from(["nbii", "nb2"]), st.floats(1e-3, 1e3), st.integers(0, 1000), st.floats(0.1, 10))
def test_limits_of_the_dispersion(family: Any, mu: float, y: int, t: float) -> None:
    assert posterior_rate([mu], [y], family, 1e-12, periods=t).mean[0] == pytest.approx(mu, rel=1e-6)
    assert posterior_rate([mu], [y], family, 1e12, periods=t).mean[0] == pytest.approx(y / t, rel=1e-6, abs=1e-6)
    assert posterior_rate([mu], [y], family, 1e300, periods=t).mean[0] == pytest.approx(y / t, rel=1e-9, abs=1e-9)
    none = posterior_rate([mu], [y], family, 0.0, periods=t)
    assert (none.mean[0], none.variance[0]) == (mu, 0.0)


# -------------------------------------------------------------------------------------- intervals


def test_counts_are_negative_binomial_and_their_limits_the_smallest_that_hold() -> None:
    mu, y = np.array([0.01, 0.3, 2.0, 40.0, 0.0]), np.array([0, 5, 1, 60, 0])
    for found in (
        posterior_rate(mu, y, "nbii", 1.2),
        posterior_rate(mu, y, "nbii", 1.2, scale=1.8),
        posterior_rate(mu, y, "poisson"),
    ):
        low, high = found.count_interval(0.9, horizon=1.5)
        for i in range(mu.size):
            mean = found.mean[i] * 1.5
            variance = found.scale * mean + found.variance[i] * 1.5**2
            if variance > mean:
                law = stats.nbinom(mean**2 / (variance - mean), mean / variance)
            else:
                law = stats.poisson(mean)
            for limit, q in ((low[i], 0.05), (high[i], 0.95)):
                assert law.cdf(limit) >= q - 1e-9
                assert limit == 0 or law.cdf(limit - 1) < q + 1e-9


def test_intervals_cover_what_they_say_on_simulated_cells() -> None:
    rng = np.random.default_rng(5)
    mu = rng.gamma(0.8, 1.5, 40_000) + 0.05
    s, t, ahead = 1.4, 1.5, 2.0
    rate = rng.gamma(mu / s, s)
    y, later = rng.poisson(rate * t), rng.poisson(rate * ahead)
    found = posterior_rate(mu, y, "nbii", s, periods=t)
    for level in (0.5, 0.9):
        low, high = found.interval(level)
        assert ((rate >= low) & (rate <= high)).mean() == pytest.approx(level, abs=0.01)
        a, b = found.count_interval(level, horizon=ahead)
        assert ((later >= a) & (later <= b)).mean() > level - 0.01  # whole numbers hold more
    assert found.mean.mean() == pytest.approx(rate.mean(), rel=0.02)
    errors = [((later - m * ahead) ** 2).mean() for m in (found.mean, mu, y / t)]
    assert errors[0] < min(errors[1:])


# ------------------------------------------------------------------------------------ local level


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


# ------------------------------------------------------------------------------------ what lasts


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


# ---------------------------------------------------------------------------------------- history


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


# ---------------------------------------------------------------------------------------- terrain


def with_dates(terrain: RiskTerrain) -> RiskTerrain:
    days = np.random.default_rng(0).integers(0, 365, len(terrain.events))
    stamps = (np.datetime64("2022-01-01") + days).astype(str).astype(object)
    return replace(terrain, events=replace(terrain.events, stamps=stamps))


def test_the_plain_posterior_of_a_terrain(terrain: RiskTerrain) -> None:
    risk = terrain.posterior(smooth=None, decay=None, dispersion="model", horizon=2.0)
    s = terrain.model.dispersion
    assert s is not None
    plain = (terrain.expected_cells + s * terrain.counts) / (1 + s)
    np.testing.assert_allclose(risk.expected_cells, 2 * plain, rtol=1e-12)
    assert risk.updated
    frame = risk.to_frame()
    np.testing.assert_array_equal(frame["history"], terrain.counts)
    np.testing.assert_allclose(frame["terrain"], 2 * terrain.expected_cells)
    assert (frame["lower"] < frame["upper"]).all()
    assert (frame["count_lower"] <= frame["count_upper"]).all()
    best = frame.loc[frame["rank"] == 1, "posterior"]
    assert (best == frame["posterior"].max()).all()
    assert risk.rank().max() <= len(frame)
    for array, cells in ((risk.expected, risk.expected_cells), (risk.lower, risk.lower_cells)):
        assert array.dims == ("y", "x")
        np.testing.assert_array_equal(terrain.grid.to_cells(array.values), cells)
        assert array.attrs["comment"] == risk.method
    np.testing.assert_array_equal(risk.upper.values, risk.grid.to_raster(risk.interval(0.9)[1]))
    assert "next period of 2 times the fitted length" in repr(risk)
    given_counts = terrain.posterior(terrain.counts, smooth=None, decay=None, dispersion="model", horizon=2.0)
    np.testing.assert_array_equal(given_counts.expected_cells, risk.expected_cells)


def test_defaults_choose_on_the_history_and_are_the_same_each_time(terrain: RiskTerrain) -> None:
    dated_terrain = with_dates(terrain)
    risk = dated_terrain.posterior()
    assert risk.history.lengths.size == 8
    assert risk.persistence_tried
    assert risk.level_tried
    assert dated_terrain.posterior().expected_cells.tobytes() == risk.expected_cells.tobytes()
    one = terrain.posterior()
    assert not one.persistence_tried
    assert "could not be split in time" in one.method
    assert one.dispersion == one.dispersion_total
    fixed = dated_terrain.posterior(smooth=250.0, decay=1.0, dispersion=0.5)
    assert (fixed.dispersion, fixed.half_life) == (0.5, 1.0)
    assert fixed.bandwidth in (250.0, None)
    as_data = risk.to_dict()
    assert as_data["history"]["events"] == terrain.counts.sum()
    assert as_data["method"] == risk.method


def test_the_total_is_that_of_the_history(terrain: RiskTerrain) -> None:
    """With a level around, what is expected in all is what the history saw."""
    risk = with_dates(terrain).posterior(decay=None)
    if risk.bandwidth is not None:
        assert risk.expected_cells.sum() == pytest.approx(terrain.counts.sum(), rel=1e-9)
    periods = np.stack([terrain.counts, 2 * terrain.counts])
    twice = terrain.posterior(periods, lengths=[1.0, 1.0], decay=None)
    assert twice.history.length == 2.0


@pytest.mark.parametrize("family", ["poisson", "nbii"])
def test_a_known_rate_is_not_updated(family: Any) -> None:
    terrain = make_terrain(family=family)
    if family == "nbii":
        model = replace(terrain.model, log_dispersion=-math.inf, at_boundary=True)
        terrain = replace(terrain, selection=replace(terrain.selection, model=model))
    risk = terrain.posterior()
    np.testing.assert_array_equal(risk.expected_cells, terrain.expected_cells)
    assert not risk.updated
    assert risk.method.startswith("Posterior risk = terrain")
    assert "dispersion is 0" in risk.method if family == "nbii" else "Poisson" in risk.method
    low, high = risk.prediction_interval()
    assert (low <= high).all()
    assert (risk.lower_cells == risk.upper_cells).all()


def test_nb2_terrain() -> None:
    risk = with_dates(make_terrain(family="nb2")).posterior()
    assert np.isfinite(risk.expected_cells).all()
    assert "alpha" in risk.method or not risk.dispersion


def test_odd_histories(terrain: RiskTerrain) -> None:
    n = terrain.grid.n_cells
    none = terrain.posterior(np.zeros(n, dtype=int))
    assert (none.expected_cells < terrain.expected_cells).all()
    assert "no events" in none.method
    huge = np.zeros((3, n), dtype=int)
    huge[1, 5] = 10**6
    risk = terrain.posterior(huge, lengths=[0.3, 0.3, 0.4])
    assert finite(risk)
    huge[2, 5] = 10**6
    assert finite(terrain.posterior(huge, lengths=[0.3, 0.3, 0.4]))
    idle = replace(terrain, expected_cells=np.where(terrain.counts == 0, 0.0, terrain.expected_cells))
    without = idle.posterior()
    assert (without.expected_cells[idle.expected_cells == 0] == 0).all()
    assert finite(without)
    with pytest.raises(InputError, match=r"cell 3 has 2 events, but an expected count of 0"):
        replace(terrain, expected_cells=np.zeros(n)).posterior(np.where(np.arange(n) == 3, 2, 0))


def finite(risk: PosteriorRisk) -> bool:
    return bool(np.isfinite(risk.to_frame().select_dtypes("number").to_numpy()).all())


def test_one_cell() -> None:
    grid = square(1)
    ratio = local_ratio(grid, np.array([4.0]), np.array([1.0]), Level(2.0, 1.0))
    np.testing.assert_array_equal(ratio, [1.0])
    assert choose_level(grid, np.array([4.0]), np.array([1.0]), "nbii", 1.0)[0] is None
    found = posterior_rate([1.0], [4], "nbii", 1.0)
    assert found.mean[0] == 2.5


def test_it_can_be_stopped(terrain: RiskTerrain) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        terrain.posterior(check=stop)


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": [[1.0]]}, r"mu has shape \(1, 1\), expected \(n_cells,\)"),
        ({"mu": [1.0, math.nan]}, "mu: found nan at cell 1, expected a finite number >= 0"),
        ({"mu": [1.0, -2.0]}, "mu: found -2.0 at cell 1"),
        ({"mu": ["a", "b"]}, "mu: found text, expected an array of numbers"),
        ({"counts": [1, 2, 3]}, r"counts have shape \(3,\), expected \(2,\) or \(n_periods, 2\)"),
        ({"counts": [1, -1]}, "counts: found -1.0 at cell 1"),
        ({"counts": [1, math.nan]}, "counts: found nan at cell 1"),
        ({"counts": [1, 0.5]}, "counts: found 0.5 at cell 1, expected a whole number >= 0"),
        ({"counts": [[1, 2], [3, 4]]}, "counts of 2 periods need the lengths"),
        ({"counts": [[1, 2], [-3, 4]], "periods": [1, 1]}, "counts: found -3.0 at cell 0 in period 1"),
        ({"periods": [1, 1]}, r"periods have shape \(2,\), expected \(1,\)"),
        ({"periods": 0}, "periods: found 0.0 at period 0, expected a positive length"),
        ({"periods": math.inf}, "periods: found inf"),
        ({"family": "gamma"}, "family: found 'gamma', expected one of poisson, nbii, nb2"),
        ({"dispersion": None}, "dispersion: found None, expected a finite number >= 0"),
        ({"dispersion": -1.0}, "dispersion: found -1.0"),
        ({"dispersion": math.inf}, "dispersion: found inf"),
        ({"weights": [0.5, 0.5]}, r"weights have shape \(2,\)"),
        ({"weights": [1.5]}, "weights: found 1.5 at period 0, expected a number from 0 to 1"),
        ({"scale": 0.5}, "scale is 0.5, expected a number >= 1"),
        ({"mu": [0.0, 1.0]}, "cell 0 has 1 events, but an expected count of 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"mu": [1.0, 2.0], "counts": [1, 2], "family": "nbii", "dispersion": 1.0}
    arguments |= change
    mu, counts = arguments.pop("mu"), arguments.pop("counts")
    with pytest.raises(InputError, match=message):
        posterior_rate(mu, counts, **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smooth": -5.0}, "smooth is -5.0, expected a positive number: a bandwidth in CRS units"),
        ({"smooth": "yes"}, "smooth: found 'yes', expected \"auto\""),
        ({"decay": 0}, "decay is 0.0, expected a positive number: a half-life"),
        ({"dispersion": "big"}, "dispersion: found 'big'"),
        ({"dispersion": math.nan}, "dispersion is nan"),
        ({"horizon": 0}, "horizon is 0"),
        ({"level": 1.0}, "level is 1.0"),
        ({"parts": 0}, "parts: found 0, expected a whole number, 1 or more"),
        ({"horizon": np.ones(9)}, r"horizon: found an array of float64 of shape \(9,\), expected a number"),
        ({"smooth": [1.0]}, r"smooth: found \[1.0\], expected a number"),
        ({"decay": True}, "decay: found True, expected a number"),
        ({"lengths": 2.0}, "lengths were given without a history"),
        ({"history": np.ones(3)}, r"counts have shape \(3,\)"),
    ],
)
def test_options_that_do_not_fit_are_named(terrain: RiskTerrain, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        terrain.posterior(**options)


def test_horizon_and_level_of_a_distribution_are_checked() -> None:
    rate = RateDistribution(np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="horizon"):
        rate.count_interval(0.9, horizon=-1)
    with pytest.raises(InputError, match="level"):
        rate.interval(0.0)
    history = history_of_counts([1, 2], None, 2)
    assert (history.length, history.lengths.size) == (1.0, 1)
