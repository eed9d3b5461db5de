"""The posterior of a terrain: what is chosen, odd histories, edge cases and errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rtmdx.errors import Cancelled, InputError
from rtmdx.model.posterior import PosteriorRisk
from rtmdx.model.terrain import RiskTerrain
from terrain_fixture import make_terrain


@pytest.fixture(scope="module")
def terrain() -> RiskTerrain:
    return make_terrain()


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


def test_it_can_be_stopped(terrain: RiskTerrain) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        terrain.posterior(check=stop)


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
