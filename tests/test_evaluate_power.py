"""Power of a displacement difference: simulation is the oracle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rtmdx.errors import InputError
from rtmdx.evaluate import wdd_power


def simulated(means: Any, divide: Any, alpha: float, alternative: str, n: int = 200_000) -> float:
    """Share of Poisson draws in which the z test finds a difference."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(np.asarray(means, dtype=float), size=(n, len(means), 2)) / divide
    signs = np.array([-1, 1, -1, 1])[: len(means)]
    difference = (counts[:, :, 1] - counts[:, :, 0]) @ signs
    se = np.sqrt((counts / divide).sum(axis=(1, 2)))
    z = difference / np.where(se > 0, se, np.inf)
    c = stats.norm.ppf(1 - (alpha / 2 if alternative == "two-sided" else alpha))
    found = z < -c if alternative == "less" else z > c if alternative == "greater" else np.abs(z) > c
    return float(found.mean())


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_power_is_what_simulation_finds(alternative: Any) -> None:
    found = wdd_power(300, 200, reduction=0.3, control_change=-0.1, alternative=alternative)
    means = [[300, 270], [200, 200 * 0.9 * 0.7]]
    assert found.power == pytest.approx(simulated(means, np.ones((2, 2)), 0.05, alternative), abs=0.012)
    assert found.effect == pytest.approx((126 - 200) - (270 - 300))


def test_power_with_displacement_times_and_areas() -> None:
    found = wdd_power(
        400, 250, 150, 120, reduction=0.4, displaced=0.25, times=(2, 1), areas=(2, 1, 2, 1), alternative="less"
    )
    means = [[400, 200], [250, 75], [150, 75], [120, 60 + 0.25 * 50]]
    divide = np.outer([2, 1, 2, 1], [2, 1])
    assert found.power == pytest.approx(simulated(means, divide, 0.05, "less"), abs=0.015)


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
@pytest.mark.parametrize("mean", [4.0, 12.0, 60.0])
def test_exact_power_and_size(mean: float, alternative: Any) -> None:
    found = wdd_power(mean, mean, reduction=0.5, method="exact", alternative=alternative)
    means = [[mean, mean], [mean, mean / 2]]
    assert found.power == pytest.approx(simulated(means, np.ones((2, 2)), 0.05, alternative), abs=0.004)
    null = simulated([[mean, mean]] * 2, np.ones((2, 2)), 0.05, alternative)
    assert found.size == pytest.approx(null, abs=0.003)


def test_exact_and_normal_agree_for_large_counts() -> None:
    a, b = (wdd_power(3000, 3000, reduction=0.1, method=m) for m in ("normal", "exact"))
    assert a.power == pytest.approx(b.power, abs=0.004)
    assert b.size == pytest.approx(0.05, abs=0.001)


def test_detectable_is_where_the_power_is_the_target() -> None:
    for method in ("normal", "exact"):
        found = wdd_power(200, 150, target=0.9, method=method)  # type: ignore[arg-type]
        again = wdd_power(200, 150, reduction=found.detectable, method=method)  # type: ignore[arg-type]
        assert again.power == pytest.approx(0.9, abs=1e-4)
    rise = wdd_power(200, 150, alternative="greater")
    assert rise.detectable < 0
    assert wdd_power(200, 150, reduction=rise.detectable, alternative="greater").power == pytest.approx(0.8, abs=1e-4)
    few = wdd_power(6, 5)
    assert math.isnan(few.detectable)
    assert "no reduction, however large" in few.sentence()
    assert "few-events" in few.flags


def test_scale_makes_the_effect_detectable() -> None:
    found = wdd_power(120, 90, reduction=0.25)
    k = found.scale
    assert wdd_power(120 * k, 90 * k, reduction=0.25).power == pytest.approx(0.8, abs=1e-6)
    assert wdd_power(120, 90, reduction=0.0).scale == math.inf
    assert wdd_power(120, 90, reduction=-0.2, alternative="less").scale == math.inf


def test_power_grows_with_what_it_should() -> None:
    powers = [wdd_power(200, 200, reduction=r).power for r in (0.0, 0.1, 0.2, 0.4)]
    assert powers == sorted(powers)
    assert powers[0] == pytest.approx(0.05, abs=1e-12)
    sizes = [wdd_power(n, n).power for n in (50, 100, 400)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"control": 0}, "control: found 0, expected a positive expected count"),
        ({"reduction": 1.5}, "reduction: found 1.5"),
        ({"displaced": 0.2}, "displaced: events can only move to a displacement area"),
        ({"displacement_control": 10}, "a displacement area needs its own control"),
        ({"alpha": 0}, "alpha: found 0"),
        ({"target": 1}, "target: found 1"),
        ({"control_change": -2}, "control_change: found -2"),
        ({"alternative": "lower"}, "alternative"),
        ({"method": "exact", "times": (2, 1)}, "method 'exact' needs equal times and areas"),
        ({"method": "exact", "control": 1e6}, "expected at most 20,000"),
    ],
)
def test_refused(options: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        wdd_power(**({"control": 100, "treated": 100} | options))
    assert said in str(caught.value)
