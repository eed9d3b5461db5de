"""100,000 mid-P intervals of a ratio of two rates, beside SciPy's inversion one by one and vectorised.

    pytest benchmarks/test_rates.py --benchmark-only -s

SciPy's way is a root of the mid-P tail of `scipy.stats.binom`, one interval at a time; it is timed on 200 of them and
scaled. R's exactci and ratesci invert one at a time too. The answers are asserted equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import optimize, stats

from rtmdx.disparity.intervals import ratio_interval

N, ONE_BY_ONE = 100_000, 200


def problem() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    na, nb = rng.uniform(500, 90_000, (2, N))
    rate = rng.gamma(1.0, 0.004, N)
    return rng.poisson(rate * na) + 1, na, rng.poisson(0.4 * rate * nb) + 1, nb


def one_by_one(a: np.ndarray, na: np.ndarray, b: np.ndarray, nb: np.ndarray) -> np.ndarray:
    out = np.empty((2, len(a)))
    for i in range(len(a)):
        x, n = int(a[i]), int(a[i] + b[i])

        def above(t: float, x: int = x, n: int = n) -> float:
            p = 1 / (1 + np.exp(-t))
            return float(stats.binom.sf(x, n, p) + 0.5 * stats.binom.pmf(x, n, p)) - 0.025

        def below(t: float, x: int = x, n: int = n) -> float:
            p = 1 / (1 + np.exp(-t))
            return float(stats.binom.cdf(x - 1, n, p) + 0.5 * stats.binom.pmf(x, n, p)) - 0.025

        out[:, i] = [optimize.brentq(f, -30, 30, xtol=1e-10) for f in (above, below)]
    return np.exp(out) * nb / na


def test_rtmdx(benchmark: Any) -> None:
    benchmark.group = f"{N:,} mid-P intervals"
    a, na, b, nb = problem()
    low, high = benchmark.pedantic(lambda: ratio_interval(a, na, b, nb, threads=2), rounds=5)
    expected = one_by_one(*(v[:ONE_BY_ONE] for v in (a, na, b, nb)))
    np.testing.assert_allclose(low[:ONE_BY_ONE], expected[0], rtol=1e-8)
    np.testing.assert_allclose(high[:ONE_BY_ONE], expected[1], rtol=1e-8)
    print(f"\nrtmdx: {benchmark.stats.stats.median:.3f} s for {N:,} (target 1 s)")


def test_scipy_one_by_one(benchmark: Any) -> None:
    benchmark.group = f"{N:,} mid-P intervals"
    a, na, b, nb = problem()
    ours = benchmark.pedantic(lambda: one_by_one(*(v[:ONE_BY_ONE] for v in (a, na, b, nb))), rounds=1)
    assert np.isfinite(ours).all()
    seconds = benchmark.stats.stats.median * N / ONE_BY_ONE
    benchmark.extra_info["seconds for all, scaled"] = round(seconds, 1)
    print(f"\nSciPy, one by one: {seconds:.0f} s for {N:,} ({ONE_BY_ONE} timed)")
