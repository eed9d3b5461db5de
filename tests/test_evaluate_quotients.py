"""Location quotients: SciPy's binomial intervals and counted distances are the oracle."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from scipy import stats

from rtmdx.errors import CRSError, InputError
from rtmdx.evaluate import location_quotient, quotient_near

CRS = "EPSG:26915"
CORNER = np.array([700_000.0, 4_200_000.0])


def test_figures_and_exact_interval() -> None:
    events, area = [30, 5, 100, 0], [1.0, 1.0, 8.0, 2.0]
    found = location_quotient(events, area, names=list("abcd"))
    for r, e, x in zip(found, events, area, strict=True):
        share = x / 12
        test = stats.binomtest(e, 135, share)
        ends = test.proportion_ci(0.95, method="exact")
        assert r.estimate == pytest.approx(e / 135 / share)
        assert (r.low, r.high) == pytest.approx((ends.low / share, ends.high / share))
        tails = stats.binom.cdf(e, 135, share), stats.binom.sf(e - 1, 135, share)
        assert r.p == pytest.approx(min(1, 2 * min(tails)))
    assert found[3].low == 0
    assert "few-events" in found[3].flags
    assert sum(r.estimate * r.exposure / r.total_exposure for r in found) == pytest.approx(1)
    assert found.to_frame()["name"].tolist() == list("abcd")
    assert "30 of 135 events" in found.sentences()[0]


def test_midp_limits_are_where_the_tail_is_half() -> None:
    for e in (0, 3, 40, 100):
        r = location_quotient(e, 0.2, total_events=100, total_exposure=1.0, method="midp")[0]
        exact = location_quotient(e, 0.2, total_events=100, total_exposure=1.0)[0]
        assert exact.low <= r.low
        assert r.high <= exact.high
        for limit, tail in ((r.low * 0.2, 0.025), (r.high * 0.2, 0.975)):
            if 0 < limit < 1:
                mass = stats.binom.sf(e, 100, limit) + 0.5 * stats.binom.pmf(e, 100, limit)
                assert mass == pytest.approx(tail, abs=1e-9)


def test_near_a_factor() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(-100, 1100, (400, 2)) + CORNER
    bars = rng.uniform(0, 1000, (5, 2)) + CORNER
    area = gpd.GeoDataFrame(geometry=[shapely.box(700_000, 4_200_000, 701_000, 4_201_000)], crs=CRS)
    events = gpd.GeoDataFrame(geometry=shapely.points(xy), crs=CRS)
    features = gpd.GeoDataFrame(geometry=shapely.points(bars), crs=CRS)
    found = quotient_near(events, features, [50, 200, 2000], area, name="bars")
    inside = ((xy >= [700_000, 4_200_000]) & (xy <= [701_000, 4_201_000])).all(axis=1)
    far = np.sqrt(((xy[inside, None] - bars) ** 2).sum(axis=2)).min(axis=1)
    assert [r.events for r in found] == [(far <= d).sum() for d in (50, 200, 2000)]
    grid = np.stack(np.meshgrid(np.arange(0.5, 1000), np.arange(0.5, 1000)), axis=-1) + CORNER
    near = np.min([np.hypot(*np.moveaxis(grid - b, -1, 0)) for b in bars], axis=0)
    for r, d in zip(found[:2], (50, 200), strict=True):
        assert r.exposure == pytest.approx((near <= d).sum(), rel=2e-3)
    assert found[2].estimate == pytest.approx(1)
    moved = quotient_near(events.to_crs(4326), features.to_crs(4326), [50, 200], area)
    assert [r.events for r in moved] == [r.events for r in found[:2]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1, -1], [1, 1]), "events of place 2: found -1"),
        (([1, 1.5], [1, 1]), "events of place 2: found 1.5"),
        (([1, 1], [1, 0]), "exposure of place 2: found 0"),
        (([0, 0], [1, 1]), "found none at all"),
        (([1, 1], [1]), "found shapes (2,) and (1,)"),
    ],
)
def test_refused(arguments: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        location_quotient(*arguments)
    assert said in str(caught.value)


def test_totals_refused() -> None:
    with pytest.raises(InputError, match="total_events: found 3"):
        location_quotient([5], [1], total_events=3, total_exposure=9)
    with pytest.raises(InputError, match="total_exposure: found 0.5"):
        location_quotient([5], [1], total_events=9, total_exposure=0.5)
    area = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
    with pytest.raises(CRSError, match="degrees"):
        quotient_near(area, area, [1.0], area)
    flat = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 9, 9)], crs=CRS)
    points = gpd.GeoDataFrame(geometry=[shapely.Point(50, 50)], crs=CRS)
    with pytest.raises(InputError, match="none of 1 is in the area"):
        quotient_near(points, points, [1.0], flat)
    with pytest.raises(InputError, match="ascending"):
        quotient_near(points, points, [2.0, 1.0], flat)
