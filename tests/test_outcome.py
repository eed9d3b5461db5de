"""Counts and exposure at the door: what is not usable is named with its cell, by every caller alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rtmdx.errors import InputError
from rtmdx.model.culling import cull
from rtmdx.model.families import fit_count_model
from rtmdx.model.outcome import check_counts, check_exposure
from rtmdx.model.stepwise import stepwise

N = 3
Y = np.array([0.0, 2.0, 0.0])
MISSING = [np.nan, None, pd.NA, pd.NaT, "many"]


def test_what_is_usable_comes_back_as_float64() -> None:
    for counts in ([0, 2, 0], (0, 2, 0), pd.Series([0, 2, 0]), np.array([0, 2, 0], np.uint8), pd.array([0, 2, 0])):
        y = check_counts(N, counts)
        assert y.dtype == np.float64
        assert y.tolist() == Y.tolist()
    assert check_counts(N, np.ma.masked_array([0, 2, 0], [False] * 3)).tolist() == Y.tolist()
    assert check_exposure(N, None, Y) is None
    e = check_exposure(N, np.array([1.0, 9.0, 2.0, 9.0, 0.0])[::2], None)
    assert e is not None
    assert e.flags.c_contiguous
    assert e.tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize("bad", [*MISSING, -1.0, np.inf, -np.inf, 0.5])
def test_a_bad_count_is_named(bad: object) -> None:
    with pytest.raises(InputError, match="cell 2 is not a whole number >= 0"):
        check_counts(N, [0, 2, bad])  # type: ignore[list-item]


@pytest.mark.parametrize("bad", [*MISSING, -1.0, np.inf, -np.inf])
def test_a_bad_exposure_is_named(bad: object) -> None:
    with pytest.raises(InputError, match="cell 2 is not a finite number >= 0"):
        check_exposure(N, [1, 2, bad], Y)  # type: ignore[list-item]


def test_masked_cells_are_missing() -> None:
    hidden = np.ma.masked_array([1, 2, 1], [False, False, True])
    with pytest.raises(InputError, match="count of cell 2 is masked"):
        check_counts(N, hidden)
    with pytest.raises(InputError, match="exposure of cell 2 is masked"):
        check_exposure(N, hidden, Y)


def test_shapes_and_impossible_events_are_named() -> None:
    for bad in ([1, 2], [[1, 2, 3]], 1.0):
        with pytest.raises(InputError, match="counts have shape"):
            check_counts(N, bad)
        with pytest.raises(InputError, match="exposure has shape"):
            check_exposure(N, bad, Y)
    with pytest.raises(InputError, match="cell 1 has 2 events but exposure 0"):
        check_exposure(N, [1, 0, 1], Y)
    with pytest.raises(InputError, match="0 in every cell"):
        check_exposure(N, [0, 0, 0], np.zeros(3))
    with pytest.raises(InputError, match=r"count \[1, 2\] of cell 0 is not"):
        check_counts(N, [[1, 2], [3]])  # type: ignore[list-item]


def test_culling_stepwise_and_fits_say_the_same() -> None:
    from stats_designs import random_design

    design = random_design(np.random.default_rng(0), 50, 2)
    y, exposure = np.ones(50), np.ones(50)
    exposure[7] = 0.0
    found = []
    for call in (
        lambda: cull(design, y, np.arange(50) % 5, exposure=exposure),
        lambda: stepwise(design, y, (0,), exposure=exposure),
        lambda: fit_count_model(design, y, (0,), exposure=exposure),
    ):
        with pytest.raises(InputError, match="cell 7 has 1 events but exposure 0") as caught:
            call()
        found.append(str(caught.value))
    assert len(set(found)) == 1


@pytest.mark.parametrize("count", [2.0**53 + 2.0, 1e19, 1e300])
def test_a_count_that_doubles_cannot_tell_from_the_next_is_named(count: float) -> None:
    """Beyond 2^53; squares of 1e300 would overflow in the fit."""
    with pytest.raises(InputError, match=r"count .* of cell 1 is beyond 2\^53"):
        check_counts(N, [0.0, count, 3.0])
    assert check_counts(N, [0.0, 2.0**53, 3.0])[1] == 2.0**53
