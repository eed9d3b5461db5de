"""Suppressed tables, attacked: by subtraction, and by linear programmes written apart from the code's own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from rtmdx.disparity.suppression import Suppressed, suppress
from rtmdx.errors import InputError


def attack(found: Suppressed) -> list[tuple[float, float]]:
    """Bounds of each hidden figure from the inner counts alone: every published figure is a sum of these."""
    published = found.published
    inner = tuple(n - 1 for n in published.shape)
    number = np.arange(np.prod(inner)).reshape(inner)
    known, right, asked = [], [], []
    for at in np.ndindex(published.shape):
        part = number[tuple(slice(None) if i == n - 1 else i for i, n in zip(at, published.shape, strict=True))]
        row = np.zeros(number.size)
        row[np.ravel(part)] = 1.0
        if np.isnan(published[at]):
            asked.append(row)
        else:
            known.append(row)
            right.append(published[at])
    out = []
    for row in asked:
        ends = []
        for sign in (1, -1):
            end = linprog(sign * row, A_eq=np.array(known) if known else None, b_eq=right or None, bounds=(0, None))
            assert end.status in (0, 3)
            ends.append(sign * end.fun if end.status == 0 else np.inf)
        out.append((ends[0], ends[1]))
    return out


@pytest.mark.parametrize(
    ("shape", "mean", "threshold", "width", "zeros"),
    [
        ((6, 5), 30.0, 10, None, False),
        ((12, 4), 12.0, 10, None, False),
        ((12, 4), 12.0, 5, 25.0, False),
        ((9, 3), 2.0, 10, None, True),
        ((15,), 20.0, 10, None, False),
        ((4, 3, 3), 15.0, 10, None, False),
        ((3, 2), 0.5, 10, None, False),
    ],
)
def test_no_hidden_figure_is_bounded_within_the_width(
    shape: tuple[int, ...], mean: float, threshold: float, width: float | None, zeros: bool
) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        counts = rng.negative_binomial(0.7, 0.7 / (0.7 + mean), shape)
        found = suppress(counts, threshold=threshold, width=width, zeros=zeros)
        inner = found.published[tuple(slice(-1) for _ in shape)]
        shown = ~np.isnan(inner)
        assert (inner[shown] == counts[shown]).all()
        assert not ((counts < threshold) & ((counts > 0) | zeros) & shown).any()
        totals = found.published[~np.isnan(found.published)]
        assert not ((totals < threshold) & (totals > 0)).any()
        for low, high in attack(found):
            assert high - low >= found.width - 1e-6


def test_bounds_are_those_of_the_attack() -> None:
    counts = np.array([[3, 20, 41], [15, 9, 30], [60, 22, 17]])
    found = suppress(counts)
    low, high = found.bounds()
    hidden = found.suppressed
    assert np.stack([low[hidden], high[hidden]], axis=1) == pytest.approx(np.array(attack(found)), abs=1e-6)
    assert (low[~hidden] == high[~hidden]).all()
    assert (low[hidden] <= _full(counts)[hidden] + 1e-9).all()
    assert (high[hidden] >= _full(counts)[hidden] - 1e-9).all()


def test_one_small_cell_alone_would_come_back_by_subtraction() -> None:
    """Hidden alone, its row gives it back; with a rectangle of four it does not, and no total has to go."""
    counts = np.array([[3, 20, 41], [15, 29, 30], [60, 22, 17]])
    naive = Suppressed(np.where(_full(counts) == 3, np.nan, _full(counts)), 10, 10, ((), ()))
    low, high = naive.bounds()
    assert low[0, 0] == pytest.approx(3)
    assert high[0, 0] == pytest.approx(3)
    found = suppress(counts)
    assert found.suppressed.sum() == 4
    assert not found.suppressed[-1].any()
    assert not found.suppressed[:, -1].any()


def test_nothing_small_nothing_held_back() -> None:
    found = suppress(np.array([[0, 20], [15, 29]]))
    assert not found.suppressed.any()
    assert "0 of 4 counts" in found.sentence()


def test_frames_and_plain_data() -> None:
    table = pd.DataFrame({"Black": [4, 80, 31], "White": [55, 16, 44]}, index=["north", "west", "south"])
    found = suppress(table)
    frame = found.to_frame()
    assert list(frame.columns) == ["Black", "White", "total"]
    assert list(frame.index) == ["north", "west", "south", "total"]
    assert np.isnan(frame.loc["north", "Black"])
    assert found.to_dict()["published"][0][0] is None
    assert "primary" not in str(found.to_dict())  # which cells are the small ones is not told
    assert suppress([3, 40, 50]).to_frame().loc["total", "count"] == 93
    assert len(suppress(np.full((2, 2, 2), 20)).to_frame()) == 27


def _full(counts: np.ndarray) -> np.ndarray:
    for axis in range(counts.ndim):
        counts = np.concatenate([counts, counts.sum(axis=axis, keepdims=True)], axis=axis)
    return counts.astype(float)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: suppress([[-1, 2]]), r"table at \(0, 0\): found -1, expected a whole number >= 0"),
        (lambda: suppress([[1.5, 2]]), r"found 1.5"),
        (lambda: suppress(np.zeros((0, 3))), r"found shape \(0, 3\), expected at least one count"),
        (lambda: suppress([1, 2], threshold=1), "threshold: found 1"),
        (lambda: suppress([1, 2], width=0), "width: found 0"),
        (lambda: suppress([1, 2], names=[["a"]]), r"names: found \[1\], expected \[2\]"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
