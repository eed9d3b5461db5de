"""Many rates and ratios at once are the ones of one at a time, flags included."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdx import disparity
from rtmdx.disparity.results import PersonRatio, PlaceRatio, Rate, flags_of
from rtmdx.errors import InputError


def test_rates_of_any_shape() -> None:
    rng = np.random.default_rng(1)
    x, n = rng.poisson(6, (5, 3, 2)), rng.uniform(100, 900, (5, 1, 2))
    found = disparity.rates(x, n, per=1000, unit="stops", method="byar", outcome="searches")
    assert found.estimate.shape == (5, 3, 2)
    low, high = disparity.rate_interval(x, n, method="byar")
    assert found.low.tolist() == (1000 * low).tolist()
    assert found.high.tolist() == (1000 * high).tolist()
    one = found[2, 1, 0]
    assert isinstance(one, Rate)
    assert one.estimate == pytest.approx(1000 * x[2, 1, 0] / n[2, 0, 0])
    assert (one.events, one.exposure, one.unit, one.per) == (x[2, 1, 0], n[2, 0, 0], "stops", 1000)
    assert "enforcement" in one.flags
    assert len(found.to_frame()) == 30


@pytest.mark.parametrize("method", ["midp", "exact", "minlike", "score"])
def test_ratios_and_their_flags(method: str) -> None:
    a, b = np.array([0, 0, 4, 40, 400, 30]), np.array([0, 5, 0, 30, 500, 8])
    n = np.arange(1, 7) * 1000.0
    found = disparity.rate_ratio(a, 1000.0, b, n, group="Black", reference="White", method=method)
    low, high = disparity.ratio_interval(a, 1000.0, b, n, method=method)
    assert found.low.tolist() == low.tolist()
    assert found.high.tolist() == high.tolist()
    assert np.isnan(found.estimate[0])
    assert found.estimate[1] == 0
    assert np.isposinf(found.estimate[2])
    for i in range(6):
        one = found[i]
        assert isinstance(one, PersonRatio)
        assert set(one.flags) == set(flags_of(one.estimate, one.low, one.high, a[i], b[i]))
        assert found.unreliable[i] == one.unreliable
    assert isinstance(disparity.rate_ratio(4, 10, 5, 10, kind="place")[()], PlaceRatio)
    assert found[0].unreliable  # never NaN in silence
    assert "not defined" in found[0].sentence()


def test_bad_input() -> None:
    with pytest.raises(InputError, match="events at 1: found -1"):
        disparity.rates([1, -1], [1, 1])
    with pytest.raises(InputError, match="exposure at 0: found 0"):
        disparity.rates([1, 1], [0, 1])
    with pytest.raises(InputError, match="'wald-log' at 1: found no events"):
        disparity.rate_ratio([1, 0], 1, 2, 1, method="wald-log")
    with pytest.raises(InputError, match="kind: found 'both'"):
        disparity.rate_ratio(1, 1, 2, 1, kind="both")  # type: ignore[arg-type]
